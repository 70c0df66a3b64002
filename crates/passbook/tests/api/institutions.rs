//! `GET /institutions` and `GET /institutions/{id}`.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, fixture, text};

const VALIDATION: &str = "api_error.request.validation_failed";
const ALL: [&str; 7] = [
    "credentials_bank",
    "credentials_bank_ca",
    "credentials_bank_gb",
    "instant_bank",
    "oauth_bank",
    "scripted_bank",
    "statement_file",
];

async fn list(server: &TestServer, client: &Client, query: &str) -> (Vec<String>, Value) {
    let body = server.get(client, &format!("/institutions{query}")).await.ok(200);
    let ids = body["institutions"].as_array().unwrap().iter().map(|it| text(&it["institution_id"])).collect();
    (ids, body["cursors"]["next"].clone())
}

#[tokio::test]
async fn the_directory_is_searched_by_the_start_of_any_word() {
    let server = TestServer::start().await;
    for (query, expected) in [
        ("", &ALL[..]),
        ("?name=", &ALL[..]),
        ("?featured=false", &ALL[..]),
        ("?featured=true", &ALL[..5]),
        ("?name=cred", &ALL[..3]),
        ("?name=CREDENTIALS", &ALL[..3]),
        ("?name=Instant%20Bank", &ALL[3..4]),
        ("?name=instant+bank", &ALL[3..4]),
        ("?name=canada", &ALL[1..2]),
        ("?name=file", &ALL[6..]),
        ("?name=file&featured=true", &[]),
        ("?name=ank", &[]),
        ("?name=%25", &[]),
        ("?name=.*", &[]),
        ("?name=_", &[]),
        ("?limit=1000", &ALL[..]),
    ] {
        let (ids, next) = list(&server, &server.a, query).await;
        assert_eq!(
            (ids.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), next),
            (expected, Value::Null),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_walk_by_cursor_visits_everything_once() {
    let server = TestServer::start().await;
    for (filter, expected) in [("", &ALL[..]), ("&name=bank&featured=true", &ALL[..5])] {
        for limit in 1..=ALL.len() {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let (ids, next) = list(&server, &server.a, &format!("?limit={limit}{filter}&cursor={cursor}")).await;
                assert!(!ids.is_empty() && ids.len() <= limit);
                seen.extend(ids);
                match next {
                    Value::Null => break,
                    next => cursor = text(&next),
                }
            }
            assert_eq!(seen, expected, "limit {limit}{filter}");
        }
    }
}

#[tokio::test]
async fn a_cursor_works_only_where_it_was_made_and_as_it_was_made() {
    let server = TestServer::start().await;
    let (_, next) = list(&server, &server.a, "?limit=2").await;
    let cursor = text(&next);
    let mut refused = 0;
    let mut tampered: Vec<String> = (1..cursor.len()).map(|end| cursor[..end].to_owned()).collect();
    for at in 0..cursor.len() {
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=.".chars() {
            let mut changed = cursor.clone();
            changed.replace_range(at..=at, &letter.to_string());
            tampered.push(changed);
        }
    }
    tampered.extend([format!("{cursor}A"), format!("{cursor}="), format!("{cursor}{cursor}")]);
    tampered.extend(["x", "0", "null", "%00", "%ff", "credentials_bank", "Y3JlZA"].map(str::to_owned));
    tampered.push("A".repeat(10_240));
    for changed in tampered.iter().filter(|changed| **changed != cursor) {
        let answer = server.get(&server.a, &format!("/institutions?limit=2&cursor={changed}")).await;
        assert_eq!((answer.status, answer.places()), (422, vec!["query.cursor".to_owned()]), "{changed:.80}");
        refused += 1;
    }
    assert!(refused > 2_000, "{refused}");
    for path in [
        format!("/institutions?cursor={cursor}&name=bank"),
        format!("/institutions?cursor={cursor}&featured=true"),
        format!("/links?cursor={cursor}"),
    ] {
        server.get(&server.a, &path).await.expect(422, VALIDATION);
    }
    server.get(&server.b, &format!("/institutions?cursor={cursor}")).await.expect(422, VALIDATION);
    assert_eq!(list(&server, &server.a, &format!("?cursor={cursor}")).await.0, ALL[2..]);
}

