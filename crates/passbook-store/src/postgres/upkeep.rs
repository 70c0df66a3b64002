//! What an operator asks of the store. Checking the database's pages and copying it are the server's own business:
//! `pg_amcheck` and `pg_dump`.

use std::path::Path;

use async_trait::async_trait;

use super::{
    PostgresStore, master_keys,
    master_keys::{Activate, Retire},
    schema,
    values::values,
};
use crate::{
    port::{
        AuditEntry, BackupError, BackupManifest, CommitError, Examination, Guard, KeyPosition, MasterKeyUse, Rewrapped,
        Store as _, StoreError, Upkeep,
    },
    stored::{columns::Columns, values::micros},
};

/// A job that was begun this often does not get anywhere.
const STRUGGLING_FENCE: i64 = 5;

const EXAMINE: &str = "SELECT (SELECT MAX(version)::BIGINT FROM refinery_schema_history), \
    (SELECT COUNT(*) FROM jobs WHERE state = 'open'), \
    (SELECT COUNT(*) FROM jobs WHERE state = 'open' AND fence >= $1), \
    (SELECT MIN(due_at) FROM jobs WHERE state = 'open' AND due_at <= $2 AND NOT EXISTS \
    (SELECT 1 FROM apps WHERE apps.app_id = jobs.app_id AND apps.disabled_at <= $2)), \
    (SELECT COUNT(*) FROM links WHERE deleted_at IS NOT NULL AND wrapped_key IS NOT NULL)";
const DATABASE_SIZE: &str = "SELECT pg_database_size(current_database())";

#[async_trait]
impl Upkeep for PostgresStore {
    async fn list_master_keys(&self) -> Result<Vec<MasterKeyUse>, StoreError> {
        master_keys::list(&self.readers, &self.keys).await
    }

    async fn activate_master_key(&self, version: u32, audit: AuditEntry) -> Result<(), CommitError> {
        let check_value = self.keys.check_value(version).map_err(|_| CommitError::Conflict(Guard::Unique))?;
        match self.writers.transact(Activate { version, check_value, audit }).await.map_err(CommitError::from) {
            Err(CommitError::Conflict(_)) if master_keys::is_active(&self.readers, version, &check_value).await? => {}
            other => other?,
        }
        // Found at hand above, and only retired keys are dropped.
        self.keys.activate(version).map_err(|error| StoreError::Unavailable(error.into()))?;
        Ok(())
    }

    async fn follow_active_key(&self) -> Result<u32, StoreError> {
        let version = master_keys::active_version(&self.readers).await?;
        if version != self.keys.active_version() {
            self.keys.activate(version).map_err(|error| StoreError::Unavailable(error.into()))?;
        }
        Ok(version)
    }

    async fn rewrap_keys(&self, after: Option<&KeyPosition>, limit: u32) -> Result<Rewrapped, StoreError> {
        let batch = master_keys::prepare_batch(&self.readers, &self.keys, after, limit).await?;
        let mut rewrapped = 0;
        if !batch.is_empty() {
            // Each may be repeated without harm: a row that was wrapped anew is not what was read any more.
            for (sql, values) in master_keys::store_batch(&batch) {
                rewrapped += self.writers.execute(sql, values).await?;
            }
        }
        Ok(batch.outcome(rewrapped))
    }

    async fn retire_master_key(&self, version: u32, audit: AuditEntry) -> Result<(), CommitError> {
        self.writers.transact(Retire { version, audit }).await.map_err(CommitError::from)?;
        self.keys.forget(version);
        Ok(())
    }

    async fn examine(&self) -> Result<Examination, StoreError> {
        let rows = self.readers.scan(EXAMINE, values![STRUGGLING_FENCE, micros(self.now())]).await?;
        let Some(row) = rows.first() else { return Ok(Examination::default()) };
        let columns = Columns { row, table: "jobs", key: "" };
        // An engine that cannot tell its size is asked in vain.
        let size = self.readers.scan(DATABASE_SIZE, values![]).await.unwrap_or_default();
        let bytes = size.first().map(|row| Columns { row, table: "links", key: "" }.integer(0, "size")).transpose()?;
        Ok(Examination {
            schema_version: columns.integer(0, "version")?,
            schema_known: schema::known_version(),
            damage: Vec::new(),
            damage_searched: false,
            jobs_open: columns.integer(1, "state")?,
            jobs_struggling: columns.integer(2, "fence")?,
            oldest_due_at: columns.optional_instant(3, "due_at")?,
            undestroyed: columns.integer(4, "wrapped_key")?,
            bytes: bytes.unwrap_or(0),
            bytes_unused: 0,
        })
    }

    async fn back_up(&self, _destination: &Path) -> Result<BackupManifest, BackupError> {
        Err(BackupError::ByServerTools)
    }
}
