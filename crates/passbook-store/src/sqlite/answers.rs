//! The `kept_answers` table: what was answered to requests that carried an idempotency key.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    failure::{WriteError, one_row},
    links::first,
};
use crate::{
    port::{AnswerKey, Guard, Reservation},
    sealing::Keys,
    stored::{
        columns::Columns,
        prepare::PreparedAnswer,
        rows,
        values::{fresh_fence, micros},
    },
};

/// Reserves the key, or says what became of it. One conditional write decides; what is read afterwards only explains.
pub(super) fn reserve(
    connection: &Connection,
    keys: &Keys,
    key: &AnswerKey,
    request_hash: &[u8; 32],
    now: Timestamp,
    until: Timestamp,
) -> Result<Reservation, WriteError> {
    // A row whose life is over counts as absent, a reservation that ran out as free.
    const RESERVE: &str = "INSERT INTO kept_answers \
        (app_id, environment, key_hash, request_hash, fence, expires_at) \
        VALUES (?1, ?2, ?3, ?4, ?7, ?6) ON CONFLICT (app_id, environment, key_hash) DO UPDATE SET \
        request_hash = excluded.request_hash, fence = excluded.fence, \
        expires_at = excluded.expires_at, status = NULL, body = NULL, link_id = NULL \
        WHERE kept_answers.expires_at <= ?5 RETURNING fence";
    let parameters = params![
        key.tenant.app_id.as_str(),
        key.tenant.environment.as_str(),
        key.hash,
        &request_hash[..],
        micros(now),
        micros(until),
        fresh_fence(),
    ];
    let fence = first(connection, RESERVE, parameters, |row| {
        Ok(Columns { row, table: "kept_answers", key: &key.hash }.integer(0, "fence")?)
    })?;
    if let Some(fence) = fence {
        return Ok(Reservation::Reserved { fence });
    }
    const KNOWN: &str = "SELECT request_hash, status, body FROM kept_answers \
        WHERE app_id = ?1 AND environment = ?2 AND key_hash = ?3";
    let owner = (key.tenant.app_id.as_str(), key.tenant.environment.as_str(), key.hash.as_str());
    let known = first(connection, KNOWN, owner, |row| Ok(rows::known_answer(row, keys, key, request_hash)?))?;
    // Nobody else writes within this transaction, so the row that stood in the way is there.
    Ok(known.unwrap_or(Reservation::Running))
}

/// Keeps the answer, if the reservation is still held under the same fence.
pub(super) fn write_answer(connection: &Connection, answer: &PreparedAnswer) -> Result<(), WriteError> {
    const SQL: &str = "UPDATE kept_answers SET status = ?5, body = ?6, link_id = ?7, expires_at = ?8 \
        WHERE app_id = ?1 AND environment = ?2 AND key_hash = ?3 AND fence = ?4 AND status IS NULL";
    let write = &answer.write;
    let kept = connection.prepare_cached(SQL)?.execute(params![
        write.key.tenant.app_id.as_str(),
        write.key.tenant.environment.as_str(),
        write.key.hash,
        i64::try_from(write.fence).unwrap_or(-1),
        write.status,
        answer.body,
        write.link_id.as_ref().map(|id| id.as_str()),
        micros(write.expires_at),
    ])?;
    one_row(kept, Guard::Answer)
}

/// Gives the key back: its request was refused and changed nothing.
pub(super) fn release(connection: &Connection, key: &AnswerKey, fence: u64) -> Result<(), WriteError> {
    const SQL: &str = "DELETE FROM kept_answers \
        WHERE app_id = ?1 AND environment = ?2 AND key_hash = ?3 AND fence = ?4 AND status IS NULL";
    connection.prepare_cached(SQL)?.execute(params![
        key.tenant.app_id.as_str(),
        key.tenant.environment.as_str(),
        key.hash,
        i64::try_from(fence).unwrap_or(-1),
    ])?;
    Ok(())
}

/// Frees every reservation: the process that held one is gone.
pub(super) fn end_all_reservations(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute("DELETE FROM kept_answers WHERE status IS NULL", [])
}
