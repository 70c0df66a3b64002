//! The steps that run short forms of `cargo xtask torture`: enough to notice what is broken for good. The long forms
//! look for what is rare.

use anyhow::Result;

use super::Context;
use super::packages::{Package, provide};
use super::rust::has_postgres;
use crate::command::{answers, command, output, run};
use crate::pipeline::Outcome;
use crate::proof;

const STRACE: Package = Package { debian: &["strace"], answers: || answers(command("strace").arg("-V")) };
const FAKETIME: Package = Package { debian: &["faketime"], answers: || answers(command("faketime").arg("--version")) };
const TASKSET: Package = Package { debian: &["util-linux"], answers: || answers(command("taskset").arg("--version")) };
/// Both bars are wide here and meant in the long form: the machine is shared, and the server less optimised.
pub const NEIGHBOUR_WEBHOOKS: &[&str] = &[
    "neighbour-webhooks",
    "--secs",
    "8",
    "--rate",
    "25",
    "--backlog",
    "1000",
    "--healthy",
    "20",
    "--bystander-p99-ms-max",
    "500",
    "--others-p99-ms-max",
    "500",
];

pub fn kill(_: &Context) -> Result<Outcome> {
    short(&["kill", "--rounds", "10", "--secs-max", "2"])
}

pub fn full_disk(_: &Context) -> Result<Outcome> {
    // The experiment mounts its own small file system; containers often forbid the namespace that allows it.
    if !answers(command("unshare").args(["--user", "--map-root-user", "--mount", "true"])) {
        return Ok(Outcome::Skipped("`unshare --user --map-root-user --mount` is not permitted here".to_owned()));
    }
    short(&["full-disk", "--levels", "10"])
}

pub fn power_cut(context: &Context) -> Result<Outcome> {
    match traced(context)? {
        Some(skipped) => Ok(skipped),
        None => short(&["power-cut", "--images", "16", "--secs", "2"]),
    }
}

pub fn failing_disk(context: &Context) -> Result<Outcome> {
    match traced(context)? {
        Some(skipped) => Ok(skipped),
        None => short(&["failing-disk", "--rounds", "4"]),
    }
}

pub fn clock_jumps(context: &Context) -> Result<Outcome> {
    match provide(&[FAKETIME], context.ci)? {
        Some(skipped) => Ok(skipped),
        None => short(&["clock-jumps", "--work-ms", "300"]),
    }
}

pub fn overload(context: &Context) -> Result<Outcome> {
    if let Some(skipped) = provide(&[TASKSET], context.ci)? {
        return Ok(skipped);
    }
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
        return Ok(Outcome::Skipped("the server and the load need a core each".to_owned()));
    }
    // A short run on a shared machine: the bars are wide here and meant in the long form.
    let bars = ["--goodput-percent-min", "40", "--accepted-p99-ms-max", "1500", "--refused-p99-ms-max", "500"];
    short(&[&["overload", "--secs", "5", "--offered-factor-min", "1.5"], bars.as_slice()].concat())
}

/// The p99 of so few requests is the longest of them, on machines that are shared: this looks for refusals, and for a
/// bystander that waits for everybody.
pub fn neighbours(context: &Context) -> Result<Outcome> {
    neighbours_on(context, &["--store", "sqlite", "--limited-ratio-max", "15", "--unlimited-ratio-max", "40"])
}

/// The database has no core of its own here, so the times say little: this looks for refusals.
pub fn neighbours_postgres(context: &Context) -> Result<Outcome> {
    if !has_postgres() {
        return Ok(Outcome::Skipped("no PostgreSQL server binaries; see step `postgres`".to_owned()));
    }
    neighbours_on(context, &["--store", "postgres", "--limited-ratio-max", "60", "--unlimited-ratio-max", "150"])
}

fn neighbours_on(context: &Context, bars: &[&str]) -> Result<Outcome> {
    if let Some(skipped) = provide(&[TASKSET], context.ci)? {
        return Ok(skipped);
    }
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
        return Ok(Outcome::Skipped("the server and the load need a core each".to_owned()));
    }
    short(&[&["neighbours", "--secs", "6"], bars].concat())
}

pub fn slow_bodies(_: &Context) -> Result<Outcome> {
    let attack = ["--streams", "330", "--sockets", "100", "--uploads", "56"];
    short(&[&["slow-bodies", "--secs", "6", "--ratio-max", "6"], attack.as_slice()].concat())
}

pub fn drain(_: &Context) -> Result<Outcome> {
    if !has_postgres() {
        return Ok(Outcome::Skipped("no PostgreSQL server binaries; see step `postgres`".to_owned()));
    }
    short(&["drain", "--rounds", "4"])
}

pub fn backups(_: &Context) -> Result<Outcome> {
    short(&["backups", "--rounds", "4"])
}

pub fn damaged_directories(_: &Context) -> Result<Outcome> {
    short(&["damaged-directories", "--directories", "25"])
}

pub fn signing_keys(context: &Context) -> Result<Outcome> {
    match provide(&[FAKETIME], context.ci)? {
        Some(skipped) => Ok(skipped),
        None => short(&["signing-keys", "--life-ms", "200"]),
    }
}

pub fn webhooks(_: &Context) -> Result<Outcome> {
    short(&["webhooks", "--events", "600", "--receivers", "20", "--kills", "8"])
}

pub fn surroundings(_: &Context) -> Result<Outcome> {
    surroundings_on("sqlite")
}

pub fn surroundings_postgres(_: &Context) -> Result<Outcome> {
    if !has_postgres() {
        return Ok(Outcome::Skipped("no PostgreSQL server binaries; see step `postgres`".to_owned()));
    }
    surroundings_on("postgres")
}

fn surroundings_on(store: &str) -> Result<Outcome> {
    proof::build_faulty("ci")?;
    short(&["surroundings", "--store", store, "--work-ms", "300", "--workers", "2", "--memory-secs", "12"])
}

/// Withdrawals, shares and silence, without the two minutes of waiting.
pub fn streams(_: &Context) -> Result<Outcome> {
    short(&["streams", "--events", "6000", "--quiet-secs", "4", "--alive-secs", "0"])
}

pub fn neighbour_webhooks(_: &Context) -> Result<Outcome> {
    short(NEIGHBOUR_WEBHOOKS)
}

pub fn neighbour_imports(_: &Context) -> Result<Outcome> {
    // A short run on a shared machine: the bar is wide here and meant in the long form.
    short(&["neighbour-imports", "--imports", "1", "--longest-ms-max", "400", "--writes-min", "10"])
}

/// Whether a process may be traced here; containers often forbid it.
fn traced(context: &Context) -> Result<Option<Outcome>> {
    if let Some(skipped) = provide(&[STRACE], context.ci)? {
        return Ok(Some(skipped));
    }
    let is_permitted = output(command("strace").args(["-f", "-o", "/dev/null", "true"])).is_ok();
    Ok((!is_permitted).then(|| Outcome::Skipped("`strace` is not permitted here".to_owned())))
}

fn short(arguments: &[&str]) -> Result<Outcome> {
    let program = proof::built("ci", "passbook-proof")?;
    run(command(program).arg("torture").args(arguments).arg("--server").arg(proof::server("ci")?))?;
    Ok(Outcome::Passed)
}
