//! `torture contract`: schemathesis sends what the contract allows and what it does not, alone and in chains, on each
//! store; every answer must be one that the contract documents.
//!
//! The generated requests come from `tests/conformance/check_contract.py`; here is the server, and the look at its store
//! afterwards.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ContractOptions;
use super::conduct::Conduct;
use super::ground::{Ground, StoreKind};
use super::store_files::Jobs;
use crate::record::root;

const SCRIPT: &str = "tests/conformance/check_contract.py";

/// The line that the script prints.
#[derive(Deserialize)]
struct Outcome {
    requests: u64,
    passed: bool,
    answers: Map<String, Value>,
}

/// Runs the experiment.
pub async fn run(options: ContractOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    let id = match options.common.store {
        StoreKind::Sqlite => "contract-embedded",
        StoreKind::Postgres => "contract-postgres",
    };
    conduct.run(id, &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &ContractOptions) -> Result<()> {
    let ground = Ground::new(&options.common, &conduct.plan, conduct.directory(), 1).await?;
    let running = ground.start().await?;
    let python = options.python.clone().unwrap_or_else(default_python);
    let mut script = Command::new(&python);
    script.current_dir(root()).arg(SCRIPT).env("PYTHONDONTWRITEBYTECODE", "1");
    script.args(["--url", &running.access.api_url, "--client-id", &running.access.client_id]);
    script.env("PASSBOOK_CLIENT_SECRET", &running.access.client_secret);
    script.args(["--seed", &options.common.seed.to_string(), "--examples", &options.examples.to_string()]);
    script.stderr(std::process::Stdio::inherit());
    let output = script.output().with_context(|| format!("{}", python.display()))?;
    let outcome: Outcome = serde_json::from_slice(&output.stdout).context("the script ended without a result line")?;
    conduct.rounds = outcome.requests;
    note(conduct, &outcome);
    running.stop().await?;
    ground.check(Jobs::MayBeOpen).await?;
    ensure!(outcome.passed, "an answer was not as the contract says; see above");
    let (sent, wanted) = (outcome.requests, options.requests_min);
    ensure!(sent >= wanted, "{sent} requests were sent, fewer than {wanted}");
    Ok(())
}

/// Requests by status; the table by operation is in the script's own line.
fn note(conduct: &mut Conduct, outcome: &Outcome) {
    let mut statuses = std::collections::BTreeMap::<&str, u64>::new();
    let mut operations = std::collections::BTreeSet::new();
    for (answer, count) in &outcome.answers {
        if let Some((operation, status)) = answer.split_once(' ') {
            *statuses.entry(status).or_default() += count.as_u64().unwrap_or(0);
            operations.insert(operation);
        }
    }
    conduct.figure("operations", operations.len());
    for (status, count) in statuses {
        conduct.figure(&format!("status_{status}"), count);
    }
}

fn default_python() -> PathBuf {
    root().join("target/venv/bin/python")
}
