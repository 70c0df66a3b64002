//! Reconnecting a link with `existing_link_id`.

use serde_json::{Value, json};

use crate::support::{TestServer, bank};
use passbook_core::{failure::FailureClass, product::Product};

fn ids(body: &Value) -> Vec<Value> {
    body["accounts"].as_array().unwrap().iter().map(|account| account["account_id"].clone()).collect()
}

fn products(link: &Value) -> Vec<String> {
    let mut names: Vec<_> = link["products"].as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

/// A link at the scripted bank whose access has ended.
async fn expired_link(server: &TestServer) -> String {
    let settings = json!({"account_numbers": {"prefetch": true}});
    let fields = json!({
        "institution_id": bank::ID, "settings": {"products": settings},
        "webhook": "https://app.example/old", "link_tags": ["old"]
    });
    let id = server.link_with(&server.a, fields).await;
    server.bank.fail(Product::Accounts, FailureClass::ConsentExpired);
    let refresh = json!({"products": ["accounts"]});
    assert_eq!(server.post(&server.a, &format!("/links/{id}/products"), &refresh).await.status, 202);
    server.drain(&server.a).await;
    server.bank.recover();
    id
}

#[tokio::test]
async fn a_reconnect_needs_no_exchange_keeps_ids_and_only_adds_grants() {
    let server = TestServer::start().await;
    let healthy = server.scripted_link(json!({"account_numbers": {"prefetch": true}})).await;
    let accounts = server.get(&server.a, &format!("/links/{healthy}/accounts")).await.ok(200);
    let id = expired_link(&server).await;
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!((&link["state"], &link["error_code"]), (&json!("error"), &json!("auth_expired")));

    let fields = json!({
        "existing_link_id": id, "webhook": "https://app.example/new", "link_tags": ["new", "two"],
        "settings": {"products": {"identity": {"prefetch": true}}},
        "institution_id": "instant_bank", "customer_user": {"id": "somebody-else"}
    });
    let token = server.session_token(&server.a, fields).await;
    let completed = server.complete(&server.a, &token, json!({})).await.ok(201);
    assert_eq!(completed, json!({"exchangeable_token": null, "link_id": id}));
    server.drain(&server.a).await;

    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!((&link["state"], &link["error_code"]), (&json!("connected"), &Value::Null));
    assert_eq!(link["institution_id"], bank::ID, "an institution cannot change");
    assert_eq!(products(&link), ["account_numbers", "accounts", "identity"]);
    assert_eq!((&link["webhook"], &link["link_tags"]), (&json!("https://app.example/new"), &json!(["new", "two"])));
    assert!(link["products"]["identity"]["refreshed_at"].is_string(), "new products are prefetched");
    let after = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
    assert_eq!(after["accounts"].as_array().unwrap().len(), accounts["accounts"].as_array().unwrap().len());
    let numbers = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await.ok(200);
    assert_eq!(numbers["accounts"].as_array().unwrap().len(), 2, "numbers survive");
}

#[tokio::test]
async fn account_ids_and_earlier_grants_survive_a_narrower_reconnect() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let before = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
    let token = server.session_token(&server.a, json!({"existing_link_id": id, "settings": {"products": {}}})).await;
    let one = json!({"accounts": [before["accounts"][0]["name"]]});
    server.complete(&server.a, &token, one).await.ok(201);
    let after = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
    assert_eq!(ids(&after), ids(&before));
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!(
        products(&link),
        ["account_numbers", "accounts", "enrichment", "identity", "investments", "transactions"]
    );
}

#[tokio::test]
async fn a_reconnect_for_deposit_accounts_leaves_an_earlier_permitted_card_alone() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let before = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
    let features = json!({"permit_only_depository_accounts": true});
    let token = server.session_token(&server.a, json!({"existing_link_id": id, "connect_features": features})).await;
    server.complete(&server.a, &token, json!({})).await.ok(201);
    let after = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
    assert_eq!(ids(&after), ids(&before));
}

#[tokio::test]
async fn a_reconnect_can_permit_more_accounts() {
    let server = TestServer::start().await;
    let all = server.get(&server.a, &format!("/links/{}/accounts", server.link(&server.a).await)).await.ok(200);
    let token = server.session_token(&server.a, json!({})).await;
    let one = json!({"accounts": [all["accounts"][0]["name"]]});
    let completed = server.complete(&server.a, &token, one).await.ok(201);
    let body = json!({"exchangeable_token": completed["exchangeable_token"]});
    server.post(&server.a, "/link-session/exchange-token", &body).await.ok(201);
    server.drain(&server.a).await;
    let id = completed["link_id"].as_str().unwrap();
    let before = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
    assert_eq!(ids(&before).len(), 1);
    let token = server.session_token(&server.a, json!({"existing_link_id": id})).await;
    server.complete(&server.a, &token, json!({})).await.ok(201);
    let after = server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
    assert_eq!(ids(&after).len(), 3);
    assert!(ids(&after).contains(&ids(&before)[0]));
}

#[tokio::test]
async fn what_a_reconnect_does_not_name_is_removed() {
    let server = TestServer::start().await;
    let id = expired_link(&server).await;
    let token = server.session_token(&server.a, json!({"existing_link_id": id})).await;
    server.complete(&server.a, &token, json!({})).await.ok(201);
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!((&link["webhook"], &link["link_tags"], &link["tags"]), (&Value::Null, &json!([]), &json!([])));
}

#[tokio::test]
async fn a_failed_reconnect_leaves_the_link_as_it_was() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let before = server.get(&server.a, &format!("/links/{id}")).await.body;
    let token = server.session_token(&server.a, json!({"existing_link_id": id})).await;
    let failed = server.complete(&server.a, &token, json!({"username": "user_bad"})).await;
    assert_eq!(failed.expect(422, "link_error.bad_state").json()["link_error_code"], "invalid_credentials");
    assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.body, before);
    server.complete(&server.a, &token, json!({})).await.ok(201);
}

#[tokio::test]
async fn a_link_deleted_meanwhile_cannot_be_reconnected() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let token = server.session_token(&server.a, json!({"existing_link_id": id})).await;
    assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204);
    server.complete(&server.a, &token, json!({})).await.expect(422, "api_error.request.validation_failed");
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!(link["state"], "deleted");
}
