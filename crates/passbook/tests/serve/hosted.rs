//! A PostgreSQL database of a test's own, sites on it, and a client of the API that calls them.

use std::{
    net::SocketAddr,
    process::Output,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio_postgres::NoTls;

use crate::process::{PATIENCE, Process, Site, get, send, text};

/// In the URL of every database. The servers of these tests ask for none, so it must turn up nowhere.
pub const PASSWORD: &str = "hunter2-canary-password";

/// An empty database. Dropping it removes it, whoever is still connected.
pub struct Database {
    server: String,
    name: String,
}

/// An API client as an operator was shown it.
pub struct Client {
    pub id: String,
    pub secret: String,
}

impl Database {
    /// On the cluster that tests share; `None` on a machine that has no PostgreSQL, said in the test's output.
    pub fn create() -> Option<Self> {
        Some(Self::create_on(postgres_cluster::shared()?))
    }

    /// On the server of this URL, which ends with a database.
    pub fn create_on(server: String) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("served_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        run(&server, &format!("CREATE DATABASE {name} TEMPLATE template0"));
        Self { server, name }
    }

    /// Where it is, with a password that nobody asks for.
    pub fn url(&self) -> String {
        let (address, _) = self.server.rsplit_once('/').expect("a URL that ends with a database");
        format!("{}/{}", address.replacen('@', &format!(":{PASSWORD}@"), 1), self.name)
    }

    /// Runs statements in it.
    pub fn run(&self, sql: &str) {
        run(&self.url(), sql);
    }

    /// The first column of the first row.
    pub fn number(&self, sql: &str) -> i64 {
        block_on(async { connect(&self.url()).await?.query_one(sql, &[]).await }).expect("an answer").get(0)
    }

    /// A site on it, with these settings beside the ones that every such site needs.
    pub fn site(&self, settings: &str) -> Site {
        self.site_at(&self.url(), settings)
    }

    /// The same by another way to the database.
    pub fn site_at(&self, url: &str, settings: &str) -> Site {
        let site = Site::new("");
        // The URL counts as a secret, so nobody else may read the file.
        let store = format!("[store]\nkind = \"postgres\"\nurl = \"{url}\"\n");
        site.private_file("passbook.toml", &format!("{store}{settings}\n[sandbox]\nenabled = true\n"));
        site
    }

    /// Two sites for replicas, on a store that was made; each with files of its own.
    pub fn two_sites(&self) -> [Site; 2] {
        let sites = [(); 2].map(|()| self.site("[server]\nreplicas = 2\n[limits]\nenabled = false"));
        ask(&sites[0], &["migrate"]);
        sites
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The cluster may have gone first.
        let drop_it = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let _removed_or_gone = block_on(async { connect(&self.server).await?.batch_execute(&drop_it).await });
    }
}

impl Client {
    /// Makes the app `Shop`, if it is not there, and a client of it.
    pub fn add(site: &Site, environment: &str) -> Self {
        let apps = ask(site, &["apps", "list"]);
        if apps.as_array().expect("apps").iter().all(|app| app["name"] != "Shop") {
            ask(site, &["apps", "add", "Shop", "--origin", "https://shop.example"]);
        }
        let client = ask(site, &["clients", "add", "--app", "Shop", "--environment", environment]);
        Self { id: field(&client, "client_id"), secret: field(&client, "client_secret") }
    }

    /// The same client with another secret.
    pub fn with(&self, secret: String) -> Self {
        Self { id: self.id.clone(), secret }
    }

    /// The header pair.
    pub fn head(&self) -> String {
        format!("x-client-id: {}\r\nx-client-secret: {}\r\n", self.id, self.secret)
    }

    /// A call with the header pair.
    pub fn call(&self, server: &Process, method: &str, path: &str, body: &Value) -> (u16, Value) {
        call(server.address, method, path, &self.head(), body)
    }

    /// The status of a read with the header pair.
    pub fn status(&self, server: &Process, path: &str) -> u16 {
        self.call(server, "GET", path, &Value::Null).0
    }

    /// A token, or the status of the refusal.
    pub fn token(&self, server: &Process) -> Result<String, u16> {
        let form = format!("grant_type=client_credentials&client_id={}&client_secret={}", self.id, self.secret);
        let head = "content-type: application/x-www-form-urlencoded\r\n";
        let (status, body) = send(server.address, "POST", "/auth/token", head, &form).expect("an answer");
        if status != 201 {
            return Err(status);
        }
        Ok(field(&serde_json::from_str(&body).expect("JSON"), "access_token"))
    }

    /// A link with numbers; its id. Returns when they can be read.
    pub fn link(&self, server: &Process, mut fields: Value) -> String {
        fields["customer_user"] = json!({"id": "user-0001"});
        let (status, answer) = self.call(server, "POST", "/sandbox/links", &fields);
        assert_eq!(status, 201, "{answer}");
        let id = field(&answer, "link_id");
        wait_until("the numbers are there", || self.status(server, &format!("/links/{id}/accounts/numbers")) == 200);
        id
    }
}

/// The status of a read with a token.
pub fn status_with(server: &Process, token: &str, path: &str) -> u16 {
    call(server.address, "GET", path, &format!("authorization: Bearer {token}\r\n"), &Value::Null).0
}

/// Status and body; lines of the head are given by the caller.
pub fn call(address: SocketAddr, method: &str, path: &str, head: &str, body: &Value) -> (u16, Value) {
    let (head, body) = match body {
        Value::Null => (head.to_owned(), String::new()),
        body => (format!("{head}content-type: application/json\r\n"), body.to_string()),
    };
    let (status, answer) = send(address, method, path, &head, &body).expect("an answer");
    (status, serde_json::from_str(&answer).unwrap_or_default())
}

/// A command with the site's configuration.
pub fn command(site: &Site, arguments: &[&str]) -> Output {
    site.run(&[arguments, &["--config", "passbook.toml"]].concat())
}

/// The JSON answer of a command that succeeds.
pub fn ask(site: &Site, arguments: &[&str]) -> Value {
    let output = command(site, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

/// What a command that is refused says; never a password.
pub fn refusal(site: &Site, arguments: &[&str]) -> String {
    let output = command(site, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
    assert_eq!(text(&output.stdout), "");
    let told = text(&output.stderr);
    assert!(!told.contains(PASSWORD), "{told}");
    told
}

/// A field of a JSON answer.
pub fn field(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}")).to_owned()
}

/// Asks until `condition` holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the server says that it is ready.
pub fn is_ready(server: &Process) -> bool {
    get(server.address, "/readyz").is_ok_and(|(status, _)| status == 200)
}

fn run(url: &str, sql: &str) {
    block_on(async { connect(url).await?.batch_execute(sql).await }).expect("the statements run");
}

async fn connect(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}
