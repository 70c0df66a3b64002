//! Events on their way to the apps: the positions of the `events` table, and the `deliveries` and `webhook_addresses`
//! tables.
//!
//! The counter of a tenant's events is raised in the transaction that gives the positions, and its row stays locked until
//! that commits: whoever sees a position sees every lower one.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use passbook_core::{
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
        AddressStatus, ClockWrite, DispatchedEvent, EndedAttempt, EventFilter, Guard, LeasedDelivery, LedgerEvent,
        NextAttempt, StoreError, UndispatchedEvent,
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
const ADD_ADDRESSES: &str = "INSERT INTO webhook_addresses (address_id, app_id, environment, url) \
    SELECT n.address_id, n.app_id, n.environment, n.url \
    FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[]) AS n (address_id, app_id, environment, url) \
    ON CONFLICT (address_id) DO NOTHING";
const ADD_DELIVERIES: &str = "INSERT INTO deliveries (token, link_id, sequence, address_id, app_id, environment, body, \
    state, attempts, tries, due_at, app_due_at, fence) \
    SELECT n.token, n.link_id, n.sequence, a.address_id, a.app_id, a.environment, n.body, \
    CASE WHEN a.switched_off IS NULL THEN 'waiting' ELSE 'dead' END, 0, 0, n.due_at, n.app_due_at, 0 \
    FROM unnest($1::TEXT[], $2::TEXT[], $3::BIGINT[], $4::TEXT[], $5::TEXT[], $6::BIGINT[], $7::BIGINT[]) \
    AS n (token, link_id, sequence, address_id, body, due_at, app_due_at) \
    JOIN webhook_addresses a ON a.address_id = n.address_id ON CONFLICT (link_id, sequence, address_id) DO NOTHING";
const REPLAY_DELIVERIES: &str = "UPDATE deliveries SET state = 'waiting', tries = 0, due_at = n.due_at, \
    app_due_at = n.app_due_at FROM unnest($1::TEXT[], $2::BIGINT[], $3::TEXT[], $4::BIGINT[], $5::BIGINT[]) \
    AS n (link_id, sequence, address_id, due_at, app_due_at) WHERE deliveries.link_id = n.link_id \
    AND deliveries.sequence = n.sequence AND deliveries.address_id = n.address_id AND deliveries.lease_owner IS NULL";
const SWITCH_ON: &str =
    "UPDATE webhook_addresses SET switched_off = NULL, failing_since = NULL WHERE address_id = ANY($1)";
// From one address with waiting deliveries to the next by their index, however many deliveries wait.
const CHOOSE_DELIVERIES: &str = "WITH RECURSIVE waiting (address_id) AS ((SELECT f.address_id FROM deliveries f \
    WHERE f.state = 'waiting' ORDER BY f.address_id LIMIT 1) UNION ALL SELECT (SELECT n.address_id FROM deliveries n \
    WHERE n.state = 'waiting' AND n.address_id > w.address_id ORDER BY n.address_id LIMIT 1) FROM waiting w \
    WHERE w.address_id IS NOT NULL) SELECT d.token, d.app_id, d.environment, d.link_id, d.address_id, a.url, d.body, \
    d.attempts, d.tries, d.fence, a.failing_since FROM waiting s \
    JOIN webhook_addresses a ON a.address_id = s.address_id CROSS JOIN LATERAL (SELECT c.* \
    FROM deliveries c WHERE c.address_id = a.address_id AND c.state = 'waiting' AND c.due_at <= $1 \
    AND (c.tries > 0 OR NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.link_id = c.link_id \
    AND o.address_id = c.address_id AND o.sequence < c.sequence AND o.state = 'waiting' AND o.tries = 0)) \
    ORDER BY c.due_at, c.link_id, c.sequence LIMIT $2 FOR UPDATE OF c SKIP LOCKED) d \
    WHERE a.switched_off IS NULL AND a.address_id <> ALL($4) ORDER BY d.due_at, d.link_id, d.sequence LIMIT $3";
const LEASE_DELIVERIES: &str =
    "UPDATE deliveries SET fence = fence + 1, lease_owner = $2, due_at = $3 WHERE token = ANY($1)";
const END_ATTEMPT: &str = "UPDATE deliveries SET state = $3, attempts = attempts + 1, tries = tries + 1, due_at = $4, \
    app_due_at = $5, last_status = $6, last_error = $7, lease_owner = NULL \
    WHERE token = $1 AND fence = $2 AND lease_owner IS NOT NULL";
const MARK_WELL: &str =
    "UPDATE webhook_addresses SET failing_since = NULL WHERE address_id = $1 AND failing_since IS NOT NULL";
const MARK_FAILING: &str =
    "UPDATE webhook_addresses SET failing_since = $2 WHERE address_id = $1 AND failing_since IS NULL";
const SWITCH_OFF: &str = "UPDATE webhook_addresses SET switched_off = $2 WHERE address_id = $1";
const GIVE_UP: &str = "UPDATE deliveries SET state = 'dead', lease_owner = NULL, fence = fence + 1 \
    WHERE address_id = $1 AND state = 'waiting'";
