//! The checker: compares what a worker knows with what the server says, through the API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::model::{Attempt, FileLink, Purpose, Worker};
use super::work::numbers_path;
use crate::api::Api;

/// How long a key may stay reserved after its holder was killed, and a bit.
const KEY_FREE_MAX: Duration = Duration::from_secs(45);

/// Checks everything one worker made, and settles what was uncertain by what is there now.
pub async fn check(worker: &mut Worker, api: &mut Api) -> Result<()> {
    repeat_pending(worker, api).await?;
    settle_deletes(worker, api).await?;
    for position in 0..worker.files.len() {
        check_file_link(worker, position, api).await.context("a link from files")?;
    }
    for position in 0..worker.banks.len() {
        check_bank_link(worker, position, api).await.context("a link at a bank")?;
    }
    check_clock(worker, api).await
}

/// Checks that deleted links are still deleted. Grows with the run, so it is done now and then only.
pub async fn check_gone(worker: &mut Worker, api: &mut Api) -> Result<()> {
    for link_id in &worker.gone {
        let link = api.get(&format!("/links/{link_id}")).await?;
        let numbers = api.get(&numbers_path(link_id)).await?;
        if (link.status, numbers.status) != (200, 410) || link.json()["state"] != "deleted" {
            worker.tally.lost += 1;
            let seen = format!("link {}, numbers {}", link.status, numbers.status);
            worker.tally.find(format!("the delete of {link_id} was lost: {seen}"));
        }
    }
    Ok(())
}

