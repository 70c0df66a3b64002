//! A steady clock: real time that never runs backwards and does not follow a jump of the wall clock at once.
//!
//! It is counted by the monotonic clock from an anchor, and the anchor follows the wall clock while the two agree.
//! When they part, the wall clock was set, or the machine slept (the monotonic clock stands still meanwhile). A step
//! forward that lasts is taken over after [`SETTLED_AFTER`]; a step back never is: what was due stays due.
//!
//! [`SteadyClock`] follows this machine's wall clock, `RemoteClock` a database's.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use passbook_core::time::Clock;

/// Differences up to this are what a time service corrects in passing.
const AGREEMENT: SignedDuration = SignedDuration::from_secs(5);
/// A step forward is believed once it has lasted this long.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// A clock over a wall clock that may jump.
pub struct SteadyClock {
    wall: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    anchor: Timestamp,
    anchored: Instant,
    parted_since: Option<Instant>,
}

impl SteadyClock {
    /// Starts at the wall clock.
    #[must_use]
    pub fn new(wall: Arc<dyn Clock>) -> Self {
        let state = Mutex::new(State::new(wall.now(), Instant::now()));
        Self { wall, state }
    }

    /// How far the wall clock is ahead of this one; negative when it is behind.
    #[must_use]
    pub fn skew(&self) -> SignedDuration {
        self.wall.now().duration_since(self.now())
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let wall = self.wall.now();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).now(wall, Instant::now())
    }
}

/// The time of another machine, by readings that come now and then. Between them it is counted by this machine's
/// monotonic clock; the readings are believed as [`SteadyClock`] believes a wall clock.
pub(crate) struct RemoteClock {
    state: Mutex<State>,
    /// What is the time instead, in tests.
    given: Option<Arc<dyn Clock>>,
}

impl RemoteClock {
    /// Starts at a first reading, but not before `earliest`.
    pub(crate) fn new(reading: Reading, earliest: Timestamp) -> Self {
        Self { state: Mutex::new(State::new(reading.time.max(earliest), reading.instant)), given: None }
    }

    /// The time of `clock`, whatever is read.
    pub(crate) fn of(clock: Arc<dyn Clock>) -> Self {
        Self { state: Mutex::new(State::new(clock.now(), Instant::now())), given: Some(clock) }
    }

    /// Takes a further reading in.
    pub(crate) fn observe(&self, reading: Reading) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).now(reading.time, reading.instant);
    }

    /// The time. Never runs backwards.
    pub(crate) fn now(&self) -> Timestamp {
        if let Some(given) = &self.given {
            return given.now();
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).counted(Instant::now())
    }
}

/// What another machine's clock said, and when it said so by this machine's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub time: Timestamp,
    pub instant: Instant,
}

impl State {
    fn new(anchor: Timestamp, anchored: Instant) -> Self {
        Self { anchor, anchored, parted_since: None }
    }

    /// The time at `instant`, counted from the anchor.
    fn counted(&self, instant: Instant) -> Timestamp {
        let elapsed = SignedDuration::try_from(instant.saturating_duration_since(self.anchored));
        elapsed.ok().and_then(|elapsed| self.anchor.checked_add(elapsed).ok()).unwrap_or(self.anchor)
    }

    /// The time at `instant`, after the other clock was read as `wall`.
    fn now(&mut self, wall: Timestamp, instant: Instant) -> Timestamp {
        let counted = self.counted(instant);
        let ahead = wall.duration_since(counted);
        if ahead.abs() <= AGREEMENT {
            self.parted_since = None;
            self.anchor_at(counted.max(wall), instant);
        } else if ahead.is_negative() {
            self.parted_since = None;
        } else {
            let since = *self.parted_since.get_or_insert(instant);
            if instant.saturating_duration_since(since) >= SETTLED_AFTER {
                self.parted_since = None;
                self.anchor_at(wall, instant);
                return wall;
            }
        }
        counted.max(self.anchor)
    }

    fn anchor_at(&mut self, anchor: Timestamp, instant: Instant) {
        self.anchor = anchor;
        self.anchored = instant;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// The store's time for wall clocks at given seconds of monotonic time.
    fn run(readings: &[(u64, i64)]) -> Vec<Timestamp> {
        let start = Instant::now();
        let mut state = State::new(at(0), start);
        let read = |(elapsed, wall): &(u64, i64)| state.now(at(*wall), start + Duration::from_secs(*elapsed));
        readings.iter().map(read).collect()
    }

    #[test]
    fn small_corrections_are_followed_and_time_never_runs_back() {
        assert_eq!(run(&[(10, 12), (11, 12), (20, 22)]), [at(12), at(13), at(22)]);
    }

    #[test]
    fn a_step_back_is_never_followed() {
        assert_eq!(run(&[(10, -100_000), (100, -100_000 + 90), (200, 200)]), [at(10), at(100), at(200)]);
    }

    #[test]
    fn a_remote_clock_starts_no_earlier_than_what_is_stored_and_never_runs_back() {
        let start = Instant::now();
        let reading = |elapsed, second| Reading { time: at(second), instant: start + Duration::from_secs(elapsed) };
        let clock = RemoteClock::new(reading(0, 0), at(50));
        assert!(clock.now() >= at(50));
        let before = clock.now();
        // Read a second ago and a second behind: followed by standing still at most.
        clock.observe(reading(0, 49));
        assert!(clock.now() >= before);
        clock.observe(reading(0, 53));
        assert!(clock.now() >= at(53));
    }

    #[test]
    fn a_step_forward_is_followed_once_it_has_lasted() {
        let year = 31_536_000;
        assert_eq!(run(&[(10, year), (40, 40), (50, year), (109, year + 59)]), [at(10), at(40), at(50), at(109)]);
        assert_eq!(run(&[(10, year), (70, year + 60), (80, year + 70)]), [at(10), at(year + 60), at(year + 70)]);
    }
}
