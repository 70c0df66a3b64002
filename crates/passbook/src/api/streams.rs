//! The places of event streams, which are held for up to a quarter of an hour; [`passbook_core::places`] says who gets
//! them. And the turns in which streams that are behind read the store: few at once, so that a hundred streams which
//! catch up take no place from requests.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use passbook_core::{
    places::{Full, Places, Ticket},
    shares::Bounds,
    tenant::Tenant,
};
use passbook_store::places::{NoPlace, Place as Turn, Places as Turns};
use tokio_util::sync::CancellationToken;

use crate::network::peer;

/// How many streams of events may be open at once.
pub const STREAMS_MAX: usize = 256;

/// Streams that read the store at once, and how long one waits before it looks whether it may go on.
const READING_MAX: u32 = 4;
const READING_PATIENCE: Duration = Duration::from_secs(10);

/// See the module page.
pub struct Streams {
    table: Mutex<Table>,
    turns: Arc<Turns<Tenant>>,
}

struct Table {
    places: Places<Tenant, IpAddr>,
    /// Tells the holder of a place that it was taken.
    displaced: HashMap<Ticket, CancellationToken>,
}

/// The right to stream; dropping it gives the place back.
pub struct Place {
    streams: Arc<Streams>,
    ticket: Ticket,
    displaced: CancellationToken,
}

impl Streams {
    /// So many places.
    pub fn new(most: usize) -> Arc<Self> {
        let table = Mutex::new(Table { places: Places::new(most), displaced: HashMap::new() });
        Arc::new(Self {
            table,
            turns: Turns::new(Bounds::held_long(READING_MAX, STREAMS_MAX as u32), READING_PATIENCE),
        })
    }

    /// A turn to read what a stream of the tenant is behind, at once or after a wait.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub async fn turn(&self, tenant: &Tenant) -> Result<Turn<Tenant>, NoPlace> {
        self.turns.enter(tenant).await
    }

    /// A place for a stream of `tenant` that was asked for from `address`; the stream that loses its place is told.
    ///
    /// # Errors
    /// [`Full`].
    pub fn open(self: &Arc<Self>, tenant: &Tenant, address: IpAddr) -> Result<Place, Full> {
        let mut table = self.lock();
        let granted = table.places.take(tenant, &peer(address))?;
        if let Some(other) = granted.displaced.and_then(|ticket| table.displaced.remove(&ticket)) {
            other.cancel();
        }
        let displaced = CancellationToken::new();
        table.displaced.insert(granted.ticket, displaced.clone());
        Ok(Place { streams: self.clone(), ticket: granted.ticket, displaced })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Ends once another stream got this place.
    pub async fn displaced(&self) {
        self.displaced.cancelled().await;
    }

    /// Whether another stream got this place.
    pub fn is_displaced(&self) -> bool {
        self.displaced.is_cancelled()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.streams.lock();
        table.places.give_back(self.ticket);
        table.displaced.remove(&self.ticket);
    }
}