/// Sends the request that was cut off once more, with its idempotency key. It must be answered as if nothing had
/// happened; what follows looks whether its effect is there exactly once.
async fn repeat_pending(worker: &mut Worker, api: &mut Api) -> Result<()> {
    let Some(pending) = worker.pending.take() else {
        return Ok(());
    };
    let begun = Instant::now();
    let answer = loop {
        let body = pending.content.body();
        let answer = api.call_once("POST", &pending.path, body, Some(&pending.key)).await?;
        // On a store with replicas the key stays reserved for a while when its holder was killed.
        if answer.status != 503 || begun.elapsed() > KEY_FREE_MAX {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    worker.tally.repeated += 1;
    worker.tally.replayed += u64::from(answer.header("idempotency-replayed").is_some());
    if !matches!(answer.status, 200 | 201) {
        let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
        worker.tally.find(format!("POST {} repeated with its key answered {}: {body}", pending.path, answer.status));
        return Ok(());
    }
    worker.tally.acked += 1;
    match pending.purpose {
        Purpose::Import { position, created, unchanged } => {
            worker.note_import(position, &answer.json(), created, unchanged);
            let link = &mut worker.files[position];
            link.acked = link.uncertain.take().unwrap_or(link.acked);
        }
        Purpose::BankLink => worker.note_bank_link(&answer.json()),
        // Its token is left to expire, and so it is never listed.
        Purpose::WaitingLink => {}
    }
    Ok(())
}

async fn settle_deletes(worker: &mut Worker, api: &mut Api) -> Result<()> {
    let mut gone = Vec::new();
    for position in (0..worker.files.len()).rev() {
        let link_id = worker.files[position].link_id.clone().unwrap_or_default();
        if std::mem::take(&mut worker.files[position].uncertain_delete) && is_deleted(&link_id, api).await? {
            worker.files.swap_remove(position);
            gone.push(link_id);
        }
    }
    for position in (0..worker.banks.len()).rev() {
        let link_id = worker.banks[position].link_id.clone();
        if std::mem::take(&mut worker.banks[position].uncertain_delete) && is_deleted(&link_id, api).await? {
            worker.banks.swap_remove(position);
            gone.push(link_id);
        }
    }
    worker.gone.extend(gone);
    Ok(())
}

async fn is_deleted(link_id: &str, api: &mut Api) -> Result<bool> {
    Ok(api.get_json(&format!("/links/{link_id}")).await?["state"] == "deleted")
}

async fn check_file_link(worker: &mut Worker, position: usize, api: &mut Api) -> Result<()> {
    let Some(link_id) = worker.files[position].link_id.clone() else {
        return Ok(());
    };
    let acked = worker.files[position].acked;
    if !is_connected(worker, &link_id, api).await? {
        worker.tally.lost += u64::from(acked);
        return Ok(());
    }
    let transactions = all_transactions(&link_id, api).await?;
    let link = &mut worker.files[position];
    let seen = Seen::of(link, &transactions);
    worker.tally.dup += seen.doubled + u64::from(seen.beyond);
    worker.tally.lost += seen.missing;
    if seen.doubled + seen.missing + seen.foreign + u64::from(seen.beyond) > 0 {
        worker.tally.find(format!("{link_id}: {seen:?} with {acked} acknowledged"));
    }
    check_feed(worker, &link_id, &transactions, api).await?;
    let numbers = api.get(&numbers_path(&link_id)).await?;
    worker.tally.reads += 1;
    let number = worker.files[position].account.number.clone();
    if numbers.status != 200 || !String::from_utf8_lossy(&numbers.body).contains(&number) {
        worker.tally.lost += 1;
        worker.tally.find(format!("{link_id}: numbers answered {} without the account", numbers.status));
    }
    Ok(())
}

async fn check_bank_link(worker: &mut Worker, position: usize, api: &mut Api) -> Result<()> {
    let link_id = worker.banks[position].link_id.clone();
    if !is_connected(worker, &link_id, api).await? {
        worker.tally.lost += 1;
        return Ok(());
    }
    let object = api.get_json(&format!("/links/{link_id}")).await?;
    let link = &mut worker.banks[position];
    if let Some(product) = link.uncertain_refresh.take() {
        link.settled.remove(product);
    }
    let settled: Vec<_> = link.settled.clone().into_iter().collect();
    for (product, refreshed_at) in settled {
        let now = Attempt::of(&object, product).refreshed_at;
        if now != refreshed_at {
            worker.tally.dup += 1;
            worker.tally.find(format!("{link_id}: {product} was refreshed again by itself: {refreshed_at} {now}"));
        }
    }
    let running: Vec<_> = worker.banks[position].running.keys().copied().collect();
    for product in running {
        worker.note_end(position, product, &Attempt::of(&object, product));
    }
    let transactions = all_transactions(&link_id, api).await?;
    let ids: BTreeSet<_> = transactions.iter().map(id_of).collect();
    if ids.len() != transactions.len() {
        worker.tally.dup += (transactions.len() - ids.len()) as u64;
        worker.tally.find(format!("{link_id}: {} transactions, {} ids", transactions.len(), ids.len()));
    }
    Ok(())
}

/// The sandbox clock never goes back behind an acknowledged time.
async fn check_clock(worker: &mut Worker, api: &mut Api) -> Result<()> {
    if worker.clock.is_empty() {
        return Ok(());
    }
    let now = api.get_json("/sandbox/clock").await?;
    let now = now["now"].as_str().unwrap_or_default();
    if now < worker.clock.as_str() {
        worker.tally.lost += 1;
        worker.tally.find(format!("the clock went back from {} to {now}", worker.clock));
    }
    Ok(())
}

async fn is_connected(worker: &mut Worker, link_id: &str, api: &mut Api) -> Result<bool> {
    let answer = api.get(&format!("/links/{link_id}")).await?;
    let is_connected = answer.status == 200 && answer.json()["state"] == "connected";
    if !is_connected {
        let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]).into_owned();
        worker.tally.find(format!("{link_id} was acknowledged and answers {}: {body}", answer.status));
    }
    Ok(is_connected)
}

/// Every page of `GET /links/{id}/transactions`.
async fn all_transactions(link_id: &str, api: &mut Api) -> Result<Vec<Value>> {
    let mut transactions = Vec::new();
    for page in 1.. {
        let answer = api.get_json(&format!("/links/{link_id}/transactions?page={page}&size=1000")).await?;
        let items = answer["transactions"].as_array().cloned().unwrap_or_default();
        let is_last = items.is_empty();
        transactions.extend(items);
        if is_last || transactions.len() as u64 >= answer["total"].as_u64().unwrap_or_default() {
            break;
        }
    }
    Ok(transactions)
}

