//! Jobs: leases, fences, due times and clocks.

use std::sync::Arc;

use jiff::Timestamp;
use passbook_core::{
    ids::{JobId, LinkId},
    product::Product,
    tenant::{Environment, Tenant},
    time::AppClock,
};
use passbook_store::port::{
    App, Changes, ClockWrite, CommitError, FinishedJob, Guard, JobState, JobWork, LeaseRef, LeasedJob, NewJob, Store,
};

use crate::examples::*;

crate::on_every_store! {
    a_due_job_is_leased_once,
    a_job_comes_back_as_it_was_stored,
    the_oldest_due_jobs_go_first,
    jobs_of_one_link_never_run_together,
    a_finished_job_is_never_leased_again,
    an_expired_lease_is_taken_over_and_its_fence_is_stale,
    an_expired_lease_ends_when_another_job_of_its_link_is_leased,
    a_renewed_lease_lasts,
    a_released_job_is_due_again_later,
    a_held_lease_guards_a_commit,
    a_job_of_a_deleted_link_can_be_ended_as_failed,
    the_next_due_time_is_never_in_the_past_while_nothing_can_be_leased,
    a_job_needs_its_link,
    a_clock_change_moves_timed_jobs_of_the_sandbox,
    a_clock_change_needs_the_clock_it_was_decided_from,
    due_jobs_are_counted_per_app,
    jobs_of_excepted_applications_are_passed_over,
    jobs_of_a_disabled_application_wait_until_it_is_enabled,
    parallel_workers_never_share_a_link,
    connected_links_without_a_planned_update_are_found,
}

async fn add(store: &Arc<dyn Store>, jobs: Vec<NewJob>) {
    store.commit(Changes { jobs, ..Changes::default() }).await.unwrap();
}

async fn lease(store: &Arc<dyn Store>, now: i64, until: i64) -> Vec<LeasedJob> {
    store.lease_jobs("worker", second(now), second(until), 10, &[]).await.unwrap()
}

fn ids(jobs: &[LeasedJob]) -> Vec<JobId> {
    jobs.iter().map(|job| job.lease.job_id.clone()).collect()
}

fn job_ids(bits: &[u128]) -> Vec<JobId> {
    bits.iter().map(|bits| JobId::from_bits(*bits)).collect()
}

fn finished(lease: &LeaseRef, state: JobState) -> Changes {
    let job = FinishedJob { lease: lease.clone(), state, finished_at: second(50) };
    Changes { finished_job: Some(job), ..Changes::default() }
}

async fn a_due_job_is_leased_once(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    add(&store, vec![job(1, 1, second(10))]).await;
    assert!(lease(&store, 9, 100).await.is_empty());
    assert_eq!(ids(&lease(&store, 10, 100).await), job_ids(&[1]));
    assert!(lease(&store, 11, 100).await.is_empty());
}

async fn a_job_comes_back_as_it_was_stored(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    stored_link(&*store, 2).await;
    stored_link(&*store, 3).await;
    let products = [Product::Identity, Product::Transactions].into_iter().collect();
    let work =
        [JobWork::RefreshProducts { products }, JobWork::ExpireExchange, JobWork::FollowSchedule { failures: 3 }];
    let jobs = vec![
        NewJob { work: work[0].clone(), ..job(1, 1, second(0)) },
        NewJob { work: work[1].clone(), ..job(2, 2, second(1)) },
        NewJob { work: work[2].clone(), ..job(3, 3, second(2)) },
    ];
    add(&store, jobs).await;
    let leased = lease(&store, 5, 100).await;
    assert_eq!(leased.len(), 3);
    for (index, leased) in leased.iter().enumerate() {
        assert_eq!(leased.work, work[index]);
        assert_eq!(leased.tenant, tenant());
        assert_eq!(leased.link_id, LinkId::from_bits(index as u128 + 1));
        assert_eq!(store.lookup_job_state(&leased.lease.job_id).await.unwrap(), Some(JobState::Open));
    }
    assert_eq!(store.lookup_job_state(&JobId::from_bits(99)).await.unwrap(), None);
}

