//! Fair shares of a bounded number of places: who gets one now, who waits, and who is next.
//!
//! A place is whatever only so many may have at once: a request being worked on, a file being read. Each place is held
//! for a *holder*, normally a tenant. Two rules decide:
//!
//! 1. **As long as others want places, a holder has at most its share**: the limit divided by the holders that have or
//!    want one. A free place goes to the waiting holder that has the fewest; of equals, to the one that was given one
//!    longest ago.
//! 2. **Alone, a holder may use all**, except for a reserve that a pool may keep. Pools whose places are given back within
//!    milliseconds need none, because the next one is free at once. In pools whose places are held for seconds, a holder
//!    leaves that part of what no other one holds: alone all but the reserve, and whoever comes next leaves some as well.
//!
//! Nothing here waits or reads a clock: the caller turns [`Asked::Waits`] into a wait with a deadline of its own.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// The bounds of a pool. They may differ from call to call, as they do where a limit adapts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Places in all.
    pub limit: u32,
    /// Of these, places that a holder which is alone leaves free; of what others leave it, it leaves the same part.
    pub reserve: u32,
    /// A holder at or over its share may wait as long as it has and wants fewer places than this; else it is refused at
    /// once. Where a limit can become small, this keeps small callers from being refused for a moment's bad luck.
    pub patient_below: u32,
    /// Most that may wait for one holder.
    pub waiting_max: u32,
}

impl Bounds {
    /// Places that are held for long: a quarter stays free for others, and everybody waits.
    #[must_use]
    pub const fn held_long(limit: u32, waiting_max: u32) -> Self {
        Self { limit, reserve: limit / 4, patient_below: u32::MAX, waiting_max }
    }
}

/// What a holder is told that asks for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It has one.
    Granted,
    /// It has none yet; [`Shares::next`] names this ticket when it has.
    Waits(Ticket),
    /// It gets none.
    Refused,
}

/// Names one wait. Tickets rise, so of two the lower one has waited longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Who has places and who waits for one; see the module page.
#[derive(Debug)]
pub struct Shares<H> {
    holders: HashMap<H, Holder>,
    held: u32,
    waiting: u32,
    tickets: u64,
    given: u64,
}

#[derive(Debug, Default)]
struct Holder {
    held: u32,
    /// When it was given a place last, counted in places.
    given: u64,
    waiting: VecDeque<Ticket>,
}

impl<H> Default for Shares<H> {
    fn default() -> Self {
        Self { holders: HashMap::new(), held: 0, waiting: 0, tickets: 0, given: 0 }
    }
}

