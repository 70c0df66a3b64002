//! Rows under the API: damaged ones are plain 500s, refused calls leave none, and changes leave an audit trail.

use serde_json::{Value, json};

use crate::support::{Answer, Call, Cell, TestServer, UNKNOWN_LINK, USER, fixture, text};

/// The calls that a damaged row of link `id` can break.
fn calls(server: &TestServer, id: &str, session: &str) -> Vec<(&'static str, Call)> {
    let link = |method: &str, path: &str| server.call(&server.a, method, &format!("/links/{id}{path}"));
    let post = |path: &str, body: Value| server.call(&server.a, "POST", path).json(&body);
    let user = json!({"id": USER});
    let form = format!("client_id={}&client_secret={}", server.a.id, server.a.secret);
    vec![
        ("link", link("GET", "")),
        ("accounts", link("GET", "/accounts")),
        ("numbers", link("GET", "/accounts/numbers")),
        ("identity", link("GET", "/identity")),
        ("transactions", link("GET", "/transactions")),
        ("refresh", link("POST", "/products").json(&json!({"products": ["identity"]}))),
        ("session", post("/link-session", json!({"customer_user": user, "redirect_uri": crate::support::REDIRECT}))),
        ("complete", post("/sandbox/link-sessions/complete", json!({"link_session_token": session}))),
        ("clock", post("/sandbox/clock", json!({"advance_seconds": 1}))),
        ("token", server.anonymous("POST", "/auth/token").form(&form)),
        ("delete", link("DELETE", "")),
    ]
}

fn assert_plain(answer: &Answer, case: &str) {
    let plain =
        json!({"error_code": "api_error.internal", "error_message": "Internal error", "documentation_url": null});
    assert_eq!(answer.status, 500, "{case}");
    assert_eq!(answer.json(), plain, "{case}");
}

#[tokio::test]
async fn a_damaged_row_is_a_plain_500_wherever_it_is_read() {
    for (damage, broken) in [
        ("UPDATE links SET document = X'00'", vec!["accounts", "identity", "transactions", "refresh"]),
        ("UPDATE links SET document = X'7B7D'", vec!["accounts", "identity", "transactions", "refresh"]),
        // A newer version's row: readable, but not ours to write.
        ("UPDATE links SET document_format = 999", vec!["refresh"]),
        ("UPDATE links SET numbers_view = X'00'", vec!["numbers"]),
        ("UPDATE links SET numbers_view = owners", vec!["numbers"]),
        ("UPDATE links SET owners = X'00'", vec!["identity"]),
        ("UPDATE links SET owners = numbers", vec!["identity"]),
        ("UPDATE links SET wrapped_key = X'00'", vec!["numbers", "identity"]),
        ("UPDATE links SET key_version = 99", vec!["numbers", "identity"]),
        ("UPDATE links SET state = 'nonsense'", vec!["link", "numbers"]),
        ("UPDATE links SET error = 'nonsense'", vec!["link", "numbers"]),
        ("UPDATE transactions SET amount = 'x'", vec!["transactions"]),
        ("UPDATE transactions SET date = '2026-02-30'", vec!["transactions"]),
        ("UPDATE transactions SET account_id = 'x' || transaction_id", vec!["transactions"]),
        ("UPDATE link_sessions SET progress = 'nonsense'", vec!["complete"]),
        ("UPDATE link_sessions SET request = X'00' WHERE request IS NOT NULL", vec!["complete"]),
        ("UPDATE apps SET clock = '{}'", vec!["clock"]),
        ("UPDATE apps SET allowed_origins = 'x'", vec!["session"]),
        ("UPDATE clients SET secret_hashes = X'00'", vec!["token"]),
        ("UPDATE clients SET environment = 'nonsense'", vec!["token"]),
    ] {
        let server = TestServer::start().await;
        let id = server.link(&server.a).await;
        let session = server.session_token(&server.a, json!({})).await;
        assert!(server.sql(damage, &[]).changed > 0, "{damage}");
        for (name, call) in calls(&server, &id, &session) {
            let answer = call.send().await;
            match broken.contains(&name) {
                true => assert_plain(&answer, &format!("{name} after {damage}")),
                false => assert!(answer.status < 600 && !answer.text().contains("nonsense"), "{name} after {damage}"),
            }
        }
    }
}

