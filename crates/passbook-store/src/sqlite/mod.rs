//! The embedded store: one SQLite file, used by one process.
//!
//! | file | tells |
//! | --- | --- |
//! | `open`, `key_file`, `condition` | how a store is opened and refused |
//! | `connection` | the settings of every connection |
//! | `writer` | the one writing thread and its group commit |
//! | `queue` | what waits for it, by tenant |
//! | `pieces`, `undo`, `backlog` | large commits: written in pieces, taken back, and what is left to do |
//! | `views` | what readers see meanwhile |
//! | `readers` | who reads where |
//! | `wal` | the write-ahead log stays short |
//! | `apply` | a commit inside the writer |
//! | `links`, `transactions`, `changes`, `jobs`, `sessions`, `clients`, `events`, `deliveries`, `instance`, `answers`, `investments`, `usage` | the tables |
//! | `retention` | what ends without anybody asking |
//! | `master_keys`, `backup`, `restore`, `examine` | what an operator asks for; `upkeep` is its port |
//! | `columns`, `failure` | rows and errors |
//!
//! Guarantees: write-ahead log with a synced COMMIT for every group, so an acknowledged change survives kill -9 and
//! power loss; a lock, so that no second process can write; leases and reservations end when the store is opened, because
//! the only process that could hold one is gone.
//!
//! Statements keep to the dialect that SQLite and PostgreSQL share, with numbered parameters.

mod answers;
mod apply;
mod backlog;
mod backup;
mod changes;
mod clients;
mod columns;
mod condition;
mod connection;
mod deliveries;
mod events;
mod examine;
mod failure;
mod filter;
mod instance;
mod investments;
mod jobs;
mod key_file;
mod large;
mod links;
mod master_keys;
mod open;
mod pieces;
mod queue;
mod readers;
mod request;
mod restore;
mod retention;
mod sessions;
mod transactions;
mod undo;
mod upkeep;
mod usage;
mod users;
mod views;
mod wal;
mod writer;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use jiff::{Timestamp, civil::Date};
use passbook_core::{
    change_log::LoggedChange,
    delivery_shares::ReadyQueue,
    ids::{AppId, EventId, JobId, LinkId, SessionId},
    investment::{InvestmentTransaction, Portfolio},
    retention::TimeWatch,
    secret::SecretBytes,
    tenant::{Environment, Tenant},
    time::Clock,
    transaction::Transaction,
};
use rusqlite::Connection;

#[doc(hidden)]
pub use self::connection::watch_connections;
pub use self::{
    condition::{Presence, presence},
    key_file::load_or_create_master_keys,
    open::{OpenError, OpenOptions, SchemaVersions, schema_versions},
    restore::{RestoreError, RestoreOptions, Restored, restore},
};
use self::{
    failure::{Closed, WriteError, unavailable},
    pieces::Pieces,
    readers::Readers,
    request::{Effects, Retiming},
    views::Rows,
    writer::Writer,
};
pub use crate::stored::ledger::LedgerError;
use crate::{
    fair::Lane,
    port::{
        AddressStatus, AnswerKey, App, AppInstitution, AppUsage, ChangeFilter, Changes, Client, CommitError,
        DispatchedEvent, EndedAttempt, EventFilter, InvestmentTransactionPage, JobState, LeaseRef, LeaseRequest,
        LeasedDelivery, LeasedJob, LedgerEvent, LedgerPage, LinkAnswer, LinkPosition, NumbersAnswer, ReadyFilter,
        Reservation, Store, StoreError, StoredLink, StoredSecrets, StoredSession, Token, TransactionFilter,
        TransactionPage, UndispatchedEvent, UserTransactionFilter,
    },
    sealing::Keys,
    stored::{
        met::MetDamage,
        prepare::{self, Prepared},
    },
};

/// Commits that [`SqliteStore::bulk_load`] puts into one transaction.
const BULK_GROUP: usize = 1000;

/// Rows of each kind that one request of a clean-up deletes.
const CLEANUP_ROWS: u32 = 100;

