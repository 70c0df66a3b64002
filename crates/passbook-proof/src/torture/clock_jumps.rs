//! `torture clock-jumps`: the machine's clock is set while the server works.
//!
//! The server's wall clock is faked by a library that reads its offset from a file; the monotonic clock stays real, as it
//! does on a machine whose clock is set. Every pattern has a store of its own, because what was stored in the future
//! stays there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rusqlite::Connection;

use super::ClockJumpsOptions;
use super::conduct::{Conduct, milliseconds};
use super::crew::Crew;
use super::model::Tally;
use super::store_files::{Jobs, check_store, databases_in};
use crate::api::Target;
use crate::http::{Connection as HttpConnection, request};
use crate::server::{Plan, Server};

/// One way to set a clock.
struct Pattern {
    name: &'static str,
    /// In the words of the library.
    setting: &'static str,
    /// Whether the server must notice that its clock is wrong.
    is_noticed: bool,
}

const fn pattern(name: &'static str, setting: &'static str, is_noticed: bool) -> Pattern {
    Pattern { name, setting, is_noticed }
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
    pattern("10 years ahead", "+315360000", true),
    // Over the end of 32-bit time within the experiment.
    pattern("2038", "@2038-01-19 03:14:00", true),
    pattern("1970", "@1970-01-01 00:00:10", true),
];
/// How the server counts jobs by how they ended.
const JOBS_METRIC: &str = "passbook_jobs_total{";
const TRUE_TIME: &str = "+0";
/// How soon readiness must tell that the clock is wrong, or right again.
const NOTICE_MAX: Duration = Duration::from_secs(5);
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
    let text = |path: &Path| path.display().to_string();
    let environment = [
        ("LD_PRELOAD", text(library)),
        ("FAKETIME_TIMESTAMP_FILE", text(&setting)),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("TZ", "UTC".to_owned()),
    ];
    plan.environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let server = Server::start(&plan).await?;
    let target = server.target();
    let mut crew = Crew::new(WORKERS, conduct.seed, conduct.journal.clone());
    work(&mut crew, &target, options).await?;
    crew.settle(&target).await?;
    set(&setting, pattern.setting)?;
    let noticed = match pattern.is_noticed {
        true => Some(wait_for_readiness(&target, 503).await.context("the wrong clock was not noticed")?),
        false => None,
    };
    // Nothing may be fetched that nobody asked for; the crew knows when everything was fetched last.
    tokio::time::sleep(Duration::from_millis(500)).await;
    crew.check_all(&target, true).await?;
    work(&mut crew, &target, options).await?;
    crew.settle(&target).await?;
    set(&setting, TRUE_TIME)?;
    wait_for_readiness(&target, 200).await.context("the right clock was not noticed")?;
    work(&mut crew, &target, options).await?;
    crew.settle(&target).await?;
    crew.check_all(&target, true).await?;
    crew.check_list(&target).await?;
    let lost_leases = leases_lost(&target).await?;
    server.stop().await?;
    check_store(&plan.data, Jobs::HaveEnded)?;
    let tally = crew.tally();
    ensure!(lost_leases == 0, "{lost_leases} jobs lost their lease");
    // Retention is 90 days: everything of these few seconds must be there, also when the clock said it was years ago.
    let jobs = refresh_jobs(&plan.data)?;
    ensure!(jobs >= tally.refreshes, "{} refreshes were accepted and {jobs} jobs are kept", tally.refreshes);
    Ok((tally, noticed))
}

async fn work(crew: &mut Crew, target: &Target, options: &ClockJumpsOptions) -> Result<()> {
    let working = crew.begin(std::slice::from_ref(target), 0);
    tokio::time::sleep(Duration::from_millis(options.work_ms)).await;
    working.stop();
    let cut_off = crew.gather(working).await?;
    ensure!(cut_off == 0, "{cut_off} requests were not answered");
    crew.ensure_sound()
}

/// Sets the time of every process that reads this file. By rename, because it is read at any moment.
fn set(file: &Path, setting: &str) -> Result<()> {
    let setting = if setting == "%" {
        crate::record::now().strftime("%Y-%m-%d %H:%M:%S").to_string()
    } else {
        setting.to_owned()
    };
    let new = file.with_extension("new");
    std::fs::write(&new, setting)?;
    std::fs::rename(&new, file).context("setting the time")
}

async fn wait_for_readiness(target: &Target, status: u16) -> Result<Duration> {
    let begun = Instant::now();
    let mut connection = HttpConnection::open(target.address).await?;
    while connection.exchange_status(&request("GET", "/readyz", &[], b"")).await? != status {
        ensure!(begun.elapsed() < NOTICE_MAX, "/readyz does not answer {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(begun.elapsed())
}

/// How many jobs ended without their lease, as the server counts them.
async fn leases_lost(target: &Target) -> Result<u64> {
    let mut connection = HttpConnection::open(target.address).await?;
    let answer = connection.exchange(&request("GET", "/metrics", &[], b"")).await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let jobs: Vec<_> = text.lines().filter(|line| line.starts_with(JOBS_METRIC)).collect();
    ensure!(!jobs.is_empty(), "the metrics do not count jobs");
    let lost = jobs.iter().filter(|line| line.contains("\"lost\"")).filter_map(|line| line.rsplit(' ').next());
    lost.map(|count| count.parse::<u64>().context("a count")).sum()
}

fn refresh_jobs(data: &Path) -> Result<u64> {
    let databases = databases_in(data)?;
    let connection = Connection::open(databases.first().context("no database")?)?;
    let count: i64 =
        connection.query_row("SELECT COUNT(*) FROM jobs WHERE work LIKE '%refresh%'", [], |row| row.get(0))?;
    u64::try_from(count).context("a count")
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
