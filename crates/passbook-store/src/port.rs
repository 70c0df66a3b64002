//! The store port: small, aggregate-shaped, the same for every database.
//!
//! Reads are methods that name what they look for and take the [`Tenant`] that owns it. **All writes are one value**,
//! [`Changes`], committed atomically by [`Store::commit`]: link, transactions, jobs, events and audit rows of one use
//! case stand or fall together. No transaction handle leaves the store, so nothing can hold one open while it talks to
//! a bank. A lost guard (version, single use, lease) rejects exactly its own `Changes` with
//! [`CommitError::Conflict`]; the caller reloads and decides again.
//!
//! When [`Store::commit`] returns `Ok`, the change survives kill -9 and power loss. A commit that was handed over runs
//! to its end even if the caller stops waiting.
//!
//! Instants are kept to the microsecond, the wire's precision, except inside the link aggregate. A due time of
//! [`Timestamp::MAX`] means never: work that waits for a frozen clock.

use async_trait::async_trait;
use jiff::{Timestamp, civil::Date};
use passbook_core::{
    event::Event,
    ids::{AccountId, AppId, JobId, LinkId, SessionId, TransactionId},
    link::{Link, LinkErrorCode, LinkSecrets, LinkState},
    product::ProductSet,
    secret::SecretBytes,
    session::{LinkSession, SessionProgress},
    tenant::{Environment, ScopeSet, Tenant},
    time::AppClock,
    transaction::Transaction,
};
use serde::{Deserialize, Serialize};