const NEXT_DELIVERY_AT: &str = "SELECT MIN(due_at) FROM deliveries WHERE state = 'waiting'";
const LIST_WAITING: &str = "SELECT token, app_due_at FROM deliveries \
    WHERE app_id = $1 AND environment = $2 AND state = 'waiting' AND lease_owner IS NULL ORDER BY token FOR UPDATE";
const RETIME_DELIVERIES: &str = "UPDATE deliveries SET due_at = n.due_at \
    FROM unnest($1::TEXT[], $2::BIGINT[]) AS n (token, due_at) WHERE deliveries.token = n.token";
const LIST_EVENTS: &str = "SELECT e.position, e.body, e.webhook FROM events e \
    WHERE e.app_id = $1 AND e.environment = $2 AND e.position > $3 AND ($4::TEXT IS NULL OR e.kind = $4) \
    AND ($5::BIGINT IS NULL OR e.at >= $5) AND ($6::BIGINT IS NULL OR e.at < $6) AND ($7::TEXT IS NULL OR EXISTS \
    (SELECT 1 FROM deliveries d WHERE d.link_id = e.link_id AND d.sequence = e.sequence AND d.state = $7)) \
    ORDER BY e.position LIMIT $8";
// The positions of a link's events rise with their sequence.
const LIST_EVENTS_OF_LINK: &str = "SELECT e.position, e.body, e.webhook FROM events e \
    WHERE e.app_id = $1 AND e.environment = $2 AND e.position > $3 AND ($4::TEXT IS NULL OR e.kind = $4) \
    AND ($5::BIGINT IS NULL OR e.at >= $5) AND ($6::BIGINT IS NULL OR e.at < $6) AND ($7::TEXT IS NULL OR EXISTS \
    (SELECT 1 FROM deliveries d WHERE d.link_id = e.link_id AND d.sequence = e.sequence AND d.state = $7)) \
    AND e.link_id = $9 ORDER BY e.sequence LIMIT $8";
const FIND_EVENTS: &str = "SELECT e.position, e.body, e.webhook FROM events e \
    WHERE e.event_id = ANY($1) AND e.app_id = $2 AND e.environment = $3 ORDER BY e.position";
const LIST_DELIVERIES: &str = "SELECT d.link_id, d.sequence, d.token, a.url, d.state, d.attempts, d.app_due_at, \
    d.last_status, d.last_error FROM unnest($1::TEXT[], $2::BIGINT[]) AS n (link_id, sequence) \
    JOIN deliveries d ON d.link_id = n.link_id AND d.sequence = n.sequence \
    JOIN webhook_addresses a ON a.address_id = d.address_id ORDER BY d.address_id";
const NEWEST_POSITION: &str = "SELECT value FROM ordinals WHERE app_id = $1 AND kind = $2";
const LIST_FAILING_ADDRESSES: &str = "SELECT app_id, environment, url, failing_since, switched_off \
    FROM webhook_addresses WHERE failing_since IS NOT NULL OR switched_off IS NOT NULL \
    ORDER BY app_id, environment, url";

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
        steps.extend(add_deliveries(&self.events));
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

/// The deliveries of `events`, with their addresses.
fn add_deliveries(events: &[DispatchedEvent]) -> Vec<Step<'_>> {
    let made = || events.iter().filter_map(|event| event.delivery.as_ref().map(|delivery| (event, delivery)));
    if made().next().is_none() {
        return Vec::new();
    }
    let address_ids = || -> Value<'_> { made().map(|(_, delivery)| delivery.address.id.as_str()).collect() };
    let apps: Value<'_> = made().map(|(event, _)| event.tenant.app_id.as_str()).collect();
    let environments: Value<'_> = made().map(|(event, _)| event.tenant.environment.as_str()).collect();
    let urls: Value<'_> = made().map(|(_, delivery)| delivery.address.url.as_str()).collect();
    let tokens: Value<'_> = made().map(|(_, delivery)| delivery.token.as_str()).collect();
    let links: Value<'_> = made().map(|(event, _)| event.link_id.as_str()).collect();
    let sequences: Value<'_> = made().map(|(event, _)| number(event.sequence)).collect();
    let bodies: Value<'_> = made().map(|(_, delivery)| delivery.body.as_str()).collect();
    let due: Value<'_> = made().map(|(_, delivery)| due_micros(delivery.due_at)).collect();
    let app_due: Value<'_> = made().map(|(_, delivery)| micros(delivery.app_due_at)).collect();
    vec![
        Step::new(ADD_ADDRESSES, values![address_ids(), apps, environments, urls]),
        Step::new(ADD_DELIVERIES, values![tokens, links, sequences, address_ids(), bodies, due, app_due]),
    ]
}

/// Makes deliveries due again, or for the first time.
pub(super) struct Replay(pub Vec<DispatchedEvent>);

#[async_trait]
impl Unit for Replay {
    type Answer = ();

