//! What belongs to an end user: links, and the transactions of several links at once.

use jiff::civil::Date;
use passbook_core::{ids::LinkId, tenant::Tenant, transaction::Transaction};
use rusqlite::{Connection, params, params_from_iter, types::Value};

use super::{failure::ReadError, transactions::COLUMNS, views::Rows};
use crate::{
    port::{StoredLink, TransactionPage, UserTransactionFilter},
    stored::{rows, values::micros},
};

pub(super) fn list_user_links(
    connection: &Connection,
    tenant: &Tenant,
    customer_user_id: &str,
) -> Result<Vec<StoredLink>, ReadError> {
    const SQL: &str = "SELECT version, document, link_id FROM links WHERE app_id = ?1 AND environment = ?2 \
        AND customer_user_id = ?3 AND deleted_at IS NULL ORDER BY created_at, link_id";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut found = statement.query(params![tenant.app_id.as_str(), tenant.environment.as_str(), customer_user_id])?;
    let mut links = Vec::new();
    while let Some(row) = found.next()? {
        links.push(rows::stored_link_of_user(row)?);
    }
    Ok(links)
}

/// Rows of the links that the tenant owns, of the accounts asked for. The plus signs keep the planner from beginning with
/// every link of the app. Lists go as JSON, so that the statement is the
/// same for any number of them.
const OF_LINKS: &str = "FROM transactions t JOIN links l ON l.link_id = t.link_id \
    WHERE t.link_id IN (SELECT value FROM json_each(?1)) AND +l.app_id = ?2 AND +l.environment = ?3 \
    AND +l.wrapped_key IS NOT NULL \
    AND t.account_id IN (SELECT value FROM json_each(?4)) AND t.date >= ?5 AND t.date <= ?6";
/// Sorts after every date.
const LAST_DATE: &str = "~";

/// A link whose rows are being written is read apart from the others, and the two pages are put together.
pub(super) fn list_user_transactions(
    rows: &Rows<'_>,
    tenant: &Tenant,
    filter: &UserTransactionFilter,
) -> Result<TransactionPage, ReadError> {
    let Some((held, before)) = &rows.held else { return list_on(rows.current, tenant, filter) };
    let (offset, limit) = (filter.offset, filter.limit);
    let from_the_start = UserTransactionFilter {
        offset: 0,
        limit: u32::try_from(offset.saturating_add(u64::from(limit))).unwrap_or(u32::MAX),
        ..filter.clone()
    };
    let (of_held, of_others) = filter.links.iter().cloned().partition(|link| link == held);
    let mut page = list_on(before, tenant, &UserTransactionFilter { links: of_held, ..from_the_start.clone() })?;
    let others = list_on(rows.current, tenant, &UserTransactionFilter { links: of_others, ..from_the_start })?;
    page.total += others.total;
    page.items.extend(others.items);
    page.items.sort_unstable_by(|one, other| newest_first(other).cmp(&newest_first(one)));
    let skipped = usize::try_from(offset).unwrap_or(usize::MAX).min(page.items.len());
    page.items.drain(..skipped);
    page.items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(page)
}

/// By what the rows are ordered, descending: an absent instant comes last.
fn newest_first(row: &Transaction) -> (Date, Option<i64>, &str) {
    (row.details.date, row.details.datetime.map(micros), row.id.as_str())
}

/// `connection` must be in a transaction: both queries have to see one state, or a page could contradict its total.
fn list_on(
    connection: &Connection,
    tenant: &Tenant,
    filter: &UserTransactionFilter,
) -> Result<TransactionPage, ReadError> {
    let Some(first) = filter.links.first() else { return Ok(TransactionPage { total: 0, items: Vec::new() }) };
    let json = |ids: Vec<&str>| serde_json::to_string(&ids).expect("texts serialise");
    let mut parameters: Vec<Value> = vec![
        json(filter.links.iter().map(LinkId::as_str).collect()).into(),
        tenant.app_id.as_str().to_owned().into(),
        tenant.environment.as_str().to_owned().into(),
        json(filter.accounts.iter().map(|account| account.as_str()).collect()).into(),
        filter.start_date.map(|date| date.to_string()).unwrap_or_default().into(),
        filter.end_date.map_or_else(|| LAST_DATE.to_owned(), |date| date.to_string()).into(),
    ];
    let total: i64 = connection
        .prepare_cached(&format!("SELECT COUNT(*) {OF_LINKS}"))?
        .query_row(params_from_iter(&parameters), |row| row.get(0))?;
    parameters.push(i64::from(filter.limit).into());
    parameters.push(i64::try_from(filter.offset).unwrap_or(i64::MAX).into());
    let page = format!(
        "SELECT {COLUMNS} {OF_LINKS} ORDER BY t.date DESC, t.datetime DESC NULLS LAST, t.transaction_id DESC \
         LIMIT ?7 OFFSET ?8"
    );
    let mut items = Vec::new();
    {
        let mut statement = connection.prepare_cached(&page)?;
        let mut found = statement.query(params_from_iter(&parameters))?;
        while let Some(row) = found.next()? {
            items.push(rows::transaction(row, first, 0)?);
        }
    }
    Ok(TransactionPage { total: u64::try_from(total).unwrap_or(0), items })
}
