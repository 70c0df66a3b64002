//! `cargo xtask test`: everything that must hold before a change is good, on a laptop and in CI alike.
//!
//! One selection (`--workspace --all-targets`) in one profile (`ci`) is built once; the lints, the tests, the
//! conformance run and the torture runs all use it. What cannot run on this machine is skipped by name.

mod conformance;
mod contract_lint;
mod hosted;
mod packages;
mod ruby;
mod rust;
mod torture;

use anyhow::{Result, bail};
use clap::Args;

use crate::check;
use crate::pipeline::{Outcome, Step, run_steps};

/// What `cargo xtask test` accepts.
#[derive(Args)]
pub struct Options {
    /// Run only these steps (comma separated); the build they need must exist.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// List the steps and stop.
    #[arg(long)]
    list: bool,
    /// Behave as in CI: install system packages, fail on a skip that ci/allowed-skips does not list.
    #[arg(long, env = "CI", value_parser = clap::builder::FalseyValueParser::new())]
    ci: bool,
}

/// What the steps know.
pub struct Context {
    ci: bool,
}

const STEPS: &[Step<Context>] = &[
    Step { name: "format", about: "rustfmt leaves every file as it is", run: rust::format },
    Step { name: "check", about: "crate arrows and forbidden text", run: check_repository },
    Step { name: "clippy", about: "no lint in any target", run: rust::clippy },
    Step { name: "build", about: "the server, the tests and the tools, once", run: rust::build },
    Step { name: "postgres", about: "server binaries for throw-away clusters are there", run: rust::postgres },
    Step { name: "rustdoc", about: "documentation builds without a warning", run: rust::documentation },
    Step { name: "tests", about: "unit, behaviour and end-to-end tests", run: rust::tests },
    Step { name: "api-postgres", about: "the API suite on PostgreSQL, counted", run: rust::api_on_postgres },
    Step { name: "sdk-features", about: "no lint in any feature of the SDK alone", run: rust::sdk_features },
    Step { name: "doctests", about: "examples in the documentation run", run: rust::doctests },
    Step { name: "python", about: "official SDK and oracles in target/venv", run: conformance::python },
    Step { name: "number-oracles", about: "account numbers against independent validators", run: conformance::numbers },
    Step { name: "conformance", about: "the official Python SDK drives the server", run: conformance::sdk },
    Step { name: "ruby-tls", about: "Ruby reaches `passbook dev --tls` by SSL_CERT_FILE", run: ruby::tls },
    Step { name: "ruby-sdk", about: "the official Ruby SDK, oldest and newest version", run: ruby::sdk },
    Step { name: "contract-lint", about: "redocly and spectral find nothing in contract/", run: contract_lint::lint },
    Step { name: "contract", about: "short form of `cargo xtask torture contract`", run: hosted::contract },
    Step { name: "fuzz-build", about: "fuzz targets still compile", run: rust::fuzz },
    Step { name: "torture-kill", about: "short form of `cargo xtask torture kill`", run: torture::kill },
    Step { name: "torture-full-disk", about: "short form of `cargo xtask torture full-disk`", run: torture::full_disk },
    Step { name: "torture-power-cut", about: "short form of `cargo xtask torture power-cut`", run: torture::power_cut },
    Step {
        name: "torture-failing-disk",
        about: "short form of `cargo xtask torture failing-disk`",
        run: torture::failing_disk,
    },
    Step {
        name: "torture-clock-jumps",
        about: "short form of `cargo xtask torture clock-jumps`",
        run: torture::clock_jumps,
    },
    Step { name: "torture-overload", about: "short form of `cargo xtask torture overload`", run: torture::overload },
    Step {
        name: "torture-neighbours",
        about: "short form of `cargo xtask torture neighbours`",
        run: torture::neighbours,
    },
    Step {
        name: "torture-neighbours-postgres",
        about: "short form of `torture neighbours --store postgres`",
        run: torture::neighbours_postgres,
    },
    Step {
        name: "torture-slow-bodies",
        about: "short form of `cargo xtask torture slow-bodies`",
        run: torture::slow_bodies,
    },
    Step { name: "torture-drain", about: "short form of `cargo xtask torture drain`", run: torture::drain },
    Step {
        name: "torture-damaged-directories",
        about: "short form of `cargo xtask torture damaged-directories`",
        run: torture::damaged_directories,
    },
    Step { name: "torture-backups", about: "short form of `cargo xtask torture backups`", run: torture::backups },
    Step {
        name: "torture-signing-keys",
        about: "short form of `cargo xtask torture signing-keys`",
        run: torture::signing_keys,
    },
    Step { name: "torture-webhooks", about: "short form of `cargo xtask torture webhooks`", run: torture::webhooks },
    Step {
        name: "torture-surroundings",
        about: "short form of `cargo xtask torture surroundings`",
        run: torture::surroundings,
    },
    Step {
        name: "torture-surroundings-postgres",
        about: "short form of `torture surroundings --store postgres`",
        run: torture::surroundings_postgres,
    },
    Step { name: "torture-streams", about: "short form of `cargo xtask torture streams`", run: torture::streams },
    Step {
        name: "torture-neighbour-webhooks",
        about: "short form of `cargo xtask torture neighbour-webhooks`",
        run: torture::neighbour_webhooks,
    },
    Step {
        name: "torture-neighbour-imports",
        about: "short form of `cargo xtask torture neighbour-imports`",
        run: torture::neighbour_imports,
    },
    Step { name: "torture-exchange", about: "short form of `cargo xtask torture exchange`", run: hosted::exchange },
    Step {
        name: "torture-refresh-limits",
        about: "short form of `torture refresh-limits`",
        run: hosted::refresh_limits,
    },
    Step { name: "torture-sync", about: "short form of `cargo xtask torture sync`", run: hosted::sync },
    Step { name: "torture-kill-postgres", about: "short form of `torture kill --store postgres`", run: hosted::kill },
    Step { name: "torture-webhooks-postgres", about: "`torture webhooks --store postgres`", run: hosted::webhooks },
    Step { name: "torture-streams-postgres", about: "`torture streams --store postgres`", run: hosted::streams },
    Step {
        name: "torture-neighbour-webhooks-postgres",
        about: "`torture neighbour-webhooks --store postgres`",
        run: hosted::neighbour_webhooks,
    },
    Step { name: "torture-replicas", about: "short form of `cargo xtask torture replicas`", run: hosted::replicas },
    Step {
        name: "torture-store-restarts",
        about: "short form of `torture store-restarts`",
        run: hosted::store_restarts,
    },
];

/// Runs the chosen steps.
pub fn run(options: &Options) -> Result<()> {
    if options.list {
        for step in STEPS {
            println!("{:<20} {}", step.name, step.about);
        }
        return Ok(());
    }
    if let Some(unknown) = options.only.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        bail!("no step is called `{unknown}`; `cargo xtask test --list` shows them");
    }
    let wanted = |step: &&Step<Context>| options.only.is_empty() || options.only.iter().any(|name| name == step.name);
    let steps: Vec<_> = STEPS.iter().filter(wanted).collect();
    run_steps(&steps, &Context { ci: options.ci }, options.ci)
}

fn check_repository(_: &Context) -> Result<Outcome> {
    check::run()?;
    Ok(Outcome::Passed)
}
