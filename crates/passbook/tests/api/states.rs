//! What each call answers in each state of a link (contract, section 2.2). `connecting` is not reachable yet: sign-in
//! without a browser begins and ends within one request.

use serde_json::json;

use crate::support::{Answer, TestServer};

const DAY: i64 = 86_400;

/// Every call that concerns one link.
async fn calls(server: &TestServer, id: &str) -> Vec<(&'static str, Answer)> {
    let read = |path: &str| format!("/links/{id}{path}");
    let account = server.services.derivation.bits("account", &["none"], 1);
    let account = passbook_core::ids::AccountId::from_bits(account);
    let refresh = json!({"products": ["identity"]});
    vec![
        ("get link", server.get(&server.a, &read("")).await),
        ("accounts", server.get(&server.a, &read("/accounts")).await),
        ("account", server.get(&server.a, &read(&format!("/accounts/{account}"))).await),
        ("numbers", server.get(&server.a, &read("/accounts/numbers")).await),
        ("identity", server.get(&server.a, &read("/identity")).await),
        ("transactions", server.get(&server.a, &read("/transactions")).await),
        ("sync", server.get(&server.a, &read("/transactions/sync")).await),
        ("refresh", server.post(&server.a, &read("/products"), &refresh).await),
        ("delete", server.delete(&server.a, &read("")).await),
    ]
}

/// Asserts the column of `state`; the delete comes last, so the link is deleted afterwards.
async fn assert_blocked(server: &TestServer, id: &str, state: &str, link_error_code: &str) {
    for (call, answer) in calls(server, id).await {
        match call {
            "get link" => assert_eq!(answer.ok(200)["state"], state),
            "delete" => assert_eq!((answer.status, answer.body.len()), (204, 0)),
            _ => {
                answer.expect(422, "link_error.bad_state");
                assert_eq!(answer.json()["link_error_code"], link_error_code, "{call}");
            }
        }
    }
}

#[tokio::test]
async fn connected() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    for (call, answer) in calls(&server, &id).await {
        let expected = match call {
            "refresh" => 202,
            "delete" => 204,
            "account" => 404,
            _ => 200,
        };
        assert_eq!(answer.status, expected, "{call}: {}", answer.text());
    }
}

#[tokio::test]
async fn awaiting_token_exchange() {
    let server = TestServer::start().await;
    let (id, _) = server.waiting_link(&server.a).await;
    assert_blocked(&server, &id, "awaiting_token_exchange", "awaiting_token_exchange").await;
}

#[tokio::test]
async fn error() {
    let server = TestServer::start().await;
    let id = server.link_at(&server.a, "credentials_bank", "user_bad").await;
    assert_blocked(&server, &id, "error", "invalid_credentials").await;
}

#[tokio::test]
async fn deleted_and_then_gone() {
    let server = TestServer::start().await;
    let id = server.deleted_link(&server.a).await;
    for (call, answer) in calls(&server, &id).await {
        match call {
            "get link" => assert_eq!(answer.ok(200)["state"], "deleted"),
            _ => {
                answer.expect(410, "link_error.deleted");
            }
        }
    }
    server.advance(90 * DAY - 1);
    assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.status, 200);
    server.advance(1);
    for (call, answer) in calls(&server, &id).await {
        assert_eq!((answer.status, answer.code().as_str()), (404, "link_error.not_found"), "{call}");
    }
}

#[tokio::test]
async fn the_stub_of_a_deleted_link_holds_nothing_but_the_contracts_fields() {
    let server = TestServer::start().await;
    let fields = json!({"link_tags": ["kept"], "webhook": "https://app.example/hook"});
    let id = server.link_with(&server.a, fields).await;
    assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204);
    let mut stub = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    stub["institution_avatar"] = json!("");
    assert_eq!(
        stub,
        json!({
            "link_id": id, "institution_id": "credentials_bank", "institution_name": "Credentials Bank",
            "institution_avatar": "", "state": "deleted", "error_code": null, "last_synced_at": null,
            "provider": "moneykit", "link_tags": ["kept"], "tags": ["kept"], "webhook": null, "products": {},
            "available_products": []
        })
    );
}
