//! `torture streams`: followers of the event ledger beside each other, in both HTTP versions.
//!
//! One tenant opens every stream that there is, and another one must get its streams at once. Each kind of withdrawal
//! ends the stream within two seconds, with its reason. A stream on HTTP/2 lives as long as its events come. Streams
//! that match nothing cost next to nothing over a long ledger.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::StreamsOptions;
use super::conduct::{Conduct, milliseconds};
use super::ground::{Ground, Running, StoreKind};
use crate::api::Body;
use crate::deployment::operate;
use crate::http::{Connection, request};
use crate::process::cpu_seconds;
use crate::server::{Access, Plan};

/// Streams that a server has places for.
const STREAMS_MAX: usize = 256;
/// Streams that the other tenant opens.
const OTHERS: usize = 16;
/// How long one of them may take to open.
const OPEN_MAX: Duration = Duration::from_secs(1);
/// How long a stream may outlive a withdrawal.
const WITHDRAWAL_MAX: Duration = Duration::from_secs(2);
/// How long a stream is waited for, so that a late end is told from none.
const PATIENCE: Duration = Duration::from_secs(10);
/// Streams that match nothing.
const SILENT: usize = 100;
/// What they may cost, in percent of a core.
const SILENT_PERCENT_MAX: f64 = 5.0;
/// Parallel writers of the ledger.
const WRITERS: usize = 16;
/// One client for all: on HTTP/1.1, each open stream has a connection of its own all the same.
static CLIENT: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().no_proxy().build().expect("a client without settings"));
/// What a stream is sent at least every ten seconds.
const SIGN_OF_LIFE_MAX: Duration = Duration::from_secs(15);

/// HTTP/1.1 or HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// An open stream; dropping it closes its connection.
struct Stream {
    body: BodyOf,
    text: BytesMut,
}

enum BodyOf {
    One(reqwest::Response),
    Two(h2::RecvStream),
}

