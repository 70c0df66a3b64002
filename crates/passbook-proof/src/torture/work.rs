//! The load: what a worker does, one request at a time, and what it notes down about each answer.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::journal::Journal;
use super::model::{Attempt, Content, FileLink, Pending, Purpose, Worker};
use crate::api::{Api, Body, import_file_path, sandbox_link};
use crate::http::Answer;
use crate::statement::{Account, PER_DAY};

/// Links of each kind a worker keeps; beyond that it deletes before it makes new ones.
const FILE_LINKS_MAX: usize = 6;
const BANK_LINKS_MAX: usize = 4;
/// A statement link this long is deleted, so that a check stays fast.
const TRANSACTIONS_MAX: u32 = 400;
/// How much of what is known already a new file repeats.
const OVERLAP: u32 = 10 * PER_DAY;

/// One import in so many is large enough for the store to write it in pieces: so many more days than the least.
const LARGE_EVERY: u64 = 16;
const LARGE_DAYS: (u64, u32) = (300, 300);

const SANDBOX_LINKS: &str = "/sandbox/links";
const PRODUCTS: [&str; 4] = ["accounts", "account_numbers", "identity", "transactions"];

/// The fault struck: the worker's last request has no answer.
pub struct CutOff;

/// A worker at work on one running server.
pub struct Shift<'a> {
    pub worker: &'a mut Worker,
    pub api: &'a mut Api,
    pub journal: &'a Journal,
    /// Set while the sandbox clock is being moved. A link made just then may find the token between its sign-in and its
    /// exchange expired by the jump, which is no loss; so none is made.
    pub clock_moves: &'a AtomicBool,
    /// Whether the experiment takes the store away: reads may be refused then.
    pub store_may_be_away: bool,
}

/// What an answer means for what the worker knows.
#[derive(PartialEq)]
enum Effect {
    /// 2xx: the effect is there.
    Present,
    /// The effect is not there.
    Absent,
}

