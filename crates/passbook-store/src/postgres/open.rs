//! Opening a store: look, migrate, recognise the master key, connect, replay the deletion ledger.
//!
//! Nothing is served, and nothing is written, before the checks have passed.

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use deadpool_postgres::{ClientWrapper, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use jiff::Timestamp;
use passbook_core::{ids::LinkId, link::Link, time::Clock};
use tokio_postgres::error::SqlState;

use super::{
    PostgresStore,
    apply::Commit,
    clock::{read_clock, start_upkeep},
    connect::{ConnectError, Connector},
    deletions::Deletions,
    failure::{Late, Told, WriteError},
    links::{lookup_link_unscoped, lookup_remains},
    readers::Readers,
    schema, statistics,
    values::{Value, values},
    writers::Writers,
};
use crate::{
    port::{Changes, CommitError, StoreError},
    sealing::{KeyRefusal, Keys, LOOKUP_ROOT, MasterKey, RememberedKey, first_lookup_root, recognise},
    stored::{
        columns::Columns,
        ledger::{DeletionLedger, LedgerEntry, LedgerError},
        met::MetDamage,
        prepare::prepare,
        replay::{Stubs, deletion_again},
    },
    time::RemoteClock,
};

/// Older servers lack what the statements use, and are no longer maintained.
const SERVER_VERSION_MIN: i32 = 130_000;
/// How long somebody waits for a free connection.
const POOL_WAIT: Duration = Duration::from_secs(5);
/// Links of the ledger that are looked up at once.
const REPLAY_MAX: usize = 1000;

const SHOW_VERSION: &str = "SHOW server_version_num";
const SHOW_ENCODING: &str = "SHOW server_encoding";
/// Settings without which an acknowledged write can be lost.
const SHOW_DURABILITY: [(&str, &str); 3] = [
    ("fsync", "SHOW fsync"),
    ("full_page_writes", "SHOW full_page_writes"),
    ("synchronous_commit", "SHOW synchronous_commit"),
];
const LIST_MASTER_KEYS: &str = "SELECT key_version, check_value FROM master_keys ORDER BY key_version";
const INSERT_MASTER_KEY: &str = "INSERT INTO master_keys (key_version, check_value) VALUES ($1, $2)";
const LOOKUP_ROOT_VALUE: &str = "SELECT key_version, value FROM instance_values WHERE name = $1";
const INSERT_ROOT_VALUE: &str = "INSERT INTO instance_values (name, key_version, value) VALUES ($1, $2, $3)";
const NEWEST_REAL_TIME: &str = "SELECT MAX(at) FROM (SELECT MAX(newest) AS at FROM \
    (SELECT (SELECT MAX(at) FROM audit WHERE audit.app_id = apps.app_id) AS newest FROM apps) AS of_apps UNION ALL \
    SELECT MAX(finished_at) FROM jobs WHERE state <> 'open') AS times";
const LIST_DELETED: &str =
    "SELECT link_id, deleted_at FROM links WHERE deleted_at IS NOT NULL AND link_id > $1 ORDER BY link_id LIMIT $2";
const LIST_ALIVE: &str = "SELECT link_id FROM links WHERE link_id = ANY($1) \
    AND (deleted_at IS NULL OR wrapped_key IS NOT NULL)";

/// What a store is opened with.
pub struct OpenOptions<'a> {
    /// Where the database is: `postgres://user:password@host/database` or `key=value` pairs. `sslmode=require` needs
    /// [`OpenOptions::tls_roots`].
    pub url: &'a str,
    /// Certificates (PEM) of the authorities that vouch for the server. Given, every connection by TCP is encrypted.
    pub tls_roots: Option<Vec<u8>>,
    /// How many connections to make.
    pub connections: Connections,
    /// The master keys. None at all is refused, so that a caller that lost its key can pass on what it has.
    pub master_keys: Vec<MasterKey>,
    /// The deletion ledger; created when absent. Keep it out of backups of the database. Processes on one machine may
    /// share it.
    pub deletion_ledger: PathBuf,
    /// This machine's wall clock. Only [`PostgresStore::skew`] looks at it: the store's time is the database's.
    pub wall_clock: Arc<dyn Clock>,
    /// Which renderer `render_stub` is.
    pub renderer: u32,
    /// Renders the public object of a deleted link, for links that the ledger says were deleted.
    pub render_stub: &'a (dyn Fn(&Link) -> Vec<u8> + Sync),
}

