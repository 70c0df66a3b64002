//! The `events` and `audit` tables.

use jiff::Timestamp;
use passbook_core::event::Event;
use rusqlite::{Connection, params};

use super::{
    deliveries,
    failure::{WriteError, constraint_as, one_row},
};
use crate::{
    port::{AuditEntry, Guard},
    sealing::random_bytes,
    stored::values::micros,
};

/// Adds an event; a sequence that exists already means that the link was changed by somebody else.
pub(super) fn add_event(connection: &Connection, event: &Event) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO events (link_id, sequence, app_id, environment, at, kind, body, webhook) \
        SELECT link_id, ?2, app_id, environment, ?3, ?4, ?5, ?6 FROM links WHERE link_id = ?1";
    let body = serde_json::to_string(event).expect("an event is plain data with string keys");
    let added = connection
        .prepare_cached(SQL)?
        .execute(params![
            event.link_id.as_str(),
            i64::try_from(event.sequence).unwrap_or(i64::MAX),
            micros(event.at),
            event.kind.name(),
            body,
            event.webhook,
        ])
        .map_err(constraint_as(Guard::Link))?;
    one_row(added, Guard::Link)
}

pub(super) fn add_audit_entry(connection: &Connection, entry: &AuditEntry) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO audit (app_id, at, entry_id, environment, actor, action, link_id) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let entry_id: [u8; 16] = random_bytes();
    connection.prepare_cached(SQL)?.execute(params![
        entry.tenant.app_id.as_str(),
        micros(entry.at),
        &entry_id[..],
        entry.tenant.environment.as_str(),
        entry.actor,
        entry.action,
        entry.link_id.as_ref().map(|id| id.as_str()),
    ])?;
    Ok(())
}

/// Deletes up to `limit` rows of each kind whose retention ended before `before`, and kept answers whose life has ended.
pub(super) fn cleanup(connection: &Connection, before: i64, now: Timestamp, limit: u32) -> Result<u64, WriteError> {
    const EXPIRED: [&str; 2] = [
        "DELETE FROM access_tokens WHERE token_hash IN \
         (SELECT token_hash FROM access_tokens WHERE purge_after < ?1 LIMIT ?2)",
        "DELETE FROM jobs WHERE job_id IN \
         (SELECT job_id FROM jobs WHERE state <> 'open' AND finished_at < ?1 LIMIT ?2)",
    ];
    // Once its deliveries are gone.
    const EVENTS: &str = "DELETE FROM events WHERE (link_id, sequence) IN \
        (SELECT e.link_id, e.sequence FROM events e WHERE e.positioned_at IS NOT NULL AND e.positioned_at < ?1 \
        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.link_id = e.link_id AND d.sequence = e.sequence) LIMIT ?2)";
    const ANSWERS: &str = "DELETE FROM kept_answers WHERE (app_id, environment, key_hash) IN \
        (SELECT app_id, environment, key_hash FROM kept_answers WHERE expires_at <= ?1 LIMIT ?2)";
    let mut deleted = connection.prepare_cached(ANSWERS)?.execute(params![micros(now), limit])? as u64;
    for sql in EXPIRED {
        deleted += connection.prepare_cached(sql)?.execute(params![before, limit])? as u64;
    }
    deleted += deliveries::cleanup(connection, before, now, limit)?;
    deleted += connection.prepare_cached(EVENTS)?.execute(params![before, limit])? as u64;
    Ok(deleted)
}
