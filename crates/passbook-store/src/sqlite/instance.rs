//! The `instance_values`, `ordinals`, `app_institutions` and `watched_time` tables.

use passbook_core::{ids::AppId, institution::Country, retention::TimeWatch, secret::SecretBytes, tenant::Tenant};
use rusqlite::{Connection, params};

use super::{
    failure::{ReadError, WriteError, constraint_as},
    links::first,
};
use crate::{
    port::{AppInstitution, Guard},
    sealing::{Keys, SealedUnder},
    stored::{
        columns::Columns,
        rows,
        values::{micros, whole_micros},
    },
};

pub(super) fn lookup_instance_value(
    connection: &Connection,
    keys: &Keys,
    name: &str,
) -> Result<Option<SecretBytes>, ReadError> {
    const SQL: &str = "SELECT key_version, value FROM instance_values WHERE name = ?1";
    first(connection, SQL, [name], |row| Ok(rows::instance_value(row, keys, name)?))
}

pub(super) fn add_instance_value(
    connection: &Connection,
    name: &str,
    sealed: &SealedUnder<Vec<u8>>,
) -> Result<(), WriteError> {
    connection
        .prepare_cached("INSERT INTO instance_values (name, key_version, value) VALUES (?1, ?2, ?3)")?
        .execute(params![name, sealed.key_version, sealed.value])
        .map_err(constraint_as(Guard::Unique))?;
    Ok(())
}

pub(super) fn take_ordinal(connection: &Connection, app: &AppId, kind: &str) -> Result<u64, WriteError> {
    const SQL: &str = "INSERT INTO ordinals (app_id, kind, value) VALUES (?1, ?2, 1) \
        ON CONFLICT (app_id, kind) DO UPDATE SET value = ordinals.value + 1 RETURNING value";
    let value = first(connection, SQL, [app.as_str(), kind], |row| {
        Ok(Columns { row, table: "ordinals", key: app.as_str() }.integer(0, "value")?)
    })?;
    value.ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
}

pub(super) fn list_app_institutions(
    connection: &Connection,
    tenant: &Tenant,
) -> Result<Vec<AppInstitution>, ReadError> {
    const SQL: &str = "SELECT institution_id, name, country FROM app_institutions \
        WHERE app_id = ?1 AND environment = ?2 ORDER BY institution_id";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut found = statement.query([tenant.app_id.as_str(), tenant.environment.as_str()])?;
    let mut institutions = Vec::new();
    while let Some(row) = found.next()? {
        institutions.push(rows::app_institution(row, &tenant.app_id)?);
    }
    Ok(institutions)
}

/// Adds an institution, or takes over the name and country that a newer file gives it.
pub(super) fn write_app_institution(
    connection: &Connection,
    tenant: &Tenant,
    institution: &AppInstitution,
) -> Result<(), WriteError> {
    const SQL: &str = "INSERT INTO app_institutions (app_id, environment, institution_id, name, country) \
        VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (app_id, environment, institution_id) \
        DO UPDATE SET name = excluded.name, country = excluded.country";
    let country = match institution.country {
        Country::Us => "US",
        Country::Gb => "GB",
        Country::Ca => "CA",
    };
    connection.prepare_cached(SQL)?.execute(params![
        tenant.app_id.as_str(),
        tenant.environment.as_str(),
        institution.id,
        institution.name,
        country,
    ])?;
    Ok(())
}

pub(super) fn lookup_watched_time(connection: &Connection) -> Result<Option<TimeWatch>, ReadError> {
    let sql = "SELECT seen_at, hold FROM watched_time WHERE watch_id = 1";
    first(connection, sql, [], |row| Ok(rows::watched_time(row)?))
}

/// One conditional write; its row count says who was first.
pub(super) fn write_watched_time(
    connection: &Connection,
    expected: Option<&TimeWatch>,
    watch: &TimeWatch,
) -> Result<bool, WriteError> {
    const FIRST: &str =
        "INSERT INTO watched_time (watch_id, seen_at, hold) VALUES (1, ?1, ?2) ON CONFLICT (watch_id) DO NOTHING";
    const NEXT: &str =
        "UPDATE watched_time SET seen_at = ?1, hold = ?2 WHERE watch_id = 1 AND seen_at = ?3 AND hold = ?4";
    let columns = |watch: &TimeWatch| (micros(watch.seen_at), whole_micros(watch.hold));
    let (seen_at, hold) = columns(watch);
    let written = match expected.map(columns) {
        None => connection.prepare_cached(FIRST)?.execute(params![seen_at, hold])?,
        Some((was_seen_at, was_hold)) => {
            connection.prepare_cached(NEXT)?.execute(params![seen_at, hold, was_seen_at, was_hold])?
        }
    };
    Ok(written == 1)
}