#[tokio::test]
async fn a_link_that_cannot_be_read_can_be_deleted() {
    for damage in [
        "UPDATE links SET document = X'00'",
        "UPDATE links SET document_format = 999",
        "UPDATE links SET wrapped_key = X'00'",
        "UPDATE links SET key_version = 99",
        "UPDATE links SET credential = X'00'",
        "UPDATE links SET state = 'nonsense', document = X'7B7D'",
    ] {
        let server = TestServer::start().await;
        let id = server.link(&server.a).await;
        server.sql(damage, &[]);
        assert_eq!(server.delete(&server.b, &format!("/links/{id}")).await.status, 404, "{damage}");
        assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204, "{damage}");
        let stub = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
        assert_eq!(stub["state"], "deleted", "{damage}");
        assert_eq!(stub["institution_id"], "credentials_bank", "{damage}");
        let numbers = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await;
        numbers.expect(410, "link_error.deleted");
        const LEFT: &str = "SELECT COUNT(*) FROM links WHERE wrapped_key IS NOT NULL OR numbers IS NOT NULL OR owners \
            IS NOT NULL OR numbers_view IS NOT NULL OR credential IS NOT NULL";
        assert_eq!(server.sql(LEFT, &[]).number(), 0, "{damage}");
        const TOLD: &str = "SELECT COUNT(*) FROM events WHERE kind = 'link.state_changed' AND body LIKE '%deleted%'";
        assert_eq!(server.sql(TOLD, &[]).number(), 1, "{damage}");
    }
}

#[tokio::test]
async fn sealed_values_of_another_link_do_not_open() {
    let server = TestServer::start().await;
    let (one, two) = (server.link(&server.a).await, server.link(&server.b).await);
    let numbers = server.get(&server.b, &format!("/links/{two}/accounts/numbers")).await.body;
    for columns in ["numbers_view", "numbers_view, wrapped_key", "owners", "owners, wrapped_key"] {
        let server = &server;
        let copy = format!(
            "UPDATE links SET ({columns}) = (SELECT {columns} FROM links WHERE link_id = ?2) WHERE link_id = ?1"
        );
        server.sql(&copy, &[(&one).into(), (&two).into()]);
        let path = if columns.starts_with("owners") { "identity" } else { "accounts/numbers" };
        let answer = server.get(&server.a, &format!("/links/{one}/{path}")).await;
        assert_plain(&answer, columns);
    }
    assert_eq!(server.get(&server.b, &format!("/links/{two}/accounts/numbers")).await.body, numbers);
}

fn audit(server: &TestServer) -> Vec<(String, String, Option<String>)> {
    let sql = format!("SELECT actor, action, link_id FROM audit ORDER BY {}", server.written_order());
    let link = |cell: &Cell| (*cell != Cell::Null).then(|| cell.text());
    server.sql(&sql, &[]).rows.iter().map(|row| (row[0].text(), row[1].text(), link(&row[2]))).collect()
}

#[tokio::test]
async fn every_change_leaves_an_audit_row_and_a_refused_one_none() {
    let server = TestServer::start().await;
    let token = server.session_token(&server.a, json!({})).await;
    let completed = server.complete(&server.a, &token, json!({})).await.ok(201);
    let id = text(&completed["link_id"]);
    let exchange = json!({"exchangeable_token": completed["exchangeable_token"]});
    server.post(&server.a, "/link-session/exchange-token", &exchange).await.ok(201);
    server.drain(&server.a).await;
    let refresh = json!({"products": ["accounts"]});
    server.post(&server.a, &format!("/links/{id}/products"), &refresh).await.ok(202);
    server.drain(&server.a).await;
    server.post(&server.a, "/sandbox/clock", &json!({"advance_seconds": 1})).await.ok(200);
    let imported = text(&server.import(&server.a, USER, &fixture("plain_sgml_crlf.ofx")).await.ok(201)["link_id"]);
    assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204);
    let row = |action: &str, link: Option<&String>| (server.a.id.clone(), action.to_owned(), link.cloned());
    let expected = vec![
        row("create_link_session", None),
        row("complete_link_session", Some(&id)),
        row("exchange_token", Some(&id)),
        row("refresh_products", Some(&id)),
        row("set_sandbox_clock", None),
        row("import_file", Some(&imported)),
        row("delete_link", Some(&id)),
    ];
    assert_eq!(audit(&server), expected);

    server
        .post(&server.a, "/link-session/exchange-token", &exchange)
        .await
        .expect(400, "link_session_error.invalid_token_exchange");
    server.session(&server.a, json!({"redirect_uri": "https://evil.example/"})).await;
    server.complete(&server.a, &token, json!({})).await;
    server.post(&server.a, &format!("/links/{id}/products"), &refresh).await;
    server.post(&server.b, &format!("/links/{imported}/products"), &refresh).await;
    server.delete(&server.b, &format!("/links/{imported}")).await;
    server.delete(&server.a, &format!("/links/{UNKNOWN_LINK}")).await;
    server.post(&server.a, "/sandbox/clock", &json!({"advance_seconds": 0})).await;
    server.import(&server.a, USER, &fixture("plain_sgml_crlf.ofx")).await.ok(200);
    server.import(&server.a, USER, b"garbage").await;
    assert_eq!(audit(&server), expected);
}
