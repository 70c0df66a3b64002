//! Reading account numbers: against the static yardstick, and from a large store against a small one.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::pairs::{Comparison, alternate};
use super::report::Report;
use super::seeding::prepare;
use crate::api::Api;
use crate::http::request;
use crate::load::{Load, Requests, Until, run};
use crate::process::cpu_seconds;
use crate::server::Server;
use crate::yardstick::Captured;

const WARM_UP: Duration = Duration::from_secs(2);
/// Links that are asked for. Above this a store is sampled evenly.
const LINKS_MAX: usize = 50_000;

/// What one run has shown.
pub struct Sample {
    pub per_second: f64,
    pub cpu_us: f64,
    pub p99_us: f64,
}

/// Something that answers numbers reads.
pub struct Subject {
    pub address: SocketAddr,
    pub pid: u32,
    pub requests: Arc<Requests>,
}

/// The usual store against the yardstick.
pub async fn against_yardstick(bench: &Bench, report: &mut Report) -> Result<()> {
    let ids = prepare(bench, "usual", bench.scale.usual).await?;
    let bytes = std::fs::metadata(bench.plan("usual").data.join("passbook.db"))?.len();
    let each = bytes as f64 / bench.scale.usual as f64 / 1024.0;
    report.note(&format!("A link of three accounts without transactions takes {each:.1} KiB of the embedded store."));
    let server = Server::start(&bench.plan("usual")).await?;
    let subject = Subject::of(&server, numbers_requests(&server, &ids).await?);
    let yardstick = Yardstick::start(bench, &server, &ids[0], Arc::clone(&subject.requests)).await?;
    let pairs = compare(bench, &subject, &yardstick.subject).await?;
    let title = format!("numbers read, {} links / static answer", bench.scale.usual);
    report_reads(report, &title, &pairs);
    server.stop().await
}

/// The large store against the small one, both served at once and loaded in turn.
pub async fn large_against_small(bench: &Bench, report: &mut Report) -> Result<()> {
    let small_ids = prepare(bench, "small", bench.scale.small).await?;
    let large_ids = prepare(bench, "large", bench.scale.large).await?;
    let (small, large) = (Server::start(&bench.plan("small")).await?, Server::start(&bench.plan("large")).await?);
    let large_subject = Subject::of(&large, numbers_requests(&large, &large_ids).await?);
    let small_subject = Subject::of(&small, numbers_requests(&small, &small_ids).await?);
    let pairs = compare(bench, &large_subject, &small_subject).await?;
    let title = format!("numbers read, {} links / {} links", bench.scale.large, bench.scale.small);
    report_reads(report, &title, &pairs);
    small.stop().await?;
    large.stop().await
}

/// The numbers reads of a server's links, evenly sampled.
pub async fn numbers_requests(server: &Server, ids: &[String]) -> Result<Arc<Requests>> {
    let token = Api::new(server).token().await?;
    let bearer = format!("Bearer {token}");
    let every = ids.len().div_ceil(LINKS_MAX);
    let headers =
        [("authorization", bearer.as_str()), ("accept", "application/json"), ("moneykit-version", "2023-02-18")];
    let after = request("GET", "/accounts/numbers", &headers, b"");
    let after = after.strip_prefix(b"GET ").context("a request begins with its method")?;
    Ok(Arc::new(Requests::new(b"GET /links/", ids.iter().step_by(every), after)))
}

impl Subject {
    /// A server that is asked these.
    pub fn of(server: &Server, requests: Arc<Requests>) -> Self {
        Self { address: server.address, pid: server.pid(), requests }
    }
}

/// Loads both in turn.
pub async fn compare(bench: &Bench, first: &Subject, second: &Subject) -> Result<Vec<(Sample, Sample)>> {
    for subject in [first, second] {
        sample(bench, subject, Until::Elapsed(WARM_UP)).await?;
    }
    let until = Until::Elapsed(bench.scale.seconds);
    alternate(
        bench.scale.pairs,
        async || sample(bench, first, until).await,
        async || sample(bench, second, until).await,
    )
    .await
}

/// Loads one subject and takes its processor time before and after.
async fn sample(bench: &Bench, subject: &Subject, until: Until) -> Result<Sample> {
    let load = Load {
        address: subject.address,
        requests: Arc::clone(&subject.requests),
        connections: bench.scale.connections,
        until,
        seed: 1,
    };
    let before = cpu_seconds(subject.pid)?;
    let outcome = run(load).await?;
    let used = cpu_seconds(subject.pid)? - before;
    outcome.expect_only(200)?;
    Ok(Sample {
        per_second: outcome.per_second(),
        cpu_us: used * 1e6 / outcome.total() as f64,
        p99_us: outcome.latencies.quantile_us(0.99),
    })
}

/// Rows for throughput, processor time and latency.
pub fn report_reads(report: &mut Report, title: &str, pairs: &[(Sample, Sample)]) {
    report.add(&format!("{title}: requests/s"), &Comparison::of(pairs, |sample| sample.per_second));
    report.add(&format!("{title}: server CPU us/request"), &Comparison::of(pairs, |sample| sample.cpu_us));
    report.add(&format!("{title}: p99 us"), &Comparison::of(pairs, |sample| sample.p99_us));
}

/// The static answer in a process of its own; dropping it kills it.
pub struct Yardstick {
    child: Child,
    /// What it answers.
    pub subject: Subject,
}

impl Yardstick {
    /// Answers every request as `server` answers the numbers read of this link.
    pub async fn start(bench: &Bench, server: &Server, id: &str, requests: Arc<Requests>) -> Result<Self> {
        let answer = Api::new(server).get(&format!("/links/{id}/accounts/numbers")).await?;
        ensure!(answer.status == 200, "the numbers read to capture answered {}", answer.status);
        let path = bench.path("captured.json");
        std::fs::write(&path, serde_json::to_vec(&Captured::of(&answer))?)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("static").arg(&path).stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().context("the yardstick")?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let subject = Subject { address, pid: child.id(), requests };
        let mut yardstick = Self { child, subject };
        let mut line = String::new();
        let stdout = yardstick.child.stdout.take().context("the yardstick's output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        yardstick.subject.address = line.trim().parse().context("the yardstick's address")?;
        Ok(yardstick)
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
