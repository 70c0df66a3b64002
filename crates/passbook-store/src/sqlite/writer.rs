//! The one writing thread, with group commit.
//!
//! All requests that wait when the writer becomes free share one transaction and one synced COMMIT; while that sync
//! runs, the next group gathers. Within the transaction every request has a savepoint, so a lost guard takes back only
//! its own request. Answers go out after COMMIT (and after the deletion ledger has been synced), never before.
//!
//! When the disk is full or fails, the whole group is answered `Unavailable` and rolled back. The writer then rewrites
//! one row until that works again: this shows that writing is possible, and it overwrites whatever a failed COMMIT may
//! have left at the end of the write-ahead log, so that a later recovery cannot bring back what was refused.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::{
    condition::is_damage,
    connection::connect_writer,
    failure::{Closed, ReadError, WriteError, unavailable},
    readers::is_broken,
};
use crate::{
    port::StoreError,
    stored::{
        ledger::{DeletionLedger, LedgerEntry},
        met::MetDamage,
    },
    vital::{Alive, Vital},
};

/// The thread's name among the vital parts of a process.
pub(super) const PART: &str = "store_writer";

/// Requests that may wait; more are refused as `Unavailable`.
const QUEUE_MAX: usize = 1024;
/// Requests that share one COMMIT.
const GROUP_MAX: usize = 256;
/// How long the writer must have had nothing to do before it tidies up.
const IDLE: Duration = Duration::from_millis(200);
/// Destroyed data leaves the write-ahead log at the latest after this, however busy the writer is.
const ERASE_WITHIN: Duration = Duration::from_secs(30);

/// What a request did beside the database.
#[derive(Default)]
pub(super) struct Effects {
    /// Links whose keys were destroyed.
    pub destroyed: Vec<LedgerEntry>,
}

/// The handle to the writing thread.
pub(super) struct Writer {
    sender: Mutex<Option<SyncSender<Box<dyn Request>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    vital: Vital,
}

/// The queue has no room.
#[derive(Debug, thiserror::Error)]
#[error("too many writes are waiting")]
struct QueueFull;

