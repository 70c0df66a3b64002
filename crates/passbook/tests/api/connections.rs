//! Connections over real sockets: whatever a client leaves undone, its connection ends, and running requests do not.

use std::{io, net::SocketAddr, time::Duration};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use passbook::http_server::{Bounds, serve_within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frame types and the flag of an answer to PING (RFC 9113, section 6).
const DATA: u8 = 0;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
/// Head of a frame without a payload: length, type, flags, stream.
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// `GET http://x/slow` as the only request of stream 1: END_STREAM and END_HEADERS; static table, two literals.
const GET_SLOW: &[u8] = b"\0\0\x0c\x01\x05\0\0\0\x01\x82\x86\x41\x01x\x44\x05/slow";
/// The same for `/drip` and `/held`.
const GET_DRIP: &[u8] = b"\0\0\x0c\x01\x05\0\0\0\x01\x82\x86\x41\x01x\x44\x05/drip";
const GET_HELD: &[u8] = b"\0\0\x0c\x01\x05\0\0\0\x01\x82\x86\x41\x01x\x44\x05/held";
/// Pieces of `/drip`, one each time the time-outs have run out.
const DRIPS: usize = 6;
/// The time-out under test; long enough for a busy machine to answer a ping.
const SHORT: Duration = Duration::from_millis(150);
/// How long a slow handler takes: every time-out would have run out several times.
const SLOW: Duration = Duration::from_millis(500);
/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than the buffers of both sockets hold.
const LARGE: usize = 64 << 20;
/// As large as a file that a client uploads.
const FILE: usize = 8 << 20;

struct Server {
    address: SocketAddr,
    stop: DropGuard,
    ended: JoinHandle<()>,
    /// Cancelled once the answer of `/held` is dropped.
    held: CancellationToken,
}

/// An answer that comes bit by bit, each time after every time-out has run out.
fn drip() -> Body {
    Body::from_stream(stream::iter(0..DRIPS).then(async |_| {
        sleep(SHORT * 2).await;
        Ok::<_, io::Error>(Bytes::from_static(b"drop "))
    }))
}

/// An answer without an end, which holds something.
fn endless(held: DropGuard) -> Body {
    Body::from_stream(stream::repeat_with(move || {
        let _held = &held;
        Ok::<_, io::Error>(Bytes::from_static(&[b'x'; 1_000]))
    }))
}

impl Server {
    async fn start(bounds: Bounds) -> Self {
        let held = CancellationToken::new();
        let router = Router::new()
            .route("/", get(async || "hello").post(async || http::StatusCode::UNAUTHORIZED))
            .route(
                "/slow",
                get(async || {
                    sleep(SLOW).await;
                    "done"
                }),
            )
            .route("/drip", get(async || drip()))
            .route(
                "/held",
                get({
                    let held = held.clone();
                    async move || endless(held.drop_guard())
                }),
            )
            .route("/large", get(async || vec![b'x'; LARGE]));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let ended = tokio::spawn(serve_within(bounds, listener, router, stop.clone()));
        Self { address, stop: stop.drop_guard(), ended, held }
    }

    async fn open(&self, sent: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(sent).await.unwrap();
        client
    }

    async fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut client = self.open(request.as_bytes()).await;
        String::from_utf8(rest(&mut client).await.unwrap()).unwrap()
    }
}

/// Everything until the server closes the connection, which it must.
async fn rest(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut bytes)).await.expect("the connection ends")?;
    Ok(bytes)
}

