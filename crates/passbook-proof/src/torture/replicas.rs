//! `torture replicas`: replicas race for jobs, and holders of leases are stopped until the leases are over.
//!
//! Each round asks for one refresh of every link, stops one replica in the middle of its jobs (`SIGSTOP`), waits until
//! the others have taken its jobs over and ended them, and lets it go on (`SIGCONT`). What it writes then is late; the
//! fence refuses it. A late write that got through would be a second end of a job, and its events are counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::task::JoinHandle;

use super::ReplicasOptions;
use super::conduct::Conduct;
use super::ground::{Ground, Running, StoreKind};
use super::refresh_limits::{advance, make_links};
use super::store_files::Jobs;
use crate::database::Database;
use crate::metrics;
use crate::process::signal;
use crate::rng::Rng;

const REPLICAS: usize = 3;
/// Links; each is refreshed once a round.
const LINKS: usize = 100;
const PRODUCTS: [&str; 4] = ["accounts", "account_numbers", "identity", "transactions"];
/// Short, so that many leases can be waited out. A stopped holder that had a transaction open keeps its rows locked
/// until the database ends the transaction, which is the longest a take-over can wait.
const SETTINGS: &str = "[workers]\nlease_seconds = 2\n";
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(60);
/// A replica is stopped this long after the calls began.
const STOP_AFTER_MS: u64 = 250;
/// What the stopped one had handed to the database before may still be under way.
const UNDER_WAY: Duration = Duration::from_millis(150);
/// How long after it went on a stopped one may take to write what it was about to.
const LATE_WITHIN: Duration = Duration::from_secs(30);
/// More than the longest refresh window.
const DAY_SECONDS: u64 = 90_000;
/// A run that cannot make its zombies ends.
const ROUNDS_MAX: u64 = 400;

/// A job under a lease: its fence and who holds it.
struct Held {
    fence: i64,
    owner: String,
}

