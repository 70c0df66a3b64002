//! The `apps`, `clients` and `access_tokens` tables.

use std::time::Duration;

use jiff::Timestamp;
use passbook_core::{
    ids::{AppId, JobId},
    tenant::{Environment, ScopeSet},
    time::AppClock,
};
use rusqlite::{Connection, params};

use super::{
    backlog::{begin_retiming, end_retiming, list_retimings},
    deliveries::{list_timed_deliveries, retime_deliveries},
    failure::{ReadError, WriteError, constraint_as, one_row},
    jobs::{list_timed_jobs, retime_jobs},
    links::first,
    readers::Readers,
    request::{Effects, Retiming},
    writer::Writer,
};
use crate::{
    fair::Lane,
    port::{App, Client, ClockWrite, Guard, NewToken, Token},
    sealing::random_bytes,
    stored::{
        columns::Columns,
        rows,
        values::{clock_text, micros},
    },
};

/// Due times that are changed in one request.
const TIMED_AT_ONCE: u32 = 500;
/// After a failure to change due times.
const RETIME_AGAIN_AFTER: Duration = Duration::from_millis(200);

const SELECT_APP: &str = "SELECT app_id, name, clock, allowed_origins, disabled_at FROM apps";

pub(super) fn lookup_app(connection: &Connection, id: &AppId) -> Result<Option<App>, ReadError> {
    first(connection, &format!("{SELECT_APP} WHERE app_id = ?1"), [id.as_str()], |row| Ok(rows::app(row)?))
}

pub(super) fn list_apps(connection: &Connection) -> Result<Vec<App>, ReadError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT_APP} ORDER BY app_id"))?;
    let mut found = statement.query([])?;
    let mut apps = Vec::new();
    while let Some(row) = found.next()? {
        apps.push(rows::app(row)?);
    }
    Ok(apps)
}

/// Ids of the applications that are disabled at `now`.
pub(super) fn list_disabled_apps(connection: &Connection, now: Timestamp) -> Result<Vec<String>, ReadError> {
    const SQL: &str = "SELECT app_id FROM apps WHERE disabled_at <= ?1";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut found = statement.query([micros(now)])?;
    let mut apps = Vec::new();
    while let Some(row) = found.next()? {
        apps.push(row.get(0)?);
    }
    Ok(apps)
}

const SELECT_CLIENT: &str = "SELECT c.client_id, c.app_id, c.environment, c.name, c.secret_hashes, c.scopes, \
    c.disabled_at, a.disabled_at FROM clients c JOIN apps a ON a.app_id = c.app_id";

pub(super) fn lookup_client(connection: &Connection, client_id: &str) -> Result<Option<Client>, ReadError> {
    first(connection, &format!("{SELECT_CLIENT} WHERE c.client_id = ?1"), [client_id], |row| Ok(rows::client(row)?))
}

pub(super) fn list_clients(connection: &Connection, app: &AppId) -> Result<Vec<Client>, ReadError> {
    let sql = format!("{SELECT_CLIENT} WHERE c.app_id = ?1 ORDER BY c.client_id");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query([app.as_str()])?;
    let mut clients = Vec::new();
    while let Some(row) = found.next()? {
        clients.push(rows::client(row)?);
    }
    Ok(clients)
}

pub(super) fn find_token_by_hash(
    connection: &Connection,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Token>, ReadError> {
    const SQL: &str = "SELECT t.client_id, c.name, c.app_id, c.environment, a.name, t.scopes, c.scopes, t.expires_at \
        FROM access_tokens t JOIN clients c ON c.client_id = t.client_id JOIN apps a ON a.app_id = c.app_id \
        WHERE t.token_hash = ?1 AND (c.disabled_at IS NULL OR c.disabled_at > ?2) \
        AND (a.disabled_at IS NULL OR a.disabled_at > ?2)";
    first(connection, SQL, params![&hash[..], micros(now)], |row| Ok(rows::token(row)?))
}

/// Adds an application or changes its settings. The clock of an existing one is changed by [`write_clock`] only, whose
/// guard a plain overwrite would defeat.
pub(super) fn write_app(connection: &Connection, app: &App) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO apps (app_id, name, clock, allowed_origins, disabled_at) \
        VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (app_id) DO UPDATE SET name = excluded.name, \
        allowed_origins = excluded.allowed_origins, disabled_at = excluded.disabled_at";
    connection.prepare_cached(SQL)?.execute(params![
        app.id.as_str(),
        app.name,
        clock_text(&app.clock),
        origins(app),
        app.disabled_at.map(micros),
    ])?;
    Ok(())
}

