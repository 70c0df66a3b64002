//! The steps that run short forms of experiments on hosted servers, over a PostgreSQL cluster of their own.

use anyhow::{Context as _, Result};

use super::rust::has_postgres;
use super::{Context, conformance, torture::NEIGHBOUR_WEBHOOKS};
use crate::command::{command, run};
use crate::pipeline::Outcome;
use crate::proof::{built, server};

/// 30 tokens raced for over three replicas, and 100 on the embedded store.
pub fn exchange(_: &Context) -> Result<Outcome> {
    short(&["exchange", "--tokens", "100"])?;
    on_postgres(&["exchange", "--store", "postgres", "--tokens", "30"])
}

pub fn refresh_limits(_: &Context) -> Result<Outcome> {
    short(&["refresh-limits", "--links", "5", "--calls", "20"])?;
    on_postgres(&["refresh-limits", "--store", "postgres", "--links", "5", "--calls", "20"])
}

/// Ten seconds of following on each store.
pub fn sync(_: &Context) -> Result<Outcome> {
    short(&["sync", "--secs", "10", "--links", "1"])?;
    on_postgres(&["sync", "--store", "postgres", "--secs", "10", "--links", "1"])
}

/// Generated requests, a few for each operation, on each store.
pub fn contract(_: &Context) -> Result<Outcome> {
    let python = conformance::interpreter()?;
    if !python.exists() {
        return Ok(conformance::no_python());
    }
    let python = python.to_str().context("the path of the Python environment")?;
    let options = ["contract", "--examples", "10", "--requests-min", "2000", "--python", python];
    short(&options)?;
    on_postgres(&[&options[..], &["--store", "postgres"]].concat())
}

pub fn kill(_: &Context) -> Result<Outcome> {
    on_postgres(&["kill", "--store", "postgres", "--rounds", "5", "--secs-max", "1"])
}

pub fn webhooks(_: &Context) -> Result<Outcome> {
    on_postgres(&["webhooks", "--store", "postgres", "--events", "300", "--receivers", "10", "--kills", "3"])
}

pub fn streams(_: &Context) -> Result<Outcome> {
    let options = ["--events", "4000", "--quiet-secs", "4", "--alive-secs", "0"];
    on_postgres(&[&["streams", "--store", "postgres"], &options[..]].concat())
}

pub fn neighbour_webhooks(_: &Context) -> Result<Outcome> {
    on_postgres(&[NEIGHBOUR_WEBHOOKS, &["--store", "postgres"]].concat())
}

pub fn replicas(_: &Context) -> Result<Outcome> {
    on_postgres(&["replicas", "--jobs", "300", "--zombies", "3"])
}

pub fn store_restarts(_: &Context) -> Result<Outcome> {
    on_postgres(&["store-restarts", "--rounds", "3", "--writers", "20"])
}

fn on_postgres(experiment: &[&str]) -> Result<Outcome> {
    if !has_postgres() {
        return Ok(Outcome::Skipped("no PostgreSQL server binaries; see step `postgres`".to_owned()));
    }
    short(experiment)?;
    Ok(Outcome::Passed)
}

fn short(experiment: &[&str]) -> Result<()> {
    let program = built("ci", "passbook-proof")?;
    run(command(program).arg("torture").args(experiment).arg("--server").arg(server("ci")?))
}
