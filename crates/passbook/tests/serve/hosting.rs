//! Hosting: start, restart, refuse, stop.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::process::{PATIENCE, Process, Site, get, text};

#[test]
fn a_served_instance_starts_empty_and_keeps_its_secrets() {
    let site = Site::new("");
    let keys = || {
        let server = site.serve();
        assert_eq!(server.get("/healthz"), (200, "ok\n".to_owned()));
        assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
        assert_eq!(server.get("/links").0, 401);
        let keys = server.get("/.well-known/jwks.json");
        server.stop();
        keys
    };
    let first = keys();
    assert_eq!(first.0, 200);
    assert_eq!(keys(), first, "a restart finds the signing key of the first start");
    let other = Site::new("").serve();
    assert_ne!(other.get("/.well-known/jwks.json"), first, "another instance has a key of its own");
}

#[test]
fn the_documents_name_the_public_url_and_without_one_the_address() {
    let site = Site::new("");
    for settings in ["", "[server]\npublic_url = \"https://passbook.example\"\n"] {
        site.configure(settings);
        let server = site.serve();
        let url = match settings {
            "" => format!("http://{}", server.address),
            _ => "https://passbook.example".to_owned(),
        };
        for path in ["/openapi.yaml", "/passbook/openapi.yaml"] {
            let (status, document) = server.get(path);
            assert_eq!(status, 200, "{path}");
            assert!(document.contains(&format!("\nservers:\n- url: \"{url}\"\n")), "{path} of {url}");
        }
        server.stop();
    }
}

#[test]
fn the_data_of_dev_is_not_served() {
    let site = Site::new("");
    std::fs::create_dir(site.path("data")).expect("a directory");
    let mut dev = site
        .command(&["dev", "--port", "0", "--data", "data"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the binary runs");
    let deadline = Instant::now() + PATIENCE;
    while !site.path("data/dev.json").exists() {
        assert!(Instant::now() < deadline, "dev does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    dev.kill().expect("it runs");
    dev.wait().expect("its end");
    let key = std::fs::read_to_string(site.path("data/master.key")).expect("its key");
    site.private_file("master.key", &key);
    let output = site.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("its ids can be guessed"), "{}", text(&output.stderr));
}

#[test]
fn a_wrong_key_is_refused() {
    let site = Site::new("");
    site.serve().stop();
    site.private_file("master.key", &format!("passbook-master-key-v1:{}\n", "ab".repeat(32)));
    let output = site.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("master key"), "{}", text(&output.stderr));
}

#[test]
fn a_stop_turns_readiness_red_and_keeps_serving_for_the_grace() {
    let site = Site::new("");
    let mut command = site.command(&["serve"]);
    let mut server = Process::start({
        command.env("PASSBOOK_SERVER__DRAIN_SECONDS", "2");
        command
    });
    let mut kept = TcpStream::connect(server.address).expect("a connection");
    kept.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let begun = Instant::now();
    server.signal("TERM");
    server.wait_for_line("draining");
    let (status, body) = get(server.address, "/readyz").expect("it still listens");
    assert_eq!((status, body.as_str()), (503, "{\"ready\":false,\"reasons\":[\"draining\"]}"));
    write!(kept, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("the connection holds");
    let mut answer = String::new();
    kept.read_to_string(&mut answer).expect("the server ends the connection after the answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    assert!(server.ended().success());
    assert!(begun.elapsed() >= Duration::from_secs(2), "the grace was cut short");
}

#[test]
fn a_second_signal_ends_it_at_once_and_in_order() {
    let site = Site::new("");
    let mut command = site.command(&["serve"]);
    command.env("PASSBOOK_SERVER__DRAIN_SECONDS", "300");
    let mut server = Process::start(command);
    server.signal("TERM");
    server.wait_for_line("draining");
    server.signal("TERM");
    assert!(server.ended().success());
    site.serve().stop();
}
