//! Large commits and deletions go in pieces: what a crash in between leaves, and who gets on meanwhile.

use std::sync::Arc;

use passbook_core::{
    change_log::{LogEntry, LogWrites},
    link::Link,
};
use passbook_store::{
    port::{Changes, Store as _, TransactionFilter, TransactionWrites, Upkeep as _},
    sqlite::{RestoreOptions, SqliteStore, restore},
};
use rusqlite::Connection;

use crate::{Home, examples::*};

const MANY: u64 = 2_000;

fn import(link: Link, version: Option<u64>, numbers: std::ops::Range<u64>) -> Changes {
    let created: Vec<_> = numbers.clone().map(|number| transaction(number.into(), "2024-05-01")).collect();
    let entries = created.iter().zip(numbers).map(|(row, number)| LogEntry {
        position: number + 1,
        transaction_id: row.id.clone(),
        account_id: row.account_id.clone(),
    });
    let log = LogWrites { created: entries.collect(), ..LogWrites::default() };
    let writes = TransactionWrites { created, log, ..TransactionWrites::default() };
    let write = match version {
        None => insertion_with_secrets(link),
        Some(version) => replacement(link, version),
    };
    Changes { transactions: Some(writes), ..changes(write) }
}

async fn total(store: &SqliteStore, link: &Link) -> u64 {
    let filter = TransactionFilter { limit: 1, ..TransactionFilter::default() };
    store.list_transactions(&tenant(), &link.id, &filter).await.unwrap().total
}

