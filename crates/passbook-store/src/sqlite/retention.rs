//! What ends with its retention and has no other end: audit rows, sessions, stubs of deleted links.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::failure::WriteError;
use crate::stored::values::micros;

/// Deletes up to `limit` rows of each kind; returns how many rows were deleted or seen for the first time.
pub(super) fn forget(
    connection: &Connection,
    before: Timestamp,
    audit_before: Timestamp,
    now: Timestamp,
    limit: u32,
) -> Result<u64, WriteError> {
    const AUDIT: &str = "DELETE FROM audit WHERE (app_id, at, entry_id) IN \
        (SELECT app_id, at, entry_id FROM audit WHERE at < ?1 LIMIT ?2)";
    const SEE_SESSIONS: &str = "UPDATE link_sessions SET seen_at = ?1 WHERE session_id IN \
        (SELECT session_id FROM link_sessions WHERE seen_at IS NULL LIMIT ?2)";
    const SESSIONS: &str = "DELETE FROM link_sessions WHERE session_id IN \
        (SELECT session_id FROM link_sessions WHERE seen_at IS NOT NULL AND seen_at < ?1 LIMIT ?2)";
    // The events of a deletion go a retention after it, so the stub outlives that whatever its app's clock says.
    const STUBS: &str = "DELETE FROM links WHERE link_id IN (SELECT l.link_id FROM links l \
        WHERE l.deleted_at IS NOT NULL AND l.wrapped_key IS NULL \
        AND NOT EXISTS (SELECT 1 FROM events e WHERE e.link_id = l.link_id) \
        AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.link_id = l.link_id) \
        AND NOT EXISTS (SELECT 1 FROM transactions t WHERE t.link_id = l.link_id) \
        AND NOT EXISTS (SELECT 1 FROM transaction_changes c WHERE c.link_id = l.link_id) \
        AND NOT EXISTS (SELECT 1 FROM investment_transactions i WHERE i.link_id = l.link_id) \
        AND NOT EXISTS (SELECT 1 FROM holdings h WHERE h.link_id = l.link_id) LIMIT ?1)";
    let mut gone = 0;
    for (sql, at) in [(AUDIT, audit_before), (SESSIONS, before), (SEE_SESSIONS, now)] {
        gone += connection.prepare_cached(sql)?.execute(params![micros(at), limit])? as u64;
    }
    gone += connection.prepare_cached(STUBS)?.execute(params![limit])? as u64;
    Ok(gone)
}