/// Reads an HTTP/2 frame, its type and payload, and answers as a good client does when the server asks whether it is
/// still there.
async fn acknowledge(client: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    client.read_exact(&mut head).await?;
    let [high, middle, low, kind, flags, ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
    client.read_exact(&mut payload).await?;
    if kind == PING && flags & ACK == 0 {
        client.write_all(&[&[0, 0, 8, PING, ACK, 0, 0, 0, 0], payload.as_slice()].concat()).await?;
    }
    Ok((kind, payload))
}

fn short() -> Bounds {
    Bounds { header_timeout: SHORT, idle_timeout: SHORT, write_timeout: SHORT, ..Bounds::default() }
}

#[tokio::test]
async fn silent_sockets_do_not_keep_others_out() {
    let request_head = &[0, 0, 99, 1, 4, 0, 0, 0, 1, 0x82];
    let silent = [
        b"".to_vec(),
        b"P".to_vec(),
        b"PRI * HTTP/2.0\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost".to_vec(),
        PREFACE.to_vec(),
        [PREFACE, EMPTY_SETTINGS].concat(),
        [PREFACE, EMPTY_SETTINGS, request_head].concat(),
    ];
    let server = Server::start(Bounds { connections_max: silent.len(), ..short() }).await;
    let mut clients = Vec::new();
    for sent in &silent {
        clients.push(server.open(sent).await);
    }
    assert!(server.get("/").await.ends_with("hello"));
    for mut client in clients {
        // A reset is as good an end as any.
        let _ = rest(&mut client).await;
    }
}

#[tokio::test]
async fn an_http2_client_that_only_keeps_bytes_moving_is_not_served_for_ever() {
    let server = Server::start(short()).await;
    let mut client = server.open(&[PREFACE, EMPTY_SETTINGS].concat()).await;
    let pinging = async {
        loop {
            client.write_all(&[0, 0, 8, PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).await?;
            acknowledge(&mut client).await?;
        }
    };
    let ended: io::Result<()> = timeout(PATIENCE, pinging).await.expect("the connection ends");
    ended.expect_err("an end of the connection");
}

#[tokio::test]
async fn a_request_may_run_longer_than_every_time_out() {
    let server = Server::start(short()).await;
    assert!(server.get("/slow").await.ends_with("done"));

    let mut client = server.open(&[PREFACE, EMPTY_SETTINGS, GET_SLOW].concat()).await;
    let answered = loop {
        match timeout(PATIENCE, acknowledge(&mut client)).await.expect("a frame").expect("the connection holds") {
            (DATA, payload) => break payload,
            (kind, _) => assert_ne!(kind, GOAWAY, "the connection was given up"),
        }
    };
    assert_eq!(answered, b"done");
}

#[tokio::test]
async fn an_answer_may_go_on_longer_than_every_time_out_in_both_versions() {
    let server = Server::start(short()).await;
    let answer = server.get("/drip").await;
    assert_eq!(answer.matches("drop ").count(), DRIPS);

    let mut client = server.open(&[PREFACE, EMPTY_SETTINGS, GET_DRIP].concat()).await;
    let mut answered = Vec::new();
    while answered.len() < DRIPS * "drop ".len() {
        match timeout(PATIENCE, acknowledge(&mut client)).await.expect("a frame").expect("the connection holds") {
            (DATA, payload) => answered.extend(payload),
            (kind, _) => assert_ne!(kind, GOAWAY, "the connection was given up"),
        }
    }
    assert_eq!(answered, "drop ".repeat(DRIPS).as_bytes());
}

#[tokio::test]
async fn an_http2_answer_that_nobody_takes_is_dropped_while_its_connection_lives() {
    let server = Server::start(Bounds { idle_timeout: PATIENCE, ..short() }).await;
    let mut client = server.open(&[PREFACE, EMPTY_SETTINGS, GET_HELD].concat()).await;
    let reading = async {
        let mut received = 0;
        // Reads whatever comes, and never says that there is room for more.
        while let Ok((kind, payload)) = acknowledge(&mut client).await {
            assert_ne!(kind, GOAWAY, "the connection was given up");
            received += if kind == DATA { payload.len() } else { 0 };
            // The window that every stream begins with (RFC 9113, section 6.9.2).
            assert!(received <= 65_535, "{received}");
        }
    };
    tokio::select! {
        () = reading => panic!("the connection ended"),
        dropped = timeout(PATIENCE, server.held.cancelled()) => dropped.expect("the answer is dropped"),
    }
}

#[tokio::test]
async fn a_request_that_arrives_in_pieces_is_put_together() {
    let server = Server::start(Bounds::default()).await;
    let request = b"PRIX / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.set_nodelay(true).unwrap();
    for byte in request {
        client.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = String::from_utf8(rest(&mut client).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending_and_the_connection_goes_on() {
    let server = Server::start(Bounds::default()).await;
    let mut client =
        server.open(format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {FILE}\r\n\r\n").as_bytes()).await;
    for _ in 0..FILE / 1024 {
        client.write_all(&[b'x'; 1024]).await.expect("the server reads on");
    }
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("the server reads on");
    let answers = String::from_utf8(rest(&mut client).await.expect("answers")).expect("text");
    assert!(answers.starts_with("HTTP/1.1 401") && answers.ends_with("hello"), "{answers}");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_does_not_hold_its_connection() {
    let server = Server::start(Bounds { connections_max: 1, ..short() }).await;
    let mut client = server.open(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(server.get("/").await.ends_with("hello"));
    let received = rest(&mut client).await.map_or(0, |bytes| bytes.len());
    assert!(received < LARGE, "{received}");
    let whole = server.get("/large").await;
    assert!(whole.len() > LARGE, "a client that reads gets all of it: {}", whole.len());
}

#[tokio::test]
async fn a_peer_with_too_many_connections_is_turned_away_until_one_ends() {
    let server = Server::start(Bounds { connections_per_peer_max: 2, ..Bounds::default() }).await;
    let (first, _second) = (server.open(b"").await, server.open(b"").await);
    let mut third = server.open(b"").await;
    assert_eq!(rest(&mut third).await.unwrap_or_default(), b"");
    drop(first);
    let served = async {
        loop {
            let mut client = TcpStream::connect(server.address).await.unwrap();
            let _ = client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            if rest(&mut client).await.is_ok_and(|answer| answer.ends_with(b"hello")) {
                return;
            }
        }
    };
    timeout(PATIENCE, served).await.expect("the place is given back");
}

#[tokio::test]
async fn a_stop_waits_for_running_requests_and_for_nothing_else() {
    let server = Server::start(Bounds::default()).await;
    let mut idle = Vec::new();
    for sent in [b"".as_slice(), b"P"] {
        idle.push(server.open(sent).await);
    }
    let mut running = server.open(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    // The server answers in the order of arrival here, so once this is answered it has seen everything above.
    assert!(server.get("/").await.ends_with("hello"));
    drop(server.stop);
    timeout(Duration::from_secs(5), server.ended).await.expect("a prompt end").unwrap();
    assert!(rest(&mut running).await.unwrap().ends_with(b"done"));
}

#[tokio::test]
async fn a_stop_tells_http2_clients_to_go_away_and_answers_what_they_asked() {
    let server = Server::start(Bounds::default()).await;
    let mut client = server.open(&[PREFACE, EMPTY_SETTINGS, GET_SLOW].concat()).await;
    // The server answers in the order of arrival here, so once this is answered it has seen the request above.
    assert!(server.get("/").await.ends_with("hello"));
    drop(server.stop);
    let (mut answered, mut told) = (Vec::new(), false);
    while let Ok((kind, payload)) = timeout(PATIENCE, acknowledge(&mut client)).await.expect("a frame or the end") {
        match kind {
            DATA => answered.extend(payload),
            GOAWAY => told = true,
            _ => {}
        }
    }
    assert!(told, "the client was not told");
    assert_eq!(answered, b"done");
    timeout(PATIENCE, server.ended).await.expect("an end").unwrap();
}
