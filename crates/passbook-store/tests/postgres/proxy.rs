//! A TCP proxy before the server that can cut a connection at its COMMIT.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The COMMIT of the store, as a simple query.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// What happens to the next COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NextCommit {
    /// It passes.
    Passes,
    /// It reaches the server, the answer does not come back.
    AnswerIsLost,
    /// It does not reach the server.
    IsLost,
}

pub struct Proxy {
    pub address: SocketAddr,
    next: Arc<AtomicU8>,
}

impl Proxy {
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let next = Arc::new(AtomicU8::new(NextCommit::Passes as u8));
        let at_next = Arc::clone(&next);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let next = Arc::clone(&at_next);
                tokio::spawn(async move {
                    let server = TcpStream::connect(server).await.unwrap();
                    forward(client, server, &next).await;
                });
            }
        });
        Self { address, next }
    }

    pub fn at_next_commit(&self, what: NextCommit) {
        self.next.store(what as u8, Ordering::SeqCst);
    }

    /// Whether the cut was made.
    pub fn has_cut(&self) -> bool {
        self.next.load(Ordering::SeqCst) == NextCommit::Passes as u8
    }
}

async fn forward(client: TcpStream, server: TcpStream, next: &AtomicU8) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut request = vec![0; 65536];
    let mut answer = vec![0; 65536];
    loop {
        tokio::select! {
            read = from_client.read(&mut request) => {
                let Ok(length @ 1..) = read else { return };
                let commits = request[..length].windows(COMMIT.len()).any(|window| window == COMMIT);
                let cut = if commits { next.swap(NextCommit::Passes as u8, Ordering::SeqCst) } else { 0 };
                if cut == NextCommit::IsLost as u8 {
                    return;
                }
                if to_server.write_all(&request[..length]).await.is_err() {
                    return;
                }
                if cut == NextCommit::AnswerIsLost as u8 {
                    // The answer proves that the server is done; it goes no further.
                    let _commit_was_done = from_server.read(&mut answer).await;
                    return;
                }
            }
            read = from_server.read(&mut answer) => {
                let Ok(length @ 1..) = read else { return };
                if to_client.write_all(&answer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
