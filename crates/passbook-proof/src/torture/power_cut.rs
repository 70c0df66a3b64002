//! `torture power-cut`: the machine loses its power, many times, in one recorded run.
//!
//! The server works under `strace`, which writes down every byte it writes, every sync and every answer. From that the
//! disk is made again as a cut at any place of the record may have left it: what a finished sync covers, and any part of
//! the rest. On each such image the server must start, and everything must be there that an answer sent before the cut
//! acknowledged. A few control images come from a disk that lies about syncs: there, losses must be found, or this
//! experiment would find none anywhere.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::PowerCutOptions;
use super::check::{check, check_gone};
use super::conduct::Conduct;
use super::disk::{Cut, Damage, Disk};
use super::journal::{Journal, Moment};
use super::model::{Tally, Worker};
use super::store_files::{Jobs, check_store, copy_files};
use super::trace::{self, Call};
use super::work::{CutOff, Shift};
use crate::api::Api;
use crate::rng::Rng;
use crate::server::{Plan, Server};

/// Parallel workers: more than one, so that commits are shared and syncs overlap with writes.
const WORKERS: u32 = 4;
/// How long accepted refreshes may take to end on an image.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// The same on a disk that lies, where one that was lost never ends.
const CONTROL_SETTLE_MAX: Duration = Duration::from_secs(3);
/// How long the tracer may take to write its last line.
const TRACE_MAX: Duration = Duration::from_secs(30);
/// Control images: on these, syncs near the cut did nothing.
const CONTROLS: u64 = 5;
/// Trace lines before the cut from which the lying disk ignores syncs.
const LIE_LINES: usize = 400;

/// What was recorded.
struct Record {
    disk: Disk,
    moments: BTreeMap<u32, Vec<Moment>>,
    last: BTreeMap<u32, Worker>,
    /// Where each answer was sent.
    answers: HashMap<String, usize>,
}

