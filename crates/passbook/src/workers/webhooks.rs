//! Delivery of webhooks: every event to the webhook its link had, at least once, signed.
//!
//! Stages of an event: *committed* with its change → *dispatched* (it has a position; its delivery waits) → *leased* →
//! *attempted* (nothing of the store is held meanwhile) → *ended*. A crash anywhere repeats at most the last stage, so a
//! receiver may see an attempt twice, with the same number. When and how often is `passbook_core::delivery`'s rule.
//!
//! Whose delivery is attempted next is decided by `passbook_core::delivery_shares`, from what is ready in the store
//! and what runs in this process: receivers that hang hold up nobody but their own tenant, and hardly that.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::{SignedDuration, Timestamp};
use passbook_core::{
    delivery::{Attempt, SwitchedOff, Verdict, judge, judge_address},
    delivery_shares::{Destination, PER_ADDRESS, ReadyQueue, RunningAttempts, SLOTS},
    secret::SecretBytes,
    tenant::Tenant,
    time::AppClock,
};
use passbook_store::port::{EndedAttempt, LeaseRequest, LeasedDelivery, NextAttempt, ReadyFilter, StoreError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{PAUSE_AFTER_FAULT, POLL_EVERY, pause};
use crate::{
    metrics,
    outbound::{Answer, Outbound, OutboundError},
    services::{Fault, Services, access::later},
    system::{hex, random_bits},
};

/// Addresses of one tenant that a round looks at. A tenant with more has them looked at in turn, so that it costs no
/// other tenant's time.
const ADDRESSES_PER_TENANT: u32 = 256;
/// Scheduled deliveries that become ready in one commit, and dead letters that are made in one.
const BATCH: u32 = 500;
/// How long a lease holds: longer than an attempt may take.
const LEASE: SignedDuration = SignedDuration::from_secs(30);
/// How long running attempts get to end after a stop. One that is cut off is made again.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// Pause before the next look when a tenant has more addresses than the last one saw, and nothing could be leased.
const LOOK_ON_AFTER: Duration = Duration::from_millis(50);
/// Shortest wait for a delivery that is nearly due.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

const SIGNATURE: HeaderName = HeaderName::from_static("moneykit-signature");
const DELIVERY_TOKEN: HeaderName = HeaderName::from_static("moneykit-delivery-token");
const DELIVERY_ATTEMPT: HeaderName = HeaderName::from_static("moneykit-delivery-attempt");
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("passbook/", env!("CARGO_PKG_VERSION")));

