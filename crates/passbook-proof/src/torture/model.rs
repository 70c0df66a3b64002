//! What a worker knows about its links: what was acknowledged, and the one thing that is uncertain.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::Body;
use crate::rng::Rng;
use crate::statement::Account;

/// A link made from statement files. Its transactions are always the first `acked` of its account.
#[derive(Clone)]
pub struct FileLink {
    /// The customer; a customer has one link, so importing again finds the same one.
    pub customer: String,
    /// The account its files are about.
    pub account: Account,
    /// Known from the first acknowledged import on.
    pub link_id: Option<String>,
    /// Transactions that were acknowledged: positions `0..acked`.
    pub acked: u32,
    /// An import up to this position has an unknown outcome.
    pub uncertain: Option<u32>,
    /// A delete has an unknown outcome.
    pub uncertain_delete: bool,
}

/// A link at a simulated bank.
#[derive(Clone)]
pub struct BankLink {
    /// Its id.
    pub link_id: String,
    /// Accepted refreshes by product that are not known to have ended.
    pub running: BTreeMap<&'static str, Attempt>,
    /// `refreshed_at` by product when its last refresh had ended; must not move by itself.
    pub settled: BTreeMap<&'static str, String>,
    /// A refresh of this product has an unknown outcome.
    pub uncertain_refresh: Option<&'static str>,
    /// A delete has an unknown outcome.
    pub uncertain_delete: bool,
}

/// What a link shows of a product's last refresh; times are empty when null.
#[derive(Clone)]
pub struct Attempt {
    /// `refreshed_at`.
    pub refreshed_at: String,
    /// `last_attempted_at`.
    pub last_attempted_at: String,
    /// Whether the last attempt failed.
    pub failed: bool,
}

impl Attempt {
    /// How this product stands in a link object.
    pub fn of(link: &Value, product: &str) -> Self {
        let product = &link["products"][product];
        let time = |name: &str| product[name].as_str().unwrap_or_default().to_owned();
        let failed = product["error_code"].is_string();
        Self { refreshed_at: time("refreshed_at"), last_attempted_at: time("last_attempted_at"), failed }
    }

    /// Whether `now` shows the end of a refresh that was asked for at `self`.
    fn has_ended(&self, now: &Self) -> bool {
        now.refreshed_at > self.refreshed_at || (now.failed && now.last_attempted_at > self.last_attempted_at)
    }
}

/// A request with an idempotency key that has no answer yet: what it is about, and all that it takes to send it again.
#[derive(Clone)]
pub struct Pending {
    /// What it makes.
    pub purpose: Purpose,
    /// Where it goes.
    pub path: String,
    /// What it says.
    pub content: Content,
    /// Its idempotency key.
    pub key: String,
}

/// What a request with an idempotency key makes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Transactions of a link from files.
    Import {
        /// Which link.
        position: usize,
        /// New transactions.
        created: u32,
        /// Known ones.
        unchanged: u32,
    },
    /// A connected link at a bank.
    BankLink,
    /// A link whose token waits.
    WaitingLink,
}

/// The body of a request that may be sent again.
#[derive(Clone)]
pub enum Content {
    /// JSON.
    Json(Value),
    /// A statement file.
    Statement(String),
}

impl Content {
    /// The body to send.
    pub fn body(&self) -> Body<'_> {
        match self {
            Self::Json(value) => Body::Json(value),
            Self::Statement(text) => Body::Statement(text),
        }
    }
}

/// Everything one worker did, and what it found.
#[derive(Clone)]
pub struct Worker {
    /// Its number, part of the names of everything it makes.
    pub number: u32,
    /// Its choices.
    pub rng: Rng,
    /// Links from files.
    pub files: Vec<FileLink>,
    /// Links at simulated banks.
    pub banks: Vec<BankLink>,
    /// Links whose delete was acknowledged.
    pub gone: Vec<String>,
    /// Customers made so far.
    pub customers: u32,
    /// Idempotency keys used so far.
    pub keys: u64,
    /// The request with a key that is under way, or was cut off.
    pub pending: Option<Pending>,
    /// Newest acknowledged time of the sandbox clock.
    pub clock: String,
    /// Whether 500, which promises nothing, counts as a request that was cut off: the process is about to end.
    pub process_ends: bool,
    /// Counts.
    pub tally: Tally,
}

