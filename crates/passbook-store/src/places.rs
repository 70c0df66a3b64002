//! Waiting for a place that is shared fairly (`passbook_core::shares`), with a deadline.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use passbook_core::shares::{Asked, Bounds, Shares, Ticket};
use tokio::{sync::oneshot, time::timeout};

/// A bounded number of places; see the module page.
pub struct Places<H: Hash + Eq + Clone> {
    state: Mutex<State<H>>,
    /// How long somebody waits for a place before it is refused.
    patience: Duration,
}

struct State<H> {
    shares: Shares<H>,
    /// `None` when no more places are given.
    bounds: Option<Bounds>,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
}

/// A place; dropping it gives it back, and to whoever is next.
pub struct Place<H: Hash + Eq + Clone> {
    places: Arc<Places<H>>,
    holder: H,
}

/// There is no place, or none came free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no place is free")]
pub struct NoPlace;

impl<H: Hash + Eq + Clone> Places<H> {
    /// Places within `bounds`, for which somebody waits at most as long as `patience`.
    pub fn new(bounds: Bounds, patience: Duration) -> Arc<Self> {
        let state = State { shares: Shares::default(), bounds: Some(bounds), waiting: HashMap::new() };
        Arc::new(Self { state: Mutex::new(state), patience })
    }

    /// A place for `holder`, at once or after a wait.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub async fn enter(self: &Arc<Self>, holder: &H) -> Result<Place<H>, NoPlace> {
        let (granted, waiting) = {
            let mut state = self.state();
            let bounds = state.bounds.ok_or(NoPlace)?;
            match state.shares.ask(holder, bounds) {
                Asked::Granted => return Ok(Place { places: self.clone(), holder: holder.clone() }),
                Asked::Refused => return Err(NoPlace),
                Asked::Waits(ticket) => {
                    let (sender, granted) = oneshot::channel();
                    state.waiting.insert(ticket, sender);
                    (granted, Waiting { places: self, holder, ticket, is_over: false })
                }
            }
        };
        match Box::pin(timeout(self.patience, granted)).await {
            Ok(Ok(())) => Ok(waiting.granted()),
            Ok(Err(_)) | Err(_) => Err(NoPlace),
        }
    }

    /// Changes how many places there are. Places above a lower limit stay with their holders.
    pub fn set_limit(&self, limit: u32) {
        let mut state = self.state();
        if let Some(bounds) = &mut state.bounds {
            bounds.limit = limit;
        }
        state.grant();
    }

    /// Gives no more places; whoever waits is refused.
    pub fn close(&self) {
        let mut state = self.state();
        state.bounds = None;
        state.waiting.clear();
    }

    /// Places that are taken.
    pub fn held(&self) -> u32 {
        self.state().shares.held()
    }

    fn state(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Hash + Eq + Clone> State<H> {
    /// Hands out what is free to those who wait.
    fn grant(&mut self) {
        let Some(bounds) = self.bounds else { return };
        while let Some((_, ticket)) = self.shares.next(bounds) {
            // Whoever gave up meanwhile gives the place back.
            self.waiting.remove(&ticket).map(|waiting| waiting.send(()));
        }
    }
}

impl<H: Hash + Eq + Clone> Drop for Place<H> {
    fn drop(&mut self) {
        let mut state = self.places.state();
        state.shares.release(&self.holder);
        state.grant();
    }
}

/// A wait, which ends in order however it ends: by a place, by its deadline, or because the caller went away.
struct Waiting<'a, H: Hash + Eq + Clone> {
    places: &'a Arc<Places<H>>,
    holder: &'a H,
    ticket: Ticket,
    is_over: bool,
}

impl<H: Hash + Eq + Clone> Waiting<'_, H> {
    fn granted(mut self) -> Place<H> {
        self.is_over = true;
        Place { places: self.places.clone(), holder: self.holder.clone() }
    }
}

impl<H: Hash + Eq + Clone> Drop for Waiting<'_, H> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.places.state();
        state.waiting.remove(&self.ticket);
        if !state.shares.give_up(self.holder, self.ticket) {
            // The place was granted at the very moment at which nobody waited any longer.
            state.shares.release(self.holder);
        }
        state.grant();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    fn two() -> Arc<Places<&'static str>> {
        let bounds = Bounds { limit: 2, reserve: 0, patient_below: 0, waiting_max: 2 };
        Places::new(bounds, Duration::from_secs(1))
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_goes_to_whoever_waits() {
        let places = two();
        let (first, second) = (places.enter(&"a").await, places.enter(&"a").await);
        let mut waiting = Box::pin(places.enter(&"b"));
        assert!(poll!(&mut waiting).is_pending());
        assert!(places.enter(&"a").await.is_err(), "over its share");
        drop(first);
        let third = waiting.await;
        assert!(third.is_ok() && second.is_ok());
        assert_eq!(places.held(), 2);
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_deadline() {
        let bounds = Bounds { limit: 2, reserve: 0, patient_below: 0, waiting_max: 2 };
        let places = Places::new(bounds, Duration::from_millis(1));
        let _held = (places.enter(&"a").await, places.enter(&"a").await);
        assert_eq!(places.enter(&"b").await.err(), Some(NoPlace));
    }

    #[tokio::test]
    async fn who_goes_away_while_it_waits_takes_nothing_along() {
        let places = two();
        let (first, second) = (places.enter(&"a").await, places.enter(&"a").await);
        let mut waiting = Box::pin(places.enter(&"b"));
        assert!(poll!(&mut waiting).is_pending());
        drop(first);
        // Granted, and dropped before it was looked at.
        drop(waiting);
        drop(second);
        assert_eq!(places.held(), 0);
    }

    #[tokio::test]
    async fn nobody_waits_for_places_that_are_closed() {
        let places = two();
        let _held = (places.enter(&"a").await, places.enter(&"a").await);
        let mut waiting = Box::pin(places.enter(&"b"));
        assert!(poll!(&mut waiting).is_pending());
        places.close();
        assert_eq!(waiting.await.err(), Some(NoPlace));
        assert_eq!(places.enter(&"c").await.err(), Some(NoPlace));
    }

    #[tokio::test]
    async fn a_higher_limit_lets_in_who_waits() {
        let places = two();
        let _held = (places.enter(&"a").await, places.enter(&"a").await);
        let mut waiting = Box::pin(places.enter(&"b"));
        assert!(poll!(&mut waiting).is_pending());
        places.set_limit(3);
        assert!(waiting.await.is_ok());
    }
}
