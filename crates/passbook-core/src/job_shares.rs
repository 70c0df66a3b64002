//! How many jobs of one application run at once in a process, and how many of those that nobody asked for.
//!
//! A job may wait for a bank for many seconds, so slots that are taken do not come free soon. Therefore nobody takes the
//! last ones: an application holds at most half of the slots that no other one holds, as with webhooks
//! ([`delivery_shares`](crate::delivery_shares)).

use std::collections::HashMap;

use crate::ids::AppId;

/// Jobs that run at once in one process. One application alone may hold half of them.
pub const SLOTS: u32 = 32;

/// The jobs that run in this process, or those of one kind.
#[derive(Debug, Clone)]
pub struct RunningJobs {
    slots: u32,
    total: u32,
    apps: HashMap<AppId, u32>,
}

impl Default for RunningJobs {
    fn default() -> Self {
        Self::new(SLOTS)
    }
}

impl RunningJobs {
    /// None run yet; so many may at once.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self { slots, total: 0, apps: HashMap::new() }
    }

    /// A job begins.
    pub fn add(&mut self, app: &AppId) {
        self.total += 1;
        *self.apps.entry(app.clone()).or_default() += 1;
    }

    /// A job that was added has ended.
    pub fn remove(&mut self, app: &AppId) {
        let Some(held) = self.apps.get_mut(app) else { return };
        *held -= 1;
        self.total -= 1;
        if *held == 0 {
            self.apps.remove(app);
        }
    }

    /// Whether a job of this application may begin now.
    #[must_use]
    pub fn has_room(&self, app: &AppId) -> bool {
        self.room(self.apps.get(app).copied().unwrap_or_default()) > 0
    }

    /// Applications that hold all that is theirs; none of their jobs may begin now.
    #[must_use]
    pub fn crowded(&self) -> Vec<AppId> {
        self.apps.iter().filter(|(_, held)| self.room(**held) == 0).map(|(app, _)| app.clone()).collect()
    }

    /// How many jobs may begin now, whichever applications they are of, those that are crowded aside.
    #[must_use]
    pub fn room_for_any(&self) -> u32 {
        let holding = self.apps.values().map(|held| self.room(*held)).filter(|room| *room > 0);
        holding.chain([self.room(0)]).min().unwrap_or_default()
    }

    /// How many more an application may hold that holds so many: up to half of what no other one holds.
    fn room(&self, held: u32) -> u32 {
        let not_of_others = self.slots.saturating_sub(self.total - held);
        not_of_others.div_ceil(2).saturating_sub(held).min(self.slots.saturating_sub(self.total))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn app(number: u8) -> AppId {
        AppId::from_bits(u128::from(number))
    }

    #[test]
    fn alone_an_application_holds_half_and_a_newcomer_finds_room() {
        let mut running = RunningJobs::default();
        assert_eq!((running.room_for_any(), running.crowded()), (SLOTS / 2, vec![]));
        (0..SLOTS / 2).for_each(|_| running.add(&app(1)));
        assert_eq!((running.room_for_any(), running.crowded()), (SLOTS / 4, vec![app(1)]));
        (0..SLOTS / 4).for_each(|_| running.add(&app(2)));
        assert!(running.crowded().contains(&app(1)));
        running.remove(&app(2));
        assert_eq!(running.crowded(), [app(1)]);
    }

    #[test]
    fn few_slots_are_shared_by_the_same_rule() {
        let mut running = RunningJobs::new(8);
        let mut held = Vec::new();
        for number in 1..=4 {
            held.push(0);
            while running.has_room(&app(number)) {
                running.add(&app(number));
                *held.last_mut().unwrap() += 1;
            }
        }
        assert_eq!(held, [4, 2, 1, 1]);
        assert!(!running.has_room(&app(5)));
        running.remove(&app(1));
        assert!(running.has_room(&app(5)), "what comes free is for who holds nothing");
        assert!(!running.has_room(&app(1)));
    }

    proptest! {
        /// Whatever begins and ends: the slots suffice, the room may be filled by any one application, and with fewer
        /// than five of them there is always a slot for the next.
        #[test]
        fn slots_are_never_exceeded_and_few_cannot_take_them_all(
            steps in prop::collection::vec((0_u8..4, any::<bool>()), 0..300),
        ) {
            let mut running = RunningJobs::default();
            let mut held: HashMap<u8, u32> = HashMap::new();
            for (number, begins) in steps {
                let mine = held.entry(number).or_default();
                if !begins {
                    if *mine > 0 {
                        running.remove(&app(number));
                        *mine -= 1;
                    }
                    continue;
                }
                if !running.crowded().contains(&app(number)) {
                    for _ in 0..running.room_for_any() {
                        running.add(&app(number));
                        *mine += 1;
                    }
                }
                prop_assert!(running.total < SLOTS);
                prop_assert!(running.room_for_any() > 0);
            }
            for (number, count) in held {
                (0..count).for_each(|_| running.remove(&app(number)));
            }
            prop_assert!(running.apps.is_empty() && running.total == 0);
        }
    }
}
