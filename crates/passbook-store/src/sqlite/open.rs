//! Opening a store: lock, migrate, recognise the master key, replay the deletion ledger, start the threads.
//!
//! Nothing is served, and nothing is written, before the checks have passed.

use std::{
    collections::HashSet,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use passbook_core::{ids::LinkId, link::Link, time::Clock};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior};

use super::{
    SqliteStore,
    answers::end_all_reservations,
    backlog,
    clients::finish_retimings,
    condition::{self, Presence, beside, named, presence},
    connection::{connect_writer, keep_log},
    deliveries,
    events::add_event,
    failure::{ReadError, WriteError},
    jobs::end_all_leases,
    links::{lookup_link_unscoped, lookup_remains, write_link},
    readers::Readers,
    request::Effects,
    views::Views,
    writer::Writer,
};
use crate::{
    files::{NotPrivate, create_private, open_private, sweep, tighten},
    port::StoreError,
    sealing::{
        KeyRefusal, Keys, LOOKUP_ROOT, MalformedMasterKey, MasterKey, RememberedKey, first_lookup_root, recognise,
    },
    stored::{
        columns::Columns,
        ledger::{DeletionLedger, LedgerEntry, LedgerError},
        prepare::prepare_link,
        replay::{Stubs, deletion_again},
    },
};

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// Older versions can corrupt a database when a writer and a checkpoint race.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// What a store is opened with.
pub struct OpenOptions<'a> {
    /// The database file; created when absent. Its directory must exist.
    pub path: PathBuf,
    /// The master keys; see [`super::load_or_create_master_keys`]. None at all is refused, so that a caller that lost
    /// its key can pass on what it has.
    pub master_keys: Vec<MasterKey>,
    /// The deletion ledger; created when absent. Keep it out of backups of the database.
    pub deletion_ledger: PathBuf,
    /// Real time, for leases, due times and retention; see [`crate::time::SteadyClock`].
    pub clock: Arc<dyn Clock>,
    /// Which renderer `render_stub` is.
    pub renderer: u32,
    /// Renders the public object of a deleted link, for links that the ledger says were deleted.
    pub render_stub: &'a (dyn Fn(&Link) -> Vec<u8> + Sync),
}

