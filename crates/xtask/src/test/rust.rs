//! The steps that Cargo runs.

use anyhow::Result;

use super::Context;
use super::packages::{Package, provide};
use crate::command::{answers, cargo, command, root, run};
use crate::pipeline::Outcome;
use crate::proof::target_directory;

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

pub fn tests(_: &Context) -> Result<Outcome> {
    // Both runners run the same tests; nextest reports better. It is never installed on the way: building it takes
    // longer than building everything here.
    if answers(&mut cargo(&["nextest", "--version"])) {
        println!("runner: cargo nextest");
        let selection =
            ["nextest", "run", "--workspace", "--all-targets", "--cargo-profile", "ci", "--locked", "--no-fail-fast"];
        run(&mut cargo(&selection))?;
    } else {
        println!("runner: cargo test (cargo nextest does not answer)");
        run(&mut cargo(&["test", "--workspace", "--all-targets", "--profile", "ci", "--locked", "--no-fail-fast"]))?;
    }
    Ok(Outcome::Passed)
}

pub fn doctests(_: &Context) -> Result<Outcome> {
    run(&mut cargo(&["test", "--doc", "--workspace", "--profile", "ci", "--locked"]))?;
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
