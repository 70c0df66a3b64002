//! The order of checks (contract, section 2.2). Each case breaks two neighbouring rules and sees the earlier one
//! answered.

use serde_json::json;

use crate::support::{TestServer, UNKNOWN_LINK};
use passbook::api::limits::Limits;
use passbook_core::tenant::ScopeSet;

#[tokio::test]
async fn credentials_come_before_the_request_limit() {
    let server = TestServer::start_with(Some(Limits::new(1, 1))).await;
    let path = format!("/links/{UNKNOWN_LINK}/accounts/numbers");
    for _ in 0..3 {
        server.get(&server.a, &path).await;
    }
    server.get(&server.a, &path).await.expect(429, "api_error.rate_limit_exceeded");
    let wrong = server.bearer(&"0".repeat(64), "GET", &path).send().await;
    wrong.expect(401, "api_error.auth.unauthorized");
}

#[tokio::test]
async fn the_request_limit_comes_before_the_scope() {
    let server = TestServer::start_with(Some(Limits::new(1, 1))).await;
    let path = format!("/links/{UNKNOWN_LINK}/accounts/numbers");
    for _ in 0..3 {
        server.get(&server.limited, &path).await.expect(401, "link_error.unauthorized_access");
    }
    server.get(&server.limited, &path).await.expect(429, "api_error.rate_limit_exceeded");
}

#[tokio::test]
async fn the_scope_comes_before_the_link() {
    let server = TestServer::start().await;
    let deleted = server.deleted_link(&server.a).await;
    for id in [UNKNOWN_LINK, deleted.as_str(), "%00"] {
        let answer = server.get(&server.limited, &format!("/links/{id}/accounts")).await;
        answer.expect(401, "link_error.unauthorized_access");
    }
}

#[tokio::test]
async fn an_unknown_or_deleted_link_comes_before_the_body_and_the_query() {
    let server = TestServer::start().await;
    let deleted = server.deleted_link(&server.a).await;
    for (id, status, code) in
        [(UNKNOWN_LINK, 404, "link_error.not_found"), (deleted.as_str(), 410, "link_error.deleted")]
    {
        let refresh = server.call(&server.a, "POST", &format!("/links/{id}/products")).body("not json").send().await;
        refresh.expect(status, code);
        let import = format!("/links/{id}/import/transactions");
        server.call(&server.a, "POST", &import).body("not json").send().await.expect(status, code);
        server.get(&server.a, &format!("/links/{id}/transactions?page=0")).await.expect(status, code);
        server.get(&server.a, &format!("/links/{id}/transactions/sync?cursor=x")).await.expect(status, code);
    }
}

#[tokio::test]
async fn validation_comes_before_the_state_and_the_state_before_the_grant() {
    let server = TestServer::start().await;
    let body = json!({
        "institution_id": "credentials_bank", "username": "user_bad",
        "settings": {"products": {"transactions": {"prefetch": true}}}
    });
    let bad = server.link_with(&server.a, body).await;
    let validation = "api_error.request.validation_failed";
    let refresh = format!("/links/{bad}/products");
    server.post(&server.a, &refresh, &json!({"products": []})).await.expect(422, validation);
    server.get(&server.a, &format!("/links/{bad}/transactions?size=0")).await.expect(422, validation);
    server.get(&server.a, &format!("/links/{bad}/transactions/sync?size=501")).await.expect(422, validation);
    // Nothing was granted on this link either.
    server.post(&server.a, &refresh, &json!({"products": ["identity"]})).await.expect(422, "link_error.bad_state");
    server.get(&server.a, &format!("/links/{bad}/identity")).await.expect(422, "link_error.bad_state");
}

#[tokio::test]
async fn the_grant_comes_before_the_refresh_limit() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"account_numbers": {"prefetch": true}})).await;
    let refresh = format!("/links/{id}/products");
    assert_eq!(server.post(&server.a, &refresh, &json!({"products": ["account_numbers"]})).await.status, 202);
    server.drain(&server.a).await;
    let both = server.post(&server.a, &refresh, &json!({"products": ["account_numbers", "identity"]})).await;
    both.expect(403, "link_error.forbidden_action");
    let limited = server.post(&server.a, &refresh, &json!({"products": ["account_numbers"]})).await;
    limited.expect(429, "api_error.rate_limit_exceeded");
}

#[tokio::test]
async fn a_body_is_checked_before_the_allow_list() {
    let server = TestServer::start().await;
    let fields = json!({"redirect_uri": "https://evil.example/", "link_tags": ["-"]});
    server.session(&server.a, fields).await.expect(422, "api_error.request.validation_failed");
}

#[tokio::test]
async fn sandbox_calls_do_not_exist_for_live_clients_whatever_their_scope() {
    let server = TestServer::start().await;
    let none = ScopeSet::requested("links", ScopeSet::all()).unwrap();
    crate::support::write_client(&server.services, &server.live, none, None).await;
    server.get(&server.live, "/sandbox/clock").await.expect(404, "api_error.not_found");
}

#[tokio::test]
async fn the_version_is_read_after_the_scope_and_before_the_link() {
    let server = TestServer::start().await;
    let path = format!("/links/{UNKNOWN_LINK}/accounts");
    let call = |client| server.call(client, "GET", &path).header("moneykit-version", "2030-01-01");
    call(&server.limited).send().await.expect(401, "link_error.unauthorized_access");
    // The version decides how everything else of the request is to be understood.
    call(&server.a).send().await.expect(422, "api_error.request.validation_failed");
}
