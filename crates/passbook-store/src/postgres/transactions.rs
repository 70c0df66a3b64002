//! The `transactions` table: the current rows of each link.
//!
//! Many rows go in one statement as parallel arrays, so that the statement is the same for any number of them.

use jiff::civil::Date;
use passbook_core::{
    ids::LinkId,
    link::Link,
    tenant::Tenant,
    transaction::{Direction, Transaction},
};

use super::{
    changes::write_log,
    failure::WriteError,
    readers::Readers,
    values::{Value, values},
    work::Step,
};
use crate::{
    port::{Guard, StoreError, TransactionFilter, TransactionPage, TransactionWrites},
    stored::{columns::Columns, rows, values::micros},
};

/// Rows of one statement.
pub(super) const ROWS_MAX: usize = 1000;
/// Sorts after every date.
const LAST_DATE: &str = "~";

// Total and page are one statement, so that they see one state: a page never contradicts its total. There is one row
// without a transaction when the page is empty. What comes before the page is skipped on the index; only the page's own
// rows are looked up.
const LIST_TRANSACTIONS: &str = "SELECT n.total, p.transaction_id, p.account_id, p.upstream_key, p.amount, \
    p.direction, p.currency, p.date, p.datetime, p.description, p.raw_description, p.pending, p.original_id, p.pending_id, p.enrichment FROM \
    (SELECT COUNT(*) AS total FROM transactions t JOIN links l ON l.link_id = t.link_id WHERE t.link_id = $1 \
    AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL AND t.date >= $4 AND t.date <= $5) n LEFT JOIN \
    (SELECT r.* FROM (SELECT t.transaction_id FROM transactions t JOIN links l ON l.link_id = t.link_id \
    WHERE t.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL AND t.date >= $4 AND t.date <= $5 \
    ORDER BY t.date DESC, t.datetime DESC NULLS LAST, t.transaction_id DESC LIMIT $6 OFFSET $7) k \
    JOIN transactions r ON r.link_id = $1 AND r.transaction_id = k.transaction_id) p ON TRUE \
    ORDER BY p.date DESC, p.datetime DESC NULLS LAST, p.transaction_id DESC";
const LIST_TRANSACTIONS_OF_ACCOUNTS: &str = "SELECT n.total, p.transaction_id, p.account_id, p.upstream_key, \
    p.amount, p.direction, p.currency, p.date, p.datetime, p.description, p.raw_description, p.pending, \
    p.original_id, p.pending_id, p.enrichment FROM \
    (SELECT COUNT(*) AS total FROM transactions t JOIN links l ON l.link_id = t.link_id WHERE t.link_id = $1 \
    AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL AND t.date >= $4 AND t.date <= $5 AND t.account_id = ANY($8)) n \
    LEFT JOIN (SELECT r.* FROM (SELECT t.transaction_id FROM transactions t JOIN links l ON l.link_id = t.link_id \
    WHERE t.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL AND t.date >= $4 AND t.date <= $5 \
    AND t.account_id = ANY($8) \
    ORDER BY t.date DESC, t.datetime DESC NULLS LAST, t.transaction_id DESC LIMIT $6 OFFSET $7) k \
    JOIN transactions r ON r.link_id = $1 AND r.transaction_id = k.transaction_id) p ON TRUE \
    ORDER BY p.date DESC, p.datetime DESC NULLS LAST, p.transaction_id DESC";
const LOAD_TRANSACTIONS: &str = "SELECT t.transaction_id, t.account_id, t.upstream_key, t.amount, t.direction, \
    t.currency, t.date, t.datetime, t.description, t.raw_description, t.pending, t.original_id, t.pending_id, \
    t.enrichment FROM transactions t \
    JOIN links l ON l.link_id = t.link_id WHERE t.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL \
    AND (t.pending = 1 OR t.date >= $4)";

const DELETE_TRANSACTIONS: &str = "DELETE FROM transactions WHERE link_id = $1 AND transaction_id = ANY($2)";
// Keys may move from row to row within one change; parking them first keeps each row free of duplicates.
const PARK_TRANSACTIONS: &str = "UPDATE transactions SET upstream_key = '\u{1}' || transaction_id \
    WHERE link_id = $1 AND transaction_id = ANY($2)";
const UPDATE_TRANSACTIONS: &str = "UPDATE transactions SET account_id = n.account_id, \
    upstream_key = n.upstream_key, amount = n.amount, direction = n.direction, currency = n.currency, date = n.date, \
    datetime = n.datetime, description = n.description, raw_description = n.raw_description, pending = n.pending, \
    original_id = n.original_id, pending_id = n.pending_id, enrichment = n.enrichment \
    FROM unnest($2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::TEXT[], \
    $8::TEXT[], $9::BIGINT[], $10::TEXT[], $11::TEXT[], $12::BIGINT[], $13::TEXT[], $14::TEXT[], $15::TEXT[]) AS n (transaction_id, \
    account_id, upstream_key, amount, direction, currency, date, datetime, description, raw_description, pending, \
    original_id, pending_id, enrichment) \
    WHERE transactions.link_id = $1 AND transactions.transaction_id = n.transaction_id";
const INSERT_TRANSACTIONS: &str = "INSERT INTO transactions (link_id, transaction_id, account_id, upstream_key, \
    amount, direction, currency, date, datetime, description, raw_description, pending, original_id, pending_id, \
    enrichment) \
    SELECT $1::TEXT, n.* FROM unnest($2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::TEXT[], $8::TEXT[], \
    $9::BIGINT[], $10::TEXT[], $11::TEXT[], $12::BIGINT[], $13::TEXT[], $14::TEXT[], $15::TEXT[]) AS n";

