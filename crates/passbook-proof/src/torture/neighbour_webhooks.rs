//! `torture neighbour-webhooks`: how soon a webhook is first attempted beside receivers that hang.
//!
//! Two scenes, each on a server of its own. *Hanging*: one tenant has many webhook URLs, each at a host of its own
//! that takes connections and never answers, and events for all of them without end; another tenant has one receiver
//! that is well. *Dead*: of the receivers of one tenant some never answer and have thousands of events waiting; events
//! go to the others at a steady rate. In both, the time is from the request that makes an event, its durable commit
//! included, to the arrival of its webhook.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use super::NeighbourWebhooksOptions;
use super::conduct::Conduct;
use super::ground::{Ground, Running, StoreKind};
use crate::api::{Api, Body};
use crate::receivers::{Kind, Receivers};

/// Parallel writers of events.
const WRITERS: usize = 8;
/// Longest wait for webhooks that have to arrive.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the experiment.
pub async fn run(options: NeighbourWebhooksOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    let id = match options.common.store {
        StoreKind::Sqlite => "R4-neighbour-webhooks-embedded",
        StoreKind::Postgres => "R4-neighbour-webhooks-postgres",
    };
    conduct.run(id, &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &NeighbourWebhooksOptions) -> Result<()> {
    let took = hanging(conduct, options).await.context("beside hanging receivers of another tenant")?;
    judge(conduct, "bystander", &took, options.bystander_p99_ms_max);
    let took = dead(conduct, options).await.context("beside dead receivers with events that wait")?;
    judge(conduct, "others", &took, options.others_p99_ms_max);
    conduct.figure("hanging", options.hanging);
    conduct.figure("dead", options.dead);
    conduct.figure("backlog", options.backlog);
    conduct.rounds = 2;
    Ok(())
}

/// Notes percentiles and finds the last one too high.
fn judge(conduct: &mut Conduct, who: &str, took: &[Duration], p99_ms_max: f64) {
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)].as_secs_f64() * 1_000.0;
    for percent in [50, 99, 100] {
        conduct.figure(&format!("{who}_p{percent}_ms"), (at(percent) * 10.0).round() / 10.0);
    }
    conduct.figure(&format!("{who}_events"), took.len());
    conduct.tally.acked += took.len() as u64;
    if at(99) > p99_ms_max {
        conduct.tally.find(format!("{who}: first attempts took {:.1} ms at p99, more than {p99_ms_max}", at(99)));
    }
}

/// A ground of its own for a scene.
async fn ground(conduct: &Conduct, options: &NeighbourWebhooksOptions, name: &str) -> Result<Ground> {
    let directory = conduct.directory().join(name);
    std::fs::create_dir_all(&directory)?;
    let mut plan = conduct.plan.clone();
    plan.data = directory.join("data");
    std::fs::create_dir_all(&plan.data)?;
    Ground::new(&options.common, &plan, &directory, 1).await
}

async fn hanging(conduct: &Conduct, options: &NeighbourWebhooksOptions) -> Result<Vec<Duration>> {
    let ground = ground(conduct, options, "hanging").await?;
    let running = ground.start().await?;
    let foreign = ground.add_foreign_client()?;
    let mut kinds = vec![Kind::Silent; options.hanging];
    kinds.push(Kind::Healthy);
    let receivers = Receivers::start(kinds, conduct.seed).await?;
    let (healthy, silent) = receivers.urls.split_last().context("no receiver")?;
    let bystander = || Api::over(&running.addresses, &foreign, 0);
    let own = make_link(&mut bystander(), healthy, "bystander").await?;
    let mut links = Vec::new();
    for (number, url) in silent.iter().enumerate() {
        links.push(make_link(&mut running.api(0), url, &format!("hanging-{number}")).await?);
    }
    // What linking announced has arrived, so that every later arrival is of an event that is timed.
    wait_until(|| receivers.seen(|seen| !seen.arrivals.is_empty())).await?;
    let ended = Arc::new(AtomicBool::new(false));
    let crowd = keep_writing(&running, &links, &ended);
    let sent = write_steadily(&[own], options.secs, options.rate, bystander).await;
    ended.store(true, Ordering::Relaxed);
    let written = crowd.join_all().await.into_iter().sum::<Result<u64>>()?;
    ensure!(written > 0, "the other tenant wrote nothing");
    let took = arrivals(&receivers, &sent?).await?;
    // Attempts at receivers that hang are cut off; they are nobody's loss.
    running.kill()?;
    Ok(took)
}

