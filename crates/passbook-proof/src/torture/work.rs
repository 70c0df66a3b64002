//! The load: what a worker does, one request at a time, and what it notes down about each answer.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::journal::Journal;
use super::model::{Attempt, BankLink, FileLink, Worker};
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
        let days = u32::try_from(self.worker.rng.below(12)).expect("below 12") + 1;
        self.import_days(position, days).await
    }

    /// Imports a statement with this many new days for one of the links.
    pub async fn import_days(&mut self, position: usize, days: u32) -> Result<(), CutOff> {
        let link = &mut self.worker.files[position];
        let (known, end) = (link.acked, link.acked + days * PER_DAY);
        let start = known.saturating_sub(OVERLAP);
        let (path, file) = (import_file_path(&link.customer), link.account.statement(start..end));
        link.uncertain = Some(end);
        let answer = self.send("POST", &path, Body::Statement(&file)).await?;
        let effect = self.judge("import a file", &answer, &[200, 201]);
        let link = &mut self.worker.files[position];
        link.uncertain = None;
        if effect == Effect::Present {
            link.acked = end;
            self.note_import(position, &answer.json(), end - known, known - start);
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
            self.note_import(position, &answer.json(), 0, known);
        }
        Ok(())
    }

    /// Compares the counts of an import with what the file held.
    pub fn note_import(&mut self, position: usize, answer: &Value, created: u32, unchanged: u32) {
        let found = (answer["created"].as_u64(), answer["unchanged"].as_u64());
        if found != (Some(u64::from(created)), Some(u64::from(unchanged))) {
            let expected = format!("{created} created and {unchanged} unchanged");
            self.worker.tally.find(format!("an import of {expected} transactions reported {found:?}"));
        }
        let link = &mut self.worker.files[position];
        let Some(link_id) = answer["link_id"].as_str() else {
            self.worker.tally.find("an import names no link".to_owned());
            return;
        };
        if link.link_id.get_or_insert_with(|| link_id.to_owned()) != link_id {
            self.worker.tally.dup += 1;
            self.worker.tally.find(format!("customer {} got a second link {link_id}", link.customer));
        }
    }

    /// Makes a link at a simulated bank, with every product fetched.
    pub async fn make_bank_link(&mut self) -> Result<(), CutOff> {
        if self.worker.banks.len() >= BANK_LINKS_MAX || self.clock_moves.load(Ordering::Acquire) {
            return Ok(());
        }
        let (_, customer) = self.worker.next_customer();
        let body = sandbox_link(&customer);
        self.worker.tally.uncertain_banks += 1;
        let answer = self.send("POST", "/sandbox/links", Body::Json(&body)).await?;
        self.worker.tally.uncertain_banks -= 1;
        if self.judge("make a sandbox link", &answer, &[201]) == Effect::Present {
            let answer = answer.json();
            let link_id = answer["link_id"].as_str().unwrap_or_default().to_owned();
            if answer["link"]["state"] != "connected" {
                self.worker.tally.find(format!("new link {link_id} is {}", answer["link"]["state"]));
            }
            let (running, settled) = Default::default();
            let link = BankLink { link_id, running, settled, uncertain_refresh: None, uncertain_delete: false };
            self.worker.banks.push(link);
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
            let link = &mut self.worker.files[position];
            link.uncertain_delete = true;
            let path = format!("/links/{}", link.link_id.as_deref().unwrap_or_default());
            let answer = self.send("DELETE", &path, Body::Empty).await?;
            if self.judge("delete", &answer, &[204]) == Effect::Present {
                let link = self.worker.files.swap_remove(position);
                self.worker.gone.extend(link.link_id);
            } else {
                self.worker.files[position].uncertain_delete = false;
            }
        } else if self.worker.banks.len() == BANK_LINKS_MAX {
            let position = self.worker.rng.index(BANK_LINKS_MAX);
            self.worker.banks[position].uncertain_delete = true;
            let path = format!("/links/{}", self.worker.banks[position].link_id);
            let answer = self.send("DELETE", &path, Body::Empty).await?;
            if self.judge("delete", &answer, &[204]) == Effect::Present {
                let link = self.worker.banks.swap_remove(position);
                self.worker.gone.push(link.link_id);
            } else {
                self.worker.banks[position].uncertain_delete = false;
            }
        }
        Ok(())
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

    async fn send(&mut self, method: &str, path: &str, body: Body<'_>) -> Result<Answer, CutOff> {
        let what = format!("{method} {path}");
        self.journal.remember(self.worker);
        match self.api.call(method, path, body).await {
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
