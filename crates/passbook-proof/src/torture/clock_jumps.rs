//! `torture clock-jumps`: the machine's clock is set while the server works.
//!
//! The server's wall clock is faked by a library that reads its offset from a file; the monotonic clock stays real, as it
//! does on a machine whose clock is set. Every pattern has a store of its own, because what was stored in the future
//! stays there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::ClockJumpsOptions;
use super::conduct::{Conduct, milliseconds};
use super::crew::Crew;
use super::ground::{Ground, Running};
use super::model::Tally;
use super::store_files::Jobs;
use crate::http::{Connection, request};
use crate::metrics;
use crate::server::Plan;

/// One way to set a clock.
struct Pattern {
    name: &'static str,
    /// In the words of the library.
    setting: &'static str,
    /// Whether the server must notice that its clock is wrong.
    is_noticed: bool,
    /// Whether it is off by more than the 90 days of a deleted link's stub.
    is_years: bool,
}

const fn pattern(name: &'static str, setting: &'static str, is_noticed: bool) -> Pattern {
    Pattern { name, setting, is_noticed, is_years: false }
}

const fn years(name: &'static str, setting: &'static str) -> Pattern {
    Pattern { name, setting, is_noticed: true, is_years: true }
}

const PATTERNS: [Pattern; 12] = [
    pattern("5 s ahead", "+5", false),
    pattern("5 s back", "-5", false),
    pattern("5 min ahead", "+300", true),
    pattern("5 min back", "-300", true),
    pattern("2 h ahead", "+7200", true),
    pattern("2 h back", "-7200", true),
    pattern("2 days ahead", "+172800", true),
    pattern("2 days back", "-172800", true),
    // Standing still is not far from the truth for the half minute that is allowed.
    pattern("frozen", "%", false),
    years("10 years ahead", "+315360000"),
    // Over the end of 32-bit time within the experiment.
    years("2038", "@2038-01-19 03:14:00"),
    years("1970", "@1970-01-01 00:00:10"),
];
const TRUE_TIME: &str = "+0";
/// How soon readiness must tell that the clock is wrong, or right again.
const NOTICE_MAX: Duration = Duration::from_secs(5);
/// Before each piece of work, so that refresh limits open again.
const ADVANCE_SECONDS: u64 = 3_660;
const WORKERS: u32 = 3;

