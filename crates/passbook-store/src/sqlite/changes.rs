//! The `transaction_changes` table: what readers of a link's transactions have to be told, by position.

use passbook_core::{
    change_log::{LogEntry, LogWrites, LoggedChange},
    ids::{LinkId, TransactionId},
    tenant::Tenant,
};
use rusqlite::{Connection, ToSql, params, params_from_iter};

use super::failure::{ReadError, WriteError, constraint_as};
use crate::{
    port::{ChangeFilter, Guard},
    stored::rows,
};

/// Rows after `filter.after`, ascending. What was removed before the reader could see it is left out.
pub(super) fn list_transaction_changes(
    connection: &Connection,
    tenant: &Tenant,
    link: &LinkId,
    filter: &ChangeFilter,
) -> Result<Vec<LoggedChange>, ReadError> {
    let mut parameters: Vec<Box<dyn ToSql>> = vec![
        Box::new(link.as_str().to_owned()),
        Box::new(tenant.app_id.as_str().to_owned()),
        Box::new(tenant.environment.as_str()),
        Box::new(i64::try_from(filter.after).unwrap_or(i64::MAX)),
        Box::new(filter.limit),
    ];
    let mut of_accounts = String::new();
    if let Some(accounts) = &filter.accounts {
        if accounts.is_empty() {
            return Ok(Vec::new());
        }
        let first = parameters.len() + 1;
        parameters.extend(accounts.iter().map(|id| Box::new(id.as_str().to_owned()) as Box<dyn ToSql>));
        let places: Vec<_> = (first..=parameters.len()).map(|place| format!("?{place}")).collect();
        of_accounts = format!(" AND c.account_id IN ({})", places.join(", "));
    }
    let sql = format!(
        "SELECT c.position, c.kind, c.transaction_id, t.transaction_id, t.account_id, t.upstream_key, t.amount, \
         t.direction, t.currency, t.date, t.datetime, t.description, t.raw_description, t.pending, t.original_id, \
         t.pending_id, t.enrichment FROM links l JOIN transaction_changes c ON c.link_id = l.link_id LEFT JOIN transactions t \
         ON t.link_id = c.link_id AND t.transaction_id = c.transaction_id WHERE c.link_id = ?1 AND +l.app_id = ?2 \
         AND +l.environment = ?3 AND +l.wrapped_key IS NOT NULL AND c.position > ?4 \
         AND (c.since IS NULL OR c.since <= ?4){of_accounts} \
         ORDER BY c.position LIMIT ?5"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query(params_from_iter(&parameters))?;
    let mut changes = Vec::new();
    while let Some(row) = found.next()? {
        changes.push(rows::logged_change(row, link)?);
    }
    Ok(changes)
}

/// Applies the writes in the order of their fields.
pub(super) fn write_log(connection: &Connection, link: &LinkId, log: &LogWrites) -> Result<(), WriteError> {
    drop_entries(connection, link, &log.dropped)?;
    remove_entries(connection, link, &log.removed)?;
    update_entries(connection, link, &log.updated)?;
    create_entries(connection, link, &log.created)
}

pub(super) fn drop_entries(connection: &Connection, link: &LinkId, ids: &[TransactionId]) -> Result<(), WriteError> {
    let mut drop =
        connection.prepare_cached("DELETE FROM transaction_changes WHERE link_id = ?1 AND transaction_id = ?2")?;
    for id in ids {
        drop.execute([link.as_str(), id.as_str()])?;
    }
    Ok(())
}

pub(super) fn remove_entries(connection: &Connection, link: &LinkId, entries: &[LogEntry]) -> Result<(), WriteError> {
    const REMOVE: &str = "INSERT INTO transaction_changes (link_id, position, transaction_id, kind, account_id, since) \
        SELECT ?1, ?2, ?3, 'removed', ?4, position FROM transaction_changes \
        WHERE link_id = ?1 AND transaction_id = ?3 AND kind = 'created'";
    const FORGET: &str =
        "DELETE FROM transaction_changes WHERE link_id = ?1 AND transaction_id = ?2 AND kind <> 'removed'";
    for entry in entries {
        write_entry(connection, REMOVE, link, entry)?;
        connection.prepare_cached(FORGET)?.execute([link.as_str(), entry.transaction_id.as_str()])?;
    }
    Ok(())
}

pub(super) fn update_entries(connection: &Connection, link: &LinkId, entries: &[LogEntry]) -> Result<(), WriteError> {
    const UPDATE: &str = "INSERT INTO transaction_changes (link_id, position, transaction_id, kind, account_id) \
        VALUES (?1, ?2, ?3, 'updated', ?4) \
        ON CONFLICT (link_id, transaction_id, kind) DO UPDATE SET position = excluded.position";
    for entry in entries {
        write_entry(connection, UPDATE, link, entry)?;
    }
    Ok(())
}

pub(super) fn create_entries(connection: &Connection, link: &LinkId, entries: &[LogEntry]) -> Result<(), WriteError> {
    const CREATE: &str = "INSERT INTO transaction_changes (link_id, position, transaction_id, kind, account_id) \
        VALUES (?1, ?2, ?3, 'created', ?4)";
    for entry in entries {
        write_entry(connection, CREATE, link, entry)?;
    }
    Ok(())
}

fn write_entry(connection: &Connection, sql: &str, link: &LinkId, entry: &LogEntry) -> Result<(), WriteError> {
    let position = i64::try_from(entry.position).unwrap_or(i64::MAX);
    let parameters = params![link.as_str(), position, entry.transaction_id.as_str(), entry.account_id.as_str()];
    connection.prepare_cached(sql)?.execute(parameters).map_err(constraint_as(Guard::Link))?;
    Ok(())
}
