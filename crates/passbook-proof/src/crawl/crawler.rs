//! The one connection of a crawl. Requests go one after another, so that their order is the same in every run.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::call::{Call, Caller};
use super::placeholders::Placeholders;
use super::settling::Settling;
use super::transcript::Transcript;
use crate::http::{Answer, Connection};

/// Longer than any documented wait of the server (10 s).
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Asks and writes down.
pub struct Crawler {
    address: SocketAddr,
    connection: Option<Connection>,
    /// What was asked so far.
    pub transcript: Transcript,
    /// Names for what is random.
    pub placeholders: Placeholders,
    /// What waiting for the end of changes has to know.
    pub settling: Settling,
}

impl Crawler {
    /// A crawler of the server at this address.
    pub fn new(address: SocketAddr) -> Self {
        let mut placeholders = Placeholders::default();
        placeholders.address(address.to_string(), "<server>");
        placeholders.address(format!("localhost:{}", address.port()), "<server by name>");
        let (transcript, settling) = (Transcript::default(), Settling::default());
        Self { address, connection: None, transcript, placeholders, settling }
    }

    /// Asks, and adds the exchange to the transcript.
    pub async fn ask(&mut self, call: &Call) -> Result<Answer> {
        let answer = self.exchange(call).await?;
        self.placeholders.learn(&String::from_utf8_lossy(&answer.body));
        self.transcript.add(call, &answer, &self.placeholders);
        Ok(answer)
    }

    /// Asks for something that must succeed.
    pub async fn ask_json(&mut self, call: &Call) -> Result<Value> {
        let answer = self.ask(call).await?;
        let body = String::from_utf8_lossy(&answer.body);
        ensure!(answer.status < 300, "{} {} answered {}: {body}", call.method, call.path, answer.status);
        Ok(answer.json())
    }

    /// Asks without a trace: how often something is asked until it is so depends on the machine.
    pub async fn look(&mut self, call: &Call) -> Result<Value> {
        Ok(self.exchange(call).await?.json())
    }

    /// Asks for a change, and waits until everything that follows from it has happened.
    pub async fn change(&mut self, call: &Call, caller: &Caller) -> Result<Answer> {
        let answer = self.ask(call).await?;
        if answer.status < 300 {
            self.settle(caller).await?;
        }
        Ok(answer)
    }

    async fn exchange(&mut self, call: &Call) -> Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.address).await.context("connecting")?,
        };
        let answer = tokio::time::timeout(ANSWER_MAX, answer_on(&mut connection, call)).await;
        let answer = answer.map_err(|_| anyhow::anyhow!("no answer"));
        let answer = answer.and_then(|answer| Ok(answer?));
        let answer = answer.with_context(|| format!("{} {}", call.method, call.path))?;
        if can_be_kept(call, &answer) {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

async fn answer_on(connection: &mut Connection, call: &Call) -> std::io::Result<Answer> {
    let bytes = call.bytes();
    if call.method == "HEAD" {
        return connection.exchange_head(&bytes).await;
    }
    if call.is_stream() {
        return connection.exchange_until(&bytes, |body| messages_in(body) >= call.messages).await;
    }
    connection.exchange(&bytes).await
}

/// Messages of an event stream end with an empty line.
fn messages_in(body: &[u8]) -> usize {
    body.windows(2).filter(|pair| *pair == b"\n\n").count()
}

fn can_be_kept(call: &Call, answer: &Answer) -> bool {
    let is_closed = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let is_endless = call.is_stream() && answer.status == 200;
    !is_closed && !is_endless
}
