//! Link sessions and their single-use tokens.

use std::sync::Arc;

use passbook_core::{
    ids::LinkId,
    secret::SecretBytes,
    session::{LinkSession, SessionProgress},
};
use passbook_store::port::{Changes, CommitError, Guard, SessionWrite, Store};

use crate::examples::*;

crate::on_every_store! {
    a_session_comes_back_as_it_was_stored,
    a_wiped_request_is_gone,
    requests_of_ended_sessions_are_wiped_per_tenant,
    a_token_is_found_by_its_hash_within_its_tenant,
    of_parallel_spends_exactly_one_wins,
    a_token_is_not_spent_twice_by_a_reloaded_session,
    an_open_session_has_no_token_to_spend,
    a_stale_session_changes_nothing,
    two_sessions_cannot_share_a_token,
}

fn write(write: SessionWrite) -> Changes {
    Changes { session: Some(write), ..Changes::default() }
}

fn succeeded(bits: u128, hash: u8) -> LinkSession {
    LinkSession {
        link_id: Some(LinkId::from_bits(bits)),
        progress: SessionProgress::Succeeded { exchange_hash: [hash; 32], exchange_expires_at: second(1800) },
        ..session(bits)
    }
}

fn spend(session: LinkSession, version: u64) -> Changes {
    let session = LinkSession { progress: SessionProgress::Exchanged, ..session };
    write(SessionWrite { spends_token: true, ..session_write(session, Some(version)) })
}

async fn a_session_comes_back_as_it_was_stored(store: Arc<dyn Store>) {
    let request = Some(SecretBytes::new(br#"{"customer_user_id":"u"}"#.to_vec()));
    store.commit(write(SessionWrite { request, ..session_write(session(1), None) })).await.unwrap();
    let stored = store.lookup_session(&session(1).id).await.unwrap().unwrap();
    assert_eq!((stored.session, stored.version), (session(1), 1));
    assert_eq!(stored.request.unwrap().expose(), br#"{"customer_user_id":"u"}"#);
    // Moving on keeps the request.
    store.commit(write(session_write(succeeded(1, 9), Some(1)))).await.unwrap();
    let stored = store.lookup_session(&session(1).id).await.unwrap().unwrap();
    assert_eq!((stored.session, stored.version), (succeeded(1, 9), 2));
    assert!(stored.request.is_some());
    assert!(store.lookup_session(&session(2).id).await.unwrap().is_none());
}

async fn requests_of_ended_sessions_are_wiped_per_tenant(store: Arc<dyn Store>) {
    for bits in 1..=2 {
        let request = Some(SecretBytes::new(b"{}".to_vec()));
        store.commit(write(SessionWrite { request, ..session_write(session(bits), None) })).await.unwrap();
    }
    let (end, tenant) = (session(1).expires_at, session(1).tenant);
    let before = end - jiff::SignedDuration::from_secs(1);
    assert_eq!(store.wipe_expired_sessions(&tenant, before, 10).await.unwrap(), 0);
    let live =
        passbook_core::tenant::Tenant { environment: passbook_core::tenant::Environment::Live, ..tenant.clone() };
    assert_eq!(store.wipe_expired_sessions(&live, end, 10).await.unwrap(), 0);
    assert_eq!(store.wipe_expired_sessions(&tenant, end, 1).await.unwrap(), 1, "at most so many");
    assert_eq!(store.wipe_expired_sessions(&tenant, end, 10).await.unwrap(), 1);
    for bits in 1..=2 {
        assert!(store.lookup_session(&session(bits).id).await.unwrap().unwrap().request.is_none());
    }
}

async fn a_wiped_request_is_gone(store: Arc<dyn Store>) {
    let request = Some(SecretBytes::new(b"{}".to_vec()));
    store.commit(write(SessionWrite { request, ..session_write(session(1), None) })).await.unwrap();
    let wipe = SessionWrite { wipe_request: true, ..session_write(succeeded(1, 9), Some(1)) };
    store.commit(write(wipe)).await.unwrap();
    assert!(store.lookup_session(&session(1).id).await.unwrap().unwrap().request.is_none());
}

async fn a_token_is_found_by_its_hash_within_its_tenant(store: Arc<dyn Store>) {
    store.commit(write(session_write(succeeded(1, 9), None))).await.unwrap();
    let found = store.find_session_by_exchange_hash(&tenant(), &[9; 32]).await.unwrap().unwrap();
    assert_eq!(found.session, succeeded(1, 9));
    assert!(store.find_session_by_exchange_hash(&tenant(), &[8; 32]).await.unwrap().is_none());
    for stranger in strangers() {
        assert!(store.find_session_by_exchange_hash(&stranger, &[9; 32]).await.unwrap().is_none());
    }
    store.commit(spend(succeeded(1, 9), 1)).await.unwrap();
    assert!(store.find_session_by_exchange_hash(&tenant(), &[9; 32]).await.unwrap().is_none());
}

async fn of_parallel_spends_exactly_one_wins(store: Arc<dyn Store>) {
    store.commit(write(session_write(succeeded(1, 9), None))).await.unwrap();
    let spenders: Vec<_> = (0..16)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                // As the service does: find, decide, commit.
                match store.find_session_by_exchange_hash(&tenant(), &[9; 32]).await.unwrap() {
                    Some(found) => store.commit(spend(found.session, found.version)).await,
                    None => Err(CommitError::Conflict(Guard::Session)),
                }
            })
        })
        .collect();
    let mut won = 0;
    for spender in spenders {
        match spender.await.unwrap() {
            Ok(()) => won += 1,
            Err(error) => assert!(matches!(error, CommitError::Conflict(Guard::Session)), "{error}"),
        }
    }
    assert_eq!(won, 1);
    let stored = store.lookup_session(&session(1).id).await.unwrap().unwrap();
    assert_eq!((stored.session.progress, stored.version), (SessionProgress::Exchanged, 2));
}

