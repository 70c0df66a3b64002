//! Deletions outlive a restored backup, and processes share their ledger.

use passbook_core::link::LinkState;
use passbook_store::port::{Changes, Store as _, TransactionWrites};

use crate::{Home, examples::*};

#[tokio::test]
async fn a_restored_backup_does_not_bring_a_deleted_link_back() {
    let Some(home) = Home::create().await else { return };
    let store = home.open().await;
    let transactions = TransactionWrites { created: vec![transaction(1, "2024-05-01")], ..Default::default() };
    let write = insertion_with_secrets(connected_link(1));
    store.commit(Changes { transactions: Some(transactions), ..changes(write) }).await.unwrap();
    store.commit(changes(insertion_with_secrets(connected_link(2)))).await.unwrap();
    let raw = home.raw().await;
    raw.batch_execute("CREATE TABLE backup AS SELECT * FROM links").await.unwrap();
    let stored = store.lookup_link(&tenant(), &link(1).id).await.unwrap().unwrap();
    store.commit(changes(deletion(stored.link, stored.version))).await.unwrap();
    let ledger = std::fs::read_to_string(home.ledger()).unwrap();
    assert_eq!(ledger, format!("2024-05-01T00:01:40.000001Z {}\n", link(1).id));
    store.close().await;
    raw.batch_execute("DELETE FROM events; DELETE FROM links; INSERT INTO links SELECT * FROM backup").await.unwrap();

    let store = home.open().await;
    let answer = store.lookup_numbers_answer(&tenant(), &link(1).id).await.unwrap().unwrap();
    assert_eq!((answer.link.state, answer.link.deleted_at), (LinkState::Deleted, Some(second(100))));
    assert_eq!(answer.accounts.expose(), b"");
    assert_eq!(answer.link.link_view, format!("stub of {} in state deleted", link(1).id).into_bytes());
    assert!(store.lookup_secrets(&tenant(), &link(1).id).await.unwrap().is_none());
    let other = store.lookup_numbers_answer(&tenant(), &link(2).id).await.unwrap().unwrap();
    assert_eq!(other.accounts.expose(), NUMBERS_VIEW);
    assert_eq!(std::fs::read_to_string(home.ledger()).unwrap(), ledger, "replaying adds nothing");
    store.close().await;
    home.database.remove().await;
}

#[tokio::test]
async fn processes_share_a_ledger_and_a_lost_one_is_made_again() {
    let Some(home) = Home::create().await else { return };
    let stores = [home.open().await, home.open().await];
    for bits in 1..=4 {
        let store = &stores[bits as usize % 2];
        let link = stored_link(store, bits).await;
        store.commit(changes(deletion(link, 1))).await.unwrap();
    }
    let lines = || std::fs::read_to_string(home.ledger()).unwrap().lines().count();
    assert_eq!(lines(), 4);
    for store in stores {
        store.close().await;
    }
    std::fs::remove_file(home.ledger()).unwrap();
    home.open().await.close().await;
    assert_eq!(lines(), 4);
    home.database.remove().await;
}
