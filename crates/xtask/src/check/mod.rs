//! `cargo xtask check`: the rules of the repository that no compiler holds.

mod arrows;
mod quotes;
mod sources;

use anyhow::{Result, bail};

/// Runs every check and reports all findings at once.
pub fn run() -> Result<()> {
    let mut findings = arrows::findings()?;
    findings.extend(sources::findings()?);
    findings.extend(quotes::findings()?);
    if findings.is_empty() {
        println!("check: crate arrows, sources and quoted programs are in order");
        return Ok(());
    }
    for finding in &findings {
        eprintln!("check: {finding}");
    }
    bail!("{} finding(s)", findings.len())
}
