//! Background work: jobs leased from the store, run, and ended in one commit with their effect.
//!
//! Stages of a job: *waiting* → *leased* (fence raised) → *begun* (the attempt is visible on the link) → *fetched* (no
//! transaction open) → *ended* together with the link, its transactions and its events. A worker that loses its lease
//! anywhere writes nothing: every commit names the fence. A crash before the end leaves the job to the next lease, and
//! since the effect and the end are one commit, it happens once.

mod expire_exchange;
pub mod maintenance;
mod refresh_products;
pub mod schedule;
pub mod webhooks;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::SignedDuration;
use passbook_core::{ids::AppId, job_shares::RunningJobs};
use passbook_store::port::{JobWork, LeasedJob, StoreError};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    metrics::{self, Metrics},
    services::{Fault, Services, access::later},
    system::{hex, random_bits},
};

/// How long a lease holds unless the configuration says otherwise; longer than one fetch may take, renewed between
/// fetches.
pub const LEASE: SignedDuration = SignedDuration::from_secs(90);
/// How often a job is begun before it is given up: it takes its process down every time, or its store.
const ATTEMPTS_MAX: u64 = 100;
/// How often work of other replicas is looked for when no bell rings.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long running jobs get to end by themselves after a stop. Longer ones wait for a bank; they are given back, so that
/// another process can take them at once, and asking the bank again does no harm.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// Pause after the store failed.
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(500);

/// The worker pool.
pub struct Workers {
    services: Arc<Services>,
    metrics: Arc<Metrics>,
    /// Names this process in leases.
    owner: String,
    jobs: Mutex<RunningJobs>,
    running: TaskTracker,
    stop: CancellationToken,
}

/// How a job's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Effect stored.
    Done,
    /// Ended without effect (deleted link, failed fetch).
    Failed,
    /// The lease was lost; somebody else has it.
    Lost,
    /// Given back to run later: there was no room for it.
    Postponed,
}

impl Workers {
    /// A pool that has not started and that `stop` ends.
    pub fn new(services: Arc<Services>, metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        Self {
            services,
            metrics,
            owner: hex(&random_bits().to_be_bytes()[..8]),
            jobs: Mutex::default(),
            running: TaskTracker::new(),
            stop,
        }
    }