/// A store that cannot be opened. Nothing was changed, except that a half-made new store may be left.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or this one, has the store open.
    #[error("the store {path} is in use by another process")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The database is gone, and something says that there was one.
    #[error(
        "there is no store at {path}, but {trace} says that there was one, and a new one would hide that it is lost; put \
         the original database back, or restore a backup: move everything but the key file and the deletion ledger out \
         of the directory, then `passbook restore --from BACKUP --data DIR` (docs/backup.md). If there never was a \
         store, remove {trace}"
    )]
    Lost {
        /// Where the database should be.
        path: PathBuf,
        /// What says that there was one.
        trace: PathBuf,
    },
    /// The file is not a whole database.
    #[error(
        "the store {path} is damaged: {what}; keep a copy of its files, and restore the newest backup: move everything \
         but the key file and the deletion ledger out of the directory, then `passbook restore --from BACKUP --data \
         DIR` (docs/backup.md)"
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file of the store is not this user's alone.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
    /// The database exists and its master key was not given.
    #[error("the master key of the existing store is missing; put the original key back, a new one cannot open it")]
    MissingMasterKey,
    /// The database was made with another master key.
    #[error(
        "the master key is not the one this store was made with; put the original key back, or restore a backup that \
         was made with this key (`passbook restore --from BACKUP --data DIR`, docs/backup.md)"
    )]
    WrongMasterKey,
    /// The key file does not hold a master key.
    #[error("the key file {path} is malformed")]
    MalformedMasterKey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: MalformedMasterKey,
    },
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
    Migration(#[source] Box<refinery::Error>),
    /// The linked SQLite is too old to be safe.
    #[error("SQLite {found} is too old")]
    OldSqlite {
        /// Its version.
        found: &'static str,
    },
    /// The deletion ledger cannot be used.
    #[error("the deletion ledger cannot be used")]
    Ledger(#[source] LedgerError),
    /// The database file cannot be used.
    #[error("the database cannot be used")]
    Database(#[source] rusqlite::Error),
    /// A link that the deletion ledger names cannot be made a stub.
    #[error("a deletion could not be replayed")]
    Replay(#[source] StoreError),
    /// A file beside the database cannot be used.
    #[error("{path} cannot be used")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl SqliteStore {
    /// Opens the store, making it when the file does not exist. Blocks; call it before serving.
    ///
    /// # Errors
    /// [`OpenError`]; trying again helps only after what it names was put right.
    pub fn open(options: OpenOptions<'_>) -> Result<Self, OpenError> {
        let database = options.path.clone();
        Self::open_as_it_is(options).map_err(|refusal| name_damage(&database, refusal))
    }

    fn open_as_it_is(options: OpenOptions<'_>) -> Result<Self, OpenError> {
        if rusqlite::version_number() < SQLITE_VERSION_MIN {
            return Err(OpenError::OldSqlite { found: rusqlite::version() });
        }
        if options.master_keys.is_empty() {
            return Err(OpenError::MissingMasterKey);
        }
        let database = &options.path;
        let lock = lock(database)?;
        match presence(database, &options.deletion_ledger, None)? {
            Presence::Absent => condition::begin(database)?,
            Presence::Unfinished => {}
            Presence::Present => condition::refuse_foreign(database)?,
        }
        take_files(database)?;
        refuse_newer_schema(database)?;
        let mut connection = connect_writer(database)?;
        keep_log(&connection, true)?;
        condition::refuse_damaged(database, &connection)?;
        migrations::migrations::runner().run(&mut connection).map_err(|error| OpenError::Migration(Box::new(error)))?;
        let keys = Arc::new(recognise_master_keys(&mut connection, &options.master_keys)?);
        take_back_commits(database, &mut connection)?;
        let (ledger, entries) = DeletionLedger::open(&options.deletion_ledger).map_err(OpenError::Ledger)?;
        let ledger = replay(&mut connection, ledger, &entries, &keys, &options)?;
        finish_work(&mut connection)?;
        // From here on nothing is refused.
        keep_log(&connection, false)?;
        end_all_leases(&connection)?;
        deliveries::end_all_leases(&connection)?;
        end_all_reservations(&connection)?;
        let opened_at = newest_real_time(&connection)?.unwrap_or(Timestamp::UNIX_EPOCH);
        let met = Arc::default();
        let views = Arc::new(Views::default());
        let readers = Arc::new(Readers::open(&options.path, Arc::clone(&views), &met)?);
        let writer = Writer::start(options.path.clone(), connection, ledger, views, lock, Arc::clone(&met))
            .map_err(|source| OpenError::File { path: options.path.clone(), source })?;
        condition::finish(&options.path)?;
        Ok(Self { path: options.path, keys, readers, clock: options.clock, met, opened_at, writer: Arc::new(writer) })
    }
}

/// Locks a file beside the database. Not the database itself: closing any handle on that would drop the locks SQLite
/// holds on it.
fn lock(database: &Path) -> Result<File, OpenError> {
    let path = beside(database, ".lock");
    let fault = |source| OpenError::File { path: path.clone(), source };
    let file = open_private(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: database.to_owned() }),
        Err(TryLockError::Error(source)) => Err(fault(source)),
    }
}

/// Makes the database when it is absent, takes away what others may do with its files, and removes what a killed
/// process left of files that were to replace one. SQLite gives the files that it makes itself the mode of the database.
fn take_files(database: &Path) -> Result<(), OpenError> {
    match create_private(database) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(OpenError::File { path: database.to_owned(), source: error });
        }
        _ => {}
    }
    for suffix in ["", "-wal", "-shm", "-journal"] {
        tighten(&beside(database, suffix))?;
    }
    for replaced in [database, &database.with_file_name("dev.json"), &database.with_file_name("master.key")] {
        sweep(replaced);
    }
    Ok(())
}

/// The schema that a store has, and the one that this release has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaVersions {
    /// Of the store; `None` when there is no store yet.
    pub found: Option<i32>,
    /// Of this release.
    pub known: i32,
}

/// Looks at the schema of the database at `path` without changing anything.
///
/// # Errors
/// [`OpenError::InUse`], [`OpenError::Damaged`], [`OpenError::Database`], [`OpenError::NotPrivate`], [`OpenError::File`].
pub fn schema_versions(path: &Path) -> Result<SchemaVersions, OpenError> {
    let known = known_schema_version();
    if !is_database(path) {
        return Ok(SchemaVersions { found: None, known });
    }
    let _lock = lock(path)?;
    condition::refuse_foreign(path)?;
    let found = found_schema_version(path).map_err(|refusal| name_damage(path, refusal))?;
    Ok(SchemaVersions { found, known })
}

