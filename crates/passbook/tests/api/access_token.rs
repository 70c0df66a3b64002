//! `POST /auth/token`, `GET /auth/introspect`, and how a caller is recognised.

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use passbook::system::random_alphanumeric;
use passbook_core::tenant::ScopeSet;
use serde_json::json;

use crate::support::{Answer, Call, Client, TestServer, write_client};

const UNAUTHORIZED: &str = "api_error.auth.unauthorized";
const EMPTY_BASIC: &str = "Basic Og==";
/// How long a revocation may take to arrive (one second), and some room for a busy machine.
const REVOKED_WITHIN: Duration = Duration::from_millis(1_500);

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn form(client: &Client) -> String {
    format!("client_id={}&client_secret={}", client.id, client.secret)
}

fn token_call(server: &TestServer) -> Call {
    server.anonymous("POST", "/auth/token")
}

#[track_caller]
fn assert_issued(answer: &Answer) -> String {
    let body = answer.ok(201);
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("bearer"), &json!(3600)));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let token = body["access_token"].as_str().expect("a token");
    assert!(token.len() == 64 && token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "its form");
    token.to_owned()
}

#[tokio::test]
async fn credentials_are_taken_from_the_form_from_basic_or_from_both_when_they_agree() {
    let server = TestServer::start().await;
    let a = &server.a;
    let good = basic(&a.id, &a.secret);
    for call in [
        token_call(&server).form(&form(a)),
        token_call(&server).form(&format!("grant_type=client_credentials&scope=&{}", form(a))),
        token_call(&server).header("authorization", &good),
        token_call(&server).header("authorization", &good).form("grant_type=client_credentials"),
        token_call(&server).header("authorization", &good.replacen("Basic", "bAsIc", 1)),
        token_call(&server).header("authorization", &good).form(&form(a)),
        token_call(&server).header("authorization", EMPTY_BASIC).form(&form(a)),
        token_call(&server).header("authorization", &basic("", "x")).form(&form(a)),
        token_call(&server).form(&format!("unknown=1&unknown=2&{}", form(a))),
        token_call(&server).header("moneykit-version", "").form(&form(a)),
        token_call(&server).header("MoneyKit-Version", "2023-02-18").form(&form(a)),
    ] {
        let token = assert_issued(&call.send().await);
        let introspected = server.bearer(&token, "GET", "/auth/introspect").send().await.ok(200);
        assert_eq!(introspected["client_id"], a.id);
    }
}

