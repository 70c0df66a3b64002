//! The control socket.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    time::Duration,
};

use serde_json::{Value, json};

use crate::server::{Home, passbook, text};

/// Sends a line and reads the answer.
fn exchange(home: &Home, line: &str) -> Value {
    let mut stream = UnixStream::connect(home.data().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(line.as_bytes()).unwrap();
    stream.write_all(b"\n").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[tokio::test]
async fn the_socket_is_its_owners_only_and_goes_with_the_server() {
    let home = Home::new();
    let server = home.start().await;
    let socket = home.data().join("control.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    server.stop();
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_socket_that_a_crash_left_is_in_nobodys_way() {
    let home = Home::new();
    home.start().await.kill();
    assert!(home.data().join("control.sock").exists());
    home.ask(&["apps", "add", "Before"]);
    let server = home.start().await;
    home.ask(&["apps", "add", "After"]);
    assert_eq!(home.ask(&["apps", "list"]).as_array().unwrap().len(), 3);
    server.stop();
}

#[tokio::test]
async fn what_is_not_a_request_is_refused_without_being_repeated() {
    let home = Home::new();
    let _server = home.start().await;
    let other_version = json!({"version": 99, "request": {"command": "list_apps"}}).to_string();
    for line in ["", "{}", "sesame-8fb2", r#"{"version":1,"request":{"command":"sesame-8fb2"}}"#, &other_version] {
        let answer = exchange(&home, line);
        let refused = answer["outcome"]["refused"].as_str().expect("a refusal");
        assert!(refused.contains("use the same release") && !refused.contains("sesame"), "{refused}");
    }
    // One byte more would not be read, and the answer would be lost with it.
    let endless = exchange(&home, &"x".repeat((64 << 10) - 1));
    assert!(endless["outcome"]["refused"].is_string());
    let fine = exchange(&home, &json!({"version": 1, "request": {"command": "list_apps"}}).to_string());
    assert_eq!(fine["outcome"]["answer"]["value"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn silent_connections_end_and_keep_nobody_out() {
    let home = Home::new();
    let _server = home.start().await;
    let silent: Vec<_> = (0..16).map(|_| UnixStream::connect(home.data().join("control.sock")).unwrap()).collect();
    assert_eq!(home.ask(&["apps", "list"]).as_array().unwrap().len(), 1);
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "{}", text(&rest));
    }
}

#[tokio::test]
async fn a_data_directory_with_a_long_path_works() {
    let home = Home::new();
    let deep = home.path(&"d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let mut server = passbook()
        .args(["dev", "--port", "0", "--data"])
        .arg(&deep)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    crate::server::wait_until("the server is up", async || deep.join("dev.json").exists()).await;
    let output = passbook().args(["apps", "list", "--json", "--data"]).arg(&deep).output().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_directory_without_a_store_is_not_made_into_one() {
    let home = Home::new();
    assert!(home.refusal(&["apps", "list"]).contains("there is no store"));
    assert!(!home.data().exists());
}
