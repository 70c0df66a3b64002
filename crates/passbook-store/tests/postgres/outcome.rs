//! Connections that die: what was answered is what is stored.

use jiff::Timestamp;
use passbook_core::ids::LinkId;
use passbook_store::{
    port::{AnswerKey, CommitError, Reservation, Store as _, StoreError},
    postgres::PostgresStore,
};

use crate::{
    Home,
    examples::*,
    proxy::{NextCommit, Proxy},
};

/// A store whose connections go through a proxy.
async fn behind_a_proxy(home: &Home) -> (PostgresStore, Proxy) {
    let url = home.database.url();
    let (before, after) = url.split_once('@').unwrap();
    let (server, name) = after.split_once('/').unwrap();
    let proxy = Proxy::start(server.parse().unwrap()).await;
    let url = format!("{before}@{}/{name}", proxy.address);
    let keys = vec![home.database.key.clone()];
    (home.database.open_with(&url, &home.ledger(), keys).await.unwrap(), proxy)
}

async fn is_stored(store: &PostgresStore, bits: u128) -> bool {
    store.lookup_link(&tenant(), &LinkId::from_bits(bits)).await.unwrap().is_some()
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_found_committed() {
    let Some(home) = Home::create().await else { return };
    let (store, proxy) = behind_a_proxy(&home).await;
    for bits in 1..=5 {
        proxy.at_next_commit(NextCommit::AnswerIsLost);
        store.commit(changes(insertion(link(bits)))).await.unwrap();
        assert!(proxy.has_cut());
        assert!(is_stored(&store, bits).await);
    }
    store.close().await;
    home.database.remove().await;
}

#[tokio::test]
async fn a_commit_that_never_arrived_changes_nothing_for_ever() {
    let Some(home) = Home::create().await else { return };
    let (store, proxy) = behind_a_proxy(&home).await;
    for bits in 1..=5 {
        proxy.at_next_commit(NextCommit::IsLost);
        let refused = store.commit(changes(insertion(link(bits)))).await;
        assert!(matches!(refused, Err(CommitError::Store(StoreError::Unavailable(_)))), "{refused:?}");
        assert!(proxy.has_cut());
        assert!(!is_stored(&store, bits).await);
        // The same again goes through.
        store.commit(changes(insertion(link(bits)))).await.unwrap();
    }
    let raw = home.raw().await;
    let fenced: i64 =
        raw.query_one("SELECT COUNT(*) FROM commit_marks WHERE outcome = 'fenced'", &[]).await.unwrap().get(0);
    assert_eq!(fenced, 5);
    store.close().await;
    home.database.remove().await;
}

#[tokio::test]
async fn leases_ordinals_and_reservations_are_not_lost_with_the_answer() {
    let Some(home) = Home::create().await else { return };
    let (store, proxy) = behind_a_proxy(&home).await;
    stored_link(&store, 1).await;
    let add = passbook_store::port::Changes { jobs: vec![job(1, 1, second(1))], ..Default::default() };
    store.commit(add).await.unwrap();
    proxy.at_next_commit(NextCommit::AnswerIsLost);
    assert_eq!(store.lease_jobs("worker", second(2), second(9), 5, &[]).await.unwrap().len(), 1);
    proxy.at_next_commit(NextCommit::AnswerIsLost);
    assert_eq!(store.take_ordinal(&app_id(1), "session").await.unwrap(), 1);
    assert_eq!(store.take_ordinal(&app_id(1), "session").await.unwrap(), 2);
    let key = AnswerKey { tenant: tenant(), hash: "00".repeat(32) };
    proxy.at_next_commit(NextCommit::AnswerIsLost);
    let reserved = store.reserve_answer(&key, &[1; 32], second(0), second(60)).await.unwrap();
    assert!(matches!(reserved, Reservation::Reserved { .. }));
    store.close().await;
    home.database.remove().await;
}

#[tokio::test]
async fn broken_connections_are_made_again_without_anybody_noticing() {
    let Some(home) = Home::create().await else { return };
    let store = home.open().await;
    stored_link(&store, 1).await;
    let raw = home.raw().await;
    for bits in 2..=4 {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        raw.batch_execute(end).await.unwrap();
        assert!(is_stored(&store, 1).await);
        store.commit(changes(insertion(link(bits)))).await.unwrap();
        assert_eq!(store.list_links(&tenant(), None, 10).await.unwrap().len(), 0);
        assert!(is_stored(&store, bits).await);
    }
    store.close().await;
    home.database.remove().await;
}

#[tokio::test]
async fn old_marks_are_cleaned_up_and_new_ones_stay() {
    let Some(home) = Home::create().await else { return };
    let store = home.open().await;
    stored_link(&store, 1).await;
    let raw = home.raw().await;
    raw.batch_execute("INSERT INTO commit_marks (mark, outcome, at) VALUES ('old', 'committed', 0)").await.unwrap();
    assert_eq!(store.cleanup(Timestamp::MIN, 100).await.unwrap(), 0, "a mark is nothing that anybody stored");
    let marks = raw.query("SELECT mark FROM commit_marks", &[]).await.unwrap();
    assert!(!marks.is_empty(), "those of this hour stay");
    assert!(marks.iter().all(|mark| mark.get::<_, &[u8]>(0) != b"old"));
    store.close().await;
    home.database.remove().await;
}
