//! Who gets the places that are held for long, such as those of event streams.
//!
//! A place that is held for minutes cannot be shared by waiting for it to come free. So a tenant alone may take all of
//! them, and whoever is below its share takes one back: the share of a tenant is the number of places divided by the
//! number of tenants that have or want one. Within a tenant the same goes for the addresses of its callers. A place is
//! taken from whoever has most, the newest first, and only from one that keeps its own share: no two can take from each
//! other in turn.

use std::{collections::BTreeMap, fmt};

/// Names a place while it is held; rises with every place that is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A place was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Names it.
    pub ticket: Ticket,
    /// Whose place it was; its holder must end.
    pub displaced: Option<Ticket>,
}

/// There is no place: all are held, and the caller has its share or nobody has more than theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("every place is held")
    }
}

/// The places, shared by tenants `T` and, within each, by addresses `A`.
#[derive(Debug)]
pub struct Places<T, A> {
    most: usize,
    given: u64,
    held: BTreeMap<Ticket, (T, A)>,
}

impl<T: Ord + Clone, A: Ord + Clone> Places<T, A> {
    /// So many places, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), given: 0, held: BTreeMap::new() }
    }

    /// A place for `address` of `tenant`.
    ///
    /// # Errors
    /// [`Full`]; then nothing changed.
    pub fn take(&mut self, tenant: &T, address: &A) -> Result<Granted, Full> {
        let displaced = match self.held.len() < self.most {
            true => None,
            false => Some(self.displaced_by(tenant, address).ok_or(Full)?),
        };
        if let Some(ticket) = displaced {
            self.held.remove(&ticket);
        }
        self.given += 1;
        let ticket = Ticket(self.given);
        self.held.insert(ticket, (tenant.clone(), address.clone()));
        Ok(Granted { ticket, displaced })
    }

    /// Gives a place back; nothing happens when it was taken from its holder.
    pub fn give_back(&mut self, ticket: Ticket) {
        self.held.remove(&ticket);
    }

    /// How many places are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn displaced_by(&self, tenant: &T, address: &A) -> Option<Ticket> {
        let by_tenant = count(self.held.values().map(|(tenant, _)| tenant));
        let giving = match over_share(&by_tenant, tenant) {
            Some(richest) => richest,
            // Its own callers share what the tenant has.
            None if by_tenant.contains_key(tenant) => {
                let by_address = count(self.addresses_of(tenant));
                let richest = over_share(&by_address, address)?;
                return self.newest(tenant, richest);
            }
            None => return None,
        };
        let by_address = count(self.addresses_of(giving));
        let (most, _) = by_address.iter().max_by_key(|(_, count)| **count)?;
        self.newest(giving, most)
    }

    fn addresses_of<'a>(&'a self, tenant: &'a T) -> impl Iterator<Item = &'a A> {
        self.held.values().filter(move |(holder, _)| holder == tenant).map(|(_, address)| address)
    }

    fn newest(&self, tenant: &T, address: &A) -> Option<Ticket> {
        let mut newest_first = self.held.iter().rev();
        newest_first.find(|(_, holder)| holder.0 == *tenant && holder.1 == *address).map(|(ticket, _)| *ticket)
    }
}

fn count<'a, K: Ord>(keys: impl Iterator<Item = &'a K>) -> BTreeMap<&'a K, usize> {
    keys.fold(BTreeMap::new(), |mut counts, key| {
        *counts.entry(key).or_default() += 1;
        counts
    })
}

