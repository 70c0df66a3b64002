//! Building and running `passbook-proof`, and the built server it works on.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command::{cargo, command, output, run};

/// Runs an experiment of `passbook-proof torture` against a server of the `ci` profile.
///
/// The profile of the tests is enough: what the experiments look for are lost writes, not speed.
pub fn torture(arguments: &[String]) -> Result<()> {
    // The whole workspace, as the tests build it: another selection unifies features differently and builds all again.
    run(&mut cargo(&["build", "--workspace", "--all-targets", "--profile", "ci"]))?;
    if arguments.first().is_some_and(|experiment| experiment == "surroundings") {
        build_faulty("ci")?;
    }
    run(command(built("ci", "passbook-proof")?).arg("torture").args(arguments).arg("--server").arg(server("ci")?))
}

/// Runs `passbook-proof bench` with everything built as it is released.
pub fn bench(arguments: &[String]) -> Result<()> {
    run(&mut cargo(&["build", "--package", "passbook", "--package", "passbook-proof", "--bins", "--profile", "dist"]))?;
    run(command(built("dist", "passbook-proof")?).arg("bench").args(arguments).arg("--server").arg(server("dist")?))
}

/// Builds the server with fault hooks, `passbook-faulty`, beside the one without.
pub fn build_faulty(profile: &str) -> Result<()> {
    let what = ["build", "--workspace", "--bin", "passbook-faulty", "--features", "passbook/fault-hooks"];
    run(&mut cargo(&[what.as_slice(), &["--profile", profile]].concat()))
}

/// The server binary of a profile.
pub fn server(profile: &str) -> Result<PathBuf> {
    built(profile, "passbook")
}

/// Where a built binary of a profile lies.
pub fn built(profile: &str, name: &str) -> Result<PathBuf> {
    Ok(target_directory()?.join(profile).join(name))
}

/// Cargo's target directory, wherever the environment or a configuration file puts it.
pub fn target_directory() -> Result<PathBuf> {
    let metadata = output(&mut cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).context("cargo metadata")?;
    let directory = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(directory))
}
