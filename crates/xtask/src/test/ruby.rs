//! The steps that run Ruby against `passbook dev --tls`: with Ruby's own HTTP library, and with the official gem.
//!
//! Ruby trusts the server as a person's shell would: by `SSL_CERT_FILE` alone. Each version of the gem is installed into
//! a directory of its own below the target directory.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::Context;
use super::packages::{Package, provide};
use crate::command::{answers, command, output, root, run};
use crate::pipeline::Outcome;
use crate::proof::{server, target_directory};

/// The oldest version of the gem that has to work, and the newest.
const VERSIONS: [&str; 2] = ["0.1.6", "0.2.3"];
/// How long the server may take to start.
const START_MAX: Duration = Duration::from_secs(30);

pub fn tls(context: &Context) -> Result<Outcome> {
    if let Some(skipped) = provide_ruby(context)? {
        return Ok(skipped);
    }
    let server = Server::start()?;
    let script = root().join("tests/conformance/ruby/without_the_gem.rb");
    server.expect_routing_numbers(&script, None)?;
    // Without the variable the same program must not get through, or the run above proves nothing.
    let mut stranger = command("ruby");
    stranger.arg(&script).current_dir(&server.directory).env_remove("SSL_CERT_FILE");
    ensure!(!answers(stranger.stderr(std::process::Stdio::null())), "Ruby trusts the server without SSL_CERT_FILE");
    Ok(Outcome::Passed)
}

pub fn sdk(context: &Context) -> Result<Outcome> {
    if let Some(skipped) = provide_ruby(context)? {
        return Ok(skipped);
    }
    for version in VERSIONS {
        if let Err(error) = install(version) {
            return Ok(Outcome::Skipped(format!("the gem moneykit {version} cannot be installed: {error:#}")));
        }
    }
    let server = Server::start()?;
    let script = root().join("tests/conformance/ruby/account_numbers.rb");
    for version in VERSIONS {
        println!("gem moneykit {version}");
        server.expect_routing_numbers(&script, Some(&gems(version)?)).with_context(|| format!("moneykit {version}"))?;
    }
    Ok(Outcome::Passed)
}

fn provide_ruby(context: &Context) -> Result<Option<Outcome>> {
    let ruby = Package { debian: &["ruby"], answers: || answers(command("ruby").args(["-e", "require 'openssl'"])) };
    provide(&[ruby], context.ci)
}

/// Where a version of the gem and what it needs are installed.
fn gems(version: &str) -> Result<PathBuf> {
    Ok(target_directory()?.join("ruby").join(version))
}

fn install(version: &str) -> Result<()> {
    let directory = gems(version)?;
    if directory.join(format!("specifications/moneykit-{version}.gemspec")).exists() {
        return Ok(());
    }
    let mut install = command("gem");
    install.args(["install", "--no-document", "--install-dir"]).arg(directory);
    run(install.args(["moneykit", "--version", version]))
}

/// `passbook dev --tls`; stopped with the value.
struct Server {
    process: Child,
    /// Holds `passbook-data`, as a person's directory would.
    directory: PathBuf,
    ca_file: String,
}

impl Server {
    fn start() -> Result<Self> {
        let directory = target_directory()?.join("ruby/run");
        let data = directory.join("passbook-data");
        std::fs::create_dir_all(&data)?;
        let announcement = data.join("dev.json");
        // One of an earlier run would tell where that server listened.
        if announcement.exists() {
            std::fs::remove_file(&announcement)?;
        }
        let mut dev = command(server("ci")?);
        dev.args(["dev", "--ephemeral", "--port", "0", "--tls", "--tls-port", "0", "--data"]).arg(&data);
        let process = dev.stdout(std::process::Stdio::null()).spawn().context("the built server")?;
        let mut server = Self { process, directory, ca_file: String::new() };
        let deadline = Instant::now() + START_MAX;
        while !announcement.exists() {
            if let Some(status) = server.process.try_wait()? {
                bail!("the server ended with {status}");
            }
            ensure!(Instant::now() < deadline, "the server did not start in {START_MAX:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let announced: serde_json::Value = serde_json::from_slice(&std::fs::read(&announcement)?)?;
        announced["tls_ca_file"].as_str().context("dev.json names no tls_ca_file")?.clone_into(&mut server.ca_file);
        Ok(server)
    }

    /// Runs a script as a person would, with the gems of this directory; it must print accounts with routing numbers.
    fn expect_routing_numbers(&self, script: &Path, gems: Option<&Path>) -> Result<()> {
        let mut ruby = command("ruby");
        ruby.arg(script).current_dir(&self.directory).env("SSL_CERT_FILE", &self.ca_file);
        if let Some(gems) = gems {
            ruby.env("GEM_HOME", gems).env("GEM_PATH", gems);
        }
        let printed = String::from_utf8(output(&mut ruby)?)?;
        print!("{printed}");
        let routing_number = |line: &str| line.rsplit(' ').next().map(str::to_owned).unwrap_or_default();
        let is_routing_number = |text: &str| text.len() == 9 && text.bytes().all(|byte| byte.is_ascii_digit());
        ensure!(
            printed.lines().count() == 2 && printed.lines().all(|line| is_routing_number(&routing_number(line))),
            "two accounts with a routing number each were expected"
        );
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
