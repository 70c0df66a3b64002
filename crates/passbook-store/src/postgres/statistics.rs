//! Statistics for the server's planner.
//!
//! A database that was restored or upgraded has none until the server's own upkeep comes by, and a column that a
//! migration adds has none either. No statement of a hot path depends on them (`tests/postgres/plans.rs`); long lists and
//! upkeep are still better off with them. So opening a store looks once, and makes what is missing beside the serving.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::{sync::watch, time::timeout};
use tokio_postgres::{Error, error::SqlState};

use super::{connect::Connector, failure::Told};

/// Every table whose rows become many, or are joined with such.
const TABLES: [&str; 19] = [
    "apps",
    "clients",
    "access_tokens",
    "links",
    "transactions",
    "transaction_changes",
    "holdings",
    "investment_transactions",
    "jobs",
    "events",
    "webhook_addresses",
    "deliveries",
    "link_sessions",
    "kept_answers",
    "app_institutions",
    "ordinals",
    "audit",
    "link_usage",
    "app_usage",
];
// In the order of the tables. Statistics of an empty table say that it is small, which is worse than none.
const HAS_ROWS: [&str; 19] = [
    "SELECT 1 FROM apps LIMIT 1",
    "SELECT 1 FROM clients LIMIT 1",
    "SELECT 1 FROM access_tokens LIMIT 1",
    "SELECT 1 FROM links LIMIT 1",
    "SELECT 1 FROM transactions LIMIT 1",
    "SELECT 1 FROM transaction_changes LIMIT 1",
    "SELECT 1 FROM holdings LIMIT 1",
    "SELECT 1 FROM investment_transactions LIMIT 1",
    "SELECT 1 FROM jobs LIMIT 1",
    "SELECT 1 FROM events LIMIT 1",
    "SELECT 1 FROM webhook_addresses LIMIT 1",
    "SELECT 1 FROM deliveries LIMIT 1",
    "SELECT 1 FROM link_sessions LIMIT 1",
    "SELECT 1 FROM kept_answers LIMIT 1",
    "SELECT 1 FROM app_institutions LIMIT 1",
    "SELECT 1 FROM ordinals LIMIT 1",
    "SELECT 1 FROM audit LIMIT 1",
    "SELECT 1 FROM link_usage LIMIT 1",
    "SELECT 1 FROM app_usage LIMIT 1",
];
const ANALYZE: [&str; 19] = [
    "ANALYZE apps",
    "ANALYZE clients",
    "ANALYZE access_tokens",
    "ANALYZE links",
    "ANALYZE transactions",
    "ANALYZE transaction_changes",
    "ANALYZE holdings",
    "ANALYZE investment_transactions",
    "ANALYZE jobs",
    "ANALYZE events",
    "ANALYZE webhook_addresses",
    "ANALYZE deliveries",
    "ANALYZE link_sessions",
    "ANALYZE kept_answers",
    "ANALYZE app_institutions",
    "ANALYZE ordinals",
    "ANALYZE audit",
    "ANALYZE link_usage",
    "ANALYZE app_usage",
];
// A table with rows has a line for each column, once it was analysed.
const LIST_WITHOUT_STATISTICS: &str = "SELECT t.name FROM unnest($1::TEXT[]) AS t (name) WHERE \
    (SELECT COUNT(*) FROM information_schema.columns c WHERE c.table_schema = current_schema() AND c.table_name = t.name) \
    > (SELECT COUNT(DISTINCT s.attname) FROM pg_stats s WHERE s.schemaname = current_schema() AND s.tablename = t.name)";
/// A table takes a second or so, whatever its size: the server looks at a sample.
const STATISTICS_TIMEOUT: &str = "SET statement_timeout = 120000";
/// Whoever has the table's lock is changing its schema, or making the same statistics.
const STATISTICS_PATIENCE: &str = "SET lock_timeout = 2000";
/// How long all of it may take, so that a server that hangs leaves no task behind.
const WITHIN: Duration = Duration::from_secs(1_800);

/// Makes missing statistics in a task of its own, of all tables when `all`. The answer turns `true` at the end,
/// however that came about.
pub(super) fn start(connector: Connector, all: bool) -> watch::Receiver<bool> {
    let (done, settled) = watch::channel(false);
    tokio::spawn(async move {
        // Ends early when the store is dropped: nobody is left to hear of the end.
        let made = async {
            tokio::select! {
                made = timeout(WITHIN, make(&connector, all)) => made.unwrap_or(Ok(0)),
                () = done.closed() => Ok(0),
            }
        };
        match made.await {
            Ok(0) => {}
            Ok(tables) => tracing::info!(tables, "statistics for the database's planner were missing and are made"),
            Err(told) => tracing::warn!(error = %told, "statistics for the database's planner cannot be made"),
        }
        done.send_replace(true);
    });
    settled
}

/// How many tables were analysed.
async fn make(connector: &Connector, all: bool) -> Result<u32, Told> {
    let Ok(client) = connector.open_patient().await else { return Ok(0) };
    match make_with(&client, all).await {
        // An engine without such statistics makes its own.
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(0),
        other => other.map_err(|error| Told::of(&error)),
    }
}

async fn make_with(client: &ClientWrapper, all: bool) -> Result<u32, Error> {
    client.batch_execute(STATISTICS_TIMEOUT).await?;
    client.batch_execute(STATISTICS_PATIENCE).await?;
    let mut lacking = Vec::new();
    for row in client.query(LIST_WITHOUT_STATISTICS, &[&TABLES.as_slice()]).await? {
        lacking.push(row.try_get::<_, String>(0)?);
    }
    let mut made = 0;
    for ((table, has_rows), analyze) in TABLES.into_iter().zip(HAS_ROWS).zip(ANALYZE) {
        let wanted = all || lacking.iter().any(|name| name == table);
        if wanted && client.query_opt(has_rows, &[]).await?.is_some() {
            match client.batch_execute(analyze).await {
                Ok(()) => made += 1,
                // Somebody else is at it, or the table is locked; the next start looks again.
                Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(made)
}
