//! Idempotency keys in the embedded store: what a restart frees, and what the files show of an answer.

use jiff::SignedDuration;
use passbook_core::secret::SecretBytes;
use passbook_store::{
    port::{AnswerKey, AnswerWrite, Changes, CommitError, Guard, Reservation, Store},
    sqlite::SqliteStore,
};

use crate::{Home, at_rest::assert_absent, examples::*};

const BODY: &[u8] = b"{\"exchangeable_token\":\"canary-token-4477\"}";

fn key() -> AnswerKey {
    AnswerKey { tenant: tenant(), hash: "ab".repeat(32) }
}

async fn reserve(store: &SqliteStore) -> Reservation {
    store.reserve_answer(&key(), &[7; 32], second(0), second(30)).await.expect("the store answers")
}

async fn reserved(store: &SqliteStore) -> u64 {
    match reserve(store).await {
        Reservation::Reserved { fence } => fence,
        other => panic!("not reserved: {other:?}"),
    }
}

fn answer(fence: u64) -> Changes {
    let expires_at = second(0) + SignedDuration::from_hours(24);
    let body = SecretBytes::new(BODY.to_vec());
    let answer = AnswerWrite { key: key(), fence, status: 201, body, link_id: None, expires_at };
    Changes { answer: Some(answer), ..Changes::default() }
}

#[tokio::test]
async fn a_restart_frees_reservations_and_keeps_answers() {
    let home = Home::new();
    let store = home.open();
    let cut_off = reserved(&store).await;
    assert!(matches!(reserve(&store).await, Reservation::Running));
    store.close().await;
    drop(store);

    let store = home.open();
    let fence = reserved(&store).await;
    assert!(matches!(store.commit(answer(cut_off)).await, Err(CommitError::Conflict(Guard::Answer))));
    store.commit(answer(fence)).await.unwrap();
    store.close().await;
    drop(store);

    let store = home.open();
    let Reservation::Answered(kept) = reserve(&store).await else { panic!("the answer is kept") };
    assert_eq!((kept.status, kept.body.expose()), (201, BODY));
    store.close().await;
}

#[tokio::test]
async fn a_lost_reservation_never_passes_for_one_made_after_the_key_was_given_back() {
    let home = Home::new();
    let store = home.open();
    let lost = reserved(&store).await;
    let taken_over = store.reserve_answer(&key(), &[7; 32], second(31), second(60)).await.unwrap();
    let Reservation::Reserved { fence } = taken_over else { panic!("the first one ran out") };
    store.release_answer(&key(), lost).await.unwrap();
    assert!(matches!(reserve(&store).await, Reservation::Running), "a stale holder gives nothing back");
    store.release_answer(&key(), fence).await.unwrap();
    let newest = reserved(&store).await;
    for stale in [lost, fence] {
        assert!(matches!(store.commit(answer(stale)).await, Err(CommitError::Conflict(Guard::Answer))));
    }
    store.commit(answer(newest)).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_kept_answer_is_sealed_and_does_not_outlive_its_day() {
    let home = Home::new();
    let store = home.open();
    let fence = reserved(&store).await;
    store.commit(answer(fence)).await.unwrap();
    assert_absent(&home, b"canary-token-4477");
    // Long past retention by what the caller says; the answer's own life, by the store's time, is not over.
    assert_eq!(store.cleanup(second(1_000_000_000), 10).await.unwrap(), 0);
    let over = second(1) + SignedDuration::from_hours(24);
    let again = store.reserve_answer(&key(), &[8; 32], over, over + SignedDuration::from_secs(30)).await.unwrap();
    assert!(matches!(again, Reservation::Reserved { .. }), "{again:?}");
    store.close().await;
}
