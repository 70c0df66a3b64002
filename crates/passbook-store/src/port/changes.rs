//! What a commit takes: everything one use case changes, as one value.

use jiff::Timestamp;
use passbook_core::{
    change_log::LogWrites,
    event::Event,
    ids::{AppId, JobId, LinkId, TransactionId},
    link::{Link, LinkSecrets},
    product::ProductSet,
    reconcile::InvestmentChanges,
    secret::SecretBytes,
    session::{LinkSession, SessionProgress},
    tenant::{ScopeSet, Tenant},
    time::AppClock,
    transaction::Transaction,
};
use serde::{Deserialize, Serialize};

use super::{AnswerKey, App, AppInstitution, Client};
#[expect(unused_imports, reason = "named in the documentation")]
use super::{CommitError, Store};

/// Everything one use case changes. Fields left at their default change nothing.
#[derive(Default)]
pub struct Changes {
    /// The link.
    pub link: Option<LinkWrite>,
    /// Its transactions.
    pub transactions: Option<TransactionWrites>,
    /// Its investments.
    pub investments: Option<InvestmentWrites>,
    /// Jobs to add.
    pub jobs: Vec<NewJob>,
    /// A job to end, guarded by its lease.
    pub finished_job: Option<FinishedJob>,
    /// A lease that must still be held, without ending the job.
    pub held_lease: Option<LeaseRef>,
    /// Events, in order.
    pub events: Vec<Event>,
    /// Ids of addresses that get webhooks again.
    pub switched_on: Vec<String>,
    /// Audit rows.
    pub audit: Vec<AuditEntry>,
    /// A session to add or move on.
    pub session: Option<SessionWrite>,
    /// An application to add, or its new name and origins and when it was disabled. The clock of an existing one
    /// changes by [`Changes::clock`] only.
    pub app: Option<App>,
    /// A client to add, or its new settings; a client never moves to another tenant. When its application was disabled
    /// is not written.
    pub client: Option<Client>,
    /// What the stored application must still be (its clock aside), so that of two who change it at once the later one
    /// undoes nothing that it did not see.
    pub app_was: Option<App>,
    /// The same for the stored client.
    pub client_was: Option<Client>,
    /// A token to add.
    pub token: Option<NewToken>,
    /// A clock to set; recomputes the due times of the application's timed jobs.
    pub clock: Option<ClockWrite>,
    /// An institution named by a file.
    pub institution: Option<(Tenant, AppInstitution)>,
    /// The answer to keep for the request's idempotency key, guarded by its reservation.
    pub answer: Option<AnswerWrite>,
    /// Instance values to add; an existing name is a conflict.
    pub instance_values: Vec<(String, SecretBytes)>,
    /// Whose commit it is, when nothing else in it says so. Changes nothing: it decides whose turn the commit takes.
    pub on_behalf_of: Option<Tenant>,
}

/// A link to insert or to replace.
pub struct LinkWrite {
    /// The aggregate; its recorded events are written by [`Changes::events`], not from here.
    pub link: Link,
    /// The version it was loaded at; `None` inserts and conflicts when the id exists.
    pub expected_version: Option<u64>,
    /// Which renderer made the views.
    pub renderer: u32,
    /// The public link object as JSON.
    pub link_view: Vec<u8>,
    /// The rendered `accounts` array of the numbers answer; `None` keeps what is stored.
    pub numbers_view: Option<SecretBytes>,
    /// Numbers and owners; `None` keeps what is stored.
    pub secrets: Option<LinkSecrets>,
    /// The connector's credential; `None` keeps what is stored.
    pub credential: Option<SecretBytes>,
    /// Destroys the data key, every sealed field, the transactions with their change log, and the investments. Jobs of the
    /// link stay for their workers, which find it deleted and end them as failed, so that every accepted job has exactly one end.
    pub destroy: bool,
    /// By which further statement files find this link; freed by `destroy`.
    pub import_key: ImportKey,
}

/// The key under which statement files of one user and institution extend one link. Unique per tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ImportKey {
    /// As stored.
    #[default]
    Keep,
    /// This one.
    Set(String),
    /// None any more: something else than files feeds the link now.
    Free,
}

/// Transactions to insert, change and remove.
#[derive(Debug, Default)]
pub struct TransactionWrites {
    /// The link.
    pub link_id: Option<LinkId>,
    /// New rows.
    pub created: Vec<Transaction>,
    /// Rows whose details or key changed, by id.
    pub updated: Vec<Transaction>,
    /// Rows to remove.
    pub removed: Vec<TransactionId>,
    /// What readers of the link are told of it; positions come from the link of the same commit.
    pub log: LogWrites,
}

