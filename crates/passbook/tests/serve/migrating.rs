//! `passbook migrate` before the first start, on both stores.

use serde_json::Value;

use crate::{
    hosted::{Database, ask, command, is_ready, refusal},
    process::{Site, text},
};

const TABLES: &str = "SELECT COUNT(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
    WHERE nspname = 'public'";

/// What `--check` says of a site without a store: not current, and nothing is changed by looking.
fn nothing_yet(site: &Site) -> i64 {
    let output = command(site, &["migrate", "--check", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(told["from"].is_null() && told["now"].is_null(), "{told}");
    let words = command(site, &["migrate", "--check"]);
    assert!(text(&words.stdout).contains("There is no store yet"), "{}", text(&words.stdout));
    told["release"].as_i64().expect("a version")
}

#[test]
fn an_empty_database_is_made_a_store_before_the_first_start() {
    let Some(database) = Database::create() else { return };
    let site = database.site("");
    let release = nothing_yet(&site);
    assert!(refusal(&site, &["apps", "list"]).contains("there is no store in the database"));
    assert_eq!(database.number(TABLES), 0, "looking changes nothing");

    let made = ask(&site, &["migrate"]);
    assert_eq!(
        (&made["from"], made["now"].as_i64(), made["release"].as_i64()),
        (&Value::Null, Some(release), Some(release))
    );
    assert_eq!(ask(&site, &["migrate"])["from"].as_i64(), Some(release));
    assert!(command(&site, &["migrate", "--check"]).status.success());
    let again = command(&site, &["migrate"]);
    assert_eq!(text(&again.stdout), format!("The schema is up to date at version {release}.\n"));
    assert_eq!(ask(&site, &["apps", "list"]), Value::Array(Vec::new()));
    let server = site.serve();
    assert!(is_ready(&server));
    ask(&site, &["apps", "add", "Shop"]);
    server.stop();
    assert_eq!(ask(&site, &["apps", "list"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn what_was_made_is_said_in_words_too() {
    let Some(database) = Database::create() else { return };
    let made = command(&database.site(""), &["migrate"]);
    assert!(text(&made.stdout).starts_with("The schema went from nothing to version "), "{}", text(&made.stdout));
}

#[test]
fn several_that_migrate_at_once_make_one_store() {
    let Some(database) = Database::create() else { return };
    let sites = [(); 3].map(|()| database.site(""));
    std::thread::scope(|scope| {
        let migrating = sites.each_ref().map(|site| scope.spawn(|| command(site, &["migrate"])));
        for one in migrating {
            let output = one.join().expect("it ran");
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
    });
    assert_eq!(database.number("SELECT COUNT(*) FROM master_keys"), 1);
}

#[test]
fn an_embedded_store_is_made_where_the_configuration_says() {
    let site = Site::new("");
    let release = nothing_yet(&site);
    assert!(!site.path("data").exists(), "looking changes nothing");
    assert_eq!(ask(&site, &["migrate"])["now"].as_i64(), Some(release));
    assert!(site.path("data/passbook.db").exists());
    assert!(command(&site, &["migrate", "--check"]).status.success());
    site.serve().stop();
}

#[test]
fn a_directory_on_the_command_line_is_not_made_a_store() {
    let site = Site::new("");
    for directory in ["mistyped", "."] {
        let output = site.run(&["migrate", "--data", directory]);
        assert_eq!(output.status.code(), Some(1));
        let told = text(&output.stderr);
        assert!(
            told.contains("there is no store in") && told.contains("passbook dev") && told.contains("--config"),
            "{told}"
        );
        let looked = site.run(&["migrate", "--check", "--data", directory]);
        assert_eq!(looked.status.code(), Some(1));
    }
    assert!(!site.path("mistyped").exists() && !site.path("passbook.db").exists());
}
