//! Damaged rows: every read answers or says what is wrong, and never panics or quotes what it found.

use passbook_core::secret::SecretBytes;
use passbook_store::{
    port::{Changes, SessionWrite, Store as _, StoreError, TransactionFilter, TransactionWrites},
    sqlite::SqliteStore,
};
use rusqlite::{Connection, types::Value};

use crate::{Home, examples::*};

const NONSENSE: [&str; 7] = ["NULL", "''", "'Sesame'", "-1", "9223372036854775807", "x'FF00FF'", "1.5"];

#[tokio::test]
async fn nonsense_in_any_column_is_reported_and_never_quoted() {
    let home = Home::new();
    let store = home.open();
    let transactions = TransactionWrites { created: vec![transaction(1, "2024-05-01")], ..Default::default() };
    let request = Some(SecretBytes::new(b"{}".to_vec()));
    let session_write = SessionWrite { request, ..session_write(session(1), None) };
    let commit = Changes {
        app: Some(app(1)),
        transactions: Some(transactions),
        session: Some(session_write),
        jobs: vec![job(1, 1, second(0))],
        ..changes(insertion_with_secrets(connected_link(1)))
    };
    store.commit(commit).await.unwrap();
    let raw = home.raw();
    raw.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    let mut reported = 0;
    for table in ["links", "transactions", "link_sessions", "apps", "jobs"] {
        for column in column_names(&raw, table) {
            let own: Value = raw.query_row(&format!("SELECT {column} FROM {table}"), [], |row| row.get(0)).unwrap();
            for value in NONSENSE {
                // A value that the schema itself refuses cannot come up.
                if raw.execute(&format!("UPDATE {table} SET {column} = {value}"), []).is_ok() {
                    reported += read_everything(&store).await;
                }
            }
            raw.execute(&format!("UPDATE {table} SET {column} = ?1"), [&own]).unwrap();
            assert_eq!(read_everything(&store).await, 0, "{table}.{column} is as it was");
        }
    }
    assert!(reported > 100, "{reported}");
}

fn column_names(raw: &Connection, table: &str) -> Vec<String> {
    let mut statement = raw.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// How many reads found something inconsistent. Leases are not taken: that would change the row.
async fn read_everything(store: &SqliteStore) -> usize {
    let (tenant, id) = (tenant(), link(1).id);
    let filter = TransactionFilter { limit: 10, ..TransactionFilter::default() };
    [
        store.lookup_numbers_answer(&tenant, &id).await.err(),
        store.lookup_link_answer(&tenant, &id).await.err(),
        store.lookup_link(&tenant, &id).await.err(),
        store.lookup_secrets(&tenant, &id).await.err(),
        store.list_links(&tenant, None, 10).await.err(),
        store.list_transactions(&tenant, &id, &filter).await.err(),
        store.load_transactions(&tenant, &id, None).await.err(),
        store.lookup_session(&session(1).id).await.err(),
        store.lookup_app(&app_id(1)).await.err(),
        store.list_apps().await.err(),
        store.newest_time(&app_id(1)).await.err(),
        store.next_due_at().await.err(),
        store.lookup_job_state(&job(1, 1, second(0)).id).await.err(),
    ]
    .into_iter()
    .flatten()
    .map(|error| {
        let StoreError::Inconsistent { source, .. } = &error else { panic!("{error}") };
        assert!(!format!("{error:?} {source:?}").contains("Sesame"), "{error:?} quotes what it found");
    })
    .count()
}
