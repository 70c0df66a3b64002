//! `POST /links/{id}/products`: accepting refreshes, their limits, and what becomes of them.

use passbook_core::{failure::FailureClass, product::Product};
use serde_json::{Value, json};

use crate::support::{Answer, TestServer, fixture, text};

const LIMITED: &str = "api_error.rate_limit_exceeded";
const HOUR: i64 = 3_600;

async fn refresh(server: &TestServer, id: &str, products: &[&str]) -> Answer {
    server.post(&server.a, &format!("/links/{id}/products"), &json!({"products": products})).await
}

async fn product(server: &TestServer, id: &str, name: &str) -> Value {
    server.get(&server.a, &format!("/links/{id}")).await.ok(200)["products"][name].clone()
}

/// A connected link at the scripted bank whose products were all prefetched.
async fn full_link(server: &TestServer) -> String {
    let prefetch = json!({"prefetch": true});
    let products = json!({"account_numbers": prefetch, "identity": prefetch, "transactions": prefetch});
    server.scripted_link(products).await
}

#[tokio::test]
async fn an_accepted_refresh_answers_with_the_link_and_ends() {
    let server = TestServer::start().await;
    let id = full_link(&server).await;
    let before = product(&server, &id, "transactions").await;
    server.advance(10);
    let answer = refresh(&server, &id, &["transactions"]).await.ok(202);
    assert_eq!((&answer["link_id"], &answer["state"]), (&json!(id), &json!("connected")));
    assert_eq!(answer["products"]["transactions"]["refreshed_at"], before["refreshed_at"], "not yet");
    server.drain(&server.a).await;
    let after = product(&server, &id, "transactions").await;
    assert!(text(&after["refreshed_at"]) > text(&before["refreshed_at"]));
    assert!(text(&after["last_attempted_at"]) > text(&before["last_attempted_at"]));
    assert_eq!((&after["error_code"], &after["error_message"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn success_times_rise_even_under_a_frozen_clock() {
    let server = TestServer::start().await;
    server.post(&server.a, "/sandbox/clock", &json!({"freeze_at": "2026-03-01T00:00:00Z"})).await.ok(200);
    let id = full_link(&server).await;
    let before = product(&server, &id, "accounts").await;
    refresh(&server, &id, &["accounts"]).await.ok(202);
    server.drain(&server.a).await;
    let after = product(&server, &id, "accounts").await;
    assert!(text(&after["refreshed_at"]) > text(&before["refreshed_at"]));
}

#[tokio::test]
async fn each_product_has_its_own_rolling_window() {
    for (name, window) in
        [("accounts", HOUR), ("transactions", HOUR), ("account_numbers", 24 * HOUR), ("identity", 24 * HOUR)]
    {
        let server = TestServer::start().await;
        let id = full_link(&server).await;
        refresh(&server, &id, &[name]).await.ok(202);
        server.drain(&server.a).await;
        let limited = refresh(&server, &id, &[name]).await;
        assert_eq!(limited.expect(429, LIMITED).header("retry-after"), Some(window.to_string().as_str()), "{name}");
        server.advance(window - 1);
        let limited = refresh(&server, &id, &[name]).await;
        assert_eq!(limited.expect(429, LIMITED).header("retry-after"), Some("1"), "{name}");
        server.advance(1);
        refresh(&server, &id, &[name]).await.ok(202);
        server.drain(&server.a).await;
        refresh(&server, &id, &[name]).await.expect(429, LIMITED);
    }
}

#[tokio::test]
async fn the_window_runs_on_the_apps_clock() {
    let server = TestServer::start().await;
    let id = full_link(&server).await;
    refresh(&server, &id, &["transactions"]).await.ok(202);
    server.drain(&server.a).await;
    let limited = refresh(&server, &id, &["transactions"]).await;
    assert!(text(&limited.expect(429, LIMITED).json()["error_message"]).contains("/sandbox/clock"));
    server.post(&server.a, "/sandbox/clock", &json!({"advance_seconds": HOUR})).await.ok(200);
    refresh(&server, &id, &["transactions"]).await.ok(202);
}

#[tokio::test]
async fn one_limited_product_rejects_the_whole_call_and_spends_nothing() {
    let server = TestServer::start().await;
    let id = full_link(&server).await;
    refresh(&server, &id, &["identity"]).await.ok(202);
    server.drain(&server.a).await;
    let fetches = server.bank.all_fetches();
    refresh(&server, &id, &["transactions", "identity"]).await.expect(429, LIMITED);
    server.drain(&server.a).await;
    assert_eq!(server.bank.all_fetches(), fetches);
    refresh(&server, &id, &["transactions", "accounts"]).await.ok(202);
    server.drain(&server.a).await;
    assert_eq!(server.bank.all_fetches(), fetches + 2);
}

#[tokio::test]
async fn a_second_refresh_while_one_runs_is_limited_also_during_a_prefetch() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"transactions": {}})).await;
    server.bank.hold();
    refresh(&server, &id, &["transactions"]).await.ok(202);
    refresh(&server, &id, &["transactions"]).await.expect(429, LIMITED);
    server.bank.release();
    server.drain(&server.a).await;
    assert!(product(&server, &id, "transactions").await["refreshed_at"].is_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_refreshes_at_once_exactly_one_is_accepted_and_fetched_once() {
    let server = TestServer::start().await;
    let id = full_link(&server).await;
    let fetched = server.bank.fetches(Product::Identity);
    let call =
        server.call(&server.a, "POST", &format!("/links/{id}/products")).json(&json!({"products": ["identity"]}));
    let calls: Vec<_> = (0..50).map(|_| tokio::spawn(call.clone().send_until_admitted())).collect();
    let mut accepted = 0;
    for call in calls {
        let answer = call.await.unwrap();
        accepted += usize::from(answer.status == 202);
        assert!(answer.status == 202 || answer.code() == LIMITED, "{}", answer.text());
    }
    server.drain(&server.a).await;
    assert_eq!((accepted, server.bank.fetches(Product::Identity)), (1, fetched + 1));
}

#[tokio::test]
async fn a_failure_of_the_banks_keeps_data_and_gives_the_allowance_back() {
    for (class, code, returned) in [
        (FailureClass::InstitutionDown, "institution_error", true),
        (FailureClass::Timeout, "timeout", true),
        (FailureClass::Unexpected, "unknown", true),
        (FailureClass::ProviderFault, "unknown", true),
        (FailureClass::RateLimited, "rate_limit", false),
        (FailureClass::NotSupported, "not_supported", false),
        (FailureClass::NoPermission, "no_permission", false),
        (FailureClass::NoAccounts, "no_accounts", false),
    ] {
        let server = TestServer::start().await;
        let id = full_link(&server).await;
        let before = product(&server, &id, "account_numbers").await;
        let numbers = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await.ok(200)["accounts"].clone();
        server.bank.fail(Product::AccountNumbers, class);
        server.advance(5);
        refresh(&server, &id, &["account_numbers"]).await.ok(202);
        server.drain(&server.a).await;
        let failed = product(&server, &id, "account_numbers").await;
        assert_eq!((&failed["error_code"], &failed["error_message"]), (&json!(code), &json!("The script says so")));
        assert_eq!(failed["refreshed_at"], before["refreshed_at"]);
        assert!(text(&failed["last_attempted_at"]) > text(&before["last_attempted_at"]));
        let after = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await.ok(200);
        assert_eq!((&after["accounts"], &after["link"]["state"]), (&numbers, &json!("connected")));

        server.bank.recover();
        let again = refresh(&server, &id, &["account_numbers"]).await;
        assert_eq!(again.status, if returned { 202 } else { 429 }, "{class:?}");
        server.drain(&server.a).await;
        if returned {
            assert_eq!(product(&server, &id, "account_numbers").await["error_code"], Value::Null, "reset by a success");
        }
    }
}

#[tokio::test]
async fn one_product_may_fail_while_another_succeeds() {
    let server = TestServer::start().await;
    let id = full_link(&server).await;
    server.bank.fail(Product::Identity, FailureClass::InstitutionDown);
    server.advance(5);
    let before = product(&server, &id, "transactions").await;
    refresh(&server, &id, &["identity", "transactions"]).await.ok(202);
    server.drain(&server.a).await;
    assert_eq!(product(&server, &id, "identity").await["error_code"], "institution_error");
    let after = product(&server, &id, "transactions").await;
    assert!(text(&after["refreshed_at"]) > text(&before["refreshed_at"]));
    refresh(&server, &id, &["transactions"]).await.expect(429, LIMITED);
    refresh(&server, &id, &["identity"]).await.ok(202);
}

#[tokio::test]
async fn ended_access_takes_the_link_to_error_and_stops_asking_the_bank() {
    let server = TestServer::start().await;
    let id = full_link(&server).await;
    server.bank.fail(Product::Accounts, FailureClass::ConsentExpired);
    let identity = server.bank.fetches(Product::Identity);
    refresh(&server, &id, &["accounts", "identity"]).await.ok(202);
    server.drain(&server.a).await;
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!((&link["state"], &link["error_code"]), (&json!("error"), &json!("auth_expired")));
    for name in ["accounts", "identity"] {
        assert_eq!(link["products"][name]["error_code"], "auth_expired", "{name}");
    }
    assert_eq!(server.bank.fetches(Product::Identity), identity);
    let blocked = refresh(&server, &id, &["transactions"]).await;
    assert_eq!(blocked.expect(422, "link_error.bad_state").json()["link_error_code"], "auth_expired");
}

#[tokio::test]
async fn a_refresh_names_known_and_granted_products() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"account_numbers": {}})).await;
    for name in ["identity", "transactions", "investments", "enrichment"] {
        refresh(&server, &id, &[name]).await.expect(403, "link_error.forbidden_action");
        refresh(&server, &id, &["account_numbers", name]).await.expect(403, "link_error.forbidden_action");
    }
    let path = format!("/links/{id}/products");
    for body in [
        json!({"products": []}),
        json!({"products": ["balances"]}),
        json!({"products": ["Accounts"]}),
        json!({"products": [""]}),
        json!({"products": [null]}),
        json!({"products": [1]}),
        json!({"products": "accounts"}),
        json!({"products": null}),
        json!({"products": {}}),
        json!({}),
        json!([]),
        Value::Null,
    ] {
        server.post(&server.a, &path, &body).await.expect(422, "api_error.request.validation_failed");
    }
    let twice = refresh(&server, &id, &["account_numbers", "account_numbers"]).await;
    twice.ok(202);
    server.drain(&server.a).await;
    assert_eq!(server.bank.fetches(Product::AccountNumbers), 1);
}