/// What changed in the investments of a link; `destroy` of the link takes them all.
#[derive(Debug)]
pub struct InvestmentWrites {
    /// The link.
    pub link_id: LinkId,
    /// The new portfolio, and transactions to insert, change and remove.
    pub changes: InvestmentChanges,
}

/// A job to add.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Id.
    pub id: JobId,
    /// Whose.
    pub tenant: Tenant,
    /// The link it works on.
    pub link_id: LinkId,
    /// What to do.
    pub work: JobWork,
    /// When it may run, real time.
    pub due_at: Timestamp,
    /// When it may run, by the app's clock; a clock change recomputes `due_at` from it.
    pub app_due_at: Option<Timestamp>,
}

/// The kinds of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobWork {
    /// Fetch these products.
    RefreshProducts {
        /// Which.
        products: ProductSet,
    },
    /// End a link whose token was not exchanged in time.
    ExpireExchange,
    /// Update what moves, as the schedule says, and plan the next time.
    FollowSchedule {
        /// How often in a row this has failed.
        failures: u32,
    },
}

/// A job under lease.
#[derive(Debug, Clone)]
pub struct LeasedJob {
    /// The lease.
    pub lease: LeaseRef,
    /// Whose.
    pub tenant: Tenant,
    /// The link.
    pub link_id: LinkId,
    /// What to do.
    pub work: JobWork,
}

/// Proof of a lease: only the newest fence may end or renew the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRef {
    /// The job.
    pub job_id: JobId,
    /// Raised by every lease.
    pub fence: u64,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub struct FinishedJob {
    /// The lease under which it ran.
    pub lease: LeaseRef,
    /// `Done` or `Failed`.
    pub state: JobState,
    /// Real time.
    pub finished_at: Timestamp,
}

/// States of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Waits or runs.
    Open,
    /// Ended, effect stored.
    Done,
    /// Ended without effect.
    Failed,
}

/// Who did what; never the value.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// Whose data.
    pub tenant: Tenant,
    /// The client, or `worker`, or `operator`.
    pub actor: String,
    /// Operation id.
    pub action: &'static str,
    /// The link concerned.
    pub link_id: Option<LinkId>,
    /// Real time.
    pub at: Timestamp,
}

/// A session to add or to move on.
pub struct SessionWrite {
    /// The session after the change.
    pub session: LinkSession,
    /// The version it was loaded at; `None` inserts.
    pub expected_version: Option<u64>,
    /// JSON of the request to seal; `None` keeps it.
    pub request: Option<SecretBytes>,
    /// Wipes the sealed request: the session succeeded or is over.
    pub wipe_request: bool,
    /// The exchange itself: additionally requires that the stored session still is
    /// [`SessionProgress::Succeeded`]. This is the one conditional update that makes the token single-use.
    pub spends_token: bool,
}

impl SessionWrite {
    /// The hash that finds the session by its exchangeable token, while it has one.
    #[must_use]
    pub fn exchange_hash(&self) -> Option<&[u8; 32]> {
        match &self.session.progress {
            SessionProgress::Succeeded { exchange_hash, .. } => Some(exchange_hash),
            _ => None,
        }
    }
}

/// A token to add.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// SHA-256 of the token; the token itself is never stored.
    pub hash: [u8; 32],
    /// The client.
    pub client_id: String,
    /// What it may do.
    pub scopes: ScopeSet,
    /// In the application's time.
    pub created_at: Timestamp,
    /// In the application's time.
    pub expires_at: Timestamp,
    /// Real time after which the row may be purged.
    pub purge_after: Timestamp,
}

/// An answer to keep.
pub struct AnswerWrite {
    /// The reserved key.
    pub key: AnswerKey,
    /// The fence of the reservation; another one, or none, is a conflict.
    pub fence: u64,
    /// HTTP status.
    pub status: u16,
    /// The body; it is sealed.
    pub body: SecretBytes,
    /// The link it shows; the answer goes when the link's key is destroyed.
    pub link_id: Option<LinkId>,
    /// End of its life, in the store's time.
    pub expires_at: Timestamp,
}

/// A clock change.
#[derive(Debug, Clone)]
pub struct ClockWrite {
    /// The application.
    pub app_id: AppId,
    /// The clock it was decided from; another stored clock is a conflict.
    pub expected: AppClock,
    /// The new clock.
    pub clock: AppClock,
    /// Real time now.
    pub now: Timestamp,
}
