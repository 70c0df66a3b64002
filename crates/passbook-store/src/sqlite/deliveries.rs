//! Events on their way to the apps: the positions of the `events` table, and the `deliveries` and `webhook_addresses`
//! tables.

use jiff::Timestamp;
use passbook_core::{
    ids::{AppId, EventId},
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
        AddressStatus, DispatchedEvent, EndedAttempt, EventFilter, Guard, LeasedDelivery, LedgerEvent, NewDelivery,
        NextAttempt, UndispatchedEvent,
    },
    stored::{
        columns::Columns,
        rows,
        values::{NEVER, due_columns, due_micros, event_counter, micros, number},
    },
};

const TABLE: &str = "deliveries";

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
        if let Some(delivery) = &event.delivery {
            add_address(connection, event, delivery)?;
            add_delivery(connection, event, delivery)?;
        }
    }
    Ok(())
}

fn take_position(connection: &Connection, tenant: &Tenant) -> Result<u64, WriteError> {
    super::instance::take_ordinal(connection, &tenant.app_id, event_counter(tenant))
}

fn add_address(connection: &Connection, event: &DispatchedEvent, delivery: &NewDelivery) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO webhook_addresses (address_id, app_id, environment, url) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT (address_id) DO NOTHING";
    connection.prepare_cached(SQL)?.execute(params![
        delivery.address.id,
        event.tenant.app_id.as_str(),
        event.tenant.environment.as_str(),
        delivery.address.url,
    ])?;
    Ok(())
}

fn add_delivery(connection: &Connection, event: &DispatchedEvent, delivery: &NewDelivery) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO deliveries (token, link_id, sequence, address_id, app_id, environment, body, state, \
        attempts, tries, due_at, app_due_at, fence) SELECT ?1, ?2, ?3, a.address_id, a.app_id, a.environment, ?5, \
        CASE WHEN a.switched_off IS NULL THEN 'waiting' ELSE 'dead' END, 0, 0, ?6, ?7, 0 \
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
    ])?;
    Ok(())
}

pub(super) fn lease_deliveries(
    connection: &Connection,
    owner: &str,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
    per_address: u32,
    busy: &[String],
) -> Result<Vec<LeasedDelivery>, WriteError> {
    const DUE: &str = "SELECT d.token, d.app_id, d.environment, d.link_id, d.address_id, a.url, d.body, d.attempts, \
        d.tries, d.fence, a.failing_since FROM deliveries d JOIN webhook_addresses a ON a.address_id = d.address_id \
        WHERE d.address_id = ?1 AND a.switched_off IS NULL AND d.state = 'waiting' AND d.due_at <= ?2 AND (d.tries > 0 OR NOT EXISTS \
        (SELECT 1 FROM deliveries o WHERE o.link_id = d.link_id AND o.address_id = d.address_id \
        AND o.sequence < d.sequence AND o.state = 'waiting' AND o.tries = 0)) \
        ORDER BY d.due_at, d.link_id, d.sequence LIMIT ?3";
    const LEASE: &str = "UPDATE deliveries SET fence = ?2, lease_owner = ?3, due_at = ?4 WHERE token = ?1";
    let mut leased = Vec::new();
    let mut due = connection.prepare_cached(DUE)?;
    for address in due_addresses(connection, now)?.iter().filter(|address| !busy.contains(address)) {
        let room = per_address.min(limit.saturating_sub(u32::try_from(leased.len()).unwrap_or(limit)));
        if room == 0 {
            break;
        }
        let mut waiting = due.query(params![address, micros(now), room])?;
        while let Some(row) = waiting.next()? {
            leased.push(rows::delivery_to_lease(row)?);
        }
    }
    let mut lease = connection.prepare_cached(LEASE)?;
    for one in &leased {
        lease.execute(params![one.lease.token, one.lease.fence_number(), owner, micros(until)])?;
    }
    Ok(leased)
}

