//! The `apps`, `clients` and `access_tokens` tables.

use jiff::Timestamp;
use passbook_core::{
    ids::AppId,
    tenant::{Environment, ScopeSet},
};

use super::{
    readers::Readers,
    values::{Value, values},
    work::Step,
};
use crate::{
    port::{App, Client, Guard, NewToken, StoreError, Token},
    stored::{
        columns::Columns,
        rows,
        values::{clock_text, micros},
    },
};

const LOOKUP_APP: &str = "SELECT app_id, name, clock, allowed_origins, disabled_at FROM apps WHERE app_id = $1";
const LIST_APPS: &str = "SELECT app_id, name, clock, allowed_origins, disabled_at FROM apps ORDER BY app_id";
pub(super) const LIST_DISABLED_APPS: &str = "SELECT app_id FROM apps WHERE disabled_at <= $1";
// The clock of an existing application is changed under its guard only.
const WRITE_APP: &str = "INSERT INTO apps (app_id, name, clock, allowed_origins, disabled_at) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (app_id) DO UPDATE SET name = excluded.name, \
    allowed_origins = excluded.allowed_origins, disabled_at = excluded.disabled_at";

const LOOKUP_CLIENT: &str = "SELECT c.client_id, c.app_id, c.environment, c.name, c.secret_hashes, c.scopes, \
    c.disabled_at, a.disabled_at FROM clients c JOIN apps a ON a.app_id = c.app_id WHERE c.client_id = $1";
const LIST_CLIENTS: &str = "SELECT c.client_id, c.app_id, c.environment, c.name, c.secret_hashes, c.scopes, \
    c.disabled_at, a.disabled_at FROM clients c JOIN apps a ON a.app_id = c.app_id \
    WHERE c.app_id = $1 ORDER BY c.client_id";
// Adds the client, or changes nothing and locks its row for the two statements that follow. A client never moves to
// another tenant.
const CLAIM_CLIENT: &str = "INSERT INTO clients (client_id, app_id, environment, name, secret_hashes, scopes, \
    disabled_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (client_id) DO UPDATE SET name = clients.name \
    WHERE clients.app_id = excluded.app_id AND clients.environment = excluded.environment";
// When one of its secrets is withdrawn, every token goes too: which secret a token was given for is not recorded, and
// one of a withdrawn secret must not live on.
const DELETE_TOKENS_OF_WITHDRAWN_SECRETS: &str = "DELETE FROM access_tokens WHERE client_id = $1 \
    AND app_id IS NOT DISTINCT FROM $2 AND EXISTS (SELECT 1 FROM clients c, generate_series(1, length(c.secret_hashes), 32) AS start \
    WHERE c.client_id = $1 AND substring(c.secret_hashes FROM start FOR 32) <> ALL($3))";
const UPDATE_CLIENT: &str = "UPDATE clients SET name = $2, secret_hashes = $3, scopes = $4, disabled_at = $5 \
    WHERE client_id = $1";

const FIND_TOKEN_BY_HASH: &str = "SELECT t.client_id, c.name, c.app_id, c.environment, a.name, t.scopes, c.scopes, \
    t.expires_at FROM access_tokens t JOIN clients c ON c.client_id = t.client_id \
    JOIN apps a ON a.app_id = c.app_id WHERE t.token_hash = $1 AND (c.disabled_at IS NULL OR c.disabled_at > $2) \
    AND (a.disabled_at IS NULL OR a.disabled_at > $2)";
const INSERT_TOKEN: &str = "INSERT INTO access_tokens (token_hash, client_id, app_id, environment, scopes, \
    created_at, expires_at, purge_after) SELECT $1::BYTEA, client_id, app_id, environment, $3::BIGINT, $4::BIGINT, \
    $5::BIGINT, $6::BIGINT FROM clients WHERE client_id = $2";

// These two change nothing; they lock the row for what follows.
const CHECK_APP: &str = "UPDATE apps SET name = name WHERE app_id = $1 AND name = $2 AND allowed_origins = $3 \
    AND disabled_at IS NOT DISTINCT FROM $4";
const CHECK_CLIENT: &str = "UPDATE clients SET name = name WHERE client_id = $1 AND app_id = $2 AND environment = $3 \
    AND name = $4 AND secret_hashes = $5 AND scopes & $8 = $6 AND disabled_at IS NOT DISTINCT FROM $7";

const NEWEST_TIME: &str = "SELECT MAX(at) FROM (\
    SELECT MAX(at) AS at FROM events WHERE app_id = $1 AND environment = $2 UNION ALL \
    SELECT MAX(newest_at) FROM links WHERE (app_id || '/' || environment) = $3 UNION ALL \
    SELECT MAX(created_at) FROM link_sessions WHERE app_id = $1 AND environment = $2 UNION ALL \
    SELECT MAX(created_at) FROM access_tokens WHERE app_id = $1 AND environment = $2) AS newest";

