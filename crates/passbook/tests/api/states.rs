//! What each call answers in each state of a link (contract, section 2.2): one case for each cell of its table.

use passbook::services::changes_with_link;
use passbook_core::ids::LinkId;
use serde_json::json;

use crate::support::{Answer, TestServer, bank};

const DAY: i64 = 86_400;
const HOOK: &str = "https://app.example/hook";

/// The columns of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Awaiting,
    Connected,
    /// Connected, the user granted nothing but accounts, and there is no webhook.
    Bare,
    Error,
    Deleted,
    Gone,
}

const STATES: [State; 7] =
    [State::Connecting, State::Awaiting, State::Connected, State::Bare, State::Error, State::Deleted, State::Gone];

/// Every call that concerns one link, with what it answers in each state; a body follows.
type Row = (&'static str, &'static str, [u16; 7], &'static str);

const NOTHING: &str = "";
const ROWS: [Row; 17] = [
    ("GET", "/links/{id}", [200, 200, 200, 200, 200, 200, 404], NOTHING),
    ("PATCH", "/links/{id}", [422, 422, 200, 200, 200, 410, 404], r#"{"link_tags": ["new"]}"#),
    ("DELETE", "/links/{id}", [204, 204, 204, 204, 204, 410, 404], NOTHING),
    ("POST", "/links/{id}/reset", [422, 422, 200, 200, 200, 410, 404], NOTHING),
    ("POST", "/links/{id}/products", [422, 422, 202, 403, 422, 410, 404], r#"{"products": ["identity"]}"#),
    ("GET", "/links/{id}/accounts", [422, 422, 200, 200, 422, 410, 404], NOTHING),
    // The account is one that no link has.
    ("GET", "/links/{id}/accounts/acc_zzzzzzzzzzzzzzzzzzzzzz", [422, 422, 404, 404, 422, 410, 404], NOTHING),
    ("GET", "/links/{id}/accounts/numbers", [422, 422, 200, 403, 422, 410, 404], NOTHING),
    ("GET", "/links/{id}/identity", [422, 422, 200, 403, 422, 410, 404], NOTHING),
    ("GET", "/links/{id}/transactions", [422, 422, 200, 403, 422, 410, 404], NOTHING),
    ("GET", "/links/{id}/transactions/sync", [422, 422, 200, 403, 422, 410, 404], NOTHING),
    // The transaction is one that no link has.
    (
        "POST",
        "/links/{id}/transactions/txn_zzzzzzzzzzzzzzzzzzzzzz/enrichment",
        [422, 422, 404, 403, 422, 410, 404],
        r#"{"category": "transport"}"#,
    ),
    ("GET", "/links/{id}/investments/holdings", [422, 422, 200, 403, 422, 410, 404], NOTHING),
    ("GET", "/links/{id}/investments/transactions", [422, 422, 200, 403, 422, 410, 404], NOTHING),
    ("GET", "/links/{id}/transactions?size=0", [422, 422, 422, 422, 422, 410, 404], NOTHING),
    // None of these links was imported.
    (
        "POST",
        "/links/{id}/import/transactions",
        [403, 403, 403, 403, 403, 410, 404],
        r#"{"transactions": [{"transaction_id": "t", "account_id": "a", "amount": "1", "date": "2026-01-01"}]}"#,
    ),
    (
        "POST",
        "/webhooks/test/link/{id}",
        [422, 422, 200, 400, 200, 410, 404],
        r#"{"webhook_event": "link.state_changed", "webhook_idempotency_key": "k"}"#,
    ),
];

/// A fresh link in the state, and what `link_error_code` says of it.
async fn link_in(server: &TestServer, state: State) -> (String, &'static str) {
    let bank = json!({"institution_id": bank::ID, "webhook": HOOK});
    match state {
        State::Connecting => {
            let id = server.link_with(&server.a, bank).await;
            begin_to_reconnect(server, &id).await;
            (id, "connecting")
        }
        State::Awaiting => (server.waiting_link(&server.a).await.0, "awaiting_token_exchange"),
        State::Connected => (server.link_with(&server.a, bank).await, ""),
        State::Bare => (server.scripted_link(json!({})).await, ""),
        State::Error => {
            let body = json!({"username": "user_bad", "webhook": HOOK});
            (server.link_with(&server.a, body).await, "invalid_credentials")
        }
        State::Deleted | State::Gone => (server.deleted_link(&server.a).await, ""),
    }
}

/// What a person does who is still in Connect: without a browser, no call leaves a link in this state.
async fn begin_to_reconnect(server: &TestServer, id: &str) {
    let (store, id) = (&server.services.store, LinkId::parse(id).unwrap());
    let stored = store.lookup_link(&server.a.tenant, &id).await.unwrap().unwrap();
    let mut link = stored.link;
    link.retry_sign_in(server.services.clocks.real_now());
    store.commit(changes_with_link(link, Some(stored.version), None, |_| {})).await.unwrap();
}

async fn send(server: &TestServer, row: &Row, id: &str) -> Answer {
    let (method, path, _, body) = row;
    let call = server.call(&server.a, method, &path.replace("{id}", id));
    let call = if body.is_empty() { call } else { call.header("content-type", "application/json").body(*body) };
    call.send().await
}

fn code_of(status: u16, path: &str) -> &'static str {
    match status {
        400 => "link_error.bad_config",
        403 => "link_error.forbidden_action",
        404 => "link_error.not_found",
        410 => "link_error.deleted",
        422 if path.ends_with("size=0") => "api_error.request.validation_failed",
        422 => "link_error.bad_state",
        _ => "",
    }
}

#[tokio::test]
async fn each_call_answers_in_each_state_as_the_contract_says() {
    let server = TestServer::start().await;
    let mut links = Vec::new();
    for row in &ROWS {
        for (column, state) in STATES.into_iter().enumerate().filter(|(_, state)| *state != State::Gone) {
            let (id, error_code) = link_in(&server, state).await;
            let (answer, status) = (send(&server, row, &id).await, row.2[column]);
            let place = format!("{} {} {state:?}", row.0, row.1);
            assert_eq!(answer.status, status, "{place}: {}", answer.text());
            if status >= 400 {
                assert_eq!(answer.code(), code_of(status, row.1), "{place}");
            }
            if answer.code() == "link_error.bad_state" {
                assert_eq!(answer.json()["link_error_code"], error_code, "{place}");
            }
            server.drain(&server.a).await;
            links.push((state, id));
        }
    }
    server.advance(90 * DAY - 1);
    let deleted: Vec<_> = links.into_iter().filter(|(state, _)| *state == State::Deleted).map(|(_, id)| id).collect();
    assert_eq!(server.get(&server.a, &format!("/links/{}", deleted[0])).await.ok(200)["state"], "deleted");
    server.advance(1);
    for (row, id) in ROWS.iter().zip(&deleted) {
        send(&server, row, id).await.expect(row.2[6], "link_error.not_found");
    }
}

#[test]
fn every_route_about_a_link_is_a_row() {
    let rows: std::collections::BTreeSet<_> = ROWS
        .iter()
        .map(|(method, path, ..)| {
            let path = path.split('?').next().unwrap_or_default();
            (
                (*method).to_owned(),
                path.replace("acc_zzzzzzzzzzzzzzzzzzzzzz", "{account_id}")
                    .replace("txn_zzzzzzzzzzzzzzzzzzzzzz", "{txn_id}"),
            )
        })
        .collect();
    let about_a_link = |path: &str| path.starts_with("/links/{id}") || path.starts_with("/webhooks/test/link/{id}");
    let routes = super::coverage::routes().into_iter().filter(|(_, path)| about_a_link(path)).collect();
    assert_eq!(rows, routes);
}

#[tokio::test]
async fn the_stub_of_a_deleted_link_holds_nothing_but_the_contracts_fields() {
    let server = TestServer::start().await;
    let fields = json!({"link_tags": ["kept"], "webhook": "https://app.example/hook"});
    let id = server.link_with(&server.a, fields).await;
    assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204);
    let mut stub = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    stub["institution_avatar"] = json!("");
    assert_eq!(
        stub,
        json!({
            "link_id": id, "institution_id": "credentials_bank", "institution_name": "Credentials Bank",
            "institution_avatar": "", "state": "deleted", "error_code": null, "last_synced_at": null,
            "provider": "moneykit", "link_tags": ["kept"], "tags": ["kept"], "webhook": null, "products": {},
            "available_products": []
        })
    );
}
