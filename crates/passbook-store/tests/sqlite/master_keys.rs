//! Replacing a master key: walks in batches, damaged rows, retired keys.

use passbook_core::tenant::{Environment, Tenant};
use passbook_store::{
    port::{AuditEntry, CommitError, Guard, Rewrapped, Store as _, Upkeep as _},
    sealing::KeyFile,
    sqlite::SqliteStore,
};

use crate::{Home, examples::*};

fn audit() -> AuditEntry {
    let tenant = Tenant { app_id: app_id(0), environment: Environment::Live };
    AuditEntry { tenant, actor: "operator".into(), action: "test", link_id: None, at: second(0) }
}

/// A store with `links` links and a key of version 2 at hand.
async fn store_with_new_key(home: &Home, links: u128) -> SqliteStore {
    let store = home.open();
    for number in 1..=links {
        store.commit(changes(insertion_with_secrets(connected_link(number)))).await.unwrap();
    }
    let file = KeyFile::new(home.path("master.key"));
    std::fs::write(file.path(), home.key.to_file_text().as_bytes()).unwrap();
    file.append_successor().unwrap();
    store.keys().follow(file);
    store.keys().reload().unwrap();
    store
}

/// Walks to the end; all batches.
async fn walk(store: &SqliteStore, limit: u32) -> Vec<Rewrapped> {
    let (mut batches, mut after) = (Vec::new(), None);
    loop {
        let batch = store.rewrap_keys(after.as_ref(), limit).await.unwrap();
        after.clone_from(&batch.next);
        batches.push(batch);
        if after.is_none() {
            return batches;
        }
    }
}

#[tokio::test]
async fn a_walk_goes_in_batches_and_a_second_one_finds_nothing() {
    let home = Home::new();
    let store = store_with_new_key(&home, 5).await;
    assert_eq!(walk(&store, 2).await, [Rewrapped::default()], "nothing is to be done before the new key is active");
    store.activate_master_key(2, audit()).await.unwrap();
    store.activate_master_key(2, audit()).await.unwrap();
    let batches = walk(&store, 2).await;
    assert_eq!(batches.len(), 3);
    // Five links, and the lookup root with the first batch.
    assert_eq!(batches.iter().map(|batch| batch.rewrapped).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(walk(&store, 2).await, [Rewrapped::default()]);
    let keys = store.list_master_keys().await.unwrap();
    let uses: Vec<_> = keys.iter().map(|key| (key.version, key.active, key.links, key.instance_values)).collect();
    assert_eq!(uses, [(1, false, 0, 0), (2, true, 5, 1)]);
    for number in 1..=5 {
        let secrets = store.lookup_secrets(&tenant(), &link(number).id).await.unwrap().unwrap();
        assert!(!secrets.secrets.numbers.is_empty());
    }
}

#[tokio::test]
async fn a_damaged_row_is_counted_and_keeps_its_key() {
    let home = Home::new();
    let store = store_with_new_key(&home, 3).await;
    home.raw().execute("UPDATE links SET wrapped_key = X'00' WHERE link_id = ?1", [link(2).id.as_str()]).unwrap();
    store.activate_master_key(2, audit()).await.unwrap();
    let batches = walk(&store, 1).await;
    assert_eq!(batches.iter().map(|batch| batch.unreadable).sum::<u64>(), 1);
    assert_eq!(batches.iter().map(|batch| batch.rewrapped).sum::<u64>(), 3);
    assert!(matches!(store.retire_master_key(1, audit()).await, Err(CommitError::Conflict(_))));
    assert!(store.lookup_secrets(&tenant(), &link(1).id).await.unwrap().is_some());
}

#[tokio::test]
async fn nothing_is_stored_under_a_retired_key() {
    let home = Home::new();
    let store = store_with_new_key(&home, 1).await;
    assert!(matches!(store.retire_master_key(1, audit()).await, Err(CommitError::Conflict(_))), "it is the active one");
    store.activate_master_key(2, audit()).await.unwrap();
    walk(&store, 10).await;
    store.retire_master_key(1, audit()).await.unwrap();
    assert!(!store.keys().holds(1));
    // What a request that was wrapped just before would bring.
    store.keys().reload().unwrap();
    store.keys().activate(1).unwrap();
    let late = store.commit(changes(insertion_with_secrets(connected_link(2)))).await;
    assert!(matches!(late, Err(CommitError::Conflict(Guard::Link))));
    store.keys().activate(2).unwrap();
    store.commit(changes(insertion_with_secrets(connected_link(2)))).await.unwrap();
}

#[tokio::test]
async fn an_older_or_missing_key_is_never_activated() {
    let home = Home::new();
    let store = store_with_new_key(&home, 0).await;
    assert!(matches!(store.activate_master_key(3, audit()).await, Err(CommitError::Conflict(_))));
    store.activate_master_key(2, audit()).await.unwrap();
    assert!(matches!(store.activate_master_key(1, audit()).await, Err(CommitError::Conflict(_))));
    assert_eq!(store.keys().active_version(), 2);
}
