//! The check-up and backups on PostgreSQL, and what is said when the database cannot be used.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;

use crate::{
    hosted::{Database, PASSWORD, ask, command, refusal},
    process::{Process, Site, text},
};

/// Exit code and checks.
fn examine(site: &Site) -> (Option<i32>, Vec<Value>) {
    let output = command(site, &["doctor", "--json"]);
    let told = text(&output.stdout);
    assert!(!told.contains(PASSWORD) && !text(&output.stderr).contains(PASSWORD), "{told}");
    let checks: Value = serde_json::from_str(&told).expect("checks");
    (output.status.code(), checks.as_array().expect("a list").clone())
}

/// The names of the checks that failed.
fn failed(checks: &[Value]) -> Vec<&str> {
    let failed = checks.iter().filter(|check| check["verdict"] == "fail");
    failed.map(|check| check["name"].as_str().expect("a name")).collect()
}

fn detail_of(checks: &[Value], verdict: &str, name: &str) -> String {
    let found = checks.iter().find(|check| check["name"] == name && check["verdict"] == verdict);
    found.unwrap_or_else(|| panic!("{name} {verdict}: {checks:?}"))["detail"].as_str().expect("a detail").to_owned()
}

#[test]
fn a_healthy_store_is_well_with_and_without_servers() {
    let Some(database) = Database::create() else { return };
    let sites = database.two_sites();
    let servers = sites.each_ref().map(|site| site.serve());
    let alone = database.site("");
    // Its ledger is made when it first opens the store; one that is not there may be one that was lost.
    assert_eq!(failed(&examine(&alone).1), ["deletion ledger"]);
    for (site, said) in [(&sites[0], "a server has it"), (&sites[1], "a server has it"), (&alone, "no server has it")] {
        let (code, checks) = examine(site);
        assert_eq!((code, failed(&checks)), (Some(0), vec![]), "{checks:?}");
        assert!(detail_of(&checks, "ok", "store").contains(said));
        assert!(detail_of(&checks, "ok", "integrity").contains("pg_amcheck"));
        for name in ["key file", "deletion ledger", "clock", "schema", "jobs", "deletions", "master key", "size"] {
            detail_of(&checks, "ok", name);
        }
    }
    servers.into_iter().for_each(Process::stop);
    assert_eq!(examine(&sites[0]).0, Some(0));
}

#[test]
fn what_is_wrong_with_the_store_is_named_and_the_exit_code_says_so() {
    let Some(database) = Database::create() else { return };
    let empty = examine(&database.site(""));
    assert_eq!((empty.0, failed(&empty.1)), (Some(1), vec!["deletion ledger", "store"]));
    assert!(detail_of(&empty.1, "fail", "store").contains("there is no store in the database"));
    let [site, other] = database.two_sites();
    other.private_file("master.key", &format!("passbook-master-key-v1:{}\n", "ab".repeat(32)));
    let wrong_key = examine(&other);
    assert_eq!(wrong_key.0, Some(1));
    assert!(detail_of(&wrong_key.1, "fail", "store").contains("master key is not the one"));
    let nowhere = database.site_at(&database.url().replace("served_", "no_such_"), "");
    let absent = examine(&nowhere);
    assert_eq!(absent.0, Some(1));
    assert!(detail_of(&absent.1, "fail", "store").contains("does not exist"));

    let server = site.serve();
    database.run("INSERT INTO refinery_schema_history VALUES (999, 'later', '2026-01-01T00:00:00Z', '1')");
    let newer = examine(&site);
    assert_eq!((newer.0, failed(&newer.1)), (Some(1), vec!["schema"]));
    assert!(refusal(&database.site(""), &["apps", "list"]).contains("use the newer release"));
    drop(server);
}

#[test]
fn backups_are_left_to_the_servers_tools() {
    let Some(database) = Database::create() else { return };
    let [site, _] = database.two_sites();
    let backup = site.path("backup");
    let backup = backup.to_str().expect("a path");
    let server = site.serve();
    for _ in ["served", "alone"] {
        let told = refusal(&site, &["backup", "--to", backup]);
        assert!(told.contains("this store is backed up with pg_dump; see docs/backup.md"), "{told}");
        assert!(!site.path("backup").exists());
    }
    server.stop();
    assert!(refusal(&site, &["backup", "--to", backup]).contains("pg_dump"));
    // On a site that has no files of its own yet, which would be in the way.
    let fresh = database.site("");
    let told = refusal(&fresh, &["restore", "--from", backup, "--without-deletions"]);
    assert!(told.contains("pg_restore; see docs/backup.md"), "{told}");
    assert_eq!(ask(&site, &["apps", "list"]), Value::Array(Vec::new()));
}

#[test]
fn a_server_that_cannot_show_a_certificate_is_not_served_from() {
    let Some(database) = Database::create() else { return };
    database.two_sites();
    let CertifiedKey { cert, .. } = generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let site = database.site("tls_ca_file = \"ca.pem\"");
    let told = refusal(&site, &["apps", "list"]);
    assert!(told.contains("ca.pem") || told.contains("tls_ca_file"), "{told}");
    std::fs::write(site.path("ca.pem"), cert.pem()).expect("the authority");
    for arguments in [&["apps", "list"][..], &["migrate"], &["serve"]] {
        let told = refusal(&site, arguments);
        assert!(told.contains("server does not support TLS"), "{arguments:?}: {told}");
    }
    let contradiction = database.site_at(&format!("{}?sslmode=disable", database.url()), "tls_ca_file = \"ca.pem\"");
    assert!(refusal(&contradiction, &["apps", "list"]).contains("store.tls_ca_file"));
}
