//! Fair queues: whoever waits is served in turn with everybody else, however much one of them asks for.
//!
//! Each tenant has a lane of its own. Lanes are served round-robin, one entry at a time, and each lane in the order of
//! its entries. A lane may hold as much as there is room left: alone it fills half of the queue, *n* lanes that all ask
//! for more get the same share each, and there is always room for one that is new.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use passbook_core::tenant::Tenant;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