impl Shift<'_> {
    /// One random piece of work.
    pub async fn step(&mut self) -> Result<(), CutOff> {
        match self.worker.rng.below(100) {
            0..40 => self.import().await,
            40..45 => self.import_again().await,
            45..57 => self.make_bank_link().await,
            57..72 => self.refresh().await,
            72..78 => self.delete().await,
            _ => self.read_numbers().await,
        }
    }

    /// Moves the sandbox clock on, so that refresh limits open again.
    pub async fn advance_clock(&mut self, seconds: u64) -> Result<(), CutOff> {
        let body = json!({ "advance_seconds": seconds });
        let answer = self.send("POST", "/sandbox/clock", Body::Json(&body)).await?;
        self.clock_moves.store(false, Ordering::Release);
        if self.judge("advance the clock", &answer, &[200]) == Effect::Present {
            self.worker.clock = answer.json()["now"].as_str().unwrap_or_default().to_owned();
        }
        Ok(())
    }

    /// Imports the next statement of an account: some known transactions, some new ones.
    pub async fn import(&mut self) -> Result<(), CutOff> {
        let position = if self.worker.files.len() < FILE_LINKS_MAX {
            let (number, customer) = self.worker.next_customer();
            let account = Account::new(self.worker.number, number);
            let link =
                FileLink { customer, account, link_id: None, acked: 0, uncertain: None, uncertain_delete: false };
            self.worker.files.push(link);
            self.worker.files.len() - 1
        } else {
            self.worker.rng.index(self.worker.files.len())
        };
        let (most, least) = if self.worker.rng.below(LARGE_EVERY) == 0 { LARGE_DAYS } else { (12, 1) };
        let days = u32::try_from(self.worker.rng.below(most)).expect("a few hundred") + least;
        self.import_days(position, days).await
    }

    /// Imports a statement with this many new days for one of the links.
    pub async fn import_days(&mut self, position: usize, days: u32) -> Result<(), CutOff> {
        let link = &mut self.worker.files[position];
        let (known, end) = (link.acked, link.acked + days * PER_DAY);
        let start = known.saturating_sub(OVERLAP);
        let (path, file) = (import_file_path(&link.customer), link.account.statement(start..end));
        link.uncertain = Some(end);
        let purpose = Purpose::Import { position, created: end - known, unchanged: known - start };
        let pending = self.worker.begin(purpose, path, Content::Statement(file));
        let answer = self.send_pending(&pending).await?;
        let effect = self.judge("import a file", &answer, &[200, 201]);
        let link = &mut self.worker.files[position];
        link.uncertain = None;
        if effect == Effect::Present {
            link.acked = end;
            self.worker.note_import(position, &answer.json(), end - known, known - start);
        }
        Ok(())
    }

    /// Imports a file that changes nothing.
    async fn import_again(&mut self) -> Result<(), CutOff> {
        let Some(position) = self.some_file() else {
            return Ok(());
        };
        let link = &self.worker.files[position];
        let start = link.acked.saturating_sub(OVERLAP);
        let (path, file) = (import_file_path(&link.customer), link.account.statement(start..link.acked));
        let known = link.acked - start;
        let answer = self.send("POST", &path, Body::Statement(&file)).await?;
        if self.judge("import a known file", &answer, &[200]) == Effect::Present {
            self.worker.note_import(position, &answer.json(), 0, known);
        }
        Ok(())
    }

    /// Makes a link at a simulated bank: in one call with every product fetched, or by exchanging its token.
    pub async fn make_bank_link(&mut self) -> Result<(), CutOff> {
        if self.worker.banks.len() >= BANK_LINKS_MAX || self.clock_moves.load(Ordering::Acquire) {
            return Ok(());
        }
        let (number, customer) = self.worker.next_customer();
        let mut body = sandbox_link(&customer);
        if number % 2 == 0 {
            return self.make_bank_link_in_one_call(body).await;
        }
        body["exchange"] = Value::Bool(false);
        let pending = self.worker.begin(Purpose::WaitingLink, SANDBOX_LINKS.to_owned(), Content::Json(body));
        let answer = self.send_pending(&pending).await?;
        if self.judge("make a waiting link", &answer, &[201]) == Effect::Absent {
            return Ok(());
        }
        let body = json!({ "exchangeable_token": answer.json()["exchangeable_token"] });
        let path = "/link-session/exchange-token".to_owned();
        let pending = self.worker.begin(Purpose::BankLink, path, Content::Json(body));
        let answer = self.send_pending(&pending).await?;
        if self.judge("exchange a token", &answer, &[201]) == Effect::Present {
            self.worker.note_bank_link(&answer.json());
        }
        Ok(())
    }

    async fn make_bank_link_in_one_call(&mut self, body: Value) -> Result<(), CutOff> {
        let pending = self.worker.begin(Purpose::BankLink, SANDBOX_LINKS.to_owned(), Content::Json(body));
        let answer = self.send_pending(&pending).await?;
        if self.judge("make a sandbox link", &answer, &[201]) == Effect::Present {
            self.worker.note_bank_link(&answer.json());
        }
        Ok(())
    }

    /// Asks for a refresh of one product of one link.
    pub async fn refresh(&mut self) -> Result<(), CutOff> {
        if self.worker.banks.is_empty() {
            return Ok(());
        }
        let position = self.worker.rng.index(self.worker.banks.len());
        let product = PRODUCTS[self.worker.rng.index(PRODUCTS.len())];
        let link_id = self.worker.banks[position].link_id.clone();
        let before = self.send("GET", &format!("/links/{link_id}"), Body::Empty).await?;
        let before = before.json();
        if !before["products"][product].is_object() {
            // Not granted by this bank, so there is nothing to refresh.
            return Ok(());
        }
        let before = Attempt::of(&before, product);
        self.worker.note_end(position, product, &before);
        if self.worker.banks[position].running.contains_key(product) {
            // Asking twice is for the limits' tests; here the first one must be seen to end.
            return Ok(());
        }
        let body = json!({ "products": [product] });
        let path = format!("/links/{link_id}/products");
        self.worker.banks[position].uncertain_refresh = Some(product);
        let answer = self.send("POST", &path, Body::Json(&body)).await?;
        self.worker.banks[position].uncertain_refresh = None;
        if self.judge("refresh", &answer, &[202]) == Effect::Present {
            self.worker.tally.refreshes += 1;
            let link = &mut self.worker.banks[position];
            link.settled.remove(product);
            link.running.insert(product, before);
        }
        Ok(())
    }

    /// Deletes a link, mostly one that has become long.
    pub async fn delete(&mut self) -> Result<(), CutOff> {
        let long = self.worker.files.iter().position(|link| link.acked >= TRANSACTIONS_MAX && link.link_id.is_some());
        if let Some(position) = long.or_else(|| self.some_file().filter(|_| self.worker.rng.below(4) == 0)) {
            self.delete_file(position).await?;
        } else if self.worker.banks.len() == BANK_LINKS_MAX {
            let position = self.worker.rng.index(BANK_LINKS_MAX);
            self.worker.banks[position].uncertain_delete = true;
            let link_id = self.worker.banks[position].link_id.clone();
            if self.send_delete(&link_id).await? == Effect::Present {
                let link = self.worker.banks.swap_remove(position);
                self.worker.gone.push(link.link_id);
            } else {
                self.worker.banks[position].uncertain_delete = false;
            }
        }
        Ok(())
    }

    /// Deletes one of the links from files.
    pub async fn delete_file(&mut self, position: usize) -> Result<(), CutOff> {
        let link = &mut self.worker.files[position];
        link.uncertain_delete = true;
        let link_id = link.link_id.clone().unwrap_or_default();
        if self.send_delete(&link_id).await? == Effect::Present {
            let link = self.worker.files.swap_remove(position);
            self.worker.gone.extend(link.link_id);
        } else {
            self.worker.files[position].uncertain_delete = false;
        }
        Ok(())
    }

    async fn send_delete(&mut self, link_id: &str) -> Result<Effect, CutOff> {
        let path = format!("/links/{link_id}");
        let answer = self.send("DELETE", &path, Body::Empty).await?;
        if answer.status != 500 || !self.store_may_be_away {
            return Ok(self.judge("delete", &answer, &[204]));
        }
        // Gone, but the deletion ledger could not be written: the one answer that promises nothing. A look tells.
        self.worker.tally.unknown += 1;
        let link = self.send("GET", &path, Body::Empty).await?;
        Ok(if link.json()["state"] == "deleted" { Effect::Present } else { Effect::Absent })
    }

    /// Reads account numbers and compares them with the file's.
    pub async fn read_numbers(&mut self) -> Result<(), CutOff> {
        let Some(position) = self.some_file() else {
            return Ok(());
        };
        let link = &self.worker.files[position];
        let (path, number) = (numbers_path(link.link_id.as_deref().unwrap_or_default()), link.account.number.clone());
        let answer = self.send("GET", &path, Body::Empty).await?;
        if answer.status == 503 && self.store_may_be_away && answer.header("retry-after").is_some() {
            self.worker.tally.refused += 1;
            return Ok(());
        }
        self.worker.tally.reads += 1;
        if answer.status != 200 || !String::from_utf8_lossy(&answer.body).contains(&number) {
            self.worker.tally.find(format!("GET {path} answered {} without its number", answer.status));
        }
        Ok(())
    }

    /// Sends a request with an idempotency key, which stays pending when it is cut off.
    async fn send_pending(&mut self, pending: &Pending) -> Result<Answer, CutOff> {
        let (path, body) = (&pending.path, pending.content.body());
        let answer = self.send_once("POST", path, body, Some(&pending.key)).await?;
        self.worker.pending = None;
        Ok(answer)
    }

    async fn send(&mut self, method: &str, path: &str, body: Body<'_>) -> Result<Answer, CutOff> {
        self.send_once(method, path, body, None).await
    }

    async fn send_once(
        &mut self,
        method: &str,
        path: &str,
        body: Body<'_>,
        key: Option<&str>,
    ) -> Result<Answer, CutOff> {
        let what = format!("{method} {path} {}", key.unwrap_or_default());
        self.journal.remember(self.worker);
        match self.api.call_once(method, path, body, key).await {
            Ok(answer) if answer.status == 500 && self.worker.process_ends => {
                self.journal.write(self.worker.number, &what, "500: the outcome is unknown");
                self.worker.tally.uncertain += u64::from(method != "GET");
                Err(CutOff)
            }
            Ok(answer) => {
                let shown = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]).replace('\n', " ");
                self.journal.write(self.worker.number, &what, &format!("{} {shown}", answer.status));
                self.journal.answered(self.worker.number, method, &answer);
                Ok(answer)
            }
            Err(error) => {
                self.journal.write(self.worker.number, &what, &format!("cut off: {error}"));
                self.worker.tally.uncertain += u64::from(method != "GET");
                Err(CutOff)
            }
        }
    }

    /// Sorts an answer to a write, and notes the ones that must not be.
    fn judge(&mut self, what: &str, answer: &Answer, acknowledged: &[u16]) -> Effect {
        match answer.status {
            status if acknowledged.contains(&status) => {
                self.worker.tally.acked += 1;
                return Effect::Present;
            }
            // A refresh limit; the other writes have none here.
            429 if what == "refresh" => {}
            503 if answer.header("retry-after").is_some() => self.worker.tally.refused += 1,
            status => {
                let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
                self.worker.tally.find(format!("{what}: answered {status}: {body}"));
            }
        }
        Effect::Absent
    }

    fn some_file(&mut self) -> Option<usize> {
        let known: Vec<usize> =
            (0..self.worker.files.len()).filter(|position| self.worker.files[*position].link_id.is_some()).collect();
        if known.is_empty() { None } else { Some(known[self.worker.rng.index(known.len())]) }
    }
}

/// Path of the numbers read.
pub fn numbers_path(link_id: &str) -> String {
    format!("/links/{link_id}/accounts/numbers")
}
