//! Closed-loop load: each connection sends its next request when the answer to the one before has come.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::histogram::Histogram;
use crate::http::Connection;
use crate::rng::Rng;

/// What to send and for how long.
#[derive(Clone)]
pub struct Load {
    /// Where to.
    pub address: SocketAddr,
    /// The requests to choose from, at random with the seed.
    pub requests: Arc<Requests>,
    /// Parallel connections.
    pub connections: usize,
    /// When to stop.
    pub until: Until,
    /// Seed of the choice.
    pub seed: u64,
}

/// Requests that differ in one part, put together when they are sent.
///
/// Tens of thousands of whole ones would not fit the processor's caches: the load itself would slow down with the number
/// of links that it asks for.
pub struct Requests {
    before: Vec<u8>,
    /// All parts, one after the other, and where each ends.
    parts: Vec<u8>,
    ends: Vec<usize>,
    after: Vec<u8>,
}

impl Requests {
    /// One request for each part; at least one.
    pub fn new(before: &[u8], parts: impl IntoIterator<Item = impl AsRef<[u8]>>, after: &[u8]) -> Self {
        let (mut all, mut ends) = (Vec::new(), Vec::new());
        for part in parts {
            all.extend_from_slice(part.as_ref());
            ends.push(all.len());
        }
        Self { before: before.to_owned(), parts: all, ends, after: after.to_owned() }
    }

    /// Writes one of them.
    fn write_one(&self, rng: &mut Rng, request: &mut Vec<u8>) {
        let position = rng.index(self.ends.len());
        let start = position.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        request.clear();
        request.extend_from_slice(&self.before);
        request.extend_from_slice(&self.parts[start..self.ends[position]]);
        request.extend_from_slice(&self.after);
    }
}

/// When a load stops.
#[derive(Clone, Copy)]
pub enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After this many requests in all (rounded up to a multiple of the connections).
    Requests(u64),
}

/// What came back.
#[derive(Default)]
pub struct Outcome {
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Latencies of all answers.
    pub latencies: Histogram,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Outcome {
    /// All answers.
    pub fn total(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Answers a second.
    pub fn per_second(&self) -> f64 {
        self.total() as f64 / self.took.as_secs_f64()
    }

    /// Fails unless every answer had this status.
    pub fn expect_only(&self, status: u16) -> Result<()> {
        let only = self.statuses.len() == 1 && self.statuses.contains_key(&status);
        only.then_some(()).with_context(|| format!("expected only {status}, got {:?}", self.statuses))
    }
}

/// Runs the load to its end. An error if a connection breaks: that is not what is measured here.
pub async fn run(load: Load) -> Result<Outcome> {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(Connection::open(load.address).await.context("connecting")?);
    }
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (position, connection) in connections.into_iter().enumerate() {
        tasks.spawn(drive(connection, load.clone(), position as u64, begun));
    }
    let mut outcome = Outcome::default();
    while let Some(part) = tasks.join_next().await {
        let part = part.context("a load task")??;
        outcome.latencies.merge(&part.latencies);
        for (status, count) in part.statuses {
            *outcome.statuses.entry(status).or_default() += count;
        }
    }
    outcome.took = begun.elapsed();
    Ok(outcome)
}

/// The same on a thread of its own with the lowest priority: it gets what is left of its core. A load from another machine
/// would take nothing from it.
pub async fn run_behind(load: Load) -> Result<Outcome> {
    let (sender, outcome) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = rustix::process::setpriority_process(None, 19)
            .context("the load's priority")
            .and_then(|()| runtime.context("a runtime for the load"))
            .and_then(|runtime| runtime.block_on(run(load)));
        // The receiver is gone when the experiment has failed already.
        let _ = sender.send(outcome);
    })?;
    outcome.await.context("the load's thread ended")?
}

async fn drive(mut connection: Connection, load: Load, stream: u64, begun: Instant) -> Result<Outcome> {
    let mut rng = Rng::new(load.seed, stream);
    let mut outcome = Outcome::default();
    let share = match load.until {
        Until::Requests(total) => total.div_ceil(load.connections as u64),
        Until::Elapsed(_) => u64::MAX,
    };
    let mut request = Vec::new();
    for _ in 0..share {
        load.requests.write_one(&mut rng, &mut request);
        let sent = Instant::now();
        let status = connection.exchange_status(&request).await.context("a request of the load")?;
        outcome.latencies.record(sent.elapsed());
        *outcome.statuses.entry(status).or_default() += 1;
        if let Until::Elapsed(limit) = load.until
            && begun.elapsed() >= limit
        {
            break;
        }
    }
    Ok(outcome)
}
