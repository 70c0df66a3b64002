//! `torture kill`: `kill -9` at random moments under load.
//!
//! Each round: start, load, kill, look at the files, start again, compare everything acknowledged with what the API
//! says. The files stay, so damage of an early round is still there to be found in a late one.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;

use super::KillOptions;
use super::check::{check, check_gone};
use super::journal::Journal;
use super::model::{Tally, Worker};
use super::store_files::check_integrity;
use super::work::Shift;
use crate::api::Api;
use crate::record::{Proof, commit, today};
use crate::rng::Rng;
use crate::server::{Plan, Server};

/// Deleted links are looked at this often, and after the last round: their number only grows.
const GONE_EVERY: u64 = 20;
/// A day's limit opens every so many rounds; the hours between add up to far less than the 90 days of a deleted stub.
const DAY_EVERY: u64 = 8;
const HOUR_SECONDS: u64 = 3_660;
const DAY_SECONDS: u64 = 90_000;
/// How long accepted refreshes may take to end after the last restart.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// One run.
struct Campaign {
    options: KillOptions,
    plan: Plan,
    journal: Journal,
    rng: Rng,
    workers: Vec<Worker>,
    kills: u64,
    ready: Vec<Duration>,
}

/// Runs the experiment, prints its line, and fails if anything acknowledged was lost or the run did too little.
pub async fn run(options: KillOptions) -> Result<()> {
    let directory = TempDir::with_prefix("passbook-torture-")?;
    let (seed, record) = (options.common.seed, options.common.record);
    let mut campaign = Campaign::new(options, &directory)?;
    let begun = Instant::now();
    let result = campaign.run().await;
    campaign.journal.flush()?;
    let tally = campaign.tally();
    let failure = campaign.failure(&tally, result.err());
    campaign.proof(seed, &tally, begun.elapsed(), failure.is_none()).publish(record)?;
    match failure {
        None => Ok(()),
        Some(failure) => {
            let kept = directory.keep();
            bail!("{failure}\njournal, server log and store are kept in {}", kept.display())
        }
    }
}

impl Campaign {
    fn new(options: KillOptions, directory: &TempDir) -> Result<Self> {
        let data = directory.path().join("data");
        std::fs::create_dir(&data)?;
        let plan = Plan {
            binary: binary(options.common.server.clone())?,
            data,
            log: directory.path().join("server.log"),
            arguments: vec!["--seed".to_owned(), options.common.seed.to_string()],
        };
        let journal = Journal::create(&directory.path().join("journal.tsv"))?;
        let workers = (0..options.workers).map(|number| Worker::new(number, options.common.seed)).collect();
        let rng = Rng::new(options.common.seed, 0);
        Ok(Self { options, plan, journal, rng, workers, kills: 0, ready: Vec::new() })
    }

    async fn run(&mut self) -> Result<()> {
        // The first start makes the store; what is promised is the time of a restart.
        let mut server = Server::start(&self.plan).await?;
        for round in 0..self.options.rounds {
            self.journal.write(u32::MAX, "round", &round.to_string());
            self.load_and_kill(server, round).await.with_context(|| format!("round {round}"))?;
            check_integrity(&self.plan.data).with_context(|| format!("after the kill of round {round}"))?;
            server = Server::start(&self.plan).await.with_context(|| format!("restart of round {round}"))?;
            self.ready.push(server.ready_in);
            let is_last = round + 1 == self.options.rounds;
            self.check_all(&server, is_last || round % GONE_EVERY == GONE_EVERY - 1).await?;
            ensure!(self.tally().findings.is_empty(), "round {round} broke a promise");
        }
        self.settle(&server).await?;
        self.check_list(&server).await?;
        server.stop().await?;
        check_integrity(&self.plan.data)
    }

    /// Every worker works until the server is gone.
    async fn load_and_kill(&mut self, server: Server, round: u64) -> Result<()> {
        let advance = if round % DAY_EVERY == DAY_EVERY - 1 { DAY_SECONDS } else { HOUR_SECONDS };
        let steps = Arc::new(AtomicU64::new(0));
        let clock_moves = Arc::new(AtomicBool::new(true));
        let mut tasks = tokio::task::JoinSet::new();
        for mut worker in self.workers.drain(..) {
            let (mut api, journal) = (Api::new(&server), self.journal.clone());
            let (steps, clock_moves) = (Arc::clone(&steps), Arc::clone(&clock_moves));
            tasks.spawn(async move {
                let is_first = worker.number == 0;
                let mut shift =
                    Shift { worker: &mut worker, api: &mut api, journal: &journal, clock_moves: &clock_moves };
                if !is_first || shift.advance_clock(advance).await.is_ok() {
                    while shift.step().await.is_ok() {
                        steps.fetch_add(1, Ordering::Relaxed);
                    }
                }
                worker
            });
        }
        let wait_ms = self.rng.below(self.options.secs_max * 1000 + 1);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let cut_off_too_early = tasks.try_join_next().is_some();
        server.kill()?;
        self.kills += 1;
        ensure!(!cut_off_too_early, "a request was cut off before the kill");
        while let Some(worker) = tasks.join_next().await {
            self.workers.push(worker.context("a worker")?);
        }
        self.workers.sort_by_key(|worker| worker.number);
        self.journal.write(u32::MAX, "killed", &format!("after {wait_ms} ms, {} steps", steps.load(Ordering::Relaxed)));
        Ok(())
    }

