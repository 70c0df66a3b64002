//! The tenant matrix: every operation of the route table, with everything in it that names something of somebody, and
//! every caller that must not have it. **A route without a row fails the first test.**
//!
//! A foreign name is answered like one that names nothing, to the byte, and changes nothing.

use std::collections::BTreeSet;

use serde_json::json;

use super::coverage::{PUBLIC, owned, routes};
use crate::support::{Answer, Client, REDIRECT, TestServer, UNKNOWN_LINK, fixture, text};

type Row = (&'static str, &'static str, &'static str, &'static str);

/// An answer without an end. It narrows as `GET /passbook/events` does, and `events` looks at it for other tenants.
const ENDLESS: (&str, &str) = ("GET", "/passbook/events/stream");

/// Method, route, and a call whose names are in braces. The body `@file` is a statement file.
const ROWS: &[Row] = &[
    ("GET", "/auth/introspect", "/auth/introspect", ""),
    ("GET", "/institutions", "/institutions?cursor={cursor}", ""),
    ("GET", "/institutions/{id}", "/institutions/{institution}", ""),
    (
        "POST",
        "/link-session",
        "/link-session",
        r#"{"customer_user": {"id": "user-0001"}, "redirect_uri": "@redirect", "existing_link_id": "{link}"}"#,
    ),
    ("POST", "/link-session/exchange-token", "/link-session/exchange-token", r#"{"exchangeable_token": "{token}"}"#),
    ("GET", "/links", "/links?cursor={cursor}", ""),
    ("GET", "/links/{id}", "/links/{link}", ""),
    ("PATCH", "/links/{id}", "/links/{link}", r#"{"link_tags": ["taken"], "webhook": null}"#),
    ("DELETE", "/links/{id}", "/links/{link}", ""),
    ("POST", "/links/{id}/reset", "/links/{link}/reset", ""),
    ("POST", "/links/{id}/products", "/links/{link}/products", r#"{"products": ["accounts"]}"#),
    ("GET", "/links/{id}/accounts", "/links/{link}/accounts?account_ids={account}", ""),
    ("GET", "/links/{id}/accounts/numbers", "/links/{link}/accounts/numbers", ""),
    ("GET", "/links/{id}/accounts/{account_id}", "/links/{link}/accounts/{account}", ""),
    ("GET", "/links/{id}/identity", "/links/{link}/identity?account_ids={account}", ""),
    ("GET", "/links/{id}/transactions", "/links/{link}/transactions?account_ids={account}", ""),
    ("GET", "/links/{id}/transactions/sync", "/links/{link}/transactions/sync", ""),
    (
        "POST",
        "/links/{id}/transactions/{txn_id}/enrichment",
        "/links/{link}/transactions/txn_zzzzzzzzzzzzzzzzzzzzzz/enrichment",
        r#"{"category": "transport"}"#,
    ),
    ("GET", "/links/{id}/investments/holdings", "/links/{link}/investments/holdings?account_ids={account}", ""),
    ("GET", "/links/{id}/investments/transactions", "/links/{link}/investments/transactions?account_ids={account}", ""),
    (
        "POST",
        "/links/import",
        "/links/import",
        r#"{"customer_user": {"id": "user-0009"}, "institution_id": "{institution}", "accounts": []}"#,
    ),
    (
        "POST",
        "/links/{id}/import/transactions",
        "/links/{link}/import/transactions",
        r#"{"transactions": [{"transaction_id": "t", "account_id": "a", "amount": "1", "date": "2026-01-01"}]}"#,
    ),
    ("GET", "/users/{id}/links", "/users/{user}/links", ""),
    ("GET", "/users/{id}/accounts", "/users/{user}/accounts?account_ids={account}", ""),
    ("GET", "/users/{id}/transactions", "/users/{user}/transactions?account_id={account}", ""),
    (
        "POST",
        "/webhooks/test/link/{id}",
        "/webhooks/test/link/{link}",
        r#"{"webhook_event": "link.state_changed", "webhook_idempotency_key": "k"}"#,
    ),
    (
        "POST",
        "/sandbox/links",
        "/sandbox/links",
        r#"{"customer_user": {"id": "user-0001"}, "institution_id": "{institution}"}"#,
    ),
    (
        "POST",
        "/sandbox/link-sessions/complete",
        "/sandbox/link-sessions/complete",
        r#"{"link_session_token": "{session}"}"#,
    ),
    (
        "POST",
        "/sandbox/links/{id}/events",
        "/sandbox/links/{link}/events",
        r#"{"webhook_event": "link.state_changed"}"#,
    ),
    ("GET", "/passbook/events", "/passbook/events?link_id={link}", ""),
    ("POST", "/passbook/events/replay", "/passbook/events/replay", r#"{"link_id": "{link}"}"#),
    ("POST", "/sandbox/links/{id}/edits", "/sandbox/links/{link}/edits", r#"{"edits": [{"edit": "expire_consent"}]}"#),
    ("GET", "/sandbox/clock", "/sandbox/clock", ""),
    ("POST", "/sandbox/clock", "/sandbox/clock", r#"{"advance_seconds": "not a number"}"#),
    (
        "POST",
        "/passbook/links/import-file",
        "/passbook/links/import-file?customer_user_id=user-0009&institution_id={institution}",
        "@file",
    ),
];

/// The names that belong to somebody; in the order of [`Names::of`].
const NAMES: [&str; 7] = ["{link}", "{account}", "{user}", "{cursor}", "{token}", "{session}", "{institution}"];

/// One tenant's names; several links.
#[derive(Clone)]
struct Names {
    links: Vec<String>,
    rest: [String; 6],
}

impl Names {
    /// Names of nothing at all.
    fn nobodys() -> Self {
        let rest = ["acc_zzzzzzzzzzzzzzzzzzzzzz", "nobody", "AAAA", &"0".repeat(64), "a.b.c", "no_bank"];
        Self { links: vec![UNKNOWN_LINK.to_owned()], rest: rest.map(str::to_owned) }
    }

    /// Makes one of everything for `client`, whose end user it calls `user`.
    async fn of(server: &TestServer, client: &Client, user: &str) -> Self {
        // The bank is called as the user, so that each tenant's directory has one of its own.
        let file = String::from_utf8(fixture("plain_sgml_crlf.ofx")).expect("text").replace("Larkspur Bank", user);
        let made = server.import(client, user, file.as_bytes()).await;
        let made = if made.status == 201 { made.json() } else { panic!("{}", made.text()) };
        let file_link = text(&made["link"]["link_id"]);
        let accounts = server.get(client, &format!("/links/{file_link}/accounts")).await.ok(200);
        let account = text(&accounts["accounts"][0]["account_id"]);
        let institution = text(&made["link"]["institution_id"]);
        let position = format!("{} {file_link}", server.services.clocks.real_now().as_microsecond());
        let context = [client.tenant.app_id.as_str(), client.tenant.environment.as_str(), "links"];
        let cursor = server.services.cursors.seal(&context, &position);
        let mut names = Self { links: vec![file_link], rest: Self::nobodys().rest };
        names.rest[0] = account;
        names.rest[1] = user.to_owned();
        names.rest[2] = cursor;
        names.rest[4] = server.session_token(client, json!({})).await;
        names.rest[5] = institution;
        if client.tenant.environment == passbook_core::tenant::Environment::Sandbox {
            names.links.push(server.link(client).await);
            names.links.push(server.deleted_link(client).await);
            let (link, token) = server.waiting_link(client).await;
            names.links.push(link);
            names.rest[3] = token;
        }
        names
    }

    /// Every value of a name.
    fn values(&self, name: &str) -> Vec<String> {
        match NAMES.iter().position(|known| *known == name).expect("a known name") {
            0 => self.links.clone(),
            other => vec![self.rest[other - 1].clone()],
        }
    }
}

/// The row's call by `client`, its names taken from `names`, but `name` being `value`.
fn call(
    server: &TestServer,
    client: &Client,
    row: &Row,
    names: &Names,
    name: &str,
    value: &str,
) -> crate::support::Call {
    let (method, _, path, body) = row;
    let filled = |template: &str| {
        NAMES.iter().fold(template.replace("@redirect", REDIRECT), |filled, known| {
            let taken = if *known == name { value.to_owned() } else { names.values(known)[0].clone() };
            filled.replace(known, &taken)
        })
    };
    let call = server.call(client, method, &filled(path));
    match *body {
        "" => call,
        "@file" => call.body(fixture("plain_sgml_crlf.ofx")),
        body => call.header("content-type", "application/json").body(filled(body)),
    }
}

#[test]
fn every_protected_route_has_a_row() {
    let rows: BTreeSet<_> =
        ROWS.iter().map(|(method, route, ..)| ((*method).to_owned(), (*route).to_owned())).collect();
    assert_eq!(rows.len(), ROWS.len(), "a route has two rows");
    let protected: BTreeSet<_> = routes().difference(&owned(&PUBLIC)).cloned().collect();
    assert_eq!(rows, protected.difference(&owned(&[ENDLESS])).cloned().collect());
    for (_, route, path, body) in ROWS {
        let named = NAMES.iter().any(|name| path.contains(name) || body.contains(name));
        assert!(named || !route.contains('{'), "{route}: the row leaves out what the route names");
    }
}

#[tokio::test]
async fn a_foreign_name_is_answered_like_a_name_of_nothing_and_changes_nothing() {
    let server = TestServer::start().await;
    // One user is called the same by everybody; each has one of its own too.
    let (of_a, of_b) =
        (Names::of(&server, &server.a, "user-of-a").await, Names::of(&server, &server.b, "user-of-b").await);
    let of_live = Names::of(&server, &server.live, "user-of-live").await;
    let before = state(&server);
    let nobodys = Names::nobodys();
    let mut probes = 0;
    for (client, own, foreign) in [
        (&server.a, &of_a, [&of_b, &of_live]),
        (&server.b, &of_b, [&of_a, &of_live]),
        (&server.live, &of_live, [&of_a, &of_b]),
    ] {
        for row in ROWS {
            let (method, route, path, body) = row;
            for name in NAMES.iter().filter(|name| path.contains(**name) || body.contains(**name)) {
                let unknown = call(&server, client, row, own, name, &nobodys.values(name)[0]);
                let expected = unknown.clone().send().await;
                assert!(expected.status < 500, "{method} {route}");
                for value in foreign.iter().flat_map(|names| names.values(name)) {
                    let foreign = call(&server, client, row, own, name, &value);
                    let headers = [
                        ("x-nothing", "1"),
                        ("idempotency-key", &value),
                        ("moneykit-version", ""),
                        ("x-forwarded-for", "10.0.0.1"),
                    ];
                    for (header, content) in headers {
                        // A key that is too long to be one would say so before anything else.
                        let content = &content[..content.len().min(255)];
                        let answer = foreign.clone().header(header, content).send().await;
                        assert_eq!(answer.visible(), expected.visible(), "{method} {route} {name}");
                        probes += 1;
                    }
                }
            }
        }
    }
    assert!(probes >= 1_000, "{probes}");
    assert_eq!(state(&server), before);
}

#[tokio::test]
async fn listings_of_a_user_that_both_apps_know_show_the_callers_part_only() {
    let server = TestServer::start().await;
    let (of_a, of_b) = (server.link(&server.a).await, server.link(&server.b).await);
    let shows = |answer: Answer, id: &str| answer.ok(200).to_string().contains(id);
    for path in ["links", "accounts", "transactions"] {
        let path = format!("/users/{}/{path}", crate::support::USER);
        let (by_a, by_b) = (server.get(&server.a, &path).await, server.get(&server.b, &path).await);
        assert!(shows(by_a.clone(), &of_a) && !shows(by_a, &of_b), "{path}");
        assert!(shows(by_b.clone(), &of_b) && !shows(by_b, &of_a), "{path}");
        assert!(!shows(server.get(&server.live, &path).await, "mk_"), "{path}");
    }
}

/// Every row that belongs to a tenant, except what a refused call may leave: ordinals handed out.
fn state(server: &TestServer) -> Vec<(String, i64, i64)> {
    let count = |table: &str, sum: &str| {
        let sql = format!("SELECT COUNT(*), CAST(COALESCE(SUM({sum}), 0) AS BIGINT) FROM {table}");
        let row = server.sql(&sql, &[]).rows.swap_remove(0);
        (table.to_owned(), row[0].integer(), row[1].integer())
    };
    vec![
        count("links", "version"),
        count("link_sessions", "version"),
        count("jobs", "fence"),
        count("events", "sequence"),
        count("transactions", "pending"),
        count("kept_answers", "fence"),
    ]
}
