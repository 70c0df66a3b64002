//! Idempotency keys: reserving, keeping, replaying, giving back.

use std::sync::Arc;

use jiff::SignedDuration;
use passbook_core::{ids::LinkId, secret::SecretBytes, tenant::Tenant};
use passbook_store::port::{AnswerKey, AnswerWrite, Changes, CommitError, Guard, Reservation, Store};

use crate::examples::*;

crate::on_every_store! {
    a_key_is_reserved_once,
    of_parallel_reservations_exactly_one_wins,
    a_kept_answer_is_given_again,
    another_request_under_the_same_key_is_told_so,
    a_reservation_that_ran_out_is_free_and_its_fence_is_stale,
    a_released_key_is_free,
    an_answer_is_kept_with_its_effect_or_not_at_all,
    an_answer_lives_until_its_end,
    an_answer_goes_with_the_key_of_its_link,
    keys_of_other_tenants_are_others,
    cleanup_takes_answers_whose_life_is_over,
}

const REQUEST: [u8; 32] = [1; 32];

fn key(tenant: Tenant) -> AnswerKey {
    AnswerKey { tenant, hash: "0a".repeat(32) }
}

async fn reserve(store: &Arc<dyn Store>, now: i64, until: i64) -> Reservation {
    store.reserve_answer(&key(tenant()), &REQUEST, second(now), second(until)).await.unwrap()
}

fn fence(reservation: &Reservation) -> u64 {
    let Reservation::Reserved { fence } = reservation else { panic!("{reservation:?}") };
    *fence
}

fn answer(fence: u64) -> AnswerWrite {
    let body = SecretBytes::new(br#"{"id":"mk_1"}"#.to_vec());
    AnswerWrite { key: key(tenant()), fence, status: 201, body, link_id: None, expires_at: second(86_400) }
}

fn keep(answer: AnswerWrite) -> Changes {
    Changes { answer: Some(answer), ..Changes::default() }
}

async fn a_key_is_reserved_once(store: Arc<dyn Store>) {
    fence(&reserve(&store, 0, 60).await);
    assert!(matches!(reserve(&store, 59, 120).await, Reservation::Running));
}

async fn of_parallel_reservations_exactly_one_wins(store: Arc<dyn Store>) {
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { reserve(&store, 0, 60).await })
        })
        .collect();
    let mut won = 0;
    for caller in callers {
        match caller.await.unwrap() {
            Reservation::Reserved { .. } => won += 1,
            other => assert!(matches!(other, Reservation::Running), "{other:?}"),
        }
    }
    assert_eq!(won, 1);
}

