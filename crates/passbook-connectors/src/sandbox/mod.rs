//! Simulated banks: a complete world of people, accounts, numbers and transactions that needs no network.
//!
//! A bank is *stateless*. At sign-in a person is derived from the instance seed, the application, its user, the bank
//! and the user name; after that every answer is a pure function of that person and the application's instant:
//!
//! - [`sign_in`]: the conversation of each bank, and which test user meets which obstacle;
//! - [`headless`]: what a person would answer, for callers without a browser;
//! - `portfolio` and `custom`: which accounts there are, with their `numbers`;
//! - `person`: who owns them;
//! - `edited`: what somebody changed at the bank, on top of all that;
//! - `ledger`: what happened on them, and therefore their balances; `investments`: the same for securities.
//!
//! So the same person relinking sees the same accounts and history, a moved clock makes pending items post and new ones
//! appear, and the same seed and instant give the same bytes on every machine. Nothing here reads a clock, draws
//! randomness or logs. Changing any table or the order of draws changes everybody's data: the golden test says so.

mod bank;
mod credential;
mod custom;
mod edited;
mod fetch;
pub mod headless;
mod investments;
mod ledger;
mod numbers;
mod person;
mod portfolio;
pub mod sign_in;
mod stream;
mod vocabulary;

use std::collections::BTreeMap;

use async_trait::async_trait;
use passbook_core::{failure::Failure, institution::Institution, product::Product};
use serde_json::Value;

pub use headless::headless_answer;

use self::credential::Customer;
use crate::{
    edits::{BankEdit, EDITS_MAX, EditRefusal},
    port::{Answer, Connector, Credential, Fetch, Fetched, Progress, SignIn, Step},
};

/// The name under which links remember this connector.
const NAME: &str = "sandbox";

/// The connector of the simulated banks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sandbox;

#[async_trait]
impl Connector for Sandbox {
    fn name(&self) -> &'static str {
        NAME
    }

    fn institutions(&self) -> Vec<Institution> {
        bank::BANKS.iter().map(bank::Bank::institution).collect()
    }

    fn is_simulated(&self) -> bool {
        true
    }

    async fn begin_sign_in(&self, sign_in: &SignIn<'_>) -> Result<(Step, Progress), Failure> {
        sign_in::begin(sign_in)
    }

    async fn continue_sign_in(
        &self,
        sign_in: &SignIn<'_>,
        progress: Progress,
        answer: Answer,
    ) -> Result<(Step, Progress), Failure> {
        sign_in::proceed(sign_in, &progress, &answer)
    }

    /// Everything but `enrichment`, which is
    /// [`passbook_core::failure::FailureClass::NotSupported`].
    async fn fetch(&self, fetch: &Fetch<'_>, product: Product) -> Result<Fetched, Failure> {
        let snapshot = fetch::snapshot(fetch.credential, fetch.now, product)?;
        Ok(Fetched { snapshot, renewed_credential: None })
    }

    fn headless_answer(&self, step: &Step, username: &str, answers: &BTreeMap<String, Value>) -> Option<Answer> {
        Some(headless::headless_answer(step, username, answers))
    }

    fn edit(&self, credential: &Credential, edits: &[BankEdit]) -> Result<(Credential, usize), EditRefusal> {
        let (mut customer, _) = Customer::open(credential).map_err(|_| EditRefusal::Unreadable)?;
        if customer.edits.len() + edits.len() > EDITS_MAX {
            return Err(EditRefusal::TooMany);
        }
        customer.edits.extend_from_slice(edits);
        Ok((customer.seal().map_err(|_| EditRefusal::Unreadable)?, customer.edits.len()))
    }

    fn carry_over(&self, before: &Credential, after: Credential) -> Credential {
        let (Ok((before, _)), Ok((mut customer, _))) = (Customer::open(before), Customer::open(&after)) else {
            return after;
        };
        customer.inherit(before);
        customer.seal().unwrap_or(after)
    }

    /// Always succeeds: a simulated bank keeps nothing.
    async fn revoke(&self, _fetch: &Fetch<'_>) -> Result<(), Failure> {
        Ok(())
    }
}
