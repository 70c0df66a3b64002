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
        for n in 0..150 {
            calls.push(server.call(&server.a, "GET", &path).header(name, &format!("10.0.0.{n}")));
        }
    }
    for (at, byte) in rest.bytes().enumerate() {
        let escaped = format!("mk_{}%{byte:02x}{}", &rest[..at], &rest[at + 1..]);
        calls.push(server.call(&server.a, "GET", &format!("/links/{escaped}/accounts/numbers")));
    }
    assert!(calls.len() > 1_050, "{}", calls.len());
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
}

fn token_call(server: &TestServer, id: &str, secret: &str) -> Call {
    server.anonymous("POST", "/auth/token").form(&format!("client_id={id}&client_secret={secret}"))
}

fn pair_call(server: &TestServer, id: &str, secret: &str) -> Call {
    server.anonymous("GET", "/links").header("x-client-id", id).header("x-client-secret", secret)
}

/// Requests refused by a limit, as the operator sees it.
async fn refused(server: &TestServer) -> u64 {
    let metrics = server.anonymous("GET", "/metrics").send().await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("passbook_requests_limited_total "));
    line.expect("the counter").parse().expect("a number")
}

#[tokio::test]
async fn a_client_has_a_limit_of_tokens() {
    let server = start().await;
    assert_limit(&token_call(&server, &server.a.id, &server.a.secret), 300).await;
    token_call(&server, &server.b.id, &server.b.secret).send().await.ok(201);
    assert_eq!(refused(&server).await, 1);
}

#[tokio::test]
async fn wrong_secrets_are_limited_however_they_come_and_never_lock_the_right_one_out() {
    let server = start().await;
    let (a, b) = (&server.a, &server.b);
    for (guessed, guess) in [(a, token_call(&server, &a.id, "wrong")), (b, pair_call(&server, &b.id, "wrong"))] {
        let before = refused(&server).await;
        assert_limit(&guess, 300).await;
        assert_eq!(refused(&server).await, before + 1);
        let wait = retry_after(&flood(&guess).await);
        assert_eq!(wait, 1, "five come back every second");
        token_call(&server, &guessed.id, &guessed.secret).send().await.ok(201);
        pair_call(&server, &guessed.id, &guessed.secret).send().await.ok(200);
    }
    // One count for both ways in, and one for each id, known or not.
    retry_after(&flood(&pair_call(&server, &a.id, "wrong")).await);
    retry_after(&flood(&token_call(&server, &b.id, "wrong")).await);
    let unknown = format!("sandbox_{}", "0".repeat(20));
    token_call(&server, &unknown, "wrong").send().await.expect(401, "api_error.auth.unauthorized");
}

/// The first refusal by the limit, which comes soon: few calls have come back since the last.
async fn flood(call: &Call) -> Answer {
    for _ in 0..150 {
        let answer = call.clone().send().await;
        if answer.status == 429 {
            return answer;
        }
    }
    panic!("never refused");
}

#[tokio::test]
async fn sandbox_control_has_no_limit() {
    let server = start().await;
    for _ in 0..700 {
        server.get(&server.a, "/sandbox/clock").await.ok(200);
    }
}

#[tokio::test]
async fn every_answer_that_counted_tells_what_is_left_of_the_tightest_limit() {
    let server = start().await;
    let id = server.link(&server.a).await;
    let path = format!("/links/{id}/accounts/numbers");
    let fields = |answer: &Answer| {
        ["ratelimit-limit", "ratelimit-remaining", "ratelimit-policy"]
            .map(|name| answer.header(name).map(str::to_owned))
    };
    let told =
        |limit: &str, remaining: &str, policy: &str| [limit, remaining, policy].map(|text| Some(text.to_owned()));
    let began = Instant::now();
    for remaining in ["2", "1", "0"] {
        let answer = server.get(&server.a, &path).await;
        assert_eq!(fields(&answer), told("3", remaining, "3;w=60"));
        let reset: u64 = answer.header("ratelimit-reset").unwrap().parse().unwrap();
        assert!((1..=60).contains(&reset), "{reset}");
    }
    let refused = server.get(&server.a, &path).await;
    assert!(came_back(began, 3) > 0 || refused.status == 429, "{}", refused.status);
    assert_eq!(fields(&refused), told("3", "0", "3;w=60"));
    let unknown = server.get(&server.a, "/links/mk_1/identity").await;
    assert_eq!((unknown.status, fields(&unknown)), (404, told("3", "2", "3;w=60")));
    let listed = server.get(&server.b, "/links").await;
    assert_eq!(fields(&listed), told("600", "599", "600;w=60"));
    let session = server.session(&server.a, json!({})).await;
    assert_eq!(fields(&session), told("20", "19", "20;w=60"));
}

#[tokio::test]
async fn an_answer_that_counted_against_nothing_tells_nothing() {
    let limited = start().await;
    let unlimited = TestServer::start().await;
    for answer in [
        limited.anonymous("GET", "/links").send().await,
        limited.get(&limited.a, "/sandbox/clock").await,
        limited.anonymous("GET", "/healthz").send().await,
        unlimited.get(&unlimited.a, "/links").await,
    ] {
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("ratelimit")), "{:?}", answer.headers);
    }
}

#[tokio::test]
async fn each_new_call_on_a_link_and_a_user_has_its_limit() {
    let server = start().await;
    let id = server.link(&server.a).await;
    for (method, path, limit) in [
        ("PATCH", format!("/links/{id}"), 4),
        ("POST", format!("/links/{id}/reset"), 15),
        ("POST", format!("/webhooks/test/link/{id}"), 15),
        ("POST", format!("/webhooks/test/link/mk%5F{}", &id[3..]), 0),
    ] {
        let call = server.call(&server.a, method, &path).json(&json!({}));
        assert_limit(&call, limit).await;
    }
}
