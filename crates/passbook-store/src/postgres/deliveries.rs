//! Events on their way to the apps: the positions of the `events` table, and the `deliveries` and `webhook_addresses`
//! tables.
//!
//! The counter of a tenant's events is raised in the transaction that gives the positions, and its row stays locked
//! until that commits: whoever sees a position sees every lower one.
//!
//! A delivery that waits is in one of three stages. The head of a *line*, the untried deliveries of a link to an
//! address, is
//! `ready`; those behind it are `blocked`, and whatever takes the head out of the line unblocks the next one. `scheduled` are
//! leased ones and retries; [`WAKE_DELIVERIES`] makes them ready when their time comes. So whoever looks for work
//! finds it by one index, and never looks at what waits for something else.
//!
//! Whoever adds to a line locks the delivery before the new one first ([`LOCK_LINES`]). Otherwise that one could end
//! in a transaction that does not see the new one yet, and nobody would ever unblock it. Addresses are locked before
//! deliveries, both in the order of their keys.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use passbook_core::{
    delivery::ADDRESS_FAILURES,
    delivery_shares::ReadyQueue,
    ids::EventId,
    tenant::{Environment, Tenant},
};

use super::{
    failure::{WriteError, unavailable},
    readers::Readers,
    values::{Value, values},
    work::{Step, Work},
    writers::Unit,
};
use crate::{
    port::{
        AddressStatus, ClockWrite, DispatchedEvent, EndedAttempt, EventFilter, Guard, LeaseRequest, LeasedDelivery,
        LedgerEvent, LedgerIndex, LedgerPage, NextAttempt, PASSED_OVER_MAX, ReadyFilter, StoreError, UndispatchedEvent,
    },
    stored::{
        columns::Columns,
        rows,
        values::{NEVER, due_columns, due_micros, event_counter, micros, number},
    },
};

const LIST_UNDISPATCHED: &str = "SELECT app_id, environment, body, webhook FROM events WHERE position IS NULL \
    ORDER BY at, link_id, sequence LIMIT $1";
const TAKE_POSITIONS: &str = "INSERT INTO ordinals (app_id, kind, value) VALUES ($1, $2, $3) \
    ON CONFLICT (app_id, kind) DO UPDATE SET value = ordinals.value + excluded.value RETURNING value";
const GIVE_POSITIONS: &str = "UPDATE events SET position = n.position, positioned_at = $5, event_id = n.event_id \
    FROM unnest($1::TEXT[], $2::BIGINT[], $3::BIGINT[], $4::TEXT[]) AS n (link_id, sequence, position, event_id) \
    WHERE events.link_id = n.link_id AND events.sequence = n.sequence AND events.position IS NULL";
// Always writes, and so locks: an address that is about to be deleted or switched off is waited for.
const ADD_ADDRESSES: &str = "INSERT INTO webhook_addresses (address_id, app_id, environment, url, host) \
    SELECT DISTINCT n.address_id, n.app_id, n.environment, n.url, n.host \
    FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[]) \
    AS n (address_id, app_id, environment, url, host) ORDER BY n.address_id \
    ON CONFLICT (address_id) DO UPDATE SET host = excluded.host";
const LOCK_LINES: &str = "SELECT d.token FROM deliveries d WHERE d.token = ANY(ARRAY(SELECT p.token \
    FROM unnest($1::TEXT[], $2::BIGINT[], $3::TEXT[]) AS n (link_id, sequence, address_id) \
    CROSS JOIN LATERAL (SELECT o.token FROM deliveries o WHERE o.link_id = n.link_id AND o.address_id = n.address_id \
    AND o.state = 'waiting' AND o.tries = 0 AND o.sequence < n.sequence ORDER BY o.sequence DESC LIMIT 1) p)) \
    ORDER BY d.token FOR UPDATE";
const ADD_DELIVERIES: &str = "INSERT INTO deliveries (token, link_id, sequence, address_id, app_id, environment, body, \
    state, attempts, tries, due_at, app_due_at, fence, stage) \
    SELECT n.token, n.link_id, n.sequence, a.address_id, a.app_id, a.environment, n.body, \
    CASE WHEN a.switched_off IS NULL THEN 'waiting' ELSE 'dead' END, 0, 0, n.due_at, n.app_due_at, 0, \
    CASE WHEN a.switched_off IS NOT NULL THEN NULL WHEN n.place > 1 OR EXISTS (SELECT 1 FROM deliveries o \
    WHERE o.link_id = n.link_id AND o.address_id = n.address_id AND o.sequence < n.sequence AND o.state = 'waiting' \
    AND o.tries = 0) THEN 'blocked' WHEN n.due_at <= $8 THEN 'ready' ELSE 'scheduled' END \
    FROM (SELECT u.*, row_number() OVER (PARTITION BY u.link_id, u.address_id ORDER BY u.sequence) AS place \
    FROM unnest($1::TEXT[], $2::TEXT[], $3::BIGINT[], $4::TEXT[], $5::TEXT[], $6::BIGINT[], $7::BIGINT[]) \
    AS u (token, link_id, sequence, address_id, body, due_at, app_due_at)) AS n \
    CROSS JOIN LATERAL (SELECT w.* FROM webhook_addresses w WHERE w.address_id = n.address_id LIMIT 1) a \
    ON CONFLICT (link_id, sequence, address_id) DO NOTHING";
