//! The plan of every statement that is run for requests, jobs and deliveries, on a store that was never analysed and
//! holds ten thousand links of one application.
//!
//! Every connection reports what it runs, so nothing is left out: each statement in the sources of this store is run by
//! the walk, or is listed as one that is not run for requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{
    Connection, StatementStatus,
    trace::{TraceEvent, TraceEventCodes},
};

use passbook_core::{
    change_log::{LogEntry, LogWrites},
    transaction::Transaction,
};
use passbook_store::{
    port::{Changes, Store, TransactionWrites},
    sqlite::watch_connections,
};

use crate::{Home, crowd, examples::*, paths::Walk, sources};

/// Files whose statements are run when a store is opened, by operators, or by upkeep over all of it.
const NOT_FOR_REQUESTS: [(&str, &str); 6] = [
    ("open.rs", "opening"),
    ("key_file.rs", "opening"),
    ("backup.rs", "an operator's copy"),
    ("restore.rs", "an operator's copy"),
    ("examine.rs", "an operator's look over everything"),
    ("master_keys.rs", "an operator's rotation, in batches by a key of its own"),
];

/// Single statements of the same kinds, by how they begin.
const NOT_BY_THE_WALK: [(&str, &str); 17] = [
    ("UPDATE jobs SET due_at = ?2 WHERE job_id = ?1", "by the job's key, when a clock is set"),
    ("SELECT version, document FROM links WHERE link_id = ?1", "replaying deletions at a start"),
    ("SELECT version, app_id, environment, institution_id", "deleting what cannot be read"),
    ("SELECT document_format FROM links", "explaining a refused write"),
    ("UPDATE jobs SET lease_owner = NULL, lease_until = NULL WHERE state", "opening"),
    ("UPDATE deliveries SET lease_owner = NULL, due_at = 0", "opening"),
    ("DELETE FROM kept_answers WHERE status IS NULL", "opening"),
    ("DELETE FROM webhook_addresses WHERE address_id = ?1", "by the address's key, when its last delivery is gone"),
    ("SELECT subject FROM unfinished_work WHERE kind = 'commit'", "opening"),
    ("SELECT subject, piece FROM unfinished_work WHERE kind = 'retime'", "opening"),
    ("SELECT subject FROM unfinished_work WHERE kind = 'erase'", "what is left of a deletion, when nobody waits"),
    ("SELECT subject, piece FROM unfinished_work AS undo", "what is left of a commit in pieces, when nobody waits"),
    ("SELECT data FROM unfinished_work WHERE kind = 'commit'", "taking back a commit in pieces"),
    ("SELECT piece, data FROM unfinished_work WHERE kind = 'undo'", "the same"),
    ("DELETE FROM {name} WHERE link_id = ?1 AND {key} IN", "the same"),
    ("DELETE FROM links WHERE link_id = ?1 AND environment = ''", "the same"),
    ("UPDATE write_probe", "finding out whether writing works again"),
];

/// Statements that look at all of something, and why that is bearable.
const MAY_LOOK_AT_ALL: [(&str, &str); 9] = [
    ("PRAGMA", "when another test opens a store or has it examined"),
    ("SELECT job_id FROM jobs WHERE app_id", "setting an app's clock moves every timed job of the app"),
    ("SELECT token FROM deliveries INDEXED BY", "setting an app's clock moves every waiting delivery of the app"),
    (
        "SELECT app_id, environment, body, webhook FROM events",
        "an index of what waits for the dispatcher, in its order",
    ),
    ("UPDATE link_sessions SET seen_at", "an index of sessions that retention has not seen, as many as it asks for"),
    ("SELECT version, name, applied_on, checksum", "migrations are few, and read when another test opens a store"),
    ("SELECT app_id, environment, url, failing_since", "addresses are few, and doctor asks"),
    ("SELECT l.link_id, l.app_id, l.environment FROM links l", "walks over all links once, after a start"),
    ("SELECT app_id, name, clock, allowed_origins, disabled_at FROM apps ORDER BY", "applications are few"),
];

/// Steps of SQLite's machine that one run may take: a page of a hundred links, or all that one link has, a few times
/// over. A walk over the ten thousand takes more than a hundred thousand.
const STEPS_MAX: i32 = 20_000;

/// What statements cost: most steps of one run, rows read by walking a table.
static SEEN: Mutex<BTreeMap<String, (i32, i32)>> = Mutex::new(BTreeMap::new());

/// Makes the connection report what it runs.
fn watch(connection: &mut Connection) {
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(note)).expect("the connection reports");
}

fn note(event: TraceEvent<'_>) {
    let TraceEvent::Profile(statement, _) = event else { return };
    // The counters are those of all runs of the statement on its connection.
    let runs = statement.get_status(StatementStatus::Run).max(1);
    let steps = statement.get_status(StatementStatus::VmStep) / runs;
    let walked = statement.get_status(StatementStatus::FullscanStep) / runs;
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let worst = seen.entry(statement.sql().into_owned()).or_default();
    *worst = (worst.0.max(steps), worst.1.max(walked));
}

