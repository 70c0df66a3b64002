//! `torture slow-bodies`: one address sends bodies a byte at a time, or not at all; nobody else may notice.
//!
//! The attacker keeps as many requests open as it is told to: streams of HTTP/2 and sockets of HTTP/1 that ask for a
//! token, whose form never ends, and uploads of statement files by a client that is known, which never end either. What
//! the server ends is begun anew at once. It comes from another loopback address than the bystander.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::SlowBodiesOptions;
use super::bystander::{Bystander, compare};
use super::conduct::Conduct;
use super::ground::{Ground, StoreKind};
use super::store_files::Jobs;
use crate::api::{Api, import_file_path};
use crate::process::rss_anon_kib;

/// Streams on one HTTP/2 connection; the server allows 128.
const STREAMS: usize = 110;
/// The attacker's address.
const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 66));
/// Between two bytes.
const DRIBBLE: Duration = Duration::from_secs(1);
/// Before the attacker connects again after the server ended something.
const AGAIN: Duration = Duration::from_millis(50);
const RSS_GROWTH_KIB_MAX: u64 = 256 * 1024;

/// Runs the experiment.
pub async fn run(options: SlowBodiesOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &[])?;
    let id = match options.common.store {
        StoreKind::Sqlite => "S24-slow-bodies-embedded",
        StoreKind::Postgres => "S24-slow-bodies-postgres",
    };
    conduct.run(id, &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &SlowBodiesOptions) -> Result<()> {
    let ground = Ground::new(&options.common, &conduct.plan, conduct.directory(), 1).await?;
    let running = ground.start().await?;
    let address = running.addresses[0];
    let bystander = Bystander::new(address, &running.access, conduct.seed).await?;
    let duration = Duration::from_secs(options.secs);
    bystander.live(duration / 4).await;
    let alone = bystander.live(duration).await;
    let before = rss_anon_kib(running.servers[0].pid())?;
    let bearer = Api::over(&[address], &running.access, 0).token().await?;
    let attack = Attack::begin(address, &bearer, options);
    // Only when everything is open does the measuring begin.
    attack.wait_until_open(options).await?;
    let beside = bystander.live(duration).await;
    let begun = attack.end().await;
    let after = rss_anon_kib(running.servers[0].pid())?;
    conduct.rounds = 1;
    conduct.tally.acked = beside.done_total();
    conduct.figure("slow_requests", begun);
    conduct.figure("rss_growth_kib", after.saturating_sub(before));
    running.stop().await?;
    ground.check(Jobs::HaveEnded).await?;
    ensure!(after <= before + RSS_GROWTH_KIB_MAX, "memory grew by {} KiB", after - before);
    compare(conduct, "bystander", (&alone, &beside), options.ratio_max, 0.0)
}

/// The attacker's open requests.
struct Attack {
    tasks: JoinSet<()>,
    begun: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Attack {
    fn begin(address: SocketAddr, bearer: &str, options: &SlowBodiesOptions) -> Self {
        let (begun, stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        let mut keep_open = |kind: Kind| {
            let (begun, stopped) = (Arc::clone(&begun), Arc::clone(&stopped));
            tasks.spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    // Whatever ends it, it begins anew.
                    let _ = kind.dribble(address, &begun, &stopped).await;
                    tokio::time::sleep(AGAIN).await;
                }
            });
        };
        (0..options.streams.div_ceil(STREAMS)).for_each(|_| keep_open(Kind::Streams));
        (0..options.sockets).for_each(|_| keep_open(Kind::Token));
        (0..options.uploads).for_each(|_| keep_open(Kind::Upload(bearer.to_owned())));
        Self { tasks, begun, stopped }
    }

    async fn wait_until_open(&self, options: &SlowBodiesOptions) -> Result<()> {
        let wanted = (options.streams + options.sockets + options.uploads) as u64;
        let begun = std::time::Instant::now();
        while self.begun.load(Ordering::Relaxed) < wanted {
            ensure!(begun.elapsed() < Duration::from_secs(30), "the attack did not get going");
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    /// Ends it; how many requests it had begun.
    async fn end(mut self) -> u64 {
        self.stopped.store(true, Ordering::Relaxed);
        self.tasks.shutdown().await;
        self.begun.load(Ordering::Relaxed)
    }
}

/// What one task keeps open.
enum Kind {
    /// [`STREAMS`] streams of one HTTP/2 connection that ask for a token.
    Streams,
    /// One HTTP/1 request for a token.
    Token,
    /// One upload of a statement file, with this token.
    Upload(String),
}

impl Kind {
    async fn dribble(&self, address: SocketAddr, begun: &AtomicU64, stopped: &AtomicBool) -> std::io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(ATTACKER, 0))?;
        let stream = socket.connect(address).await?;
        let (first, each, requests) = match self {
            Self::Streams => (http2::open(STREAMS), http2::dribble(STREAMS), STREAMS as u64),
            Self::Token => (head("/auth/token", "application/x-www-form-urlencoded", None, 1_000), b"a".to_vec(), 1),
            Self::Upload(token) => {
                let path = import_file_path("slow");
                (head(&path, "application/x-ofx", Some(token), 16 << 20), b"O".to_vec(), 1)
            }
        };
        send(stream, &first, &each, requests, begun, stopped).await
    }
}

async fn send(
    mut stream: TcpStream,
    first: &[u8],
    each: &[u8],
    requests: u64,
    begun: &AtomicU64,
    stopped: &AtomicBool,
) -> std::io::Result<()> {
    stream.write_all(first).await?;
    begun.fetch_add(requests, Ordering::Relaxed);
    let mut answer = vec![0; 16 << 10];
    let mut next = Box::pin(tokio::time::sleep(DRIBBLE));
    while !stopped.load(Ordering::Relaxed) {
        tokio::select! {
            read = stream.read(&mut answer) => if read? == 0 { break },
            () = &mut next => {
                stream.write_all(each).await?;
                next = Box::pin(tokio::time::sleep(DRIBBLE));
            }
        }
    }
    Ok(())
}

fn head(path: &str, content_type: &str, token: Option<&str>, length: usize) -> Vec<u8> {
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n{authorization}content-length: {length}\r\n\r\n"
    )
    .into_bytes()
}

/// As much of HTTP/2 (RFC 9113) as an attacker needs: requests that begin and whose bodies trickle.
mod http2 {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const END_HEADERS: u8 = 4;

    /// A connection on which so many requests for a token begin.
    pub fn open(streams: usize) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        frame(&mut bytes, SETTINGS, 0, 0, &[]);
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/auth/token"),
            (":authority", "localhost"),
            ("content-type", "application/x-www-form-urlencoded"),
        ] {
            literal(&mut block, name, value);
        }
        ids(streams).for_each(|id| frame(&mut bytes, HEADERS, END_HEADERS, id, &block));
        bytes
    }

    /// One byte of each request's body.
    pub fn dribble(streams: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        ids(streams).for_each(|id| frame(&mut bytes, DATA, 0, id, b"a"));
        bytes
    }

    /// Ids of a client's streams are odd.
    fn ids(streams: usize) -> impl Iterator<Item = u32> {
        (0..streams as u32).map(|n| 2 * n + 1)
    }

    fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        bytes.extend_from_slice(&[kind, flags]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
    }

    /// A header field that is literal, new by name, and not indexed (RFC 7541, section 6.2.2).
    fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
}
