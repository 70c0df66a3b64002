//! The store for many machines: a PostgreSQL database, used by any number of processes.
//!
//! | file | tells |
//! | --- | --- |
//! | `open`, `schema` | how a store is opened and refused; migrations while others start too |
//! | `statistics` | what the planner knows, made when it is missing |
//! | `connect` | how every connection is made |
//! | `readers` | who reads where: shared, pipelined connections |
//! | `writers`, `work` | units of work: repeated, resolved; their statements in few round trips |
//! | `apply` | a commit as one unit of work |
//! | `links`, `transactions`, `changes`, `jobs`, `sessions`, `clients`, `events`, `deliveries`, `instance`, `answers`, `investments` | the tables |
//! | `upkeep`, `master_keys` | what an operator asks; rotating master keys |
//! | `clock`, `deletions` | the database's time; the deletion ledger |
//! | `values`, `columns`, `failure` | parameters, rows, errors |
//!
//! Guarantees: a commit is acknowledged after the server's own; correctness rests on unique keys and conditional
//! updates whose row counts are checked, never on the isolation level; processes share nothing but the database.
//!
//! Every statement is a constant, prepared once for each connection. They stay inside what distributed engines that
//! speak the protocol offer; `tests/postgres/statements.rs` reads them all and says what must not be in one.

mod answers;
mod apply;
mod changes;
mod clients;
mod clock;
mod columns;
mod connect;
mod deletions;
mod deliveries;
mod events;
mod failure;
mod instance;
mod investments;
mod jobs;
mod links;
mod master_keys;
mod open;
mod readers;
mod retention;
mod schema;
mod sessions;
mod statistics;
mod transactions;
mod upkeep;
mod usage;
mod users;
mod values;
mod work;
mod writers;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp, civil::Date};
use passbook_core::{
    change_log::LoggedChange,
    delivery_shares::ReadyQueue,
    ids::{AppId, EventId, JobId, LinkId, SessionId},
    investment::{InvestmentTransaction, Portfolio},
    retention::TimeWatch,
    secret::SecretBytes,
    tenant::Tenant,
    time::Clock,
    transaction::Transaction,
};
use tokio::{sync::watch, task::JoinHandle};

pub use self::open::{Connections, OpenError, OpenOptions};
use self::{
    answers::Reserve,
    apply::Commit,
    deletions::Deletions,
    deliveries::{Bury, CleanupDeliveries, Dispatch, EndAttempt, LeaseDeliveries, Replay},
    failure::{WriteError, unavailable},
    instance::TakeOrdinal,
    jobs::Lease,
    readers::Readers,
    values::values,
    writers::Writers,
};
use crate::{
    port::{
        AddressStatus, AnswerKey, App, AppInstitution, AppUsage, ChangeFilter, Changes, Client, CommitError,
        DispatchedEvent, EndedAttempt, EventFilter, Guard, InvestmentTransactionPage, JobState, LeaseRef, LeaseRequest,
        LeasedDelivery, LeasedJob, LedgerEvent, LedgerPage, LinkAnswer, LinkPosition, NumbersAnswer, ReadyFilter,
        Reservation, Store, StoreError, StoredLink, StoredSecrets, StoredSession, Token, TransactionFilter,
        TransactionPage, UndispatchedEvent, UserTransactionFilter,
    },
    sealing::Keys,
    stored::{
        ledger::LedgerEntry,
        met::MetDamage,
        prepare::{self, Prepared},
        values::{due_micros, fence_number, micros},
    },
    time::RemoteClock,
    vital::Vital,
};

/// The store for many machines.
pub struct PostgresStore {
    keys: Arc<Keys>,
    readers: Readers,
    writers: Arc<Writers>,
    deletions: Arc<Deletions>,
    clock: Arc<RemoteClock>,
    wall_clock: Arc<dyn Clock>,
    met: MetDamage,
    upkeep: JoinHandle<()>,
    vital: Vital,
    /// `true` once missing statistics were made, or could not be.
    statistics: watch::Receiver<bool>,
}

impl PostgresStore {
    /// The keys derived from the store's master key.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// How far this machine's wall clock is ahead of the store's time; negative when it is behind.
    #[must_use]
    pub fn skew(&self) -> SignedDuration {
        self.wall_clock.now().duration_since(self.clock.now())
    }

    /// Waits until what the planner lacked when the store was opened is made, or cannot be. **For tests.**
    #[doc(hidden)]
    pub async fn statistics_settled(&self) {
        let mut settled = self.statistics.clone();
        // A task that is gone has nothing left to make.
        let _gone = settled.wait_for(|settled| *settled).await;
    }

