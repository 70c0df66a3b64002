//! Keeps the write-ahead log short, and lets no write wait long for that.
//!
//! SQLite by itself copies the log into the database within the commit that made it long, and cuts its file within the
//! commit that begins it anew. After a commit in pieces, whose readers keep all of the log, both take hundreds of
//! milliseconds. So the writer decides when: a short log is copied between two groups, a long one on another thread and
//! connection, beside which writing goes on, and the file is cut in idle moments, in steps.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{condition::beside, connection::connect_writer};

/// The log is copied once it has so many frames. One is a page and a few bytes.
const COPIED_FROM: u32 = 1_000;
/// Frames that the writer copies itself, in some 20 ms; more of them go to another thread.
const COPIED_HERE_MAX: u32 = 2_000;
/// Between two copies, when a reader keeps the log or copying failed.
const COPY_AGAIN: Duration = Duration::from_millis(200);
/// After so many copies on another thread that no reader held up, writes are quicker than copying: the writer copies what
/// is left.
const COPIES_MAX: u32 = 3;
/// What the file keeps, and how much shorter it becomes at a time. Cutting takes a millisecond for each MiB.
const KEPT_BYTES: u64 = 16 << 20;
const STEP_BYTES: u64 = 8 << 20;

/// The log as the writer sees it.
pub(super) struct Wal {
    database: PathBuf,
    log: Arc<Log>,
    /// Which log the counts below are about.
    generation: u32,
    /// Of these, frames that are in the database as well.
    copied: u32,
    copying: Option<Copying>,
    copies: u32,
    tried_at: Option<Instant>,
    /// What SQLite is to cut the file to, in bytes.
    limit: u64,
    is_long: bool,
}

/// What commits tell.
#[derive(Default)]
struct Log {
    /// Frames after the last commit.
    frames: AtomicU32,
    /// How often the log was begun anew.
    generation: AtomicU32,
}

/// A copy on another thread.
struct Copying {
    generation: u32,
    /// Frames there were when it began.
    frames: u32,
    thread: JoinHandle<u32>,
}

impl Wal {
    /// The log of a database that this connection writes.
    pub(super) fn new(database: &Path, connection: &mut Connection) -> rusqlite::Result<Self> {
        let wal = Self {
            database: database.to_owned(),
            log: Arc::default(),
            generation: 0,
            copied: 0,
            copying: None,
            copies: 0,
            tried_at: None,
            limit: KEPT_BYTES,
            is_long: false,
        };
        wal.watch(connection)?;
        Ok(wal)
    }

    /// Makes a connection tell how long the log is, and leave it alone.
    pub(super) fn watch(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        connection.pragma_update(None, "journal_size_limit", bytes_for_sqlite(self.limit))?;
        let log = Arc::clone(&self.log);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count: i32| {
            let count = count.try_into().unwrap_or(0);
            if count <= log.frames.swap(count, Ordering::Relaxed) {
                log.generation.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }))
    }

    /// Whether the file is longer than it should stay.
    pub(super) fn is_long(&self) -> bool {
        self.is_long
    }

    /// Whether much of the log is not in the database yet.
    pub(super) fn is_behind(&mut self) -> bool {
        self.frames() > self.copied + COPIED_HERE_MAX
    }

    /// The log was emptied, and its file with it.
    pub(super) fn emptied(&mut self) {
        self.log.frames.store(0, Ordering::Relaxed);
        (self.copied, self.copies, self.tried_at, self.is_long) = (0, 0, None, false);
    }

    /// Whether another thread copies the log.
    pub(super) fn is_copied_now(&mut self) -> bool {
        self.end_copying(false);
        self.copying.is_some()
    }

    /// Looks after a commit: begins to copy the log or copies it, if that is due. The file stays as long as it is.
    /// Failing costs nothing but the length of the log. While a commit goes on in pieces, nothing is copied here.
    pub(super) fn look_after(&mut self, connection: &Connection, goes_on_in_pieces: bool) -> rusqlite::Result<()> {
        self.end_copying(false);
        let frames = self.frames();
        if goes_on_in_pieces {
            // The log becomes long whatever is done; what is copied now need not be copied when the last piece is written.
            self.copies = 0;
            if frames >= self.copied + COPIED_FROM && self.copying.is_none() {
                self.begin_copying();
            }
        } else if frames >= COPIED_FROM && self.copying.is_none() && frames > self.copied {
            if !self.may_try() {
                // A reader keeps it, or the disk fails.
            } else if frames - self.copied <= COPIED_HERE_MAX || self.copies >= COPIES_MAX {
                self.tried_at = Some(Instant::now());
                self.copied = copy(connection)?;
                if self.copied >= frames {
                    self.tried_at = None;
                }
            } else {
                self.begin_copying();
            }
        }
        if frames > frames_of(KEPT_BYTES) || self.is_long {
            self.set_limit(connection, 0)?;
        }
        Ok(())
    }

    /// Prepares a file that is too long to become a step shorter with the next commit, whatever that writes. Whether it
    /// is prepared: copying may have to come first, and a reader may keep the log. For idle moments.
    pub(super) fn shorten(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        if self.is_copied_now() || !self.may_try() {
            return Ok(false);
        }
        if self.is_behind() && self.copies < COPIES_MAX {
            self.begin_copying();
            return Ok(false);
        }
        self.set_limit(connection, STEP_BYTES)?;
        // The commit begins the log anew, and cuts its file.
        let is_busy = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, i64>(0))? != 0;
        self.tried_at = is_busy.then(Instant::now);
        Ok(!is_busy)
    }

    /// Waits until no other thread copies the log.
    pub(super) fn finish_copying(&mut self) {
        self.end_copying(true);
    }

    /// Frames in the log; what is known of an earlier log is forgotten.
    fn frames(&mut self) -> u32 {
        let generation = self.log.generation.load(Ordering::Relaxed);
        if generation != self.generation {
            self.generation = generation;
            (self.copied, self.copies) = (0, 0);
        }
        self.log.frames.load(Ordering::Relaxed)
    }

    fn may_try(&self) -> bool {
        self.tried_at.is_none_or(|at| at.elapsed() >= COPY_AGAIN)
    }

    /// Lets SQLite cut so much off the file as it is now when it begins the log anew.
    fn set_limit(&mut self, connection: &Connection, cut: u64) -> rusqlite::Result<()> {
        let bytes = std::fs::metadata(beside(&self.database, "-wal")).map_or(0, |file| file.len());
        self.is_long = bytes > KEPT_BYTES;
        let limit = bytes.saturating_sub(cut).max(KEPT_BYTES);
        if limit != self.limit {
            connection.pragma_update(None, "journal_size_limit", bytes_for_sqlite(limit))?;
            self.limit = limit;
        }
        Ok(())
    }

    fn begin_copying(&mut self) {
        let database = self.database.clone();
        // The writer's own copy, which comes last and syncs, reports what this one may have met.
        let copying = move || connect_writer(&database).and_then(|connection| copy(&connection)).unwrap_or_default();
        let thread = thread::Builder::new().name("store-log".to_owned()).spawn(copying).ok();
        let frames = self.frames();
        self.copying = thread.map(|thread| Copying { generation: self.generation, frames, thread });
    }

    /// Takes what a copy on another thread did, if it has ended or is to be waited for.
    fn end_copying(&mut self, waits: bool) {
        let Some(copying) = self.copying.take_if(|copying| waits || copying.thread.is_finished()) else { return };
        let copied = copying.thread.join().unwrap_or_default();
        self.frames();
        if copying.generation != self.generation {
            return;
        }
        self.copied = self.copied.max(copied);
        if copied >= copying.frames {
            self.copies += 1;
        } else {
            self.tried_at = Some(Instant::now());
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        // No connection outlives the writer.
        self.end_copying(true);
    }
}

