//! Deletes what its retention has ended, unless time has jumped (`passbook_core::retention`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::SignedDuration;
use passbook_core::{
    retention::TimeWatch,
    tenant::{Environment, Tenant},
};
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

/// What became of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// What was over is deleted.
    CleanedUp,
    /// Time has jumped not long ago; nothing was deleted.
    Held,
    /// Another process looked at the same moment; nothing was deleted.
    Outrun,
}

/// Cleans up until `stop`.
pub async fn run(services: Arc<Services>, stop: CancellationToken) {
    let mut looked_at = Instant::now();
    while !stop.is_cancelled() {
        pause(ROUND_EVERY, &stop).await;
        if stop.is_cancelled() {
            return;
        }
        let looking_at = Instant::now();
        let observed = SignedDuration::try_from(looking_at.duration_since(looked_at)).unwrap_or(SignedDuration::MAX);
        match round(&services, observed, &stop).await {
            // This process's time counts until it was written down.
            Ok(Round::Outrun) => {}
            Ok(Round::CleanedUp | Round::Held) => looked_at = looking_at,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cleanup failed");
            }
        }
    }
}

/// One round, `observed` after the last one of this process.
///
/// # Errors
/// When the store failed; what was deleted stays deleted.
pub async fn round(
    services: &Services,
    observed: SignedDuration,
    stop: &CancellationToken,
) -> Result<Round, StoreError> {
    let store = &services.store;
    let known = store.lookup_watched_time().await?;
    let now = store.now();
    let watch = TimeWatch::look(known, now, observed);
    if !store.write_watched_time(known, watch).await? {
        return Ok(Round::Outrun);
    }
    if !watch.may_delete() {
        if known.is_some_and(|known| known.hold < watch.hold) {
            tracing::warn!("time has jumped, or nobody watched it for long: nothing is deleted for a day");
        }
        return Ok(Round::Held);
    }
    wipe_sessions(services).await?;
    let Ok(before) = now.checked_sub(RETENTION) else { return Ok(Round::CleanedUp) };
    // Until a batch is not full.
    while !stop.is_cancelled() && store.cleanup(before, BATCH).await? >= u64::from(BATCH) {}
    let Ok(audit_before) = now.checked_sub(services.bounds.audit) else { return Ok(Round::CleanedUp) };
    while !stop.is_cancelled() && store.forget(before, audit_before, BATCH).await? >= u64::from(BATCH) {}
    Ok(Round::CleanedUp)
}

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
