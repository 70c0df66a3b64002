//! Whether a part that a store cannot work without is alive: a thread or task that runs from opening to closing.

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    /// The store is being closed; the part may end.
    Closing,
    /// It ended before that.
    Ended,
}

/// Seen from the store.
pub(crate) struct Vital {
    part: &'static str,
    state: watch::Sender<State>,
}

/// Kept by the part while it runs. Its drop is the end of the part, however that came: a return, a panic, an abort.
pub(crate) struct Alive(watch::Sender<State>);

impl Vital {
    /// A part that is about to start, and what it has to keep.
    pub(crate) fn new(part: &'static str) -> (Self, Alive) {
        let state = watch::Sender::new(State::Alive);
        (Self { part, state: state.clone() }, Alive(state))
    }

    /// From here on the part may end.
    pub(crate) fn close(&self) {
        self.state.send_if_modified(|state| {
            let was_alive = *state == State::Alive;
            *state = if was_alive { State::Closing } else { *state };
            was_alive
        });
    }

    /// Waits until the part has ended too early, and names it.
    pub(crate) async fn ended(&self) -> &'static str {
        let mut state = self.state.subscribe();
        // The sender lives as long as `self`.
        let _never_closed = state.wait_for(|state| *state == State::Ended).await;
        self.part
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_if_modified(|state| {
            let was_alive = *state == State::Alive;
            *state = if was_alive { State::Ended } else { *state };
            was_alive
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_before_the_store_is_closed_is_named() {
        let (vital, alive) = Vital::new("part");
        let thread = std::thread::spawn(move || {
            let _alive = alive;
            panic!("on purpose");
        });
        assert_eq!(vital.ended().await, "part");
        assert!(thread.join().is_err());
    }

    #[tokio::test]
    async fn a_part_that_ends_with_the_store_is_not() {
        let (vital, alive) = Vital::new("part");
        vital.close();
        drop(alive);
        assert!(tokio::time::timeout(Duration::ZERO, vital.ended()).await.is_err());
    }
}
