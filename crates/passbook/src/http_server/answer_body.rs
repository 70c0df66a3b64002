//! The body of an answer on HTTP/2, which counts as a running request until its last byte.
//!
//! HTTP/2 streams have windows of their own: a client can leave one answer unread while it takes the others, and no
//! write to the socket stalls. Hyper then stops asking for the answer's body, and a body that is not asked has no way to
//! notice. So a task of its own asks every body, and hands on one piece at a time. When the
//! client takes none for the write time-out, the body is dropped with all that it holds, and the stream is reset when the
//! client comes back to it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tokio::{sync::mpsc, time::timeout};

use super::activity::Running;

/// Most that is handed on at once, so that the last piece means that the client had room for all before it.
const PIECE_MAX: usize = 16 << 10;

/// See the module page.
pub fn watched(body: Body, running: Running, patience: Duration) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let (pieces, taken) = mpsc::channel(1);
    tokio::spawn(hand_on(body, running, pieces, patience));
    Body::new(Pieces(Some(taken)))
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the client did not take the answer")]
    NotTaken,
    #[error(transparent)]
    Broken(#[from] axum::Error),
}

/// What is handed on; `None` is the end, so that a body that was dropped is not mistaken for one that ended.
type Piece = Result<Option<Frame<Bytes>>, axum::Error>;

async fn hand_on(mut body: Body, running: Running, pieces: mpsc::Sender<Piece>, patience: Duration) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            // The client went away, or its connection did.
            () = pieces.closed() => return,
        };
        let is_end = !matches!(frame, Some(Ok(_)));
        for piece in cut_up(frame.transpose()) {
            match timeout(patience, pieces.send(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => return running.end_untaken(),
            }
        }
        if is_end {
            return;
        }
    }
}

/// Pieces of a frame of any length.
fn cut_up(frame: Result<Option<Frame<Bytes>>, axum::Error>) -> impl Iterator<Item = Piece> {
    let (mut long, other) = match frame.map(|frame| frame.map(Frame::into_data)) {
        Ok(Some(Ok(data))) => (data, None),
        Ok(Some(Err(trailers))) => (Bytes::new(), Some(Ok(Some(trailers)))),
        Ok(None) => (Bytes::new(), Some(Ok(None))),
        Err(error) => (Bytes::new(), Some(Err(error))),
    };
    let pieces = std::iter::from_fn(move || {
        let length = long.len().min(PIECE_MAX);
        // Its own memory, so that a piece which nobody takes does not keep the whole frame.
        (length > 0).then(|| Ok(Some(Frame::data(Bytes::copy_from_slice(&long.split_to(length))))))
    });
    pieces.chain(other)
}

/// A body that is handed on in pieces; `None` after its end, whole or not.
struct Pieces(Option<mpsc::Receiver<Piece>>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Some(pieces) = &mut self.0 else { return Poll::Ready(None) };
        let last = match ready!(pieces.poll_recv(context)) {
            Some(Ok(Some(frame))) => return Poll::Ready(Some(Ok(frame))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some(Err(error.into())),
            None => Some(Err(Cut::NotTaken)),
        };
        self.0 = None;
        Poll::Ready(last)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use futures_util::stream;

    use super::*;
    use crate::http_server::activity::Activity;

    const PATIENCE: Duration = Duration::from_secs(20);
    const IDLE: Duration = Duration::from_secs(75);

    fn running() -> (Arc<Activity>, Running) {
        let activity = Arc::<Activity>::default();
        let running = activity.clone().begin();
        (activity, running)
    }

    /// Ends when it is dropped.
    struct Dropped(Arc<AtomicBool>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_until_its_last_byte_was_taken() {
        let (activity, running) = running();
        let slow = stream::unfold(0, |number| async move {
            tokio::time::sleep(PATIENCE * 3).await;
            (number < 5).then(|| (Ok::<_, Infallible>(Bytes::from_static(b"x")), number + 1))
        });
        let body = watched(Body::from_stream(slow), running, PATIENCE);
        let began = tokio::time::Instant::now();
        let idle = tokio::spawn(async move { activity.idle(IDLE, IDLE).await });
        assert_eq!(body.collect().await.expect("all of it").to_bytes(), "xxxxx");
        assert!(!idle.is_finished(), "it was in use for {:?}", began.elapsed());
        idle.await.expect("an end");
        let lasted = began.elapsed();
        assert!(lasted >= PATIENCE * 18 + IDLE && lasted < PATIENCE * 19 + IDLE, "{lasted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_is_dropped_and_is_not_mistaken_for_a_whole_one() {
        let (activity, running) = running();
        let is_dropped = Arc::new(AtomicBool::new(false));
        let held = Dropped(is_dropped.clone());
        let endless = stream::repeat_with(move || {
            let _held = &held;
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1_000]))
        });
        let mut body = watched(Body::from_stream(endless), running, PATIENCE);
        for _ in 0..100 {
            tokio::time::sleep(PATIENCE / 2).await;
            body.frame().await.expect("a piece").expect("of the answer");
        }
        assert!(!is_dropped.load(Ordering::Acquire), "a client that takes a little keeps it");
        tokio::time::sleep(PATIENCE * 2).await;
        assert!(is_dropped.load(Ordering::Acquire));
        activity.idle(IDLE, IDLE).await;
        let rest: Vec<_> = stream::StreamExt::collect(body.into_data_stream()).await;
        assert!(rest.last().expect("an end").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_arrives_whole() {
        for length in [0, 1, PIECE_MAX, PIECE_MAX + 1, 5 * PIECE_MAX + 7] {
            let (_, running) = running();
            let whole: Bytes = (0..length).map(|index| (index % 251) as u8).collect();
            let body = watched(Body::from(whole.clone()), running, PATIENCE);
            assert_eq!(body.collect().await.expect("all of it").to_bytes(), whole, "{length}");
        }
    }
}
