//! The places of event streams, which are held for up to a quarter of an hour; [`passbook_core::places`] says who gets
//! them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use passbook_core::{
    places::{Full, Places, Ticket},
    tenant::Tenant,
};
use tokio_util::sync::CancellationToken;

use crate::network::peer;

/// How many streams of events may be open at once.
pub const STREAMS_MAX: usize = 256;

/// See the module page.
pub struct Streams(Mutex<Table>);

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
        Arc::new(Self(Mutex::new(Table { places: Places::new(most), displaced: HashMap::new() })))
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