/// The embedded store. Dropping it closes it, finishing what was queued.
pub struct SqliteStore {
    // Dropped first: the writer's end also ends the lock, and no connection may outlive that.
    readers: Arc<Readers>,
    writer: Arc<Writer>,
    path: PathBuf,
    keys: Arc<Keys>,
    clock: Arc<dyn Clock>,
    met: Arc<MetDamage>,
    /// The newest time that the store held when it was opened; its time does not run back before that.
    opened_at: Timestamp,
}

impl SqliteStore {
    /// The keys derived from the store's master key.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Commits many changes, a thousand to a transaction. **For measurements**: a lost guard fails its whole group.
    ///
    /// # Errors
    /// As [`Store::commit`]; groups before the failing one stay committed.
    #[doc(hidden)]
    pub async fn bulk_load(&self, changes: impl IntoIterator<Item = Changes>) -> Result<u64, CommitError> {
        let mut loaded = 0;
        let mut group = Vec::with_capacity(BULK_GROUP);
        let mut changes = changes.into_iter().peekable();
        while let Some(next) = changes.next() {
            group.push(self.prepare(next)?);
            if group.len() == BULK_GROUP || changes.peek().is_none() {
                loaded += group.len() as u64;
                let group = std::mem::replace(&mut group, Vec::with_capacity(BULK_GROUP));
                self.writer
                    .submit(&None, None, move |connection, effects| {
                        group.iter().try_for_each(|one| apply::apply(connection, one, effects))
                    })
                    .await?;
            }
        }
        Ok(loaded)
    }

    /// Makes due times of an app follow its clock, some in each transaction. Goes on even if the caller stops waiting.
    async fn retime(&self, lane: Lane, retiming: Retiming) -> Result<(), WriteError> {
        let (readers, writer) = (Arc::clone(&self.readers), Arc::clone(&self.writer));
        let all = tokio::spawn(async move { clients::retime_in_pieces(&readers, &writer, &lane, retiming).await });
        all.await.map_err(unavailable)?
    }

