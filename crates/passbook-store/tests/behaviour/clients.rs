//! Applications, clients, tokens and times.

use std::sync::Arc;

use jiff::Timestamp;
use passbook_core::{
    ids::JobId,
    product::Product,
    tenant::{Environment, Scope, ScopeSet, Tenant},
    time::AppClock,
};
use passbook_store::port::{App, Changes, Client, CommitError, FinishedJob, Guard, JobState, NewToken, Store};

use crate::examples::*;

crate::on_every_store! {
    an_app_comes_back_as_it_was_stored,
    a_client_comes_back_as_it_was_stored,
    what_changed_since_it_was_read_is_not_written_over,
    clients_are_listed_for_their_app_by_id,
    a_client_never_moves_to_another_tenant,
    a_token_shows_what_its_client_may_do_now,
    a_revoked_client_has_no_tokens,
    a_client_that_will_be_disabled_keeps_its_tokens_until_then,
    a_disabled_app_has_no_tokens_and_its_clients_say_so,
    a_token_needs_a_client_and_is_unique,
    the_newest_time_covers_all_sandbox_objects,
    a_withdrawn_secret_takes_the_clients_tokens_with_it,
    cleanup_takes_only_what_has_expired,
}

fn client() -> Client {
    Client {
        client_id: "client_1".into(),
        tenant: tenant(),
        name: "Backend".into(),
        secret_hashes: vec![[1; 32], [2; 32]],
        scopes: ScopeSet::all(),
        disabled_at: None,
        app_disabled_at: None,
    }
}

fn token(byte: u8) -> NewToken {
    NewToken {
        hash: [byte; 32],
        client_id: "client_1".into(),
        scopes: ScopeSet::requested("links accounts", ScopeSet::all()).unwrap(),
        created_at: second(0),
        expires_at: second(1800),
        purge_after: second(3600),
    }
}

async fn store_client(store: &Arc<dyn Store>, client: Client) {
    store.commit(Changes { app: Some(app(1)), client: Some(client), ..Changes::default() }).await.unwrap();
}

async fn disable_app(store: &Arc<dyn Store>, disabled_at: Option<Timestamp>) {
    let one = App { disabled_at, ..app(1) };
    store.commit(Changes { app: Some(one), ..Changes::default() }).await.unwrap();
}

async fn an_app_comes_back_as_it_was_stored(store: Arc<dyn Store>) {
    let mut one = App { clock: AppClock::Frozen { at: second(0) }, ..app(1) };
    store.commit(Changes { app: Some(one.clone()), ..Changes::default() }).await.unwrap();
    store.commit(Changes { app: Some(app(2)), ..Changes::default() }).await.unwrap();
    one.name = "Renamed".into();
    one.allowed_origins = vec!["https://app.example".into(), "http://localhost:*".into()];
    one.disabled_at = Some(second(9));
    store.commit(Changes { app: Some(one.clone()), ..Changes::default() }).await.unwrap();
    let stored = store.lookup_app(&one.id).await.unwrap().unwrap();
    assert!(!stored.is_disabled(second(8)) && stored.is_disabled(second(9)));
    assert_eq!((stored.name, stored.clock, stored.allowed_origins), (one.name, one.clock, one.allowed_origins));
    assert_eq!(stored.disabled_at, one.disabled_at);
    let disabled: Vec<_> = store.list_apps().await.unwrap().into_iter().map(|app| app.disabled_at).collect();
    assert_eq!((disabled.len(), disabled.iter().flatten().count()), (2, 1));
    assert!(store.lookup_app(&app_id(3)).await.unwrap().is_none());
}

async fn a_client_comes_back_as_it_was_stored(store: Arc<dyn Store>) {
    store_client(&store, client()).await;
    let stored = store.lookup_client("client_1").await.unwrap().unwrap();
    assert_eq!(stored.tenant, tenant());
    assert_eq!((stored.name.as_str(), stored.secret_hashes), ("Backend", vec![[1; 32], [2; 32]]));
    assert_eq!((stored.scopes, stored.disabled_at), (ScopeSet::all(), None));
    let disabled = Client { disabled_at: Some(second(9)), secret_hashes: vec![[3; 32]], ..client() };
    store_client(&store, disabled).await;
    let stored = store.lookup_client("client_1").await.unwrap().unwrap();
    assert_eq!((stored.secret_hashes, stored.disabled_at), (vec![[3; 32]], Some(second(9))));
    assert!(store.lookup_client("client_2").await.unwrap().is_none());
}

