//! Tenant walls: an id of another application, of the other environment, or of nobody at all is answered with the same
//! bytes, and changes nothing.

use serde_json::{Value, json};

use crate::support::{Answer, Client, REDIRECT, TestServer, UNKNOWN_LINK, USER, text};

/// Every operation with a link id in its path.
const LINK_CALLS: [(&str, &str); 10] = [
    ("GET", ""),
    ("DELETE", ""),
    ("POST", "/products"),
    ("GET", "/accounts"),
    ("GET", "/accounts/numbers"),
    ("GET", "/accounts/acc_zzzzzzzzzzzzzzzzzzzzzz"),
    ("GET", "/identity"),
    ("GET", "/transactions"),
    ("GET", "/transactions/sync"),
    ("POST", "/import/transactions"),
];

/// Path segments that are no link id, each as it is sent.
fn malformed() -> Vec<String> {
    let mut segments: Vec<String> = [
        "..",
        ".",
        "%00",
        "mk_%00",
        "%2e%2e",
        "%2E%2E%2F",
        "%ff",
        "%ff%fe%fd",
        "%",
        "%zz",
        "%2",
        "*",
        "mk_",
        "mk_1",
        "acc_zzzzzzzzzzzzzzzzzzzzzz",
        "txn_zzzzzzzzzzzzzzzzzzzzzz",
        "MK_zzzzzzzzzzzzzzzzzzzzzz",
        "mk_zzzzzzzzzzzzzzzzzzzzz0",
        "mk_zzzzzzzzzzzzzzzzzzzzzzz",
        "mk_zzzzzzzzzzzzzzzzzzzzz%20",
        "%20mk_zzzzzzzzzzzzzzzzzzzzz",
        "mk_zzzzzzzzzzzzzzzzzzzzzz%0a",
        "mk_zzzzzzzzzzzzzzzzzzzzzz%2Faccounts",
        "mk_zzzzzzzzzzzzzzzzzzzzzz;x=1",
        "'%20OR%201=1--",
        "null",
        "undefined",
        "0",
        "-1",
        "%F0%9F%92%A9",
        "%C0%AE%C0%AE",
        "{id}",
        "18446744073709551616",
    ]
    .map(str::to_owned)
    .to_vec();
    segments.push("a".repeat(10_240));
    segments.push(format!("mk_{}", "z".repeat(10_240)));
    segments.push("%41".repeat(3_000));
    segments
}

async fn link_call(server: &TestServer, client: &Client, method: &str, id: &str, rest: &str) -> Answer {
    let call = server.call(client, method, &format!("/links/{id}{rest}"));
    match method {
        "POST" => call.json(&json!({"products": ["accounts"]})).send().await,
        _ => call.send().await,
    }
}

/// Everything about a link that its owner can see.
async fn portrait(server: &TestServer, client: &Client, id: &str) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for path in ["", "/accounts", "/accounts/numbers", "/identity", "/transactions"] {
        bodies.push(server.get(client, &format!("/links/{id}{path}")).await.body);
    }
    bodies
}

#[tokio::test]
async fn a_foreign_link_is_answered_like_an_unknown_one_and_stays_as_it_is() {
    let server = TestServer::start().await;
    let of_a = server.link(&server.a).await;
    let of_b = server.link(&server.b).await;
    let deleted = server.deleted_link(&server.b).await;
    let before = portrait(&server, &server.b, &of_b).await;
    let before_a = portrait(&server, &server.a, &of_a).await;
    for (method, rest) in LINK_CALLS {
        let unknown = link_call(&server, &server.a, method, UNKNOWN_LINK, rest).await;
        unknown.expect(404, "link_error.not_found");
        for (client, id) in [
            (&server.a, &of_b),
            (&server.a, &deleted),
            (&server.b, &of_a),
            (&server.live, &of_a),
            (&server.live, &of_b),
        ] {
            let foreign = link_call(&server, client, method, id, rest).await;
            assert_eq!(foreign.visible(), unknown.visible(), "{method} {rest}");
        }
    }
    server.drain(&server.b).await;
    assert_eq!(portrait(&server, &server.b, &of_b).await, before);
    assert_eq!(portrait(&server, &server.a, &of_a).await, before_a);
}

