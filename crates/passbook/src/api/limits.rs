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
    middleware::{StateInformationMiddleware, StateSnapshot},
    nanos::Nanos,
    state::{InMemoryState, StateStore},
};

use super::{
    allowance::{Allowance, Counted},
    errors::ApiError,
    operation::{Narrow, Operation},
};
use crate::network;

/// Counters kept per limit. A minute of one application at its own limit fits a hundred times over; a counter that falls
/// out costs an allocation to make again, so there is room for the links that a busy replica touches in a few seconds.
const COUNTERS_MAX: usize = 65_536;

/// Wrong secrets per minute and claimed client id, and per minute and client address.
const WRONG_SECRETS_PER_MINUTE: u32 = 300;

/// What an operator's own limit counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// The application.
    App,
    /// The link in the path.
    Link,
    /// The end user in the body.
    User,
}

/// A limit that an operator sets instead of the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnLimit {
    /// The operation.
    pub operation: Operation,
    /// What it counts by.
    pub counts: Counts,
    /// Calls a minute over all replicas; 0 for no limit.
    pub per_minute: u32,
}

impl std::str::FromStr for OwnLimit {
    type Err = ();

    /// `get_link:link=60`. Only what the contract limits too can be limited otherwise.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (place, number) = text.split_once('=').ok_or(())?;
        let (id, counts) = place.split_once(':').ok_or(())?;
        let operation = Operation::ALL.iter().copied().find(|operation| operation.id() == id.trim()).ok_or(())?;
        let counts = match (counts.trim(), operation.narrow()) {
            ("app", _) if operation.per_app() > 0 => Counts::App,
            ("link", Narrow::Link(_)) => Counts::Link,
            ("user", Narrow::User(_)) => Counts::User,
            _ => return Err(()),
        };
        Ok(Self { operation, counts, per_minute: number.trim().parse().map_err(|_| ())? })
    }
}

/// All limits of one replica.
pub struct Limits {
    hasher: RandomState,
    wrong_secrets: Option<Limit>,
    wrong_secrets_of_address: Option<Limit>,
    per_app: Vec<Option<Limit>>,
    narrow: Vec<Option<Limit>>,
}

type Limit = RateLimiter<u64, Counters, MonotonicClock, StateInformationMiddleware>;

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
        Self::with_own(replicas, factor, &[])
    }

    /// As [`Limits::new`], with the operator's `own` limits instead of the contract's. The factor is for the contract's.
    pub fn with_own(replicas: u32, factor: u32, own: &[OwnLimit]) -> Self {
        let limit = |operation: &Operation, counts: Counts, contract: u32| {
            let own = own.iter().rev().find(|own| own.operation == *operation && own.counts == counts);
            let per_minute = own.map_or(contract.saturating_mul(factor.max(1)), |own| own.per_minute);
            share(per_minute, replicas)
        };
        let narrow = |operation: &Operation| match operation.narrow() {
            Narrow::None => None,
            Narrow::Link(per_minute) => limit(operation, Counts::Link, per_minute),
            Narrow::User(per_minute) => limit(operation, Counts::User, per_minute),
        };
        let per_app = |operation: &Operation| limit(operation, Counts::App, operation.per_app());
        let wrong_secrets = || share(WRONG_SECRETS_PER_MINUTE.saturating_mul(factor.max(1)), replicas);
        Self {
            hasher: RandomState::new(),
            wrong_secrets: wrong_secrets(),
            wrong_secrets_of_address: wrong_secrets(),
            per_app: Operation::ALL.iter().map(per_app).collect(),
            narrow: Operation::ALL.iter().map(narrow).collect(),
        }
    }

    /// Counts a call of `operation` by `app` (or, for tokens, by the client).
    ///
    /// # Errors
    /// The 429 answer.
    pub fn count_app(&self, operation: Operation, app: &str, counted: Option<&Counted>) -> Result<(), ApiError> {
        count(self.per_app[operation as usize].as_ref(), self.hasher.hash_one(app), counted)
    }

    /// Counts a wrong secret by the client id it was claimed for, whichever way it came, and by the address it came
    /// from, so that nobody can try one secret on very many ids. Both have counts of their own: anyone can claim any id
    /// and many share an address, so what others guess must never use up what the client itself may do.
    ///
    /// # Errors
    /// The 429 answer.
    pub fn count_wrong_secret(&self, client_id: &str, from: Option<IpAddr>) -> Result<(), ApiError> {
        let by_address = from.map_or(Ok(()), |from| {
            count(self.wrong_secrets_of_address.as_ref(), self.hasher.hash_one(network::peer(from)), None)
        });
        // Both are counted, also when the first is used up.
        count(self.wrong_secrets.as_ref(), self.hasher.hash_one(client_id), None).and(by_address)
    }

    /// Counts a call by the narrower key: application and link, or application and end user.
    ///
    /// # Errors
    /// The 429 answer.
    pub fn count_narrow(
        &self,
        operation: Operation,
        app: &str,
        narrow: &[u8],
        counted: Option<&Counted>,
    ) -> Result<(), ApiError> {
        count(self.narrow[operation as usize].as_ref(), self.hasher.hash_one((app, narrow)), counted)
    }
}