async fn the_oldest_due_jobs_go_first(store: Arc<dyn Store>) {
    for link in 1..=4 {
        stored_link(&*store, link).await;
    }
    add(&store, vec![job(1, 1, second(4)), job(2, 2, second(1)), job(3, 3, second(3)), job(4, 4, second(2))]).await;
    let first = store.lease_jobs("worker", second(10), second(100), 3, &[]).await.unwrap();
    assert_eq!(ids(&first), job_ids(&[2, 4, 3]));
    assert_eq!(ids(&lease(&store, 10, 100).await), job_ids(&[1]));
}

async fn jobs_of_one_link_never_run_together(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    stored_link(&*store, 2).await;
    add(&store, vec![job(1, 1, second(1)), job(2, 1, second(2)), job(3, 2, second(3))]).await;
    let leased = lease(&store, 10, 100).await;
    assert_eq!(ids(&leased), job_ids(&[1, 3]));
    assert!(lease(&store, 10, 100).await.is_empty());
    store.commit(finished(&leased[0].lease, JobState::Done)).await.unwrap();
    assert_eq!(ids(&lease(&store, 10, 100).await), job_ids(&[2]));
}

async fn a_finished_job_is_never_leased_again(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    stored_link(&*store, 2).await;
    add(&store, vec![job(1, 1, second(1)), job(2, 2, second(1))]).await;
    let leased = lease(&store, 10, 20).await;
    store.commit(finished(&leased[0].lease, JobState::Done)).await.unwrap();
    store.commit(finished(&leased[1].lease, JobState::Failed)).await.unwrap();
    assert!(lease(&store, 1000, 2000).await.is_empty());
    assert_eq!(store.lookup_job_state(&JobId::from_bits(1)).await.unwrap(), Some(JobState::Done));
    assert_eq!(store.lookup_job_state(&JobId::from_bits(2)).await.unwrap(), Some(JobState::Failed));
    let again = store.commit(finished(&leased[0].lease, JobState::Failed)).await;
    assert!(matches!(again, Err(CommitError::Conflict(Guard::Lease))));
    assert_eq!(store.next_due_at().await.unwrap(), None);
}

async fn an_expired_lease_is_taken_over_and_its_fence_is_stale(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    add(&store, vec![job(1, 1, second(1))]).await;
    let old = lease(&store, 10, 20).await.remove(0).lease;
    assert!(lease(&store, 19, 30).await.is_empty());
    let new = lease(&store, 20, 30).await.remove(0).lease;
    assert!(new.fence > old.fence);
    assert!(!store.renew_lease(&old, second(99)).await.unwrap());
    store.release_job(&old, second(0)).await.unwrap();
    let stale = store.commit(finished(&old, JobState::Done)).await;
    assert!(matches!(stale, Err(CommitError::Conflict(Guard::Lease))));
    assert_eq!(store.lookup_job_state(&new.job_id).await.unwrap(), Some(JobState::Open));
    store.commit(finished(&new, JobState::Done)).await.unwrap();
}

async fn an_expired_lease_ends_when_another_job_of_its_link_is_leased(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    add(&store, vec![job(1, 1, second(5))]).await;
    let old = lease(&store, 10, 20).await.remove(0).lease;
    add(&store, vec![job(2, 1, second(1))]).await;
    assert_eq!(ids(&lease(&store, 20, 40).await), job_ids(&[2]));
    assert!(!store.renew_lease(&old, second(99)).await.unwrap());
    let stale = store.commit(finished(&old, JobState::Done)).await;
    assert!(matches!(stale, Err(CommitError::Conflict(Guard::Lease))));
}

async fn a_renewed_lease_lasts(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    add(&store, vec![job(1, 1, second(1))]).await;
    let held = lease(&store, 10, 20).await.remove(0).lease;
    assert!(store.renew_lease(&held, second(60)).await.unwrap());
    assert!(lease(&store, 59, 100).await.is_empty());
    assert_eq!(store.next_due_at().await.unwrap(), Some(second(60)));
    assert_eq!(lease(&store, 60, 100).await.len(), 1);
}

async fn a_released_job_is_due_again_later(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    add(&store, vec![job(1, 1, second(1))]).await;
    let held = lease(&store, 10, 20).await.remove(0).lease;
    store.release_job(&held, second(30)).await.unwrap();
    assert_eq!(store.next_due_at().await.unwrap(), Some(second(30)));
    assert!(lease(&store, 29, 99).await.is_empty());
    let stale = store.commit(finished(&held, JobState::Done)).await;
    assert!(matches!(stale, Err(CommitError::Conflict(Guard::Lease))));
    assert_eq!(lease(&store, 30, 99).await.len(), 1);
}

