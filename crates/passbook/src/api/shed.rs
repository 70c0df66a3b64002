//! Refusing early what could only be answered late.
//!
//! Requests that write, or scan, wait for the store and for the processor; when more of them arrive than can be done,
//! all of them wait longer and none is better off. So the number of such requests that are worked on at once is bounded,
//! and the bound follows two measures. It shrinks by a tenth when one took longer than [`TARGET`], whatever it waited
//! for, or when the runtime kept taking longer than [`QUEUE_TARGET`] to come back to a request that was ready: then
//! every request waits that long at each step, refusals and reads included. It grows by one after every
//! full round that stayed well below both. What does not fit is answered 503 with `Retry-After` before anything was read or changed.
//!
//! Point reads cost little more than refusing them would and are never refused, nor are health, readiness, metrics and
//! the withdrawal of access by an operator.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::operation::{Operation, Work};

/// What a short request may take before there are too many of them.
const TARGET: Duration = Duration::from_millis(100);
/// The bound grows at most this often, so that what it has grown to shows before it grows on.
const GROW_EVERY: Duration = Duration::from_millis(50);
/// How long a request that is ready may wait for its turn on the runtime's threads.
const QUEUE_TARGET: Duration = Duration::from_millis(4);
/// Only a standing wait counts: the median of at least so many, measured over at least and at most this time. A single
/// long one means that another process had the processor.
const TURNS_MIN: usize = 3;
const TURNS_AT_LEAST: Duration = Duration::from_millis(30);
const TURNS_AT_MOST: Duration = Duration::from_millis(500);
/// Bounds of the number of short requests at once.
const SHORT_MIN: u32 = 4;
const SHORT_START: u32 = 64;
const SHORT_MAX: u32 = 1_024;
/// Requests at once that wait for a bank, a clock or a large file; how long they take says nothing about load.
const LONG_MAX: u32 = 256;

/// Counts what is being worked on and decides who may begin.
pub struct Shedder {
    short: AtomicU32,
    long: AtomicU32,
    limit: AtomicU32,
    learning: Mutex<Learning>,
    /// Somebody measures the wait for a turn; one at a time is enough.
    is_measuring: AtomicBool,
}

/// What the limit is learnt from.
struct Learning {
    /// Quick requests since the limit last changed.
    quick: u32,
    last_cut: Option<Instant>,
    last_grown: Option<Instant>,
    turns: Option<Turns>,
}

/// Waits for a turn, measured one after the other.
struct Turns {
    since: Instant,
    took: Vec<Duration>,
}

/// The right to work on a request; dropping it gives the place back.
pub struct Admitted<'a> {
    shedder: &'a Shedder,
    work: Work,
}

/// There is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl Default for Shedder {
    fn default() -> Self {
        Self {
            short: AtomicU32::new(0),
            long: AtomicU32::new(0),
            limit: AtomicU32::new(SHORT_START),
            learning: Mutex::new(Learning { quick: 0, last_cut: None, last_grown: None, turns: None }),
            is_measuring: AtomicBool::new(false),
        }
    }
}

