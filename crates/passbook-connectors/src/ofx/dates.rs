//! Dates and times: `YYYYMMDD`, then optionally `HHMM`, seconds, a fraction, and a zone in brackets (OFX 3.2.8).
//!
//! The calendar date is taken as written, in the bank's own zone; it is the date on the paper statement. The instant
//! also needs the zone, and a missing one is UTC by the standard. The date is read strictly and the time leniently: a
//! transaction is on a day whatever follows it.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::Offset,
};

/// Years that a statement can be about; years beyond are slips of the pen or fillers.
const YEARS: std::ops::RangeInclusive<i16> = 1970..=2199;

/// A date as a statement gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OfxDate {
    /// The calendar date as written.
    pub(super) date: Date,
    time: Option<(Time, Offset)>,
}

impl OfxDate {
    /// The instant, when the file gives a time that means something. Midnight and noon are what software writes when
    /// it only knows the date, so they are not taken for a time.
    pub(super) fn exact_instant(self) -> Option<Timestamp> {
        self.time.filter(|(time, _)| *time != Time::midnight() && *time != Time::constant(12, 0, 0, 0))?;
        self.instant()
    }

    /// The instant, with midnight UTC when only a date is given.
    pub(super) fn instant(self) -> Option<Timestamp> {
        let (time, offset) = self.time.unwrap_or((Time::midnight(), Offset::UTC));
        offset.to_timestamp(DateTime::from_parts(self.date, time)).ok()
    }
}

/// Reads a date, `None` if there is none.
pub(super) fn parse(text: &str) -> Option<OfxDate> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(digits);
    if digits.len() < 8 {
        return None;
    }
    let year: i16 = digits[..4].parse().ok()?;
    let date = Date::new(year, number(&digits[4..6])?, number(&digits[6..8])?).ok()?;
    YEARS.contains(&year).then_some(OfxDate { date, time: time(&digits[8..], rest) })
}

/// The time of day from `HHMM` or `HHMMSS`, a fraction, and a zone; `None` if there is none or it makes no sense.
fn time(digits: &str, rest: &str) -> Option<(Time, Offset)> {
    let seconds = match digits.len() {
        4 => 0,
        // A leap second is written as 60, which no clock here has.
        6 => number(&digits[4..6])?.min(59),
        _ => return None,
    };
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
        None => ("", rest),
    };
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let time = Time::new(number(&digits[..2])?, number(&digits[2..4])?, seconds, nanoseconds).ok()?;
    Some((time, offset(zone.trim())?))
}

/// The zone: `[-5:EST]`, `[+5.30]`, `[0]`, or nothing for UTC. The name is ignored; only the offset says something.
fn offset(zone: &str) -> Option<Offset> {
    if zone.is_empty() {
        return Some(Offset::UTC);
    }
    let inner = zone.strip_prefix('[')?;
    let inner = inner.split([':', ']']).next()?.trim();
    let (sign, unsigned) = match inner.strip_prefix('-') {
        Some(unsigned) => (-1, unsigned),
        None => (1, inner.strip_prefix('+').unwrap_or(inner)),
    };
    if unsigned.is_empty() {
        // `[:GMT]` and `[]` occur for UTC.
        return Some(Offset::UTC);
    }
    let (hours, minutes) = match unsigned.split_once('.') {
        Some((hours, fraction)) => (hours, minutes_of_fraction(fraction)?),
        None if unsigned.len() == 4 => (unsigned.get(..2)?, unsigned.get(2..)?.parse().ok()?),
        None => (unsigned, 0),
    };
    let hours: i32 = hours.parse().ok().filter(|hours| (0..=14).contains(hours))?;
    Offset::from_seconds(sign * (hours * 3_600 + minutes * 60)).ok()
}

/// What follows the point of an offset: minutes (`.30`) by the standard, a part of an hour (`.5`, `.75`) in the field.
/// All zones are on quarter hours, which decides.
fn minutes_of_fraction(fraction: &str) -> Option<i32> {
    match fraction {
        "" | "0" | "00" => Some(0),
        "15" | "25" => Some(15),
        "30" | "5" | "50" => Some(30),
        "45" | "75" => Some(45),
        _ => None,
    }
}

fn number(digits: &str) -> Option<i8> {
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let date = parse(text).unwrap_or_else(|| panic!("{text} is a date"));
        match date.exact_instant() {
            Some(instant) => format!("{} {instant}", date.date),
            None => date.date.to_string(),
        }
    }

    #[test]
    fn every_form_of_date_is_read() {
        for (text, expected) in [
            ("20240105", "2024-01-05"),
            (" 20240105 ", "2024-01-05"),
            ("20240229000000", "2024-02-29"),
            ("20240105120000", "2024-01-05"),
            ("20240105120000.000[0:GMT]", "2024-01-05"),
            ("202401051530", "2024-01-05 2024-01-05T15:30:00Z"),
            ("20240105153045", "2024-01-05 2024-01-05T15:30:45Z"),
            ("20240105153045.123", "2024-01-05 2024-01-05T15:30:45.123Z"),
            ("20240105230000[-5:EST]", "2024-01-05 2024-01-06T04:00:00Z"),
            ("20240105230000.5[-5]", "2024-01-05 2024-01-06T04:00:00.5Z"),
            ("20240105010000[+5.30:IST]", "2024-01-05 2024-01-04T19:30:00Z"),
            ("20240105010000[5.5:IST]", "2024-01-05 2024-01-04T19:30:00Z"),
            ("20240105010000[-3.50:NST]", "2024-01-05 2024-01-05T04:30:00Z"),
            ("20240105010000[5.75:NPT]", "2024-01-05 2024-01-04T19:15:00Z"),
            ("20240105010000[-0330]", "2024-01-05 2024-01-05T04:30:00Z"),
            ("20240105010000[:GMT]", "2024-01-05 2024-01-05T01:00:00Z"),
            ("20240105235960", "2024-01-05 2024-01-05T23:59:59Z"),
            ("20240105253000", "2024-01-05"),
            ("20240105010000[99:XXX]", "2024-01-05"),
            ("20240105010000[-5.37]", "2024-01-05"),
            ("20240105 noonish", "2024-01-05"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_date() {
        for text in [
            "",
            "2024",
            "20241301",
            "20240230",
            "20230229",
            "00000000",
            "99991231",
            "22000101",
            "19691231",
            "2024-01-05",
            "abcdefgh",
            "２０２４０１０５",
            "-20240105",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_bare_date_is_midnight_utc_as_an_instant() {
        assert_eq!(parse("20240105").unwrap().instant().unwrap().to_string(), "2024-01-05T00:00:00Z");
        assert_eq!(parse("20240105120000[-5:EST]").unwrap().instant().unwrap().to_string(), "2024-01-05T17:00:00Z");
    }
}
