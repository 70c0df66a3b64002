//! The rest of a request's body that nobody read, because its answer did not need it.
//!
//! On HTTP/1.1 the connection would end with such an answer. A client that is still sending a large file then meets a
//! broken connection instead of the answer, for example that its token has expired. So the rest is read away first,
//! within bounds. It holds nothing but its connection meanwhile.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::timeout;

/// As much as the largest body has, and how long that is waited for.
const BYTES_MAX: usize = 16 << 20;
const TIME_MAX: Duration = Duration::from_secs(10);

/// Where an unread body is left.
pub struct Unread(Arc<Mutex<Option<Incoming>>>);

/// The request for whoever answers it; `Unread` when it has a body that can be left.
pub fn lend(request: Request<Incoming>) -> (Request<Body>, Option<Unread>) {
    // Who asks first whether to send has not sent, and reading would tell it to.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return (request.map(Body::new), None);
    }
    let left = Arc::<Mutex<Option<Incoming>>>::default();
    let unread = Unread(left.clone());
    (request.map(|body| Body::new(Lent { body: Some(body), left })), Some(unread))
}

impl Unread {
    /// Reads away what was left, unless the connection ends anyway.
    pub async fn read_away(self, answer: &HeaderMap) {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut body) = left.filter(|body| !body.is_end_stream()) else { return };
        if answer.contains_key(header::CONNECTION) {
            return;
        }
        let reading = async {
            let mut read = 0;
            while read <= BYTES_MAX
                && let Some(Ok(frame)) = body.frame().await
            {
                read += frame.data_ref().map_or(0, |data| data.remaining());
            }
        };
        // A client that takes longer loses its connection, as it would have at once.
        // Boxed, since hardly any request comes here and all have room for it.
        let _ended = Box::pin(timeout(TIME_MAX, reading)).await;
    }
}

/// A body that is left when it is dropped.
struct Lent {
    body: Option<Incoming>,
    left: Arc<Mutex<Option<Incoming>>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}
