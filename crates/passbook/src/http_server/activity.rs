//! Whether an HTTP/2 connection is in use.
//!
//! What counts is requests, not bytes: a client that sends a frame a minute, or trickles a request head, keeps bytes
//! moving for ever. A request counts from its head until the last byte of its answer was handed on
//! ([`answer_body`](super::answer_body)), so that an answer may last as long as its handler wants; one that the client
//! does not take stops counting.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// The requests that are running on one connection.
#[derive(Default)]
pub struct Activity(watch::Sender<usize>);

/// A running request.
pub struct Running(Arc<Activity>);

impl Activity {
    /// Counts a request until the value is dropped.
    pub fn begin(self: Arc<Self>) -> Running {
        self.0.send_modify(|running| *running += 1);
        Running(self)
    }

    /// Ends once no request has come within `first`, or none has run for as long as `next` after that.
    pub async fn idle(&self, first: Duration, next: Duration) {
        let mut running = self.0.subscribe();
        let mut patience = first;
        // An error would mean that the sender is gone, but `self` has it.
        while running.wait_for(|running| *running == 0).await.is_ok()
            && timeout(patience, running.changed()).await.is_ok()
        {
            patience = next;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|running| *running -= 1);
    }
}