/// Why a whole group failed; the same for everyone in it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("writing failed")]
struct GroupFailed(#[source] Arc<rusqlite::Error>);

/// The thread ended while the request was its.
#[derive(Debug, thiserror::Error)]
#[error("the store's writer ended before it said what became of the request")]
struct Unanswered;

/// A bug in a request.
#[derive(Debug, thiserror::Error)]
#[error("a request to the store panicked")]
struct Panicked;

/// The deletion ledger could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the deletion ledger cannot be written")]
struct LedgerFailed;

impl Writer {
    /// Starts the thread. `lock` is held until it ends.
    pub(super) fn start(
        path: PathBuf,
        connection: Connection,
        ledger: DeletionLedger,
        lock: File,
        met: Arc<MetDamage>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let writing = Writing {
            path,
            connection: Some(connection),
            ledger,
            unrecorded: Vec::new(),
            erase_since: None,
            erase_failing: false,
            suspect: false,
            met,
            _lock: lock,
        };
        let (vital, alive) = Vital::new(PART);
        let run = move || {
            let _alive: Alive = alive;
            writing.run(&receiver);
        };
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(run)?;
        Ok(Self { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), vital })
    }

    /// Queues `apply` and waits for its outcome. Once queued it runs even if the caller stops waiting.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        apply: impl FnOnce(&Connection, &mut Effects) -> Result<T, WriteError> + Send + 'static,
    ) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        let request = Box::new(Task { apply: Some(apply), outcome: None, destroyed: false, reply });
        {
            let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
            let sender = sender.as_ref().ok_or_else(|| unavailable(Closed))?;
            sender.try_send(request).map_err(|error| match error {
                TrySendError::Full(_) => unavailable(QueueFull),
                TrySendError::Disconnected(_) => unavailable(Closed),
            })?;
        }
        // Not `Unavailable`, which says that nothing changed: the thread may have ended just after the COMMIT.
        answer.await.unwrap_or_else(|_| Err(StoreError::OutcomeUnknown(Box::new(Unanswered)).into()))
    }

    /// Waits until the thread has ended although the store is open.
    pub(super) async fn ended(&self) -> &'static str {
        self.vital.ended().await
    }

    /// Ends the thread.
    #[cfg(feature = "fault-hooks")]
    pub(super) fn end(&self, panics: bool) -> bool {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().is_some_and(|sender| sender.try_send(Box::new(EndOfThread { panics })).is_ok())
    }

    /// Whether the thread still answers.
    pub(super) fn is_running(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Takes no more requests, finishes the waiting ones and ends the thread.
    pub(super) fn close(&self) {
        self.vital.close();
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended in a panic");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// One queued request.
trait Request: Send {
    /// Runs within the open transaction; an error means that the whole group is lost.
    fn run(&mut self, connection: &Connection, effects: &mut Effects) -> Result<(), rusqlite::Error>;

    /// Answers the caller.
    fn settle(self: Box<Self>, fate: &Fate);

    /// Whether the thread ends after the group.
    #[cfg(feature = "fault-hooks")]
    fn ends_thread(&self) -> bool {
        false
    }
}

/// What became of a group.
enum Fate {
    Committed,
    /// Committed, but the deletion ledger was not synced.
    Unrecorded,
    Failed(GroupFailed),
}

struct Task<T, F> {
    apply: Option<F>,
    outcome: Option<Result<T, WriteError>>,
    destroyed: bool,
    reply: oneshot::Sender<Result<T, WriteError>>,
}

impl<T, F> Request for Task<T, F>
where
    T: Send,
    F: FnOnce(&Connection, &mut Effects) -> Result<T, WriteError> + Send,
{
    fn run(&mut self, connection: &Connection, effects: &mut Effects) -> Result<(), rusqlite::Error> {
        let Some(apply) = self.apply.take() else { return Ok(()) };
        connection.prepare_cached("SAVEPOINT request")?.execute([])?;
        let mut own = Effects::default();
        // A panic is a bug in one request. The others of the group, and the thread, go on without it.
        let outcome = catch_unwind(AssertUnwindSafe(|| apply(connection, &mut own)))
            .unwrap_or_else(|_| Err(unavailable(Panicked).into()));
        match outcome {
            Ok(value) => {
                self.destroyed = !own.destroyed.is_empty();
                effects.destroyed.append(&mut own.destroyed);
                self.outcome = Some(Ok(value));
            }
            Err(WriteError::Failed(ReadError::Database(error))) if spoils_group(&error, connection) => {
                return Err(error);
            }
            Err(error) => {
                connection.prepare_cached("ROLLBACK TO request")?.execute([])?;
                self.outcome = Some(Err(error));
            }
        }
        connection.prepare_cached("RELEASE request")?.execute([])?;
        Ok(())
    }

    fn settle(self: Box<Self>, fate: &Fate) {
        let answer = match (fate, self.outcome) {
            // Not `Unavailable`, which says that nothing changed: the link is gone already.
            (Fate::Unrecorded, _) if self.destroyed => Err(StoreError::OutcomeUnknown(Box::new(LedgerFailed)).into()),
            (Fate::Committed | Fate::Unrecorded, Some(outcome)) => outcome,
            (Fate::Committed | Fate::Unrecorded, None) => Err(unavailable(Closed).into()),
            (Fate::Failed(failure), _) => Err(unavailable(failure.clone()).into()),
        };
        // A caller that stopped waiting does not want the answer.
        let _gone = self.reply.send(answer);
    }
}

/// Ends the thread, as a bug outside of any request would.
#[cfg(feature = "fault-hooks")]
struct EndOfThread {
    panics: bool,
}

#[cfg(feature = "fault-hooks")]
impl Request for EndOfThread {
    fn run(&mut self, _: &Connection, _: &mut Effects) -> Result<(), rusqlite::Error> {
        assert!(!self.panics, "ended by a fault hook");
        Ok(())
    }

    fn settle(self: Box<Self>, _: &Fate) {}

    fn ends_thread(&self) -> bool {
        true
    }
}

/// Whether the error says something about the database rather than about one request.
fn spoils_group(error: &rusqlite::Error, connection: &Connection) -> bool {
    connection.is_autocommit()
        || is_broken(error)
        || matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::ReadOnly
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::OperationInterrupted
            )
        )
}

