//! Operator commands with a configuration: on the server that it starts, and on the store that it names.
#![cfg(unix)]

use serde_json::Value;

use crate::process::{Site, text};

fn ask(site: &Site, arguments: &[&str]) -> Value {
    let output = site.run(&[arguments, &["--json", "--config", "passbook.toml"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

#[test]
fn commands_find_server_and_store_by_the_configuration() {
    let site = Site::new("");
    let server = site.serve();
    ask(&site, &["apps", "add", "Shop"]);
    let client = ask(&site, &["clients", "add", "--app", "Shop", "--environment", "live"]);
    assert!(client["client_secret"].is_string());
    let served = ask(&site, &["clients", "list"]);
    server.stop();
    assert_eq!(ask(&site, &["clients", "list"]), served);
    assert_eq!(served[0]["client_id"], client["client_id"]);

    let keys = ask(&site, &["keys", "rotate"]);
    assert_eq!((&keys[0]["links"], &keys[1]["active"]), (&0.into(), &true.into()));
    assert_eq!(std::fs::read_to_string(site.path("master.key")).expect("the key file").lines().count(), 2);
    ask(&site, &["backup", "--to", site.path("backup").to_str().expect("a path")]);
    let checks = ask(&site, &["doctor"]);
    assert!(checks.as_array().expect("checks").iter().all(|check| check["verdict"] != "fail"), "{checks}");
    let schema = ask(&site, &["migrate", "--check"]);
    assert_eq!(schema["from"], schema["release"]);
    let server = site.serve();
    assert_eq!(server.get("/readyz").0, 200);
    server.stop();
}

#[test]
fn a_command_takes_a_directory_or_a_configuration() {
    let site = Site::new("");
    let output = site.run(&["apps", "list", "--config", "passbook.toml", "--data", "data"]);
    assert_eq!(output.status.code(), Some(2));
    let output = site.run(&["apps", "list", "--config", "passbook.toml"]);
    assert!(text(&output.stderr).contains("there is no store"), "{}", text(&output.stderr));
}
