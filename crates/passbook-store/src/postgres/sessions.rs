//! The `link_sessions` table.

use passbook_core::{
    ids::{LinkId, SessionId},
    tenant::Tenant,
};

use super::{failure::WriteError, readers::Readers, values::values, work::Step};
use crate::{
    port::{Guard, StoreError, StoredSession},
    sealing::Keys,
    stored::{
        prepare::PreparedSession,
        rows,
        values::{micros, progress_columns},
    },
};

const LOOKUP_SESSION: &str = "SELECT session_id, app_id, environment, ordinal, version, created_at, expires_at, \
    link_id, progress, exchange_hash, exchange_expires_at, request FROM link_sessions WHERE session_id = $1";
const FIND_SESSION_BY_EXCHANGE_HASH: &str = "SELECT session_id, app_id, environment, ordinal, version, created_at, \
    expires_at, link_id, progress, exchange_hash, exchange_expires_at, request FROM link_sessions WHERE exchange_hash = $1";
const INSERT_SESSION: &str = "INSERT INTO link_sessions (session_id, app_id, environment, ordinal, version, \
    created_at, expires_at, link_id, progress, exchange_hash, exchange_expires_at, request) \
    VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, $10, $11)";
// The row count of this one statement decides who spends an exchangeable token. Nothing is read before it.
const UPDATE_SESSION: &str = "UPDATE link_sessions SET link_id = $5, progress = $6, exchange_hash = $7, \
    exchange_expires_at = $8, request = CASE WHEN $9 THEN NULL ELSE COALESCE($10, request) END, \
    expires_at = $12, version = version + 1 \
    WHERE session_id = $1 AND app_id IS NOT DISTINCT FROM $2 AND environment IS NOT DISTINCT FROM $3 AND version = $4 \
    AND (NOT $11 OR progress = 'succeeded')";
pub(super) const WIPE_EXPIRED_SESSIONS: &str = "UPDATE link_sessions SET request = NULL WHERE session_id IN \
    (SELECT session_id FROM link_sessions WHERE app_id = $1 AND environment = $2 AND expires_at <= $3 \
    AND request IS NOT NULL LIMIT $4)";

pub(super) async fn lookup_session(
    readers: &Readers,
    keys: &Keys,
    id: &SessionId,
) -> Result<Option<StoredSession>, StoreError> {
    let row = readers.point(LOOKUP_SESSION, values![id.as_str()]).await?;
    row.map(|row| rows::session(&row, keys)).transpose()
}

pub(super) async fn find_session_by_exchange_hash(
    readers: &Readers,
    keys: &Keys,
    tenant: &Tenant,
    hash: &[u8; 32],
) -> Result<Option<StoredSession>, StoreError> {
    let row = readers.point(FIND_SESSION_BY_EXCHANGE_HASH, values![&hash[..]]).await?;
    row.filter(|row| rows::is_of(row, tenant, 1)).map(|row| rows::session(&row, keys)).transpose()
}

pub(super) fn write_session(prepared: &PreparedSession) -> Result<Step<'_>, WriteError> {
    match prepared.write.expected_version {
        None if prepared.write.spends_token => Err(WriteError::Conflict(Guard::Session)),
        None => Ok(insert(prepared)),
        Some(version) => Ok(update(prepared, version)),
    }
}

fn insert(prepared: &PreparedSession) -> Step<'_> {
    let session = &prepared.write.session;
    let (progress, exchange_expires_at) = progress_columns(&session.progress);
    let values = values![
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
        prepared.request.as_ref().filter(|_| !prepared.write.wipe_request),
    ];
    Step::new(INSERT_SESSION, values).unique(Guard::Session)
}

fn update(prepared: &PreparedSession, version: u64) -> Step<'_> {
    let write = &prepared.write;
    let session = &write.session;
    let (progress, exchange_expires_at) = progress_columns(&session.progress);
    let values = values![
        session.id.as_str(),
        session.tenant.app_id.as_str(),
        session.tenant.environment.as_str(),
        i64::try_from(version).unwrap_or(-1),
        session.link_id.as_ref().map(LinkId::as_str),
        progress,
        write.exchange_hash().map(|hash| &hash[..]),
        exchange_expires_at,
        write.wipe_request,
        prepared.request.as_ref(),
        write.spends_token,
        micros(session.expires_at),
    ];
    Step::new(UPDATE_SESSION, values).unique(Guard::Session).rows(1, Guard::Session)
}
