//! The error catalogue: one case per row, the exact body and the headers that go with it.

use serde_json::{Value, json};

use crate::support::{Answer, REDIRECT, TestServer, UNKNOWN_LINK, USER, bank, write_client};
use passbook::api::limits::Limits;
use passbook_core::tenant::ScopeSet;

/// What every error answer has: the contract's media type, no caching, a request id, and exactly the expected body.
#[track_caller]
fn assert_error(answer: &Answer, status: u16, body: Value) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json(), body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let request_id = answer.header("x-request-id").expect("a request id");
    assert!(request_id.starts_with("req_") && request_id.len() > 20, "{request_id}");
}

fn three_keys(code: &str, message: &str) -> Value {
    json!({"error_code": code, "error_message": message, "documentation_url": null})
}

fn invalid(location: Value, message: &str, kind: &str) -> Value {
    let mut body = three_keys("api_error.request.validation_failed", "Request validation error");
    body["validation_errors"] = json!([{"location": location, "message": message, "type": kind}]);
    body
}

#[tokio::test]
async fn credentials_rows() {
    let server = TestServer::start().await;
    let code = "api_error.auth.unauthorized";

    let malformed = server.anonymous("POST", "/auth/token").send().await;
    assert_error(&malformed, 400, three_keys(code, "Missing client credentials"));

    let form = format!("client_id={}&client_secret=wrong", server.a.id);
    let wrong = server.anonymous("POST", "/auth/token").form(&form).send().await;
    assert_error(&wrong, 401, three_keys(code, "Invalid client credentials"));
    assert_eq!(wrong.header("www-authenticate"), Some("Bearer"));

    let missing = server.anonymous("GET", "/links").send().await;
    assert_error(&missing, 401, three_keys(code, "Missing access token"));
    assert_eq!(missing.header("www-authenticate"), Some("Bearer"));

    let token = server.token(&server.a).await;
    server.advance(3_600);
    let expired = server.bearer(&token, "GET", "/links").send().await;
    assert_error(&expired, 401, three_keys("api_error.auth.expired_access_token", "Access token expired"));
    assert_eq!(expired.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));

    let out_of_scope = server.get(&server.limited, &format!("/links/{UNKNOWN_LINK}/accounts")).await;
    assert_error(&out_of_scope, 401, three_keys("link_error.unauthorized_access", "Unauthorized link access."));

    let no_link = server.get(&server.limited, "/sandbox/clock").await;
    assert_error(&no_link, 401, three_keys(code, "The client's scope does not cover this call"));
}

#[tokio::test]
async fn link_session_rows() {
    let server = TestServer::start().await;
    let exchanged =
        server.post(&server.a, "/link-session/exchange-token", &json!({"exchangeable_token": "f".repeat(64)})).await;
    let code = "link_session_error.invalid_token_exchange";
    assert_error(&exchanged, 400, three_keys(code, "Invalid token for link"));

    let foreign_origin = server.session(&server.a, json!({"redirect_uri": "https://evil.example/"})).await;
    let code = "link_session_error.forbidden_config";
    assert_error(&foreign_origin, 403, three_keys(code, "The redirect_uri's origin is not on the app's allow-list"));

    let unknown_link = server.session(&server.a, json!({"existing_link_id": UNKNOWN_LINK})).await;
    assert_error(&unknown_link, 403, three_keys(code, "The existing_link_id cannot be reconnected by this app"));
}

