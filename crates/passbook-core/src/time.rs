//! Time as the domain sees it: an instant handed in, and the clock of a sandbox application.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Where the current instant comes from. The server has one system implementation; tests have a fixed one.
pub trait Clock: Send + Sync {
    /// The current real instant.
    fn now(&self) -> Timestamp;
}

/// The clock of one application. It rules all data times; in the sandbox it can be moved and frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppClock {
    /// Real time plus a number of microseconds.
    Running {
        /// Microseconds added to real time; may be negative.
        offset_us: i64,
    },
    /// Stands still at this instant.
    Frozen {
        /// The instant.
        at: Timestamp,
    },
}

impl Default for AppClock {
    fn default() -> Self {
        Self::Running { offset_us: 0 }
    }
}

/// A clock change that the rules refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockRefusal {
    /// A step must be at least a second forward.
    #[error("advance_seconds must be greater than 0")]
    NotForward,
    /// The clock would stand before something that is already stored.
    #[error("the clock cannot go back before the newest stored time, {newest}")]
    BeforeNewest {
        /// The newest stored time.
        newest: Timestamp,
    },
    /// The instant is outside what can be represented and formatted (years 1970 to 9000).
    #[error("the resulting time is out of range")]
    OutOfRange,
}

impl AppClock {
    /// The application's current instant, given the real one. Truncated to microseconds, the wire's precision.
    #[must_use]
    pub fn now(&self, real: Timestamp) -> Timestamp {
        match self {
            Self::Running { offset_us } => {
                truncate(real.checked_add(SignedDuration::from_micros(*offset_us)).unwrap_or(Timestamp::MAX))
            }
            Self::Frozen { at } => *at,
        }
    }

    /// The real instant at which the application's clock reaches `due`; `None` while it is frozen before it.
    #[must_use]
    pub fn real_due(&self, due: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Running { offset_us } => due.checked_sub(SignedDuration::from_micros(*offset_us)).ok(),
            Self::Frozen { at } => (due <= *at).then_some(Timestamp::UNIX_EPOCH),
        }
    }

    /// Whether the clock stands still.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        matches!(self, Self::Frozen { .. })
    }

    /// Moves forward by whole seconds; works while frozen too.
    ///
    /// # Errors
    /// [`ClockRefusal::NotForward`] for zero or less, [`ClockRefusal::OutOfRange`] past the representable years.
    pub fn advance(self, seconds: i64) -> Result<Self, ClockRefusal> {
        if seconds <= 0 {
            return Err(ClockRefusal::NotForward);
        }
        match self {
            Self::Running { offset_us } => {
                let step = seconds.checked_mul(1_000_000).ok_or(ClockRefusal::OutOfRange)?;
                let offset_us = offset_us.checked_add(step).ok_or(ClockRefusal::OutOfRange)?;
                // Room for a century of real time on top of the offset.
                if offset_us > 6_900 * 31_556_952 * 1_000_000 {
                    return Err(ClockRefusal::OutOfRange);
                }
                Ok(Self::Running { offset_us })
            }
            Self::Frozen { at } => {
                let at = at.checked_add(SignedDuration::from_secs(seconds)).map_err(|_| ClockRefusal::OutOfRange)?;
                in_range(at)?;
                Ok(Self::Frozen { at })
            }
        }
    }

    /// Freezes at `at`, which may lie before real time but never before `newest`, the newest stored time.
    ///
    /// # Errors
    /// [`ClockRefusal::BeforeNewest`], [`ClockRefusal::OutOfRange`].
    pub fn freeze(at: Timestamp, newest: Option<Timestamp>) -> Result<Self, ClockRefusal> {
        in_range(at)?;
        match newest {
            Some(newest) if at < newest => Err(ClockRefusal::BeforeNewest { newest }),
            _ => Ok(Self::Frozen { at: truncate(at) }),
        }
    }

    /// Runs on from the frozen instant; a running clock is left as it is.
    #[must_use]
    pub fn unfreeze(self, real: Timestamp) -> Self {
        match self {
            Self::Frozen { at } => Self::Running { offset_us: at.as_microsecond() - real.as_microsecond() },
            running @ Self::Running { .. } => running,
        }
    }
}

/// The contract's form of an instant: `2024-01-09T10:32:38.401223Z`, always six digits and UTC.
#[must_use]
pub fn format_instant(instant: Timestamp) -> String {
    format!("{instant:.6}")
}

/// A success time that is later than `previous` by at least a microsecond, so that polling clients see it rise even
/// when the clock is frozen or stepped back.
#[must_use]
pub fn rising(now: Timestamp, previous: Option<Timestamp>) -> Timestamp {
    match previous {
        Some(previous) => now.max(previous.checked_add(SignedDuration::from_micros(1)).unwrap_or(previous)),
        None => now,
    }
}

/// To the microsecond, as stores keep it.
pub fn truncate(instant: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(instant.as_microsecond()).unwrap_or(instant)
}

fn in_range(at: Timestamp) -> Result<(), ClockRefusal> {
    const LAST: i64 = 221_845_392_000; // 9000-01-01T00:00:00Z
    if (0..=LAST).contains(&at.as_second()) { Ok(()) } else { Err(ClockRefusal::OutOfRange) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn instants_have_six_digits() {
        assert_eq!(format_instant(at("2024-01-09T10:32:38Z")), "2024-01-09T10:32:38.000000Z");
        assert_eq!(format_instant(at("2024-01-09T10:32:38.4012234Z")), "2024-01-09T10:32:38.401223Z");
    }

    #[test]
    fn a_frozen_clock_advances_and_runs_on_from_where_it_stood() {
        let real = at("2026-01-01T00:00:00Z");
        let frozen = AppClock::freeze(at("2024-05-01T00:00:00Z"), None).unwrap();
        let frozen = frozen.advance(3_600).unwrap();
        assert_eq!(frozen.now(real), at("2024-05-01T01:00:00Z"));
        let running = frozen.unfreeze(real);
        assert_eq!(running.now(real), at("2024-05-01T01:00:00Z"));
        assert_eq!(running.now(at("2026-01-01T00:00:10Z")), at("2024-05-01T01:00:10Z"));
    }

    #[test]
    fn the_clock_never_goes_behind_stored_data() {
        let newest = at("2024-05-01T00:00:00Z");
        assert!(AppClock::freeze(at("2024-04-30T23:59:59Z"), Some(newest)).is_err());
        assert!(AppClock::freeze(newest, Some(newest)).is_ok());
        assert_eq!(AppClock::default().advance(0), Err(ClockRefusal::NotForward));
        assert_eq!(AppClock::default().advance(i64::MAX), Err(ClockRefusal::OutOfRange));
    }

    #[test]
    fn success_times_rise_under_a_frozen_clock() {
        let now = at("2024-05-01T00:00:00Z");
        let first = rising(now, None);
        let second = rising(now, Some(first));
        assert!(second > first);
        assert_eq!(second.as_microsecond() - first.as_microsecond(), 1);
    }

    #[test]
    fn due_times_follow_the_clock() {
        let due = at("2024-05-01T00:00:10Z");
        assert_eq!(AppClock::Frozen { at: at("2024-05-01T00:00:00Z") }.real_due(due), None);
        assert!(AppClock::Frozen { at: due }.real_due(due).is_some());
        assert_eq!(AppClock::Running { offset_us: 10_000_000 }.real_due(due), Some(at("2024-05-01T00:00:00Z")));
    }
}