#[tokio::test]
async fn a_file_link_accepts_a_refresh_that_fails_as_not_supported() {
    let server = TestServer::start().await;
    let imported = server.import(&server.a, "user-0001", &fixture("plain_sgml_crlf.ofx")).await.ok(201);
    let id = text(&imported["link_id"]);
    let before = product(&server, &id, "transactions").await;
    assert!(before["unavailable"].is_string());
    refresh(&server, &id, &["transactions"]).await.ok(202);
    server.drain(&server.a).await;
    let after = product(&server, &id, "transactions").await;
    assert_eq!((&after["error_code"], &after["refreshed_at"]), (&json!("not_supported"), &before["refreshed_at"]));
    let page = server.get(&server.a, &format!("/links/{id}/transactions")).await.ok(200);
    assert_eq!(page["total"], 3, "stored data stays readable");
}

#[tokio::test]
async fn a_link_deleted_while_its_refresh_runs_stays_deleted() {
    let server = TestServer::start().await;
    let id = full_link(&server).await;
    server.bank.hold();
    refresh(&server, &id, &["accounts", "transactions"]).await.ok(202);
    assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204);
    server.bank.release();
    server.drain(&server.a).await;
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!((&link["state"], &link["products"]), (&json!("deleted"), &json!({})));
}
