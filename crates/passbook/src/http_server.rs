//! Accepting connections: time-outs, bounds, and an orderly end.
//!
//! The stock serve loop has no header time-out, so a client that sends a byte a minute could hold a connection for
//! ever; this one closes it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// A request head must arrive within this, and so must the next one on a kept connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest request head.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Connections served at once; further ones wait in the listen queue.
const CONNECTIONS_MAX: usize = 4_096;
/// Requests that one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 128;
/// How long running requests get after a stop.
const DRAIN_PATIENCE: Duration = Duration::from_secs(20);
/// Pause after the listener failed, for instance because no file descriptor was left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets running requests finish.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADER_TIMEOUT)
        .keep_alive_timeout(HEADER_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32);
    let builder = Arc::new(builder);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let permit = tokio::select! {
            permit = connections.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
            () = stop.cancelled() => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, _)) = stream else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let connection = connection(&builder, stream, router.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A connection that ends in an error is the client's affair: it went away or spoke no HTTP.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_PATIENCE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

fn connection(
    builder: &Arc<auto::Builder<TokioExecutor>>,
    stream: TcpStream,
    router: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>> + Send + 'static
{
    // Answers are small and written at once: waiting to fill a packet only adds latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let answer = router.oneshot(request.map(Body::new)).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|never| match never {}))
        }
    });
    builder.serve_connection(TokioIo::new(stream), service).into_owned()
}
