//! What a client may write into requests without getting more than it has: fields that are the server's own, keys given
//! twice, wrong types, and cursors that nobody was given.

use serde_json::{Value, json};

use crate::support::{Call, REDIRECT, TestServer, USER, text};

const VALIDATION: &str = "api_error.request.validation_failed";

/// Names of fields that the server decides.
const OWNED: [&str; 20] = [
    "tenant_id",
    "app_id",
    "client_id",
    "environment",
    "tenant",
    "owner",
    "id",
    "link_id",
    "state",
    "error_code",
    "created_at",
    "deleted_at",
    "version",
    "accounts",
    "balance",
    "provider",
    "last_synced_at",
    "available_products",
    "person_seed",
    "__proto__",
];
/// What is put into them.
const VALUES: [&str; 5] = ["null", "\"live\"", "7", "{\"state\": \"connected\"}", "[1, {\"id\": \"x\"}]"];

/// Every call with a JSON body about the link, and a body it accepts.
fn calls(id: &str) -> Vec<(&'static str, String, Value)> {
    let user = json!({"id": USER});
    vec![
        ("POST", "/link-session".to_owned(), json!({"customer_user": user, "redirect_uri": REDIRECT})),
        ("PATCH", format!("/links/{id}"), json!({"link_tags": ["kept"]})),
        (
            "POST",
            format!("/webhooks/test/link/{id}"),
            json!({"webhook_event": "link.state_changed", "webhook_idempotency_key": "k"}),
        ),
    ]
}

fn with_text(server: &TestServer, method: &str, path: &str, body: String) -> Call {
    server.call(&server.a, method, path).header("content-type", "application/json").body(body)
}

/// The link as its row says it, all but what an accepted call may change.
fn row(server: &TestServer, id: &str) -> Vec<String> {
    let sql = "SELECT app_id, environment, state, COALESCE(error, ''), granted, customer_user_id, institution_id, \
               created_at, COALESCE(deleted_at, 0), link_view FROM links WHERE link_id = ?1";
    server.sql(sql, &[id.into()]).rows[0].iter().map(|cell| format!("{cell:?}")).collect()
}

#[tokio::test]
async fn fields_that_are_the_servers_own_are_ignored_and_change_nothing() {
    let server = TestServer::start().await;
    let id = server.link_with(&server.a, json!({"webhook": "https://app.example/hook", "link_tags": ["kept"]})).await;
    let before = row(&server, &id);
    let mut bodies = 0;
    for (method, path, body) in calls(&id) {
        for name in OWNED {
            for value in VALUES {
                let mut body = body.clone();
                // A field of the contract keeps its own meaning, which is not what is tried here.
                if body.get(name).is_some() {
                    continue;
                }
                body[name] = serde_json::from_str(value).expect("JSON");
                let answer = server.call(&server.a, method, &path).json(&body).send().await;
                assert!(matches!(answer.status, 200 | 201), "{method} {path} {name}: {}", answer.text());
                bodies += 1;
            }
        }
    }
    assert!(bodies >= 200, "{bodies}");
    assert_eq!(row(&server, &id), before);
}

#[tokio::test]
async fn a_key_twice_and_a_wrong_type_are_refused_and_change_nothing() {
    let server = TestServer::start().await;
    let id = server.link_with(&server.a, json!({"webhook": "https://app.example/hook", "link_tags": ["kept"]})).await;
    let before = row(&server, &id);
    let mut bodies = 0;
    for (method, path, body) in calls(&id) {
        let fields = body.as_object().expect("an object");
        let plain = body.to_string();
        for name in fields.keys().map(String::as_str).chain(OWNED) {
            let twice = format!("{{\"{name}\": 1, \"{name}\": 1, {}", &plain[1..]);
            with_text(&server, method, &path, twice).send().await.expect(422, VALIDATION);
            let nested = format!("{{\"x\": [{{\"{name}\": 1, \"{name}\": 2}}], {}", &plain[1..]);
            with_text(&server, method, &path, nested).send().await.expect(422, VALIDATION);
            bodies += 2;
        }
        for name in fields.keys() {
            for wrong in [json!(7), json!(true), json!({"x": 1}), json!([[]]), json!(1e300)] {
                let mut body = body.clone();
                body[name] = wrong;
                server.call(&server.a, method, &path).json(&body).send().await.expect(422, VALIDATION);
                bodies += 1;
            }
        }
    }
    assert!(bodies >= 130, "{bodies}");
    assert_eq!(row(&server, &id), before);
}

#[tokio::test]
async fn a_cursor_that_was_not_given_is_no_cursor() {
    let server = TestServer::start().await;
    let id = server.link(&server.a).await;
    let position = format!("{} {id}", server.services.clocks.real_now().as_microsecond());
    let context = |app: &crate::support::Client, listing: &'static str| {
        [app.tenant.app_id.as_str().to_owned(), app.tenant.environment.as_str().to_owned(), listing.to_owned()]
    };
    let seal = |context: [String; 3]| server.services.cursors.seal(&context.each_ref().map(String::as_str), &position);
    let good = seal(context(&server.a, "links"));
    server.get(&server.a, &format!("/links?cursor={good}")).await.ok(200);

    let mut forged = vec![
        seal(context(&server.b, "links")),
        seal(context(&server.live, "links")),
        seal(context(&server.a, "transactions")),
        "A".repeat(10_240),
        format!("{good}{good}"),
    ];
    let institutions = server.get(&server.a, "/institutions?limit=1").await.ok(200);
    forged.push(text(&institutions["cursors"]["next"]));
    for at in 0..good.len() {
        forged.push(good[..at].to_owned());
        for letter in "AZaz09-_+%.=~".chars().filter(|letter| !good[at..].starts_with(*letter)) {
            let mut tampered = good.clone();
            tampered.replace_range(at..=at, &letter.to_string());
            forged.push(tampered);
        }
        for letter in ["A", "-", "="] {
            let mut longer = good.clone();
            longer.insert_str(at, letter);
            forged.push(longer);
        }
    }
    // An empty cursor is the beginning of the list.
    forged.retain(|cursor| !cursor.is_empty() && *cursor != good);
    let mut probes = 0;
    for cursor in &forged {
        for path in ["/links", "/institutions"] {
            if path == "/institutions" && institutions["cursors"]["next"] == json!(cursor) {
                continue;
            }
            let answer = server.get(&server.a, &format!("{path}?cursor={}", cursor.replace('%', "%25"))).await;
            assert_eq!(answer.expect(422, VALIDATION).places(), ["query.cursor"], "{path} {cursor:.80}");
            probes += 1;
        }
    }
    assert!(probes >= 2_000, "{probes}");
}
