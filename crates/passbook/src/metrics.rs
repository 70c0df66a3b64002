//! Prometheus metrics. Handles are made at start, so counting is an atomic add on the hot path. What has to be looked up
//! in the store is looked up when somebody asks ([`Metrics::set_state`]).
//!
//! `docs/metrics.md` lists every metric; a test holds the two together.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{api::operation::Operation, readiness::Reason};

/// Upper bounds of the latency buckets, in seconds.
const LATENCY_BUCKETS: [f64; 10] = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0];
/// How jobs end.
const OUTCOMES: [&str; 4] = ["done", "failed", "lost", "interrupted"];

type Decimal = Gauge<f64, AtomicU64>;
type Whole = Gauge<i64, AtomicI64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct JobLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AttemptLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StoreErrorLabels {
    during: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// Open connections.
#[derive(Clone, Debug, Default)]
pub struct ConnectionGauge(Gauge<i64, std::sync::atomic::AtomicI64>);

/// An open connection; counted until it is dropped.
pub struct OpenConnection(ConnectionGauge);

impl ConnectionGauge {
    /// Counts one.
    #[must_use]
    pub fn enter(&self) -> OpenConnection {
        self.0.inc();
        OpenConnection(self.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.dec();
    }
}

/// What failed in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// A commit of a use case.
    Commit,
    /// Leasing or running a job.
    Job,
    /// A look whether the store answers.
    Ping,
    /// Dispatching events or delivering webhooks.
    Delivery,
}

impl StoreError {
    const ALL: [Self; 4] = [Self::Commit, Self::Job, Self::Ping, Self::Delivery];

    fn during(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Job => "job",
            Self::Ping => "ping",
            Self::Delivery => "delivery",
        }
    }
}

/// What is looked up when metrics are asked for.
#[derive(Debug, Clone, Default)]
pub struct StateOfServer {
    /// Why it is not ready.
    pub reasons: Vec<Reason>,
    /// How far the wall clock is ahead of the store's time.
    pub clock_skew_seconds: f64,
    /// Unfinished jobs that are due; `None` when the store did not say.
    pub jobs_due: Option<u64>,
    /// How long the oldest job has been waiting; zero when none waits.
    pub job_waiting_seconds: f64,
    /// How many requests that write or scan may be worked on at once now.
    pub short_requests_max: u32,
}

/// What the server counts.
pub struct Metrics {
    registry: Registry,
    requests: Vec<[Counter; 5]>,
    seconds: Vec<Histogram>,
    ignored_parameters: Vec<Counter>,
    jobs: Family<JobLabels, Counter>,
    store_errors: Family<StoreErrorLabels, Counter>,
    state: StateGauges,
    /// Time that commits of use cases took.
    pub commit_seconds: Histogram,
    /// Requests being answered.
    pub in_flight: Whole,
    /// Requests refused by a request limit.
    pub limited: Counter<u64, AtomicU64>,
    /// Requests refused because too many were being worked on.
    pub shed: Counter<u64, AtomicU64>,
    /// Open connections.
    pub connections: ConnectionGauge,
    webhook_attempts: Family<AttemptLabels, Counter>,
    /// Webhooks that were switched off, because they failed for days or the receiver wanted none.
    pub webhooks_switched_off: Counter<u64, AtomicU64>,
}

#[derive(Default)]
struct StateGauges {
    ready: Whole,
    not_ready: Family<ReasonLabels, Whole>,
    clock_skew: Decimal,
    jobs_due: Whole,
    job_waiting: Decimal,
    short_requests_max: Whole,
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("passbook");
        let requests: Family<RequestLabels, Counter> = Family::default();
        let seconds: Family<OperationLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS));
        let (in_flight, limited, shed) = (Gauge::default(), Counter::default(), Counter::default());
        let connections = ConnectionGauge::default();
        registry.register("requests", "Requests answered, by operation and status class", requests.clone());
        registry.register("request_seconds", "Time from request head to response head", seconds.clone());
        registry.register("requests_in_flight", "Requests being answered", in_flight.clone());
        registry.register("requests_limited", "Requests refused by a request limit", limited.clone());
        registry.register("requests_shed", "Requests refused because too many were being worked on", shed.clone());
        registry.register("connections", "Open connections", connections.0.clone());
        let dropped = "Lines of the log that could not be written";
        registry.register("log_lines_dropped", dropped, crate::log::dropped());
        let handles = Operation::ALL
            .iter()
            .map(|operation| {
                CLASSES
                    .map(|status| requests.get_or_create(&RequestLabels { operation: operation.id(), status }).clone())
            })
            .collect();
        let timers = Operation::ALL
            .iter()
            .map(|operation| seconds.get_or_create(&OperationLabels { operation: operation.id() }).clone())
            .collect();
        Self {
            requests: handles,
            seconds: timers,
            jobs: register_jobs(&mut registry),
            store_errors: register_store_errors(&mut registry),
            webhook_attempts: register_attempts(&mut registry),
            webhooks_switched_off: register_switched_off(&mut registry),
            commit_seconds: register_commits(&mut registry),
            state: StateGauges::register(&mut registry),
            ignored_parameters: register_ignored_parameters(&mut registry),
            in_flight,
            limited,
            shed,
            connections,
            registry,
        }
    }
}

