//! Opening, refusing to open, and what a restart finds.

use std::os::unix::fs::PermissionsExt as _;

use passbook_core::secret::SecretBytes;
use passbook_store::{
    port::{Changes, CommitError, LinkWrite, Store as _, StoreError},
    sealing::MasterKey,
    sqlite::{OpenError, load_or_create_master_keys},
};

use crate::{Home, examples::*};

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let home = Home::new();
    let store = home.open();
    let link = connected_link(1);
    store.commit(changes(insertion_with_secrets(link.clone()))).await.unwrap();
    // Dropped without being closed.
    drop(store);
    let store = home.open();
    let answer = store.lookup_numbers_answer(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!(answer.accounts.expose(), NUMBERS_VIEW);
}

/// Reading a link then touches one page (ADR 0025).
#[tokio::test]
async fn a_new_store_has_pages_that_hold_a_whole_link() {
    let home = Home::new();
    home.open().close().await;
    let bytes: i64 = home.raw().query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
    assert_eq!(bytes, 8_192);
}

#[tokio::test]
async fn another_master_key_is_refused() {
    let home = Home::new();
    let store = home.open();
    store.commit(changes(insertion_with_secrets(link(1)))).await.unwrap();
    store.close().await;
    assert!(matches!(home.try_open(Some(MasterKey::generate())), Err(OpenError::WrongMasterKey)));
    // The refusal changed nothing.
    let store = home.open();
    assert!(store.lookup_secrets(&tenant(), &link(1).id).await.unwrap().unwrap().credential.is_some());
}

#[tokio::test]
async fn another_version_of_the_master_key_is_refused() {
    let home = Home::new();
    home.open().close().await;
    let text = home.key.to_file_text().replace("-v1:", "-v2:");
    assert!(matches!(home.try_open(Some(MasterKey::parse(&text).unwrap())), Err(OpenError::WrongMasterKey)));
}

#[tokio::test]
async fn a_missing_master_key_is_refused() {
    let home = Home::new();
    assert!(matches!(home.try_open(None), Err(OpenError::MissingMasterKey)));
    home.open().close().await;
    assert!(matches!(home.try_open(None), Err(OpenError::MissingMasterKey)));
}

#[tokio::test]
async fn a_key_file_is_made_for_a_new_store_only() {
    let home = Home::new();
    let file = home.path("master.key");
    let made = load_or_create_master_keys(&file, &home.database(), &home.path("deletions.ledger")).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    home.try_open(made.first().cloned()).unwrap().close().await;
    let read = load_or_create_master_keys(&file, &home.database(), &home.path("deletions.ledger")).unwrap();
    assert_eq!(*read[0].to_file_text(), *made[0].to_file_text());
    home.try_open(read.first().cloned()).unwrap().close().await;

    std::fs::remove_file(&file).unwrap();
    let lost = load_or_create_master_keys(&file, &home.database(), &home.path("deletions.ledger"));
    assert!(matches!(lost, Err(OpenError::MissingMasterKey)));
    assert!(!file.exists(), "a lost key must not be replaced");
    std::fs::write(&file, "passbook-master-key-v1:short").unwrap();
    let malformed = load_or_create_master_keys(&file, &home.database(), &home.path("deletions.ledger"));
    assert!(matches!(malformed, Err(OpenError::MalformedMasterKey { .. })));
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let home = Home::new();
    let store = home.open();
    assert!(matches!(home.try_open(Some(home.key.clone())), Err(OpenError::InUse { .. })));
    store.commit(changes(insertion(link(1)))).await.unwrap();
    store.close().await;
    // Closed, though not dropped yet.
    home.open();
}

#[tokio::test]
async fn an_older_release_refuses_a_newer_schema_and_leaves_it() {
    let home = Home::new();
    home.open().close().await;
    home.raw()
        .execute(
            "INSERT INTO refinery_schema_history SELECT 999, 'later', applied_on, checksum \
             FROM refinery_schema_history LIMIT 1",
            [],
        )
        .unwrap();
    let before = std::fs::read(home.database()).unwrap();
    let refused = home.try_open(Some(home.key.clone()));
    assert!(matches!(refused, Err(OpenError::NewerSchema { found: 999, .. })));
    assert!(std::fs::read(home.database()).unwrap() == before);
}

#[tokio::test]
async fn leases_end_with_the_process_that_held_them() {
    let home = Home::new();
    let store = home.open();
    stored_link(&store, 1).await;
    store.commit(Changes { jobs: vec![job(1, 1, second(1))], ..Changes::default() }).await.unwrap();
    let held = store.lease_jobs("worker", second(10), second(9_999), 1, &[]).await.unwrap().remove(0).lease;
    drop(store);
    let store = home.open();
    assert!(!store.renew_lease(&held, second(9_999)).await.unwrap());
    let again = store.lease_jobs("worker", second(11), second(99), 1, &[]).await.unwrap().remove(0).lease;
    assert!(again.job_id == held.job_id && again.fence > held.fence);
}

#[tokio::test]
async fn the_files_are_private() {
    let home = Home::new();
    let store = home.open();
    store.commit(changes(insertion(link(1)))).await.unwrap();
    for name in ["passbook.db", "passbook.db-wal", "deletions.ledger"] {
        let mode = std::fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_document_of_a_newer_release_is_read_but_not_replaced() {
    let home = Home::new();
    let store = home.open();
    let link = stored_link(&store, 1).await;
    home.raw()
        .execute(
            "UPDATE links SET document_format = 2, document = CAST(replace(CAST(document AS TEXT), \
             '{\"format\":1,', '{\"format\":2,\"later\":[],') AS BLOB)",
            [],
        )
        .unwrap();
    let stored = store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!(stored.link.tags, link.tags);
    let write = LinkWrite { credential: Some(SecretBytes::new(b"x".to_vec())), ..replacement(link, stored.version) };
    let refused = store.commit(changes(write)).await;
    let Err(CommitError::Store(StoreError::Inconsistent { column, .. })) = refused else { panic!("{refused:?}") };
    assert_eq!(column, "document_format");
}
