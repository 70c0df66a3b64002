//! The secrets of an instance, made by whoever starts first.

use futures_util::future::join_all;
use passbook::{instance::Instance, signing::SigningKeys};
use passbook_store::port::Store;
use std::sync::Arc;

use crate::support::TestServer;

/// What of an instance can be compared.
async fn print(store: &Arc<dyn Store>, instance: &Instance) -> (u128, String) {
    let ring = SigningKeys::new(store.clone(), String::new());
    let keys = ring.published(None, store.now()).await.expect("readable keys");
    assert_eq!(keys.keys.len(), 2, "one for the sandbox and one for live");
    (instance.derivation.bits("app", &["x"], 1), serde_json::to_string(&keys).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_start_at_once_on_an_empty_store_agree() {
    let server = TestServer::start().await;
    let store = &server.services.store;
    let started = join_all((0..16).map(|_| Instance::open(store.as_ref()))).await;
    let mut prints = Vec::new();
    for instance in started {
        prints.push(print(store, &instance.expect("an instance")).await);
    }
    assert!(prints.iter().all(|other| *other == prints[0]), "{prints:?}");

    let elsewhere = TestServer::start().await;
    let elsewhere = &elsewhere.services.store;
    let other = Instance::open(elsewhere.as_ref()).await.expect("an instance");
    assert_ne!(print(elsewhere, &other).await, prints[0], "every instance has secrets of its own");
    assert!(Instance::open_dev(store.as_ref(), 1).await.is_err(), "and is not one of `passbook dev`");
}