async fn what_changed_since_it_was_read_is_not_written_over(store: Arc<dyn Store>) {
    let was = client();
    store_client(&store, was.clone()).await;
    let renamed = || App { name: "Renamed".into(), ..app(1) };
    let rename = || Changes { app: Some(renamed()), app_was: Some(app(1)), ..Changes::default() };
    disable_app(&store, Some(second(9))).await;
    assert!(matches!(store.commit(rename()).await, Err(CommitError::Conflict(Guard::Settings))));
    assert_eq!(store.lookup_app(&app_id(1)).await.unwrap().unwrap().disabled_at, Some(second(9)));
    disable_app(&store, None).await;
    store.commit(rename()).await.unwrap();
    assert!(matches!(store.commit(rename()).await, Err(CommitError::Conflict(Guard::Settings))));
    let elsewhere = App { allowed_origins: vec!["https://elsewhere.example".into()], ..renamed() };
    let seen = Changes { app: Some(app(1)), app_was: Some(elsewhere), ..Changes::default() };
    assert!(matches!(store.commit(seen).await, Err(CommitError::Conflict(Guard::Settings))));
    let clock = AppClock::Frozen { at: second(5) };
    let again = Changes { app: Some(app(1)), app_was: Some(App { clock, ..renamed() }), ..Changes::default() };
    store.commit(again).await.expect("the clock is not what is compared");

    let write = |client, was| Changes { client: Some(client), client_was: Some(was), ..Changes::default() };
    let revoked = Client { secret_hashes: Vec::new(), disabled_at: Some(second(9)), ..client() };
    store.commit(write(revoked.clone(), was.clone())).await.unwrap();
    for seen in [
        Client { disabled_at: None, ..revoked.clone() },
        Client { secret_hashes: was.secret_hashes.clone(), ..revoked.clone() },
        Client { name: "Another".into(), ..revoked.clone() },
        Client { scopes: ScopeSet::requested("links", ScopeSet::all()).unwrap(), ..revoked.clone() },
        Client { client_id: "client_2".into(), ..revoked.clone() },
    ] {
        let result = store.commit(write(was.clone(), seen)).await;
        assert!(matches!(result, Err(CommitError::Conflict(Guard::Settings))));
    }
    let stored = store.lookup_client("client_1").await.unwrap().unwrap();
    assert_eq!((stored.secret_hashes.len(), stored.disabled_at), (0, Some(second(9))));
    store.commit(write(Client { app_disabled_at: Some(second(1)), ..was }, revoked)).await.unwrap();
}

async fn clients_are_listed_for_their_app_by_id(store: Arc<dyn Store>) {
    store.commit(Changes { app: Some(app(2)), ..Changes::default() }).await.unwrap();
    let [other_app, live] = strangers();
    let named = |client_id: &str, tenant: Tenant| Client { client_id: client_id.into(), tenant, ..client() };
    for client in [named("client_b", tenant()), named("client_a", live), named("client_c", other_app)] {
        store_client(&store, client).await;
    }
    let ids = async |app| {
        let listed = store.list_clients(&app_id(app)).await.unwrap();
        listed.into_iter().map(|client| client.client_id).collect::<Vec<_>>()
    };
    assert_eq!(ids(1).await, ["client_a", "client_b"]);
    assert_eq!(ids(2).await, ["client_c"]);
    assert!(ids(3).await.is_empty());
}

async fn a_client_never_moves_to_another_tenant(store: Arc<dyn Store>) {
    store_client(&store, client()).await;
    store.commit(Changes { app: Some(app(2)), ..Changes::default() }).await.unwrap();
    for stranger in strangers() {
        let stolen = Client { tenant: stranger, ..client() };
        let result = store.commit(Changes { client: Some(stolen), ..Changes::default() }).await;
        assert!(matches!(result, Err(CommitError::Conflict(Guard::Unique))));
    }
    assert_eq!(store.lookup_client("client_1").await.unwrap().unwrap().tenant, tenant());
}

