//! The `master_keys` table, and wrapping data keys anew when a master key replaces another.
//!
//! The newest remembered key is the active one. A rotation walks over the data keys that an older one wraps; each row
//! is changed only if its wrapped key is the one that was read, so a link that is deleted meanwhile stays destroyed.
//! Nothing but the wrapped key changes: no version rises and no reader notices.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    events::add_audit_entry,
    failure::{ReadError, WriteError, one_row},
    links::first,
};
use crate::{
    port::{AuditEntry, Guard, KeyPosition, MasterKeyUse},
    sealing::Keys,
    stored::{
        columns::Columns,
        rotation::{Batch, Replacement},
    },
};

pub(super) fn list(connection: &Connection, keys: &Keys) -> Result<Vec<MasterKeyUse>, ReadError> {
    const SQL: &str = "SELECT key_version, \
        (SELECT COUNT(*) FROM links WHERE links.key_version = master_keys.key_version), \
        (SELECT COUNT(*) FROM instance_values WHERE instance_values.key_version = master_keys.key_version) \
        FROM master_keys ORDER BY key_version";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let columns = Columns { row, table: "master_keys", key: "" };
        let version = columns.integer(0, "key_version")?;
        found.push(MasterKeyUse {
            version,
            active: false,
            at_hand: keys.holds(version),
            links: columns.integer(1, "key_version")?,
            instance_values: columns.integer(2, "key_version")?,
        });
    }
    if let Some(newest) = found.last_mut() {
        newest.active = true;
    }
    Ok(found)
}

/// The version of the active key.
pub(super) fn active_version(connection: &Connection) -> Result<u32, ReadError> {
    let newest = first(connection, "SELECT MAX(key_version) FROM master_keys", [], |row| {
        Ok(Columns { row, table: "master_keys", key: "" }.integer(0, "key_version")?)
    })?;
    newest.ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
}

/// Remembers `version` as the active key. `check_value` is that of the key at hand.
pub(super) fn activate(
    connection: &Connection,
    version: u32,
    check_value: &[u8; 32],
    audit: &AuditEntry,
) -> Result<(), WriteError> {
    const KNOWN: &str = "SELECT check_value FROM master_keys WHERE key_version = ?1";
    let known: Option<Vec<u8>> = connection.prepare_cached(KNOWN)?.query_row([version], |row| row.get(0)).optional()?;
    let active = active_version(connection)?;
    if version < active || known.as_ref().is_some_and(|known| known != check_value) {
        return Err(WriteError::Conflict(Guard::Unique));
    }
    if known.is_none() {
        connection
            .prepare_cached("INSERT INTO master_keys (key_version, check_value) VALUES (?1, ?2)")?
            .execute(params![version, &check_value[..]])?;
        add_audit_entry(connection, audit)?;
    }
    Ok(())
}

/// Forgets `version`, unless it is the active one or wraps something.
pub(super) fn retire(connection: &Connection, version: u32, audit: &AuditEntry) -> Result<(), WriteError> {
    const SQL: &str = "DELETE FROM master_keys WHERE key_version = ?1 \
        AND key_version < (SELECT MAX(key_version) FROM master_keys) \
        AND NOT EXISTS (SELECT 1 FROM links WHERE key_version = ?1) \
        AND NOT EXISTS (SELECT 1 FROM instance_values WHERE key_version = ?1)";
    one_row(connection.prepare_cached(SQL)?.execute([version])?, Guard::Unique)?;
    add_audit_entry(connection, audit)
}

/// Reads and wraps anew up to `limit` data keys that are older than the active master key.
pub(super) fn prepare_batch(
    connection: &Connection,
    keys: &Keys,
    after: Option<&KeyPosition>,
    limit: u32,
) -> Result<Batch, ReadError> {
    const LINKS: &str = "SELECT link_id, app_id, environment, key_version, wrapped_key FROM links \
        WHERE (key_version, link_id) > (?1, ?2) AND key_version < ?3 ORDER BY key_version, link_id LIMIT ?4";
    const VALUES: &str = "SELECT name, key_version, value FROM instance_values WHERE key_version < ?1 ORDER BY name";
    let mut batch = Batch::default();
    if after.is_none() {
        let mut statement = connection.prepare_cached(VALUES)?;
        let mut rows = statement.query([keys.active_version()])?;
        while let Some(row) = rows.next()? {
            batch.add_instance_value(row, keys)?;
        }
    }
    let (version, link) = after.map_or((0, ""), |after| (after.key_version, after.link_id.as_str()));
    let mut statement = connection.prepare_cached(LINKS)?;
    let mut rows = statement.query(params![version, link, keys.active_version(), limit])?;
    while let Some(row) = rows.next()? {
        batch.add_link(row, keys)?;
    }
    Ok(batch.finished(limit))
}

/// Stores the batch; returns how many rows still were as they had been read.
pub(super) fn store_batch(connection: &Connection, batch: &Batch) -> Result<u64, WriteError> {
    const LINK: &str = "UPDATE links SET key_version = ?4, wrapped_key = ?5 \
        WHERE link_id = ?1 AND key_version = ?2 AND wrapped_key = ?3";
    const VALUE: &str = "UPDATE instance_values SET key_version = ?4, value = ?5 \
        WHERE name = ?1 AND key_version = ?2 AND value = ?3";
    let mut changed = 0;
    for (sql, replacements) in [(LINK, &batch.links), (VALUE, &batch.instance_values)] {
        let mut statement = connection.prepare_cached(sql)?;
        for Replacement { key, old, new } in replacements {
            let parameters = params![key, old.key_version, old.value, new.key_version, new.value];
            changed += statement.execute(parameters)? as u64;
        }
    }
    Ok(changed)
}