fn count(raw: &Connection, sql: &str) -> i64 {
    raw.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Makes each row that is written or erased cost some hundredths of a millisecond more, so that a commit takes long enough to
/// be looked at however busy the machine is.
fn slow_down(raw: &Connection) {
    for event in ["INSERT", "DELETE"] {
        let trigger = format!(
            "CREATE TRIGGER slow_{event} AFTER {event} ON transactions BEGIN
                 SELECT COUNT(*) FROM (WITH RECURSIVE step(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM step WHERE n < 300)
                     SELECT n FROM step);
             END"
        );
        raw.execute_batch(&trigger).unwrap();
    }
}

fn at_full_speed(raw: &Connection) {
    // The writer leaves little time between two pieces.
    raw.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    raw.execute_batch("DROP TRIGGER slow_INSERT; DROP TRIGGER slow_DELETE").unwrap();
}

/// Ends the store's files where they are when `is_there` first holds, as a crash would, and gives them a home.
async fn crash_during(home: &Home, commit: Changes, is_there: &str) -> Home {
    let store = Arc::new(home.open());
    slow_down(&home.raw());
    let running = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.commit(commit).await })
    };
    let raw = home.raw();
    let copy = Home { directory: tempfile::tempdir().unwrap(), key: home.key.clone() };
    loop {
        // Asked before looking: a deletion is acknowledged while its rows are still being erased.
        let was_finished = running.is_finished();
        // What one reader sees is what recovery finds: whole transactions.
        raw.execute_batch("BEGIN").unwrap();
        if count(&raw, is_there) > 0 {
            let mut target = Connection::open(copy.database()).unwrap();
            let backup = rusqlite::backup::Backup::new(&raw, &mut target).unwrap();
            backup.step(-1).unwrap();
            drop(backup);
            raw.execute_batch("COMMIT").unwrap();
            break;
        }
        raw.execute_batch("COMMIT").unwrap();
        assert!(!was_finished, "the commit was never seen half done");
        tokio::task::yield_now().await;
    }
    at_full_speed(&raw);
    running.await.unwrap().unwrap();
    store.close().await;
    at_full_speed(&copy.raw());
    copy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_commits_that_wait_are_done_before_the_store_closes() {
    let home = Home::new();
    let store = home.open();
    let mut commits: Vec<_> = (1_u32..=3)
        .map(|number| {
            let rows = u64::from(number) * 4 * MANY..u64::from(number) * 4 * MANY + 3 * MANY;
            Box::pin(store.commit(import(connected_link(number.into()), None, rows)))
        })
        .collect();
    for commit in &mut commits {
        // A commit is queued as soon as it is looked at.
        assert!(futures_util::poll!(commit).is_pending());
    }
    store.close().await;
    for commit in commits {
        commit.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_pieces_leaves_nothing_of_an_import() {
    let home = Home::new();
    let fresh = connected_link(1);
    let half_done = "SELECT COUNT(*) >= 128 AND EXISTS (SELECT 1 FROM unfinished_work) FROM transactions";
    let copy = crash_during(&home, import(fresh.clone(), None, 0..4 * MANY), half_done).await;
    let raw = copy.raw();
    assert!(count(&raw, "SELECT COUNT(*) FROM transactions") > 0);
    assert_eq!(count(&raw, "SELECT COUNT(*) FROM unfinished_work WHERE kind = 'commit'"), 1);
    drop(raw);
    let store = copy.open();
    assert!(store.lookup_link(&tenant(), &fresh.id).await.unwrap().is_none());
    for table in ["transactions", "transaction_changes", "links", "unfinished_work"] {
        assert_eq!(count(&copy.raw(), &format!("SELECT COUNT(*) FROM {table}")), 0, "{table}");
    }
    store.commit(import(fresh.clone(), None, 0..MANY)).await.unwrap();
    assert_eq!(total(&store, &fresh).await, MANY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_pieces_puts_changed_rows_back() {
    let home = Home::new();
    let known = connected_link(1);
    let store = home.open();
    store.commit(import(known.clone(), None, 0..MANY)).await.unwrap();
    store.close().await;
    drop(store);
    let rows = |raw: &Connection| -> Vec<String> {
        let sql = "SELECT json_array(transaction_id, upstream_key, amount, date, description, pending) \
            FROM transactions ORDER BY 1";
        let log = "SELECT json_array(position, transaction_id, kind, since) FROM transaction_changes ORDER BY position";
        let read = |sql| -> Vec<String> {
            let mut statement = raw.prepare(sql).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        [read(sql), read(log)].concat()
    };
    let before = rows(&home.raw());
    let mut commit = import(known.clone(), Some(1), MANY..4 * MANY);
    let writes = commit.transactions.as_mut().unwrap();
    writes.removed = (0..MANY / 2).map(|number| transaction(number.into(), "2024-05-01").id).collect();
    writes.updated = (MANY / 2..MANY).map(|number| transaction(number.into(), "2024-05-02")).collect();
    writes.log.dropped = writes.removed.clone();
    let half_done = "SELECT COUNT(*) > 2000 AND EXISTS (SELECT 1 FROM unfinished_work) FROM transactions";
    let copy = crash_during(&home, commit, half_done).await;
    assert_ne!(rows(&copy.raw()), before);
    copy.open().close().await;
    assert_eq!(rows(&copy.raw()), before);
    assert_eq!(count(&copy.raw(), "SELECT COUNT(*) FROM unfinished_work"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_between_pieces_restores_to_the_state_before() {
    let home = Home::new();
    let store = Arc::new(home.open());
    let fresh = connected_link(1);
    stored_link(&*store, 2).await;
    slow_down(&home.raw());
    let running = {
        let (store, commit) = (Arc::clone(&store), import(fresh.clone(), None, 0..8 * MANY));
        tokio::spawn(async move { store.commit(commit).await })
    };
    let raw = home.raw();
    while count(&raw, "SELECT COUNT(*) FROM unfinished_work") == 0 {
        assert!(!running.is_finished());
        tokio::task::yield_now().await;
    }
    store.back_up(&home.path("backup")).await.unwrap();
    assert!(store.examine().await.unwrap().damage.is_empty());
    at_full_speed(&raw);
    running.await.unwrap().unwrap();
    let copy = Home { directory: tempfile::tempdir().unwrap(), key: home.key.clone() };
    let options = RestoreOptions {
        from: &home.path("backup"),
        database: &copy.database(),
        deletion_ledger: &copy.path("deletions.ledger"),
        deletions: None,
        master_keys: std::slice::from_ref(&copy.key),
    };
    restore(&options).unwrap();
    let restored = copy.open();
    assert!(restored.lookup_link(&tenant(), &link(2).id).await.unwrap().is_some());
    // Whole or not at all; it may have ended before the copy began.
    let is_there = restored.lookup_link(&tenant(), &fresh.id).await.unwrap().is_some();
    assert_eq!(total(&restored, &fresh).await, if is_there { 8 * MANY } else { 0 });
    let rows = count(&copy.raw(), "SELECT COUNT(*) FROM transactions");
    assert_eq!(rows as u64, if is_there { 8 * MANY } else { 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_deleted_link_are_erased_in_pieces_and_a_crash_does_not_keep_them() {
    let home = Home::new();
    let large = connected_link(1);
    let store = home.open();
    store.commit(import(large.clone(), None, 0..3 * MANY)).await.unwrap();
    store.close().await;
    drop(store);
    let left = "SELECT COUNT(*) FROM unfinished_work WHERE kind = 'erase'";
    let copy = crash_during(&home, changes(deletion(large.clone(), 1)), left).await;
    assert!(count(&copy.raw(), "SELECT COUNT(*) FROM transactions") > 0);
    for home in [&home, &copy] {
        let store = home.open();
        assert_eq!(total(&store, &large).await, 0);
        store.close().await;
        drop(store);
        for table in ["transactions", "transaction_changes", "unfinished_work"] {
            assert_eq!(count(&home.raw(), &format!("SELECT COUNT(*) FROM {table}")), 0, "{table}");
        }
    }
}
