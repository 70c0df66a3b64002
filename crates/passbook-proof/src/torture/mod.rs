//! Experiments that hurt the server and then look for what it promised.
//!
//! Workers own the links they make, and each works on one thing at a time. So at any instant a worker has at most one
//! request whose outcome is unknown, and the checker can say exactly what must be there, what may be, and what must not.

mod check;
mod conduct;
mod disk;
mod full_disk;
mod invariants;
mod journal;
mod kill;
mod model;
mod power_cut;
mod store_files;
mod trace;
mod work;

pub use self::kill::binary;
pub use self::store_files::{copy_files, databases_in};

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Which experiment.
#[derive(Subcommand)]
pub enum Experiment {
    /// Kill the server at random moments under load; nothing acknowledged may be lost or doubled.
    Kill(KillOptions),
    /// Fill the server's disk; writes are refused, reads go on, nothing acknowledged is lost.
    FullDisk(FullDiskOptions),
    /// Cut the power in a recorded run; whatever the disk may hold then, nothing acknowledged is lost.
    PowerCut(PowerCutOptions),
}

/// What every experiment needs.
#[derive(Args)]
pub struct Common {
    /// The server binary; by default the one built beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Seed of every choice of the experiment.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Append the result line to docs/proofs.jsonl.
    #[arg(long)]
    record: bool,
}

/// Options of `torture kill`.
#[derive(Args)]
pub struct KillOptions {
    #[command(flatten)]
    common: Common,
    /// How many times the server is killed.
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// A kill comes between 0 and this many seconds after the load began.
    #[arg(long, default_value_t = 3)]
    secs_max: u64,
    /// Parallel workers.
    #[arg(long, default_value_t = 8)]
    workers: u32,
    /// How long a restart may take until `/readyz` is green.
    #[arg(long, default_value_t = 2000)]
    ready_ms_max: u64,
    /// Acknowledged writes a round needs on average, or the run proves nothing.
    #[arg(long, default_value_t = 10)]
    acked_per_round_min: u64,
}

/// Options of `torture full-disk`.
#[derive(Args)]
pub struct FullDiskOptions {
    #[command(flatten)]
    common: Common,
    /// How many times the disk is filled, each time to another level.
    #[arg(long, default_value_t = 10)]
    levels: u64,
    /// Size of the disk in MiB.
    #[arg(long, default_value_t = 64)]
    disk_mib: u64,
    /// Set when the process is already in a mount namespace of its own.
    #[arg(long, hide = true)]
    inside_namespace: bool,
}

/// Options of `torture power-cut`.
#[derive(Args)]
pub struct PowerCutOptions {
    #[command(flatten)]
    common: Common,
    /// Disk images made from the record, each with its own cut and its own losses.
    #[arg(long, default_value_t = 100)]
    images: u64,
    /// Seconds of recorded load.
    #[arg(long, default_value_t = 5)]
    secs: u64,
}

/// Runs the experiment; an error is a failed proof.
pub async fn run(experiment: Experiment) -> Result<()> {
    match experiment {
        Experiment::Kill(options) => kill::run(options).await,
        Experiment::FullDisk(options) => full_disk::run(options).await,
        Experiment::PowerCut(options) => power_cut::run(options).await,
    }
}
