//! When a call is repeated, and how long the client waits before it does.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use jiff::fmt::rfc2822::DateTimeParser;

use crate::Error;

/// The longest wait for one repetition, whatever the server asks for.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// The first wait when the server names none; it doubles with each repetition.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// Where the doubling ends.
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// Whether repeating the call is harmless and may help.
pub(super) fn may_repeat(method: &Method, has_key: bool, error: &Error) -> bool {
    let unavailable = error.status() == Some(StatusCode::SERVICE_UNAVAILABLE);
    let limited = error.status() == Some(StatusCode::TOO_MANY_REQUESTS);
    // A 503 does not prove that the server did nothing, so it takes a read or an idempotency key. A refresh limit can be
    // hours away, so with a key a 429 is not waited for.
    error.is_connect()
        || (method == Method::GET && (unavailable || limited))
        || (has_key && (unavailable || error.is_lost_answer()))
}

/// How long to wait before repetition number `attempt`, counted from 0.
pub(super) fn delay(error: &Error, attempt: u32) -> Duration {
    let backoff = BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(attempt)).min(BACKOFF_MAX);
    error.retry_after().map_or(backoff, |asked| asked.min(RETRY_AFTER_MAX))
}

/// The wait an answer asks for: `Retry-After` in seconds or as an HTTP date (RFC 9110 section 10.2.3).
///
/// A date is measured against the answer's own `Date`, so that a wrong clock on this machine changes nothing. Without
/// `Date`, or with anything unreadable, there is no answer; a date in the past means now.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too large for a number is just very long.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = http_date(text)?;
    let now = http_date(headers.get(header::DATE)?.to_str().ok()?)?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

fn http_date(text: &str) -> Option<jiff::Timestamp> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    PARSER.parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(retry_after: &str, date: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, retry_after.parse().unwrap());
        if let Some(date) = date {
            headers.insert(header::DATE, date.parse().unwrap());
        }
        headers
    }

    #[test]
    fn seconds_are_read() {
        assert_eq!(retry_after(&headers("7", None)), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&headers("0", None)), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers("99999999999999999999999", None)), Some(Duration::from_secs(u64::MAX)));
    }

    #[test]
    fn dates_are_measured_against_the_answer() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(retry_after(&headers("Sun, 06 Nov 1994 08:49:57 GMT", date)), Some(Duration::from_secs(20)));
        assert_eq!(retry_after(&headers("Sun, 06 Nov 1994 08:00:00 GMT", date)), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers("Sun, 06 Nov 1994 08:49:57 GMT", None)), None);
    }

    #[test]
    fn nonsense_is_ignored() {
        for text in ["", "soon", "-1", "1.5", "2024-01-01T00:00:00Z"] {
            assert_eq!(retry_after(&headers(text, Some("Sun, 06 Nov 1994 08:49:37 GMT"))), None, "{text}");
        }
    }

    #[test]
    fn waiting_doubles_up_to_a_limit() {
        let error = Error::config("no wait named");
        let waits: Vec<_> = (0..7).map(|attempt| delay(&error, attempt).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(delay(&error, u32::MAX), BACKOFF_MAX);
    }
}
