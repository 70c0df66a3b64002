//! The part of the composition root that knows where an embedded store keeps its files, and how one is opened.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, anyhow};
use passbook::{
    commands::{OpenFailure, Opened, RestoredShown, Schema, StoreFiles, Stores},
    system::SystemClock,
    views,
};
use passbook_core::time::Clock;
use passbook_store::{
    sealing::KeyFile,
    sqlite::{self, OpenError, OpenOptions, RestoreOptions, SqliteStore, load_or_create_master_keys},
    time::SteadyClock,
};

/// Stores in data directories.
pub struct DataDirectories;

/// Opens the store in `directory`, making it when there is none.
///
/// # Errors
/// [`OpenError`].
pub fn open_store(directory: &Path, clock: Arc<dyn Clock>) -> Result<SqliteStore, OpenError> {
    let files = DataDirectories.files(directory);
    let master_keys = load_or_create_master_keys(&files.keys, &files.database)?;
    let store = SqliteStore::open(OpenOptions {
        path: files.database,
        master_keys,
        deletion_ledger: files.ledger,
        clock,
        renderer: views::RENDERER,
        render_stub: &views::link_view,
    })?;
    store.keys().follow(KeyFile::new(files.keys));
    Ok(store)
}

impl Stores for DataDirectories {
    fn open(&self, data: &Path) -> Result<Opened, OpenFailure> {
        // A command never makes a store: a mistyped directory would look like an empty one.
        if !self.files(data).database.exists() {
            return Err(OpenFailure::Other(anyhow!("there is no store in {}", data.display())));
        }
        let store = open_store(data, Arc::new(SteadyClock::new(Arc::new(SystemClock)))).map_err(failure)?;
        let keys = Arc::clone(store.keys());
        Ok(Opened { store: Arc::new(store), keys })
    }

    fn schema(&self, data: &Path) -> Result<Schema, OpenFailure> {
        let versions = sqlite::schema_versions(&self.files(data).database).map_err(failure)?;
        Ok(Schema { found: versions.found, known: versions.known })
    }

    fn restore(&self, from: &Path, data: &Path, deletions: Option<&Path>) -> anyhow::Result<RestoredShown> {
        let files = self.files(data);
        let master_keys = match files.keys.exists() {
            true => KeyFile::new(files.keys).read()?,
            false => Vec::new(),
        };
        let restored = sqlite::restore(&RestoreOptions {
            from,
            database: &files.database,
            deletion_ledger: &files.ledger,
            deletions,
            master_keys: &master_keys,
        })
        .context("nothing was restored")?;
        Ok(RestoredShown {
            created_at: restored.manifest.created_at,
            master_key_version: restored.manifest.master_key_version,
            key_at_hand: restored.key_at_hand,
        })
    }

    fn files(&self, data: &Path) -> StoreFiles {
        StoreFiles {
            keys: data.join("master.key"),
            ledger: data.join("deletions.ledger"),
            database: data.join("passbook.db"),
        }
    }
}

fn failure(error: OpenError) -> OpenFailure {
    match error {
        OpenError::InUse { .. } => OpenFailure::InUse,
        error => OpenFailure::Other(error.into()),
    }
}
