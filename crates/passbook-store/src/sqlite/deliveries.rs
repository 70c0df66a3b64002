//! Events on their way to the apps: the positions of the `events` table, and the `deliveries` and `webhook_addresses`
//! tables.
//!
//! A delivery that waits is in one of three stages. The head of a *line*, the untried deliveries of a link to an
//! address, is
//! `ready`; those behind it are `blocked`, and whatever takes the head out of the line calls [`unblock`]. `scheduled` are
//! leased ones and retries; [`wake`] makes them ready when their time comes. So whoever looks for work finds it by one
//! index, and never looks at what waits for something else.

use std::collections::BTreeSet;

use jiff::Timestamp;
use passbook_core::{
    delivery::ADDRESS_FAILURES,
    delivery_shares::ReadyQueue,
    ids::{AppId, EventId, LinkId},
    tenant::{Environment, Tenant},
    time::AppClock,
};
use rusqlite::{Connection, params};

use super::{
    failure::{ReadError, WriteError, one_row},
    links::first,
};
use crate::{
    port::{
        AddressStatus, DispatchedEvent, EndedAttempt, EventFilter, Guard, LeaseRequest, LeasedDelivery, LedgerEvent,
        LedgerIndex, LedgerPage, NewDelivery, NextAttempt, PASSED_OVER_MAX, ReadyFilter, UndispatchedEvent,
    },
    stored::{
        columns::Columns,
        rows,
        values::{NEVER, due_columns, due_micros, event_counter, micros, number},
    },
};

const TABLE: &str = "deliveries";
/// Deliveries to an address that was switched off which become dead letters in one commit, so that a long line holds up
/// no other write.
const BURIED_AT_ONCE: u32 = 500;

// What every round of a courier runs; a test counts what they look at.
// A blob sorts behind every text: the search begins behind the last tenant's deliveries. Without it, SQLite begins at the
// first of them and passes over each.
const NEXT_TENANT: &str = "SELECT app_id, environment FROM deliveries INDEXED BY deliveries_waiting \
    WHERE stage IS NOT NULL AND (app_id, environment, stage) > (?1, ?2, X'') ORDER BY app_id, environment LIMIT 1";
const NEXT_ADDRESS: &str = "SELECT address_id FROM deliveries INDEXED BY deliveries_waiting \
    WHERE app_id = ?1 AND environment = ?2 AND stage = 'ready' AND address_id > ?3 ORDER BY address_id LIMIT 1";
// The innermost query stops at the limit; no row when the address is switched off, or what was ready is gone.
const COUNT_READY: &str = "SELECT a.app_id, a.environment, a.address_id, a.host, a.failing_since, r.count, r.due_at \
    FROM webhook_addresses a JOIN (SELECT COUNT(*) AS count, MIN(due_at) AS due_at FROM (SELECT due_at \
    FROM deliveries INDEXED BY deliveries_waiting WHERE app_id = ?1 AND environment = ?2 AND stage = 'ready' \
    AND address_id = ?3 ORDER BY due_at LIMIT ?4)) r WHERE a.address_id = ?3 AND a.switched_off IS NULL \
    AND r.count > 0";
const CHOOSE_READY: &str = "SELECT d.token, d.app_id, d.environment, d.link_id, d.address_id, a.url, a.host, d.body, \
    d.attempts, d.tries, d.fence, a.failing_since, a.failures \
    FROM webhook_addresses a CROSS JOIN deliveries d INDEXED BY deliveries_waiting \
    WHERE a.address_id = ?3 AND a.switched_off IS NULL AND d.app_id = ?1 AND d.environment = ?2 \
    AND d.stage = 'ready' AND d.address_id = ?3 ORDER BY d.due_at LIMIT ?4";
const WAKE: &str = "UPDATE deliveries SET stage = CASE WHEN state = 'waiting' THEN 'ready' END WHERE token IN \
    (SELECT token FROM deliveries INDEXED BY deliveries_scheduled WHERE stage = 'scheduled' AND due_at <= ?1 \
    ORDER BY due_at LIMIT ?2)";