/// Who has most, if `wanting` is below its share of all and that one above it.
fn over_share<'a, K: Ord>(held: &BTreeMap<&'a K, usize>, wanting: &K) -> Option<&'a K> {
    let own = held.get(wanting).copied().unwrap_or_default();
    let sharers = held.len() + usize::from(own == 0);
    let share = (held.values().sum::<usize>() / sharers).max(1);
    let (richest, most) = held.iter().max_by_key(|(_, count)| **count)?;
    (own < share && *most > share).then_some(*richest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Streams = Places<&'static str, u8>;

    fn take(places: &mut Streams, tenant: &'static str, address: u8, times: usize) -> Vec<Granted> {
        (0..times).map(|_| places.take(&tenant, &address).expect("a place")).collect()
    }

    fn held_by(places: &Streams, tenant: &str) -> usize {
        places.held.values().filter(|(holder, _)| *holder == tenant).count()
    }

    #[test]
    fn a_tenant_alone_takes_every_place_and_no_more() {
        let mut places = Streams::new(256);
        assert!(take(&mut places, "a", 1, 256).iter().all(|granted| granted.displaced.is_none()));
        assert_eq!(places.take(&"a", &1), Err(Full));
    }

    #[test]
    fn another_tenant_gets_half_at_once_from_the_newest_ones() {
        let mut places = Streams::new(256);
        let of_a = take(&mut places, "a", 1, 256);
        let of_b = take(&mut places, "b", 1, 128);
        let displaced: Vec<_> = of_b.iter().filter_map(|granted| granted.displaced).collect();
        let newest: Vec<_> = of_a.iter().rev().take(128).map(|granted| granted.ticket).collect();
        assert_eq!(displaced, newest);
        for tenant in ["a", "b"] {
            assert_eq!(places.take(&tenant, &1), Err(Full), "{tenant} has its share");
        }
        take(&mut places, "c", 1, 85);
        assert!(["a", "b"].iter().all(|tenant| held_by(&places, tenant) >= 85));
    }

    #[test]
    fn one_address_of_a_tenant_does_not_shut_out_its_others() {
        let mut places = Streams::new(8);
        let first = take(&mut places, "a", 1, 8);
        let second = take(&mut places, "a", 2, 4);
        assert_eq!(second[0].displaced, Some(first[7].ticket));
        assert_eq!(places.take(&"a", &2), Err(Full));
        // Another tenant takes from whichever address has most.
        take(&mut places, "b", 1, 4);
        let by_address = count(places.addresses_of(&"a"));
        assert_eq!(by_address, BTreeMap::from([(&1, 2), (&2, 2)]));
    }

    #[test]
    fn a_place_that_was_given_back_is_taken_without_displacing_anybody() {
        let mut places = Streams::new(2);
        let of_a = take(&mut places, "a", 1, 2);
        places.give_back(of_a[0].ticket);
        places.give_back(of_a[0].ticket);
        assert_eq!(take(&mut places, "b", 1, 1)[0].displaced, None);
        assert_eq!(places.held(), 2);
    }

    #[test]
    fn more_tenants_than_places_have_one_each() {
        let mut places = Places::<usize, u8>::new(3);
        for tenant in 0..3 {
            assert_eq!(places.take(&tenant, &1).map(|granted| granted.displaced), Ok(None));
        }
        assert_eq!(places.take(&3, &1), Err(Full));
    }

    proptest! {
        #[test]
        fn whoever_holds_its_share_keeps_it_and_whoever_is_below_gets_it(
            most in 1_usize..20,
            wants in prop::collection::vec((0_u8..5, 0_u8..3, any::<bool>()), 0..200),
        ) {
            let mut places = Places::<u8, u8>::new(most);
            for (tenant, address, gives_back) in wants {
                if gives_back {
                    if let Some(oldest) = places.held.keys().next().copied() {
                        places.give_back(oldest);
                    }
                    continue;
                }
                let owned = |places: &Places<u8, u8>, tenant: u8| {
                    places.held.values().filter(|one| one.0 == tenant).count()
                };
                let before: Vec<_> = (0..5).map(|tenant| owned(&places, tenant)).collect();
                let has_one = |one: &usize| before[*one] > 0 || *one == usize::from(tenant);
                let share = (most / (0..5).filter(has_one).count()).max(1);
                let was_full = places.held() == most;
                let taken = places.take(&tenant, &address);
                prop_assert!(places.held() <= most);
                if taken.is_err() {
                    prop_assert!(was_full);
                    let others_have_more = before.iter().any(|count| *count > share);
                    prop_assert!(before[usize::from(tenant)] >= share || !others_have_more);
                }
                for other in (0..5).filter(|other| *other != tenant) {
                    let (had, has) = (before[usize::from(other)], owned(&places, other));
                    prop_assert!(has >= had.min(share), "{other} had {had} and has {has} of {share}");
                }
            }
        }
    }
}
