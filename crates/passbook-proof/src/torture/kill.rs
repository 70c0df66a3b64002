//! `torture kill`: `kill -9` at random moments under load.
//!
//! Each round: start, load, kill, look at the files, start again, compare everything acknowledged with what the API
//! says. The files stay, so damage of an early round is still there to be found in a late one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;

use super::KillOptions;
use super::crew::Crew;
use super::ground::{Ground, Running, StoreKind};
use super::journal::Journal;
use super::model::Tally;
use super::store_files::Jobs;
use crate::record::{Proof, commit, today};
use crate::rng::Rng;
use crate::server::Plan;

/// A killed server's leases hold until they run out, on a store that others may be using.
const SETTINGS: &str = "[workers]\nlease_seconds = 2\n";
/// How long jobs of links that were deleted under them may take to end.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// How long a restart may take until `/readyz` is green, unless told otherwise.
const READY_MS_MAX_EMBEDDED: u64 = 2_000;
const READY_MS_MAX_POSTGRES: u64 = 5_000;
/// Deleted links are looked at this often, and after the last round: their number only grows.
const GONE_EVERY: u64 = 20;
/// A day's limit opens every so many rounds; the hours between add up to far less than the 90 days of a deleted stub.
const DAY_EVERY: u64 = 8;
const HOUR_SECONDS: u64 = 3_660;
const DAY_SECONDS: u64 = 90_000;

/// One run.
struct Campaign {
    options: KillOptions,
    ground: Ground,
    journal: Journal,
    rng: Rng,
    crew: Crew,
    kills: u64,
    ready: Vec<Duration>,
}

/// Runs the experiment, prints its line, and fails if anything acknowledged was lost or the run did too little.
pub async fn run(options: KillOptions) -> Result<()> {
    options.common.require_clean()?;
    let directory = TempDir::with_prefix("passbook-torture-")?;
    let (seed, record) = (options.common.seed, options.common.record);
    let mut campaign = Campaign::new(options, &directory).await?;
    let begun = Instant::now();
    let result = campaign.run().await;
    campaign.journal.flush()?;
    let tally = campaign.crew.tally();
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
    async fn new(options: KillOptions, directory: &TempDir) -> Result<Self> {
        let common = &options.common;
        let arguments = vec!["--seed".to_owned(), common.seed.to_string()];
        let plan = Plan::new(binary(common.server.clone())?, directory.path(), arguments)?;
        let ground = Ground::with_settings(common, &plan, directory.path(), 1, SETTINGS).await?;
        let journal = Journal::create(&directory.path().join("journal.tsv"))?;
        let crew = Crew::new(options.workers, common.seed, &journal);
        let rng = Rng::new(common.seed, 0);
        Ok(Self { options, ground, journal, rng, crew, kills: 0, ready: Vec::new() })
    }

    async fn run(&mut self) -> Result<()> {
        // The first start makes the store; what is promised is the time of a restart.
        let mut running = self.ground.start().await?;
        for round in 0..self.options.rounds {
            self.journal.write(u32::MAX, "round", &round.to_string());
            self.load_and_kill(running, round).await.with_context(|| format!("round {round}"))?;
            self.ground.check(Jobs::MayBeOpen).await.with_context(|| format!("after the kill of round {round}"))?;
            running = self.ground.start().await.with_context(|| format!("restart of round {round}"))?;
            self.ready.extend(running.servers.iter().map(|server| server.ready_in));
            let is_last = round + 1 == self.options.rounds;
            self.crew.check(&running, is_last || round % GONE_EVERY == GONE_EVERY - 1).await?;
            ensure!(self.crew.tally().findings.is_empty(), "round {round} broke a promise");
        }
        self.crew.settle(&running).await?;
        self.crew.check_list(&running).await?;
        self.ground.wait_for_jobs(SETTLE_MAX).await?;
        running.stop().await?;
        self.ground.check(Jobs::HaveEnded).await
    }

    /// Every worker works until the server is gone.
    async fn load_and_kill(&mut self, running: Running, round: u64) -> Result<()> {
        let advance = if round % DAY_EVERY == DAY_EVERY - 1 { DAY_SECONDS } else { HOUR_SECONDS };
        let mut day = self.crew.begin(&running, advance);
        let wait_ms = self.rng.below(self.options.secs_max * 1000 + 1);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let cut_off_too_early = day.was_cut_off();
        for server in running.servers {
            server.kill()?;
        }
        self.kills += 1;
        ensure!(!cut_off_too_early, "a request was cut off before the kill");
        let steps = self.crew.end(day).await?;
        self.journal.write(u32::MAX, "killed", &format!("after {wait_ms} ms, {steps} steps"));
        Ok(())
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
        let ready_ms_max = self.options.ready_ms_max.unwrap_or(match self.options.common.store {
            StoreKind::Sqlite => READY_MS_MAX_EMBEDDED,
            StoreKind::Postgres => READY_MS_MAX_POSTGRES,
        });
        if slowest > Duration::from_millis(ready_ms_max) {
            reasons.push(format!("a restart took {} ms", slowest.as_millis()));
        }
        (!reasons.is_empty()).then(|| reasons.join("\n"))
    }

    fn proof(&self, seed: u64, tally: &Tally, took: Duration, passed: bool) -> Proof {
        let mut ready: Vec<_> = self.ready.iter().map(Duration::as_millis).collect();
        ready.sort_unstable();
        let figures = json!({
            "kills": self.kills,
            "repeated": tally.repeated,
            "replayed": tally.replayed,
            "cut_off": tally.uncertain,
            "refreshes": tally.refreshes,
            "refreshes_failed": tally.refreshes_failed,
            "reads": tally.reads,
            "ready_ms_median": ready.get(ready.len() / 2),
            "ready_ms_max": ready.last(),
        });
        Proof {
            id: match self.options.common.store {
                StoreKind::Sqlite => "R1-kill-embedded",
                StoreKind::Postgres => "R1-kill-postgres",
            },
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
