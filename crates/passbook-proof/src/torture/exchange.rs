//! `torture exchange`: many callers try to spend the same exchangeable token at once; exactly one gets the link.
//!
//! Afterwards the same tokens are tried again, and fresh ones by another app: all of these get the one answer that a
//! token which never existed gets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::ExchangeOptions;
use super::conduct::Conduct;
use super::ground::{Ground, Running, StoreKind};
use super::store_files::Jobs;
use crate::api::{Api, sandbox_link};
use crate::http::Answer;

const EXCHANGE: &str = "/link-session/exchange-token";
const REFUSED: &str = "link_session_error.invalid_token_exchange";
/// Servers on one database.
const REPLICAS: usize = 3;
/// Parallel sign-ins.
const MAKERS: usize = 16;
/// Tokens that are raced for at the same time.
const RACES: usize = 2;
/// Tokens that another app tries.
const FOREIGN: usize = 20;
/// How long the prefetches after the exchanges may take.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// A token and the link it stands for.
#[derive(Clone)]
struct Token {
    link_id: String,
    token: String,
}

/// What came of one race.
#[derive(Default)]
struct Race {
    won: u64,
    refused: u64,
    findings: Vec<String>,
}

/// Runs the experiment.
pub async fn run(options: ExchangeOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    let id = match options.common.store {
        StoreKind::Sqlite => "S6-exchange-embedded",
        StoreKind::Postgres => "S6-exchange-postgres",
    };
    conduct.run(id, &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &ExchangeOptions) -> Result<()> {
    let ground = Ground::new(&options.common, &conduct.plan, conduct.directory(), REPLICAS).await?;
    let running = ground.start().await?;
    let tokens = make_tokens(&running, "exchange", options.tokens).await?;
    let races = race(&running, &tokens, options.callers).await?;
    let won: u64 = races.iter().map(|race| race.won).sum();
    let refused: u64 = races.iter().map(|race| race.refused).sum();
    note(conduct, &races);
    conduct.tally.acked = won;
    conduct.rounds = tokens.len() as u64;
    conduct.figure("replicas", running.addresses.len());
    conduct.figure("won", won);
    conduct.figure("refused", refused);
    let expected = tokens.len() as u64;
    ensure!(won == expected, "{expected} tokens were spent {won} times");
    ensure!(refused == expected * (options.callers as u64 - 1), "{refused} calls were refused");
    let replayed = replay(&running, &tokens).await?;
    conduct.figure("replayed", replayed);
    let foreign = try_as_another_app(&ground, &running).await?;
    conduct.figure("foreign", foreign);
    settle(&mut running.api(0)).await?;
    running.stop().await?;
    ground.check(Jobs::HaveEnded).await
}

/// Sessions that are signed in and wait for their exchange.
async fn make_tokens(running: &Running, customers: &'static str, count: usize) -> Result<Vec<Token>> {
    let mut tasks = JoinSet::new();
    for maker in 0..MAKERS {
        let mut api = running.api(maker);
        tasks.spawn(async move {
            let mut tokens = Vec::new();
            for number in (maker..count).step_by(MAKERS) {
                let mut body = sandbox_link(&format!("{customers}-{number}"));
                body["exchange"] = json!(false);
                let answer = api.call_until_admitted("POST", "/sandbox/links", &body).await?;
                let text = |name: &str| answer.json()[name].as_str().map(ToOwned::to_owned);
                let (Some(link_id), Some(token)) = (text("link_id"), text("exchangeable_token")) else {
                    bail!("a sign-in answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
                };
                tokens.push(Token { link_id, token });
            }
            Ok(tokens)
        });
    }
    let mut tokens = Vec::new();
    while let Some(part) = tasks.join_next().await {
        tokens.extend(part??);
    }
    Ok(tokens)
}

/// All callers try each token at once.
async fn race(running: &Running, tokens: &[Token], callers: usize) -> Result<Vec<Race>> {
    let mut tasks = JoinSet::new();
    let tokens = Arc::new(tokens.to_vec());
    for track in 0..RACES {
        let mut apis: Vec<_> = (0..callers).map(|caller| running.api(caller)).collect();
        let tokens = Arc::clone(&tokens);
        tasks.spawn(async move {
            let mut races = Vec::new();
            for token in tokens.iter().skip(track).step_by(RACES) {
                races.push(race_for(token, &mut apis).await?);
            }
            anyhow::Ok(races)
        });
    }
    let mut races = Vec::new();
    while let Some(part) = tasks.join_next().await {
        races.extend(part??);
    }
    Ok(races)
}

async fn race_for(token: &Token, apis: &mut Vec<Api>) -> Result<Race> {
    let mut calls = JoinSet::new();
    for mut api in apis.drain(..) {
        let token = token.token.clone();
        calls.spawn(async move { (exchange(&mut api, &token).await, api) });
    }
    let mut race = Race::default();
    while let Some(call) = calls.join_next().await {
        let (answer, api) = call?;
        apis.push(api);
        let answer = answer?;
        match answer.status {
            201 if answer.json()["link_id"] == token.link_id.as_str() => race.won += 1,
            400 if answer.json()["error_code"] == REFUSED => race.refused += 1,
            status => race.findings.push(format!("an exchange answered {status}: {}", answer.json())),
        }
    }
    Ok(race)
}

async fn exchange(api: &mut Api, token: &str) -> Result<Answer> {
    let body = json!({ "exchangeable_token": token });
    api.call_until_admitted("POST", EXCHANGE, &body).await.context("an exchange was cut off")
}

fn note(conduct: &mut Conduct, races: &[Race]) {
    for race in races {
        conduct.tally.dup += race.won.saturating_sub(1);
        conduct.tally.lost += u64::from(race.won == 0);
        race.findings.iter().for_each(|finding| conduct.tally.find(finding.clone()));
    }
}

/// Spent tokens, again: the answer is that of a token which never existed.
async fn replay(running: &Running, tokens: &[Token]) -> Result<u64> {
    let mut api = running.api(0);
    let unknown = refusal(&mut api, &"0".repeat(tokens[0].token.len())).await?;
    let mut replayed = 0;
    for token in tokens.iter().take(FOREIGN) {
        let body = refusal(&mut api, &token.token).await?;
        ensure!(body == unknown, "a replayed token answers {body}, an unknown one {unknown}");
        replayed += 1;
    }
    Ok(replayed)
}

/// Another app's attempt is refused in the same words and spends nothing.
async fn try_as_another_app(ground: &Ground, running: &Running) -> Result<u64> {
    let tokens = make_tokens(running, "foreign", FOREIGN).await?;
    let foreign = ground.add_foreign_client()?;
    let mut other = Api::over(&running.addresses, &foreign, 0);
    let unknown = refusal(&mut other, &"0".repeat(tokens[0].token.len())).await?;
    let mut tried = 0;
    for token in &tokens {
        let body = refusal(&mut other, &token.token).await?;
        ensure!(body == unknown, "another app's token answers {body}, an unknown one {unknown}");
        let own = exchange(&mut running.api(tried), &token.token).await?;
        ensure!(own.status == 201, "the owner's exchange after a foreign attempt answered {}", own.status);
        tried += 1;
    }
    Ok(tried as u64)
}

async fn refusal(api: &mut Api, token: &str) -> Result<Value> {
    let answer = exchange(api, token).await?;
    ensure!(answer.status == 400, "a token that cannot be spent answered {}", answer.status);
    Ok(answer.json())
}

/// Waits until no job is due.
pub async fn settle(api: &mut Api) -> Result<()> {
    let begun = Instant::now();
    loop {
        let clock = api.get_json("/sandbox/clock").await?;
        match clock["pending_jobs"].as_u64() {
            Some(0) => return Ok(()),
            pending if begun.elapsed() > SETTLE_MAX => bail!("jobs have not ended: {pending:?}"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