#[tokio::test]
async fn malformed_token_requests_are_400() {
    let server = TestServer::start().await;
    let (a, b) = (&server.a, &server.b);
    let (id, secret, good) = (&a.id, &a.secret, form(a));
    let huge = "x".repeat(20_000);
    let json_body = json!({"client_id": id, "client_secret": secret, "grant_type": "client_credentials"});
    let cases: Vec<(&str, Call)> = vec![
        ("nothing", token_call(&server)),
        ("an empty Basic pair alone", token_call(&server).header("authorization", EMPTY_BASIC)),
        ("two pairs", token_call(&server).header("authorization", &basic(&b.id, &b.secret)).form(&good)),
        ("two secrets", token_call(&server).header("authorization", &basic(id, "x")).form(&good)),
        ("refresh_token", token_call(&server).form(&format!("grant_type=refresh_token&{good}"))),
        ("another grant", token_call(&server).form(&format!("grant_type=password&{good}"))),
        ("an empty grant", token_call(&server).form(&format!("grant_type=&{good}"))),
        ("an id twice", token_call(&server).form(&format!("client_id={id}&{good}"))),
        ("a secret twice", token_call(&server).form(&format!("{good}&client_secret={secret}"))),
        ("a scope twice", token_call(&server).form(&format!("scope=links&scope=links&{good}"))),
        (
            "a grant twice",
            token_call(&server).form(&format!("grant_type=client_credentials&grant_type=client_credentials&{good}")),
        ),
        ("JSON", token_call(&server).json(&json_body)),
        ("no media type", token_call(&server).body(good.clone())),
        ("an id only", token_call(&server).form(&format!("client_id={id}"))),
        ("an unknown scope", token_call(&server).form(&format!("scope=everything&{good}"))),
        ("a scope in upper case", token_call(&server).form(&format!("scope=LINKS&{good}"))),
        ("a huge id", token_call(&server).form(&format!("client_id={}&client_secret=x", "x".repeat(300)))),
        ("a huge secret", token_call(&server).form(&format!("client_id={id}&client_secret={}", "x".repeat(300)))),
        ("Basic that is not base64", token_call(&server).header("authorization", "Basic ***").form(&good)),
        ("Basic without a colon", token_call(&server).header("authorization", "Basic eHh4").form(&good)),
        ("Basic that is not UTF-8", token_call(&server).header("authorization", "Basic /zr/").form(&good)),
        ("a bearer token", token_call(&server).header("authorization", "Bearer abc").form(&good)),
        (
            "two headers",
            token_call(&server).header("authorization", EMPTY_BASIC).header("authorization", EMPTY_BASIC).form(&good),
        ),
        ("a secret in the URL", server.anonymous("POST", &format!("/auth/token?{good}")).form(&good)),
        ("a secret in the URL alone", server.anonymous("POST", &format!("/auth/token?{good}"))),
        ("an id in the URL", server.anonymous("POST", &format!("/auth/token?client_id={id}")).form(&good)),
    ];
    for (case, call) in cases {
        let answer = call.send().await;
        assert_eq!((answer.status, answer.code().as_str()), (400, UNAUTHORIZED), "{case}: {}", answer.text());
        assert!(!answer.text().contains(secret.as_str()) && !answer.text().contains("everything"), "{case}");
    }
    let too_large = token_call(&server).form(&format!("scope={huge}&{good}")).send().await;
    too_large.expect(413, "api_error.request.validation_failed");
    let version = token_call(&server).header("moneykit-version", "x").form(&good).send().await;
    version.expect(422, "api_error.request.validation_failed");
    server.anonymous("GET", "/auth/token").send().await.expect(405, "api_error.method_not_allowed");
}

