//! When a webhook is tried, tried again, and given up; and when its address is.
//!
//! An attempt succeeded when the receiver answered 2xx, and never otherwise. Everything else is tried again by a
//! schedule of about three days, measured by the app's clock. An address that answers 410, or that has failed for five
//! days and in ten attempts, is switched off until somebody switches it on. The app moves its sandbox clock, so days
//! alone prove nothing: attempts are calls that were really made.

use jiff::{SignedDuration, Timestamp};

/// Attempts before a delivery is given up.
pub const ATTEMPTS_MAX: u32 = 10;
/// How long an address may go without a success before it is switched off, by the app's clock.
pub const ADDRESS_PATIENCE: SignedDuration = SignedDuration::from_hours(5 * 24);
/// Attempts that must have failed since the last success before an address is switched off, however long ago that was.
pub const ADDRESS_FAILURES: u32 = 10;

/// Pauses before attempts 2 to 10; the first is made at once.
const PAUSES: [SignedDuration; ATTEMPTS_MAX as usize - 1] = [
    SignedDuration::from_secs(5),
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(30),
    SignedDuration::from_hours(2),
    SignedDuration::from_hours(5),
    SignedDuration::from_hours(10),
    SignedDuration::from_hours(14),
    SignedDuration::from_hours(20),
    SignedDuration::from_hours(24),
];
/// How far a pause may be from the schedule: a fifth of it.
const SPREAD: i128 = 5;
/// How much longer than the schedule a receiver may ask to be left alone.
const ASKED_PAUSE_FACTOR: i32 = 2;

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The receiver has it.
    Succeeded,
    /// It has not; it may have asked for a pause.
    Failed(Option<SignedDuration>),
    /// The receiver wants no webhooks any more.
    Unwanted,
}

/// What becomes of the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Delivered,
    /// Again after this pause.
    Again(SignedDuration),
    /// Given up: a dead letter, which can be replayed.
    Dead,
}

/// Why an address gets no webhooks any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchedOff {
    /// It answered 410.
    Unwanted,
    /// It did not succeed for [`ADDRESS_PATIENCE`].
    Failing,
}

impl Attempt {
    /// What a status means; `asked_pause` is what the receiver asked for.
    #[must_use]
    pub fn of_status(status: u16, asked_pause: Option<SignedDuration>) -> Self {
        match status {
            200..=299 => Self::Succeeded,
            410 => Self::Unwanted,
            _ => Self::Failed(asked_pause),
        }
    }
}

/// What becomes of a delivery whose attempt number `tries` (from 1, of this round of the schedule) ended so. `luck` is
/// any number; the pause's place within its spread follows from it.
#[must_use]
pub fn judge(attempt: Attempt, tries: u32, luck: u128) -> Verdict {
    let asked = match attempt {
        Attempt::Succeeded => return Verdict::Delivered,
        Attempt::Unwanted => return Verdict::Dead,
        Attempt::Failed(asked) => asked.unwrap_or(SignedDuration::ZERO),
    };
    let Some(pause) = PAUSES.get((tries.max(1) - 1) as usize) else { return Verdict::Dead };
    Verdict::Again(spread(*pause, luck).max(asked.min(*pause * ASKED_PAUSE_FACTOR)))
}

/// What is known of an address that does not succeed. The default is one that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failing {
    /// When its first attempt since the last success failed, by the app's clock.
    pub since: Option<Timestamp>,
    /// Attempts that failed since the last success; counted up to [`ADDRESS_FAILURES`].
    pub attempts: u32,
}

/// Whether an address is to be switched off now that an attempt came to this. `failing` is what was known of it before
/// the attempt; `now` is of the app's clock.
#[must_use]
pub fn judge_address(attempt: Attempt, failing: Failing, now: Timestamp) -> Option<SwitchedOff> {
    match attempt {
        Attempt::Succeeded => None,
        Attempt::Unwanted => Some(SwitchedOff::Unwanted),
        Attempt::Failed(_) => {
            let since = failing.since?;
            let is_over = now.duration_since(since) >= ADDRESS_PATIENCE && failing.attempts + 1 >= ADDRESS_FAILURES;
            is_over.then_some(SwitchedOff::Failing)
        }
    }
}