#[tokio::test]
async fn ids_next_to_a_foreign_one_are_answered_like_it() {
    let server = TestServer::start().await;
    let id = server.link(&server.b).await;
    let foreign = server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await;
    foreign.expect(404, "link_error.not_found");
    let mut probes = 0;
    for at in 3..id.len() {
        for letter in "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0OIl1".chars() {
            let mut near = id.clone();
            near.replace_range(at..=at, &letter.to_string());
            let answer = server.get(&server.a, &format!("/links/{near}/accounts/numbers")).await;
            assert_eq!(answer.visible(), foreign.visible(), "{near}");
            probes += 1;
        }
    }
    assert!(probes > 1_000, "{probes}");
}

#[tokio::test]
async fn any_bytes_in_the_place_of_an_id_are_an_unknown_id() {
    let server = TestServer::start().await;
    for (method, rest) in LINK_CALLS {
        let unknown = link_call(&server, &server.a, method, UNKNOWN_LINK, rest).await;
        for id in malformed() {
            let answer = link_call(&server, &server.a, method, &id, rest).await;
            assert_eq!(answer.visible(), unknown.visible(), "{method} {rest} {id:.40}");
        }
    }
    let unknown = server.get(&server.a, "/institutions/nobody").await;
    unknown.expect(404, "institution_error.not_found");
    for id in malformed() {
        let answer = server.get(&server.a, &format!("/institutions/{id}")).await;
        assert_eq!(answer.visible(), unknown.visible(), "{id:.40}");
    }
}

#[tokio::test]
async fn an_empty_segment_is_an_unknown_id_and_a_trailing_slash_no_route() {
    let server = TestServer::start().await;
    for path in ["/links//accounts", "/links//accounts/numbers", "/links//identity"] {
        server.get(&server.a, path).await.expect(404, "link_error.not_found");
        server.anonymous("GET", path).send().await.expect(401, "api_error.auth.unauthorized");
    }
    for path in ["/links/", "/links//", "/institutions/", "//links", "/links/mk_1/", "/./links", "/links/../links"] {
        let answer = server.get(&server.a, path).await;
        answer.expect(404, "api_error.not_found");
        assert_eq!(answer.visible(), server.anonymous("GET", path).send().await.visible(), "{path}");
    }
}

#[tokio::test]
async fn an_account_of_another_link_is_unknown() {
    let server = TestServer::start().await;
    let (own, foreign) = (server.link(&server.a).await, server.link(&server.b).await);
    let accounts = server.get(&server.b, &format!("/links/{foreign}/accounts")).await.ok(200);
    let account = text(&accounts["accounts"][0]["account_id"]);
    let unknown = server.get(&server.a, &format!("/links/{own}/accounts/acc_zzzzzzzzzzzzzzzzzzzzzz")).await;
    unknown.expect(404, "link_error.not_found");
    let mut ids = malformed();
    ids.push(account.clone());
    for id in ids {
        let answer = server.get(&server.a, &format!("/links/{own}/accounts/{id}")).await;
        assert_eq!(answer.visible(), unknown.visible(), "{id:.40}");
    }
    for path in ["accounts", "identity", "transactions"] {
        let filtered = server.get(&server.a, &format!("/links/{own}/{path}?account_ids={account}")).await.ok(200);
        assert_eq!(filtered["accounts"], json!([]), "{path}");
    }
}

#[tokio::test]
async fn a_foreign_existing_link_is_answered_like_an_unknown_one() {
    let server = TestServer::start().await;
    let of_a = server.link(&server.a).await;
    let of_b = server.link(&server.b).await;
    let deleted = server.deleted_link(&server.a).await;
    let unknown = server.session(&server.a, json!({"existing_link_id": UNKNOWN_LINK})).await;
    unknown.expect(403, "link_session_error.forbidden_config");
    let long = "x".repeat(10_240);
    for id in [of_b.as_str(), deleted.as_str(), "", "..", "\u{0}", "mk_1", "é", long.as_str()] {
        let answer = server.session(&server.a, json!({"existing_link_id": id})).await;
        assert_eq!(answer.visible(), unknown.visible(), "{id:.40}");
    }
    let live = server.session(&server.live, json!({"existing_link_id": of_a})).await;
    assert_eq!(live.visible(), unknown.visible());
}