/// Delivers until it is stopped.
pub struct Courier {
    services: Arc<Services>,
    outbound: Outbound,
    owner: String,
    running: Mutex<RunningAttempts>,
    /// Where the next look at a tenant's addresses begins, for tenants with too many for one look.
    looked_at: Mutex<HashMap<Tenant, String>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Courier {
    /// One that has not started and that `stop` ends.
    #[must_use]
    pub fn new(services: Arc<Services>, outbound: Outbound, stop: CancellationToken) -> Self {
        Self {
            services,
            outbound,
            owner: hex(&random_bits().to_be_bytes()[..8]),
            running: Mutex::default(),
            looked_at: Mutex::default(),
            tasks: TaskTracker::new(),
            stop,
        }
    }

    /// Dispatches and delivers until stopped.
    pub async fn run(self: Arc<Self>) {
        self.bury().await;
        while !self.stop.is_cancelled() {
            match self.round().await {
                Ok(true) => {}
                Ok(false) => self.wait_for_work().await,
                Err(error) => {
                    self.services.metrics.store_failed(metrics::StoreError::Delivery);
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot deliver webhooks");
                    pause(PAUSE_AFTER_FAULT, &self.stop).await;
                }
            }
        }
        self.tasks.close();
        // Cut off after that: the lease runs out, or ends with the process.
        let _ended = tokio::time::timeout(STOP_PATIENCE, self.tasks.wait()).await;
    }

    /// Whether there may be more to do at once.
    async fn round(self: &Arc<Self>) -> Result<bool, StoreError> {
        let mut more = self.services.dispatch().await?;
        let store = &self.services.store;
        let now = store.now();
        // A look costs a read; only when something is due is it worth a write.
        if store.next_delivery_at().await?.is_some_and(|due| due <= now) {
            more |= store.wake_deliveries(now, BATCH).await? == u64::from(BATCH);
        }
        if lock(&self.running).total() >= SLOTS {
            return Ok(more);
        }
        let filter = ReadyFilter {
            addresses: ADDRESSES_PER_TENANT,
            per_address: PER_ADDRESS,
            after: lock(&self.looked_at).iter().map(|(tenant, address)| (tenant.clone(), address.clone())).collect(),
        };
        let queues = store.list_ready_deliveries(&filter).await?;
        self.note_places(&filter, &queues);
        let requests = requests(&queues, &lock(&self.running).pick(&queues));
        if requests.is_empty() {
            return Ok(more);
        }
        let failing: HashSet<&str> = queues
            .iter()
            .filter(|queue| queue.destination.is_failing)
            .map(|queue| queue.destination.address_id.as_str())
            .collect();
        let leased = store.lease_deliveries(&self.owner, later(now, LEASE), requests).await?;
        more |= !leased.is_empty();
        for delivery in leased {
            let is_failing = failing.contains(delivery.address.id.as_str());
            self.start(delivery, is_failing);
        }
        Ok(more)
    }

    /// Remembers where the next look begins at tenants that have more than this one saw.
    fn note_places(&self, filter: &ReadyFilter, queues: &[ReadyQueue]) {
        let mut seen: HashMap<&Tenant, (u32, &str)> = HashMap::new();
        for Destination { tenant, address_id, .. } in queues.iter().map(|queue| &queue.destination) {
            let (count, last) = seen.entry(tenant).or_default();
            *count += 1;
            *last = (*last).max(address_id);
        }
        let full = seen.into_iter().filter(|(_, (count, _))| *count >= filter.addresses);
        let places = full.map(|(tenant, (_, last))| (tenant.clone(), last.to_owned())).collect();
        *lock(&self.looked_at) = places;
    }

    async fn wait_for_work(&self) {
        let now = self.services.store.now();
        let due_in = match self.services.store.next_delivery_at().await {
            Ok(Some(due)) => Duration::try_from(due.duration_since(now)).unwrap_or(POLL_EVERY),
            _ => POLL_EVERY,
        };
        let due_in = if lock(&self.looked_at).is_empty() { due_in } else { due_in.min(LOOK_ON_AFTER) };
        // What is ready and not leased waits for a slot or for another delivery of its link. The end of an attempt
        // rings.
        tokio::select! {
            () = self.services.event_bell.notified() => {}
            () = tokio::time::sleep(due_in.clamp(SHORTEST_WAIT, POLL_EVERY)) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn start(self: &Arc<Self>, delivery: LeasedDelivery, is_failing: bool) {
        let running = Running::begin(
            self,
            Destination {
                tenant: delivery.tenant.clone(),
                host: delivery.address.host.clone(),
                address_id: delivery.address.id.clone(),
                is_failing,
            },
        );
        self.tasks.spawn(async move {
            let courier = &running.courier;
            if let Err(fault) = courier.attempt(delivery).await {
                courier.services.metrics.store_failed(metrics::StoreError::Delivery);
                tracing::warn!(
                    error = &fault as &dyn std::error::Error,
                    "a delivery was interrupted; it is made again"
                );
            }
            drop(running);
        });
    }

    /// Makes dead letters of what waits for addresses that are switched off.
    async fn bury(&self) {
        while !self.stop.is_cancelled() {
            match self.services.store.bury_deliveries(BATCH).await {
                Ok(buried) if buried >= u64::from(BATCH) => {}
                Ok(_) => return,
                Err(error) => {
                    self.services.metrics.store_failed(metrics::StoreError::Delivery);
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot give up webhooks");
                    pause(PAUSE_AFTER_FAULT, &self.stop).await;
                }
            }
        }
    }

    async fn attempt(&self, delivery: LeasedDelivery) -> Result<(), Fault> {
        let services = &self.services;
        let headers = self.headers(&delivery).await?;
        let body = bytes::Bytes::from(delivery.body.clone());
        let answered = self.outbound.post(&delivery.tenant, &delivery.address.url, headers, body).await;
        let now = services.clocks.real_now();
        let (attempt, status, error) = outcome(&answered, now);
        services.metrics.webhook_attempted(attempt == Attempt::Succeeded);
        let clock = services.clocks.clock(&delivery.tenant).await?;
        let ended = self.judge(&delivery, attempt, clock, now, (status, error));
        let switched_off = ended.switch_off;
        if services.store.end_attempt(ended).await?
            && let Some(reason) = switched_off
        {
            services.metrics.webhooks_switched_off.inc();
            // The URL may hold a secret of the app.
            tracing::error!(app.id = %delivery.tenant.app_id, link.id = %delivery.link_id, reason, "a webhook was switched off");
            self.bury().await;
        }
        Ok(())
    }

    async fn headers(&self, delivery: &LeasedDelivery) -> Result<HeaderMap, Fault> {
        let signature = self.services.sign_webhook(delivery.tenant.environment, delivery.body.as_bytes()).await?;
        let text = |text: &str| HeaderValue::from_str(text).map_err(|error| Fault::Internal(Box::new(error)));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, USER_AGENT);
        headers.insert(SIGNATURE, text(&signature)?);
        headers.insert(DELIVERY_TOKEN, text(&delivery.lease.token)?);
        headers.insert(DELIVERY_ATTEMPT, HeaderValue::from(delivery.attempts + 1));
        if self.services.webhooks.standard_headers {
            let secret = self.services.keys.webhook_secret(&delivery.tenant);
            let now = self.services.clocks.real_now().as_second();
            let token = &delivery.lease.token;
            headers.insert("webhook-id", text(token)?);
            headers.insert("webhook-timestamp", HeaderValue::from(now));
            headers.insert("webhook-signature", text(&standard_signature(&secret, token, now, &delivery.body))?);
        }
        Ok(headers)
    }

    fn judge(
        &self,
        delivery: &LeasedDelivery,
        attempt: Attempt,
        clock: AppClock,
        now: Timestamp,
        (status, error): (Option<u16>, Option<&'static str>),
    ) -> EndedAttempt {
        let app_now = clock.now(now);
        let luck = self.services.derivation.bits("retry", &[&delivery.lease.token], delivery.attempts.into());
        let next = match judge(attempt, delivery.tries + 1, luck) {
            Verdict::Delivered => NextAttempt::Delivered,
            Verdict::Dead => NextAttempt::Dead,
            Verdict::Again(pause) => {
                let app_due_at = later(app_now, pause);
                NextAttempt::At { due_at: clock.real_due(app_due_at).unwrap_or(Timestamp::MAX), app_due_at }
            }
        };
        let switch_off = judge_address(attempt, delivery.failing, app_now).map(|reason| match reason {
            SwitchedOff::Unwanted => "unwanted",
            SwitchedOff::Failing => "failing",
        });
        EndedAttempt {
            lease: delivery.lease.clone(),
            link_id: delivery.link_id.clone(),
            address_id: delivery.address.id.clone(),
            next,
            status,
            error,
            app_ended_at: app_now,
            switch_off,
        }
    }
}

/// How many deliveries of each queue are leased.
fn requests(queues: &[ReadyQueue], picked: &[u32]) -> Vec<LeaseRequest> {
    let picked = queues.iter().zip(picked).filter(|(_, count)| **count > 0);
    picked
        .map(|(queue, count)| LeaseRequest {
            tenant: queue.destination.tenant.clone(),
            address_id: queue.destination.address_id.clone(),
            count: *count,
        })
        .collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An attempt that runs; counted until it ends, however that is.
struct Running {
    courier: Arc<Courier>,
    destination: Destination,
}

impl Running {
    fn begin(courier: &Arc<Courier>, destination: Destination) -> Self {
        lock(&courier.running).begin(&destination);
        Self { courier: courier.clone(), destination }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.courier.running).end(&self.destination);
        self.courier.services.event_bell.notify_one();
    }
}

/// `webhook-signature` of Standard Webhooks 1.0: version 1, HMAC-SHA256 over id, time and body.
fn standard_signature(secret: &SecretBytes, id: &str, now: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
    let tag = hmac::sign(&key, format!("{id}.{now}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

/// What an attempt came to, with the status and what went wrong.
fn outcome(answered: &Result<Answer, OutboundError>, now: Timestamp) -> (Attempt, Option<u16>, Option<&'static str>) {
    match answered {
        Ok(answer) => {
            let status = answer.status.as_u16();
            let asked = answer.retry_after.as_deref().and_then(|text| asked_pause(text, now));
            let attempt = Attempt::of_status(status, asked);
            (attempt, Some(status), (attempt != Attempt::Succeeded).then_some("refused"))
        }
        Err(error) => (Attempt::Failed(None), None, Some(error.word())),
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
fn asked_pause(text: &str, now: Timestamp) -> Option<SignedDuration> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(SignedDuration::from_secs);
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(at.duration_since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_of_the_published_example() {
        // From the reference implementation's own tests.
        let secret = SecretBytes::new(STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let signature =
            standard_signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn receivers_ask_for_a_pause_in_seconds_or_by_a_date() {
        let now: Timestamp = "2026-11-26T10:00:00Z".parse().unwrap();
        assert_eq!(asked_pause("120", now), Some(SignedDuration::from_secs(120)));
        assert_eq!(asked_pause("Thu, 26 Nov 2026 10:05:00 GMT", now), Some(SignedDuration::from_mins(5)));
        for nonsense in ["", "soon", "-5", "1.5", "99999999999999999999999", "Thu, 99 Nov 2026 10:05:00 GMT"] {
            assert_eq!(asked_pause(nonsense, now), None, "{nonsense}");
        }
    }
}