/// Adds or replaces a client. When one of its secrets is withdrawn, every token goes too: which secret a token was
/// given for is not recorded, and one of a withdrawn secret must not live on. A client never moves to another tenant.
pub(super) fn write_client(connection: &Connection, client: &Client) -> Result<(), WriteError> {
    let known = lookup_client(connection, &client.client_id)?;
    // The plus sign keeps the planner from walking the tokens of the app.
    if known.is_some_and(|known| known.secret_hashes.iter().any(|hash| !client.secret_hashes.contains(hash))) {
        connection
            .prepare_cached("DELETE FROM access_tokens WHERE client_id = ?1 AND +app_id = ?2")?
            .execute(params![client.client_id, client.tenant.app_id.as_str()])?;
    }
    const SQL: &str = "INSERT INTO clients (client_id, app_id, environment, name, secret_hashes, scopes, disabled_at) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (client_id) DO UPDATE SET name = excluded.name, \
        secret_hashes = excluded.secret_hashes, scopes = excluded.scopes, disabled_at = excluded.disabled_at \
        WHERE clients.app_id = excluded.app_id AND clients.environment = excluded.environment";
    let changed = connection
        .prepare_cached(SQL)?
        .execute(params![
            client.client_id,
            client.tenant.app_id.as_str(),
            client.tenant.environment.as_str(),
            client.name,
            client.secret_hashes.concat(),
            client.scopes.bits(),
            client.disabled_at.map(micros),
        ])
        .map_err(constraint_as(Guard::Unique))?;
    one_row(changed, Guard::Unique)
}

/// Nothing but a conflict when the stored application is another than `was`.
pub(super) fn check_app(connection: &Connection, was: &App) -> Result<(), WriteError> {
    const SQL: &str =
        "SELECT 1 FROM apps WHERE app_id = ?1 AND name = ?2 AND allowed_origins = ?3 AND disabled_at IS ?4";
    let values = params![was.id.as_str(), was.name, origins(was), was.disabled_at.map(micros)];
    let is_same = connection.prepare_cached(SQL)?.exists(values)?;
    one_row(usize::from(is_same), Guard::Settings)
}

/// Nothing but a conflict when the stored client is another than `was`.
pub(super) fn check_client(connection: &Connection, was: &Client) -> Result<(), WriteError> {
    const SQL: &str = "SELECT 1 FROM clients WHERE client_id = ?1 AND app_id = ?2 AND environment = ?3 AND name = ?4 \
        AND secret_hashes = ?5 AND scopes & ?8 = ?6 AND disabled_at IS ?7";
    let is_same = connection.prepare_cached(SQL)?.exists(params![
        was.client_id,
        was.tenant.app_id.as_str(),
        was.tenant.environment.as_str(),
        was.name,
        was.secret_hashes.concat(),
        was.scopes.bits(),
        was.disabled_at.map(micros),
        // Scopes that only a later release knows were not read.
        ScopeSet::all().bits(),
    ])?;
    one_row(usize::from(is_same), Guard::Settings)
}

fn origins(app: &App) -> String {
    serde_json::to_string(&app.allowed_origins).expect("a list of strings serialises")
}

/// Adds a token of an existing client.
pub(super) fn add_token(connection: &Connection, token: &NewToken) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO access_tokens (token_hash, client_id, app_id, environment, scopes, created_at, \
        expires_at, purge_after) SELECT ?1, client_id, app_id, environment, ?3, ?4, ?5, ?6 FROM clients \
        WHERE client_id = ?2";
    let added = connection
        .prepare_cached(SQL)?
        .execute(params![
            &token.hash[..],
            token.client_id,
            token.scopes.bits(),
            micros(token.created_at),
            micros(token.expires_at),
            micros(token.purge_after),
        ])
        .map_err(constraint_as(Guard::Unique))?;
    one_row(added, Guard::Unique)
}

/// Sets a clock under its guard and recomputes the due times that follow it; many of them later, in pieces.
pub(super) fn write_clock(
    connection: &Connection,
    write: &ClockWrite,
    effects: &mut Effects,
) -> Result<(), WriteError> {
    const SQL: &str = "UPDATE apps SET clock = ?3 WHERE app_id = ?1 AND clock = ?2";
    let changed = connection.prepare_cached(SQL)?.execute(params![
        write.app_id.as_str(),
        clock_text(&write.expected),
        clock_text(&write.clock),
    ])?;
    one_row(changed, Guard::Clock)?;
    let timed = list_timed(connection, &write.app_id, TIMED_AT_ONCE + 1)?;
    if timed.len() <= TIMED_AT_ONCE as usize {
        return retime(connection, &timed, &write.clock, write.now);
    }
    let number = i64::from_le_bytes(random_bytes());
    begin_retiming(connection, write.app_id.as_str(), number)?;
    effects.retiming = Some(Retiming { app: write.app_id.clone(), number, now: write.now });
    Ok(())
}

