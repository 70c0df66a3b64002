//! The `master_keys` table, and wrapping data keys anew when a master key replaces another.
//!
//! The newest remembered key is the active one, for every process. A rotation walks over the data keys that an older
//! one wraps; each row is changed only if its wrapped key is the one that was read, so a link that is deleted meanwhile
//! stays destroyed. Nothing but the wrapped key changes: no version rises and no reader notices.

use async_trait::async_trait;

use super::{
    events::add_audit_entry,
    failure::WriteError,
    readers::Readers,
    values::{Value, values},
    work::{Step, Work},
    writers::Unit,
};
use crate::{
    port::{AuditEntry, Guard, KeyPosition, MasterKeyUse, StoreError},
    sealing::Keys,
    stored::{
        columns::Columns,
        rotation::{Batch, Replacement},
    },
};

const LIST_MASTER_KEY_USES: &str = "SELECT key_version, \
    (SELECT COUNT(*) FROM links WHERE links.key_version = master_keys.key_version), \
    (SELECT COUNT(*) FROM instance_values WHERE instance_values.key_version = master_keys.key_version) \
    FROM master_keys ORDER BY key_version";
const LOOKUP_ACTIVE_VERSION: &str = "SELECT MAX(key_version) FROM master_keys";
// Nothing when the key is remembered already, or a newer one is.
const REMEMBER_MASTER_KEY: &str = "INSERT INTO master_keys (key_version, check_value) \
    SELECT $1::BIGINT, $2::BYTEA WHERE NOT EXISTS (SELECT 1 FROM master_keys WHERE key_version >= $1::BIGINT)";
const LOOKUP_CHECK_VALUE: &str = "SELECT check_value, (SELECT MAX(key_version) FROM master_keys) FROM master_keys \
    WHERE key_version = $1";
const FORGET_MASTER_KEY: &str = "DELETE FROM master_keys WHERE key_version = $1 \
    AND key_version < (SELECT MAX(key_version) FROM master_keys) \
    AND NOT EXISTS (SELECT 1 FROM links WHERE key_version = $1) \
    AND NOT EXISTS (SELECT 1 FROM instance_values WHERE key_version = $1)";
const LIST_OLD_DATA_KEYS: &str = "SELECT link_id, app_id, environment, key_version, wrapped_key FROM links \
    WHERE (key_version, link_id) > ($1, $2) AND key_version < $3 ORDER BY key_version, link_id LIMIT $4";
const LIST_OLD_INSTANCE_VALUES: &str =
    "SELECT name, key_version, value FROM instance_values WHERE key_version < $1 ORDER BY name";
const REWRAP_DATA_KEYS: &str = "UPDATE links SET key_version = n.new_version, wrapped_key = n.new \
    FROM unnest($1::TEXT[], $2::BIGINT[], $3::BYTEA[], $4::BIGINT[], $5::BYTEA[]) \
    AS n (key, old_version, old, new_version, new) \
    WHERE links.link_id = n.key AND links.key_version = n.old_version AND links.wrapped_key = n.old";
const RESEAL_INSTANCE_VALUES: &str = "UPDATE instance_values SET key_version = n.new_version, value = n.new \
    FROM unnest($1::TEXT[], $2::BIGINT[], $3::BYTEA[], $4::BIGINT[], $5::BYTEA[]) \
    AS n (key, old_version, old, new_version, new) \
    WHERE instance_values.name = n.key AND instance_values.key_version = n.old_version AND instance_values.value = n.old";

pub(super) async fn list(readers: &Readers, keys: &Keys) -> Result<Vec<MasterKeyUse>, StoreError> {
    let mut found = Vec::new();
    for row in readers.scan(LIST_MASTER_KEY_USES, values![]).await? {
        let columns = Columns { row: &row, table: "master_keys", key: "" };
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
pub(super) async fn active_version(readers: &Readers) -> Result<u32, StoreError> {
    let row = readers.point(LOOKUP_ACTIVE_VERSION, values![]).await?;
    row.map_or(Ok(0), |row| Columns { row: &row, table: "master_keys", key: "" }.integer(0, "key_version"))
}

/// Remembers a key as the active one. `check_value` is that of the key at hand.
pub(super) struct Activate {
    pub version: u32,
    pub check_value: [u8; 32],
    pub audit: AuditEntry,
}

#[async_trait]
impl Unit for Activate {
    type Answer = ();

    async fn run(&self, work: &mut Work<'_>) -> Result<(), WriteError> {
        let remember = Step::new(REMEMBER_MASTER_KEY, values![self.version, &self.check_value[..]]);
        work.run(&[remember.rows(1, Guard::Unique).unique(Guard::Unique), add_audit_entry(&self.audit)]).await
    }
}

/// Whether exactly this key is remembered as the active one already.
pub(super) async fn is_active(readers: &Readers, version: u32, check_value: &[u8; 32]) -> Result<bool, StoreError> {
    let Some(row) = readers.point(LOOKUP_CHECK_VALUE, values![version]).await? else { return Ok(false) };
    let columns = Columns { row: &row, table: "master_keys", key: "" };
    Ok(columns.bytes(0, "check_value")? == check_value && columns.integer::<u32>(1, "key_version")? == version)
}

/// Forgets a key, unless it is the active one or wraps something.
pub(super) struct Retire {
    pub version: u32,
    pub audit: AuditEntry,
}

#[async_trait]
impl Unit for Retire {
    type Answer = ();

    async fn run(&self, work: &mut Work<'_>) -> Result<(), WriteError> {
        let forget = Step::new(FORGET_MASTER_KEY, values![self.version]).rows(1, Guard::Unique);
        work.run(&[forget, add_audit_entry(&self.audit)]).await
    }
}

/// Reads and wraps anew up to `limit` data keys that are older than the active master key.
pub(super) async fn prepare_batch(
    readers: &Readers,
    keys: &Keys,
    after: Option<&KeyPosition>,
    limit: u32,
) -> Result<Batch, StoreError> {
    let mut batch = Batch::default();
    let active = keys.active_version();
    if after.is_none() {
        for row in readers.scan(LIST_OLD_INSTANCE_VALUES, values![active]).await? {
            batch.add_instance_value(&row, keys)?;
        }
    }
    let (version, link) = after.map_or((0, ""), |after| (after.key_version, after.link_id.as_str()));
    for row in readers.scan(LIST_OLD_DATA_KEYS, values![version, link, active, limit]).await? {
        batch.add_link(&row, keys)?;
    }
    Ok(batch.finished(limit))
}

/// The statements that store a batch, each with its values.
pub(super) fn store_batch(batch: &Batch) -> [(&'static str, Vec<Value<'_>>); 2] {
    [(REWRAP_DATA_KEYS, arrays(&batch.links)), (RESEAL_INSTANCE_VALUES, arrays(&batch.instance_values))]
}

fn arrays(replacements: &[Replacement]) -> Vec<Value<'_>> {
    vec![
        replacements.iter().map(|replacement| replacement.key.as_str()).collect(),
        replacements.iter().map(|replacement| i64::from(replacement.old.key_version)).collect(),
        replacements.iter().map(|replacement| replacement.old.value.as_slice()).collect(),
        replacements.iter().map(|replacement| i64::from(replacement.new.key_version)).collect(),
        replacements.iter().map(|replacement| replacement.new.value.as_slice()).collect(),
    ]
}