const REPLAY_DELIVERIES: &str = "UPDATE deliveries SET state = 'waiting', tries = 0, due_at = n.due_at, \
    app_due_at = n.app_due_at, stage = 'scheduled' \
    FROM unnest($1::TEXT[], $2::BIGINT[], $3::TEXT[], $4::BIGINT[], $5::BIGINT[]) \
    AS n (link_id, sequence, address_id, due_at, app_due_at) WHERE deliveries.link_id = n.link_id \
    AND deliveries.sequence = n.sequence AND deliveries.address_id = n.address_id AND deliveries.lease_owner IS NULL";
// Puts lines in order into which older deliveries came back. Leased ones stay as they are.
const LINE_UP: &str = "UPDATE deliveries SET stage = CASE WHEN EXISTS (SELECT 1 FROM deliveries o \
    WHERE o.link_id = deliveries.link_id AND o.address_id = deliveries.address_id \
    AND o.sequence < deliveries.sequence AND o.state = 'waiting' AND o.tries = 0) THEN 'blocked' \
    WHEN due_at <= $3 THEN 'ready' ELSE 'scheduled' END \
    FROM (SELECT DISTINCT u.link_id, u.address_id FROM unnest($1::TEXT[], $2::TEXT[]) AS u (link_id, address_id)) AS n \
    WHERE deliveries.link_id = n.link_id AND deliveries.address_id = n.address_id AND deliveries.state = 'waiting' \
    AND deliveries.tries = 0 AND deliveries.lease_owner IS NULL AND deliveries.stage <> 'blocked'";
// The head of each line may be attempted, once what was before it was tried or is gone.
const UNBLOCK: &str = "UPDATE deliveries SET stage = CASE WHEN due_at <= $3 THEN 'ready' ELSE 'scheduled' END \
    WHERE token = ANY(ARRAY(SELECT h.token FROM unnest($1::TEXT[], $2::TEXT[]) AS n (link_id, address_id) \
    CROSS JOIN LATERAL (SELECT o.token FROM deliveries o WHERE o.link_id = n.link_id AND o.address_id = n.address_id \
    AND o.state = 'waiting' AND o.tries = 0 ORDER BY o.sequence LIMIT 1) h)) AND stage = 'blocked'";
const SWITCH_ON: &str = "UPDATE webhook_addresses SET switched_off = NULL, failing_since = NULL, failures = 0 \
    WHERE address_id = ANY($1)";
// From tenant to tenant and from address to address by the index of waiting deliveries, so that it costs as much as
// there are addresses with ready deliveries, however many wait behind those. The limits keep the planner from joining
// otherwise.
const LIST_READY: &str = "WITH RECURSIVE tenants (app_id, environment) AS ((SELECT f.app_id, f.environment \
    FROM deliveries f WHERE f.stage IS NOT NULL ORDER BY f.app_id, f.environment LIMIT 1) UNION ALL \
    SELECT n.app_id, n.environment FROM tenants t CROSS JOIN LATERAL (SELECT d.app_id, d.environment FROM deliveries d \
    WHERE d.stage IS NOT NULL AND (d.app_id, d.environment) > (t.app_id, t.environment) \
    ORDER BY d.app_id, d.environment LIMIT 1) n) \
    SELECT t.app_id, t.environment, q.address_id, a.host, a.failing_since, r.count, r.due_at FROM tenants t \
    CROSS JOIN LATERAL (SELECT COALESCE((SELECT s.address_id FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[]) \
    AS s (app_id, environment, address_id) WHERE s.app_id = t.app_id AND s.environment = t.environment LIMIT 1), '') \
    AS address_id LIMIT 1) s CROSS JOIN LATERAL (WITH RECURSIVE addresses (address_id, place) AS \
    ((SELECT f.address_id, 1::BIGINT FROM deliveries f WHERE f.app_id = t.app_id AND f.environment = t.environment \
    AND f.stage = 'ready' AND f.address_id > s.address_id ORDER BY f.address_id LIMIT 1) UNION ALL \
    SELECT n.address_id, p.place + 1 FROM addresses p CROSS JOIN LATERAL (SELECT d.address_id FROM deliveries d \
    WHERE d.app_id = t.app_id AND d.environment = t.environment AND d.stage = 'ready' \
    AND d.address_id > p.address_id ORDER BY d.address_id LIMIT 1) n WHERE p.place < $4) \
    SELECT address_id FROM addresses) q \
    CROSS JOIN LATERAL (SELECT w.host, w.failing_since FROM webhook_addresses w WHERE w.address_id = q.address_id \
    AND w.switched_off IS NULL LIMIT 1) a \
    CROSS JOIN LATERAL (SELECT COUNT(*) AS count, MIN(c.due_at) AS due_at FROM (SELECT d.due_at FROM deliveries d \
    WHERE d.app_id = t.app_id AND d.environment = t.environment AND d.stage = 'ready' \
    AND d.address_id = q.address_id ORDER BY d.due_at LIMIT $5) c) r WHERE r.count > 0";