/// The state of the writing thread.
struct Writing {
    path: PathBuf,
    /// Empty while it has to be opened again after an I/O error.
    connection: Option<Connection>,
    ledger: DeletionLedger,
    /// Committed deletions that the ledger does not hold yet.
    unrecorded: Vec<LedgerEntry>,
    /// When the oldest destroyed data went into the write-ahead log.
    erase_since: Option<Instant>,
    /// Emptying the log failed last time, which was logged.
    erase_failing: bool,
    /// The last write failed; see the module page.
    suspect: bool,
    met: Arc<MetDamage>,
    _lock: File,
}

impl Writing {
    fn run(mut self, queue: &Receiver<Box<dyn Request>>) {
        loop {
            let restless = self.suspect || self.erase_since.is_some() || !self.unrecorded.is_empty();
            let first = if restless { queue.recv_timeout(IDLE) } else { queue.recv().map_err(RecvTimeoutError::from) };
            match first {
                Ok(first) => {
                    let group: Vec<_> = std::iter::once(first).chain(queue.try_iter()).take(GROUP_MAX).collect();
                    #[cfg(feature = "fault-hooks")]
                    let ends = group.iter().any(|request| request.ends_thread());
                    self.serve(group);
                    #[cfg(feature = "fault-hooks")]
                    if ends {
                        return;
                    }
                    if self.erase_since.is_some_and(|since| since.elapsed() > ERASE_WITHIN) {
                        self.erase();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.tidy(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.tidy();
    }

    fn serve(&mut self, mut group: Vec<Box<dyn Request>>) {
        let mut effects = Effects::default();
        let result = self.transact(|connection| {
            for request in &mut group {
                request.run(connection, &mut effects)?;
            }
            Ok(())
        });
        let fate = match result {
            Ok(()) => {
                if !effects.destroyed.is_empty() {
                    self.erase_since.get_or_insert_with(Instant::now);
                    self.unrecorded.append(&mut effects.destroyed);
                }
                if self.record_deletions() { Fate::Committed } else { Fate::Unrecorded }
            }
            Err(error) => Fate::Failed(GroupFailed(Arc::new(error))),
        };
        for request in group {
            request.settle(&fate);
        }
    }

    /// One synced transaction; everything is undone when anything in it fails.
    fn transact(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<(), rusqlite::Error>,
    ) -> Result<(), rusqlite::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect_writer(&self.path).inspect_err(|_| self.suspect = true)?,
        };
        let result = (|| {
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            work(&connection)?;
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(())
        })();
        let clean = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
        if let Err(error) = &result {
            if is_damage(error) {
                self.met.note(error.to_string());
            }
            if !self.suspect {
                tracing::error!(error = %error, "writing to the store failed; writes are refused until it works again");
            }
            self.suspect = true;
            if clean && !is_broken(error) {
                self.connection = Some(connection);
            }
        } else {
            if self.suspect {
                tracing::info!("writing to the store works again");
            }
            self.suspect = false;
            self.connection = Some(connection);
        }
        result
    }

    /// Appends what the ledger lacks; whether it now holds everything.
    fn record_deletions(&mut self) -> bool {
        if self.unrecorded.is_empty() {
            return true;
        }
        match self.ledger.append(&self.unrecorded) {
            Ok(()) => {
                self.unrecorded.clear();
                true
            }
            Err(error) => {
                tracing::error!(error = %error, "the deletion ledger cannot be written");
                false
            }
        }
    }

    /// What can wait until nothing else is to be done.
    fn tidy(&mut self) {
        if self.suspect {
            // Failing again is expected here and is retried on the next idle moment.
            let _still_failing = self.transact(|connection| {
                connection
                    .prepare_cached("UPDATE write_probe SET value = value + 1 WHERE probe_id = 1")?
                    .execute([])
                    .map(|_| ())
            });
        }
        self.record_deletions();
        if self.erase_since.is_some() {
            self.erase();
        }
    }

    /// Moves the write-ahead log into the database and empties it, so that destroyed bytes are in neither.
    fn erase(&mut self) {
        let Some(connection) = &self.connection else { return };
        let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        match busy {
            Ok(0) => {
                self.erase_since = None;
                self.erase_failing = false;
            }
            // A reader still uses the log; the next idle moment tries again.
            Ok(_) => {}
            Err(error) => {
                if !self.erase_failing {
                    tracing::warn!(error = %error, "the write-ahead log cannot be emptied");
                }
                self.erase_failing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use passbook_core::ids::LinkId;
    use rusqlite::ffi;

    use super::*;
    use crate::port::Guard;

    type Answer = oneshot::Receiver<Result<(), WriteError>>;

    /// A writer that runs on the test's own thread.
    fn writing(directory: &std::path::Path) -> Writing {
        let path = directory.join("test.db");
        let connection = connect_writer(&path).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE write_probe (probe_id BIGINT PRIMARY KEY, value BIGINT);
                 INSERT INTO write_probe VALUES (1, 0); CREATE TABLE kept (value BLOB);",
            )
            .unwrap();
        let (ledger, _) = DeletionLedger::open(&directory.join("ledger")).unwrap();
        let lock = File::create(directory.join("lock")).unwrap();
        Writing {
            path,
            connection: Some(connection),
            ledger,
            unrecorded: Vec::new(),
            erase_since: None,
            erase_failing: false,
            suspect: false,
            met: Arc::default(),
            _lock: lock,
        }
    }

    fn request(
        apply: impl FnOnce(&Connection, &mut Effects) -> Result<(), WriteError> + Send + 'static,
    ) -> (Box<dyn Request>, Answer) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Task { apply: Some(apply), outcome: None, destroyed: false, reply }), answer)
    }

    fn keep(bytes: usize) -> (Box<dyn Request>, Answer) {
        request(move |connection, _| {
            connection.execute("INSERT INTO kept VALUES (zeroblob(?1))", [bytes as i64])?;
            Ok(())
        })
    }

    fn serve(writing: &mut Writing, requests: Vec<(Box<dyn Request>, Answer)>) -> Vec<Result<(), WriteError>> {
        let (requests, answers): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        writing.serve(requests);
        answers.into_iter().map(|mut answer| answer.try_recv().unwrap()).collect()
    }

    fn kept(writing: &Writing) -> i64 {
        let connection = connect_writer(&writing.path).unwrap();
        connection.query_row("SELECT COUNT(*) FROM kept", [], |row| row.get(0)).unwrap()
    }

    fn is_unavailable(result: &Result<(), WriteError>) -> bool {
        matches!(result, Err(WriteError::Failed(ReadError::Store(StoreError::Unavailable(_)))))
    }

    fn io_error() -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None)
    }