const UNBLOCK: &str = "UPDATE deliveries SET stage = CASE WHEN due_at <= ?3 THEN 'ready' ELSE 'scheduled' END \
    WHERE token = (SELECT token FROM deliveries INDEXED BY deliveries_lines WHERE link_id = ?1 \
    AND address_id = ?2 AND state = 'waiting' AND tries = 0 ORDER BY sequence LIMIT 1) AND stage = 'blocked'";
const NEXT_AT: &str = "SELECT MIN(due_at) FROM deliveries INDEXED BY deliveries_scheduled WHERE stage = 'scheduled'";

pub(super) fn list_undispatched(connection: &Connection, limit: u32) -> Result<Vec<UndispatchedEvent>, ReadError> {
    const SQL: &str = "SELECT app_id, environment, body, webhook FROM events WHERE position IS NULL \
        ORDER BY at, link_id, sequence LIMIT ?1";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut found = statement.query([limit])?;
    let mut events = Vec::new();
    while let Some(row) = found.next()? {
        events.extend(rows::undispatched_event(row));
    }
    Ok(events)
}

/// Gives positions and makes deliveries; an event that has its position already is a lost race.
pub(super) fn dispatch_events(
    connection: &Connection,
    events: &[DispatchedEvent],
    now: Timestamp,
) -> Result<(), WriteError> {
    const POSITION: &str = "UPDATE events SET position = ?3, positioned_at = ?4, event_id = ?5 \
        WHERE link_id = ?1 AND sequence = ?2 AND position IS NULL";
    let mut position = connection.prepare_cached(POSITION)?;
    for event in events {
        let place = take_position(connection, &event.tenant)?;
        let changed = position.execute(params![
            event.link_id.as_str(),
            number(event.sequence),
            number(place),
            micros(now),
            event.event_id.as_str(),
        ])?;
        one_row(changed, Guard::Unique)?;
    }
    // Events come in the order of their times, which a clock that was set back turns round. A line has the order of
    // sequences.
    let mut deliveries: Vec<_> = events.iter().filter_map(|event| Some((event, event.delivery.as_ref()?))).collect();
    deliveries.sort_by_key(|(event, _)| event.sequence);
    for (event, delivery) in deliveries {
        add_address(connection, event, delivery)?;
        add_delivery(connection, event, delivery, now)?;
    }
    Ok(())
}

fn take_position(connection: &Connection, tenant: &Tenant) -> Result<u64, WriteError> {
    super::instance::take_ordinal(connection, &tenant.app_id, event_counter(tenant))
}

fn add_address(connection: &Connection, event: &DispatchedEvent, delivery: &NewDelivery) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO webhook_addresses (address_id, app_id, environment, url, host) \
        VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (address_id) DO UPDATE SET host = excluded.host WHERE host IS NULL";
    connection.prepare_cached(SQL)?.execute(params![
        delivery.address.id,
        event.tenant.app_id.as_str(),
        event.tenant.environment.as_str(),
        delivery.address.url,
        delivery.address.host,
    ])?;
    Ok(())
}

fn add_delivery(
    connection: &Connection,
    event: &DispatchedEvent,
    delivery: &NewDelivery,
    now: Timestamp,
) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO deliveries (token, link_id, sequence, address_id, app_id, environment, body, state, \
        attempts, tries, due_at, app_due_at, fence, stage) \
        SELECT ?1, ?2, ?3, a.address_id, a.app_id, a.environment, ?5, \
        CASE WHEN a.switched_off IS NULL THEN 'waiting' ELSE 'dead' END, 0, 0, ?6, ?7, 0, \
        CASE WHEN a.switched_off IS NOT NULL THEN NULL WHEN EXISTS (SELECT 1 FROM deliveries o \
        INDEXED BY deliveries_lines WHERE o.link_id = ?2 AND o.address_id = ?4 AND o.sequence < ?3 \
        AND o.state = 'waiting' AND o.tries = 0) THEN 'blocked' WHEN ?6 <= ?8 THEN 'ready' ELSE 'scheduled' END \
        FROM webhook_addresses a WHERE a.address_id = ?4 \
        ON CONFLICT (link_id, sequence, address_id) DO NOTHING";
    connection.prepare_cached(SQL)?.execute(params![
        delivery.token,
        event.link_id.as_str(),
        number(event.sequence),
        delivery.address.id,
        delivery.body,
        due_micros(delivery.due_at),
        micros(delivery.app_due_at),
        micros(now),
    ])?;
    Ok(())
}