async fn a_held_lease_guards_a_commit(store: Arc<dyn Store>) {
    let mut link = stored_link(&*store, 1).await;
    add(&store, vec![job(1, 1, second(1))]).await;
    let held = lease(&store, 10, 20).await.remove(0).lease;
    link.tags = vec!["begun".into()];
    let begin = |lease: &LeaseRef, version| Changes {
        held_lease: Some(lease.clone()),
        ..changes(replacement(link.clone(), version))
    };
    store.commit(begin(&held, 1)).await.unwrap();
    lease(&store, 20, 30).await;
    assert!(matches!(store.commit(begin(&held, 2)).await, Err(CommitError::Conflict(Guard::Lease))));
    assert_eq!(store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap().version, 2);
}

async fn a_job_of_a_deleted_link_can_be_ended_as_failed(store: Arc<dyn Store>) {
    let link = stored_link(&*store, 1).await;
    add(&store, vec![job(1, 1, second(1)), job(2, 1, second(2))]).await;
    let held = lease(&store, 10, 20).await.remove(0).lease;
    store.commit(changes(deletion(link.clone(), 1))).await.unwrap();
    // With what it fetched: refused as a whole, so the job stays under its lease.
    let late = Changes { link: Some(replacement(link, 1)), ..finished(&held, JobState::Done) };
    assert!(matches!(store.commit(late).await, Err(CommitError::Conflict(Guard::Link))));
    assert_eq!(store.lookup_job_state(&held.job_id).await.unwrap(), Some(JobState::Open));
    store.commit(finished(&held, JobState::Failed)).await.unwrap();
    // The waiting one reaches a worker too, and its end.
    let next = lease(&store, 30, 40).await.remove(0).lease;
    store.commit(finished(&next, JobState::Failed)).await.unwrap();
}

async fn the_next_due_time_is_never_in_the_past_while_nothing_can_be_leased(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    stored_link(&*store, 2).await;
    assert_eq!(store.next_due_at().await.unwrap(), None);
    add(&store, vec![job(1, 1, second(1)), job(2, 1, second(2))]).await;
    assert_eq!(store.next_due_at().await.unwrap(), Some(second(1)));
    lease(&store, 10, 50).await;
    // The second job is due but waits behind the first one's lease.
    assert_eq!(store.next_due_at().await.unwrap(), Some(second(50)));
    add(&store, vec![job(3, 2, second(30))]).await;
    assert_eq!(store.next_due_at().await.unwrap(), Some(second(30)));
    // Work that waits for a frozen clock has no time at all.
    stored_link(&*store, 3).await;
    let leased = lease(&store, 30, 40).await;
    store.commit(finished(&leased[0].lease, JobState::Done)).await.unwrap();
    add(&store, vec![job(4, 3, Timestamp::MAX)]).await;
    assert_eq!(store.next_due_at().await.unwrap(), Some(second(50)));
}

async fn a_job_needs_its_link(store: Arc<dyn Store>) {
    let orphan = Changes { jobs: vec![job(1, 1, second(1))], ..Changes::default() };
    assert!(matches!(store.commit(orphan).await, Err(CommitError::Conflict(Guard::Link))));
}