async fn a_token_shows_what_its_client_may_do_now(store: Arc<dyn Store>) {
    store_client(&store, client()).await;
    store.commit(Changes { token: Some(token(7)), ..Changes::default() }).await.unwrap();
    let found = store.find_token_by_hash(&[7; 32]).await.unwrap().unwrap();
    assert_eq!((found.client_id.as_str(), found.client_name.as_str()), ("client_1", "Backend"));
    assert_eq!((found.tenant, found.app_name.as_str()), (tenant(), "App 1"));
    assert_eq!((found.scopes, found.expires_at), (token(7).scopes, second(1800)));
    let fewer = Client { scopes: ScopeSet::requested("links identity", ScopeSet::all()).unwrap(), ..client() };
    store_client(&store, fewer).await;
    let found = store.find_token_by_hash(&[7; 32]).await.unwrap().unwrap();
    assert!(found.scopes.contains(Scope::Links));
    assert!(!found.scopes.contains(Scope::Accounts) && !found.scopes.contains(Scope::Identity));
    assert!(store.find_token_by_hash(&[8; 32]).await.unwrap().is_none());
}

async fn a_revoked_client_has_no_tokens(store: Arc<dyn Store>) {
    store_client(&store, client()).await;
    store.commit(Changes { token: Some(token(7)), ..Changes::default() }).await.unwrap();
    store_client(&store, Client { disabled_at: Some(second(-2)), ..client() }).await;
    assert!(store.find_token_by_hash(&[7; 32]).await.unwrap().is_none());
}

async fn a_client_that_will_be_disabled_keeps_its_tokens_until_then(store: Arc<dyn Store>) {
    store_client(&store, Client { disabled_at: Some(at("2999-01-01T00:00:00Z")), ..client() }).await;
    store.commit(Changes { token: Some(token(7)), ..Changes::default() }).await.unwrap();
    assert!(store.find_token_by_hash(&[7; 32]).await.unwrap().is_some());
}

async fn a_disabled_app_has_no_tokens_and_its_clients_say_so(store: Arc<dyn Store>) {
    store_client(&store, client()).await;
    store.commit(Changes { token: Some(token(7)), ..Changes::default() }).await.unwrap();
    let far = at("2999-01-01T00:00:00Z");
    for (disabled_at, is_refused) in [(Some(second(-2)), true), (Some(far), false), (None, false)] {
        disable_app(&store, disabled_at).await;
        let known = store.lookup_client("client_1").await.unwrap().unwrap();
        assert_eq!((known.disabled_at, known.app_disabled_at), (None, disabled_at));
        assert_eq!(known.refused_from(), disabled_at);
        assert_eq!(store.list_clients(&app_id(1)).await.unwrap()[0].app_disabled_at, disabled_at);
        assert_eq!(store.find_token_by_hash(&[7; 32]).await.unwrap().is_none(), is_refused);
        // What was read is not written: it is the app's.
        store.commit(Changes { client: Some(known), ..Changes::default() }).await.unwrap();
    }
    // Whichever comes first.
    let later = Client { disabled_at: Some(far), ..client() };
    store.commit(Changes { client: Some(later), ..Changes::default() }).await.unwrap();
    disable_app(&store, Some(second(-2))).await;
    assert_eq!(store.lookup_client("client_1").await.unwrap().unwrap().refused_from(), Some(second(-2)));
}

async fn a_token_needs_a_client_and_is_unique(store: Arc<dyn Store>) {
    let add = Changes { token: Some(token(7)), ..Changes::default() };
    assert!(matches!(store.commit(add).await, Err(CommitError::Conflict(Guard::Unique))));
    store_client(&store, client()).await;
    store.commit(Changes { token: Some(token(7)), ..Changes::default() }).await.unwrap();
    let again = store.commit(Changes { token: Some(token(7)), ..Changes::default() }).await;
    assert!(matches!(again, Err(CommitError::Conflict(Guard::Unique))));
}

