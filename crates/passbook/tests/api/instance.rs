//! The secrets of an instance, made by whoever starts first.

use futures_util::future::join_all;
use passbook::{instance::Instance, keys::public_key_set};

use crate::support::TestServer;

/// What of an instance can be compared.
fn print(instance: &Instance) -> (u128, String) {
    let keys = public_key_set(&instance.signing_key).expect("a readable key");
    (instance.derivation.bits("app", &["x"], 1), serde_json::to_string(&keys).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_start_at_once_on_an_empty_store_agree() {
    let server = TestServer::start().await;
    let store = server.services.store.as_ref();
    let started = join_all((0..16).map(|_| Instance::open(store))).await;
    let prints: Vec<_> = started.into_iter().map(|instance| print(&instance.expect("an instance"))).collect();
    assert!(prints.iter().all(|other| *other == prints[0]), "{prints:?}");

    let elsewhere = TestServer::start().await;
    let other = Instance::open(elsewhere.services.store.as_ref()).await.expect("an instance");
    assert_ne!(print(&other), prints[0], "every instance has secrets of its own");
    assert!(Instance::open_dev(store, 1).await.is_err(), "and is not one of `passbook dev`");
}