/// Damage that any statement of an opening met is named as such, with the way back.
fn name_damage(path: &Path, refusal: OpenError) -> OpenError {
    match refusal {
        OpenError::Database(error) => named(path, error),
        refusal => refusal,
    }
}

/// The schema that this release has.
pub(super) fn known_schema_version() -> i32 {
    let runner = migrations::migrations::runner();
    runner.get_migrations().iter().map(refinery::Migration::version).max().unwrap_or(0)
}

/// Looks before anything is written: an older release must leave a newer store as it is.
fn refuse_newer_schema(path: &Path) -> Result<(), OpenError> {
    let known = known_schema_version();
    match found_schema_version(path)? {
        Some(found) if found > known => Err(OpenError::NewerSchema { found, known }),
        _ => Ok(()),
    }
}

/// Whether there is anything in the file.
fn is_database(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}

fn found_schema_version(path: &Path) -> Result<Option<i32>, OpenError> {
    if !is_database(path) {
        return Ok(None);
    }
    let connection = super::connection::connect_reader(path)?;
    keep_log(&connection, true)?;
    let has_history = connection
        .prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'refinery_schema_history'")
        .and_then(|mut statement| statement.exists([]))?;
    if !has_history {
        return Ok(None);
    }
    let version = connection.query_row("SELECT MAX(version) FROM refinery_schema_history", [], |row| row.get(0));
    version.map_err(|error| named(path, error))
}

/// The keys of this store. The master key that opens a new store is the store's own from then on.
fn recognise_master_keys(connection: &mut Connection, masters: &[MasterKey]) -> Result<Keys, OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let remembered = transaction
        .prepare("SELECT key_version, check_value FROM master_keys ORDER BY key_version")?
        .query_map([], |row| Ok(RememberedKey { version: row.get(0)?, check_value: row.get(1)? }))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let ring = recognise(masters, &remembered).map_err(|refusal| match refusal {
        KeyRefusal::Missing => OpenError::MissingMasterKey,
        KeyRefusal::Wrong => OpenError::WrongMasterKey,
    })?;
    if remembered.is_empty() {
        let version = ring.active_version();
        let check_value = ring.check_value(version).map_err(|_| OpenError::WrongMasterKey)?;
        transaction.execute(
            "INSERT INTO master_keys (key_version, check_value) VALUES (?1, ?2)",
            (version, &check_value[..]),
        )?;
    }
    let sealed: Option<(u32, Vec<u8>)> = transaction
        .query_row("SELECT key_version, value FROM instance_values WHERE name = ?1", [LOOKUP_ROOT], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let root = match sealed {
        Some((version, sealed)) => {
            ring.open_instance_value(LOOKUP_ROOT, version, &sealed).map_err(|_| OpenError::WrongMasterKey)?
        }
        None => {
            let root = first_lookup_root(&ring, masters, remembered.is_empty());
            let sealed = ring.seal_instance_value(LOOKUP_ROOT, root.expose());
            transaction.execute(
                "INSERT INTO instance_values (name, key_version, value) VALUES (?1, ?2, ?3)",
                (LOOKUP_ROOT, sealed.key_version, sealed.value),
            )?;
            root
        }
    };
    transaction.commit()?;
    Ok(Keys::new(ring, root.expose()))
}

/// The newest real time that the store remembers: what its audit trail and its finished jobs say.
fn newest_real_time(connection: &Connection) -> Result<Option<Timestamp>, OpenError> {
    const SQL: &str = "SELECT MAX(at) FROM (SELECT MAX(newest) AS at FROM \
        (SELECT (SELECT MAX(at) FROM audit WHERE audit.app_id = apps.app_id) AS newest FROM apps) UNION ALL \
        SELECT MAX(finished_at) FROM jobs WHERE state <> 'open')";
    let newest: Option<i64> = connection.query_row(SQL, [], |row| row.get(0))?;
    Ok(newest.and_then(|micros| Timestamp::from_microsecond(micros).ok()))
}

