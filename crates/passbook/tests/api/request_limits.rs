//! Request limits (contract, section 4.3): per link and per application, by nothing a client can choose.

use std::time::Instant;

use passbook::api::limits::Limits;
use serde_json::json;

use crate::support::{Answer, Call, REDIRECT, TestServer, USER};

const LIMITED: &str = "api_error.rate_limit_exceeded";

async fn start() -> TestServer {
    TestServer::start_with(Some(Limits::new(1, 1))).await
}

/// Calls until the first refusal and asserts that this is after `per_minute` calls, or after as many more as have come
/// back meanwhile: a machine may be slow.
async fn assert_limit(call: &Call, per_minute: u64) {
    let began = Instant::now();
    let mut through = 0;
    while call.clone().send().await.status != 429 {
        through += 1;
        assert!(through <= per_minute + came_back(began, per_minute), "{through} of {per_minute}");
    }
    assert!(through >= per_minute, "{through} of {per_minute}");
}

/// Most calls that the limit can have given back since `began`.
fn came_back(began: Instant, per_minute: u64) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap() * per_minute / 60_000
}

fn retry_after(answer: &Answer) -> u64 {
    answer.expect(429, LIMITED).header("retry-after").unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_fourth_numbers_read_of_a_link_within_a_minute_is_refused() {
    let server = start().await;
    let (id, other) = (server.link(&server.a).await, server.link(&server.a).await);
    let path = format!("/links/{id}/accounts/numbers");
    for _ in 0..3 {
        server.get(&server.a, &path).await.ok(200);
    }
    let wait = retry_after(&server.get(&server.a, &path).await);
    assert!((1..=20).contains(&wait), "one call comes back every 20 s: {wait}");
    server.get(&server.a, &format!("/links/{other}/accounts/numbers")).await.ok(200);
    server.get(&server.b, &path).await.expect(404, "link_error.not_found");
    server.get(&server.a, &format!("/links/{id}")).await.ok(200);
}

#[tokio::test]
async fn nothing_a_client_writes_into_a_request_brings_another_allowance() {
    let server = start().await;
    let id = server.link(&server.a).await;
    let path = format!("/links/{id}/accounts/numbers");
    let began = Instant::now();
    assert_limit(&server.call(&server.a, "GET", &path), 3).await;
    let (token, second) = (server.token(&server.a).await, server.token(&server.a).await);
    let rest = &id[3..];
    let mut calls = vec![
        server.bearer(&token, "GET", &path),
        server.bearer(&second, "GET", &path),
        server.call(&server.a, "HEAD", &path),
        server.call(&server.a, "GET", &format!("{path}?x=1")),
        server.call(&server.a, "GET", &format!("{path}?")),
        server.call(&server.a, "GET", &format!("/links/mk%5F{rest}/accounts/numbers")),
        server.call(&server.a, "GET", &format!("/links/mk%5f{rest}/accounts/numbers")),
        server.call(&server.a, "GET", &format!("/links/%6Dk_{rest}/accounts/numbers")),
        server.call(&server.a, "GET", &format!("/links/%6d%6b%5f{rest}/accounts/numbers")),
    ];
    for name in ["x-forwarded-for", "forwarded", "x-real-ip", "true-client-ip", "user-agent", "x-request-id", "host"] {
        for n in 0..120 {
            calls.push(server.call(&server.a, "GET", &path).header(name, &format!("10.0.0.{n}")));
        }
    }
    for (at, byte) in rest.bytes().enumerate() {
        let escaped = format!("mk_{}%{byte:02x}{}", &rest[..at], &rest[at + 1..]);
        calls.push(server.call(&server.a, "GET", &format!("/links/{escaped}/accounts/numbers")));
    }
    assert!(calls.len() > 850, "{}", calls.len());
    let mut extra = 0;
    for call in calls {
        extra += u64::from(call.send().await.status != 429);
    }
    assert!(extra <= came_back(began, 3), "{extra}");
    for no_route in [
        format!("//links/{id}/accounts/numbers"),
        format!("/links/{id}//accounts/numbers"),
        format!("/LINKS/{id}/accounts/numbers"),
    ] {
        server.get(&server.a, &no_route).await.expect(404, "api_error.not_found");
    }
}

#[tokio::test]
async fn each_call_on_a_link_has_the_contracts_limit() {
    let server = start().await;
    let id = server.link(&server.a).await;
    for (path, limit) in [
        ("", 15),
        ("/accounts", 4),
        ("/accounts/acc_1", 15),
        ("/identity", 3),
        ("/transactions", 15),
        ("/accounts/numbers", 3),
    ] {
        let call = server.call(&server.a, "GET", &format!("/links/{id}{path}"));
        assert_limit(&call, limit).await;
    }
    let refresh = server.call(&server.a, "POST", &format!("/links/{id}/products")).json(&json!({"products": ["x"]}));
    assert_limit(&refresh, 15).await;
}

#[tokio::test]
async fn calls_without_a_link_are_limited_per_app_and_sessions_per_user_too() {
    let server = start().await;
    assert_limit(&server.call(&server.a, "GET", "/institutions"), 30).await;
    retry_after(&server.get(&server.limited, "/institutions").await);
    server.get(&server.b, "/institutions").await.ok(200);

    let session = |user: &str| {
        let body = json!({"customer_user": {"id": user}, "redirect_uri": REDIRECT});
        server.call(&server.a, "POST", "/link-session").json(&body)
    };
    assert_limit(&session(USER), 20).await;
    session("user-0002").send().await.ok(201);

    let form = format!("client_id={}&client_secret=wrong", server.b.id);
    let guess = server.anonymous("POST", "/auth/token").form(&form);
    assert_limit(&guess, 300).await;
    let good = format!("client_id={}&client_secret={}", server.a.id, server.a.secret);
    assert_eq!(server.anonymous("POST", "/auth/token").form(&good).send().await.status, 201);
}

#[tokio::test]
async fn sandbox_control_has_no_limit() {
    let server = start().await;
    for _ in 0..700 {
        server.get(&server.a, "/sandbox/clock").await.ok(200);
    }
}