    /// Removes up to `limit` rows of each kind; each round is a request of its own, so that others come in between.
    async fn in_rounds(
        &self,
        limit: u32,
        remove: impl Fn(&Connection, u32) -> Result<u64, WriteError> + Clone + Send + 'static,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        for left in (1..=limit).rev().step_by(CLEANUP_ROWS as usize) {
            let rows = left.min(CLEANUP_ROWS);
            let remove = remove.clone();
            let gone = self.writer.submit(&None, None, move |connection, _| remove(connection, rows)).await?;
            removed += gone;
            if gone < u64::from(rows) {
                break;
            }
        }
        Ok(removed)
    }

    fn prepare(&self, changes: Changes) -> Result<Prepared, CommitError> {
        prepare::prepare(&self.keys, changes, |link| {
            let key = self
                .readers
                .point(|connection| links::lookup_data_key(connection, &self.keys, &link.tenant, &link.id))?;
            Ok(key)
        })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn lookup_numbers_answer(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<NumbersAnswer>, StoreError> {
        self.readers.point(|connection| links::lookup_numbers_answer(connection, &self.keys, tenant, id))
    }

    async fn lookup_link_answer(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<LinkAnswer>, StoreError> {
        self.readers.point(|connection| links::lookup_link_answer(connection, tenant, id))
    }

    async fn lookup_link(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<StoredLink>, StoreError> {
        self.readers.point(|connection| links::lookup_link(connection, tenant, id))
    }

    async fn lookup_link_remains(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<StoredLink>, StoreError> {
        let remains = self.readers.point(|connection| links::lookup_remains(connection, id))?;
        Ok(remains.filter(|stored| stored.link.tenant == *tenant))
    }

    async fn lookup_secrets(&self, tenant: &Tenant, id: &LinkId) -> Result<Option<StoredSecrets>, StoreError> {
        self.readers.point(|connection| links::lookup_secrets(connection, &self.keys, tenant, id))
    }

    async fn find_link_by_import_key(&self, tenant: &Tenant, import_key: &str) -> Result<Option<LinkId>, StoreError> {
        self.readers.point(|connection| links::find_link_by_import_key(connection, tenant, import_key))
    }

    async fn find_connected_link(
        &self,
        tenant: &Tenant,
        customer_user_id: &str,
        institution_id: &str,
    ) -> Result<Option<LinkId>, StoreError> {
        self.readers
            .point(|connection| links::find_connected_link(connection, tenant, customer_user_id, institution_id))
    }

    async fn list_links(
        &self,
        tenant: &Tenant,
        after: Option<&LinkPosition>,
        limit: u32,
    ) -> Result<Vec<LinkPosition>, StoreError> {
        let (owner, after) = (tenant.clone(), after.cloned());
        let list = move |connection: &_| links::list_links(connection, &owner, after.as_ref(), limit);
        self.readers.scan(Some(tenant), list).await
    }

    async fn list_unscheduled_links(
        &self,
        after: Option<&LinkId>,
        limit: u32,
    ) -> Result<Vec<(Tenant, LinkId)>, StoreError> {
        let after = after.cloned();
        self.readers.scan(None, move |connection| jobs::list_unscheduled_links(connection, after.as_ref(), limit)).await
    }

    async fn list_user_links(&self, tenant: &Tenant, customer_user_id: &str) -> Result<Vec<StoredLink>, StoreError> {
        let (owner, user) = (tenant.clone(), customer_user_id.to_owned());
        self.readers.scan(Some(tenant), move |connection| users::list_user_links(connection, &owner, &user)).await
    }

    async fn list_user_transactions(
        &self,
        tenant: &Tenant,
        filter: &UserTransactionFilter,
    ) -> Result<TransactionPage, StoreError> {
        let (owner, filter) = (tenant.clone(), filter.clone());
        let links = filter.links.clone();
        let list = move |rows: &Rows<'_>| users::list_user_transactions(rows, &owner, &filter);
        self.readers.scan_rows(tenant, links, list).await
    }

    async fn list_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        filter: &TransactionFilter,
    ) -> Result<TransactionPage, StoreError> {
        let (owner, of, filter) = (tenant.clone(), link.clone(), filter.clone());
        let list = move |rows: &Rows<'_>| transactions::list_transactions(rows.of_one(), &owner, &of, &filter);
        self.readers.scan_rows(tenant, vec![link.clone()], list).await
    }

    async fn list_transaction_changes(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        filter: &ChangeFilter,
    ) -> Result<Vec<LoggedChange>, StoreError> {
        let (owner, of, filter) = (tenant.clone(), link.clone(), filter.clone());
        let list = move |rows: &Rows<'_>| changes::list_transaction_changes(rows.of_one(), &owner, &of, &filter);
        self.readers.scan_rows(tenant, vec![link.clone()], list).await
    }

    async fn load_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        since: Option<Date>,
    ) -> Result<Vec<Transaction>, StoreError> {
        let (owner, of) = (tenant.clone(), link.clone());
        let load = move |rows: &Rows<'_>| transactions::load_transactions(rows.of_one(), &owner, &of, since);
        self.readers.scan_rows(tenant, vec![link.clone()], load).await
    }

    async fn lookup_portfolio(&self, tenant: &Tenant, link: &LinkId) -> Result<Option<Portfolio>, StoreError> {
        let (owner, of) = (tenant.clone(), link.clone());
        let lookup = move |rows: &Rows<'_>| investments::lookup_portfolio(rows.of_one(), &owner, &of);
        self.readers.scan_rows(tenant, vec![link.clone()], lookup).await
    }

    async fn list_investment_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        filter: &TransactionFilter,
    ) -> Result<InvestmentTransactionPage, StoreError> {
        let (owner, of, filter) = (tenant.clone(), link.clone(), filter.clone());
        let list =
            move |rows: &Rows<'_>| investments::list_investment_transactions(rows.of_one(), &owner, &of, &filter);
        self.readers.scan_rows(tenant, vec![link.clone()], list).await
    }

    async fn load_investment_transactions(
        &self,
        tenant: &Tenant,
        link: &LinkId,
        since: Option<Date>,
    ) -> Result<Vec<InvestmentTransaction>, StoreError> {
        let (owner, of) = (tenant.clone(), link.clone());
        let load = move |rows: &Rows<'_>| investments::load_investment_transactions(rows.of_one(), &owner, &of, since);
        self.readers.scan_rows(tenant, vec![link.clone()], load).await
    }

    async fn commit(&self, changes: Changes) -> Result<(), CommitError> {
        let prepared = self.prepare(changes)?;
        let lane = prepared.tenant().cloned();
        let prepared = match Pieces::of(prepared) {
            Ok(pieces) => return Ok(self.writer.submit_pieces(&lane, pieces).await?),
            Err(ordinary) => ordinary,
        };
        let link = pieces::written_link(&prepared);
        let apply = move |connection: &_, effects: &mut Effects| {
            apply::apply(connection, &prepared, effects)?;
            Ok(effects.retiming.take())
        };
        match self.writer.submit(&lane, link, apply).await? {
            Some(retiming) => Ok(self.retime(lane, retiming).await?),
            None => Ok(()),
        }
    }

    async fn take_ordinal(&self, app: &AppId, kind: &str) -> Result<u64, StoreError> {
        let (app, kind) = (app.clone(), kind.to_owned());
        // The store cannot tell the environment; one app has one lane here.
        let lane = Some(Tenant { app_id: app.clone(), environment: Environment::Live });
        Ok(self
            .writer
            .submit(&lane, None, move |connection, _| instance::take_ordinal(connection, &app, &kind))
            .await?)
    }

    async fn lease_jobs(
        &self,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        except: &[AppId],
    ) -> Result<Vec<LeasedJob>, StoreError> {
        let (owner, except) = (owner.to_owned(), except.to_vec());
        let lease = move |connection: &Connection, _: &mut Effects| {
            let chosen = jobs::choose_jobs(connection, now, limit, &except)?;
            jobs::lease_jobs(connection, &owner, until, &chosen)?;
            Ok(chosen)
        };
        Ok(self.writer.submit(&None, None, lease).await?)
    }

    async fn renew_lease(&self, job: &LeaseRef, until: Timestamp) -> Result<bool, StoreError> {
        let job = job.clone();
        Ok(self.writer.submit(&None, None, move |connection, _| jobs::renew_lease(connection, &job, until)).await?)
    }

    async fn release_job(&self, job: &LeaseRef, due_at: Timestamp) -> Result<(), StoreError> {
        let job = job.clone();
        Ok(self.writer.submit(&None, None, move |connection, _| jobs::release_job(connection, &job, due_at)).await?)
    }

    async fn next_due_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.readers.point(|connection| jobs::next_due_at(connection, self.now()))
    }

    async fn count_due_jobs(&self, app: &AppId, now: Timestamp) -> Result<u64, StoreError> {
        self.readers.point(|connection| jobs::count_due_jobs(connection, app, now))
    }

    async fn lookup_job_state(&self, job: &JobId) -> Result<Option<JobState>, StoreError> {
        self.readers.point(|connection| jobs::lookup_job_state(connection, job))
    }

    async fn list_undispatched(&self, limit: u32) -> Result<Vec<UndispatchedEvent>, StoreError> {
        self.readers.point(|connection| deliveries::list_undispatched(connection, limit))
    }

    async fn dispatch_events(&self, events: Vec<DispatchedEvent>) -> Result<bool, StoreError> {
        let now = self.now();
        let dispatch = move |connection: &_, _: &mut _| deliveries::dispatch_events(connection, &events, now);
        match self.writer.submit(&None, None, dispatch).await {
            Ok(()) => Ok(true),
            Err(WriteError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn list_ready_deliveries(&self, filter: &ReadyFilter) -> Result<Vec<ReadyQueue>, StoreError> {
        let filter = filter.clone();
        self.readers.aside(move |connection| deliveries::list_ready(connection, &filter)).await
    }

    async fn lease_deliveries(
        &self,
        owner: &str,
        until: Timestamp,
        requests: Vec<LeaseRequest>,
    ) -> Result<Vec<LeasedDelivery>, StoreError> {
        let owner = owner.to_owned();
        let lease = move |connection: &_, _: &mut _| deliveries::lease_deliveries(connection, &owner, until, &requests);
        Ok(self.writer.submit(&None, None, lease).await?)
    }

    async fn wake_deliveries(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        Ok(self.writer.submit(&None, None, move |connection, _| deliveries::wake(connection, now, limit)).await?)
    }

    async fn bury_deliveries(&self, limit: u32) -> Result<u64, StoreError> {
        let now = self.now();
        Ok(self.writer.submit(&None, None, move |connection, _| deliveries::bury(connection, now, limit)).await?)
    }

    async fn end_attempt(&self, ended: EndedAttempt) -> Result<bool, StoreError> {
        let now = self.now();
        let end = move |connection: &_, _: &mut _| deliveries::end_attempt(connection, &ended, now);
        Ok(self.writer.submit(&None, None, end).await?)
    }

    async fn replay_deliveries(&self, events: Vec<DispatchedEvent>) -> Result<(), StoreError> {
        let now = self.now();
        let lane = events.first().map(|event| event.tenant.clone());
        let replay = move |connection: &_, _: &mut _| deliveries::replay_deliveries(connection, &events, now);
        Ok(self.writer.submit(&lane, None, replay).await?)
    }

    async fn next_delivery_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.readers.point(deliveries::next_delivery_at)
    }

    async fn list_events(&self, tenant: &Tenant, filter: &EventFilter, limit: u32) -> Result<LedgerPage, StoreError> {
        let (owner, filter) = (tenant.clone(), filter.clone());
        let list = move |connection: &_| deliveries::list_events(connection, &owner, &filter, limit);
        self.readers.scan(Some(tenant), list).await
    }

    async fn find_events(&self, tenant: &Tenant, ids: &[EventId]) -> Result<Vec<LedgerEvent>, StoreError> {
        let (owner, ids) = (tenant.clone(), ids.to_vec());
        self.readers.scan(Some(tenant), move |connection| deliveries::find_events(connection, &owner, &ids)).await
    }

    async fn newest_position(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        self.readers.point(|connection| deliveries::newest_position(connection, tenant))
    }

    async fn list_failing_addresses(&self) -> Result<Vec<AddressStatus>, StoreError> {
        self.readers.scan(None, deliveries::list_failing_addresses).await
    }

    async fn lookup_session(&self, id: &SessionId) -> Result<Option<StoredSession>, StoreError> {
        self.readers.point(|connection| sessions::lookup_session(connection, &self.keys, id))
    }

    async fn find_session_by_exchange_hash(
        &self,
        tenant: &Tenant,
        hash: &[u8; 32],
    ) -> Result<Option<StoredSession>, StoreError> {
        self.readers.point(|connection| sessions::find_session_by_exchange_hash(connection, &self.keys, tenant, hash))
    }

    async fn lookup_app(&self, id: &AppId) -> Result<Option<App>, StoreError> {
        self.readers.point(|connection| clients::lookup_app(connection, id))
    }

    async fn list_apps(&self) -> Result<Vec<App>, StoreError> {
        self.readers.point(clients::list_apps)
    }

    async fn lookup_client(&self, client_id: &str) -> Result<Option<Client>, StoreError> {
        self.readers.point(|connection| clients::lookup_client(connection, client_id))
    }

    async fn find_token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        self.readers.point(|connection| clients::find_token_by_hash(connection, hash, self.now()))
    }

    async fn newest_time(&self, app: &AppId) -> Result<Option<Timestamp>, StoreError> {
        let lane = Tenant { app_id: app.clone(), environment: Environment::Sandbox };
        let app = app.clone();
        self.readers.scan(Some(&lane), move |connection| clients::newest_time(connection, &app)).await
    }

    async fn list_app_institutions(&self, tenant: &Tenant) -> Result<Vec<AppInstitution>, StoreError> {
        self.readers.point(|connection| instance::list_app_institutions(connection, tenant))
    }

    async fn list_clients(&self, app: &AppId) -> Result<Vec<Client>, StoreError> {
        self.readers.point(|connection| clients::list_clients(connection, app))
    }

    async fn reserve_answer(
        &self,
        key: &AnswerKey,
        request_hash: &[u8; 32],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reservation, StoreError> {
        let lane = key.tenant.clone();
        let (keys, key, request_hash) = (Arc::clone(&self.keys), key.clone(), *request_hash);
        let reserve =
            move |connection: &_, _: &mut _| answers::reserve(connection, &keys, &key, &request_hash, now, until);
        Ok(self.writer.submit(&Some(lane), None, reserve).await?)
    }

    async fn release_answer(&self, key: &AnswerKey, fence: u64) -> Result<(), StoreError> {
        let (lane, key) = (Some(key.tenant.clone()), key.clone());
        Ok(self.writer.submit(&lane, None, move |connection, _| answers::release(connection, &key, fence)).await?)
    }

    fn now(&self) -> Timestamp {
        self.clock.now().max(self.opened_at)
    }

    async fn lookup_instance_value(&self, name: &str) -> Result<Option<SecretBytes>, StoreError> {
        self.readers.point(|connection| instance::lookup_instance_value(connection, &self.keys, name))
    }

    async fn lookup_watched_time(&self) -> Result<Option<TimeWatch>, StoreError> {
        self.readers.point(instance::lookup_watched_time)
    }

    async fn write_watched_time(&self, expected: Option<TimeWatch>, watch: TimeWatch) -> Result<bool, StoreError> {
        let write =
            move |connection: &_, _: &mut _| instance::write_watched_time(connection, expected.as_ref(), &watch);
        Ok(self.writer.submit(&None, None, write).await?)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        if !self.writer.is_running() {
            return Err(unavailable(Closed));
        }
        self.readers.point(|connection| {
            connection.prepare_cached("SELECT 1 FROM write_probe WHERE probe_id = 1")?.exists([])?;
            Ok(())
        })
    }

    async fn wipe_expired_sessions(&self, tenant: &Tenant, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let (tenant, now) = (tenant.clone(), now.as_microsecond());
        let wipe = move |connection: &_, _: &mut _| sessions::wipe_expired(connection, &tenant, now, limit);
        Ok(self.writer.submit(&None, None, wipe).await?)
    }

    async fn cleanup(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let (before, now) = (before.as_microsecond(), self.now());
        self.in_rounds(limit, move |connection, rows| events::cleanup(connection, before, now, rows)).await
    }

    async fn forget(&self, before: Timestamp, audit_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let now = self.now();
        let forget = move |connection: &_, rows| retention::forget(connection, before, audit_before, now, rows);
        self.in_rounds(limit, forget).await
    }

    async fn app_usage(&self, app: &AppId) -> Result<AppUsage, StoreError> {
        self.readers.point(|connection| usage::app_usage(connection, app))
    }

    fn met_damage(&self) -> Option<String> {
        self.met.first()
    }

    async fn part_ended(&self) -> &'static str {
        self.writer.ended().await
    }

    #[cfg(feature = "fault-hooks")]
    fn parts(&self) -> Vec<&'static str> {
        vec![writer::PART]
    }

    #[cfg(feature = "fault-hooks")]
    fn end_part(&self, part: &str, panics: bool) -> bool {
        part == writer::PART && self.writer.end(panics)
    }

    async fn close(&self) {
        self.readers.close();
        let writer = Arc::clone(&self.writer);
        // Waits for the thread, which may be syncing; a runtime that is shutting down cannot do better than that.
        if tokio::task::spawn_blocking(move || writer.close()).await.is_err() {
            tracing::error!("closing the store was interrupted");
        }
    }
}
