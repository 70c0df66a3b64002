//! `torture refresh-limits`: many callers ask at once for the same refresh; in each window exactly one is accepted.
//!
//! A window is the time in which a product of a link may be refreshed once. Between windows the sandbox clock is moved
//! on, by more than the longest window.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use super::RefreshLimitsOptions;
use super::conduct::Conduct;
use super::exchange::settle;
use super::ground::{Ground, Running, StoreKind};
use super::store_files::Jobs;
use crate::api::{Api, sandbox_link};

const REPLICAS: usize = 3;
/// Parallel callers.
const CALLERS: usize = 48;
const PRODUCTS: [&str; 4] = ["accounts", "account_numbers", "identity", "transactions"];
/// More than the longest window, which is a day.
const WINDOW_SECONDS: u64 = 90_000;
/// How long replicas may answer from an old clock.
const CLOCK_MAX: Duration = Duration::from_secs(10);

/// Accepted calls by link and product.
type Accepted = BTreeMap<(usize, &'static str), u64>;

/// What callers saw in one window.
#[derive(Default)]
struct Seen {
    accepted: Accepted,
    limited: u64,
    findings: Vec<String>,
}

/// Runs the experiment.
pub async fn run(options: RefreshLimitsOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    let id = match options.common.store {
        StoreKind::Sqlite => "R8-refresh-limits-embedded",
        StoreKind::Postgres => "R8-refresh-limits-postgres",
    };
    conduct.run(id, &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &RefreshLimitsOptions) -> Result<()> {
    let ground = Ground::new(&options.common, &conduct.plan, conduct.directory(), REPLICAS).await?;
    let running = ground.start().await?;
    let links = Arc::new(make_links(&running, "limits", options.links).await?);
    let (mut calls, mut limited) = (0, 0);
    for window in 0..options.windows {
        if window > 0 {
            advance(&running, WINDOW_SECONDS).await?;
        }
        let seen = ask(&running, &links, options.calls).await?;
        settle(&mut running.api(0)).await?;
        calls += seen.limited + seen.accepted.values().sum::<u64>();
        limited += seen.limited;
        judge(conduct, &links, &seen);
        conduct.rounds += 1;
    }
    let refreshes = options.windows * (links.len() * PRODUCTS.len()) as u64;
    let expected = refreshes * options.calls as u64;
    conduct.figure("replicas", running.addresses.len());
    conduct.figure("calls", calls);
    conduct.figure("limited", limited);
    ensure!(calls == expected, "{calls} of {expected} calls were answered by 202 or 429");
    running.stop().await?;
    ground.check(Jobs::HaveEnded).await?;
    // One job for each accepted call, beside the prefetch of each link and the one of the link made at the start.
    let jobs = ground.number("SELECT COUNT(*) FROM jobs WHERE work LIKE '%efresh%' AND state = 'done'").await?;
    let prefetches = links.len() as i64 + i64::from(options.common.store == StoreKind::Sqlite);
    let accepted = i64::try_from(refreshes)?;
    ensure!(jobs == accepted + prefetches, "{jobs} jobs for {accepted} accepted calls and {prefetches} prefetches");
    Ok(())
}

/// Links with every product fetched.
pub async fn make_links(running: &Running, customers: &'static str, count: usize) -> Result<Vec<String>> {
    const MAKERS: usize = 8;
    let mut tasks = JoinSet::new();
    for maker in 0..MAKERS {
        let mut api = running.api(maker);
        tasks.spawn(async move {
            let mut links = Vec::new();
            for number in (maker..count).step_by(MAKERS) {
                let body = sandbox_link(&format!("{customers}-{number}"));
                let answer = api.call_until_admitted("POST", "/sandbox/links", &body).await?;
                let answered = || format!("a sign-in answered {}: {}", answer.status, answer.json());
                ensure!(answer.status == 201, "{}", answered());
                links.push(answer.json()["link_id"].as_str().with_context(answered)?.to_owned());
            }
            Ok(links)
        });
    }
    let mut links = Vec::new();
    while let Some(part) = tasks.join_next().await {
        links.extend(part??);
    }
    Ok(links)
}

/// Moves the app's clock and waits until every server goes by the new one.
pub async fn advance(running: &Running, seconds: u64) -> Result<()> {
    let body = json!({ "advance_seconds": seconds });
    let answer = running.api(0).call_until_admitted("POST", "/sandbox/clock", &body).await?;
    ensure!(answer.status == 200, "moving the clock answered {}", answer.status);
    let wanted = answer.json()["now"].as_str().context("no time")?.to_owned();
    let begun = Instant::now();
    for address in &running.addresses {
        let mut api = Api::over(&[*address], &running.access, 0);
        while api.get_json("/sandbox/clock").await?["now"].as_str().is_none_or(|now| now < wanted.as_str()) {
            if begun.elapsed() > CLOCK_MAX {
                bail!("a replica's clock is behind {wanted} for {} s", CLOCK_MAX.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// Every refresh of the window is asked for so many times, by callers that are at the same one at the same time.
async fn ask(running: &Running, links: &Arc<Vec<String>>, calls: usize) -> Result<Seen> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for caller in 0..CALLERS {
        let (mut api, links, next) = (running.api(caller), Arc::clone(links), Arc::clone(&next));
        tasks.spawn(async move {
            let mut seen = Seen::default();
            loop {
                let refresh = next.fetch_add(1, Ordering::Relaxed) / calls;
                let (position, product) = (refresh / PRODUCTS.len(), PRODUCTS[refresh % PRODUCTS.len()]);
                let Some(link) = links.get(position) else { return anyhow::Ok(seen) };
                let body = json!({ "products": [product] });
                let answer = api.call_until_admitted("POST", &format!("/links/{link}/products"), &body).await?;
                match answer.status {
                    202 => *seen.accepted.entry((position, product)).or_default() += 1,
                    429 if answer.header("retry-after").is_some() => seen.limited += 1,
                    status => seen.findings.push(format!("a refresh answered {status}: {}", answer.json())),
                }
            }
        });
    }
    let mut seen = Seen::default();
    while let Some(part) = tasks.join_next().await {
        let part = part??;
        for (refresh, count) in part.accepted {
            *seen.accepted.entry(refresh).or_default() += count;
        }
        seen.limited += part.limited;
        seen.findings.extend(part.findings);
    }
    Ok(seen)
}

fn judge(conduct: &mut Conduct, links: &[String], seen: &Seen) {
    for (position, link) in links.iter().enumerate() {
        for product in PRODUCTS {
            let accepted = seen.accepted.get(&(position, product)).copied().unwrap_or_default();
            conduct.tally.acked += accepted;
            conduct.tally.refreshes += accepted;
            conduct.tally.dup += accepted.saturating_sub(1);
            if accepted != 1 {
                conduct.tally.find(format!("{link}: {accepted} refreshes of {product} were accepted in one window"));
            }
        }
    }
    seen.findings.iter().for_each(|finding| conduct.tally.find(finding.clone()));
}
