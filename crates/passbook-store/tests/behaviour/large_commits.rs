//! Commits with very many rows: one visible effect, whatever happens meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use passbook_core::{
    change_log::{Change, LogEntry, LogWrites},
    ids::{LinkId, TransactionId},
    link::Link,
    time::AppClock,
    transaction::Transaction,
};
use passbook_store::port::{
    AnswerKey, AnswerWrite, AuditEntry, ChangeFilter, Changes, ClockWrite, CommitError, Guard, NewJob, Reservation,
    Store, TransactionFilter, TransactionWrites, UserTransactionFilter,
};

use crate::examples::*;

crate::on_every_store! {
    a_large_import_of_a_new_link_is_one_effect,
    a_reader_during_a_large_commit_sees_the_old_state_whole,
    updates_removals_and_log_of_many_rows_end_as_those_of_few,
    a_lost_version_leaves_nothing_of_a_large_commit,
    a_lost_answer_leaves_nothing_of_a_large_commit,
    a_row_that_cannot_be_stored_leaves_nothing_of_a_large_commit,
    a_large_commit_that_is_taken_back_leaves_the_one_before_it,
    a_stale_large_import_of_a_known_link_is_refused,
    others_commit_while_a_large_commit_goes_on,
    commits_of_the_same_link_come_one_after_the_other,
    a_large_link_is_deleted_at_once,
    a_large_commit_is_counted_when_it_takes_effect_and_once,
    many_due_times_follow_the_clock,
    a_large_log_without_rows_is_one_effect,
}

/// With as many rows of the log more than any store writes in one piece.
const MANY: u64 = 1_600;

fn of(number: u64) -> Transaction {
    let day = number % 28 + 1;
    transaction(u128::from(number), &format!("2024-{:02}-{day:02}", number / 28 % 12 + 1))
}

fn entry(position: u64, number: u64) -> LogEntry {
    let row = of(number);
    LogEntry { position, transaction_id: row.id, account_id: row.account_id }
}

/// Creates these transactions, logged from position `after` + 1 on.
fn creation(numbers: std::ops::Range<u64>, after: u64) -> TransactionWrites {
    let created: Vec<_> = numbers.clone().map(of).collect();
    let log = numbers.zip(after + 1..).map(|(number, position)| entry(position, number)).collect();
    TransactionWrites {
        created,
        log: LogWrites { created: log, ..LogWrites::default() },
        ..TransactionWrites::default()
    }
}

fn import(link: Link, rows: TransactionWrites) -> Changes {
    Changes { transactions: Some(rows), ..changes(insertion_with_secrets(link)) }
}

/// Link 1 with [`MANY`] transactions.
async fn stored(store: &Arc<dyn Store>) -> Link {
    let link = connected_link(1);
    store.commit(import(link.clone(), creation(0..MANY, 0))).await.unwrap();
    link
}