#[tokio::test]
async fn bad_parameters_are_refused_at_their_place() {
    let server = TestServer::start().await;
    for (query, place) in [
        ("limit=0", "query.limit"),
        ("limit=1001", "query.limit"),
        ("limit=x", "query.limit"),
        ("featured=True", "query.featured"),
        ("featured=1", "query.featured"),
    ] {
        let answer = server.get(&server.a, &format!("/institutions?{query}")).await;
        assert_eq!(answer.expect(422, VALIDATION).places(), [place]);
    }
}

#[tokio::test]
async fn every_institution_has_a_colour() {
    let server = TestServer::start().await;
    // Neither the file connector nor what a file names has one of its own.
    server.import(&server.a, "user-0001", &fixture("plain_sgml_crlf.ofx")).await.ok(201);
    let body = server.get(&server.a, "/institutions?limit=1000").await.ok(200);
    let institutions = body["institutions"].as_array().unwrap();
    assert!(institutions.iter().any(|institution| institution["institution_id"] == "larkspur_bank_7001"));
    for institution in institutions {
        let color = institution["color"].as_str().unwrap_or_else(|| panic!("{institution}"));
        let hex = color.strip_prefix('#').unwrap_or_else(|| panic!("{institution}"));
        assert!(hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{institution}");
    }
    let one = server.get(&server.a, "/institutions/statement_file").await.ok(200);
    assert_eq!(one["color"], json!("#475569"));
}

#[tokio::test]
async fn one_institution_is_found_by_id_or_alias() {
    let server = TestServer::start().await;
    let body = server.get(&server.a, "/institutions/credentials_bank").await.ok(200);
    assert_eq!(
        body,
        json!({
            "institution_id": "credentials_bank", "institution_id_aliases": ["sandbox.credentials"],
            "name": "Credentials Bank", "country": "US", "domain": "credentials-bank.example", "color": "#1d4ed8",
            "color_dark": "#60a5fa", "is_featured": true
        })
    );
    for same in ["sandbox.credentials", "credentials%5Fbank"] {
        assert_eq!(server.get(&server.a, &format!("/institutions/{same}")).await.ok(200), body);
    }
    for unknown in ["CREDENTIALS_BANK", "credentials_bank%20", "sandbox", "chase"] {
        let answer = server.get(&server.a, &format!("/institutions/{unknown}")).await;
        answer.expect(404, "institution_error.not_found");
    }
}

#[tokio::test]
async fn an_institution_that_a_file_named_is_seen_by_its_own_app_only() {
    let server = TestServer::start().await;
    server.import(&server.a, "user-0001", &fixture("plain_sgml_crlf.ofx")).await.ok(201);
    let named = server.get(&server.a, "/institutions/larkspur_bank_7001").await.ok(200);
    assert_eq!(named["name"], "Larkspur Bank");
    assert_eq!(list(&server, &server.a, "?name=lark").await.0, ["larkspur_bank_7001"]);
    for client in [&server.b, &server.live] {
        let answer = server.get(client, "/institutions/larkspur_bank_7001").await;
        answer.expect(404, "institution_error.not_found");
        assert!(list(&server, client, "?name=lark").await.0.is_empty());
    }
}

#[tokio::test]
async fn simulated_banks_do_not_exist_for_live_tenants() {
    let server = TestServer::start().await;
    let live = server.live.clone();
    let (ids, _) = list(&server, &live, "").await;
    assert_eq!(ids, ["scripted_bank", "statement_file"]);
    let (ids, _) = list(&server, &live, "?name=cred").await;
    assert_eq!(ids, [""; 0]);

    let unknown = server.get(&live, "/institutions/no_such_bank").await;
    for id in ["credentials_bank", "credentials_bank_gb", "instant_bank", "oauth_bank"] {
        let answer = server.get(&live, &format!("/institutions/{id}")).await;
        assert_eq!(answer.visible(), unknown.visible(), "{id}");
        server.session(&live, json!({"institution_id": id})).await.expect(422, VALIDATION);
        let path = format!("/passbook/links/import-file?customer_user_id=u&institution_id={id}");
        let answer = server.call(&live, "POST", &path).body(fixture("plain_sgml_crlf.ofx")).send().await;
        let unknown = server.call(&live, "POST", &path.replace(id, "no_such_bank"));
        let unknown = unknown.body(fixture("plain_sgml_crlf.ofx")).send().await;
        assert_eq!(answer.visible(), unknown.visible(), "{id}");
        assert_ne!(answer.status, 201);
    }
    server.get(&live, "/institutions/statement_file").await.ok(200);
    server.session(&live, json!({"institution_id": "statement_file"})).await.ok(201);
}
