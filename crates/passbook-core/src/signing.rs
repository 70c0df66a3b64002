//! When a key that signs webhooks is published and when it signs.
//!
//! Receivers keep the published keys for up to a day. So a new key is published for longer than that before it signs
//! anything, and an old one stays published long after its last signature.

use jiff::{SignedDuration, Timestamp};

/// How long a new key is published before it signs: longer than a receiver may keep what it knows.
pub const PUBLISHED_AHEAD: SignedDuration = SignedDuration::from_hours(25);
/// How long a key stays published after the next one took over.
pub const PUBLISHED_AFTER: SignedDuration = SignedDuration::from_hours(48);

/// The key that signs at `now`: the newest whose time has come, or the first one. `signs_from` holds when each key
/// begins to sign, in the order in which they were made. `None` when there is no key.
#[must_use]
pub fn signing(signs_from: &[Timestamp], now: Timestamp) -> Option<usize> {
    let begun = signs_from.iter().rposition(|from| *from <= now);
    begun.or((!signs_from.is_empty()).then_some(0))
}

/// The keys that are published at `now`.
#[must_use]
pub fn published(signs_from: &[Timestamp], now: Timestamp) -> Vec<usize> {
    let Some(signing) = signing(signs_from, now) else { return Vec::new() };
    let is_wanted = |index: usize| {
        // The first successor that signs ended this key's time.
        let ended = signs_from[index + 1..].iter().min();
        index >= signing || ended.is_none_or(|ended| now.duration_since(*ended) < PUBLISHED_AFTER)
    };
    (0..signs_from.len()).filter(|index| is_wanted(*index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3_600).unwrap()
    }

    #[test]
    fn a_new_key_is_published_a_day_before_it_signs_and_the_old_one_two_days_after() {
        // Made at hours 0 and 100.
        let keys = [hour(0), hour(100) + PUBLISHED_AHEAD];
        assert_eq!((signing(&keys, hour(100)), published(&keys, hour(100))), (Some(0), vec![0, 1]));
        assert_eq!(
            signing(&keys, hour(124)),
            Some(0),
            "a receiver that asked at hour 100 still does not know the new key"
        );
        assert_eq!((signing(&keys, hour(125)), published(&keys, hour(125))), (Some(1), vec![0, 1]));
        assert_eq!(published(&keys, hour(172)), [0, 1]);
        assert_eq!(published(&keys, hour(173)), [1]);
    }

    #[test]
    fn several_rotations_in_a_day_lose_nothing() {
        let keys = [hour(0), hour(10), hour(11), hour(12)];
        assert_eq!(published(&keys, hour(13)), [0, 1, 2, 3]);
        assert_eq!(published(&keys, hour(58)), [1, 2, 3]);
        assert_eq!(published(&keys, hour(61)), [3]);
        assert_eq!(signing(&keys, hour(11)), Some(2));
    }

    #[test]
    fn there_is_always_a_key_once_one_was_made() {
        assert_eq!((signing(&[], hour(1)), published(&[], hour(1))), (None, vec![]));
        assert_eq!(signing(&[hour(9)], hour(1)), Some(0), "a clock that runs back does not stop deliveries");
        assert_eq!(published(&[hour(9)], hour(1)), [0]);
    }
}
