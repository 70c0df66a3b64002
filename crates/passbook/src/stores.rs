//! The part of the composition root that opens stores, and knows where an embedded one keeps its files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow, bail};
use futures_util::future::BoxFuture;
use passbook::{
    commands::{OpenFailure, Opened, RestoredShown, Schema, StoreFiles, Stores},
    config::{Config, Place},
    dev,
    opened_store::OpenedStore,
    services::quota::Bounds,
    system::SystemClock,
    views,
};
use passbook_core::secret::SecretBytes;
use passbook_store::{
    files::private_directory,
    postgres::{self, Connections, PostgresStore},
    sealing::{KeyFile, MasterKey},
    sqlite::{self, OpenError, OpenOptions, Presence, RestoreOptions, SqliteStore, load_or_create_master_keys},
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
            let opened = open_embedded(files, keys.master_keys.clone(), keys.master_key_file.clone())?;
            Ok(OpenedStore { bounds: place.bounds, ..opened })
        }
        Place::Server { url, tls_ca_file, connections } => {
            let url = std::str::from_utf8(url.expose()).context("store.url is not text")?.trim();
            let tls_roots = match tls_ca_file {
                Some(file) => Some(std::fs::read(file).with_context(|| format!("{}", file.display()))?),
                None => None,
            };
            let opened = open_server(config, url, tls_roots, *connections).await?;
            Ok(OpenedStore { bounds: place.bounds, ..opened })
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
    Ok(OpenedStore {
        store: store.clone(),
        upkeep: store,
        keys,
        skew: Arc::new(move || clock.skew()),
        bounds: Bounds::default(),
    })
}

/// Opens the store in `directory`, making it when there is none, with the keys beside it.
///
/// # Errors
/// [`OpenError`].
pub fn open_directory(directory: &Path) -> Result<OpenedStore, OpenError> {
    let files = DataDirectories.files(directory);
    let key_file = key_file_of(directory);
    private_directory(directory)?;
    let master_keys = load_or_create_master_keys(&key_file, &files.database, &files.ledger)?;
    open_embedded(files, master_keys, Some(key_file))
}

/// Where an embedded store without a configuration keeps its master keys.
fn key_file_of(directory: &Path) -> PathBuf {
    directory.join("master.key")
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
    Ok(OpenedStore {
        store: store.clone(),
        upkeep: store,
        keys,
        skew: Arc::new(move || clock.skew()),
        bounds: Bounds::default(),
    })
}

impl Stores for DataDirectories {
    fn open<'a>(&'a self, data: &'a Path) -> BoxFuture<'a, Result<Opened, OpenFailure>> {
        Box::pin(async move {
            // A command never makes a store: a mistyped directory would look like an empty one.
            refuse_absent(data, &self.files(data))?;
            let opened = open_directory(data).map_err(failure)?;
            Ok(Opened { store: opened.upkeep, keys: opened.keys })
        })
    }

    fn create<'a>(&'a self, data: &'a Path) -> BoxFuture<'a, Result<Opened, OpenFailure>> {
        let refusal = anyhow!(
            "there is no store in {}, and a mistyped path must not become one; `passbook dev --data` makes one, and \
             with --config this command does",
            data.display()
        );
        Box::pin(std::future::ready(Err(OpenFailure::Other(refusal))))
    }

    fn schema<'a>(&'a self, data: &'a Path) -> BoxFuture<'a, Result<Schema, OpenFailure>> {
        Box::pin(async move {
            let versions = sqlite::schema_versions(&self.files(data).database).map_err(failure)?;
            Ok(Schema { found: versions.found, known: versions.known })
        })
    }

    fn restore(&self, from: &Path, data: &Path, deletions: Option<&Path>) -> anyhow::Result<RestoredShown> {
        let files = self.files(data);
        let key_file = key_file_of(data);
        let master_keys = match key_file.exists() {
            true => KeyFile::new(key_file).read()?,
            false => Vec::new(),
        };
        restore_into(&files, &master_keys, from, deletions)
    }

    fn files(&self, data: &Path) -> StoreFiles {
        StoreFiles {
            keys: Some(key_file_of(data)),
            ledger: data.join("deletions.ledger"),
            database: data.join("passbook.db"),
        }
    }
}

/// The store that a configuration names.
pub struct Configured(pub Config);

