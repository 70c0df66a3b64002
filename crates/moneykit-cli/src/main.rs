//! `moneykit`: a developer's look at a MoneyKit-compatible server. A thin layer over the SDK of the same name.
//!
//! Prints the answer to standard output, as a table or with `--json` as the server's own JSON, and ends with 0. A
//! failed call is told on standard error and ends with 1; a command line that makes no sense ends with 2.

mod arguments;
mod commands;
mod connection;
mod listen;
mod output;

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
    let answer = commands::run(&connection, arguments.command, arguments.json).await?;
    let text = if arguments.json { answer.json } else { answer.table };
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader, `head` for example, has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Tells a failure with everything the SDK keeps out of its own message.
fn report(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    let Some(error) = error.downcast_ref::<moneykit::Error>() else { return };
    if let Some(message) = error.error_message() {
        eprintln!("  {}", printable(message));
    }
    for problem in error.validation_errors() {
        let location: Vec<_> = problem.location.iter().map(ToString::to_string).collect();
        eprintln!("  {}: {}", printable(&location.join(".")), printable(&problem.message));
    }
    if let Some(wait) = error.retry_after() {
        eprintln!("  try again in {} seconds", wait.as_secs());
    }
}