const CHOOSE_DELIVERIES: &str = "SELECT d.token, d.app_id, d.environment, d.link_id, d.address_id, a.url, a.host, d.body, \
    d.attempts, d.tries, d.fence, a.failing_since, a.failures \
    FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::BIGINT[]) AS n (app_id, environment, address_id, count) \
    CROSS JOIN LATERAL (SELECT w.url, w.host, w.failing_since, w.failures FROM webhook_addresses w \
    WHERE w.address_id = n.address_id AND w.switched_off IS NULL LIMIT 1) a CROSS JOIN LATERAL (SELECT c.* \
    FROM deliveries c WHERE c.app_id = n.app_id AND c.environment = n.environment AND c.stage = 'ready' \
    AND c.address_id = n.address_id ORDER BY c.due_at LIMIT n.count FOR UPDATE OF c SKIP LOCKED) d";
const LEASE_DELIVERIES: &str = "UPDATE deliveries SET fence = fence + 1, lease_owner = $2, due_at = $3, \
    stage = 'scheduled' WHERE token = ANY($1)";
/// Makes scheduled deliveries ready whose time came at or before $1, at most $2. (An older release ends attempts and
/// leaves the stage; such a delivery does not wait.)
pub(super) const WAKE_DELIVERIES: &str = "UPDATE deliveries SET stage = CASE WHEN state = 'waiting' THEN 'ready' END \
    WHERE token = ANY(ARRAY(SELECT d.token FROM deliveries d WHERE d.stage = 'scheduled' AND d.due_at <= $1 \
    ORDER BY d.due_at LIMIT $2 FOR UPDATE SKIP LOCKED))";
const END_ATTEMPT: &str = "UPDATE deliveries SET state = $3, attempts = attempts + 1, tries = tries + 1, due_at = $4, \
    app_due_at = $5, last_status = $6, last_error = $7, lease_owner = NULL, \
    stage = CASE WHEN $3 = 'waiting' THEN 'scheduled' END \
    WHERE token = $1 AND fence = $2 AND lease_owner IS NOT NULL";
const MARK_WELL: &str = "UPDATE webhook_addresses SET failing_since = NULL, failures = 0 \
    WHERE address_id = $1 AND failing_since IS NOT NULL";
const MARK_FAILING: &str = "UPDATE webhook_addresses SET failing_since = COALESCE(failing_since, $2), \
    failures = failures + 1 WHERE address_id = $1 AND (failing_since IS NULL OR failures < $3)";
const SWITCH_OFF: &str = "UPDATE webhook_addresses SET switched_off = $2 WHERE address_id = $1";
const LIST_SWITCHED_OFF: &str = "SELECT address_id FROM webhook_addresses WHERE switched_off IS NOT NULL \
    ORDER BY address_id";
const GIVE_UP: &str = "UPDATE deliveries SET state = 'dead', stage = NULL, lease_owner = NULL, fence = fence + 1 \
    WHERE token = ANY(ARRAY(SELECT d.token FROM unnest($1::TEXT[]) AS n (address_id) \
    CROSS JOIN LATERAL (SELECT o.token FROM deliveries o WHERE o.address_id = n.address_id AND o.state = 'waiting' \
    LIMIT $2) d LIMIT $2)) RETURNING link_id, address_id";
const CLEANUP_DELIVERIES: &str = "DELETE FROM deliveries WHERE token = ANY(ARRAY(SELECT d.token FROM deliveries d \
    JOIN events e ON e.link_id = d.link_id AND e.sequence = d.sequence WHERE e.positioned_at IS NOT NULL \
    AND e.positioned_at < $1 ORDER BY e.positioned_at LIMIT $2)) RETURNING link_id, address_id";
const CLEANUP_ADDRESSES: &str = "DELETE FROM webhook_addresses WHERE address_id = ANY($1) \
    AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.address_id = webhook_addresses.address_id)";
