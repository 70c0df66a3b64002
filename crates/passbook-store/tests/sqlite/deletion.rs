//! Deletions outlive a restored backup.

use passbook_core::{event::EventKind, link::LinkState};
use passbook_store::{
    port::{Changes, CommitError, Guard, ImportKey, LinkWrite, Store as _, TransactionWrites},
    sqlite::{LedgerError, OpenError},
};

use crate::{Home, examples::*};

/// A home whose backup, taken before link 1 was deleted, has been put back.
async fn restored() -> Home {
    let home = Home::new();
    let store = home.open();
    let transactions = TransactionWrites { created: vec![transaction(1, "2024-05-01")], ..Default::default() };
    let write = LinkWrite { import_key: ImportKey::Set("file".into()), ..insertion_with_secrets(connected_link(1)) };
    store.commit(Changes { transactions: Some(transactions), ..changes(write) }).await.unwrap();
    store.commit(changes(insertion_with_secrets(connected_link(2)))).await.unwrap();
    store.close().await;
    drop(store);
    std::fs::copy(home.database(), home.path("backup")).unwrap();

    let store = home.open();
    let stored = store.lookup_link(&tenant(), &link(1).id).await.unwrap().unwrap();
    store.commit(changes(deletion(stored.link, stored.version))).await.unwrap();
    store.close().await;
    drop(store);
    std::fs::copy(home.path("backup"), home.database()).unwrap();
    home
}

#[tokio::test]
async fn a_restored_backup_does_not_bring_a_deleted_link_back() {
    let home = restored().await;
    let wrapped: Option<Vec<u8>> = home
        .raw()
        .query_row("SELECT wrapped_key FROM links WHERE state <> 'deleted' LIMIT 1", [], |row| row.get(0))
        .unwrap();
    assert!(wrapped.is_some(), "the backup holds the key");

    let store = home.open();
    let id = link(1).id;
    let answer = store.lookup_numbers_answer(&tenant(), &id).await.unwrap().unwrap();
    assert_eq!((answer.link.state, answer.link.deleted_at), (LinkState::Deleted, Some(second(100))));
    assert_eq!(answer.accounts.expose(), b"");
    assert_eq!(answer.link.renderer, 7);
    assert_eq!(answer.link.link_view, format!("stub of {id} in state deleted").into_bytes());
    assert!(store.lookup_secrets(&tenant(), &id).await.unwrap().is_none());
    assert!(store.load_transactions(&tenant(), &id, None).await.unwrap().is_empty());
    assert!(store.find_link_by_import_key(&tenant(), "file").await.unwrap().is_none());
    assert_eq!(store.list_links(&tenant(), None, 10).await.unwrap().len(), 1);
    // The other link is untouched.
    let other = store.lookup_numbers_answer(&tenant(), &link(2).id).await.unwrap().unwrap();
    assert_eq!(other.accounts.expose(), NUMBERS_VIEW);

    let raw = home.raw();
    let keys: i64 =
        raw.query_row("SELECT COUNT(*) FROM links WHERE wrapped_key IS NOT NULL", [], |row| row.get(0)).unwrap();
    assert_eq!(keys, 1);
    let body: String =
        raw.query_row("SELECT body FROM events WHERE link_id = ?1", [id.as_str()], |row| row.get(0)).unwrap();
    let event: passbook_core::event::Event = serde_json::from_str(&body).unwrap();
    assert_eq!(event.kind, EventKind::LinkStateChanged { state: LinkState::Deleted, error: None });
}

#[tokio::test]
async fn the_destroyed_key_is_in_no_file_after_a_replay() {
    let home = restored().await;
    let id = link(1).id;
    let wrapped: Vec<u8> = home
        .raw()
        .query_row("SELECT wrapped_key FROM links WHERE link_id = ?1", [id.as_str()], |row| row.get(0))
        .unwrap();
    std::fs::remove_file(home.path("backup")).unwrap();
    home.open().close().await;
    crate::at_rest::assert_absent(&home, &wrapped);
}

#[tokio::test]
async fn replaying_twice_changes_nothing_more() {
    let home = restored().await;
    home.open().close().await;
    let ledger = std::fs::read_to_string(home.path("deletions.ledger")).unwrap();
    assert_eq!(ledger, format!("2024-05-01T00:01:40.000001Z {}\n", link(1).id));
    let store = home.open();
    assert_eq!(store.lookup_link(&tenant(), &link(1).id).await.unwrap().unwrap().version, 2);
    store.close().await;
    assert_eq!(std::fs::read_to_string(home.path("deletions.ledger")).unwrap(), ledger);
}

#[tokio::test]
async fn a_lost_ledger_is_made_again_from_the_database() {
    let home = Home::new();
    let store = home.open();
    let link = stored_link(&store, 1).await;
    store.commit(changes(deletion(link.clone(), 1))).await.unwrap();
    store.close().await;
    std::fs::remove_file(home.path("deletions.ledger")).unwrap();
    home.open().close().await;
    let ledger = std::fs::read_to_string(home.path("deletions.ledger")).unwrap();
    assert_eq!(ledger.lines().count(), 1);
    assert!(ledger.contains(link.id.as_str()));
}

#[tokio::test]
async fn a_deletion_is_in_the_ledger_when_it_is_acknowledged() {
    let home = Home::new();
    let store = home.open();
    let link = stored_link(&store, 1).await;
    let lost = store.commit(changes(deletion(link.clone(), 9))).await;
    assert!(matches!(lost, Err(CommitError::Conflict(Guard::Link))));
    assert_eq!(std::fs::read_to_string(home.path("deletions.ledger")).unwrap(), "");
    store.commit(changes(deletion(link.clone(), 1))).await.unwrap();
    let ledger = std::fs::read_to_string(home.path("deletions.ledger")).unwrap();
    assert!(ledger.ends_with(&format!("{}\n", link.id)));
}

#[tokio::test]
async fn a_malformed_ledger_is_refused() {
    let home = Home::new();
    home.open().close().await;
    std::fs::write(home.path("deletions.ledger"), "not a deletion\n").unwrap();
    let refused = home.try_open(Some(home.key.clone()));
    assert!(matches!(refused, Err(OpenError::Ledger(LedgerError::Malformed { line: 1, .. }))));
}
