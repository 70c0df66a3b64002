//! Request limits (contract, section 4.3): per link and per application, by nothing a client can choose.

use passbook::api::limits::Limits;
use serde_json::json;

use crate::support::{Answer, Call, REDIRECT, TestServer, USER};

const LIMITED: &str = "api_error.rate_limit_exceeded";

async fn start() -> TestServer {
    TestServer::start_with(Some(Limits::new(1, 1))).await
}

/// How many of `count` calls were let through.
async fn let_through(call: &Call, count: usize) -> usize {
    let mut through = 0;
    for _ in 0..count {
        through += usize::from(call.clone().send().await.status != 429);
    }
    through
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
    assert_eq!(let_through(&server.call(&server.a, "GET", &path), 4).await, 3);
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
        for n in 0..20 {
            calls.push(server.call(&server.a, "GET", &path).header(name, &format!("10.0.0.{n}")));
        }
    }
    for (at, byte) in rest.bytes().enumerate() {
        let escaped = format!("mk_{}%{byte:02x}{}", &rest[..at], &rest[at + 1..]);
        calls.push(server.call(&server.a, "GET", &format!("/links/{escaped}/accounts/numbers")));
    }
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.send().await.status, 429, "call {n}");
    }
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
        assert_eq!(let_through(&call, limit + 1).await, limit, "{path}");
    }
    let refresh = server.call(&server.a, "POST", &format!("/links/{id}/products")).json(&json!({"products": ["x"]}));
    assert_eq!(let_through(&refresh, 16).await, 15);
}

#[tokio::test]
async fn calls_without_a_link_are_limited_per_app_and_sessions_per_user_too() {
    let server = start().await;
    let institutions = server.call(&server.a, "GET", "/institutions");
    assert_eq!(let_through(&institutions, 31).await, 30);
    assert_eq!(let_through(&server.call(&server.limited, "GET", "/institutions"), 1).await, 0, "the same app");
    assert_eq!(let_through(&server.call(&server.b, "GET", "/institutions"), 1).await, 1);

    let session = |user: &str| {
        let body = json!({"customer_user": {"id": user}, "redirect_uri": REDIRECT});
        server.call(&server.a, "POST", "/link-session").json(&body)
    };
    assert_eq!(let_through(&session(USER), 21).await, 20);
    retry_after(&session(USER).send().await);
    assert_eq!(let_through(&session("user-0002"), 1).await, 1);

    let form = format!("client_id={}&client_secret=wrong", server.b.id);
    let guess = server.anonymous("POST", "/auth/token").form(&form);
    assert_eq!(let_through(&guess, 302).await, 300, "guesses count");
    let good = format!("client_id={}&client_secret={}", server.a.id, server.a.secret);
    assert_eq!(server.anonymous("POST", "/auth/token").form(&good).send().await.status, 201);
}

#[tokio::test]
async fn sandbox_control_has_no_limit() {
    let server = start().await;
    assert_eq!(let_through(&server.call(&server.a, "GET", "/sandbox/clock"), 700).await, 700);
}