#[tokio::test]
async fn link_rows() {
    let server = TestServer::start().await;
    let only_accounts = server.scripted_link(json!({})).await;
    let not_granted = server.get(&server.a, &format!("/links/{only_accounts}/accounts/numbers")).await;
    let message = "Account numbers access not permitted";
    assert_error(&not_granted, 403, three_keys("link_error.forbidden_action", message));

    let unknown = server.get(&server.a, &format!("/links/{UNKNOWN_LINK}")).await;
    assert_error(&unknown, 404, three_keys("link_error.not_found", "Link not found."));

    let silent = server.link(&server.a).await;
    let test = json!({"webhook_event": "link.state_changed", "webhook_idempotency_key": "k"});
    let nowhere = server.post(&server.a, &format!("/webhooks/test/link/{silent}"), &test).await;
    assert_error(&nowhere, 400, three_keys("link_error.bad_config", "The link has no webhook URL"));

    let deleted = server.deleted_link(&server.a).await;
    let gone = server.get(&server.a, &format!("/links/{deleted}/accounts")).await;
    let message = "This link was deleted at some earlier time.";
    assert_error(&gone, 410, three_keys("link_error.deleted", message));

    let bad = server.link_at(&server.a, "credentials_bank", "user_bad").await;
    let bad_state = server.get(&server.a, &format!("/links/{bad}/accounts")).await;
    let mut body = three_keys("link_error.bad_state", "The link is not usable: invalid_credentials");
    body["link_error_code"] = json!("invalid_credentials");
    assert_error(&bad_state, 422, body);

    let refresh = format!("/links/{}/products", server.link(&server.a).await);
    let products = json!({"products": ["account_numbers"]});
    assert_eq!(server.post(&server.a, &refresh, &products).await.status, 202);
    server.drain(&server.a).await;
    let limited = server.post(&server.a, &refresh, &products).await;
    let message = "account_numbers was refreshed too recently; try again in 86400 s (in the sandbox, POST \
                   /sandbox/clock moves the app's clock)";
    assert_error(&limited, 429, three_keys("api_error.rate_limit_exceeded", message));
    assert_eq!(limited.header("retry-after"), Some("86400"));
}

#[tokio::test]
async fn other_resource_rows() {
    let server = TestServer::start().await;
    let institution = server.get(&server.a, "/institutions/nobody").await;
    assert_error(&institution, 404, three_keys("institution_error.not_found", "Institution not found"));

    for (method, path) in [("GET", "/"), ("GET", "/nothing"), ("GET", "/Links")] {
        let route = server.call(&server.a, method, path).send().await;
        assert_error(&route, 404, three_keys("api_error.not_found", "There is nothing at this path"));
    }

    for (method, path, allow) in [
        ("GET", "/auth/token", "POST"),
        ("PUT", "/links", "GET,HEAD"),
        ("TRACE", "/links", "GET,HEAD"),
        ("POST", "/links/mk_1", "GET,HEAD,PATCH,DELETE"),
        ("DELETE", "/sandbox/clock", "GET,HEAD,POST"),
    ] {
        let method = server.call(&server.a, method, path).send().await;
        assert_error(&method, 405, three_keys("api_error.method_not_allowed", "This path has no such method"));
        assert_eq!(method.header("allow"), Some(allow), "{path}");
    }

    let version = server.call(&server.a, "GET", "/links").header("moneykit-version", "2030-01-01").send().await;
    let message = "this server speaks version 2023-02-18";
    assert_error(&version, 422, invalid(json!(["header", "MoneyKit-Version"]), message, "value_error.const"));
}

