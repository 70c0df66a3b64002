//! What belongs to an end user: links, and the transactions of several links at once.

use passbook_core::{ids::LinkId, tenant::Tenant};

use super::{links::user_key, readers::Readers, values::values};
use crate::{
    port::{StoreError, StoredLink, TransactionPage, UserTransactionFilter},
    stored::{columns::Columns, rows},
};

// By the expression that the index `links_of_user` begins with.
const LIST_USER_LINKS: &str = "SELECT version, document, link_id FROM links \
    WHERE (app_id || '/' || environment || '/' || customer_user_id) = $1 AND deleted_at IS NULL \
    ORDER BY created_at, link_id";
// Total and page are one statement, so that they see one state. There is one row without a transaction when the page
// is empty.
const LIST_USER_TRANSACTIONS: &str = "SELECT n.total, p.transaction_id, p.account_id, p.upstream_key, p.amount, \
    p.direction, p.currency, p.date, p.datetime, p.description, p.raw_description, p.pending, p.original_id, \
    p.pending_id, p.enrichment FROM \
    (SELECT COUNT(*) AS total FROM transactions t JOIN links l ON l.link_id = t.link_id WHERE t.link_id = ANY($1) \
    AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL AND t.date >= $4 AND t.date <= $5 AND t.account_id = ANY($8)) n \
    LEFT JOIN (SELECT t.* FROM transactions t JOIN links l ON l.link_id = t.link_id WHERE t.link_id = ANY($1) \
    AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL AND t.date >= $4 AND t.date <= $5 AND t.account_id = ANY($8) \
    ORDER BY t.date DESC, t.datetime DESC NULLS LAST, t.transaction_id DESC LIMIT $6 OFFSET $7) p ON TRUE \
    ORDER BY p.date DESC, p.datetime DESC NULLS LAST, p.transaction_id DESC";
/// Sorts after every date.
const LAST_DATE: &str = "~";

pub(super) async fn list_user_links(
    readers: &Readers,
    tenant: &Tenant,
    customer_user_id: &str,
) -> Result<Vec<StoredLink>, StoreError> {
    let values = values![user_key(tenant, customer_user_id)];
    readers.scan_for(tenant, LIST_USER_LINKS, values).await?.iter().map(rows::stored_link_of_user).collect()
}

pub(super) async fn list_user_transactions(
    readers: &Readers,
    tenant: &Tenant,
    filter: &UserTransactionFilter,
) -> Result<TransactionPage, StoreError> {
    let mut page = TransactionPage { total: 0, items: Vec::new() };
    let Some(first) = filter.links.first() else { return Ok(page) };
    let mut values = values![];
    values.push(filter.links.iter().map(LinkId::as_str).collect());
    values.extend(values![
        tenant.app_id.as_str(),
        tenant.environment.as_str(),
        filter.start_date.map(|date| date.to_string()).unwrap_or_default(),
        filter.end_date.map_or_else(|| LAST_DATE.to_owned(), |date| date.to_string()),
        filter.limit,
        i64::try_from(filter.offset).unwrap_or(i64::MAX),
    ]);
    values.push(filter.accounts.iter().map(|account| account.as_str()).collect());
    for row in &readers.scan_for(tenant, LIST_USER_TRANSACTIONS, values).await? {
        let columns = Columns { row, table: "transactions", key: first.as_str() };
        page.total = columns.integer(0, "total")?;
        if columns.optional_text(1, "transaction_id")?.is_some() {
            page.items.push(rows::transaction(row, first, 1)?);
        }
    }
    Ok(page)
}
