//! The reading connections.
//!
//! Point reads run **on the calling thread**, also inside the async runtime: they take 3 to 8 microseconds, less than
//! handing them to another thread and being woken again would cost, and a reader never waits for the writer (WAL).
//! Long reads go to the threads for long work ([`compute`]) and have connections of their own, so that they neither stall
//! the runtime nor keep a point read waiting. Tenants take turns there, and waiting has a deadline.

use std::{
    cell::Cell,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use passbook_core::{ids::LinkId, tenant::Tenant};
use rusqlite::{Connection, ErrorCode};

use super::{
    condition::is_damage,
    connection::connect_reader,
    failure::{Closed, ReadError, unavailable},
    views::{Rows, Views},
};
use crate::{compute, port::StoreError, stored::met::MetDamage};

/// Connections for point reads: one per core, within these bounds.
const POINT_READERS_MIN: usize = 2;
const POINT_READERS_MAX: usize = 16;

/// All reading connections of a store.
pub(super) struct Readers {
    points: Arc<Pool>,
    scans: Arc<Pool>,
    views: Arc<Views>,
}

impl Readers {
    pub(super) fn open(path: &std::path::Path, views: Arc<Views>, met: &Arc<MetDamage>) -> rusqlite::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(POINT_READERS_MIN, usize::from);
        let points = Pool::open(path, cores.clamp(POINT_READERS_MIN, POINT_READERS_MAX), met)?;
        let scans = Pool::open(path, compute::threads(), met)?;
        Ok(Self { points: Arc::new(points), scans: Arc::new(scans), views })
    }

    /// Runs a point read here and now.
    pub(super) fn point<T>(&self, read: impl FnOnce(&Connection) -> Result<T, ReadError>) -> Result<T, StoreError> {
        self.points.with(read)
    }

    /// Runs a long read on a thread for long work; `tenant` is whose it is.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        tenant: Option<&Tenant>,
        read: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let scans = Arc::clone(&self.scans);
        compute::run(tenant, move || scans.with(read)).await.map_err(unavailable)?
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
        let turn = views.turn_of_reader(&links).await?;
        let read = move |connection: &Connection| {
            let _turn = turn;
            views.read(connection, &links, read)
        };
        self.scan(Some(tenant), read).await
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