async fn a_clock_change_moves_timed_jobs_of_the_sandbox(store: Arc<dyn Store>) {
    for link in 1..=3 {
        stored_link(&*store, link).await;
    }
    store.commit(Changes { app: Some(app(1)), ..Changes::default() }).await.unwrap();
    let live = Tenant { environment: Environment::Live, ..tenant() };
    let jobs = vec![
        NewJob { app_due_at: Some(second(3600)), ..job(1, 1, second(3600)) },
        job(2, 2, second(7200)),
        NewJob { app_due_at: Some(second(3600)), tenant: live, ..job(3, 3, second(8000)) },
    ];
    add(&store, jobs).await;
    let set = |expected, clock| Changes {
        clock: Some(ClockWrite { app_id: app_id(1), expected, clock, now: second(0) }),
        ..Changes::default()
    };
    let running = AppClock::default();
    let ahead = AppClock::Running { offset_us: 1_800_000_000 };
    store.commit(set(running, ahead)).await.unwrap();
    assert_eq!(store.lookup_app(&app_id(1)).await.unwrap().unwrap().clock, ahead);
    assert_eq!(store.next_due_at().await.unwrap(), Some(second(1800)));
    // Frozen before it is due: never. The others keep their times.
    let frozen = AppClock::Frozen { at: second(3599) };
    store.commit(set(ahead, frozen)).await.unwrap();
    assert_eq!(store.next_due_at().await.unwrap(), Some(second(7200)));
    assert_eq!(store.count_due_jobs(&app_id(1), second(0)).await.unwrap(), 0);
    // Frozen at its time: due now.
    store.commit(set(frozen, AppClock::Frozen { at: second(3600) })).await.unwrap();
    assert_eq!(store.count_due_jobs(&app_id(1), second(0)).await.unwrap(), 1);
    assert_eq!(ids(&lease(&store, 0, 10).await), job_ids(&[1]));
}

async fn a_clock_change_needs_the_clock_it_was_decided_from(store: Arc<dyn Store>) {
    store.commit(Changes { app: Some(app(1)), ..Changes::default() }).await.unwrap();
    let ahead = |offset_us| AppClock::Running { offset_us };
    let set = |expected, clock| Changes {
        clock: Some(ClockWrite { app_id: app_id(1), expected, clock, now: second(0) }),
        ..Changes::default()
    };
    store.commit(set(ahead(0), ahead(5))).await.unwrap();
    assert!(matches!(store.commit(set(ahead(0), ahead(6))).await, Err(CommitError::Conflict(Guard::Clock))));
    // New settings of the app leave its clock alone.
    store.commit(Changes { app: Some(app(1)), ..Changes::default() }).await.unwrap();
    assert_eq!(store.lookup_app(&app_id(1)).await.unwrap().unwrap().clock, ahead(5));
}

async fn due_jobs_are_counted_per_app(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    let theirs = Tenant { app_id: app_id(2), ..tenant() };
    let jobs = vec![
        job(1, 1, second(1)),
        job(2, 1, second(2)),
        job(3, 1, second(99)),
        NewJob { tenant: theirs, ..job(4, 1, second(1)) },
    ];
    add(&store, jobs).await;
    assert_eq!(store.count_due_jobs(&app_id(1), second(10)).await.unwrap(), 2);
    // A running job is unfinished too.
    let leased = store.lease_jobs("worker", second(10), second(100), 1, &[]).await.unwrap();
    assert_eq!(store.count_due_jobs(&app_id(1), second(10)).await.unwrap(), 2);
    store.commit(finished(&leased[0].lease, JobState::Done)).await.unwrap();
    assert_eq!(store.count_due_jobs(&app_id(1), second(10)).await.unwrap(), 1);
    assert_eq!(store.count_due_jobs(&app_id(2), second(10)).await.unwrap(), 1);
}

async fn jobs_of_excepted_applications_are_passed_over(store: Arc<dyn Store>) {
    for link in 1..=6 {
        stored_link(&*store, link).await;
    }
    let of = |app: u128, job: NewJob| NewJob { tenant: Tenant { app_id: app_id(app), ..tenant() }, ..job };
    let jobs = vec![
        job(1, 1, second(1)),
        of(2, job(2, 2, second(5))),
        of(2, job(3, 2, second(6))),
        of(3, job(4, 3, second(4))),
        of(3, job(5, 4, second(99))),
        of(4, job(6, 5, second(3))),
        of(2, job(7, 6, second(7))),
    ];
    add(&store, jobs).await;
    let others = async |limit, except: &[u128]| {
        let except: Vec<_> = except.iter().map(|bits| app_id(*bits)).collect();
        store.lease_jobs("worker", second(10), second(100), limit, &except).await.unwrap()
    };
    assert!(others(10, &[1, 2, 3, 4]).await.is_empty());
    // The application whose job is due longest goes first.
    assert_eq!(ids(&others(1, &[1, 4]).await), job_ids(&[4]));
    // Of each link one, and nothing that is not due.
    let mut leased = ids(&others(10, &[1, 4]).await);
    leased.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    assert_eq!(leased, job_ids(&[2, 7]));
    assert_eq!(ids(&lease(&store, 10, 100).await), job_ids(&[1, 6]));
    assert!(others(10, &[4]).await.is_empty(), "the links of what is left have leased jobs");
}

