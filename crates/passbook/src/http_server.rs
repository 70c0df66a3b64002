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
//! | does not read its answer | [`Bounds::write_timeout`]: of the connection, or of one HTTP/2 stream |
//! | opens very many connections | [`Bounds::connections_per_peer_max`]; and when all are taken, whoever has the most makes room |
//! | stalls in a TLS handshake, or speaks something else | [`Bounds::header_timeout`], counted from the accept |
//! | speaks plain HTTP from another machine that is no named proxy | closed at once |
//!
//! A request that names a host which is not this server's gets the answer of [`Named::otherwise`] (`hosts`).
//!
//! A proxy's connections carry many clients. They have no cap of their own; each request on them counts as a
//! connection of the client that the proxy names (`network`).
//!
//! No clock runs against a request that is being answered: how long that may take is its handler's affair.
//!
//! The protocol is found out here. `hyper-util` can do it too, but waits for the first bytes without a time-out.

mod activity;
mod answer_body;
mod peers;
mod socket;
pub mod tls;
mod unread;

use std::{convert::Infallible, future, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, StatusCode, Version, header};
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
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use self::{
    activity::Activity,
    peers::{Peers, Place},
    socket::Socket,
    tls::Certificates,
};
use crate::{
    hosts::{Hosts, NamedBefore},
    metrics::ConnectionGauge,
    network::Proxies,
};

/// A request head must arrive within this, and so must the next one on a kept connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an HTTP/2 connection is kept after its last request. Below a minute: until then its header table holds the
/// credentials of that request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// How long a client may leave an answer unread while the socket is full.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest request head.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Connections served at once. Of further ones, those of peers that have few get a place of the peer that has the most,
/// and the others wait, unread, until one ends.
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
    /// For the client to read something while an answer waits: while the socket is full, or an HTTP/2 stream's window.
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

/// How a server stops: first it drains, then it stops.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Answers on HTTP/1 from now on end their connection, so that few are idle when the listening ends: a client whose
    /// request crosses the closing of its idle connection sees a failure.
    pub draining: CancellationToken,
    /// Nothing new is accepted, running requests finish.
    pub stopped: CancellationToken,
}

/// What lies between the network and the router.
#[derive(Default)]
pub struct Edge {
    /// Time-outs and caps.
    pub bounds: Bounds,
    /// Certificates; without them HTTP is plain, and then only this machine and the proxies are served.
    pub certificates: Option<Arc<Certificates>>,
    /// Who is believed about a client's address.
    pub proxies: Proxies,
    /// Counts open connections.
    pub open: ConnectionGauge,
    /// Which host names are answered; without it all are.
    pub named: Option<Named>,
    /// Plain HTTP is spoken with every machine that reaches the listener: what is said there is no secret of an app.
    pub is_open: bool,
}

/// Host names, and what is said to a request under another one.
#[derive(Clone)]
pub struct Named {
    /// The names.
    pub hosts: Hosts,
    /// Answers the others; a request has the [`Refusal`](crate::hosts::Refusal) among its extensions.
    pub otherwise: Router,
}

/// Whose request it is: the peer, or the client that a named proxy passes on. For accounting and logs only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Serves plain HTTP within `bounds` until `stop`, then lets running requests finish.
pub async fn serve_within(bounds: Bounds, listener: TcpListener, router: Router, stop: CancellationToken) {
    let stop = Stop { stopped: stop, ..Stop::default() };
    serve(Edge { bounds, ..Edge::default() }, listener, router, stop).await;
}

