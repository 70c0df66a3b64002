//! What the client tells `tracing` (feature `tracing`): one span for each call, one event for each repetition.
//!
//! Both name the operation and never a path, a query, a header or a body: ids are nobody's business in a log, and the
//! rest may hold secrets. The error of an event is [`Error`]'s `Display`, which has nothing a server wrote freely.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use http::Method;

use super::ApiResponse;
use crate::Error;

type Answer = Result<ApiResponse<Bytes>, Error>;

/// Runs a call in its span.
#[cfg(feature = "tracing")]
pub(super) async fn call(operation: &'static str, method: &Method, call: impl Future<Output = Answer>) -> Answer {
    use tracing::{Instrument as _, field::Empty};

    let span = tracing::debug_span!(
        "moneykit.call",
        operation,
        http.method = method.as_str(),
        http.status = Empty,
        request_id = Empty,
        error_code = Empty,
    );
    let answer = call.instrument(span.clone()).await;
    match &answer {
        Ok(response) => {
            span.record("http.status", response.status.as_u16());
            span.record("request_id", super::exchange::request_id(&response.headers));
        }
        Err(error) => {
            span.record("http.status", error.status().map(|status| status.as_u16()));
            span.record("request_id", error.request_id());
            span.record("error_code", error.printable_code());
        }
    }
    answer
}

#[cfg(not(feature = "tracing"))]
pub(super) async fn call(_: &'static str, _: &Method, call: impl Future<Output = Answer>) -> Answer {
    call.await
}

/// Says that a call will be made again.
#[cfg(feature = "tracing")]
pub(super) fn repetition(operation: &'static str, attempt: u32, delay: Duration, error: &Error) {
    tracing::debug!(operation, attempt, delay_ms = delay.as_millis(), %error, "repeating call");
}

#[cfg(not(feature = "tracing"))]
pub(super) fn repetition(_: &'static str, _: u32, _: Duration, _: &Error) {}
