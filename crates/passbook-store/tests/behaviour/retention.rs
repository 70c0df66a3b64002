//! What ends with its retention, and what an app stores.

use std::sync::Arc;

use passbook_core::ids::TransactionId;
use passbook_store::port::{AppUsage, AuditEntry, Changes, Store, TransactionWrites};

use crate::examples::*;

crate::on_every_store! {
    audit_rows_end_with_their_own_retention,
    sessions_end_a_retention_after_they_were_first_seen,
    a_stub_goes_when_its_last_event_and_job_are_gone,
    usage_counts_every_row_once,
    rows_that_are_removed_give_back_what_they_took,
    a_commit_that_loses_its_guard_counts_nothing,
    a_sound_store_has_met_no_damage,
}

fn audit(at: i64) -> AuditEntry {
    AuditEntry { tenant: tenant(), actor: "client_1".into(), action: "get_link", link_id: None, at: second(at) }
}

async fn audit_rows_end_with_their_own_retention(store: Arc<dyn Store>) {
    let audit = vec![audit(1), audit(2), audit(3)];
    store.commit(Changes { audit, ..Changes::default() }).await.unwrap();
    assert_eq!(store.forget(second(1_000), second(1), 10).await.unwrap(), 0);
    assert_eq!(store.forget(second(1_000), second(3), 1).await.unwrap(), 1);
    assert_eq!(store.forget(second(1_000), second(3), 10).await.unwrap(), 1);
    assert_eq!(store.forget(second(1_000), second(3), 10).await.unwrap(), 0);
}

async fn sessions_end_a_retention_after_they_were_first_seen(store: Arc<dyn Store>) {
    let open = session(1);
    store.commit(Changes { session: Some(session_write(open.clone(), None)), ..Changes::default() }).await.unwrap();
    let seen_at = store.now();
    assert_eq!(store.forget(second(0), second(0), 10).await.unwrap(), 1, "it is seen");
    assert_eq!(store.forget(seen_at, second(0), 10).await.unwrap(), 0);
    assert!(store.lookup_session(&open.id).await.unwrap().is_some());
    let later = store.now() + jiff::SignedDuration::from_secs(1);
    assert_eq!(store.forget(later, second(0), 10).await.unwrap(), 1);
    assert!(store.lookup_session(&open.id).await.unwrap().is_none());
}

async fn a_stub_goes_when_its_last_event_and_job_are_gone(store: Arc<dyn Store>) {
    let (kept, gone) = (stored_link(&*store, 1).await, stored_link(&*store, 2).await);
    store.commit(changes(deletion(kept.clone(), 1))).await.unwrap();
    store.commit(changes(deletion(gone.clone(), 1))).await.unwrap();
    let alive = stored_link(&*store, 3).await;
    store.commit(Changes { jobs: vec![job(1, 1, second(1))], ..Changes::default() }).await.unwrap();
    assert_eq!(store.forget(second(0), second(0), 10).await.unwrap(), 1);
    let is_there = async |id| store.lookup_link(&tenant(), id).await.unwrap().is_some();
    assert!(is_there(&kept.id).await, "a job still names it");
    assert!(!is_there(&gone.id).await);
    assert!(is_there(&alive.id).await);
}

async fn usage(store: &Arc<dyn Store>) -> AppUsage {
    store.app_usage(&tenant().app_id).await.unwrap()
}

async fn usage_counts_every_row_once(store: Arc<dyn Store>) {
    assert_eq!(usage(&store).await, AppUsage::default());
    for bits in 1..=3 {
        stored_link(&*store, bits).await;
    }
    assert_eq!(usage(&store).await.rows, 3);
    let rows = |from: u128, to: u128| (from..to).map(|bits| transaction(bits, "2024-05-01")).collect::<Vec<_>>();
    let write = |created| Some(TransactionWrites { created, ..TransactionWrites::default() });
    let insert = Changes { transactions: write(rows(1, 11)), ..changes(replacement(link(1), 1)) };
    store.commit(insert).await.unwrap();
    let before = usage(&store).await;
    assert_eq!(before.rows, 13);
    assert!(before.bytes > 3 * 4_096 + 10 * 600, "{before:?}");
    let update = TransactionWrites { updated: rows(1, 3), ..TransactionWrites::default() };
    store.commit(Changes { transactions: Some(update), ..changes(replacement(link(1), 2)) }).await.unwrap();
    assert_eq!(usage(&store).await, before, "a changed row is still one");
    let other = strangers()[0].clone();
    assert_eq!(
        store.app_usage(&other.app_id).await.unwrap().rows,
        if other.app_id == tenant().app_id { 13 } else { 0 }
    );
}

async fn rows_that_are_removed_give_back_what_they_took(store: Arc<dyn Store>) {
    for bits in 1..=2 {
        stored_link(&*store, bits).await;
    }
    let one_link = usage(&store).await.bytes / 2;
    let created = (1..=10).map(|bits| transaction(bits, "2024-05-01")).collect();
    let write = TransactionWrites { created, ..TransactionWrites::default() };
    store.commit(Changes { transactions: Some(write), ..changes(replacement(link(1), 1)) }).await.unwrap();
    let full = usage(&store).await;
    let removed = (1..=4).map(TransactionId::from_bits).collect();
    let write = TransactionWrites { removed, ..TransactionWrites::default() };
    store.commit(Changes { transactions: Some(write), ..changes(replacement(link(1), 2)) }).await.unwrap();
    let less = usage(&store).await;
    assert_eq!(less.rows, full.rows - 4);
    assert!(less.bytes < full.bytes);
    store.commit(changes(deletion(link(1), 3))).await.unwrap();
    assert_eq!(usage(&store).await, AppUsage { rows: 1, bytes: one_link }, "what is left of the other link");
}

async fn a_commit_that_loses_its_guard_counts_nothing(store: Arc<dyn Store>) {
    stored_link(&*store, 1).await;
    let before = usage(&store).await;
    let write = TransactionWrites { created: vec![transaction(1, "2024-05-01")], ..TransactionWrites::default() };
    let stale = Changes { transactions: Some(write), ..changes(replacement(link(1), 7)) };
    assert!(store.commit(stale).await.is_err());
    assert!(store.commit(changes(insertion(link(1)))).await.is_err());
    assert_eq!(usage(&store).await, before);
}

async fn a_sound_store_has_met_no_damage(store: Arc<dyn Store>) {
    let link = stored_link(&*store, 1).await;
    store.lookup_link(&tenant(), &link.id).await.unwrap();
    assert_eq!(store.met_damage(), None);
}