/// Goes from tenant to tenant and from address to address by the index of waiting deliveries, so that it costs as much
/// as there are addresses with ready deliveries, however many wait behind those.
pub(super) fn list_ready(connection: &Connection, filter: &ReadyFilter) -> Result<Vec<ReadyQueue>, ReadError> {
    let mut next_tenant = connection.prepare_cached(NEXT_TENANT)?;
    let mut next_address = connection.prepare_cached(NEXT_ADDRESS)?;
    let mut queue = connection.prepare_cached(COUNT_READY)?;
    let (mut queues, mut last) = (Vec::new(), (String::new(), String::new()));
    loop {
        let mut found = next_tenant.query(params![last.0, last.1])?;
        let Some(row) = found.next()? else { return Ok(queues) };
        let columns = Columns { row, table: TABLE, key: "" };
        last = (columns.text(0, "app_id")?.into_owned(), columns.text(1, "environment")?.into_owned());
        let (app, environment) = (&last.0, &last.1);
        let is_this = |tenant: &Tenant| tenant.app_id.as_str() == app && tenant.environment.as_str() == environment;
        let after = filter.after.iter().find(|(tenant, _)| is_this(tenant));
        let mut address = after.map(|(_, address)| address.clone()).unwrap_or_default();
        for _ in 0..filter.addresses {
            let mut found = next_address.query(params![app, environment, address])?;
            let Some(row) = found.next()? else { break };
            address = Columns { row, table: TABLE, key: "" }.text(0, "address_id")?.into_owned();
            let mut found = queue.query(params![app, environment, address, filter.per_address])?;
            if let Some(row) = found.next()? {
                queues.push(rows::ready_queue(row)?);
            }
        }
    }
}

pub(super) fn lease_deliveries(
    connection: &Connection,
    owner: &str,
    until: Timestamp,
    requests: &[LeaseRequest],
) -> Result<Vec<LeasedDelivery>, WriteError> {
    const LEASE: &str =
        "UPDATE deliveries SET fence = ?2, lease_owner = ?3, due_at = ?4, stage = 'scheduled' WHERE token = ?1";
    let mut leased = Vec::new();
    let mut ready = connection.prepare_cached(CHOOSE_READY)?;
    for request in requests {
        let (app, environment) = (request.tenant.app_id.as_str(), request.tenant.environment.as_str());
        let mut found = ready.query(params![app, environment, request.address_id, request.count])?;
        while let Some(row) = found.next()? {
            leased.push(rows::delivery_to_lease(row)?);
        }
    }
    let mut lease = connection.prepare_cached(LEASE)?;
    for one in &leased {
        lease.execute(params![one.lease.token, one.lease.fence_number(), owner, micros(until)])?;
    }
    Ok(leased)
}

/// Makes scheduled deliveries ready whose time has come.
pub(super) fn wake(connection: &Connection, now: Timestamp, limit: u32) -> Result<u64, WriteError> {
    Ok(connection.prepare_cached(WAKE)?.execute(params![micros(now), limit])? as u64)
}

/// Gives up what waits for addresses that are switched off.
pub(super) fn bury(connection: &Connection, now: Timestamp, limit: u32) -> Result<u64, WriteError> {
    const OFF: &str = "SELECT address_id FROM webhook_addresses INDEXED BY webhook_addresses_off \
        WHERE switched_off IS NOT NULL";
    let off: Vec<String> =
        connection.prepare_cached(OFF)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut buried = 0;
    for address in off {
        let left = limit.saturating_sub(u32::try_from(buried).unwrap_or(limit));
        buried += bury_some(connection, &address, now, left)?;
    }
    Ok(buried)
}