const NEXT_DELIVERY_AT: &str = "SELECT MIN(due_at) FROM deliveries WHERE stage = 'scheduled'";
const LIST_WAITING: &str = "SELECT token, app_due_at FROM deliveries WHERE app_id = $1 AND environment = $2 \
    AND stage IN ('ready', 'scheduled') AND lease_owner IS NULL ORDER BY token FOR UPDATE";
const RETIME_DELIVERIES: &str = "UPDATE deliveries SET due_at = n.due_at, \
    stage = CASE WHEN n.due_at <= $3 THEN 'ready' ELSE 'scheduled' END \
    FROM unnest($1::TEXT[], $2::BIGINT[]) AS n (token, due_at) WHERE deliveries.token = n.token";
// Each has one index that answers it. A tenant as one value is the key of events_of_kind alone, and the other way round it
// is no key at all: a link is found by itself. An EXISTS would be answered by a hash of every delivery there is.
const LIST_EVENTS: &str = "SELECT e.position, e.body, e.webhook FROM events e \
    WHERE e.app_id = $1 AND e.environment = $2 AND e.position > $3 AND e.position <= $4 \
    AND ($5::BIGINT IS NULL OR e.at >= $5) AND ($6::BIGINT IS NULL OR e.at < $6) AND ($7::TEXT IS NULL OR 0 < \
    (SELECT COUNT(*) FROM deliveries d WHERE d.link_id = e.link_id AND d.sequence = e.sequence AND d.state = $7)) \
    AND ($9::TEXT IS NULL OR e.kind = $9) ORDER BY e.position LIMIT $8";
const LIST_EVENTS_OF_LINK: &str = "SELECT e.position, e.body, e.webhook FROM events e \
    WHERE e.link_id = $1 AND (e.environment || ' ' || e.app_id) = $2 AND e.position > $3 AND e.position <= $4 \
    AND ($5::BIGINT IS NULL OR e.at >= $5) AND ($6::BIGINT IS NULL OR e.at < $6) AND ($7::TEXT IS NULL OR 0 < \
    (SELECT COUNT(*) FROM deliveries d WHERE d.link_id = e.link_id AND d.sequence = e.sequence AND d.state = $7)) \
    AND ($9::TEXT IS NULL OR e.kind = $9) ORDER BY e.position LIMIT $8";
const LIST_EVENTS_OF_KIND: &str = "SELECT e.position, e.body, e.webhook FROM events e \
    WHERE (e.app_id || ' ' || e.environment) = $1 AND e.kind = $2 AND e.position > $3 AND e.position <= $4 \
    AND ($5::BIGINT IS NULL OR e.at >= $5) AND ($6::BIGINT IS NULL OR e.at < $6) AND ($7::TEXT IS NULL OR 0 < \
    (SELECT COUNT(*) FROM deliveries d WHERE d.link_id = e.link_id AND d.sequence = e.sequence AND d.state = $7)) \
    AND ($9::TEXT IS NULL OR e.kind = $9) ORDER BY e.position LIMIT $8";
const FIND_END: &str = "SELECT e.position FROM events e WHERE e.app_id = $1 AND e.environment = $2 \
    AND e.position > $3 ORDER BY e.position LIMIT 1 OFFSET $4";
const FIND_END_OF_LINK: &str = "SELECT e.position FROM events e WHERE e.link_id = $1 AND (e.environment || ' ' || e.app_id) = $2 \
    AND e.position > $3 ORDER BY e.position LIMIT 1 OFFSET $4";
const FIND_END_OF_KIND: &str = "SELECT e.position FROM events e WHERE (e.app_id || ' ' || e.environment) = $1 AND e.kind = $2 \
    AND e.position > $3 ORDER BY e.position LIMIT 1 OFFSET $4";
const FIND_EVENTS: &str = "SELECT e.position, e.body, e.webhook, e.app_id, e.environment FROM events e \
    WHERE e.event_id = ANY($1) ORDER BY e.position";
const LIST_DELIVERIES: &str = "SELECT d.link_id, d.sequence, d.token, a.url, d.state, d.attempts, d.app_due_at, \
    d.last_status, d.last_error FROM unnest($1::TEXT[], $2::BIGINT[]) AS n (link_id, sequence) \
    JOIN deliveries d ON d.link_id = n.link_id AND d.sequence = n.sequence \
    JOIN webhook_addresses a ON a.address_id = d.address_id ORDER BY d.address_id";
const NEWEST_POSITION: &str = "SELECT value FROM ordinals WHERE app_id = $1 AND kind = $2";
const LIST_FAILING_ADDRESSES: &str = "SELECT app_id, environment, url, failing_since, switched_off \
    FROM webhook_addresses WHERE failing_since IS NOT NULL OR switched_off IS NOT NULL \
    ORDER BY app_id, environment, url";

