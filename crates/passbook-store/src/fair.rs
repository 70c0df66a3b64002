//! Fair queues: whoever waits is served in turn with everybody else, however much one of them asks for.
//!
//! Each tenant has a lane of its own. Lanes are served round-robin, one entry at a time, and each lane in the order of
//! its entries. A lane may hold as much as there is room left: alone it fills half of the queue, *n* lanes that all ask
//! for more get the same share each, and there is always room for one that is new.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use passbook_core::tenant::Tenant;
use tokio::{sync::oneshot, time::timeout};

/// Whose lane: a tenant's, or the one of work that belongs to nobody, such as maintenance.
pub(crate) type Lane = Option<Tenant>;

/// Entries by lane.
pub(crate) struct Lanes<K, T> {
    lanes: HashMap<K, VecDeque<T>>,
    /// Lanes that hold something, the next one to serve first.
    order: VecDeque<K>,
    length: usize,
    max: usize,
}

impl<K: Clone + Eq + Hash, T> Lanes<K, T> {
    /// An empty queue of at most `max` entries.
    pub(crate) fn new(max: usize) -> Self {
        Self { lanes: HashMap::new(), order: VecDeque::new(), length: 0, max }
    }

    /// Adds an entry; gives it back when the lane has its share already.
    pub(crate) fn push(&mut self, key: &K, entry: T) -> Result<(), T> {
        let room = self.max - self.length;
        match self.lanes.get_mut(key) {
            Some(lane) if lane.len() < room => lane.push_back(entry),
            None if room > 0 => {
                self.lanes.insert(key.clone(), VecDeque::from([entry]));
                self.order.push_back(key.clone());
            }
            _ => return Err(entry),
        }
        self.length += 1;
        Ok(())
    }

    /// The next entry in turn.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.pop_where(|_| true)
    }

    /// The next entry in turn that `fits`; others stay where they are.
    pub(crate) fn pop_where(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        for _ in 0..self.order.len() {
            let key = self.order.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            let found = lane.iter().position(&fits).and_then(|place| lane.remove(place));
            if lane.is_empty() {
                self.lanes.remove(&key);
            } else {
                self.order.push_back(key);
            }
            if found.is_some() {
                self.length -= 1;
                return found;
            }
        }
        None
    }

    /// Keeps only entries that `fit`.
    pub(crate) fn retain(&mut self, fit: impl Fn(&T) -> bool) {
        self.lanes.retain(|_, lane| {
            lane.retain(&fit);
            !lane.is_empty()
        });
        self.order.retain(|key| self.lanes.contains_key(key));
        self.length = self.lanes.values().map(VecDeque::len).sum();
    }

    /// Whether an entry waits that `fits`.
    pub(crate) fn any(&self, fits: impl Fn(&T) -> bool) -> bool {
        self.lanes.values().flatten().any(fits)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many wait.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.length
    }
}

/// Why there is no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTurn {
    /// The tenant has as many waiting as its share.
    #[error("too many of this kind are waiting")]
    Crowded,
    /// None came in time.
    #[error("no place became free in time")]
    Late,
    /// No more are given.
    #[error("no more places are given")]
    Closed,
}

/// A number of places that are given to tenants in turn.
///
/// A free place is had at once. When all are taken, callers wait in the lane of their tenant, for a limited time.
#[derive(Clone)]
pub struct Turns {
    shared: Arc<Mutex<Places>>,
    wait_max: Duration,
}

struct Places {
    free: usize,
    waiting: Lanes<Lane, oneshot::Sender<Turn>>,
    closed: bool,
}

/// A place. Dropping it passes it on.
pub struct Turn {
    /// Empty once it was passed on.
    shared: Option<Arc<Mutex<Places>>>,
}

impl Turns {
    /// `places` at once, and at most `waiting_max` callers that wait for at most `wait_max`.
    #[must_use]
    pub fn new(places: usize, waiting_max: usize, wait_max: Duration) -> Self {
        let places = Places { free: places, waiting: Lanes::new(waiting_max), closed: false };
        Self { shared: Arc::new(Mutex::new(places)), wait_max }
    }

