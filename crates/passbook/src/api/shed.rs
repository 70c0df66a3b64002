//! Refusing early what could only be answered late.
//!
//! Requests that write, or scan, wait for the store and for the processor; when more of them arrive than can be done,
//! all of them wait longer and none is better off. So the number of such requests that are worked on at once is bounded.
//! A request takes its place last, when its caller is known, its limits have let it pass and its body has arrived, and
//! gives it back before its response is sent: no place is held while the server waits for a peer.
//!
//! Tenants share the places fairly ([`passbook_core::shares`]). A tenant below its share waits up to [`SHORT_PATIENCE`]
//! for the next place; a tenant that has its share is refused at once with 503 and `Retry-After`, before anything was
//! changed.
//!
//! The bound follows two measures of the work itself. It shrinks by a tenth when a place was held longer than [`TARGET`],
//! whatever its request waited for, or when the runtime kept taking longer than [`QUEUE_TARGET`] to come back to a request
//! that was ready: then every request waits that long at each step, refusals and reads included. It grows by one after
//! every full round that stayed well below both.
//!
//! Point reads cost little more than refusing them would and need no place, nor do health, readiness, metrics and the
//! withdrawal of access by an operator.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use passbook_core::{shares::Bounds, tenant::Tenant};

use super::operation::{Operation, Work};
use passbook_store::places::{NoPlace, Place, Places};

/// What a short request may take before there are too many of them.
const TARGET: Duration = Duration::from_millis(100);
/// The bound grows at most this often, so that what it has grown to shows before it grows on.
const GROW_EVERY: Duration = Duration::from_millis(50);
/// How long a request that is ready may wait for its turn on the runtime's threads.
const QUEUE_TARGET: Duration = Duration::from_millis(1);
/// Only a standing wait counts: the median of at least so many, measured over at least and at most this time. A single
/// long one means that another process had the processor.
const TURNS_MIN: usize = 3;
const TURNS_AT_LEAST: Duration = Duration::from_millis(30);
const TURNS_AT_MOST: Duration = Duration::from_millis(500);
/// Bounds of the number of short requests at once.
const SHORT_MIN: u32 = 4;
const SHORT_START: u32 = 64;
const SHORT_MAX: u32 = 1_024;
/// A tenant with fewer requests than this waits for a place even if the bound has become so small that it has its share.
const SHORT_PATIENT_BELOW: u32 = 8;
/// How long a request of a tenant below its share waits for a place.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// Requests at once that wait for a bank, a clock or a large file; how long they take says nothing about load.
const LONG_MAX: u32 = 256;
/// How long such a request waits for a place.
const LONG_PATIENCE: Duration = Duration::from_secs(10);
/// Requests of one tenant that wait for a place of either kind.
const WAITING_MAX: u32 = 256;

/// Counts what is being worked on and decides who may begin.
pub struct Shedder {
    short: Arc<Places<Tenant>>,
    long: Arc<Places<Tenant>>,
    limit: AtomicU32,
    learning: Mutex<Learning>,
    /// Somebody measures the wait for a turn; one at a time is enough.
    is_measuring: AtomicBool,
}

/// What the limit is learnt from.
struct Learning {
    /// Quick requests since the limit last changed.
    quick: u32,
    last_cut: Option<Instant>,
    last_grown: Option<Instant>,
    turns: Option<Turns>,
}

/// Waits for a turn, measured one after the other.
struct Turns {
    since: Instant,
    took: Vec<Duration>,
}

/// The right to work on a request; dropping it gives the place back, and what it was held for is learnt from.
pub struct Admitted<'a> {
    shedder: &'a Shedder,
    work: Work,
    since: Instant,
    _place: Option<Place<Tenant>>,
}

impl Default for Shedder {
    fn default() -> Self {
        Self::new(SHORT_PATIENCE, LONG_PATIENCE)
    }
}

impl Shedder {
    /// One whose requests wait so long for a place, short and long ones.
    pub fn new(short_patience: Duration, long_patience: Duration) -> Self {
        let short =
            Bounds { limit: SHORT_START, reserve: 0, patient_below: SHORT_PATIENT_BELOW, waiting_max: WAITING_MAX };
        let long = Bounds::held_long(LONG_MAX, WAITING_MAX);
        Self {
            short: Places::new(short, short_patience),
            long: Places::new(long, long_patience),
            limit: AtomicU32::new(SHORT_START),
            learning: Mutex::new(Learning { quick: 0, last_cut: None, last_grown: None, turns: None }),
            is_measuring: AtomicBool::new(false),
        }
    }

