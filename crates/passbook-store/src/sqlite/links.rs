//! The `links` table.

use passbook_core::{ids::LinkId, link::Link, tenant::Tenant};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{
    backlog::{erase_rows_at_first, forget_replaced},
    failure::{ReadError, WriteError, constraint_as, one_row},
    request::Effects,
    usage::give_back,
};
use crate::{
    port::{Guard, ImportKey, LinkAnswer, LinkPosition, NumbersAnswer, StoredLink, StoredSecrets},
    sealing::{Keys, SealingKey},
    stored::{
        document::{DOCUMENT_FORMAT, NewerFormat, newest_instant},
        ledger::LedgerEntry,
        prepare::PreparedLink,
        rows, salvage,
        values::{inconsistent, micros},
    },
};

const TABLE: &str = "links";

/// Runs a one-row query on a cached statement and decodes the row, if there is one.
pub(super) fn first<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    decode: impl FnOnce(&Row<'_>) -> Result<T, ReadError>,
) -> Result<Option<T>, ReadError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    rows.next()?.map(decode).transpose()
}

const NUMBERS_ANSWER: &str = "SELECT state, error, granted, deleted_at, renderer, link_view, numbers_view, \
    wrapped_key, key_version FROM links WHERE link_id = ?1 AND app_id = ?2 AND environment = ?3";
const LINK_ANSWER: &str = "SELECT state, error, granted, deleted_at, renderer, link_view \
    FROM links WHERE link_id = ?1 AND app_id = ?2 AND environment = ?3";

pub(super) fn lookup_numbers_answer(
    connection: &Connection,
    keys: &Keys,
    tenant: &Tenant,
    id: &LinkId,
) -> Result<Option<NumbersAnswer>, ReadError> {
    first(connection, NUMBERS_ANSWER, owned(tenant, id), |row| Ok(rows::numbers_answer(row, keys, tenant, id)?))
}

pub(super) fn lookup_link_answer(
    connection: &Connection,
    tenant: &Tenant,
    id: &LinkId,
) -> Result<Option<LinkAnswer>, ReadError> {
    first(connection, LINK_ANSWER, owned(tenant, id), |row| Ok(rows::link_answer(row, id)?))
}

pub(super) fn lookup_link(
    connection: &Connection,
    tenant: &Tenant,
    id: &LinkId,
) -> Result<Option<StoredLink>, ReadError> {
    const SQL: &str = "SELECT version, document FROM links WHERE link_id = ?1 AND app_id = ?2 AND environment = ?3";
    first(connection, SQL, owned(tenant, id), |row| Ok(rows::stored_link(row, id)?))
}

/// A link whoever owns it, for the store's own upkeep.
pub(super) fn lookup_link_unscoped(connection: &Connection, id: &LinkId) -> Result<Option<StoredLink>, ReadError> {
    const SQL: &str = "SELECT version, document FROM links WHERE link_id = ?1";
    first(connection, SQL, [id.as_str()], |row| Ok(rows::stored_link(row, id)?))
}

/// What the columns of a link say, whoever owns it.
pub(super) fn lookup_remains(connection: &Connection, id: &LinkId) -> Result<Option<StoredLink>, ReadError> {
    const SQL: &str = "SELECT version, app_id, environment, institution_id, created_at, first_data_at, deleted_at, \
        changed_at, (SELECT COALESCE(MAX(sequence), 0) FROM events WHERE events.link_id = links.link_id) \
        FROM links WHERE link_id = ?1";
    first(connection, SQL, [id.as_str()], |row| Ok(salvage::remains(row, id)?))
}

pub(super) fn lookup_secrets(
    connection: &Connection,
    keys: &Keys,
    tenant: &Tenant,
    id: &LinkId,
) -> Result<Option<StoredSecrets>, ReadError> {
    const SQL: &str = "SELECT numbers, owners, credential, wrapped_key, key_version \
        FROM links WHERE link_id = ?1 AND app_id = ?2 AND environment = ?3";
    let stored = first(connection, SQL, owned(tenant, id), |row| Ok(rows::stored_secrets(row, keys, tenant, id)?))?;
    Ok(stored.flatten())
}

