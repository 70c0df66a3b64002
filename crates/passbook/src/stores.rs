//! The part of the composition root that opens stores, and knows where an embedded one keeps its files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use passbook::{
    commands::{OpenFailure, Opened, RestoredShown, Schema, StoreFiles, Stores},
    config::{Config, Place},
    dev,
    opened_store::OpenedStore,
    system::SystemClock,
    views,
};
use passbook_store::{
    postgres::{self, Connections, PostgresStore},
    sealing::{KeyFile, MasterKey},
    sqlite::{self, OpenError, OpenOptions, RestoreOptions, SqliteStore, load_or_create_master_keys},
    time::SteadyClock,
};

/// Stores in data directories.
pub struct DataDirectories;

/// The store that the configuration names.
///
/// # Errors
/// When it cannot be opened.
pub async fn open_configured(config: &Config) -> anyhow::Result<OpenedStore> {
    let place = &config.store;
    dev::make_data_directory(&place.data)?;
    match &place.place {
        Place::Embedded => {
            let keys = &config.keys;
            let files = StoreFiles { ledger: place.deletion_ledger.clone(), ..DataDirectories.files(&place.data) };
            Ok(open_embedded(files, keys.master_keys.clone(), keys.master_key_file.clone())?)
        }
        Place::Server { url, tls_ca_file, connections } => {
            let url = std::str::from_utf8(url.expose()).context("store.url is not text")?.trim();
            let tls_roots = match tls_ca_file {
                Some(file) => Some(std::fs::read(file).with_context(|| format!("{}", file.display()))?),
                None => None,
            };
            open_server(config, url, tls_roots, *connections).await
        }
    }
}

/// Half of the connections and more commit; lists, which hold one each, get the rest.
async fn open_server(
    config: &Config,
    url: &str,
    tls_roots: Option<Vec<u8>>,
    connections: u32,
) -> anyhow::Result<OpenedStore> {
    let connections = connections as usize;
    let long_reads = (connections / 3).max(1);
    let store = PostgresStore::open(postgres::OpenOptions {
        url,
        tls_roots,
        connections: Connections {
            long_reads,
            writes: connections.saturating_sub(long_reads).max(1),
            ..Connections::default()
        },
        master_keys: config.keys.master_keys.clone(),
        deletion_ledger: config.store.deletion_ledger.clone(),
        wall_clock: Arc::new(SystemClock),
        renderer: views::RENDERER,
        render_stub: &views::link_view,
    })
    .await?;
    let keys = Arc::clone(store.keys());
    if let Some(key_file) = &config.keys.master_key_file {
        keys.follow(KeyFile::new(key_file.clone()));
    }
    let store = Arc::new(store);
    let clock = store.clone();
    Ok(OpenedStore { store: store.clone(), upkeep: store, keys, skew: Arc::new(move || clock.skew()) })
}

/// Opens the store in `directory`, making it when there is none, with the keys beside it.
///
/// # Errors
/// [`OpenError`].
pub fn open_directory(directory: &Path) -> Result<OpenedStore, OpenError> {
    let files = DataDirectories.files(directory);
    let master_keys = load_or_create_master_keys(&files.keys, &files.database)?;
    let key_file = files.keys.clone();
    open_embedded(files, master_keys, Some(key_file))
}

fn open_embedded(
    files: StoreFiles,
    master_keys: Vec<MasterKey>,
    key_file: Option<PathBuf>,
) -> Result<OpenedStore, OpenError> {
    let clock = Arc::new(SteadyClock::new(Arc::new(SystemClock)));
    let store = SqliteStore::open(OpenOptions {
        path: files.database,
        master_keys,
        deletion_ledger: files.ledger,
        clock: clock.clone(),
        renderer: views::RENDERER,
        render_stub: &views::link_view,
    })?;
    let keys = Arc::clone(store.keys());
    if let Some(key_file) = key_file {
        keys.follow(KeyFile::new(key_file));
    }
    let store = Arc::new(store);
    Ok(OpenedStore { store: store.clone(), upkeep: store, keys, skew: Arc::new(move || clock.skew()) })
}

impl Stores for DataDirectories {
    fn open(&self, data: &Path) -> Result<Opened, OpenFailure> {
        // A command never makes a store: a mistyped directory would look like an empty one.
        if !self.files(data).database.exists() {
            return Err(OpenFailure::Other(anyhow!("there is no store in {}", data.display())));
        }
        let opened = open_directory(data).map_err(failure)?;
        Ok(Opened { store: opened.upkeep, keys: opened.keys })
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