impl<H: Hash + Eq + Clone> Shares<H> {
    /// Asks for a place for `holder`.
    pub fn ask(&mut self, holder: &H, bounds: Bounds) -> Asked {
        let known = self.holders.get(holder);
        let (held, waiting) = known.map_or((0, 0), |holder| (holder.held, holder.waiting.len() as u32));
        let holders = self.holders.len() + usize::from(known.is_none());
        // Nobody who waits could take this place: whatever frees one is followed by `next`.
        if self.may_take(held, bounds) {
            self.give(holder);
            return Asked::Granted;
        }
        let may_have = share(bounds.limit, holders).max(bounds.patient_below);
        if waiting >= bounds.waiting_max || held + waiting >= may_have {
            return Asked::Refused;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.holders.entry(holder.clone()).or_default().waiting.push_back(ticket);
        self.waiting += 1;
        Asked::Waits(ticket)
    }

    /// Gives the next free place to whoever is next, who then has it: the waiting holder with the fewest places, of
    /// equals the one that was given one longest ago, then the one that has waited longest. To be called until it is
    /// `None` after a place was given back, a wait was given up or a limit was raised.
    pub fn next(&mut self, bounds: Bounds) -> Option<(H, Ticket)> {
        let (holder, ticket) = self
            .holders
            .iter()
            .filter_map(|(name, holder)| Some((holder, *holder.waiting.front()?, name)))
            .filter(|(holder, _, _)| self.may_take(holder.held, bounds))
            .min_by_key(|(holder, ticket, _)| (holder.held, holder.given, *ticket))
            .map(|(_, ticket, name)| (name.clone(), ticket))?;
        self.holders.get_mut(&holder)?.waiting.pop_front();
        self.waiting -= 1;
        self.give(&holder);
        Some((holder, ticket))
    }

    /// Gives a place back.
    pub fn release(&mut self, holder: &H) {
        if let Some(entry) = self.holders.get_mut(holder)
            && entry.held > 0
        {
            entry.held -= 1;
            self.held -= 1;
            self.forget(holder);
        }
    }

    /// Ends a wait. `false` when the wait is over already, which means that the place was granted.
    pub fn give_up(&mut self, holder: &H, ticket: Ticket) -> bool {
        let Some(entry) = self.holders.get_mut(holder) else { return false };
        let Some(position) = entry.waiting.iter().position(|waiting| *waiting == ticket) else { return false };
        entry.waiting.remove(position);
        self.waiting -= 1;
        self.forget(holder);
        true
    }

    /// Places that are held.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.held
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    fn give(&mut self, holder: &H) {
        self.given += 1;
        self.held += 1;
        let entry = self.holders.entry(holder.clone()).or_default();
        entry.held += 1;
        entry.given = self.given;
    }

    /// Whether a holder of so many places may take one more.
    fn may_take(&self, held: u32, bounds: Bounds) -> bool {
        let not_of_others = u64::from(bounds.limit.saturating_sub(self.held - held));
        let taken_part = u64::from(bounds.limit.saturating_sub(bounds.reserve));
        let most = (not_of_others * taken_part).div_ceil(u64::from(bounds.limit.max(1)));
        u64::from(held) < most
    }

    fn forget(&mut self, holder: &H) {
        if self.holders.get(holder).is_some_and(|entry| entry.held == 0 && entry.waiting.is_empty()) {
            self.holders.remove(holder);
        }
    }
}

/// The part of a limit that each of so many holders has; never less than one place.
fn share(limit: u32, holders: usize) -> u32 {
    (limit / u32::try_from(holders.max(1)).unwrap_or(u32::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUICK: Bounds = Bounds { limit: 8, reserve: 0, patient_below: 0, waiting_max: 8 };
    const SLOW: Bounds = Bounds { limit: 8, reserve: 2, patient_below: u32::MAX, waiting_max: 8 };

    fn take(shares: &mut Shares<u8>, holder: u8, bounds: Bounds, times: usize) -> Vec<Asked> {
        (0..times).map(|_| shares.ask(&holder, bounds)).collect()
    }

    #[test]
    fn alone_a_holder_has_all_and_then_is_refused_at_once() {
        let mut shares = Shares::default();
        assert_eq!(take(&mut shares, 1, QUICK, 8), [Asked::Granted; 8]);
        assert_eq!(shares.ask(&1, QUICK), Asked::Refused);
    }

    #[test]
    fn who_is_below_its_share_waits_and_gets_the_next_place() {
        let mut shares = Shares::default();
        take(&mut shares, 1, QUICK, 8);
        let Asked::Waits(ticket) = shares.ask(&2, QUICK) else { panic!("holder 2 has nothing and must wait") };
        assert_eq!(shares.ask(&1, QUICK), Asked::Refused);
        assert_eq!(shares.next(QUICK), None, "nothing is free");
        shares.release(&1);
        assert_eq!(shares.next(QUICK), Some((2, ticket)));
        assert_eq!((shares.held(), shares.waiting()), (8, 0));
    }

    #[test]
    fn a_holder_of_few_places_waits_whatever_its_share_is() {
        let bounds = Bounds { limit: 4, patient_below: 3, ..QUICK };
        let mut shares = Shares::default();
        take(&mut shares, 1, bounds, 2);
        assert_eq!(take(&mut shares, 2, bounds, 2), [Asked::Granted; 2]);
        assert!(matches!(shares.ask(&2, bounds), Asked::Waits(_)), "it has its share, which is 2");
        assert_eq!(shares.ask(&2, bounds), Asked::Refused);
    }

    #[test]
    fn the_reserve_is_for_others() {
        let mut shares = Shares::default();
        assert_eq!(take(&mut shares, 1, SLOW, 6), [Asked::Granted; 6]);
        assert!(matches!(shares.ask(&1, SLOW), Asked::Waits(_)), "two places stay free");
        assert_eq!(take(&mut shares, 2, SLOW, 2), [Asked::Granted; 2]);
        shares.release(&2);
        assert_eq!(shares.next(SLOW), None, "the reserve is not for holder 1, which waits");
        assert_eq!(shares.ask(&2, SLOW), Asked::Granted);
    }

    #[test]
    fn the_second_one_does_not_take_all_that_the_first_one_left() {
        let mut shares = Shares::default();
        let bounds = Bounds::held_long(128, 8);
        let granted = |asked: Vec<Asked>| asked.iter().filter(|one| **one == Asked::Granted).count();
        assert_eq!(granted(take(&mut shares, 1, bounds, 128)), 96);
        assert_eq!(granted(take(&mut shares, 2, bounds, 128)), 24);
        assert_eq!(granted(take(&mut shares, 3, bounds, 128)), 6);
        assert_eq!(shares.ask(&4, bounds), Asked::Granted);
    }

    #[test]
    fn equal_holders_take_turns_however_many_of_one_wait() {
        let mut shares = Shares::default();
        let bounds = Bounds { limit: 1, patient_below: u32::MAX, ..QUICK };
        take(&mut shares, 1, bounds, 4);
        take(&mut shares, 2, bounds, 2);
        let order: Vec<u8> = std::iter::from_fn(|| {
            let holder = if shares.holders[&1].held == 1 { 1 } else { 2 };
            shares.release(&holder);
            shares.next(bounds).map(|(next, _)| next)
        })
        .take(5)
        .collect();
        assert_eq!(order, [2, 1, 2, 1, 1]);
    }

    #[test]
    fn a_wait_that_was_given_up_gets_nothing() {
        let mut shares = Shares::default();
        take(&mut shares, 1, QUICK, 8);
        let Asked::Waits(ticket) = shares.ask(&2, QUICK) else { panic!("holder 2 must wait") };
        assert!(shares.give_up(&2, ticket));
        assert!(!shares.give_up(&2, ticket));
        shares.release(&1);
        assert_eq!(shares.next(QUICK), None);
        assert_eq!(shares.ask(&1, QUICK), Asked::Granted);
    }

    #[test]
    fn of_equal_holders_the_one_that_waits_longest_is_next() {
        let mut shares = Shares::default();
        take(&mut shares, 1, QUICK, 8);
        shares.ask(&3, QUICK);
        shares.ask(&2, QUICK);
        shares.release(&1);
        assert_eq!(shares.next(QUICK).map(|(holder, _)| holder), Some(3));
    }

    /// What a random caller does next, with the holder it does it for.
    fn steps() -> impl Strategy<Value = Vec<(u8, u8)>> {
        prop::collection::vec((0..3_u8, 0..5_u8), 0..200)
    }

    proptest! {
        /// Counts add up, the limit holds, and no place is free that somebody waits for and may take.
        #[test]
        fn places_are_neither_lost_nor_doubled(steps in steps(), reserve in 0..3_u32, patient_below in 0..12_u32) {
            let bounds = Bounds { limit: 8, reserve, patient_below, waiting_max: 4 };
            let mut shares = Shares::default();
            let (mut held, mut waiting) = (HashMap::<u8, u32>::new(), Vec::new());
            for (step, holder) in steps {
                match step {
                    0 => match shares.ask(&holder, bounds) {
                        Asked::Granted => *held.entry(holder).or_default() += 1,
                        Asked::Waits(ticket) => waiting.push((holder, ticket)),
                        Asked::Refused => {}
                    },
                    1 if held.get(&holder).is_some_and(|held| *held > 0) => {
                        shares.release(&holder);
                        *held.entry(holder).or_default() -= 1;
                    }
                    2 if !waiting.is_empty() => {
                        let (holder, ticket) = waiting.remove(usize::from(holder) % waiting.len());
                        prop_assert!(shares.give_up(&holder, ticket));
                    }
                    _ => {}
                }
                while let Some((holder, ticket)) = shares.next(bounds) {
                    let before = waiting.len();
                    waiting.retain(|wait| *wait != (holder, ticket));
                    prop_assert_eq!(waiting.len() + 1, before);
                    *held.entry(holder).or_default() += 1;
                }
                prop_assert_eq!(shares.held(), held.values().sum::<u32>());
                prop_assert_eq!(shares.waiting() as usize, waiting.len());
                prop_assert!(shares.held() <= bounds.limit);
                prop_assert!(waiting.is_empty() || shares.held() + bounds.reserve >= bounds.limit);
            }
            for (holder, held) in held {
                (0..held).for_each(|_| shares.release(&holder));
            }
            for (holder, ticket) in waiting {
                shares.give_up(&holder, ticket);
            }
            prop_assert!(shares.holders.is_empty(), "nothing is kept of holders that left");
        }
    }
}
