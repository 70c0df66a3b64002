//! `torture sync`: writers change transactions while readers follow them; whenever the writers rest, each reader has
//! what the server has.
//!
//! Three kinds of link change in three ways. Imported ones get new transactions and changed ones. Statement files bring
//! new ones and withdraw old ones. Simulated banks are refreshed under a moving clock, so that pending transactions are
//! issued anew and post. A reader keeps what it is told and nothing else, on one chain of cursors for the whole run;
//! another begins anew in each round. What they have is compared by hash with what the list shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use passbook::system::sha256;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::SyncOptions;
use super::conduct::Conduct;
use super::exchange::settle;
use super::ground::{Ground, Running, StoreKind};
use super::refresh_limits::{advance, make_links};
use super::store_files::Jobs;
use crate::api::{Api, Body, import_file_path};
use crate::rng::Rng;

const REPLICAS: usize = 2;
/// Readers of each link that live as long as the run.
const READERS: usize = 2;
/// Between two rounds: longer than a refresh window, and long enough for something to post.
const ROUND_SECONDS: u64 = 90_000;
/// How long writers and readers are at it together in each round.
const ROUND: Duration = Duration::from_millis(2_500);
/// Most new transactions of one write.
const BATCH_MAX: u64 = 40;
/// Most of a link's own transactions, so that a comparison stays short.
const TRANSACTIONS_MAX: u64 = 3_000;

/// Where a link's transactions come from.
#[derive(Clone, Copy)]
enum Source {
    Import,
    Files,
    Bank,
}

/// Runs the experiment.
pub async fn run(options: SyncOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    let id = match options.common.store {
        StoreKind::Sqlite => "S5-sync-embedded",
        StoreKind::Postgres => "S5-sync-postgres",
    };
    conduct.run(id, &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &SyncOptions) -> Result<()> {
    let ground = Ground::new(&options.common, &conduct.plan, conduct.directory(), REPLICAS).await?;
    let running = ground.start().await?;
    let mut writers = make_writers(&running, conduct.seed, options.links).await?;
    let mut readers = Vec::new();
    for (place, writer) in writers.iter().enumerate() {
        for reader in 0..READERS {
            let stream = (place * READERS + reader) as u64;
            readers.push(Reader::new(running.api(reader), &writer.link, Rng::new(conduct.seed, 1_000 + stream)));
        }
    }
    let begun = Instant::now();
    while begun.elapsed().as_secs() < options.secs {
        (writers, readers) = together(&running, writers, readers).await?;
        settle(&mut running.api(0)).await?;
        compare(conduct, &running, &mut readers).await?;
        conduct.rounds += 1;
        advance(&running, ROUND_SECONDS).await?;
    }
    conduct.tally.acked = writers.iter().map(|writer| writer.written).sum();
    conduct.figure("links", writers.len());
    conduct.figure("readers", readers.len());
    conduct.figure("pages", readers.iter().map(|reader| reader.pages).sum::<u64>());
    let told = |count: fn(&Reader) -> u64| readers.iter().map(count).sum::<u64>();
    conduct.figure("created", told(|reader| reader.ever_created.len() as u64));
    conduct.figure("updated", told(|reader| reader.updated));
    conduct.figure("removed", told(|reader| reader.removed));
    ensure!(conduct.rounds > 0, "no round was finished in {} s", options.secs);
    ensure!(told(|reader| reader.updated) > 0 && told(|reader| reader.removed) > 0, "nothing changed or went");
    running.stop().await?;
    ground.check(Jobs::HaveEnded).await
}

/// One link of each kind for each of `count`.
async fn make_writers(running: &Running, seed: u64, count: usize) -> Result<Vec<Writer>> {
    let mut writers = Vec::new();
    let banks = make_links(running, "sync-bank", count).await?;
    for (place, bank) in banks.into_iter().enumerate() {
        for source in [Source::Import, Source::Files, Source::Bank] {
            let number = writers.len() as u64;
            let mut api = running.api(writers.len());
            let customer = format!("sync-{place}-{number}");
            let link = match source {
                Source::Import => import_link(&mut api, &customer).await?,
                Source::Files => import_file(&mut api, &customer, &[0], &[]).await?,
                Source::Bank => bank.clone(),
            };
            let rng = Rng::new(seed, number);
            writers.push(Writer { api, link, customer, source, rng, next: 1, alive: BTreeSet::from([0]), written: 0 });
        }
    }
    Ok(writers)
}

/// Lets writers and readers work at the same time, and then the writers rest.
async fn together(running: &Running, writers: Vec<Writer>, readers: Vec<Reader>) -> Result<(Vec<Writer>, Vec<Reader>)> {
    let over = Arc::new(AtomicBool::new(false));
    let (mut writing, mut reading) = (JoinSet::new(), JoinSet::new());
    for (place, mut writer) in writers.into_iter().enumerate() {
        let over = Arc::clone(&over);
        writing.spawn(async move {
            while !over.load(Ordering::Relaxed) && writer.write().await? {}
            anyhow::Ok((place, writer))
        });
    }
    for (place, mut reader) in readers.into_iter().enumerate() {
        let over = Arc::clone(&over);
        reading.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                reader.page().await?;
            }
            anyhow::Ok((place, reader))
        });
    }
    tokio::time::sleep(ROUND).await;
    over.store(true, Ordering::Relaxed);
    let (mut writers, mut readers) = (BTreeMap::new(), BTreeMap::new());
    while let Some(done) = writing.join_next().await {
        let (place, writer) = done??;
        writers.insert(place, writer);
    }
    while let Some(done) = reading.join_next().await {
        let (place, reader) = done??;
        readers.insert(place, reader);
    }
    // A refresh that was accepted last may still be at work.
    settle(&mut running.api(0)).await?;
    Ok((writers.into_values().collect(), readers.into_values().collect()))
}

