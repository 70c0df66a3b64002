//! How every connection to the database file is set up.

use std::{path::Path, sync::OnceLock, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

/// How long a connection waits for a lock. Within one process only a checkpoint ever makes anybody wait.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page cache of a reader in KiB, for pages that are only in the write-ahead log. The rest of the file is mapped.
const READER_CACHE_KIB: i64 = 1024;
/// How much of the file readers map: all of any file this store is meant for. It is address space, not memory, and
/// reading it costs no system call and no copy, which is a third of a numbers read in a store of a hundred thousand
/// links. The price: a disk that fails under a mapped page ends the process by a signal instead of an error code. What
/// was acknowledged is durable either way, and a restart takes less than a second.
const READER_MAP_BYTES: i64 = 1 << 40;
/// Page cache of the writer in KiB.
const WRITER_CACHE_KIB: i64 = 4096;
/// Page size of a new file. A link's row fits one page, so that reading it touches no second, overflowing one, which in
/// a store of a million links no cache holds.
pub(super) const PAGE_BYTES: i64 = 8_192;
/// Distinct statements of the store; all stay prepared.
const STATEMENTS_KEPT: usize = 128;

/// Holds the lock on the file for the whole process and keeps the index of the write-ahead log in memory. Reads then
/// need no file locks, which halves the cost of a point read (3.0 instead of 6.4 microseconds, `tests/sqlite/speed.rs`),
/// and no other process can open the file by accident.
#[cfg(unix)]
const VFS: Option<&str> = Some("unix-excl");
#[cfg(not(unix))]
const VFS: Option<&str> = None;

/// What is done with every connection that this process opens from now on. **For tests**, which let connections report
/// what they run. The first call counts.
#[doc(hidden)]
pub fn watch_connections(watch: fn(&mut Connection)) {
    // A second watcher would see half of the connections.
    let _first_counts = WATCH.set(watch);
}

static WATCH: OnceLock<fn(&mut Connection)> = OnceLock::new();

/// The one connection that writes.
pub(super) fn connect_writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, WRITER_CACHE_KIB)?;
    // The writer must learn of an I/O error as one: it decides what was stored.
    connection.pragma_update(None, "mmap_size", 0)?;
    // Without effect on a file that exists.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Freed bytes are overwritten: deleted secrets must not linger in free pages.
    connection.pragma_update(None, "secure_delete", true)?;
    let synchronous: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    let foreign_keys: i64 = connection.query_row("PRAGMA foreign_keys", [], |row| row.get(0))?;
    let secure_delete: i64 = connection.query_row("PRAGMA secure_delete", [], |row| row.get(0))?;
    if (mode.as_str(), synchronous, foreign_keys, secure_delete) != ("wal", 2, 1, 1) {
        // A database that does not promise durability must not be written to.
        return Err(rusqlite::Error::InvalidQuery);
    }
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn connect_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, READER_CACHE_KIB)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "mmap_size", READER_MAP_BYTES)?;
    Ok(connection)
}

/// Whether the write-ahead log stays as it is when the last connection closes. A store that is only looked at, or
/// refused, keeps its files as they are.
pub(super) fn keep_log(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(|_| ())
}

/// A connection that copies the database; it reads pages once, so it neither maps nor keeps them.
pub(super) fn connect_copier(path: &Path) -> rusqlite::Result<Connection> {
    connect(path, READER_CACHE_KIB)
}

fn connect(path: &Path, cache_kib: i64) -> rusqlite::Result<Connection> {
    // Without mutexes inside SQLite: every connection is used by one thread at a time, which the type system enforces.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = match VFS {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    if let Some(watch) = WATCH.get() {
        watch(&mut connection);
    }
    Ok(connection)
}
