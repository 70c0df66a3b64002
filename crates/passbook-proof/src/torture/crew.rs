//! The workers of an experiment together: all at work, all checked, and what they counted.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;

use super::check::{check, check_gone};
use super::ground::Running;
use super::journal::Journal;
use super::model::{Tally, Worker};
use super::work::Shift;
use crate::api::Api;

/// How long accepted refreshes may take to end after the last fault.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// The workers. They are lent to a [`WorkDay`] and come back from it.
pub struct Crew {
    workers: Vec<Worker>,
    journal: Journal,
    /// See [`Shift`].
    pub store_may_be_away: bool,
    /// See [`Worker`].
    pub process_ends: bool,
}

/// Workers at work.
pub struct WorkDay {
    tasks: JoinSet<Worker>,
    is_over: Arc<AtomicBool>,
    steps: Arc<AtomicU64>,
}

impl Crew {
    /// Workers that have done nothing yet.
    pub fn new(count: u32, seed: u64, journal: &Journal) -> Self {
        Self::numbered(0..count, seed, journal)
    }

    /// As [`Crew::new`], for a crew that works beside another: numbers are part of the names of what workers make.
    pub fn numbered(numbers: Range<u32>, seed: u64, journal: &Journal) -> Self {
        let workers = numbers.map(|number| Worker::new(number, seed)).collect();
        Self { workers, journal: journal.clone(), store_may_be_away: false, process_ends: false }
    }

    /// Sends every worker to work on one server. The first one moves the sandbox clock on before it begins.
    pub fn begin(&mut self, running: &Running, advance_seconds: u64) -> WorkDay {
        self.send(running, Some(advance_seconds))
    }

    /// Sends every worker to work, and leaves the clock alone: with several servers it has to be moved beforehand, because
    /// the others learn of it a second later and tokens end by that clock.
    pub fn begin_by_this_clock(&mut self, running: &Running) -> WorkDay {
        self.send(running, None)
    }

    fn send(&mut self, running: &Running, advance_seconds: Option<u64>) -> WorkDay {
        let (steps, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let clock_moves = Arc::new(AtomicBool::new(advance_seconds.is_some()));
        let store_may_be_away = self.store_may_be_away;
        let mut tasks = JoinSet::new();
        for mut worker in self.workers.drain(..) {
            worker.process_ends = self.process_ends;
            let (mut api, journal) = (running.api(worker.number as usize), self.journal.clone());
            let (steps, is_over, clock_moves) = (Arc::clone(&steps), Arc::clone(&is_over), Arc::clone(&clock_moves));
            tasks.spawn(async move {
                let advance = advance_seconds.filter(|_| worker.number == 0);
                let (worker_at_work, api, journal) = (&mut worker, &mut api, &journal);
                let clock_moves = &clock_moves;
                let mut shift = Shift { worker: worker_at_work, api, journal, clock_moves, store_may_be_away };
                let may_begin = match advance {
                    Some(seconds) => shift.advance_clock(seconds).await.is_ok(),
                    None => true,
                };
                if may_begin {
                    while !is_over.load(Ordering::Relaxed) && shift.step().await.is_ok() {
                        steps.fetch_add(1, Ordering::Relaxed);
                    }
                }
                worker
            });
        }
        WorkDay { tasks, is_over, steps }
    }

    /// Takes the workers back when each has ended its last step.
    pub async fn end(&mut self, mut day: WorkDay) -> Result<u64> {
        day.is_over.store(true, Ordering::Relaxed);
        while let Some(worker) = day.tasks.join_next().await {
            self.workers.push(worker.context("a worker")?);
        }
        self.workers.sort_by_key(|worker| worker.number);
        Ok(day.steps())
    }

    /// Compares everything that was acknowledged with what the servers say; deleted links too when asked to.
    pub async fn check(&mut self, running: &Running, with_gone: bool) -> Result<()> {
        let mut tasks = JoinSet::new();
        for mut worker in self.workers.drain(..) {
            let mut api = running.api(worker.number as usize);
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
    pub async fn settle(&mut self, running: &Running) -> Result<()> {
        let begun = Instant::now();
        while self.running() > 0 {
            if begun.elapsed() > SETTLE_MAX {
                let open = self.running() as u64;
                self.workers[0].tally.lost += open;
                bail!("{open} accepted refreshes never ended");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.check(running, false).await?;
        }
        Ok(())
    }

    fn running(&self) -> usize {
        self.workers.iter().map(Worker::running).sum()
    }

    /// The list of all links: nothing missing, and nothing that no request explains.
    pub async fn check_list(&mut self, running: &Running) -> Result<()> {
        let listed = all_links(&mut running.api(0)).await?;
        let mut expected: BTreeSet<_> = self.workers.iter().flat_map(Worker::live).map(ToOwned::to_owned).collect();
        if !running.access.link_id.is_empty() {
            expected.insert(running.access.link_id.clone());
        }
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

    /// The worker with the lowest number.
    pub fn first(&mut self) -> &mut Worker {
        &mut self.workers[0]
    }

    /// Forgets what the sandbox clock said: it goes by the wall clock, which an experiment is about to set.
    pub fn forget_clock(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.clock.clear());
    }

    /// Forgets which links were deleted: their stubs end after 90 days of a clock that an experiment is about to set.
    pub fn forget_gone(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.gone.clear());
    }

    /// Fails when a promise was broken so far or a request was left without an answer.
    pub fn ensure_sound(&self) -> Result<()> {
        let tally = self.tally();
        ensure!(tally.findings.is_empty(), "a promise is broken: {}", tally.findings.join("; "));
        ensure!(tally.uncertain == 0, "{} writes were not answered", tally.uncertain);
        Ok(())
    }

    /// What all workers counted.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.workers.iter().for_each(|worker| tally.add(&worker.tally));
        tally
    }
}

impl WorkDay {
    /// Pieces of work done so far.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Whether a worker has gone home before the end: a request of its has no answer.
    pub fn was_cut_off(&mut self) -> bool {
        !self.tasks.is_empty() && {
            let gone = self.tasks.try_join_next();
            // It goes back at the end like the others.
            let was_cut_off = gone.is_some();
            if let Some(Ok(worker)) = gone {
                self.tasks.spawn(async move { worker });
            }
            was_cut_off
        }
    }
}

async fn all_links(api: &mut Api) -> Result<BTreeSet<String>> {
    let mut listed = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let query = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
        let page = api.get_json(&format!("/links?limit=500{query}")).await?;
        for link in page["links"].as_array().into_iter().flatten() {
            listed.insert(link["link_id"].as_str().unwrap_or_default().to_owned());
        }
        cursor = page["next_cursor"].as_str().unwrap_or_default().to_owned();
        if cursor.is_empty() {
            return Ok(listed);
        }
    }
}
