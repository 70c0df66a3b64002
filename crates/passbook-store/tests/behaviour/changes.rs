//! The change log of transactions: what is written and what a reader at a position is given.

use std::sync::Arc;

use passbook_core::{
    change_log::{Change, ChangeKind, LogEntry, LogWrites, LoggedChange},
    ids::{AccountId, LinkId, TransactionId},
    transaction::Transaction,
};
use passbook_store::port::{ChangeFilter, Changes, CommitError, Guard, Store, TransactionWrites};

use crate::examples::*;

crate::on_every_store! {
    changes_are_read_in_order_from_any_position,
    an_update_moves_and_shows_the_row_as_it_is,
    a_removal_is_told_to_those_who_saw_the_row,
    a_dropped_row_leaves_no_trace,
    a_row_may_be_shown_anew,
    changes_are_narrowed_to_accounts,
    other_tenants_see_no_change,
    a_position_is_given_once,
    a_deleted_link_has_no_change,
}

fn entry(position: u64, bits: u128) -> LogEntry {
    let account_id = AccountId::from_bits(1);
    LogEntry { position, transaction_id: TransactionId::from_bits(bits), account_id }
}

fn written(writes: TransactionWrites) -> Changes {
    let writes = TransactionWrites { link_id: Some(LinkId::from_bits(1)), ..writes };
    Changes { transactions: Some(writes), ..Changes::default() }
}

/// Rows 1 to `count`, created at the positions of their numbers.
async fn created(store: &Arc<dyn Store>, count: u64) -> Vec<Transaction> {
    stored_link(&**store, 1).await;
    let rows: Vec<_> = (1..=count).map(|n| transaction(n.into(), "2024-05-01")).collect();
    let log = LogWrites { created: (1..=count).map(|n| entry(n, n.into())).collect(), ..LogWrites::default() };
    store.commit(written(TransactionWrites { created: rows.clone(), log, ..Default::default() })).await.unwrap();
    rows
}

async fn after(store: &Arc<dyn Store>, after: u64, limit: u32) -> Vec<LoggedChange> {
    let filter = ChangeFilter { after, accounts: None, limit };
    store.list_transaction_changes(&tenant(), &LinkId::from_bits(1), &filter).await.unwrap()
}

/// Positions with kind and transaction.
fn outline(changes: &[LoggedChange]) -> Vec<(u64, ChangeKind, TransactionId)> {
    changes
        .iter()
        .map(|logged| match &logged.change {
            Change::Created(row) => (logged.position, ChangeKind::Created, row.id.clone()),
            Change::Updated(row) => (logged.position, ChangeKind::Updated, row.id.clone()),
            Change::Removed(id) => (logged.position, ChangeKind::Removed, id.clone()),
        })
        .collect()
}

fn expected(rows: &[(u64, ChangeKind, u128)]) -> Vec<(u64, ChangeKind, TransactionId)> {
    rows.iter().map(|(position, kind, bits)| (*position, *kind, TransactionId::from_bits(*bits))).collect()
}