async fn the_newest_time_covers_all_sandbox_objects(store: Arc<dyn Store>) {
    assert_eq!(store.newest_time(&app_id(1)).await.unwrap(), None);
    store_client(&store, client()).await;
    let newest = async || store.newest_time(&app_id(1)).await.unwrap();
    store.commit(Changes { token: Some(token(7)), ..Changes::default() }).await.unwrap();
    assert_eq!(newest().await, Some(second(0)));
    let mut later = session(1);
    later.created_at = second(5);
    store.commit(Changes { session: Some(session_write(later, None)), ..Changes::default() }).await.unwrap();
    assert_eq!(newest().await, Some(second(5)));
    let mut link = connected_link(1);
    link.note_fetched(Product::Accounts, second(10));
    // A second success under a frozen clock lies a microsecond ahead of it.
    link.note_fetched(Product::Accounts, second(10));
    store.commit(changes(insertion(link.clone()))).await.unwrap();
    assert_eq!(newest().await, link.last_synced_at());
    assert!(newest().await > Some(second(10)));
    link.recorded.clear();
    link.announce_transactions(second(20));
    let events = link.recorded.clone();
    store.commit(Changes { events, ..Changes::default() }).await.unwrap();
    assert_eq!(newest().await, Some(second(20)));
    // Live objects follow real time; another app has its own clock.
    for (bits, stranger) in (2..).zip(strangers()) {
        let mut theirs = connected_link(bits);
        theirs.tenant = stranger;
        theirs.note_fetched(Product::Accounts, second(99));
        store.commit(changes(insertion(theirs))).await.unwrap();
    }
    assert_eq!(newest().await, Some(second(20)));
    assert_eq!(
        store.newest_time(&Tenant { environment: Environment::Live, ..tenant() }.app_id).await.unwrap(),
        newest().await
    );
}

async fn a_withdrawn_secret_takes_the_clients_tokens_with_it(store: Arc<dyn Store>) {
    store_client(&store, client()).await;
    store.commit(Changes { token: Some(token(1)), ..Changes::default() }).await.unwrap();
    let mut rotating = client();
    rotating.secret_hashes.push([9; 32]);
    store.commit(Changes { client: Some(rotating.clone()), ..Changes::default() }).await.unwrap();
    assert!(store.find_token_by_hash(&[1; 32]).await.unwrap().is_some(), "a second secret withdraws nothing");
    rotating.secret_hashes.remove(0);
    store.commit(Changes { client: Some(rotating), ..Changes::default() }).await.unwrap();
    assert!(store.find_token_by_hash(&[1; 32]).await.unwrap().is_none());
}

async fn cleanup_takes_only_what_has_expired(store: Arc<dyn Store>) {
    store_client(&store, client()).await;
    for byte in 1..=3 {
        store.commit(Changes { token: Some(token(byte)), ..Changes::default() }).await.unwrap();
    }
    for bits in 1..=2 {
        stored_link(&*store, bits).await;
        store.commit(Changes { jobs: vec![job(bits, bits, second(1))], ..Changes::default() }).await.unwrap();
    }
    let leased = store.lease_jobs("worker", second(2), second(3), 1, &[]).await.unwrap();
    let ended = FinishedJob { lease: leased[0].lease.clone(), state: JobState::Done, finished_at: second(100) };
    store.commit(Changes { finished_job: Some(ended), ..Changes::default() }).await.unwrap();

    assert_eq!(store.cleanup(second(100), 100).await.unwrap(), 0);
    assert_eq!(store.cleanup(second(101), 100).await.unwrap(), 1);
    assert_eq!(store.lookup_job_state(&JobId::from_bits(1)).await.unwrap(), None);
    assert_eq!(store.lookup_job_state(&JobId::from_bits(2)).await.unwrap(), Some(JobState::Open));
    assert_eq!(store.cleanup(second(3601), 2).await.unwrap(), 2);
    assert_eq!(store.cleanup(second(3601), 2).await.unwrap(), 1);
    assert!(store.find_token_by_hash(&[1; 32]).await.unwrap().is_none());
}
