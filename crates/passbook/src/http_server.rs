//! Accepting connections: time-outs, bounds, and an orderly end.
//!
//! Whatever a client does or leaves undone, its connection ends:
//!
//! | what the client does | what ends it |
//! | --- | --- |
//! | sends nothing, or part of the HTTP/2 preface | [`Bounds::header_timeout`], counted from the accept |
//! | sends part of a request head (HTTP/1) | [`Bounds::header_timeout`], counted from the head's first bytes |
//! | keeps a connection without a request | [`Bounds::header_timeout`] on HTTP/1, [`Bounds::idle_timeout`] on HTTP/2 |
//! | sends a body slowly | the API's own deadline for bodies |
//! | does not read its answer | [`Bounds::write_timeout`] |
//! | opens very many connections | [`Bounds::connections_per_peer_max`] |
//!
//! No clock runs against a request that is being answered: how long that may take is its handler's affair.
//!
//! The protocol is found out here. `hyper-util` can do it too, but waits for the first bytes without a time-out.

mod activity;
mod peers;
mod socket;

use std::{convert::Infallible, future, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use self::{activity::Activity, peers::Peers, socket::Socket};

/// A request head must arrive within this, and so must the next one on a kept connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an HTTP/2 connection is kept after its last request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a client may leave an answer unread while the socket is full.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest request head.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Connections served at once; further ones wait in the listen queue.
const CONNECTIONS_MAX: usize = 4_096;
/// Connections of one peer. Half of all, so that one address never shuts every other out; far above the thousand or so
/// that a test run on one machine opens.
const CONNECTIONS_PER_PEER_MAX: usize = 2_048;
/// Requests that one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 128;
/// How long running requests get after a stop.
const DRAIN_PATIENCE: Duration = Duration::from_secs(20);
/// Pause after the listener failed, for instance because no file descriptor was left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client may do to a connection and for how long; see the module page. The defaults are what is served with,
/// tests shorten them.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// For the first bytes, for a request head, and for the next request of a kept HTTP/1 connection.
    pub header_timeout: Duration,
    /// For the next request of an HTTP/2 connection that had one.
    pub idle_timeout: Duration,
    /// For the client to read something while an answer waits.
    pub write_timeout: Duration,
    /// Connections served at once.
    pub connections_max: usize,
    /// Connections of one peer address; further ones are closed at once.
    pub connections_per_peer_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            header_timeout: HEADER_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            connections_max: CONNECTIONS_MAX,
            connections_per_peer_max: CONNECTIONS_PER_PEER_MAX,
        }
    }
}

/// Serves until `stop`, then lets running requests finish.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve_within(Bounds::default(), listener, router, stop).await;
}

/// [`serve`] with other bounds.
pub async fn serve_within(bounds: Bounds, listener: TcpListener, router: Router, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(bounds.connections_max));
    let peers = Arc::new(Peers::new(bounds.connections_per_peer_max));
    let server = Arc::new(Server::new(bounds, router, stop.clone()));
    let connections = TaskTracker::new();
    loop {
        let permit = tokio::select! {
            permit = permits.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
            () = stop.cancelled() => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, address)) = stream else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(place) = peers.enter(address.ip()) else { continue };
        let server = server.clone();
        connections.spawn(async move {
            server.attend(stream).await;
            drop((place, permit));
        });
    }
    drop(listener);
    connections.close();
    if timeout(DRAIN_PATIENCE, connections.wait()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

/// What all connections share.
struct Server {
    bounds: Bounds,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    router: Router,
    stop: CancellationToken,
}

impl Server {
    fn new(bounds: Bounds, router: Router, stop: CancellationToken) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(bounds.header_timeout).max_buf_size(HEADER_BYTES_MAX);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(bounds.header_timeout)
            .keep_alive_timeout(bounds.header_timeout)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX as u32);
        Self { bounds, http1, http2, router, stop }
    }

    /// One connection from its first byte to its last.
    async fn attend(&self, mut stream: TcpStream) {
        // Answers are small and written at once: waiting to fill a packet only adds latency.
        let _ = stream.set_nodelay(true);
        let start = tokio::select! {
            biased;
            start = timeout(self.bounds.header_timeout, socket::read_start(&mut stream)) => start,
            () = self.stop.cancelled() => return,
        };
        // Nobody is owed an answer who sent nothing, or too little to tell what it is.
        let Ok(Ok(start)) = start else { return };
        let speaks_http2 = start.is_http2();
        let io = TokioIo::new(Socket::new(stream, start, self.bounds.write_timeout));
        if speaks_http2 {
            let activity = Arc::new(Activity::default());
            let service = service_fn(|request: Request<Incoming>| {
                let (router, running) = (self.router.clone(), activity.clone().begin());
                async move {
                    let answer = answer(router, request).await;
                    drop(running);
                    answer
                }
            });
            let idle = activity.idle(self.bounds.header_timeout, self.bounds.idle_timeout);
            self.run(self.http2.serve_connection(io, service), idle).await;
        } else {
            let service = service_fn(|request: Request<Incoming>| answer(self.router.clone(), request));
            // The time-out for the next request head does the same.
            let idle = future::pending();
            self.run(self.http1.serve_connection(io, service), idle).await;
        }
    }

    /// Drives a connection to its end, which it is led to once the server stops or it has been `idle` for too long.
    async fn run(&self, connection: impl GracefulConnection, idle: impl Future<Output = ()>) {
        let mut connection = pin!(connection);
        tokio::select! {
            // The connection first: it has bytes of a request already, and must see them before it is told to end.
            biased;
            // A connection that ends in an error is the client's affair: it went away or spoke no HTTP.
            _ = connection.as_mut() => return,
            () = self.stop.cancelled() => {}
            () = idle => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(DRAIN_PATIENCE, connection).await;
    }
}

async fn answer(router: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    router.oneshot(request.map(Body::new)).await
}
