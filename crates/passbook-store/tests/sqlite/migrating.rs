//! Stores that earlier releases made.

use passbook_core::{change_log::Change, link::Counters};
use passbook_store::port::{ChangeFilter, Changes, Store as _, TransactionWrites};

use crate::{Home, examples::*};

/// Undoes the migration that made the change log.
const BEFORE_CHANGES: &str = "DROP TABLE transaction_changes; ALTER TABLE transactions DROP COLUMN pending_id; \
    DROP INDEX transactions_listed; \
    CREATE INDEX transactions_listed ON transactions (link_id, date DESC, datetime DESC, transaction_id DESC);";
const FOLLOW_CHANGES: &str = include_str!("../../migrations/sqlite/V6__follow_changes.sql");
/// Documents of that time do not count changes.
const OLD_DOCUMENTS: &str =
    "UPDATE links SET document = CAST(replace(CAST(document AS TEXT), ',\"changes\":0', '') AS BLOB)";

#[tokio::test]
async fn transactions_from_before_the_change_log_can_be_followed() {
    let home = Home::new();
    let store = home.open();
    let rows = [transaction(5, "2024-05-01"), transaction(4, "2024-05-01"), transaction(3, "2024-05-02")];
    for link in [1, 2] {
        let mut link = connected_link(link);
        link.counters = Counters { transactions: 7, ..Counters::default() };
        let created = rows.to_vec();
        let transactions = Some(TransactionWrites { created, ..TransactionWrites::default() });
        store.commit(Changes { transactions, ..changes(insertion(link)) }).await.unwrap();
    }
    store.close().await;
    drop(store);
    let raw = home.raw();
    raw.execute_batch(BEFORE_CHANGES).unwrap();
    assert_eq!(raw.execute(OLD_DOCUMENTS, []).unwrap(), 2);
    raw.execute_batch(FOLLOW_CHANGES).unwrap();
    drop(raw);

    let store = home.open();
    let filter = ChangeFilter { after: 0, accounts: None, limit: 9 };
    for link in [link(1), link(2)] {
        let found = store.list_transaction_changes(&tenant(), &link.id, &filter).await.unwrap();
        let found: Vec<_> = found
            .into_iter()
            .map(|logged| match logged.change {
                Change::Created(row) => (logged.position, row.id),
                other => panic!("{other:?}"),
            })
            .collect();
        let mut expected: Vec<_> = rows.iter().map(|row| (row.details.date, row.id.clone())).collect();
        expected.sort();
        assert_eq!(found, (1..).zip(expected.into_iter().map(|(_, id)| id)).collect::<Vec<_>>());
        let stored = store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap();
        assert_eq!(stored.link.counters.changes, 7, "no position is given again");
    }
    store.close().await;
}