/// Destroys again what the ledger says was destroyed, and adds to the ledger what it lacks.
fn replay(
    connection: &mut Connection,
    mut ledger: DeletionLedger,
    entries: &[LedgerEntry],
    keys: &Keys,
    options: &OpenOptions<'_>,
) -> Result<DeletionLedger, OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut revived = 0;
    for entry in entries {
        if is_alive(&transaction, &entry.link_id)? {
            destroy_again(&transaction, entry, keys, options).map_err(OpenError::Replay)?;
            revived += 1;
        }
    }
    transaction.commit()?;
    if revived > 0 {
        tracing::warn!(links = revived, "deleted links had come back with an older database; their keys are destroyed");
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    let recorded: HashSet<&LinkId> = entries.iter().map(|entry| &entry.link_id).collect();
    let missing: Vec<_> = list_deleted(connection)
        .map_err(|error| OpenError::Replay(error.into()))?
        .into_iter()
        .filter(|entry| !recorded.contains(&entry.link_id))
        .collect();
    if !missing.is_empty() {
        ledger
            .append(&missing)
            .map_err(|source| OpenError::Ledger(LedgerError::File { path: options.deletion_ledger.clone(), source }))?;
    }
    Ok(ledger)
}

/// Takes back commits in pieces that had not taken effect: nobody was told that they had.
fn take_back_commits(database: &Path, connection: &mut Connection) -> Result<(), OpenError> {
    let unfinished = backlog::list_unfinished_commits(connection)?;
    if !unfinished.is_empty() {
        empty_log(connection)?;
    }
    for link in unfinished {
        loop {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let is_done = backlog::take_back(&transaction, &link, &|| true)
                .map_err(|error| cannot_be_taken_back(database, error))?;
            transaction.commit()?;
            if is_done {
                break;
            }
        }
        tracing::info!("a large commit that had not taken effect was taken back");
    }
    Ok(())
}

/// Rows that do not fit what was there before are damage; a disk without room is none.
fn cannot_be_taken_back(database: &Path, error: rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::ReadOnly) => OpenError::Database(error),
        _ => condition::damaged(database, &format!("a commit that had not taken effect cannot be taken back: {error}")),
    }
}

/// Moves the write-ahead log into the database and empties it, if there is room for it.
fn empty_log(connection: &Connection) -> Result<(), OpenError> {
    match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        Err(error) if error.sqlite_error_code() != Some(ErrorCode::DiskFull) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Finishes what an earlier process had left to do in several transactions, and empties the log: it may hold what a
/// process destroyed that was killed before it could do that.
fn finish_work(connection: &mut Connection) -> Result<(), OpenError> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let worked = backlog::work(&transaction, &|| true)?;
        transaction.commit()?;
        if worked.is_done {
            break;
        }
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    finish_retimings(&transaction).map_err(|error| OpenError::Replay(error.into()))?;
    transaction.commit()?;
    empty_log(connection)
}

fn is_alive(connection: &Connection, id: &LinkId) -> rusqlite::Result<bool> {
    const SQL: &str = "SELECT 1 FROM links WHERE link_id = ?1 AND (deleted_at IS NULL OR wrapped_key IS NOT NULL)";
    connection.prepare_cached(SQL)?.exists([id.as_str()])
}

fn list_deleted(connection: &Connection) -> Result<Vec<LedgerEntry>, ReadError> {
    let mut statement =
        connection.prepare("SELECT link_id, deleted_at FROM links WHERE deleted_at IS NOT NULL ORDER BY link_id")?;
    let mut rows = statement.query([])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let columns = Columns { row, table: "links", key: "" };
        entries.push(LedgerEntry { link_id: columns.link_id(0)?, at: columns.instant(1, "deleted_at")? });
    }
    Ok(entries)
}

fn destroy_again(
    connection: &Connection,
    entry: &LedgerEntry,
    keys: &Keys,
    options: &OpenOptions<'_>,
) -> Result<(), StoreError> {
    let again = || -> Result<(), WriteError> {
        let stored = match lookup_link_unscoped(connection, &entry.link_id) {
            // What cannot be read can be destroyed all the same.
            Err(ReadError::Store(StoreError::Inconsistent { .. })) => lookup_remains(connection, &entry.link_id)?,
            read => read?,
        };
        let Some(stored) = stored else { return Ok(()) };
        let stubs = Stubs { renderer: options.renderer, render: options.render_stub };
        let (write, events) = deletion_again(stored, entry.at, stubs);
        let prepared = prepare_link(keys, write, |_| Ok(None))?;
        // The ledger has this deletion already.
        write_link(connection, &prepared, &mut Effects::default())?;
        events.iter().try_for_each(|event| add_event(connection, event))
    };
    again().map_err(StoreError::from)
}
