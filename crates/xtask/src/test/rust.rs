//! The steps that Cargo runs.

use anyhow::{Result, bail};

use super::Context;
use super::packages::{Package, provide};
use crate::command::{answers, cargo, command, output, root, run};
use crate::pipeline::Outcome;
use crate::proof::{built, target_directory};

pub fn format(_: &Context) -> Result<Outcome> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    Ok(Outcome::Passed)
}

pub fn clippy(_: &Context) -> Result<Outcome> {
    let selection = ["clippy", "--workspace", "--all-targets", "--profile", "ci", "--locked"];
    run(cargo(&selection).args(["--", "-D", "warnings"]))?;
    Ok(Outcome::Passed)
}

pub fn build(_: &Context) -> Result<Outcome> {
    run(&mut cargo(&["build", "--workspace", "--all-targets", "--profile", "ci", "--locked"]))?;
    Ok(Outcome::Passed)
}

pub fn documentation(_: &Context) -> Result<Outcome> {
    let selection = ["doc", "--workspace", "--no-deps", "--document-private-items", "--profile", "ci", "--locked"];
    // These pages show private items, so a link to one is not broken.
    run(cargo(&selection).env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"))?;
    Ok(Outcome::Passed)
}

/// The tests start clusters of their own; without the server's programs they pass by saying so and doing nothing.
pub fn postgres(context: &Context) -> Result<Outcome> {
    let server = Package { debian: &["postgresql"], answers: has_postgres };
    Ok(provide(&[server], context.ci)?.unwrap_or(Outcome::Passed))
}

/// Where distributions put the server's programs, or the search path. `postgres-cluster` looks in the same places.
pub fn has_postgres() -> bool {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    installed.map(|version| version.path().join("bin/postgres")).any(|program| program.is_file())
        || answers(command("postgres").arg("--version"))
}

pub fn tests(_: &Context) -> Result<Outcome> {
    // Both runners run the same tests; nextest reports better. It is never installed on the way: building it takes
    // longer than building everything here.
    let selection: &[&str] = if answers(&mut cargo(&["nextest", "--version"])) {
        println!("runner: cargo nextest");
        &["nextest", "run", "--workspace", "--all-targets", "--cargo-profile", "ci", "--locked", "--no-fail-fast"]
    } else {
        println!("runner: cargo test (cargo nextest does not answer)");
        &["test", "--workspace", "--all-targets", "--profile", "ci", "--locked", "--no-fail-fast"]
    };
    if !has_postgres() {
        run(&mut cargo(selection))?;
        return Ok(Outcome::Passed);
    }
    // One cluster for all test processes; with it, a test that cannot use it fails instead of saying that it skips.
    let mut beside_a_cluster = command(built("ci", "postgres-cluster")?);
    beside_a_cluster.args(["run", "--", "cargo"]).args(selection);
    run(beside_a_cluster.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_PKG_NAME"))?;
    Ok(Outcome::Passed)
}

/// What of the API suite needs the embedded store: reservations that end at a restart are its promise (`torture kill` cuts
/// calls off on PostgreSQL).
const API_TESTS_OF_FILES: &[&str] = &["idempotency_cut_off::"];

/// Fewer tests than this mean that the suite was not found.
const API_TESTS_MIN: usize = 300;

/// The API suite once more, on PostgreSQL; and how many tests that are.
pub fn api_on_postgres(_: &Context) -> Result<Outcome> {
    if !has_postgres() {
        return Ok(Outcome::Skipped("no PostgreSQL server binaries; see step `postgres`".to_owned()));
    }
    let selection = ["test", "--workspace", "--test", "api", "--profile", "ci", "--locked", "--"];
    let left_out = API_TESTS_OF_FILES.iter().flat_map(|name| ["--skip", name]);
    let listed = output(cargo(&selection).args(left_out.clone()).args(["--list", "--format", "terse"]))?;
    let count = String::from_utf8_lossy(&listed).lines().filter(|line| line.ends_with(": test")).count();
    if count < API_TESTS_MIN {
        bail!("{count} tests of the API suite run on PostgreSQL; at least {API_TESTS_MIN} are expected");
    }
    let mut beside_a_cluster = command(built("ci", "postgres-cluster")?);
    beside_a_cluster.args(["run", "--", "cargo"]).args(selection).args(left_out);
    beside_a_cluster.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_PKG_NAME");
    run(beside_a_cluster.env("PASSBOOK_TEST_STORE", "postgres"))?;
    println!("API suite on PostgreSQL: {count} tests");
    Ok(Outcome::Passed)
}

pub fn doctests(_: &Context) -> Result<Outcome> {
    run(&mut cargo(&["test", "--doc", "--workspace", "--profile", "ci", "--locked"]))?;
    Ok(Outcome::Passed)
}

/// The workspace builds the SDK with every feature that anybody in it asks for; here each stands alone.
pub fn sdk_features(_: &Context) -> Result<Outcome> {
    for feature in ["", "client", "blocking", "tracing", "webhooks", "axum"] {
        let lint = ["clippy", "--package", "moneykit", "--lib", "--profile", "ci", "--locked", "--no-default-features"];
        run(cargo(&lint).args(["--features", feature, "--", "-D", "warnings"]))?;
    }
    Ok(Outcome::Passed)
}

pub fn fuzz(context: &Context) -> Result<Outcome> {
    if !root().join("fuzz/Cargo.toml").exists() {
        return Ok(Outcome::Skipped("fuzz/Cargo.toml does not exist".to_owned()));
    }
    // libFuzzer's run-time is C++.
    let compiler = Package { debian: &["g++"], answers: || answers(command("c++").arg("--version")) };
    if let Some(skipped) = provide(&[compiler], context.ci)? {
        return Ok(skipped);
    }
    // The fuzz crate is a workspace of its own. Given our profile and our target directory it shares the dependencies
    // that are checked already, above all the C code of the cryptography; should the profiles drift, it is only slower.
    let profile = [
        "profile.ci.inherits='dev'",
        "profile.ci.opt-level=1",
        "profile.ci.debug='line-tables-only'",
        "profile.ci.incremental=false",
    ];
    let mut check = cargo(&["check", "--manifest-path", "fuzz/Cargo.toml", "--profile", "ci"]);
    for setting in profile {
        check.args(["--config", setting]);
    }
    run(check.arg("--target-dir").arg(target_directory()?))?;
    Ok(Outcome::Passed)
}