    async fn run(&self, work: &mut Work<'_>) -> Result<(), WriteError> {
        let made = || self.0.iter().filter_map(|event| event.delivery.as_ref().map(|delivery| (event, delivery)));
        let links: Value<'_> = made().map(|(event, _)| event.link_id.as_str()).collect();
        let sequences: Value<'_> = made().map(|(event, _)| number(event.sequence)).collect();
        let address_ids = || -> Value<'_> { made().map(|(_, delivery)| delivery.address.id.as_str()).collect() };
        let due: Value<'_> = made().map(|(_, delivery)| due_micros(delivery.due_at)).collect();
        let app_due: Value<'_> = made().map(|(_, delivery)| micros(delivery.app_due_at)).collect();
        let mut steps = add_deliveries(&self.0);
        if !steps.is_empty() {
            steps.push(Step::new(REPLAY_DELIVERIES, values![links, sequences, address_ids(), due, app_due]));
            steps.push(Step::new(SWITCH_ON, values![address_ids()]));
        }
        work.run(&steps).await
    }
}

/// Switches addresses on.
pub(super) fn switch_on(address_ids: &[String]) -> Option<Step<'_>> {
    let ids: Value<'_> = address_ids.iter().map(String::as_str).collect();
    (!address_ids.is_empty()).then(|| Step::new(SWITCH_ON, values![ids]))
}

/// Leases due deliveries.
pub(super) struct LeaseDeliveries {
    pub owner: String,
    pub now: Timestamp,
    pub until: Timestamp,
    pub limit: u32,
    pub per_address: u32,
    pub busy: Vec<String>,
}

#[async_trait]
impl Unit for LeaseDeliveries {
    type Answer = Vec<LeasedDelivery>;

    async fn run(&self, work: &mut Work<'_>) -> Result<Vec<LeasedDelivery>, WriteError> {
        let busy: Value<'_> = self.busy.iter().map(String::as_str).collect();
        let values = values![micros(self.now), self.per_address, self.limit, busy];
        let chosen = work.lock(CHOOSE_DELIVERIES, values).await?;
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
pub(super) struct EndAttempt(pub EndedAttempt);

#[async_trait]
impl Unit for EndAttempt {
    type Answer = ();

    async fn run(&self, work: &mut Work<'_>) -> Result<(), WriteError> {
        let ended = &self.0;
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
        let health = match ended.next {
            NextAttempt::Delivered => Step::new(MARK_WELL, values![address]),
            _ => Step::new(MARK_FAILING, values![address, micros(ended.app_ended_at)]),
        };
        let mut steps = vec![Step::new(END_ATTEMPT, end).rows(1, Guard::Lease), health];
        if let Some(reason) = ended.switch_off {
            steps.push(Step::new(SWITCH_OFF, values![address, reason]));
            steps.push(Step::new(GIVE_UP, values![address]));
        }
        work.run(&steps).await
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

/// Recomputes the real due times of the application's sandbox deliveries. Live ones follow real time.
pub(super) async fn retime_deliveries(work: &mut Work<'_>, write: &ClockWrite) -> Result<(), WriteError> {
    let app = write.app_id.as_str();
    let waiting = work.lock(LIST_WAITING, values![app, Environment::Sandbox.as_str()]).await?;
    let mut tokens = Vec::with_capacity(waiting.len());
    let mut due = Vec::with_capacity(waiting.len());
    for row in &waiting {
        let columns = Columns { row, table: "deliveries", key: app };
        tokens.push(columns.text(0, "token")?);
        due.push(write.clock.real_due(columns.instant(1, "app_due_at")?).map_or(NEVER, due_micros));
    }
    if tokens.is_empty() {
        return Ok(());
    }
    let (tokens, due): (Value<'_>, Value<'_>) = (tokens.into_iter().collect(), due.into_iter().collect());
    work.run(&[Step::new(RETIME_DELIVERIES, values![tokens, due])]).await
}

pub(super) async fn list_events(
    readers: &Readers,
    tenant: &Tenant,
    filter: &EventFilter,
    limit: u32,
) -> Result<Vec<LedgerEvent>, StoreError> {
    let mut values = values![
        tenant.app_id.as_str(),
        tenant.environment.as_str(),
        number(filter.after),
        filter.kind.as_deref(),
        filter.from.map(micros),
        filter.to.map(micros),
        filter.delivery.map(|state| state.as_str()),
        limit,
    ];
    let found = match &filter.link_id {
        Some(link) => {
            values.extend(values![link.as_str()]);
            readers.scan_for(tenant, LIST_EVENTS_OF_LINK, values).await?
        }
        None => readers.scan_for(tenant, LIST_EVENTS, values).await?,
    };
    with_deliveries(readers, found.iter().map(rows::ledger_event).collect::<Result<_, _>>()?).await
}

pub(super) async fn find_events(
    readers: &Readers,
    tenant: &Tenant,
    ids: &[EventId],
) -> Result<Vec<LedgerEvent>, StoreError> {
    let ids: Value<'_> = ids.iter().map(EventId::as_str).collect();
    let values = values![ids, tenant.app_id.as_str(), tenant.environment.as_str()];
    let found = readers.scan_for(tenant, FIND_EVENTS, values).await?;
    with_deliveries(readers, found.iter().map(rows::ledger_event).collect::<Result<_, _>>()?).await
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
