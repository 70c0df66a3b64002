//! Request limits (contract, section 4.3): in memory, per replica, on real time.
//!
//! GCRA by `governor` over a bounded store: an application can touch no more links in a minute than its own limit lets
//! it, so keys that fall out of the store are keys nobody is near the limit of. Keys are hashed with a random seed per
//! process, so nobody can aim at another application's counter.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, StateStore},
};

use super::{
    errors::ApiError,
    operation::{Narrow, Operation},
};
use crate::network;

/// Counters kept per limit. A minute of one application at its own limit fits a hundred times over; a counter that falls
/// out costs an allocation to make again, so there is room for the links that a busy replica touches in a few seconds.
const COUNTERS_MAX: usize = 65_536;

/// Wrong secrets per minute and claimed client id, and per minute and client address.
const WRONG_SECRETS_PER_MINUTE: u32 = 300;

/// All limits of one replica.
pub struct Limits {
    hasher: RandomState,
    wrong_secrets: Option<Limit>,
    wrong_secrets_of_address: Option<Limit>,
    per_app: Vec<Option<Limit>>,
    narrow: Vec<Option<Limit>>,
}

type Limit = RateLimiter<u64, Counters, MonotonicClock, NoOpMiddleware<<MonotonicClock as Clock>::Instant>>;

/// A bounded map of counters.
struct Counters(quick_cache::sync::Cache<u64, Arc<InMemoryState>>);

impl StateStore for Counters {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(counter) = self.0.get(key) {
            return counter.measure_and_replace(&governor::state::NotKeyed::NonKey, measure);
        }
        let counter = Arc::new(InMemoryState::default());
        let counter = self.0.get_or_insert_with(key, || Ok::<_, std::convert::Infallible>(counter));
        let Ok(counter) = counter;
        counter.measure_and_replace(&governor::state::NotKeyed::NonKey, measure)
    }
}

impl Limits {
    /// The contract's limits, each divided by `replicas` (rounded up) and multiplied by `factor`, which measurements
    /// raise to keep counting while staying out of reach.
    pub fn new(replicas: u32, factor: u32) -> Self {
        let limit = |per_minute: u32| {
            let share = per_minute.saturating_mul(factor.max(1)).div_ceil(replicas.max(1));
            NonZeroU32::new(share).map(|share| {
                let counters = Counters(quick_cache::sync::Cache::new(COUNTERS_MAX));
                RateLimiter::new(Quota::per_minute(share), counters, MonotonicClock)
            })
        };
        let narrow = |operation: &Operation| match operation.narrow() {
            Narrow::None => None,
            Narrow::Link(per_minute) | Narrow::User(per_minute) => limit(per_minute),
        };
        Self {
            hasher: RandomState::new(),
            wrong_secrets: limit(WRONG_SECRETS_PER_MINUTE),
            wrong_secrets_of_address: limit(WRONG_SECRETS_PER_MINUTE),
            per_app: Operation::ALL.iter().map(|operation| limit(operation.per_app())).collect(),
            narrow: Operation::ALL.iter().map(narrow).collect(),
        }
    }

    /// Counts a call of `operation` by `app` (or, for tokens, by the client).
    ///
    /// # Errors
    /// The 429 answer.
    pub fn count_app(&self, operation: Operation, app: &str) -> Result<(), ApiError> {
        count(self.per_app[operation as usize].as_ref(), self.hasher.hash_one(app))
    }

    /// Counts a wrong secret by the client id it was claimed for, whichever way it came, and by the address it came
    /// from, so that nobody can try one secret on very many ids. Both have counts of their own: anyone can claim any id
    /// and many share an address, so what others guess must never use up what the client itself may do.
    ///
    /// # Errors
    /// The 429 answer.
    pub fn count_wrong_secret(&self, client_id: &str, from: Option<IpAddr>) -> Result<(), ApiError> {
        let by_address = from.map_or(Ok(()), |from| {
            count(self.wrong_secrets_of_address.as_ref(), self.hasher.hash_one(network::peer(from)))
        });
        // Both are counted, also when the first is used up.
        count(self.wrong_secrets.as_ref(), self.hasher.hash_one(client_id)).and(by_address)
    }

    /// Counts a call by the narrower key: application and link, or application and end user.
    ///
    /// # Errors
    /// The 429 answer.
    pub fn count_narrow(&self, operation: Operation, app: &str, narrow: &[u8]) -> Result<(), ApiError> {
        count(self.narrow[operation as usize].as_ref(), self.hasher.hash_one((app, narrow)))
    }
}

fn count(limit: Option<&Limit>, key: u64) -> Result<(), ApiError> {
    let Some(limit) = limit else { return Ok(()) };
    limit.check_key(&key).map_err(|refused| {
        let wait = refused.wait_time_from(MonotonicClock.now());
        // Rounded up: a client that waits exactly this long must succeed.
        let seconds = i64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(60).max(1);

        ApiError::limited("Rate limit exceeded", seconds)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_per_key_and_names_the_wait() {
        let limits = Limits::new(1, 1);
        let count = |link: &[u8]| limits.count_narrow(Operation::GetAccountNumbers, "app", link);
        for _ in 0..3 {
            assert!(count(b"one").is_ok());
        }
        assert!(count(b"one").is_err());
        assert!(count(b"two").is_ok());
        assert!(limits.count_narrow(Operation::GetAccountNumbers, "other", b"one").is_ok());
    }

    #[test]
    fn wrong_secrets_count_by_address_too() {
        let limits = Limits::new(1, 1);
        let (guesser, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let guesses = (0..1_000).filter(|id| limits.count_wrong_secret(&format!("id {id}"), Some(guesser)).is_ok());
        assert_eq!(guesses.count(), WRONG_SECRETS_PER_MINUTE as usize);
        assert!(limits.count_wrong_secret("id 1", Some(other)).is_ok());
    }

    #[test]
    fn replicas_share_a_limit_and_operations_without_one_are_free() {
        let limits = Limits::new(3, 1);
        let allowed =
            (0..10).filter(|_| limits.count_narrow(Operation::GetAccountNumbers, "app", b"one").is_ok()).count();
        assert_eq!(allowed, 1);
        assert!((0..10_000).all(|_| limits.count_app(Operation::GetHealth, "app").is_ok()));
    }
}
