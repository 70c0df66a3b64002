//! Replacing the master key while replicas serve from one PostgreSQL database.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use crate::{
    hosted::{Client, Database, ask, call, refusal, wait_until},
    process::{KEY, Process, Site, text},
};

/// Several batches of the background work.
const LINKS: usize = 150;

/// What keys other than the active one still wrap.
fn left(keys: &Value) -> u64 {
    let older = keys.as_array().unwrap().iter().filter(|key| key["active"] == false);
    older.map(|key| key["links"].as_u64().unwrap() + key["instance_values"].as_u64().unwrap()).sum()
}

fn versions(keys: &Value) -> Vec<u64> {
    keys.as_array().unwrap().iter().map(|key| key["version"].as_u64().unwrap()).collect()
}

/// Puts a key file in place as the documents say: complete, by rename.
fn hand_out(site: &Site, content: &str) {
    site.private_file("master.key.new", content);
    std::fs::rename(site.path("master.key.new"), site.path("master.key")).unwrap();
}

fn key_file(site: &Site) -> String {
    std::fs::read_to_string(site.path("master.key")).unwrap()
}

fn numbers(client: &Client, server: SocketAddr, link: &str) -> (u16, Value) {
    call(server, "GET", &format!("/links/{link}/accounts/numbers"), &client.head(), &Value::Null)
}

/// Ends the readers, also when the test fails in between.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_master_key_is_replaced_while_two_replicas_serve_and_no_read_fails() {
    let Some(database) = Database::create() else { return };
    let sites = database.two_sites();
    let servers = sites.each_ref().map(|site| site.serve());
    let addresses = servers.each_ref().map(|server| server.address);
    let client = Client::add(&sites[0], "sandbox");
    let links: Vec<_> = (0..LINKS).map(|number| client.link(&servers[number % 2], json!({}))).collect();
    let before: Vec<_> = links.iter().map(|link| numbers(&client, addresses[0], link)).collect();
    assert!(before.iter().all(|(status, _)| *status == 200));

    assert!(refusal(&sites[0], &["keys", "rotate"]).contains("passbook keys generate"));
    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let stopping = Stop(&stop);
        let readers = addresses.map(|server| {
            let (links, before, client, stop, reads) = (&links, &before, &client, &stop, &reads);
            scope.spawn(move || {
                for (link, expected) in links.iter().zip(before).cycle() {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    assert_eq!(&numbers(client, server, link), expected);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        assert_eq!(ask(&sites[0], &["keys", "generate"])["version"], 2);
        assert_eq!(versions(&ask(&sites[1], &["keys", "list"])), [1], "nobody uses it yet");
        hand_out(&sites[1], &key_file(&sites[0]));
        let read_before = reads.load(Ordering::Relaxed);
        ask(&sites[0], &["keys", "activate", "2"]);
        wait_until("nothing is wrapped by the old key", || left(&ask(&sites[1], &["keys", "list"])) == 0);
        // On both, with links that the other made.
        for (at, server) in servers.iter().enumerate() {
            let link = client.link(server, json!({}));
            assert_eq!(numbers(&client, addresses[1 - at], &link).0, 200);
        }
        wait_until("both were read from meanwhile", || reads.load(Ordering::Relaxed) > read_before + LINKS);
        drop(stopping);
        for reader in readers {
            reader.join().expect("no read failed");
        }
    });
    // Whoever still wrote with the old key has followed, and what it wrote was wrapped anew.
    wait_until("the rotation is over", || left(&ask(&sites[0], &["keys", "list"])) == 0);
    servers.into_iter().for_each(Process::stop);
    ask(&sites[0], &["keys", "retire", "1"]);
    assert_eq!(key_file(&sites[0]).lines().count(), 1, "the old key is out of the file");
    hand_out(&sites[1], &key_file(&sites[0]));

    let servers = sites.each_ref().map(|site| site.serve());
    for server in &servers {
        for (link, expected) in links.iter().zip(&before) {
            assert_eq!(&numbers(&client, server.address, link), expected);
        }
    }
    assert_eq!(versions(&ask(&sites[1], &["keys", "list"])), [2]);
    assert_eq!(database.number("SELECT COUNT(*) FROM links WHERE key_version = 1 AND wrapped_key IS NOT NULL"), 0);
    let late = database.site("");
    late.private_file("master.key", &format!("{KEY}\n"));
    assert!(refusal(&late, &["keys", "list"]).contains("master key is not the one"));
    let output = late.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
}

#[test]
fn a_replica_without_the_new_key_says_so_and_is_put_right_by_the_file() {
    let Some(database) = Database::create() else { return };
    let sites = database.two_sites();
    let servers = sites.each_ref().map(|site| site.serve());
    let client = Client::add(&sites[0], "sandbox");
    let link = client.link(&servers[0], json!({}));
    ask(&sites[0], &["keys", "generate"]);
    ask(&sites[0], &["keys", "activate", "2"]);
    wait_until("nothing is wrapped by the old key", || left(&ask(&sites[0], &["keys", "list"])) == 0);
    assert_eq!(numbers(&client, servers[0].address, &link).0, 200);
    assert_eq!(numbers(&client, servers[1].address, &link).0, 500);
    let doctor = sites[1].run(&["doctor", "--config", "passbook.toml"]);
    assert_eq!(doctor.status.code(), Some(1));
    let told = text(&doctor.stdout);
    assert!(told.contains("FAIL  master key") && told.contains("versions 2 are needed and not at hand"), "{told}");

    hand_out(&sites[1], &key_file(&sites[0]));
    wait_until("the replica reads again", || numbers(&client, servers[1].address, &link).0 == 200);
    assert!(sites[1].run(&["doctor", "--config", "passbook.toml"]).status.success());
}