/// Deliveries to an address that was switched off which become dead letters in one commit.
const BURIED_AT_ONCE: u32 = 500;

pub(super) async fn list_undispatched(readers: &Readers, limit: u32) -> Result<Vec<UndispatchedEvent>, StoreError> {
    Ok(readers.points(LIST_UNDISPATCHED, values![limit]).await?.iter().filter_map(rows::undispatched_event).collect())
}

/// Gives positions and makes deliveries; an event that has its position already is a lost race.
pub(super) struct Dispatch {
    pub events: Vec<DispatchedEvent>,
    pub now: Timestamp,
}

#[async_trait]
impl Unit for Dispatch {
    type Answer = bool;

    async fn run(&self, work: &mut Work<'_>) -> Result<bool, WriteError> {
        let positions = take_positions(work, &self.events).await?;
        let links: Value<'_> = self.events.iter().map(|event| event.link_id.as_str()).collect();
        let sequences: Value<'_> = self.events.iter().map(|event| number(event.sequence)).collect();
        let positions: Value<'_> = positions.into_iter().collect();
        let ids: Value<'_> = self.events.iter().map(|event| event.event_id.as_str()).collect();
        let give = Step::new(GIVE_POSITIONS, values![links, sequences, positions, ids, micros(self.now)]);
        let mut steps = vec![give.rows(self.events.len() as u64, Guard::Unique)];
        let deliveries = self.events.iter().filter(|event| event.delivery.is_some()).count() as u64;
        if let Some(add) = add_deliveries(&self.events, self.now) {
            let [addresses, lock, add] = add;
            steps.extend([addresses, lock, add.rows(deliveries, Guard::Unique)]);
        }
        work.run(&steps).await?;
        Ok(true)
    }
}

/// The position of each event.
async fn take_positions(work: &mut Work<'_>, events: &[DispatchedEvent]) -> Result<Vec<i64>, WriteError> {
    // In the order of the keys, so that two processes lock the counters in the same order.
    let mut last: BTreeMap<(&str, &'static str), i64> = BTreeMap::new();
    for event in events {
        *last.entry(counter(event)).or_default() += 1;
    }
    for ((app, kind), count) in &mut last {
        let taken = work.change(Step::new(TAKE_POSITIONS, values![*app, *kind, *count])).await?;
        let row = taken.first().ok_or_else(|| unavailable("no position was given"))?;
        let newest: i64 = Columns { row, table: "ordinals", key: app }.integer(0, "value")?;
        *count = newest - *count;
    }
    let mut positions = Vec::with_capacity(events.len());
    for event in events {
        let last = last.entry(counter(event)).or_default();
        *last += 1;
        positions.push(*last);
    }
    Ok(positions)
}

fn counter(event: &DispatchedEvent) -> (&str, &'static str) {
    (event.tenant.app_id.as_str(), event_counter(&event.tenant))
}

/// The deliveries of `events`: their addresses, locks of the lines that they join, themselves.
fn add_deliveries(events: &[DispatchedEvent], now: Timestamp) -> Option<[Step<'_>; 3]> {
    let made = || events.iter().filter_map(|event| event.delivery.as_ref().map(|delivery| (event, delivery)));
    made().next()?;
    let address_ids = || -> Value<'_> { made().map(|(_, delivery)| delivery.address.id.as_str()).collect() };
    let apps: Value<'_> = made().map(|(event, _)| event.tenant.app_id.as_str()).collect();
    let environments: Value<'_> = made().map(|(event, _)| event.tenant.environment.as_str()).collect();
    let urls: Value<'_> = made().map(|(_, delivery)| delivery.address.url.as_str()).collect();
    let hosts: Value<'_> = made().map(|(_, delivery)| delivery.address.host.as_str()).collect();
    let tokens: Value<'_> = made().map(|(_, delivery)| delivery.token.as_str()).collect();
    let links = || -> Value<'_> { made().map(|(event, _)| event.link_id.as_str()).collect() };
    let sequences = || -> Value<'_> { made().map(|(event, _)| number(event.sequence)).collect() };
    let bodies: Value<'_> = made().map(|(_, delivery)| delivery.body.as_str()).collect();
    let due: Value<'_> = made().map(|(_, delivery)| due_micros(delivery.due_at)).collect();
    let app_due: Value<'_> = made().map(|(_, delivery)| micros(delivery.app_due_at)).collect();
    let new = values![tokens, links(), sequences(), address_ids(), bodies, due, app_due, micros(now)];
    Some([
        Step::new(ADD_ADDRESSES, values![address_ids(), apps, environments, urls, hosts]),
        Step::new(LOCK_LINES, values![links(), sequences(), address_ids()]),
        Step::new(ADD_DELIVERIES, new),
    ])
}

/// Makes deliveries due again, or for the first time.
pub(super) struct Replay {
    pub events: Vec<DispatchedEvent>,
    pub now: Timestamp,
}

#[async_trait]
impl Unit for Replay {
    type Answer = ();

    async fn run(&self, work: &mut Work<'_>) -> Result<(), WriteError> {
        let made = || self.events.iter().filter_map(|event| event.delivery.as_ref().map(|delivery| (event, delivery)));
        let links = || -> Value<'_> { made().map(|(event, _)| event.link_id.as_str()).collect() };
        let sequences: Value<'_> = made().map(|(event, _)| number(event.sequence)).collect();
        let address_ids = || -> Value<'_> { made().map(|(_, delivery)| delivery.address.id.as_str()).collect() };
        let due: Value<'_> = made().map(|(_, delivery)| due_micros(delivery.due_at)).collect();
        let app_due: Value<'_> = made().map(|(_, delivery)| micros(delivery.app_due_at)).collect();
        let Some([addresses, lock, add]) = add_deliveries(&self.events, self.now) else { return Ok(()) };
        let steps = [
            addresses,
            Step::new(SWITCH_ON, values![address_ids()]),
            lock,
            add,
            Step::new(REPLAY_DELIVERIES, values![links(), sequences, address_ids(), due, app_due]),
            Step::new(LINE_UP, values![links(), address_ids(), micros(self.now)]),
        ];
        work.run(&steps).await
    }
}

/// Switches addresses on.
pub(super) fn switch_on(address_ids: &[String]) -> Option<Step<'_>> {
    let ids: Value<'_> = address_ids.iter().map(String::as_str).collect();
    (!address_ids.is_empty()).then(|| Step::new(SWITCH_ON, values![ids]))
}