/// Copies as much of the log as no reader still needs, beside readers and a writer. Returns how many of its frames are in
/// the database now.
fn copy(connection: &Connection) -> rusqlite::Result<u32> {
    let copied = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(2))?;
    Ok(copied.try_into().unwrap_or_default())
}

fn frames_of(bytes: u64) -> u32 {
    u32::try_from(bytes / super::connection::PAGE_BYTES as u64).unwrap_or(u32::MAX)
}

fn bytes_for_sqlite(bytes: u64) -> i64 {
    bytes.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer's connection with a table, and its log.
    fn opened(directory: &Path) -> (Connection, Wal) {
        let path = directory.join("test.db");
        let mut connection = connect_writer(&path).unwrap();
        connection.execute_batch("CREATE TABLE kept (value BLOB)").unwrap();
        let wal = Wal::new(&path, &mut connection).unwrap();
        (connection, wal)
    }

    fn write(connection: &Connection, bytes: u64) -> rusqlite::Result<()> {
        connection.execute("INSERT INTO kept VALUES (zeroblob(?1))", [bytes as i64]).map(|_| ())
    }

    fn log_bytes(wal: &Wal) -> u64 {
        std::fs::metadata(beside(&wal.database, "-wal")).unwrap().len()
    }

    #[test]
    fn a_log_that_a_reader_kept_is_copied_beside_writes_and_its_file_is_cut_in_steps() {
        let directory = tempfile::tempdir().unwrap();
        let (connection, mut wal) = opened(directory.path());
        let reader = connect_writer(&wal.database).unwrap();
        reader.execute_batch("BEGIN; SELECT COUNT(*) FROM kept").unwrap();
        for _ in 0..8 {
            write(&connection, KEPT_BYTES / 2).unwrap();
            wal.look_after(&connection, false).unwrap();
        }
        wal.finish_copying();
        let longest = log_bytes(&wal);
        assert!(longest > 4 * KEPT_BYTES, "{longest}");
        assert!(wal.copied < COPIED_FROM, "the reader keeps nearly all of it");
        assert_eq!(wal.copies, 0, "copies that a reader held up do not count");
        wal.tried_at = None;
        assert!(!wal.shorten(&connection).unwrap(), "another thread copies it first");
        wal.finish_copying();
        wal.tried_at = None;
        reader.execute_batch("COMMIT").unwrap();
        assert!(!wal.shorten(&connection).unwrap());
        wal.finish_copying();
        assert!(wal.copied > COPIED_HERE_MAX);
        let mut before = longest;
        while wal.is_long() {
            assert!(wal.shorten(&connection).unwrap());
            write(&connection, 1).unwrap();
            wal.look_after(&connection, false).unwrap();
            let now = log_bytes(&wal);
            assert!(before - now <= STEP_BYTES + 1, "{before} {now}");
            assert!(now < before || !wal.is_long());
            before = now;
        }
        assert!(before <= KEPT_BYTES);
        let rows: i64 = connection.query_row("SELECT COUNT(*) FROM kept", [], |row| row.get(0)).unwrap();
        assert!(rows > 8);
    }

    #[test]
    fn a_log_that_nobody_keeps_stays_short_under_writes() {
        let directory = tempfile::tempdir().unwrap();
        let (connection, mut wal) = opened(directory.path());
        for _ in 0..200 {
            write(&connection, 1 << 20).unwrap();
            wal.look_after(&connection, false).unwrap();
        }
        assert!(log_bytes(&wal) <= KEPT_BYTES + STEP_BYTES, "{}", log_bytes(&wal));
    }
}