/// A store of everything Passbook remembers.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // ---- links

    /// The one row a numbers read needs. The hot path: one point read and one decryption.
    async fn lookup_numbers_answer(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<NumbersAnswer>, StoreError>;

    /// State and rendered link object.
    async fn lookup_link_answer(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<LinkAnswer>, StoreError>;

    /// The aggregate without its secrets.
    async fn lookup_link(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<StoredLink>, StoreError>;

    /// The aggregate's opened secrets and credential; `None` when the link is unknown or its key was destroyed.
    async fn lookup_secrets(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<StoredSecrets>, StoreError>;

    /// The link that statement files of this key extend; see [`LinkWrite::import_key`].
    async fn find_link_by_import_key(&self, tenant: &Tenant, import_key: &str) -> Result<Option<LinkId>, StoreError>;

    /// A connected link of this end user at this institution, if there is one.
    async fn find_connected_link(
        &self,
        tenant: &Tenant,
        customer_user_id: &str,
        institution_id: &str,
    ) -> Result<Option<LinkId>, StoreError>;

    /// Links that have data and are not deleted, by creation time then id, ascending, after `after` (exclusive).
    async fn list_links(
        &self,
        tenant: &Tenant,
        after: Option<&LinkPosition>,
        limit: u32,
    ) -> Result<Vec<LinkPosition>, StoreError>;

    // ---- transactions

    /// One page, newest first (date, then datetime with absent ones last, then id, all descending), with the number of
    /// all matches.
    async fn list_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        filter: &TransactionFilter,
    ) -> Result<TransactionPage, StoreError>;

    /// Every current transaction of the link that reconciliation may compare with: all pending ones, and posted ones
    /// on or after `since` (`None`: all). Any order.
    async fn load_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        since: Option<Date>,
    ) -> Result<Vec<Transaction>, StoreError>;

    // ---- writes

    /// Applies all changes or none, durably.
    async fn commit(&self, changes: Changes) -> Result<(), CommitError>;

    /// The next ordinal of `kind` in the application, from 1. Durable: never handed out twice.
    async fn take_ordinal(&self, app: &AppId, kind: &str) -> Result<u64, StoreError>;

    // ---- jobs

    /// Leases up to `limit` due jobs to `owner` until `until`, oldest due first; at most one per link, and none of a
    /// link that has a job under a live lease. Each lease raises the job's fence. Expired leases count as free.
    async fn lease_jobs(
        &self,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<LeasedJob>, StoreError>;

    /// Extends a lease; `false` when it was lost.
    async fn renew_lease(&self, job: &LeaseRef, until: Timestamp) -> Result<bool, StoreError>;

    /// Gives a job back unfinished, due again at `due_at`. Nothing happens when the lease was lost.
    async fn release_job(&self, job: &LeaseRef, due_at: Timestamp) -> Result<(), StoreError>;

    /// When the next waiting or running-under-lease job may be leased (real time); `None` when there is none.
    async fn next_due_at(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Unfinished jobs of the application that are due at `now` (running ones included).
    async fn count_due_jobs(&self, app: &AppId, now: Timestamp) -> Result<u64, StoreError>;

    /// Whether the job has ended; `None` when it is unknown.
    async fn lookup_job_state(&self, job: &JobId) -> Result<Option<JobState>, StoreError>;

    // ---- sessions

    /// A session with its opened request (`None` when the request was already wiped).
    async fn lookup_session(&self, id: &SessionId) -> Result<Option<StoredSession>, StoreError>;

    /// The session whose exchangeable token hashes to this; `None` also once the token was exchanged.
    async fn find_session_by_exchange_hash(
        &self,
        tenant: &Tenant,
        hash: &[u8; 32],
    ) -> Result<Option<StoredSession>, StoreError>;

    // ---- apps, clients, tokens

    /// An application.
    async fn lookup_app(&self, id: &AppId) -> Result<Option<App>, StoreError>;

    /// Every application; there are few.
    async fn list_apps(&self) -> Result<Vec<App>, StoreError>;

    /// A client by its public id.
    async fn lookup_client(&self, client_id: &str) -> Result<Option<Client>, StoreError>;

    /// The token whose SHA-256 is this, expired or not, with what its client may do now. `None` when unknown, or when
    /// its client was revoked.
    async fn find_token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError>;

    /// The newest application time that any **sandbox** object of the application holds; live objects follow real time
    /// and have no say in its clock.
    async fn newest_time(&self, app: &AppId) -> Result<Option<Timestamp>, StoreError>;

    // ---- institutions named by statement files, visible to their app only

    /// Institutions of the application that no directory lists.
    async fn list_app_institutions(&self, tenant: &Tenant) -> Result<Vec<AppInstitution>, StoreError>;

    // ---- instance

    /// A named value of the instance (seed, signing key), sealed by the master key.
    async fn lookup_instance_value(&self, name: &str) -> Result<Option<SecretBytes>, StoreError>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Deletes what its retention has ended: tokens expired before `before`, finished jobs and positioned events older
    /// than it. At most `limit` rows of each kind; returns how many went.
    async fn cleanup(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Finishes outstanding writes and closes. Reads and writes fail afterwards.
    async fn close(&self);
}

// ---- what reads return

/// Everything a numbers read needs, without the aggregate.
pub struct NumbersAnswer {
    /// State, grants and the rendered link object.
    pub link: LinkAnswer,
    /// The rendered `accounts` array, opened; empty when nothing was fetched or the link's key was destroyed.
    pub accounts: SecretBytes,
}

/// What a link read needs.
#[derive(Debug, Clone)]
pub struct LinkAnswer {
    /// State.
    pub state: LinkState,
    /// Error code in state `error`.
    pub error: Option<LinkErrorCode>,
    /// Granted products.
    pub granted: ProductSet,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// Which renderer made the views; an older one means: render again from the aggregate.
    pub renderer: u32,
    /// The public link object as JSON.
    pub link_view: Vec<u8>,
}

/// A link and the version its next write must name.
#[derive(Debug, Clone)]
pub struct StoredLink {
    /// The aggregate.
    pub link: Link,
    /// Rises with every write.
    pub version: u64,
}

/// The opened secrets of a link.
#[derive(Debug, Clone, Default)]
pub struct StoredSecrets {
    /// Numbers and owners.
    pub secrets: LinkSecrets,
    /// What the connector needs to fetch.
    pub credential: Option<SecretBytes>,
}

/// A place in the list of links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkPosition {
    /// Creation time.
    pub created_at: Timestamp,
    /// The link.
    pub id: LinkId,
}

/// Which transactions to list.
#[derive(Debug, Clone, Default)]
pub struct TransactionFilter {
    /// Only these accounts; empty: none at all. `None`: every account of the link.
    pub accounts: Option<Vec<AccountId>>,
    /// Earliest date, inclusive.
    pub start_date: Option<Date>,
    /// Latest date, inclusive.
    pub end_date: Option<Date>,
    /// Matches to skip.
    pub offset: u64,
    /// Matches to return.
    pub limit: u32,
}

/// A page of transactions.
#[derive(Debug, Clone)]
pub struct TransactionPage {
    /// All matches.
    pub total: u64,
    /// This page.
    pub items: Vec<Transaction>,
}

/// A session as stored.
#[derive(Clone)]
pub struct StoredSession {
    /// The session.
    pub session: LinkSession,
    /// Rises with every write.
    pub version: u64,
    /// JSON of the session request; `None` once the session has succeeded.
    pub request: Option<SecretBytes>,
}

/// An application.
#[derive(Debug, Clone)]
pub struct App {
    /// Id.
    pub id: AppId,
    /// Display name.
    pub name: String,
    /// Its sandbox clock; live objects use real time.
    pub clock: AppClock,
    /// Origins that may receive redirects: `https://app.example`, or `http://localhost:*` for any port.
    pub allowed_origins: Vec<String>,
}

/// An API client.
#[derive(Debug, Clone)]
pub struct Client {
    /// Public id.
    pub client_id: String,
    /// Whose.
    pub tenant: Tenant,
    /// Label.
    pub name: String,
    /// Keyed hashes of its live secrets (one, or two while rotating).
    pub secret_hashes: Vec<[u8; 32]>,
    /// What it may do.
    pub scopes: ScopeSet,
    /// When it was disabled.
    pub disabled_at: Option<Timestamp>,
}

/// An access token.
#[derive(Debug, Clone)]
pub struct Token {
    /// The client it was given to.
    pub client_id: String,
    /// Label of that client.
    pub client_name: String,
    /// Whose.
    pub tenant: Tenant,
    /// Name of the application.
    pub app_name: String,
    /// What it may do.
    pub scopes: ScopeSet,
    /// End of life, in the application's time.
    pub expires_at: Timestamp,
}

/// An institution that a statement file named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppInstitution {
    /// Slug, unique within the application.
    pub id: String,
    /// Name from the file.
    pub name: String,
    /// Country code of the importing call, `US` when unknown.
    pub country: passbook_core::institution::Country,
}

// ---- what a commit takes

/// Everything one use case changes. Fields left at their default change nothing.
#[derive(Default)]
pub struct Changes {
    /// The link.
    pub link: Option<LinkWrite>,
    /// Its transactions.
    pub transactions: Option<TransactionWrites>,
    /// Jobs to add.
    pub jobs: Vec<NewJob>,
    /// A job to end, guarded by its lease.
    pub finished_job: Option<FinishedJob>,
    /// A lease that must still be held, without ending the job.
    pub held_lease: Option<LeaseRef>,
    /// Events, in order.
    pub events: Vec<Event>,
    /// Audit rows.
    pub audit: Vec<AuditEntry>,
    /// A session to add or move on.
    pub session: Option<SessionWrite>,
    /// An application to add, or its new name and origins. The clock of an existing one changes by [`Changes::clock`]
    /// only.
    pub app: Option<App>,
    /// A client to add, or its new settings; a client never moves to another tenant.
    pub client: Option<Client>,
    /// A token to add.
    pub token: Option<NewToken>,
    /// A clock to set; recomputes the due times of the application's timed jobs.
    pub clock: Option<ClockWrite>,
    /// An institution named by a file.
    pub institution: Option<(Tenant, AppInstitution)>,
    /// Instance values to add; an existing name is a conflict.
    pub instance_values: Vec<(String, SecretBytes)>,
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
    /// Destroys the data key, every sealed field and the transactions. Jobs of the link stay for their workers, which
    /// find it deleted and end them as failed, so that every accepted job has exactly one end.
    pub destroy: bool,
    /// Unique per tenant: further statement files of the same user and institution extend this link. Kept when
    /// `None`; freed by `destroy`.
    pub import_key: Option<String>,
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

// ---- errors

/// A read or a lease that could not be served.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is full, or failed; nothing changed and trying later may help. One exception: a
    /// deletion whose ledger line could not be synced is in force and not acknowledged; a repetition finds it deleted.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A stored value cannot be understood or opened.
    #[error("inconsistent data in {table}.{column} of {row}")]
    Inconsistent {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// Key of the row; never a secret.
        row: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A commit that changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A guard was lost to somebody else; reload and decide again.
    #[error("lost a race on {0:?}")]
    Conflict(Guard),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a commit was conditional on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// [`LinkWrite::expected_version`], or the link exists already, or its import key does, or what was written beside
    /// it (a transaction, job or event) does not fit the stored link.
    Link,
    /// The job's lease.
    Lease,
    /// [`SessionWrite::expected_version`] or the token was spent.
    Session,
    /// [`ClockWrite::expected`].
    Clock,
    /// A unique id of a job, client, token or instance value, or a client that a token needs.
    Unique,
}

/// Reads the environment column.
pub(crate) fn environment_from(text: &str) -> Result<Environment, passbook_core::tenant::UnknownWord> {
    text.parse()
}
