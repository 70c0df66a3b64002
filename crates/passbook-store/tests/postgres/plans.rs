//! The plan of every statement that is run for requests, jobs and deliveries, on a database that was never analysed and
//! holds ten thousand links of one application.
//!
//! The server itself explains what the store runs (`auto_explain`), once with plans made for the values and once with
//! plans made for any values, which a connection keeps after a few uses. So nothing is left out: a statement that the
//! walk does not run, though it is listed as hot, fails the test.

use std::{collections::BTreeMap, sync::Arc};

use passbook_store::{
    port::{Changes, Store},
    postgres::PostgresStore,
    sealing::MasterKey,
};
use postgres_cluster::{Cluster, Place, binaries_for_tests};
use serde_json::Value;

use crate::{
    crowd, database,
    examples::*,
    paths::{TRANSACTIONS, Walk},
    sources::Statement,
    statements::{HOT, statements},
};

const SETTINGS: [&str; 8] = [
    "shared_preload_libraries = 'auto_explain'",
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_analyze = on",
    "auto_explain.log_timing = off",
    "auto_explain.log_format = json",
    "log_min_messages = log",
    "log_line_prefix = ''",
    // Nobody makes statistics behind the test's back.
    "autovacuum = off",
];

/// Tables that never hold more than a few rows.
const SMALL: [&str; 4] = ["master_keys", "write_probe", "watched_time", "instance_values"];

/// Statements that may read and leave out rows, and why that cannot be many.
const LEAVES_OUT: &[(&str, &str)] = &[
    ("LIST_TRANSACTIONS_OF_ACCOUNTS", "other accounts of the same link"),
    ("LIST_INVESTMENT_TRANSACTIONS", "other accounts and days of the same link"),
    ("LOAD_TRANSACTIONS", "older rows of the same link"),
    ("LIST_CHANGES", "earlier changes of the same link"),
    ("LIST_CHANGES_OF_ACCOUNTS", "other accounts of the same link"),
    ("LIST_EVENTS", "events that a narrowed read passes over, 2,000 at most"),
    ("LIST_EVENTS_OF_LINK", "the same, and deliveries of an event in another state"),
    ("LIST_USER_TRANSACTIONS", "other accounts and days of the same links"),
    ("DELETE_TRANSACTIONS", "other rows of the same link"),
    ("PARK_TRANSACTIONS", "other rows of the same link"),
    ("LOG_REMOVED", "other rows of the same link"),
    ("UPDATE_LINK", "the link itself, when the guard is lost"),
    ("MARK_FAILING", "the address itself, when it failed before"),
    ("MARK_WELL", "the address itself, when it was well"),
    ("CHOOSE_JOBS", "other jobs of the same link"),
    ("CHOOSE_JOBS_OF_APPS", "other jobs of the same link"),
    ("LONGEST_DUE", "applications that hold their share of the slots, or are disabled"),
    ("NEXT_FREE_OF_APPS", "applications that are disabled"),
    ("FORGET_REMOVED", "the other row of the same transaction"),
];

/// Statements of upkeep and of starting, which may look at everything.
const MAY_LOOK_AT_ALL: &[(&str, &str)] = &[
    ("DELETE_TOKENS_OF_WITHDRAWN_SECRETS", "an operator replaces a secret"),
    ("CLEANUP_ANSWERS", "upkeep, now and then: a day of answers"),
    ("CLEANUP_DELIVERIES", "upkeep, now and then: joins old events with their deliveries"),
    ("LIST_TIMED_JOBS", "setting an app's clock moves every timed job of the app"),
    ("RETIME_JOBS", "the same"),
    ("LIST_WAITING", "setting an app's clock moves every waiting delivery of the app"),
    ("RETIME_DELIVERIES", "the same"),
    ("NEWEST_TIME", "asked when an operator or a test sets a clock; one look at the end of each index"),
    ("LIST_UNSCHEDULED_LINKS", "walks over all links once, after a start"),
    ("FORGET_AUDIT", "upkeep, once an hour; without statistics the planner expects few rows"),
    ("FORGET_SESSIONS", "the same"),
    ("SEE_SESSIONS", "the same"),
    ("FORGET_STUBS", "the same"),
    ("LIST_SWITCHED_OFF", "upkeep; addresses are few"),
    ("LIST_DISABLED_APPS", "applications are few"),
    ("LIST_FAILING_ADDRESSES", "addresses are few, and doctor asks"),
];

