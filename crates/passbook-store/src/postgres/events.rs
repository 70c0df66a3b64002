//! The `events` and `audit` tables, and what ends with its retention.

use passbook_core::event::Event;

use super::{
    values::{Value, values},
    work::Step,
};
use crate::{
    port::{AuditEntry, Guard},
    sealing::random_bytes,
    stored::values::micros,
};

const INSERT_EVENTS: &str = "INSERT INTO events (link_id, sequence, app_id, environment, at, kind, body, \
    webhook) SELECT l.link_id, n.sequence, l.app_id, l.environment, n.at, n.kind, n.body, n.webhook \
    FROM unnest($1::TEXT[], $2::BIGINT[], $3::BIGINT[], $4::TEXT[], $5::TEXT[], $6::TEXT[]) AS n (link_id, sequence, \
    at, kind, body, webhook) JOIN links l ON l.link_id = n.link_id";
const INSERT_AUDIT: &str = "INSERT INTO audit (app_id, at, entry_id, environment, actor, action, link_id) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

// In the order of an index, and by keys that are known before anything is deleted: a planner that takes every third row
// for one to delete would read the whole table for them. Whatever has a position has a name.
const CLEANUP_TOKENS: &str = "DELETE FROM access_tokens WHERE token_hash = ANY(ARRAY\
    (SELECT token_hash FROM access_tokens WHERE purge_after < $1 ORDER BY purge_after LIMIT $2))";
const CLEANUP_JOBS: &str = "DELETE FROM jobs WHERE job_id = ANY(ARRAY\
    (SELECT job_id FROM jobs WHERE state <> 'open' AND finished_at < $1 ORDER BY finished_at LIMIT $2))";
/// Deletes events whose retention ended before $1 and that have no deliveries, at most $2.
pub(super) const CLEANUP_EVENTS: &str = "DELETE FROM events WHERE event_id = ANY(ARRAY\
    (SELECT e.event_id FROM events e WHERE e.positioned_at IS NOT NULL AND e.positioned_at < $1 \
    AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.link_id = e.link_id AND d.sequence = e.sequence) \
    ORDER BY e.positioned_at LIMIT $2))";
/// Deletes kept answers whose life ended at or before $1, at most $2.
pub(super) const CLEANUP_ANSWERS: &str = "DELETE FROM kept_answers WHERE (app_id, environment, key_hash) IN \
    (SELECT app_id, environment, key_hash FROM kept_answers WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
/// Each deletes rows of one kind whose retention ended before $1, at most $2.
pub(super) const CLEANUP: [&str; 2] = [CLEANUP_TOKENS, CLEANUP_JOBS];

/// Adds events; a sequence that exists already means that the link was changed by somebody else.
pub(super) fn add_events(events: &[Event]) -> Option<Step<'_>> {
    if events.is_empty() {
        return None;
    }
    let links: Value<'_> = events.iter().map(|event| event.link_id.as_str()).collect();
    let sequences: Value<'_> = events.iter().map(|event| i64::try_from(event.sequence).unwrap_or(i64::MAX)).collect();
    let times: Value<'_> = events.iter().map(|event| micros(event.at)).collect();
    let kinds: Value<'_> = events.iter().map(|event| event.kind.name()).collect();
    let body = |event| serde_json::to_string(event).expect("an event is plain data with string keys");
    let bodies: Value<'_> = events.iter().map(body).collect();
    let webhooks: Value<'_> = events.iter().map(|event| event.webhook.as_deref()).collect();
    let step = Step::new(INSERT_EVENTS, values![links, sequences, times, kinds, bodies, webhooks]);
    Some(step.unique(Guard::Link).parent(Guard::Link).rows(events.len() as u64, Guard::Link))
}

pub(super) fn add_audit_entry(entry: &AuditEntry) -> Step<'_> {
    let entry_id: [u8; 16] = random_bytes();
    let values = values![
        entry.tenant.app_id.as_str(),
        micros(entry.at),
        entry_id.to_vec(),
        entry.tenant.environment.as_str(),
        &entry.actor,
        entry.action,
        entry.link_id.as_ref().map(|id| id.as_str()),
    ];
    Step::new(INSERT_AUDIT, values)
}
