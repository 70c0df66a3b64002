//! Configurations as the command line judges them.

use crate::process::{Site, text};

#[test]
fn a_configuration_in_order_is_said_to_be_so() {
    let site = Site::new("");
    let output = site.run(&["config", "check"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("passbook.toml: in order\n"), "{}", text(&output.stdout));
    assert!(!site.path("data").exists(), "a check makes nothing");
}

#[test]
fn all_problems_are_said_at_once_and_nothing_is_started() {
    let site = Site::new("[server]\nrplicas = 2\npublic_url = \"ftp://x\"\n[limits]\nfactor = 0\n");
    for arguments in [&["config", "check"][..], &["serve"], &["config", "show"]] {
        let output = site.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        for setting in ["server.rplicas", "server.public_url", "limits.factor"] {
            assert!(said.contains(setting), "{setting}: {said}");
        }
    }
    assert!(!site.path("data").exists());
}

#[test]
fn what_is_in_force_is_shown_without_secrets() {
    let site = Site::new("[store]\nkind = \"postgres\"\n[log]\nfilter = \"debug\"\n");
    let output = site
        .command(&["config", "show"])
        .env("PASSBOOK_STORE__URL", "postgres://passbook:hunter2@localhost/passbook")
        .output()
        .expect("the binary runs");
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(shown.contains("url = \"[redacted]\"  # environment\n"), "{shown}");
    assert!(shown.contains("filter = \"debug\"  # file\n"), "{shown}");
    assert!(shown.contains("format = \"text\"\n"), "{shown}");
    assert!(!shown.contains("hunter2"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let site = Site::new("");
    let output = site.run(&["serve", "--config", "elsewhere.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("elsewhere.toml: cannot be read"), "{}", text(&output.stderr));
}

#[test]
fn the_reference_is_printed_and_is_a_configuration() {
    let site = Site::new("");
    let output = site.run(&["config", "reference"]);
    site.configure(&text(&output.stdout));
    let output = site.run(&["config", "check"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}
