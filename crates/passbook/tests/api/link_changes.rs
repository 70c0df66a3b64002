//! `PATCH /links/{id}`, `POST /links/{id}/reset` and `POST /webhooks/test/link/{id}`.

use serde_json::{Value, json};

use crate::support::{Answer, Client, TestServer, USER, fixture, text};

const VALIDATION: &str = "api_error.request.validation_failed";

async fn patch(server: &TestServer, client: &Client, id: &str, body: &Value) -> Answer {
    server.call(client, "PATCH", &format!("/links/{id}")).json(body).send().await
}

async fn hooked_link(server: &TestServer) -> String {
    server.link_with(&server.a, json!({"webhook": "https://app.example/one", "link_tags": ["a", "b"]})).await
}

async fn test_event(server: &TestServer, client: &Client, id: &str, event: &str, key: &str) -> Answer {
    let body = json!({"webhook_event": event, "webhook_idempotency_key": key});
    server.post(client, &format!("/webhooks/test/link/{id}"), &body).await
}

/// Kind and body of every event of the link, oldest first.
fn events(server: &TestServer, id: &str) -> Vec<(String, Value)> {
    let rows = server.sql("SELECT kind, body FROM events WHERE link_id = ?1 ORDER BY sequence", &[id.into()]).rows;
    rows.iter().map(|row| (row[0].text(), serde_json::from_str(&row[1].text()).expect("JSON"))).collect()
}

/// A live link: what a statement file makes.
async fn live_link(server: &TestServer) -> String {
    text(&server.import(&server.live, USER, &fixture("plain_sgml_crlf.ofx")).await.ok(201)["link_id"])
}

#[tokio::test]
async fn an_update_changes_what_is_given_and_keeps_the_rest() {
    let server = TestServer::start().await;
    let id = hooked_link(&server).await;
    let before = events(&server, &id).len();
    let (one, two) = ("https://app.example/one", "https://app.example/two");
    for (body, webhook, tags) in [
        (json!({}), json!(one), json!(["a", "b"])),
        (json!({"webhook": two}), json!(two), json!(["a", "b"])),
        (json!({"link_tags": ["c"]}), json!(two), json!(["c"])),
        (json!({"link_tags": null}), json!(two), json!(["c"])),
        (json!({"tags": ["d"]}), json!(two), json!(["d"])),
        (json!({"link_tags": ["e"], "tags": ["f"]}), json!(two), json!(["e"])),
        (json!({"link_tags": null, "tags": ["g"]}), json!(two), json!(["g"])),
        (json!({"webhook": null}), Value::Null, json!(["g"])),
        (json!({"webhook": one, "link_tags": []}), json!(one), json!([])),
        (json!({"state": "error", "institution_id": "x", "products": {}}), json!(one), json!([])),
    ] {
        let link = patch(&server, &server.a, &id, &body).await.ok(200);
        assert_eq!((&link["webhook"], &link["link_tags"], &link["tags"]), (&webhook, &tags, &tags), "{body}");
        assert_eq!(link, server.get(&server.a, &format!("/links/{id}")).await.ok(200), "{body}");
    }
    assert_eq!(events(&server, &id).len(), before, "an update is no event");
}

#[tokio::test]
async fn an_invalid_update_changes_nothing() {
    let server = TestServer::start().await;
    let id = hooked_link(&server).await;
    let before = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    for (body, place) in [
        (json!({"webhook": ""}), "body.webhook"),
        (json!({"webhook": 1}), "body.webhook"),
        (json!({"webhook": "ftp://app.example"}), "body.webhook"),
        (json!({"webhook": "https://user@app.example"}), "body.webhook"),
        (json!({"webhook": format!("https://app.example/{}", "x".repeat(65_536))}), "body.webhook"),
        (json!({"link_tags": ["fine", "-"]}), "body.link_tags.1"),
        (json!({"link_tags": [""]}), "body.link_tags.0"),
        (json!({"link_tags": ["x".repeat(100)]}), "body.link_tags.0"),
        (json!({"tags": ["é"]}), "body.link_tags.0"),
        (json!({"link_tags": "a"}), "body.link_tags"),
    ] {
        let answer = patch(&server, &server.a, &id, &body).await;
        assert_eq!(answer.expect(422, VALIDATION).places()[0], place, "{body:.80}");
    }
    let not_json = server.call(&server.a, "PATCH", &format!("/links/{id}")).body("{}").send().await;
    not_json.expect(422, VALIDATION);
    assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.ok(200), before);
}

#[tokio::test]
async fn an_update_with_an_idempotency_key_happens_once() {
    let server = TestServer::start().await;
    let id = hooked_link(&server).await;
    let call = |tag: &str| {
        let call = server.call(&server.a, "PATCH", &format!("/links/{id}")).header("idempotency-key", "once");
        call.json(&json!({"link_tags": [tag]}))
    };
    let first = call("x").send().await;
    assert_eq!(patch(&server, &server.a, &id, &json!({"link_tags": ["y"]})).await.status, 200);
    let again = call("x").send().await;
    assert_eq!((again.header("idempotency-replayed"), &again.body), (Some("true"), &first.body));
    call("z").send().await.expect(422, VALIDATION);
    assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.ok(200)["tags"], json!(["y"]));
}

