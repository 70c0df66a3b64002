//! The `transactions` table: the current rows of each link.

use jiff::civil::Date;
use passbook_core::{
    ids::{LinkId, TransactionId},
    link::Link,
    tenant::Tenant,
    transaction::{Direction, Transaction},
};
use rusqlite::{Connection, params, params_from_iter};

use super::{
    changes::write_log,
    failure::{ReadError, WriteError, constraint_as, one_row},
    filter::Conditions,
};
use crate::{
    port::{Guard, TransactionFilter, TransactionPage, TransactionWrites},
    stored::{rows, values::micros},
};

pub(super) const COLUMNS: &str = "t.transaction_id, t.account_id, t.upstream_key, t.amount, t.direction, t.currency, t.date, \
    t.datetime, t.description, t.raw_description, t.pending, t.original_id, t.pending_id, \
    t.enrichment";
/// The rows of a link that the tenant owns; none when its key was destroyed, though some may still be erased. The plus signs
/// keep the planner from beginning with the links of the app.
const OF_LINK: &str = "FROM transactions t JOIN links l ON l.link_id = t.link_id \
    WHERE t.link_id = ?1 AND +l.app_id = ?2 AND +l.environment = ?3 AND +l.wrapped_key IS NOT NULL";

/// `connection` must be in a transaction: both queries have to see one state, or a page could contradict its total.
pub(super) fn list_transactions(
    connection: &Connection,
    tenant: &Tenant,
    link: &LinkId,
    filter: &TransactionFilter,
) -> Result<TransactionPage, ReadError> {
    let Some(mut conditions) = Conditions::of(OF_LINK, tenant, link, filter) else {
        return Ok(TransactionPage { total: 0, items: Vec::new() });
    };
    let from_where = conditions.sql.clone();
    let total = connection
        .prepare_cached(&format!("SELECT COUNT(*) {from_where}"))?
        .query_row(params_from_iter(&conditions.parameters), |row| row.get::<_, i64>(0))?;
    // What comes before the page is skipped on the index; only the page's own rows are looked up.
    let page = format!(
        "SELECT {COLUMNS} FROM (SELECT t.transaction_id AS id, t.date AS day, t.datetime AS instant {from_where} \
         ORDER BY t.date DESC, t.datetime DESC NULLS LAST, t.transaction_id DESC {}) p \
         JOIN transactions t ON t.link_id = ?1 AND t.transaction_id = p.id \
         ORDER BY p.day DESC, p.instant DESC NULLS LAST, p.id DESC",
        conditions.page(filter)
    );
    let items = decode_all(connection, &page, params_from_iter(&conditions.parameters), link)?;
    Ok(TransactionPage { total: u64::try_from(total).unwrap_or(0), items })
}

pub(super) fn load_transactions(
    connection: &Connection,
    tenant: &Tenant,
    link: &LinkId,
    since: Option<Date>,
) -> Result<Vec<Transaction>, ReadError> {
    let sql = format!("SELECT {COLUMNS} {OF_LINK} AND (t.pending = 1 OR t.date >= ?4)");
    // The empty text sorts before every date.
    let since = since.map(|date| date.to_string()).unwrap_or_default();
    let parameters = params![link.as_str(), tenant.app_id.as_str(), tenant.environment.as_str(), since];
    decode_all(connection, &sql, parameters, link)
}

/// Applies the changes; `written` is the link of the same commit.
pub(super) fn write_transactions(
    connection: &Connection,
    writes: &TransactionWrites,
    written: Option<&Link>,
) -> Result<(), WriteError> {
    let no_rows = writes.removed.is_empty() && writes.updated.is_empty() && writes.created.is_empty();
    if no_rows && writes.log.is_empty() {
        return Ok(());
    }
    let link = writes.link_id.as_ref().or(written.map(|link| &link.id)).ok_or(WriteError::Conflict(Guard::Link))?;
    remove(connection, link, &writes.removed)?;
    if writes.updated.len() > 1 {
        park(connection, link, &writes.updated)?;
    }
    update(connection, link, &writes.updated)?;
    create(connection, link, &writes.created)?;
    write_log(connection, link, &writes.log)
}

pub(super) fn remove(connection: &Connection, link: &LinkId, ids: &[TransactionId]) -> Result<(), WriteError> {
    let mut delete =
        connection.prepare_cached("DELETE FROM transactions WHERE link_id = ?1 AND transaction_id = ?2")?;
    for id in ids {
        delete.execute([link.as_str(), id.as_str()])?;
    }
    Ok(())
}

/// Keys may move from row to row within one change; parking them first keeps each step free of duplicates.
pub(super) fn park(connection: &Connection, link: &LinkId, updated: &[Transaction]) -> Result<(), WriteError> {
    let mut park = connection.prepare_cached(
        "UPDATE transactions SET upstream_key = '\u{1}' || transaction_id \
         WHERE link_id = ?1 AND transaction_id = ?2",
    )?;
    for transaction in updated {
        park.execute([link.as_str(), transaction.id.as_str()])?;
    }
    Ok(())
}

pub(super) fn update(connection: &Connection, link: &LinkId, updated: &[Transaction]) -> Result<(), WriteError> {
    const UPDATE: &str = "UPDATE transactions SET account_id = ?3, upstream_key = ?4, amount = ?5, direction = ?6, \
        currency = ?7, date = ?8, datetime = ?9, description = ?10, raw_description = ?11, pending = ?12, \
        original_id = ?13, pending_id = ?14, enrichment = ?15 WHERE link_id = ?1 AND transaction_id = ?2";
    for transaction in updated {
        one_row(write_row(connection, UPDATE, link, transaction)?, Guard::Link)?;
    }
    Ok(())
}

pub(super) fn create(connection: &Connection, link: &LinkId, created: &[Transaction]) -> Result<(), WriteError> {
    const INSERT: &str = "INSERT INTO transactions (link_id, transaction_id, account_id, upstream_key, amount, \
        direction, currency, date, datetime, description, raw_description, pending, original_id, pending_id, \
        enrichment) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    for transaction in created {
        write_row(connection, INSERT, link, transaction)?;
    }
    Ok(())
}

fn write_row(
    connection: &Connection,
    sql: &str,
    link: &LinkId,
    transaction: &Transaction,
) -> Result<usize, WriteError> {
    let details = &transaction.details;
    connection
        .prepare_cached(sql)?
        .execute(params![
            link.as_str(),
            transaction.id.as_str(),
            transaction.account_id.as_str(),
            transaction.upstream_key,
            details.amount.to_string(),
            match details.direction {
                Direction::Credit => "credit",
                Direction::Debit => "debit",
            },
            details.currency,
            details.date.to_string(),
            details.datetime.map(micros),
            details.description,
            details.raw_description,
            details.pending,
            transaction.original_id,
            transaction.pending_id.as_ref().map(|id| id.as_str()),
            transaction.enrichment.as_ref().map(rows::to_json),
        ])
        .map_err(constraint_as(Guard::Link))
}

fn decode_all(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    link: &LinkId,
) -> Result<Vec<Transaction>, ReadError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(parameters)?;
    let mut transactions = Vec::new();
    while let Some(row) = found.next()? {
        transactions.push(rows::transaction(row, link, 0)?);
    }
    Ok(transactions)
}
