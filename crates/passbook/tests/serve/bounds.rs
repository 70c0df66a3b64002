//! What an app may store, and stores that are lost: on the built binary.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};

use crate::{
    hosted::{Client, Database, ask, is_ready, refusal},
    process::{Process, Site, text},
};

const SETTINGS: &str = "[sandbox]\nenabled = true\n";
/// A quota that the first link uses up.
const QUOTA: &str = "quota_rows = 1\n";

fn link(client: &Client, server: &Process) -> (u16, Value) {
    client.call(server, "POST", "/sandbox/links", &json!({"customer_user": {"id": "another"}}))
}

/// On either store: a link is made, the next one is not, and what is there stays in use.
fn fill_and_free(site: &Site) {
    let server = site.serve();
    let client = Client::add(site, "sandbox");
    let id = client.link(&server, json!({}));
    let (status, body) = link(&client, &server);
    assert_eq!((status, &body["error_code"]), (403, &json!("api_error.quota_exceeded")), "{body}");
    let import = json!({
        "customer_user": {"id": "user-0002"}, "provider": "mx", "institution_id": "mx.credentials_bank",
        "accounts": [{
            "account_id": "one", "name": "One", "type": "checking", "mask": "1111",
            "balances": {"currency": "USD", "available": 12.5, "current": 0.1, "limit": null}
        }],
        "transactions": [],
    });
    let (status, body) = client.call(&server, "POST", "/links/import", &import);
    assert_eq!((status, &body["error_code"]), (403, &json!("api_error.quota_exceeded")), "{body}");
    assert_eq!(client.status(&server, &format!("/links/{id}/transactions")), 200);
    let refreshed = client.call(&server, "POST", &format!("/links/{id}/products"), &json!({"products": ["identity"]}));
    assert!(refreshed.0 < 300 || refreshed.0 == 429, "a refresh is not stopped by the quota: {refreshed:?}");
    let apps = ask(site, &["apps", "list"]);
    assert!(apps[0]["usage"]["rows"].as_u64().unwrap() >= 1 && apps[0]["usage"]["bytes"].as_u64().unwrap() >= 4_096);
    assert!(client.call(&server, "DELETE", &format!("/links/{id}"), &Value::Null).0 < 300);
    assert_eq!(ask(site, &["apps", "list"])[0]["usage"], json!({"rows": 0, "bytes": 0}));
    let (status, body) = link(&client, &server);
    assert_eq!(status, 201, "there is room again: {body}");
    server.stop();
}

#[test]
fn an_app_over_its_quota_adds_nothing_until_it_deletes() {
    fill_and_free(&Site::new(&format!("{SETTINGS}[store]\n{QUOTA}")));
}

#[test]
fn an_app_over_its_quota_adds_nothing_until_it_deletes_on_postgres() {
    let Some(database) = Database::create() else { return };
    // The settings come behind those of the section [store].
    fill_and_free(&database.site(QUOTA));
}

#[test]
fn a_lost_or_damaged_store_is_named_by_every_command() {
    let site = Site::new("");
    site.serve().stop();
    let database = site.path("data/passbook.db");
    let whole = fs::read(&database).unwrap();
    for (bytes, named) in
        [(None, "there is no store at"), (Some(&whole[..0]), "it is empty"), (Some(&whole[..9_000]), "lacks")]
    {
        match bytes {
            None => fs::remove_file(&database).unwrap(),
            Some(bytes) => fs::write(&database, bytes).unwrap(),
        }
        let served = site.run(&["serve", "--config", "passbook.toml"]);
        assert_eq!(served.status.code(), Some(1));
        let told = text(&served.stderr);
        assert!(told.contains(named) && told.contains("passbook restore"), "{told}");
        for command in [&["apps", "list"][..], &["migrate"]] {
            let told = refusal(&site, command);
            assert!(told.contains(named), "{command:?}: {told}");
        }
        let doctor = site.run(&["doctor", "--config", "passbook.toml"]);
        assert!(!doctor.status.success() && text(&doctor.stdout).contains(named), "{}", text(&doctor.stdout));
        assert_eq!(fs::read(&database).ok().as_deref(), bytes, "nothing was made or changed");
    }
    fs::write(&database, &whole).unwrap();
    site.serve().stop();
}

#[test]
fn data_are_private_whatever_the_umask_and_wider_modes_are_taken_back() {
    let site = Site::new("");
    let mut command = std::process::Command::new("sh");
    let binary = crate::process::BINARY;
    command.arg("-c").arg(format!("umask 0; exec {binary} serve --config passbook.toml"));
    let as_told = site.command(&[]);
    command.current_dir(site.directory.path()).env_clear();
    command.envs(as_told.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let server = Process::start(command);
    assert!(is_ready(&server));
    let modes = || {
        let data = site.path("data");
        let mode = |path: &std::path::Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
        let files = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<_> = files.filter(|path| mode(path) != 0o600).collect();
        (mode(&data), files)
    };
    assert_eq!(modes(), (0o700, vec![]));
    server.stop();
    for path in [site.path("data"), site.path("data/passbook.db"), site.path("data/deletions.ledger")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    site.serve().stop();
    assert_eq!(modes(), (0o700, vec![]));
}
