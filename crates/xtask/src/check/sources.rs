//! Text that must not be in the repository, and names that only one file may use.

use std::path::Path;

use anyhow::Result;

use crate::command::{command, output, root};

/// The one file of the server that may name a store. It is the binary's own, so the library cannot use it.
const COMPOSITION_ROOTS: &[&str] = &["crates/passbook/src/stores.rs"];

/// What of the server may make an HTTP client: the guarded way out, and the commands that call a server themselves.
const WAYS_OUT: &[&str] = &["crates/passbook/src/outbound/", "crates/passbook/src/api_client.rs"];

struct Forbidden {
    /// Joined at run time, so that this file does not contain what it forbids.
    text: [&'static str; 2],
    rust_only: bool,
    why: &'static str,
}

const FORBIDDEN: &[Forbidden] = &[
    Forbidden { text: ["../", "shared"], rust_only: false, why: "points outside the repository" },
    Forbidden { text: ["/wo", "rk/"], rust_only: false, why: "names a path of one machine" },
    Forbidden { text: ["todo", "!("], rust_only: true, why: "unfinished code" },
    Forbidden { text: ["unimplemented", "!("], rust_only: true, why: "unfinished code" },
    Forbidden { text: ["#[", "ignore"], rust_only: true, why: "a test that never runs" },
];

/// Every forbidden text in a tracked file.
pub fn findings() -> Result<Vec<String>> {
    let listed = output(command("git").args(["ls-files", "-z"]))?;
    let mut findings = Vec::new();
    for name in listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name);
        // A tracked file may be deleted in the working tree, and a binary file has no text to judge.
        if let Ok(text) = std::fs::read_to_string(root().join(name.as_ref())) {
            findings.extend(findings_in(&name, &text));
        }
    }
    Ok(findings)
}

fn findings_in(name: &str, text: &str) -> Vec<String> {
    let is_rust = Path::new(name).extension().is_some_and(|extension| extension == "rs");
    let mut findings = Vec::new();
    for forbidden in FORBIDDEN.iter().filter(|forbidden| is_rust || !forbidden.rust_only) {
        let needle = forbidden.text.concat();
        for (number, _) in text.lines().enumerate().filter(|(_, line)| line.contains(&needle)) {
            findings.push(format!("{name}:{}: `{needle}`: {}", number + 1, forbidden.why));
        }
    }
    if is_rust && name.starts_with("crates/passbook/src/") && !COMPOSITION_ROOTS.contains(&name) {
        for (number, _) in text.lines().enumerate().filter(|(_, line)| names_a_store(line)) {
            findings.push(format!("{name}:{}: only the composition root may name a store", number + 1));
        }
    }
    let leaves = |line: &str| line.split("//").next().is_some_and(|code| code.contains("reqwest"));
    let is_inside =
        ["crates/passbook/src/", "crates/passbook-connectors/src/"].iter().any(|inside| name.starts_with(inside));
    if is_rust && is_inside && !WAYS_OUT.iter().any(|way| name.starts_with(way)) {
        for (number, _) in text.lines().enumerate().filter(|(_, line)| leaves(line)) {
            findings.push(format!("{name}:{}: what leaves the process goes through `outbound`", number + 1));
        }
    }
    findings
}

/// Whether a line of code names a store. Comments do not count, and texts do not: a setting may well be called so.
fn names_a_store(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default().replace("\\\"", "");
    let outside_texts: String = code.split('"').step_by(2).collect();
    let outside_texts = outside_texts.to_ascii_lowercase();
    outside_texts.contains("sqlite") || outside_texts.contains("postgres")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_code_is_found_with_its_line() {
        let text = format!("fn a() {{\n    {}{})\n}}\n", "todo", "!(");
        assert_eq!(findings_in("crates/a/src/lib.rs", &text).len(), 1);
        assert!(findings_in("crates/a/src/lib.rs", &text)[0].starts_with("crates/a/src/lib.rs:2:"));
        assert!(findings_in("docs/a.md", &text).is_empty());
    }

    #[test]
    fn a_path_outside_the_repository_is_found_in_any_text() {
        assert_eq!(findings_in("docs/a.md", &format!("see {}{}/style.md", "../", "shared")).len(), 1);
    }

    #[test]
    fn only_the_guarded_way_out_may_make_an_http_client() {
        let code = "let client = reqwest::Client::new();\n";
        assert_eq!(findings_in("crates/passbook/src/services/links.rs", code).len(), 1);
        assert_eq!(findings_in("crates/passbook-connectors/src/sandbox/mod.rs", code).len(), 1);
        assert!(findings_in("crates/passbook/src/outbound/mod.rs", code).is_empty());
        assert!(findings_in("crates/passbook/tests/api/events.rs", code).is_empty());
    }

    #[test]
    fn only_the_composition_root_may_name_a_store() {
        let code = "use passbook_store::sqlite::SqliteStore;\n";
        assert_eq!(findings_in("crates/passbook/src/api/links.rs", code).len(), 1);
        assert_eq!(findings_in("crates/passbook/src/serve.rs", "let store = PostgresStore::open(url);\n").len(), 1);
        assert_eq!(findings_in("crates/passbook/src/serve.rs", "f(\"sqlite\", sqlite::open)\n").len(), 1);
        assert!(findings_in("crates/passbook/src/stores.rs", code).is_empty());
        assert!(
            findings_in("crates/passbook/src/config/store.rs", "Some(\"sqlite\") => Place::Embedded,\n").is_empty()
        );
        assert!(findings_in("crates/passbook/src/api/links.rs", "// SQLite answers here\n").is_empty());
    }
}
