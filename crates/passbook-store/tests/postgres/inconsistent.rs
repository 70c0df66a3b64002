//! Damaged rows: every read answers or says what is wrong, and never panics or quotes what it found.

use passbook_core::secret::SecretBytes;
use passbook_store::port::{Changes, SessionWrite, Store as _, TransactionWrites};

use crate::{Home, examples::*, reading::read_everything};

#[tokio::test]
async fn nonsense_in_any_column_is_reported_and_never_quoted() {
    let Some(home) = Home::create().await else { return };
    let store = home.open().await;
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
    let raw = home.raw().await;
    // Foreign keys would keep some of it out.
    raw.batch_execute("SET session_replication_role = replica").await.unwrap();
    let mut reported = 0;
    for table in ["links", "transactions", "link_sessions", "apps", "jobs"] {
        raw.batch_execute(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await.unwrap();
        let columns = raw
            .query(
                "SELECT column_name::TEXT, udt_name::TEXT FROM information_schema.columns WHERE table_name = $1",
                &[&table],
            )
            .await
            .unwrap();
        for row in columns {
            let (column, kind): (String, String) = (row.get(0), row.get(1));
            let nonsense: &[&str] = match kind.as_str() {
                "text" => &["NULL", "''", "'Sesame'"],
                "bytea" => &["NULL", "''", "'Sesame'::BYTEA", r"'\xFF00FF'::BYTEA"],
                _ => &["NULL", "-1", "9223372036854775807"],
            };
            for value in nonsense {
                // A value that the schema itself refuses cannot come up.
                if raw.batch_execute(&format!("UPDATE {table} SET {column} = {value}")).await.is_ok() {
                    reported += read_everything(&store).await;
                }
            }
            let own = format!("UPDATE {table} SET {column} = (SELECT {column} FROM kept_{table})");
            raw.batch_execute(&own).await.unwrap();
            assert_eq!(read_everything(&store).await, 0, "{table}.{column} is as it was");
        }
    }
    assert!(reported > 60, "{reported}");
    store.close().await;
    home.database.remove().await;
}