/// Gives up some of what waits for one address. The rest keeps its order, for the address may be switched on again.
fn bury_some(connection: &Connection, address_id: &str, now: Timestamp, limit: u32) -> Result<u64, WriteError> {
    const SQL: &str = "UPDATE deliveries SET state = 'dead', stage = NULL, lease_owner = NULL, fence = fence + 1 \
        WHERE token IN (SELECT token FROM deliveries INDEXED BY deliveries_lines \
        WHERE address_id = ?1 AND state = 'waiting' LIMIT ?2) RETURNING link_id";
    let (mut links, mut buried) = (BTreeSet::new(), 0);
    let mut statement = connection.prepare_cached(SQL)?;
    let mut found = statement.query(params![address_id, limit])?;
    while let Some(row) = found.next()? {
        links.insert(Columns { row, table: TABLE, key: "" }.text(0, "link_id")?.into_owned());
        buried += 1;
    }
    links.iter().try_for_each(|link| unblock(connection, link, address_id, now))?;
    Ok(buried)
}

/// The head of a line may be attempted, once what was before it was tried or is gone.
fn unblock(connection: &Connection, link_id: &str, address_id: &str, now: Timestamp) -> Result<(), WriteError> {
    connection.prepare_cached(UNBLOCK)?.execute(params![link_id, address_id, micros(now)])?;
    Ok(())
}

/// Deletes deliveries whose event's retention ended before `before`, and addresses that have none left.
pub(super) fn cleanup(connection: &Connection, before: i64, now: Timestamp, limit: u32) -> Result<u64, WriteError> {
    const DELIVERIES: &str = "DELETE FROM deliveries WHERE token IN (SELECT d.token FROM deliveries d JOIN events e \
        ON e.link_id = d.link_id AND e.sequence = d.sequence \
        WHERE e.positioned_at IS NOT NULL AND e.positioned_at < ?1 LIMIT ?2) RETURNING link_id, address_id";
    const ADDRESS: &str = "DELETE FROM webhook_addresses WHERE address_id = ?1 AND NOT EXISTS \
        (SELECT 1 FROM deliveries d WHERE d.address_id = ?1)";
    let mut lines = BTreeSet::new();
    let mut deleted = 0;
    let mut deliveries = connection.prepare_cached(DELIVERIES)?;
    let mut found = deliveries.query(params![before, limit])?;
    while let Some(row) = found.next()? {
        let columns = Columns { row, table: TABLE, key: "" };
        lines.insert((columns.text(1, "address_id")?.into_owned(), columns.text(0, "link_id")?.into_owned()));
        deleted += 1;
    }
    for (address, link) in &lines {
        unblock(connection, link, address, now)?;
    }
    let mut unused = connection.prepare_cached(ADDRESS)?;
    for address in lines.iter().map(|(address, _)| address).collect::<BTreeSet<_>>() {
        unused.execute([address])?;
    }
    Ok(deleted)
}

/// `false` when the lease was lost.
pub(super) fn end_attempt(connection: &Connection, ended: &EndedAttempt, now: Timestamp) -> Result<bool, WriteError> {
    const END: &str = "UPDATE deliveries SET state = ?3, attempts = attempts + 1, tries = tries + 1, due_at = ?4, \
        app_due_at = ?5, last_status = ?6, last_error = ?7, lease_owner = NULL, \
        stage = CASE WHEN ?3 = 'waiting' THEN 'scheduled' END \
        WHERE token = ?1 AND fence = ?2 AND lease_owner IS NOT NULL";
    const WELL: &str = "UPDATE webhook_addresses SET failing_since = NULL, failures = 0 \
        WHERE address_id = ?1 AND failing_since IS NOT NULL";
    const FAILING: &str = "UPDATE webhook_addresses SET failing_since = COALESCE(failing_since, ?2), \
        failures = failures + 1 WHERE address_id = ?1 AND (failing_since IS NULL OR failures < ?3)";
    const SWITCH_OFF: &str = "UPDATE webhook_addresses SET switched_off = ?2 WHERE address_id = ?1";
    let (due_at, app_due_at) = due_columns(ended);
    let changed = connection.prepare_cached(END)?.execute(params![
        ended.lease.token,
        ended.lease.fence_number(),
        ended.next.state().as_str(),
        due_at,
        app_due_at,
        ended.status,
        ended.error,
    ])?;
    if changed == 0 {
        return Ok(false);
    }
    match ended.next {
        NextAttempt::Delivered => connection.prepare_cached(WELL)?.execute([&ended.address_id])?,
        _ => connection.prepare_cached(FAILING)?.execute(params![
            ended.address_id,
            micros(ended.app_ended_at),
            ADDRESS_FAILURES
        ])?,
    };
    if let Some(reason) = ended.switch_off {
        connection.prepare_cached(SWITCH_OFF)?.execute(params![ended.address_id, reason])?;
        bury_some(connection, &ended.address_id, now, BURIED_AT_ONCE)?;
    }
    unblock(connection, ended.link_id.as_str(), &ended.address_id, now)?;
    Ok(true)
}

