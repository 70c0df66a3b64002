//! The metrics, and the list of them for operators.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::TestServer;

/// Name and type of every metric in the exposition.
fn exposed(text: &str) -> BTreeSet<(String, String)> {
    let of_type = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let suffix = if kind == "counter" { "_total" } else { "" };
        Some((format!("{name}{suffix}"), kind.to_owned()))
    };
    text.lines().filter_map(of_type).collect()
}

/// Name and type of every metric in the list.
fn listed() -> BTreeSet<(String, String)> {
    let path = format!("{}/../../docs/metrics.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the list");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `passbook_")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?;
        Some((format!("passbook_{name}"), cells.next()?.to_owned()))
    };
    text.lines().take_while(|line| !line.starts_with("## ")).filter_map(row).collect()
}

fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
    let digits = line.and_then(|line| line.rsplit(' ').next()).unwrap_or_else(|| panic!("no {sample}:\n{text}"));
    digits.parse().expect("a number")
}

#[tokio::test]
async fn the_list_for_operators_is_complete_and_holds_nothing_else() {
    let server = TestServer::start().await;
    let text = server.anonymous("GET", "/metrics").send().await.text();
    assert!(!listed().is_empty());
    assert_eq!(exposed(&text), listed());
}

#[tokio::test]
async fn what_happens_is_counted() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"identity": {}})).await;
    server.bank.hold();
    server.post(&server.a, &format!("/links/{id}/products"), &json!({"products": ["identity"]})).await.ok(202);
    let text = server.anonymous("GET", "/metrics").send().await.text();
    assert!((value(&text, "passbook_ready") - 1.0).abs() < f64::EPSILON);
    assert!((value(&text, "passbook_jobs_due") - 1.0).abs() < f64::EPSILON, "{text}");
    assert!(value(&text, "passbook_commit_seconds_count") >= 2.0);
    server.bank.release();
    server.drain(&server.a).await;
    let text = server.anonymous("GET", "/metrics").send().await.text();
    assert!(value(&text, "passbook_jobs_due").abs() < f64::EPSILON);
    assert!(value(&text, "passbook_jobs_total{outcome=\"done\"}") >= 1.0);
    assert!(value(&text, "passbook_not_ready{reason=\"draining\"}").abs() < f64::EPSILON);

    server.services.store.close().await;
    let text = server.anonymous("GET", "/metrics").send().await.text();
    assert!(value(&text, "passbook_ready").abs() < f64::EPSILON);
    assert!((value(&text, "passbook_not_ready{reason=\"store_unavailable\"}") - 1.0).abs() < f64::EPSILON);
    assert!(value(&text, "passbook_store_errors_total{during=\"ping\"}") >= 1.0);
}
