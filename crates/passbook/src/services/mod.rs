//! Use cases. Each loads, lets the rules of `passbook-core` decide, and commits once.
//!
//! Services know nothing of HTTP and nothing of which store or connector runs. A lost race ([`CommitError::Conflict`])
//! makes them load and decide again, at most [`DECISIONS_MAX`] times.

pub mod access;
pub mod audit;
pub mod enrichment;
pub mod events;
pub mod idempotency;
pub mod import_links;
pub mod imports;
pub mod investments;
pub mod ledgers;
pub mod link_changes;
pub mod links;
pub mod quota;
pub mod refresh;
pub mod sandbox_clock;
pub mod sandbox_edits;
pub mod sessions;
pub mod sign_in;
pub mod transaction_sync;
pub mod users;
pub mod waiting_jobs;

use std::sync::Arc;

use passbook_core::{
    change_log::log_changes,
    enrichment::enrich_changes,
    ids::Derivation,
    link::{Link, LinkSecrets},
    product::Product,
    reconcile::TransactionChanges,
    tenant::{ScopeSet, Tenant},
};
use passbook_store::{
    places::Places,
    port::{Changes, CommitError, Guard, LinkWrite, Store, StoreError, StoredSecrets, TransactionWrites},
    sealing::Keys,
};
use tokio::sync::Notify;

use crate::{
    clocks::Clocks,
    directory::Directory,
    keys::{Cursors, SessionTokens},
    metrics::{self, Metrics},
    outbound::Policy,
    signing::SigningKeys,
    views,
};

/// How often a use case decides again after losing a race. Races are between a handful of writers of one link; a use
/// case that loses this often reports the store as unavailable.
pub const DECISIONS_MAX: u32 = 16;

/// Everything the use cases stand on. Made once by the composition root.
pub struct Services {
    /// What is remembered.
    pub store: Arc<dyn Store>,
    /// Institutions and connectors.
    pub directory: Directory,
    /// Real time and the applications' clocks.
    pub clocks: Clocks,
    /// Derives ids.
    pub derivation: Derivation,
    /// Keyed hashes of client secrets and account numbers.
    pub keys: Arc<Keys>,
    /// Link-session tokens.
    pub session_tokens: SessionTokens,
    /// Cursors.
    pub cursors: Cursors,
    /// Rung when a job was added or a clock moved.
    pub job_bell: Arc<Notify>,
    /// Rung when a job ended.
    pub job_ended: Arc<tokio::sync::watch::Sender<u64>>,
    /// Rung when an event was committed or a delivery became due.
    pub event_bell: Arc<Notify>,
    /// The ledgers that somebody follows.
    pub ledgers: ledgers::Ledgers,
    /// Where webhooks may go, and which are sent.
    pub webhooks: Webhooks,
    /// What signs them.
    pub signing_keys: SigningKeys,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Known-good tokens.
    pub token_cache: access::TokenCache,
    /// Idempotency keys that requests of this process hold.
    pub keys_at_work: Arc<idempotency::KeysAtWork>,
    /// Turns in which statement files are read; see [`imports::import_turns`].
    pub import_turns: Arc<Places<Tenant>>,
    /// How links update on their own; `None` when they do not.
    pub updates: Option<crate::workers::schedule::Updates>,
    /// How long records are kept, and how much an app may store.
    pub bounds: quota::Bounds,
    /// How long a worker may keep a job without a sign of life.
    pub lease: jiff::SignedDuration,
}

/// What the operator says of webhooks.
#[derive(Debug, Clone, Default)]
pub struct Webhooks {
    /// Where they may go.
    pub policy: Policy,
    /// What their signatures name as issuer.
    pub issuer: String,
    /// Of a refresh, only its end is sent.
    pub final_states_only: bool,
    /// The headers of Standard Webhooks are sent, too.
    pub standard_headers: bool,
}

