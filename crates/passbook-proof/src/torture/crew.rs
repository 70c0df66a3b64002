//! A crew of workers: they work together until a fault or the end, and what they know is checked together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;

use super::check::{check, check_gone};
use super::journal::Journal;
use super::model::{Tally, Worker};
use super::work::Shift;
use crate::api::{Api, Target};

/// How long accepted refreshes may take to end.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// The workers, while nobody works.
pub struct Crew {
    pub workers: Vec<Worker>,
    journal: Journal,
}

/// The workers at work.
pub struct Working {
    tasks: JoinSet<(Worker, bool)>,
    stop: Arc<AtomicBool>,
    is_cut_off: Arc<AtomicBool>,
    /// Pieces of work done so far.
    pub steps: Arc<AtomicU64>,
}

impl Crew {
    /// Workers that have done nothing yet.
    pub fn new(count: u32, seed: u64, journal: Journal) -> Self {
        Self { workers: (0..count).map(|number| Worker::new(number, seed)).collect(), journal }
    }

    /// Sends everybody to work, spread over the targets, until told to stop or cut off. The first one moves the sandbox
    /// clock by `advance` seconds before anything else, so that refresh limits open again.
    pub fn begin(&mut self, targets: &[Target], advance: u64) -> Working {
        let (stop, steps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clock_moves = Arc::new(AtomicBool::new(advance > 0));
        let someone_cut_off = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for (mut worker, target) in self.workers.drain(..).zip(targets.iter().cycle()) {
            let (mut api, journal) = (Api::at(target), self.journal.clone());
            let (stop, steps, clock_moves) = (Arc::clone(&stop), Arc::clone(&steps), Arc::clone(&clock_moves));
            let someone_cut_off = Arc::clone(&someone_cut_off);
            tasks.spawn(async move {
                let moves_clock = worker.number == 0 && advance > 0;
                let mut shift =
                    Shift { worker: &mut worker, api: &mut api, journal: &journal, clock_moves: &clock_moves };
                let mut is_cut_off = moves_clock && shift.advance_clock(advance).await.is_err();
                while !is_cut_off && !stop.load(Ordering::Relaxed) {
                    is_cut_off = shift.step().await.is_err();
                    steps.fetch_add(1, Ordering::Relaxed);
                }
                someone_cut_off.fetch_or(is_cut_off, Ordering::Relaxed);
                (worker, is_cut_off)
            });
        }
        Working { tasks, stop, is_cut_off: someone_cut_off, steps }
    }

    /// Waits until everybody has stopped; gives how many were cut off.
    ///
    /// # Errors
    /// When a worker panicked.
    pub async fn gather(&mut self, mut working: Working) -> Result<usize> {
        let mut cut_off = 0;
        while let Some(joined) = working.tasks.join_next().await {
            let (worker, is_cut_off) = joined.context("a worker")?;
            cut_off += usize::from(is_cut_off);
            self.workers.push(worker);
        }
        self.workers.sort_by_key(|worker| worker.number);
        Ok(cut_off)
    }

    /// Compares everything the workers know with what the server says.
    ///
    /// # Errors
    /// When the server does not answer. What is wrong with its answers goes into the tallies.
    pub async fn check_all(&mut self, target: &Target, with_gone: bool) -> Result<()> {
        let mut tasks = JoinSet::new();
        for mut worker in self.workers.drain(..) {
            let mut api = Api::at(target);
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
    ///
    /// # Errors
    /// When one does not, or the server does not answer.
    pub async fn settle(&mut self, target: &Target) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.check_all(target, false).await?;
            let running: usize = self.workers.iter().map(Worker::running).sum();
            if running == 0 {
                return Ok(());
            }
            if begun.elapsed() > SETTLE_MAX {
                self.workers[0].tally.lost += running as u64;
                bail!("{running} accepted refreshes never ended");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Compares the list of all links: nothing missing, and nothing that no request explains.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn check_list(&mut self, target: &Target) -> Result<()> {
        let listed = list_links(&mut Api::at(target)).await?;
        let mut expected: BTreeSet<_> = self.workers.iter().flat_map(Worker::live).map(ToOwned::to_owned).collect();
        expected.extend(target.access.link_id.clone());
        let missing = expected.difference(&listed).count() as u64;
        let unexplained = (listed.difference(&expected).count() as u64).saturating_sub(self.tally().uncertain_banks);
        let tally = &mut self.workers[0].tally;
        tally.lost += missing;
        tally.dup += unexplained;
        if missing + unexplained > 0 {
            tally.find(format!("the list of links lacks {missing} and has {unexplained} that nobody made"));
        }
        Ok(())
    }

    /// All counts together.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.workers.iter().for_each(|worker| tally.add(&worker.tally));
        tally
    }

    /// Fails when a promise was broken so far, so that the traces of the first one are not covered by later ones.
    ///
    /// # Errors
    /// When something was found.
    pub fn ensure_sound(&self) -> Result<()> {
        ensure!(self.tally().findings.is_empty(), "a promise is broken");
        Ok(())
    }
}

impl Working {
    /// Tells everybody to stop after what they are doing.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether somebody was cut off already.
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off.load(Ordering::Relaxed)
    }
}

/// The ids of all links, read page by page.
///
/// # Errors
/// When the server does not answer.
pub async fn list_links(api: &mut Api) -> Result<BTreeSet<String>> {
    let mut listed = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let query = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
        let page = api.get_json(&format!("/links?limit=500{query}")).await?;
        for link in page["links"].as_array().into_iter().flatten() {
            let id = link["link_id"].as_str().unwrap_or_default().to_owned();
            ensure!(listed.insert(id), "a link is listed twice");
        }
        cursor = page["next_cursor"].as_str().unwrap_or_default().to_owned();
        if cursor.is_empty() {
            return Ok(listed);
        }
    }
}