async fn dead(conduct: &Conduct, options: &NeighbourWebhooksOptions) -> Result<Vec<Duration>> {
    let ground = ground(conduct, options, "dead").await?;
    let running = ground.start().await?;
    let mut kinds = vec![Kind::Silent; options.dead];
    kinds.resize(options.dead + options.healthy, Kind::Healthy);
    let receivers = Receivers::start(kinds, conduct.seed).await?;
    let mut links = Vec::new();
    for (number, url) in receivers.urls.iter().enumerate() {
        links.push(make_link(&mut running.api(0), url, &format!("dead-{number}")).await?);
    }
    let (dead, healthy) = links.split_at(options.dead);
    write_backlog(&running, dead, options.backlog).await?;
    let sent = write_steadily(healthy, options.secs, options.rate, || running.api(0)).await?;
    let took = arrivals(&receivers, &sent).await?;
    running.kill()?;
    Ok(took)
}

async fn make_link(api: &mut Api, webhook: &str, user: &str) -> Result<String> {
    let body = json!({ "customer_user": { "id": user }, "webhook": webhook, "settings": { "products": {} } });
    let answer = api.call_until_admitted("POST", "/sandbox/links", &body).await?;
    Ok(answer.json()["link_id"].as_str().with_context(|| format!("a link answered {}", answer.status))?.to_owned())
}

/// Has an event simulated; gives its delivery token.
async fn simulate(api: &mut Api, link: &str) -> Result<String> {
    let body = json!({ "webhook_event": "transactions.updates_available" });
    let answer = api.call_until_admitted("POST", &format!("/sandbox/links/{link}/events"), &body).await?;
    ensure!(answer.status == 201, "an event answered {}: {}", answer.status, answer.json());
    Ok(answer.json()["delivery_token"].as_str().context("no token")?.to_owned())
}

/// Two writers give each of these links one event after the other, until they are told to end.
fn keep_writing(running: &Running, links: &[String], ended: &Arc<AtomicBool>) -> JoinSet<Result<u64>> {
    let mut tasks = JoinSet::new();
    for writer in 0..2 {
        let (mut api, links, ended) = (running.api(0), links.to_vec(), Arc::clone(ended));
        tasks.spawn(async move {
            let mut written = 0;
            for link in links.iter().skip(writer).step_by(2).cycle() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                simulate(&mut api, link).await?;
                written += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(written)
        });
    }
    tasks
}

/// So many events of each link, as fast as they are taken.
async fn write_backlog(running: &Running, links: &[String], each: u64) -> Result<()> {
    let mut tasks = JoinSet::new();
    // Of one link one at a time, because two at once would be refused as a conflict.
    for link in links {
        let (mut api, link) = (running.api(0), link.clone());
        tasks.spawn(async move {
            let body = json!({ "webhook_event": "transactions.updates_available" });
            let path = format!("/sandbox/links/{link}/events");
            for _ in 0..each {
                let answer = api.call("POST", &path, Body::Json(&body)).await?;
                if answer.status != 201 {
                    simulate(&mut api, &link).await?;
                }
            }
            anyhow::Ok(())
        });
    }
    tasks.join_all().await.into_iter().collect()
}

/// Events at a steady rate; gives token and beginning of each.
async fn write_steadily(
    links: &[String],
    secs: u64,
    rate: u32,
    api: impl Fn() -> Api,
) -> Result<Vec<(String, Instant)>> {
    let writers = WRITERS.min(links.len());
    let each = usize::try_from(secs * u64::from(rate))? / writers;
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let (mut api, links) = (api(), links.to_vec());
        tasks.spawn(async move {
            // The first call of a client gets its token, which is no part of an event.
            api.token().await?;
            let mut ticks = tokio::time::interval(Duration::from_secs(1) * u32::try_from(writers)? / rate);
            let mut sent = Vec::with_capacity(each);
            for number in 0..each {
                ticks.tick().await;
                let begun = Instant::now();
                let link = &links[(number * writers + writer) % links.len()];
                sent.push((simulate(&mut api, link).await?, begun));
            }
            anyhow::Ok(sent)
        });
    }
    let parts: Vec<_> = tasks.join_all().await.into_iter().collect::<Result<_>>()?;
    Ok(parts.concat())
}

/// How long each of these took to arrive, in rising order.
async fn arrivals(receivers: &Receivers, sent: &[(String, Instant)]) -> Result<Vec<Duration>> {
    let arrived = |token: &String| receivers.seen(|seen| seen.arrivals.get(token).map(|came| came[0].at));
    wait_until(|| sent.iter().all(|(token, _)| arrived(token).is_some())).await?;
    let took = |(token, begun): &(String, Instant)| arrived(token).map(|at| at.duration_since(*begun));
    let mut took: Vec<Duration> = sent.iter().filter_map(took).collect();
    took.sort_unstable();
    ensure!(!took.is_empty(), "no event was timed");
    Ok(took)
}

async fn wait_until(is_so: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !is_so() {
        ensure!(begun.elapsed() < PATIENCE, "webhooks do not arrive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