pub(super) async fn lookup_app(readers: &Readers, id: &AppId) -> Result<Option<App>, StoreError> {
    readers.point(LOOKUP_APP, values![id.as_str()]).await?.map(|row| rows::app(&row)).transpose()
}

pub(super) async fn list_apps(readers: &Readers) -> Result<Vec<App>, StoreError> {
    readers.points(LIST_APPS, values![]).await?.iter().map(rows::app).collect()
}

pub(super) async fn lookup_client(readers: &Readers, client_id: &str) -> Result<Option<Client>, StoreError> {
    readers.point(LOOKUP_CLIENT, values![client_id]).await?.map(|row| rows::client(&row)).transpose()
}

pub(super) async fn list_clients(readers: &Readers, app: &AppId) -> Result<Vec<Client>, StoreError> {
    readers.points(LIST_CLIENTS, values![app.as_str()]).await?.iter().map(rows::client).collect()
}

pub(super) async fn find_token_by_hash(
    readers: &Readers,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Token>, StoreError> {
    let row = readers.point(FIND_TOKEN_BY_HASH, values![&hash[..], micros(now)]).await?;
    row.map(|row| rows::token(&row)).transpose()
}

/// The newest instant that the application's sandbox holds. Its clock may not be set before that; live objects follow
/// real time and have no say.
pub(super) async fn newest_time(readers: &Readers, app: &AppId) -> Result<Option<Timestamp>, StoreError> {
    let sandbox = Environment::Sandbox.as_str();
    let found = readers.scan(NEWEST_TIME, values![app.as_str(), sandbox, format!("{app}/{sandbox}")]).await?;
    let newest = found
        .first()
        .map(|row| Columns { row, table: "apps", key: app.as_str() }.optional_instant(0, "newest_at"))
        .transpose()?;
    Ok(newest.flatten())
}

pub(super) fn write_app(app: &App) -> Step<'_> {
    let disabled_at = app.disabled_at.map(micros);
    Step::new(WRITE_APP, values![app.id.as_str(), &app.name, clock_text(&app.clock), origins(app), disabled_at])
}

/// Nothing but a conflict when the stored application is another than `was`.
pub(super) fn check_app(was: &App) -> Step<'_> {
    let values = values![was.id.as_str(), &was.name, origins(was), was.disabled_at.map(micros)];
    Step::new(CHECK_APP, values).rows(1, Guard::Settings)
}

fn origins(app: &App) -> String {
    serde_json::to_string(&app.allowed_origins).expect("a list of strings serialises")
}

/// Adds or replaces a client.
pub(super) fn write_client(client: &Client) -> [Step<'_>; 3] {
    let (id, app) = (client.client_id.as_str(), client.tenant.app_id.as_str());
    let hashes: Value<'_> = client.secret_hashes.iter().map(|hash| &hash[..]).collect();
    let (scopes, disabled_at) = (i64::from(client.scopes.bits()), client.disabled_at.map(micros));
    let claim = columns(client);
    let update = values![id, &client.name, client.secret_hashes.concat(), scopes, disabled_at];
    [
        Step::new(CLAIM_CLIENT, claim).parent(Guard::Unique).unique(Guard::Unique).rows(1, Guard::Unique),
        Step::new(DELETE_TOKENS_OF_WITHDRAWN_SECRETS, values![id, app, hashes]),
        Step::new(UPDATE_CLIENT, update),
    ]
}

/// Nothing but a conflict when the stored client is another than `was`.
pub(super) fn check_client(was: &Client) -> Step<'_> {
    let mut values = columns(was);
    // Scopes that only a later release knows were not read.
    values.push(i64::from(ScopeSet::all().bits()).into());
    Step::new(CHECK_CLIENT, values).rows(1, Guard::Settings)
}

fn columns(client: &Client) -> Vec<Value<'_>> {
    values![
        &client.client_id,
        client.tenant.app_id.as_str(),
        client.tenant.environment.as_str(),
        &client.name,
        client.secret_hashes.concat(),
        i64::from(client.scopes.bits()),
        client.disabled_at.map(micros),
    ]
}

/// Adds a token of an existing client.
pub(super) fn add_token(token: &NewToken) -> Step<'_> {
    let values = values![
        &token.hash[..],
        &token.client_id,
        i64::from(token.scopes.bits()),
        micros(token.created_at),
        micros(token.expires_at),
        micros(token.purge_after),
    ];
    Step::new(INSERT_TOKEN, values).unique(Guard::Unique).parent(Guard::Unique).rows(1, Guard::Unique)
}
