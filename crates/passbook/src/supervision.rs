//! The parts that the process cannot do without, watched over in one place.
//!
//! A vital part is a task or thread that runs from the start to the stop: listeners, workers, the store's own threads.
//! One that ends before the stop, by a return, a panic or an abort, leaves a process that serves half of what it should.
//! So its end turns readiness and health red, and the process drains and ends with [`EXIT_CODE`], for a supervisor of
//! processes to start it again. A panic inside one request or one job ends no part.
//!
//! | part | does |
//! | --- | --- |
//! | `store_writer`, `store_upkeep` | the store's own (`Store::part_ended`) |
//! | `listener`, `operator_listener` | accept connections |
//! | `control_socket`, `key_rotation` | the operator's commands, and wrapping data keys anew |
//! | `workers`, `maintenance`, `schedule`, `webhooks` | background work |
//! | `certificate_reload` | listens for SIGHUP |
//! | `log` | writes the log |

use std::sync::Arc;

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// What the process ends with when a vital part has ended: `EX_SOFTWARE` of sysexits(3).
pub const EXIT_CODE: u8 = 70;

/// Names of the parts that have ended, in the order of their ends.
type Ended = Vec<&'static str>;

/// See the module page.
#[derive(Clone)]
pub struct Supervisor {
    /// Parts may end from here on.
    stopped: CancellationToken,
    ended: Arc<watch::Sender<Ended>>,
    #[cfg(feature = "fault-hooks")]
    hooks: hooks::Hooks,
}

impl Supervisor {
    /// Watches over nothing yet. Parts that end once `stopped` is cancelled do so in order.
    #[must_use]
    pub fn new(stopped: CancellationToken) -> Self {
        Self {
            stopped,
            ended: Arc::new(watch::Sender::new(Vec::new())),
            #[cfg(feature = "fault-hooks")]
            hooks: hooks::Hooks::default(),
        }
    }

    /// Runs a vital part. The handle ends with it.
    pub fn start(&self, part: &'static str, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let watched = Watched { part, supervisor: self.clone() };
        #[cfg(feature = "fault-hooks")]
        let work = self.hooks.around(part, work);
        tokio::spawn(async move {
            // Dropped when the work returns, panics, or is aborted.
            let _watched = watched;
            work.await;
        })
    }

    /// Watches over a part that runs elsewhere: `ended` names it, once it has ended.
    pub fn watch(&self, ended: impl Future<Output = &'static str> + Send + 'static) {
        let supervisor = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                part = ended => supervisor.report(part),
                () = supervisor.stopped.cancelled() => {}
            }
        });
    }

    /// The parts that have ended too early; none while all is well.
    #[must_use]
    pub fn ended(&self) -> Vec<&'static str> {
        self.ended.borrow().clone()
    }

    /// Whether every part is alive.
    #[must_use]
    pub fn all_alive(&self) -> bool {
        self.ended.borrow().is_empty()
    }

    /// Waits until a part has ended too early.
    pub async fn part_ended(&self) {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as `self`.
        let _never_closed = ended.wait_for(|ended| !ended.is_empty()).await;
    }

    fn report(&self, part: &'static str) {
        if self.stopped.is_cancelled() {
            return;
        }
        tracing::error!(part, "a vital part has ended: the process drains and ends");
        self.ended.send_modify(|ended| ended.push(part));
    }
}

struct Watched {
    part: &'static str,
    supervisor: Supervisor,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.supervisor.report(self.part);
    }
}

#[cfg(feature = "fault-hooks")]
pub mod hooks {
    //! Ends parts on demand, for experiments. No released binary contains this.

    use std::{
        collections::HashMap,
        sync::{Arc, Mutex, PoisonError},
    };

    use tokio::sync::oneshot;

    /// How a part ends.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum How {
        /// Its work returns.
        Returns,
        /// Its work panics.
        Panics,
    }

    /// The running parts.
    #[derive(Clone, Default)]
    pub struct Hooks(Arc<Mutex<HashMap<&'static str, oneshot::Sender<How>>>>);

    impl Hooks {
        /// The work, with a way to end it.
        pub(super) fn around(
            &self,
            part: &'static str,
            work: impl Future<Output = ()> + Send + 'static,
        ) -> impl Future<Output = ()> + Send + 'static {
            let (sender, told) = oneshot::channel();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, sender);
            async move {
                tokio::select! {
                    () = work => {}
                    Ok(how) = told => assert!(how == How::Returns, "ended by a fault hook"),
                }
            }
        }
    }

    impl super::Supervisor {
        /// Ends a part that runs as a task here. Returns whether there is one of this name.
        #[must_use]
        pub fn end(&self, part: &str, how: How) -> bool {
            let sender = self.hooks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
            sender.is_some_and(|sender| sender.send(how).is_ok())
        }

        /// Names of the parts that run as tasks here.
        #[must_use]
        pub fn parts(&self) -> Vec<&'static str> {
            self.hooks.0.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_returns_panics_or_is_aborted_is_named() {
        let supervisor = Supervisor::new(CancellationToken::new());
        assert!(supervisor.all_alive());
        let returns = supervisor.start("returns", std::future::ready(()));
        assert!(returns.await.is_ok());
        supervisor.part_ended().await;
        let panics = supervisor.start("panics", async { panic!("on purpose") });
        assert!(panics.await.is_err());
        let aborted = supervisor.start("aborted", std::future::pending());
        aborted.abort();
        assert!(aborted.await.is_err());
        assert_eq!(supervisor.ended(), ["returns", "panics", "aborted"]);
        assert!(!supervisor.all_alive());
    }

    #[tokio::test]
    async fn a_part_that_runs_elsewhere_is_named_too() {
        let supervisor = Supervisor::new(CancellationToken::new());
        supervisor.watch(std::future::ready("elsewhere"));
        supervisor.part_ended().await;
        assert_eq!(supervisor.ended(), ["elsewhere"]);
    }

    #[tokio::test]
    async fn parts_that_end_after_the_stop_end_in_order() {
        let stopped = CancellationToken::new();
        let supervisor = Supervisor::new(stopped.clone());
        let part = supervisor.start("part", stopped.clone().cancelled_owned());
        stopped.cancel();
        part.await.unwrap();
        assert_eq!(supervisor.ended(), <[&str; 0]>::default());
    }
}