#[tokio::test]
async fn a_reset_link_needs_a_reconnect_and_is_usable_after_it() {
    let server = TestServer::start().await;
    let id = hooked_link(&server).await;
    let path = format!("/links/{id}/reset");
    let link = server.call(&server.a, "POST", &path).send().await.ok(200);
    assert_eq!((&link["state"], &link["error_code"]), (&json!("error"), &json!("auth_expired")));
    let told = events(&server, &id).pop().expect("an event");
    assert_eq!((told.0.as_str(), &told.1["kind"]["error"]), ("link.state_changed", &json!("auth_expired")));
    let blocked = server.get(&server.a, &format!("/links/{id}/accounts")).await;
    assert_eq!(blocked.expect(422, "link_error.bad_state").json()["link_error_code"], "auth_expired");
    let told = events(&server, &id).len();
    assert_eq!(server.call(&server.a, "POST", &path).send().await.ok(200), link, "again changes nothing");
    assert_eq!(events(&server, &id).len(), told);

    let token = server.session_token(&server.a, json!({"existing_link_id": id})).await;
    server.complete(&server.a, &token, json!({})).await.ok(201);
    server.get(&server.a, &format!("/links/{id}/accounts")).await.ok(200);
}

#[tokio::test]
async fn a_live_link_is_neither_reset_nor_tested() {
    let server = TestServer::start().await;
    let id = live_link(&server).await;
    let reset = server.call(&server.live, "POST", &format!("/links/{id}/reset")).send().await;
    reset.expect(403, "link_error.forbidden_action");
    // Without a webhook too: that it is live comes first.
    test_event(&server, &server.live, &id, "link.state_changed", "k").await.expect(403, "link_error.forbidden_action");
    let hook = json!({"webhook": "https://app.example/hook"});
    patch(&server, &server.live, &id, &hook).await.ok(200);
    test_event(&server, &server.live, &id, "link.state_changed", "k").await.expect(403, "link_error.forbidden_action");
    assert_eq!(server.get(&server.live, &format!("/links/{id}")).await.ok(200)["state"], "connected");
}

#[tokio::test]
async fn a_test_event_is_recorded_and_does_not_change_the_link() {
    let server = TestServer::start().await;
    let id = hooked_link(&server).await;
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    let mut tokens = std::collections::BTreeSet::new();
    for (event, delivered) in [
        ("link.state_changed", "link.state_changed"),
        ("transactions.updates_available", "transactions.updates_available"),
        ("link.product_refresh", "link.product_refresh"),
        ("product.state_changed", "link.product_refresh"),
    ] {
        let answer = test_event(&server, &server.a, &id, event, "key of the app").await.ok(200);
        let token = text(&answer["delivery_token"]);
        let (kind, body) = events(&server, &id).pop().expect("an event");
        assert_eq!(kind, delivered);
        let expected = json!({
            "event": "test", "simulates": delivered, "idempotency_key": "key of the app", "delivery_token": token
        });
        assert_eq!((&body["kind"], &body["tags"]), (&expected, &json!(["a", "b"])), "{event}");
        assert!(token.len() >= 32 && tokens.insert(token));
    }
    assert_eq!(server.get(&server.a, &format!("/links/{id}")).await.ok(200), link);
}

#[tokio::test]
async fn a_test_event_needs_a_webhook_and_a_known_event() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    test_event(&server, &server.a, &id, "link.state_changed", "k").await.expect(400, "link_error.bad_config");
    for (event, key) in
        [("link.deleted", "k"), ("", "k"), ("link.state_changed", ""), ("link.state_changed", &"x".repeat(256))]
    {
        test_event(&server, &server.a, &id, event, key).await.expect(422, VALIDATION);
    }
    let path = format!("/webhooks/test/link/{id}");
    server.post(&server.a, &path, &json!({"webhook_event": "link.state_changed"})).await.expect(422, VALIDATION);
    let before = events(&server, &id).len();
    assert!(events(&server, &id).iter().all(|(_, body)| body["kind"]["event"] != "test"));
    assert_eq!(events(&server, &id).len(), before);
}

#[tokio::test]
async fn a_test_event_with_an_idempotency_key_is_recorded_once() {
    let server = TestServer::start().await;
    let id = hooked_link(&server).await;
    let body = json!({"webhook_event": "link.state_changed", "webhook_idempotency_key": "k"});
    let call = server.call(&server.a, "POST", &format!("/webhooks/test/link/{id}")).json(&body);
    let call = call.header("idempotency-key", "once");
    let before = events(&server, &id).len();
    let first = call.clone().send().await.ok(200);
    assert_eq!(call.send().await.ok(200), first);
    assert_eq!(events(&server, &id).len(), before + 1);
}

#[tokio::test]
async fn each_call_needs_its_scope() {
    let server = TestServer::start().await;
    let id = hooked_link(&server).await;
    let (links, webhooks) =
        (server.scoped_token(&server.a, "links").await, server.scoped_token(&server.a, "webhooks").await);
    let test = json!({"webhook_event": "link.state_changed", "webhook_idempotency_key": "k"});
    for (method, path, right, wrong) in [
        ("PATCH", format!("/links/{id}"), &links, &webhooks),
        ("POST", format!("/links/{id}/reset"), &links, &webhooks),
        ("POST", format!("/webhooks/test/link/{id}"), &webhooks, &links),
    ] {
        let refused = server.bearer(wrong, method, &path).json(&test).send().await;
        refused.expect(401, "link_error.unauthorized_access");
        assert_eq!(server.bearer(right, method, &path).json(&test).send().await.status, 200, "{path}");
    }
}
