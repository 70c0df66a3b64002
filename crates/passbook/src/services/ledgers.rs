//! The newest part of each ledger that somebody follows, read once for all who do.
//!
//! Followers of a ledger cost the store nothing while nothing happens, and one read for all of them when something
//! does: they are answered from the last events of the tenant, which one task reads as they get their positions. Who is
//! further behind reads the store until it has caught up.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use passbook_core::tenant::Tenant;
use passbook_store::port::{EventFilter, LedgerEvent, LedgerPage, Store, StoreError};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

/// Events that are kept for each ledger.
const KEPT_MAX: usize = 200;
/// How often a ledger is looked at for events that another process dispatched.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The ledgers that are followed, by tenant.
#[derive(Default)]
pub struct Ledgers(Mutex<HashMap<Tenant, Weak<Tail>>>);

/// The newest part of one ledger. It is kept up for as long as somebody has it.
pub struct Tail {
    newest: Mutex<Newest>,
    moved: watch::Sender<()>,
    bell: Arc<Notify>,
}

struct Newest {
    /// The events behind this position are here, as far as the ledger was read.
    behind: u64,
    /// How far it was read.
    read_to: u64,
    events: VecDeque<LedgerEvent>,
}

impl Ledgers {
    /// The newest part of this tenant's ledger, read from now on if nobody has it yet.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn follow(&self, store: &Arc<dyn Store>, tenant: &Tenant) -> Result<Arc<Tail>, StoreError> {
        if let Some(tail) = self.find(tenant) {
            return Ok(tail);
        }
        let position = store.newest_position(tenant).await?;
        let mut ledgers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been first.
        if let Some(tail) = ledgers.get(tenant).and_then(Weak::upgrade) {
            return Ok(tail);
        }
        let newest = Newest { behind: position, read_to: position, events: VecDeque::new() };
        let tail = Arc::new(Tail { newest: Mutex::new(newest), moved: watch::Sender::default(), bell: Arc::default() });
        ledgers.retain(|_, tail| tail.strong_count() > 0);
        ledgers.insert(tenant.clone(), Arc::downgrade(&tail));
        drop(ledgers);
        tokio::spawn(keep_up(store.clone(), tenant.clone(), Arc::downgrade(&tail), tail.bell.clone()));
        Ok(tail)
    }

    /// Says that the tenant's ledger has more to read.
    pub fn ring(&self, tenant: &Tenant) {
        if let Some(tail) = self.find(tenant) {
            tail.bell.notify_one();
        }
    }

    fn find(&self, tenant: &Tenant) -> Option<Arc<Tail>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).and_then(Weak::upgrade)
    }
}

impl Tail {
    /// Up to `limit` events that match, or `None` for a reader that is further behind than what is kept.
    pub fn read(&self, filter: &EventFilter, limit: usize) -> Option<LedgerPage> {
        let newest = self.lock();
        if filter.after < newest.behind {
            return None;
        }
        let unread = newest.events.partition_point(|one| one.position <= filter.after);
        let matching = newest.events.range(unread..).filter(|one| filter.matches(one));
        let events: Vec<_> = matching.take(limit).cloned().collect();
        let is_full = events.len() == limit;
        let read_to = events.last().filter(|_| is_full).map_or(newest.read_to.max(filter.after), |last| last.position);
        Some(LedgerPage { events, read_to, is_last: read_to >= newest.read_to })
    }

    /// Changes whenever there is more to read.
    pub fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// Reads what came since the last time.
    async fn catch_up(&self, store: &dyn Store, tenant: &Tenant) -> Result<(), StoreError> {
        loop {
            let after = self.lock().read_to;
            let all = EventFilter { after, ..EventFilter::default() };
            let page = store.list_events(tenant, &all, KEPT_MAX as u32).await?;
            if page.read_to > after {
                self.add(page.events, page.read_to);
                self.moved.send_replace(());
            }
            if page.is_last {
                return Ok(());
            }
        }
    }

    fn add(&self, events: Vec<LedgerEvent>, read_to: u64) {
        let mut newest = self.lock();
        newest.events.extend(events);
        while newest.events.len() > KEPT_MAX
            && let Some(oldest) = newest.events.pop_front()
        {
            newest.behind = oldest.position;
        }
        newest.read_to = read_to;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads on while somebody follows.
async fn keep_up(store: Arc<dyn Store>, tenant: Tenant, tail: Weak<Tail>, bell: Arc<Notify>) {
    loop {
        let _rung = timeout(LOOK_EVERY, bell.notified()).await;
        let Some(tail) = tail.upgrade() else { return };
        // Followers ask the store every moment who they are, and end when it does not answer.
        if let Err(error) = tail.catch_up(store.as_ref(), &tenant).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "a ledger cannot be read on");
        }
    }
}

#[cfg(test)]
mod tests {
    use passbook_core::{
        event::{Event, EventKind},
        ids::LinkId,
    };

    use super::*;

    fn event(position: u64) -> LedgerEvent {
        let kind = EventKind::TransactionsUpdatesAvailable;
        let event = Event {
            link_id: LinkId::from_bits(u128::from(position % 2)),
            sequence: position,
            at: jiff::Timestamp::UNIX_EPOCH,
            tags: Vec::new(),
            kind,
            webhook: None,
        };
        LedgerEvent { position, event, deliveries: Vec::new() }
    }

    fn tail(events: std::ops::RangeInclusive<u64>) -> Tail {
        let (behind, read_to) = (events.start() - 1, *events.end());
        let newest = Newest { behind, read_to: behind, events: VecDeque::new() };
        let tail = Tail { newest: Mutex::new(newest), moved: watch::Sender::default(), bell: Arc::default() };
        tail.add(events.map(event).collect(), read_to);
        tail
    }

    fn read(tail: &Tail, filter: &EventFilter, limit: usize) -> Option<(Vec<u64>, u64, bool)> {
        let page = tail.read(filter, limit)?;
        Some((page.events.iter().map(|one| one.position).collect(), page.read_to, page.is_last))
    }

    #[test]
    fn a_reader_that_is_near_is_answered_from_memory() {
        let tail = tail(11..=20);
        let behind = |after| EventFilter { after, ..EventFilter::default() };
        assert_eq!(read(&tail, &behind(17), 10), Some((vec![18, 19, 20], 20, true)));
        assert_eq!(read(&tail, &behind(10), 2), Some((vec![11, 12], 12, false)));
        assert_eq!(read(&tail, &behind(20), 10), Some((vec![], 20, true)));
        assert_eq!(read(&tail, &behind(99), 10), Some((vec![], 99, true)));
        assert_eq!(read(&tail, &behind(9), 10), None, "what is older is in the store");
    }

    #[test]
    fn a_reader_that_asks_for_little_passes_over_the_rest_once() {
        let tail = tail(1..=10);
        let nothing = EventFilter { kind: Some("nothing".to_owned()), ..EventFilter::default() };
        assert_eq!(read(&tail, &nothing, 10), Some((vec![], 10, true)));
        let of_link = EventFilter { link_id: Some(LinkId::from_bits(1)), ..EventFilter::default() };
        assert_eq!(read(&tail, &of_link, 2), Some((vec![1, 3], 3, false)));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let tail = tail(1..=KEPT_MAX as u64 + 50);
        assert_eq!(tail.lock().events.len(), KEPT_MAX);
        let behind = |after| EventFilter { after, ..EventFilter::default() };
        assert_eq!(read(&tail, &behind(49), 1), None);
        assert_eq!(read(&tail, &behind(50), 1), Some((vec![51], 51, false)));
    }
}
