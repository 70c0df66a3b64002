//! `torture exchange`: many clients spend the same exchangeable token at the same moment.
//!
//! Exactly one may get the link; the others, and everybody who comes later, get the one answer that tells nothing.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::ExchangeOptions;
use super::conduct::Conduct;
use super::gang::{Gang, error_code};
use super::site::Site;
use crate::api::sandbox_link;

/// The only answer to a token that is used, unknown or not one's own.
const REFUSAL: (u16, &str) = (400, "link_session_error.invalid_token_exchange");

/// Runs the experiment.
pub async fn run(options: ExchangeOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    conduct.run("S6-exchange-embedded", &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &ExchangeOptions) -> Result<()> {
    let site = Site::start(conduct).await?;
    let mut gang = Gang::new(options.parallel, &site.targets()).await?;
    let (mut granted, mut refused) = (0_u64, 0_u64);
    for number in 0..options.tokens {
        let mut body = sandbox_link(&format!("exchange-{number}"));
        body["exchange"] = json!(false);
        let (made, _) = gang.one().call_until_admitted("POST", "/sandbox/links", &body).await?;
        let token = made.json()["exchangeable_token"].as_str().map(ToOwned::to_owned);
        let spend = json!({ "exchangeable_token": token.context("a finished sign-in gave no token")? });
        let answers = gang.call("POST", "/link-session/exchange-token", &spend).await?;
        let won = answers.iter().filter(|answer| answer.status == 201).count() as u64;
        let lost =
            answers.iter().filter(|answer| (answer.status, error_code(answer).as_str()) == REFUSAL).count() as u64;
        granted += won;
        refused += lost;
        conduct.tally.acked += won;
        conduct.tally.dup += won.saturating_sub(1);
        conduct.tally.lost += u64::from(won == 0);
        if won + lost != answers.len() as u64 {
            let others = answers.iter().map(|answer| answer.status).filter(|status| ![201, 400].contains(status));
            conduct.tally.find(format!("token {number}: unexpected answers {:?}", others.collect::<Vec<_>>()));
        }
        let (later, _) = gang.one().call_until_admitted("POST", "/link-session/exchange-token", &spend).await?;
        if (later.status, error_code(&later).as_str()) != REFUSAL {
            conduct.tally.find(format!("token {number} was answered {} when it came back later", later.status));
        }
        ensure!(conduct.tally.findings.is_empty(), "token {number}: a promise is broken");
        conduct.rounds += 1;
    }
    conduct.figure("granted", granted);
    conduct.figure("refused", refused);
    conduct.figure("calls", gang.calls);
    conduct.figure("asked_again_after_503", gang.refusals);
    let calls = options.tokens * options.parallel as u64;
    ensure!((granted, refused) == (options.tokens, calls - options.tokens), "{granted} granted, {refused} refused");
    site.finish(conduct).await
}
