//! The way to a place: who calls, limits, body, place. A place is taken last and held for nobody's bytes.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, poll, stream};
use passbook::api::{
    operation::{Operation, Work},
    shed::Admitted,
};
use passbook_core::{ids::AppId, tenant::Tenant};
use serde_json::json;
use tower::ServiceExt;

use crate::support::{Answer, TestServer, fixture};

/// Takes every place for `tenant` and for another one, which gets what `tenant` has to leave to others.
async fn take_all<'a>(server: &'a TestServer, tenant: &Tenant) -> Vec<Admitted<'a>> {
    let other = Tenant { app_id: AppId::from_bits(99), ..tenant.clone() };
    let mut held = Vec::new();
    for operation in [Operation::CreateLinkSession, Operation::CreateSandboxLink] {
        for tenant in [tenant, &other] {
            while let Ok(place) = server.api.shedder.admit(operation, tenant).await {
                held.push(place);
            }
        }
    }
    held
}

#[tokio::test]
async fn every_operation_that_works_on_the_store_needs_a_place() {
    let server = TestServer::start_impatient().await;
    let link = server.link(&server.a).await;
    let imported = server.import(&server.a, "user-0009", &fixture("plain_sgml_crlf.ofx")).await;
    assert_eq!(imported.status, 201);
    let session = server.session_token(&server.a, json!({})).await;
    let about = |rest: &str| format!("/links/{link}{rest}");
    let permissions = json!({"link_permissions": {"requested": []}});
    let rows = [
        (
            Operation::CreateLinkSession,
            "POST",
            "/link-session".to_owned(),
            json!({
                "customer_user": {"id": "user-0001"}, "redirect_uri": crate::support::REDIRECT, "settings": permissions,
            }),
        ),
        (
            Operation::ExchangeToken,
            "POST",
            "/link-session/exchange-token".to_owned(),
            json!({"exchangeable_token": "x"}),
        ),
        (Operation::GetLinks, "GET", "/links".to_owned(), json!(null)),
        (Operation::UpdateLink, "PATCH", about(""), json!({"link_tags": []})),
        (Operation::ResetLink, "POST", about("/reset"), json!({})),
        (Operation::DeleteLink, "DELETE", about(""), json!(null)),
        (Operation::RefreshProducts, "POST", about("/products"), json!({"products": ["accounts"]})),
        (Operation::GetTransactions, "GET", about("/transactions"), json!(null)),
        (Operation::GetTransactionsSync, "GET", about("/transactions/sync"), json!(null)),
        (
            Operation::CorrectEnrichment,
            "POST",
            about("/transactions/txn_zzzzzzzzzzzzzzzzzzzzzz/enrichment"),
            json!({"category": "transport"}),
        ),
        (Operation::GetHoldings, "GET", about("/investments/holdings"), json!(null)),
        (Operation::GetInvestmentTransactions, "GET", about("/investments/transactions"), json!(null)),
        (
            Operation::ImportLink,
            "POST",
            "/links/import".to_owned(),
            json!({
                "customer_user": {"id": "user-0001"}, "institution_id": "credentials_bank", "transactions": [],
                "accounts": [{
                    "account_id": "a", "name": "A", "type": "depository.checking", "account_mask": "1234",
                    "balances": {"currency": "USD", "current": 1},
                }],
            }),
        ),
        (Operation::ImportTransactions, "POST", about("/import/transactions"), json!({"transactions": []})),
        (Operation::GetUserLinks, "GET", "/users/user-0001/links".to_owned(), json!(null)),
        (Operation::GetUserAccounts, "GET", "/users/user-0001/accounts".to_owned(), json!(null)),
        (Operation::GetUserTransactions, "GET", "/users/user-0001/transactions".to_owned(), json!(null)),
        (
            Operation::TriggerTestLinkWebhookEvent,
            "POST",
            format!("/webhooks/test/link/{link}"),
            json!({"webhook_event": "link.state_changed", "webhook_idempotency_key": "k"}),
        ),
        (
            Operation::CreateSandboxLink,
            "POST",
            "/sandbox/links".to_owned(),
            json!({"customer_user": {"id": "user-0001"}}),
        ),
        (
            Operation::CompleteLinkSession,
            "POST",
            "/sandbox/link-sessions/complete".to_owned(),
            json!({"link_session_token": session}),
        ),
        (
            Operation::EditSandboxLink,
            "POST",
            format!("/sandbox/links/{link}/edits"),
            json!({"edits": [{"edit": "expire_consent"}]}),
        ),
        (
            Operation::CreateSandboxEvent,
            "POST",
            format!("/sandbox/links/{link}/events"),
            json!({"webhook_event": "link.state_changed"}),
        ),
        (Operation::SetSandboxClock, "POST", "/sandbox/clock".to_owned(), json!({"advance_seconds": 1})),
        (Operation::GetEvents, "GET", "/passbook/events".to_owned(), json!(null)),
        (Operation::StreamEvents, "GET", "/passbook/events/stream".to_owned(), json!(null)),
        (Operation::ReplayEvents, "POST", "/passbook/events/replay".to_owned(), json!({"link_id": link})),
        (Operation::CreateAccessToken, "POST", "/auth/token".to_owned(), json!(null)),
        (
            Operation::ImportFile,
            "POST",
            "/passbook/links/import-file?customer_user_id=user-0009".to_owned(),
            json!(null),
        ),
    ];
    for operation in Operation::ALL.iter().filter(|operation| operation.work() != Work::Light) {
        assert!(rows.iter().any(|row| row.0 == *operation), "{} has no row", operation.id());
    }
    let held = take_all(&server, &server.a.tenant).await;
    let answers = rows.iter().map(async |(operation, method, path, body)| {
        let answer = match operation {
            Operation::CreateAccessToken => token_answer(&server).await,
            Operation::ImportFile => server.import(&server.a, "user-0009", &fixture("plain_sgml_crlf.ofx")).await,
            _ if body.is_null() => server.call(&server.a, method, path).send().await,
            _ => server.call(&server.a, method, path).json(body).send().await,
        };
        assert_eq!(answer.status, 503, "{} {path}: {}", operation.id(), answer.text());
        assert!(answer.header("retry-after").is_some(), "{}", operation.id());
    });
    futures_util::future::join_all(answers).await;
    drop(held);
    assert_eq!(server.get(&server.a, &about("")).await.status, 200, "nothing was changed");
}

