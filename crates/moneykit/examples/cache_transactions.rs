//! Keeps the transactions of a link in a database of the app's own, and brings them up to date with each run.
//!
//! ```text
//! cargo run -p moneykit --example cache_transactions -- <base URL> <client id> <client secret> <link id> <file>
//! ```
//!
//! The cursor is stored in the transaction that stores what its page changed. So the program may be stopped at any time:
//! the next run goes on where the database is.

use anyhow::Context;
use moneykit::{
    Client,
    api::GetTransactionsSyncQuery,
    models::{LinkId, TransactionResponse, TransactionSyncResponse},
};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS links (link_id TEXT PRIMARY KEY, cursor TEXT, refreshed_at TEXT) STRICT;
    CREATE TABLE IF NOT EXISTS transactions (
        transaction_id TEXT PRIMARY KEY,
        link_id TEXT NOT NULL,
        account_id TEXT NOT NULL,
        date TEXT NOT NULL,
        -- Money entering the account is positive.
        amount TEXT NOT NULL,
        currency TEXT NOT NULL,
        description TEXT,
        pending INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS transactions_of_link ON transactions (link_id, date);";

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Transactions that were new.
    pub created: usize,
    /// Transactions that changed.
    pub updated: usize,
    /// Transactions that went.
    pub removed: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name| arguments.next().with_context(|| format!("missing argument: {name}"));
    let (base_url, id, secret) = (argument("base URL")?, argument("client id")?, argument("client secret")?);
    let (link_id, file) = (LinkId::from(argument("link id")?), argument("file")?);
    let client = Client::builder().base_url(base_url).client_credentials(id, secret).build()?;
    let mut database = Connection::open(file)?;
    let Summary { created, updated, removed } = bring_up_to_date(&client, &link_id, &mut database).await?;
    println!("{created} new, {updated} changed, {removed} gone");
    Ok(())
}

/// Reads what changed since the stored cursor, page by page, and stores each page with its cursor.
pub async fn bring_up_to_date(client: &Client, link_id: &LinkId, database: &mut Connection) -> anyhow::Result<Summary> {
    database.execute_batch(TABLES)?;
    let sql = "SELECT cursor FROM links WHERE link_id = ?1";
    let cursor: Option<String> = database.query_row(sql, [link_id.as_str()], |row| row.get(0)).optional()?.flatten();
    let query = GetTransactionsSyncQuery { cursor, size: Some(500) };
    let mut pages = client.transactions().get_transactions_sync_pages(link_id, &query);
    let mut summary = Summary::default();
    while let Some(page) = pages.next_page().await.transpose()? {
        let transaction = database.transaction()?;
        store(&transaction, link_id, &page)?;
        transaction.commit()?;
        summary.created += page.transactions.created.len();
        summary.updated += page.transactions.updated.len();
        summary.removed += page.transactions.removed.len();
    }
    Ok(summary)
}

fn store(database: &Transaction<'_>, link_id: &LinkId, page: &TransactionSyncResponse) -> anyhow::Result<()> {
    let product = page.link.products.transactions.as_ref();
    let refreshed_at = product.and_then(|product| product.refreshed_at).map(|at| at.to_string());
    let sql = "SELECT refreshed_at FROM links WHERE link_id = ?1";
    let before: Option<String> = database.query_row(sql, [link_id.as_str()], |row| row.get(0)).optional()?.flatten();
    if before != refreshed_at {
        // A refresh issues all pending transactions anew, with other ids, and says nothing about the old ones.
        database.execute("DELETE FROM transactions WHERE link_id = ?1 AND pending = 1", [link_id.as_str()])?;
    }
    for transaction in page.transactions.created.iter().chain(&page.transactions.updated) {
        put(database, link_id, transaction)?;
    }
    for transaction_id in &page.transactions.removed {
        database.execute("DELETE FROM transactions WHERE transaction_id = ?1", [transaction_id.as_str()])?;
    }
    database.execute(
        "INSERT INTO links (link_id, cursor, refreshed_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (link_id) DO UPDATE SET cursor = excluded.cursor, refreshed_at = excluded.refreshed_at",
        params![link_id.as_str(), page.cursor.next, refreshed_at],
    )?;
    Ok(())
}

fn put(database: &Transaction<'_>, link_id: &LinkId, transaction: &TransactionResponse) -> anyhow::Result<()> {
    let amount = transaction.import_amount().context("a transaction with a direction that nobody knows")?;
    database.execute(
        "INSERT INTO transactions (transaction_id, link_id, account_id, date, amount, currency, description, pending)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (transaction_id) DO UPDATE SET account_id = excluded.account_id, date = excluded.date,
             amount = excluded.amount, currency = excluded.currency, description = excluded.description,
             pending = excluded.pending",
        params![
            transaction.transaction_id.as_str(),
            link_id.as_str(),
            transaction.account_id.as_str(),
            transaction.date.to_string(),
            amount.credit_positive().to_string(),
            transaction.currency,
            transaction.description,
            transaction.pending,
        ],
    )?;
    Ok(())
}
