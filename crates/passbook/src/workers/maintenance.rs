//! Deletes what its retention has ended.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use passbook_core::tenant::{Environment, Tenant};
use passbook_store::port::StoreError;
use tokio_util::sync::CancellationToken;

use super::pause;
use crate::services::Services;

/// How long finished jobs, events and expired tokens are kept.
const RETENTION: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Rows of each kind deleted at once, so that a big backlog does not hold up other writes.
const BATCH: u32 = 1_000;
/// Pause between rounds.
const ROUND_EVERY: Duration = Duration::from_secs(600);

/// What an app said about its end user is not needed once the session is over.
async fn wipe_sessions(services: &Services) -> Result<(), StoreError> {
    for app in services.store.list_apps().await? {
        for environment in [Environment::Sandbox, Environment::Live] {
            let tenant = Tenant { app_id: app.id.clone(), environment };
            let now = services.clocks.now(&tenant).await?;
            services.store.wipe_expired_sessions(&tenant, now, BATCH).await?;
        }
    }
    Ok(())
}

/// Cleans up until `stop`.
pub async fn run(services: Arc<Services>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        pause(ROUND_EVERY, &stop).await;
        if let Err(error) = wipe_sessions(&services).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "ended sessions could not be wiped");
        }
        let Ok(before) = services.store.now().checked_sub(RETENTION) else { continue };
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