/// The caller of a use case: whose data, and who is asking.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Whose data.
    pub tenant: Tenant,
    /// The API client, for the audit trail.
    pub client_id: String,
    /// What it may do.
    pub scopes: ScopeSet,
}

/// A failure that no rule decided: the store.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The store does not answer, is full, or too many writers raced; trying later may help. Nothing changed.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The app's storage quota has no room for what the request adds. Nothing changed.
    #[error("the app's storage quota is used up")]
    QuotaExceeded,
    /// The request held an idempotency key for so long that another one took it over. Nothing changed.
    #[error("the idempotency key was taken over")]
    KeyTakenOver,
    /// The store went away under a commit and could not be asked afterwards: the change is there, or it is not.
    #[error("it is not known whether the change was stored")]
    OutcomeUnknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Stored data cannot be understood, or a bug.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Unavailable(Box::new(error)),
            // Not `Internal`: a job that meets this is not given up, it runs again.
            StoreError::OutcomeUnknown(_) => Self::OutcomeUnknown(Box::new(error)),
            StoreError::Inconsistent { .. } => Self::Internal(Box::new(error)),
        }
    }
}

impl Fault {
    /// A race that was lost too often.
    pub fn too_many_races() -> Self {
        Self::Unavailable("too many writers at once".into())
    }
}

/// What became of one try to commit a decision.
pub enum Outcome {
    /// Stored.
    Committed,
    /// A guard was lost; decide again.
    LostRace(Guard),
}

impl Services {
    /// Commits, telling lost races from faults.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn try_commit(&self, changes: Changes) -> Result<Outcome, Fault> {
        let rings = !changes.jobs.is_empty() || changes.clock.is_some();
        let has_news = !changes.events.is_empty() || changes.clock.is_some();
        let began = std::time::Instant::now();
        let committed = self.store.commit(changes).await;
        self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        match committed {
            Ok(()) => {
                if rings {
                    self.job_bell.notify_one();
                }
                if has_news {
                    self.event_bell.notify_one();
                }
                Ok(Outcome::Committed)
            }
            // Deciding again cannot help: the key is another request's now.
            Err(CommitError::Conflict(Guard::Answer)) => Err(Fault::KeyTakenOver),
            Err(CommitError::Conflict(guard)) => Ok(Outcome::LostRace(guard)),
            Err(CommitError::Store(error)) => {
                self.metrics.store_failed(metrics::StoreError::Commit);
                Err(error.into())
            }
        }
    }

    /// The secrets of a link, empty when it has none.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn secrets_of(&self, link: &Link) -> Result<StoredSecrets, Fault> {
        Ok(self.store.lookup_secrets(&link.tenant, &link.id).await?.unwrap_or_default())
    }

    /// The instant of the tenant's clock.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn now(&self, tenant: &Tenant) -> Result<jiff::Timestamp, Fault> {
        Ok(self.clocks.now(tenant).await?)
    }
}

/// What `rows` write, and what readers of the link are told of it; `None` for no rows. `link` must be written in the same
/// commit, under its version: it hands out the positions.
pub fn transaction_writes(link: &mut Link, mut rows: TransactionChanges) -> Option<TransactionWrites> {
    if link.granted().contains(Product::Enrichment) {
        enrich_changes(&mut rows);
    }
    let log = log_changes(link, &rows);
    (!rows.is_empty()).then(|| TransactionWrites {
        link_id: Some(link.id.clone()),
        created: rows.created,
        updated: rows.updated,
        removed: rows.removed.into_iter().map(|row| row.id).collect(),
        log,
    })
}

/// Moves the recorded events of `link` into changes that write it. The one way in which links are written.
pub fn changes_with_link(
    mut link: Link,
    expected_version: Option<u64>,
    secrets: Option<LinkSecrets>,
    adjust: impl FnOnce(&mut LinkWrite),
) -> Changes {
    let events = std::mem::take(&mut link.recorded);
    let mut write = views::link_write(link, expected_version, secrets);
    adjust(&mut write);
    Changes { link: Some(write), events, ..Changes::default() }
}