/// Everything that readers see of a link's rows.
#[derive(Debug, PartialEq)]
struct Seen {
    rows: BTreeMap<String, Transaction>,
    total: u64,
    log: Vec<(u64, &'static str, TransactionId)>,
}

async fn see(store: &Arc<dyn Store>, link: &LinkId) -> Seen {
    let rows = store.load_transactions(&tenant(), link, None).await.unwrap();
    let filter = TransactionFilter { limit: 1, ..TransactionFilter::default() };
    let total = store.list_transactions(&tenant(), link, &filter).await.unwrap().total;
    let filter = ChangeFilter { after: 0, limit: u32::MAX, ..ChangeFilter::default() };
    let log = store.list_transaction_changes(&tenant(), link, &filter).await.unwrap();
    Seen {
        rows: rows.into_iter().map(|row| (row.id.to_string(), row)).collect(),
        total,
        log: log.into_iter().map(|one| (one.position, kind(&one.change).0, kind(&one.change).1)).collect(),
    }
}

fn kind(change: &Change) -> (&'static str, TransactionId) {
    match change {
        Change::Created(row) => ("created", row.id.clone()),
        Change::Updated(row) => ("updated", row.id.clone()),
        Change::Removed(id) => ("removed", id.clone()),
    }
}

async fn a_large_import_of_a_new_link_is_one_effect(store: Arc<dyn Store>) {
    let link = connected_link(1);
    store.commit(import(link.clone(), creation(0..MANY, 0))).await.unwrap();
    let seen = see(&store, &link.id).await;
    assert_eq!((seen.rows.len() as u64, seen.total, seen.log.len() as u64), (MANY, MANY, MANY));
    assert_eq!(seen.rows[of(7).id.as_str()], of(7));
    let stored = store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!((stored.version, stored.link.accounts), (1, link.accounts.clone()));
    let answer = store.lookup_numbers_answer(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!(answer.accounts.expose(), NUMBERS_VIEW);
    for stranger in strangers() {
        assert!(store.lookup_link(&stranger, &link.id).await.unwrap().is_none());
    }
}

async fn a_reader_during_a_large_commit_sees_the_old_state_whole(store: Arc<dyn Store>) {
    let link = stored(&store).await;
    let other = connected_link(2);
    let of_other = TransactionWrites { created: vec![transaction(9_000_000, "2024-06-15")], ..Default::default() };
    store.commit(import(other.clone(), of_other)).await.unwrap();
    let before = see(&store, &link.id).await;
    let rows = creation(MANY..3 * MANY, MANY);
    let commit = {
        let (store, changes) = (Arc::clone(&store), changes(replacement(link.clone(), 1)));
        tokio::spawn(async move { store.commit(Changes { transactions: Some(rows), ..changes }).await })
    };
    let (mut looks, mut is_over) = (0, false);
    while !is_over {
        is_over = commit.is_finished();
        let version = store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap().version;
        let filter = TransactionFilter { limit: 10, ..TransactionFilter::default() };
        let total = store.list_transactions(&tenant(), &link.id, &filter).await.unwrap().total;
        let both = UserTransactionFilter {
            links: vec![link.id.clone(), other.id.clone()],
            accounts: vec![account(1).id],
            limit: 10,
            ..UserTransactionFilter::default()
        };
        let of_both = store.list_user_transactions(&tenant(), &both).await.unwrap();
        assert!([MANY, 3 * MANY].contains(&total), "{total}");
        assert!([MANY + 1, 3 * MANY + 1].contains(&of_both.total), "{}", of_both.total);
        assert_eq!(of_both.items.len(), 10);
        assert!(of_both.items.is_sorted_by(|one, next| one.details.date >= next.details.date));
        if version == 2 {
            assert_eq!(total, 3 * MANY, "what is read after the link's new version is new");
        }
        looks += 1;
    }
    commit.await.unwrap().unwrap();
    assert!(looks > 1);
    let after = see(&store, &link.id).await;
    assert_eq!((before.total, after.total, after.log.len() as u64), (MANY, 3 * MANY, 3 * MANY));
}

async fn updates_removals_and_log_of_many_rows_end_as_those_of_few(store: Arc<dyn Store>) {
    let link = stored(&store).await;
    // The first third goes, the second third swaps its keys in pairs, and as many again come.
    let third = MANY / 3;
    let mut updated: Vec<_> = (third..2 * third).map(of).collect();
    for pair in updated.chunks_exact_mut(2) {
        let (one, other) = pair.split_at_mut(1);
        std::mem::swap(&mut one[0].upstream_key, &mut other[0].upstream_key);
        one[0].details.description = Some("Changed".into());
    }
    let mut position = MANY;
    let mut log_of = |numbers: std::ops::Range<u64>| -> Vec<_> {
        let of_number = |number| {
            position += 1;
            entry(position, number)
        };
        numbers.map(of_number).collect()
    };
    let writes = TransactionWrites {
        link_id: None,
        removed: (0..third).map(|number| of(number).id).collect(),
        created: (MANY..MANY + third).map(of).collect(),
        log: LogWrites {
            dropped: (0..10).map(|number| of(number).id).collect(),
            removed: log_of(10..third),
            updated: log_of(third..2 * third),
            created: log_of(MANY..MANY + third),
        },
        updated: updated.clone(),
    };
    let commit = Changes { transactions: Some(writes), ..changes(replacement(link.clone(), 1)) };
    store.commit(commit).await.unwrap();
    let seen = see(&store, &link.id).await;
    assert_eq!(seen.total, MANY);
    assert!(!seen.rows.contains_key(of(0).id.as_str()) && seen.rows.contains_key(of(MANY).id.as_str()));
    for row in &updated {
        assert_eq!(seen.rows[row.id.as_str()], *row);
    }
    let count = |kind: &str| seen.log.iter().filter(|(_, found, _)| *found == kind).count() as u64;
    // A reader from the start is not told of what came and went.
    assert_eq!((count("removed"), count("updated"), count("created")), (0, third, MANY));
    let filter = ChangeFilter { after: MANY, limit: u32::MAX, ..ChangeFilter::default() };
    let since = store.list_transaction_changes(&tenant(), &link.id, &filter).await.unwrap();
    assert_eq!(since.len() as u64, third - 10 + third + third);
}

async fn a_large_commit_is_counted_when_it_takes_effect_and_once(store: Arc<dyn Store>) {
    let rows = async || store.app_usage(&app_id(1)).await.unwrap().rows;
    assert_eq!(rows().await, 0);
    let link = stored(&store).await;
    assert_eq!(rows().await, 1 + MANY);
    let bytes = store.app_usage(&app_id(1)).await.unwrap().bytes;
    assert!(bytes > 500 * MANY, "{bytes}");
    let stale = everything_changed(&link, 7);
    assert!(matches!(store.commit(stale).await, Err(CommitError::Conflict(_))));
    assert_eq!(rows().await, 1 + MANY, "what was refused is not counted");
    let more = Changes { transactions: Some(creation(MANY..3 * MANY, MANY)), ..changes(replacement(link.clone(), 1)) };
    store.commit(more).await.unwrap();
    assert_eq!(rows().await, 1 + 3 * MANY);
    let fewer = TransactionWrites {
        removed: (0..2 * MANY).map(|number| of(number).id).collect(),
        log: LogWrites {
            removed: (0..2 * MANY).map(|number| entry(3 * MANY + 1 + number, number)).collect(),
            ..LogWrites::default()
        },
        ..TransactionWrites::default()
    };
    store.commit(Changes { transactions: Some(fewer), ..changes(replacement(link.clone(), 2)) }).await.unwrap();
    assert_eq!(rows().await, 1 + MANY);
    store.commit(changes(deletion(link, 3))).await.unwrap();
    let usage = store.app_usage(&app_id(1)).await.unwrap();
    assert_eq!((usage.rows, usage.bytes), (0, 0));
}

/// Everything at once that a refused commit could leave something of.
fn everything_changed(link: &Link, version: u64) -> Changes {
    let half = MANY / 2;
    let mut updated: Vec<_> = (half..MANY).map(of).collect();
    updated.iter_mut().for_each(|row| row.details.description = Some("Changed".into()));
    let writes = TransactionWrites {
        link_id: None,
        removed: (0..half).map(|number| of(number).id).collect(),
        updated,
        created: (MANY..2 * MANY).map(of).collect(),
        log: LogWrites {
            dropped: (0..5).map(|number| of(number).id).collect(),
            removed: (5..half).map(|number| entry(MANY + number, number)).collect(),
            updated: (half..MANY).map(|number| entry(MANY + number, number)).collect(),
            created: (MANY..2 * MANY).map(|number| entry(MANY + number, number)).collect(),
        },
    };
    let audit =
        AuditEntry { tenant: tenant(), actor: "worker".into(), action: "refresh", link_id: None, at: second(0) };
    Changes { transactions: Some(writes), audit: vec![audit], ..changes(replacement(link.clone(), version)) }
}

async fn a_lost_version_leaves_nothing_of_a_large_commit(store: Arc<dyn Store>) {
    let link = stored(&store).await;
    let before = see(&store, &link.id).await;
    let refused = store.commit(everything_changed(&link, 7)).await;
    assert!(matches!(refused, Err(CommitError::Conflict(Guard::Link))));
    assert_eq!(see(&store, &link.id).await, before);
    store.commit(everything_changed(&link, 1)).await.unwrap();
    assert_ne!(see(&store, &link.id).await, before);
}

async fn a_lost_answer_leaves_nothing_of_a_large_commit(store: Arc<dyn Store>) {
    let link = stored(&store).await;
    let before = see(&store, &link.id).await;
    let key = AnswerKey { tenant: tenant(), hash: "k".repeat(64) };
    let reserved = store.reserve_answer(&key, &[1; 32], second(0), second(60)).await.unwrap();
    let Reservation::Reserved { fence } = reserved else { panic!("the key is new") };
    let answer = |fence| AnswerWrite {
        key: key.clone(),
        fence,
        status: 201,
        body: passbook_core::secret::SecretBytes::new(b"{}".to_vec()),
        link_id: Some(link.id.clone()),
        expires_at: second(3_600),
    };
    let refused = store.commit(Changes { answer: Some(answer(fence + 1)), ..everything_changed(&link, 1) }).await;
    assert!(matches!(refused, Err(CommitError::Conflict(_))));
    assert_eq!(see(&store, &link.id).await, before);
    store.commit(Changes { answer: Some(answer(fence)), ..everything_changed(&link, 1) }).await.unwrap();
}

/// The last row breaks the commit, when everything before it is written.
async fn a_row_that_cannot_be_stored_leaves_nothing_of_a_large_commit(store: Arc<dyn Store>) {
    let link = stored(&store).await;
    let before = see(&store, &link.id).await;
    let mut commit = everything_changed(&link, 1);
    // A position that is taken.
    commit.transactions.as_mut().unwrap().log.created.last_mut().unwrap().position = MANY + 6;
    let refused = store.commit(commit).await;
    assert!(matches!(refused, Err(CommitError::Conflict(Guard::Link))));
    assert_eq!(see(&store, &link.id).await, before);
    assert_eq!(store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap().version, 1);
    // The same for a link that is new: not even its place is left.
    let fresh = connected_link(2);
    let mut rows = creation(0..MANY, 0);
    rows.log.created.last_mut().unwrap().position = 1;
    let refused = store.commit(import(fresh.clone(), rows)).await;
    assert!(matches!(refused, Err(CommitError::Conflict(Guard::Link))));
    assert!(store.lookup_link(&tenant(), &fresh.id).await.unwrap().is_none());
    assert!(see(&store, &fresh.id).await.rows.is_empty());
    store.commit(import(fresh.clone(), creation(0..MANY, 0))).await.unwrap();
    assert_eq!(see(&store, &fresh.id).await.total, MANY);
}

async fn a_large_commit_that_is_taken_back_leaves_the_one_before_it(store: Arc<dyn Store>) {
    let link = stored(&store).await;
    let first = creation(MANY..2 * MANY, MANY);
    let mut second = creation(2 * MANY..3 * MANY, 2 * MANY);
    // A position that is taken, behind many rows that can be stored.
    second.log.created.last_mut().unwrap().position = MANY + 6;
    let commit = |rows, version| {
        let changes = Changes { transactions: Some(rows), ..changes(replacement(link.clone(), version)) };
        store.commit(changes)
    };
    // Both wait at the same time, so that nothing comes between them.
    let (first, second) = tokio::join!(commit(first, 1), commit(second, 2));
    first.unwrap();
    assert!(matches!(second, Err(CommitError::Conflict(Guard::Link))));
    let seen = see(&store, &link.id).await;
    assert_eq!((seen.total, seen.rows.len() as u64, seen.log.len() as u64), (2 * MANY, 2 * MANY, 2 * MANY));
    assert_eq!(seen.rows[of(MANY).id.as_str()], of(MANY));
    // And after it, the next one works.
    commit(creation(2 * MANY..3 * MANY, 2 * MANY), 2).await.unwrap();
    assert_eq!(see(&store, &link.id).await.total, 3 * MANY);
}

async fn a_stale_large_import_of_a_known_link_is_refused(store: Arc<dyn Store>) {
    let link = stored(&store).await;
    let before = see(&store, &link.id).await;
    let again = store.commit(import(link.clone(), creation(MANY..2 * MANY, MANY))).await;
    assert!(matches!(again, Err(CommitError::Conflict(Guard::Link))));
    assert_eq!(see(&store, &link.id).await, before);
}

async fn others_commit_while_a_large_commit_goes_on(store: Arc<dyn Store>) {
    let large = {
        let store = Arc::clone(&store);
        let rows = creation(0..8 * MANY, 0);
        tokio::spawn(async move { store.commit(import(connected_link(1), rows)).await })
    };
    let mut committed = 0;
    while !large.is_finished() {
        store.commit(changes(insertion(link(100 + committed)))).await.unwrap();
        committed += 1;
    }
    large.await.unwrap().unwrap();
    assert!(committed >= 5, "only {committed} other commits ended meanwhile");
    assert_eq!(see(&store, &link(1).id).await.total, 8 * MANY);
}

async fn commits_of_the_same_link_come_one_after_the_other(store: Arc<dyn Store>) {
    let link = stored(&store).await;
    let all: Vec<_> = (0..6)
        .map(|number: u64| {
            let (store, link) = (Arc::clone(&store), link.clone());
            let rows = match number % 2 {
                0 => creation((number + 1) * MANY..(number + 2) * MANY, MANY),
                _ => creation((number + 1) * MANY..(number + 1) * MANY + 1, MANY),
            };
            let commit = Changes { transactions: Some(rows), ..changes(replacement(link, 1)) };
            tokio::spawn(async move { (number, store.commit(commit).await) })
        })
        .collect();
    let mut won = Vec::new();
    for one in all {
        let (number, result) = one.await.unwrap();
        match result {
            Ok(()) => won.push(number),
            Err(error) => assert!(matches!(error, CommitError::Conflict(Guard::Link)), "{error}"),
        }
    }
    let [winner] = won[..] else { panic!("{won:?} won") };
    let added = if winner % 2 == 0 { MANY } else { 1 };
    assert_eq!(see(&store, &link.id).await.total, MANY + added);
    assert_eq!(store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap().version, 2);
}

async fn a_large_link_is_deleted_at_once(store: Arc<dyn Store>) {
    let link = stored(&store).await;
    store.commit(changes(deletion(link.clone(), 1))).await.unwrap();
    let seen = see(&store, &link.id).await;
    assert_eq!((seen.rows.len(), seen.total, seen.log.len()), (0, 0, 0));
    let both = UserTransactionFilter {
        links: vec![link.id.clone()],
        accounts: vec![account(1).id],
        limit: 10,
        ..UserTransactionFilter::default()
    };
    assert_eq!(store.list_user_transactions(&tenant(), &both).await.unwrap().total, 0);
    assert!(store.lookup_secrets(&tenant(), &link.id).await.unwrap().is_none());
}

async fn many_due_times_follow_the_clock(store: Arc<dyn Store>) {
    store.commit(Changes { app: Some(app(1)), ..Changes::default() }).await.unwrap();
    stored_link(&*store, 1).await;
    let jobs = (0..1_500)
        .map(|number| {
            let due = second(3_600);
            NewJob { app_due_at: Some(due), ..job(number, 1, due) }
        })
        .collect();
    store.commit(Changes { jobs, ..Changes::default() }).await.unwrap();
    assert_eq!(store.count_due_jobs(&app_id(1), second(0)).await.unwrap(), 0);
    let clock = AppClock::default().advance(7_200).unwrap();
    let write = ClockWrite { app_id: app_id(1), expected: AppClock::default(), clock, now: second(0) };
    store.commit(Changes { clock: Some(write), ..Changes::default() }).await.unwrap();
    assert_eq!(store.count_due_jobs(&app_id(1), second(0)).await.unwrap(), 1_500);
}

/// Writes the log alone, as when accounts become visible and their unchanged rows are listed again.
async fn a_large_log_without_rows_is_one_effect(store: Arc<dyn Store>) {
    let link = stored(&store).await;
    let log = LogWrites {
        dropped: (0..MANY).map(|number| of(number).id).collect(),
        created: (0..MANY).map(|number| entry(MANY + 1 + number, number)).collect(),
        ..LogWrites::default()
    };
    let writes = TransactionWrites { log, ..TransactionWrites::default() };
    let commit =
        |version, writes| Changes { transactions: Some(writes), ..changes(replacement(link.clone(), version)) };
    store.commit(commit(1, writes)).await.unwrap();
    let seen = see(&store, &link.id).await;
    assert_eq!((seen.total, seen.log.len() as u64, seen.log[0].0), (MANY, MANY, MANY + 1));
}
