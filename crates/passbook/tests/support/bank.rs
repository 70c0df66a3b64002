//! A bank that does what the test says: the simulated Credentials Bank behind counters, failures and a gate.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use passbook_connectors::{
    port::{Answer, Connector, Fetch, Fetched, Progress, SignIn, Step},
    sandbox::Sandbox,
};
use passbook_core::{
    failure::{Failure, FailureClass},
    institution::{Country, Institution},
    product::Product,
};
use serde_json::Value;
use tokio::sync::Semaphore;

/// Its institution id.
pub const ID: &str = "scripted_bank";

/// See the module page. Clones share the script.
#[derive(Clone)]
pub struct ScriptedBank(Arc<Script>);

struct Script {
    fetches: Mutex<HashMap<Product, usize>>,
    failures: Mutex<HashMap<Product, FailureClass>>,
    panics: Mutex<bool>,
    fetch_panics: Mutex<Vec<Product>>,
    gate: Semaphore,
}

impl Default for ScriptedBank {
    fn default() -> Self {
        let gate = Semaphore::new(Semaphore::MAX_PERMITS >> 1);
        let (fetches, failures, panics) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self(Arc::new(Script { fetches, failures, panics, fetch_panics: Mutex::default(), gate }))
    }
}

impl ScriptedBank {
    /// How often `product` was fetched.
    pub fn fetches(&self, product: Product) -> usize {
        self.0.fetches.lock().unwrap().get(&product).copied().unwrap_or_default()
    }

    /// How often anything was fetched.
    pub fn all_fetches(&self) -> usize {
        self.0.fetches.lock().unwrap().values().sum()
    }

    /// Fetches of `product` fail from now on.
    pub fn fail(&self, product: Product, class: FailureClass) {
        self.0.failures.lock().unwrap().insert(product, class);
    }

    /// Fetches work again.
    pub fn recover(&self) {
        self.0.failures.lock().unwrap().clear();
    }

    /// Sign-ins panic from now on.
    pub fn panic_at_sign_in(&self) {
        *self.0.panics.lock().unwrap() = true;
    }

    /// Fetches of `product` panic from now on.
    pub fn panic_at_fetch(&self, product: Product) {
        self.0.fetch_panics.lock().unwrap().push(product);
    }

    /// Fetches wait from now on, until [`ScriptedBank::release`].
    pub fn hold(&self) {
        self.0.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets waiting and later fetches go.
    pub fn release(&self) {
        self.0.gate.add_permits(1_000);
    }
}

/// The simulated bank behind this one.
fn behind() -> Institution {
    let banks = Sandbox.institutions();
    banks.into_iter().find(|bank| bank.id == "credentials_bank").expect("the simulated bank is listed")
}

#[async_trait]
impl Connector for ScriptedBank {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn institutions(&self) -> Vec<Institution> {
        vec![Institution {
            id: ID.to_owned(),
            aliases: Vec::new(),
            name: "Scripted Bank".to_owned(),
            country: Country::Us,
            is_featured: false,
            connector: self.name().to_owned(),
            ..behind()
        }]
    }

    async fn begin_sign_in(&self, sign_in: &SignIn<'_>) -> Result<(Step, Progress), Failure> {
        assert!(!*self.0.panics.lock().unwrap(), "the script says so: 4111111111111111");
        Sandbox.begin_sign_in(&SignIn { institution: &behind(), ..*sign_in }).await
    }

    async fn continue_sign_in(
        &self,
        sign_in: &SignIn<'_>,
        progress: Progress,
        answer: Answer,
    ) -> Result<(Step, Progress), Failure> {
        Sandbox.continue_sign_in(&SignIn { institution: &behind(), ..*sign_in }, progress, answer).await
    }

    async fn fetch(&self, fetch: &Fetch<'_>, product: Product) -> Result<Fetched, Failure> {
        *self.0.fetches.lock().unwrap().entry(product).or_default() += 1;
        let _passed = self.0.gate.acquire().await;
        let panics = self.0.fetch_panics.lock().unwrap().contains(&product);
        assert!(!panics, "the script says so");
        let failure = self.0.failures.lock().unwrap().get(&product).copied();
        if let Some(class) = failure {
            return Err(Failure::new(class, "The script says so"));
        }
        Sandbox.fetch(&Fetch { institution: &behind(), ..*fetch }, product).await
    }

    async fn revoke(&self, _fetch: &Fetch<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn headless_answer(&self, step: &Step, username: &str, answers: &BTreeMap<String, Value>) -> Option<Answer> {
        Sandbox.headless_answer(step, username, answers)
    }
}
