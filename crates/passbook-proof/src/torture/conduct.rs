//! What all experiments have in common: a directory, a journal, counting, one result line, and when they fail.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::Common;
use super::journal::Journal;
use super::kill::binary;
use super::model::Tally;
use crate::record::{Proof, commit, today};
use crate::server::Plan;

/// One experiment under way.
pub struct Conduct {
    /// Seed of every choice.
    pub seed: u64,
    /// How to start the server.
    pub plan: Plan,
    /// Every request with its answer.
    pub journal: Journal,
    /// What was counted and found.
    pub tally: Tally,
    /// Rounds done.
    pub rounds: u64,
    /// Figures of this experiment alone.
    pub figures: Map<String, Value>,
    directory: TempDir,
}

impl Conduct {
    /// Prepares a directory and a plan for one server in it.
    pub fn new(common: &Common, arguments: &[&str]) -> Result<Self> {
        common.require_clean()?;
        let directory = TempDir::with_prefix("passbook-torture-")?;
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let arguments = arguments.chain(["--seed".to_owned(), common.seed.to_string()]).collect();
        let plan = Plan::new(binary(common.server.clone())?, directory.path(), arguments)?;
        let journal = Journal::create(&directory.path().join("journal.tsv"))?;
        let (tally, figures) = (Tally::default(), Map::new());
        Ok(Self { seed: common.seed, plan, journal, tally, rounds: 0, figures, directory })
    }

    /// Where everything of the experiment is kept.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Notes a figure for the result line.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Runs the experiment, publishes its line, and fails unless it held.
    ///
    /// # Errors
    /// Everything that was found, or the error of the experiment itself.
    pub async fn run(
        mut self,
        id: &'static str,
        common: &Common,
        experiment: impl AsyncFnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let begun = Instant::now();
        let result = experiment(&mut self).await;
        self.journal.flush()?;
        let mut reasons: Vec<_> = result.err().map(|error| format!("{error:#}")).into_iter().collect();
        reasons.extend(self.tally.findings.iter().cloned());
        if self.tally.lost + self.tally.dup > 0 {
            reasons.push(format!("{} lost, {} doubled", self.tally.lost, self.tally.dup));
        }
        let proof = self.proof(id, begun.elapsed(), reasons.is_empty());
        proof.publish(common.record)?;
        if reasons.is_empty() {
            return Ok(());
        }
        let kept = self.directory.keep();
        bail!("{}\njournal, server log and store are kept in {}", reasons.join("\n"), kept.display())
    }

    fn proof(&mut self, id: &'static str, took: Duration, passed: bool) -> Proof {
        Proof {
            id,
            seed: self.seed,
            rounds: self.rounds,
            acked: self.tally.acked,
            lost: self.tally.lost,
            dup: self.tally.dup,
            figures: std::mem::take(&mut self.figures),
            secs: took.as_secs(),
            verdict: if passed { "pass" } else { "fail" },
            commit: commit(),
            date: today(),
        }
    }
}

/// Milliseconds for a result line.
pub fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
