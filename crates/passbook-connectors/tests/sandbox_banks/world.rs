//! A small world in which people sign in at simulated banks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use passbook_connectors::{
    port::{Connector, Credential, Fetch, SignIn, Step},
    sandbox::{Sandbox, headless_answer},
};
use passbook_core::{
    failure::{Failure, FailureClass},
    ids::Derivation,
    institution::Institution,
    product::Product,
    snapshot::{BankAccount, BankAccountNumbers, BankAccountOwners, BankInvestments, BankTransactions, Snapshot},
};
use serde_json::{Value, json};

/// An instant from its text.
pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The instant of tests that do not care.
pub fn noon() -> Timestamp {
    at("2024-05-15T12:00:00Z")
}

pub fn institution(id: &str) -> Institution {
    Sandbox.institutions().into_iter().find(|institution| institution.id == id).unwrap()
}

/// Somebody who wants to sign in.
#[derive(Clone)]
pub struct Visitor {
    pub bank: &'static str,
    pub username: &'static str,
    pub app_id: String,
    pub customer_user_id: String,
    pub seed: Option<u64>,
    pub answers: Value,
    pub custom: Option<Value>,
    pub now: Timestamp,
}

impl Visitor {
    pub fn new(bank: &'static str, username: &'static str) -> Self {
        Self {
            bank,
            username,
            app_id: "app_test".to_owned(),
            customer_user_id: "customer-1".to_owned(),
            seed: None,
            answers: json!({}),
            custom: None,
            now: noon(),
        }
    }

    pub fn customer(mut self, id: impl Into<String>) -> Self {
        self.customer_user_id = id.into();
        self
    }

    pub fn answering(mut self, answers: Value) -> Self {
        self.answers = answers;
        self
    }

    pub fn with_custom(mut self, custom: Value) -> Self {
        self.custom = Some(custom);
        self
    }

    /// Signs in headlessly; also gives the kinds of the steps on the way.
    pub async fn walk(&self) -> (Vec<&'static str>, Result<Credential, Failure>) {
        let (institution, derivation) = (institution(self.bank), Derivation::new(b"simulated banks"));
        let sign_in = SignIn {
            institution: &institution,
            customer_user_id: &self.customer_user_id,
            app_id: &self.app_id,
            now: self.now,
            derivation: &derivation,
            custom_sandbox_data: self.custom.as_ref(),
            person_seed: self.seed,
        };
        let answers: BTreeMap<String, Value> = serde_json::from_value(self.answers.clone()).unwrap();
        let mut kinds = Vec::new();
        let mut next = Sandbox.begin_sign_in(&sign_in).await;
        loop {
            match next {
                Ok((Step::Done(credential), _)) => return (kinds, Ok(credential)),
                Ok((step, progress)) => {
                    kinds.push(step.kind());
                    let answer = headless_answer(&step, self.username, &answers);
                    next = Sandbox.continue_sign_in(&sign_in, progress, answer).await;
                }
                Err(failure) => return (kinds, Err(failure)),
            }
        }
    }

    pub async fn sign_in(&self) -> Link {
        let credential = self.walk().await.1.unwrap();
        Link { bank: self.bank, credential }
    }

    pub async fn failure(&self) -> FailureClass {
        self.walk().await.1.unwrap_err().class
    }
}

/// Somebody who is signed in.
pub struct Link {
    bank: &'static str,
    pub credential: Credential,
}

impl Link {
    pub async fn fetch(&self, product: Product, now: Timestamp) -> Result<Snapshot, Failure> {
        let institution = institution(self.bank);
        // Another seed than at sign-in: what a fetch needs is in the credential.
        let derivation = Derivation::new(b"elsewhere");
        let fetch = Fetch { institution: &institution, credential: &self.credential, now, derivation: &derivation };
        Sandbox.fetch(&fetch, product).await.map(|fetched| fetched.snapshot)
    }

    pub async fn revoke(&self) -> Result<(), Failure> {
        let institution = institution(self.bank);
        let derivation = Derivation::new(b"elsewhere");
        let fetch =
            Fetch { institution: &institution, credential: &self.credential, now: noon(), derivation: &derivation };
        Sandbox.revoke(&fetch).await
    }

    pub async fn accounts(&self, now: Timestamp) -> Vec<BankAccount> {
        match self.fetch(Product::Accounts, now).await {
            Ok(Snapshot::Accounts(accounts)) => accounts,
            other => panic!("{other:?}"),
        }
    }

    pub async fn numbers(&self) -> Vec<BankAccountNumbers> {
        match self.fetch(Product::AccountNumbers, noon()).await {
            Ok(Snapshot::AccountNumbers(numbers)) => numbers,
            other => panic!("{other:?}"),
        }
    }

    pub async fn owners(&self) -> Vec<BankAccountOwners> {
        match self.fetch(Product::Identity, noon()).await {
            Ok(Snapshot::Identity(owners)) => owners,
            other => panic!("{other:?}"),
        }
    }

    pub async fn transactions(&self, now: Timestamp) -> BankTransactions {
        match self.fetch(Product::Transactions, now).await {
            Ok(Snapshot::Transactions(transactions)) => transactions,
            other => panic!("{other:?}"),
        }
    }

    pub async fn investments(&self, now: Timestamp) -> BankInvestments {
        match self.fetch(Product::Investments, now).await {
            Ok(Snapshot::Investments(investments)) => investments,
            other => panic!("{other:?}"),
        }
    }
}
