//! Workers that are told to stop.

use std::time::{Duration, Instant};

use jiff::SignedDuration;
use passbook_core::product::Product;
use serde_json::json;

use crate::support::TestServer;

/// Within this another process must be able to go on with the job.
const MOVES_ON: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);

async fn until(what: &str, patience: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < patience, "{what} did not happen in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_stopping_worker_gives_a_job_back_that_waits_for_a_bank() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"identity": {}})).await;
    server.bank.hold();
    let fetched = server.bank.fetches(Product::Identity);
    server.post(&server.a, &format!("/links/{id}/products"), &json!({"products": ["identity"]})).await.ok(202);
    until("the fetch", PATIENCE, async || server.bank.fetches(Product::Identity) > fetched).await;

    server.stop.cancel();
    let store = &server.services.store;
    let mut taken = Vec::new();
    until("the lease of another process", MOVES_ON, async || {
        let now = store.now();
        let until = now.checked_add(SignedDuration::from_secs(90)).expect("an instant");
        taken = store.lease_jobs("another process", now, until, 10, &[]).await.expect("the store answers");
        !taken.is_empty()
    })
    .await;
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].link_id.as_str(), id);
}

#[tokio::test]
async fn a_stopping_worker_finishes_what_ends_soon() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"identity": {}})).await;
    server.bank.hold();
    let fetched = server.bank.fetches(Product::Identity);
    server.post(&server.a, &format!("/links/{id}/products"), &json!({"products": ["identity"]})).await.ok(202);
    until("the fetch", PATIENCE, async || server.bank.fetches(Product::Identity) > fetched).await;
    server.stop.cancel();
    server.bank.release();
    server.drain(&server.a).await;
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert!(link["products"]["identity"]["refreshed_at"].is_string(), "{link}");
}