pub(super) async fn list_ready(readers: &Readers, filter: &ReadyFilter) -> Result<Vec<ReadyQueue>, StoreError> {
    let apps: Value<'_> = filter.after.iter().map(|(tenant, _)| tenant.app_id.as_str()).collect();
    let environments: Value<'_> = filter.after.iter().map(|(tenant, _)| tenant.environment.as_str()).collect();
    let addresses: Value<'_> = filter.after.iter().map(|(_, address)| address.as_str()).collect();
    let values = values![apps, environments, addresses, filter.addresses, filter.per_address];
    // Not among the point reads, which would wait behind it on their connection.
    readers.scan(LIST_READY, values).await?.iter().map(rows::ready_queue).collect()
}

/// Leases ready deliveries.
pub(super) struct LeaseDeliveries {
    pub owner: String,
    pub until: Timestamp,
    pub requests: Vec<LeaseRequest>,
}

#[async_trait]
impl Unit for LeaseDeliveries {
    type Answer = Vec<LeasedDelivery>;

    async fn run(&self, work: &mut Work<'_>) -> Result<Vec<LeasedDelivery>, WriteError> {
        let requests = || self.requests.iter();
        let apps: Value<'_> = requests().map(|one| one.tenant.app_id.as_str()).collect();
        let environments: Value<'_> = requests().map(|one| one.tenant.environment.as_str()).collect();
        let addresses: Value<'_> = requests().map(|one| one.address_id.as_str()).collect();
        let counts: Value<'_> = requests().map(|one| i64::from(one.count)).collect();
        let chosen = work.lock(CHOOSE_DELIVERIES, values![apps, environments, addresses, counts]).await?;
        let chosen = chosen.iter().map(rows::delivery_to_lease).collect::<Result<Vec<_>, _>>()?;
        if chosen.is_empty() {
            return Ok(chosen);
        }
        let tokens: Value<'_> = chosen.iter().map(|delivery| delivery.lease.token.as_str()).collect();
        let lease = Step::new(LEASE_DELIVERIES, values![tokens, &self.owner, micros(self.until)]);
        work.run(&[lease.rows(chosen.len() as u64, Guard::Lease)]).await?;
        Ok(chosen)
    }
}

/// Stores how an attempt ended; a lost lease is a lost guard.
pub(super) struct EndAttempt {
    pub ended: EndedAttempt,
    pub now: Timestamp,
}

#[async_trait]
impl Unit for EndAttempt {
    type Answer = ();