async fn changes_are_read_in_order_from_any_position(store: Arc<dyn Store>) {
    let rows = created(&store, 5).await;
    let all = after(&store, 0, 100).await;
    assert_eq!(all.iter().map(|logged| logged.position).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let shown: Vec<_> = rows.iter().cloned().map(Change::Created).collect();
    assert_eq!(all.into_iter().map(|logged| logged.change).collect::<Vec<_>>(), shown);
    let some = after(&store, 2, 2).await;
    assert_eq!(outline(&some), expected(&[(3, ChangeKind::Created, 3), (4, ChangeKind::Created, 4)]));
    assert!(after(&store, 5, 100).await.is_empty());
    assert!(after(&store, u64::MAX, 100).await.is_empty());
}

async fn an_update_moves_and_shows_the_row_as_it_is(store: Arc<dyn Store>) {
    let rows = created(&store, 2).await;
    for position in [3, 4] {
        let mut row = rows[0].clone();
        row.details.description = Some(format!("at {position}"));
        let log = LogWrites { updated: vec![entry(position, 1)], ..LogWrites::default() };
        store.commit(written(TransactionWrites { updated: vec![row], log, ..Default::default() })).await.unwrap();
    }
    let all = after(&store, 0, 100).await;
    assert_eq!(
        outline(&all),
        expected(&[(1, ChangeKind::Created, 1), (2, ChangeKind::Created, 2), (4, ChangeKind::Updated, 1)])
    );
    let Change::Created(shown) = &all[0].change else { panic!("{all:?}") };
    assert_eq!(shown.details.description.as_deref(), Some("at 4"));
}

async fn a_removal_is_told_to_those_who_saw_the_row(store: Arc<dyn Store>) {
    let mut rows = created(&store, 3).await;
    rows[1].details.description = Some("changed".into());
    let log = LogWrites { updated: vec![entry(4, 2)], ..LogWrites::default() };
    store
        .commit(written(TransactionWrites { updated: vec![rows[1].clone()], log, ..Default::default() }))
        .await
        .unwrap();
    let log = LogWrites { removed: vec![entry(5, 2)], ..LogWrites::default() };
    let removed = vec![rows[1].id.clone()];
    store.commit(written(TransactionWrites { removed, log, ..Default::default() })).await.unwrap();

    assert_eq!(
        outline(&after(&store, 0, 9).await),
        expected(&[(1, ChangeKind::Created, 1), (3, ChangeKind::Created, 3)])
    );
    assert_eq!(outline(&after(&store, 1, 9).await), expected(&[(3, ChangeKind::Created, 3)]));
    let told = expected(&[(3, ChangeKind::Created, 3), (5, ChangeKind::Removed, 2)]);
    assert_eq!(outline(&after(&store, 2, 9).await), told);
    assert_eq!(outline(&after(&store, 4, 9).await), expected(&[(5, ChangeKind::Removed, 2)]));
    assert!(after(&store, 5, 9).await.is_empty());
}

async fn a_dropped_row_leaves_no_trace(store: Arc<dyn Store>) {
    let rows = created(&store, 2).await;
    let log = LogWrites { dropped: vec![rows[0].id.clone()], created: vec![entry(3, 9)], ..LogWrites::default() };
    let writes = TransactionWrites {
        removed: vec![rows[0].id.clone()],
        created: vec![transaction(9, "2024-05-01")],
        log,
        ..Default::default()
    };
    store.commit(written(writes)).await.unwrap();
    for (position, count) in [(0, 2), (1, 2), (2, 1), (3, 0)] {
        assert_eq!(after(&store, position, 9).await.len(), count, "{position}");
    }
    // Nobody was ever told of what has no row.
    let log = LogWrites { removed: vec![entry(4, 77)], ..LogWrites::default() };
    store.commit(written(TransactionWrites { log, ..Default::default() })).await.unwrap();
    assert!(after(&store, 3, 9).await.is_empty());
}

async fn a_row_may_be_shown_anew(store: Arc<dyn Store>) {
    let rows = created(&store, 2).await;
    let log = LogWrites { dropped: vec![rows[0].id.clone()], created: vec![entry(3, 1)], ..LogWrites::default() };
    store.commit(written(TransactionWrites { log, ..Default::default() })).await.unwrap();
    assert_eq!(
        outline(&after(&store, 0, 9).await),
        expected(&[(2, ChangeKind::Created, 2), (3, ChangeKind::Created, 1)])
    );
}

async fn changes_are_narrowed_to_accounts(store: Arc<dyn Store>) {
    created(&store, 2).await;
    let other = AccountId::from_bits(2);
    let row = Transaction { account_id: other.clone(), ..transaction(3, "2024-05-01") };
    let log =
        LogWrites { created: vec![LogEntry { account_id: other.clone(), ..entry(3, 3) }], ..LogWrites::default() };
    store.commit(written(TransactionWrites { created: vec![row], log, ..Default::default() })).await.unwrap();
    let of = async |accounts: Vec<AccountId>| {
        let filter = ChangeFilter { after: 0, accounts: Some(accounts), limit: 9 };
        let found = store.list_transaction_changes(&tenant(), &LinkId::from_bits(1), &filter).await.unwrap();
        found.into_iter().map(|logged| logged.position).collect::<Vec<_>>()
    };
    assert_eq!(of(vec![other.clone()]).await, [3]);
    assert_eq!(of(vec![AccountId::from_bits(1)]).await, [1, 2]);
    assert_eq!(of(vec![AccountId::from_bits(1), other]).await, [1, 2, 3]);
    assert_eq!(of(Vec::new()).await, [0_u64; 0]);
}

async fn other_tenants_see_no_change(store: Arc<dyn Store>) {
    created(&store, 2).await;
    for stranger in strangers() {
        let filter = ChangeFilter { after: 0, accounts: None, limit: 9 };
        let found = store.list_transaction_changes(&stranger, &LinkId::from_bits(1), &filter).await.unwrap();
        assert!(found.is_empty());
    }
}

async fn a_position_is_given_once(store: Arc<dyn Store>) {
    created(&store, 2).await;
    let log = LogWrites { created: vec![entry(2, 9)], ..LogWrites::default() };
    let created = vec![transaction(9, "2024-05-01")];
    let refused = store.commit(written(TransactionWrites { created, log, ..Default::default() })).await;
    assert!(matches!(refused, Err(CommitError::Conflict(Guard::Link))));
    assert_eq!(store.load_transactions(&tenant(), &LinkId::from_bits(1), None).await.unwrap().len(), 2);
}

async fn a_deleted_link_has_no_change(store: Arc<dyn Store>) {
    created(&store, 2).await;
    let stored = store.lookup_link(&tenant(), &LinkId::from_bits(1)).await.unwrap().unwrap();
    store.commit(changes(deletion(stored.link, stored.version))).await.unwrap();
    assert!(after(&store, 0, 9).await.is_empty());
}