/// Whether `text` is what the literal of a source makes, whose `{…}` stand for anything.
fn is_made_of(text: &str, literal: &str) -> bool {
    let mut rest = text;
    let mut parts = literal.split('{').map(|part| part.split_once('}').map_or(part, |(_, part)| part));
    let Some(after) = parts.next().and_then(|first| rest.strip_prefix(first)) else { return false };
    rest = after;
    parts.all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_statement_of_a_hot_path_walks_over_other_links() {
    watch_connections(watch);
    let home = Home::new();
    let store = Arc::new(home.open());
    let template = connected_link(1);
    let first = changes(insertion_with_secrets(template.clone()));
    store.commit(Changes { app: Some(app(1)), ..first }).await.unwrap();
    let raw = home.raw();
    raw.execute_batch("BEGIN").unwrap();
    for statement in crowd::statements(&template.id, |text| format!("CAST({text} AS BLOB)")) {
        raw.execute_batch(&statement).unwrap_or_else(|error| panic!("{statement:.200}: {error}"));
    }
    raw.execute_batch("COMMIT").unwrap();
    SEEN.lock().unwrap().clear();
    Walk::new(Arc::clone(&store) as _, 0).run().await;
    commits_in_pieces(&*store).await;
    let seen = SEEN.lock().unwrap().clone();
    store.close().await;

    let reader = home.raw();
    let statistics = reader.prepare("SELECT 1 FROM sqlite_master WHERE name LIKE 'sqlite_stat%'").unwrap().exists([]);
    assert!(!statistics.unwrap(), "this store never has statistics, so a statement has one plan");
    let mut faults = Vec::new();
    for (sql, (steps, walked)) in &seen {
        if MAY_LOOK_AT_ALL.iter().any(|(exempt, _)| sql.starts_with(exempt)) {
            continue;
        }
        if *steps > STEPS_MAX {
            faults.push(format!("{steps} steps: {sql}"));
        }
        // A scan of which no row was read stands for a check that did not have to be made.
        if *walked > 0 {
            faults.extend(scans(&reader, sql).into_iter().map(|scan| format!("{scan} ({walked} rows): {sql}")));
        }
    }
    for (file, source) in sources::directory("src/sqlite") {
        if NOT_FOR_REQUESTS.iter().any(|(exempt, _)| file.ends_with(&format!("/{exempt}"))) {
            continue;
        }
        for literal in sources::statements_of(&source) {
            let text = literal.text.replace("\\u{1}", "\u{1}").replace("\\\"", "\"");
            let is_run = seen.keys().any(|sql| is_made_of(sql, &text));
            let is_exempt = NOT_BY_THE_WALK.iter().any(|(exempt, _)| text.starts_with(exempt));
            if !is_run && !is_exempt {
                faults.push(format!("{file}: neither run by the walk nor listed: {text}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Commits with so many rows that they go in pieces: of a new link, and of one that is there.
async fn commits_in_pieces(store: &dyn Store) {
    let link = connected_link(5);
    let rows: Vec<_> = (0..1_200).map(|number| transaction(7_000_000 + number, "2024-05-01")).collect();
    let logged = |rows: &[Transaction], after: u64| -> Vec<LogEntry> {
        let entry = |(position, row): (u64, &Transaction)| LogEntry {
            position,
            transaction_id: row.id.clone(),
            account_id: row.account_id.clone(),
        };
        (after + 1..).zip(rows).map(entry).collect()
    };
    let log = LogWrites { created: logged(&rows, 0), ..LogWrites::default() };
    let created = TransactionWrites { created: rows.clone(), log, ..TransactionWrites::default() };
    let first = Changes { transactions: Some(created), ..changes(insertion_with_secrets(link.clone())) };
    store.commit(first).await.unwrap();
    let (stay, go) = rows.split_at(600);
    let log = LogWrites { updated: logged(stay, 1_200), removed: logged(go, 1_800), ..LogWrites::default() };
    let removed = go.iter().map(|row| row.id.clone()).collect();
    let changed = TransactionWrites { updated: stay.to_vec(), removed, log, ..TransactionWrites::default() };
    store.commit(Changes { transactions: Some(changed), ..changes(replacement(link, 1)) }).await.unwrap();
}

/// Tables that a statement walks through, as SQLite says it would.
fn scans(reader: &Connection, sql: &str) -> Vec<String> {
    let Ok(mut statement) = reader.prepare(&format!("EXPLAIN QUERY PLAN {sql}")) else { return Vec::new() };
    let details = statement.raw_query().mapped(|row| row.get::<_, String>(3)).collect::<rusqlite::Result<Vec<_>>>();
    // Walking the rows of a subquery or of a list that was given is no walk over a table.
    let is_given = |detail: &str| {
        let given = ["SCAN p", "SCAN json_each", "SCAN newest", "SCAN touched", "SCAN told", "SCAN CONSTANT ROW"];
        given.iter().any(|given| detail.starts_with(given))
    };
    let details = details.unwrap_or_default();
    details.into_iter().filter(|detail| detail.starts_with("SCAN") && !is_given(detail)).collect()
}
