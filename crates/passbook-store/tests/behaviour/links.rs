//! Links: round trips, guards, tenancy, deletion.

use std::sync::Arc;

use passbook_core::{ids::LinkId, link::LinkState, product::Product, secret::SecretBytes, tenant::Tenant};
use passbook_store::port::{
    Changes, CommitError, Guard, ImportKey, LinkPosition, LinkWrite, Store, StoreError, TransactionFilter,
    TransactionWrites,
};

use crate::examples::*;

crate::on_every_store! {
    a_link_comes_back_as_it_was_stored,
    a_replaced_link_keeps_the_secrets_that_were_not_given,
    given_secrets_replace_the_stored_ones,
    a_link_without_numbers_has_an_empty_answer,
    a_link_cannot_be_inserted_twice,
    a_stale_version_changes_nothing,
    of_concurrent_writers_exactly_one_wins,
    a_failing_part_takes_the_whole_commit_back,
    other_tenants_see_nothing,
    other_tenants_cannot_write,
    an_import_key_is_unique_within_its_tenant,
    a_deleted_link_keeps_only_its_stub,
    a_deleted_link_never_comes_back,
    secrets_cannot_be_added_after_deletion,
    only_links_with_data_are_listed,
    links_are_listed_in_pages,
    a_connected_link_is_found_by_user_and_institution,
    an_event_is_written_once,
    a_text_may_hold_a_nul,
}

crate::on_every_damaged_store! {
    a_link_whose_document_is_newer_can_be_deleted_and_not_written,
    a_link_whose_document_is_damaged_can_be_deleted,
    a_refused_deletion_of_a_newer_link_is_a_conflict,
    a_data_key_under_a_forgotten_master_key_is_not_stored,
}