/// Everybody reads to the end, and has what the server has.
async fn compare(conduct: &mut Conduct, running: &Running, readers: &mut [Reader]) -> Result<()> {
    let mut listed = BTreeMap::new();
    let mut api = running.api(1);
    for reader in readers.iter_mut() {
        reader.follow().await?;
        conduct.tally.findings.append(&mut reader.findings);
        if !listed.contains_key(&reader.link) {
            let rows = list(&mut api, &reader.link).await?;
            let mut fresh = Reader::new(running.api(0), &reader.link, Rng::new(conduct.seed, conduct.rounds));
            fresh.follow().await?;
            if fingerprint(&fresh.rows) != fingerprint(&rows) {
                conduct.tally.find(format!("{}: who begins now gets another set than is listed", reader.link));
            }
            listed.insert(reader.link.clone(), rows);
        }
        let rows = &listed[&reader.link];
        if fingerprint(&posted(&reader.rows)) != fingerprint(&posted(rows)) {
            conduct.tally.lost += 1;
            conduct.tally.find(format!("{}: a reader has another set than is listed", reader.link));
        }
        if let Some(unknown) = rows.keys().find(|id| !reader.rows.contains_key(*id)) {
            conduct.tally.find(format!("{}: a reader was never told of {unknown}", reader.link));
        }
        // As an app does: what the last refresh has replaced is dropped.
        reader.rows.retain(|id, row| row["pending"] == false || rows.contains_key(id));
    }
    Ok(())
}

/// Someone who changes one link.
struct Writer {
    api: Api,
    link: String,
    customer: String,
    source: Source,
    rng: Rng,
    next: u64,
    alive: BTreeSet<u64>,
    written: u64,
}

