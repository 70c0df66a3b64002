//! Ends a link whose token was not exchanged in time.

use passbook_store::port::{Changes, FinishedJob, Guard, JobState, LeasedJob};

use super::Ended;
use crate::services::{DECISIONS_MAX, Fault, Outcome, Services, changes_with_link};

impl Services {
    /// Runs the job. Idempotent: a link that was exchanged or deleted meanwhile is left alone.
    pub(super) async fn run_expire_exchange(&self, job: &LeasedJob) -> Result<Ended, Fault> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.store.lookup_link(&job.tenant, &job.link_id).await?;
            let now = self.now(&job.tenant).await?;
            let mut changes = Changes::default();
            if let Some(stored) = stored {
                let mut link = stored.link;
                if link.expire_exchange(now) {
                    changes = changes_with_link(link, Some(stored.version), None, |_| {});
                }
            }
            changes.finished_job = Some(self.finished(job, JobState::Done));
            match self.try_commit(changes).await? {
                Outcome::Committed => return Ok(Ended::Done),
                Outcome::LostRace(Guard::Lease) => return Ok(Ended::Lost),
                Outcome::LostRace(_) => {}
            }
        }
        Err(Fault::too_many_races())
    }

    pub(super) fn finished(&self, job: &LeasedJob, state: JobState) -> FinishedJob {
        FinishedJob { lease: job.lease.clone(), state, finished_at: self.store.now() }
    }
}