/// Runs the experiment.
pub async fn run(mut options: ReplicasOptions) -> Result<()> {
    options.common.store = StoreKind::Postgres;
    let conduct = Conduct::new(&options.common, &[])?;
    conduct.run("R7-replicas", &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &ReplicasOptions) -> Result<()> {
    let (plan, directory) = (conduct.plan.clone(), conduct.directory().to_owned());
    let ground = Ground::with_settings(&options.common, &plan, &directory, REPLICAS, SETTINGS).await?;
    let Ground::Hosted(deployment) = &ground else { bail!("replicas need PostgreSQL") };
    let mut database = deployment.database().await?;
    let running = ground.start().await?;
    let links = Arc::new(make_links(&running, "replicas", LINKS).await?);
    let mut rng = Rng::new(options.common.seed, 0);
    let (mut jobs, mut zombies) = (LINKS as u64, 0);
    while jobs < options.jobs || zombies < options.zombies {
        ensure!(conduct.rounds < ROUNDS_MAX, "only {zombies} zombies in {ROUNDS_MAX} rounds");
        advance(&running, DAY_SECONDS).await?;
        let victim = rng.index(REPLICAS);
        let calls = ask_all(&running, &links, conduct.rounds);
        tokio::time::sleep(Duration::from_millis(rng.below(STOP_AFTER_MS))).await;
        zombies += stop_and_go_on(&running, victim, &mut database).await?;
        for call in calls {
            call.await??;
            jobs += 1;
        }
        ground.wait_for_jobs(TAKEN_OVER_WITHIN).await?;
        conduct.rounds += 1;
    }
    conduct.tally.acked = jobs;
    conduct.figure("replicas", REPLICAS);
    conduct.figure("jobs", jobs);
    conduct.figure("zombies", zombies);
    let refused = late_writes_refused(&running, options.zombies).await?;
    conduct.figure("late_writes_refused", refused);
    ensure!(refused >= options.zombies, "only {refused} late writes came and were refused");
    running.stop().await?;
    expect_one_end_each(conduct, &mut database, jobs).await?;
    ground.check(Jobs::HaveEnded).await
}

/// One refresh of all products of every link, over all replicas; an unanswered call waits for its replica to go on.
///
/// A replica that was stopped for longer than its time limits closes connections whose request it has not read yet, so
/// calls carry an idempotency key and are made again.
fn ask_all(running: &Running, links: &[String], round: u64) -> Vec<JoinHandle<Result<()>>> {
    let call = |(position, link): (usize, &String)| {
        let (mut api, path) = (running.api(position), format!("/links/{link}/products"));
        let key = format!("round {round} {link}");
        tokio::spawn(async move {
            let body = json!({ "products": PRODUCTS });
            api.set_patience(TAKEN_OVER_WITHIN * 2);
            let answer = api.call_until_answered("POST", &path, &body, &key).await.context("a refresh")?;
            ensure!(answer.status == 202, "a refresh answered {}: {}", answer.status, answer.json());
            Ok(())
        })
    };
    links.iter().enumerate().map(call).collect()
}

/// Stops a replica until all its leases have been taken over; gives how many there were.
async fn stop_and_go_on(running: &Running, victim: usize, database: &mut Database) -> Result<u64> {
    let pid = running.servers[victim].pid();
    signal(pid, "STOP")?;
    let result = taken_over(database).await;
    // Whatever happened: a stopped process would never end.
    signal(pid, "CONT")?;
    result
}

/// Waits until every job that was held when this began has ended, and counts those that had to change hands for it.
async fn taken_over(database: &mut Database) -> Result<u64> {
    tokio::time::sleep(UNDER_WAY).await;
    let before = held(database).await?;
    let begun = Instant::now();
    loop {
        let now = held(database).await?;
        let waiting = before.iter().filter(|(job, held)| now.get(*job).is_some_and(|now| now.fence == held.fence));
        if waiting.count() == 0 {
            break;
        }
        if begun.elapsed() > TAKEN_OVER_WITHIN {
            bail!("a stopped holder's job was not taken over in {} s", TAKEN_OVER_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let fences = fences(database, before.keys()).await?;
    let changed = |(job, held): &(&String, &Held)| fences.get(*job).is_some_and(|fence| *fence > held.fence);
    let zombies: Vec<_> = before.iter().filter(changed).collect();
    let owners: std::collections::BTreeSet<_> = zombies.iter().map(|(_, held)| &held.owner).collect();
    ensure!(owners.len() <= 1, "jobs of {} holders were taken over while one was stopped", owners.len());
    Ok(zombies.len() as u64)
}

async fn held(database: &mut Database) -> Result<BTreeMap<String, Held>> {
    const HELD: &str = "SELECT job_id, fence, lease_owner FROM jobs WHERE state = 'open' AND lease_owner IS NOT NULL";
    let rows = database.client().query(HELD, &[]).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, Held { fence: row.try_get(1)?, owner: row.try_get(2)? })))
        .collect::<Result<_>>()
}

async fn fences(database: &mut Database, jobs: impl Iterator<Item = &String>) -> Result<BTreeMap<String, i64>> {
    let ids: Vec<&String> = jobs.collect();
    let rows = database.client().query("SELECT job_id, fence FROM jobs WHERE job_id = ANY($1)", &[&ids]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Runs of jobs that found their lease lost, as every replica counts them: so many, or what there is when nothing more
/// can come. Who was stopped last has only just gone on, and its late writes are still to come.
async fn late_writes_refused(running: &Running, wanted: u64) -> Result<u64> {
    let begun = Instant::now();
    loop {
        let mut refused = 0;
        for address in &running.addresses {
            refused += metrics::leases_lost(*address).await?;
        }
        if refused >= wanted || begun.elapsed() > LATE_WITHIN {
            return Ok(refused);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Each accepted refresh has one `completed` event for each product, and no link has more.
async fn expect_one_end_each(conduct: &mut Conduct, database: &mut Database, jobs: u64) -> Result<()> {
    const ENDS: &str =
        "SELECT COUNT(*) FROM events WHERE CAST(body AS jsonb) #>> '{kind,state}' IN ('completed', 'failed')
        AND CAST(body AS jsonb) #>> '{kind,product}' = $1";
    const PENDING: &str = "SELECT COUNT(*) FROM events WHERE CAST(body AS jsonb) #>> '{kind,state}' = 'pending'
        AND CAST(body AS jsonb) #>> '{kind,product}' = $1";
    let done = database.number("SELECT COUNT(*) FROM jobs WHERE state = 'done' AND work LIKE '%efresh%'").await?;
    conduct.figure("jobs_done", done);
    ensure!(u64::try_from(done)? == jobs, "{done} jobs are done, {jobs} were accepted");
    let mut stale = 0;
    for product in PRODUCTS {
        let begun: i64 = database.client().query_one(PENDING, &[&product]).await?.try_get(0)?;
        let ended: i64 = database.client().query_one(ENDS, &[&product]).await?.try_get(0)?;
        ensure!(begun > 0 && ended >= begun, "{product}: {begun} refreshes, {ended} ends");
        stale += ended - begun;
    }
    conduct.figure("stale_commits", stale);
    conduct.tally.dup += u64::try_from(stale)?;
    Ok(())
}
