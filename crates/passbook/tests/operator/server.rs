//! A real server in a process of its own, and commands beside it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for a server; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(60);
const TRY_EVERY: Duration = Duration::from_millis(20);

/// A data directory, with or without a server on it.
pub struct Home {
    directory: TempDir,
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    pub api_url: String,
    pub client_id: String,
    pub client_secret: String,
    pub link_id: String,
}

impl Home {
    pub fn new() -> Self {
        Self { directory: tempfile::Builder::new().prefix("passbook-op-").tempdir().expect("a temporary directory") }
    }

    /// A data directory in which a server has made app, client and link, and has ended.
    pub async fn served_once() -> Self {
        let home = Self::new();
        home.start().await.stop();
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Starts `passbook dev` and waits until it is ready.
    pub async fn start(&self) -> Server {
        self.start_on(&self.data()).await
    }

    /// The same, on another data directory.
    pub async fn start_on(&self, data: &Path) -> Server {
        let file = data.join("dev.json");
        let before = std::fs::metadata(&file).and_then(|metadata| metadata.modified()).ok();
        let child = passbook()
            .args(["dev", "--port", "0", "--data"])
            .arg(data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut server = Server {
            child,
            api_url: String::new(),
            client_id: String::new(),
            client_secret: String::new(),
            link_id: String::new(),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The file of an earlier start names a port that is no longer ours.
            let written = std::fs::metadata(&file).and_then(|metadata| metadata.modified()).ok();
            if written != before && server.read(&file) && server.is_ready().await {
                return server;
            }
            let ended = server.child.try_wait().expect("the server can be asked");
            assert!(ended.is_none(), "the server ended: {ended:?}");
            assert!(Instant::now() < deadline, "the server is not ready in time");
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    /// Runs an operator command on this data directory.
    pub fn run(&self, arguments: &[&str]) -> Output {
        passbook().args(arguments).arg("--data").arg(self.data()).output().expect("the command runs")
    }

    /// The JSON answer of a command that succeeds.
    pub fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON on standard output")
    }

    /// What a command that is refused says.
    pub fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} was not refused: {}", text(&output.stdout));
        assert_eq!(text(&output.stdout), "");
        text(&output.stderr)
    }
}

impl Server {
    fn read(&mut self, file: &Path) -> bool {
        let Some(dev) = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) else {
            return false;
        };
        let field = |name: &str| dev[name].as_str().expect("a field of dev.json").to_owned();
        self.api_url = field("api_url");
        self.client_id = field("client_id");
        self.client_secret = field("client_secret");
        self.link_id = field("link_id");
        true
    }

    async fn is_ready(&self) -> bool {
        let answer = http().get(format!("{}/readyz", self.api_url)).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// The status of a call with a header pair.
    pub async fn status_for(&self, client_id: &str, secret: &str) -> u16 {
        let call = http().get(format!("{}/links", self.api_url));
        let call = call.header("x-client-id", client_id).header("x-client-secret", secret);
        call.send().await.expect("an answer").status().as_u16()
    }

    /// The status of a call with a bearer token.
    pub async fn status_with(&self, token: &str) -> u16 {
        let call = http().get(format!("{}/links", self.api_url)).bearer_auth(token);
        call.send().await.expect("an answer").status().as_u16()
    }

    /// An access token, or the status of its refusal.
    pub async fn token(&self, client_id: &str, secret: &str) -> Result<String, u16> {
        let form = [("grant_type", "client_credentials"), ("client_id", client_id), ("client_secret", secret)];
        let answer = http().post(format!("{}/auth/token", self.api_url)).form(&form).send().await.expect("an answer");
        if answer.status() != 201 {
            return Err(answer.status().as_u16());
        }
        let body: Value = answer.json().await.expect("JSON");
        Ok(body["access_token"].as_str().expect("a token").to_owned())
    }

    /// Makes a link that waits for its token to be exchanged; its id, or `None` when the server does not answer.
    pub async fn make_link(&self, user: &str) -> Option<String> {
        let call = http()
            .post(format!("{}/sandbox/links", self.api_url))
            .json(&serde_json::json!({"customer_user": {"id": user}}));
        let call = call.header("x-client-id", &self.client_id).header("x-client-secret", &self.client_secret);
        let answer = call.send().await.ok()?;
        if answer.status() != 201 {
            return None;
        }
        let body: Value = answer.json().await.ok()?;
        Some(body["link_id"].as_str()?.to_owned())
    }

    /// Makes this many links, several at a time.
    pub async fn make_links(&self, count: usize) -> Vec<String> {
        let mut links = Vec::new();
        for first in (0..count).step_by(8) {
            let users: Vec<_> = (first..count.min(first + 8)).map(|number| format!("user-{number}")).collect();
            let made = futures_util::future::join_all(users.iter().map(|user| self.make_link(user))).await;
            links.extend(made.into_iter().map(|link| link.expect("a link")));
        }
        links
    }

    /// The status of a read of account numbers; `None` when the server does not answer.
    pub async fn numbers_status(&self, link: &str) -> Option<u16> {
        self.status_of(reqwest::Method::GET, &format!("/links/{link}/accounts/numbers")).await
    }

    /// The status of a call by the dev client; `None` when the server does not answer.
    pub async fn status_of(&self, method: reqwest::Method, path: &str) -> Option<u16> {
        let call = http().request(method, format!("{}{path}", self.api_url));
        let call = call.header("x-client-id", &self.client_id).header("x-client-secret", &self.client_secret);
        Some(call.send().await.ok()?.status().as_u16())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as an operator would, and waits.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        let signalled = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(signalled.success());
        let status = self.child.wait().expect("the server ends");
        assert!(status.success(), "{status}");
    }

    /// Ends it as a crash would, and waits.
    pub fn kill(mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

pub fn passbook() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_passbook"));
    command.env_remove("PASSBOOK_LOG");
    command
}

/// A client that keeps no connection: servers come and go here.
pub fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A field of a JSON answer.
pub fn field(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}")).to_owned()
}

/// Waits until `condition` holds, and says how long that took.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "{what} in time");
        tokio::time::sleep(TRY_EVERY).await;
    }
    begun.elapsed()
}
