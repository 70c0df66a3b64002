//! Calls as one client makes them: a token when needed, to several servers in turn, on connections that are kept.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::http::{Answer, Connection, IDLE_MAX, request};
use crate::server::{Access, Server};

/// Longer than any documented wait of the server (10 s), so that a slow answer is not taken for a lost one.
const CALL_MAX: Duration = Duration::from_secs(20);
/// How long a busy server is asked again, and how often.
const BUSY_MAX: Duration = Duration::from_secs(60);
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// How often one call asks for a new token before its 401 is believed.
const TOKENS_PER_CALL: usize = 3;

/// A client of running servers.
pub struct Api {
    access: Access,
    /// The servers, each with a connection while that holds.
    servers: Vec<(SocketAddr, Option<Kept>)>,
    /// Which server gets the next call.
    turn: usize,
    token: Option<String>,
    /// How long one answer may take.
    patience: Duration,
}

/// An idle connection.
struct Kept {
    connection: Connection,
    since: Instant,
}

/// What a body is.
pub enum Body<'a> {
    /// None.
    Empty,
    /// JSON.
    Json(&'a Value),
    /// A statement file.
    Statement(&'a str),
}

impl Api {
    /// A client of this server; connects at the first call.
    pub fn new(server: &Server) -> Self {
        Self::over(&[server.address], &server.access, 0)
    }

    /// A client that sends its calls to these servers in turn, beginning with one of them.
    pub fn over(addresses: &[SocketAddr], access: &Access, first: usize) -> Self {
        let servers = addresses.iter().map(|address| (*address, None)).collect();
        Self { access: access.clone(), servers, turn: first, token: None, patience: CALL_MAX }
    }

    /// Waits longer or shorter than usual for answers.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// One call. An error means that the outcome is unknown: the request may or may not have had its effect.
    pub async fn call(&mut self, method: &str, path: &str, body: Body<'_>) -> io::Result<Answer> {
        self.call_once(method, path, body, None).await
    }

    /// [`call`](Self::call) with an idempotency key: after an unknown outcome the same call may be made again.
    pub async fn call_once(
        &mut self,
        method: &str,
        path: &str,
        body: Body<'_>,
        key: Option<&str>,
    ) -> io::Result<Answer> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let token = match self.token_or_refusal().await? {
                Ok(token) => token,
                // Nothing was sent yet, so this is the answer to the call as well.
                Err(refusal) => return Ok(refusal),
            };
            let bearer = format!("Bearer {token}");
            let mut headers = vec![("authorization", bearer.as_str())];
            headers.extend(key.map(|key| ("idempotency-key", key)));
            let (content_type, content) = match &body {
                Body::Empty => (None, String::new()),
                Body::Json(value) => (Some("application/json"), value.to_string()),
                Body::Statement(text) => (Some("application/x-ofx"), (*text).to_owned()),
            };
            headers.extend(content_type.map(|content_type| ("content-type", content_type)));
            let answer = self.exchange(&request(method, path, &headers, content.as_bytes())).await?;
            // The sandbox clock also ends tokens. A 401 has no effect, so the call may be made again.
            if answer.status == 401 && attempt < TOKENS_PER_CALL {
                self.token = None;
                continue;
            }
            return Ok(answer);
        }
    }

    /// A call that is made again while the server refuses it as too busy, which leaves it without effect.
    pub async fn call_until_admitted(&mut self, method: &str, path: &str, json: &Value) -> io::Result<Answer> {
        let begun = Instant::now();
        loop {
            let answer = self.call(method, path, Body::Json(json)).await?;
            if !is_busy(&answer) || begun.elapsed() > BUSY_MAX {
                return Ok(answer);
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    /// A call that is made again while it is refused as too busy, and when it was cut off: the idempotency key keeps it
    /// from having its effect twice.
    pub async fn call_until_answered(
        &mut self,
        method: &str,
        path: &str,
        json: &Value,
        key: &str,
    ) -> io::Result<Answer> {
        let begun = Instant::now();
        loop {
            let outcome = self.call_once(method, path, Body::Json(json), Some(key)).await;
            let is_final = outcome.as_ref().is_ok_and(|answer| !is_busy(answer));
            if is_final || begun.elapsed() > BUSY_MAX {
                return outcome;
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    /// A read, which may be repeated without harm: when a connection was closed under it, or the server is busy.
    pub async fn get(&mut self, path: &str) -> Result<Answer> {
        let begun = Instant::now();
        loop {
            let answer = match self.call("GET", path, Body::Empty).await {
                Ok(answer) => answer,
                Err(_) => self.call("GET", path, Body::Empty).await.with_context(|| format!("GET {path}"))?,
            };
            if !is_busy(&answer) || begun.elapsed() > BUSY_MAX {
                return Ok(answer);
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    /// A read that must succeed.
    pub async fn get_json(&mut self, path: &str) -> Result<Value> {
        let answer = self.get(path).await?;
        if answer.status != 200 {
            bail!("GET {path} answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("GET {path}"))
    }

    /// The current access token, asked for when there is none.
    pub async fn token(&mut self) -> io::Result<String> {
        let token = self.token_or_refusal().await?;
        token.map_err(|refusal| io::Error::other(format!("no token: {}", refusal.status)))
    }

    async fn token_or_refusal(&mut self) -> io::Result<Result<String, Answer>> {
        if let Some(token) = &self.token {
            return Ok(Ok(token.clone()));
        }
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            self.access.client_id, self.access.client_secret
        );
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self.exchange(&request("POST", "/auth/token", &headers, form.as_bytes())).await?;
        let Some(token) = answer.json()["access_token"].as_str().map(ToOwned::to_owned) else {
            return Ok(Err(answer));
        };
        self.token = Some(token.clone());
        Ok(Ok(token))
    }

    async fn exchange(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        let position = self.turn % self.servers.len();
        self.turn += 1;
        let (address, kept) = &mut self.servers[position];
        let mut connection = match kept.take() {
            Some(kept) if kept.since.elapsed() < IDLE_MAX => kept.connection,
            _ => Connection::open(*address).await?,
        };
        let answer = tokio::time::timeout(self.patience, connection.exchange(bytes)).await??;
        *kept = Some(Kept { connection, since: Instant::now() });
        Ok(answer)
    }
}

/// Whether the server asks to come again later.
fn is_busy(answer: &Answer) -> bool {
    answer.status == 503 && answer.header("retry-after").is_some()
}

/// The body of `POST /sandbox/links` for a user with every product.
pub fn sandbox_link(customer: &str) -> Value {
    json!({ "customer_user": { "id": customer }, "username": "user_history" })
}

/// The path of `POST /passbook/links/import-file`.
pub fn import_file_path(customer: &str) -> String {
    format!("/passbook/links/import-file?customer_user_id={customer}")
}