impl Shedder {
    /// A place for this operation, if there is one.
    ///
    /// # Errors
    /// [`Refused`] when too many are being worked on.
    pub fn admit(&self, operation: Operation) -> Result<Admitted<'_>, Refused> {
        let work = operation.work();
        match work {
            Work::Light => {}
            Work::Short => enter(&self.short, self.limit.load(Ordering::Relaxed))?,
            Work::Long => enter(&self.long, LONG_MAX)?,
        }
        Ok(Admitted { shedder: self, work })
    }

    /// How many short requests may be worked on at once now.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    fn learn(&self, took: Duration, at_once: u32, now: Instant) {
        let limit = self.limit();
        if took <= TARGET && at_once < limit / 2 {
            // Says nothing: it was quick because there was little to do.
            return;
        }
        let mut learning = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        if took > TARGET {
            // One cut for everything that was under way together.
            self.cut(&mut learning, now, TARGET, 0.9);
        } else if took <= TARGET / 2 {
            learning.quick += 1;
            let may_grow = learning.last_grown.is_none_or(|grown| now.saturating_duration_since(grown) >= GROW_EVERY);
            if learning.quick >= limit && may_grow {
                learning.quick = 0;
                learning.last_grown = Some(now);
                self.limit.store((limit + 1).min(SHORT_MAX), Ordering::Relaxed);
            }
        }
    }

    /// Learns from how long a request that was ready waited for its turn.
    fn learn_turn(&self, took: Duration, now: Instant) {
        let mut learning = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = learning.turns.get_or_insert_with(|| Turns { since: now, took: Vec::new() });
        turns.took.push(took);
        let measured_for = now.saturating_duration_since(turns.since);
        if measured_for > TURNS_AT_MOST {
            learning.turns = None;
            return;
        }
        if turns.took.len() < TURNS_MIN || measured_for < TURNS_AT_LEAST {
            return;
        }
        let middle = turns.took.len() / 2;
        let waited = *turns.took.select_nth_unstable(middle).1;
        learning.turns = None;
        if waited > QUEUE_TARGET / 2 {
            learning.quick = 0;
        }
        if waited > QUEUE_TARGET {
            // The wait is the sum of what the admitted ones compute, so the excess says how many are too many.
            let excess = QUEUE_TARGET.as_secs_f64() / waited.as_secs_f64();
            self.cut(&mut learning, now, TURNS_AT_LEAST, excess.clamp(0.5, 0.9));
        }
    }

    /// Shrinks the limit to this part of it, unless it shrank so shortly before that the effect does not show yet.
    fn cut(&self, learning: &mut Learning, now: Instant, shows_after: Duration, part: f64) {
        if learning.last_cut.is_none_or(|cut| now.saturating_duration_since(cut) >= shows_after) {
            learning.last_cut = Some(now);
            learning.quick = 0;
            let limit = (f64::from(self.limit()) * part) as u32;
            self.limit.store(limit.max(SHORT_MIN), Ordering::Relaxed);
        }
    }
}

impl Admitted<'_> {
    /// Lets the others that are ready have their turn once, and learns from how long that takes.
    pub async fn take_turn(&self) {
        if self.work == Work::Short && !self.shedder.is_measuring.swap(true, Ordering::Acquire) {
            let began = Instant::now();
            let measured = Measuring(&self.shedder.is_measuring);
            tokio::task::yield_now().await;
            drop(measured);
            self.shedder.learn_turn(began.elapsed(), Instant::now());
        }
    }

    /// Ends the work, which `took` this long; the limit is learnt from that.
    pub fn finish(self, took: Duration) {
        self.finish_at(took, Instant::now);
    }

    fn finish_at(self, took: Duration, now: impl FnOnce() -> Instant) {
        if self.work == Work::Short {
            self.shedder.learn(took, self.shedder.short.load(Ordering::Relaxed), now());
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        match self.work {
            Work::Light => {}
            Work::Short => drop(self.shedder.short.fetch_sub(1, Ordering::Relaxed)),
            Work::Long => drop(self.shedder.long.fetch_sub(1, Ordering::Relaxed)),
        }
    }
}

/// Ends the measuring, also when the request is dropped in the middle of it.
struct Measuring<'a>(&'a AtomicBool);

