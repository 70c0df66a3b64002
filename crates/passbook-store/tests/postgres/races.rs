//! Several processes on one database, and transactions that the database makes give way.

use std::{sync::Arc, time::Duration};

use passbook_store::port::{Changes, CommitError, FinishedJob, Guard, JobState, SessionWrite, Store as _};
use tokio_postgres::Client;

use crate::{Home, examples::*};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_never_lease_one_link_twice() {
    let Some(home) = Home::create().await else { return };
    let stores = [Arc::new(home.open().await), Arc::new(home.open().await)];
    let mut jobs = Vec::new();
    for link in 0..20 {
        stored_link(&*stores[0], link).await;
        jobs.extend([job(2 * link, link, second(1)), job(2 * link + 1, link, second(2))]);
    }
    stores[0].commit(Changes { jobs, ..Changes::default() }).await.unwrap();
    let workers: Vec<_> = (0..10)
        .map(|worker| {
            let store = Arc::clone(&stores[worker % 2]);
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
    for store in stores {
        store.close().await;
    }
    home.database.remove().await;
}

#[tokio::test]
async fn the_holder_of_a_lease_that_was_taken_over_writes_nothing() {
    let Some(home) = Home::create().await else { return };
    let (stopped, other) = (home.open().await, home.open().await);
    let mut link = stored_link(&stopped, 1).await;
    stopped.commit(Changes { jobs: vec![job(1, 1, second(1))], ..Changes::default() }).await.unwrap();
    let stale = stopped.lease_jobs("stopped", second(2), second(10), 1, &[]).await.unwrap().remove(0).lease;
    let held = other.lease_jobs("other", second(10), second(20), 1, &[]).await.unwrap().remove(0).lease;
    link.tags = vec!["late".into()];
    let job = FinishedJob { lease: stale, state: JobState::Done, finished_at: second(11) };
    let late = Changes { finished_job: Some(job), ..changes(replacement(link.clone(), 1)) };
    assert!(matches!(stopped.commit(late).await, Err(CommitError::Conflict(Guard::Lease))));
    assert_eq!(other.lookup_link(&tenant(), &link.id).await.unwrap().unwrap().version, 1);
    let job = FinishedJob { lease: held, state: JobState::Done, finished_at: second(12) };
    other.commit(Changes { finished_job: Some(job), ..changes(replacement(link, 1)) }).await.unwrap();
    stopped.close().await;
    other.close().await;
    home.database.remove().await;
}

/// Waits until somebody waits for a lock in this database.
async fn until_somebody_waits(raw: &Client) {
    let waiting =
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let wait = async {
        while raw.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the commit waits for the other transaction");
}

#[tokio::test]
async fn a_commit_that_was_the_victim_of_a_deadlock_is_done_again() {
    let Some(home) = Home::create().await else { return };
    let store = Arc::new(home.open().await);
    let link = stored_link(&*store, 1).await;
    store.commit(Changes { session: Some(session_write(session(1), None)), ..Changes::default() }).await.unwrap();
    let (raw, watching) = (home.raw().await, home.raw().await);
    // The other transaction is patient, so the store's is the one to give way.
    raw.batch_execute("SET deadlock_timeout = '60s'; BEGIN; UPDATE links SET version = version").await.unwrap();
    let write = SessionWrite { wipe_request: true, ..session_write(session(1), Some(1)) };
    let commit = Changes { session: Some(write), ..changes(replacement(link.clone(), 1)) };
    let committing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit(commit).await }
    });
    until_somebody_waits(&watching).await;
    raw.batch_execute("UPDATE link_sessions SET version = version; COMMIT").await.unwrap();
    committing.await.unwrap().unwrap();
    assert_eq!(store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap().version, 2);
    assert_eq!(store.lookup_session(&session(1).id).await.unwrap().unwrap().version, 2);
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let seen = async {
        while watching.query_one(deadlocks, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("there was a deadlock");
    store.close().await;
    home.database.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn failures_to_serialise_are_hidden_and_guards_still_decide() {
    let Some(home) = Home::create().await else { return };
    let raw = home.raw().await;
    let strict = format!("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'", home.database.name);
    raw.batch_execute(&strict).await.unwrap();
    let store = Arc::new(home.open().await);
    let link = stored_link(&*store, 1).await;
    let writers: Vec<_> = (0..8)
        .map(|number| {
            let (store, mut link) = (Arc::clone(&store), link.clone());
            link.tags = vec![format!("writer {number}")];
            tokio::spawn(async move { store.commit(changes(replacement(link, 1))).await })
        })
        .collect();
    let takers: Vec<_> = (0..5)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.take_ordinal(&app_id(1), "session").await.unwrap() })
        })
        .collect();
    let mut won = 0;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(()) => won += 1,
            Err(error) => assert!(matches!(error, CommitError::Conflict(Guard::Link)), "{error:?}"),
        }
    }
    assert_eq!(won, 1);
    let mut taken = Vec::new();
    for taker in takers {
        taken.push(taker.await.unwrap());
    }
    taken.sort_unstable();
    assert_eq!(taken, [1, 2, 3, 4, 5]);
    store.close().await;
    home.database.remove().await;
}