/// The data key of a link; `None` when there is none.
pub(super) fn lookup_data_key(
    connection: &Connection,
    keys: &Keys,
    tenant: &Tenant,
    id: &LinkId,
) -> Result<Option<SealingKey>, ReadError> {
    const SQL: &str =
        "SELECT wrapped_key, key_version FROM links WHERE link_id = ?1 AND app_id = ?2 AND environment = ?3";
    let key = first(connection, SQL, owned(tenant, id), |row| Ok(rows::data_key(row, keys, tenant, id, 0)?))?;
    Ok(key.flatten())
}

pub(super) fn find_link_by_import_key(
    connection: &Connection,
    tenant: &Tenant,
    import_key: &str,
) -> Result<Option<LinkId>, ReadError> {
    const SQL: &str = "SELECT link_id FROM links WHERE app_id = ?1 AND environment = ?2 AND import_key = ?3";
    let parameters = (tenant.app_id.as_str(), tenant.environment.as_str(), import_key);
    first(connection, SQL, parameters, |row| Ok(rows::link_id(row)?))
}

pub(super) fn find_connected_link(
    connection: &Connection,
    tenant: &Tenant,
    customer_user_id: &str,
    institution_id: &str,
) -> Result<Option<LinkId>, ReadError> {
    const SQL: &str = "SELECT link_id FROM links WHERE app_id = ?1 AND environment = ?2 AND customer_user_id = ?3 \
        AND institution_id = ?4 AND state = 'connected' ORDER BY created_at, link_id LIMIT 1";
    let parameters = (tenant.app_id.as_str(), tenant.environment.as_str(), customer_user_id, institution_id);
    first(connection, SQL, parameters, |row| Ok(rows::link_id(row)?))
}

pub(super) fn list_links(
    connection: &Connection,
    tenant: &Tenant,
    after: Option<&LinkPosition>,
    limit: u32,
) -> Result<Vec<LinkPosition>, ReadError> {
    const SQL: &str = "SELECT link_id, created_at FROM links \
        WHERE app_id = ?1 AND environment = ?2 AND first_data_at IS NOT NULL AND deleted_at IS NULL \
        AND (created_at, link_id) > (?3, ?4) ORDER BY created_at, link_id LIMIT ?5";
    let (created_at, id) = after.map_or((i64::MIN, ""), |after| (micros(after.created_at), after.id.as_str()));
    let mut statement = connection.prepare_cached(SQL)?;
    let mut found =
        statement.query(params![tenant.app_id.as_str(), tenant.environment.as_str(), created_at, id, limit])?;
    let mut positions = Vec::new();
    while let Some(row) = found.next()? {
        positions.push(rows::link_position(row)?);
    }
    Ok(positions)
}

/// Inserts or replaces a link under its version guard.
pub(super) fn write_link(
    connection: &Connection,
    prepared: &PreparedLink,
    effects: &mut Effects,
) -> Result<(), WriteError> {
    match prepared.expected_version {
        None => insert(connection, prepared)?,
        Some(version) => update(connection, prepared, version)?,
    }
    if prepared.destroy {
        destroy(connection, &prepared.link.id, effects)?;
        let at = prepared.link.deleted_at.unwrap_or(prepared.link.changed_at);
        effects.destroyed.push(LedgerEntry { at, link_id: prepared.link.id.clone() });
    }
    Ok(())
}

/// Keeps the place of a link whose rows come before it. It is of no environment, so no finder sees it.
pub(super) fn keep_place(connection: &Connection, link: &Link) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO links (link_id, app_id, environment, customer_user_id, institution_id, state, granted, \
        created_at, changed_at, newest_at, renderer, link_view, document_format, document, version) \
        VALUES (?1, ?2, '', '', '', '', 0, ?3, ?3, ?3, 0, X'', ?4, CAST('{}' AS BLOB), 0)";
    let (id, app) = (link.id.as_str(), link.tenant.app_id.as_str());
    connection
        .prepare_cached(SQL)?
        .execute(params![id, app, micros(link.created_at), DOCUMENT_FORMAT])
        .map_err(constraint_as(Guard::Link))?;
    Ok(())
}

