//! `torture failing-disk`: the disk answers with errors for a while.
//!
//! A second `strace` attaches to the working server and makes every write, or every sync, of all its threads fail, until
//! it lets go. Meanwhile nothing may be acknowledged, every request must still be answered, and afterwards writes must
//! work again without a restart. Then the server is killed: what it refused must not come back from its files.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::FailingDiskOptions;
use super::conduct::{Conduct, milliseconds};
use super::crew::Crew;
use super::ground::{Ground, Running};
use super::store_files::Jobs;
use crate::api::{Body, import_file_path};
use crate::process::signal;
use crate::rng::Rng;
use crate::statement::{Account, PER_DAY};

/// What fails, and how.
const FAULTS: [(&str, &str); 4] = [
    ("fsync,fdatasync", "EIO"),
    ("pwrite64", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("ftruncate,fsync,fdatasync,pwrite64", "EIO"),
];
/// Time of undisturbed work before each fault.
const WARM_UP: Duration = Duration::from_millis(300);
/// Before each fault, so that refresh limits open again.
const ADVANCE_SECONDS: u64 = 3_660;
/// How soon writes must work again.
const RECOVERY_MAX: Duration = Duration::from_secs(5);
/// Workers, and the number of the one that asks whether writes work again.
const WORKERS: u32 = 4;
const PROBE: u32 = 900;

/// Runs the experiment.
pub async fn run(options: FailingDiskOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    conduct.run("R3-failing-disk-embedded", &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &FailingDiskOptions) -> Result<()> {
    let ground = Ground::Embedded(Box::new(conduct.plan.clone()));
    let mut crew = Crew::new(WORKERS, conduct.seed, &conduct.journal);
    crew.store_may_be_away = true;
    let mut rng = Rng::new(conduct.seed, 1000);
    let (mut injected, mut slowest) = (0, Duration::ZERO);
    let mut running = ground.start().await?;
    for round in 0..options.rounds {
        let (calls, error) = FAULTS[rng.index(FAULTS.len())];
        let mut day = crew.begin(&running, ADVANCE_SECONDS);
        tokio::time::sleep(WARM_UP).await;
        let output = conduct.directory().join(format!("injected-{round}"));
        let fault = attach(running.servers[0].pid(), calls, error, &output)?;
        tokio::time::sleep(Duration::from_millis(200 + rng.below(400))).await;
        release(fault).await?;
        let recovery = recover(&running, round).await.with_context(|| format!("round {round}: {error} on {calls}"))?;
        slowest = slowest.max(recovery);
        ensure!(!day.was_cut_off(), "round {round}: a request was not answered while {calls} gave {error}");
        crew.end(day).await?;
        injected += std::fs::read_to_string(&output)?.matches("(INJECTED)").count() as u64;
        running.kill()?;
        ground.check(Jobs::MayBeOpen).await.with_context(|| format!("round {round}"))?;
        running = ground.start().await?;
        crew.check(&running, true).await?;
        conduct.tally = crew.tally();
        crew.ensure_sound().with_context(|| format!("round {round}: {error} on {calls}"))?;
        conduct.rounds += 1;
    }
    crew.settle(&running).await?;
    running.stop().await?;
    ground.check(Jobs::HaveEnded).await?;
    conduct.tally = crew.tally();
    conduct.figure("injected", injected);
    conduct.figure("refused", conduct.tally.refused);
    conduct.figure("unknown", conduct.tally.unknown);
    conduct.figure("recovery_ms_max", milliseconds(slowest));
    ensure!(injected >= options.rounds, "only {injected} calls were made to fail");
    ensure!(conduct.tally.refused >= options.rounds, "only {} writes were refused", conduct.tally.refused);
    Ok(())
}

/// Makes these calls fail in every thread of a process.
fn attach(pid: u32, calls: &str, error: &str, output: &Path) -> Result<Child> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-p", &pid.to_string(), "-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:error={error}"), "-o"]).arg(output);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("strace")
}

/// Lets the process go; its calls work again.
async fn release(mut strace: Child) -> Result<()> {
    ensure!(strace.try_wait()?.is_none(), "strace could not attach to the server");
    signal(strace.id(), "INT")?;
    while strace.try_wait()?.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Imports until one import is acknowledged.
async fn recover(running: &Running, round: u64) -> Result<Duration> {
    let begun = Instant::now();
    let mut api = running.api(0);
    let position = u32::try_from(round)?;
    let file = Account::new(PROBE, position).statement(0..PER_DAY);
    loop {
        let answer = api.call("POST", &import_file_path(&format!("probe-{position}")), Body::Statement(&file)).await?;
        if (200..300).contains(&answer.status) {
            return Ok(begun.elapsed());
        }
        ensure!(answer.status == 503, "an import was answered {}", answer.status);
        ensure!(begun.elapsed() < RECOVERY_MAX, "writes are still refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
