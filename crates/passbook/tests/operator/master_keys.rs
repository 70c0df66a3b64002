//! Replacing the master key while serving, with crashes in between.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use crate::server::{Home, Server, passbook, text, wait_until};

/// Links in the store; a rotation takes several batches for them.
const LINKS: usize = 200;
/// How long after the beginning of a rotation the server is killed.
const KILLED_AFTER_MS: [u64; 6] = [0, 3, 8, 15, 30, 60];

/// What older keys than the newest still wrap.
fn left(keys: &Value) -> u64 {
    let older = keys.as_array().unwrap().iter().filter(|key| key["active"] == false);
    older.map(|key| key["links"].as_u64().unwrap() + key["instance_values"].as_u64().unwrap()).sum()
}

fn active(keys: &Value) -> u64 {
    let key = keys.as_array().unwrap().iter().find(|key| key["active"] == true);
    key.expect("an active key")["version"].as_u64().unwrap()
}

async fn assert_all_readable(server: &Server, links: &[String]) {
    for link in links {
        assert_eq!(server.numbers_status(link).await, Some(200), "{link}");
    }
}

/// Reads numbers all the time until stopped; counts answers, and panics at one that is not 200.
fn read_on(server: &Arc<Server>, links: &[String], stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
    let (server, links, stop) = (Arc::clone(server), links.to_vec(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut answers = 0;
        for link in links.iter().cycle() {
            if stop.load(Ordering::Acquire) {
                break;
            }
            match server.numbers_status(link).await {
                Some(status) => assert_eq!(status, 200, "{link}"),
                // Killed: nothing is promised to a connection that breaks.
                None => break,
            }
            answers += 1;
        }
        answers
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_survives_crashes_under_load_and_no_read_fails() {
    let home = Home::new();
    let server = home.start().await;
    let links = server.make_links(LINKS).await;
    let first_key = std::fs::read(home.data().join("master.key")).unwrap();
    server.stop();
    let answers = AtomicUsize::new(0);
    for (round, after) in KILLED_AFTER_MS.into_iter().enumerate() {
        let server = Arc::new(home.start().await);
        let before = home.ask(&["keys", "list"]);
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..2).map(|_| read_on(&server, &links, &stop)).collect();
        wait_until("readers are at work", async || server.numbers_status(&links[0]).await == Some(200)).await;
        let mut rotating = passbook()
            .args(["keys", "rotate", "--data"])
            .arg(home.data())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(after)).await;
        let pid = server.pid().to_string();
        assert!(std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        // It had an answer, or none: both may be.
        rotating.wait().unwrap();
        stop.store(true, Ordering::Release);
        for reader in readers {
            answers.fetch_add(reader.await.expect("no read failed"), Ordering::Relaxed);
        }
        drop(server);

        let server = home.start().await;
        assert_all_readable(&server, &links[..8]).await;
        // By itself, if the rotation had begun.
        wait_until("nothing is wrapped by an older key", async || left(&home.ask(&["keys", "list"])) == 0).await;
        let keys = home.ask(&["keys", "list"]);
        assert!(active(&keys) >= active(&before), "round {round}");
        server.stop();
    }
    assert!(answers.into_inner() > 20, "the readers read");

    let server = home.start().await;
    let keys = home.ask(&["keys", "rotate"]);
    assert!(active(&keys) >= 2);
    wait_until("the last rotation is over", async || left(&home.ask(&["keys", "list"])) == 0).await;
    for key in keys.as_array().unwrap().iter().filter(|key| key["active"] == false) {
        home.ask(&["keys", "retire", &key["version"].to_string()]);
    }
    assert_all_readable(&server, &links).await;
    server.stop();
    let last_key = std::fs::read(home.data().join("master.key")).unwrap();
    assert_eq!(text(&last_key).lines().count(), 1, "retired keys are out of the file");

    let server = home.start().await;
    assert_all_readable(&server, &links).await;
    assert!(server.numbers_status(&server.link_id).await == Some(200));
    server.stop();
    std::fs::write(home.data().join("master.key"), first_key).unwrap();
    assert!(home.refusal(&["keys", "list"]).contains("master key is not the one"));
    std::fs::write(home.data().join("master.key"), last_key).unwrap();
    home.ask(&["keys", "list"]);
}

#[tokio::test]
async fn a_store_that_nobody_serves_is_rotated_to_the_end() {
    let home = Home::served_once().await;
    let keys = home.ask(&["keys", "rotate"]);
    assert_eq!((active(&keys), left(&keys)), (2, 0));
    let keys = home.ask(&["keys", "retire", "1"]);
    assert_eq!(keys.as_array().unwrap().len(), 1);
    let server = home.start().await;
    assert_eq!(server.numbers_status(&server.link_id).await, Some(200));
}

#[tokio::test]
async fn a_key_can_be_handed_out_before_it_is_used() {
    let home = Home::new();
    let server = home.start().await;
    assert_eq!(home.ask(&["keys", "generate"])["version"], 2);
    assert_eq!(active(&home.ask(&["keys", "list"])), 1);
    assert!(home.refusal(&["keys", "activate", "3"]).contains("not in the key file"));
    assert_eq!(active(&home.ask(&["keys", "activate", "2"])), 2);
    wait_until("the rotation is over", async || left(&home.ask(&["keys", "list"])) == 0).await;
    assert_eq!(server.numbers_status(&server.link_id).await, Some(200));
    assert!(home.refusal(&["keys", "activate", "1"]).contains("older"));
    assert!(home.refusal(&["keys", "retire", "2"]).contains("active"));
    assert!(home.refusal(&["keys", "retire", "9"]).contains("knows no master key"));
}

#[tokio::test]
async fn a_key_file_that_was_exchanged_changes_nothing() {
    let home = Home::new();
    let server = home.start().await;
    let file = home.data().join("master.key");
    let original = std::fs::read(&file).unwrap();
    std::fs::write(&file, format!("passbook-master-key-v1:{}\n", "5a".repeat(32))).unwrap();
    let refused = home.refusal(&["keys", "rotate"]);
    assert!(refused.contains("another key of version 1") && !refused.contains("5a5a"), "{refused}");
    std::fs::write(&file, original).unwrap();
    assert_eq!(active(&home.ask(&["keys", "list"])), 1);
    assert_eq!(server.numbers_status(&server.link_id).await, Some(200));
}