pub(super) async fn list_transactions(
    readers: &Readers,
    tenant: &Tenant,
    link: &LinkId,
    filter: &TransactionFilter,
) -> Result<TransactionPage, StoreError> {
    let mut values = page_values(tenant, link, filter);
    let found = match &filter.accounts {
        None => readers.scan_for(tenant, LIST_TRANSACTIONS, values).await?,
        Some(accounts) if accounts.is_empty() => return Ok(TransactionPage { total: 0, items: Vec::new() }),
        Some(accounts) => {
            values.push(accounts.iter().map(|account| account.as_str()).collect());
            readers.scan_for(tenant, LIST_TRANSACTIONS_OF_ACCOUNTS, values).await?
        }
    };
    let mut page = TransactionPage { total: 0, items: Vec::with_capacity(found.len()) };
    for row in &found {
        let columns = Columns { row, table: "transactions", key: link.as_str() };
        page.total = columns.integer(0, "total")?;
        if columns.optional_text(1, "transaction_id")?.is_some() {
            page.items.push(rows::transaction(row, link, 1)?);
        }
    }
    Ok(page)
}

/// Link, app, environment, first and last date, limit, and offset of a page.
pub(super) fn page_values<'a>(tenant: &'a Tenant, link: &'a LinkId, filter: &TransactionFilter) -> Vec<Value<'a>> {
    values![
        link.as_str(),
        tenant.app_id.as_str(),
        tenant.environment.as_str(),
        filter.start_date.map(|date| date.to_string()).unwrap_or_default(),
        filter.end_date.map_or_else(|| LAST_DATE.to_owned(), |date| date.to_string()),
        filter.limit,
        i64::try_from(filter.offset).unwrap_or(i64::MAX),
    ]
}

pub(super) async fn load_transactions(
    readers: &Readers,
    tenant: &Tenant,
    link: &LinkId,
    since: Option<Date>,
) -> Result<Vec<Transaction>, StoreError> {
    // The empty text sorts before every date.
    let since = since.map(|date| date.to_string()).unwrap_or_default();
    let values = values![link.as_str(), tenant.app_id.as_str(), tenant.environment.as_str(), since];
    readers
        .scan_for(tenant, LOAD_TRANSACTIONS, values)
        .await?
        .iter()
        .map(|row| rows::transaction(row, link, 0))
        .collect()
}

/// The changes; `written` is the link of the same commit.
pub(super) fn write_transactions<'a>(
    writes: &'a TransactionWrites,
    written: Option<&'a Link>,
) -> Result<Vec<Step<'a>>, WriteError> {
    let mut steps = Vec::new();
    let no_rows = writes.removed.is_empty() && writes.updated.is_empty() && writes.created.is_empty();
    if no_rows && writes.log.is_empty() {
        return Ok(steps);
    }
    let link = writes.link_id.as_ref().or(written.map(|link| &link.id)).ok_or(WriteError::Conflict(Guard::Link))?;
    for removed in writes.removed.chunks(ROWS_MAX) {
        let ids: Value<'_> = removed.iter().map(|id| id.as_str()).collect();
        steps.push(Step::new(DELETE_TRANSACTIONS, values![link.as_str(), ids]));
    }
    if writes.updated.len() > 1 {
        for parked in writes.updated.chunks(ROWS_MAX) {
            let ids: Value<'_> = parked.iter().map(|transaction| transaction.id.as_str()).collect();
            steps.push(Step::new(PARK_TRANSACTIONS, values![link.as_str(), ids]));
        }
    }
    for updated in writes.updated.chunks(ROWS_MAX) {
        let step = Step::new(UPDATE_TRANSACTIONS, arrays(link, updated)).unique(Guard::Link);
        steps.push(step.rows(updated.len() as u64, Guard::Link));
    }
    for created in writes.created.chunks(ROWS_MAX) {
        let step = Step::new(INSERT_TRANSACTIONS, arrays(link, created));
        steps.push(step.unique(Guard::Link).parent(Guard::Link));
    }
    steps.extend(write_log(link, &writes.log));
    Ok(steps)
}

fn arrays<'a>(link: &'a LinkId, transactions: &'a [Transaction]) -> Vec<Value<'a>> {
    let details = || transactions.iter().map(|transaction| &transaction.details);
    vec![
        link.as_str().into(),
        transactions.iter().map(|transaction| transaction.id.as_str()).collect(),
        transactions.iter().map(|transaction| transaction.account_id.as_str()).collect(),
        transactions.iter().map(|transaction| transaction.upstream_key.as_str()).collect(),
        details().map(|details| details.amount.to_string()).collect(),
        details()
            .map(|details| match details.direction {
                Direction::Credit => "credit",
                Direction::Debit => "debit",
            })
            .collect(),
        details().map(|details| details.currency.as_str()).collect(),
        details().map(|details| details.date.to_string()).collect(),
        details().map(|details| details.datetime.map(micros)).collect(),
        details().map(|details| details.description.as_deref()).collect(),
        details().map(|details| details.raw_description.as_deref()).collect(),
        details().map(|details| i64::from(details.pending)).collect(),
        transactions.iter().map(|transaction| transaction.original_id.as_deref()).collect(),
        transactions.iter().map(|transaction| transaction.pending_id.as_ref().map(|id| id.as_str())).collect(),
        transactions.iter().map(|transaction| transaction.enrichment.as_ref().map(rows::to_json)).collect(),
    ]
}
