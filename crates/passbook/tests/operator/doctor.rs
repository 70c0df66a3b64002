//! The check-up and the schema.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::server::{Home, text};

fn verdict(checks: &Value, name: &str) -> String {
    let checks = checks.as_array().unwrap().iter().filter(|check| check["name"] == name);
    let worst = ["fail", "warn", "ok"].into_iter();
    let found: Vec<_> = checks.map(|check| check["verdict"].as_str().unwrap().to_owned()).collect();
    worst.into_iter().find(|word| found.iter().any(|verdict| verdict == word)).expect("a check").to_owned()
}

#[tokio::test]
async fn a_healthy_store_is_well_with_and_without_a_server() {
    let home = Home::served_once().await;
    let server = home.start().await;
    for served in [true, false] {
        let output = home.run(&["doctor", "--json"]);
        let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
        for name in
            ["key file", "deletion ledger", "store", "clock", "schema", "integrity", "jobs", "deletions", "master key"]
        {
            assert_eq!(verdict(&checks, name), "ok", "{name}, served: {served}: {checks}");
        }
        assert_ne!(verdict(&checks, "disk"), "fail");
        assert!(output.status.success());
        if served {
            // Ended here, so that the second look is without it.
            let pid = server.pid().to_string();
            assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        }
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_and_the_exit_code_says_so() {
    let home = Home::served_once().await;
    let key = home.data().join("master.key");
    let widen = || std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    widen();
    {
        let database = rusqlite::Connection::open(home.data().join("passbook.db")).unwrap();
        database.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM links").unwrap();
    }
    let output = home.run(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict(&checks, "key file"), "fail");
    assert_eq!(verdict(&checks, "store"), "fail");
    assert!(text(&output.stdout).contains("is damaged:"), "{checks}");
    widen();
    let told = text(&home.run(&["doctor"]).stdout);
    assert!(told.contains("FAIL  key file") && told.contains("chmod 600"), "{told}");
    std::fs::write(&key, "nonsense").unwrap();
    let checks: Value = serde_json::from_slice(&home.run(&["doctor", "--json"]).stdout).unwrap();
    assert_eq!(verdict(&checks, "store"), "fail");
}

#[tokio::test]
async fn a_newer_schema_is_refused_clearly_and_an_older_one_is_brought_up() {
    let home = Home::served_once().await;
    let current = home.ask(&["migrate", "--check"]);
    assert_eq!(current["from"], current["release"]);
    let database = || rusqlite::Connection::open(home.data().join("passbook.db")).unwrap();
    database()
        .execute_batch("DROP INDEX links_of_master_key; DELETE FROM refinery_schema_history WHERE name = 'find_keys';")
        .unwrap();
    let older = home.run(&["migrate", "--check"]);
    let is_newest = current["release"] == 4;
    assert_eq!(older.status.code(), Some(i32::from(is_newest)));
    home.ask(&["migrate"]);
    assert!(home.run(&["migrate", "--check"]).status.success());
    database()
        .execute(
            "INSERT INTO refinery_schema_history SELECT 999, 'later', applied_on, checksum \
             FROM refinery_schema_history LIMIT 1",
            [],
        )
        .unwrap();
    for command in [&["migrate"][..], &["migrate", "--check"], &["apps", "list"]] {
        assert!(home.refusal(command).contains("use the newer release"), "{command:?}");
    }
}

#[tokio::test]
async fn a_schema_is_not_touched_under_a_server() {
    let home = Home::new();
    let _server = home.start().await;
    assert!(home.refusal(&["migrate"]).contains("in use by a server"));
}