async fn a_kept_answer_is_given_again(store: Arc<dyn Store>) {
    let fence = fence(&reserve(&store, 0, 60).await);
    store.commit(keep(answer(fence))).await.unwrap();
    for now in [1, 61, 86_399] {
        let Reservation::Answered(kept) = reserve(&store, now, now + 60).await else { panic!("not answered") };
        assert_eq!((kept.status, kept.body.expose()), (201, &br#"{"id":"mk_1"}"#[..]));
    }
    // It is kept once.
    assert!(matches!(store.commit(keep(answer(fence))).await, Err(CommitError::Conflict(Guard::Answer))));
}

async fn another_request_under_the_same_key_is_told_so(store: Arc<dyn Store>) {
    let fence = fence(&reserve(&store, 0, 60).await);
    let key = key(tenant());
    let other = || store.reserve_answer(&key, &[2; 32], second(1), second(61));
    assert!(matches!(other().await.unwrap(), Reservation::OtherRequest));
    store.commit(keep(answer(fence))).await.unwrap();
    assert!(matches!(other().await.unwrap(), Reservation::OtherRequest));
}

async fn a_reservation_that_ran_out_is_free_and_its_fence_is_stale(store: Arc<dyn Store>) {
    let stale = fence(&reserve(&store, 0, 60).await);
    let newer = fence(&reserve(&store, 60, 120).await);
    assert_ne!(newer, stale);
    assert!(matches!(store.commit(keep(answer(stale))).await, Err(CommitError::Conflict(Guard::Answer))));
    store.release_answer(&key(tenant()), stale).await.unwrap();
    assert!(matches!(reserve(&store, 61, 120).await, Reservation::Running), "a stale release frees nothing");
    store.commit(keep(answer(newer))).await.unwrap();
}

async fn a_released_key_is_free(store: Arc<dyn Store>) {
    let first = fence(&reserve(&store, 0, 60).await);
    store.release_answer(&key(tenant()), first).await.unwrap();
    let again = fence(&reserve(&store, 1, 60).await);
    // The first holder has nothing in hand any more.
    assert!(matches!(store.commit(keep(answer(first))).await, Err(CommitError::Conflict(Guard::Answer))));
    store.commit(keep(answer(again))).await.unwrap();
    // What was answered is not given back.
    store.release_answer(&key(tenant()), again).await.unwrap();
    assert!(matches!(reserve(&store, 2, 60).await, Reservation::Answered(_)));
}

async fn an_answer_is_kept_with_its_effect_or_not_at_all(store: Arc<dyn Store>) {
    let fence = fence(&reserve(&store, 0, 60).await);
    let taken = stored_link(&*store, 1).await;
    let loses = Changes { answer: Some(answer(fence)), ..changes(insertion(taken)) };
    assert!(matches!(store.commit(loses).await, Err(CommitError::Conflict(Guard::Link))));
    assert!(matches!(reserve(&store, 1, 60).await, Reservation::Running));
    let late = Changes { answer: Some(answer(fence + 1)), ..changes(insertion(link(2))) };
    assert!(matches!(store.commit(late).await, Err(CommitError::Conflict(Guard::Answer))));
    assert!(store.lookup_link(&tenant(), &LinkId::from_bits(2)).await.unwrap().is_none());
    let both = Changes { answer: Some(answer(fence)), ..changes(insertion(link(2))) };
    store.commit(both).await.unwrap();
    assert!(store.lookup_link(&tenant(), &LinkId::from_bits(2)).await.unwrap().is_some());
    assert!(matches!(reserve(&store, 1, 60).await, Reservation::Answered(_)));
}

async fn an_answer_lives_until_its_end(store: Arc<dyn Store>) {
    let first = fence(&reserve(&store, 0, 60).await);
    store.commit(keep(AnswerWrite { expires_at: second(100), ..answer(first) })).await.unwrap();
    assert!(matches!(reserve(&store, 99, 160).await, Reservation::Answered(_)));
    assert_ne!(fence(&reserve(&store, 100, 160).await), first);
    // Any request may have it then.
    let other = store.reserve_answer(&key(tenant()), &[2; 32], second(160), second(200)).await.unwrap();
    assert!(matches!(other, Reservation::Reserved { .. }));
}

async fn an_answer_goes_with_the_key_of_its_link(store: Arc<dyn Store>) {
    let first = fence(&reserve(&store, 0, 60).await);
    let shown = AnswerWrite { link_id: Some(LinkId::from_bits(1)), ..answer(first) };
    store.commit(Changes { answer: Some(shown), ..changes(insertion(link(1))) }).await.unwrap();
    assert!(matches!(reserve(&store, 1, 60).await, Reservation::Answered(_)));
    store.commit(changes(deletion(link(1), 1))).await.unwrap();
    assert!(matches!(reserve(&store, 2, 60).await, Reservation::Reserved { .. }));
}

async fn keys_of_other_tenants_are_others(store: Arc<dyn Store>) {
    let own = fence(&reserve(&store, 0, 60).await);
    for stranger in strangers() {
        let theirs = store.reserve_answer(&key(stranger.clone()), &REQUEST, second(0), second(60)).await.unwrap();
        assert!(matches!(theirs, Reservation::Reserved { .. }));
        store.release_answer(&key(stranger), own).await.unwrap();
    }
    store.commit(keep(answer(own))).await.unwrap();
    for stranger in strangers() {
        let theirs = store.reserve_answer(&key(stranger), &REQUEST, second(1), second(60)).await.unwrap();
        assert!(matches!(theirs, Reservation::Running));
    }
}

async fn cleanup_takes_answers_whose_life_is_over(store: Arc<dyn Store>) {
    let now = store.now();
    let ends = [("0b", now + SignedDuration::from_hours(1)), ("0c", now - SignedDuration::from_secs(1))];
    for (digits, expires_at) in ends {
        let key = AnswerKey { tenant: tenant(), hash: digits.repeat(32) };
        let until = now + SignedDuration::from_secs(60);
        let fence = fence(&store.reserve_answer(&key, &REQUEST, now, until).await.unwrap());
        store.commit(keep(AnswerWrite { key, expires_at, ..answer(fence) })).await.unwrap();
    }
    // By the store's time, whatever else is cleaned up.
    assert_eq!(store.cleanup(second(0), 10).await.unwrap(), 1);
    assert_eq!(store.cleanup(second(0), 10).await.unwrap(), 0);
}
