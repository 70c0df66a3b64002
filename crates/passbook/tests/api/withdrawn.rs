//! A caller whose access is withdrawn while its call waits is told nothing.

use std::time::Duration;

use passbook::services::access::CACHED_FOR;
use passbook_core::tenant::ScopeSet;
use passbook_store::port::{Changes, Client as ClientRow};
use serde_json::json;

use crate::support::{Answer, Call, TestServer, USER, bank};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

async fn change_client(server: &TestServer, change: impl FnOnce(&mut ClientRow)) {
    let mut client = server.services.store.lookup_client(&server.a.id).await.unwrap().expect("a client");
    change(&mut client);
    server.services.store.commit(Changes { client: Some(client), ..Changes::default() }).await.unwrap();
}

/// Makes a call that waits for the bank; changes the client meanwhile; gives what the call was answered.
async fn answer_after(server: &TestServer, call: Call, change: impl FnOnce(&mut ClientRow)) -> Answer {
    answer_behind(server, call, change_client(server, change)).await
}

/// The same with another change.
async fn answer_behind(server: &TestServer, call: Call, change: impl Future<Output = ()>) -> Answer {
    server.bank.hold();
    let mut answering = tokio::spawn(call.send());
    // As long as a recognition holds, the caller is believed.
    tokio::time::timeout(CACHED_FOR, &mut answering).await.expect_err("it waits for the bank");
    change.await;
    server.bank.release();
    tokio::time::timeout(PATIENCE, answering).await.expect("an answer in time").unwrap()
}

fn sandbox_link(server: &TestServer) -> Call {
    let body = json!({"customer_user": {"id": USER}, "institution_id": bank::ID});
    server.call(&server.a, "POST", "/sandbox/links").json(&body)
}

#[tokio::test]
async fn a_call_that_waited_for_a_bank_answers_a_caller_that_is_still_welcome() {
    let server = TestServer::start().await;
    let answer = answer_after(&server, sandbox_link(&server), |client| client.name = "renamed".to_owned()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test]
async fn a_call_that_waited_for_a_bank_tells_a_revoked_client_nothing() {
    let server = TestServer::start().await;
    let now = server.services.store.now();
    let answer = answer_after(&server, sandbox_link(&server), |client| client.disabled_at = Some(now)).await;
    assert_eq!((answer.status, answer.code()), (401, "api_error.auth.unauthorized".to_owned()));
    assert!(!answer.text().contains("link_id"), "{}", answer.text());
}

#[tokio::test]
async fn a_call_that_waited_for_a_bank_tells_a_client_of_a_disabled_app_nothing() {
    let server = TestServer::start().await;
    let answer = answer_behind(&server, sandbox_link(&server), server.disable_app(&server.a)).await;
    answer.expect(401, "api_error.auth.unauthorized");
    assert!(!answer.text().contains("link_id"), "{}", answer.text());
}

#[tokio::test]
async fn clients_of_a_disabled_app_are_refused_until_it_is_enabled() {
    let server = TestServer::start().await;
    let token = server.token(&server.a).await;
    let credentials = format!("client_id={}&client_secret={}", server.a.id, server.a.secret);
    let new_token = server.anonymous("POST", "/auth/token").form(&credentials);
    server.disable_app(&server.a).await;
    for call in [
        server.call(&server.a, "GET", "/links"),
        server.call(&server.live, "GET", "/links"),
        server.bearer(&token, "GET", "/links"),
        new_token,
    ] {
        call.send().await.expect(401, "api_error.auth.unauthorized");
    }
    server.get(&server.b, "/links").await.ok(200);
    server.enable_app(&server.a).await;
    server.get(&server.a, "/links").await.ok(200);
    server.get(&server.live, "/links").await.ok(200);
    server.bearer(&token, "GET", "/links").send().await.ok(200);
    server.token(&server.a).await;
}

#[tokio::test]
async fn a_call_that_waited_for_a_bank_tells_nothing_to_a_token_of_a_withdrawn_secret() {
    let server = TestServer::start().await;
    let token = server.token(&server.a).await;
    let body = json!({"customer_user": {"id": USER}, "institution_id": bank::ID});
    let call = server.bearer(&token, "POST", "/sandbox/links").json(&body);
    let another = server.services.keys.hash_client_secret("another");
    let answer = answer_after(&server, call, |client| client.secret_hashes = vec![another]).await;
    assert_eq!((answer.status, answer.code()), (401, "api_error.auth.unauthorized".to_owned()));
}

#[tokio::test]
async fn a_call_that_waited_for_a_clock_tells_nothing_to_a_client_that_lost_the_scope() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"identity": {}})).await;
    server.bank.hold();
    let refresh = json!({"products": ["identity"]});
    server.post(&server.a, &format!("/links/{id}/products"), &refresh).await.ok(202);
    let clock = server.call(&server.a, "POST", "/sandbox/clock").json(&json!({"advance_seconds": 60}));
    let links = ScopeSet::requested("links", ScopeSet::all()).unwrap();
    let answer = answer_after(&server, clock, |client| client.scopes = links).await;
    assert_eq!((answer.status, answer.code()), (401, "api_error.auth.unauthorized".to_owned()));
}

#[tokio::test]
async fn a_call_that_moved_the_clock_behind_its_own_token_is_answered() {
    let server = TestServer::start().await;
    let id = server.scripted_link(json!({"identity": {}})).await;
    server.bank.hold();
    let token = server.token(&server.a).await;
    server.post(&server.a, &format!("/links/{id}/products"), &json!({"products": ["identity"]})).await.ok(202);
    let clock = server.bearer(&token, "POST", "/sandbox/clock").json(&json!({"advance_seconds": 7_200}));
    let answer = answer_after(&server, clock, |client| client.name = "renamed".to_owned()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let next = server.bearer(&token, "GET", "/sandbox/clock").send().await;
    assert_eq!((next.status, next.code()), (401, "api_error.auth.expired_access_token".to_owned()));
}

#[tokio::test]
async fn a_call_that_waited_for_another_with_its_key_does_nothing_for_a_revoked_client() {
    let server = TestServer::start().await;
    let keyed = |server: &TestServer| sandbox_link(server).header("idempotency-key", "one");
    let now = server.services.store.now();
    server.bank.hold();
    let first = tokio::spawn(keyed(&server).send());
    let mut second = tokio::spawn(keyed(&server).send());
    tokio::time::timeout(CACHED_FOR, &mut second).await.expect_err("it waits for the first");
    change_client(&server, |client| client.disabled_at = Some(now)).await;
    server.bank.release();
    for answering in [first, second] {
        let answer = tokio::time::timeout(PATIENCE, answering).await.expect("an answer in time").unwrap();
        assert_eq!((answer.status, answer.code()), (401, "api_error.auth.unauthorized".to_owned()));
    }
}
