//! `torture full-disk`: the server's disk has no room left.
//!
//! The disk is a small file system in memory, mounted in a namespace of our own, so neither a privilege nor the
//! machine's own disk is needed. Each round fills it to another level in the middle of work and frees it again.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;

use super::FullDiskOptions;
use super::check::check;
use super::journal::Journal;
use super::kill::binary;
use super::model::Worker;
use super::store_files::{Jobs, check_store};
use super::work::{CutOff, Shift, numbers_path};
use crate::api::Api;
use crate::record::{Proof, commit, today};
use crate::server::{Plan, Server};

/// Writes tried on a full disk before "it never refuses" is the finding: a log that was used before has room inside.
const WRITES_MAX: u64 = 3_000;
/// Writes made after the first refusal: none may slip through as a 2xx that is not kept.
const WRITES_WHILE_FULL: u64 = 30;
/// Days in the files imported on the full disk; large ones use up what room is left inside the store's files.
const DAYS_PER_FILE: u32 = 50;
/// How soon writes must work again once there is room.
const RECOVERY_MAX: Duration = Duration::from_secs(5);
/// How long accepted refreshes may take to end once there is room.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// Runs the experiment in a mount namespace of its own.
pub async fn run(options: FullDiskOptions) -> Result<()> {
    options.common.require_clean()?;
    if options.inside_namespace {
        return run_inside(options).await;
    }
    // A namespace can only be entered by a process without threads, so this program starts itself again inside one.
    let mut inside = Command::new("unshare");
    inside.args(["--user", "--map-root-user", "--mount"]).arg(std::env::current_exe()?);
    inside.args(["torture", "full-disk", "--inside-namespace"]).arg("--server").arg(binary(options.common.server)?);
    inside.args(["--seed", &options.common.seed.to_string(), "--levels", &options.levels.to_string()]);
    inside.args(["--disk-mib", &options.disk_mib.to_string()]);
    if options.common.record {
        inside.arg("--record");
    }
    let status = inside.status().context("unshare")?;
    ensure!(status.success(), "torture full-disk: {status}");
    Ok(())
}

/// What one run has measured.
#[derive(Default)]
struct Figures {
    levels: u64,
    recovery: Duration,
    reads_while_full: u64,
}

async fn run_inside(options: FullDiskOptions) -> Result<()> {
    let directory = TempDir::with_prefix("passbook-torture-")?;
    let disk = directory.path().join("disk");
    std::fs::create_dir(&disk)?;
    let size = format!("size={}m", options.disk_mib);
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&disk).status()?;
    ensure!(status.success(), "mount: {status}");
    let plan = Plan {
        binary: binary(options.common.server.clone())?,
        data: disk.join("data"),
        log: directory.path().join("server.log"),
        arguments: vec!["--seed".to_owned(), options.common.seed.to_string()],
        under: Vec::new(),
        environment: Vec::new(),
        hosted: None,
    };
    std::fs::create_dir(&plan.data)?;
    let journal = Journal::create(&directory.path().join("journal.tsv"))?;
    let mut worker = Worker::new(0, options.common.seed);
    let mut figures = Figures::default();
    let begun = Instant::now();
    let result = rounds(&options, &plan, &disk, &journal, &mut worker, &mut figures).await;
    journal.flush()?;
    let mut reasons: Vec<_> = result.err().map(|error| format!("{error:#}")).into_iter().collect();
    reasons.extend(worker.tally.findings.iter().cloned());
    if worker.tally.lost + worker.tally.dup > 0 {
        reasons.push(format!("{} lost, {} doubled", worker.tally.lost, worker.tally.dup));
    }
    proof(&options, &worker, &figures, begun.elapsed(), reasons.is_empty()).publish(options.common.record)?;
    if reasons.is_empty() {
        return Ok(());
    }
    // The disk vanishes with the namespace; what helps to understand is beside it.
    let kept = directory.keep();
    bail!("{}\njournal and server log are kept in {}", reasons.join("\n"), kept.display())
}

async fn rounds(
    options: &FullDiskOptions,
    plan: &Plan,
    disk: &Path,
    journal: &Journal,
    worker: &mut Worker,
    figures: &mut Figures,
) -> Result<()> {
    let server = Server::start(plan).await?;
    let mut api = Api::new(&server);
    let mut shift =
        Shift { worker, api: &mut api, journal, clock_moves: &AtomicBool::new(false), store_may_be_away: false };
    for _ in 0..4 {
        shift.make_bank_link().await.map_err(cut_off)?;
        shift.import().await.map_err(cut_off)?;
    }
    for level in 0..options.levels {
        let context = || format!("level {level}");
        fill_and_free(disk, &server, worker, &mut api, journal, figures).await.with_context(context)?;
        settle(worker, &mut api).await.with_context(context)?;
        ensure!(worker.tally.findings.is_empty(), "level {level} broke a promise");
        figures.levels += 1;
    }
    ensure!(worker.tally.refused >= options.levels, "only {} writes were refused", worker.tally.refused);
    // What was acknowledged must also be on the disk, not only in the memory of the process that lived through this.
    server.kill()?;
    check_store(&plan.data, Jobs::HaveEnded)?;
    let server = Server::start(plan).await?;
    check(worker, &mut Api::new(&server)).await?;
    server.stop().await
}