/// Walking the change feed from its beginning gives the same set as the full read.
async fn check_feed(worker: &mut Worker, link_id: &str, transactions: &[Value], api: &mut Api) -> Result<()> {
    let (mut fed, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let query = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
        let answer = api.get(&format!("/links/{link_id}/transactions/sync?size=500{query}")).await?;
        if answer.status == 404 {
            // A server without the feed.
            return Ok(());
        }
        let answer = answer.json();
        let part = |name: &str| answer["transactions"][name].as_array().cloned().unwrap_or_default();
        for created in part("created") {
            if !fed.insert(id_of(&created)) {
                worker.tally.dup += 1;
                worker.tally.find(format!("{link_id}: the feed creates {} twice", id_of(&created)));
            }
        }
        for removed in part("removed") {
            fed.remove(removed.as_str().unwrap_or_default());
        }
        cursor = answer["cursor"]["next"].as_str().unwrap_or_default().to_owned();
        if answer["has_more"] != true || cursor.is_empty() {
            break;
        }
    }
    let read: BTreeSet<_> = transactions.iter().map(id_of).collect();
    if fed != read {
        worker.tally.find(format!("{link_id}: the feed gives {} transactions, the read {}", fed.len(), read.len()));
    }
    Ok(())
}

fn id_of(transaction: &Value) -> String {
    transaction["transaction_id"].as_str().unwrap_or_default().to_owned()
}

/// What a read shows of an account, by position in its statements.
#[derive(Debug, Default)]
struct Seen {
    /// Acknowledged and not there.
    missing: u64,
    /// There more often than once.
    doubled: u64,
    /// There beyond what was acknowledged.
    beyond: u32,
    /// Not of this account.
    foreign: u64,
}

impl Seen {
    fn of(link: &FileLink, transactions: &[Value]) -> Self {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        let mut seen = Self::default();
        for transaction in transactions {
            match link.account.position_in(&transaction.to_string()) {
                Some(position) => *counts.entry(position).or_default() += 1,
                None => seen.foreign += 1,
            }
        }
        seen.missing = (0..link.acked).filter(|position| !counts.contains_key(position)).count() as u64;
        seen.doubled = counts.values().map(|count| count - 1).sum();
        seen.beyond = u32::try_from(counts.range(link.acked..).count()).unwrap_or(u32::MAX);
        seen
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::statement::{Account, PER_DAY};

    fn link(acked: u32) -> FileLink {
        let account = Account::new(1, 2);
        FileLink { customer: String::new(), account, link_id: None, acked, uncertain: None, uncertain_delete: false }
    }

    fn transactions(positions: &[u32]) -> Vec<Value> {
        let tag = Account::new(1, 2).tag;
        positions.iter().map(|position| json!({ "raw_description": format!("{tag}{position:06}") })).collect()
    }

    #[test]
    fn a_lost_transaction_is_seen() {
        let seen = Seen::of(&link(PER_DAY), &transactions(&[0, 1, 3]));
        assert_eq!((seen.missing, seen.doubled, seen.beyond, seen.foreign), (1, 0, 0, 0));
    }

    #[test]
    fn a_doubled_transaction_is_seen() {
        let seen = Seen::of(&link(2), &transactions(&[0, 1, 1]));
        assert_eq!((seen.missing, seen.doubled, seen.beyond, seen.foreign), (0, 1, 0, 0));
    }

    #[test]
    fn transactions_beyond_the_acknowledged_ones_and_of_others_are_counted() {
        let mut read = transactions(&[0, 1, 2]);
        read.push(json!({ "raw_description": "PAY W9A9 000001" }));
        let seen = Seen::of(&link(1), &read);
        assert_eq!((seen.missing, seen.doubled, seen.beyond, seen.foreign), (0, 0, 2, 1));
    }
}
