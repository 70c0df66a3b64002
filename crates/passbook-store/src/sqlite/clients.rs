//! The `apps`, `clients` and `access_tokens` tables.

use jiff::Timestamp;
use passbook_core::{ids::AppId, tenant::Environment};
use rusqlite::{Connection, params};

use super::{
    deliveries::retime_deliveries,
    failure::{ReadError, WriteError, constraint_as, one_row},
    jobs::retime_jobs,
    links::first,
};
use crate::{
    port::{App, Client, ClockWrite, Guard, NewToken, Token},
    stored::{
        columns::Columns,
        rows,
        values::{clock_text, micros},
    },
};

const SELECT_APP: &str = "SELECT app_id, name, clock, allowed_origins FROM apps";

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

const SELECT_CLIENT: &str =
    "SELECT client_id, app_id, environment, name, secret_hashes, scopes, disabled_at FROM clients";

pub(super) fn lookup_client(connection: &Connection, client_id: &str) -> Result<Option<Client>, ReadError> {
    first(connection, &format!("{SELECT_CLIENT} WHERE client_id = ?1"), [client_id], |row| Ok(rows::client(row)?))
}

pub(super) fn list_clients(connection: &Connection, app: &AppId) -> Result<Vec<Client>, ReadError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT_CLIENT} WHERE app_id = ?1 ORDER BY client_id"))?;
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
        WHERE t.token_hash = ?1 AND (c.disabled_at IS NULL OR c.disabled_at > ?2)";
    first(connection, SQL, params![&hash[..], micros(now)], |row| Ok(rows::token(row)?))
}

/// Adds an application or changes its settings. The clock of an existing one is changed by [`write_clock`] only, whose
/// guard a plain overwrite would defeat.
pub(super) fn write_app(connection: &Connection, app: &App) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO apps (app_id, name, clock, allowed_origins) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT (app_id) DO UPDATE SET name = excluded.name, allowed_origins = excluded.allowed_origins";
    let origins = serde_json::to_string(&app.allowed_origins).expect("a list of strings serialises");
    connection.prepare_cached(SQL)?.execute(params![app.id.as_str(), app.name, clock_text(&app.clock), origins])?;
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

/// Sets a clock under its guard and recomputes the due times that follow it.
pub(super) fn write_clock(connection: &Connection, write: &ClockWrite) -> Result<(), WriteError> {
    const SQL: &str = "UPDATE apps SET clock = ?3 WHERE app_id = ?1 AND clock = ?2";
    let changed = connection.prepare_cached(SQL)?.execute(params![
        write.app_id.as_str(),
        clock_text(&write.expected),
        clock_text(&write.clock),
    ])?;
    one_row(changed, Guard::Clock)?;
    retime_jobs(connection, &write.app_id, &write.clock)?;
    retime_deliveries(connection, &write.app_id, &write.clock, write.now)
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