/// How many connections one process makes. Together they must stay below the server's `max_connections`, divided by the
/// number of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Shared by all short reads, which are pipelined.
    pub point_reads: usize,
    /// For lists; each is used by one read at a time.
    pub long_reads: usize,
    /// For commits; each is used by one at a time.
    pub writes: usize,
}

impl Default for Connections {
    fn default() -> Self {
        Self { point_reads: 2, long_reads: 4, writes: 10 }
    }
}

/// A store that cannot be opened. Nothing was changed, except that the schema of a new store may have been made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not understood. It is not quoted, because it holds a password.
    #[error("the database URL is malformed")]
    MalformedUrl,
    /// `sslmode=require` without authorities to trust.
    #[error("the database URL demands TLS, but no certificates of authorities to trust are given")]
    NoTlsRoots,
    /// `sslmode=disable` beside authorities to trust.
    #[error("the database URL says sslmode=disable, but certificates of authorities to trust are given")]
    TlsDisabled,
    /// The certificates cannot be used.
    #[error("the certificates of the database's authorities are malformed")]
    MalformedTlsRoots,
    /// The database has no tables, and the deletion ledger says that there was a store.
    #[error(
        "there is no store in the database, but {trace} says that there was one, and a new one would hide that it is \
         lost; name the original database, or restore a dump with pg_restore (docs/backup.md). If there never was a \
         store, remove {trace}"
    )]
    Lost {
        /// The deletion ledger.
        trace: PathBuf,
    },
    /// No master key was given.
    #[error("the master key of the store is missing; put the original key back, a new one cannot open it")]
    MissingMasterKey,
    /// The database was made with another master key.
    #[error("the master key is not the one this store was made with")]
    WrongMasterKey,
    /// A newer release wrote the database.
    #[error("the store has schema version {found}, this release knows versions up to {known}; use the newer release")]
    NewerSchema {
        /// What the database has.
        found: i32,
        /// What this release has.
        known: i32,
    },
    /// The schema could not be brought up to date.
    #[error("the store's schema could not be brought up to date")]
    Migration(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server is too old.
    #[error("the database server has version {found}; version 13 or newer is needed")]
    OldServer {
        /// Its version, as the server counts.
        found: i32,
    },
    /// The server may lose what it acknowledged.
    #[error("the database server runs with `{setting} = off` and could lose acknowledged writes; switch it on")]
    NotDurable {
        /// What is off.
        setting: &'static str,
    },
    /// The database does not keep every text.
    #[error("the database has another encoding than UTF8; create it with ENCODING 'UTF8'")]
    Encoding,
    /// The deletion ledger cannot be used.
    #[error("the deletion ledger cannot be used")]
    Ledger(#[source] LedgerError),
    /// A link that the deletion ledger names cannot be made a stub.
    #[error("a deletion could not be replayed")]
    Replay(#[source] CommitError),
    /// The database cannot be used.
    #[error("the database cannot be used")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<tokio_postgres::Error> for OpenError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(Box::new(Told::of(&error)))
    }
}

impl From<ConnectError> for OpenError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Late => Self::Database(Box::new(Late)),
            ConnectError::Refused(error) => error.into(),
        }
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Database(Box::new(error))
    }
}

impl PostgresStore {
    /// Opens the store, making its tables in an empty database. Any number of processes may do so at once.
    ///
    /// # Errors
    /// [`OpenError`]; trying again helps when the database was not reachable.
    pub async fn open(options: OpenOptions<'_>) -> Result<Self, OpenError> {
        Self::open_by(options, None).await
    }

    /// The same with another time than the database's. **For tests**, which move it.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    #[doc(hidden)]
    pub async fn open_with_clock(options: OpenOptions<'_>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_by(options, Some(clock)).await
    }

