//! The server under test: a real process on a data directory of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::http::{Connection, request};
use crate::process::signal;

/// How long a start may take before the experiment gives up (what is *promised* is checked by the experiment).
const START_MAX: Duration = Duration::from_secs(60);
/// How long an orderly stop may take.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How to start the server.
#[derive(Clone)]
pub struct Plan {
    /// The binary.
    pub binary: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    /// Where its output goes; never in the data directory, which an experiment may fill or copy.
    pub log: PathBuf,
    /// More arguments for `passbook dev`.
    pub arguments: Vec<String>,
    /// A program with its arguments that runs the server and becomes it, or nothing.
    pub under: Vec<String>,
    /// More environment.
    pub environment: Vec<(String, String)>,
    /// Set for `passbook serve`; without it the server is `passbook dev`.
    pub hosted: Option<Hosted>,
}

/// How to reach a server that a configuration describes.
#[derive(Clone)]
pub struct Hosted {
    /// The configuration.
    pub config: PathBuf,
    /// Where it listens; the same at every start.
    pub address: SocketAddr,
    /// A client made beforehand.
    pub access: Access,
}

impl Plan {
    /// The server on `data` below `directory`, which is made, with its log beside it.
    pub fn new(binary: PathBuf, directory: &Path, arguments: Vec<String>) -> Result<Self> {
        let data = directory.join("data");
        std::fs::create_dir_all(&data).with_context(|| format!("{}", data.display()))?;
        let log = directory.join("server.log");
        Ok(Self { binary, data, log, arguments, under: Vec::new(), environment: Vec::new(), hosted: None })
    }

    fn command(&self) -> Command {
        let mut words = self.under.iter().map(OsStr::new).chain([self.binary.as_os_str()]);
        let mut command = Command::new(words.next().expect("the chain ends with the binary"));
        command.args(words).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    /// What `dev.json` says, or the client made beforehand.
    pub access: Access,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of the process to the first green `/readyz`.
    pub ready_in: Duration,
}

/// The part of `dev.json` an experiment uses.
#[derive(Deserialize, Clone)]
pub struct Access {
    /// Base URL without a trailing slash.
    pub api_url: String,
    /// Id of the sandbox client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The link made at the first start.
    pub link_id: String,
}

impl Server {
    /// Starts the server and waits until it is ready.
    pub async fn start(plan: &Plan) -> Result<Self> {
        Self::start_asking(plan, "/readyz").await
    }

    /// Starts the server and waits until it is well: `/readyz` may be on a listener for operators.
    pub async fn start_when_healthy(plan: &Plan) -> Result<Self> {
        Self::start_asking(plan, "/healthz").await
    }

    async fn start_asking(plan: &Plan, path: &str) -> Result<Self> {
        let dev_json = plan.data.join("dev.json");
        let before = identity(&dev_json);
        let log = File::options().create(true).append(true).open(&plan.log).context("the server's log")?;
        let mut command = plan.command();
        match &plan.hosted {
            None => command.arg("dev").args(["--port", "0", "--local-webhooks", "--data"]).arg(&plan.data),
            Some(hosted) => command.args(["serve", "--config"]).arg(&hosted.config),
        };
        command.args(&plan.arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("could not start {}", plan.binary.display()))?;
        // From here on the guard kills the process if anything below fails.
        let mut server = Self {
            child,
            access: Access::default(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            ready_in: Duration::ZERO,
        };
        let found = || match &plan.hosted {
            Some(hosted) => Some((hosted.access.clone(), hosted.address)),
            None => made_since(&dev_json, before.as_ref()),
        };
        server.wait_until_ready(path, found, started, &plan.log).await?;
        Ok(server)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process at this instant, as `kill -9` does. An error if it had ended by itself before.
    pub fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server ended by itself before it was killed: {status}");
        }
        self.child.kill().context("kill -9")?;
        self.child.wait().context("waiting for the killed server")?;
        Ok(())
    }

    /// Tells the process to stop in order.
    pub fn terminate(&self) -> Result<()> {
        signal(self.pid(), "TERM")
    }

    /// Waits until the process has ended, and looks at it again and again meanwhile.
    pub async fn ended(mut self, within: Duration, look: impl AsyncFn() -> Result<()>) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(begun.elapsed() < within, "the process does not end");
            look().await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the process in order and expects success.
    pub async fn stop(mut self) -> Result<()> {
        signal(self.pid(), "TERM")?;
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("the server ended with {status} after SIGTERM");
                }
                return Ok(());
            }
            if begun.elapsed() > STOP_MAX {
                bail!("the server ignored SIGTERM for {} s", STOP_MAX.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn wait_until_ready(
        &mut self,
        path: &str,
        found: impl Fn() -> Option<(Access, SocketAddr)>,
        started: Instant,
        log: &Path,
    ) -> Result<()> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status} while starting:\n{}", tail(log));
            }
            if let Some((access, address)) = found()
                && says_ok(address, path).await
            {
                self.ready_in = started.elapsed();
                self.access = access;
                self.address = address;
                return Ok(());
            }
            if started.elapsed() > START_MAX {
                bail!("the server was not ready after {} s:\n{}", START_MAX.as_secs(), tail(log));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Default for Access {
    fn default() -> Self {
        let empty = String::new;
        Self { api_url: empty(), client_id: empty(), client_secret: empty(), link_id: empty() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is fine; nothing else can be done about an error here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Inode and time of change: a file written by rename has another inode than the one it replaced.
type Identity = (u64, i64, i64);

fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

/// What the file says, unless it is the one from before: the port of that one may belong to somebody else by now.
fn made_since(dev_json: &Path, before: Option<&Identity>) -> Option<(Access, SocketAddr)> {
    if Some(&identity(dev_json)?) == before {
        return None;
    }
    let access = read_access(dev_json)?;
    let address = address_of(&access.api_url)?;
    Some((access, address))
}

fn read_access(path: &Path) -> Option<Access> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn address_of(api_url: &str) -> Option<SocketAddr> {
    api_url.strip_prefix("http://")?.parse().ok()
}

/// Whether the server at this address says that it is ready, within a second.
pub async fn is_ready(address: SocketAddr) -> bool {
    says_ok(address, "/readyz").await
}

async fn says_ok(address: SocketAddr, path: &str) -> bool {
    let ask = async {
        let mut connection = Connection::open(address).await.ok()?;
        connection.exchange_status(&request("GET", path, &[], b"")).await.ok()
    };
    tokio::time::timeout(Duration::from_secs(1), ask).await.is_ok_and(|status| status == Some(200))
}

/// The end of a log, for a message.
pub fn tail(log: &Path) -> String {
    // A log may go elsewhere: a pipe would be waited for.
    let text = if log.is_file() { std::fs::read(log).unwrap_or_default() } else { Vec::new() };
    String::from_utf8_lossy(&text[text.len().saturating_sub(4000)..]).into_owned()
}
