//! What waits for the writer: ordinary requests, and commits that go in pieces. Both are taken from tenants in turn.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{large::Large, request::Request};
use crate::fair::{Lane, Lanes};

/// Requests that may wait. A tenant alone may have half of them; see [`Lanes`].
const WAITING_MAX: usize = 2_048;
/// Commits in pieces that may wait, which hold all of their rows in memory.
const LARGE_MAX: usize = 32;

/// Why nothing was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The lane has its share, or there is no room at all.
    Full,
    /// The writer takes nothing more.
    Closed,
}

/// What the writer has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Work,
    /// Nothing came in time.
    Idle,
    /// Nothing is left, and nothing will come.
    Closed,
}

pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    bell: Condvar,
    /// Whether a request waits, for a look without the lock.
    is_wanted: AtomicBool,
}

struct Waiting {
    requests: Lanes<Lane, Box<dyn Request>>,
    large: Lanes<Lane, Large>,
    is_closed: bool,
    /// The writer sleeps.
    is_asleep: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        let waiting = Waiting {
            requests: Lanes::new(WAITING_MAX),
            large: Lanes::new(LARGE_MAX),
            is_closed: false,
            is_asleep: false,
        };
        Self { waiting: Mutex::new(waiting), bell: Condvar::new(), is_wanted: AtomicBool::new(false) }
    }

    pub(super) fn push(&self, lane: &Lane, request: Box<dyn Request>) -> Result<(), Refused> {
        let mut waiting = self.open()?;
        waiting.requests.push(lane, request).map_err(|_| Refused::Full)?;
        self.is_wanted.store(true, Ordering::Relaxed);
        self.ring(waiting);
        Ok(())
    }

    pub(super) fn push_large(&self, lane: &Lane, large: Large) -> Result<(), Refused> {
        let mut waiting = self.open()?;
        waiting.large.push(lane, large).map_err(|_| Refused::Full)?;
        self.ring(waiting);
        Ok(())
    }

    /// The next request in turn that `fits`.
    pub(super) fn pop(&self, fits: impl Fn(&dyn Request) -> bool) -> Option<Box<dyn Request>> {
        let mut waiting = self.locked();
        let next = waiting.requests.pop_where(|request| fits(request.as_ref()));
        self.is_wanted.store(!waiting.requests.is_empty(), Ordering::Relaxed);
        next
    }

    /// The next commit in pieces, of another tenant than the last one if another has one.
    pub(super) fn pop_large(&self) -> Option<Large> {
        self.locked().large.pop()
    }

    /// Whether a request waits; a moment old.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// Waits for something to do, for as long as `patience` says.
    pub(super) fn wait(
        &self,
        patience: Option<Duration>,
        takes_large: bool,
        fits: impl Fn(&dyn Request) -> bool,
    ) -> Wake {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let any = |waiting: &Waiting| waiting.requests.any(|request| fits(request.as_ref()));
        let mut waiting = self.locked();
        loop {
            if any(&waiting) || (takes_large && !waiting.large.is_empty()) {
                return Wake::Work;
            }
            // A commit in pieces may have to wait for the log; once queued, it runs.
            if waiting.is_closed && waiting.large.is_empty() {
                return Wake::Closed;
            }
            waiting.is_asleep = true;
            let is_late;
            (waiting, is_late) = match deadline {
                None => (self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner), false),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let (waiting, waited) =
                        self.bell.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner);
                    (waiting, waited.timed_out())
                }
            };
            waiting.is_asleep = false;
            if is_late {
                return if any(&waiting) { Wake::Work } else { Wake::Idle };
            }
        }
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        let mut waiting = self.locked();
        waiting.is_closed = true;
        self.ring(waiting);
    }

    /// Drops whatever waits. Its callers get the error of a closed store.
    pub(super) fn clear(&self) {
        let mut waiting = self.locked();
        waiting.is_closed = true;
        let forgotten = (
            std::mem::replace(&mut waiting.requests, Lanes::new(0)),
            std::mem::replace(&mut waiting.large, Lanes::new(0)),
        );
        drop(waiting);
        drop(forgotten);
    }

    fn open(&self) -> Result<MutexGuard<'_, Waiting>, Refused> {
        let waiting = self.locked();
        if waiting.is_closed { Err(Refused::Closed) } else { Ok(waiting) }
    }

    fn ring(&self, waiting: MutexGuard<'_, Waiting>) {
        let is_asleep = waiting.is_asleep;
        drop(waiting);
        if is_asleep {
            self.bell.notify_one();
        }
    }

    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