/// Runs the experiment.
pub async fn run(options: StreamsOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    let id = match options.common.store {
        StoreKind::Sqlite => "R11-streams-embedded",
        StoreKind::Postgres => "R11-streams-postgres",
    };
    conduct.run(id, &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &StreamsOptions) -> Result<()> {
    let ground = Ground::new(&options.common, &conduct.plan, conduct.directory(), 1).await?;
    let running = ground.start().await?;
    let (server, owner) = (running.addresses[0], running.access.clone());
    let foreign = ground.add_foreign_client()?;
    share(conduct, server, &owner, &foreign).await.context("sharing")?;
    let plan = &ground.plans()[0];
    for version in [Version::One, Version::Two] {
        for (name, withdrawal) in WITHDRAWALS {
            let took = withdraw(server, plan, version, *withdrawal).await;
            let took = took.with_context(|| format!("{name} on {version:?}"))?;
            conduct.figure(&format!("{name}_{version:?}_ms").to_lowercase(), milliseconds(took));
            conduct.rounds += 1;
        }
    }
    if options.alive_secs > 0 {
        live(server, &owner, Duration::from_secs(options.alive_secs)).await.context("a stream on HTTP/2")?;
        conduct.figure("alive_secs", options.alive_secs);
    }
    conduct.tally.acked = fill(&running, options.events).await.context("filling the ledger")?;
    let percent = silence(&running, &owner, options.quiet_secs).await?;
    conduct.figure("events", options.events);
    conduct.figure("silent_streams", SILENT);
    conduct.figure("cpu_percent", (percent * 100.0).round() / 100.0);
    ensure!(percent < SILENT_PERCENT_MAX, "{SILENT} silent streams cost {percent:.1} % of a core");
    stop_beside_streams(running, server, &owner).await
}

/// A server that stops says so to those who follow.
async fn stop_beside_streams(running: Running, server: SocketAddr, owner: &Access) -> Result<()> {
    let mut ends = JoinSet::new();
    for version in [Version::One, Version::Two] {
        let stream = Stream::open(server, version, &pair(owner), "").await?;
        ends.spawn(stream.end(PATIENCE));
    }
    running.stop().await?;
    while let Some(ended) = ends.join_next().await {
        let (code, _) = ended?.context("a stream of a server that stops")?;
        ensure!(code == "stream_error.server_stopping", "a stream of a server that stops ended with {code}");
    }
    Ok(())
}

/// One tenant has every place; the other opens its streams.
async fn share(conduct: &mut Conduct, server: SocketAddr, owner: &Access, other: &Access) -> Result<()> {
    let mut all = Vec::new();
    for number in 0..STREAMS_MAX {
        all.push(
            Stream::open(server, Version::One, &pair(owner), "").await.with_context(|| format!("stream {number}"))?,
        );
    }
    let mut slowest = Duration::ZERO;
    let (mut others, credentials) = (Vec::new(), pair(other));
    for number in 0..OTHERS {
        let begun = Instant::now();
        let opening = Stream::open(server, Version::One, &credentials, "");
        let opened = timeout(PATIENCE, opening).await.context("it does not open")?;
        others.push(opened.with_context(|| format!("stream {number} of the other tenant"))?);
        slowest = slowest.max(begun.elapsed());
    }
    ensure!(slowest <= OPEN_MAX, "a stream of the other tenant took {slowest:?} to open");
    // The newest ones made room and say so; the oldest one is still there.
    for _ in 0..OTHERS {
        let (code, _) = all.pop().context("a stream")?.end(PATIENCE).await?;
        ensure!(code == "stream_error.displaced", "a stream that made room ended with {code}");
    }
    let first = &mut all[0];
    ensure!(timeout(Duration::from_millis(100), first.next_message()).await.is_err(), "the oldest stream ended");
    conduct.figure("others_open_ms_max", milliseconds(slowest));
    Ok(())
}

/// What is withdrawn, and the code that the stream ends with.
#[derive(Clone, Copy)]
enum Withdrawal {
    Client,
    Secret,
    Token,
    Scope,
    Expiry,
}

const WITHDRAWALS: &[(&str, Withdrawal)] = &[
    ("client", Withdrawal::Client),
    ("secret", Withdrawal::Secret),
    ("token", Withdrawal::Token),
    ("scope", Withdrawal::Scope),
    ("expiry", Withdrawal::Expiry),
];

/// A stream of a client of its own, whose access is withdrawn; gives how long the stream outlived that.
async fn withdraw(server: SocketAddr, plan: &Plan, version: Version, withdrawal: Withdrawal) -> Result<Duration> {
    let client = operate(plan, &["clients", "add", "--app", "foreign", "--environment", "sandbox"])?;
    let field = |name: &str| client[name].as_str().map(ToOwned::to_owned).with_context(|| format!("no {name}"));
    let id = field("client_id")?;
    let access = Access { client_id: id.clone(), client_secret: field("client_secret")?, ..Access::default() };
    let credentials = match withdrawal {
        Withdrawal::Client | Withdrawal::Secret | Withdrawal::Scope => pair(&access),
        Withdrawal::Token | Withdrawal::Expiry => bearer(server, &access).await?,
    };
    let stream = Stream::open(server, version, &credentials, "").await?;
    let begun = Instant::now();
    match withdrawal {
        Withdrawal::Client => drop(operate(plan, &["clients", "revoke", &id])?),
        Withdrawal::Scope => drop(operate(plan, &["clients", "scopes", &id, "links"])?),
        Withdrawal::Secret | Withdrawal::Token => {
            operate(plan, &["clients", "rotate", &id])?;
            operate(plan, &["clients", "revoke-secret", &id])?;
        }
        Withdrawal::Expiry => advance_clock(server, &access, 3_600).await?,
    }
    // The command runs until the store has it.
    let withdrawn = Instant::now();
    let (code, ended) = stream.end(PATIENCE).await?;
    let expected = match withdrawal {
        Withdrawal::Expiry => "api_error.auth.expired_access_token",
        _ => "api_error.auth.unauthorized",
    };
    ensure!(code == expected, "it ended with {code} and not with {expected}");
    let took = ended.saturating_duration_since(withdrawn);
    ensure!(took <= WITHDRAWAL_MAX, "it went on for {took:?} ({:?} with the command)", ended - begun);
    Ok(took)
}

async fn advance_clock(server: SocketAddr, access: &Access, seconds: u64) -> Result<()> {
    let body = json!({ "advance_seconds": seconds }).to_string();
    let (id, secret) = (access.client_id.as_str(), access.client_secret.as_str());
    let headers = [("x-client-id", id), ("x-client-secret", secret), ("content-type", "application/json")];
    let mut connection = Connection::open(server).await?;
    let answer = connection.exchange(&request("POST", "/sandbox/clock", &headers, body.as_bytes())).await?;
    ensure!(answer.status == 200, "the clock answered {}", answer.status);
    Ok(())
}

/// A stream on HTTP/2 that is sent nothing but signs of life.
async fn live(server: SocketAddr, access: &Access, span: Duration) -> Result<()> {
    let mut stream = Stream::open(server, Version::Two, &pair(access), "?webhook_event=nothing").await?;
    let begun = Instant::now();
    while begun.elapsed() < span {
        let chunk = timeout(SIGN_OF_LIFE_MAX, stream.chunk()).await;
        let chunk = chunk.with_context(|| format!("no sign of life after {:?}", begun.elapsed()))?;
        ensure!(chunk?.is_some(), "it ended after {:?}", begun.elapsed());
    }
    Ok(())
}

/// So many events in the owner's ledger.
async fn fill(running: &Running, events: u64) -> Result<u64> {
    let answer =
        running.api(0).call("POST", "/sandbox/links", Body::Json(&crate::api::sandbox_link("streams-0"))).await?;
    let link_id = answer.json()["link_id"].as_str().context("no link")?.to_owned();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (mut api, path) = (running.api(writer), format!("/sandbox/links/{link_id}/events"));
        let share = events / WRITERS as u64 + u64::from((writer as u64) < events % WRITERS as u64);
        writers.spawn(async move {
            let body = json!({ "webhook_event": "transactions.updates_available" });
            for _ in 0..share {
                let answer = api.call_until_admitted("POST", &path, &body).await?;
                ensure!(answer.status == 201, "an event was answered {}", answer.status);
            }
            Ok(share)
        });
    }
    let mut written = 0;
    while let Some(ended) = writers.join_next().await {
        written += ended??;
    }
    Ok(written)
}

