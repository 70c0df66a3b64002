//! Damaged rows: every read answers or says what is wrong, and never panics or quotes what it found.

use passbook_core::secret::SecretBytes;
use passbook_store::port::{Changes, SessionWrite, Store as _, TransactionWrites};
use rusqlite::{Connection, types::Value};

use crate::{Home, examples::*, reading::read_everything};

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
