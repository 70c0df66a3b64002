//! `Idempotency-Key`: one effect and one answer for every operation that creates.

use passbook::api::limits::Limits;
use serde_json::json;

use crate::support::{Answer, Call, Canaries, Client, REDIRECT, TestServer, USER, fixture, text};

pub const KEY: &str = "idempotency-key";
const REPLAYED: &str = "idempotency-replayed";
const INVALID: &str = "api_error.request.validation_failed";
const DAY: i64 = 24 * 3_600;

/// An operation with a request that has an effect.
pub struct Case {
    pub call: Call,
    /// The audit action that stands for the effect.
    pub action: &'static str,
    pub status: u16,
}

/// Every operation that takes a key.
pub async fn every_operation(server: &TestServer) -> Vec<Case> {
    let post = |path: &str, body| server.call(&server.a, "POST", path).json(&body);
    let refreshed = server.link(&server.a).await;
    server.advance(2 * DAY);
    let (_, exchangeable_token) = server.waiting_link(&server.a).await;
    let session_token = server.session_token(&server.a, json!({})).await;
    let user = json!({"id": USER});
    // A user of its own, so that the file makes a link each time.
    let import = format!("/passbook/links/import-file?customer_user_id={refreshed}");
    let case = |call, action, status| Case { call, action, status };
    vec![
        case(
            post("/link-session", json!({"customer_user": user, "redirect_uri": REDIRECT})),
            "create_link_session",
            201,
        ),
        case(
            post("/link-session/exchange-token", json!({"exchangeable_token": exchangeable_token})),
            "exchange_token",
            201,
        ),
        case(post(&format!("/links/{refreshed}/products"), json!({"products": ["identity"]})), "refresh_products", 202),
        case(post("/sandbox/links", json!({"customer_user": user})), "exchange_token", 201),
        case(post("/sandbox/links", json!({"customer_user": user, "exchange": false})), "complete_link_session", 201),
        case(
            post("/sandbox/links", json!({"customer_user": user, "username": "user_bad_password"})),
            "complete_link_session",
            201,
        ),
        case(
            post("/sandbox/link-sessions/complete", json!({"link_session_token": session_token})),
            "complete_link_session",
            201,
        ),
        case(server.call(&server.a, "POST", &import).body(fixture("credit_card.qfx")), "import_file", 201),
    ]
}

/// How often the action happened.
pub fn happened(server: &TestServer, action: &str) -> i64 {
    let count = "SELECT count(*) FROM audit WHERE action = ?1";
    server.sql(count, &[action.into()]).number()
}