    async fn open_by(options: OpenOptions<'_>, time: Option<Arc<dyn Clock>>) -> Result<Self, OpenError> {
        if options.master_keys.is_empty() {
            return Err(OpenError::MissingMasterKey);
        }
        let connector = Connector::new(options.url, options.tls_roots.as_deref())?;
        let client = connector.open().await?;
        check_server(&client).await?;
        let found = schema::stored_version(&client).await?;
        schema::refuse_newer(found)?;
        let guard = schema::Guard::take(&connector).await?;
        // The ledger is made by the process that first opens the store, after the tables are there.
        if schema::stored_version(&client).await? == 0 && options.deletion_ledger.exists() {
            return Err(OpenError::Lost { trace: options.deletion_ledger });
        }
        schema::bring_up_to_date(&connector, &guard).await?;
        let keys = recognise_master_keys(guard.client(), &options.master_keys).await?;
        guard.release().await?;

        let earliest = newest_real_time(&client).await?.unwrap_or(Timestamp::UNIX_EPOCH);
        let clock = Arc::new(match time {
            Some(time) => RemoteClock::of(time),
            None => RemoteClock::new(read_clock(&client).await?, earliest),
        });
        let connections = options.connections;
        let readers =
            Readers::open(connector.clone(), connections.point_reads, pool(&connector, connections.long_reads)?);
        let writers = Writers::new(connector.clone(), pool(&connector, connections.writes)?, Arc::clone(&clock));
        let path = options.deletion_ledger.clone();
        let opened = tokio::task::spawn_blocking(move || DeletionLedger::open(&path)).await;
        let (ledger, entries) =
            opened.map_err(|error| OpenError::Database(error.into()))?.map_err(OpenError::Ledger)?;
        let deletions = Deletions::new(ledger);
        let statistics = statistics::start(connector.clone(), 0 < found && found < schema::known_version());
        let (upkeep, vital) = start_upkeep(connector, Arc::clone(&clock), Arc::clone(&deletions));
        let store = Self {
            keys: Arc::new(keys),
            readers: readers.await?,
            writers: Arc::new(writers),
            deletions,
            clock,
            wall_clock: options.wall_clock,
            met: MetDamage::default(),
            upkeep,
            vital,
            statistics,
        };
        let stubs = Stubs { renderer: options.renderer, render: options.render_stub };
        replay(&store, &entries, stubs).await?;
        Ok(store)
    }

    /// Makes the tables or brings them up to date, without opening the store.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn migrate(url: &str, tls_roots: Option<&[u8]>) -> Result<i32, OpenError> {
        let connector = Connector::new(url, tls_roots)?;
        let client = connector.open().await?;
        check_server(&client).await?;
        schema::refuse_newer(schema::stored_version(&client).await?)?;
        let guard = schema::Guard::take(&connector).await?;
        schema::bring_up_to_date(&connector, &guard).await?;
        guard.release().await?;
        schema::stored_version(&client).await
    }

    /// The version of the stored schema, 0 when there is none, and the one that this release brings it to. Changes
    /// nothing.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn schema_version(url: &str, tls_roots: Option<&[u8]>) -> Result<(i32, i32), OpenError> {
        let client = Connector::new(url, tls_roots)?.open().await?;
        Ok((schema::stored_version(&client).await?, schema::known_version()))
    }
}

/// Refuses a server that is too old, or that does not promise durability. An engine that does not know one of the
/// settings has no way to switch it off.
async fn check_server(client: &ClientWrapper) -> Result<(), OpenError> {
    if let Some(version) = show(client, SHOW_VERSION).await? {
        let found = version.parse().unwrap_or(0);
        if found < SERVER_VERSION_MIN {
            return Err(OpenError::OldServer { found });
        }
    }
    for (setting, sql) in SHOW_DURABILITY {
        if show(client, sql).await?.is_some_and(|value| value == "off") {
            return Err(OpenError::NotDurable { setting });
        }
    }
    match show(client, SHOW_ENCODING).await? {
        Some(encoding) if encoding != "UTF8" => Err(OpenError::Encoding),
        _ => Ok(()),
    }
}

