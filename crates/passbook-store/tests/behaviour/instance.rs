//! Instance values, ordinals, institutions named by files, closing.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use passbook_core::{institution::Country, retention::TimeWatch, secret::SecretBytes};
use passbook_store::port::{AppInstitution, Changes, CommitError, Guard, Store, StoreError};

use crate::examples::*;

crate::on_every_store! {
    an_instance_value_is_set_once,
    ordinals_count_from_one_and_never_repeat,
    institutions_are_visible_to_their_tenant,
    a_closed_store_refuses_everything,
    an_empty_commit_succeeds,
    of_many_watchers_of_time_one_is_first,
}

async fn an_instance_value_is_set_once(store: Arc<dyn Store>) {
    let set = |value: &[u8]| Changes {
        instance_values: vec![("seed".into(), SecretBytes::new(value.to_vec()))],
        ..Changes::default()
    };
    assert!(store.lookup_instance_value("seed").await.unwrap().is_none());
    store.commit(set(b"one")).await.unwrap();
    assert!(matches!(store.commit(set(b"two")).await, Err(CommitError::Conflict(Guard::Unique))));
    assert_eq!(store.lookup_instance_value("seed").await.unwrap().unwrap().expose(), b"one");
}

async fn ordinals_count_from_one_and_never_repeat(store: Arc<dyn Store>) {
    let takers: Vec<_> = (0..64)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.take_ordinal(&app_id(1), "session").await.unwrap() })
        })
        .collect();
    let mut taken = BTreeSet::new();
    for taker in takers {
        assert!(taken.insert(taker.await.unwrap()), "an ordinal was handed out twice");
    }
    assert_eq!(taken, (1..=64).collect());
    assert_eq!(store.take_ordinal(&app_id(1), "job").await.unwrap(), 1);
    assert_eq!(store.take_ordinal(&app_id(2), "session").await.unwrap(), 1);
}

async fn institutions_are_visible_to_their_tenant(store: Arc<dyn Store>) {
    let bank = |id: &str, name: &str| AppInstitution { id: id.into(), name: name.into(), country: Country::Gb };
    for institution in [bank("b", "B"), bank("a", "A"), bank("b", "B renamed")] {
        let commit = Changes { institution: Some((tenant(), institution)), ..Changes::default() };
        store.commit(commit).await.unwrap();
    }
    let listed = store.list_app_institutions(&tenant()).await.unwrap();
    assert_eq!(listed, [bank("a", "A"), bank("b", "B renamed")]);
    for stranger in strangers() {
        assert!(store.list_app_institutions(&stranger).await.unwrap().is_empty());
    }
}

async fn a_closed_store_refuses_everything(store: Arc<dyn Store>) {
    store.ping().await.unwrap();
    store.close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.list_apps().await, Err(StoreError::Unavailable(_))));
    let commit = store.commit(changes(insertion(link(1)))).await;
    assert!(matches!(commit, Err(CommitError::Store(StoreError::Unavailable(_)))));
    store.close().await;
}

async fn an_empty_commit_succeeds(store: Arc<dyn Store>) {
    store.commit(Changes::default()).await.unwrap();
}

async fn of_many_watchers_of_time_one_is_first(store: Arc<dyn Store>) {
    let watch = |second: i64, hold: i64| TimeWatch {
        seen_at: Timestamp::from_second(second).unwrap(),
        hold: SignedDuration::from_secs(hold),
    };
    assert_eq!(store.lookup_watched_time().await.unwrap(), None);
    assert!(!store.write_watched_time(Some(watch(1, 0)), watch(2, 0)).await.unwrap(), "there is nothing to replace");
    for (expected, next) in [(None, watch(100, 86_400)), (Some(watch(100, 86_400)), watch(50, 0))] {
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.write_watched_time(expected, next).await.unwrap() })
            })
            .collect();
        let mut first = 0;
        for writer in writers {
            first += usize::from(writer.await.unwrap());
        }
        assert_eq!(first, 1);
        assert_eq!(store.lookup_watched_time().await.unwrap(), Some(next));
    }
}
