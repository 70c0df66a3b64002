//! What is left of a request limit, told with every answer that counted against one.
//!
//! The fields are those of the IETF draft on rate-limit fields in the form that clients and libraries read:
//! `RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset` and `RateLimit-Policy`. Of several limits that a call
//! counts against, the one with the fewest calls left is told.

use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Seconds over which every limit is spread.
const WINDOW_SECONDS: u32 = 60;

/// The state of one limit after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Calls a minute, of this process.
    pub limit: u32,
    /// Calls that could follow at once.
    pub remaining: u32,
}

impl Allowance {
    /// Seconds until all of it is back, rounded up.
    fn reset_seconds(self) -> u32 {
        let used = self.limit.saturating_sub(self.remaining);
        used.saturating_mul(WINDOW_SECONDS).div_ceil(self.limit.max(1))
    }

    /// The fields that tell it.
    pub fn fields(self) -> [(HeaderName, HeaderValue); 4] {
        let policy = HeaderValue::from_str(&format!("{};w={WINDOW_SECONDS}", self.limit));
        [
            (LIMIT, self.limit.into()),
            (REMAINING, self.remaining.into()),
            (RESET, self.reset_seconds().into()),
            (POLICY, policy.unwrap_or_else(|_| HeaderValue::from_static("0"))),
        ]
    }
}

/// Where a request notes the limits it counted against, so that its answer can tell. Goes with the request.
#[derive(Debug, Clone, Default)]
pub struct Counted(Arc<Mutex<Option<Allowance>>>);

impl Counted {
    /// Notes a limit; the one with the fewest calls left stays.
    pub fn note(&self, allowance: Allowance) {
        let mut tightest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tightest.is_none_or(|known| allowance.remaining < known.remaining) {
            *tightest = Some(allowance);
        }
    }

    /// Tells what was noted.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if let Some(allowance) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            headers.extend(allowance.fields());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_is_told() {
        let counted = Counted::default();
        let mut headers = HeaderMap::new();
        counted.tell(&mut headers);
        assert!(headers.is_empty());
        counted.note(Allowance { limit: 600, remaining: 599 });
        counted.note(Allowance { limit: 4, remaining: 1 });
        counted.note(Allowance { limit: 15, remaining: 9 });
        counted.tell(&mut headers);
        let told = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "ratelimit-policy"];
        assert_eq!(told.map(|name| headers[name].to_str().unwrap()), ["4", "1", "45", "4;w=60"]);
    }

    #[test]
    fn a_reset_is_rounded_up_and_never_divides_by_nothing() {
        let reset = |limit, remaining| Allowance { limit, remaining }.reset_seconds();
        assert_eq!((reset(600, 600), reset(600, 599), reset(7, 0), reset(0, 0)), (0, 1, 60, 0));
    }
}