/// What streams that look for what is not there cost the server, in percent of a core.
async fn silence(running: &Running, access: &Access, quiet_secs: u64) -> Result<f64> {
    let server = running.addresses[0];
    let credentials = pair(access);
    let mut streams = Vec::new();
    for number in 0..SILENT {
        let version = if number % 2 == 0 { Version::One } else { Version::Two };
        let query = match number % 4 {
            0 | 1 => "?cursor=0&webhook_event=nothing",
            _ => "?cursor=0&delivery_state=dead",
        };
        streams.push(Stream::open(server, version, &credentials, query).await?);
    }
    // What they have to catch up with is looked at once; then it is quiet.
    let newest = newest_position(running).await?;
    for stream in &mut streams[2..4] {
        let catching_up = async {
            loop {
                let (_, id, _) = stream.next_message().await?;
                if id + PASSED_OVER_MAX >= newest {
                    return anyhow::Ok(());
                }
            }
        };
        if newest > PASSED_OVER_MAX {
            timeout(PATIENCE * 6, catching_up).await.context("catching up")??;
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pid = running.servers[0].pid();
    let (begun, used) = (Instant::now(), cpu_seconds(pid)?);
    tokio::time::sleep(Duration::from_secs(quiet_secs)).await;
    Ok((cpu_seconds(pid)? - used) / begun.elapsed().as_secs_f64() * 100.0)
}

/// Events that one read passes over before it says how far it came.
const PASSED_OVER_MAX: u64 = 2_000;

async fn newest_position(running: &Running) -> Result<u64> {
    let (mut api, mut cursor) = (running.api(0), 0);
    loop {
        let page = api.get_json(&format!("/passbook/events?limit=1000&cursor={cursor}")).await?;
        let last = page["events"].as_array().and_then(|events| events.last());
        cursor = last.and_then(|event| event["position"].as_u64()).unwrap_or(cursor);
        if page["cursors"]["next"].is_null() {
            return Ok(cursor);
        }
    }
}

type Credentials = Vec<(&'static str, String)>;

fn pair(access: &Access) -> Credentials {
    vec![("x-client-id", access.client_id.clone()), ("x-client-secret", access.client_secret.clone())]
}

async fn bearer(server: SocketAddr, access: &Access) -> Result<Credentials> {
    let form =
        format!("grant_type=client_credentials&client_id={}&client_secret={}", access.client_id, access.client_secret);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let mut connection = Connection::open(server).await?;
    let answer = connection.exchange(&request("POST", "/auth/token", &headers, form.as_bytes())).await?;
    let token = answer.json()["access_token"].as_str().map(|token| format!("Bearer {token}"));
    Ok(vec![("authorization", token.with_context(|| format!("a token was answered {}", answer.status))?)])
}

impl Stream {
    async fn open(server: SocketAddr, version: Version, credentials: &Credentials, query: &str) -> Result<Self> {
        let url = format!("http://{server}/passbook/events/stream{query}");
        let body = match version {
            Version::One => {
                let mut call = CLIENT.get(url);
                for (name, value) in credentials {
                    call = call.header(*name, value);
                }
                let response = call.send().await?;
                ensure!(response.status() == 200, "a stream was answered {}", response.status());
                BodyOf::One(response)
            }
            Version::Two => {
                let socket = TcpStream::connect(server).await?;
                let (mut requests, connection) = h2::client::handshake(socket).await?;
                // It ends with the stream, which holds it; an error of it is one of the stream.
                tokio::spawn(async move { drop(connection.await) });
                let mut call = http::Request::get(url);
                for (name, value) in credentials {
                    call = call.header(*name, value);
                }
                let (response, _) = requests.send_request(call.body(())?, true)?;
                let response = response.await?;
                ensure!(response.status() == 200, "a stream was answered {}", response.status());
                BodyOf::Two(response.into_body())
            }
        };
        Ok(Self { body, text: BytesMut::new() })
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        match &mut self.body {
            BodyOf::One(response) => Ok(response.chunk().await?),
            BodyOf::Two(body) => match body.data().await.transpose()? {
                Some(chunk) => {
                    body.flow_control().release_capacity(chunk.len())?;
                    Ok(Some(chunk))
                }
                None => Ok(None),
            },
        }
    }

    /// The next message with an id: its name, the id, and its data.
    async fn next_message(&mut self) -> Result<(String, u64, Value)> {
        loop {
            if let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let message = self.text.split_to(end + 2);
                let message = std::str::from_utf8(&message)?;
                let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let Some(id) = field("id:") {
                    let data = serde_json::from_str(field("data:").unwrap_or("null"))?;
                    return Ok((field("event:").unwrap_or_default().to_owned(), id.parse()?, data));
                }
                continue;
            }
            match self.chunk().await? {
                Some(chunk) => self.text.extend_from_slice(&chunk),
                None => bail!("the stream ended without a reason"),
            }
        }
    }

    /// The code with which it ends, and when.
    async fn end(mut self, within: Duration) -> Result<(String, Instant)> {
        let ending = async {
            loop {
                let (name, _, data) = self.next_message().await?;
                if name == "stream.ended" {
                    return Ok((data["error_code"].as_str().unwrap_or_default().to_owned(), Instant::now()));
                }
            }
        };
        timeout(within, ending).await.with_context(|| format!("it goes on after {} s", within.as_secs()))?
    }
}