async fn show(client: &ClientWrapper, sql: &str) -> Result<Option<String>, OpenError> {
    match client.query_one(sql, &[]).await {
        Ok(row) => Ok(Some(row.try_get(0)?)),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The keys of this store. The master key that opens a new store is the store's own from then on.
async fn recognise_master_keys(client: &ClientWrapper, masters: &[MasterKey]) -> Result<Keys, OpenError> {
    let mut remembered = Vec::new();
    for row in client.query(LIST_MASTER_KEYS, &[]).await? {
        let version = u32::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
        remembered.push(RememberedKey { version, check_value: row.try_get(1)? });
    }
    let ring = recognise(masters, &remembered).map_err(|refusal| match refusal {
        KeyRefusal::Missing => OpenError::MissingMasterKey,
        KeyRefusal::Wrong => OpenError::WrongMasterKey,
    })?;
    if remembered.is_empty() {
        let version = ring.active_version();
        let check_value = ring.check_value(version).map_err(|_| OpenError::WrongMasterKey)?;
        client.execute(INSERT_MASTER_KEY, &[&i64::from(version), &&check_value[..]]).await?;
    }
    let root = match client.query_opt(LOOKUP_ROOT_VALUE, &[&LOOKUP_ROOT]).await? {
        Some(row) => {
            let version = u32::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
            let sealed: &[u8] = row.try_get(1)?;
            ring.open_instance_value(LOOKUP_ROOT, version, sealed).map_err(|_| OpenError::WrongMasterKey)?
        }
        None => {
            let root = first_lookup_root(&ring, masters, remembered.is_empty());
            let sealed = ring.seal_instance_value(LOOKUP_ROOT, root.expose());
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
                [&LOOKUP_ROOT, &i64::from(sealed.key_version), &sealed.value];
            client.execute(INSERT_ROOT_VALUE, &values).await?;
            root
        }
    };
    Ok(Keys::new(ring, root.expose()))
}

/// The newest real time that the store remembers: what its audit trail and its finished jobs say.
async fn newest_real_time(client: &ClientWrapper) -> Result<Option<Timestamp>, OpenError> {
    let newest: Option<i64> = client.query_one(NEWEST_REAL_TIME, &[]).await?.try_get(0)?;
    Ok(newest.and_then(|micros| Timestamp::from_microsecond(micros).ok()))
}

fn pool(connector: &Connector, size: usize) -> Result<Pool, OpenError> {
    let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_connect(connector.config().clone(), connector.clone(), config);
    Pool::builder(manager)
        .max_size(size.max(1))
        .wait_timeout(Some(POOL_WAIT))
        .create_timeout(Some(POOL_WAIT))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| OpenError::Database(error.into()))
}

/// Destroys again what the ledger says was destroyed, and adds to the ledger what it lacks.
async fn replay(store: &PostgresStore, entries: &[LedgerEntry], stubs: Stubs<'_>) -> Result<(), OpenError> {
    let mut revived = 0;
    for some in entries.chunks(REPLAY_MAX) {
        let ids: Value<'_> = some.iter().map(|entry| entry.link_id.as_str()).collect();
        let mut alive = HashSet::new();
        for row in store.readers.scan(LIST_ALIVE, values![ids]).await? {
            alive.insert(Columns { row: &row, table: "links", key: "" }.link_id(0)?);
        }
        for entry in some.iter().filter(|entry| alive.contains(&entry.link_id)) {
            destroy_again(store, entry, stubs).await.map_err(OpenError::Replay)?;
            revived += 1;
        }
    }
    if revived > 0 {
        tracing::warn!(links = revived, "deleted links had come back with an older database; their keys are destroyed");
    }
    let recorded: HashSet<&LinkId> = entries.iter().map(|entry| &entry.link_id).collect();
    let mut missing = list_deleted(store).await?;
    missing.retain(|entry| !recorded.contains(&entry.link_id));
    Ok(store.deletions.record(missing).await?)
}

async fn list_deleted(store: &PostgresStore) -> Result<Vec<LedgerEntry>, StoreError> {
    let mut deleted: Vec<LedgerEntry> = Vec::new();
    loop {
        let after = deleted.last().map_or("", |entry| entry.link_id.as_str());
        let limit = REPLAY_MAX as i64;
        let page = store.readers.scan(LIST_DELETED, values![after, limit]).await?;
        for row in &page {
            let columns = Columns { row, table: "links", key: "" };
            deleted.push(LedgerEntry { link_id: columns.link_id(0)?, at: columns.instant(1, "deleted_at")? });
        }
        if page.len() < REPLAY_MAX {
            return Ok(deleted);
        }
    }
}

async fn destroy_again(store: &PostgresStore, entry: &LedgerEntry, stubs: Stubs<'_>) -> Result<(), CommitError> {
    loop {
        let stored = match lookup_link_unscoped(&store.readers, &entry.link_id).await {
            // What cannot be read can be destroyed all the same.
            Err(StoreError::Inconsistent { .. }) => lookup_remains(&store.readers, &entry.link_id).await?,
            read => read?,
        };
        let Some(stored) = stored else { return Ok(()) };
        let (write, events) = deletion_again(stored, entry.at, stubs);
        let prepared = prepare(&store.keys, Changes { link: Some(write), events, ..Changes::default() }, |_| Ok(None))?;
        // The ledger has this deletion already.
        match store.writers.transact(Commit(prepared)).await {
            // Another process wrote to the link at the same moment, perhaps this very deletion.
            Err(WriteError::Conflict(_)) => {}
            other => return other.map_err(CommitError::from),
        }
    }
}
