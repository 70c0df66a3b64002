//! The command line of the experiments; see the library for what they do.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use passbook_proof::{bench, crawl, torture, yardstick};

// The same allocator as the server: the yardstick must not lose for a reason that is not the server's own work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Experiments on the built server")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Hurt the server and look for lost or doubled writes.
    Torture {
        #[command(subcommand)]
        experiment: torture::Experiment,
    },
    /// Measure the server against the yardstick.
    Bench(bench::Options),
    /// Ask the server everything and write its answers down, or compare them with those of another server.
    Crawl(crawl::Options),
    /// Be the yardstick: answer every numbers read with the captured answer in this file.
    #[command(hide = true)]
    Static {
        /// JSON written by the measurement.
        captured: PathBuf,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("passbook-proof: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // One thread: what this program uses is taken from the server on the same machine.
    let one_thread = || tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime");
    match Arguments::parse().command {
        Command::Torture { experiment } => one_thread()?.block_on(torture::run(experiment)),
        Command::Bench(options) => one_thread()?.block_on(bench::run(options)),
        Command::Crawl(options) => one_thread()?.block_on(crawl::run(options)),
        Command::Static { captured } => {
            let captured = std::fs::read(&captured).with_context(|| format!("{}", captured.display()))?;
            let captured = serde_json::from_slice(&captured).context("the captured answer")?;
            // As many threads as the server has.
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("a runtime")?;
            runtime.block_on(yardstick::serve(captured))
        }
    }
}
