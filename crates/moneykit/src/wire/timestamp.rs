//! Date-times as the contract sends them: UTC, exactly six fractional digits, `2024-01-09T10:32:38.401223Z`.
//!
//! Reading is lenient: any offset is accepted, and a date-time without one is taken as UTC, because samples in the
//! published documentation lack it.

use jiff::{Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serializer, de};

pub(crate) fn serialize<S: Serializer>(timestamp: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{timestamp:.6}"))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| de::Error::custom("expected an ISO 8601 date-time"))
}

pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    if let Ok(timestamp) = text.parse() {
        return Some(timestamp);
    }
    let without_offset: civil::DateTime = text.parse().ok()?;
    without_offset.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The same for optional fields: absent and null are `None`, `None` is written as null.
pub(crate) mod option {
    use super::{Deserialize, Deserializer, Serializer, Timestamp, de};

    pub(crate) fn serialize<S: Serializer>(timestamp: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match timestamp {
            Some(timestamp) => super::serialize(timestamp, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        super::parse(&text).map(Some).ok_or_else(|| de::Error::custom("expected an ISO 8601 date-time or null"))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Sample {
        #[serde(with = "super")]
        at: Timestamp,
    }

    fn rewritten(text: &str) -> Result<String, serde_json::Error> {
        let sample: Sample = serde_json::from_str(&format!(r#"{{"at":"{text}"}}"#))?;
        let json = serde_json::to_string(&sample)?;
        Ok(json.trim_start_matches(r#"{"at":""#).trim_end_matches(r#""}"#).to_owned())
    }

    #[test]
    fn written_with_exactly_six_digits_in_utc() {
        for (read, written) in [
            ("2024-01-09T10:32:38.401223Z", "2024-01-09T10:32:38.401223Z"),
            ("2024-01-09T10:32:38Z", "2024-01-09T10:32:38.000000Z"),
            ("2024-01-09T10:32:38.4+00:00", "2024-01-09T10:32:38.400000Z"),
            ("2024-01-09T12:32:38.401223+02:00", "2024-01-09T10:32:38.401223Z"),
            ("2024-01-09T10:32:38.401223999Z", "2024-01-09T10:32:38.401223Z"),
        ] {
            assert_eq!(rewritten(read).unwrap(), written);
        }
    }

    #[test]
    fn a_missing_offset_means_utc() {
        assert_eq!(rewritten("2024-01-09T10:32:38.401223").unwrap(), "2024-01-09T10:32:38.401223Z");
        assert_eq!(rewritten("2024-01-09T10:32:38").unwrap(), "2024-01-09T10:32:38.000000Z");
        assert_eq!(rewritten("2023-02-16T00:00:00").unwrap(), "2023-02-16T00:00:00.000000Z");
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "yesterday", "2024-13-01T00:00:00Z", "1704796358"] {
            assert!(rewritten(text).is_err(), "{text}");
        }
    }
}
