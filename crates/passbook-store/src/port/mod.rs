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

mod changes;
mod deliveries;
mod errors;
mod records;
mod upkeep;

use async_trait::async_trait;
use jiff::{Timestamp, civil::Date};
use passbook_core::{
    change_log::LoggedChange,
    delivery_shares::ReadyQueue,
    ids::{AppId, EventId, JobId, LinkId, SessionId},
    investment::{InvestmentTransaction, Portfolio},
    retention::TimeWatch,
    secret::SecretBytes,
    tenant::Tenant,
    transaction::Transaction,
};

pub(crate) use self::deliveries::LedgerIndex;
pub use self::{
    changes::{
        AnswerWrite, AuditEntry, Changes, ClockWrite, FinishedJob, ImportKey, InvestmentWrites, JobState, JobWork,
        LeaseRef, LeasedJob, LinkWrite, NewJob, NewToken, SessionWrite, TransactionWrites,
    },
    deliveries::{
        Address, AddressStatus, DeliveryLease, DeliveryState, DeliveryStatus, DispatchedEvent, EndedAttempt,
        EventFilter, LeaseRequest, LeasedDelivery, LedgerEvent, LedgerPage, NewDelivery, NextAttempt, PASSED_OVER_MAX,
        ReadyFilter, UndispatchedEvent,
    },
    errors::{CommitError, Guard, StoreError},
    records::{
        AnswerKey, App, AppInstitution, AppUsage, ChangeFilter, Client, InvestmentTransactionPage, KeptAnswer,
        LinkAnswer, LinkPosition, NumbersAnswer, Reservation, StoredLink, StoredSecrets, StoredSession, Token,
        TransactionFilter, TransactionPage, UserTransactionFilter,
    },
    upkeep::{BackupError, BackupFile, BackupManifest, Examination, KeyPosition, MasterKeyUse, Rewrapped, Upkeep},
};

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

    /// A link whose document cannot be read, made up from its columns: enough to delete it, and for nothing else.
    async fn lookup_link_remains(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<StoredLink>, StoreError>;

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

    /// The links of an end user that are not deleted, in whatever state, by creation time then id.
    async fn list_user_links(&self, tenant: &Tenant, customer_user_id: &str) -> Result<Vec<StoredLink>, StoreError>;

    /// Connected links of every tenant that have no open [`JobWork::FollowSchedule`], by id, after `after` (exclusive).
    async fn list_unscheduled_links(
        &self,
        after: Option<&LinkId>,
        limit: u32,
    ) -> Result<Vec<(Tenant, LinkId)>, StoreError>;

    // ---- transactions

    /// As [`Store::list_transactions`], over several links.
    async fn list_user_transactions(
        &self,
        tenant: &Tenant,
        filter: &UserTransactionFilter,
    ) -> Result<TransactionPage, StoreError>;

    /// One page, newest first (date, then datetime with absent ones last, then id, all descending), with the number of
    /// all matches.
    async fn list_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        filter: &TransactionFilter,
    ) -> Result<TransactionPage, StoreError>;

    /// What happened to the link's transactions behind a position, in order, each with the transaction as it is in the
    /// same snapshot.
    async fn list_transaction_changes(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        filter: &ChangeFilter,
    ) -> Result<Vec<LoggedChange>, StoreError>;

    /// Every current transaction of the link that reconciliation may compare with: all pending ones, and posted ones
    /// on or after `since` (`None`: all). Any order.
    async fn load_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        since: Option<Date>,
    ) -> Result<Vec<Transaction>, StoreError>;

    // ---- investments

    /// What the link's investment accounts hold, as last fetched; `None` when nothing ever was.
    async fn lookup_portfolio(&self, tenant: &Tenant, link: &LinkId) -> Result<Option<Portfolio>, StoreError>;

    /// One page, newest first, in the order of [`Store::list_transactions`], with the number of all matches.
    async fn list_investment_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        filter: &TransactionFilter,
    ) -> Result<InvestmentTransactionPage, StoreError>;

    /// Every investment transaction of the link on or after `since` (`None`: all). Any order.
    async fn load_investment_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        since: Option<Date>,
    ) -> Result<Vec<InvestmentTransaction>, StoreError>;

    // ---- writes

    /// Applies all changes or none, durably.
    async fn commit(&self, changes: Changes) -> Result<(), CommitError>;

    /// The next ordinal of `kind` in the application, from 1. Durable: never handed out twice.
    async fn take_ordinal(&self, app: &AppId, kind: &str) -> Result<u64, StoreError>;

    // ---- jobs

    /// Leases up to `limit` due jobs to `owner` until `until`, oldest due first; at most one per link, and none of a
    /// link that has a job under a live lease, and none of the applications in `except` or of one that is disabled at
    /// `now`. Each lease raises the job's fence. Expired leases count as free.
    async fn lease_jobs(
        &self,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        except: &[AppId],
    ) -> Result<Vec<LeasedJob>, StoreError>;

    /// Extends a lease; `false` when it was lost.
    async fn renew_lease(&self, job: &LeaseRef, until: Timestamp) -> Result<bool, StoreError>;

    /// Gives a job back unfinished, due again at `due_at`. Nothing happens when the lease was lost.
    async fn release_job(&self, job: &LeaseRef, due_at: Timestamp) -> Result<(), StoreError>;

    /// When the next waiting or running-under-lease job may be leased (real time); `None` when there is none. Jobs of
    /// disabled applications do not count.
    async fn next_due_at(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Unfinished jobs of the application that are due at `now` (running ones included).
    async fn count_due_jobs(&self, app: &AppId, now: Timestamp) -> Result<u64, StoreError>;

    /// Whether the job has ended; `None` when it is unknown.
    async fn lookup_job_state(&self, job: &JobId) -> Result<Option<JobState>, StoreError>;

    // ---- events and their deliveries

    /// Up to `limit` events of every tenant that have no position yet, in the order in which they were committed.
    async fn list_undispatched(&self, limit: u32) -> Result<Vec<UndispatchedEvent>, StoreError>;

    /// Gives the events positions, in this order, and makes their deliveries; all or none. A delivery to an address that
    /// is switched off is a dead letter at once. `false` when somebody else dispatched one of them; then look again.
    async fn dispatch_events(&self, events: Vec<DispatchedEvent>) -> Result<bool, StoreError>;

    /// Deliveries that can be attempted now, by address; those of addresses that are switched off are left out. A
    /// delivery that was never tried is among them once the one before it, of the same link to the same address, was: a
    /// receiver that is well has a link's events in their order. Deliveries that wait for anything are not looked at.
    async fn list_ready_deliveries(&self, filter: &ReadyFilter) -> Result<Vec<ReadyQueue>, StoreError>;

    /// Leases ready deliveries to `owner` until `until`: to each address the oldest, as many as are asked for and
    /// there.
    async fn lease_deliveries(
        &self,
        owner: &str,
        until: Timestamp,
        requests: Vec<LeaseRequest>,
    ) -> Result<Vec<LeasedDelivery>, StoreError>;

    /// Makes up to `limit` scheduled deliveries ready whose time came at or before `now`, the oldest first: retries,
    /// and those whose lease ran out. Gives how many.
    async fn wake_deliveries(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Makes up to `limit` deliveries dead letters that wait for an address that is switched off. Gives how many.
    async fn bury_deliveries(&self, limit: u32) -> Result<u64, StoreError>;

    /// Stores how an attempt ended; `false` when its lease was lost.
    async fn end_attempt(&self, ended: EndedAttempt) -> Result<bool, StoreError>;

    /// Makes deliveries due again, or for the first time, and switches their addresses on. Those that still wait for an
    /// attempt become due now.
    async fn replay_deliveries(&self, events: Vec<DispatchedEvent>) -> Result<(), StoreError>;

    /// When the next scheduled delivery is due or its lease ends (real time); `None` when there is none. Ready
    /// deliveries do not count.
    async fn next_delivery_at(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Up to `limit` (at least 1) events of the tenant, by position. Looks at no more than [`PASSED_OVER_MAX`] events
    /// beside those of the answer, and says how far it came: a page may be empty and not the last.
    async fn list_events(&self, tenant: &Tenant, filter: &EventFilter, limit: u32) -> Result<LedgerPage, StoreError>;

    /// The events of the tenant with these names, by position; unknown ones are left out.
    async fn find_events(&self, tenant: &Tenant, ids: &[EventId]) -> Result<Vec<LedgerEvent>, StoreError>;

    /// The newest position of the tenant; 0 when it has none.
    async fn newest_position(&self, tenant: &Tenant) -> Result<u64, StoreError>;

    /// Addresses of every tenant that fail or are switched off.
    async fn list_failing_addresses(&self) -> Result<Vec<AddressStatus>, StoreError>;

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

    /// Every client of an application, by id.
    async fn list_clients(&self, app: &AppId) -> Result<Vec<Client>, StoreError>;

    /// The token whose SHA-256 is this, expired or not, with what its client may do now. `None` when unknown, or when
    /// its client or its application is disabled: `disabled_at` has come, by the store's time.
    async fn find_token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError>;

    /// The newest application time that any **sandbox** object of the application holds; live objects follow real time
    /// and have no say in its clock.
    async fn newest_time(&self, app: &AppId) -> Result<Option<Timestamp>, StoreError>;

    // ---- idempotency keys

    /// Reserves an idempotency key until `until` for a request with this hash, or says what became of it. Only one of
    /// any number of parallel callers is told [`Reservation::Reserved`]. The request then either commits with
    /// [`Changes::answer`], in the same commit as its effect, or gives the key back by [`Store::release_answer`]; one
    /// that was cut off frees it at `until`. No two reservations have the same fence, not even when the key was given
    /// back or its answer deleted in between: a request that lost its reservation must never pass for a later one.
    async fn reserve_answer(
        &self,
        key: &AnswerKey,
        request_hash: &[u8; 32],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reservation, StoreError>;

    /// Gives a reserved key back. Nothing happens when the fence is another one or the answer is kept already.
    async fn release_answer(&self, key: &AnswerKey, fence: u64) -> Result<(), StoreError>;

    // ---- institutions named by statement files, visible to their app only

    /// Institutions of the application that no directory lists.
    async fn list_app_institutions(&self, tenant: &Tenant) -> Result<Vec<AppInstitution>, StoreError>;

    // ---- instance

    /// The store's own time, real and the same for every process that uses the store. Leases, due times and retention
    /// go by it, so that a machine whose clock jumps neither takes over work nor deletes anything early.
    fn now(&self) -> Timestamp;

    /// A named value of the instance (seed, signing key), sealed by the master key.
    async fn lookup_instance_value(&self, name: &str) -> Result<Option<SecretBytes>, StoreError>;

    /// Wipes the requests, which hold personal data, of up to `limit` sessions of the tenant that ended at or before
    /// `now` by its clock. Returns how many.
    async fn wipe_expired_sessions(&self, tenant: &Tenant, now: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// What retention knows of the store's time; `None` before anybody looked.
    async fn lookup_watched_time(&self) -> Result<Option<TimeWatch>, StoreError>;

    /// Replaces it, if it is still as `expected`; `false` when somebody else was first.
    async fn write_watched_time(&self, expected: Option<TimeWatch>, watch: TimeWatch) -> Result<bool, StoreError>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Deletes what its retention has ended: tokens expired before `before`, finished jobs and positioned events older
    /// than it, and kept answers whose own life is over by [`Store::now`]. At most `limit` rows of each
    /// kind; returns how many went.
    async fn cleanup(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Deletes what retention has ended and [`Store::cleanup`] leaves: audit rows older than `audit_before`, sessions
    /// that retention first saw before `before`, and the stubs of deleted links whose last event and job are gone. At
    /// most `limit` rows of each kind; returns how many rows went or were seen for the first time.
    async fn forget(&self, before: Timestamp, audit_before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    // ---- what an application stores, and the state of the store itself

    /// What the application stores now, as counted with each commit.
    async fn app_usage(&self, app: &AppId) -> Result<AppUsage, StoreError>;

    /// The first damage that was met since the store was opened: a page or a row that cannot be read. `None` while
    /// everything that was read was sound.
    fn met_damage(&self) -> Option<String>;

    /// Waits until a part of the store that it cannot work without has ended by itself, and names it. Such a store stays
    /// as it is: only another process can open it anew. Never ends while all parts are alive, nor once [`Store::close`]
    /// was called.
    async fn part_ended(&self) -> &'static str;

    /// The parts that [`Store::end_part`] can end. No released binary contains this.
    #[cfg(feature = "fault-hooks")]
    fn parts(&self) -> Vec<&'static str>;

    /// Ends a part, in a panic or by a return, as a fault would. Returns whether there is one of this name.
    #[cfg(feature = "fault-hooks")]
    fn end_part(&self, part: &str, panics: bool) -> bool;

    /// Finishes outstanding writes and closes. Reads and writes fail afterwards.
    async fn close(&self);
}
