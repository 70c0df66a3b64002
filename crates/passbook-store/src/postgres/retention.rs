//! What ends with its retention and has no other end: audit rows, sessions, stubs of deleted links.

use jiff::Timestamp;

use super::{values::values, writers::Writers};
use crate::{port::StoreError, stored::values::micros};

const FORGET_AUDIT: &str = "DELETE FROM audit WHERE (app_id, at, entry_id) IN \
    (SELECT app_id, at, entry_id FROM audit WHERE at < $1 LIMIT $2)";
const SEE_SESSIONS: &str = "UPDATE link_sessions SET seen_at = $1 WHERE session_id = ANY(ARRAY(\
    SELECT session_id FROM link_sessions WHERE seen_at IS NULL ORDER BY session_id LIMIT $2))";
const FORGET_SESSIONS: &str = "DELETE FROM link_sessions WHERE session_id = ANY(ARRAY(SELECT session_id \
    FROM link_sessions WHERE seen_at IS NOT NULL AND seen_at < $1 ORDER BY seen_at LIMIT $2))";
// The events of a deletion go a retention after it, so the stub outlives that whatever its app's clock says.
const FORGET_STUBS: &str = "DELETE FROM links WHERE link_id IN (SELECT l.link_id FROM links l \
    WHERE l.deleted_at IS NOT NULL AND l.wrapped_key IS NULL \
    AND NOT EXISTS (SELECT 1 FROM events e WHERE e.link_id = l.link_id) \
    AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.link_id = l.link_id) \
    AND NOT EXISTS (SELECT 1 FROM transactions t WHERE t.link_id = l.link_id) \
    AND NOT EXISTS (SELECT 1 FROM transaction_changes c WHERE c.link_id = l.link_id) \
    AND NOT EXISTS (SELECT 1 FROM investment_transactions i WHERE i.link_id = l.link_id) \
    AND NOT EXISTS (SELECT 1 FROM holdings h WHERE h.link_id = l.link_id) LIMIT $1)";

/// Deletes up to `limit` rows of each kind; returns how many rows were deleted or seen for the first time.
pub(super) async fn forget(
    writers: &Writers,
    before: Timestamp,
    audit_before: Timestamp,
    now: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let mut gone = 0;
    for (sql, at) in [(FORGET_AUDIT, audit_before), (FORGET_SESSIONS, before), (SEE_SESSIONS, now)] {
        gone += writers.execute(sql, values![micros(at), limit]).await?;
    }
    Ok(gone + writers.execute(FORGET_STUBS, values![limit]).await?)
}
