//! Apps, clients and origins on PostgreSQL: a change by one machine holds on every replica.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    hosted::{Client, Database, ask, field, refusal, status_with},
    process::Process,
};

/// From the end of a command; then no replica answers from memory any more, however loaded the machine is.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// Runs `command` while every answer is kept warm, and then looks once the time is over: exactly then a replica that
/// remembers for too long would still let in.
fn refused_after(command: impl FnOnce(), answers: &dyn Fn() -> Vec<u16>) -> Vec<u16> {
    assert!(answers().iter().all(|status| *status == 200), "good before");
    command();
    let end = Instant::now() + REVOKED_WITHIN;
    while Instant::now() < end {
        answers();
    }
    answers()
}

fn links_of(servers: &[Process], client: &Client, token: &str) -> Vec<u16> {
    let of_one = |server| [client.status(server, "/links"), status_with(server, token, "/links")];
    servers.iter().flat_map(of_one).collect()
}

#[test]
fn commands_do_the_same_beside_replicas_and_alone() {
    let Some(database) = Database::create() else { return };
    let sites = database.two_sites();
    let alone = database.site("");
    assert!(refusal(&alone, &["apps", "add", "First"]).contains("start the server on it once"));
    sites[0].serve().stop();
    ask(&alone, &["apps", "add", "First"]);
    let servers = sites.each_ref().map(|site| site.serve());
    ask(&sites[0], &["apps", "add", "Second"]);
    ask(&sites[1], &["apps", "rename", "First", "Third"]);
    assert!(refusal(&sites[0], &["apps", "add", "Third"]).contains("already"));
    // The others are asked over their control sockets; this one opens the store beside them.
    let listed = ask(&alone, &["apps", "list"]);
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|app| field(app, "name")).collect();
    assert!(names.contains(&"Second".to_owned()) && names.contains(&"Third".to_owned()) && names.len() == 2);
    for site in &sites {
        assert_eq!(ask(site, &["apps", "list"]), listed);
    }
    servers.into_iter().for_each(Process::stop);
    assert_eq!(ask(&sites[0], &["apps", "list"]), listed);
    // A row in each environment of the app, for each of the three changes.
    assert_eq!(database.number("SELECT COUNT(*) FROM audit WHERE actor = 'operator'"), 3 * 2);
}

#[test]
fn a_client_is_rotated_without_a_gap_and_its_old_secret_is_refused_by_every_replica() {
    let Some(database) = Database::create() else { return };
    let sites = database.two_sites();
    let servers = sites.each_ref().map(|site| site.serve());
    let old = Client::add(&sites[0], "live");
    let token = old.token(&servers[0]).unwrap();
    assert_eq!(links_of(&servers, &old, &token), [200; 4], "at once and everywhere");
    let new = old.with(field(&ask(&sites[1], &["clients", "rotate", &old.id]), "client_secret"));
    assert!(refusal(&sites[0], &["clients", "rotate", &old.id]).contains("revoke-secret"));
    for server in &servers {
        assert!(old.token(server).is_ok() && new.token(server).is_ok(), "both are good");
    }
    let withdraw = || assert_eq!(ask(&sites[0], &["clients", "revoke-secret", &old.id])["live_secrets"], 1);
    assert_eq!(refused_after(withdraw, &|| links_of(&servers, &old, &token)), [401; 4]);
    for server in &servers {
        assert_eq!(old.token(server), Err(401));
        assert_eq!(status_with(server, &new.token(server).unwrap(), "/links"), 200);
    }
}

#[test]
fn a_revoked_client_is_refused_by_every_replica_within_a_second() {
    let Some(database) = Database::create() else { return };
    let sites = database.two_sites();
    let servers = sites.each_ref().map(|site| site.serve());
    for revoker in [&sites[0], &sites[1], &database.site("")] {
        let client = Client::add(&sites[0], "sandbox");
        let token = client.token(&servers[1]).unwrap();
        let revoke = || drop(ask(revoker, &["clients", "revoke", &client.id]));
        assert_eq!(refused_after(revoke, &|| links_of(&servers, &client, &token)), [401; 4]);
        assert!(servers.iter().all(|server| client.token(server) == Err(401)));
        assert!(refusal(&sites[1], &["clients", "rotate", &client.id]).contains("was revoked"));
    }
}

#[test]
fn a_disabled_app_is_refused_by_every_replica_within_a_second_until_it_is_enabled() {
    let Some(database) = Database::create() else { return };
    let sites = database.two_sites();
    let servers = sites.each_ref().map(|site| site.serve());
    let client = Client::add(&sites[0], "sandbox");
    let token = client.token(&servers[1]).unwrap();
    let disable = || drop(ask(&sites[1], &["apps", "disable", "Shop"]));
    assert_eq!(refused_after(disable, &|| links_of(&servers, &client, &token)), [401; 4]);
    assert!(servers.iter().all(|server| client.token(server) == Err(401)));
    ask(&sites[0], &["apps", "enable", "Shop"]);
    assert_eq!(links_of(&servers, &client, &token), [200; 4], "at once and everywhere");
}

#[test]
fn scopes_and_origins_change_on_every_replica() {
    let Some(database) = Database::create() else { return };
    let sites = database.two_sites();
    let servers = sites.each_ref().map(|site| site.serve());
    let client = Client::add(&sites[0], "sandbox");
    let token = client.token(&servers[0]).unwrap();
    let narrow =
        || assert_eq!(ask(&sites[1], &["clients", "scopes", &client.id, "institutions"])["scopes"], "institutions");
    let after = refused_after(narrow, &|| links_of(&servers, &client, &token));
    assert!(after.iter().all(|status| [401, 403].contains(status)), "{after:?}");
    assert!(servers.iter().all(|server| client.status(server, "/institutions") == 200));

    let client = Client::add(&sites[0], "sandbox");
    let session = |redirect: &str| -> Vec<(u16, Value)> {
        let body = json!({"customer_user": {"id": "user-0001"}, "redirect_uri": redirect});
        servers.iter().map(|server| client.call(server, "POST", "/link-session", &body)).collect()
    };
    let is_allowed =
        |redirect: &str| -> Vec<bool> { session(redirect).iter().map(|(status, _)| *status == 201).collect() };
    assert_eq!(is_allowed("https://shop.example/return"), [true; 2]);
    assert_eq!(is_allowed("https://other.example/return"), [false; 2]);
    ask(&sites[1], &["origins", "add", "--app", "Shop", "https://other.example"]);
    ask(&sites[0], &["origins", "remove", "--app", "Shop", "https://shop.example"]);
    assert_eq!(is_allowed("https://shop.example/return"), [false; 2]);
    assert_eq!(is_allowed("https://other.example/return"), [true; 2]);
    assert_eq!(ask(&sites[0], &["origins", "list", "--app", "Shop"]), json!(["https://other.example"]));
}