fn register_ignored_parameters(registry: &mut Registry) -> Vec<Counter> {
    let requests: Family<OperationLabels, Counter> = Family::default();
    let help = "Requests with a query parameter that their operation does not know";
    registry.register("ignored_parameters", help, requests.clone());
    let handle = |operation: &Operation| requests.get_or_create(&OperationLabels { operation: operation.id() }).clone();
    Operation::ALL.iter().map(handle).collect()
}

fn register_jobs(registry: &mut Registry) -> Family<JobLabels, Counter> {
    let jobs: Family<JobLabels, Counter> = Family::default();
    registry.register("jobs", "Background jobs ended, by outcome", jobs.clone());
    for outcome in OUTCOMES {
        drop(jobs.get_or_create(&JobLabels { outcome }));
    }
    jobs
}

fn register_store_errors(registry: &mut Registry) -> Family<StoreErrorLabels, Counter> {
    let errors: Family<StoreErrorLabels, Counter> = Family::default();
    registry.register("store_errors", "Failures of the store, by what they interrupted", errors.clone());
    for error in StoreError::ALL {
        drop(errors.get_or_create(&StoreErrorLabels { during: error.during() }));
    }
    errors
}

fn register_attempts(registry: &mut Registry) -> Family<AttemptLabels, Counter> {
    let attempts: Family<AttemptLabels, Counter> = Family::default();
    registry.register("webhook_attempts", "Attempts to deliver a webhook, by outcome", attempts.clone());
    for outcome in ["delivered", "failed"] {
        drop(attempts.get_or_create(&AttemptLabels { outcome }));
    }
    attempts
}

fn register_switched_off(registry: &mut Registry) -> Counter<u64, AtomicU64> {
    let switched_off = Counter::default();
    registry.register("webhooks_switched_off", "Webhooks that were switched off", switched_off.clone());
    switched_off
}

fn register_commits(registry: &mut Registry) -> Histogram {
    let seconds = Histogram::new(LATENCY_BUCKETS);
    registry.register("commit_seconds", "Time that durable commits of requests took", seconds.clone());
    seconds
}

impl StateGauges {
    fn register(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        registry.register("ready", "1 when this process should get requests", gauges.ready.clone());
        registry.register("not_ready", "1 for each reason why not", gauges.not_ready.clone());
        registry.register(
            "clock_skew_seconds",
            "How far this machine's clock is ahead of the store's",
            gauges.clock_skew.clone(),
        );
        registry.register("jobs_due", "Unfinished jobs that are due, running ones included", gauges.jobs_due.clone());
        registry.register(
            "job_waiting_seconds",
            "How long the oldest due job has been waiting",
            gauges.job_waiting.clone(),
        );
        registry.register(
            "short_requests_max",
            "Requests that write or scan and may be worked on at once",
            gauges.short_requests_max.clone(),
        );
        let build: Family<BuildLabels, Whole> = Family::default();
        registry.register("build_info", "Always 1; the label says which release runs", build.clone());
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        gauges
    }

    fn set(&self, state: &StateOfServer) {
        self.ready.set(i64::from(state.reasons.is_empty()));
        for reason in Reason::ALL {
            let applies = state.reasons.contains(&reason);
            self.not_ready.get_or_create(&ReasonLabels { reason: reason.name() }).set(i64::from(applies));
        }
        self.clock_skew.set(state.clock_skew_seconds);
        if let Some(due) = state.jobs_due {
            self.jobs_due.set(i64::try_from(due).unwrap_or(i64::MAX));
            self.job_waiting.set(state.job_waiting_seconds);
        }
        self.short_requests_max.set(state.short_requests_max.into());
    }
}

impl Metrics {
    /// Counts an answer.
    pub fn answered(&self, operation: Operation, status: http::StatusCode, seconds: f64) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.requests[operation as usize][class].inc();
        self.seconds[operation as usize].observe(seconds);
    }

    /// Counts a request of which a query parameter was ignored.
    pub fn ignored_parameters(&self, operation: Operation) {
        self.ignored_parameters[operation as usize].inc();
    }

    /// Counts an ended job: `done`, `failed`, `lost`, `interrupted`.
    pub fn job_ended(&self, outcome: &'static str) {
        self.jobs.get_or_create(&JobLabels { outcome }).inc();
    }

    /// Counts an attempt to deliver a webhook.
    pub fn webhook_attempted(&self, delivered: bool) {
        let outcome = if delivered { "delivered" } else { "failed" };
        self.webhook_attempts.get_or_create(&AttemptLabels { outcome }).inc();
    }

    /// Counts a failure of the store.
    pub fn store_failed(&self, error: StoreError) {
        self.store_errors.get_or_create(&StoreErrorLabels { during: error.during() }).inc();
    }

    /// Takes over what was looked up.
    pub fn set_state(&self, state: &StateOfServer) {
        self.state.set(state);
    }

    /// The text exposition format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