    async fn run(&self, work: &mut Work<'_>) -> Result<(), WriteError> {
        let ended = &self.ended;
        let address = ended.address_id.as_str();
        let (due_at, app_due_at) = due_columns(ended);
        let end = values![
            &ended.lease.token,
            ended.lease.fence_number(),
            ended.next.state().as_str(),
            due_at,
            app_due_at,
            ended.status.map(i64::from),
            ended.error,
        ];
        // The address first: whoever adds deliveries locks in this order, too.
        let mut steps = vec![match ended.next {
            NextAttempt::Delivered => Step::new(MARK_WELL, values![address]),
            _ => Step::new(MARK_FAILING, values![address, micros(ended.app_ended_at), ADDRESS_FAILURES]),
        }];
        steps.extend(ended.switch_off.map(|reason| Step::new(SWITCH_OFF, values![address, reason])));
        steps.push(Step::new(END_ATTEMPT, end).rows(1, Guard::Lease));
        let line = |text| -> Value<'_> { std::iter::once::<&str>(text).collect() };
        let next = values![line(ended.link_id.as_str()), line(address), micros(self.now)];
        steps.push(Step::new(UNBLOCK, next));
        work.run(&steps).await?;
        if ended.switch_off.is_some() {
            give_up(work, std::slice::from_ref(&ended.address_id), self.now, BURIED_AT_ONCE).await?;
        }
        Ok(())
    }
}

/// Gives up what waits for addresses that are switched off.
pub(super) struct Bury {
    pub now: Timestamp,
    pub limit: u32,
}

#[async_trait]
impl Unit for Bury {
    type Answer = u64;

    async fn run(&self, work: &mut Work<'_>) -> Result<u64, WriteError> {
        let off = work.lock(LIST_SWITCHED_OFF, values![]).await?;
        let address =
            |row| Ok(Columns { row, table: "webhook_addresses", key: "" }.text(0, "address_id")?.into_owned());
        let off = off.iter().map(address).collect::<Result<Vec<_>, WriteError>>()?;
        if off.is_empty() {
            return Ok(0);
        }
        give_up(work, &off, self.now, self.limit).await
    }
}

/// Gives up some of what waits for these addresses. The rest keeps its order, for an address may be switched on again.
async fn give_up(work: &mut Work<'_>, off: &[String], now: Timestamp, limit: u32) -> Result<u64, WriteError> {
    let off: Value<'_> = off.iter().map(String::as_str).collect();
    let buried = work.change(Step::new(GIVE_UP, values![off, limit])).await?;
    unblock_behind(work, &buried, now).await?;
    Ok(buried.len() as u64)
}

/// Unblocks the lines of rows that went; gives their addresses.
async fn unblock_behind(
    work: &mut Work<'_>,
    gone: &[tokio_postgres::Row],
    now: Timestamp,
) -> Result<BTreeSet<String>, WriteError> {
    let line = |row| {
        let columns = Columns { row, table: "deliveries", key: "" };
        Ok((columns.text(1, "address_id")?.into_owned(), columns.text(0, "link_id")?.into_owned()))
    };
    let lines = gone.iter().map(line).collect::<Result<BTreeSet<(String, String)>, StoreError>>()?;
    if !lines.is_empty() {
        let links: Value<'_> = lines.iter().map(|(_, link)| link.as_str()).collect();
        let addresses: Value<'_> = lines.iter().map(|(address, _)| address.as_str()).collect();
        work.run(&[Step::new(UNBLOCK, values![links, addresses, micros(now)])]).await?;
    }
    Ok(lines.into_iter().map(|(address, _)| address).collect())
}

/// Deletes deliveries whose event's retention ended before `before`, and addresses that have none left.
pub(super) struct CleanupDeliveries {
    pub before: Timestamp,
    pub now: Timestamp,
    pub limit: u32,
}

#[async_trait]
impl Unit for CleanupDeliveries {
    type Answer = u64;

    async fn run(&self, work: &mut Work<'_>) -> Result<u64, WriteError> {
        let deleted = work.change(Step::new(CLEANUP_DELIVERIES, values![micros(self.before), self.limit])).await?;
        let addresses = unblock_behind(work, &deleted, self.now).await?;
        if !addresses.is_empty() {
            let addresses: Value<'_> = addresses.iter().map(String::as_str).collect();
            work.run(&[Step::new(CLEANUP_ADDRESSES, values![addresses])]).await?;
        }
        Ok(deleted.len() as u64)
    }
}

pub(super) async fn next_delivery_at(readers: &Readers) -> Result<Option<Timestamp>, StoreError> {
    let row = readers.point(NEXT_DELIVERY_AT, values![]).await?;
    let due =
        |row: tokio_postgres::Row| Columns { row: &row, table: "deliveries", key: "" }.optional_integer(0, "due_at");
    let next = row.map(due).transpose()?.flatten();
    // A time out of range is as good as never.
    Ok(next.filter(|due| *due < NEVER).and_then(|due| Timestamp::from_microsecond(due).ok()))
}

