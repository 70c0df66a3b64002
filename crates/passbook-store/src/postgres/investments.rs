//! The `holdings` and `investment_transactions` tables.

use jiff::civil::Date;
use passbook_core::{
    ids::LinkId,
    investment::{InvestmentTransaction, Portfolio},
    tenant::Tenant,
};

use super::{
    readers::Readers,
    transactions::{ROWS_MAX, page_values},
    values::{Value, values},
    work::Step,
};
use crate::{
    port::{Guard, InvestmentTransactionPage, InvestmentWrites, StoreError, TransactionFilter},
    stored::{columns::Columns, rows, values::micros},
};

const LOOKUP_PORTFOLIO: &str = "SELECT h.portfolio FROM holdings h JOIN links l ON l.link_id = h.link_id \
    WHERE h.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL";
// Total and page are one statement, so that they see one state. There is one row without a transaction when the page is
// empty. Without accounts to narrow it to, the last parameter is null.
const LIST_INVESTMENT_TRANSACTIONS: &str = "SELECT n.total, p.investment_transaction_id, p.account_id, \
    p.upstream_key, p.security_id, p.details FROM \
    (SELECT COUNT(*) AS total FROM investment_transactions t JOIN links l ON l.link_id = t.link_id \
    WHERE t.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL AND t.date >= $4 AND t.date <= $5 \
    AND ($8::TEXT[] IS NULL OR t.account_id = ANY($8))) n LEFT JOIN \
    (SELECT t.* FROM investment_transactions t JOIN links l ON l.link_id = t.link_id \
    WHERE t.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL AND t.date >= $4 AND t.date <= $5 \
    AND ($8::TEXT[] IS NULL OR t.account_id = ANY($8)) \
    ORDER BY t.date DESC, t.datetime DESC NULLS LAST, t.investment_transaction_id DESC LIMIT $6 OFFSET $7) p ON TRUE \
    ORDER BY p.date DESC, p.datetime DESC NULLS LAST, p.investment_transaction_id DESC";
const LOAD_INVESTMENT_TRANSACTIONS: &str = "SELECT t.investment_transaction_id, t.account_id, t.upstream_key, \
    t.security_id, t.details FROM investment_transactions t JOIN links l ON l.link_id = t.link_id \
    WHERE t.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL AND t.date >= $4";

const WRITE_PORTFOLIO: &str = "INSERT INTO holdings (link_id, portfolio) VALUES ($1, $2) \
    ON CONFLICT (link_id) DO UPDATE SET portfolio = excluded.portfolio";
const DELETE_INVESTMENT_TRANSACTIONS: &str =
    "DELETE FROM investment_transactions WHERE link_id = $1 AND investment_transaction_id = ANY($2)";
const UPDATE_INVESTMENT_TRANSACTIONS: &str = "UPDATE investment_transactions SET account_id = n.account_id, \
    upstream_key = n.upstream_key, security_id = n.security_id, date = n.date, datetime = n.datetime, details = n.details \
    FROM unnest($2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::BIGINT[], $8::TEXT[]) \
    AS n (investment_transaction_id, account_id, upstream_key, security_id, date, datetime, details) \
    WHERE investment_transactions.link_id = $1 \
    AND investment_transactions.investment_transaction_id = n.investment_transaction_id";
const INSERT_INVESTMENT_TRANSACTIONS: &str = "INSERT INTO investment_transactions (link_id, \
    investment_transaction_id, account_id, upstream_key, security_id, date, datetime, details) SELECT $1::TEXT, n.* FROM unnest($2::TEXT[], $3::TEXT[], \
    $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::BIGINT[], $8::TEXT[]) AS n";

pub(super) async fn lookup_portfolio(
    readers: &Readers,
    tenant: &Tenant,
    link: &LinkId,
) -> Result<Option<Portfolio>, StoreError> {
    let values = values![link.as_str(), tenant.app_id.as_str(), tenant.environment.as_str()];
    readers.point(LOOKUP_PORTFOLIO, values).await?.map(|row| rows::portfolio(&row, link)).transpose()
}

pub(super) async fn list_investment_transactions(
    readers: &Readers,
    tenant: &Tenant,
    link: &LinkId,
    filter: &TransactionFilter,
) -> Result<InvestmentTransactionPage, StoreError> {
    let mut values = page_values(tenant, link, filter);
    values.push(match &filter.accounts {
        None => Value::Null,
        Some(accounts) => accounts.iter().map(|account| account.as_str()).collect(),
    });
    let mut page = InvestmentTransactionPage { total: 0, items: Vec::new() };
    for row in &readers.scan_for(tenant, LIST_INVESTMENT_TRANSACTIONS, values).await? {
        let columns = Columns { row, table: rows::INVESTMENT_TRANSACTIONS, key: link.as_str() };
        page.total = columns.integer(0, "total")?;
        if columns.optional_text(1, "investment_transaction_id")?.is_some() {
            page.items.push(rows::investment_transaction(row, link, 1)?);
        }
    }
    Ok(page)
}

pub(super) async fn load_investment_transactions(
    readers: &Readers,
    tenant: &Tenant,
    link: &LinkId,
    since: Option<Date>,
) -> Result<Vec<InvestmentTransaction>, StoreError> {
    // The empty text sorts before every date.
    let since = since.map(|date| date.to_string()).unwrap_or_default();
    let values = values![link.as_str(), tenant.app_id.as_str(), tenant.environment.as_str(), since];
    readers
        .scan(LOAD_INVESTMENT_TRANSACTIONS, values)
        .await?
        .iter()
        .map(|row| rows::investment_transaction(row, link, 0))
        .collect()
}

/// The changes to the link of the same commit.
pub(super) fn write_investments(writes: &InvestmentWrites) -> Vec<Step<'_>> {
    let (link, changes) = (&writes.link_id, &writes.changes);
    let portfolio = values![link.as_str(), rows::to_json(&changes.portfolio)];
    let mut steps = vec![Step::new(WRITE_PORTFOLIO, portfolio).parent(Guard::Link)];
    for removed in changes.removed.chunks(ROWS_MAX) {
        let ids: Value<'_> = removed.iter().map(|id| id.as_str()).collect();
        steps.push(Step::new(DELETE_INVESTMENT_TRANSACTIONS, values![link.as_str(), ids]));
    }
    for updated in changes.updated.chunks(ROWS_MAX) {
        let step = Step::new(UPDATE_INVESTMENT_TRANSACTIONS, arrays(link, updated)).unique(Guard::Link);
        steps.push(step.rows(updated.len() as u64, Guard::Link));
    }
    for created in changes.created.chunks(ROWS_MAX) {
        steps.push(
            Step::new(INSERT_INVESTMENT_TRANSACTIONS, arrays(link, created)).unique(Guard::Link).parent(Guard::Link),
        );
    }
    steps
}

fn arrays<'a>(link: &'a LinkId, transactions: &'a [InvestmentTransaction]) -> Vec<Value<'a>> {
    vec![
        link.as_str().into(),
        transactions.iter().map(|row| row.id.as_str()).collect(),
        transactions.iter().map(|row| row.account_id.as_str()).collect(),
        transactions.iter().map(|row| row.upstream_key.as_str()).collect(),
        transactions.iter().map(|row| row.security_id.as_ref().map(|id| id.as_str())).collect(),
        transactions.iter().map(|row| row.details.date.to_string()).collect(),
        transactions.iter().map(|row| row.details.datetime.map(micros)).collect(),
        transactions.iter().map(|row| rows::to_json(&row.details)).collect(),
    ]
}
