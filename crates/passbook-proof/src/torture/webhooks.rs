//! `torture webhooks`: events for receivers that fail in every way, from a server that is killed again and again.
//!
//! Every acknowledged event must arrive, or be a dead letter that can be replayed; all attempts of a delivery carry the
//! same body and count up; a receiver that is well sees the events of a link in the order of the ledger.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::WebhooksOptions;
use super::conduct::Conduct;
use super::ground::{Ground, Running, StoreKind};
use super::store_files::Jobs;
use crate::api::{Api, Body};
use crate::receivers::{Arrival, Kind, Receivers, Seen};
use crate::rng::Rng;

/// Of a hundred attempts at a flaky receiver so many fail; half of the receivers are flaky.
const FLAKY_PERCENT: u64 = 60;
/// Parallel writers.
const WRITERS: usize = 8;
/// A server lives so long at least and at most, in milliseconds, before it is killed.
const LIFE_MS: (u64, u64) = (100, 500);
/// How long what is due may take to be attempted.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// The clock is moved at most so often until nothing waits any more: ten attempts, twice.
const MOVES_MAX: usize = 400;

/// A link and what was asked for it.
struct Track {
    link_id: String,
    receiver: usize,
    /// Tokens of acknowledged events.
    tokens: Vec<String>,
}