pub(super) fn switch_on(connection: &Connection, address_id: &str) -> Result<(), WriteError> {
    const SQL: &str =
        "UPDATE webhook_addresses SET switched_off = NULL, failing_since = NULL, failures = 0 WHERE address_id = ?1";
    connection.prepare_cached(SQL)?.execute([address_id])?;
    Ok(())
}

/// Makes deliveries due again, or for the first time.
pub(super) fn replay_deliveries(
    connection: &Connection,
    events: &[DispatchedEvent],
    now: Timestamp,
) -> Result<(), WriteError> {
    const AGAIN: &str = "UPDATE deliveries SET state = 'waiting', tries = 0, due_at = ?4, app_due_at = ?5, \
        stage = 'scheduled' WHERE link_id = ?1 AND sequence = ?2 AND address_id = ?3 AND lease_owner IS NULL";
    let mut again = connection.prepare_cached(AGAIN)?;
    let mut lines = BTreeSet::new();
    for event in events {
        let Some(delivery) = &event.delivery else { continue };
        add_address(connection, event, delivery)?;
        switch_on(connection, &delivery.address.id)?;
        add_delivery(connection, event, delivery, now)?;
        again.execute(params![
            event.link_id.as_str(),
            number(event.sequence),
            delivery.address.id,
            due_micros(delivery.due_at),
            micros(delivery.app_due_at),
        ])?;
        lines.insert((&event.link_id, &delivery.address.id));
    }
    lines.into_iter().try_for_each(|(link, address)| line_up(connection, link, address, now))
}

/// Puts a line in order into which older deliveries came back. Leased ones stay as they are.
fn line_up(connection: &Connection, link_id: &LinkId, address_id: &str, now: Timestamp) -> Result<(), WriteError> {
    const SQL: &str = "UPDATE deliveries INDEXED BY deliveries_lines SET stage = CASE WHEN EXISTS (SELECT 1 \
        FROM deliveries o INDEXED BY deliveries_lines WHERE o.link_id = ?1 AND o.address_id = ?2 \
        AND o.sequence < deliveries.sequence \
        AND o.state = 'waiting' AND o.tries = 0) THEN 'blocked' WHEN due_at <= ?3 THEN 'ready' ELSE 'scheduled' END \
        WHERE link_id = ?1 AND address_id = ?2 AND state = 'waiting' AND tries = 0 AND lease_owner IS NULL \
        AND stage <> 'blocked'";
    connection.prepare_cached(SQL)?.execute(params![link_id.as_str(), address_id, micros(now)])?;
    Ok(())
}

/// Ends every lease: after a restart of the only process that can hold one, nobody does.
pub(super) fn end_all_leases(connection: &Connection) -> rusqlite::Result<usize> {
    const SQL: &str =
        "UPDATE deliveries SET lease_owner = NULL, due_at = 0, stage = 'ready' WHERE lease_owner IS NOT NULL";
    connection.execute(SQL, [])
}

pub(super) fn next_delivery_at(connection: &Connection) -> Result<Option<Timestamp>, ReadError> {
    let next =
        first(
            connection,
            NEXT_AT,
            [],
            |row| Ok(Columns { row, table: TABLE, key: "" }.optional_integer(0, "due_at")?),
        )?;
    // A time out of range is as good as never.
    Ok(next.flatten().filter(|due| *due < NEVER).and_then(|due| Timestamp::from_microsecond(due).ok()))
}

