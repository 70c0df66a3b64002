//! A store that is open, whichever it is, and what the server needs to know about it beyond the port.

use std::sync::Arc;

use jiff::SignedDuration;
use passbook_store::{
    port::{Store, Upkeep},
    sealing::Keys,
};

use crate::services::quota::Bounds;

/// How far this machine's wall clock is ahead of the store's time.
pub type Skew = Arc<dyn Fn() -> SignedDuration + Send + Sync>;

/// See the module page.
#[derive(Clone)]
pub struct OpenedStore {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The same store as operators need it.
    pub upkeep: Arc<dyn Upkeep>,
    /// The keys that its master key leads to.
    pub keys: Arc<Keys>,
    /// The difference of clocks.
    pub skew: Skew,
    /// How long records are kept, and how much an app may store.
    pub bounds: Bounds,
}
