//! `passbook dev` on a directory of its own, and clients for it.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use moneykit::{Client, ClientBuilder, api::WaitOptions, http::Method, models::Product};
use passbook::dev::DevFile;
use tempfile::TempDir;

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that ends with the value.
pub struct Server {
    process: Child,
    _directory: TempDir,
    pub dev: DevFile,
}

impl Server {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let process = Command::new(env!("CARGO_BIN_EXE_passbook"))
            .args(["dev", "--port", "0", "--data"])
            .arg(&data)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Guarded from here on: a server that never gets ready is ended as well.
        let mut server = Self { process, _directory: directory, dev: unknown() };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(dev) = DevFile::read(&data) {
                server.dev = dev;
                return server;
            }
            assert!(server.process.try_wait().unwrap().is_none(), "the server ended");
            assert!(Instant::now() < deadline, "the server is not ready in time");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn builder(&self) -> ClientBuilder {
        Client::builder().base_url(&self.dev.api_url).client_credentials(&self.dev.client_id, &self.dev.client_secret)
    }

    pub fn client(&self) -> Client {
        self.builder().build().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn unknown() -> DevFile {
    DevFile {
        api_url: String::new(),
        connect_url: String::new(),
        demo_url: String::new(),
        client_id: String::new(),
        client_secret: String::new(),
        link_id: String::new(),
        sandbox: true,
        tls_api_url: None,
        tls_ca_file: None,
    }
}

/// Lets a day pass in the sandbox and has the link's transactions fetched anew.
pub async fn another_day(client: &Client, link_id: &str) {
    let body = serde_json::json!({ "advance_seconds": 24 * 60 * 60 + 60 });
    client.request(Method::POST, "/sandbox/clock").json(&body).send().await.unwrap();
    let options = WaitOptions { poll_interval: Duration::from_millis(100), ..WaitOptions::default() };
    client.products().refresh_and_wait(link_id, [Product::Transactions], options).await.unwrap();
}
