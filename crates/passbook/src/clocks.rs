//! The applications' clocks, kept in memory for at most a second.
//!
//! Every request and every job needs its application's instant. A clock changes only by `POST /sandbox/clock`: the
//! replica that serves it sets the cell at once, the others read the new one within [`FRESH_FOR`].

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use passbook_core::{
    ids::AppId,
    tenant::{Environment, Tenant},
    time::{AppClock, Clock},
};
use passbook_store::port::{Store, StoreError};

/// How long a clock may be answered from memory.
pub const FRESH_FOR: Duration = Duration::from_secs(1);

/// The clock of one application.
#[derive(Debug)]
pub struct ClockCell(RwLock<(AppClock, Instant)>);

impl ClockCell {
    fn read(&self) -> (AppClock, Instant) {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All clocks seen so far. Applications are few, so the map is never trimmed.
pub struct Clocks {
    real: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    cells: RwLock<HashMap<AppId, Arc<ClockCell>>>,
}

impl Clocks {
    /// Clocks over this store.
    pub fn new(real: Arc<dyn Clock>, store: Arc<dyn Store>) -> Self {
        Self { real, store, cells: RwLock::default() }
    }

    /// The real instant.
    pub fn real_now(&self) -> Timestamp {
        self.real.now()
    }

    /// The tenant's instant: its application's clock in the sandbox, real time in live.
    ///
    /// # Errors
    /// When the clock is not in memory and the store does not answer.
    pub async fn now(&self, tenant: &Tenant) -> Result<Timestamp, StoreError> {
        Ok(self.clock(tenant).await?.now(self.real.now()))
    }

    /// The tenant's clock.
    ///
    /// # Errors
    /// As [`Clocks::now`].
    pub async fn clock(&self, tenant: &Tenant) -> Result<AppClock, StoreError> {
        if tenant.environment == Environment::Live {
            return Ok(AppClock::default());
        }
        let known = self.cells.read().unwrap_or_else(PoisonError::into_inner).get(&tenant.app_id).cloned();
        if let Some(cell) = known {
            let (clock, read_at) = cell.read();
            if read_at.elapsed() < FRESH_FOR {
                return Ok(clock);
            }
        }
        let clock = self.store.lookup_app(&tenant.app_id).await?.map(|app| app.clock).unwrap_or_default();
        self.set(&tenant.app_id, clock);
        Ok(clock)
    }

    /// Takes a new clock into use on this replica.
    pub fn set(&self, app: &AppId, clock: AppClock) {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        match cells.get(app) {
            Some(cell) => *cell.0.write().unwrap_or_else(PoisonError::into_inner) = (clock, Instant::now()),
            None => {
                let cell = ClockCell(RwLock::new((clock, Instant::now())));
                cells.insert(app.clone(), Arc::new(cell));
            }
        }
    }
}
