//! A TCP proxy in front of a PostgreSQL server that cuts a connection at its COMMIT, before or after the server got it.
//!
//! It reads what the client sends message by message (PostgreSQL documentation, "Frontend/Backend Protocol", message
//! formats) and understands just enough to know a COMMIT, as a simple query or as a prepared statement. What the server
//! sends is passed on unread. TLS is not spoken: the server under test reaches the database in the clear.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

/// How long the server gets to carry out a COMMIT whose answer is thrown away.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Larger than any message of ours; a larger one is passed on all the same, in one piece.
const READ_BYTES: usize = 64 * 1024;

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server never sees the COMMIT.
    Before = 1,
    /// The server gets it; its answer is lost.
    After = 2,
}

/// A running proxy; it ends when dropped.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Default)]
struct Shared {
    /// A [`Cut`] as a number for the next COMMIT of any connection; 0 for none.
    armed: AtomicU8,
    cuts: AtomicU64,
    was_cut: Notify,
}

impl FaultProxy {
    /// Listens on a free port and passes everything on to `upstream`.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the proxy's port")?;
        let (address, shared) = (listener.local_addr()?, Arc::new(Shared::default()));
        let task = tokio::spawn(accept(listener, upstream, Arc::clone(&shared))).abort_handle();
        Ok(Self { address, shared, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts one connection at its next COMMIT and waits until that has happened; false when none came in this time.
    pub async fn cut(&self, cut: Cut, within: Duration) -> bool {
        let happened = self.shared.was_cut.notified();
        self.shared.armed.store(cut as u8, Ordering::Release);
        let in_time = tokio::time::timeout(within, happened).await.is_ok();
        self.shared.armed.store(0, Ordering::Release);
        in_time
    }

    /// Connections cut so far.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Takes the armed cut, if there is one: only one connection gets it.
    fn take(&self) -> Option<Cut> {
        match self.armed.swap(0, Ordering::AcqRel) {
            1 => Some(Cut::Before),
            2 => Some(Cut::After),
            _ => None,
        }
    }

    fn note_cut(&self) {
        self.cuts.fetch_add(1, Ordering::Relaxed);
        self.was_cut.notify_waiters();
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, shared: Arc<Shared>) {
    // Aborted together with this task.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // A server that is down refuses; the client sees its connection end.
            let Ok(server) = TcpStream::connect(upstream).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            pass_on(client, server, &shared).await;
        });
    }
}

/// Passes on both ways until one side ends or the connection is cut; dropping the sockets ends both.
async fn pass_on(client: TcpStream, server: TcpStream, shared: &Shared) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let reply = Reply::default();
    tokio::select! {
        () = requests(from_client, to_server, shared, &reply) => {}
        () = answers(from_server, to_client, &reply) => {}
    }
}

/// What the two directions of a connection tell each other.
#[derive(Default)]
struct Reply {
    /// The client gets nothing any more.
    is_muted: AtomicBool,
    /// Something came from the server since then.
    came: Notify,
}