#[track_caller]
pub fn assert_replayed(answer: &Answer, first: &Answer) {
    assert_eq!((answer.status, answer.text()), (first.status, first.text()));
    assert_eq!(answer.header(REPLAYED), Some("true"));
    assert_eq!(answer.header("content-type"), first.header("content-type"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

fn session(server: &TestServer, client: &Client, user: &str) -> Call {
    let body = json!({"customer_user": {"id": user}, "redirect_uri": REDIRECT});
    server.call(client, "POST", "/link-session").json(&body)
}

#[tokio::test]
async fn a_repeated_call_gets_the_first_answer_and_has_no_effect() {
    let server = TestServer::start().await;
    for (n, Case { call, action, status }) in every_operation(&server).await.into_iter().enumerate() {
        let (call, before) = (call.header(KEY, &format!("key {n}")), happened(&server, action));
        let first = call.clone().send().await;
        assert_eq!((first.status, first.header(REPLAYED)), (status, None), "{}", first.text());
        for _ in 0..3 {
            assert_replayed(&call.clone().send().await, &first);
        }
        assert_eq!(happened(&server, action), before + 1, "case {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_50_calls_at_once_one_has_an_effect_and_all_get_its_answer() {
    let server = TestServer::start().await;
    for (n, Case { call, action, status }) in every_operation(&server).await.into_iter().enumerate() {
        let (call, before) = (call.header(KEY, &format!("key {n}")), happened(&server, action));
        let calls: Vec<_> = (0..50).map(|_| tokio::spawn(call.clone().send_until_admitted())).collect();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.unwrap());
        }
        let originals = answers.iter().filter(|answer| answer.header(REPLAYED).is_none()).count();
        assert_eq!(originals, 1, "case {n}");
        for answer in &answers {
            assert_eq!((answer.status, answer.text()), (status, answers[0].text()), "case {n}");
        }
        assert_eq!(happened(&server, action), before + 1, "case {n}");
    }
}

#[tokio::test]
async fn another_body_or_query_with_the_same_key_is_refused() {
    let server = TestServer::start().await;
    for (n, Case { call, action, .. }) in every_operation(&server).await.into_iter().enumerate() {
        let call = call.header(KEY, &format!("key {n}"));
        let first = call.clone().send().await;
        let before = happened(&server, action);
        let other = match action {
            "import_file" => call.clone().body(fixture("pending.ofx")),
            "refresh_products" => call.clone().body(r#"{"products":["transactions"]}"#),
            "exchange_token" | "complete_link_session" | "create_link_session" => call.clone().body(
                json!({
                    "customer_user": {"id": USER}, "redirect_uri": REDIRECT, "exchangeable_token": "other",
                    "link_session_token": "other", "nothing": 1
                })
                .to_string(),
            ),
            other => panic!("{other}"),
        };
        let refused = other.send().await;
        assert_eq!(refused.expect(422, INVALID).places(), ["header.Idempotency-Key"]);
        assert_eq!(happened(&server, action), before, "case {n}");
        assert_replayed(&call.send().await, &first);
    }
    let import = |user: &str| {
        let path = format!("/passbook/links/import-file?customer_user_id={user}");
        server.call(&server.a, "POST", &path).header(KEY, "query").body(fixture("pending.ofx"))
    };
    import(USER).send().await.ok(201);
    assert_eq!(import("user-0002").send().await.expect(422, INVALID).places(), ["header.Idempotency-Key"]);
}

#[tokio::test]
async fn a_key_belongs_to_one_app_environment_operation_and_path() {
    let server = TestServer::start().await;
    let mut tokens = Vec::new();
    for client in [&server.a, &server.b, &server.live] {
        let answer = session(&server, client, USER).header(KEY, "k").send().await;
        assert_eq!(answer.header(REPLAYED), None);
        tokens.push(text(&answer.ok(201)["link_session_token"]));
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
    let links = [server.link(&server.a).await, server.link(&server.a).await];
    server.advance(2 * DAY);
    for id in links {
        let path = format!("/links/{id}/products");
        let refresh = server.call(&server.a, "POST", &path).json(&json!({"products": ["accounts"]}));
        let answer = refresh.header(KEY, "k").send().await;
        assert_eq!((answer.header(REPLAYED), &answer.ok(202)["link_id"]), (None, &json!(id)));
    }
}

#[tokio::test]
async fn a_malformed_key_is_refused_before_anything_happens() {
    let server = TestServer::start().await;
    let before = happened(&server, "create_link_session");
    let call = session(&server, &server.a, USER);
    let long = "k".repeat(256);
    for key in ["", &long, "caf\u{e9}", "a\tb", "\u{80}"] {
        let answer = call.clone().header(KEY, key).send().await;
        assert_eq!(answer.expect(422, INVALID).places(), ["header.Idempotency-Key"], "{key:?}");
    }
    let twice = call.clone().header(KEY, "a").header(KEY, "a").send().await;
    assert_eq!(twice.expect(422, INVALID).places(), ["header.Idempotency-Key"]);
    assert_eq!(happened(&server, "create_link_session"), before);
    call.clone().header(KEY, &long[1..]).send().await.ok(201);
    call.header(KEY, " ~!\"#'").send().await.ok(201);
}

#[tokio::test]
async fn a_refused_call_gives_its_key_back() {
    let server = TestServer::start().await;
    let exchange = |token: &str| {
        let call = server.call(&server.a, "POST", "/link-session/exchange-token");
        call.header(KEY, "k").json(&json!({"exchangeable_token": token}))
    };
    exchange("unknown").send().await.expect(400, "link_session_error.invalid_token_exchange");
    let (_, token) = server.waiting_link(&server.a).await;
    let first = exchange(&token).send().await;
    assert_eq!((first.status, first.header(REPLAYED)), (201, None), "{}", first.text());

    // A sign-in that the bank refuses is answered 422, and may be tried again with the same key.
    let session_token = server.session_token(&server.a, json!({"institution_id": "credentials_bank"})).await;
    let complete = |username: &str| {
        let call = server.call(&server.a, "POST", "/sandbox/link-sessions/complete");
        call.header(KEY, "k").json(&json!({"link_session_token": session_token, "username": username}))
    };
    complete("user_bad_password").send().await.expect(422, "link_error.bad_state");
    complete("user_good").send().await.ok(201);
    let held = "SELECT count(*) FROM kept_answers WHERE status IS NULL";
    assert_eq!(server.sql(held, &[]).number(), 0);
}

#[tokio::test]
async fn a_replay_passes_the_same_checks_as_the_first_call() {
    let limits = Limits::new(1, 1);
    let server = TestServer::start_with(Some(limits)).await;
    let call = |client| session(&server, client, USER).header(KEY, "k");
    call(&server.a).send().await.ok(201);
    call(&server.limited).send().await.expect(401, "api_error.auth.unauthorized");
    session(&server, &server.a, USER)
        .header(KEY, "k")
        .header("authorization", "Bearer wrong")
        .send()
        .await
        .expect(401, "api_error.auth.unauthorized");
    let mut through = 1;
    while call(&server.a).send().await.status != 429 {
        through += 1;
        assert!(through < 40, "replays are not counted");
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_a_day_whatever_the_sandbox_clock_does() {
    let server = TestServer::start().await;
    let call = session(&server, &server.a, USER).header(KEY, "k");
    let first = call.clone().send().await;
    first.ok(201);
    server.post(&server.a, "/sandbox/clock", &json!({"advance_seconds": 30 * DAY})).await.ok(200);
    server.advance(DAY - 1);
    assert_replayed(&call.clone().send().await, &first);
    server.advance(1);
    let anew = call.send().await;
    assert_eq!((anew.status, anew.header(REPLAYED)), (201, None));
    assert_ne!(anew.text(), first.text());
}

#[tokio::test]
async fn a_file_with_nothing_new_is_answered_the_same_twice() {
    let server = TestServer::start().await;
    server.import(&server.a, USER, &fixture("credit_card.qfx")).await.ok(201);
    let path = format!("/passbook/links/import-file?customer_user_id={USER}");
    let call = server.call(&server.a, "POST", &path).header(KEY, "k").body(fixture("credit_card.qfx"));
    let first = call.clone().send().await;
    assert_eq!(first.ok(200)["created"], 0);
    assert_replayed(&call.send().await, &first);
}

#[tokio::test]
async fn a_deleted_link_takes_its_kept_answers_along() {
    let server = TestServer::start().await;
    let (id, token) = server.waiting_link(&server.a).await;
    let body = json!({"exchangeable_token": token});
    let call = server.call(&server.a, "POST", "/link-session/exchange-token").header(KEY, "k").json(&body);
    call.clone().send().await.ok(201);
    let kept = || {
        let count = "SELECT count(*) FROM kept_answers WHERE link_id = ?1";
        server.sql(count, &[(&id).into()]).number()
    };
    assert_eq!(kept(), 1);
    assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204);
    assert_eq!(kept(), 0);
    call.send().await.expect(400, "link_session_error.invalid_token_exchange");
}

#[tokio::test]
async fn neither_keys_nor_answers_are_in_the_files() {
    let server = TestServer::start().await;
    let mut canaries = Canaries::default();
    canaries.add("key", "canary-key-5577-3311");
    canaries.add("account number in a body", "98765001234567");
    let account = json!({
        "account_type": "checking", "name": "Custom", "account_number": "98765001234567", "routing_number": "322271627"
    });
    let body = json!({
        "customer_user": {"id": USER}, "exchange": false, "username": "user_custom",
        "custom_sandbox_data": {"accounts": [account]}
    });
    let call = server.call(&server.a, "POST", "/sandbox/links").header(KEY, "canary-key-5577-3311").json(&body);
    let first = call.clone().send().await;
    let tokens = first.ok(201);
    canaries.add("exchangeable token", &text(&tokens["exchangeable_token"]));
    canaries.add("session token", &text(&tokens["link_session_token"]));
    assert_replayed(&call.send().await, &first);
    assert_eq!(canaries.found_in(&server.files()), Vec::<String>::new());
    let sealed = "SELECT count(*) FROM kept_answers WHERE status = 201 AND length(body) > 200";
    assert_eq!(server.sql(sealed, &[]).number(), 1);
}

#[tokio::test]
async fn a_token_call_has_no_use_for_a_key() {
    let server = TestServer::start().await;
    let form = format!("grant_type=client_credentials&client_id={}&client_secret={}", server.a.id, server.a.secret);
    let call = server.anonymous("POST", "/auth/token").form(&form).header(KEY, "k");
    let (first, second) = (call.clone().send().await, call.send().await);
    assert_ne!(first.ok(201)["access_token"], second.ok(201)["access_token"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_keys_used_twice_make_ten_thousand_sessions() {
    const KEYS: usize = 10_000;
    const AT_ONCE: usize = 16;
    let server = TestServer::start().await;
    let before = happened(&server, "create_link_session");
    let call = session(&server, &server.a, USER);
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|worker| {
            let call = call.clone();
            tokio::spawn(async move {
                for n in (worker..KEYS).step_by(AT_ONCE) {
                    let call = call.clone().header(KEY, &format!("key-{n}"));
                    let (one, two) = tokio::join!(call.clone().send_until_admitted(), call.send_until_admitted());
                    assert_eq!((one.status, one.text()), (201, two.text()));
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(happened(&server, "create_link_session") - before, KEYS as i64);
}
