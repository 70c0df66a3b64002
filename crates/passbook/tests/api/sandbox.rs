//! The sandbox control calls: links in one call, and the clock.

use serde_json::{Value, json};

use crate::support::{Answer, TestServer, USER, text};

const VALIDATION: &str = "api_error.request.validation_failed";

async fn clock(server: &TestServer, change: Value) -> Answer {
    server.post(&server.a, "/sandbox/clock", &change).await
}

#[tokio::test]
async fn a_failed_sign_in_is_a_link_that_says_why() {
    let server = TestServer::start().await;
    for (institution, username, answers, code) in [
        ("credentials_bank", "user_bad", json!({}), "invalid_credentials"),
        ("credentials_bank", "user_nobody", json!({}), "invalid_credentials"),
        ("credentials_bank", "user_good", json!({"password": "wrong"}), "invalid_credentials"),
        ("credentials_bank", "user_setup", json!({}), "user_setup_required"),
        ("credentials_bank", "user_custom", json!({}), "user_setup_required"),
        ("credentials_bank", "user_noaccounts", json!({}), "no_accounts"),
        ("credentials_bank", "user_down", json!({}), "institution_error"),
        ("credentials_bank", "user_otp", json!({"code": "0000"}), "user_input_incorrect"),
        ("credentials_bank", "user_otp", json!({"choice": "pigeon"}), "user_input_incorrect"),
        ("credentials_bank", "user_mfa", json!({"question": "wrong"}), "user_input_incorrect"),
        ("oauth_bank", "user_good", json!({"redirect": "deny"}), "user_oauth_denied"),
    ] {
        let body = json!({
            "customer_user": {"id": USER}, "institution_id": institution, "username": username, "answers": answers
        });
        let link = server.post(&server.a, "/sandbox/links", &body).await.ok(201)["link"].clone();
        assert_eq!((&link["state"], &link["error_code"]), (&json!("error"), &json!(code)), "{username} {answers}");
    }
}

