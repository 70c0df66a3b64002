//! When retention may delete: not after time has jumped.
//!
//! Deleting is final, and a clock is easily wrong. So whoever cleans up watches the store's time: what passed between
//! two looks must be explained by what the process itself observed, on a clock that nobody can set. If more than an
//! hour is not, nothing is deleted until a day of observed time has gone by, in which somebody can notice. A process
//! that was down for long has observed nothing and waits as well.

use jiff::{SignedDuration, Timestamp};

/// How much time may pass unexplained. Steps of a summer time set by hand are this large.
const UNEXPLAINED_MAX: SignedDuration = SignedDuration::from_hours(1);
/// How long nothing is deleted then.
const HOLD: SignedDuration = SignedDuration::from_hours(24);

/// What is known of the store's time, for all processes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWatch {
    /// The store's time at the last look.
    pub seen_at: Timestamp,
    /// Observed time that has to go by before anything is deleted; zero most of the time.
    pub hold: SignedDuration,
}

impl TimeWatch {
    /// Looks again, `observed` after the last look of this process (or after its start). `known` is what anybody saw
    /// last; nothing at all counts as a jump.
    #[must_use]
    pub fn look(known: Option<Self>, now: Timestamp, observed: SignedDuration) -> Self {
        let Some(known) = known else { return Self { seen_at: now, hold: HOLD } };
        let passed = now.duration_since(known.seen_at);
        let has_jumped = passed.saturating_sub(observed) > UNEXPLAINED_MAX || passed < -UNEXPLAINED_MAX;
        let hold = match has_jumped {
            true => HOLD,
            // Several processes look at the same time, and each moment counts once.
            false => {
                known.hold.saturating_sub(passed.min(observed).max(SignedDuration::ZERO)).max(SignedDuration::ZERO)
            }
        };
        Self { seen_at: now, hold }
    }

    /// Whether anything may be deleted.
    #[must_use]
    pub fn may_delete(&self) -> bool {
        self.hold.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: SignedDuration = SignedDuration::from_mins(10);

    fn settled() -> TimeWatch {
        TimeWatch { seen_at: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000), hold: SignedDuration::ZERO }
    }

    /// A look after the store's time went on by `passed` and the process's by `observed`.
    fn after(watch: TimeWatch, passed: SignedDuration, observed: SignedDuration) -> TimeWatch {
        TimeWatch::look(Some(watch), watch.seen_at + passed, observed)
    }

    #[test]
    fn observed_time_may_delete() {
        for passed in
            [ROUND, ROUND + SignedDuration::from_mins(59), -SignedDuration::from_mins(59), SignedDuration::ZERO]
        {
            assert!(after(settled(), passed, ROUND).may_delete(), "{passed}");
        }
        let long = SignedDuration::from_hours(50);
        assert!(after(settled(), long, long).may_delete(), "the store was away, the process was not");
        assert!(after(settled(), ROUND, long).may_delete(), "another process looked meanwhile");
    }

    #[test]
    fn a_jump_holds_for_a_day_of_observed_time() {
        let hours = SignedDuration::from_hours;
        for jump in [hours(2), hours(48), hours(87_600), -hours(2), -hours(400_000)] {
            let mut watch = after(settled(), jump + ROUND, ROUND);
            for _ in 0..24 * 6 {
                assert!(!watch.may_delete(), "{jump}");
                watch = after(watch, ROUND, ROUND);
            }
            assert!(watch.may_delete(), "{jump}");
        }
    }

    #[test]
    fn a_start_holds_when_nobody_looked_for_long_or_ever() {
        assert!(!TimeWatch::look(None, Timestamp::UNIX_EPOCH, SignedDuration::ZERO).may_delete());
        assert!(!after(settled(), SignedDuration::from_hours(3), ROUND).may_delete());
        assert!(after(settled(), SignedDuration::from_mins(30), ROUND).may_delete(), "a restart");
    }

    #[test]
    fn many_processes_do_not_shorten_the_hold() {
        let (mut watch, mut passed) = (TimeWatch { hold: HOLD, ..settled() }, SignedDuration::ZERO);
        let each = SignedDuration::from_mins(2);
        while !watch.may_delete() {
            // Five processes, each of which looks every ten minutes.
            watch = after(watch, each, ROUND);
            passed += each;
        }
        assert_eq!(passed, HOLD);
    }

    #[test]
    fn a_clock_that_returns_from_a_jump_is_a_jump() {
        let far = after(settled(), SignedDuration::from_hours(87_600), ROUND);
        let back = after(TimeWatch { hold: SignedDuration::ZERO, ..far }, -SignedDuration::from_hours(87_600), ROUND);
        assert!(!back.may_delete());
    }
}