    /// Waits for a place; `None` is the lane of what belongs to no tenant.
    ///
    /// # Errors
    /// [`NoTurn`].
    pub async fn take(&self, tenant: Option<&Tenant>) -> Result<Turn, NoTurn> {
        let given = {
            let mut places = locked(&self.shared);
            if places.closed {
                return Err(NoTurn::Closed);
            }
            if places.free > 0 {
                places.free -= 1;
                return Ok(Turn { shared: Some(Arc::clone(&self.shared)) });
            }
            let (give, given) = oneshot::channel();
            let lane = tenant.cloned();
            if let Err(give) = places.waiting.push(&lane, give) {
                // Those who gave up hold room until their turn comes; it may be all of it.
                places.waiting.retain(|waiting| !waiting.is_closed());
                places.waiting.push(&lane, give).map_err(|_| NoTurn::Crowded)?;
            }
            given
        };
        // A turn that is given just when the time is over is dropped with the channel, which passes it on.
        match timeout(self.wait_max, given).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(NoTurn::Closed),
            Err(_) => Err(NoTurn::Late),
        }
    }

    /// Gives no more places; whoever waits is told so.
    pub fn close(&self) {
        let waiting = {
            let mut places = locked(&self.shared);
            places.closed = true;
            std::mem::replace(&mut places.waiting, Lanes::new(0))
        };
        drop(waiting);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        loop {
            let next = {
                let mut places = locked(&shared);
                let Some(next) = places.waiting.pop() else {
                    places.free += 1;
                    return;
                };
                next
            };
            match next.send(Self { shared: Some(Arc::clone(&shared)) }) {
                Ok(()) => return,
                // Whoever waited gave up. Dropped as it is, the place would be passed on twice.
                Err(mut refused) => refused.shared = None,
            }
        }
    }
}

fn locked(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use passbook_core::{ids::AppId, tenant::Environment};

    use super::*;

    fn tenant(number: u128) -> Tenant {
        Tenant { app_id: AppId::from_bits(number), environment: Environment::Live }
    }

    #[test]
    fn lanes_are_served_in_turn_and_each_in_its_order() {
        let mut lanes = Lanes::new(100);
        for number in 0..5 {
            lanes.push(&"many", number).unwrap();
        }
        lanes.push(&"one", 10).unwrap();
        lanes.push(&"two", 20).unwrap();
        lanes.push(&"two", 21).unwrap();
        let served: Vec<i32> = std::iter::from_fn(|| lanes.pop()).collect();
        assert_eq!(served, [0, 10, 20, 1, 21, 2, 3, 4]);
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_lane_alone_fills_half_and_leaves_room_for_others() {
        let mut lanes = Lanes::new(64);
        let taken = (0..64).take_while(|number| lanes.push(&0, *number).is_ok()).count();
        assert_eq!(taken, 32);
        // Others share what is left; the last one still gets in.
        for lane in 1..=5 {
            assert!(lanes.push(&lane, 0).is_ok(), "lane {lane}");
            while lanes.push(&lane, 0).is_ok() {}
        }
        assert_eq!(lanes.len(), 63);
        // Served down to nothing, the first lane has its half again.
        while lanes.pop().is_some() {}
        assert_eq!((0..64).take_while(|number| lanes.push(&0, *number).is_ok()).count(), 32);
    }

    #[test]
    fn what_does_not_fit_now_is_passed_over_and_keeps_its_place() {
        let mut lanes = Lanes::new(100);
        for number in [1, 2, 3] {
            lanes.push(&"one", number).unwrap();
        }
        assert!(lanes.any(|number| *number == 2));
        assert_eq!(lanes.pop_where(|number| *number != 1), Some(2));
        assert_eq!(lanes.pop_where(|number| *number > 9), None);
        assert_eq!(lanes.len(), 2);
        assert_eq!((lanes.pop(), lanes.pop(), lanes.pop()), (Some(1), Some(3), None));
    }

    #[tokio::test]
    async fn places_go_to_tenants_in_turn() {
        let turns = Turns::new(1, 64, Duration::from_secs(60));
        let held = turns.take(Some(&tenant(1))).await.unwrap();
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        for asking in [1, 1, 1, 2] {
            let (turns, told) = (turns.clone(), told.clone());
            let asks = async move {
                let turn = turns.take(Some(&tenant(asking))).await.unwrap();
                told.send(asking).unwrap();
                drop(turn);
            };
            tokio::spawn(asks);
            tokio::task::yield_now().await;
        }
        drop((held, told));
        let mut seen = Vec::new();
        while let Some(asking) = order.recv().await {
            seen.push(asking);
        }
        assert_eq!(seen, [1, 2, 1, 1]);
    }

    #[tokio::test]
    async fn waiting_has_a_deadline_and_the_place_of_one_that_gave_up_is_not_lost() {
        let turns = Turns::new(1, 8, Duration::from_millis(1));
        let held = turns.take(None).await.unwrap();
        assert_eq!(turns.take(Some(&tenant(1))).await.err(), Some(NoTurn::Late));
        drop(held);
        assert!(turns.take(Some(&tenant(2))).await.is_ok());
    }

    #[tokio::test]
    async fn a_tenant_over_its_share_of_the_queue_is_refused() {
        let turns = Turns::new(1, 8, Duration::from_secs(60));
        let held = turns.take(Some(&tenant(2))).await.unwrap();
        // Four wait, which is the share of a tenant alone; a fifth is refused at once.
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let turns = turns.clone();
                tokio::spawn(async move { turns.take(Some(&tenant(1))).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(turns.take(Some(&tenant(1))).await.err(), Some(NoTurn::Crowded));
        drop(held);
        for one in waiting {
            assert_eq!(one.await.unwrap(), Ok(()));
        }
        turns.close();
        assert_eq!(turns.take(None).await.err(), Some(NoTurn::Closed));
    }
}