#[tokio::test]
async fn a_successful_sign_in_is_a_connected_link_with_everything_fetched() {
    let server = TestServer::start().await;
    for (institution, username, answers) in [
        ("credentials_bank", "user_good", json!({})),
        ("credentials_bank", "user_many", json!({})),
        ("credentials_bank", "user_otp", json!({"code": 1234})),
        ("credentials_bank", "user_mfa", json!({"question": "answer"})),
        ("instant_bank", "anybody", json!({})),
        ("oauth_bank", "anybody", json!({})),
    ] {
        let body = json!({
            "customer_user": {"id": USER}, "institution_id": institution, "username": username, "answers": answers
        });
        let link = server.post(&server.a, "/sandbox/links", &body).await.ok(201)["link"].clone();
        assert_eq!(link["state"], "connected", "{institution} {username}");
        for (name, product) in link["products"].as_object().unwrap() {
            assert!(product["refreshed_at"].is_string(), "{institution} {username} {name}");
        }
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_person() {
    let server = TestServer::start().await;
    let mut numbers = Vec::new();
    for seed in [7, 7, 8] {
        let id = server.link_with(&server.a, json!({"seed": seed})).await;
        let answer = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await.ok(200);
        numbers.push(text(&answer["accounts"][0]["numbers"]["ach"][0]["account_number"]));
    }
    assert_eq!(numbers[0], numbers[1]);
    assert_ne!(numbers[0], numbers[2]);
}

#[tokio::test]
async fn without_an_exchange_the_tokens_are_handed_out() {
    let server = TestServer::start().await;
    let body = json!({"customer_user": {"id": USER}, "exchange": false});
    let answer = server.post(&server.a, "/sandbox/links", &body).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.ok(201);
    assert_eq!(text(&body["exchangeable_token"]).len(), 64);
    assert_eq!(text(&body["link_session_token"]).split('.').count(), 3);
    assert_eq!(server.get(&server.a, "/links").await.ok(200)["links"], json!([]));
}

#[tokio::test]
async fn bodies_are_checked_as_strictly_as_the_contracts() {
    let server = TestServer::start().await;
    let user = json!({"id": USER});
    for (path, body) in [
        ("/sandbox/links", json!({})),
        ("/sandbox/links", json!({"customer_user": {"id": "x"}})),
        ("/sandbox/links", json!({"customer_user": [USER]})),
        ("/sandbox/links", json!({"customer_user": user, "institution_id": "nobody"})),
        ("/sandbox/links", json!({"customer_user": user, "username": 1})),
        ("/sandbox/links", json!({"customer_user": user, "answers": []})),
        ("/sandbox/links", json!({"customer_user": user, "seed": -1})),
        ("/sandbox/links", json!({"customer_user": user, "seed": "1"})),
        ("/sandbox/links", json!({"customer_user": user, "exchange": "no"})),
        ("/sandbox/links", json!({"customer_user": user, "webhook": "x"})),
        ("/sandbox/links", json!({"customer_user": user, "link_tags": ["-"]})),
        ("/sandbox/links", json!({"customer_user": user, "settings": {"providers": ["plaid"]}})),
        ("/sandbox/link-sessions/complete", json!({})),
        ("/sandbox/link-sessions/complete", json!({"link_session_token": null})),
        ("/sandbox/link-sessions/complete", json!({"link_session_token": "x", "accounts": "all"})),
    ] {
        let answer = server.post(&server.a, path, &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, VALIDATION), "{path} {body}");
    }
}

#[tokio::test]
async fn the_clock_moves_stops_and_runs_on() {
    let server = TestServer::start().await;
    let reading = |now: &str, frozen: bool| json!({"now": now, "frozen": frozen, "pending_jobs": 0});
    assert_eq!(server.get(&server.a, "/sandbox/clock").await.ok(200), reading("2026-01-15T09:00:00.000000Z", false));
    let advanced = clock(&server, json!({"advance_seconds": 60})).await.ok(200);
    assert_eq!(advanced, reading("2026-01-15T09:01:00.000000Z", false));
    let frozen = clock(&server, json!({"freeze_at": "2026-02-01T00:00:00Z"})).await.ok(200);
    assert_eq!(frozen, reading("2026-02-01T00:00:00.000000Z", true));
    server.advance(3_600);
    assert_eq!(server.get(&server.a, "/sandbox/clock").await.ok(200), frozen, "real time passes it by");
    let advanced = clock(&server, json!({"advance_seconds": 86_400})).await.ok(200);
    assert_eq!(advanced, reading("2026-02-02T00:00:00.000000Z", true));
    let running = clock(&server, json!({"unfreeze": true})).await.ok(200);
    assert_eq!(running, reading("2026-02-02T00:00:00.000000Z", false));
    server.advance(5);
    assert_eq!(server.get(&server.a, "/sandbox/clock").await.ok(200)["now"], "2026-02-02T00:00:05.000000Z");
    assert_eq!(
        server.get(&server.b, "/sandbox/clock").await.ok(200)["now"],
        "2026-01-15T10:00:05.000000Z",
        "each app has its own"
    );
}

#[tokio::test]
async fn a_clock_change_is_exactly_one_step_and_never_behind_stored_data() {
    let server = TestServer::start().await;
    clock(&server, json!({"freeze_at": "2025-06-01T00:00:00Z"})).await.ok(200);
    clock(&server, json!({"freeze_at": "2025-05-01T00:00:00Z"})).await.ok(200);
    server.link(&server.a).await;
    for change in [
        json!({}),
        json!({"unfreeze": false}),
        json!({"unfreeze": "true"}),
        json!({"advance_seconds": 0}),
        json!({"advance_seconds": -1}),
        json!({"advance_seconds": 1.5}),
        json!({"advance_seconds": "60"}),
        json!({"advance_seconds": i64::MAX}),
        json!({"advance_seconds": 1, "unfreeze": true}),
        json!({"advance_seconds": 1, "freeze_at": "2026-05-01T00:00:00Z"}),
        json!({"freeze_at": "2026-05-01T00:00:00Z", "unfreeze": true}),
        json!({"freeze_at": "2025-04-30T23:59:59Z"}),
        json!({"freeze_at": "1969-12-31T23:59:59Z"}),
        json!({"freeze_at": "9999-01-01T00:00:00Z"}),
        json!({"freeze_at": "2026-05-01"}),
        json!({"freeze_at": "2026-05-01T00:00:00"}),
        json!({"freeze_at": 1_700_000_000}),
        json!({"freeze_at": ""}),
    ] {
        let answer = clock(&server, change.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, VALIDATION), "{change}: {}", answer.text());
        assert_eq!(server.get(&server.a, "/sandbox/clock").await.ok(200)["now"], "2025-05-01T00:00:00.000000Z");
    }
}

#[tokio::test]
async fn a_clock_change_returns_when_the_work_it_made_due_is_done() {
    let server = TestServer::start().await;
    let (id, _) = server.waiting_link(&server.a).await;
    let reading = clock(&server, json!({"advance_seconds": 1_800})).await.ok(200);
    assert_eq!(reading["pending_jobs"], 0);
    assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.ok(200)["error_code"], "incomplete");
}

#[tokio::test]
async fn live_clients_find_no_sandbox_and_live_data_ignores_its_clock() {
    let server = TestServer::start().await;
    let nothing = server.get(&server.live, "/nothing").await;
    for (method, path) in [
        ("POST", "/sandbox/links"),
        ("POST", "/sandbox/link-sessions/complete"),
        ("GET", "/sandbox/clock"),
        ("POST", "/sandbox/clock"),
    ] {
        let answer = server.call(&server.live, method, path).json(&json!({"unfreeze": true})).send().await;
        assert_eq!(answer.visible(), nothing.visible(), "{method} {path}");
    }
    clock(&server, json!({"freeze_at": "2030-01-01T00:00:00Z"})).await.ok(200);
    let file = crate::support::fixture("plain_sgml_crlf.ofx");
    let link = server.import(&server.live, USER, &file).await.ok(201)["link"].clone();
    assert_eq!(link["last_synced_at"], "2026-01-15T09:00:00.000000Z");
}
