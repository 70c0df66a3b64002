//! A steady clock: real time that never runs backwards and does not follow a jump of the wall clock at once.
//!
//! It is counted by the monotonic clock from an anchor, and the anchor follows the wall clock while the two agree.
//! When they part, the wall clock was set, or the machine slept (the monotonic clock stands still meanwhile). A step
//! forward that lasts is taken over after [`SETTLED_AFTER`]; a step back never is: what was due stays due.

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
        let state = State { anchor: wall.now(), anchored: Instant::now(), parted_since: None };
        Self { wall, state: Mutex::new(state) }
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

impl State {
    fn now(&mut self, wall: Timestamp, instant: Instant) -> Timestamp {
        let elapsed = SignedDuration::try_from(instant.saturating_duration_since(self.anchored));
        let counted = elapsed.ok().and_then(|elapsed| self.anchor.checked_add(elapsed).ok()).unwrap_or(self.anchor);
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
        let mut state = State { anchor: at(0), anchored: start, parted_since: None };
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
    fn a_step_forward_is_followed_once_it_has_lasted() {
        let year = 31_536_000;
        assert_eq!(run(&[(10, year), (40, 40), (50, year), (109, year + 59)]), [at(10), at(40), at(50), at(109)]);
        assert_eq!(run(&[(10, year), (70, year + 60), (80, year + 70)]), [at(10), at(year + 60), at(year + 70)]);
    }
}
