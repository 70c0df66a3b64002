//! Measurements, each against a yardstick on the same machine in the same minute.
//!
//! Absolute figures of a shared machine mean little. So everything is measured in alternating pairs, and what is
//! reported is the ratio pair by pair, with its spread.

mod hosted;
mod import;
mod memory;
mod pairs;
mod reads;
mod report;
mod seeding;
mod transactions;
mod webhooks;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use tempfile::TempDir;

use crate::record::{self, root};
use crate::server::Plan;
use crate::torture::{StoreKind, binary};

/// Seed of every store.
const SEED: u64 = 1;
/// The contract's request limits are raised this much: 5,000 reads of one link a second.
const LIMIT_FACTOR: u32 = 100_000;

/// What to measure.
#[derive(Args)]
pub struct Options {
    /// The server binary; by default the one built beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Which store; each has a section of its own in the report.
    #[arg(long, value_enum, default_value_t = StoreKind::Sqlite)]
    store: StoreKind,
    /// What to measure; each has a section of its own in the report.
    #[arg(long, value_enum, default_value_t = Subject::Store)]
    subject: Subject,
    /// A short trial with small stores; prints the report and leaves bench/RESULTS.md alone. Without it the checkout has
    /// to be clean.
    #[arg(long)]
    quick: bool,
    /// Pairs of runs for each comparison.
    #[arg(long)]
    pairs: Option<usize>,
    /// Seconds of each run.
    #[arg(long)]
    seconds: Option<u64>,
    /// Connections of the load.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Where the stores are made; they reach a few GiB. By default the system's directory for temporary files.
    #[arg(long)]
    directory: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// Reads, imports and memory, on the store that is asked for.
    Store,
    /// Deliveries of events, on the embedded store.
    Webhooks,
}

/// The sizes of a run.
struct Scale {
    /// Links in the small, the usual and the large store.
    small: u64,
    usual: u64,
    large: u64,
    pairs: usize,
    seconds: Duration,
    connections: usize,
    /// Transactions of the one link that is followed.
    transactions: u64,
    /// Webhooks of a backlog, and events that wait for each dead receiver.
    webhooks: u64,
    webhooks_dead: u64,
    /// Numbers reads between the two looks at memory.
    memory_reads: u64,
}

/// What every measurement gets.
struct Bench {
    scale: Scale,
    binary: PathBuf,
    directory: TempDir,
}

/// Measures everything and writes the report.
pub async fn run(options: Options) -> Result<()> {
    let quick = options.quick;
    let commit = if quick { record::commit() } else { record::require_clean()? };
    let scale = Scale {
        small: 1_000,
        usual: if quick { 5_000 } else { 100_000 },
        large: if quick { 20_000 } else { 1_000_000 },
        pairs: options.pairs.unwrap_or(if quick { 3 } else { 7 }),
        seconds: Duration::from_secs(options.seconds.unwrap_or(if quick { 2 } else { 5 })),
        connections: options.connections,
        transactions: if quick { 50_000 } else { 1_000_000 },
        webhooks: if quick { 2_000 } else { 10_000 },
        webhooks_dead: if quick { 200 } else { 5_000 },
        memory_reads: if quick { 50_000 } else { 1_000_000 },
    };
    let parent = options.directory.unwrap_or_else(std::env::temp_dir);
    let directory = TempDir::with_prefix_in("passbook-bench-", parent)?;
    let bench = Bench { scale, binary: binary(options.server)?, directory };
    let mut report = report::Report::new(&bench.scale, options.store, options.subject, &commit, quick);
    match options.store {
        _ if options.subject == Subject::Webhooks => {
            webhooks::measure(&bench, &mut report).await.context("webhooks")?;
        }
        StoreKind::Sqlite => {
            memory::measure(&bench, &mut report).await.context("memory")?;
            reads::against_yardstick(&bench, &mut report).await.context("reads against the yardstick")?;
            import::measure(&bench, &mut report).await.context("import")?;
            transactions::measure(&bench, &mut report).await.context("transactions")?;
            reads::large_against_small(&bench, &mut report).await.context("reads of a large store")?;
        }
        StoreKind::Postgres => hosted::measure(&bench, &mut report).await.context("PostgreSQL")?,
    }
    let text = report.text();
    println!("{text}");
    if !quick {
        ensure!(record::require_clean()? == commit, "the commit has changed since the run; nothing was recorded");
        let path = root().join("bench/RESULTS.md");
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, report::with_section(&known, &text)).context("bench/RESULTS.md")?;
    }
    Ok(())
}

impl Bench {
    /// How to start the server on the store of this name.
    fn plan(&self, name: &str) -> Plan {
        Plan {
            binary: self.binary.clone(),
            data: self.path(name),
            log: self.directory.path().join(format!("{name}.log")),
            // Request limits count every read, and are out of reach.
            arguments: vec!["--seed".to_owned(), SEED.to_string(), format!("--rate-limits={LIMIT_FACTOR}")],
            under: Vec::new(),
            environment: Vec::new(),
            hosted: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.directory.path()).join(name)
    }
}
