//! `torture store-restarts`: the database server crashes, restarts, and loses connections at COMMIT, under writers.
//!
//! The servers stay up. While the database is away their writers get 503 with `Retry-After` and nothing else; 5 s after
//! it is back every server writes again, with the connections it may have and none left in a transaction. In the end
//! everything acknowledged is there once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use postgres_cluster::Stop;
use serde_json::json;

use super::StoreRestartsOptions;
use super::conduct::{Conduct, milliseconds};
use super::crew::{Crew, WorkDay};
use super::ground::{Ground, Running};
use super::kill::binary;
use super::refresh_limits::advance;
use super::store_files::Jobs;
use crate::api::{Api, Body};
use crate::deployment::{DATABASE, Deployment, NO_LIMITS, Shape};
use crate::metrics;
use crate::proxy::{Cut, FaultProxy};
use crate::rng::Rng;
use crate::server::is_ready;

const REPLICAS: usize = 2;
/// How long servers may take to write again once the database is back.
const RECOVERY_MAX: Duration = Duration::from_secs(5);
/// The longest wait for that; above it there is nothing left to measure.
const PATIENCE: Duration = Duration::from_secs(60);
/// A database is down for up to this long.
const DOWN_MS_MAX: u64 = 1_000;
/// Load between two faults.
const WORK_MS: std::ops::Range<u64> = 300..1_500;
/// Under load a COMMIT comes within milliseconds.
const COMMIT_WITHIN: Duration = Duration::from_secs(10);
const HOUR_SECONDS: u64 = 3_660;
/// Connections that one server may have: point reads, long reads and writes, and one that has just been replaced.
const CONNECTIONS_MAX: i64 = 32;

/// The experiment under way.
struct Restarts<'a> {
    conduct: &'a mut Conduct,
    ground: Ground,
    proxy: FaultProxy,
    running: Running,
    crew: Crew,
    rng: Rng,
    recoveries: Vec<Duration>,
}