#[tokio::test]
async fn a_foreign_exchangeable_token_is_answered_like_an_unknown_one_and_is_not_spent() {
    let server = TestServer::start().await;
    let (id, token) = server.waiting_link(&server.b).await;
    let exchange = |client: Client, token: String| {
        let server = &server;
        async move {
            let body = json!({"exchangeable_token": token});
            server.post(&client, "/link-session/exchange-token", &body).await
        }
    };
    let unknown = exchange(server.a.clone(), "0".repeat(64)).await;
    unknown.expect(400, "link_session_error.invalid_token_exchange");
    let mut tokens = vec![token.clone(), token.to_uppercase(), token[1..].to_owned(), format!("{token} ")];
    tokens.extend(["", "null", "\u{0}", "é"].map(str::to_owned));
    tokens.push("a".repeat(10_240));
    for foreign in tokens {
        let answer = exchange(server.a.clone(), foreign).await;
        assert_eq!(answer.visible(), unknown.visible());
    }
    assert_eq!(exchange(server.live.clone(), token.clone()).await.visible(), unknown.visible());
    assert_eq!(exchange(server.b.clone(), token).await.ok(201)["link_id"], id);
}

#[tokio::test]
async fn a_foreign_session_is_answered_like_an_unknown_one_and_stays_open() {
    let server = TestServer::start().await;
    let token = server.session_token(&server.b, json!({})).await;
    let unknown = server.complete(&server.a, "a.b.c", json!({})).await;
    unknown.expect(422, "api_error.request.validation_failed");
    let (_, exchangeable) = server.waiting_link(&server.a).await;
    let bearer = server.token(&server.a).await;
    for foreign in [token.as_str(), "", "x", &token[1..], &token.replace('.', ".."), &exchangeable, &bearer] {
        let answer = server.complete(&server.a, foreign, json!({})).await;
        assert_eq!(answer.visible(), unknown.visible());
    }
    server.complete(&server.b, &token, json!({})).await.ok(201);
}

#[tokio::test]
async fn listings_show_the_callers_own_links_only() {
    let server = TestServer::start().await;
    let of_a = server.link(&server.a).await;
    let of_b = server.link(&server.b).await;
    let ids = |answer: Answer| -> Vec<String> {
        let body = answer.ok(200);
        body["links"].as_array().unwrap().iter().map(|link| text(&link["link_id"])).collect()
    };
    assert_eq!(ids(server.get(&server.a, "/links").await), std::slice::from_ref(&of_a));
    assert_eq!(ids(server.get(&server.limited, "/links").await), [of_a], "the same app");
    assert_eq!(ids(server.get(&server.b, "/links").await), [of_b]);
    assert!(ids(server.get(&server.live, "/links").await).is_empty());
}

#[tokio::test]
async fn server_owned_fields_in_a_body_change_nothing() {
    let server = TestServer::start().await;
    let plain = json!({"customer_user": {"id": USER}, "redirect_uri": REDIRECT});
    let of_b = server.link(&server.b).await;
    let before = portrait(&server, &server.b, &of_b).await;
    for (name, value) in [
        ("tenant_id", json!(server.b.tenant.app_id.as_str())),
        ("app_id", json!(server.b.tenant.app_id.as_str())),
        ("client_id", json!(server.b.id)),
        ("environment", json!("live")),
        ("link_id", json!(of_b)),
        ("id", json!(of_b)),
        ("state", json!("connected")),
        ("accounts", json!([{"balance": 1_000_000}])),
        ("tenant", json!({"app_id": "x", "environment": "live"})),
        ("person_seed", json!(7)),
        ("session", Value::Null),
        ("__proto__", json!({"state": "connected"})),
    ] {
        let mut body = plain.clone();
        body[name] = value;
        let token = server.post(&server.a, "/link-session", &body).await.ok(201);
        let completed = server.complete(&server.a, &text(&token["link_session_token"]), json!({})).await.ok(201);
        let id = text(&completed["link_id"]);
        assert_ne!(id, of_b, "{name}");
        let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
        assert_eq!(link["state"], "awaiting_token_exchange", "{name}");
    }
    assert_eq!(portrait(&server, &server.b, &of_b).await, before);
}
