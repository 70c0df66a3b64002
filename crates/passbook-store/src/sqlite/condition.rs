//! What is at the path of a database: a store, nothing yet, or what is left of a store.
//!
//! Only a directory in which there never was a store gets a new one. A store leaves traces beside its database: the
//! deletion ledger, which is made when the store is opened for the first time; a key file, where the store makes its
//! own; a write-ahead log. With a trace and without a database, the database is lost. So that a first start that was
//! killed is not taken for a loss, a file `….unfinished` marks a store that is being made; it is there before the
//! first trace is, and goes when the store is open.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{examine::damage, failure::ReadError, open::OpenError};
use crate::files::{create_private, sync_parent};

/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Bytes of the header of the database, of the write-ahead log, and of a frame in that.
const HEADER: usize = 100;
const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The first bytes of a write-ahead log, but for the last bit.
const WAL_MAGIC: u32 = 0x377f_0682;
/// A database up to this size is read whole before it is served. On a busy machine with two cores that took 30 ms of the
/// processor for each MiB, so half a second at most. Of a larger one, damage is found when it is read, and by
/// `passbook doctor`.
const CHECKED_MAX: u64 = 16 << 20;
/// Lines of damage that a refusal quotes.
const QUOTED_MAX: usize = 3;

/// What is at the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// There never was a store.
    Absent,
    /// The first start of a store was interrupted; it may be made anew.
    Unfinished,
    /// A database.
    Present,
}

/// Looks at `database` without changing anything. `key_file` is named where the store makes its own keys, so that they
/// tell that there was one.
///
/// # Errors
/// [`OpenError::Lost`], [`OpenError::Damaged`], [`OpenError::File`].
pub fn presence(database: &Path, ledger: &Path, key_file: Option<&Path>) -> Result<Presence, OpenError> {
    let is_unfinished = is_there(&marker(database));
    let has_ledger = is_there(ledger);
    let trace = || {
        let wal = beside(database, "-wal");
        let has_log = fs::metadata(&wal).is_ok_and(|metadata| metadata.len() > 0);
        let own_key = key_file.filter(|path| !is_unfinished && is_there(path));
        own_key
            .map(Path::to_owned)
            .or(has_ledger.then(|| ledger.to_owned()))
            .or((has_log && !is_unfinished).then_some(wal))
    };
    match fs::metadata(database) {
        Err(error) if error.kind() == ErrorKind::NotFound => match trace() {
            Some(trace) => Err(OpenError::Lost { path: database.to_owned(), trace }),
            None if is_unfinished => Ok(Presence::Unfinished),
            None => Ok(Presence::Absent),
        },
        Err(source) => Err(OpenError::File { path: database.to_owned(), source }),
        Ok(_) if is_unfinished && !has_ledger => Ok(Presence::Unfinished),
        Ok(metadata) if metadata.len() == 0 => Err(damaged(database, "it is empty")),
        Ok(_) => Ok(Presence::Present),
    }
}

/// Marks a store that is being made.
pub(super) fn begin(database: &Path) -> Result<(), OpenError> {
    let marker = marker(database);
    let made = match create_private(&marker) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map(|_| ()),
    };
    made.and_then(|()| sync_parent(&marker)).map_err(|source| OpenError::File { path: marker, source })
}

/// The store is made: from now on it is missed when it is gone.
pub(super) fn finish(database: &Path) -> Result<(), OpenError> {
    let marker = marker(database);
    match fs::remove_file(&marker) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => {
            removed.and_then(|()| sync_parent(&marker)).map_err(|source| OpenError::File { path: marker, source })
        }
    }
}