/// Gives up a place that [`keep_place`] kept.
pub(super) fn give_up_place(connection: &Connection, id: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM links WHERE link_id = ?1 AND environment = ''")?.execute([id])?;
    Ok(())
}

/// Where the link's place is kept, it goes there.
fn insert(connection: &Connection, prepared: &PreparedLink) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO links (link_id, app_id, environment, customer_user_id, institution_id, state, \
        error, granted, created_at, first_data_at, deleted_at, changed_at, newest_at, renderer, link_view, \
        document_format, document, numbers_view, numbers, owners, credential, import_key, wrapped_key, key_version, \
        version) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, \
        ?21, ?22, ?23, ?24, 1 \
        WHERE ?24 IS NULL OR EXISTS (SELECT 1 FROM master_keys WHERE master_keys.key_version = ?24) \
        ON CONFLICT (link_id) DO UPDATE SET environment = excluded.environment, \
        customer_user_id = excluded.customer_user_id, institution_id = excluded.institution_id, \
        state = excluded.state, error = excluded.error, granted = excluded.granted, \
        created_at = excluded.created_at, first_data_at = excluded.first_data_at, deleted_at = excluded.deleted_at, \
        changed_at = excluded.changed_at, newest_at = excluded.newest_at, renderer = excluded.renderer, \
        link_view = excluded.link_view, document_format = excluded.document_format, document = excluded.document, \
        numbers_view = excluded.numbers_view, numbers = excluded.numbers, owners = excluded.owners, \
        credential = excluded.credential, import_key = excluded.import_key, wrapped_key = excluded.wrapped_key, \
        key_version = excluded.key_version, version = excluded.version \
        WHERE links.environment = '' AND links.app_id = excluded.app_id";
    let link = &prepared.link;
    let added = connection
        .prepare_cached(SQL)?
        .execute(params![
            link.id.as_str(),
            link.tenant.app_id.as_str(),
            link.tenant.environment.as_str(),
            link.customer_user_id,
            link.institution.id,
            link.state.as_str(),
            link.error.map(|error| error.as_str()),
            link.granted().bits(),
            micros(link.created_at),
            link.first_data_at.map(micros),
            link.deleted_at.map(micros),
            micros(link.changed_at),
            micros(newest_instant(link)),
            prepared.renderer,
            prepared.link_view,
            DOCUMENT_FORMAT,
            prepared.document,
            prepared.sealed.numbers_view,
            prepared.sealed.numbers,
            prepared.sealed.owners,
            prepared.sealed.credential,
            set_key(&prepared.import_key),
            prepared.wrapped_key.as_ref().map(|wrapped| &wrapped.value),
            prepared.wrapped_key.as_ref().map(|wrapped| wrapped.key_version),
        ])
        .map_err(constraint_as(Guard::Link))?;
    // Wrapped before the key was retired and stored after it: nobody could open it any more. Trying again wraps anew.
    one_row(added, Guard::Link)
}

