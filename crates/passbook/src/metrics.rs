//! Prometheus metrics. Handles are made at start, so counting is an atomic add on the hot path.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::api::operation::Operation;

/// Upper bounds of the latency buckets, in seconds.
const LATENCY_BUCKETS: [f64; 10] = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0];

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

/// What the server counts.
pub struct Metrics {
    registry: Registry,
    requests: Vec<[Counter; 5]>,
    seconds: Vec<Histogram>,
    jobs: Family<JobLabels, Counter>,
    /// Requests being answered.
    pub in_flight: Gauge<i64, std::sync::atomic::AtomicI64>,
    /// Requests refused by a request limit.
    pub limited: Counter<u64, AtomicU64>,
    /// Open connections.
    pub connections: ConnectionGauge,
    /// Requests refused because too many were being worked on.
    pub shed: Counter<u64, AtomicU64>,
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("passbook");
        let requests: Family<RequestLabels, Counter> = Family::default();
        let seconds: Family<OperationLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS));
        let jobs: Family<JobLabels, Counter> = Family::default();
        let (in_flight, limited, shed) = (Gauge::default(), Counter::default(), Counter::default());
        registry.register("requests", "Requests answered, by operation and status class", requests.clone());
        registry.register("request_seconds", "Time from request head to response head", seconds.clone());
        registry.register("jobs", "Background jobs ended, by outcome", jobs.clone());
        registry.register("requests_in_flight", "Requests being answered", in_flight.clone());
        registry.register("requests_limited", "Requests refused by a request limit", limited.clone());
        let connections = ConnectionGauge::default();
        registry.register("connections", "Open connections", connections.0.clone());
        registry.register("requests_shed", "Requests refused because too many were being worked on", shed.clone());
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
        Self { registry, requests: handles, seconds: timers, jobs, in_flight, limited, connections, shed }
    }
}

impl Metrics {
    /// Counts an answer.
    pub fn answered(&self, operation: Operation, status: http::StatusCode, seconds: f64) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.requests[operation as usize][class].inc();
        self.seconds[operation as usize].observe(seconds);
    }

    /// Counts an ended job: `done`, `failed`, `lost`.
    pub fn job_ended(&self, outcome: &'static str) {
        self.jobs.get_or_create(&JobLabels { outcome }).inc();
    }

    /// The text exposition format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
