//! The log: lines that neither fail nor hold up whoever writes them.
//!
//! A line goes into a bounded queue, and one thread takes lines from it and writes them. Only that thread ever waits
//! for the disk, the pipe or the terminal behind standard error. When the queue is full, because nobody reads the pipe,
//! and when a write fails, because the disk is full or the pipe is closed, the line is dropped and counted
//! (`passbook_log_lines_dropped_total`). As soon as the queue is written out again, one line says how many are missing.
//!
//! The thread writes to a descriptor of its own, not to [`std::io::stderr`]: that one has a lock, which a write that
//! blocks would hold.
//!
//! Nothing here may panic, and nothing here may log while it holds the queue.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind, Write},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written.
const LINES_MAX: usize = 4_096;
/// Bytes of the lines that may wait to be written.
const BYTES_MAX: usize = 1 << 20;
/// Pause before a terminal that takes nothing at the moment is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// How long the end of the process waits for the lines that are still in the queue.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

/// Lines that were dropped since the start of the process.
static DROPPED: LazyLock<Counter<u64, AtomicU64>> = LazyLock::new(Counter::default);
/// Whether the writing thread of the process's log has ended.
static ENDED: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));
/// The log of the process, once [`to_standard_error`] has made it.
static PROCESS_LOG: OnceLock<Log> = OnceLock::new();

/// The counter behind `passbook_log_lines_dropped_total`.
#[must_use]
pub fn dropped() -> Counter<u64, AtomicU64> {
    DROPPED.clone()
}

/// Waits until the log's thread has ended, which it never does by itself.
pub async fn ended() {
    let mut ended = ENDED.subscribe();
    if ended.wait_for(|ended| *ended).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Starts the log of the process, on standard error.
///
/// # Errors
/// When the descriptor cannot be duplicated or the thread cannot be started.
pub fn to_standard_error() -> io::Result<Log> {
    #[cfg(unix)]
    let sink = {
        use std::os::fd::AsFd as _;
        File::from(io::stderr().as_fd().try_clone_to_owned()?)
    };
    #[cfg(windows)]
    let sink = {
        use std::os::windows::io::AsHandle as _;
        File::from(io::stderr().as_handle().try_clone_to_owned()?)
    };
    let log = Log::start(sink, DROPPED.clone())?;
    let _first = PROCESS_LOG.set(log.clone());
    Ok(log)
}

/// Waits until the lines that were logged so far are written, but not for long: nobody may read the pipe.
pub fn flush() {
    if let Some(log) = PROCESS_LOG.get() {
        log.flush(FLUSH_PATIENCE);
    }
}

/// Has panics logged like everything else. The usual hook writes to standard error itself, and would wait there for a
/// pipe that nobody reads.
pub fn take_over_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a value that is no text");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(location, thread, "panicked: {message}");
        // Nothing comes after a panic of the main thread that could wait for the line.
        if thread == "main" {
            flush();
        }
    }));
}

/// Ends the thread of the process's log. No released binary contains this.
#[cfg(feature = "fault-hooks")]
#[must_use]
pub fn end(panics: bool) -> bool {
    let Some(log) = PROCESS_LOG.get() else { return false };
    log.lock().end = Some(panics);
    log.0.filled.notify_one();
    true
}

/// A queue of lines with the thread that writes them. Clones share both.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Something was put into the queue.
    filled: Condvar,
    /// Everything in the queue was written or dropped.
    drained: Condvar,
    dropped: Counter<u64, AtomicU64>,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread is writing a line that is not in `lines` any more.
    is_writing: bool,
    /// Dropped lines that no line of the log has told of.
    untold: u64,
    /// The thread is to end, in a panic or not.
    #[cfg(feature = "fault-hooks")]
    end: Option<bool>,
}

