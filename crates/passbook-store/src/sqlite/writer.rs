//! The one writing thread, with group commit.
//!
//! Requests that wait when the writer becomes free share one transaction and one synced COMMIT; while that sync runs, the
//! next group gathers. Within the transaction every request has a savepoint, so a lost guard takes back only its own
//! request. Answers go out after COMMIT (and after the deletion ledger has been synced), never before.
//!
//! **Nobody has the writer for long.** Requests are taken from tenants in turn (`queue`), and a group ends when its time
//! is over. A commit with very many rows goes in pieces (`pieces`), one in each transaction, with the requests of others
//! behind it; so does what nobody waits for (`backlog`).
//!
//! When the disk is full or fails, the whole group is answered `Unavailable` and rolled back. The writer then rewrites
//! one row until that works again: this shows that writing is possible, and it overwrites whatever a failed COMMIT may
//! have left at the end of the write-ahead log, so that a later recovery cannot bring back what was refused.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use passbook_core::ids::LinkId;
use rusqlite::Connection;
use tokio::sync::oneshot;

#[cfg(feature = "fault-hooks")]
use super::request::EndOfThread;
use super::{
    backlog::{self, Worked},
    condition::is_damage,
    connection::{BUSY_TIMEOUT, connect_writer},
    failure::{Closed, WriteError, unavailable},
    large::{Large, Stage, Step},
    pieces::Pieces,
    queue::{Queue, Refused, Wake},
    readers::is_broken,
    request::{Effects, Fate, GroupFailed, Request, Task},
    views::Views,
    wal::Wal,
};
use crate::{
    fair::Lane,
    port::StoreError,
    stored::{
        ledger::{DeletionLedger, LedgerEntry},
        met::MetDamage,
    },
    vital::{Alive, Vital},
};

/// The thread's name among the vital parts of a process.
pub(super) const PART: &str = "store_writer";

/// Requests that share one COMMIT.
const GROUP_MAX: usize = 256;
/// How long a group gathers more requests while it works.
const GROUP_TIME: Duration = Duration::from_millis(15);
/// How long a piece and its part of the COMMIT may take when somebody waits, and when nobody does.
const PIECE_TIME_SHARED: Duration = Duration::from_millis(25);
const PIECE_TIME_ALONE: Duration = Duration::from_millis(35);
/// How long a piece waits for what follows the answers to the last group.
const FOLLOW_UP: Duration = Duration::from_micros(500);
/// A piece may take this part of its time at least; the rest is for the COMMIT, as long as the last one took.
const PIECE_PART_MIN: u32 = 5;
/// How long the writer must have had nothing to do before it tidies up.
const IDLE: Duration = Duration::from_millis(200);
/// The same while another thread copies the log: a commit in pieces may wait for its end.
const COPYING: Duration = Duration::from_millis(20);
/// Destroyed data leaves the write-ahead log at the latest after this, however busy the writer is.
const ERASE_WITHIN: Duration = Duration::from_secs(30);
/// How long a commit in pieces waits for what the log needs.
const LOG_FIRST_MAX: Duration = Duration::from_secs(5);
/// How long emptying the log may wait for readers, then if it is very late, and how soon it is tried again when they did
/// not end.
const ERASE_WAIT: Duration = Duration::from_millis(20);
const ERASE_WAIT_LATE: Duration = Duration::from_millis(500);
const ERASE_AGAIN: Duration = Duration::from_secs(1);

/// A write of no use but to find out whether writing works.
const PROBE: &str = "UPDATE write_probe SET value = value + 1 WHERE probe_id = 1";

/// The handle to the writing thread.
pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
    vital: Vital,
}

/// The queue has no room.
#[derive(Debug, thiserror::Error)]
#[error("too many writes are waiting")]
struct QueueFull;

/// The thread ended while the request was its.
#[derive(Debug, thiserror::Error)]
#[error("the store's writer ended before it said what became of the request")]
struct Unanswered;