async fn a_token_is_not_spent_twice_by_a_reloaded_session(store: Arc<dyn Store>) {
    store.commit(write(session_write(succeeded(1, 9), None))).await.unwrap();
    store.commit(spend(succeeded(1, 9), 1)).await.unwrap();
    let again = store.commit(spend(succeeded(1, 9), 2)).await;
    assert!(matches!(again, Err(CommitError::Conflict(Guard::Session))));
}

async fn an_open_session_has_no_token_to_spend(store: Arc<dyn Store>) {
    let at_once = spend(session(2), 1);
    assert!(matches!(store.commit(at_once).await, Err(CommitError::Conflict(Guard::Session))));
    store.commit(write(session_write(session(1), None))).await.unwrap();
    assert!(matches!(store.commit(spend(session(1), 1)).await, Err(CommitError::Conflict(Guard::Session))));
}

async fn a_stale_session_changes_nothing(store: Arc<dyn Store>) {
    store.commit(write(session_write(session(1), None))).await.unwrap();
    let twice = store.commit(write(session_write(session(1), None))).await;
    assert!(matches!(twice, Err(CommitError::Conflict(Guard::Session))));
    for stranger in strangers() {
        let stolen = LinkSession { tenant: stranger, ..succeeded(1, 9) };
        let result = store.commit(write(session_write(stolen, Some(1)))).await;
        assert!(matches!(result, Err(CommitError::Conflict(Guard::Session))));
    }
    let stale = store.commit(write(session_write(succeeded(1, 9), Some(2)))).await;
    assert!(matches!(stale, Err(CommitError::Conflict(Guard::Session))));
    assert_eq!(store.lookup_session(&session(1).id).await.unwrap().unwrap().session, session(1));
}

async fn two_sessions_cannot_share_a_token(store: Arc<dyn Store>) {
    store.commit(write(session_write(succeeded(1, 9), None))).await.unwrap();
    let twin = store.commit(write(session_write(succeeded(2, 9), None))).await;
    assert!(matches!(twin, Err(CommitError::Conflict(Guard::Session))));
}
