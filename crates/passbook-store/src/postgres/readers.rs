//! Who reads where.
//!
//! Point reads share a few connections and are pipelined on them: a read is sent at once, behind those that are under
//! way, and costs one round trip and no waiting for a connection. Long reads have connections of their own, so that
//! no point read waits behind one.
//!
//! A connection that breaks is made again by the next read that needs it; that read is tried once more, others fail
//! until it is there.

use std::{
    pin::pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::{ClientWrapper, Pool};
use futures_util::TryStreamExt as _;
use passbook_core::{shares::Bounds, tenant::Tenant};
use tokio::{sync::Mutex, time::timeout};
use tokio_postgres::{Error, Row};

use super::{
    connect::Connector,
    failure::{Closed, Late, is_lost, is_serialization_failure, told, unavailable},
    values::Value,
};
use crate::{fair::Lane, places::Places, port::StoreError};

/// How long a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(12);
/// Long reads of one tenant that may wait, and for how long.
const LONG_WAITING_MAX: u32 = 512;
const LONG_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long after a failure to connect nobody tries again.
const BACKOFF: Duration = Duration::from_millis(200);
/// A read is tried again when its connection broke or the database gave way to somebody else.
const TRIES: u32 = 2;

/// All reading connections of a store.
pub(super) struct Readers {
    connector: Connector,
    points: Vec<Slot>,
    next: AtomicUsize,
    scans: Pool,
    /// The connections of `scans`, which tenants get in turn.
    places: Arc<Places<Lane>>,
    closed: AtomicBool,
}

/// The place of one shared connection.
#[derive(Default)]
struct Slot {
    client: RwLock<Option<Arc<ClientWrapper>>>,
    /// Held while connecting; remembers when that failed last.
    failed: Mutex<Option<Instant>>,
}

impl Readers {
    /// Connects.
    pub(super) async fn open(connector: Connector, points: usize, scans: Pool) -> Result<Self, StoreError> {
        let slots = std::iter::repeat_with(Slot::default).take(points.max(1)).collect();
        let places = Places::new(Bounds::held_long(scans.status().max_size as u32, LONG_WAITING_MAX), LONG_WAIT_MAX);
        let (next, closed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let readers = Self { connector, points: slots, next, scans, places, closed };
        for slot in &readers.points {
            slot.client(&readers.connector).await?;
        }
        Ok(readers)
    }

    /// The first row of a short statement.
    pub(super) async fn point(&self, sql: &'static str, values: Vec<Value<'_>>) -> Result<Option<Row>, StoreError> {
        Ok(self.short(sql, &values).await?.into_iter().next())
    }

    /// All rows of a short statement.
    pub(super) async fn points(&self, sql: &'static str, values: Vec<Value<'_>>) -> Result<Vec<Row>, StoreError> {
        self.short(sql, &values).await
    }

    async fn short(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let slot = &self.points[self.next.fetch_add(1, Ordering::Relaxed) % self.points.len()];
        let mut tries = 0;
        loop {
            if self.closed.load(Ordering::Relaxed) {
                return Err(unavailable(Closed));
            }
            let client = slot.client(&self.connector).await?;
            tries += 1;
            match timeout(READ_TIMEOUT, rows(&client, sql, values)).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) if is_lost(&error) => {
                    slot.forget(&client);
                    if tries == TRIES {
                        return Err(told(&error));
                    }
                }
                Ok(Err(error)) if is_serialization_failure(&error) && tries < TRIES => {}
                Ok(Err(error)) => return Err(told(&error)),
                Err(_) => {
                    slot.forget(&client);
                    return Err(unavailable(Late));
                }
            }
        }
    }

    /// All rows of a long statement that belongs to nobody.
    pub(super) async fn scan(&self, sql: &'static str, values: Vec<Value<'_>>) -> Result<Vec<Row>, StoreError> {
        self.long(None, sql, values).await
    }

    /// All rows of a long statement of a tenant.
    pub(super) async fn scan_for(
        &self,
        tenant: &Tenant,
        sql: &'static str,
        values: Vec<Value<'_>>,
    ) -> Result<Vec<Row>, StoreError> {
        self.long(Some(tenant), sql, values).await
    }

    async fn long(
        &self,
        tenant: Option<&Tenant>,
        sql: &'static str,
        values: Vec<Value<'_>>,
    ) -> Result<Vec<Row>, StoreError> {
        let _place = self.places.enter(&tenant.cloned()).await.map_err(unavailable)?;
        let mut tries = 0;
        loop {
            if self.closed.load(Ordering::Relaxed) {
                return Err(unavailable(Closed));
            }
            let client = self.scans.get().await.map_err(pool_failure)?;
            tries += 1;
            match timeout(READ_TIMEOUT, rows(&client, sql, &values)).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) if tries < TRIES && (is_lost(&error) || is_serialization_failure(&error)) => {}
                Ok(Err(error)) => return Err(told(&error)),
                Err(_) => {
                    // The answer may still come; nobody else must wait behind it.
                    let _given_up = deadpool_postgres::Object::take(client);
                    return Err(unavailable(Late));
                }
            }
        }
    }

    /// Ends all reading.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.places.close();
        self.scans.close();
        for slot in &self.points {
            *slot.client.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

impl Slot {
    async fn client(&self, connector: &Connector) -> Result<Arc<ClientWrapper>, StoreError> {
        if let Some(client) = self.open_client() {
            return Ok(client);
        }
        let mut failed = self.failed.lock().await;
        // Whoever held the lock may have connected.
        if let Some(client) = self.open_client() {
            return Ok(client);
        }
        if failed.is_some_and(|at| at.elapsed() < BACKOFF) {
            return Err(unavailable("the database could not be reached a moment ago"));
        }
        match connector.open().await {
            Ok(client) => {
                let client = Arc::new(client);
                *self.client.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&client));
                *failed = None;
                Ok(client)
            }
            Err(error) => {
                *failed = Some(Instant::now());
                Err(error.into())
            }
        }
    }

    fn open_client(&self) -> Option<Arc<ClientWrapper>> {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner);
        client.as_ref().filter(|client| !client.is_closed()).cloned()
    }

    /// Nobody else uses this connection again.
    fn forget(&self, broken: &Arc<ClientWrapper>) {
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        if client.as_ref().is_some_and(|client| Arc::ptr_eq(client, broken)) {
            *client = None;
        }
    }
}

async fn rows(client: &ClientWrapper, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
    let statement = client.prepare_cached(sql).await?;
    let mut stream = pin!(client.query_raw(&statement, values).await?);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(row);
    }
    Ok(rows)
}

/// No connection could be had.
pub(super) fn pool_failure(error: deadpool_postgres::PoolError) -> StoreError {
    match error {
        deadpool_postgres::PoolError::Backend(error) => told(&error),
        deadpool_postgres::PoolError::Closed => unavailable(Closed),
        other => unavailable(other.to_string()),
    }
}