/// Rows that no node of a plan may read more of: all that one link has, a few times over.
const ROWS_MAX: f64 = 4.0 * TRANSACTIONS as f64;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_statement_of_a_hot_path_walks_over_other_links() {
    let Some(binaries) = binaries_for_tests() else { return };
    let cluster = Cluster::start(&binaries, Place::Memory, &SETTINGS).expect("a cluster");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let key = MasterKey::generate();
    let mut stores: Vec<Arc<PostgresStore>> = Vec::new();
    for mode in ["force_custom_plan", "force_generic_plan"] {
        let url = format!("{} options='-c plan_cache_mode={mode}'", cluster.socket_url("postgres"));
        let ledger = directory.path().join("deletions.ledger");
        let store = database::open(&url, None, &ledger, vec![key.clone()]).await.expect("the store opens");
        store.statistics_settled().await;
        stores.push(Arc::new(store));
    }
    let template = connected_link(1);
    let app = Changes { app: Some(app(1)), ..changes(insertion_with_secrets(template.clone())) };
    stores[0].commit(app).await.expect("a first link");
    let raw = database::connect(&cluster.url("postgres")).await;
    for statement in crowd::statements(&template.id, |text| format!("convert_to({text}, 'UTF8')")) {
        raw.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement:.200}: {error:?}"));
    }
    let analysed = "SELECT COUNT(*) FROM pg_stats WHERE tablename = 'links'";
    assert_eq!(raw.query_one(analysed, &[]).await.unwrap().get::<_, i64>(0), 0, "the database has no statistics");
    let before = std::fs::read_to_string(cluster.log()).expect("the server's log").len();
    for (number, store) in (0..).zip(&stores) {
        let store: Arc<dyn Store> = Arc::clone(store) as _;
        Walk::new(store, number).run().await;
    }
    for store in &stores {
        store.close().await;
    }
    let log = std::fs::read_to_string(cluster.log()).expect("the server's log");
    // Two constants may hold the same text.
    let text = |one: &Statement| one.text.replace("\\u{1}", "\u{1}").replace("\\\"", "\"");
    let named: Vec<(String, String)> = statements().into_iter().map(|one| (text(&one), one.name)).collect();
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let mut faults = Vec::new();
    for plan in plans(&log[before..]) {
        let text = plan["Query Text"].as_str().unwrap_or_default();
        for (_, name) in named.iter().filter(|(known, _)| known == text) {
            *seen.entry(name).or_default() += 1;
            if MAY_LOOK_AT_ALL.iter().all(|(exempt, _)| *exempt != name.as_str()) {
                judge(name, &plan["Plan"], &mut faults);
            }
        }
    }
    // Statements that are not planned.
    let unplanned = ["BEGIN", "COMMIT", "ROLLBACK"];
    for (hot, _) in HOT.iter().filter(|(hot, _)| !unplanned.contains(hot)) {
        if seen.get(hot).is_none_or(|times| *times < 2) {
            faults.push(format!("{hot} is hot, but the walk does not run it"));
        }
    }
    for (exempt, _) in LEAVES_OUT.iter().chain(MAY_LOOK_AT_ALL) {
        if !seen.contains_key(exempt) {
            faults.push(format!("{exempt} is an exception, but the walk does not run it"));
        }
    }
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The plans in a server's log: each a line that ends with `plan:`, then indented JSON.
fn plans(log: &str) -> Vec<Value> {
    let mut plans = Vec::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if line.ends_with("plan:") {
            let mut json = String::new();
            while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
                json.push_str(line);
                json.push('\n');
            }
            plans.push(serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json:.400}")));
        }
    }
    assert!(plans.len() > 100, "{}", plans.len());
    plans
}

fn judge(name: &str, node: &Value, faults: &mut Vec<String>) {
    let number = |field: &str| node[field].as_f64().unwrap_or(0.0);
    let word = |field: &str| node[field].as_str().unwrap_or("");
    let relation = word("Relation Name");
    let place = format!("{name}: {} on {relation} by {}", word("Node Type"), word("Index Name"));
    if word("Node Type") == "Seq Scan" && !SMALL.contains(&relation) {
        faults.push(format!("{place} reads the whole table"));
    }
    let left_out = number("Rows Removed by Filter")
        + number("Rows Removed by Index Recheck")
        + number("Rows Removed by Join Filter");
    if left_out > 0.0 && LEAVES_OUT.iter().all(|(exempt, _)| *exempt != name) {
        faults.push(format!("{place} leaves {left_out} rows out by {}{}", word("Filter"), word("Join Filter")));
    }
    let read = (number("Actual Rows") + left_out) * number("Actual Loops");
    if read > ROWS_MAX {
        faults.push(format!("{place} reads {read} rows"));
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        judge(name, child, faults);
    }
}