/// Serves until told to stop, then lets running requests finish.
pub async fn serve(edge: Edge, listener: TcpListener, router: Router, stop: Stop) {
    let server = Arc::new(Server::new(edge, router, stop.clone()));
    let connections = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.stopped.cancelled() => break,
        };
        let Ok((stream, address)) = stream else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let server = server.clone();
        connections.spawn(async move { server.greet(stream, address.ip()).await });
    }
    // Who had connected already when the listening ended is still served.
    while let Some(Ok((stream, address))) = listener.accept().now_or_never() {
        let server = server.clone();
        connections.spawn(async move { server.greet(stream, address.ip()).await });
    }
    drop(listener);
    connections.close();
    if timeout(DRAIN_PATIENCE, connections.wait()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

/// What all connections share.
struct Server {
    edge: Edge,
    peers: Arc<Peers>,
    /// Clients behind proxies, by the requests that run for them.
    proxied: Arc<Peers>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    router: Router,
    stop: Stop,
}

/// Who is at the other end of a connection.
struct Peer {
    address: IpAddr,
    place: Place,
    named: NamedBefore,
}

impl Server {
    fn new(edge: Edge, router: Router, stop: Stop) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(edge.bounds.header_timeout).max_buf_size(HEADER_BYTES_MAX);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(edge.bounds.header_timeout)
            .keep_alive_timeout(edge.bounds.header_timeout)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX as u32);
        let Bounds { connections_max, connections_per_peer_max, .. } = edge.bounds;
        let peers = Arc::new(Peers::new(connections_per_peer_max, connections_max));
        let proxied = Arc::new(Peers::new(connections_per_peer_max, usize::MAX));
        Self { edge, peers, proxied, http1, http2, router, stop }
    }

    /// One connection, if its address may have one and one comes free in time; see the module page.
    async fn greet(&self, stream: TcpStream, address: IpAddr) {
        let address = address.to_canonical();
        let is_proxy = self.edge.proxies.contain(address);
        if self.edge.certificates.is_none() && !self.edge.is_open && !is_proxy && !address.is_loopback() {
            return;
        }
        let entering = self.peers.wait_to_enter(address, is_proxy);
        if let Ok(Some(place)) = timeout(self.edge.bounds.header_timeout, entering).await {
            self.attend(stream, Peer { address, place, named: NamedBefore::default() }).await;
        }
    }

    /// One connection from its first byte to its last.
    async fn attend(&self, stream: TcpStream, peer: Peer) {
        let _open = self.edge.open.enter();
        // Answers are small and written at once: waiting to fill a packet only adds latency.
        let _ = stream.set_nodelay(true);
        let Some(certificates) = &self.edge.certificates else {
            return self.converse(stream, &peer).await;
        };
        let shaking_hands = timeout(self.edge.bounds.header_timeout, certificates.acceptor().accept(stream));
        let stream = tokio::select! {
            biased;
            stream = shaking_hands => stream,
            () = self.stop.stopped.cancelled() => return,
            () = peer.place.gives_way() => return,
        };
        // A client that speaks something else is told so by the TLS library, and is gone.
        if let Ok(Ok(stream)) = stream {
            self.converse(stream, &peer).await;
        }
    }

    /// HTTP on a stream, in whichever version the client speaks.
    async fn converse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(&self, mut stream: S, peer: &Peer) {
        let start = tokio::select! {
            biased;
            start = timeout(self.edge.bounds.header_timeout, socket::read_start(&mut stream)) => start,
            () = self.stop.stopped.cancelled() => return,
            () = peer.place.gives_way() => return,
        };
        // Nobody is owed an answer who sent nothing, or too little to tell what it is.
        let Ok(Ok(start)) = start else { return };
        let speaks_http2 = start.is_http2();
        let io = TokioIo::new(Socket::new(stream, start, self.edge.bounds.write_timeout));
        if speaks_http2 {
            let activity = Arc::new(Activity::default());
            let service = service_fn(|request: Request<Incoming>| {
                let running = activity.clone().begin();
                let answering = self.answer(request, peer);
                let patience = self.edge.bounds.write_timeout;
                async move {
                    Ok::<_, Infallible>(answering.await?.map(|body| answer_body::watched(body, running, patience)))
                }
            });
            let idle = activity.idle(self.edge.bounds.header_timeout, self.edge.bounds.idle_timeout);
            self.run(self.http2.serve_connection(io, service), peer, idle).await;
        } else {
            let service = service_fn(|request: Request<Incoming>| self.answer(request, peer));
            // The time-out for the next request head does the same.
            let idle = future::pending();
            self.run(self.http1.serve_connection(io, service), peer, idle).await;
        }
    }

    /// Drives a connection to its end, which it is led to once the server stops or it has been `idle` for too long.
    async fn run(&self, connection: impl GracefulConnection, peer: &Peer, idle: impl Future<Output = ()>) {
        let mut connection = pin!(connection);
        tokio::select! {
            // The connection first: it has bytes of a request already, and must see them before it is told to end.
            biased;
            // A connection that ends in an error is the client's affair: it went away or spoke no HTTP.
            _ = connection.as_mut() => return,
            () = self.stop.stopped.cancelled() => {}
            () = idle => {}
            // Nothing runs on it, or its peer has more than its share.
            () = peer.place.gives_way() => return,
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(DRAIN_PATIENCE, connection).await;
    }

    /// What answers the request, by the host that it names.
    fn router_for(&self, request: &mut Request<Incoming>, peer: &Peer) -> Router {
        if let Some(named) = &self.edge.named
            && let Some(refusal) = named.hosts.refuse(request, &peer.named)
        {
            request.extensions_mut().insert(refusal);
            return named.otherwise.clone();
        }
        self.router.clone()
    }

    /// One request. Owns what it needs: HTTP/2 runs it apart from its connection.
    fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: &Peer,
    ) -> impl Future<Output = Result<Response, Infallible>> + Send + 'static {
        let client = self.edge.proxies.client(peer.address, request.headers());
        request.extensions_mut().insert(ClientAddress(client));
        // Directly connected clients were counted when they connected.
        let place = (client != peer.address).then(|| self.proxied.enter(client));
        let running = peer.place.begin();
        let keeps_alive = request.version() < Version::HTTP_2;
        let router = self.router_for(&mut request, peer);
        let draining = self.stop.draining.clone();
        async move {
            let (request, unread) = match keeps_alive {
                true => unread::lend(request),
                false => (request.map(Body::new), None),
            };
            let mut response = match place {
                Some(None) => crowded(),
                _ => router.oneshot(request).await?,
            };
            if let Some(unread) = unread {
                unread.read_away(response.headers()).await;
            }
            if keeps_alive && draining.is_cancelled() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| Body::new(running.until_end_of(body))))
        }
    }
}

/// The answer to a proxy's client that has too many requests running.
fn crowded() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