    async fn prepare(&self, changes: Changes) -> Result<Prepared, CommitError> {
        let stored_key = match &changes.link {
            Some(write) if prepare::needs_stored_key(write) => {
                links::lookup_data_key(&self.readers, &self.keys, &write.link.tenant, &write.link.id).await?
            }
            _ => None,
        };
        prepare::prepare(&self.keys, changes, |_| Ok(stored_key))
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.vital.close();
        self.upkeep.abort();
    }
}

/// Commits, and records a deletion before it is acknowledged.
async fn commit(writers: Arc<Writers>, deletions: Arc<Deletions>, prepared: Prepared) -> Result<(), WriteError> {
    let destroyed = prepared.link.as_ref().filter(|link| link.destroy).map(|link| LedgerEntry {
        at: link.link.deleted_at.unwrap_or(link.link.changed_at),
        link_id: link.link.id.clone(),
    });
    writers.transact_here(Commit(prepared)).await?;
    match destroyed {
        Some(entry) => Ok(deletions.record(vec![entry]).await?),
        None => Ok(()),
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn lookup_numbers_answer(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<NumbersAnswer>, StoreError> {
        self.met.look(links::lookup_numbers_answer(&self.readers, &self.keys, tenant, id).await)
    }

    async fn lookup_link_answer(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<LinkAnswer>, StoreError> {
        self.met.look(links::lookup_link_answer(&self.readers, tenant, id).await)
    }

    async fn lookup_link(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<StoredLink>, StoreError> {
        self.met.look(links::lookup_link(&self.readers, tenant, id).await)
    }

    async fn lookup_link_remains(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<StoredLink>, StoreError> {
        let remains = links::lookup_remains(&self.readers, id).await?;
        Ok(remains.filter(|stored| stored.link.tenant == *tenant))
    }

    async fn lookup_secrets(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<StoredSecrets>, StoreError> {
        self.met.look(links::lookup_secrets(&self.readers, &self.keys, tenant, id).await)
    }

    async fn find_link_by_import_key(&self, tenant: &Tenant, import_key: &str) -> Result<Option<LinkId>, StoreError> {
        links::find_link_by_import_key(&self.readers, tenant, import_key).await
    }

    async fn find_connected_link(
        &self,
        tenant: &Tenant,
        customer_user_id: &str,
        institution_id: &str,
    ) -> Result<Option<LinkId>, StoreError> {
        links::find_connected_link(&self.readers, tenant, customer_user_id, institution_id).await
    }

    async fn list_links(
        &self,
        tenant: &Tenant,
        after: Option<&LinkPosition>,
        limit: u32,
    ) -> Result<Vec<LinkPosition>, StoreError> {
        links::list_links(&self.readers, tenant, after, limit).await
    }

    async fn list_unscheduled_links(
        &self,
        after: Option<&LinkId>,
        limit: u32,
    ) -> Result<Vec<(Tenant, LinkId)>, StoreError> {
        jobs::list_unscheduled_links(&self.readers, after, limit).await
    }

    async fn list_user_links(&self, tenant: &Tenant, customer_user_id: &str) -> Result<Vec<StoredLink>, StoreError> {
        self.met.look(users::list_user_links(&self.readers, tenant, customer_user_id).await)
    }

    async fn list_user_transactions(
        &self,
        tenant: &Tenant,
        filter: &UserTransactionFilter,
    ) -> Result<TransactionPage, StoreError> {
        self.met.look(users::list_user_transactions(&self.readers, tenant, filter).await)
    }

    async fn list_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        filter: &TransactionFilter,
    ) -> Result<TransactionPage, StoreError> {
        self.met.look(transactions::list_transactions(&self.readers, tenant, link, filter).await)
    }

    async fn list_transaction_changes(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        filter: &ChangeFilter,
    ) -> Result<Vec<LoggedChange>, StoreError> {
        self.met.look(changes::list_transaction_changes(&self.readers, tenant, link, filter).await)
    }

    async fn load_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        since: Option<Date>,
    ) -> Result<Vec<Transaction>, StoreError> {
        self.met.look(transactions::load_transactions(&self.readers, tenant, link, since).await)
    }

    async fn lookup_portfolio(&self, tenant: &Tenant, link: &LinkId) -> Result<Option<Portfolio>, StoreError> {
        self.met.look(investments::lookup_portfolio(&self.readers, tenant, link).await)
    }

    async fn list_investment_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        filter: &TransactionFilter,
    ) -> Result<InvestmentTransactionPage, StoreError> {
        investments::list_investment_transactions(&self.readers, tenant, link, filter).await
    }

    async fn load_investment_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        since: Option<Date>,
    ) -> Result<Vec<InvestmentTransaction>, StoreError> {
        investments::load_investment_transactions(&self.readers, tenant, link, since).await
    }

    async fn commit(&self, changes: Changes) -> Result<(), CommitError> {
        let prepared = self.prepare(changes).await?;
        // A deletion replaces whatever the document is, so its format refuses nothing.
        let replaced = prepared.link.as_ref().filter(|one| one.expected_version.is_some() && !one.is_deletion());
        let replaced = replaced.map(|link| link.link.id.clone());
        let task = tokio::spawn(commit(Arc::clone(&self.writers), Arc::clone(&self.deletions), prepared));
        let outcome = task.await.map_err(unavailable)?.map_err(CommitError::from);
        if let (Err(CommitError::Conflict(Guard::Link)), Some(id)) = (&outcome, replaced) {
            links::refuse_newer_format(&self.readers, &id).await?;
        }
        outcome
    }

    async fn take_ordinal(&self, app: &AppId, kind: &str) -> Result<u64, StoreError> {
        let take = TakeOrdinal { app: app.clone(), kind: kind.to_owned() };
        Ok(self.writers.transact(take).await?)
    }

    async fn lease_jobs(
        &self,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        except: &[AppId],
    ) -> Result<Vec<LeasedJob>, StoreError> {
        let lease = Lease { owner: owner.to_owned(), now, until, limit, except: except.to_vec() };
        Ok(self.writers.transact(lease).await?)
    }

    async fn renew_lease(&self, job: &LeaseRef, until: Timestamp) -> Result<bool, StoreError> {
        let values = values![job.job_id.as_str(), fence_number(job), micros(until)];
        Ok(self.writers.execute(jobs::RENEW_LEASE, values).await? == 1)
    }

    async fn release_job(&self, job: &LeaseRef, due_at: Timestamp) -> Result<(), StoreError> {
        let values = values![job.job_id.as_str(), fence_number(job), due_micros(due_at)];
        self.writers.execute(jobs::RELEASE_JOB, values).await?;
        Ok(())
    }

    async fn next_due_at(&self) -> Result<Option<Timestamp>, StoreError> {
        jobs::next_due_at(&self.readers, self.now()).await
    }

    async fn count_due_jobs(&self, app: &AppId, now: Timestamp) -> Result<u64, StoreError> {
        jobs::count_due_jobs(&self.readers, app, now).await
    }

    async fn lookup_job_state(&self, job: &JobId) -> Result<Option<JobState>, StoreError> {
        jobs::lookup_job_state(&self.readers, job).await
    }

    async fn list_undispatched(&self, limit: u32) -> Result<Vec<UndispatchedEvent>, StoreError> {
        deliveries::list_undispatched(&self.readers, limit).await
    }

    async fn dispatch_events(&self, events: Vec<DispatchedEvent>) -> Result<bool, StoreError> {
        match self.writers.transact(Dispatch { events, now: self.now() }).await {
            Err(WriteError::Conflict(_)) => Ok(false),
            other => Ok(other?),
        }
    }

    async fn list_ready_deliveries(&self, filter: &ReadyFilter) -> Result<Vec<ReadyQueue>, StoreError> {
        deliveries::list_ready(&self.readers, filter).await
    }

    async fn lease_deliveries(
        &self,
        owner: &str,
        until: Timestamp,
        requests: Vec<LeaseRequest>,
    ) -> Result<Vec<LeasedDelivery>, StoreError> {
        Ok(self.writers.transact(LeaseDeliveries { owner: owner.to_owned(), until, requests }).await?)
    }

    async fn wake_deliveries(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.writers.execute(deliveries::WAKE_DELIVERIES, values![micros(now), limit]).await
    }

    async fn bury_deliveries(&self, limit: u32) -> Result<u64, StoreError> {
        Ok(self.writers.transact(Bury { now: self.now(), limit }).await?)
    }

    async fn end_attempt(&self, ended: EndedAttempt) -> Result<bool, StoreError> {
        match self.writers.transact(EndAttempt { ended, now: self.now() }).await {
            Ok(()) => Ok(true),
            Err(WriteError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn replay_deliveries(&self, events: Vec<DispatchedEvent>) -> Result<(), StoreError> {
        Ok(self.writers.transact(Replay { events, now: self.now() }).await?)
    }

    async fn next_delivery_at(&self) -> Result<Option<Timestamp>, StoreError> {
        deliveries::next_delivery_at(&self.readers).await
    }

    async fn list_events(&self, tenant: &Tenant, filter: &EventFilter, limit: u32) -> Result<LedgerPage, StoreError> {
        deliveries::list_events(&self.readers, tenant, filter, limit).await
    }

    async fn find_events(&self, tenant: &Tenant, ids: &[EventId]) -> Result<Vec<LedgerEvent>, StoreError> {
        deliveries::find_events(&self.readers, tenant, ids).await
    }

    async fn newest_position(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        deliveries::newest_position(&self.readers, tenant).await
    }

    async fn list_failing_addresses(&self) -> Result<Vec<AddressStatus>, StoreError> {
        deliveries::list_failing_addresses(&self.readers).await
    }

    async fn lookup_session(&self, id: &SessionId) -> Result<Option<StoredSession>, StoreError> {
        self.met.look(sessions::lookup_session(&self.readers, &self.keys, id).await)
    }

    async fn find_session_by_exchange_hash(
        &self,
        tenant: &Tenant,
        hash: &[u8; 32],
    ) -> Result<Option<StoredSession>, StoreError> {
        sessions::find_session_by_exchange_hash(&self.readers, &self.keys, tenant, hash).await
    }

    async fn lookup_app(&self, id: &AppId) -> Result<Option<App>, StoreError> {
        clients::lookup_app(&self.readers, id).await
    }

    async fn list_apps(&self) -> Result<Vec<App>, StoreError> {
        clients::list_apps(&self.readers).await
    }

    async fn lookup_client(&self, client_id: &str) -> Result<Option<Client>, StoreError> {
        clients::lookup_client(&self.readers, client_id).await
    }

    async fn list_clients(&self, app: &AppId) -> Result<Vec<Client>, StoreError> {
        clients::list_clients(&self.readers, app).await
    }

    async fn find_token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        clients::find_token_by_hash(&self.readers, hash, self.now()).await
    }

    async fn newest_time(&self, app: &AppId) -> Result<Option<Timestamp>, StoreError> {
        clients::newest_time(&self.readers, app).await
    }

    async fn reserve_answer(
        &self,
        key: &AnswerKey,
        request_hash: &[u8; 32],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reservation, StoreError> {
        let keys = Arc::clone(&self.keys);
        let reserve = Reserve { keys, key: key.clone(), request_hash: *request_hash, now, until };
        Ok(self.writers.transact(reserve).await?)
    }

    async fn release_answer(&self, key: &AnswerKey, fence: u64) -> Result<(), StoreError> {
        self.writers.execute(answers::RELEASE_ANSWER, answers::release(key, fence)).await?;
        Ok(())
    }

    async fn list_app_institutions(&self, tenant: &Tenant) -> Result<Vec<AppInstitution>, StoreError> {
        instance::list_app_institutions(&self.readers, tenant).await
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn lookup_instance_value(&self, name: &str) -> Result<Option<SecretBytes>, StoreError> {
        instance::lookup_instance_value(&self.readers, &self.keys, name).await
    }

    async fn wipe_expired_sessions(&self, tenant: &Tenant, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let values = values![tenant.app_id.as_str(), tenant.environment.as_str(), micros(now), limit];
        self.writers.execute(sessions::WIPE_EXPIRED_SESSIONS, values).await
    }

    async fn lookup_watched_time(&self) -> Result<Option<TimeWatch>, StoreError> {
        instance::lookup_watched_time(&self.readers).await
    }

    async fn write_watched_time(&self, expected: Option<TimeWatch>, watch: TimeWatch) -> Result<bool, StoreError> {
        instance::write_watched_time(&self.writers, expected.as_ref(), &watch).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        instance::ping(&self.readers).await
    }

    async fn cleanup(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let answers = values![micros(self.now()), limit];
        let mut deleted = self.writers.execute(events::CLEANUP_ANSWERS, answers).await?;
        for sql in events::CLEANUP {
            deleted += self.writers.execute(sql, values![micros(before), limit]).await?;
        }
        deleted += self.writers.transact(CleanupDeliveries { before, now: self.now(), limit }).await?;
        // Once their deliveries are gone.
        deleted += self.writers.execute(events::CLEANUP_EVENTS, values![micros(before), limit]).await?;
        self.writers.cleanup_marks(limit).await?;
        Ok(deleted)
    }

    async fn forget(&self, before: Timestamp, audit_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        retention::forget(&self.writers, before, audit_before, self.now(), limit).await
    }

    async fn app_usage(&self, app: &AppId) -> Result<AppUsage, StoreError> {
        usage::app_usage(&self.readers, app).await
    }

    fn met_damage(&self) -> Option<String> {
        self.met.first()
    }

    async fn part_ended(&self) -> &'static str {
        self.vital.ended().await
    }

    #[cfg(feature = "fault-hooks")]
    fn parts(&self) -> Vec<&'static str> {
        vec![clock::PART]
    }

    #[cfg(feature = "fault-hooks")]
    fn end_part(&self, part: &str, _panics: bool) -> bool {
        // An abort drops the task where it stands, as a panic does.
        let is_it = part == clock::PART;
        if is_it {
            self.upkeep.abort();
        }
        is_it
    }

    async fn close(&self) {
        self.vital.close();
        self.writers.close().await;
        self.readers.close();
        self.upkeep.abort();
        // What is still missing then is added by the next one that opens the store.
        let _was_logged = self.deletions.catch_up().await;
    }
}