impl Writer {
    /// One write; `false` when there is nothing more to do in this round.
    async fn write(&mut self) -> Result<bool> {
        let created = self.created();
        match self.source {
            Source::Import => {
                let changed = self.some_alive();
                let rows = created.iter().chain(&changed);
                let rows: Vec<_> = rows.map(|n| transaction(*n, self.written)).collect();
                let path = format!("/links/{}/import/transactions", self.link);
                let answer = self.api.call_until_admitted("POST", &path, &json!({ "transactions": rows })).await?;
                ensure!(answer.status == 200, "an import answered {}: {}", answer.status, answer.json());
            }
            Source::Files => {
                let withdrawn = self.some_alive();
                withdrawn.iter().for_each(|n| {
                    self.alive.remove(n);
                });
                import_file(&mut self.api, &self.customer, &created, &withdrawn).await?;
            }
            Source::Bank => {
                let path = format!("/links/{}/products", self.link);
                let body = json!({ "products": ["transactions"] });
                let answer = self.api.call_until_admitted("POST", &path, &body).await?;
                ensure!([202, 429].contains(&answer.status), "a refresh answered {}", answer.status);
                self.written += u64::from(answer.status == 202);
                return Ok(false);
            }
        }
        self.alive.extend(created);
        self.written += 1;
        Ok(true)
    }

    fn created(&mut self) -> Vec<u64> {
        let room = TRANSACTIONS_MAX.saturating_sub(self.next);
        let count = self.rng.below(BATCH_MAX).min(room);
        let created = (self.next..self.next + count).collect();
        self.next += count;
        created
    }

    fn some_alive(&mut self) -> Vec<u64> {
        let alive: Vec<_> = self.alive.iter().copied().collect();
        let count = if alive.is_empty() { 0 } else { self.rng.below(6) };
        let chosen: BTreeSet<_> = (0..count).map(|_| alive[self.rng.index(alive.len())]).collect();
        chosen.into_iter().collect()
    }
}

async fn import_link(api: &mut Api, customer: &str) -> Result<String> {
    let body = json!({
        "customer_user": { "id": customer }, "institution_id": "credentials_bank",
        "accounts": [{ "account_id": "a", "name": "A", "type": "checking", "mask": "1234", "balances": {} }],
        "transactions": [transaction(0, 0)],
    });
    let answer = api.call_until_admitted("POST", "/links/import", &body).await?;
    let body = answer.json();
    body["link_id"].as_str().map(ToOwned::to_owned).with_context(|| format!("an import answered {body}"))
}

/// A transaction of this number, whose amount tells when it was written.
fn transaction(number: u64, written: u64) -> Value {
    json!({
        "account_id": "a", "transaction_id": number.to_string(), "date": day(number, "-"),
        "amount": format!("-{}.{:02}", written + 1, number % 100), "description": format!("Payee {number}"),
    })
}

/// Sends a file with these new and these withdrawn transactions; gives the link.
async fn import_file(api: &mut Api, customer: &str, created: &[u64], withdrawn: &[u64]) -> Result<String> {
    let entry = |number: &u64, correction: &str| {
        format!(
            "<STMTTRN><TRNTYPE>DEBIT<DTPOSTED>{}<TRNAMT>-{number}.10<FITID>F{number}{correction}<NAME>PAYEE {number}</STMTTRN>",
            day(*number, "")
        )
    };
    let created: String = created.iter().map(|number| entry(number, "")).collect();
    let withdraw = |number: &u64| format!("W<CORRECTFITID>F{number}<CORRECTACTION>DELETE");
    let withdrawn: String = withdrawn.iter().map(|number| entry(number, &withdraw(number))).collect();
    let file = format!(
        "OFXHEADER:100\nDATA:OFXSGML\nVERSION:102\n\n<OFX><SIGNONMSGSRSV1><SONRS><STATUS><CODE>0<SEVERITY>INFO</STATUS>\
         <DTSERVER>20240601<LANGUAGE>ENG</SONRS></SIGNONMSGSRSV1><BANKMSGSRSV1><STMTTRNRS><TRNUID>0<STATUS><CODE>0\
         <SEVERITY>INFO</STATUS><STMTRS><CURDEF>USD<BANKACCTFROM><BANKID>021000021<ACCTID>11112222<ACCTTYPE>CHECKING\
         </BANKACCTFROM><BANKTRANLIST><DTSTART>20000101<DTEND>20240531{created}{withdrawn}</BANKTRANLIST><LEDGERBAL>\
         <BALAMT>1.00<DTASOF>20240601</LEDGERBAL></STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>"
    );
    loop {
        let answer = api.call("POST", &import_file_path(customer), Body::Statement(&file)).await?;
        let body = answer.json();
        if answer.status == 503 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        ensure!([200, 201].contains(&answer.status), "a file answered {}: {body}", answer.status);
        return body["link_id"].as_str().map(ToOwned::to_owned).context("no link id");
    }
}