async fn fill_and_free(
    disk: &Path,
    server: &Server,
    worker: &mut Worker,
    api: &mut Api,
    journal: &Journal,
    figures: &mut Figures,
) -> Result<()> {
    let mut shift = Shift { worker, api, journal, clock_moves: &AtomicBool::new(false), store_may_be_away: false };
    shift.advance_clock(90_000).await.map_err(cut_off)?;
    for _ in 0..4 {
        shift.refresh().await.map_err(cut_off)?;
    }
    // The refreshes are running: fill the disk under them, but for a few pages that differ from level to level.
    let spare = shift.worker.rng.below(64) * 4096;
    fill(disk, spare)?;
    let refused_before = shift.worker.tally.refused;
    let mut writes = 0;
    while shift.worker.tally.refused == refused_before {
        ensure!(writes < WRITES_MAX, "{writes} writes on a full disk and none was refused");
        let position = shift.worker.rng.index(shift.worker.files.len());
        shift.import_days(position, DAYS_PER_FILE).await.map_err(cut_off)?;
        writes += 1;
    }
    for _ in 0..WRITES_WHILE_FULL {
        let position = shift.worker.rng.index(shift.worker.files.len());
        shift.import_days(position, DAYS_PER_FILE).await.map_err(cut_off)?;
        shift.read_numbers().await.map_err(cut_off)?;
    }
    let link_id = server.access.link_id.as_str();
    for path in [format!("/links/{link_id}"), numbers_path(link_id), format!("/links/{link_id}/accounts")] {
        shift.api.get_json(&path).await.context("a read on the full disk")?;
        figures.reads_while_full += 1;
    }
    std::fs::remove_file(disk.join("filler"))?;
    let freed = Instant::now();
    loop {
        let acked = shift.worker.tally.acked;
        let position = shift.worker.rng.index(shift.worker.files.len());
        shift.import_days(position, 1).await.map_err(cut_off)?;
        if shift.worker.tally.acked > acked {
            break;
        }
        ensure!(
            freed.elapsed() < RECOVERY_MAX,
            "writes are still refused {} s after there is room",
            freed.elapsed().as_secs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    figures.recovery = figures.recovery.max(freed.elapsed());
    Ok(())
}

/// Fills the disk until `spare` bytes are left.
fn fill(disk: &Path, spare: u64) -> Result<()> {
    let mut filler = File::create(disk.join("filler"))?;
    let page = [0xa5; 4096];
    loop {
        match filler.write_all(&page) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => break,
            Err(error) => return Err(error).context("filling the disk"),
        }
    }
    let length = filler.metadata()?.len();
    filler.set_len(length.saturating_sub(spare)).context("leaving some room")
}

/// Waits until every accepted refresh has ended, then checks everything.
async fn settle(worker: &mut Worker, api: &mut Api) -> Result<()> {
    let begun = Instant::now();
    loop {
        check(worker, api).await?;
        let running = worker.running();
        if running == 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < SETTLE_MAX, "{running} accepted refreshes never ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn cut_off(_: CutOff) -> anyhow::Error {
    anyhow::anyhow!("a request was cut off: the server must answer, also on a full disk")
}

fn proof(options: &FullDiskOptions, worker: &Worker, figures: &Figures, took: Duration, passed: bool) -> Proof {
    let tally = &worker.tally;
    let own = json!({
        "disk_mib": options.disk_mib,
        "refused": tally.refused,
        "refreshes": tally.refreshes,
        "refreshes_failed": tally.refreshes_failed,
        "reads_while_full": figures.reads_while_full,
        "recovery_ms_max": u64::try_from(figures.recovery.as_millis()).unwrap_or(u64::MAX),
    });
    Proof {
        id: "R4-full-disk-embedded",
        seed: options.common.seed,
        rounds: figures.levels,
        acked: tally.acked,
        lost: tally.lost,
        dup: tally.dup,
        figures: own.as_object().cloned().unwrap_or_default(),
        secs: took.as_secs(),
        verdict: if passed { "pass" } else { "fail" },
        commit: commit(),
        date: today(),
    }
}
