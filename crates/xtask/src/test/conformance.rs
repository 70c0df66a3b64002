//! The steps that run Python: the official SDK and independent number validators, in a virtual environment of our own.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::Context;
use super::packages::{Package, provide};
use crate::command::{answers, command, root, run};
use crate::pipeline::Outcome;
use crate::proof::{built, server, target_directory};

/// Exact versions; the environment is made again when one of these files changes.
const REQUIREMENTS: &[&str] = &["tests/conformance/requirements.txt", "tests/oracles/requirements.txt"];

/// How many account numbers each validator judges, and from which seed they are drawn.
const NUMBER_COUNT: &str = "100000";
const NUMBER_SEED: &str = "1";

pub fn python(context: &Context) -> Result<Outcome> {
    let python = Package {
        debian: &["python3", "python3-venv"],
        // Debian splits ensurepip off; without it a virtual environment has no pip.
        answers: || answers(command("python3").args(["-c", "import venv, ensurepip"])),
    };
    if let Some(skipped) = provide(&[python], context.ci)? {
        return Ok(skipped);
    }
    let venv = venv()?;
    let wanted = requirements()?;
    let stamp = venv.join("requirements.stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        println!("up to date: {}", venv.display());
        return Ok(Outcome::Passed);
    }
    run(command("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let mut install = command(interpreter()?);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    for file in REQUIREMENTS {
        install.args(["--requirement", file]);
    }
    run(&mut install)?;
    std::fs::write(&stamp, wanted).with_context(|| format!("{}", stamp.display()))?;
    Ok(Outcome::Passed)
}

pub fn numbers(_: &Context) -> Result<Outcome> {
    let Some(mut python) = python_command()? else {
        return Ok(no_python());
    };
    python.arg("tests/oracles/check_numbers.py");
    python.arg("--program").arg(built("ci", "examples")?.join("number_verdicts"));
    run(python.args(["--seed", NUMBER_SEED, "--count", NUMBER_COUNT]))?;
    Ok(Outcome::Passed)
}

pub fn sdk(_: &Context) -> Result<Outcome> {
    let Some(mut python) = python_command()? else {
        return Ok(no_python());
    };
    run(python
        .args(["-m", "unittest", "discover", "--start-directory", "tests/conformance", "--verbose"])
        .env("PASSBOOK_BINARY", server("ci")?))?;
    Ok(Outcome::Passed)
}

fn python_command() -> Result<Option<std::process::Command>> {
    let interpreter = interpreter()?;
    if !interpreter.exists() {
        return Ok(None);
    }
    let mut python = command(interpreter);
    // A failing run must not leave compiled files in the checkout.
    python.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    Ok(Some(python))
}

pub fn no_python() -> Outcome {
    Outcome::Skipped("no Python environment; see step `python`".to_owned())
}

fn venv() -> Result<PathBuf> {
    Ok(target_directory()?.join("venv"))
}

pub fn interpreter() -> Result<PathBuf> {
    Ok(venv()?.join("bin/python"))
}

fn requirements() -> Result<String> {
    let mut text = String::new();
    for file in REQUIREMENTS {
        text.push_str(&std::fs::read_to_string(root().join(file)).with_context(|| (*file).to_owned())?);
    }
    Ok(text)
}