impl Configured {
    async fn open_or_create(&self) -> Result<Opened, OpenFailure> {
        let opened = open_configured(&self.0).await.map_err(|error| match error.downcast_ref::<OpenError>() {
            Some(OpenError::InUse { .. }) => OpenFailure::InUse,
            _ => OpenFailure::Other(error),
        })?;
        Ok(Opened { store: opened.upkeep, keys: opened.keys })
    }

    /// Whether there is a store to open: a command other than `migrate` makes none.
    async fn refuse_absent(&self, data: &Path) -> Result<(), OpenFailure> {
        match &self.0.store.place {
            // The configured keys are made by the operator, and tell nothing about a store.
            Place::Embedded => refuse_absent(data, &StoreFiles { keys: None, ..self.files(data) }),
            Place::Server { url, tls_ca_file, .. } => {
                let schema = self.server_schema(url, tls_ca_file.as_deref()).await.map_err(OpenFailure::Other)?;
                let absent = || anyhow!("there is no store in the database; `passbook migrate` makes one");
                schema.found.map(|_| ()).ok_or_else(|| OpenFailure::Other(absent()))
            }
        }
    }

    async fn server_schema(&self, url: &SecretBytes, tls_ca_file: Option<&Path>) -> anyhow::Result<Schema> {
        let roots = tls_ca_file.map(std::fs::read).transpose().context("store.tls_ca_file cannot be read")?;
        let url = std::str::from_utf8(url.expose()).context("store.url is not text")?.trim();
        let (found, known) = PostgresStore::schema_version(url, roots.as_deref()).await?;
        Ok(Schema { found: (found > 0).then_some(found), known })
    }
}

impl Stores for Configured {
    fn data(&self, _given: &Path) -> PathBuf {
        self.0.store.data.clone()
    }

    fn open<'a>(&'a self, data: &'a Path) -> BoxFuture<'a, Result<Opened, OpenFailure>> {
        Box::pin(async move {
            self.refuse_absent(data).await?;
            self.open_or_create().await
        })
    }

    fn create<'a>(&'a self, _data: &'a Path) -> BoxFuture<'a, Result<Opened, OpenFailure>> {
        // A configuration was written on purpose; what it names is meant.
        Box::pin(self.open_or_create())
    }

    fn schema<'a>(&'a self, data: &'a Path) -> BoxFuture<'a, Result<Schema, OpenFailure>> {
        match &self.0.store.place {
            Place::Embedded => DataDirectories.schema(data),
            Place::Server { url, tls_ca_file, .. } => {
                Box::pin(
                    async move { self.server_schema(url, tls_ca_file.as_deref()).await.map_err(OpenFailure::Other) },
                )
            }
        }
    }

    fn restore(&self, from: &Path, data: &Path, deletions: Option<&Path>) -> anyhow::Result<RestoredShown> {
        match self.0.store.place {
            Place::Embedded => restore_into(&self.files(data), &self.0.keys.master_keys, from, deletions),
            Place::Server { .. } => bail!("this store is restored with pg_restore; see docs/backup.md"),
        }
    }

    fn files(&self, data: &Path) -> StoreFiles {
        let files = DataDirectories.files(data);
        StoreFiles { keys: self.0.keys.master_key_file.clone(), ledger: self.0.store.deletion_ledger.clone(), ..files }
    }
}

fn restore_into(
    files: &StoreFiles,
    master_keys: &[MasterKey],
    from: &Path,
    deletions: Option<&Path>,
) -> anyhow::Result<RestoredShown> {
    let restored = sqlite::restore(&RestoreOptions {
        from,
        database: &files.database,
        deletion_ledger: &files.ledger,
        deletions,
        master_keys,
    })
    .context("nothing was restored")?;
    Ok(RestoredShown {
        created_at: restored.manifest.created_at,
        master_key_version: restored.manifest.master_key_version,
        key_at_hand: restored.key_at_hand,
    })
}

/// A store that is lost is named as such; one that never was is none.
fn refuse_absent(data: &Path, files: &StoreFiles) -> Result<(), OpenFailure> {
    let presence = sqlite::presence(&files.database, &files.ledger, files.keys.as_deref()).map_err(failure)?;
    match presence {
        Presence::Present => Ok(()),
        Presence::Absent | Presence::Unfinished => {
            Err(OpenFailure::Other(anyhow!("there is no store in {}", data.display())))
        }
    }
}

fn failure(error: OpenError) -> OpenFailure {
    match error {
        OpenError::InUse { .. } => OpenFailure::InUse,
        error => OpenFailure::Other(error.into()),
    }
}
