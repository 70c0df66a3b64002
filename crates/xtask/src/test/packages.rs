//! System packages: installed where nobody is surprised by it, asked for elsewhere.

use anyhow::Result;

use crate::command::{answers, command, output, run};
use crate::pipeline::Outcome;

/// Something the tests need from the system.
pub struct Package {
    /// The Debian packages that bring it.
    pub debian: &'static [&'static str],
    /// Whether it is there.
    pub answers: fn() -> bool,
}

/// Makes sure the packages are there. `Some` is the skip to report when they are not and may not be installed.
///
/// Installs as root or in CI only: a person's machine is theirs.
pub fn provide(packages: &[Package], ci: bool) -> Result<Option<Outcome>> {
    let missing: Vec<_> = packages.iter().filter(|package| !(package.answers)()).flat_map(|p| p.debian).collect();
    if missing.is_empty() {
        return Ok(None);
    }
    let names = missing.iter().map(|name| (**name).to_owned()).collect::<Vec<_>>();
    let is_root = output(command("id").arg("-u"))?.trim_ascii() == b"0";
    if !(is_root || ci) || !answers(command("apt-get").arg("--version")) {
        let wanted = format!("sudo apt-get install --yes --no-install-recommends {}", names.join(" "));
        return Ok(Some(Outcome::Skipped(format!("missing system packages; run `{wanted}`"))));
    }
    let apt_get = || if is_root { command("apt-get") } else { sudo_apt_get() };
    run(apt_get().args(["update", "--quiet"]))?;
    run(apt_get().args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(&names))?;
    Ok(None)
}

fn sudo_apt_get() -> std::process::Command {
    let mut sudo = command("sudo");
    sudo.args(["--non-interactive", "apt-get"]);
    sudo
}
