//! The reading connections.
//!
//! Point reads run **on the calling thread**, also inside the async runtime: they take 3 to 8 microseconds, less than
//! handing them to another thread and being woken again would cost, and a reader never waits for the writer (WAL).
//! Long reads go to the blocking pool and have connections of their own, so that they neither stall the runtime nor
//! keep a point read waiting. Their connections are given to tenants in turn, and waiting for one has a deadline.

use std::{
    cell::Cell,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use passbook_core::{ids::LinkId, shares::Bounds, tenant::Tenant};
use rusqlite::{Connection, ErrorCode};

use super::{
    condition::is_damage,
    connection::connect_reader,
    failure::{Closed, ReadError, unavailable},
    views::{Rows, Views},
};
use crate::{fair::Lane, places::Places, port::StoreError, stored::met::MetDamage};

/// Connections for point reads: one per core, within these bounds.
const POINT_READERS_MIN: usize = 2;
const POINT_READERS_MAX: usize = 16;
/// Connections for long reads: not more than there are cores, or they would take the processor from everything else.
const LONG_READERS_MAX: usize = 2;

/// Long reads of one tenant that may wait.
const LONG_WAITING_MAX: u32 = 512;
/// How long a long read waits for a connection.
const LONG_WAIT_MAX: Duration = Duration::from_secs(10);

/// All reading connections of a store.
pub(super) struct Readers {
    points: Arc<Pool>,
    scans: Arc<Pool>,
    places: Arc<Places<Lane>>,
    views: Arc<Views>,
}

impl Readers {
    pub(super) fn open(path: &std::path::Path, views: Arc<Views>, met: &Arc<MetDamage>) -> rusqlite::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(POINT_READERS_MIN, usize::from);
        let points = Pool::open(path, cores.clamp(POINT_READERS_MIN, POINT_READERS_MAX), met)?;
        let scans = Pool::open(path, cores.clamp(1, LONG_READERS_MAX), met)?;
        let places = Places::new(Bounds::held_long(scans.slots.len() as u32, LONG_WAITING_MAX), LONG_WAIT_MAX);
        Ok(Self { points: Arc::new(points), scans: Arc::new(scans), places, views })
    }

    /// Runs a point read here and now.
    pub(super) fn point<T>(&self, read: impl FnOnce(&Connection) -> Result<T, ReadError>) -> Result<T, StoreError> {
        self.points.with(read)
    }

    /// Runs a long read on the blocking pool; `tenant` is whose it is.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        tenant: Option<&Tenant>,
        read: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = self.places.enter(&tenant.cloned()).await.map_err(unavailable)?;
        let scans = Arc::clone(&self.scans);
        let read = move || {
            let result = scans.with(read);
            drop(place);
            result
        };
        tokio::task::spawn_blocking(read).await.map_err(unavailable)?
    }

    /// Runs a long read of rows of these links, in one transaction. While a large commit writes such rows, it sees what
    /// was there before.
    pub(super) async fn scan_rows<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        links: Vec<LinkId>,
        read: impl FnOnce(&Rows<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let views = Arc::clone(&self.views);
        self.scan(Some(tenant), move |connection| views.read(connection, &links, read)).await
    }

    /// Runs a read on the blocking pool that may take a few milliseconds and must not wait for long reads.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let points = Arc::clone(&self.points);
        tokio::task::spawn_blocking(move || points.with(read)).await.map_err(unavailable)?
    }

    /// Closes every connection; later reads fail.
    pub(super) fn close(&self) {
        self.places.close();
        self.points.close();
        self.scans.close();
    }
}

struct Pool {
    path: PathBuf,
    met: Arc<MetDamage>,
    closed: AtomicBool,
    /// Empty while a connection has to be opened again after an I/O error.
    slots: Box<[Mutex<Option<Connection>>]>,
}

impl Pool {
    fn open(path: &std::path::Path, size: usize, met: &Arc<MetDamage>) -> rusqlite::Result<Self> {
        let slots = (0..size).map(|_| Ok(Mutex::new(Some(connect_reader(path)?)))).collect::<rusqlite::Result<_>>()?;
        Ok(Self { path: path.to_owned(), met: Arc::clone(met), closed: AtomicBool::new(false), slots })
    }

    fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, ReadError>) -> Result<T, StoreError> {
        let mut slot = self.take_slot();
        if self.closed.load(Ordering::Acquire) {
            return Err(unavailable(Closed));
        }
        let connection = match slot.take() {
            Some(connection) => connection,
            None => connect_reader(&self.path).map_err(unavailable)?,
        };
        let result = read(&connection);
        if !matches!(&result, Err(ReadError::Database(error)) if is_broken(error)) {
            *slot = Some(connection);
        }
        if let Err(ReadError::Database(error)) = &result
            && is_damage(error)
        {
            self.met.note(error.to_string());
        }
        self.met.look(result.map_err(StoreError::from))
    }

    /// A free slot, starting from the calling thread's own, so that threads rarely meet and caches stay warm.
    fn take_slot(&self) -> MutexGuard<'_, Option<Connection>> {
        let own = own_number();
        for step in 0..self.slots.len() {
            match self.slots[(own + step) % self.slots.len()].try_lock() {
                Ok(slot) => return slot,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        self.slots[own % self.slots.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for slot in &self.slots {
            slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

/// A small number that differs between threads.
fn own_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        own.get()
    })
}

/// After these the connection's state is not to be trusted.
pub(super) fn is_broken(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}