    /// Leases and runs jobs until stopped, then waits until the running ones have ended or were given back.
    pub async fn run(self: Arc<Self>) {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            // Before the look, so that no end between it and the wait is missed.
            let ended = self.services.job_ended.subscribe();
            let leased = match self.lease().await {
                Ok(leased) => leased,
                Err(error) => {
                    self.metrics.store_failed(metrics::StoreError::Job);
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot lease jobs");
                    pause(PAUSE_AFTER_FAULT, &stop).await;
                    continue;
                }
            };
            if leased.is_empty() {
                self.wait_for_work(ended, &stop).await;
            }
            for job in leased {
                self.start(job);
            }
        }
        self.running.close();
        self.running.wait().await;
    }

    async fn lease(&self) -> Result<Vec<LeasedJob>, StoreError> {
        let (room, crowded) = {
            let jobs = self.jobs();
            (jobs.room_for_any(), jobs.crowded())
        };
        if room == 0 {
            return Ok(Vec::new());
        }
        let now = self.services.store.now();
        // A look costs a read; only when something is due is a lease, which is a synced write, worth it.
        match self.services.store.next_due_at().await? {
            Some(due) if due <= now => {
                let until = later(now, self.services.lease);
                self.services.store.lease_jobs(&self.owner, now, until, room, &crowded).await
            }
            _ => Ok(Vec::new()),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, RunningJobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_for_work(&self, mut ended: watch::Receiver<u64>, stop: &CancellationToken) {
        let now = self.services.store.now();
        let due_in = match self.services.store.next_due_at().await {
            // What is due may be of an application that has its share; then an end or a bell changes that.
            Ok(Some(due)) if due > now || self.jobs().crowded().is_empty() => {
                Duration::try_from(due.duration_since(now)).unwrap_or(Duration::from_millis(10))
            }
            _ => POLL_EVERY,
        };
        tokio::select! {
            () = self.services.job_bell.notified() => {}
            // A job of the same link may have been waiting for the one that ended.
            _ = ended.changed() => {}
            () = tokio::time::sleep(due_in.clamp(Duration::from_millis(10), POLL_EVERY)) => {}
            () = stop.cancelled() => {}
        }
    }

    fn start(self: &Arc<Self>, job: LeasedJob) {
        let (workers, app) = (self.clone(), job.tenant.app_id.clone());
        self.jobs().add(&app);
        self.running.spawn(async move {
            let slot = Slot { workers: &workers, app };
            workers.run_job(job).await;
            drop(slot);
            workers.services.job_ended.send_modify(|count| *count += 1);
        });
    }

    async fn run_job(&self, job: LeasedJob) {
        let (id, link_id) = (job.lease.job_id.clone(), job.link_id.clone());
        let attempted = tokio::select! {
            attempted = self.attempt(&job) => Some(attempted),
            // Cutting an attempt off is as safe as a crash: a commit that was handed over runs to its end, and what
            // comes after it names a lease that is over.
            () = self.out_of_patience() => None,
        };
        let Some(attempted) = attempted else {
            self.metrics.job_ended("interrupted");
            tracing::info!(job.id = %id, link.id = %link_id, "stopping: the job was given back");
            return self.give_back(&job, SignedDuration::ZERO).await;
        };
        let result = match attempted {
            // What is stored cannot be understood, or a bug: trying again changes nothing, so the job ends honestly.
            Err(Fault::Internal(cause)) => {
                tracing::error!(job.id = %id, link.id = %link_id, error = &*cause as &dyn std::error::Error, "job abandoned");
                self.abandon(&job).await
            }
            result => result,
        };
        match result {
            Ok(Ended::Done) => self.metrics.job_ended("done"),
            Ok(Ended::Failed) => self.metrics.job_ended("failed"),
            Ok(Ended::Lost) => self.metrics.job_ended("lost"),
            Ok(Ended::Postponed) => self.metrics.job_ended("interrupted"),
            Err(fault) => {
                self.metrics.job_ended("interrupted");
                self.metrics.store_failed(metrics::StoreError::Job);
                tracing::warn!(job.id = %id, link.id = %link_id, error = &fault as &dyn std::error::Error, "job interrupted; it will run again");
                self.give_back(&job, SignedDuration::from_secs(1)).await;
            }
        }
    }

    /// Runs the job once; a panic is a bug of ours and ends like one.
    async fn attempt(&self, job: &LeasedJob) -> Result<Ended, Fault> {
        if job.lease.fence > ATTEMPTS_MAX {
            return Err(Fault::Internal("the job was begun too often without an end".into()));
        }
        let run = async {
            match &job.work {
                JobWork::RefreshProducts { products } => self.services.run_refresh(job, *products).await,
                JobWork::ExpireExchange => self.services.run_expire_exchange(job).await,
                JobWork::FollowSchedule { failures } => self.services.run_update(job, *failures).await,
            }
        };
        match AssertUnwindSafe(run).catch_unwind().await {
            Ok(result) => result,
            Err(_) => Err(Fault::Internal("the job panicked".into())),
        }
    }

    /// Ends some time after the stop.
    async fn out_of_patience(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(STOP_PATIENCE).await;
    }

    async fn abandon(&self, job: &LeasedJob) -> Result<Ended, Fault> {
        match &job.work {
            JobWork::RefreshProducts { products } => self.services.abandon_refresh(job, *products).await,
            JobWork::ExpireExchange => self.services.end_without_effect(job).await,
            JobWork::FollowSchedule { .. } => self.services.abandon_update(job).await,
        }
    }

    /// Gives a job back, as soon as the store takes it. Should the store stay down, the lease runs out.
    async fn give_back(&self, job: &LeasedJob, pause_of_job: SignedDuration) {
        let tries = self.services.lease.unsigned_abs().as_millis() / PAUSE_AFTER_FAULT.as_millis();
        for _ in 0..tries {
            let due_at = later(self.services.store.now(), pause_of_job);
            if self.services.store.release_job(&job.lease, due_at).await.is_ok() || self.stop.is_cancelled() {
                return;
            }
            pause(PAUSE_AFTER_FAULT, &self.stop).await;
        }
    }
}

/// Sleeps, but not through a stop.
async fn pause(span: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(span) => {}
        () = stop.cancelled() => {}
    }
}

/// A running job's slot, which is given back however the job ends.
struct Slot<'a> {
    workers: &'a Workers,
    app: AppId,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.workers.jobs().remove(&self.app);
    }
}

/// The end of the lease, from now.
fn lease_until(services: &Services) -> jiff::Timestamp {
    later(services.store.now(), services.lease)
}