/// What follows an app's clock.
#[derive(Default)]
struct Timed {
    jobs: Vec<JobId>,
    deliveries: Vec<String>,
}

impl Timed {
    fn len(&self) -> usize {
        self.jobs.len() + self.deliveries.len()
    }

    /// In parts of at most [`TIMED_AT_ONCE`].
    fn parts(self) -> impl Iterator<Item = Self> {
        let size = TIMED_AT_ONCE as usize;
        let jobs: Vec<_> = self.jobs.chunks(size).map(|jobs| Self { jobs: jobs.to_vec(), ..Self::default() }).collect();
        let deliveries: Vec<_> = self
            .deliveries
            .chunks(size)
            .map(|deliveries| Self { deliveries: deliveries.to_vec(), ..Self::default() })
            .collect();
        jobs.into_iter().chain(deliveries)
    }
}

/// Up to `limit` of each kind.
fn list_timed(connection: &Connection, app: &AppId, limit: u32) -> Result<Timed, ReadError> {
    let jobs = list_timed_jobs(connection, app, limit)?;
    Ok(Timed { jobs, deliveries: list_timed_deliveries(connection, app, limit)? })
}

fn retime(connection: &Connection, timed: &Timed, clock: &AppClock, now: Timestamp) -> Result<(), WriteError> {
    retime_jobs(connection, &timed.jobs, clock)?;
    retime_deliveries(connection, &timed.deliveries, clock, now)
}

/// Makes due times follow the clock of their app, some in each request to the writer. What is added meanwhile is added
/// with due times by the new clock. Tried until it is done or the store is closed: the clock has been set already.
pub(super) async fn retime_in_pieces(
    readers: &Readers,
    writer: &Writer,
    lane: &Lane,
    retiming: Retiming,
) -> Result<(), WriteError> {
    loop {
        match try_retiming(readers, writer, lane, &retiming).await {
            Err(error) if !writer.is_running() => return Err(error),
            Err(_) => tokio::time::sleep(RETIME_AGAIN_AFTER).await,
            Ok(()) => return Ok(()),
        }
    }
}

async fn try_retiming(readers: &Readers, writer: &Writer, lane: &Lane, retiming: &Retiming) -> Result<(), WriteError> {
    let app = retiming.app.clone();
    let timed = readers.scan(lane.as_ref(), move |connection| list_timed(connection, &app, u32::MAX)).await?;
    for part in timed.parts() {
        let Retiming { app, now, .. } = retiming.clone();
        let follow = move |connection: &_, _: &mut _| {
            // The clock of this moment: another change may have come in between.
            let clock = lookup_app(connection, &app)?.map(|app| app.clock).unwrap_or_default();
            retime(connection, &part, &clock, now)
        };
        writer.submit(lane, None, follow).await?;
    }
    let Retiming { app, number, .. } = retiming.clone();
    writer.submit(lane, None, move |connection, _| end_retiming(connection, app.as_str(), number)).await
}

/// Finishes what a crash interrupted.
pub(super) fn finish_retimings(connection: &Connection) -> Result<(), WriteError> {
    for (app, number) in list_retimings(connection)? {
        if let Some(id) = AppId::parse(&app)
            && let Some(app) = lookup_app(connection, &id)?
        {
            // By a time before all of them: what is due becomes ready when it is looked for.
            retime(connection, &list_timed(connection, &id, u32::MAX)?, &app.clock, Timestamp::UNIX_EPOCH)?;
        }
        end_retiming(connection, &app, number)?;
    }
    Ok(())
}

/// The newest instant that the application's sandbox holds. Its clock may not be set before that; live objects follow
/// real time and have no say.
pub(super) fn newest_time(connection: &Connection, app: &AppId) -> Result<Option<Timestamp>, ReadError> {
    const SQL: &str = "SELECT MAX(at) FROM (\
        SELECT MAX(at) AS at FROM events WHERE app_id = ?1 AND environment = ?2 UNION ALL \
        SELECT MAX(newest_at) FROM links WHERE app_id = ?1 AND environment = ?2 UNION ALL \
        SELECT MAX(created_at) FROM link_sessions WHERE app_id = ?1 AND environment = ?2 UNION ALL \
        SELECT MAX(created_at) FROM access_tokens WHERE app_id = ?1 AND environment = ?2) AS newest";
    let newest = first(connection, SQL, [app.as_str(), Environment::Sandbox.as_str()], |row| {
        Columns { row, table: "apps", key: app.as_str() }.optional_instant(0, "newest_at").map_err(ReadError::from)
    })?;
    Ok(newest.flatten())
}