async fn jobs_of_a_disabled_application_wait_until_it_is_enabled(store: Arc<dyn Store>) {
    for link in 1..=3 {
        stored_link(&*store, link).await;
    }
    let switch = async |disabled_at: Option<Timestamp>| {
        let one = App { disabled_at, ..app(1) };
        store.commit(Changes { app: Some(one), ..Changes::default() }).await.unwrap();
    };
    store.commit(Changes { app: Some(app(2)), ..Changes::default() }).await.unwrap();
    let theirs = Tenant { app_id: app_id(2), ..tenant() };
    let jobs = vec![job(1, 1, second(1)), job(2, 2, second(2)), NewJob { tenant: theirs, ..job(3, 3, second(5)) }];
    add(&store, jobs).await;
    let running = store.lease_jobs("worker", second(10), second(20), 1, &[]).await.unwrap().remove(0).lease;
    assert_eq!(running.job_id, JobId::from_bits(1));
    switch(Some(second(-2))).await;
    assert_eq!(store.next_due_at().await.unwrap(), Some(second(5)));
    assert_eq!(ids(&lease(&store, 10, 100).await), job_ids(&[3]));
    // Neither what waits nor what runs is worth a look.
    assert_eq!(store.next_due_at().await.unwrap(), Some(second(100)));
    assert!(lease(&store, 30, 100).await.is_empty(), "not even a job whose lease has ended");
    assert!(store.renew_lease(&running, second(40)).await.unwrap(), "what runs goes on");
    store.commit(finished(&running, JobState::Done)).await.unwrap();
    // One that will be disabled is not yet.
    for disabled_at in [Some(at("2999-01-01T00:00:00Z")), None] {
        switch(disabled_at).await;
        assert_eq!(store.next_due_at().await.unwrap(), Some(second(2)));
    }
    assert_eq!(ids(&lease(&store, 10, 100).await), job_ids(&[2]));
}

async fn parallel_workers_never_share_a_link(store: Arc<dyn Store>) {
    let mut jobs = Vec::new();
    for link in 0..20 {
        stored_link(&*store, link).await;
        jobs.extend([job(2 * link, link, second(1)), job(2 * link + 1, link, second(2))]);
    }
    add(&store, jobs).await;
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.lease_jobs(&format!("w{worker}"), second(10), second(99), 4, &[]).await })
        })
        .collect();
    let mut links = Vec::new();
    for worker in workers {
        links.extend(worker.await.unwrap().unwrap().into_iter().map(|job| job.link_id));
    }
    let leased = links.len();
    links.sort();
    links.dedup();
    assert_eq!((leased, links.len()), (20, 20));
}

async fn connected_links_without_a_planned_update_are_found(store: Arc<dyn Store>) {
    let unscheduled = async |after: Option<&LinkId>, limit| {
        let found = store.list_unscheduled_links(after, limit).await.unwrap();
        assert!(found.iter().all(|(owner, _)| *owner == tenant()));
        found.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    assert!(unscheduled(None, 10).await.is_empty());
    stored_link(&*store, 9).await;
    let mut ids = Vec::new();
    for bits in 1..=3 {
        let link = connected_link(bits);
        ids.push(link.id.clone());
        store.commit(changes(insertion(link))).await.unwrap();
    }
    ids.sort();
    assert_eq!(unscheduled(None, 10).await, ids);
    assert_eq!(unscheduled(None, 2).await, ids[..2]);
    assert_eq!(unscheduled(Some(&ids[1]), 10).await, ids[2..]);

    let planned = |bits, link: &LinkId, work| NewJob { link_id: link.clone(), work, ..job(bits, 1, second(0)) };
    let refresh = JobWork::RefreshProducts { products: [Product::Accounts].into_iter().collect() };
    let jobs = vec![planned(1, &ids[0], JobWork::FollowSchedule { failures: 0 }), planned(2, &ids[1], refresh)];
    store.commit(Changes { jobs, ..Changes::default() }).await.unwrap();
    assert_eq!(unscheduled(None, 10).await, ids[1..], "another job is no plan");
}