fn update(connection: &Connection, prepared: &PreparedLink, version: u64) -> Result<(), WriteError> {
    // A deleted link never comes back, and a document of a newer release is never replaced, except by the stub of a
    // deletion: what it says is to be gone.
    const SQL: &str = "UPDATE links SET customer_user_id = ?4, institution_id = ?5, state = ?6, error = ?7, \
        granted = ?8, first_data_at = ?9, deleted_at = ?10, changed_at = ?11, newest_at = ?12, renderer = ?13, \
        link_view = ?14, document_format = ?15, document = ?16, numbers_view = COALESCE(?17, numbers_view), \
        numbers = COALESCE(?18, numbers), owners = COALESCE(?19, owners), credential = COALESCE(?20, credential), \
        import_key = CASE WHEN ?23 THEN NULL ELSE COALESCE(?21, import_key) END, version = version + 1 \
        WHERE link_id = ?1 AND app_id = ?2 AND environment = ?3 AND version = ?22 \
        AND (document_format <= ?15 OR ?10 IS NOT NULL) \
        AND (deleted_at IS NULL OR ?10 IS NOT NULL)";
    let link = &prepared.link;
    let changed = connection
        .prepare_cached(SQL)?
        .execute(params![
            link.id.as_str(),
            link.tenant.app_id.as_str(),
            link.tenant.environment.as_str(),
            link.customer_user_id,
            link.institution.id,
            link.state.as_str(),
            link.error.map(|error| error.as_str()),
            link.granted().bits(),
            link.first_data_at.map(micros),
            link.deleted_at.map(micros),
            micros(link.changed_at),
            micros(newest_instant(link)),
            prepared.renderer,
            prepared.link_view,
            DOCUMENT_FORMAT,
            prepared.document,
            prepared.sealed.numbers_view,
            prepared.sealed.numbers,
            prepared.sealed.owners,
            prepared.sealed.credential,
            set_key(&prepared.import_key),
            i64::try_from(version).unwrap_or(-1),
            prepared.import_key == ImportKey::Free,
        ])
        .map_err(constraint_as(Guard::Link))?;
    // A deletion replaces whatever the document is, so its format refuses nothing.
    if changed == 0 && !prepared.is_deletion() {
        refuse_newer_format(connection, &link.id)?;
    }
    one_row(changed, Guard::Link)
}

fn set_key(key: &ImportKey) -> Option<&str> {
    match key {
        ImportKey::Set(key) => Some(key),
        ImportKey::Keep | ImportKey::Free => None,
    }
}

fn refuse_newer_format(connection: &Connection, id: &LinkId) -> Result<(), ReadError> {
    const SQL: &str = "SELECT document_format FROM links WHERE link_id = ?1";
    let format: Option<i64> = connection.prepare_cached(SQL)?.query_row([id.as_str()], |row| row.get(0)).optional()?;
    match format {
        Some(format) if format > i64::from(DOCUMENT_FORMAT) => {
            Err(inconsistent(TABLE, "document_format", id.as_str(), NewerFormat(format)).into())
        }
        _ => Ok(()),
    }
}

/// Makes everything sealed under the link's key unreadable for ever. Jobs of the link stay for their workers, which
/// find the link deleted and end them as failed: so every accepted job has exactly one end.
fn destroy(connection: &Connection, id: &LinkId, effects: &mut Effects) -> Result<(), WriteError> {
    const KEYS: &str = "UPDATE links SET wrapped_key = NULL, key_version = NULL, numbers_view = NULL, \
        numbers = NULL, owners = NULL, credential = NULL, import_key = NULL WHERE link_id = ?1";
    connection.prepare_cached(KEYS)?.execute([id.as_str()])?;
    connection.prepare_cached("DELETE FROM holdings WHERE link_id = ?1")?.execute([id.as_str()])?;
    give_back(connection, id)?;
    // A kept answer shows the link object.
    connection.prepare_cached("DELETE FROM kept_answers WHERE link_id = ?1")?.execute([id.as_str()])?;
    forget_replaced(connection, id)?;
    effects.has_backlog |= erase_rows_at_first(connection, id)?;
    // A session that failed or was never finished still holds what the app said about the end user.
    connection
        .prepare_cached("UPDATE link_sessions SET request = NULL WHERE link_id = ?1 AND request IS NOT NULL")?
        .execute([id.as_str()])?;
    Ok(())
}

fn owned<'a>(tenant: &'a Tenant, id: &'a LinkId) -> (&'a str, &'a str, &'static str) {
    (id.as_str(), tenant.app_id.as_str(), tenant.environment.as_str())
}