/// A pause within a fifth of `pause`, evenly spread.
fn spread(pause: SignedDuration, luck: u128) -> SignedDuration {
    let whole = pause.as_micros();
    let width = whole * 2 / SPREAD;
    // The remainder is at most `width`, which fits.
    let micros = whole - whole / SPREAD + (luck % (width as u128 + 1)) as i128;
    SignedDuration::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILED: Attempt = Attempt::Failed(None);

    #[test]
    fn the_schedule_is_the_documented_one() {
        let middles: Vec<_> = (1..=10).map(|tries| judge(FAILED, tries, 0)).collect();
        let seconds = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
        let lowest = seconds.map(|pause| Verdict::Again(SignedDuration::from_millis(pause * 800)));
        assert_eq!(&middles[..9], lowest);
        assert_eq!(middles[9], Verdict::Dead);
        assert_eq!(seconds.iter().sum::<i64>(), 272_105, "the tenth attempt comes about 75.6 hours after the first");
    }

    #[test]
    fn only_2xx_is_success_and_410_ends_it() {
        assert_eq!(judge(Attempt::of_status(204, None), 10, 0), Verdict::Delivered);
        for status in [100, 199, 300, 301, 304, 308, 400, 404, 429, 500, 503, 599] {
            assert!(matches!(judge(Attempt::of_status(status, None), 1, 0), Verdict::Again(_)), "{status}");
        }
        assert_eq!(judge(Attempt::of_status(410, None), 1, 0), Verdict::Dead);
    }

    #[test]
    fn a_receiver_may_ask_for_twice_the_pause_and_no_more() {
        let asked = |seconds| judge(Attempt::Failed(Some(SignedDuration::from_secs(seconds))), 2, 0);
        assert_eq!(asked(1), Verdict::Again(SignedDuration::from_secs(240)));
        assert_eq!(asked(400), Verdict::Again(SignedDuration::from_secs(400)));
        assert_eq!(asked(86_400), Verdict::Again(SignedDuration::from_secs(600)));
        assert_eq!(asked(-5), Verdict::Again(SignedDuration::from_secs(240)));
    }

    #[test]
    fn an_address_is_switched_off_after_five_days_and_ten_attempts_without_a_success() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let failing = |seconds, attempts| Failing { since: Some(now - SignedDuration::from_secs(seconds)), attempts };
        assert_eq!(judge_address(FAILED, Failing::default(), now), None);
        assert_eq!(judge_address(FAILED, failing(5 * 86_400 - 1, 10), now), None);
        assert_eq!(judge_address(FAILED, failing(5 * 86_400, 9), now), Some(SwitchedOff::Failing));
        assert_eq!(judge_address(Attempt::Succeeded, failing(9 * 86_400, 10), now), None);
        assert_eq!(judge_address(Attempt::Unwanted, Failing::default(), now), Some(SwitchedOff::Unwanted));
    }

    #[test]
    fn a_clock_that_is_moved_switches_no_address_off_by_itself() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        for attempts in 0..9 {
            let failing = Failing { since: Some(now - SignedDuration::from_hours(24 * 365)), attempts };
            assert_eq!(judge_address(FAILED, failing, now), None, "after {attempts} attempts");
        }
    }

    proptest! {
        #[test]
        fn every_pause_is_within_a_fifth_of_the_schedule(tries in 1_u32..10, luck: u128) {
            let Verdict::Again(pause) = judge(FAILED, tries, luck) else { panic!("given up too early") };
            let planned = PAUSES[(tries - 1) as usize].as_micros();
            prop_assert!((pause.as_micros() - planned).abs() * 5 <= planned);
        }
    }
}
