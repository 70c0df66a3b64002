//! Deletes what its retention has ended.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::pause;
use crate::services::Services;

/// How long finished jobs, events and expired tokens are kept.
const RETENTION: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Rows of each kind deleted at once, so that a big backlog does not hold up other writes.
const BATCH: u32 = 1_000;
/// Pause between rounds.
const ROUND_EVERY: Duration = Duration::from_secs(600);

/// Cleans up until `stop`.
pub async fn run(services: Arc<Services>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        pause(ROUND_EVERY, &stop).await;
        let Ok(before) = services.clocks.real_now().checked_sub(RETENTION) else { continue };
        // Until a round finds less than a full batch.
        while !stop.is_cancelled() {
            match services.store.cleanup(before, BATCH).await {
                Ok(deleted) if deleted >= u64::from(BATCH) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cleanup failed");
                    break;
                }
            }
        }
    }
}