impl Drop for Measuring<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn enter(count: &AtomicU32, limit: u32) -> Result<(), Refused> {
    let entered =
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at_once| (at_once < limit).then_some(at_once + 1));
    entered.map(drop).map_err(|_| Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Operation = Operation::CreateLinkSession;

    fn fill(shedder: &Shedder) -> Vec<Admitted<'_>> {
        std::iter::from_fn(|| shedder.admit(SHORT).ok()).collect()
    }

    fn finish_all(admitted: Vec<Admitted<'_>>, took: Duration, at: Instant) {
        admitted.into_iter().for_each(|one| one.finish_at(took, || at));
    }

    #[test]
    fn more_than_the_limit_is_refused_until_somebody_is_done() {
        let shedder = Shedder::default();
        let mut admitted = fill(&shedder);
        assert_eq!(admitted.len(), SHORT_START as usize);
        assert_eq!(shedder.admit(SHORT).err(), Some(Refused));
        admitted.pop();
        assert!(shedder.admit(SHORT).is_ok());
    }

    #[test]
    fn reads_and_health_are_never_refused() {
        let shedder = Shedder::default();
        let _full = fill(&shedder);
        for operation in [Operation::GetAccountNumbers, Operation::GetHealth, Operation::GetReadiness] {
            let admitted: Vec<_> = (0..10_000).map(|_| shedder.admit(operation)).collect();
            assert!(admitted.iter().all(Result::is_ok));
        }
    }

    #[test]
    fn the_limit_shrinks_while_requests_are_slow_and_not_below_its_floor() {
        let (shedder, mut at) = (Shedder::default(), Instant::now());
        for _ in 0..100 {
            at += TARGET * 2;
            finish_all(fill(&shedder), TARGET * 2, at);
        }
        assert_eq!(shedder.limit(), SHORT_MIN);
    }

    #[test]
    fn requests_that_were_slow_together_cut_once() {
        let shedder = Shedder::default();
        finish_all(fill(&shedder), TARGET * 2, Instant::now());
        assert_eq!(shedder.limit(), SHORT_START * 9 / 10);
    }

    /// Measures a wait every 8 ms for a second, each as `took` says, with quick requests between.
    fn wait_for_turns(shedder: &Shedder, took: impl Fn(u32) -> Duration) {
        let mut at = Instant::now();
        for n in 0..125 {
            finish_all(fill(shedder), TARGET / 10, at);
            at += Duration::from_millis(8);
            shedder.learn_turn(took(n), at);
        }
    }

    #[test]
    fn the_limit_shrinks_while_requests_keep_waiting_for_their_turn() {
        let shedder = Shedder::default();
        wait_for_turns(&shedder, |_| QUEUE_TARGET * 2);
        assert!(shedder.limit() <= SHORT_MIN + 4, "{}", shedder.limit());
    }

    #[test]
    fn a_wait_now_and_then_says_nothing() {
        let shedder = Shedder::default();
        wait_for_turns(&shedder, |n| if n % 3 == 0 { Duration::ZERO } else { QUEUE_TARGET * 10 });
        assert!(shedder.limit() > SHORT_START);
    }

    #[test]
    fn waits_that_were_measured_seldom_say_nothing() {
        let (shedder, mut at) = (Shedder::default(), Instant::now());
        for _ in 0..100 {
            at += TURNS_AT_MOST;
            shedder.learn_turn(QUEUE_TARGET * 10, at);
        }
        assert_eq!(shedder.limit(), SHORT_START);
    }

    #[tokio::test]
    async fn one_request_at_a_time_measures_and_a_dropped_one_stops() {
        let shedder = Shedder::default();
        let admitted = fill(&shedder);
        let mut turn = Box::pin(admitted[0].take_turn());
        assert!(futures_util::poll!(&mut turn).is_pending());
        admitted[1].take_turn().await;
        drop(turn);
        let mut turn = Box::pin(admitted[1].take_turn());
        assert!(futures_util::poll!(&mut turn).is_pending(), "measures again");
    }

    #[test]
    fn the_limit_grows_while_it_is_used_and_requests_are_quick() {
        let (shedder, mut at) = (Shedder::default(), Instant::now());
        for _ in 0..40 {
            at += GROW_EVERY;
            finish_all(fill(&shedder), TARGET / 4, at);
        }
        let grown = shedder.limit();
        assert!(grown > SHORT_START);
        for _ in 0..1_000 {
            at += GROW_EVERY;
            finish_all(shedder.admit(SHORT).into_iter().collect(), TARGET / 4, at);
        }
        assert_eq!(shedder.limit(), grown, "one at a time says nothing about how many would be too many");
    }

    #[test]
    fn waiting_requests_have_a_bound_of_their_own() {
        let shedder = Shedder::default();
        let waiting: Vec<_> = (0..LONG_MAX).map(|_| shedder.admit(Operation::CreateSandboxLink)).collect();
        assert!(waiting.iter().all(Result::is_ok));
        assert_eq!(shedder.admit(Operation::SetSandboxClock).err(), Some(Refused));
        assert!(shedder.admit(SHORT).is_ok());
    }
}