    /// A place for this operation of the tenant, at once or after a wait that has its deadline.
    ///
    /// # Errors
    /// [`NoPlace`] when too many are being worked on.
    pub async fn admit(&self, operation: Operation, tenant: &Tenant) -> Result<Admitted<'_>, NoPlace> {
        let work = operation.work();
        let place = match work {
            Work::Light => None,
            Work::Short => Some(self.short.enter(tenant).await?),
            Work::Long => Some(self.long.enter(tenant).await?),
        };
        let admitted = Admitted { shedder: self, work, since: Instant::now(), _place: place };
        admitted.take_turn().await;
        Ok(admitted)
    }

    /// How many short requests may be worked on at once now.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Places that are taken, of either kind.
    pub fn held(&self) -> u32 {
        self.short.held() + self.long.held()
    }

    fn learn(&self, took: Duration, at_once: u32, now: Instant) {
        let limit = self.limit();
        if took <= TARGET && at_once < limit / 2 {
            // Says nothing: it was quick because there was little to do.
            return;
        }
        let mut learning = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        if took > TARGET {
            // One cut for everything that was under way together.
            self.cut(&mut learning, now, TARGET, 0.9);
        } else if took <= TARGET / 2 {
            learning.quick += 1;
            let may_grow = learning.last_grown.is_none_or(|grown| now.saturating_duration_since(grown) >= GROW_EVERY);
            if learning.quick >= limit && may_grow {
                learning.quick = 0;
                learning.last_grown = Some(now);
                self.set_limit((limit + 1).min(SHORT_MAX));
            }
        }
    }

    /// Learns from how long a request that was ready waited for its turn.
    fn learn_turn(&self, took: Duration, now: Instant) {
        let mut learning = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = learning.turns.get_or_insert_with(|| Turns { since: now, took: Vec::new() });
        turns.took.push(took);
        let measured_for = now.saturating_duration_since(turns.since);
        if measured_for > TURNS_AT_MOST {
            learning.turns = None;
            return;
        }
        if turns.took.len() < TURNS_MIN || measured_for < TURNS_AT_LEAST {
            return;
        }
        let middle = turns.took.len() / 2;
        let waited = *turns.took.select_nth_unstable(middle).1;
        learning.turns = None;
        if waited > QUEUE_TARGET / 2 {
            learning.quick = 0;
        }
        if waited > QUEUE_TARGET {
            // The wait is the sum of what the admitted ones compute, so the excess says how many are too many.
            let excess = QUEUE_TARGET.as_secs_f64() / waited.as_secs_f64();
            self.cut(&mut learning, now, TURNS_AT_LEAST, excess.clamp(0.5, 0.9));
        }
    }

    /// Shrinks the limit to this part of it, unless it shrank so shortly before that the effect does not show yet.
    fn cut(&self, learning: &mut Learning, now: Instant, shows_after: Duration, part: f64) {
        if learning.last_cut.is_none_or(|cut| now.saturating_duration_since(cut) >= shows_after) {
            learning.last_cut = Some(now);
            learning.quick = 0;
            let limit = (f64::from(self.limit()) * part) as u32;
            self.set_limit(limit.max(SHORT_MIN));
        }
    }

    fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
        self.short.set_limit(limit);
    }
}

impl Admitted<'_> {
    /// Lets the others that are ready have their turn once, and learns from how long that takes.
    async fn take_turn(&self) {
        if self.work == Work::Short && !self.shedder.is_measuring.swap(true, Ordering::Acquire) {
            let began = Instant::now();
            let measured = Measuring(&self.shedder.is_measuring);
            tokio::task::yield_now().await;
            drop(measured);
            self.shedder.learn_turn(began.elapsed(), Instant::now());
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if self.work == Work::Short {
            self.shedder.learn(self.since.elapsed(), self.shedder.short.held(), Instant::now());
        }
    }
}

/// Ends the measuring, also when the request is dropped in the middle of it.
struct Measuring<'a>(&'a AtomicBool);