/// Runs the experiment.
pub async fn run(options: WebhooksOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    let id = match options.common.store {
        StoreKind::Sqlite => "R9-webhooks-embedded",
        StoreKind::Postgres => "R9-webhooks-postgres",
    };
    conduct.run(id, &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &WebhooksOptions) -> Result<()> {
    let ground = Ground::new(&options.common, &conduct.plan, conduct.directory(), 1).await?;
    let receivers = Receivers::start(kinds(options.receivers), conduct.seed).await?;
    let mut running = ground.start().await?;
    let mut tracks = make_links(&running, &receivers).await?;
    let mut rng = Rng::new(conduct.seed, 0);
    let (mut kills, mut sent, mut repeat) = (0, 0, 0);
    while kills < options.kills || sent < options.events {
        let left = options.events.saturating_sub(sent);
        let quota = left.div_ceil(options.kills.saturating_sub(kills).max(1));
        let life = Duration::from_millis(LIFE_MS.0 + rng.below(LIFE_MS.1 - LIFE_MS.0));
        sent += live(&running, &mut tracks, quota, life, &mut repeat).await?;
        if kills < options.kills {
            running.kill()?;
            kills += 1;
            running = ground.start().await.with_context(|| format!("after kill {kills}"))?;
        }
    }
    let mut api = running.api(0);
    come_to_rest(&mut api).await.context("the first round")?;
    let dead = list(&mut api, "&delivery_state=dead").await?.len();
    receivers.heal();
    let replayed = replay_dead(&mut api).await?;
    come_to_rest(&mut api).await.context("the replay")?;
    let ledger = list(&mut api, "").await?;
    judge(conduct, &tracks, &receivers, &ledger);
    conduct.rounds = kills;
    conduct.tally.acked = sent;
    conduct.figure("receivers", receivers.urls.len());
    conduct.figure("kills", kills);
    conduct.figure("dead_letters", dead);
    conduct.figure("replayed", replayed);
    receivers.seen(|seen| {
        let arrivals: usize = seen.arrivals.values().map(Vec::len).sum();
        let repeated: usize = seen.arrivals.values().map(|arrivals| repeated_numbers(arrivals)).sum();
        conduct.figure("attempts", arrivals);
        conduct.figure("same_number_twice", repeated);
        conduct.figure("faults", json!(seen.faults));
    });
    ensure!(replayed as usize >= dead, "{dead} dead letters, {replayed} replayed");
    running.stop().await?;
    ground.check(Jobs::MayBeOpen).await
}

/// Half of them well, one without TLS, the others flaky.
fn kinds(count: usize) -> Vec<Kind> {
    let kind = |index| match index {
        0 => Kind::NoTls,
        index if index % 2 == 0 => Kind::Flaky(FLAKY_PERCENT),
        _ => Kind::Healthy,
    };
    (0..count).map(kind).collect()
}

/// A link for each receiver.
async fn make_links(running: &Running, receivers: &Receivers) -> Result<Vec<Track>> {
    let mut api = running.api(0);
    let mut tracks = Vec::new();
    for (receiver, url) in receivers.urls.iter().enumerate() {
        let user = json!({ "id": format!("webhooks-{receiver}") });
        let body = json!({ "customer_user": user, "webhook": url, "settings": { "products": {} } });
        let answer = api.call_until_admitted("POST", "/sandbox/links", &body).await?;
        let link_id = answer.json()["link_id"].as_str().context("no link")?.to_owned();
        tracks.push(Track { link_id, receiver, tokens: Vec::new() });
    }
    Ok(tracks)
}

/// Writers work for a while; gives how many events were acknowledged.
async fn live(running: &Running, tracks: &mut Vec<Track>, quota: u64, life: Duration, repeat: &mut u64) -> Result<u64> {
    let ends_at = Instant::now() + life;
    let mut tasks = JoinSet::new();
    let mut parts: Vec<Vec<Track>> = (0..WRITERS).map(|_| Vec::new()).collect();
    for (index, track) in tracks.drain(..).enumerate() {
        parts[index % WRITERS].push(track);
    }
    *repeat += 1;
    for (writer, mut part) in parts.into_iter().enumerate() {
        let (mut api, mut turn) = (running.api(writer), *repeat as usize);
        tasks.spawn(async move {
            let mut sent = 0;
            while sent < quota.div_ceil(WRITERS as u64) && Instant::now() < ends_at && !part.is_empty() {
                turn += 1;
                let count = part.len();
                let track = &mut part[turn % count];
                let path = format!("/sandbox/links/{}/events", track.link_id);
                let body = json!({ "webhook_event": "transactions.updates_available" });
                // Cut off: the event is there or it is not, and nobody was promised anything.
                let Ok(answer) = api.call("POST", &path, Body::Json(&body)).await else { break };
                if let (201, Some(token)) = (answer.status, answer.json()["delivery_token"].as_str()) {
                    track.tokens.push(token.to_owned());
                    sent += 1;
                }
            }
            (sent, part)
        });
    }
    tokio::time::sleep_until(ends_at.into()).await;
    let mut sent = 0;
    while let Some(part) = tasks.join_next().await {
        let (count, part) = part?;
        sent += count;
        tracks.extend(part);
    }
    Ok(sent)
}

/// Moves the clock on until no delivery waits any more.
async fn come_to_rest(api: &mut Api) -> Result<()> {
    for _ in 0..MOVES_MAX {
        let Some(next) = next_attempt(api).await? else { return Ok(()) };
        let now: Timestamp = clock(api).await?;
        let seconds = next.duration_since(now).as_secs() + 1;
        let body = json!({ "advance_seconds": seconds.max(1) });
        let answer = api.call_until_admitted("POST", "/sandbox/clock", &body).await?;
        ensure!(answer.status == 200, "the clock answered {}: {}", answer.status, answer.json());
    }
    anyhow::bail!("deliveries wait after {MOVES_MAX} moves of the clock")
}

/// The latest next attempt of everything that waits, once nothing is due; `None` when nothing waits.
async fn next_attempt(api: &mut Api) -> Result<Option<Timestamp>> {
    let begun = Instant::now();
    loop {
        let waiting = list(api, "&delivery_state=waiting").await?;
        let now = clock(api).await?;
        let next = |event: &Value| {
            let deliveries = event["deliveries"].as_array().cloned().unwrap_or_default();
            deliveries.iter().filter_map(|one| one["next_attempt_at"].as_str()?.parse::<Timestamp>().ok()).min()
        };
        let next: Vec<_> = waiting.iter().filter_map(next).collect();
        match next.iter().min() {
            None => return Ok(None),
            // Some behind, so that the clock is moved a hundred times and not ten thousand times.
            Some(first) if *first > now => {
                let near = next.iter().filter(|at| at.duration_since(*first).as_secs() < 1_800).max();
                return Ok(near.copied());
            }
            Some(_) => {
                ensure!(begun.elapsed() < SETTLE_MAX, "due deliveries are not attempted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn clock(api: &mut Api) -> Result<Timestamp> {
    let answer = api.get_json("/sandbox/clock").await?;
    Ok(answer["now"].as_str().context("no time")?.parse()?)
}

/// The whole ledger, or what the filter lets through.
async fn list(api: &mut Api, filter: &str) -> Result<Vec<Value>> {
    let (mut events, mut cursor) = (Vec::new(), "0".to_owned());
    loop {
        let page = api.get_json(&format!("/passbook/events?limit=1000&cursor={cursor}{filter}")).await?;
        events.extend(page["events"].as_array().cloned().unwrap_or_default());
        match page["cursors"]["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return Ok(events),
        }
    }
}

async fn replay_dead(api: &mut Api) -> Result<u64> {
    let body = json!({ "delivery_state": "dead" });
    let answer = api.call_until_admitted("POST", "/passbook/events/replay", &body).await?;
    answer.json()["deliveries"].as_u64().with_context(|| format!("a replay answered {}", answer.status))
}

/// Compares what was promised, what the ledger says, and what the receivers saw.
fn judge(conduct: &mut Conduct, tracks: &[Track], receivers: &Receivers, ledger: &[Value]) {
    let mut states = HashMap::new();
    let mut order: HashMap<&str, Vec<&str>> = HashMap::new();
    for event in ledger {
        for delivery in event["deliveries"].as_array().into_iter().flatten() {
            let token = delivery["delivery_token"].as_str().unwrap_or_default();
            states.insert(token, delivery["state"].as_str().unwrap_or_default());
            order.entry(event["link_id"].as_str().unwrap_or_default()).or_default().push(token);
        }
    }
    receivers.seen(|seen| {
        for track in tracks {
            let kind = receivers.kinds[track.receiver];
            for token in &track.tokens {
                let accepted = seen.arrivals.get(token).is_some_and(|came| came.iter().any(|one| one.accepted));
                let state = states.get(token.as_str()).copied();
                let is_kept = match kind {
                    Kind::NoTls => state == Some("dead"),
                    _ => state == Some("delivered") && accepted,
                };
                if !is_kept {
                    conduct.tally.lost += 1;
                    conduct.tally.find(format!("{token} to a receiver {kind:?} is {state:?}, accepted: {accepted}"));
                }
            }
            if kind == Kind::Healthy {
                let expected = order.get(track.link_id.as_str()).cloned().unwrap_or_default();
                check_order(conduct, &expected, seen, track.receiver);
            }
        }
        for (token, arrivals) in &seen.arrivals {
            if let Some(broken) = broken_series(arrivals) {
                conduct.tally.find(format!("{token}: {broken}"));
            }
        }
    });
}

fn check_order(conduct: &mut Conduct, expected: &[&str], seen: &Seen, receiver: usize) {
    let came: Vec<_> = seen.accepted[receiver].iter().map(String::as_str).collect();
    let known: HashSet<_> = came.iter().copied().collect();
    let expected: Vec<_> = expected.iter().copied().filter(|token| known.contains(token)).collect();
    if came != expected {
        conduct.tally.find(format!("receiver {receiver} saw {} events in another order", came.len()));
    }
}

/// Bodies that differ, or numbers that do not count up by one.
fn broken_series(arrivals: &[Arrival]) -> Option<&'static str> {
    if arrivals.iter().any(|arrival| arrival.body != arrivals[0].body) {
        return Some("two bodies");
    }
    // A receiver that was reset may not have seen an attempt; one that was cut off by a kill may come again.
    let is_rising = arrivals.is_sorted_by_key(|arrival| arrival.number);
    (!is_rising).then_some("attempts that do not count up")
}

fn repeated_numbers(arrivals: &[Arrival]) -> usize {
    arrivals.windows(2).filter(|pair| pair[0].number == pair[1].number).count()
}