/// Runs the experiment.
pub async fn run(options: ClockJumpsOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    conduct.run("R6-clock-jumps-embedded", &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &ClockJumpsOptions) -> Result<()> {
    let library = library()?;
    let (mut noticed, mut slowest) = (0_u64, Duration::ZERO);
    for pattern in PATTERNS.iter().take(options.patterns) {
        let (tally, noticed_in) = jump(conduct, options, &library, pattern).await.context(pattern.name)?;
        conduct.tally.add(&tally);
        ensure!(tally.findings.is_empty(), "{}: a promise is broken", pattern.name);
        noticed += u64::from(noticed_in.is_some());
        slowest = slowest.max(noticed_in.unwrap_or_default());
        conduct.rounds += 1;
    }
    conduct.figure("refreshes", conduct.tally.refreshes);
    conduct.figure("noticed", noticed);
    conduct.figure("noticed_ms_max", milliseconds(slowest));
    ensure!(conduct.tally.refreshes >= conduct.rounds, "only {} refreshes were accepted", conduct.tally.refreshes);
    Ok(())
}

/// Works before, during and after one wrong time.
async fn jump(
    conduct: &Conduct,
    options: &ClockJumpsOptions,
    library: &Path,
    pattern: &Pattern,
) -> Result<(Tally, Option<Duration>)> {
    let directory = tempfile::TempDir::new_in(conduct.directory())?;
    let setting = directory.path().join("time");
    set(&setting, TRUE_TIME)?;
    let mut plan = Plan::new(conduct.plan.binary.clone(), directory.path(), conduct.plan.arguments.clone())?;
    plan.log.clone_from(&conduct.plan.log);
    let plan = faked(&plan, library, &setting);
    let ground = Ground::Embedded(Box::new(plan.clone()));
    let running = ground.start().await?;
    let address = running.addresses[0];
    let mut crew = Crew::new(WORKERS, conduct.seed, &conduct.journal);
    work(&mut crew, &running, options).await?;
    crew.settle(&running).await?;
    leave_for_another_time(&mut crew, pattern);
    set(&setting, pattern.setting)?;
    let noticed = match pattern.is_noticed {
        true => Some(wait_for_readiness(address, 503).await.context("the wrong clock was not noticed")?),
        false => None,
    };
    // Nothing may be fetched that nobody asked for; the crew knows when everything was fetched last.
    tokio::time::sleep(Duration::from_millis(500)).await;
    crew.check(&running, true).await?;
    work(&mut crew, &running, options).await?;
    crew.settle(&running).await?;
    leave_for_another_time(&mut crew, pattern);
    set(&setting, TRUE_TIME)?;
    wait_for_readiness(address, 200).await.context("the right clock was not noticed")?;
    work(&mut crew, &running, options).await?;
    crew.settle(&running).await?;
    crew.check(&running, true).await?;
    crew.check_list(&running).await?;
    let lost_leases = metrics::leases_lost(address).await?;
    running.stop().await?;
    ground.check(Jobs::HaveEnded).await?;
    let tally = crew.tally();
    ensure!(lost_leases == 0, "{lost_leases} jobs lost their lease");
    // Retention is 90 days: everything of these few seconds must be there, also when the clock said it was years ago.
    let jobs = ground.number("SELECT COUNT(*) FROM jobs WHERE work LIKE '%refresh%'").await?;
    let jobs = u64::try_from(jobs)?;
    ensure!(jobs >= tally.refreshes, "{} refreshes were accepted and {jobs} jobs are kept", tally.refreshes);
    Ok((tally, noticed))
}

/// Before the clock is set: what an app sees goes by the wall clock, and so does the end of a deleted link's stub after
/// 90 days. Over a jump of years it says nothing.
fn leave_for_another_time(crew: &mut Crew, pattern: &Pattern) {
    crew.forget_clock();
    if pattern.is_years {
        crew.forget_gone();
    }
}

async fn work(crew: &mut Crew, running: &Running, options: &ClockJumpsOptions) -> Result<()> {
    let mut day = crew.begin(running, ADVANCE_SECONDS);
    tokio::time::sleep(Duration::from_millis(options.work_ms)).await;
    ensure!(!day.was_cut_off(), "a request was not answered");
    crew.end(day).await?;
    crew.ensure_sound()
}

/// The same server with the wall clock that a file says; the monotonic clock stays real.
pub fn faked(plan: &Plan, library: &Path, setting: &Path) -> Plan {
    let text = |path: &Path| path.display().to_string();
    let environment = [
        ("LD_PRELOAD", text(library)),
        ("FAKETIME_TIMESTAMP_FILE", text(setting)),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("TZ", "UTC".to_owned()),
    ];
    Plan { environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(), ..plan.clone() }
}

/// Sets the time of every process that reads this file. By rename, because it is read at any moment.
pub fn set(file: &Path, setting: &str) -> Result<()> {
    let setting = if setting == "%" {
        crate::record::now().strftime("%Y-%m-%d %H:%M:%S").to_string()
    } else {
        setting.to_owned()
    };
    let new = file.with_extension("new");
    std::fs::write(&new, setting)?;
    std::fs::rename(&new, file).context("setting the time")
}

async fn wait_for_readiness(address: SocketAddr, status: u16) -> Result<Duration> {
    let begun = Instant::now();
    let mut connection = Connection::open(address).await?;
    while connection.exchange_status(&request("GET", "/readyz", &[], b"")).await? != status {
        ensure!(begun.elapsed() < NOTICE_MAX, "/readyz does not answer {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(begun.elapsed())
}

/// The library that fakes the time, where distributions put it.
pub fn library() -> Result<PathBuf> {
    const NAME: &str = "faketime/libfaketimeMT.so.1";
    let multiarch = std::fs::read_dir("/usr/lib").context("/usr/lib")?.flatten().map(|entry| entry.path());
    let found = multiarch.chain([PathBuf::from("/usr/lib")]).map(|path| path.join(NAME)).find(|path| path.exists());
    match found {
        Some(path) => Ok(path),
        None => bail!("libfaketime is not installed (Debian package `faketime`)"),
    }
}
