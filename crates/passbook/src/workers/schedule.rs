//! Updates by the schedule: planned here for every link that has none, then each plans the next.
//!
//! An update is a job like any other, except that it makes room: at most a few run at once for one institution, and most
//! of the process's slots stay free for refreshes that an app asked for. It never spends an app's allowance.
//!
//! Apps share the room there is. An update holds its room for as long as the institution takes, so no app takes the last
//! one: neither of the process ([`job_shares`](passbook_core::job_shares)), nor of an institution with three or more.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;
use passbook_core::{
    ids::{AppId, LinkId},
    job_shares::RunningJobs,
    link::LinkState,
    product::{ProductRecord, ProductSet},
    schedule::Schedule,
    tenant::Tenant,
};
use passbook_store::port::{Changes, Guard, JobState, JobWork, LeasedJob, NewJob, StoreError};
use tokio_util::sync::CancellationToken;

use super::{Ended, pause};
use crate::services::{DECISIONS_MAX, Fault, Outcome, Services, access::later, changes_with_link};

/// Updates that run at once in one process, whichever their institutions. One app alone may hold half of them.
const AT_ONCE_MAX: u32 = 16;
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
    running: Mutex<Running>,
}

/// The updates that run.
struct Running {
    jobs: RunningJobs,
    /// Whose they are, and at which institution.
    places: Vec<(AppId, String)>,
}

/// Room for one update; given back when dropped.
struct Room<'a> {
    updates: &'a Updates,
    place: (AppId, String),
}

impl Updates {
    /// None run yet.
    #[must_use]
    pub fn new(schedule: Schedule, per_institution: usize) -> Self {
        let running = Running { jobs: RunningJobs::new(AT_ONCE_MAX), places: Vec::new() };
        Self { schedule, per_institution, running: Mutex::new(running) }
    }

    fn take_room(&self, app: &AppId, institution: &str) -> Option<Room<'_>> {
        let mut running = self.lock();
        let here = running.places.iter().filter(|place| place.1 == institution);
        let (of_all, of_app) = (here.clone().count(), here.filter(|place| place.0 == *app).count());
        let share = self.per_institution - usize::from(self.per_institution > 2);
        if of_all >= self.per_institution || of_app >= share || !running.jobs.has_room(app) {
            return None;
        }
        let place = (app.clone(), institution.to_owned());
        running.jobs.add(app);
        running.places.push(place.clone());
        Some(Room { updates: self, place })
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut running = self.updates.lock();
        running.jobs.remove(&self.place.0);
        if let Some(index) = running.places.iter().position(|place| *place == self.place) {
            running.places.swap_remove(index);
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
        let Some(_room) = updates.take_room(&job.tenant.app_id, &stored.link.institution.id) else {
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

    fn updates(per_institution: usize) -> Updates {
        Updates::new(Schedule::new(4).expect("a schedule"), per_institution)
    }

    fn app(number: u128) -> AppId {
        AppId::from_bits(number)
    }

    /// As many rooms of the app, each at another institution, as there are for it.
    fn fill(updates: &Updates, number: u128) -> Vec<Room<'_>> {
        (0..10).filter_map(|other| updates.take_room(&app(number), &format!("{number} {other}"))).collect()
    }

    #[test]
    fn an_institution_has_room_for_so_many_and_a_process_for_all_of_them() {
        let updates = updates(2);
        let (first, second) = (updates.take_room(&app(1), "a"), updates.take_room(&app(2), "a"));
        assert!(first.is_some() && second.is_some() && updates.take_room(&app(3), "a").is_none());
        drop(first);
        let again = updates.take_room(&app(3), "a");
        assert!(again.is_some());
        let others: Vec<_> = (4..10).flat_map(|number| fill(&updates, number)).collect();
        assert_eq!(others.len(), AT_ONCE_MAX as usize - 2);
        drop((second, again, others));
        let running = updates.lock();
        assert!(running.places.is_empty() && running.jobs.room_for_any() == AT_ONCE_MAX / 2);
    }

    #[test]
    fn an_app_leaves_room_to_others_in_the_process_and_at_an_institution() {
        let updates = updates(3);
        let of_one = fill(&updates, 1);
        assert_eq!(of_one.len(), AT_ONCE_MAX as usize / 2);
        assert!(!fill(&updates, 2).is_empty());
        drop(of_one);
        let here: Vec<_> = (0..3).filter_map(|_| updates.take_room(&app(1), "a")).collect();
        assert_eq!(here.len(), 2);
        assert!(updates.take_room(&app(2), "a").is_some(), "the last room is for another app");
    }

    #[test]
    fn an_institution_with_one_room_has_it_for_any_app() {
        let updates = updates(1);
        let room = updates.take_room(&app(1), "a");
        assert!(room.is_some() && updates.take_room(&app(2), "a").is_none());
        drop(room);
        assert!(updates.take_room(&app(2), "a").is_some());
    }
}