/// Addresses to which something is due, by when it first was. Goes from one address with waiting deliveries to the next by
/// their index, so that it costs as much as there are, however many deliveries wait and however many addresses are known.
fn due_addresses(connection: &Connection, now: Timestamp) -> Result<Vec<String>, ReadError> {
    const NEXT: &str = "SELECT address_id, due_at FROM deliveries WHERE state = 'waiting' AND address_id > ?1 \
        ORDER BY address_id, due_at LIMIT 1";
    let mut statement = connection.prepare_cached(NEXT)?;
    let (mut found, mut last) = (Vec::new(), String::new());
    loop {
        let mut rows = statement.query([&last])?;
        let Some(row) = rows.next()? else { break };
        let columns = Columns { row, table: TABLE, key: "" };
        last = columns.text(0, "address_id")?.to_owned();
        let due_at: i64 = columns.integer(1, "due_at")?;
        if due_at <= micros(now) {
            found.push((due_at, last.clone()));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, address)| address).collect())
}

/// `false` when the lease was lost.
pub(super) fn end_attempt(connection: &Connection, ended: &EndedAttempt) -> Result<bool, WriteError> {
    const END: &str = "UPDATE deliveries SET state = ?3, attempts = attempts + 1, tries = tries + 1, due_at = ?4, \
        app_due_at = ?5, last_status = ?6, last_error = ?7, lease_owner = NULL \
        WHERE token = ?1 AND fence = ?2 AND lease_owner IS NOT NULL";
    const WELL: &str =
        "UPDATE webhook_addresses SET failing_since = NULL WHERE address_id = ?1 AND failing_since IS NOT NULL";
    const FAILING: &str =
        "UPDATE webhook_addresses SET failing_since = ?2 WHERE address_id = ?1 AND failing_since IS NULL";
    const SWITCH_OFF: &str = "UPDATE webhook_addresses SET switched_off = ?2 WHERE address_id = ?1";
    const GIVE_UP: &str = "UPDATE deliveries SET state = 'dead', lease_owner = NULL, fence = fence + 1 \
        WHERE address_id = ?1 AND state = 'waiting'";
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
        _ => connection.prepare_cached(FAILING)?.execute(params![ended.address_id, micros(ended.app_ended_at)])?,
    };
    if let Some(reason) = ended.switch_off {
        connection.prepare_cached(SWITCH_OFF)?.execute(params![ended.address_id, reason])?;
        connection.prepare_cached(GIVE_UP)?.execute([&ended.address_id])?;
    }
    Ok(true)
}

pub(super) fn switch_on(connection: &Connection, address_id: &str) -> Result<(), WriteError> {
    const SQL: &str = "UPDATE webhook_addresses SET switched_off = NULL, failing_since = NULL WHERE address_id = ?1";
    connection.prepare_cached(SQL)?.execute([address_id])?;
    Ok(())
}

/// Makes deliveries due again, or for the first time.
pub(super) fn replay_deliveries(connection: &Connection, events: &[DispatchedEvent]) -> Result<(), WriteError> {
    const AGAIN: &str = "UPDATE deliveries SET state = 'waiting', tries = 0, due_at = ?4, app_due_at = ?5 \
        WHERE link_id = ?1 AND sequence = ?2 AND address_id = ?3 AND lease_owner IS NULL";
    let mut again = connection.prepare_cached(AGAIN)?;
    for event in events {
        let Some(delivery) = &event.delivery else { continue };
        add_address(connection, event, delivery)?;
        switch_on(connection, &delivery.address.id)?;
        add_delivery(connection, event, delivery)?;
        again.execute(params![
            event.link_id.as_str(),
            number(event.sequence),
            delivery.address.id,
            due_micros(delivery.due_at),
            micros(delivery.app_due_at),
        ])?;
    }
    Ok(())
}

/// Ends every lease: after a restart of the only process that can hold one, nobody does.
pub(super) fn end_all_leases(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute("UPDATE deliveries SET lease_owner = NULL, due_at = 0 WHERE lease_owner IS NOT NULL", [])
}

pub(super) fn next_delivery_at(connection: &Connection) -> Result<Option<Timestamp>, ReadError> {
    const SQL: &str = "SELECT MIN(due_at) FROM deliveries WHERE state = 'waiting'";
    let next =
        first(connection, SQL, [], |row| Ok(Columns { row, table: TABLE, key: "" }.optional_integer(0, "due_at")?))?;
    // A time out of range is as good as never.
    Ok(next.flatten().filter(|due| *due < NEVER).and_then(|due| Timestamp::from_microsecond(due).ok()))
}