    #[test]
    fn a_full_disk_fails_the_whole_group_and_writing_resumes_when_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let mut writing = writing(directory.path());
        let limit = |writing: &Writing, pages: i64| {
            let connection = writing.connection.as_ref().unwrap();
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
        };
        limit(&writing, 16);
        let answers = serve(&mut writing, vec![keep(10), keep(1 << 20), keep(10)]);
        assert!(answers.iter().all(is_unavailable));
        assert!(writing.suspect);
        assert_eq!(kept(&writing), 0);

        // Still too large; what fits is written, without a restart.
        assert!(is_unavailable(&serve(&mut writing, vec![keep(1 << 20)])[0]));
        assert!(serve(&mut writing, vec![keep(10)])[0].is_ok());
        limit(&writing, 100_000);
        assert!(serve(&mut writing, vec![keep(1 << 20)])[0].is_ok());
        assert!(!writing.suspect);
        assert_eq!(kept(&writing), 2);
    }

    #[test]
    fn an_io_error_fails_the_whole_group_and_opens_the_database_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut writing = writing(directory.path());
        let failing = request(|_, _| Err(io_error().into()));
        let answers = serve(&mut writing, vec![keep(10), failing]);
        assert!(answers.iter().all(is_unavailable));
        assert!(writing.connection.is_none() && writing.suspect);
        // The next idle moment finds out that writing works again.
        writing.tidy();
        assert!(writing.connection.is_some() && !writing.suspect);
        assert_eq!(kept(&writing), 0);
        assert!(serve(&mut writing, vec![keep(10)])[0].is_ok());
    }

    #[test]
    fn a_lost_guard_takes_back_its_own_request_only() {
        let directory = tempfile::tempdir().unwrap();
        let mut writing = writing(directory.path());
        let losing = request(|connection, effects| {
            connection.execute("INSERT INTO kept VALUES (x'00')", [])?;
            effects.destroyed.push(LedgerEntry { at: Timestamp::UNIX_EPOCH, link_id: LinkId::from_bits(1) });
            Err(WriteError::Conflict(Guard::Link))
        });
        let answers = serve(&mut writing, vec![keep(10), losing, keep(10)]);
        assert!(answers[0].is_ok() && answers[2].is_ok());
        assert!(matches!(answers[1], Err(WriteError::Conflict(Guard::Link))));
        assert_eq!(kept(&writing), 2);
        assert!(writing.erase_since.is_none() && writing.unrecorded.is_empty(), "what was taken back has no effects");
    }

    #[test]
    fn destroyed_data_leaves_the_log_in_the_next_idle_moment() {
        let directory = tempfile::tempdir().unwrap();
        let mut writing = writing(directory.path());
        let destroying = request(|connection, effects| {
            connection.execute("INSERT INTO kept VALUES (x'00')", [])?;
            effects.destroyed.push(LedgerEntry { at: Timestamp::UNIX_EPOCH, link_id: LinkId::from_bits(1) });
            Ok(())
        });
        assert!(serve(&mut writing, vec![destroying])[0].is_ok());
        let log = || std::fs::metadata(directory.path().join("test.db-wal")).unwrap().len();
        assert!(log() > 0);
        writing.tidy();
        assert_eq!(log(), 0);
        assert!(writing.erase_since.is_none());
    }

    #[test]
    fn a_deletion_is_not_acknowledged_before_it_is_in_the_ledger() {
        let directory = tempfile::tempdir().unwrap();
        let mut writing = writing(directory.path());
        let path = directory.path().join("ledger");
        // A handle that cannot write, as on a failing disk.
        writing.ledger = DeletionLedger::over(File::open(&path).unwrap());
        let destroying = request(|_, effects| {
            effects.destroyed.push(LedgerEntry { at: Timestamp::UNIX_EPOCH, link_id: LinkId::from_bits(1) });
            Ok(())
        });
        let answers = serve(&mut writing, vec![keep(10), destroying]);
        assert!(answers[0].is_ok(), "other requests of the group are committed and say so");
        // The link is gone, so it must not be said that nothing changed.
        let unknown =
            |result: &_| matches!(result, Err(WriteError::Failed(ReadError::Store(StoreError::OutcomeUnknown(_)))));
        assert!(unknown(&answers[1]));
        writing.ledger = DeletionLedger::open(&path).unwrap().0;
        writing.tidy();
        assert_eq!(DeletionLedger::open(&path).unwrap().1.len(), 1);
    }
}
