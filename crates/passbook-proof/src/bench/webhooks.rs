//! Webhooks: how soon after the event, how many in a second, and how little dead receivers matter to the others.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Bench;
use super::pairs::{Comparison, alternate};
use super::report::Report;
use crate::api::Api;
use crate::receivers::{Kind, Receivers};
use crate::server::Server;

const RECEIVERS: usize = 100;
/// How many of them are dead where some are.
const DEAD: usize = 10;
/// Events in a second where they come steadily.
const RATE: u32 = 100;
/// Parallel writers of events.
const WRITERS: usize = 8;
/// Longest wait for what has to arrive.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures everything about webhooks.
pub async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    throughput(bench, report).await.context("throughput")?;
    latency(bench, report).await.context("latency")
}

/// Links, one for each receiver, whose webhooks are not set yet.
struct Stage {
    server: Server,
    receivers: Receivers,
    links: Vec<String>,
}

impl Stage {
    async fn set(bench: &Bench, name: &str, kinds: Vec<Kind>) -> Result<Self> {
        let plan = bench.plan(name);
        std::fs::create_dir_all(&plan.data)?;
        let server = Server::start(&plan).await?;
        let receivers = Receivers::start(kinds, super::SEED).await?;
        let mut api = Api::new(&server);
        let mut links = Vec::new();
        for number in 0..receivers.urls.len() {
            let user = json!({ "id": format!("webhooks-{number}") });
            let body = json!({ "customer_user": user, "settings": { "products": {} } });
            let answer = api.call_until_admitted("POST", "/sandbox/links", &body).await?;
            links.push(answer.json()["link_id"].as_str().context("no link")?.to_owned());
        }
        Ok(Self { server, receivers, links })
    }

    fn api(&self) -> Api {
        Api::new(&self.server)
    }

    /// Gives each link the webhook of its receiver.
    async fn set_webhooks(&self) -> Result<()> {
        let mut api = self.api();
        for (link, url) in self.links.iter().zip(&self.receivers.urls) {
            let path = format!("/links/{link}");
            let answer = api.call_until_admitted("PATCH", &path, &json!({ "webhook": url })).await?;
            ensure!(answer.status == 200, "setting a webhook answered {}", answer.status);
        }
        Ok(())
    }

