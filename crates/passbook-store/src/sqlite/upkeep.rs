//! What an operator asks of the embedded store.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

use super::{SqliteStore, backup, examine, failure::unavailable, master_keys};
use crate::port::{
    AuditEntry, BackupError, BackupManifest, CommitError, Examination, Guard, KeyPosition, MasterKeyUse, Rewrapped,
    Store as _, StoreError, Upkeep,
};

#[async_trait]
impl Upkeep for SqliteStore {
    fn is_exclusive(&self) -> bool {
        true
    }

    async fn list_master_keys(&self) -> Result<Vec<MasterKeyUse>, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.readers.scan(None, move |connection| master_keys::list(connection, &keys)).await
    }

    async fn activate_master_key(&self, version: u32, audit: AuditEntry) -> Result<(), CommitError> {
        let check_value = self.keys.check_value(version).map_err(|_| CommitError::Conflict(Guard::Unique))?;
        let activate =
            move |connection: &_, _: &mut _| master_keys::activate(connection, version, &check_value, &audit);
        self.writer.submit(&None, None, activate).await?;
        // Found at hand above, and only retired keys are dropped.
        self.keys.activate(version).map_err(|error| StoreError::Unavailable(error.into()))?;
        Ok(())
    }

    async fn follow_active_key(&self) -> Result<u32, StoreError> {
        // No other process can have activated a key of this store.
        Ok(self.keys.active_version())
    }

    async fn rewrap_keys(&self, after: Option<&KeyPosition>, limit: u32) -> Result<Rewrapped, StoreError> {
        let (keys, after) = (Arc::clone(&self.keys), after.cloned());
        let prepare = move |connection: &_| master_keys::prepare_batch(connection, &keys, after.as_ref(), limit);
        let batch = self.readers.scan(None, prepare).await?;
        if batch.is_empty() {
            return Ok(batch.outcome(0));
        }
        let batch = Arc::new(batch);
        let stored = Arc::clone(&batch);
        let rewrapped =
            self.writer.submit(&None, None, move |connection, _| master_keys::store_batch(connection, &stored)).await?;
        Ok(batch.outcome(rewrapped))
    }

    async fn retire_master_key(&self, version: u32, audit: AuditEntry) -> Result<(), CommitError> {
        let retire = move |connection: &_, _: &mut _| master_keys::retire(connection, version, &audit);
        self.writer.submit::<()>(&None, None, retire).await?;
        self.keys.forget(version);
        Ok(())
    }

    async fn examine(&self) -> Result<Examination, StoreError> {
        let now = self.now();
        self.readers.scan(None, move |connection| examine::examine(connection, now)).await
    }

    async fn back_up(&self, destination: &Path) -> Result<BackupManifest, BackupError> {
        let (database, destination, now) = (self.path.clone(), destination.to_owned(), self.now());
        let copy = tokio::task::spawn_blocking(move || backup::back_up(&database, &destination, now));
        copy.await.map_err(unavailable)?
    }
}