/// Up to `limit` deliveries of the application's sandbox that wait by its clock. Live ones follow real time; blocked ones
/// are due when they are unblocked, whatever the clock says.
pub(super) fn list_timed_deliveries(
    connection: &Connection,
    app: &AppId,
    limit: u32,
) -> Result<Vec<String>, ReadError> {
    const WAITING: &str = "SELECT token FROM deliveries INDEXED BY deliveries_waiting WHERE app_id = ?1 \
        AND environment = ?2 AND stage IN ('ready', 'scheduled') AND lease_owner IS NULL LIMIT ?3";
    let mut statement = connection.prepare_cached(WAITING)?;
    let mut found = statement.query(params![app.as_str(), Environment::Sandbox.as_str(), limit])?;
    let mut tokens = Vec::new();
    while let Some(row) = found.next()? {
        tokens.push(Columns { row, table: TABLE, key: app.as_str() }.text(0, "token")?.into_owned());
    }
    Ok(tokens)
}

/// Recomputes the real due times of these deliveries, as far as they still wait.
pub(super) fn retime_deliveries(
    connection: &Connection,
    tokens: &[String],
    clock: &AppClock,
    now: Timestamp,
) -> Result<(), WriteError> {
    const DUE: &str = "SELECT app_due_at FROM deliveries WHERE token = ?1 AND stage IN ('ready', 'scheduled') \
        AND lease_owner IS NULL";
    const RETIME: &str = "UPDATE deliveries SET due_at = ?2, \
        stage = CASE WHEN ?2 <= ?3 THEN 'ready' ELSE 'scheduled' END WHERE token = ?1";
    let mut update = connection.prepare_cached(RETIME)?;
    for token in tokens {
        let due =
            first(
                connection,
                DUE,
                [token],
                |row| Ok(Columns { row, table: TABLE, key: "" }.instant(0, "app_due_at")?),
            )?;
        if let Some(app_due_at) = due {
            update.execute(params![token, clock.real_due(app_due_at).map_or(NEVER, due_micros), micros(now)])?;
        }
    }
    Ok(())
}

pub(super) fn list_events(
    connection: &Connection,
    tenant: &Tenant,
    filter: &EventFilter,
    limit: u32,
) -> Result<LedgerPage, ReadError> {
    const OF_TENANT: &str = "SELECT e.position, e.body, e.webhook FROM events e \
        WHERE e.app_id = ?1 AND e.environment = ?2 AND e.position > ?3 AND e.position <= ?4 \
        AND (?5 IS NULL OR e.at >= ?5) AND (?6 IS NULL OR e.at < ?6) AND (?7 IS NULL OR 0 < (SELECT COUNT(*) \
        FROM deliveries d WHERE d.link_id = e.link_id AND d.sequence = e.sequence AND d.state = ?7)) \
        AND (?9 IS NULL OR e.kind = ?9) ORDER BY e.position LIMIT ?8";
    const OF_LINK: &str = "SELECT e.position, e.body, e.webhook FROM events e \
        WHERE e.link_id = ?1 AND (e.environment || ' ' || e.app_id) = ?2 AND e.position > ?3 AND e.position <= ?4 \
        AND (?5 IS NULL OR e.at >= ?5) AND (?6 IS NULL OR e.at < ?6) AND (?7 IS NULL OR 0 < (SELECT COUNT(*) \
        FROM deliveries d WHERE d.link_id = e.link_id AND d.sequence = e.sequence AND d.state = ?7)) \
        AND (?9 IS NULL OR e.kind = ?9) ORDER BY e.position LIMIT ?8";
    const OF_KIND: &str = "SELECT e.position, e.body, e.webhook FROM events e \
        WHERE (e.app_id || ' ' || e.environment) = ?1 AND e.kind = ?2 AND e.position > ?3 AND e.position <= ?4 \
        AND (?5 IS NULL OR e.at >= ?5) AND (?6 IS NULL OR e.at < ?6) AND (?7 IS NULL OR 0 < (SELECT COUNT(*) \
        FROM deliveries d WHERE d.link_id = e.link_id AND d.sequence = e.sequence AND d.state = ?7)) \
        AND (?9 IS NULL OR e.kind = ?9) ORDER BY e.position LIMIT ?8";
    const END_IN_TENANT: &str = "SELECT e.position FROM events e WHERE e.app_id = ?1 AND e.environment = ?2 \
        AND e.position > ?3 ORDER BY e.position LIMIT 1 OFFSET ?4";
    const END_IN_LINK: &str = "SELECT e.position FROM events e WHERE e.link_id = ?1 \
        AND (e.environment || ' ' || e.app_id) = ?2 AND e.position > ?3 ORDER BY e.position LIMIT 1 OFFSET ?4";
    const END_IN_KIND: &str = "SELECT e.position FROM events e WHERE (e.app_id || ' ' || e.environment) = ?1 \
        AND e.kind = ?2 AND e.position > ?3 ORDER BY e.position LIMIT 1 OFFSET ?4";
    // Before the rest: whatever gets its position from now on is for the next page.
    let newest = newest_position(connection, tenant)?;
    if filter.after >= newest {
        return Ok(LedgerPage::of(Vec::new(), limit, filter.after, newest, newest));
    }
    let (index, first_key, second_key) = filter.index(tenant);
    let (events, end) = match index {
        LedgerIndex::Tenant => (OF_TENANT, END_IN_TENANT),
        LedgerIndex::Link => (OF_LINK, END_IN_LINK),
        LedgerIndex::Kind => (OF_KIND, END_IN_KIND),
    };
    let after = number(filter.after);
    let end = match filter.passes_over() {
        true => first(connection, end, params![first_key, second_key, after, PASSED_OVER_MAX - 1], |row| {
            Ok(Columns { row, table: "events", key: first_key.as_str() }.integer(0, "position")?)
        })?,
        false => None,
    };
    let up_to = end.unwrap_or(newest);
    // Where the kind is the index, it is compared once.
    let kind = filter.kind.as_deref().filter(|_| index != LedgerIndex::Kind);
    let (from, to) = (filter.from.map(micros), filter.to.map(micros));
    let state = filter.delivery.map(|state| state.as_str());
    let mut found = Vec::new();
    let mut statement = connection.prepare_cached(events)?;
    let mut matching =
        statement.query(params![first_key, second_key, after, number(up_to), from, to, state, limit, kind])?;
    while let Some(row) = matching.next()? {
        found.push(rows::ledger_event(row)?);
    }
    add_deliveries(connection, &mut found)?;
    Ok(LedgerPage::of(found, limit, filter.after, up_to, newest))
}

