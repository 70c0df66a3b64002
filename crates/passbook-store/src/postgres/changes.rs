//! The `transaction_changes` table: what readers of a link's transactions have to be told, by position.

use passbook_core::{
    change_log::{LogEntry, LogWrites, LoggedChange},
    ids::LinkId,
    tenant::Tenant,
};

use super::{
    readers::Readers,
    transactions::ROWS_MAX,
    values::{Value, values},
    work::Step,
};
use crate::{
    port::{ChangeFilter, Guard, StoreError},
    stored::rows,
};

const LIST_CHANGES: &str = "SELECT c.position, c.kind, c.transaction_id, t.transaction_id, t.account_id, \
    t.upstream_key, t.amount, t.direction, t.currency, t.date, t.datetime, t.description, t.raw_description, \
    t.pending, t.original_id, t.pending_id, t.enrichment FROM links l JOIN transaction_changes c ON c.link_id = l.link_id \
    LEFT JOIN transactions t ON t.link_id = c.link_id AND t.transaction_id = c.transaction_id \
    WHERE c.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL AND c.position > $4 \
    AND (c.since IS NULL OR c.since <= $4) ORDER BY c.position LIMIT $5";
const LIST_CHANGES_OF_ACCOUNTS: &str = "SELECT c.position, c.kind, c.transaction_id, t.transaction_id, t.account_id, \
    t.upstream_key, t.amount, t.direction, t.currency, t.date, t.datetime, t.description, t.raw_description, \
    t.pending, t.original_id, t.pending_id, t.enrichment FROM links l JOIN transaction_changes c ON c.link_id = l.link_id \
    LEFT JOIN transactions t ON t.link_id = c.link_id AND t.transaction_id = c.transaction_id \
    WHERE c.link_id = $1 AND l.app_id IS NOT DISTINCT FROM $2 AND l.environment IS NOT DISTINCT FROM $3 \
    AND l.wrapped_key IS NOT NULL AND c.position > $4 \
    AND (c.since IS NULL OR c.since <= $4) AND c.account_id = ANY($6) ORDER BY c.position LIMIT $5";

const DROP_CHANGES: &str = "DELETE FROM transaction_changes WHERE link_id = $1 AND transaction_id = ANY($2)";
const LOG_REMOVED: &str = "INSERT INTO transaction_changes (link_id, position, transaction_id, kind, account_id, \
    since) SELECT $1::TEXT, n.position, n.transaction_id, 'removed', n.account_id, c.position \
    FROM unnest($2::BIGINT[], $3::TEXT[], $4::TEXT[]) AS n (position, transaction_id, account_id) \
    JOIN transaction_changes c ON c.link_id = $1 AND c.transaction_id = n.transaction_id AND c.kind = 'created'";
const FORGET_REMOVED: &str =
    "DELETE FROM transaction_changes WHERE link_id = $1 AND transaction_id = ANY($2) AND kind <> 'removed'";
const LOG_UPDATED: &str = "INSERT INTO transaction_changes (link_id, position, transaction_id, kind, account_id) \
    SELECT $1::TEXT, n.position, n.transaction_id, 'updated', n.account_id \
    FROM unnest($2::BIGINT[], $3::TEXT[], $4::TEXT[]) AS n (position, transaction_id, account_id) \
    ON CONFLICT (link_id, transaction_id, kind) DO UPDATE SET position = excluded.position";
const LOG_CREATED: &str = "INSERT INTO transaction_changes (link_id, position, transaction_id, kind, account_id) \
    SELECT $1::TEXT, n.position, n.transaction_id, 'created', n.account_id \
    FROM unnest($2::BIGINT[], $3::TEXT[], $4::TEXT[]) AS n (position, transaction_id, account_id)";

/// Rows after `filter.after`, ascending. What was removed before the reader could see it is left out.
pub(super) async fn list_transaction_changes(
    readers: &Readers,
    tenant: &Tenant,
    link: &LinkId,
    filter: &ChangeFilter,
) -> Result<Vec<LoggedChange>, StoreError> {
    let mut values = values![
        link.as_str(),
        tenant.app_id.as_str(),
        tenant.environment.as_str(),
        i64::try_from(filter.after).unwrap_or(i64::MAX),
        filter.limit,
    ];
    let found = match &filter.accounts {
        None => readers.scan_for(tenant, LIST_CHANGES, values).await?,
        Some(accounts) if accounts.is_empty() => return Ok(Vec::new()),
        Some(accounts) => {
            values.push(accounts.iter().map(|account| account.as_str()).collect());
            readers.scan_for(tenant, LIST_CHANGES_OF_ACCOUNTS, values).await?
        }
    };
    found.iter().map(|row| rows::logged_change(row, link)).collect()
}

/// The writes, in the order of their fields.
pub(super) fn write_log<'a>(link: &'a LinkId, log: &'a LogWrites) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    for dropped in log.dropped.chunks(ROWS_MAX) {
        let ids: Value<'_> = dropped.iter().map(|id| id.as_str()).collect();
        steps.push(Step::new(DROP_CHANGES, values![link.as_str(), ids]));
    }
    for removed in log.removed.chunks(ROWS_MAX) {
        let ids: Value<'_> = removed.iter().map(|entry| entry.transaction_id.as_str()).collect();
        steps.push(Step::new(LOG_REMOVED, arrays(link, removed)).unique(Guard::Link));
        steps.push(Step::new(FORGET_REMOVED, values![link.as_str(), ids]));
    }
    for (sql, entries) in [(LOG_UPDATED, &log.updated), (LOG_CREATED, &log.created)] {
        for entries in entries.chunks(ROWS_MAX) {
            steps.push(Step::new(sql, arrays(link, entries)).unique(Guard::Link).parent(Guard::Link));
        }
    }
    steps
}

fn arrays<'a>(link: &'a LinkId, entries: &'a [LogEntry]) -> Vec<Value<'a>> {
    vec![
        link.as_str().into(),
        entries.iter().map(|entry| Some(i64::try_from(entry.position).unwrap_or(i64::MAX))).collect(),
        entries.iter().map(|entry| entry.transaction_id.as_str()).collect(),
        entries.iter().map(|entry| entry.account_id.as_str()).collect(),
    ]
}