async fn requests(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, shared: &Shared, reply: &Reply) {
    let (mut buffer, mut reader) = (Vec::with_capacity(READ_BYTES), Reader::default());
    loop {
        if !matches!(client.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
        let mut whole = 0;
        while let Some(message) = reader.next(&buffer[whole..]) {
            let is_commit = reader.is_commit(&buffer[whole..whole + message]);
            if is_commit && let Some(cut) = shared.take() {
                if cut == Cut::After {
                    reply.is_muted.store(true, Ordering::Release);
                    if server.write_all(&buffer).await.is_ok() {
                        let _ = tokio::time::timeout(ANSWER_MAX, reply.came.notified()).await;
                    }
                }
                shared.note_cut();
                return;
            }
            whole += message;
        }
        if server.write_all(&buffer[..whole]).await.is_err() {
            return;
        }
        buffer.drain(..whole);
    }
}

async fn answers(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, reply: &Reply) {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    loop {
        buffer.clear();
        if !matches!(server.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
        if reply.is_muted.load(Ordering::Acquire) {
            reply.came.notify_one();
        } else if client.write_all(&buffer).await.is_err() {
            return;
        }
    }
}

/// Finds messages in what a client sends, and the COMMIT among them.
#[derive(Default)]
struct Reader {
    /// The start-up message, which has no type, has passed.
    is_started: bool,
    /// Names of prepared statements that are a COMMIT.
    prepared: HashMap<Vec<u8>, bool>,
    /// Whether the portal that was bound last is of such a statement.
    is_bound: bool,
}

impl Reader {
    /// Length of the first message, when all of it is there.
    fn next(&mut self, bytes: &[u8]) -> Option<usize> {
        let type_bytes = usize::from(self.is_started);
        let length = bytes.get(type_bytes..type_bytes + 4)?.try_into().ok()?;
        let total = type_bytes + usize::try_from(u32::from_be_bytes(length)).ok()?;
        (bytes.len() >= total).then_some(total)
    }

    /// Whether this whole message makes the server commit.
    fn is_commit(&mut self, message: &[u8]) -> bool {
        if !std::mem::replace(&mut self.is_started, true) {
            return false;
        }
        let body = &message[5..];
        match message[0] {
            b'Q' => is_commit_text(body),
            b'P' => {
                let (name, rest) = split_text(body);
                self.prepared.insert(name.to_vec(), is_commit_text(rest));
                false
            }
            b'B' => {
                let (_portal, rest) = split_text(body);
                self.is_bound = self.prepared.get(split_text(rest).0).copied().unwrap_or(false);
                false
            }
            b'E' => self.is_bound,
            _ => false,
        }
    }
}

/// A text that ends with a zero byte, and what follows.
fn split_text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

fn is_commit_text(bytes: &[u8]) -> bool {
    let (text, _) = split_text(bytes);
    String::from_utf8_lossy(text).trim().trim_end_matches(';').eq_ignore_ascii_case("commit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("short").to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    /// Positions of the messages that commit.
    fn commits(messages: &[Vec<u8>]) -> Vec<usize> {
        let startup = 8_u32.to_be_bytes();
        let bytes = [&startup[..], &196_608_u32.to_be_bytes(), &messages.concat()].concat();
        let (mut reader, mut at, mut found) = (Reader::default(), 0, Vec::new());
        for position in 0.. {
            let Some(length) = reader.next(&bytes[at..]) else { break };
            if reader.is_commit(&bytes[at..at + length]) {
                found.push(position - 1);
            }
            at += length;
        }
        assert_eq!(at, bytes.len(), "every message is whole");
        found
    }

    #[test]
    fn a_simple_commit_is_seen_and_other_queries_are_not() {
        let queries = [&b"BEGIN\0"[..], b"INSERT INTO t VALUES ('COMMIT')\0", b"commit;\0"];
        assert_eq!(commits(&queries.map(|query| message(b'Q', query))), [2]);
    }

    #[test]
    fn a_prepared_commit_is_seen_when_it_is_executed() {
        let messages = [
            message(b'P', b"s1\0COMMIT\0\0\0"),
            message(b'P', b"s2\0SELECT 1\0\0\0"),
            message(b'B', b"\0s2\0\0\0\0\0\0\0"),
            message(b'E', b"\0\0\0\0\0"),
            message(b'B', b"\0s1\0\0\0\0\0\0\0"),
            message(b'E', b"\0\0\0\0\0"),
        ];
        assert_eq!(commits(&messages), [5]);
    }

    #[tokio::test]
    async fn an_armed_proxy_cuts_one_commit_and_passes_on_the_rest() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = FaultProxy::start(server.local_addr().expect("an address")).await.expect("a proxy");
        let mut client = TcpStream::connect(proxy.address()).await.expect("a connection");
        let (mut passed_on, _) = server.accept().await.expect("the proxy connects");
        let startup = [8_u32.to_be_bytes(), 196_608_u32.to_be_bytes()].concat();
        let begin = message(b'Q', b"BEGIN\0");
        client.write_all(&[startup.clone(), begin.clone()].concat()).await.expect("sent");
        let mut got = vec![0; startup.len() + begin.len()];
        passed_on.read_exact(&mut got).await.expect("both are passed on");
        let cut = proxy.cut(Cut::Before, Duration::from_secs(10));
        let send = async { client.write_all(&message(b'Q', b"COMMIT\0")).await.expect("sent") };
        let (was_cut, ()) = tokio::join!(cut, send);
        assert!(was_cut && proxy.cuts() == 1);
        assert_eq!(passed_on.read(&mut got).await.expect("the end"), 0, "the server never sees the COMMIT");
        assert_eq!(client.read(&mut got).await.unwrap_or(0), 0, "the client gets nothing");
    }
}