pub(super) fn find_events(
    connection: &Connection,
    tenant: &Tenant,
    ids: &[EventId],
) -> Result<Vec<LedgerEvent>, ReadError> {
    const SQL: &str =
        "SELECT position, body, webhook FROM events WHERE event_id = ?1 AND app_id = ?2 AND environment = ?3";
    let mut events = Vec::new();
    // An id that is named twice names one event.
    for id in ids.iter().collect::<BTreeSet<_>>() {
        let key = params![id.as_str(), tenant.app_id.as_str(), tenant.environment.as_str()];
        events.extend(first(connection, SQL, key, |row| Ok(rows::ledger_event(row)?))?);
    }
    events.sort_by_key(|one| one.position);
    add_deliveries(connection, &mut events)?;
    Ok(events)
}

fn add_deliveries(connection: &Connection, events: &mut [LedgerEvent]) -> Result<(), ReadError> {
    const SQL: &str = "SELECT d.link_id, d.sequence, d.token, a.url, d.state, d.attempts, d.app_due_at, d.last_status, \
        d.last_error FROM deliveries d JOIN webhook_addresses a ON a.address_id = d.address_id \
        WHERE d.link_id = ?1 AND d.sequence = ?2 ORDER BY d.address_id";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut deliveries = Vec::new();
    for one in &*events {
        let mut found = statement.query(params![one.event.link_id.as_str(), number(one.event.sequence)])?;
        while let Some(row) = found.next()? {
            deliveries.push(rows::delivery_status(row)?);
        }
    }
    rows::join_deliveries(events, deliveries);
    Ok(())
}

pub(super) fn newest_position(connection: &Connection, tenant: &Tenant) -> Result<u64, ReadError> {
    const SQL: &str = "SELECT value FROM ordinals WHERE app_id = ?1 AND kind = ?2";
    let newest = first(connection, SQL, [tenant.app_id.as_str(), event_counter(tenant)], |row| {
        Ok(Columns { row, table: "ordinals", key: tenant.app_id.as_str() }.integer(0, "value")?)
    })?;
    Ok(newest.unwrap_or(0))
}

