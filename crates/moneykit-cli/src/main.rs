//! `moneykit`: a developer's look at a MoneyKit-compatible server. A thin layer over the SDK of the same name.
//!
//! Prints the answer to standard output, as a table or with `--json` as the server's own JSON, and ends with 0. A
//! failed call is told on standard error and ends with 1; a command line that makes no sense ends with 2.

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod output;
mod arguments;
mod commands;
mod connection;
mod listen;

use std::{io::Write as _, process::ExitCode};

use clap::Parser as _;

use crate::{arguments::Arguments, connection::Connection, output::printable};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let connection = Connection::open(arguments.server)?;
    let shown = async {
        let answer = commands::run(&connection, arguments.command, arguments.json).await?;
        let text = if arguments.json { answer.json } else { answer.table };
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    };
    match shown.await {
        // The reader, `head` for example, has seen enough.
        Err(error) if is_closed_output(&error) => Ok(()),
        shown => shown,
    }
}

fn is_closed_output(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Tells a failure with everything the SDK keeps out of its own message.
fn report(error: &anyhow::Error) {
    note!("error: {error}");
    for cause in error.chain().skip(1) {
        note!("  because: {cause}");
    }
    let Some(error) = error.downcast_ref::<moneykit::Error>() else { return };
    if let Some(message) = error.error_message() {
        note!("  {}", printable(message));
    }
    for problem in error.validation_errors() {
        let location: Vec<_> = problem.location.iter().map(ToString::to_string).collect();
        note!("  {}: {}", printable(&location.join(".")), printable(&problem.message));
    }
    if let Some(wait) = error.retry_after() {
        note!("  try again in {} seconds", wait.as_secs());
    }
}
