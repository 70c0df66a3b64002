//! Jobs that cannot succeed end: the product says so, and the app may ask again.

use serde_json::{Value, json};

use crate::support::{TestServer, bank};
use passbook_core::product::Product;

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