/// Runs the experiment.
pub async fn run(options: StoreRestartsOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    conduct.run("R5-store-restarts", &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &StoreRestartsOptions) -> Result<()> {
    let mut restarts = Restarts::prepare(conduct, options).await?;
    let result = restarts.all(options).await;
    restarts.note(options);
    result?;
    let Restarts { ground, running, .. } = restarts;
    running.stop().await?;
    ground.check(Jobs::HaveEnded).await
}

impl<'a> Restarts<'a> {
    async fn prepare(conduct: &'a mut Conduct, options: &StoreRestartsOptions) -> Result<Self> {
        let directory = conduct.directory().to_owned();
        let server = binary(options.common.server.clone())?;
        let shape = Shape {
            binary: server,
            directory: &directory,
            replicas: REPLICAS,
            under: &[],
            store: "",
            limits: NO_LIMITS,
            settings: "",
        };
        let cluster = Deployment::make_cluster().await?;
        let proxy = FaultProxy::start(([127, 0, 0, 1], cluster.port()).into()).await?;
        let url = format!("postgres://passbook@{}/{DATABASE}", proxy.address());
        let deployment = Deployment::on(cluster, &shape, &url).await?;
        let ground = Ground::Hosted(Box::new(deployment));
        let running = ground.start().await?;
        let mut crew = Crew::new(options.writers, options.common.seed, &conduct.journal);
        crew.store_may_be_away = true;
        let rng = Rng::new(options.common.seed, 0);
        Ok(Self { conduct, ground, proxy, running, crew, rng, recoveries: Vec::new() })
    }

    async fn all(&mut self, options: &StoreRestartsOptions) -> Result<()> {
        for how in [Stop::Immediate, Stop::Fast] {
            self.restart(how, options.rounds).await.with_context(|| format!("{how:?} stops"))?;
        }
        self.cut(options.rounds).await.context("cuts at COMMIT")?;
        let mut shed = 0;
        for address in &self.running.addresses {
            shed += metrics::requests_shed(*address).await?;
        }
        // Too many at once says nothing about the database; the other refusals were about it.
        self.conduct.figure("shed_503", shed);
        ensure!(self.crew.tally().refused > shed, "no writer noticed that the database was away");
        self.crew.settle(&self.running).await?;
        self.crew.check(&self.running, true).await?;
        self.crew.check_list(&self.running).await?;
        self.ground.wait_for_jobs(PATIENCE).await?;
        self.expect_no_leak().await
    }

    /// Moves the clock on every server, so that refresh limits open again, and lets the writers begin.
    async fn begin(&mut self) -> Result<WorkDay> {
        advance(&self.running, HOUR_SECONDS).await?;
        Ok(self.crew.begin_by_this_clock(&self.running))
    }

    /// Stops and starts the database so many times under load, then compares.
    async fn restart(&mut self, how: Stop, rounds: u64) -> Result<()> {
        let mut day = self.begin().await?;
        for round in 0..rounds {
            self.work().await;
            let down_for = Duration::from_millis(self.rng.below(DOWN_MS_MAX));
            self.bounce(how, down_for).await?;
            let recovery = self.recovery().await.with_context(|| format!("round {round}"))?;
            self.recoveries.push(recovery);
            self.conduct.rounds += 1;
            ensure!(!day.was_cut_off(), "round {round}: a request got no answer while the servers were up");
        }
        self.work().await;
        self.crew.end(day).await?;
        self.compare().await
    }

    async fn cut(&mut self, rounds: u64) -> Result<()> {
        let mut day = self.begin().await?;
        for round in 0..rounds {
            let cut = if round % 2 == 0 { Cut::Before } else { Cut::After };
            tokio::time::sleep(Duration::from_millis(self.rng.below(WORK_MS.start))).await;
            ensure!(self.proxy.cut(cut, COMMIT_WITHIN).await, "round {round}: no COMMIT came to be cut");
            self.recoveries.push(self.recovery().await?);
            self.conduct.rounds += 1;
            ensure!(!day.was_cut_off(), "round {round}: a request got no answer while the servers were up");
        }
        self.work().await;
        self.crew.end(day).await?;
        self.compare().await
    }

    async fn work(&mut self) {
        let wait_ms = WORK_MS.start + self.rng.below(WORK_MS.end - WORK_MS.start);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }

    /// The load goes on meanwhile: stopping and starting block, so another thread does it.
    async fn bounce(&mut self, how: Stop, down_for: Duration) -> Result<()> {
        let Ground::Hosted(deployment) = &mut self.ground else { unreachable!("made as hosted") };
        let mut cluster = deployment.cluster.take().context("the cluster")?;
        let bounced = tokio::task::spawn_blocking(move || {
            let result = cluster.stop(how).and_then(|()| {
                std::thread::sleep(down_for);
                cluster.start_again()
            });
            (cluster, result)
        });
        let (cluster, result) = bounced.await?;
        deployment.cluster = Some(cluster);
        result
    }

    /// From now until every server is ready and has written.
    async fn recovery(&self) -> Result<Duration> {
        let begun = Instant::now();
        for address in &self.running.addresses {
            let mut api = Api::over(&[*address], &self.running.access, 0);
            let body = json!({ "customer_user": { "id": "recovery" }, "exchange": false });
            loop {
                let is_written = is_ready(*address).await
                    && api.call("POST", "/sandbox/links", Body::Json(&body)).await.is_ok_and(|a| a.status == 201);
                if is_written {
                    break;
                }
                ensure!(
                    begun.elapsed() < PATIENCE,
                    "a server does not write {} s after the database is back",
                    PATIENCE.as_secs()
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(begun.elapsed())
    }

    async fn compare(&mut self) -> Result<()> {
        self.crew.check(&self.running, false).await?;
        ensure!(self.crew.tally().findings.is_empty(), "a promise was broken");
        Ok(())
    }

    /// Quiet servers hold no more connections than they may, and none in the middle of something.
    async fn expect_no_leak(&mut self) -> Result<()> {
        let Ground::Hosted(deployment) = &self.ground else { unreachable!("made as hosted") };
        let database = deployment.database().await?;
        const OPEN: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'passbook'";
        let open = database.number(OPEN).await?;
        let stuck = database.number(&format!("{OPEN} AND state LIKE 'idle in transaction%'")).await?;
        self.conduct.figure("connections", open);
        let may_be = CONNECTIONS_MAX * REPLICAS as i64;
        ensure!(open <= may_be && stuck == 0, "{open} connections (at most {may_be}), {stuck} stuck in a transaction");
        Ok(())
    }

    fn note(&mut self, options: &StoreRestartsOptions) {
        let tally = self.crew.tally();
        let slowest = self.recoveries.iter().max().copied().unwrap_or_default();
        self.conduct.figure("immediate_stops", options.rounds);
        self.conduct.figure("fast_stops", options.rounds);
        self.conduct.figure("cuts_at_commit", self.proxy.cuts());
        self.conduct.figure("refused_503", tally.refused);
        self.conduct.figure("refreshes", tally.refreshes);
        self.conduct.figure("recovery_ms_max", milliseconds(slowest));
        self.conduct.tally.add(&tally);
        if slowest > RECOVERY_MAX {
            self.conduct.tally.find(format!("recovery took {} ms", slowest.as_millis()));
        }
    }
}
