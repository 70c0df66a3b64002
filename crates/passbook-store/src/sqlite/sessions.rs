//! The `link_sessions` table.

use passbook_core::{
    ids::{LinkId, SessionId},
    tenant::Tenant,
};
use rusqlite::{Connection, params};

use super::{
    failure::{ReadError, WriteError, constraint_as, one_row},
    links::first,
};
use crate::{
    port::{Guard, StoredSession},
    sealing::Keys,
    stored::{
        prepare::PreparedSession,
        rows,
        values::{micros, progress_columns},
    },
};

const SELECT: &str = "SELECT session_id, app_id, environment, ordinal, version, created_at, expires_at, link_id, \
    progress, exchange_hash, exchange_expires_at, request FROM link_sessions";

pub(super) fn lookup_session(
    connection: &Connection,
    keys: &Keys,
    id: &SessionId,
) -> Result<Option<StoredSession>, ReadError> {
    first(connection, &format!("{SELECT} WHERE session_id = ?1"), [id.as_str()], |row| Ok(rows::session(row, keys)?))
}

pub(super) fn find_session_by_exchange_hash(
    connection: &Connection,
    keys: &Keys,
    tenant: &Tenant,
    hash: &[u8; 32],
) -> Result<Option<StoredSession>, ReadError> {
    let sql = format!("{SELECT} WHERE exchange_hash = ?1 AND app_id = ?2 AND environment = ?3");
    let parameters = params![&hash[..], tenant.app_id.as_str(), tenant.environment.as_str()];
    first(connection, &sql, parameters, |row| Ok(rows::session(row, keys)?))
}

pub(super) fn write_session(connection: &Connection, prepared: &PreparedSession) -> Result<(), WriteError> {
    match prepared.write.expected_version {
        None => insert(connection, prepared),
        Some(version) => update(connection, prepared, version),
    }
}

/// Wipes requests of sessions that are over.
pub(super) fn wipe_expired(connection: &Connection, tenant: &Tenant, now: i64, limit: u32) -> Result<u64, WriteError> {
    const SQL: &str = "UPDATE link_sessions SET request = NULL WHERE session_id IN (SELECT session_id \
        FROM link_sessions WHERE app_id = ?1 AND environment = ?2 AND expires_at <= ?3 AND request IS NOT NULL LIMIT ?4)";
    let wiped = connection.prepare_cached(SQL)?.execute(params![
        tenant.app_id.as_str(),
        tenant.environment.as_str(),
        now,
        limit
    ])?;
    Ok(wiped as u64)
}

fn insert(connection: &Connection, prepared: &PreparedSession) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO link_sessions (session_id, app_id, environment, ordinal, version, created_at, \
        expires_at, link_id, progress, exchange_hash, exchange_expires_at, request) \
        VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    if prepared.write.spends_token {
        return Err(WriteError::Conflict(Guard::Session));
    }
    let session = &prepared.write.session;
    let (progress, exchange_expires_at) = progress_columns(&session.progress);
    let request = prepared.request.as_ref().filter(|_| !prepared.write.wipe_request);
    connection
        .prepare_cached(SQL)?
        .execute(params![
            session.id.as_str(),
            session.tenant.app_id.as_str(),
            session.tenant.environment.as_str(),
            i64::try_from(session.ordinal).unwrap_or(i64::MAX),
            micros(session.created_at),
            micros(session.expires_at),
            session.link_id.as_ref().map(LinkId::as_str),
            progress,
            prepared.write.exchange_hash().map(|hash| &hash[..]),
            exchange_expires_at,
            request,
        ])
        .map_err(constraint_as(Guard::Session))?;
    Ok(())
}

fn update(connection: &Connection, prepared: &PreparedSession, version: u64) -> Result<(), WriteError> {
    // The row count of this one statement decides who spends an exchangeable token. Nothing is read before it.
    const SQL: &str = "UPDATE link_sessions SET link_id = ?5, progress = ?6, exchange_hash = ?7, \
        exchange_expires_at = ?8, request = CASE WHEN ?9 THEN NULL ELSE COALESCE(?10, request) END, \
        expires_at = ?12, version = version + 1 \
        WHERE session_id = ?1 AND app_id = ?2 AND environment = ?3 AND version = ?4 \
        AND (NOT ?11 OR progress = 'succeeded')";
    let write = &prepared.write;
    let session = &write.session;
    let (progress, exchange_expires_at) = progress_columns(&session.progress);
    let changed = connection
        .prepare_cached(SQL)?
        .execute(params![
            session.id.as_str(),
            session.tenant.app_id.as_str(),
            session.tenant.environment.as_str(),
            i64::try_from(version).unwrap_or(-1),
            session.link_id.as_ref().map(LinkId::as_str),
            progress,
            write.exchange_hash().map(|hash| &hash[..]),
            exchange_expires_at,
            write.wipe_request,
            prepared.request,
            write.spends_token,
            micros(session.expires_at),
        ])
        .map_err(constraint_as(Guard::Session))?;
    one_row(changed, Guard::Session)
}