/// A day of 2000 to 2008, with this between its parts.
fn day(number: u64, between: &str) -> String {
    let (year, month, day) = (2000 + number / 336 % 9, number / 28 % 12 + 1, number % 28 + 1);
    format!("{year:04}{between}{month:02}{between}{day:02}")
}

/// Someone who follows one link.
struct Reader {
    api: Api,
    link: String,
    rng: Rng,
    cursor: Option<String>,
    rows: BTreeMap<String, Value>,
    ever_created: BTreeSet<String>,
    pages: u64,
    updated: u64,
    removed: u64,
    findings: Vec<String>,
}

impl Reader {
    fn new(api: Api, link: &str, rng: Rng) -> Self {
        Self {
            api,
            link: link.to_owned(),
            rng,
            cursor: None,
            rows: BTreeMap::new(),
            ever_created: BTreeSet::new(),
            pages: 0,
            updated: 0,
            removed: 0,
            findings: Vec::new(),
        }
    }

    async fn follow(&mut self) -> Result<()> {
        while self.page().await? {}
        Ok(())
    }

    /// Reads a page of any size; `true` when more wait.
    async fn page(&mut self) -> Result<bool> {
        let size_max = if self.rng.below(4) == 0 { 500 } else { 20 };
        let size = 1 + self.rng.below(size_max);
        let cursor = self.cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let body = self.api.get_json(&format!("/links/{}/transactions/sync?size={size}{cursor}", self.link)).await?;
        self.cursor = Some(body["cursor"]["next"].as_str().context("no cursor")?.to_owned());
        self.pages += 1;
        let list = |name: &str| body["transactions"][name].as_array().cloned().unwrap_or_default();
        for row in list("created") {
            let id = id_of(&row);
            if !self.ever_created.insert(id.clone()) {
                self.findings.push(format!("{}: {id} was created twice on one chain", self.link));
            }
            self.rows.insert(id, row);
        }
        for row in list("updated") {
            self.updated += 1;
            if row["pending"] != false {
                self.findings.push(format!("{}: a pending transaction was updated", self.link));
            }
            if self.rows.insert(id_of(&row), row).is_none() {
                self.findings.push(format!("{}: a transaction was updated that was not created", self.link));
            }
        }
        for id in list("removed") {
            self.removed += 1;
            self.rows.remove(id.as_str().unwrap_or_default());
        }
        Ok(body["has_more"] == true)
    }
}

fn id_of(row: &Value) -> String {
    row["transaction_id"].as_str().unwrap_or_default().to_owned()
}

/// Every transaction that the list shows.
async fn list(api: &mut Api, link: &str) -> Result<BTreeMap<String, Value>> {
    let mut rows = BTreeMap::new();
    for page in 1.. {
        let body = api.get_json(&format!("/links/{link}/transactions?size=1000&page={page}")).await?;
        let items = body["transactions"].as_array().context("no transactions")?;
        if items.is_empty() {
            break;
        }
        rows.extend(items.iter().map(|row| (id_of(row), row.clone())));
    }
    Ok(rows)
}

fn posted(rows: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    rows.iter().filter(|(_, row)| row["pending"] == false).map(|(id, row)| (id.clone(), row.clone())).collect()
}

/// SHA-256 over the rows, by id.
fn fingerprint(rows: &BTreeMap<String, Value>) -> [u8; 32] {
    let rows: String = rows.values().map(|row| format!("{row}\n")).collect();
    sha256(rows.as_bytes())
}