/// Recomputes the real due times of the application's sandbox deliveries. Live ones follow real time; blocked ones are
/// due when they are unblocked, whatever the clock says.
pub(super) async fn retime_deliveries(work: &mut Work<'_>, write: &ClockWrite) -> Result<(), WriteError> {
    let app = write.app_id.as_str();
    let waiting = work.lock(LIST_WAITING, values![app, Environment::Sandbox.as_str()]).await?;
    let mut tokens = Vec::with_capacity(waiting.len());
    let mut due = Vec::with_capacity(waiting.len());
    for row in &waiting {
        let columns = Columns { row, table: "deliveries", key: app };
        tokens.push(columns.text(0, "token")?.into_owned());
        due.push(write.clock.real_due(columns.instant(1, "app_due_at")?).map_or(NEVER, due_micros));
    }
    if tokens.is_empty() {
        return Ok(());
    }
    let (tokens, due): (Value<'_>, Value<'_>) = (tokens.into_iter().collect(), due.into_iter().collect());
    work.run(&[Step::new(RETIME_DELIVERIES, values![tokens, due, micros(write.now)])]).await
}

pub(super) async fn list_events(
    readers: &Readers,
    tenant: &Tenant,
    filter: &EventFilter,
    limit: u32,
) -> Result<LedgerPage, StoreError> {
    // Before the rest: whatever gets its position from now on is for the next page.
    let newest = newest_position(readers, tenant).await?;
    if filter.after >= newest {
        return Ok(LedgerPage::of(Vec::new(), limit, filter.after, newest, newest));
    }
    let (index, first, second) = filter.index(tenant);
    let (list, find_end) = match index {
        LedgerIndex::Tenant => (LIST_EVENTS, FIND_END),
        LedgerIndex::Link => (LIST_EVENTS_OF_LINK, FIND_END_OF_LINK),
        LedgerIndex::Kind => (LIST_EVENTS_OF_KIND, FIND_END_OF_KIND),
    };
    let after = number(filter.after);
    let end = match filter.passes_over() {
        true => readers.point(find_end, values![&first, &second, after, i64::from(PASSED_OVER_MAX - 1)]).await?,
        false => None,
    };
    let end = end.map(|row| Columns { row: &row, table: "events", key: &first }.integer(0, "position")).transpose()?;
    let up_to = end.unwrap_or(newest);
    let values = values![
        &first,
        &second,
        after,
        number(up_to),
        filter.from.map(micros),
        filter.to.map(micros),
        filter.delivery.map(|state| state.as_str()),
        limit,
        // Where the kind is the index, it is compared once.
        filter.kind.as_deref().filter(|_| index != LedgerIndex::Kind),
    ];
    let found = readers.scan_for(tenant, list, values).await?;
    let events = with_deliveries(readers, found.iter().map(rows::ledger_event).collect::<Result<_, _>>()?).await?;
    Ok(LedgerPage::of(events, limit, filter.after, up_to, newest))
}

pub(super) async fn find_events(
    readers: &Readers,
    tenant: &Tenant,
    ids: &[EventId],
) -> Result<Vec<LedgerEvent>, StoreError> {
    let ids: Value<'_> = ids.iter().map(EventId::as_str).collect();
    let found = readers.scan_for(tenant, FIND_EVENTS, values![ids]).await?;
    let own = found.iter().filter(|row| rows::is_of(*row, tenant, 3));
    with_deliveries(readers, own.map(rows::ledger_event).collect::<Result<_, _>>()?).await
}

async fn with_deliveries(readers: &Readers, mut events: Vec<LedgerEvent>) -> Result<Vec<LedgerEvent>, StoreError> {
    if events.is_empty() {
        return Ok(events);
    }
    let deliveries = {
        let links: Value<'_> = events.iter().map(|one| one.event.link_id.as_str()).collect();
        let sequences: Value<'_> = events.iter().map(|one| number(one.event.sequence)).collect();
        readers.scan(LIST_DELIVERIES, values![links, sequences]).await?
    };
    let deliveries = deliveries.iter().map(rows::delivery_status).collect::<Result<_, _>>()?;
    rows::join_deliveries(&mut events, deliveries);
    Ok(events)
}

pub(super) async fn newest_position(readers: &Readers, tenant: &Tenant) -> Result<u64, StoreError> {
    let app = tenant.app_id.as_str();
    let row = readers.point(NEWEST_POSITION, values![app, event_counter(tenant)]).await?;
    row.map_or(Ok(0), |row| Columns { row: &row, table: "ordinals", key: app }.integer(0, "value"))
}

pub(super) async fn list_failing_addresses(readers: &Readers) -> Result<Vec<AddressStatus>, StoreError> {
    readers.scan(LIST_FAILING_ADDRESSES, values![]).await?.iter().map(rows::address_status).collect()
}
