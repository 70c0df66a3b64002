//! `torture backups`: backups of a store that is being written to, each put back and compared.
//!
//! One crew's work is done and checked before the backup begins, so all of it must be in the backup, exactly. A second
//! crew writes while the backup is made. Then the first crew deletes a link: the restored store is given the deletion
//! ledger, as the manual says, and must not have it. A backup with a flipped byte must not be restored.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::BackupsOptions;
use super::conduct::{Conduct, milliseconds};
use super::crew::Crew;
use super::ground::{Ground, Running};
use super::model::Worker;
use super::store_files::{Jobs, databases_in};
use super::work::Shift;
use crate::deployment::operate;
use crate::rng::Rng;
use crate::server::Plan;

const WORKERS: u32 = 3;
/// Numbers of the crew that writes meanwhile.
const OTHERS: std::ops::Range<u32> = 100..108;
/// Work before each backup, and writing before and after its begin and end.
const WORK: Duration = Duration::from_millis(700);
const BESIDE: Duration = Duration::from_millis(200);
/// Before each round, so that refresh limits open again.
const ADVANCE_SECONDS: u64 = 3_660;

/// Runs the experiment.
pub async fn run(options: BackupsOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    conduct.run("R14-backups-embedded", &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &BackupsOptions) -> Result<()> {
    let ground = Ground::Embedded(Box::new(conduct.plan.clone()));
    let running = ground.start().await?;
    let mut crew = Crew::new(WORKERS, conduct.seed, &conduct.journal);
    let mut others = Crew::numbered(OTHERS, conduct.seed, &conduct.journal);
    let mut rng = Rng::new(conduct.seed, 0);
    let (mut written, mut backup_max, mut restore_max, mut refused) = (0, Duration::ZERO, Duration::ZERO, 0_u64);
    for round in 0..options.rounds {
        let context = || format!("round {round}");
        let day = crew.begin(&running, ADVANCE_SECONDS);
        tokio::time::sleep(WORK).await;
        crew.end(day).await?;
        crew.settle(&running).await.with_context(context)?;
        crew.check(&running, true).await.with_context(context)?;
        let directory = TempDir::new_in(conduct.directory())?;
        let (backup, took, steps) =
            back_up(conduct, &running, &mut others, directory.path()).await.with_context(context)?;
        backup_max = backup_max.max(took);
        written += steps;
        delete_one(conduct, &running, &mut crew).await?;
        if round % 4 == 0 {
            refuse_damaged(conduct, &backup, directory.path(), &mut rng).with_context(context)?;
            refused += 1;
        }
        let took = restore_and_check(conduct, &backup, directory.path(), &mut crew).await.with_context(context)?;
        restore_max = restore_max.max(took);
        conduct.tally = crew.tally();
        crew.ensure_sound().with_context(context)?;
        others.ensure_sound().with_context(context)?;
        conduct.rounds += 1;
    }
    others.settle(&running).await?;
    running.stop().await?;
    ground.check(Jobs::HaveEnded).await?;
    conduct.tally.add(&others.tally());
    conduct.figure("requests_during_backups", written);
    conduct.figure("damaged_refused", refused);
    conduct.figure("backup_ms_max", milliseconds(backup_max));
    conduct.figure("restore_ms_max", milliseconds(restore_max));
    ensure!(written >= options.rounds * 10, "only {written} requests were made during backups");
    ensure!(!conduct.tally.findings.is_empty() || refused > 0, "no damaged backup was tried");
    Ok(())
}

/// Takes a backup while the other crew writes; gives it, how long it took, and what was done meanwhile.
async fn back_up(
    conduct: &Conduct,
    running: &Running,
    others: &mut Crew,
    directory: &Path,
) -> Result<(PathBuf, Duration, u64)> {
    let day = others.begin(running, 0);
    tokio::time::sleep(BESIDE).await;
    let backup = directory.join("backup");
    let (plan, to) = (conduct.plan.clone(), backup.display().to_string());
    let before = day.steps();
    let begun = Instant::now();
    // On a thread of its own: the crew goes on.
    tokio::task::spawn_blocking(move || operate(&plan, &["backup", "--to", &to])).await??;
    let took = begun.elapsed();
    tokio::time::sleep(BESIDE).await;
    let steps = day.steps() - before;
    others.end(day).await?;
    Ok((backup, took, steps))
}

/// One link that is in the backup is deleted after it.
async fn delete_one(conduct: &Conduct, running: &Running, crew: &mut Crew) -> Result<()> {
    let worker: &mut Worker = crew.first();
    let Some(position) = worker.files.iter().position(|link| link.link_id.is_some()) else { return Ok(()) };
    let (mut api, journal) = (running.api(0), conduct.journal.clone());
    let clock_moves = AtomicBool::new(false);
    let mut shift =
        Shift { worker, api: &mut api, journal: &journal, clock_moves: &clock_moves, store_may_be_away: false };
    shift.delete_file(position).await.ok().context("a delete was cut off")
}

/// A copy of the backup with one bit changed must not be restored.
fn refuse_damaged(conduct: &Conduct, backup: &Path, directory: &Path, rng: &mut Rng) -> Result<()> {
    let damaged = directory.join("damaged");
    std::fs::create_dir(&damaged)?;
    super::copy_files(backup, &damaged)?;
    let database = databases_in(&damaged)?.pop().context("no database in the backup")?;
    let mut bytes = std::fs::read(&database)?;
    let position = rng.index(bytes.len());
    bytes[position] ^= 1 << rng.below(8);
    std::fs::write(&database, bytes)?;
    let data = directory.join("from-damaged");
    let restored = restore(conduct, &damaged, &data);
    ensure!(restored.is_err(), "a backup with a flipped bit at {position} was restored");
    Ok(())
}

/// Puts the backup into a new directory, starts a server there, and compares; gives the time until it was ready.
async fn restore_and_check(conduct: &Conduct, backup: &Path, directory: &Path, crew: &mut Crew) -> Result<Duration> {
    let begun = Instant::now();
    let target = directory.join("restored");
    std::fs::create_dir(&target)?;
    let mut plan = Plan::new(conduct.plan.binary.clone(), &target, conduct.plan.arguments.clone())?;
    plan.log.clone_from(&conduct.plan.log);
    restore(conduct, backup, &plan.data)?;
    let ground = Ground::Embedded(Box::new(plan));
    let running = ground.start().await.context("on the restored store")?;
    let took = begun.elapsed();
    crew.check(&running, true).await.context("on the restored store")?;
    crew.ensure_sound().context("on the restored store")?;
    // What the others had accepted when the backup was made goes on here.
    super::exchange::settle(&mut running.api(0)).await?;
    running.stop().await?;
    ground.check(Jobs::HaveEnded).await.context("the restored store")?;
    Ok(took)
}

/// The operator's command, as the manual has it: the key is put in place first, the ledger is named.
fn restore(conduct: &Conduct, backup: &Path, data: &Path) -> Result<()> {
    std::fs::create_dir_all(data)?;
    std::fs::copy(conduct.plan.data.join("master.key"), data.join("master.key"))?;
    let ledger = conduct.plan.data.join("deletions.ledger");
    let mut command = Command::new(&conduct.plan.binary);
    command.args(["restore", "--from"]).arg(backup).arg("--data").arg(data).arg("--deletions").arg(ledger);
    let output = command.output()?;
    ensure!(output.status.success(), "restore: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
