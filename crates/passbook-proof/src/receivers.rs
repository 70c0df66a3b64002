//! Receivers of webhooks that misbehave in every way a receiver can, each on a port of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::rng::Rng;

/// Longer than a sender may wait.
const STALL: Duration = Duration::from_secs(12);
/// The size of an answer that nobody should read to its end.
const HUGE: usize = 10 * 1024 * 1024;
/// Most bytes of a request.
const REQUEST_MAX: usize = 64 * 1024;

/// What a receiver is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Always answers 204.
    Healthy,
    /// Fails so many of a hundred attempts, until it is healed.
    Flaky(u64),
    /// Its URL is https and it speaks no TLS.
    NoTls,
    /// Takes connections and says nothing.
    Silent,
}

/// One attempt as it arrived.
#[derive(Clone)]
pub struct Arrival {
    /// The sender's number of the attempt.
    pub number: u32,
    /// When it had arrived.
    pub at: Instant,
    /// The signature.
    pub signature: String,
    /// The body.
    pub body: Vec<u8>,
    /// Whether it was answered with 2xx.
    pub accepted: bool,
}

/// What all receivers saw.
#[derive(Default)]
pub struct Seen {
    /// Arrivals by delivery token, in their order.
    pub arrivals: HashMap<String, Vec<Arrival>>,
    /// Tokens in the order in which each receiver first accepted them.
    pub accepted: Vec<Vec<String>>,
    /// Faults that were played.
    pub faults: HashMap<&'static str, u64>,
    /// No fault is played any more.
    pub healed: bool,
    rngs: Vec<Rng>,
}

/// All receivers.
pub struct Receivers {
    /// Their URLs.
    pub urls: Vec<String>,
    /// What each is like.
    pub kinds: Vec<Kind>,
    seen: Arc<Mutex<Seen>>,
}

impl Receivers {
    /// Starts one for each kind.
    pub async fn start(kinds: Vec<Kind>, seed: u64) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut urls = Vec::new();
        for (index, kind) in kinds.iter().enumerate() {
            let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.context("a receiver")?;
            let scheme = if *kind == Kind::NoTls { "https" } else { "http" };
            urls.push(format!("{scheme}://{}/webhooks/{index}", listener.local_addr()?));
            {
                let mut seen = lock(&seen);
                seen.accepted.push(Vec::new());
                seen.rngs.push(Rng::new(seed, 1_000 + index as u64));
            }
            tokio::spawn(listen(listener, index, *kind, Arc::clone(&seen)));
        }
        Ok(Self { urls, kinds, seen })
    }

    /// Looks at what came.
    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&lock(&self.seen))
    }

    /// From now on every receiver that can is well.
    pub fn heal(&self) {
        lock(&self.seen).healed = true;
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(listener: TcpListener, index: usize, kind: Kind, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        // A connection that the sender breaks is the sender's business.
        tokio::spawn(async move { serve(stream, index, kind, &seen).await });
    }
}

async fn serve(mut stream: TcpStream, index: usize, kind: Kind, seen: &Mutex<Seen>) -> std::io::Result<()> {
    if kind == Kind::NoTls {
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    }
    let mut buffer = Vec::new();
    if kind == Kind::Silent {
        while stream.read_buf(&mut buffer).await? > 0 {
            buffer.clear();
        }
        return Ok(());
    }
    while let Some((head, body)) = read_request(&mut stream, &mut buffer).await? {
        let fault = choose(index, kind, seen);
        note(index, &head, body, fault, seen);
        answer(&mut stream, fault).await?;
        if !matches!(fault, None | Some("500" | "429" | "redirect")) {
            break;
        }
    }
    Ok(())
}

/// Head and body of the next request.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<(String, Vec<u8>)>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let length = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Ok(Some((head, body)));
            }
        }
        if buffer.len() > REQUEST_MAX || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

/// The fault to play, or none.
fn choose(index: usize, kind: Kind, seen: &Mutex<Seen>) -> Option<&'static str> {
    const FAULTS: [&str; 20] = [
        "500", "500", "500", "500", "429", "429", "429", "redirect", "redirect", "redirect", "reset", "reset", "reset",
        "reset", "cut", "cut", "cut", "trickle", "huge", "stall",
    ];
    let mut seen = lock(seen);
    let Kind::Flaky(percent) = kind else { return None };
    if seen.healed || seen.rngs[index].below(100) >= percent {
        return None;
    }
    let fault = FAULTS[seen.rngs[index].index(FAULTS.len())];
    *seen.faults.entry(fault).or_default() += 1;
    Some(fault)
}

fn note(index: usize, head: &str, body: Vec<u8>, fault: Option<&str>, seen: &Mutex<Seen>) {
    let token = header(head, "moneykit-delivery-token").unwrap_or_default().to_owned();
    let signature = header(head, "moneykit-signature").unwrap_or_default().to_owned();
    let number = header(head, "moneykit-delivery-attempt").and_then(|text| text.parse().ok()).unwrap_or(0);
    // Both of these answer 200 and misbehave afterwards.
    let accepted = matches!(fault, None | Some("trickle" | "huge"));
    let mut seen = lock(seen);
    let arrivals = seen.arrivals.entry(token.clone()).or_default();
    let is_new = !arrivals.iter().any(|arrival| arrival.accepted);
    arrivals.push(Arrival { at: Instant::now(), number, signature, body, accepted });
    if accepted && is_new {
        seen.accepted[index].push(token);
    }
}

async fn answer(stream: &mut TcpStream, fault: Option<&str>) -> std::io::Result<()> {
    let whole = |status: &str, more: &str| format!("HTTP/1.1 {status}\r\n{more}content-length: 0\r\n\r\n");
    let text = match fault {
        None => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        Some("500") => whole("500 Internal Server Error", ""),
        Some("429") => whole("429 Too Many Requests", "retry-after: 2\r\n"),
        Some("redirect") => whole("307 Temporary Redirect", "location: http://127.0.0.1:9/\r\n"),
        Some("reset") => {
            stream.set_zero_linger()?;
            return Ok(());
        }
        Some("cut") => "HTTP/1.1 200 OK\r\ncontent-".to_owned(),
        Some("trickle") => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await?;
            for _ in 0..STALL.as_secs() {
                stream.write_all(b".").await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            return Ok(());
        }
        Some("huge") => {
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {HUGE}\r\n\r\n").as_bytes()).await?;
            return stream.write_all(&vec![b'.'; HUGE]).await;
        }
        Some(_) => {
            tokio::time::sleep(STALL).await;
            return Ok(());
        }
    };
    stream.write_all(text.as_bytes()).await
}
