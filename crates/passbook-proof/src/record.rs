//! What an experiment leaves behind: one line, tied to the commit it was run on.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// The result of one experiment. Figures that only one experiment has are in `figures`, beside the others on the wire.
#[derive(Serialize)]
pub struct Proof {
    /// Which experiment.
    pub id: &'static str,
    /// Seed that makes the same choices again.
    pub seed: u64,
    /// Rounds or levels done.
    pub rounds: u64,
    /// Writes the server acknowledged.
    pub acked: u64,
    /// Acknowledged writes that were not there afterwards.
    pub lost: u64,
    /// Effects that were there more than once.
    pub dup: u64,
    /// The experiment's own figures.
    #[serde(flatten)]
    pub figures: serde_json::Map<String, Value>,
    /// Duration.
    pub secs: u64,
    /// `pass` or `fail`.
    pub verdict: &'static str,
    /// The commit the checkout was on; ends in `-dirty` when code differed from it.
    pub commit: String,
    /// UTC day.
    pub date: String,
}

impl Proof {
    /// Prints the line, and appends it to `docs/proofs.jsonl` when asked to.
    pub fn publish(&self, record: bool) -> Result<()> {
        let line = serde_json::to_string(self).context("the result line")?;
        println!("{line}");
        if record {
            let path = root().join("docs/proofs.jsonl");
            let mut file = File::options().create(true).append(true).open(&path).context("docs/proofs.jsonl")?;
            writeln!(file, "{line}").context("docs/proofs.jsonl")?;
        }
        Ok(())
    }
}

/// The root of the checkout this program was built from.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The current commit, marked when code differs from it.
pub fn commit() -> String {
    let head = git(&["rev-parse", "--short=12", "HEAD"]);
    let code = ["status", "--porcelain", "--untracked-files=normal", "--", "crates", "Cargo.toml", "Cargo.lock"];
    let is_dirty = !git(&code).is_empty();
    if is_dirty { format!("{head}-dirty") } else { head }
}

/// Today in UTC.
pub fn today() -> String {
    now().strftime("%Y-%m-%d").to_string()
}

/// The real time: a record says on which day it was made, and a faked clock starts from it.
#[expect(clippy::disallowed_methods, reason = "experiments work in real time, and their records say when")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Model name and number of processors.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores")
}

fn git(arguments: &[&str]) -> String {
    let output = Command::new("git").current_dir(root()).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