/// Refuses what is not a database, or is shorter than it says, without opening it: opening would write.
pub(super) fn refuse_foreign(database: &Path) -> Result<(), OpenError> {
    let fault = |source| OpenError::File { path: database.to_owned(), source };
    let mut file = File::open(database).map_err(fault)?;
    let length = file.metadata().map_err(fault)?.len();
    let mut header = [0; HEADER];
    if length < HEADER as u64 {
        return Err(damaged(database, &format!("it has {length} bytes, and its header alone has {HEADER}")));
    }
    file.read_exact(&mut header).map_err(fault)?;
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    if header[..16] != *MAGIC || page < 512 || !page.is_power_of_two() {
        return Err(damaged(database, "it is not a database, or its first page is overwritten"));
    }
    let wal = beside(database, "-wal");
    let log = read_log(&wal, page).map_err(|source| OpenError::File { path: wal, source })?;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let says = log.pages.unwrap_or_else(|| word(28));
    let whole = u32::try_from(length / page).unwrap_or(u32::MAX);
    // A checkpoint that was cut off leaves a short file; the log still has what is missing.
    let missing = (whole + 1..=says).filter(|number| !log.holds.contains(number)).count();
    match missing {
        0 => Ok(()),
        _ => {
            Err(damaged(database, &format!("it should have {says} pages of {page} bytes and lacks {missing} of them")))
        }
    }
}

/// What a write-ahead log holds.
#[derive(Default)]
struct Log {
    /// Numbers of the pages in it.
    holds: HashSet<u32>,
    /// Pages of the database after its last commit.
    pages: Option<u32>,
}

/// Reads the headers of the frames up to the last commit. A log whose header is not one holds nothing.
fn read_log(wal: &Path, page: u64) -> std::io::Result<Log> {
    let mut file = match File::open(wal) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Log::default()),
        file => file?,
    };
    let length = file.metadata()?.len();
    let mut header = [0; WAL_HEADER];
    if length < WAL_HEADER as u64 {
        return Ok(Log::default());
    }
    file.read_exact(&mut header)?;
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if word(&header, 0) & !1 != WAL_MAGIC || u64::from(word(&header, 8)) != page {
        return Ok(Log::default());
    }
    let (mut log, mut uncommitted) = (Log::default(), Vec::new());
    let mut at = WAL_HEADER as u64;
    while at + FRAME_HEADER as u64 + page <= length {
        let mut frame = [0; FRAME_HEADER];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut frame)?;
        // Frames behind the end of the log are of an earlier round and have other salts.
        if frame[8..16] != header[16..24] {
            break;
        }
        uncommitted.push(word(&frame, 0));
        match word(&frame, 4) {
            0 => {}
            pages => {
                log.holds.extend(uncommitted.drain(..));
                log.pages = Some(pages);
            }
        }
        at += FRAME_HEADER as u64 + page;
    }
    Ok(log)
}

/// Reads a database that is not too large for it, and refuses one that contradicts itself.
pub(super) fn refuse_damaged(database: &Path, connection: &Connection) -> Result<(), OpenError> {
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    if size(database) + size(&beside(database, "-wal")) > CHECKED_MAX {
        return Ok(());
    }
    match damage(connection) {
        Ok(found) if found.is_empty() => Ok(()),
        Ok(found) => Err(damaged(database, &found[..found.len().min(QUOTED_MAX)].join("; "))),
        Err(ReadError::Database(error)) => Err(named(database, error)),
        Err(ReadError::Store(error)) => Err(damaged(database, &error.to_string())),
    }
}

/// An error of the database while it is opened: damage is named as such.
pub(super) fn named(database: &Path, error: rusqlite::Error) -> OpenError {
    // A column that holds another kind of value than it must is in a page that belongs elsewhere.
    let is_foreign = matches!(
        error,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
    );
    match is_damage(&error) || is_foreign {
        true => damaged(database, &error.to_string()),
        false => OpenError::Database(error),
    }
}

/// Whether the error says that the file is damaged.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

pub(super) fn damaged(database: &Path, what: &str) -> OpenError {
    OpenError::Damaged { path: database.to_owned(), what: what.to_owned() }
}

/// The file that marks an unfinished store.
fn marker(database: &Path) -> PathBuf {
    beside(database, ".unfinished")
}

pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