impl Log {
    /// Starts a thread that writes to `sink`. Lines that it loses are counted in `dropped`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(sink: impl Write + Send + 'static, dropped: Counter<u64, AtomicU64>) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { queue: Mutex::default(), filled: Condvar::new(), drained: Condvar::new(), dropped });
        let log = Self(shared);
        let writing = Writing { log: log.clone(), sink, is_torn: false };
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writing.run())?;
        Ok(log)
    }

    /// Queues a line, or drops it when there is no room. Never waits for the sink.
    pub fn push(&self, line: &[u8]) {
        let mut queue = self.lock();
        if queue.lines.len() >= LINES_MAX || queue.bytes + line.len() > BYTES_MAX {
            queue.untold += 1;
            self.0.dropped.inc();
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_vec());
        drop(queue);
        self.0.filled.notify_one();
    }

    /// Waits until the queue is written out, at most for `patience`. Returns whether it is.
    pub fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut queue = self.lock();
        while !queue.lines.is_empty() || queue.is_writing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = self.0.drained.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a line. `None` ends the thread.
    fn take(&self) -> Option<Vec<u8>> {
        let mut queue = self.lock();
        loop {
            #[cfg(feature = "fault-hooks")]
            if let Some(panics) = queue.end {
                drop(queue);
                assert!(!panics, "ended by a fault hook");
                return None;
            }
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len();
                queue.is_writing = true;
                return Some(line);
            }
            queue = self.0.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes what became of the line that was taken. Returns how many lines are missing, if it is time to say so.
    fn settle(&self, is_written: bool) -> Option<u64> {
        let mut queue = self.lock();
        queue.is_writing = false;
        if !is_written {
            queue.untold += 1;
            self.0.dropped.inc();
        }
        if !queue.lines.is_empty() {
            return None;
        }
        self.0.drained.notify_all();
        (is_written && queue.untold > 0).then(|| std::mem::take(&mut queue.untold))
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Takes one event. It is written in one piece, and that never fails.
pub struct Line<'a>(&'a Log);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writing thread.
struct Writing<S> {
    log: Log,
    sink: S,
    /// The last thing in the sink is a piece of a line.
    is_torn: bool,
}

impl<S: Write> Writing<S> {
    fn run(mut self) {
        let _guard = EndGuard;
        while let Some(line) = self.log.take() {
            let is_written = self.write(&line).is_ok();
            if let Some(lines) = self.log.settle(is_written) {
                tracing::error!(lines, "the log can be written again; lines before this one are missing");
            }
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_piece(b"\n")?;
        }
        self.write_piece(line)
    }

    fn write_piece(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A terminal or pipe that somebody else has made non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(BUSY_PAUSE),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Says that the thread has ended, however that came.
struct EndGuard;

impl Drop for EndGuard {
    fn drop(&mut self) {
        ENDED.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Answers each write as it is told to, and keeps what it took.
    struct Sink {
        answers: Receiver<io::Result<usize>>,
        taken: Sender<Vec<u8>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = self.answers.recv().map_err(|_| ErrorKind::BrokenPipe)??.min(bytes.len());
            let _unread = self.taken.send(bytes[..length].to_vec());
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Harness {
        log: Log,
        answers: Sender<io::Result<usize>>,
        taken: Receiver<Vec<u8>>,
        dropped: Counter<u64, AtomicU64>,
    }

    fn start() -> Harness {
        let ((answers, to_take), (taken, written)) = (channel(), channel());
        let dropped = Counter::default();
        let log = Log::start(Sink { answers: to_take, taken }, dropped.clone()).unwrap();
        Harness { log, answers, taken: written, dropped }
    }

    impl Harness {
        fn answer(&self, answer: io::Result<usize>) {
            self.answers.send(answer).unwrap();
        }

        fn taken(&self) -> String {
            String::from_utf8(self.taken.recv_timeout(PATIENCE).unwrap()).unwrap()
        }
    }

    #[test]
    fn a_reader_that_reads_nothing_holds_nobody_up_and_lines_without_room_are_counted() {
        let harness = start();
        for _ in 0..LINES_MAX + 100 {
            harness.log.push(b"line\n");
        }
        // One more than the queue holds may be in the hands of the thread.
        let dropped = harness.dropped.get();
        assert!((99..=100).contains(&dropped), "{dropped}");
        assert!(!harness.log.flush(Duration::ZERO), "nothing was written");
        for _ in 0..LINES_MAX + 1 {
            harness.answer(Ok(usize::MAX));
        }
        assert!(harness.log.flush(PATIENCE));
        assert_eq!(harness.log.lock().untold, 0, "it was told once when the queue was written out");
    }

    #[test]
    fn large_lines_fill_the_queue_by_their_bytes() {
        let harness = start();
        let line = vec![b'x'; BYTES_MAX / 4];
        (0..8).for_each(|_| harness.log.push(&line));
        assert!((3..=4).contains(&harness.dropped.get()));
    }

    #[test]
    fn a_line_that_cannot_be_written_is_dropped_and_the_next_one_is_tried() {
        let harness = start();
        for error in [ErrorKind::StorageFull, ErrorKind::BrokenPipe, ErrorKind::Other] {
            harness.answer(Err(error.into()));
            harness.log.push(b"lost\n");
            assert!(harness.log.flush(PATIENCE));
        }
        assert_eq!(harness.dropped.get(), 3);
        harness.answer(Err(ErrorKind::Interrupted.into()));
        harness.answer(Err(ErrorKind::WouldBlock.into()));
        harness.answer(Ok(usize::MAX));
        harness.log.push(b"kept\n");
        assert_eq!(harness.taken(), "kept\n");
        assert!(harness.log.flush(PATIENCE));
        assert_eq!((harness.dropped.get(), harness.log.lock().untold), (3, 0));
    }

    #[test]
    fn a_line_after_a_torn_one_begins_on_a_line_of_its_own() {
        let harness = start();
        harness.answer(Ok(3));
        harness.answer(Err(ErrorKind::StorageFull.into()));
        harness.log.push(b"torn line\n");
        assert_eq!(harness.taken(), "tor");
        harness.answer(Ok(usize::MAX));
        harness.answer(Ok(usize::MAX));
        harness.log.push(b"whole\n");
        assert_eq!((harness.taken(), harness.taken()), ("\n".to_owned(), "whole\n".to_owned()));
    }
}
