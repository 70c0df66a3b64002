//! `postgres-cluster run -- COMMAND …`: runs a command beside a cluster that ends with it.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use postgres_cluster::{Binaries, Cluster, Place, REQUIRED, URL};

fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [run, separator, program, rest @ ..] = arguments.as_slice() else {
        bail!("usage: postgres-cluster run -- COMMAND …");
    };
    if run != "run" || separator != "--" {
        bail!("usage: postgres-cluster run -- COMMAND …");
    }
    let binaries = Binaries::find().context("no PostgreSQL server binaries were found")?;
    let cluster = Cluster::start(&binaries, Place::Memory, &[])?;
    let status = Command::new(program)
        .args(rest)
        .env(URL, cluster.url("postgres"))
        .env(REQUIRED, "1")
        .status()
        .with_context(|| format!("could not start {}", program.display()))?;
    drop(cluster);
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