impl Drop for Measuring<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use passbook_core::{ids::AppId, tenant::Environment};

    use super::*;

    const SHORT: Operation = Operation::CreateLinkSession;

    fn tenant(bits: u128) -> Tenant {
        Tenant { app_id: AppId::from_bits(bits), environment: Environment::Sandbox }
    }

    /// As many short requests of the tenant as get a place.
    async fn fill<'a>(shedder: &'a Shedder, tenant: &Tenant) -> Vec<Admitted<'a>> {
        let mut admitted = Vec::new();
        while let Ok(one) = shedder.admit(SHORT, tenant).await {
            admitted.push(one);
        }
        admitted
    }

    /// A full round of requests that end now, each after `took`.
    fn finish_round(shedder: &Shedder, took: Duration, at: Instant) {
        let limit = shedder.limit();
        (0..limit).for_each(|_| shedder.learn(took, limit, at));
    }

    #[tokio::test]
    async fn more_than_the_limit_is_refused_until_somebody_is_done() {
        let (shedder, one) = (Shedder::default(), tenant(1));
        let mut admitted = fill(&shedder, &one).await;
        assert_eq!(admitted.len(), SHORT_START as usize);
        admitted.pop();
        assert!(shedder.admit(SHORT, &one).await.is_ok());
    }

    #[tokio::test]
    async fn another_tenant_gets_the_next_place_and_is_not_refused() {
        let (shedder, busy, quiet) = (Shedder::default(), tenant(1), tenant(2));
        let mut admitted = fill(&shedder, &busy).await;
        let mut waiting = Box::pin(shedder.admit(SHORT, &quiet));
        assert!(poll!(&mut waiting).is_pending());
        assert!(shedder.admit(SHORT, &busy).await.is_err());
        admitted.pop();
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn reads_and_health_need_no_place() {
        let (shedder, one) = (Shedder::default(), tenant(1));
        let _full = fill(&shedder, &one).await;
        for operation in [Operation::GetAccountNumbers, Operation::GetHealth, Operation::GetReadiness] {
            for _ in 0..1_000 {
                assert!(shedder.admit(operation, &one).await.is_ok());
            }
        }
    }

    #[tokio::test]
    async fn requests_that_wait_for_others_have_places_of_their_own_and_leave_some() {
        let (shedder, one, two) = (Shedder::default(), tenant(1), tenant(2));
        let mut held = Vec::new();
        for _ in 0..LONG_MAX - LONG_MAX / 4 {
            held.push(shedder.admit(Operation::CreateSandboxLink, &one).await);
        }
        assert!(held.iter().all(Result::is_ok));
        let mut waiting = Box::pin(shedder.admit(Operation::SetSandboxClock, &one));
        assert!(poll!(&mut waiting).is_pending(), "the rest is for others");
        assert!(shedder.admit(Operation::ImportFile, &two).await.is_ok());
        assert!(shedder.admit(SHORT, &one).await.is_ok());
    }

    #[test]
    fn the_limit_shrinks_while_requests_are_slow_and_not_below_its_floor() {
        let (shedder, mut at) = (Shedder::default(), Instant::now());
        for _ in 0..100 {
            at += TARGET * 2;
            finish_round(&shedder, TARGET * 2, at);
        }
        assert_eq!(shedder.limit(), SHORT_MIN);
    }

    #[test]
    fn requests_that_were_slow_together_cut_once() {
        let shedder = Shedder::default();
        finish_round(&shedder, TARGET * 2, Instant::now());
        assert_eq!(shedder.limit(), SHORT_START * 9 / 10);
    }

    /// Measures a wait every 8 ms for a second, each as `took` says, with quick requests between.
    fn wait_for_turns(shedder: &Shedder, took: impl Fn(u32) -> Duration) {
        let mut at = Instant::now();
        for n in 0..125 {
            finish_round(shedder, TARGET / 10, at);
            at += Duration::from_millis(8);
            shedder.learn_turn(took(n), at);
        }
    }

    #[test]
    fn the_limit_shrinks_while_requests_keep_waiting_for_their_turn() {
        let shedder = Shedder::default();
        wait_for_turns(&shedder, |_| QUEUE_TARGET * 2);
        assert!(shedder.limit() <= SHORT_MIN + 4, "{}", shedder.limit());
    }

    #[test]
    fn a_wait_now_and_then_says_nothing() {
        let shedder = Shedder::default();
        wait_for_turns(&shedder, |n| if n % 3 == 0 { QUEUE_TARGET * 10 } else { Duration::ZERO });
        assert!(shedder.limit() > SHORT_START);
    }

    #[test]
    fn waits_that_were_measured_seldom_say_nothing() {
        let (shedder, mut at) = (Shedder::default(), Instant::now());
        for _ in 0..100 {
            at += TURNS_AT_MOST;
            shedder.learn_turn(QUEUE_TARGET * 10, at);
        }
        assert_eq!(shedder.limit(), SHORT_START);
    }

    #[tokio::test]
    async fn one_request_at_a_time_measures_and_a_dropped_one_stops() {
        let (shedder, one) = (Shedder::default(), tenant(1));
        let mut measuring = Box::pin(shedder.admit(SHORT, &one));
        assert!(poll!(&mut measuring).is_pending());
        assert!(poll!(Box::pin(shedder.admit(SHORT, &one))).is_ready(), "the other one goes on at once");
        drop(measuring);
        assert!(poll!(Box::pin(shedder.admit(SHORT, &one))).is_pending(), "measures again");
    }

    #[test]
    fn the_limit_grows_while_it_is_used_and_requests_are_quick() {
        let (shedder, mut at) = (Shedder::default(), Instant::now());
        for _ in 0..40 {
            at += GROW_EVERY;
            finish_round(&shedder, TARGET / 4, at);
        }
        let grown = shedder.limit();
        assert!(grown > SHORT_START);
        for _ in 0..1_000 {
            at += GROW_EVERY;
            shedder.learn(TARGET / 4, 1, at);
        }
        assert_eq!(shedder.limit(), grown, "one at a time says nothing about how many would be too many");
    }
}
