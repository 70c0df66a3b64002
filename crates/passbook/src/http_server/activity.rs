//! Whether an HTTP/2 connection is in use.
//!
//! What counts is requests, not bytes: a client that sends a frame a minute, or trickles a request head, keeps bytes
//! moving for ever. A request counts from its head until the last byte of its answer was handed on
//! ([`answer_body`](super::answer_body)), so that an answer may last as long as its handler wants; one that the client
//! does not take stops counting. A client that leaves several untaken loses its connection: each may hold a piece.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// Answers of one connection that the client may leave untaken.
const UNTAKEN_MAX: usize = 8;

/// The requests of one connection.
#[derive(Default)]
pub struct Activity(watch::Sender<Requests>);

#[derive(Default)]
struct Requests {
    running: usize,
    untaken: usize,
}

/// A running request.
pub struct Running(Arc<Activity>);

impl Activity {
    /// Counts a request until the value is dropped.
    pub fn begin(self: Arc<Self>) -> Running {
        self.0.send_modify(|requests| requests.running += 1);
        Running(self)
    }

    /// Ends once no request has come within `first`, or none has run for as long as `next` after that, or too many
    /// answers are left untaken.
    pub async fn idle(&self, first: Duration, next: Duration) {
        let mut requests = self.0.subscribe();
        let mut patience = first;
        loop {
            let waited = requests.wait_for(|now| now.running == 0 || now.untaken > UNTAKEN_MAX).await;
            // An error would mean that the sender is gone, but `self` has it.
            if waited.map_or(true, |now| now.untaken > UNTAKEN_MAX) {
                return;
            }
            if timeout(patience, requests.changed()).await.is_err() {
                return;
            }
            patience = next;
        }
    }
}

impl Running {
    /// The request is over, and the client did not take its answer.
    pub fn end_untaken(self) {
        self.0.0.send_modify(|requests| requests.untaken += 1);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|requests| requests.running -= 1);
    }
}
