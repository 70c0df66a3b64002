//! The project's own commands, run as `cargo xtask <command>`.
//!
//! `test` is the one command that decides whether a change is good; it installs what the tests need. `check` holds the
//! rules a compiler cannot see. `torture` and `bench` build and run `passbook-proof`, where the experiments live.

mod check;
mod command;
mod pipeline;
mod proof;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test: formatting, lints, crate arrows, build, docs, unit and conformance tests, short torture.
    Test(test::Options),
    /// Check what the compiler cannot: crate arrows, forbidden text.
    Check,
    /// Run one experiment against the built server: `torture kill`, `torture full-disk`.
    Torture {
        /// Which experiment, then its own options (`cargo xtask torture kill --help`).
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure the server against a static yardstick and write bench/RESULTS.md.
    Bench {
        /// Options of the measurement (`cargo xtask bench -- --help`).
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Check => check::run(),
        Command::Torture { arguments } => proof::torture(&arguments),
        Command::Bench { arguments } => proof::bench(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