#[tokio::test]
async fn malformed_bodies_are_422_and_oversized_ones_413() {
    let server = TestServer::start().await;
    let post = |body: &str, media_type: Option<&str>| {
        let call = server.call(&server.a, "POST", "/link-session").body(body);
        match media_type {
            Some(media_type) => call.header("content-type", media_type),
            None => call,
        }
    };
    let json_type = Some("application/json");
    let message = "the body must be a JSON object";
    assert_error(&post("[]", json_type).send().await, 422, invalid(json!(["body"]), message, "value_error.json"));
    let message = "the body is not valid JSON (line 1, column 2)";
    assert_error(&post("{x", json_type).send().await, 422, invalid(json!(["body"]), message, "value_error.json"));
    let message = "an object has a key twice";
    let twice = post(r#"{"a":1,"a":1}"#, json_type).send().await;
    assert_error(&twice, 422, invalid(json!(["body"]), message, "value_error.json"));
    let media_type =
        invalid(json!(["header", "Content-Type"]), "the body must be application/json", "value_error.media_type");
    assert_error(&post("{}", None).send().await, 422, media_type.clone());
    assert_error(&post("{}", Some("text/plain")).send().await, 422, media_type);
    let wrong_type = json!({"customer_user": {"id": 1}, "redirect_uri": REDIRECT});
    let wrong_type = server.post(&server.a, "/link-session", &wrong_type).await;
    assert_error(&wrong_type, 422, invalid(json!(["body", "customer_user", "id"]), "expected a string", "type_error"));

    let padding = "x".repeat(1 << 20);
    let large = json!({"customer_user": {"id": USER}, "redirect_uri": REDIRECT, "padding": padding});
    let large = server.post(&server.a, "/link-session", &large).await;
    let message = "the body is over 1048576 bytes";
    assert_error(&large, 413, invalid(json!(["body"]), message, "value_error.too_large"));
}

#[tokio::test]
async fn request_limit_row() {
    let server = TestServer::start_with(Some(Limits::new(1, 1))).await;
    let path = format!("/links/{UNKNOWN_LINK}/identity");
    for _ in 0..3 {
        server.get(&server.a, &path).await.expect(404, "link_error.not_found");
    }
    let limited = server.get(&server.a, &path).await;
    assert_error(&limited, 429, three_keys("api_error.rate_limit_exceeded", "Rate limit exceeded"));
    let wait: u64 = limited.header("retry-after").and_then(|wait| wait.parse().ok()).expect("whole seconds");
    assert!((1..=20).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_store_that_is_down_is_503_and_never_401_or_404() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let token = server.token(&server.a).await;
    server.services.store.close().await;
    let message = "The service is temporarily unavailable; nothing was changed";
    let form = format!("client_id={}&client_secret={}", server.a.id, server.a.secret);
    let refresh = server.bearer(&token, "POST", &format!("/links/{id}/products"));
    for call in [
        server.bearer(&token, "GET", &format!("/links/{id}")),
        server.bearer(&token, "GET", &format!("/links/{id}/accounts/numbers")),
        server.bearer(&token, "GET", "/links"),
        server.anonymous("POST", "/auth/token").form(&form),
        refresh.json(&json!({"products": ["accounts"]})),
    ] {
        let answer = call.send().await;
        assert_error(&answer, 503, three_keys("api_error.unavailable", message));
        assert_eq!(answer.header("retry-after"), Some("2"));
    }
    assert_eq!(server.anonymous("GET", "/healthz").send().await.status, 200);
    assert_eq!(server.anonymous("GET", "/readyz").send().await.status, 503);
}

#[tokio::test]
async fn a_panic_is_a_plain_500() {
    let server = TestServer::start().await;
    server.bank.panic_at_sign_in();
    let body = json!({"customer_user": {"id": USER}, "institution_id": bank::ID});
    let answer = server.post(&server.a, "/sandbox/links", &body).await;
    assert_error(&answer, 500, three_keys("api_error.internal", "Internal error"));
    assert_eq!(server.get(&server.a, "/links").await.status, 200, "the server lives on");
}

#[tokio::test]
async fn a_disabled_client_is_refused_like_an_unknown_one() {
    let server = TestServer::start().await;
    let form = |id: &str, secret: &str| format!("client_id={id}&client_secret={secret}");
    let now = server.services.clocks.real_now();
    write_client(&server.services, &server.b, ScopeSet::all(), Some(now)).await;
    let disabled = server.anonymous("POST", "/auth/token").form(&form(&server.b.id, &server.b.secret)).send().await;
    let unknown = server.anonymous("POST", "/auth/token").form(&form("sandbox_none", &server.b.secret)).send().await;
    disabled.expect(401, "api_error.auth.unauthorized");
    assert_eq!(disabled.visible(), unknown.visible());
}
