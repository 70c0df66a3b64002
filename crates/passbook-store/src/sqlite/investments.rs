//! The `holdings` and `investment_transactions` tables.

use jiff::civil::Date;
use passbook_core::{
    ids::{InvestmentTransactionId, LinkId},
    investment::{InvestmentTransaction, Portfolio},
    tenant::Tenant,
};
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::{
    failure::{ReadError, WriteError, constraint_as, one_row},
    filter::Conditions,
};
use crate::{
    port::{Guard, InvestmentTransactionPage, InvestmentWrites, TransactionFilter},
    stored::{rows, values::micros},
};

const COLUMNS: &str = "t.investment_transaction_id, t.account_id, t.upstream_key, t.security_id, t.details";
/// The rows of a link that the tenant owns; none when its key was destroyed, though some may still be erased. The plus signs
/// keep the planner from beginning with the links of the app.
const OF_LINK: &str = "FROM investment_transactions t JOIN links l ON l.link_id = t.link_id \
    WHERE t.link_id = ?1 AND +l.app_id = ?2 AND +l.environment = ?3 AND +l.wrapped_key IS NOT NULL";
const ORDER: &str = "t.date DESC, t.datetime DESC NULLS LAST, t.investment_transaction_id DESC";

pub(super) fn lookup_portfolio(
    connection: &Connection,
    tenant: &Tenant,
    link: &LinkId,
) -> Result<Option<Portfolio>, ReadError> {
    const SQL: &str = "SELECT h.portfolio FROM holdings h JOIN links l ON l.link_id = h.link_id \
        WHERE h.link_id = ?1 AND +l.app_id = ?2 AND +l.environment = ?3 AND +l.wrapped_key IS NOT NULL";
    let parameters = params![link.as_str(), tenant.app_id.as_str(), tenant.environment.as_str()];
    let found =
        connection.prepare_cached(SQL)?.query_row(parameters, |row| Ok(rows::portfolio(row, link))).optional()?;
    Ok(found.transpose()?)
}

/// `connection` must be in a transaction: both queries have to see one state, or a page could contradict its total.
pub(super) fn list_investment_transactions(
    connection: &Connection,
    tenant: &Tenant,
    link: &LinkId,
    filter: &TransactionFilter,
) -> Result<InvestmentTransactionPage, ReadError> {
    let Some(mut conditions) = Conditions::of(OF_LINK, tenant, link, filter) else {
        return Ok(InvestmentTransactionPage { total: 0, items: Vec::new() });
    };
    let from_where = conditions.sql.clone();
    let total = connection
        .prepare_cached(&format!("SELECT COUNT(*) {from_where}"))?
        .query_row(params_from_iter(&conditions.parameters), |row| row.get::<_, i64>(0))?;
    let page = format!("SELECT {COLUMNS} {from_where} ORDER BY {ORDER} {}", conditions.page(filter));
    let items = decode_all(connection, &page, params_from_iter(&conditions.parameters), link)?;
    Ok(InvestmentTransactionPage { total: u64::try_from(total).unwrap_or(0), items })
}

pub(super) fn load_investment_transactions(
    connection: &Connection,
    tenant: &Tenant,
    link: &LinkId,
    since: Option<Date>,
) -> Result<Vec<InvestmentTransaction>, ReadError> {
    let sql = format!("SELECT {COLUMNS} {OF_LINK} AND t.date >= ?4");
    // The empty text sorts before every date.
    let since = since.map(|date| date.to_string()).unwrap_or_default();
    let parameters = params![link.as_str(), tenant.app_id.as_str(), tenant.environment.as_str(), since];
    decode_all(connection, &sql, parameters, link)
}

/// Applies the changes to the link of the same commit.
pub(super) fn write_investments(connection: &Connection, writes: &InvestmentWrites) -> Result<(), WriteError> {
    const PORTFOLIO: &str = "INSERT INTO holdings (link_id, portfolio) VALUES (?1, ?2) \
        ON CONFLICT (link_id) DO UPDATE SET portfolio = excluded.portfolio";
    let (link, changes) = (&writes.link_id, &writes.changes);
    let portfolio = rows::to_json(&changes.portfolio);
    connection
        .prepare_cached(PORTFOLIO)?
        .execute(params![link.as_str(), portfolio])
        .map_err(constraint_as(Guard::Link))?;
    remove(connection, link, &changes.removed)?;
    update(connection, link, &changes.updated)?;
    create(connection, link, &changes.created)
}

pub(super) fn remove(
    connection: &Connection,
    link: &LinkId,
    ids: &[InvestmentTransactionId],
) -> Result<(), WriteError> {
    const DELETE: &str = "DELETE FROM investment_transactions WHERE link_id = ?1 AND investment_transaction_id = ?2";
    for id in ids {
        connection.prepare_cached(DELETE)?.execute([link.as_str(), id.as_str()])?;
    }
    Ok(())
}

pub(super) fn update(
    connection: &Connection,
    link: &LinkId,
    updated: &[InvestmentTransaction],
) -> Result<(), WriteError> {
    const UPDATE: &str = "UPDATE investment_transactions SET account_id = ?3, upstream_key = ?4, security_id = ?5, \
        date = ?6, datetime = ?7, details = ?8 WHERE link_id = ?1 AND investment_transaction_id = ?2";
    for row in updated {
        one_row(write_row(connection, UPDATE, link, row)?, Guard::Link)?;
    }
    Ok(())
}

pub(super) fn create(
    connection: &Connection,
    link: &LinkId,
    created: &[InvestmentTransaction],
) -> Result<(), WriteError> {
    const INSERT: &str = "INSERT INTO investment_transactions (link_id, investment_transaction_id, account_id, \
        upstream_key, security_id, date, datetime, details) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    for row in created {
        write_row(connection, INSERT, link, row)?;
    }
    Ok(())
}

fn write_row(
    connection: &Connection,
    sql: &str,
    link: &LinkId,
    row: &InvestmentTransaction,
) -> Result<usize, WriteError> {
    let parameters = params![
        link.as_str(),
        row.id.as_str(),
        row.account_id.as_str(),
        row.upstream_key,
        row.security_id.as_ref().map(|id| id.as_str()),
        row.details.date.to_string(),
        row.details.datetime.map(micros),
        rows::to_json(&row.details),
    ];
    connection.prepare_cached(sql)?.execute(parameters).map_err(constraint_as(Guard::Link))
}

fn decode_all(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    link: &LinkId,
) -> Result<Vec<InvestmentTransaction>, ReadError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(parameters)?;
    let mut transactions = Vec::new();
    while let Some(row) = found.next()? {
        transactions.push(rows::investment_transaction(row, link, 0)?);
    }
    Ok(transactions)
}
