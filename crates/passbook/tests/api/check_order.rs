//! The order of checks (contract, section 2.2). Each case breaks two neighbouring rules and sees the earlier one
//! answered.

use serde_json::json;

use crate::support::{TestServer, UNKNOWN_LINK};
use passbook::api::limits::Limits;
use passbook_core::tenant::ScopeSet;

const VALIDATION: &str = "api_error.request.validation_failed";

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
    let refresh = format!("/links/{bad}/products");
    server.post(&server.a, &refresh, &json!({"products": []})).await.expect(422, VALIDATION);
    server.get(&server.a, &format!("/links/{bad}/transactions?size=0")).await.expect(422, VALIDATION);
    server.get(&server.a, &format!("/links/{bad}/transactions/sync?size=501")).await.expect(422, VALIDATION);
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
async fn the_version_is_read_after_the_scope_and_an_unknown_or_deleted_link() {
    let server = TestServer::start().await;
    let (id, deleted) = (server.link(&server.a).await, server.deleted_link(&server.a).await);
    for (method, route) in super::coverage::routes() {
        if !route.contains("/link/{id}") && !route.contains("/links/{id}") {
            continue;
        }
        let call = |client, id: &str| {
            let path = route.replace("{id}", id).replace("{account_id}", "acc_1").replace("{txn_id}", "txn_1");
            server.call(client, &method, &path).header("moneykit-version", "2030-01-01")
        };
        let reads_the_link = (method.as_str(), route.as_str()) == ("GET", "/links/{id}");
        call(&server.a, UNKNOWN_LINK).send().await.expect(404, "link_error.not_found");
        match reads_the_link {
            true => call(&server.a, &deleted).send().await.expect(422, VALIDATION),
            false => call(&server.a, &deleted).send().await.expect(410, "link_error.deleted"),
        };
        assert_eq!(call(&server.a, &id).send().await.expect(422, VALIDATION).places(), ["header.MoneyKit-Version"]);
    }
    let accounts = server.call(&server.limited, "GET", &format!("/links/{UNKNOWN_LINK}/accounts"));
    let accounts = accounts.header("moneykit-version", "2030-01-01").send().await;
    accounts.expect(401, "link_error.unauthorized_access");
    assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.ok(200)["state"], "connected");
}

#[tokio::test]
async fn every_operation_without_a_link_refuses_an_unknown_version() {
    let server = TestServer::start().await;
    let public = super::coverage::owned(&super::coverage::PUBLIC);
    for (method, route) in super::coverage::routes().difference(&public) {
        if !route.contains("/link/{id}") && !route.contains("/links/{id}") {
            let call = server.call(&server.a, method, &route.replace("{id}", "user-0001"));
            let answer = call.header("moneykit-version", "2030-01-01").send().await;
            assert_eq!(answer.expect(422, VALIDATION).places(), ["header.MoneyKit-Version"], "{method} {route}");
        }
    }
}