/// Counts of a worker or of a whole run.
#[derive(Default, Clone)]
pub struct Tally {
    /// Acknowledged writes.
    pub acked: u64,
    /// Requests cut off by a fault.
    pub uncertain: u64,
    /// Cut-off requests with an idempotency key that were sent again and answered.
    pub repeated: u64,
    /// Of those, the ones whose effect was there before they were sent again.
    pub replayed: u64,
    /// Writes refused with 503 and `Retry-After`.
    pub refused: u64,
    /// Answers that promise nothing either way, each looked into at once.
    pub unknown: u64,
    /// Reads answered.
    pub reads: u64,
    /// Refreshes accepted with 202.
    pub refreshes: u64,
    /// Accepted refreshes that ended in an error of the product.
    pub refreshes_failed: u64,
    /// Acknowledged effects that were missing.
    pub lost: u64,
    /// Effects that were there more than once, or refused and there.
    pub dup: u64,
    /// Everything else that must not be, in words.
    pub findings: Vec<String>,
}

impl Worker {
    /// A worker that has done nothing yet.
    pub fn new(number: u32, seed: u64) -> Self {
        Self {
            number,
            rng: Rng::new(seed, u64::from(number) + 1),
            files: Vec::new(),
            banks: Vec::new(),
            gone: Vec::new(),
            customers: 0,
            keys: 0,
            pending: None,
            clock: String::new(),
            process_ends: false,
            tally: Tally::default(),
        }
    }

    /// The next customer's position and id.
    pub fn next_customer(&mut self) -> (u32, String) {
        self.customers += 1;
        (self.customers, format!("torture-w{}-c{}", self.number, self.customers))
    }

    /// A request with a fresh idempotency key, noted as pending.
    pub fn begin(&mut self, purpose: Purpose, path: String, content: Content) -> Pending {
        self.keys += 1;
        let key = format!("torture w{} k{}", self.number, self.keys);
        let pending = Pending { purpose, path, content, key };
        self.pending = Some(pending.clone());
        pending
    }

    /// Notes an acknowledged link at a bank.
    pub fn note_bank_link(&mut self, answer: &Value) {
        let link_id = answer["link_id"].as_str().unwrap_or_default().to_owned();
        if answer["link"]["state"] != "connected" {
            self.tally.find(format!("new link {link_id} is {}", answer["link"]["state"]));
        }
        let (running, settled) = Default::default();
        self.banks.push(BankLink { link_id, running, settled, uncertain_refresh: None, uncertain_delete: false });
    }

    /// Compares what an import reports with what the file held, and notes the link.
    pub fn note_import(&mut self, position: usize, answer: &Value, created: u32, unchanged: u32) {
        let found = (answer["created"].as_u64(), answer["unchanged"].as_u64());
        if found != (Some(u64::from(created)), Some(u64::from(unchanged))) {
            let expected = format!("{created} created and {unchanged} unchanged");
            self.tally.find(format!("an import of {expected} transactions reported {found:?}"));
        }
        let link = &mut self.files[position];
        let Some(link_id) = answer["link_id"].as_str() else {
            self.tally.find("an import names no link".to_owned());
            return;
        };
        if link.link_id.get_or_insert_with(|| link_id.to_owned()) != link_id {
            self.tally.dup += 1;
            self.tally.find(format!("customer {} got a second link {link_id}", link.customer));
        }
    }

    /// Notes the end of an accepted refresh if the link object shows it.
    pub fn note_end(&mut self, position: usize, product: &'static str, now: &Attempt) {
        let link = &mut self.banks[position];
        if let Some(before) = link.running.get(product)
            && before.has_ended(now)
        {
            self.tally.refreshes_failed += u64::from(now.failed);
            link.running.remove(product);
            link.settled.insert(product, now.refreshed_at.clone());
        }
    }

    /// Accepted refreshes that are not known to have ended.
    pub fn running(&self) -> usize {
        self.banks.iter().map(|link| link.running.len()).sum()
    }

    /// Ids of all links that must exist.
    pub fn live(&self) -> impl Iterator<Item = &str> {
        let files = self.files.iter().filter(|link| !link.uncertain_delete).filter_map(|link| link.link_id.as_deref());
        let banks = self.banks.iter().filter(|link| !link.uncertain_delete).map(|link| link.link_id.as_str());
        files.chain(banks)
    }
}

impl Tally {
    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        self.acked += other.acked;
        self.uncertain += other.uncertain;
        self.repeated += other.repeated;
        self.replayed += other.replayed;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.refreshes += other.refreshes;
        self.refreshes_failed += other.refreshes_failed;
        self.lost += other.lost;
        self.dup += other.dup;
        self.findings.extend_from_slice(&other.findings);
    }

    /// Notes something that must not be.
    pub fn find(&mut self, finding: String) {
        // The first ones tell the story; a broken server would fill the screen.
        const FINDINGS_MAX: usize = 50;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}
