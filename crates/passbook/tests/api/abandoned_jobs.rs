//! Jobs that cannot succeed end: the product says so, and the app may ask again. Jobs that hang hold up their own app.

use serde_json::{Value, json};

use crate::support::{TestServer, bank, until};
use passbook_core::{job_shares::SLOTS, product::Product};

async fn identity(server: &TestServer, id: &str) -> Value {
    server.get(&server.a, &format!("/links/{id}")).await.ok(200)["products"]["identity"].clone()
}

#[tokio::test]
async fn a_refresh_with_an_unreadable_credential_ends_in_an_error() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let before = identity(&server, &id).await;
    assert_eq!(server.sql("UPDATE links SET credential = owners", &[]).changed, 1);
    let refresh = json!({"products": ["identity"]});
    for _ in 0..2 {
        // The allowance comes back with the failure, so the second call is accepted like the first.
        server.post(&server.a, &format!("/links/{id}/products"), &refresh).await.ok(202);
        server.drain(&server.a).await;
        let after = identity(&server, &id).await;
        assert_eq!(after["error_code"], "unknown");
        assert_eq!(after["refreshed_at"], before["refreshed_at"]);
    }
}

#[tokio::test]
async fn a_refresh_whose_connector_panics_ends_in_an_error() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"identity": {"prefetch": true}})).await;
    server.bank.panic_at_fetch(Product::Identity);
    server.post(&server.a, &format!("/links/{id}/products"), &json!({"products": ["identity"]})).await.ok(202);
    server.drain(&server.a).await;
    assert_eq!(identity(&server, &id).await["error_code"], "unknown");
    assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.ok(200)["institution_id"], bank::ID);
}

#[tokio::test]
async fn an_app_whose_bank_hangs_leaves_slots_to_other_apps() {
    let server = TestServer::start().await;
    let mut links = Vec::new();
    for _ in 0..SLOTS {
        links.push(server.scripted_link(json!({"identity": {}})).await);
    }
    let fields = json!({"institution_id": "credentials_bank", "settings": {"products": {"identity": {}}}});
    let theirs = server.link_with(&server.b, fields).await;
    let refresh = json!({"products": ["identity"]});
    server.bank.hold();
    let before = server.bank.fetches(Product::Identity);
    for id in &links {
        server.post(&server.a, &format!("/links/{id}/products"), &refresh).await.ok(202);
    }
    let share = before + SLOTS as usize / 2;
    until(|| server.bank.fetches(Product::Identity) == share).await;
    server.post(&server.b, &format!("/links/{theirs}/products"), &refresh).await.ok(202);
    server.drain(&server.b).await;
    let link = server.get(&server.b, &format!("/links/{theirs}")).await.ok(200);
    assert_ne!(link["products"]["identity"]["refreshed_at"], Value::Null);
    assert_eq!(server.bank.fetches(Product::Identity), share, "the rest waits");
    server.bank.release();
    server.drain(&server.a).await;
    assert_eq!(server.bank.fetches(Product::Identity), before + SLOTS as usize);
}