    /// So many events of each of these links, as fast as they are taken.
    async fn write_events(&self, links: &[String], each: u64) -> Result<()> {
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let mut api = self.api();
            let own: Vec<_> = links.iter().skip(writer).step_by(WRITERS).cloned().collect();
            tasks.spawn(async move {
                for _ in 0..each {
                    for link in &own {
                        simulate(&mut api, link).await?;
                    }
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    fn arrived(&self) -> usize {
        self.receivers.seen(|seen| seen.arrivals.values().map(Vec::len).sum())
    }

    async fn wait_for(&self, count: usize) -> Result<()> {
        let begun = Instant::now();
        while self.arrived() < count {
            ensure!(begun.elapsed() < PATIENCE, "{} of {count} webhooks arrived", self.arrived());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

/// Has an event simulated; gives its delivery token.
async fn simulate(api: &mut Api, link: &str) -> Result<String> {
    let body = json!({ "webhook_event": "transactions.updates_available" });
    let answer = api.call_until_admitted("POST", &format!("/sandbox/links/{link}/events"), &body).await?;
    ensure!(answer.status == 201, "an event answered {}: {}", answer.status, answer.json());
    Ok(answer.json()["delivery_token"].as_str().context("no token")?.to_owned())
}

/// A backlog that is delivered at once, against the same requests sent straight to the receivers.
async fn throughput(bench: &Bench, report: &mut Report) -> Result<()> {
    let stage = Stage::set(bench, "webhooks-throughput", vec![Kind::Healthy; RECEIVERS]).await?;
    let each = bench.scale.webhooks / RECEIVERS as u64;
    stage.write_events(&stage.links, each).await?;
    stage.set_webhooks().await?;
    let filter = json!({ "webhook_event": "transactions.updates_available" });
    let pairs = alternate(
        bench.scale.pairs.min(5),
        async || {
            let before = stage.arrived();
            let begun = Instant::now();
            let answer = stage.api().call_until_admitted("POST", "/passbook/events/replay", &filter).await?;
            let count = answer.json()["deliveries"].as_u64().context("no replay")?;
            stage.wait_for(before + usize::try_from(count)?).await?;
            Ok(count as f64 / begun.elapsed().as_secs_f64())
        },
        async || straight(&stage.receivers.urls, each).await,
    )
    .await?;
    let title =
        format!("webhooks to {RECEIVERS} receivers / the same requests without store and signature: per second");
    report.add(&title, &Comparison::of(&pairs, |rate| *rate));
    stage.server.stop().await
}

/// Requests of the same size, one after the other at each receiver as deliveries of one link are; gives how many a second.
async fn straight(urls: &[String], each: u64) -> Result<f64> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let body = "x".repeat(320);
    let (begun, mut tasks) = (Instant::now(), JoinSet::new());
    for url in urls {
        let (client, url, body) = (client.clone(), url.clone(), body.clone());
        tasks.spawn(async move {
            for number in 0..each {
                let request = client.post(&url).header("moneykit-delivery-token", format!("straight-{number}"));
                request.body(body.clone()).send().await?.error_for_status()?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok((urls.len() as u64 * each) as f64 / begun.elapsed().as_secs_f64())
}

/// From the request that makes an event to the arrival of its webhook, with and without dead receivers beside it.
async fn latency(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut kinds = vec![Kind::Silent; DEAD];
    kinds.resize(RECEIVERS, Kind::Healthy);
    let with_dead = Stage::set(bench, "webhooks-dead", kinds).await?;
    let well = Stage::set(bench, "webhooks-well", vec![Kind::Healthy; RECEIVERS]).await?;
    with_dead.set_webhooks().await?;
    well.set_webhooks().await?;
    with_dead.write_events(&with_dead.links[..DEAD], bench.scale.webhooks_dead).await?;
    let (healthy, all) = (with_dead.links[DEAD..].to_vec(), well.links.clone());
    let pairs = alternate(
        bench.scale.pairs.min(5),
        async || steadily(&with_dead, &healthy, bench.scale.seconds).await,
        async || steadily(&well, &all, bench.scale.seconds).await,
    )
    .await?;
    let waiting = waiting(&mut with_dead.api()).await?;
    let title = format!(
        "webhooks at {RATE} events/s, {DEAD} of {RECEIVERS} receivers dead / none: p99 ms to the first attempt"
    );
    report.add(&title, &Comparison::of(&pairs, |ms| *ms));
    report.note(&format!(
        "Each dead receiver had {} events; at the end {} of them still waited. The time is from the request that makes an event, \
         its durable commit included, to the arrival of its webhook.",
        bench.scale.webhooks_dead, waiting
    ));
    with_dead.server.stop().await?;
    well.server.stop().await
}

/// Events at a steady rate; gives the 99th percentile of the milliseconds until their webhooks arrived.
async fn steadily(stage: &Stage, links: &[String], span: Duration) -> Result<f64> {
    let each = usize::try_from(span.as_secs() * u64::from(RATE))? / WRITERS;
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let (mut api, links) = (stage.api(), links.to_vec());
        api.token().await?;
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) * WRITERS as u32 / RATE);
            let mut sent = Vec::with_capacity(each);
            for number in 0..each {
                ticks.tick().await;
                let begun = Instant::now();
                let link = &links[(number * WRITERS + writer) % links.len()];
                sent.push((simulate(&mut api, link).await?, begun));
            }
            anyhow::Ok(sent)
        });
    }
    let mut sent = Vec::new();
    while let Some(part) = tasks.join_next().await {
        sent.extend(part??);
    }
    let begun = Instant::now();
    let arrived = |token: &String| stage.receivers.seen(|seen| seen.arrivals.get(token).map(|came| came[0].at));
    while !sent.iter().all(|(token, _)| arrived(token).is_some()) {
        ensure!(begun.elapsed() < PATIENCE, "webhooks do not arrive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = |(token, begun): &(String, Instant)| arrived(token).map(|at| at.duration_since(*begun));
    let mut took: Vec<Duration> = sent.iter().filter_map(took).collect();
    took.sort_unstable();
    Ok(took[took.len() * 99 / 100].as_secs_f64() * 1_000.0)
}

/// Deliveries that wait.
async fn waiting(api: &mut Api) -> Result<usize> {
    let (mut waiting, mut cursor) = (0, "0".to_owned());
    loop {
        let path = format!("/passbook/events?delivery_state=waiting&limit=1000&cursor={cursor}");
        let page: Value = api.get_json(&path).await?;
        waiting += page["events"].as_array().map_or(0, Vec::len);
        match page["cursors"]["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return Ok(waiting),
        }
    }
}