async fn token_answer(server: &TestServer) -> Answer {
    let form = format!("grant_type=client_credentials&client_id={}&client_secret={}", server.a.id, server.a.secret);
    server.anonymous("POST", "/auth/token").form(&form).send().await
}

#[tokio::test]
async fn reading_numbers_needs_no_place() {
    let server = TestServer::start_impatient().await;
    let link = server.link(&server.a).await;
    let _held = take_all(&server, &server.a.tenant).await;
    assert_eq!(server.get(&server.a, &format!("/links/{link}/accounts/numbers")).await.status, 200);
    assert_eq!(server.anonymous("GET", "/healthz").send().await.status, 200);
}

#[tokio::test]
async fn a_tenant_that_holds_every_place_does_not_shut_out_another() {
    let server = TestServer::start_impatient().await;
    let mut held = Vec::new();
    while let Ok(place) = server.api.shedder.admit(Operation::CreateLinkSession, &server.a.tenant).await {
        held.push(place);
    }
    assert_eq!(token_answer(&server).await.status, 503, "its own requests are refused");
    let mut waiting = Box::pin(server.get(&server.b, "/links"));
    assert!(poll!(&mut waiting).is_pending());
    held.pop();
    assert_eq!(waiting.await.status, 200);
}

#[tokio::test]
async fn a_body_that_does_not_come_holds_no_place() {
    let server = TestServer::start().await;
    let before = server.api.shedder.held();
    let token = server.token(&server.a).await;
    let endless = || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let mut requests = Vec::new();
    for path in ["/auth/token", "/link-session", "/passbook/links/import-file?customer_user_id=user-0009"] {
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .body(endless())
            .expect("a request");
        let mut request = Box::pin(server.router.clone().oneshot(request));
        // Polled until it waits for its body: recognising the caller takes a few turns.
        for _ in 0..100 {
            assert!(poll!(&mut request).is_pending(), "{path}");
            tokio::task::yield_now().await;
        }
        requests.push(request);
    }
    assert_eq!(server.api.shedder.held(), before);
    let others = stream::iter(0..10).then(async |_| server.get(&server.b, "/links").await.status);
    assert_eq!(others.collect::<Vec<_>>().await, [200; 10]);
}
