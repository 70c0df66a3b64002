//! Updates by the schedule: planned here for every link that has none, then each plans the next.
//!
//! An update is a job like any other, except that it makes room: at most a few run at once for one institution, and half
//! of the process's slots stay free for refreshes that an app asked for. It never spends an app's allowance.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;
use passbook_core::{
    ids::LinkId,
    link::LinkState,
    product::{ProductRecord, ProductSet},
    schedule::Schedule,
    tenant::Tenant,
};
use passbook_store::port::{Changes, Guard, JobState, JobWork, LeasedJob, NewJob, StoreError};
use tokio_util::sync::CancellationToken;

use super::{Ended, pause};
use crate::services::{DECISIONS_MAX, Fault, Outcome, Services, access::later, changes_with_link};

/// Updates that run at once in one process, whichever their institutions.
const AT_ONCE_MAX: usize = 8;
/// How soon an update that found no room tries again.
const ROOM_RETRY: SignedDuration = SignedDuration::from_secs(20);
/// How often links without a planned update are looked for.
const PLAN_EVERY: Duration = Duration::from_secs(300);
/// Links looked at in one read.
const PLAN_BATCH: u32 = 1_000;
/// Updates planned by one commit.
const PLAN_TOGETHER: usize = 100;

/// The schedule of a process, and what runs by it now.
pub struct Updates {
    /// How often.
    pub schedule: Schedule,
    per_institution: usize,
    running: Mutex<HashMap<String, usize>>,
}

/// Room for one update; given back when dropped.
struct Room<'a> {
    updates: &'a Updates,
    institution: String,
}

impl Updates {
    /// None run yet.
    #[must_use]
    pub fn new(schedule: Schedule, per_institution: usize) -> Self {
        Self { schedule, per_institution, running: Mutex::default() }
    }

    fn take_room(&self, institution: &str) -> Option<Room<'_>> {
        let mut running = self.lock();
        let here = running.get(institution).copied().unwrap_or_default();
        if here >= self.per_institution || running.values().sum::<usize>() >= AT_ONCE_MAX {
            return None;
        }
        running.insert(institution.to_owned(), here + 1);
        Some(Room { updates: self, institution: institution.to_owned() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut running = self.updates.lock();
        match running.get_mut(&self.institution) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(running.remove(&self.institution)),
        }
    }
}

/// Plans updates until `stop`. Returns at once when there is no schedule.
pub async fn run(services: Arc<Services>, stop: CancellationToken) {
    while services.updates.is_some() && !stop.is_cancelled() {
        if let Err(error) = services.plan_updates().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot plan updates");
        }
        pause(PLAN_EVERY, &stop).await;
    }
}

impl Services {
    /// Plans the first update of every connected link that has none planned. Returns how many were planned.
    ///
    /// # Errors
    /// When the store failed; what was planned stays.
    pub async fn plan_updates(&self) -> Result<usize, Fault> {
        let mut after = None;
        let mut planned = 0;
        loop {
            let links = self.store.list_unscheduled_links(after.as_ref(), PLAN_BATCH).await?;
            let jobs: Vec<_> = links.iter().filter_map(|(tenant, id)| self.next_update(tenant, id, 0)).collect();
            for some in jobs.chunks(PLAN_TOGETHER) {
                planned += self.store_plan(some).await?;
            }
            match links.last() {
                Some((_, id)) if links.len() == PLAN_BATCH as usize => after = Some(id.clone()),
                _ => return Ok(planned),
            }
        }
    }

    async fn store_plan(&self, jobs: &[NewJob]) -> Result<usize, Fault> {
        if let Outcome::Committed = self.try_commit(Changes { jobs: jobs.to_vec(), ..Changes::default() }).await? {
            return Ok(jobs.len());
        }
        // Another process planned one of them at the same moment, or its link went: one by one.
        let mut planned = 0;
        for job in jobs {
            let alone = Changes { jobs: vec![job.clone()], ..Changes::default() };
            planned += usize::from(matches!(self.try_commit(alone).await?, Outcome::Committed));
        }
        Ok(planned)
    }

