//! `torture refresh-limits`: many clients ask for the same refresh at the same moment.
//!
//! Exactly one of them may be accepted for a link, product and window; the others are told how long to wait. A refused
//! call spends nothing: a call that names a limited product beside a free one leaves the free one free.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::RefreshLimitsOptions;
use super::conduct::Conduct;
use super::gang::Gang;
use super::site::Site;
use crate::api::sandbox_link;
use crate::http::Answer;

const PRODUCTS: [&str; 4] = ["accounts", "account_numbers", "identity", "transactions"];
/// Longer than the longest window, which is a day.
const WINDOW_SECONDS: u64 = 90_000;

/// Runs the experiment.
pub async fn run(options: RefreshLimitsOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    conduct
        .run("R8-refresh-limits-embedded", &options.common, async |conduct| experiment(conduct, &options).await)
        .await
}

async fn experiment(conduct: &mut Conduct, options: &RefreshLimitsOptions) -> Result<()> {
    let site = Site::start(conduct).await?;
    let mut gang = Gang::new(options.parallel, &site.targets()).await?;
    let mut links = Vec::new();
    for number in 0..options.links {
        let body = sandbox_link(&format!("limits-{number}"));
        let (made, _) = gang.one().call_until_admitted("POST", "/sandbox/links", &body).await?;
        ensure!(made.status == 201, "a link was answered {}", made.status);
        links.push(made.json()["link_id"].as_str().context("no link id")?.to_owned());
    }
    let mut accepted = 0;
    for window in 0..options.windows {
        for link in &links {
            accepted +=
                all_products(conduct, &mut gang, link).await.with_context(|| format!("window {window}, {link}"))?;
            ensure!(conduct.tally.findings.is_empty(), "window {window}, {link}: a promise is broken");
        }
        conduct.rounds += 1;
        site.wait_until_idle(gang.one()).await?;
        let later = json!({ "advance_seconds": WINDOW_SECONDS });
        let (moved, _) = gang.one().call_until_admitted("POST", "/sandbox/clock", &later).await?;
        ensure!(moved.status == 200, "moving the clock was answered {}", moved.status);
        gang = renewed(gang, options.parallel, &site).await?;
    }
    conduct.figure("accepted", accepted);
    conduct.figure("calls", gang.calls);
    conduct.figure("asked_again_after_503", gang.refusals);
    let expected = options.links * options.windows * PRODUCTS.len() as u64;
    ensure!(accepted == expected, "{accepted} refreshes were accepted, {expected} expected");
    site.finish(conduct).await
}

/// The moved clock has ended all tokens: new ones, before the next calls must fall together.
async fn renewed(old: Gang, parallel: usize, site: &Site) -> Result<Gang> {
    let mut gang = Gang::new(parallel, &site.targets()).await?;
    (gang.calls, gang.refusals) = (old.calls, old.refusals);
    Ok(gang)
}

async fn all_products(conduct: &mut Conduct, gang: &mut Gang, link: &str) -> Result<u64> {
    let path = format!("/links/{link}/products");
    let mut accepted = 0;
    for (position, product) in PRODUCTS.iter().enumerate() {
        if let Some(limited) = position.checked_sub(1).map(|before| PRODUCTS[before]) {
            let both = products(&[limited, product]);
            let (answer, _) = gang.one().call_until_admitted("POST", &path, &both).await?;
            judge(conduct, product, &answer);
        }
        let answers = gang.call("POST", &path, &products(&[product])).await?;
        let won = answers.iter().filter(|answer| answer.status == 202).count() as u64;
        answers.iter().filter(|answer| answer.status != 202).for_each(|answer| judge(conduct, product, answer));
        accepted += won;
        conduct.tally.acked += won;
        conduct.tally.dup += won.saturating_sub(1);
        if won != 1 {
            conduct.tally.find(format!("{product} of {link} was accepted {won} times"));
        }
    }
    Ok(accepted)
}

fn judge(conduct: &mut Conduct, product: &str, answer: &Answer) {
    let says_when = answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().is_ok_and(|s| s > 0));
    let is_right = answer.status == 429 && says_when;
    if !is_right {
        conduct.tally.find(format!("{product}: answered {}, Retry-After {says_when}", answer.status));
    }
}

fn products(names: &[&str]) -> Value {
    json!({ "products": names })
}
