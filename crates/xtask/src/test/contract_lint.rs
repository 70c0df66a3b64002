//! The step that lints the served documents with two independent linters, in an installation of our own.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::Context;
use super::packages::{Package, provide};
use crate::command::{answers, command, root, run};
use crate::pipeline::Outcome;
use crate::proof::target_directory;

/// The documents.
const DOCUMENTS: &[&str] = &["contract/openapi.yaml", "contract/passbook.yaml"];
/// Exact versions, and the rules. The linters are installed again when one of the first two changes.
const PINS: &[&str] = &["contract/lint/package.json", "contract/lint/package-lock.json"];
const REDOCLY_RULES: &str = "contract/lint/redocly.yaml";
const SPECTRAL_RULES: &str = "contract/lint/spectral.yaml";

/// Fails on any finding of either linter, warnings included.
pub fn lint(context: &Context) -> Result<Outcome> {
    let node = Package {
        debian: &["nodejs", "npm"],
        answers: || answers(command("node").arg("--version")) && answers(command("npm").arg("--version")),
    };
    if let Some(skipped) = provide(&[node], context.ci)? {
        return Ok(skipped);
    }
    if !is_new_enough() {
        return Ok(Outcome::Skipped("the linters need Node.js 20.19, or 22.12 and newer".to_owned()));
    }
    let tools = install()?;
    for document in DOCUMENTS {
        let mut redocly = command(tools.join("redocly"));
        redocly.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
        run(redocly.args(["lint", "--config", REDOCLY_RULES, document]))?;
        let mut spectral = command(tools.join("spectral"));
        run(spectral.args(["lint", "--fail-severity", "hint", "--ruleset", SPECTRAL_RULES, document]))?;
    }
    Ok(Outcome::Passed)
}

fn is_new_enough() -> bool {
    let check = "const [major, minor] = process.versions.node.split('.').map(Number); \
                 process.exit(major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19) ? 0 : 1)";
    answers(command("node").args(["-e", check]))
}

/// The directory of the linters' programs.
fn install() -> Result<PathBuf> {
    let directory = target_directory()?.join("contract-lint");
    let (stamp, wanted) = (directory.join("pins.stamp"), pins()?);
    let programs = directory.join("node_modules/.bin");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        println!("up to date: {}", directory.display());
        return Ok(programs);
    }
    std::fs::create_dir_all(&directory).with_context(|| format!("{}", directory.display()))?;
    for pin in PINS {
        let name = pin.rsplit('/').next().unwrap_or(pin);
        std::fs::copy(root().join(pin), directory.join(name)).with_context(|| (*pin).to_owned())?;
    }
    // Scripts of packages are not run: the linters need none.
    run(command("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&directory))?;
    std::fs::write(&stamp, wanted).with_context(|| format!("{}", stamp.display()))?;
    Ok(programs)
}

fn pins() -> Result<String> {
    let mut text = String::new();
    for pin in PINS {
        text.push_str(&std::fs::read_to_string(root().join(pin)).with_context(|| (*pin).to_owned())?);
    }
    Ok(text)
}
