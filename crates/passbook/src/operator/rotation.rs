//! Wrapping data keys anew in the background, until nothing is wrapped by an older master key.
//!
//! It goes by what is stored, not by who asked: a process that starts after a crash finds what is left and goes on.
//! After each batch it pauses for as long as the batch took, so that other writes keep at least half of the store.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use passbook_store::port::{StoreError, Upkeep};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Operator;

/// Rows of a batch: a few milliseconds of the writer's time.
const BATCH: u32 = 64;
/// Shortest pause between batches.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// How often work is looked for when no bell rings: another replica may have activated a key.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Operator {
    /// The background work of this operator, until `stop`.
    pub fn rotation(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        run(Arc::clone(&self.store), Arc::clone(&self.rotation_bell), stop)
    }

    /// Wraps everything anew that is left to do, now.
    ///
    /// # Errors
    /// When the store failed; what was done stays done.
    pub async fn finish_rotation(&self) -> Result<u64, StoreError> {
        Ok(walk(&*self.store, &CancellationToken::new()).await?.rewrapped)
    }
}

/// What a walk did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Walked {
    rewrapped: u64,
    unreadable: u64,
}

async fn run(store: Arc<dyn Upkeep>, bell: Arc<Notify>, stop: CancellationToken) {
    let mut unreadable_before = 0;
    while !stop.is_cancelled() {
        let walked = match store.follow_active_key().await {
            Ok(_) => walk(&*store, &stop).await,
            Err(error) => Err(error),
        };
        match walked {
            Ok(walked) => {
                if walked.rewrapped > 0 {
                    tracing::info!(rows = walked.rewrapped, "data keys are wrapped by the active master key");
                }
                // Said once, not every few seconds.
                if walked.unreadable > unreadable_before {
                    tracing::error!(rows = walked.unreadable, "data keys cannot be opened by the master keys at hand");
                }
                unreadable_before = walked.unreadable;
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "data keys cannot be wrapped anew"),
        }
        tokio::select! {
            () = bell.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Once over everything that an older key wraps. Costs one look into an index when there is nothing.
async fn walk(store: &dyn Upkeep, stop: &CancellationToken) -> Result<Walked, StoreError> {
    let (mut walked, mut after) = (Walked::default(), None);
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let batch = store.rewrap_keys(after.as_ref(), BATCH).await?;
        walked.rewrapped += batch.rewrapped;
        walked.unreadable += batch.unreadable;
        after = batch.next;
        if after.is_none() {
            break;
        }
        tokio::time::sleep(begun.elapsed().max(PAUSE_MIN)).await;
    }
    Ok(walked)
}
