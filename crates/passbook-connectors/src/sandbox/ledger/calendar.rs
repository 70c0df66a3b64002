//! Months in UTC, as whole seconds: plain arithmetic that cannot overflow inside the years the clock allows.

use jiff::{Timestamp, civil, tz::Offset};

const DAY: i64 = 86_400;

/// A calendar month.
#[derive(Debug, Clone, Copy)]
pub(super) struct Month {
    year: i16,
    month: i8,
    /// Unix time of its first second.
    start: i64,
    pub(super) days: i64,
}

/// Months since January of year 0.
pub(super) fn month_index(date: civil::Date) -> i64 {
    i64::from(date.year()) * 12 + i64::from(date.month()) - 1
}

/// The first month of the quarter that `index` is in.
pub(super) fn quarter_start(index: i64) -> i64 {
    index - index.rem_euclid(3)
}

/// The date of an instant.
pub(in crate::sandbox) fn date_of(instant: Timestamp) -> civil::Date {
    Offset::UTC.to_datetime(instant).date()
}

impl Month {
    /// The month with this index; `None` outside the representable years, where nothing happens.
    pub(super) fn at(index: i64) -> Option<Self> {
        let year = i16::try_from(index.div_euclid(12)).ok()?;
        let month = i8::try_from(index.rem_euclid(12) + 1).ok()?;
        let first = civil::Date::new(year, month, 1).ok()?;
        let start = Offset::UTC.to_timestamp(first.at(0, 0, 0, 0)).ok()?.as_second();
        Some(Self { year, month, start, days: i64::from(first.days_in_month()) })
    }

    /// Unix time of `second` on the `day`-th day (from 1; 0 is the last day of the month before).
    pub(super) fn instant(&self, day: i64, second: i64) -> i64 {
        self.start + (day - 1) * DAY + second
    }

    /// Days from 1 January 1970 to the `day`-th day, from 1.
    pub(super) fn day_number(&self, day: i64) -> i64 {
        self.start / DAY + day - 1
    }

    /// The month as six digits.
    pub(super) fn digits(&self) -> String {
        format!("{:04}{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_know_their_start_and_length() {
        let index = month_index(civil::date(2024, 2, 29));
        let february = Month::at(index).unwrap();
        assert_eq!((february.digits().as_str(), february.days), ("202402", 29));
        assert_eq!(Timestamp::from_second(february.instant(29, 60)).unwrap().to_string(), "2024-02-29T00:01:00Z");
        assert_eq!(Timestamp::from_second(february.instant(0, 0)).unwrap().to_string(), "2024-01-31T00:00:00Z");
        assert_eq!(february.day_number(29), 19_782);
        assert_eq!(quarter_start(index), month_index(civil::date(2024, 1, 1)));
    }

    #[test]
    fn unrepresentable_months_are_absent() {
        assert!(Month::at(i64::MAX).is_none());
        assert!(Month::at(12 * 10_000).is_none());
    }
}