    /// Runs an update.
    pub(super) async fn run_update(&self, job: &LeasedJob, failures: u32) -> Result<Ended, Fault> {
        let stored = self.store.lookup_link(&job.tenant, &job.link_id).await?;
        let Some(stored) = stored.filter(|stored| stored.link.state == LinkState::Connected) else {
            // A link that is connected again is planned again.
            return self.end_without_effect(job).await;
        };
        // Switched off.
        let Some(updates) = &self.updates else { return self.end_without_effect(job).await };
        let Some(_room) = updates.take_room(&stored.link.institution.id) else {
            self.store.release_job(&job.lease, later(self.store.now(), ROOM_RETRY)).await?;
            return Ok(Ended::Postponed);
        };
        for _ in 0..DECISIONS_MAX {
            let Some(stored) = self.store.lookup_link(&job.tenant, &job.link_id).await? else {
                return self.end_without_effect(job).await;
            };
            let products = stored.link.products_to_update(&job.lease.job_id);
            if products.is_empty() {
                return self.skip_update(job, failures).await;
            }
            let mut link = stored.link;
            link.schedule(products, &job.lease.job_id, self.now(&job.tenant).await?);
            let mut changes = changes_with_link(link, Some(stored.version), None, |_| {});
            changes.held_lease = Some(job.lease.clone());
            match self.try_commit(changes).await? {
                Outcome::Committed => return self.run_refresh(job, products).await,
                Outcome::LostRace(Guard::Lease) => return Ok(Ended::Lost),
                Outcome::LostRace(_) => {}
            }
        }
        Err(Fault::too_many_races())
    }

    /// Ends an update that has nothing to fetch, or that cannot be done, and plans the next.
    pub(super) async fn skip_update(&self, job: &LeasedJob, failures: u32) -> Result<Ended, Fault> {
        let next = self.next_update(&job.tenant, &job.link_id, failures);
        let finished = self.finished(job, JobState::Done);
        let changes = Changes { finished_job: Some(finished), jobs: next.into_iter().collect(), ..Changes::default() };
        match self.try_commit(changes).await? {
            Outcome::Committed => Ok(Ended::Done),
            // Whoever was first planned the same job.
            Outcome::LostRace(_) => self.end_without_effect(job).await,
        }
    }

    /// Ends an update that cannot succeed. The link is planned again with the others.
    pub(super) async fn abandon_update(&self, job: &LeasedJob) -> Result<Ended, Fault> {
        let stored = match self.store.lookup_link(&job.tenant, &job.link_id).await {
            Ok(Some(stored)) => stored,
            Ok(None) | Err(StoreError::Inconsistent { .. }) => return self.end_without_effect(job).await,
            Err(error) => return Err(error.into()),
        };
        let waits = |record: &ProductRecord| record.running_job.as_ref() == Some(&job.lease.job_id);
        let products: ProductSet =
            stored.link.products.iter().filter(|(_, record)| waits(record)).map(|(product, _)| *product).collect();
        if products.is_empty() { self.end_without_effect(job).await } else { self.abandon_refresh(job, products).await }
    }

    /// The update after the one that just ended for `link`; none when `job` is no update.
    pub(super) fn update_after(&self, job: &LeasedJob, ended: Ended, connected: bool) -> Option<NewJob> {
        let JobWork::FollowSchedule { failures } = job.work else { return None };
        let failures = if ended == Ended::Done { 0 } else { failures.saturating_add(1) };
        // A link that is connected again is planned again.
        connected.then(|| self.next_update(&job.tenant, &job.link_id, failures)).flatten()
    }

    fn next_update(&self, tenant: &Tenant, link_id: &LinkId, failures: u32) -> Option<NewJob> {
        let schedule = self.updates.as_ref()?.schedule;
        let planned = schedule.next(&self.derivation, tenant, link_id, self.store.now(), failures);
        Some(NewJob {
            id: planned.job_id,
            tenant: tenant.clone(),
            link_id: link_id.clone(),
            work: JobWork::FollowSchedule { failures },
            due_at: planned.due_at,
            app_due_at: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_institution_has_room_for_so_many_and_a_process_for_all_of_them() {
        let updates = Updates::new(Schedule::new(4).expect("a schedule"), 2);
        let (first, second) = (updates.take_room("a"), updates.take_room("a"));
        assert!(first.is_some() && second.is_some() && updates.take_room("a").is_none());
        drop(first);
        let again = updates.take_room("a");
        assert!(again.is_some());
        let others: Vec<_> = (0..10).filter_map(|n| updates.take_room(&n.to_string())).collect();
        assert_eq!(others.len(), AT_ONCE_MAX - 2);
        drop((second, again, others));
        assert!(updates.lock().is_empty());
    }
}