/// A replica's share of a limit; `None` when there is none.
fn share(per_minute: u32, replicas: u32) -> Option<Limit> {
    NonZeroU32::new(per_minute.div_ceil(replicas.max(1))).map(|share| {
        let counters = Counters(quick_cache::sync::Cache::new(COUNTERS_MAX));
        RateLimiter::new(Quota::per_minute(share), counters, MonotonicClock)
    })
}

fn count(limit: Option<&Limit>, key: u64, counted: Option<&Counted>) -> Result<(), ApiError> {
    let Some(limit) = limit else { return Ok(()) };
    let note = |allowance| {
        if let Some(counted) = counted {
            counted.note(allowance);
        }
    };
    match limit.check_key(&key) {
        Ok(state) => {
            note(allowance(&state));
            Ok(())
        }
        Err(refused) => {
            note(Allowance { limit: refused.quota().burst_size().get(), remaining: 0 });
            let wait = refused.wait_time_from(MonotonicClock.now());
            // Rounded up: a client that waits exactly this long must succeed.
            let seconds = i64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(60).max(1);
            Err(ApiError::limited("Rate limit exceeded", seconds))
        }
    }
}

fn allowance(state: &StateSnapshot) -> Allowance {
    Allowance { limit: state.quota().burst_size().get(), remaining: state.remaining_burst_capacity() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_per_key_and_names_the_wait() {
        let limits = Limits::new(1, 1);
        let count = |link: &[u8]| limits.count_narrow(Operation::GetAccountNumbers, "app", link, None);
        for _ in 0..3 {
            assert!(count(b"one").is_ok());
        }
        assert!(count(b"one").is_err());
        assert!(count(b"two").is_ok());
        assert!(limits.count_narrow(Operation::GetAccountNumbers, "other", b"one", None).is_ok());
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
            (0..10).filter(|_| limits.count_narrow(Operation::GetAccountNumbers, "app", b"one", None).is_ok()).count();
        assert_eq!(allowed, 1);
        assert!((0..10_000).all(|_| limits.count_app(Operation::GetHealth, "app", None).is_ok()));
    }

    #[test]
    fn an_operators_own_limit_replaces_the_contracts() {
        let own: Vec<OwnLimit> = ["get_account_numbers:link=1", "get_links:app=0", "get_account_numbers : link = 2"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let limits = Limits::with_own(1, 5, &own);
        let allowed = |count: &dyn Fn() -> bool| (0..1_000).filter(|_| count()).count();
        let numbers = || limits.count_narrow(Operation::GetAccountNumbers, "app", b"one", None).is_ok();
        assert_eq!(allowed(&numbers), 2, "the last one counts, and the factor does not");
        assert_eq!(allowed(&|| limits.count_app(Operation::GetLinks, "app", None).is_ok()), 1_000);
        let accounts = || limits.count_narrow(Operation::GetAccounts, "app", b"one", None).is_ok();
        assert_eq!(allowed(&accounts), 20, "the contract's with the factor");
    }

    #[test]
    fn an_own_limit_is_for_what_the_contract_limits() {
        for bad in [
            "",
            "get_link",
            "get_link=1",
            "get_link:link",
            "get_link:link=",
            "get_link:link=-1",
            "get_link:link=x",
            "get_link:user=1",
            "get_links:link=1",
            "create_link_session:link=1",
            "get_health:app=1",
            "nothing:app=1",
        ] {
            assert!(bad.parse::<OwnLimit>().is_err(), "{bad}");
        }
        assert_eq!("create_link_session:user=5".parse::<OwnLimit>().map(|own| own.counts), Ok(Counts::User));
    }
}