async fn a_link_comes_back_as_it_was_stored(store: Arc<dyn Store>) {
    let link = connected_link(1);
    store.commit(changes(insertion_with_secrets(link.clone()))).await.unwrap();

    let mut expected = link.clone();
    expected.recorded.clear();
    let stored = store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!((stored.link, stored.version), (expected, 1));

    let answer = store.lookup_numbers_answer(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!(answer.accounts.expose(), NUMBERS_VIEW);
    assert_eq!(answer.link.state, LinkState::Connected);
    assert_eq!(answer.link.error, None);
    assert_eq!(answer.link.granted, link.granted());
    assert_eq!(answer.link.deleted_at, None);
    assert_eq!(answer.link.renderer, 3);
    assert_eq!(answer.link.link_view, format!("{{\"id\":\"{}\"}}", link.id).into_bytes());
    let same = store.lookup_link_answer(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!((same.state, same.granted, same.link_view), (answer.link.state, link.granted(), answer.link.link_view));

    let opened = store.lookup_secrets(&tenant(), &link.id).await.unwrap().unwrap();
    assert!(opened.secrets == secrets());
    assert_eq!(opened.credential.unwrap().expose(), b"user_good:password");
}

async fn a_replaced_link_keeps_the_secrets_that_were_not_given(store: Arc<dyn Store>) {
    let mut link = link(1);
    store.commit(changes(insertion_with_secrets(link.clone()))).await.unwrap();
    link.fail(passbook_core::link::LinkErrorCode::AuthExpired, second(5));
    store.commit(changes(replacement(link.clone(), 1))).await.unwrap();

    let answer = store.lookup_numbers_answer(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!(answer.accounts.expose(), NUMBERS_VIEW);
    assert_eq!(answer.link.state, LinkState::Error);
    assert_eq!(answer.link.error, Some(passbook_core::link::LinkErrorCode::AuthExpired));
    let opened = store.lookup_secrets(&tenant(), &link.id).await.unwrap().unwrap();
    assert!(opened.secrets == secrets());
    assert!(opened.credential.is_some());
    assert_eq!(store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap().version, 2);
}

async fn given_secrets_replace_the_stored_ones(store: Arc<dyn Store>) {
    let link = link(1);
    store.commit(changes(insertion_with_secrets(link.clone()))).await.unwrap();
    let write = LinkWrite {
        numbers_view: Some(SecretBytes::new(b"[]".to_vec())),
        secrets: Some(passbook_core::link::LinkSecrets::default()),
        credential: Some(SecretBytes::new(b"new".to_vec())),
        ..replacement(link.clone(), 1)
    };
    store.commit(changes(write)).await.unwrap();
    let opened = store.lookup_secrets(&tenant(), &link.id).await.unwrap().unwrap();
    assert!(opened.secrets.numbers.is_empty() && opened.secrets.owners.is_empty());
    assert_eq!(opened.credential.unwrap().expose(), b"new");
    let answer = store.lookup_numbers_answer(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!(answer.accounts.expose(), b"[]");
}

async fn a_link_without_numbers_has_an_empty_answer(store: Arc<dyn Store>) {
    let link = stored_link(&*store, 1).await;
    let answer = store.lookup_numbers_answer(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!(answer.accounts.expose(), b"");
    let opened = store.lookup_secrets(&tenant(), &link.id).await.unwrap().unwrap();
    assert!(opened.secrets.numbers.is_empty() && opened.credential.is_none());
}

async fn a_link_cannot_be_inserted_twice(store: Arc<dyn Store>) {
    let link = stored_link(&*store, 1).await;
    let again = store.commit(changes(insertion(link))).await;
    assert!(matches!(again, Err(CommitError::Conflict(Guard::Link))));
}

async fn a_stale_version_changes_nothing(store: Arc<dyn Store>) {
    let mut link = stored_link(&*store, 1).await;
    link.recorded.clear();
    for version in [0, 2, u64::MAX] {
        let mut changed = link.clone();
        changed.tags.clear();
        let result = store.commit(changes(replacement(changed, version))).await;
        assert!(matches!(result, Err(CommitError::Conflict(Guard::Link))), "{version}");
    }
    let stored = store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!((stored.link, stored.version), (link, 1));
}

async fn of_concurrent_writers_exactly_one_wins(store: Arc<dyn Store>) {
    let link = stored_link(&*store, 1).await;
    let writers: Vec<_> = (0..16)
        .map(|number| {
            let (store, mut link) = (Arc::clone(&store), link.clone());
            link.tags = vec![format!("writer {number}")];
            tokio::spawn(async move { store.commit(changes(replacement(link, 1))).await })
        })
        .collect();
    let mut won = Vec::new();
    for (number, writer) in writers.into_iter().enumerate() {
        match writer.await.unwrap() {
            Ok(()) => won.push(number),
            Err(error) => assert!(matches!(error, CommitError::Conflict(Guard::Link)), "{error}"),
        }
    }
    let stored = store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!(won.len(), 1);
    assert_eq!((stored.version, stored.link.tags), (2, vec![format!("writer {}", won[0])]));
}

async fn a_failing_part_takes_the_whole_commit_back(store: Arc<dyn Store>) {
    let commit = Changes {
        link: Some(insertion(link(1))),
        jobs: vec![job(1, 1, second(0)), job(1, 1, second(0))],
        ..Changes::default()
    };
    assert!(matches!(store.commit(commit).await, Err(CommitError::Conflict(Guard::Unique))));
    assert!(store.lookup_link(&tenant(), &LinkId::from_bits(1)).await.unwrap().is_none());
    assert!(store.next_due_at().await.unwrap().is_none());
}

async fn other_tenants_see_nothing(store: Arc<dyn Store>) {
    let link = connected_link(1);
    let write = LinkWrite { import_key: ImportKey::Set("file".into()), ..insertion_with_secrets(link.clone()) };
    let transactions = TransactionWrites { created: vec![transaction(1, "2024-05-01")], ..Default::default() };
    let commit = Changes { transactions: Some(transactions), ..changes(write) };
    store.commit(commit).await.unwrap();
    let filter = TransactionFilter { limit: 10, ..TransactionFilter::default() };
    for stranger in strangers() {
        assert!(store.lookup_link(&stranger, &link.id).await.unwrap().is_none());
        assert!(store.lookup_link_answer(&stranger, &link.id).await.unwrap().is_none());
        assert!(store.lookup_numbers_answer(&stranger, &link.id).await.unwrap().is_none());
        assert!(store.lookup_secrets(&stranger, &link.id).await.unwrap().is_none());
        assert!(store.find_link_by_import_key(&stranger, "file").await.unwrap().is_none());
        assert!(store.list_links(&stranger, None, 10).await.unwrap().is_empty());
        assert!(store.load_transactions(&stranger, &link.id, None).await.unwrap().is_empty());
        assert_eq!(store.list_transactions(&stranger, &link.id, &filter).await.unwrap().total, 0);
        let found = store.find_connected_link(&stranger, &link.customer_user_id, "credentials_bank").await.unwrap();
        assert!(found.is_none());
    }
}

async fn other_tenants_cannot_write(store: Arc<dyn Store>) {
    let link = stored_link(&*store, 1).await;
    for stranger in strangers() {
        let mut stolen = link.clone();
        stolen.tenant = stranger;
        let result = store.commit(changes(replacement(stolen, 1))).await;
        assert!(matches!(result, Err(CommitError::Conflict(Guard::Link))));
    }
    assert_eq!(store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap().version, 1);
}

async fn an_import_key_is_unique_within_its_tenant(store: Arc<dyn Store>) {
    let keyed = |link, key: &str| LinkWrite { import_key: ImportKey::Set(key.into()), ..insertion(link) };
    store.commit(changes(keyed(link(1), "k"))).await.unwrap();
    let taken = store.commit(changes(keyed(link(2), "k"))).await;
    assert!(matches!(taken, Err(CommitError::Conflict(Guard::Link))));
    for (bits, stranger) in (3..).zip(strangers()) {
        let mut theirs = link(bits);
        theirs.tenant = stranger.clone();
        store.commit(changes(keyed(theirs, "k"))).await.unwrap();
        let found = store.find_link_by_import_key(&stranger, "k").await.unwrap();
        assert_eq!(found, Some(LinkId::from_bits(bits)));
    }
    // Kept by a write that names none.
    store.commit(changes(replacement(link(1), 1))).await.unwrap();
    assert_eq!(store.find_link_by_import_key(&tenant(), "k").await.unwrap(), Some(LinkId::from_bits(1)));
    // Freed by deletion.
    store.commit(changes(deletion(link(1), 2))).await.unwrap();
    assert_eq!(store.find_link_by_import_key(&tenant(), "k").await.unwrap(), None);
    store.commit(changes(keyed(link(2), "k"))).await.unwrap();
}

async fn a_deleted_link_keeps_only_its_stub(store: Arc<dyn Store>) {
    let link = connected_link(1);
    let transactions = TransactionWrites { created: vec![transaction(1, "2024-05-01")], ..Default::default() };
    let commit = Changes { transactions: Some(transactions), ..changes(insertion_with_secrets(link.clone())) };
    store.commit(commit).await.unwrap();
    store.commit(changes(deletion(link.clone(), 1))).await.unwrap();

    let answer = store.lookup_numbers_answer(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!((answer.link.state, answer.link.deleted_at), (LinkState::Deleted, Some(second(100))));
    assert_eq!(answer.accounts.expose(), b"");
    assert!(store.lookup_secrets(&tenant(), &link.id).await.unwrap().is_none());
    assert!(store.load_transactions(&tenant(), &link.id, None).await.unwrap().is_empty());
    assert!(store.list_links(&tenant(), None, 10).await.unwrap().is_empty());
    let stub = store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap().link;
    assert_eq!((stub.customer_user_id.as_str(), stub.accounts.len()), ("", 0));
}

async fn a_deleted_link_never_comes_back(store: Arc<dyn Store>) {
    let link = stored_link(&*store, 1).await;
    store.commit(changes(deletion(link.clone(), 1))).await.unwrap();
    let result = store.commit(changes(replacement(link.clone(), 2))).await;
    assert!(matches!(result, Err(CommitError::Conflict(Guard::Link))));
    let answer = store.lookup_link_answer(&tenant(), &link.id).await.unwrap().unwrap();
    assert_eq!(answer.state, LinkState::Deleted);
}

async fn secrets_cannot_be_added_after_deletion(store: Arc<dyn Store>) {
    let link = stored_link(&*store, 1).await;
    store.commit(changes(deletion(link.clone(), 1))).await.unwrap();
    let mut stub = store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap().link;
    stub.tags.clear();
    let write = LinkWrite { credential: Some(SecretBytes::new(b"late".to_vec())), ..replacement(stub, 2) };
    assert!(matches!(store.commit(changes(write)).await, Err(CommitError::Conflict(Guard::Link))));
}

async fn only_links_with_data_are_listed(store: Arc<dyn Store>) {
    store.commit(changes(insertion(link(1)))).await.unwrap();
    store.commit(changes(insertion(connected_link(2)))).await.unwrap();
    let listed = store.list_links(&tenant(), None, 10).await.unwrap();
    assert_eq!(listed, [LinkPosition { created_at: second(0), id: LinkId::from_bits(2) }]);
    // The first link gets data later and takes its place by creation time.
    let mut first = connected_link(1);
    first.note_fetched(Product::Accounts, second(9));
    store.commit(changes(replacement(first, 1))).await.unwrap();
    assert_eq!(store.list_links(&tenant(), None, 10).await.unwrap().len(), 2);
}

async fn links_are_listed_in_pages(store: Arc<dyn Store>) {
    let mut expected = Vec::new();
    for bits in 0..7_u128 {
        let mut link = connected_link(bits);
        // Two of each creation time, so that the id has to decide.
        link.created_at = second(i64::try_from(bits / 2).unwrap());
        expected.push(LinkPosition { created_at: link.created_at, id: link.id.clone() });
        store.commit(changes(insertion(link))).await.unwrap();
    }
    expected.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let mut listed: Vec<LinkPosition> = Vec::new();
    loop {
        let page = store.list_links(&tenant(), listed.last(), 3).await.unwrap();
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert_eq!(listed, expected);
}

async fn a_connected_link_is_found_by_user_and_institution(store: Arc<dyn Store>) {
    let mut link = connected_link(1);
    store.commit(changes(insertion(link.clone()))).await.unwrap();
    let tenant: Tenant = tenant();
    let user = link.customer_user_id.clone();
    let find = |user: String, institution: &'static str| {
        let (store, tenant) = (Arc::clone(&store), tenant.clone());
        async move { store.find_connected_link(&tenant, &user, institution).await.unwrap() }
    };
    assert_eq!(find(user.clone(), "credentials_bank").await, Some(link.id.clone()));
    assert_eq!(find("somebody else".into(), "credentials_bank").await, None);
    assert_eq!(find(user.clone(), "other_bank").await, None);
    link.fail(passbook_core::link::LinkErrorCode::AuthExpired, second(5));
    store.commit(changes(replacement(link, 1))).await.unwrap();
    assert_eq!(find(user, "credentials_bank").await, None);
}

async fn an_event_is_written_once(store: Arc<dyn Store>) {
    let link = connected_link(1);
    let events = link.recorded.clone();
    assert!(!events.is_empty());
    let commit = Changes { events: events.clone(), ..changes(insertion(link.clone())) };
    store.commit(commit).await.unwrap();
    // The same sequence again means that the writer did not see what happened before.
    let again = Changes { events, ..changes(replacement(link.clone(), 1)) };
    assert!(matches!(store.commit(again).await, Err(CommitError::Conflict(Guard::Link))));
    assert_eq!(store.lookup_link(&tenant(), &link.id).await.unwrap().unwrap().version, 1);
}

async fn a_text_may_hold_a_nul(store: Arc<dyn Store>) {
    let mut link = connected_link(1);
    link.customer_user_id = "a\0b".into();
    store.commit(changes(insertion(link.clone()))).await.unwrap();
    for (user, links) in [("a\0b", 1), ("a", 0), ("ab", 0), ("\0", 0), ("a\u{10ffff}0b", 0)] {
        assert_eq!(store.list_user_links(&tenant(), user).await.unwrap().len(), links, "{user:?}");
        let found = store.find_connected_link(&tenant(), user, "credentials_bank").await.unwrap();
        assert_eq!(found.is_some(), links == 1, "{user:?}");
    }
    let mut row = transaction(1, "2024-05-01");
    row.details.description = Some("Cof\0fee".into());
    row.upstream_key = "\0".into();
    let writes = TransactionWrites { link_id: Some(link.id.clone()), created: vec![row.clone()], ..Default::default() };
    store.commit(Changes { transactions: Some(writes), ..Changes::default() }).await.unwrap();
    assert_eq!(store.load_transactions(&tenant(), &link.id, None).await.unwrap(), [row]);
    assert!(store.lookup_client("nobody\0").await.unwrap().is_none());
    assert!(store.find_link_by_import_key(&tenant(), "\0").await.unwrap().is_none());
}

/// Whether nothing that was sealed under the link's key is left, nor the key.
async fn is_destroyed(store: &dyn Store, id: &LinkId) -> bool {
    let answer = store.lookup_numbers_answer(&tenant(), id).await.unwrap().unwrap();
    let secrets = store.lookup_secrets(&tenant(), id).await.unwrap();
    answer.link.state == LinkState::Deleted && answer.accounts.expose().is_empty() && secrets.is_none()
}

async fn a_link_whose_document_is_newer_can_be_deleted_and_not_written(fresh: &crate::Fresh) {
    let store = &fresh.store;
    let link = connected_link(1);
    store.commit(changes(insertion_with_secrets(link.clone()))).await.unwrap();
    fresh.damage("UPDATE links SET document_format = 999").await;
    let written = store.commit(changes(replacement(link.clone(), 1))).await;
    let Err(CommitError::Store(StoreError::Inconsistent { column, .. })) = written else { panic!("{written:?}") };
    assert_eq!(column, "document_format");
    let remains = store.lookup_link_remains(&tenant(), &link.id).await.unwrap().unwrap();
    assert!(!is_destroyed(&**store, &link.id).await);
    store.commit(changes(deletion(remains.link, remains.version))).await.unwrap();
    assert!(is_destroyed(&**store, &link.id).await);
}

async fn a_link_whose_document_is_damaged_can_be_deleted(fresh: &crate::Fresh) {
    let store = &fresh.store;
    let link = connected_link(1);
    store.commit(changes(insertion_with_secrets(link.clone()))).await.unwrap();
    fresh.damage("UPDATE links SET document = wrapped_key, state = 'nonsense'").await;
    assert!(matches!(store.lookup_link(&tenant(), &link.id).await, Err(StoreError::Inconsistent { .. })));
    let remains = store.lookup_link_remains(&tenant(), &link.id).await.unwrap().unwrap();
    store.commit(changes(deletion(remains.link, remains.version))).await.unwrap();
    assert!(is_destroyed(&**store, &link.id).await);
}

async fn a_refused_deletion_of_a_newer_link_is_a_conflict(fresh: &crate::Fresh) {
    let store = &fresh.store;
    let link = connected_link(1);
    store.commit(changes(insertion_with_secrets(link.clone()))).await.unwrap();
    fresh.damage("UPDATE links SET document_format = 999").await;
    let refused = store.commit(changes(deletion(link.clone(), 9))).await;
    // What was asked for can be done, so trying again must be worth it: the format is no reason.
    assert!(matches!(refused, Err(CommitError::Conflict(Guard::Link))), "{refused:?}");
}

async fn a_data_key_under_a_forgotten_master_key_is_not_stored(fresh: &crate::Fresh) {
    // As if the key had been retired after this process wrapped with it, and before it commits.
    fresh.damage("UPDATE master_keys SET key_version = key_version + 1").await;
    let refused = fresh.store.commit(changes(insertion_with_secrets(connected_link(1)))).await;
    assert!(matches!(refused, Err(CommitError::Conflict(Guard::Link))), "{refused:?}");
    assert!(fresh.store.lookup_link(&tenant(), &LinkId::from_bits(1)).await.unwrap().is_none());
}