/// There may be no room for all pieces, and what is written of them could not be taken back on a full disk.
#[derive(Debug, thiserror::Error)]
#[error("the disk has too little room for a large commit")]
struct NoRoom;

impl Writer {
    /// Starts the thread. `lock` is held until it ends.
    pub(super) fn start(
        path: PathBuf,
        mut connection: Connection,
        ledger: DeletionLedger,
        views: Arc<Views>,
        lock: File,
        met: Arc<MetDamage>,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new());
        let wal = Wal::new(&path, &mut connection).map_err(std::io::Error::other)?;
        let writing = Writing {
            wal,
            path,
            connection: Some(connection),
            ledger,
            views,
            large: None,
            large_ended: None,
            piece_commit: Duration::ZERO,
            has_backlog: false,
            unrecorded: Vec::new(),
            erase_since: None,
            erase_tried: None,
            erase_failing: false,
            copy_failing: false,
            suspect: false,
            met,
            #[cfg(feature = "fault-hooks")]
            ends: false,
            _lock: lock,
        };
        let (vital, alive) = Vital::new(PART);
        let end = ClearsQueue(Arc::clone(&queue));
        let run = move || {
            let _alive: Alive = alive;
            writing.run(&end.0);
        };
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(run)?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)), vital })
    }

    /// Queues `apply` and waits for its outcome. Once queued it runs even if the caller stops waiting. `link` is the one
    /// whose rows it writes.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        lane: &Lane,
        link: Option<LinkId>,
        apply: impl FnOnce(&Connection, &mut Effects) -> Result<T, WriteError> + Send + 'static,
    ) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        let request = Box::new(Task::new(apply, link, reply));
        self.queue.push(lane, request).map_err(refused)?;
        answered(answer).await
    }

    /// Queues a commit that goes in pieces and waits for its outcome; as [`Writer::submit`].
    pub(super) async fn submit_pieces(&self, lane: &Lane, pieces: Pieces) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push_large(lane, Large::new(pieces, reply)).map_err(refused)?;
        answered(answer).await
    }

    /// Waits until the thread has ended although the store is open.
    pub(super) async fn ended(&self) -> &'static str {
        self.vital.ended().await
    }

    /// Ends the thread.
    #[cfg(feature = "fault-hooks")]
    pub(super) fn end(&self, panics: bool) -> bool {
        self.queue.push(&None, Box::new(EndOfThread { panics })).is_ok()
    }

    /// Whether the thread still answers.
    pub(super) fn is_running(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Takes no more requests, finishes the waiting ones and ends the thread.
    pub(super) fn close(&self) {
        self.vital.close();
        self.queue.close();
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

/// What the writer says. Not `Unavailable` without a word from it, which says that nothing changed: the thread may have
/// ended just after the COMMIT.
async fn answered<T>(answer: oneshot::Receiver<Result<T, WriteError>>) -> Result<T, WriteError> {
    answer.await.unwrap_or_else(|_| Err(StoreError::OutcomeUnknown(Box::new(Unanswered)).into()))
}

fn refused(refused: Refused) -> StoreError {
    match refused {
        Refused::Full => unavailable(QueueFull),
        Refused::Closed => unavailable(Closed),
    }
}

/// Nobody waits for a thread that has ended, however it did.
struct ClearsQueue(Arc<Queue>);

impl Drop for ClearsQueue {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// Whether the disk of the store has room for so many bytes; yes when it does not say.
fn has_room(path: &Path, bytes: u64) -> bool {
    rustix::fs::statvfs(path).map_or(true, |disk| disk.f_bavail.saturating_mul(disk.f_frsize) > bytes)
}

/// The state of the writing thread.
struct Writing {
    // Before the connection and the lock: a copy of the log has a connection of its own.
    wal: Wal,
    path: PathBuf,
    /// Empty while it has to be opened again after an I/O error.
    connection: Option<Connection>,
    ledger: DeletionLedger,
    views: Arc<Views>,
    /// The commit that is under way in pieces; no other one is begun meanwhile.
    large: Option<Large>,
    /// When the last one ended.
    large_ended: Option<Instant>,
    /// How long the COMMIT after the last piece took, with its sync.
    piece_commit: Duration,
    /// `backlog::work` has something to do.
    has_backlog: bool,
    /// Committed deletions that the ledger does not hold yet.
    unrecorded: Vec<LedgerEntry>,
    /// When the oldest destroyed data went into the write-ahead log.
    erase_since: Option<Instant>,
    /// When emptying the log was tried last.
    erase_tried: Option<Instant>,
    /// Emptying the log, or copying it, failed last time, which was logged.
    erase_failing: bool,
    copy_failing: bool,
    /// The last write failed; see the module page.
    suspect: bool,
    met: Arc<MetDamage>,
    /// A fault hook ended the thread.
    #[cfg(feature = "fault-hooks")]
    ends: bool,
    _lock: File,
}

impl Writing {
    fn run(mut self, queue: &Queue) {
        loop {
            let is_busy = self.large.is_some() || self.has_backlog;
            let is_restless = is_busy
                || self.suspect
                || self.erase_since.is_some()
                || self.wal.is_long()
                || self.copying_comes_first()
                || !self.unrecorded.is_empty();
            let wake = if is_busy && !self.suspect {
                Wake::Work
            } else {
                // While writing fails, everything that waits is refused.
                let takes_large = self.takes_large();
                let patience = if self.copying_comes_first() { COPYING } else { IDLE };
                let held = self.held_link().filter(|_| !self.suspect);
                let fits = |request: &dyn Request| held.is_none() || request.link() != held;
                queue.wait(is_restless.then_some(patience), self.suspect || takes_large, fits)
            };
            match wake {
                Wake::Work => {
                    self.turn(queue);
                    #[cfg(feature = "fault-hooks")]
                    if self.ends {
                        return;
                    }
                    if self.has_to_erase() {
                        self.erase();
                    }
                }
                Wake::Idle => self.tidy(queue),
                Wake::Closed => break,
            }
        }
        self.tidy(queue);
        // No connection outlives the lock.
        self.views.release();
    }

    /// Destroyed data must leave the log now.
    fn is_erase_late(&self) -> bool {
        self.erase_since.is_some_and(|since| since.elapsed() > ERASE_WITHIN)
    }

    fn has_to_erase(&self) -> bool {
        self.is_erase_late() && self.erase_tried.is_none_or(|tried| tried.elapsed() > ERASE_AGAIN)
    }

    /// The link whose rows are being written; other requests for it wait.
    fn held_link(&self) -> Option<&LinkId> {
        self.large.as_ref().map(|large| large.pieces.link())
    }

    /// A piece of what is large, and a group of requests.
    fn turn(&mut self, queue: &Queue) {
        if self.suspect {
            // A piece that cannot be written must not take down what can be.
            self.serve(queue, false);
            if self.suspect
                && let Err(error) = self.probe()
            {
                self.refuse_held(queue, &GroupFailed(Arc::new(error)));
                return;
            }
        }
        self.begin_large(queue);
        if self.large.is_some() || self.has_backlog {
            // Whoever waits has waited for the last piece and its COMMIT; not for the next one as well. A request often
            // has a second write, which follows the answer to its first.
            queue.wait(Some(FOLLOW_UP), false, |request| {
                self.held_link().is_none_or(|held| request.link() != Some(held))
            });
            self.serve(queue, false);
        }
        self.serve(queue, true);
        self.look_after_log();
    }

    fn look_after_log(&mut self) {
        let large = self.large.as_ref();
        // Readers of a link whose rows are being replaced keep the log.
        if large.is_none_or(|large| large.pieces.is_new())
            && let Some(connection) = &self.connection
        {
            match self.wal.look_after(connection, large.is_some()) {
                Ok(()) => self.copy_failing = false,
                Err(error) => self.note_uncopied(&error),
            }
        }
    }

    /// Whether a commit in pieces may be begun. What earlier ones left is cleared away first: rows of deleted links have
    /// a time in which they must be gone, and nothing may be taken back that has taken effect. The log of the last one is
    /// copied first, or the logs of many would become one.
    fn takes_large(&mut self) -> bool {
        let log_comes_first = self.erasing_comes_first() || self.copying_comes_first();
        self.large.is_none() && !self.has_backlog && !log_comes_first
    }

    /// Not for ever: a reader may keep the log.
    fn erasing_comes_first(&self) -> bool {
        let late = self.erase_since.and_then(|since| since.elapsed().checked_sub(ERASE_WITHIN));
        late.is_some_and(|late| late < LOG_FIRST_MAX)
    }

    /// As above.
    fn copying_comes_first(&mut self) -> bool {
        let is_recent = self.large_ended.is_some_and(|ended| ended.elapsed() < LOG_FIRST_MAX);
        self.wal.is_copied_now() || (is_recent && self.wal.is_behind())
    }

    /// Refuses what would wait until a commit in pieces has ended: nobody can say when writing works again.
    fn refuse_held(&self, queue: &Queue, failure: &GroupFailed) {
        while let Some(mut large) = queue.pop_large() {
            large.answer(Err(unavailable(failure.clone()).into()));
        }
        let Some(held) = self.held_link() else { return };
        while let Some(request) = queue.pop(|request| request.link() == Some(held)) {
            request.settle(&Fate::Failed(failure.clone()));
        }
    }

    /// Takes up the next commit that goes in pieces, when none is under way.
    fn begin_large(&mut self, queue: &Queue) {
        while self.takes_large()
            && let Some(mut large) = queue.pop_large()
        {
            if !has_room(&self.path, large.pieces.bytes()) {
                large.answer(Err(unavailable(NoRoom).into()));
                continue;
            }
            // Nobody finds a new link, so nobody reads its rows.
            let held = if large.pieces.is_new() { Ok(()) } else { self.views.hold(&self.path, large.pieces.link()) };
            match held {
                Ok(()) => self.large = Some(large),
                Err(error) => large.answer(Err(unavailable(error).into())),
            }
        }
    }

    fn serve(&mut self, queue: &Queue, with_piece: bool) {
        let mut large = self.large.take();
        let held = large.as_ref().map(|large| large.pieces.link().clone());
        let fits = |request: &dyn Request| held.is_none() || request.link() != held.as_ref();
        let (has_backlog, views) = (self.has_backlog, Arc::clone(&self.views));
        let mut next = queue.pop(fits);
        if next.is_none() && !(with_piece && (large.is_some() || has_backlog)) {
            self.large = large;
            return;
        }
        let (mut effects, mut group) = (Effects::default(), Vec::new());
        let (mut step, mut worked) = (None, None);
        let (commit, mut done_at) = (self.piece_commit, None);
        let result = self.transact(|connection| {
            let begun = Instant::now();
            let is_wanted = next.is_some();
            let left = |time: Duration| time.saturating_sub(commit).max(time / PIECE_PART_MIN);
            let is_time_up = || {
                let spent = begun.elapsed();
                let is_shared = || is_wanted || queue.is_wanted();
                spent >= left(PIECE_TIME_ALONE) || (spent >= left(PIECE_TIME_SHARED) && is_shared())
            };
            match &large {
                Some(large) if with_piece => {
                    step = Some(large.step(connection, &views, &mut effects, &is_time_up)?);
                }
                None if with_piece && has_backlog => worked = Some(backlog::work(connection, &is_time_up)?),
                _ => {}
            }
            let begun = Instant::now();
            while let Some(mut request) = next.take().or_else(|| queue.pop(fits)) {
                let ran = request.run(connection, &mut effects);
                group.push(request);
                ran?;
                if group.len() == GROUP_MAX || begun.elapsed() >= GROUP_TIME {
                    break;
                }
            }
            done_at = Some(Instant::now());
            Ok(())
        });
        if let Some(done_at) = done_at.filter(|_| step.is_some() || worked.is_some()) {
            self.piece_commit = done_at.elapsed();
        }
        // One that was taken for a transaction that could not even begin.
        group.extend(next);
        let fate = match result {
            Ok(()) => {
                self.note(&mut effects, worked);
                if self.record_deletions() { Fate::Committed } else { Fate::Unrecorded }
            }
            Err(error) => Fate::Failed(GroupFailed(Arc::new(error))),
        };
        if with_piece {
            let was_large = large.is_some();
            large = large.and_then(|large| self.settle_large(large, step, &fate));
            if was_large && large.is_none() {
                self.large_ended = Some(Instant::now());
            }
        }
        self.large = large;
        if let Fate::Failed(failure) = &fate {
            self.refuse_held(queue, failure);
        }
        #[cfg(feature = "fault-hooks")]
        {
            self.ends |= group.iter().any(|request| request.ends_thread());
        }
        for request in group {
            request.settle(&fate);
        }
    }

    /// What a committed group leaves to do.
    fn note(&mut self, effects: &mut Effects, worked: Option<Worked>) {
        if let Some(worked) = worked {
            self.has_backlog = !worked.is_done;
            if worked.has_erased {
                self.erase_since.get_or_insert_with(Instant::now);
            }
        }
        self.has_backlog |= effects.has_backlog;
        if !effects.destroyed.is_empty() {
            self.erase_since.get_or_insert_with(Instant::now);
            self.unrecorded.append(&mut effects.destroyed);
        }
    }

    /// What becomes of a commit in pieces after a transaction; `None` when it has ended.
    fn settle_large(&self, mut large: Large, step: Option<Step>, fate: &Fate) -> Option<Large> {
        let step = match (fate, step) {
            (Fate::Committed | Fate::Unrecorded, Some(step)) => step,
            (Fate::Committed | Fate::Unrecorded, None) => return Some(large),
            (Fate::Failed(failure), _) => {
                large.answer(Err(unavailable(failure.clone()).into()));
                if large.stage == Stage::Begin {
                    self.views.release();
                    return None;
                }
                self.views.turn_back();
                large.stage = Stage::TakingBack;
                return Some(large);
            }
        };
        match step {
            Step::Wrote(place) => large.stage = place.map_or(Stage::LastPiece, Stage::Rows),
            Step::Lost(error) => {
                large.refusal = Some(error);
                large.stage = Stage::TakingBack;
            }
            Step::TookBack(false) => {}
            ended => {
                self.views.release();
                let refusal = large.refusal.take();
                large.answer(match ended {
                    Step::Refused(error) => Err(error),
                    _ => refusal.map_or(Ok(()), Err),
                });
                return None;
            }
        }
        Some(large)
    }

    /// One synced transaction; everything is undone when anything in it fails.
    fn transact(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<(), rusqlite::Error>,
    ) -> Result<(), rusqlite::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().inspect_err(|_| self.suspect = true)?,
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

    fn connect(&self) -> Result<Connection, rusqlite::Error> {
        let mut connection = connect_writer(&self.path)?;
        self.wal.watch(&mut connection)?;
        Ok(connection)
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
    fn tidy(&mut self, queue: &Queue) {
        if self.suspect {
            // Failing again is expected here and is retried on the next idle moment.
            let _still_failing = self.probe();
        }
        if !self.suspect && (self.large.is_some() || self.has_backlog) {
            self.serve(queue, true);
        }
        self.record_deletions();
        if !self.suspect {
            self.look_after_log();
        }
        if self.has_to_erase() {
            self.erase();
        } else if self.wal.is_long() {
            self.shorten_log();
        } else if self.erase_since.is_some() && !self.has_backlog {
            self.erase();
        }
    }

    /// The log only becomes longer by it, and copying is tried again.
    fn note_uncopied(&mut self, error: &rusqlite::Error) {
        if is_damage(error) {
            self.met.note(error.to_string());
        }
        if !self.copy_failing {
            tracing::warn!(error = %error, "the write-ahead log cannot be copied into the database");
        }
        self.copy_failing = true;
    }

    /// Makes the file of the write-ahead log a step shorter.
    fn shorten_log(&mut self) {
        let Some(connection) = self.connection.as_ref().filter(|_| self.large.is_none() && !self.suspect) else {
            return;
        };
        // Nobody's write waits long for somebody's read.
        let is_prepared = connection.busy_timeout(ERASE_WAIT).and_then(|()| self.wal.shorten(connection));
        let restored = connection.busy_timeout(BUSY_TIMEOUT);
        match is_prepared.and_then(|is_prepared| restored.map(|()| is_prepared)) {
            Ok(false) => {}
            // Failing is noted there.
            Ok(true) => drop(self.probe()),
            Err(error) => self.note_uncopied(&error),
        }
    }

    /// Finds out whether writing works again.
    fn probe(&mut self) -> Result<(), rusqlite::Error> {
        self.transact(|connection| connection.prepare_cached(PROBE)?.execute([]).map(|_| ()))
    }

    /// Moves the write-ahead log into the database and empties it, so that destroyed bytes are in neither. A long file is
    /// made shorter first.
    fn erase(&mut self) {
        if self.wal.is_long() && !self.is_erase_late() {
            return self.shorten_log();
        }
        self.wal.finish_copying();
        // While a commit goes in pieces, its readers keep the log.
        let keeps = self.large.as_ref().is_some_and(|large| !large.pieces.is_new());
        let Some(connection) = self.connection.as_ref().filter(|_| !keeps) else { return };
        self.erase_tried = Some(Instant::now());
        // Nobody's write waits long for somebody's read.
        let is_very_late = self.is_erase_late() && !self.erasing_comes_first();
        let wait = if is_very_late { ERASE_WAIT_LATE } else { ERASE_WAIT };
        let busy = connection.busy_timeout(wait).and_then(|()| {
            let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
            connection.busy_timeout(BUSY_TIMEOUT)?;
            busy
        });
        match busy {
            Ok(0) => {
                self.wal.emptied();
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
    use passbook_core::{
        ids::AppId,
        tenant::{Environment, Tenant},
    };
    use rusqlite::ffi;

    use super::*;
    use crate::{port::Guard, sqlite::failure::ReadError};

    type Answer = oneshot::Receiver<Result<(), WriteError>>;

    /// A writer that runs on the test's own thread.
    fn writing(directory: &std::path::Path) -> Writing {
        let path = directory.join("test.db");
        let mut connection = connect_writer(&path).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE write_probe (probe_id BIGINT PRIMARY KEY, value BIGINT);
                 INSERT INTO write_probe VALUES (1, 0); CREATE TABLE kept (value BLOB);",
            )
            .unwrap();
        let (ledger, _) = DeletionLedger::open(&directory.join("ledger")).unwrap();
        let lock = File::create(directory.join("lock")).unwrap();
        Writing {
            wal: Wal::new(&path, &mut connection).unwrap(),
            path,
            connection: Some(connection),
            ledger,
            views: Arc::default(),
            large: None,
            large_ended: None,
            piece_commit: Duration::ZERO,
            has_backlog: false,
            unrecorded: Vec::new(),
            erase_since: None,
            erase_tried: None,
            erase_failing: false,
            copy_failing: false,
            suspect: false,
            met: Arc::default(),
            #[cfg(feature = "fault-hooks")]
            ends: false,
            _lock: lock,
        }
    }

    fn request(
        apply: impl FnOnce(&Connection, &mut Effects) -> Result<(), WriteError> + Send + 'static,
    ) -> (Box<dyn Request>, Answer) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Task::new(apply, None, reply)), answer)
    }

    fn keep(bytes: usize) -> (Box<dyn Request>, Answer) {
        request(move |connection, _| {
            connection.execute("INSERT INTO kept VALUES (zeroblob(?1))", [bytes as i64])?;
            Ok(())
        })
    }

    fn serve(writing: &mut Writing, requests: Vec<(Box<dyn Request>, Answer)>) -> Vec<Result<(), WriteError>> {
        let queue = Queue::new();
        let mut answers = Vec::new();
        for (request, answer) in requests {
            assert!(queue.push(&None, request).is_ok());
            answers.push(answer);
        }
        while queue.wait(Some(Duration::ZERO), true, |_| true) == Wake::Work {
            writing.turn(&queue);
        }
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
    fn a_full_disk_fails_what_was_written_together_and_writing_resumes_when_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let mut writing = writing(directory.path());
        let limit = |writing: &Writing, pages: i64| {
            let connection = writing.connection.as_ref().unwrap();
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
        };
        limit(&writing, 16);
        let answers = serve(&mut writing, vec![keep(10), keep(1 << 20)]);
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
        writing.tidy(&Queue::new());
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
        writing.tidy(&Queue::new());
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
        writing.tidy(&Queue::new());
        assert_eq!(DeletionLedger::open(&path).unwrap().1.len(), 1);
    }

    fn tenant(number: u128) -> Lane {
        Some(Tenant { app_id: AppId::from_bits(number), environment: Environment::Live })
    }

    #[test]
    fn a_tenant_with_hundreds_of_waiting_requests_delays_another_by_one_group_at_most() {
        let directory = tempfile::tempdir().unwrap();
        let mut writing = writing(directory.path());
        let queue = Queue::new();
        let mut many = Vec::new();
        for _ in 0..2 * GROUP_MAX {
            let (request, answer) = keep(1);
            assert!(queue.push(&tenant(1), request).is_ok());
            many.push(answer);
        }
        let (request, mut other) = keep(1);
        assert!(queue.push(&tenant(2), request).is_ok());
        writing.turn(&queue);
        assert!(matches!(other.try_recv(), Ok(Ok(()))), "the other one is in the next group");
        let done = many.iter_mut().filter_map(|answer| answer.try_recv().ok()).count();
        assert!((1..GROUP_MAX).contains(&done), "{done}");
    }

    #[test]
    fn a_tenant_over_its_share_is_refused_and_another_still_gets_in() {
        let queue = Queue::new();
        let is_taken = |lane: &Lane| queue.push(lane, keep(1).0).is_ok();
        let taken = (0..10_000).take_while(|_| is_taken(&tenant(1))).count();
        assert_eq!(taken, 1_024);
        assert_eq!(queue.push(&tenant(1), keep(1).0).err(), Some(Refused::Full));
        assert!(is_taken(&tenant(2)) && is_taken(&None));
        queue.close();
        assert_eq!(queue.push(&tenant(3), keep(1).0).err(), Some(Refused::Closed));
    }

    #[test]
    fn requests_wait_while_rows_of_their_link_are_written() {
        let queue = Queue::new();
        let held = LinkId::from_bits(1);
        let of_link = |link: Option<LinkId>| -> Box<dyn Request> {
            let apply = |_: &Connection, _: &mut Effects| Ok(());
            Box::new(Task::new(apply, link, oneshot::channel().0))
        };
        assert!(queue.push(&tenant(1), of_link(Some(held.clone()))).is_ok());
        let fits = |request: &dyn Request| request.link() != Some(&held);
        assert_eq!(queue.wait(Some(Duration::ZERO), true, fits), Wake::Idle);
        assert!(queue.push(&tenant(1), of_link(None)).is_ok());
        assert!(queue.pop(fits).is_some_and(|request| request.link().is_none()));
        assert!(queue.pop(fits).is_none());
        assert!(queue.pop(|_| true).is_some());
    }
}
