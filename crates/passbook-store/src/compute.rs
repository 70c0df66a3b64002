//! Work that takes the processor for long, away from the runtime's threads.
//!
//! Reading and rendering a page of a thousand rows takes milliseconds, comparing a statement of tens of thousands of rows
//! a second. On the runtime's threads that would keep every other request waiting, reads of account numbers among them.
//! [`run`] has as many threads as there are cores, and no more: each further one would take its time slices from the
//! runtime as well. They serve tenants in turn, one piece of work each, so that a tenant's waits for one piece of each
//! other tenant's and not for all of it. What takes longer than a request should wait for has a thread of its own
//! ([`run_apart`]); its caller bounds how many there are.
//!
//! Both kinds of threads have a lower priority than the runtime's, which is quickly done with whatever it has to do. A
//! core is the process's, not a store's or a server's; so these threads are as well.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use passbook_core::tenant::Tenant;
use tokio::{sync::oneshot, time::timeout};

use crate::fair::{Lane, Lanes};

/// Pieces of work that wait, of all tenants; one of them may have half of the room that is left.
const WAITING_MAX: usize = 1_024;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Steps below the runtime's priority: pieces that take milliseconds, and what takes longer.
const NICE: i32 = 5;
const NICE_APART: i32 = 10;

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoResult {
    /// Too much waits already, or its turn did not come in time.
    #[error("too much work waits for the processor")]
    Busy,
    /// The work panicked.
    #[error("the work panicked")]
    Panicked,
}

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    waiting: Mutex<Waiting>,
    wake_up: Condvar,
}

struct Waiting {
    jobs: Lanes<Lane, Job>,
    /// Threads that serve. One that the system did not start is tried again with the next piece of work.
    threads: usize,
}

/// What `work` gives, once it is the tenant's turn. `None` is work of nobody, such as maintenance. Work that nobody waits
/// for any longer when its turn comes is not begun.
///
/// # Errors
/// [`NoResult`].
pub async fn run<T: Send + 'static>(
    tenant: Option<&Tenant>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoResult> {
    let (begin, begun) = oneshot::channel();
    let (done, result) = oneshot::channel();
    let job = Box::new(move || {
        if begin.send(()).is_ok() {
            // Nobody may wait any longer.
            let _ = done.send(work());
        }
    });
    Pool::of_process().push(&tenant.cloned(), job).map_err(|_| NoResult::Busy)?;
    match timeout(PATIENCE, begun).await {
        Ok(Ok(())) => result.await.map_err(|_| NoResult::Panicked),
        Ok(Err(_)) | Err(_) => Err(NoResult::Busy),
    }
}

/// What `work` gives, on a thread of its own.
///
/// # Errors
/// [`NoResult`].
pub async fn run_apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoResult> {
    let (done, result) = oneshot::channel();
    let begin = move || {
        step_back(NICE_APART);
        // Nobody may wait any longer.
        let _ = done.send(work());
    };
    thread::Builder::new().name("compute-apart".to_owned()).spawn(begin).map_err(|_| NoResult::Busy)?;
    result.await.map_err(|_| NoResult::Panicked)
}

/// How many pieces are worked on at once.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl Pool {
    fn of_process() -> &'static Self {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| {
            let waiting = Waiting { jobs: Lanes::new(WAITING_MAX), threads: 0 };
            Self { waiting: Mutex::new(waiting), wake_up: Condvar::new() }
        })
    }

    fn push(&'static self, lane: &Lane, job: Job) -> Result<(), Job> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.threads < threads() {
            let name = format!("compute-{}", waiting.threads);
            let Ok(_serves) = thread::Builder::new().name(name).spawn(|| self.serve()) else { break };
            waiting.threads += 1;
        }
        if waiting.threads == 0 {
            return Err(job);
        }
        waiting.jobs.push(lane, job)?;
        self.wake_up.notify_one();
        Ok(())
    }

    fn serve(&self) {
        step_back(NICE);
        loop {
            let job = self.next();
            // Only this piece fails; the panic hook has said where.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Job {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = waiting.jobs.pop() {
                return job;
            }
            waiting = self.wake_up.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Lowers the priority of the calling thread, where the system has one for each thread.
fn step_back(nice: i32) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::warn!(%error, "a thread for long work keeps the priority of the others");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice;
}

#[cfg(test)]
mod tests {
    use passbook_core::{ids::AppId, tenant::Environment};

    use super::*;

    fn tenant(bits: u128) -> Tenant {
        Tenant { app_id: AppId::from_bits(bits), environment: Environment::Sandbox }
    }

    #[tokio::test]
    async fn a_panic_ends_one_piece_of_work_and_no_thread() {
        for _ in 0..4 * threads() {
            let ended = run(Some(&tenant(1)), || panic!("as it should")).await;
            assert_eq!(ended, Err::<(), _>(NoResult::Panicked));
        }
        assert_eq!(run_apart(|| panic!("as it should")).await, Err::<(), _>(NoResult::Panicked));
        assert_eq!((run(None, || 1).await, run_apart(|| 2).await), (Ok(1), Ok(2)));
    }

    #[tokio::test]
    async fn tenants_take_turns_and_what_nobody_waits_for_is_not_begun() {
        // Keeps every thread busy until all the work has been queued.
        let (mut gates, mut blocked) = (Vec::new(), Vec::new());
        for _ in 0..threads() {
            let (gate, closed) = std::sync::mpsc::channel::<()>();
            gates.push(gate);
            let (begins, begun) = oneshot::channel();
            let block = move || {
                begins.send(()).expect("the test waits for it");
                let _opened = closed.recv();
            };
            blocked.push(tokio::spawn(run(None, block)));
            begun.await.expect("a free thread");
        }
        let order = std::sync::Arc::new(Mutex::new(Vec::new()));
        let pieces = [1, 1, 1, 1, 2].map(|bits| {
            let order = order.clone();
            let piece = async move { run(Some(&tenant(bits)), move || order.lock().expect("sound").push(bits)).await };
            Box::pin(piece)
        });
        let mut pieces = Vec::from(pieces);
        for piece in &mut pieces {
            assert!(futures_util::poll!(piece).is_pending());
        }
        // The first one is given up.
        drop(pieces.remove(0));
        drop(gates);
        for piece in pieces {
            assert_eq!(piece.await, Ok(()));
        }
        for one in blocked {
            assert_eq!(one.await.expect("no panic"), Ok(()));
        }
        let order = order.lock().expect("sound").clone();
        assert_eq!(order.len(), 4, "{order:?}");
        assert!(order.iter().position(|bits| *bits == 2) <= Some(threads()), "{order:?}");
    }
}