pub(super) fn list_failing_addresses(connection: &Connection) -> Result<Vec<AddressStatus>, ReadError> {
    const SQL: &str = "SELECT app_id, environment, url, failing_since, switched_off FROM webhook_addresses \
        WHERE failing_since IS NOT NULL OR switched_off IS NOT NULL ORDER BY app_id, environment, url";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut found = statement.query([])?;
    let mut addresses = Vec::new();
    while let Some(row) = found.next()? {
        addresses.push(rows::address_status(row)?);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    const NOW: i64 = 1_000;

    /// A store's tables, where each of ten addresses has a head that is under way and so many deliveries behind it,
    /// and each of ninety has one that is ready.
    fn database(behind: u32) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.set_prepared_statement_cache_capacity(64);
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite");
        let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
        let version = |path: &std::path::PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name[1..].split("__").next().unwrap().parse::<u32>().unwrap()
        };
        files.sort_by_key(version);
        for file in files {
            connection.execute_batch(&std::fs::read_to_string(file).unwrap()).unwrap();
        }
        let app = AppId::from_bits(1);
        for address in 0..100 {
            let id = format!("{address:032}");
            let new = "INSERT INTO webhook_addresses (address_id, app_id, environment, url, host) VALUES (?1, ?2, 'live', '', '')";
            connection.execute(new, [&id, app.as_str()]).unwrap();
            let waiting = if address < 10 { behind + 1 } else { 1 };
            for sequence in 0..waiting {
                let (stage, due_at) = match (address < 10, sequence) {
                    (true, 0) => ("scheduled", NOW + 1),
                    (true, _) => ("blocked", NOW - 1),
                    (false, _) => ("ready", NOW - 1),
                };
                let new = "INSERT INTO deliveries (token, link_id, sequence, address_id, app_id, environment, body, state, \
                    attempts, tries, due_at, app_due_at, fence, stage) \
                    VALUES (?1, ?2, ?3, ?4, ?5, 'live', '', 'waiting', 0, 0, ?6, 0, 0, ?7)";
                let token = format!("{address}/{sequence}");
                let link = LinkId::from_bits(address);
                connection
                    .execute(new, params![token, link.as_str(), sequence, id, app.as_str(), due_at, stage])
                    .unwrap();
            }
        }
        connection
    }

    /// Steps of SQLite's machine for everything that a round and the end of an attempt look at.
    fn steps(behind: u32) -> i32 {
        let connection = database(behind);
        let now = Timestamp::from_microsecond(NOW).unwrap();
        let queues = list_ready(&connection, &ReadyFilter { addresses: 256, per_address: 8, after: vec![] }).unwrap();
        assert_eq!(queues.len(), 90);
        assert_eq!(next_delivery_at(&connection).unwrap(), Timestamp::from_microsecond(NOW + 1).ok());
        let requests: Vec<_> = queues
            .iter()
            .map(|queue| LeaseRequest {
                tenant: queue.destination.tenant.clone(),
                address_id: queue.destination.address_id.clone(),
                count: 8,
            })
            .collect();
        assert_eq!(lease_deliveries(&connection, "courier", now, &requests).unwrap().len(), 90);
        assert_eq!(wake(&connection, Timestamp::from_microsecond(NOW + 1).unwrap(), 500).unwrap(), 100);
        connection.execute("UPDATE deliveries SET tries = 1 WHERE token = '3/0'", []).unwrap();
        unblock(&connection, LinkId::from_bits(3).as_str(), &format!("{:032}", 3), now).unwrap();
        let stage = "SELECT stage FROM deliveries WHERE token = '3/1'";
        assert_eq!(connection.query_row(stage, [], |row| row.get::<_, String>(0)).unwrap(), "ready");
        [NEXT_TENANT, NEXT_ADDRESS, COUNT_READY, CHOOSE_READY, WAKE, UNBLOCK, NEXT_AT]
            .into_iter()
            .map(|sql| connection.prepare_cached(sql).unwrap().get_status(StatementStatus::VmStep))
            .inspect(|steps| assert!(*steps > 0, "the statement has run"))
            .sum()
    }

    #[test]
    fn deliveries_that_wait_behind_others_are_not_looked_at() {
        let (few, many) = (steps(10), steps(5_000));
        assert_eq!(few, many, "steps with 100 and with 50,000 deliveries behind others");
    }
}