/// Up to `limit` deliveries of the application's sandbox that wait by its clock. Live ones follow real time.
pub(super) fn list_timed_deliveries(
    connection: &Connection,
    app: &AppId,
    limit: u32,
) -> Result<Vec<String>, ReadError> {
    const WAITING: &str = "SELECT token FROM deliveries \
        WHERE app_id = ?1 AND environment = ?2 AND state = 'waiting' AND lease_owner IS NULL LIMIT ?3";
    let mut statement = connection.prepare_cached(WAITING)?;
    let mut found = statement.query(params![app.as_str(), Environment::Sandbox.as_str(), limit])?;
    let mut tokens = Vec::new();
    while let Some(row) = found.next()? {
        tokens.push(Columns { row, table: TABLE, key: app.as_str() }.text(0, "token")?.to_owned());
    }
    Ok(tokens)
}

/// Recomputes the real due times of these deliveries, as far as they still wait.
pub(super) fn retime_deliveries(
    connection: &Connection,
    tokens: &[String],
    clock: &AppClock,
) -> Result<(), WriteError> {
    const DUE: &str =
        "SELECT app_due_at FROM deliveries WHERE token = ?1 AND state = 'waiting' AND lease_owner IS NULL";
    let mut update = connection.prepare_cached("UPDATE deliveries SET due_at = ?2 WHERE token = ?1")?;
    for token in tokens {
        let due =
            first(
                connection,
                DUE,
                [token],
                |row| Ok(Columns { row, table: TABLE, key: "" }.instant(0, "app_due_at")?),
            )?;
        if let Some(app_due_at) = due {
            update.execute(params![token, clock.real_due(app_due_at).map_or(NEVER, due_micros)])?;
        }
    }
    Ok(())
}

pub(super) fn list_events(
    connection: &Connection,
    tenant: &Tenant,
    filter: &EventFilter,
    limit: u32,
) -> Result<Vec<LedgerEvent>, ReadError> {
    const ALL: &str = "SELECT e.position, e.body, e.webhook FROM events e \
        WHERE e.app_id = ?1 AND e.environment = ?2 AND e.position > ?3 AND (?4 IS NULL OR e.kind = ?4) \
        AND (?5 IS NULL OR e.at >= ?5) AND (?6 IS NULL OR e.at < ?6) AND (?7 IS NULL OR EXISTS (SELECT 1 \
        FROM deliveries d WHERE d.link_id = e.link_id AND d.sequence = e.sequence AND d.state = ?7)) \
        ORDER BY e.position LIMIT ?8";
    // The positions of a link's events rise with their sequence.
    const OF_LINK: &str = "SELECT e.position, e.body, e.webhook FROM events e \
        WHERE e.app_id = ?1 AND e.environment = ?2 AND e.position > ?3 AND (?4 IS NULL OR e.kind = ?4) \
        AND (?5 IS NULL OR e.at >= ?5) AND (?6 IS NULL OR e.at < ?6) AND (?7 IS NULL OR EXISTS (SELECT 1 \
        FROM deliveries d WHERE d.link_id = e.link_id AND d.sequence = e.sequence AND d.state = ?7)) \
        AND e.link_id = ?9 ORDER BY e.sequence LIMIT ?8";
    let (app, environment, after) = (tenant.app_id.as_str(), tenant.environment.as_str(), number(filter.after));
    let (kind, state) = (filter.kind.as_deref(), filter.delivery.map(|state| state.as_str()));
    let (from, to) = (filter.from.map(micros), filter.to.map(micros));
    let mut events = Vec::new();
    let mut statement = connection.prepare_cached(if filter.link_id.is_some() { OF_LINK } else { ALL })?;
    let mut found = match &filter.link_id {
        Some(link) => statement.query(params![app, environment, after, kind, from, to, state, limit, link.as_str()])?,
        None => statement.query(params![app, environment, after, kind, from, to, state, limit])?,
    };
    while let Some(row) = found.next()? {
        events.push(rows::ledger_event(row)?);
    }
    add_deliveries(connection, &mut events)?;
    Ok(events)
}

pub(super) fn find_events(
    connection: &Connection,
    tenant: &Tenant,
    ids: &[EventId],
) -> Result<Vec<LedgerEvent>, ReadError> {
    const SQL: &str =
        "SELECT position, body, webhook FROM events WHERE event_id = ?1 AND app_id = ?2 AND environment = ?3";
    let mut events = Vec::new();
    for id in ids {
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