    async fn check_all(&mut self, server: &Server, with_gone: bool) -> Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for mut worker in self.workers.drain(..) {
            let mut api = Api::new(server);
            tasks.spawn(async move {
                let mut result = check(&mut worker, &mut api).await;
                if with_gone && result.is_ok() {
                    result = check_gone(&mut worker, &mut api).await;
                }
                (worker, result)
            });
        }
        let mut first = Ok(());
        while let Some(joined) = tasks.join_next().await {
            let (worker, result) = joined.context("a checker")?;
            first = first.and(result.with_context(|| format!("checking worker {}", worker.number)));
            self.workers.push(worker);
        }
        self.workers.sort_by_key(|worker| worker.number);
        first
    }

    /// Waits until every accepted refresh has ended.
    async fn settle(&mut self, server: &Server) -> Result<()> {
        let begun = Instant::now();
        while self.running() > 0 {
            if begun.elapsed() > SETTLE_MAX {
                let running = self.running() as u64;
                self.workers[0].tally.lost += running;
                bail!("{running} accepted refreshes never ended");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.check_all(server, false).await?;
        }
        Ok(())
    }

    fn running(&self) -> usize {
        self.workers.iter().flat_map(|worker| &worker.banks).map(|link| link.running.len()).sum()
    }

    /// The list of all links: nothing missing, and nothing that no request explains.
    async fn check_list(&mut self, server: &Server) -> Result<()> {
        let mut api = Api::new(server);
        let mut listed = std::collections::BTreeSet::new();
        let mut cursor = String::new();
        loop {
            let query = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
            let page = api.get_json(&format!("/links?limit=500{query}")).await?;
            for link in page["links"].as_array().into_iter().flatten() {
                listed.insert(link["link_id"].as_str().unwrap_or_default().to_owned());
            }
            cursor = page["next_cursor"].as_str().unwrap_or_default().to_owned();
            if cursor.is_empty() {
                break;
            }
        }
        let mut expected: std::collections::BTreeSet<_> =
            self.workers.iter().flat_map(Worker::live).map(ToOwned::to_owned).collect();
        expected.insert(server.access.link_id.clone());
        let missing = expected.difference(&listed).count() as u64;
        // A cut-off request was repeated with its key, so there is nothing that may or may not be there.
        let unexplained = listed.difference(&expected).count() as u64;
        let tally = &mut self.workers[0].tally;
        tally.lost += missing;
        tally.dup += unexplained;
        if missing + unexplained > 0 {
            tally.find(format!("the list of links lacks {missing} and has {unexplained} that nobody made"));
        }
        Ok(())
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.workers.iter().for_each(|worker| tally.add(&worker.tally));
        tally
    }

    /// Why the run is no proof, if it is none.
    fn failure(&self, tally: &Tally, error: Option<anyhow::Error>) -> Option<String> {
        let mut reasons: Vec<String> = error.map(|error| format!("{error:#}")).into_iter().collect();
        reasons.extend(tally.findings.iter().cloned());
        if tally.lost + tally.dup > 0 {
            reasons.push(format!("{} lost, {} doubled", tally.lost, tally.dup));
        }
        if self.kills < self.options.rounds {
            reasons.push(format!("only {} of {} kills", self.kills, self.options.rounds));
        }
        let acked_min = self.options.acked_per_round_min * self.options.rounds;
        if tally.acked < acked_min {
            reasons.push(format!("only {} acknowledged writes, wanted {acked_min}", tally.acked));
        }
        if tally.uncertain == 0 {
            reasons.push("no kill cut off a write".to_owned());
        }
        if tally.repeated == 0 {
            reasons.push("no request was repeated with its idempotency key".to_owned());
        }
        let slowest = self.ready.iter().max().copied().unwrap_or_default();
        if slowest > Duration::from_millis(self.options.ready_ms_max) {
            reasons.push(format!("a restart took {} ms", slowest.as_millis()));
        }
        (!reasons.is_empty()).then(|| reasons.join("\n"))
    }

    fn proof(&self, seed: u64, tally: &Tally, took: Duration, passed: bool) -> Proof {
        let mut ready: Vec<_> = self.ready.iter().map(Duration::as_millis).collect();
        ready.sort_unstable();
        let figures = json!({
            "kills": self.kills,
            "cut_off": tally.uncertain,
            "repeated": tally.repeated,
            "replayed": tally.replayed,
            "refreshes": tally.refreshes,
            "refreshes_failed": tally.refreshes_failed,
            "reads": tally.reads,
            "ready_ms_median": ready.get(ready.len() / 2),
            "ready_ms_max": ready.last(),
        });
        Proof {
            id: "R1-kill-embedded",
            seed,
            rounds: self.ready.len() as u64,
            acked: tally.acked,
            lost: tally.lost,
            dup: tally.dup,
            figures: figures.as_object().cloned().unwrap_or_default(),
            secs: took.as_secs(),
            verdict: if passed { "pass" } else { "fail" },
            commit: commit(),
            date: today(),
        }
    }
}

/// The server binary asked for, or the one built beside this program.
pub fn binary(asked_for: Option<PathBuf>) -> Result<PathBuf> {
    let beside = || Ok::<_, anyhow::Error>(std::env::current_exe()?.with_file_name("passbook"));
    let path = asked_for.map_or_else(beside, Ok)?;
    ensure!(path.exists(), "no server at {}; build it or give --server", path.display());
    Ok(path)
}