/// Runs the experiment.
pub async fn run(options: PowerCutOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    conduct.run("R2-power-cut-embedded", &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &PowerCutOptions) -> Result<()> {
    // What exists before the record begins: a store that was closed in order.
    Server::start(&conduct.plan).await?.stop().await?;
    let base = TempDir::new_in(conduct.directory())?;
    copy_files(&conduct.plan.data, base.path())?;
    let record = record(conduct, options, base.path()).await?;
    note_record(conduct, &record)?;
    let places = Places::of(&record)?;
    let mut rng = Rng::new(conduct.seed, 0);
    let mut damage = Damage::default();
    for number in 0..options.images {
        // Each fate comes up, however few images there are.
        let cut = Cut { at: places.draw(&mut rng), lies_from: usize::MAX, fate: Some(number) };
        let (tally, done) =
            judge(conduct, &record, cut, &mut rng, SETTLE_MAX).await.with_context(|| format!("image {number}"))?;
        conduct.tally.add(&tally);
        ensure!(conduct.tally.findings.is_empty(), "image {number}, cut at line {}: a promise is broken", cut.at);
        damage.unsynced += done.unsynced;
        damage.dropped += done.dropped;
        damage.torn += done.torn;
        conduct.rounds += 1;
    }
    conduct.figure("writes_unsynced", damage.unsynced);
    conduct.figure("writes_dropped", damage.dropped);
    conduct.figure("writes_torn", damage.torn);
    ensure!(damage.dropped >= options.images, "only {} writes were dropped", damage.dropped);
    ensure!(damage.torn >= options.images, "only {} writes were torn", damage.torn);
    controls(conduct, &record, &places, &mut rng).await
}

/// Loads a traced server and stops it.
async fn record(conduct: &Conduct, options: &PowerCutOptions, base: &Path) -> Result<Record> {
    let output = conduct.directory().join("trace");
    let plan = Plan { under: trace::command(&output), ..conduct.plan.clone() };
    let server = Server::start(&plan).await.context("under strace")?;
    let journal = Journal::remembering(&conduct.directory().join("journal-traced.tsv"))?;
    let end = Instant::now() + Duration::from_secs(options.secs);
    let mut tasks = tokio::task::JoinSet::new();
    let clock_moves = Arc::new(AtomicBool::new(false));
    for number in 0..WORKERS {
        let (mut worker, mut api) = (Worker::new(number, conduct.seed), Api::new(&server));
        let (journal, clock_moves) = (journal.clone(), Arc::clone(&clock_moves));
        tasks.spawn(async move {
            let mut shift = Shift {
                worker: &mut worker,
                api: &mut api,
                journal: &journal,
                clock_moves: &clock_moves,
                store_may_be_away: false,
            };
            while Instant::now() < end {
                step(&mut shift).await?;
            }
            Ok::<_, CutOff>(worker)
        });
    }
    let mut last = BTreeMap::new();
    while let Some(joined) = tasks.join_next().await {
        let worker = joined.context("a worker")?.ok().context("a request to the traced server was cut off")?;
        ensure!(worker.tally.findings.is_empty(), "while recording: {}", worker.tally.findings.join("; "));
        last.insert(worker.number, worker);
    }
    // Stopping writes too: it empties the log into the database.
    server.stop().await?;
    let directory = conduct.plan.data.canonicalize()?;
    let events = trace::read(&finished(&output).await?, &directory)?;
    let answers = events.iter().filter_map(|event| match &event.call {
        Call::Answer(id) => Some((id.clone(), event.begun)),
        _ => None,
    });
    let answers = answers.collect();
    Ok(Record { disk: Disk::new(&directory, base, events)?, moments: journal.take_moments(), last, answers })
}

/// Every kind of work that changes something.
async fn step(shift: &mut Shift<'_>) -> Result<(), CutOff> {
    match shift.worker.rng.below(10) {
        0..5 => shift.import().await,
        5..7 => shift.make_bank_link().await,
        7..9 => shift.refresh().await,
        _ => shift.delete().await,
    }
}

/// The trace, once the tracer has seen the last thread end.
async fn finished(output: &Path) -> Result<Vec<u8>> {
    let begun = Instant::now();
    loop {
        let written = std::fs::read(output).context("the trace")?;
        if trace::is_finished(&written) {
            return Ok(written);
        }
        ensure!(begun.elapsed() < TRACE_MAX, "the tracer did not finish");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Checks that every acknowledged change waited for a sync, and notes how large the record is.
fn note_record(conduct: &mut Conduct, record: &Record) -> Result<()> {
    let events = record.disk.events();
    let is_log = |path: &Path| path.to_string_lossy().ends_with("-wal");
    let syncs = events.iter().filter(|event| matches!(&event.call, Call::Sync(path) if is_log(path)));
    let syncs: Vec<_> = syncs.map(|event| event.ended).collect();
    let mut changes = 0_u64;
    for moments in record.moments.values() {
        let mut previous = 0;
        for moment in moments {
            let id = moment.request_id.as_deref().context("an answer without a request id")?;
            let answered = *record.answers.get(id).with_context(|| format!("the trace lacks the answer to {id}"))?;
            if moment.acknowledged {
                changes += 1;
                let synced = syncs.iter().any(|ended| (previous..answered).contains(ended));
                ensure!(synced, "{id} was acknowledged although nothing was synced for it");
            }
            previous = answered;
        }
    }
    conduct.figure("recorded_changes", changes);
    conduct.figure("recorded_syncs", syncs.len() as u64);
    let writes = events.iter().filter(|event| matches!(event.call, Call::Write(..))).count();
    conduct.figure("recorded_writes", writes as u64);
    ensure!(changes >= 20, "only {changes} changes were recorded");
    Ok(())
}

/// Places at which cutting the power is interesting.
struct Places {
    answers: Vec<usize>,
    /// Just after a write that no sync covers yet.
    writes: Vec<usize>,
    first: usize,
    last: usize,
}

impl Places {
    fn of(record: &Record) -> Result<Self> {
        let ids = record.moments.values().flatten().filter_map(|moment| moment.request_id.as_ref());
        let mut answers: Vec<_> = ids.filter_map(|id| record.answers.get(id)).map(|place| place + 1).collect();
        answers.sort_unstable();
        let (first, events) = (*answers.first().context("no answer was recorded")?, record.disk.events());
        let writes = events.iter().filter(|event| event.begun >= first && matches!(event.call, Call::Write(..)));
        let writes = writes.map(|event| event.begun + 1).collect();
        let last = events.last().map_or(first, |event| event.begun) + 2;
        Ok(Self { answers, writes, first, last })
    }

    fn draw(&self, rng: &mut Rng) -> usize {
        match rng.below(4) {
            0 => self.answers[rng.index(self.answers.len())],
            1 | 2 => self.writes[rng.index(self.writes.len())],
            _ => self.first + rng.index(self.last - self.first),
        }
    }
}

/// Makes the image of one cut, starts the server on it, and compares.
async fn judge(
    conduct: &Conduct,
    record: &Record,
    cut: Cut,
    rng: &mut Rng,
    settle_max: Duration,
) -> Result<(Tally, Damage)> {
    let directory = TempDir::new_in(conduct.directory())?;
    let mut plan = Plan::new(conduct.plan.binary.clone(), directory.path(), conduct.plan.arguments.clone())?;
    plan.log.clone_from(&conduct.plan.log);
    let damage = record.disk.write_image(cut, rng, &plan.data)?;
    check_store(&plan.data, Jobs::MayBeOpen).context("before the server starts")?;
    let server = Server::start(&plan).await?;
    let mut tally = Tally::default();
    for (number, moments) in &record.moments {
        let mut worker = worker_at(record, *number, moments, cut.at);
        // Only what is found from here on belongs to this image.
        let acked = std::mem::take(&mut worker.tally).acked;
        let mut api = Api::new(&server);
        settle(&mut worker, &mut api, settle_max).await?;
        check_gone(&mut worker, &mut api).await?;
        worker.tally.acked = acked;
        tally.add(&worker.tally);
    }
    server.stop().await?;
    check_store(&plan.data, Jobs::HaveEnded).context("after the server has worked on it")?;
    Ok((tally, damage))
}

/// What the worker knew from the answers that were sent before the cut.
fn worker_at(record: &Record, number: u32, moments: &[Moment], cut: usize) -> Worker {
    let is_answered = |moment: &Moment| {
        let place = moment.request_id.as_ref().and_then(|id| record.answers.get(id));
        place.is_some_and(|place| *place < cut)
    };
    let answered = moments.iter().take_while(|moment| is_answered(moment)).count();
    moments.get(answered).map_or_else(|| record.last[&number].clone(), |moment| moment.before.clone())
}

/// Checks until every accepted refresh has ended.
async fn settle(worker: &mut Worker, api: &mut Api, settle_max: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        check(worker, api).await?;
        if worker.running() == 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < settle_max, "{} accepted refreshes never ended", worker.running());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Cuts a disk that lies: at least one loss must come to light.
async fn controls(conduct: &mut Conduct, record: &Record, places: &Places, rng: &mut Rng) -> Result<()> {
    let mut found = 0_u64;
    for _ in 0..CONTROLS {
        let at = places.answers[places.answers.len() / 2 + rng.index(places.answers.len() / 2)];
        let cut = Cut { at, lies_from: at.saturating_sub(LIE_LINES), fate: None };
        let is_found = match judge(conduct, record, cut, rng, CONTROL_SETTLE_MAX).await {
            Ok((tally, _)) => tally.lost > 0 || !tally.findings.is_empty(),
            Err(_) => true,
        };
        found += u64::from(is_found);
    }
    conduct.figure("controls", CONTROLS);
    conduct.figure("controls_found", found);
    ensure!(found > 0, "no loss was found on a disk that lies: this experiment proves nothing");
    Ok(())
}
