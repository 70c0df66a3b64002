//! One movement of money on one account, before an instant decides whether it is pending, posted or yet to come.

use super::calendar::Month;

/// Seconds.
pub(super) const HOUR: i64 = 3_600;
/// When banks post bookings that are not card purchases.
const BOOKING_TIME: i64 = 9 * HOUR;

/// Why money moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Purchase {
        merchant: &'static str,
        store: u64,
    },
    Subscription {
        merchant: &'static str,
    },
    Refund {
        merchant: &'static str,
        store: u64,
    },
    CardPayment,
    Salary,
    Rent,
    Utility,
    Phone,
    Cash,
    PersonToPerson,
    Interest,
    /// To or from another account of the same person.
    Transfer {
        counterpart: &'static str,
    },
}

/// One movement of money on one account. Times are Unix seconds; it is pending from `initiated` until `posted`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) initiated: i64,
    pub(super) posted: i64,
    /// Minor units; positive enters the account. Never 0.
    pub(super) cents: i64,
    pub(super) cause: Cause,
}

/// A booking that posts on this day of the month and was announced the day before.
pub(super) fn booking(month: &Month, day: i64, cents: i64, cause: Cause) -> Entry {
    let posted = month.instant(day, BOOKING_TIME);
    Entry { initiated: month.instant(day - 1, BOOKING_TIME), posted, cents, cause }
}

/// The sum of the entries.
pub(super) fn total(entries: &[Entry]) -> i64 {
    entries.iter().map(|entry| entry.cents).sum()
}