#[tokio::test]
async fn wrong_credentials_are_401_and_an_unknown_id_answers_like_a_wrong_secret() {
    let server = TestServer::start().await;
    let (a, b) = (&server.a, &server.b);
    let mut wrong: Vec<(String, String)> = vec![
        (a.id.clone(), b.secret.clone()),
        (a.id.clone(), String::new()),
        (a.id.clone(), a.secret.to_lowercase()),
        (a.id.clone(), format!("{}x", a.secret)),
        (a.id.clone(), a.secret[..42].to_owned()),
        (a.id.to_uppercase(), a.secret.clone()),
        (format!("sandbox_{}", "0".repeat(20)), a.secret.clone()),
        (server.live.id.clone(), a.secret.clone()),
        ("x".into(), "x".into()),
        ("' OR 1=1 --".into(), "x".into()),
    ];
    wrong.extend((0..200).map(|_| (a.id.clone(), random_alphanumeric())));
    let mut answers = Vec::new();
    for (id, secret) in &wrong {
        let answer = token_call(&server).header("authorization", &basic(id, secret)).send().await;
        answer.expect(401, UNAUTHORIZED);
        answers.push(answer.visible());
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_scope_narrows_the_token() {
    let server = TestServer::start().await;
    let token =
        assert_issued(&token_call(&server).form(&format!("scope=links+institutions&{}", form(&server.a))).send().await);
    let introspected = server.bearer(&token, "GET", "/auth/introspect").send().await.ok(200);
    assert_eq!(introspected["scope"], "institutions links");
    assert_eq!(server.bearer(&token, "GET", "/links").send().await.status, 200);
    server.bearer(&token, "GET", "/sandbox/clock").send().await.expect(401, UNAUTHORIZED);
    // The client itself may have less than everything, and then no token has more.
    let more = token_call(&server).form(&format!("scope=accounts&{}", form(&server.limited))).send().await;
    more.expect(400, UNAUTHORIZED);
}

#[tokio::test]
async fn introspection_names_client_and_app() {
    let server = TestServer::start().await;
    let body = server.get(&server.limited, "/auth/introspect").await.ok(200);
    let app = server.limited.tenant.app_id.as_str();
    assert_eq!(
        body,
        json!({
            "client_id": server.limited.id, "client_name": "Test client", "scope": "institutions links",
            "app": {"app_id": app, "id": app, "name": "App A", "app_name": "App A"}, "disabled_at": null
        })
    );
}

#[tokio::test]
async fn only_the_exact_token_in_the_one_header_is_accepted() {
    let server = TestServer::start().await;
    let token = server.token(&server.a).await;
    let session = server.session_token(&server.a, json!({})).await;
    let (_, exchangeable) = server.waiting_link(&server.a).await;
    for header in [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER   {token}")] {
        let answer = server.anonymous("GET", "/links").header("authorization", &header).send().await;
        assert_eq!(answer.status, 200, "{}", header.replace(&token, "…"));
    }
    let mut bad: Vec<String> = [
        &token[..63],
        &token[1..],
        &token.to_uppercase(),
        &format!("{token}0"),
        &format!("{token} "),
        &format!("{token},{token}"),
        &format!("\"{token}\""),
        &token.replace(char::is_alphabetic, "g"),
        &session,
        &exchangeable,
        &server.a.secret,
        &"0".repeat(64),
        &"a".repeat(100_000),
        "null",
        "undefined",
        "é",
    ]
    .iter()
    .map(|token| format!("Bearer {token}"))
    .collect();
    bad.extend([
        token.clone(),
        format!("Token {token}"),
        format!("Bearer{token}"),
        format!("Bearer\t{token}"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        String::new(),
        basic(&server.a.id, &server.a.secret),
        EMPTY_BASIC.to_owned(),
    ]);
    for header in &bad {
        let answer = server.anonymous("GET", "/links").header("authorization", header).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (401, UNAUTHORIZED), "{header:.80}");
    }
    let good = format!("Bearer {token}");
    for call in [
        server.anonymous("GET", "/links").header("authorization", &good).header("authorization", &good),
        server.anonymous("GET", &format!("/links?access_token={token}")),
        server.anonymous("GET", &format!("/links?access_token={token}")).header("authorization", &good),
        server.anonymous("GET", "/links").header("cookie", &format!("access_token={token}")),
        server.anonymous("GET", "/links").header("x-access-token", &token),
    ] {
        call.send().await.expect(401, UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_token_lives_an_hour_on_the_apps_clock_and_is_then_called_expired() {
    let server = TestServer::start().await;
    let (token, live) = (server.token(&server.a).await, server.token(&server.live).await);
    server.advance(3_599);
    assert_eq!(server.bearer(&token, "GET", "/links").send().await.status, 200);
    server.advance(1);
    for token in [&token, &live] {
        server.bearer(token, "GET", "/links").send().await.expect(401, "api_error.auth.expired_access_token");
    }
    let unknown = server.bearer(&"0".repeat(64), "GET", "/links").send().await;
    unknown.expect(401, UNAUTHORIZED);
    let fresh = server.token(&server.a).await;
    assert_eq!(server.bearer(&fresh, "GET", "/links").send().await.status, 200);
}

#[tokio::test]
async fn the_sandbox_clock_does_not_age_live_tokens() {
    let server = TestServer::start().await;
    let (sandbox, live) = (server.token(&server.a).await, server.token(&server.live).await);
    server.post(&server.a, "/sandbox/clock", &json!({"advance_seconds": 3600})).await.ok(200);
    server.bearer(&sandbox, "GET", "/links").send().await.expect(401, "api_error.auth.expired_access_token");
    assert_eq!(server.bearer(&live, "GET", "/links").send().await.status, 200);
}

#[tokio::test]
async fn the_header_pair_is_as_good_as_a_token_and_must_agree_with_one_beside_it() {
    let server = TestServer::start().await;
    let (a, b) = (&server.a, &server.b);
    let token = server.token(a).await;
    let links = || server.anonymous("GET", "/links");
    let pair = |call: Call, id: &str, secret: &str| call.header("X-Client-Id", id).header("X-Client-Secret", secret);
    assert_eq!(pair(links(), &a.id, &a.secret).send().await.status, 200);
    assert_eq!(pair(server.bearer(&token, "GET", "/links"), &a.id, &a.secret).send().await.status, 200);
    let id_beside_token = server.bearer(&token, "GET", "/links").header("x-client-id", &b.id);
    assert_eq!(id_beside_token.send().await.status, 200, "an id alone proves nothing and is not looked at");
    for call in [
        links().header("x-client-id", &a.id),
        links().header("x-client-secret", &a.secret),
        pair(links(), &a.id, &b.secret),
        pair(links(), &a.id, ""),
        pair(links(), "", &a.secret),
        pair(links(), "", ""),
        pair(links(), &a.id, "é"),
        pair(pair(links(), &a.id, &a.secret), &a.id, &a.secret),
        pair(server.bearer(&token, "GET", "/links"), &b.id, &b.secret),
        pair(server.bearer(&token, "GET", "/links"), &a.id, "wrong"),
        pair(server.bearer(&"0".repeat(64), "GET", "/links"), &a.id, &a.secret),
        pair(links().header("authorization", EMPTY_BASIC), &a.id, &a.secret),
    ] {
        call.send().await.expect(401, UNAUTHORIZED);
    }
}

/// Asks until the answer is 401 and returns how long that took.
async fn refused_after(call: Call) -> Duration {
    let began = Instant::now();
    while call.clone().send().await.status != 401 {
        assert!(began.elapsed() < Duration::from_secs(10), "never refused");
    }
    began.elapsed()
}

#[tokio::test]
async fn a_disabled_client_loses_its_tokens_and_its_pair_within_a_second() {
    let server = TestServer::start().await;
    let token = server.token(&server.a).await;
    let by_token = server.bearer(&token, "GET", "/links");
    let by_pair = server.call(&server.a, "GET", "/links");
    assert_eq!((by_token.clone().send().await.status, by_pair.clone().send().await.status), (200, 200));
    let now = server.services.clocks.real_now();
    write_client(&server.services, &server.a, ScopeSet::all(), Some(now)).await;
    assert!(refused_after(by_token.clone()).await < REVOKED_WITHIN);
    assert!(refused_after(by_pair).await < REVOKED_WITHIN);
    by_token.send().await.expect(401, UNAUTHORIZED);
}

#[tokio::test]
async fn a_replaced_secret_is_refused_within_a_second() {
    let server = TestServer::start().await;
    let by_pair = server.call(&server.a, "GET", "/links");
    assert_eq!(by_pair.clone().send().await.status, 200);
    let new = Client { secret: random_alphanumeric(), ..server.a.clone() };
    write_client(&server.services, &new, ScopeSet::all(), None).await;
    assert!(refused_after(by_pair).await < REVOKED_WITHIN);
    token_call(&server).form(&form(&server.a)).send().await.expect(401, UNAUTHORIZED);
    assert_issued(&token_call(&server).form(&form(&new)).send().await);
}

#[tokio::test]
async fn narrowing_a_client_narrows_its_tokens_within_a_second() {
    let server = TestServer::start().await;
    let token = server.token(&server.a).await;
    let clock = server.bearer(&token, "GET", "/sandbox/clock");
    assert_eq!(clock.clone().send().await.status, 200);
    let some = ScopeSet::requested("links", ScopeSet::all()).unwrap();
    write_client(&server.services, &server.a, some, None).await;
    assert!(refused_after(clock).await < REVOKED_WITHIN);
    assert_eq!(server.bearer(&token, "GET", "/links").send().await.status, 200);
}
