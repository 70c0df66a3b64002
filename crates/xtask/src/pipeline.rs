//! Named, timed steps that stop at the first failure and end in a summary.
//!
//! A step may skip itself by name when this machine cannot run it. In CI a skip is a failure unless `ci/allowed-skips`
//! lists the step, so that a proof cannot fall silent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::root;

/// How a step ended when it did not fail.
pub enum Outcome {
    Passed,
    /// Could not run here; the text says what is missing and how to get it.
    Skipped(String),
}

/// One named step.
pub struct Step<C> {
    pub name: &'static str,
    pub about: &'static str,
    pub run: fn(&C) -> Result<Outcome>,
}

struct Record {
    name: &'static str,
    took: Duration,
    verdict: String,
}

/// Runs the steps in order, prints the summary, and fails with the first failure.
pub fn run_steps<C>(steps: &[&Step<C>], context: &C, ci: bool) -> Result<()> {
    let allowed = allowed_skips()?;
    let started = Instant::now();
    let mut records = Vec::new();
    let mut failure = None;
    for (position, step) in steps.iter().enumerate() {
        println!("\n== {}/{} {}: {}", position + 1, steps.len(), step.name, step.about);
        let begun = Instant::now();
        let result = (step.run)(context).and_then(|outcome| judge(step.name, outcome, ci, &allowed));
        let verdict = match &result {
            Ok(verdict) => verdict.clone(),
            Err(error) => format!("FAILED: {error:#}"),
        };
        records.push(Record { name: step.name, took: begun.elapsed(), verdict });
        if let Err(error) = result {
            failure = Some(error.context(format!("step `{}` failed", step.name)));
            break;
        }
    }
    summarise(&records, steps.len(), started.elapsed());
    failure.map_or(Ok(()), Err)
}

fn judge(name: &str, outcome: Outcome, ci: bool, allowed: &[String]) -> Result<String> {
    match outcome {
        Outcome::Passed => Ok("passed".to_owned()),
        Outcome::Skipped(reason) if ci && !allowed.iter().any(|entry| entry == name) => {
            bail!("skipped in CI without an entry in ci/allowed-skips: {reason}")
        }
        Outcome::Skipped(reason) => Ok(format!("SKIPPED: {reason}")),
    }
}

fn allowed_skips() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root().join("ci/allowed-skips")).context("ci/allowed-skips")?;
    Ok(text.lines().map(|line| line.split('#').next().unwrap_or_default().trim().to_owned()).collect())
}

fn summarise(records: &[Record], planned: usize, took: Duration) {
    println!("\n== summary");
    for record in records {
        println!("{:>8.1} s  {:<20} {}", record.took.as_secs_f64(), record.name, record.verdict);
    }
    let failed = records.iter().filter(|record| record.verdict.starts_with("FAILED")).count();
    let skipped = records.iter().filter(|record| record.verdict.starts_with("SKIPPED")).count();
    let passed = records.len() - failed - skipped;
    let not_run = planned - records.len();
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\nxtask: {verdict}. {passed} passed, {failed} failed, {skipped} skipped, {not_run} not run, {:.0} s",
        took.as_secs_f64()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_ci_only_a_listed_step_may_skip_itself() {
        let allowed = vec!["listed".to_owned()];
        let skip = || Outcome::Skipped("no python".to_owned());
        assert!(judge("unlisted", skip(), true, &allowed).is_err());
        assert_eq!(judge("listed", skip(), true, &allowed).expect("listed"), "SKIPPED: no python");
        assert_eq!(judge("unlisted", skip(), false, &allowed).expect("a laptop"), "SKIPPED: no python");
    }

    #[test]
    fn nothing_runs_after_a_failure() {
        fn fail(_: &()) -> Result<Outcome> {
            bail!("expected")
        }
        fn unreachable_step(_: &()) -> Result<Outcome> {
            panic!("ran after a failure")
        }
        let first = Step { name: "first", about: "", run: fail };
        let second = Step { name: "second", about: "", run: unreachable_step };
        let error = run_steps(&[&first, &second], &(), false).expect_err("the first step fails");
        assert!(format!("{error:#}").contains("step `first` failed: expected"));
    }
}
