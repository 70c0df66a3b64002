//! `torture signing-keys`: the keys that sign webhooks are replaced under load, while the server is killed again and again.
//!
//! Each life of the server is four hours after the one before, by a faked wall clock. A receiver keeps the published keys
//! for the 24 hours that it may: what comes in a life is verified with the keys of six lives ago. None may be refused.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::Jwk};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::SigningKeysOptions;
use super::clock_jumps::{faked, library, set};
use super::conduct::Conduct;
use super::ground::{Ground, Running};
use super::store_files::Jobs;
use crate::api::Api;
use crate::deployment::operate;
use crate::receivers::{Kind, Receivers};
use crate::rng::Rng;

/// Hours between two lives, and lives that a receiver's knowledge may be old.
const HOURS_PER_LIFE: u64 = 4;
const LIVES_KEPT: usize = 6;
/// Lives in which a key is replaced, until that was acknowledged: far enough apart for each to sign, and close enough for
/// two to wait at once.
const ROTATED_IN: [usize; 4] = [1, 3, 4, 9];
const READERS: usize = 4;
/// Longest wait for what was asked for in a life.
const SETTLE_MAX: Duration = Duration::from_secs(20);

/// What the experiment remembers from life to life.
#[derive(Default)]
struct Memory {
    /// Published keys by life.
    published: Vec<HashMap<String, Value>>,
    /// Tokens that were judged.
    judged: HashSet<String>,
    used: HashSet<String>,
    verified: u64,
    refused: Vec<String>,
    reads: u64,
    rotations: u64,
}

/// Runs the experiment.
pub async fn run(options: SigningKeysOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    conduct.run("S16-signing-keys-embedded", &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &SigningKeysOptions) -> Result<()> {
    let time: PathBuf = conduct.directory().join("time");
    let plan = faked(&conduct.plan, &library()?, &time);
    let ground = Ground::Embedded(Box::new(plan));
    let receivers = Receivers::start(vec![Kind::Healthy], conduct.seed).await?;
    let (mut memory, mut rng) = (Memory::default(), Rng::new(conduct.seed, 0));
    let mut wanted = 0;
    for life in 0..=options.kills as usize {
        set(&time, &format!("+{}", life as u64 * HOURS_PER_LIFE * 3_600))?;
        let running = ground.start().await.with_context(|| format!("life {life}"))?;
        if life == 0 {
            let link = json!({ "webhook": receivers.urls[0] });
            let path = format!("/links/{}", running.access.link_id);
            let answer = running.api(0).call_until_admitted("PATCH", &path, &link).await?;
            ensure!(answer.status == 200, "setting the webhook answered {}", answer.status);
        }
        memory.published.push(published(&mut running.api(0)).await?);
        wanted += ROTATED_IN.iter().filter(|planned| **planned == life).count() as u64;
        live(&ground, &running, &receivers, &mut memory, options, wanted).await?;
        judge(&receivers, &mut memory, life);
        ensure!(memory.refused.is_empty(), "life {life}: {}", memory.refused.join("; "));
        match life == options.kills as usize {
            true => running.stop().await?,
            false => {
                tokio::time::sleep(Duration::from_millis(rng.below(200))).await;
                running.kill()?;
            }
        }
    }
    conduct.rounds = options.kills;
    conduct.tally.acked = memory.verified;
    conduct.figure("kills", options.kills);
    conduct.figure("hours", options.kills * HOURS_PER_LIFE);
    conduct.figure("rotations", memory.rotations);
    conduct.figure("keys_used", memory.used.len());
    conduct.figure("reads", memory.reads);
    conduct.figure("verified", memory.verified);
    conduct.figure("refused", memory.refused.len());
    // One of the sandbox and one of live were there at first.
    let ended = memory.published.last().is_some_and(|last| last.len() < memory.rotations as usize + 2);
    ensure!(memory.used.len() >= 3, "only {} keys have signed", memory.used.len());
    ensure!(ended, "no old key has left the published ones");
    ground.check(Jobs::MayBeOpen).await
}

/// The keys that are published now, of both environments.
async fn published(api: &mut Api) -> Result<HashMap<String, Value>> {
    let set = api.get_json("/.well-known/jwks.json").await?;
    let keys = set["keys"].as_array().context("no keys")?;
    Ok(keys.iter().map(|key| (key["kid"].as_str().unwrap_or_default().to_owned(), key.clone())).collect())
}

/// Reads and events at the asked rate for a while, and the replacing of the key in the middle of it.
async fn live(
    ground: &Ground,
    running: &Running,
    receivers: &Receivers,
    memory: &mut Memory,
    options: &SigningKeysOptions,
    wanted: u64,
) -> Result<()> {
    let ends_at = Instant::now() + Duration::from_millis(options.life_ms);
    let path = format!("/links/{}/accounts/numbers", running.access.link_id);
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (mut api, path) = (running.api(reader), path.clone());
        let mut ticks = tokio::time::interval(Duration::from_secs(1) * READERS as u32 / options.rate);
        readers.spawn(async move {
            let mut reads = 0;
            while Instant::now() < ends_at {
                ticks.tick().await;
                let answer = api.get(&path).await?;
                ensure!(answer.status == 200, "a read answered {}", answer.status);
                reads += 1;
            }
            Ok(reads)
        });
    }
    if memory.rotations < wanted {
        let plan = ground.plans()[0].clone();
        let words = ["keys", "rotate-signing", "--environment", "sandbox"];
        tokio::task::spawn_blocking(move || operate(&plan, &words)).await?.context("replacing the key")?;
        memory.rotations += 1;
    }
    let mut api = running.api(0);
    let events = format!("/sandbox/links/{}/events", running.access.link_id);
    let (body, mut tokens) = (json!({ "webhook_event": "transactions.updates_available" }), Vec::new());
    while Instant::now() < ends_at {
        let answer = api.call_until_admitted("POST", &events, &body).await?;
        tokens.push(answer.json()["delivery_token"].as_str().context("no token")?.to_owned());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while let Some(reads) = readers.join_next().await {
        memory.reads += reads??;
    }
    let begun = Instant::now();
    while !receivers.seen(|seen| tokens.iter().all(|token| seen.arrivals.contains_key(token))) {
        ensure!(begun.elapsed() < SETTLE_MAX, "webhooks do not arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Verifies what came in this life as a receiver does that asked for keys as long ago as it may.
fn judge(receivers: &Receivers, memory: &mut Memory, life: usize) {
    let known = &memory.published[life.saturating_sub(LIVES_KEPT)];
    receivers.seen(|seen| {
        for (token, arrivals) in &seen.arrivals {
            if !memory.judged.insert(token.clone()) {
                continue;
            }
            for arrival in arrivals {
                match verify(&arrival.signature, known) {
                    Ok(kid) => {
                        memory.verified += 1;
                        memory.used.insert(kid);
                    }
                    Err(error) => memory.refused.push(format!("{token}: {error:#}")),
                }
            }
        }
    });
}

fn verify(signature: &str, known: &HashMap<String, Value>) -> Result<String> {
    let kid = jsonwebtoken::decode_header(signature)?.kid.context("no key is named")?;
    let key = known.get(&kid).context("the key was not published a day ago")?;
    let key: Jwk = serde_json::from_value(key.clone())?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    jsonwebtoken::decode::<Value>(signature, &DecodingKey::from_jwk(&key)?, &validation)?;
    Ok(kid)
}
