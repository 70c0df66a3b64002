//! What an operator asks of a store beyond serving: its master keys, its health, a copy of it.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;
use passbook_core::ids::LinkId;
use serde::{Deserialize, Serialize};

use super::{AuditEntry, CommitError, Store, StoreError};

/// A store that can be kept in order while it serves.
#[async_trait]
pub trait Upkeep: Store {
    /// Whether only one process at a time can use the store, so that its key file is the only one. Others must be
    /// handed a new master key before it is used.
    fn is_exclusive(&self) -> bool {
        false
    }

    /// The master keys that the store remembers, oldest first, with how much each still wraps.
    async fn list_master_keys(&self) -> Result<Vec<MasterKeyUse>, StoreError>;

    /// Makes a master key that is at hand the one that wraps from now on, and remembers it. Repeating it changes
    /// nothing.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] when the key is not at hand, is older than the active one, or is another key than the
    /// one that is remembered under its version.
    async fn activate_master_key(&self, version: u32, audit: AuditEntry) -> Result<(), CommitError>;

    /// Takes a key into use that another process has activated. Returns the active version.
    async fn follow_active_key(&self) -> Result<u32, StoreError>;

    /// Wraps anew, under the active key, up to `limit` data keys that are still wrapped by an older one, walking on
    /// from `after`. A row that was changed meanwhile is left alone. Values of the instance go with the first batch.
    async fn rewrap_keys(&self, after: Option<&KeyPosition>, limit: u32) -> Result<Rewrapped, StoreError>;

    /// Forgets a master key that wraps nothing any more.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] when it is the active one, wraps something, or is not remembered.
    async fn retire_master_key(&self, version: u32, audit: AuditEntry) -> Result<(), CommitError>;

    /// Looks the store over; reads all of it.
    async fn examine(&self) -> Result<Examination, StoreError>;

    /// Copies the store, as it is at one moment after the call, into a new directory `destination` while it serves.
    ///
    /// # Errors
    /// [`BackupError`]; nothing is left at `destination` then.
    async fn back_up(&self, destination: &Path) -> Result<BackupManifest, BackupError>;
}

/// A remembered master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterKeyUse {
    /// Its version.
    pub version: u32,
    /// Whether it wraps what is written now.
    pub active: bool,
    /// Whether this process has it.
    pub at_hand: bool,
    /// Links whose data key it wraps.
    pub links: u64,
    /// Values of the instance that it seals.
    pub instance_values: u64,
}

/// A place in the walk over data keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPosition {
    /// The master key that wraps it.
    pub key_version: u32,
    /// The link.
    pub link_id: LinkId,
}

/// What one batch of [`Upkeep::rewrap_keys`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Rows that are now wrapped by the active key.
    pub rewrapped: u64,
    /// Rows that could not be opened and stay as they are.
    pub unreadable: u64,
    /// Where to go on; `None` at the end of the walk.
    pub next: Option<KeyPosition>,
}

/// What [`Upkeep::examine`] saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// Version of the stored schema.
    pub schema_version: i32,
    /// Version that this release knows.
    pub schema_known: i32,
    /// What the database says is wrong with itself; at most a hundred lines.
    pub damage: Vec<String>,
    /// Whether `damage` was looked for. A database server has tools of its own for that.
    pub damage_searched: bool,
    /// Unfinished jobs.
    pub jobs_open: u64,
    /// Unfinished jobs that have been begun five times or more.
    pub jobs_struggling: u64,
    /// Since when the longest-waiting due job has been due.
    pub oldest_due_at: Option<Timestamp>,
    /// Deleted links that still have a key.
    pub undestroyed: u64,
    /// Size of the database in bytes; 0 when it cannot be told.
    pub bytes: u64,
    /// Of these, free or dead.
    pub bytes_unused: u64,
}

/// What a backup says about itself; the file `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// Format of the backup.
    pub format: u32,
    /// When it was begun, in the store's time.
    pub created_at: Timestamp,
    /// Schema of the database in it.
    pub schema_version: i32,
    /// Version of the master key that is needed at least.
    pub master_key_version: u32,
    /// Recognises that key and tells nothing about it; hexadecimal digits.
    pub master_key_check: String,
    /// The files beside the manifest.
    pub files: Vec<BackupFile>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, as hexadecimal digits.
    pub sha256: String,
}

/// A backup that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something at the destination.
    #[error("{} exists already", .0.display())]
    Occupied(PathBuf),
    /// This store is backed up by the tools of its database server.
    #[error("this store is backed up with pg_dump; see docs/backup.md")]
    ByServerTools,
    /// A file could not be written.
    #[error("{} cannot be written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
