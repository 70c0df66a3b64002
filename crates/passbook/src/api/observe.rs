//! What surrounds every handler: a request id, metrics, and a net under panics.
//!
//! It wraps the handler itself, not the router, so that it knows the operation without looking anything up.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    extract::Request,
    handler::Handler,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{
    Api,
    allowance::Counted,
    errors::ApiError,
    ignored::{IGNORED_PARAMETERS, Ignored},
    operation::Operation,
    standing::AskedBy,
};
use crate::{
    metrics::Metrics,
    system::{hex, random_bits},
};

/// The header that carries the request id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The server sends 429 and 503 with this delay, and holds nothing meanwhile. Otherwise a client that ignores
/// `Retry-After` keeps the processor busy with refusals alone.
const REFUSED_AFTER: Duration = Duration::from_millis(10);

/// Makes request ids: random bits of the process, then a counter. Unique without a lock or a random draw per request.
pub struct RequestIds {
    process: String,
    counter: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { process: hex(&random_bits().to_be_bytes()[..6]), counter: AtomicU64::new(0) }
    }
}

impl RequestIds {
    /// `req_`, twelve digits of the process and ten of the request.
    const LENGTH: usize = 26;

    fn next(&self) -> HeaderValue {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut text = String::with_capacity(Self::LENGTH);
        text.push_str("req_");
        text.push_str(&self.process);
        // Ten digits as long as they are enough.
        text.push_str(&hex(&n.to_be_bytes()[if n >> 40 == 0 { 3 } else { 0 }..]));
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).expect("hex digits are a valid header value")
    }
}

/// A handler that is observed; see [`observed`].
#[derive(Clone)]
pub struct Observed<H> {
    operation: Operation,
    handler: H,
}

/// A request that is being answered; it may also be dropped, when its client goes away.
struct InFlight<'a>(&'a Metrics);

impl<'a> InFlight<'a> {
    fn begin(metrics: &'a Metrics) -> Self {
        metrics.in_flight.inc();
        Self(metrics)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// Observes `handler` as `operation`.
pub fn observed<H>(operation: Operation, handler: H) -> Observed<H> {
    Observed { operation, handler }
}

impl<H, T> Handler<T, Arc<Api>> for Observed<H>
where
    H: Handler<T, Arc<Api>>,
    T: 'static,
{
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, mut request: Request, api: Arc<Api>) -> Self::Future {
        Box::pin(async move {
            let began = Instant::now();
            let operation = self.operation;
            let request_id = api.request_ids.next();
            request.extensions_mut().insert(operation);
            let counted = api.limits.as_ref().map(|_| Counted::default());
            if let Some(counted) = &counted {
                request.extensions_mut().insert(counted.clone());
            }
            let query = request.uri().query().is_some().then(|| (request.uri().clone(), Ignored::default()));
            if let Some((_, ignored)) = &query {
                request.extensions_mut().insert(ignored.clone());
            }
            let (asked_by, is_safe) = (AskedBy::default(), request.method().is_safe());
            request.extensions_mut().insert(asked_by.clone());
            let in_flight = InFlight::begin(&api.metrics);
            let answered = AssertUnwindSafe(self.handler.call(request, api.clone())).catch_unwind().await;
            let mut response = answered.unwrap_or_else(|_| {
                // The panic hook has logged where; here it is only turned into an honest answer.
                tracing::error!(request.id = ?request_id, operation = operation.id(), "handler panicked");
                ApiError::internal().into_response()
            });
            // What was withdrawn while the call waited gets no answer; what it did stays done. A fault tells nothing.
            if let Some(standing) = asked_by.standing().filter(|_| !response.status().is_server_error())
                && let Err(withdrawn) = standing.check_withdrawal(&api.services).await
            {
                // When the store cannot be asked, a change that was made keeps its answer; a read gets none.
                if is_safe || !withdrawn.is_server_error() {
                    response = withdrawn.into_response();
                }
            }
            drop(in_flight);
            let status = response.status();
            api.metrics.answered(operation, status, began.elapsed().as_secs_f64());
            tracing::debug!(request.id = ?request_id, operation = operation.id(), status = status.as_u16(), "answered");
            if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                // Boxed: a timer would make the future of every request larger, and hard to align.
                Box::pin(tokio::time::sleep(REFUSED_AFTER)).await;
            }
            let headers = response.headers_mut();
            headers.insert(REQUEST_ID, request_id);
            if let Some(counted) = &counted {
                counted.tell(headers);
            }
            if let Some(names) = query.and_then(|(uri, ignored)| ignored.told(&uri, status)) {
                api.metrics.ignored_parameters(operation);
                headers.insert(IGNORED_PARAMETERS, names);
            }
            // Nearly every answer is one end user's data or one client's secret; the few that may be kept say so.
            headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
            response
        })
    }
}
