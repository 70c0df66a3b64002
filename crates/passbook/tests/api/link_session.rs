//! `POST /link-session`: what a body may hold.

use serde_json::{Value, json};

use crate::support::{Answer, REDIRECT, TestServer, USER, text};

const VALIDATION: &str = "api_error.request.validation_failed";

async fn post(server: &TestServer, body: &Value) -> Answer {
    server.post(&server.a, "/link-session", body).await
}

fn with(path: &str, value: Value) -> Value {
    let mut body = json!({"customer_user": {"id": USER}, "redirect_uri": REDIRECT});
    let mut place = &mut body;
    for key in path.split('.') {
        place = &mut place[key];
    }
    *place = value;
    body
}

#[tokio::test]
async fn the_token_is_three_parts_and_tells_nothing_but_the_institution() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let server = TestServer::start().await;
    let token = server.session_token(&server.a, json!({"institution_id": "instant_bank"})).await;
    let parts: Vec<Value> = token
        .split('.')
        .take(2)
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    assert_eq!(parts[0], json!({"typ": "link-session+jwt", "alg": "HS256", "institution_id": "instant_bank"}));
    let mut claims: Vec<_> = parts[1].as_object().unwrap().keys().cloned().collect();
    claims.sort();
    assert_eq!(claims, ["exp", "iat", "jti"]);
    assert_eq!(parts[1]["exp"].as_i64().unwrap() - parts[1]["iat"].as_i64().unwrap(), 4 * 3_600);
}

#[tokio::test]
async fn everything_the_contract_allows_is_accepted() {
    let server = TestServer::start().await;
    let name = |n: usize| "x".repeat(n);
    for (path, value) in [
        ("customer_user.id", json!(name(4))),
        ("customer_user.id", json!(name(150))),
        ("customer_user.id", json!("é".repeat(150))),
        ("customer_user.email", json!({"address": name(4)})),
        ("customer_user.email", json!({"address": name(254), "customer_verified_at": "2024-01-09T00:00:00"})),
        ("customer_user.email", json!({"address": "a@b.c", "customer_verified_at": "2024-01-09T10:32:38.401223Z"})),
        ("customer_user.email", Value::Null),
        ("customer_user.phone", json!({"number": "+14155550142", "country": "US"})),
        ("customer_user.phone", json!({"number": name(30), "country": null, "customer_verified_at": null})),
        ("customer_user.phone", Value::Null),
        ("settings", Value::Null),
        ("settings", json!({})),
        ("settings", json!({"providers": null, "products": null, "countries": null})),
        ("settings.providers", json!([])),
        ("settings.providers", json!(["moneykit"])),
        ("settings.providers", json!(["plaid", "moneykit", "finicity", "yodlee", "mx", "akoya"])),
        ("settings.countries", json!([])),
        ("settings.countries", json!(["US", "CA", "GB"])),
        ("settings.products", json!({})),
        ("settings.products.account_numbers", Value::Null),
        ("settings.products.identity", json!({})),
        (
            "settings.products.transactions",
            json!({"required": null, "prefetch": null, "require_permission": null, "reason": null}),
        ),
        ("settings.products.investments", json!({"required": false, "prefetch": true, "reason": "pay you"})),
        ("connect_features", Value::Null),
        ("connect_features", json!({"issue_estimated_data": true, "permit_only_one_account": null})),
        ("custom_sandbox_data", Value::Null),
        ("custom_sandbox_data", json!({"accounts": []})),
        (
            "custom_sandbox_data",
            json!({"accounts": [{"account_type": "checking", "name": "A", "account_number": "1"}], "owners": null}),
        ),
        ("link_tags", Value::Null),
        ("link_tags", json!([])),
        ("link_tags", json!([name(99), "0", "a-b_c d", "Aé"])),
        ("institution_id", Value::Null),
        ("institution_id", json!("credentials_bank_gb")),
        ("institution_id", json!("sandbox.instant")),
        ("existing_link_id", Value::Null),
        ("webhook", Value::Null),
        ("webhook", json!("https://app.example/hook?token=1#x")),
        ("webhook", json!("http://127.0.0.1:9/")),
        ("unknown_field", json!({"deep": [1, {"a": null}]})),
        ("redirect_uri", json!("https://app.example")),
        ("redirect_uri", json!("https://app.example:443/a/b")),
        ("redirect_uri", json!("HTTPS://APP.EXAMPLE/Return")),
        ("redirect_uri", json!("http://localhost:3000/")),
        ("redirect_uri", json!("http://localhost")),
        ("redirect_uri", json!("https://app.example/a/../b")),
        ("redirect_uri", json!(format!("https://app.example/{}", name(65_000)))),
    ] {
        let answer = post(&server, &with(path, value)).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn everything_else_is_refused_at_its_place() {
    let server = TestServer::start().await;
    let name = |n: usize| "x".repeat(n);
    let account = json!({"account_type": "checking", "name": "A", "account_number": "1"});
    let account_with = |key: &str, value: Value| {
        let mut account = account.clone();
        account[key] = value;
        json!({"accounts": [account]})
    };
    for (path, value, place) in [
        ("customer_user", Value::Null, "body.customer_user"),
        ("customer_user", json!("x"), "body.customer_user"),
        ("customer_user", json!({}), "body.customer_user"),
        ("customer_user.id", Value::Null, "body.customer_user.id"),
        ("customer_user.id", json!(12345), "body.customer_user.id"),
        ("customer_user.id", json!(name(3)), "body.customer_user.id"),
        ("customer_user.id", json!(""), "body.customer_user.id"),
        ("customer_user.id", json!(name(151)), "body.customer_user.id"),
        ("customer_user.email", json!("a@b.c"), "body.customer_user.email"),
        ("customer_user.email", json!({}), "body.customer_user.email"),
        ("customer_user.email", json!({"address": "a@b"}), "body.customer_user.email.address"),
        ("customer_user.email", json!({"address": name(255)}), "body.customer_user.email.address"),
        (
            "customer_user.email",
            json!({"address": "a@b.c", "customer_verified_at": "yesterday"}),
            "body.customer_user.email.customer_verified_at",
        ),
        ("customer_user.phone", json!({"number": "123"}), "body.customer_user.phone.number"),
        ("customer_user.phone", json!({"number": name(31)}), "body.customer_user.phone.number"),
        ("customer_user.phone", json!({"number": "+14155550142", "country": "DE"}), "body.customer_user.phone.country"),
        (
            "customer_user.phone",
            json!({"number": "+14155550142", "customer_verified_at": "x"}),
            "body.customer_user.phone.customer_verified_at",
        ),
        ("redirect_uri", Value::Null, "body.redirect_uri"),
        ("redirect_uri", json!(""), "body.redirect_uri"),
        ("redirect_uri", json!(name(65_537)), "body.redirect_uri"),
        ("webhook", json!(""), "body.webhook"),
        ("webhook", json!("app.example"), "body.webhook"),
        ("webhook", json!("ftp://app.example"), "body.webhook"),
        ("webhook", json!("https://u:p@app.example"), "body.webhook"),
        ("webhook", json!(1), "body.webhook"),
        ("link_tags", json!("tag"), "body.link_tags"),
        ("link_tags", json!([1]), "body.link_tags.0"),
        ("link_tags", json!([""]), "body.link_tags.0"),
        ("link_tags", json!(["ok", "-x"]), "body.link_tags.1"),
        ("link_tags", json!([" x"]), "body.link_tags.0"),
        ("link_tags", json!(["é"]), "body.link_tags.0"),
        ("link_tags", json!([name(100)]), "body.link_tags.0"),
        ("institution_id", json!("nobody"), "body.institution_id"),
        ("institution_id", json!(""), "body.institution_id"),
        ("institution_id", json!(7), "body.institution_id"),
        ("existing_link_id", json!(7), "body.existing_link_id"),
        ("settings", json!([]), "body.settings"),
        ("settings.providers", json!(["plaid"]), "body.settings.providers"),
        ("settings.providers", json!(["nobody"]), "body.settings.providers.0"),
        ("settings.countries", json!(["us"]), "body.settings.countries.0"),
        ("settings.countries", json!("US"), "body.settings.countries"),
        ("settings.products", json!([]), "body.settings.products"),
        ("settings.products.identity", json!(true), "body.settings.products.identity"),
        ("settings.products.identity", json!({"required": "yes"}), "body.settings.products.identity.required"),
        ("settings.products.identity", json!({"reason": 1}), "body.settings.products.identity.reason"),
        ("connect_features", json!({"permit_only_one_account": 1}), "body.connect_features.permit_only_one_account"),
        ("custom_sandbox_data", json!({}), "body.custom_sandbox_data"),
        ("custom_sandbox_data", json!({"accounts": [{}]}), "body.custom_sandbox_data.accounts.0"),
        ("custom_sandbox_data", account_with("name", json!("")), "body.custom_sandbox_data.accounts.0.name"),
        (
            "custom_sandbox_data",
            account_with("account_number", json!(12)),
            "body.custom_sandbox_data.accounts.0.account_number",
        ),
        (
            "custom_sandbox_data",
            account_with("account_number", json!("")),
            "body.custom_sandbox_data.accounts.0.account_number",
        ),
        (
            "custom_sandbox_data",
            account_with("routing_number", json!("091000018")),
            "body.custom_sandbox_data.accounts.0.routing_number",
        ),
        (
            "custom_sandbox_data",
            account_with("routing_number", json!("111222333")),
            "body.custom_sandbox_data.accounts.0.routing_number",
        ),
        (
            "custom_sandbox_data",
            account_with("routing_number", json!("09100001")),
            "body.custom_sandbox_data.accounts.0.routing_number",
        ),
        (
            "custom_sandbox_data",
            account_with("routing_number", json!("")),
            "body.custom_sandbox_data.accounts.0.routing_number",
        ),
        (
            "custom_sandbox_data",
            account_with("account_type", json!("")),
            "body.custom_sandbox_data.accounts.0.account_type",
        ),
        ("custom_sandbox_data", json!({"accounts": [], "owners": "x"}), "body.custom_sandbox_data.owners"),
        ("custom_sandbox_data", json!({"accounts": vec![account.clone(); 101]}), "body.custom_sandbox_data.accounts"),
    ] {
        let answer = post(&server, &with(path, value)).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, VALIDATION), "{path}: {}", answer.text());
        assert!(answer.places().iter().any(|found| found == place), "{path}: {:?}", answer.places());
    }
    let live = server.session(&server.live, json!({"custom_sandbox_data": {"accounts": []}})).await;
    assert_eq!(live.expect(422, VALIDATION).places(), ["body.custom_sandbox_data"]);
}

#[tokio::test]
async fn every_problem_is_reported_at_once() {
    let server = TestServer::start().await;
    let body = json!({"customer_user": {"id": "x"}, "redirect_uri": "x", "link_tags": ["", "ok", "-"], "webhook": "x"});
    let answer = post(&server, &body).await;
    let places = ["body.customer_user.id", "body.redirect_uri", "body.webhook", "body.link_tags.0", "body.link_tags.2"];
    assert_eq!(answer.expect(422, VALIDATION).places(), places);
}

#[tokio::test]
async fn duplicate_keys_are_refused_wherever_they_are() {
    let server = TestServer::start().await;
    let user = format!(r#""customer_user":{{"id":"{USER}"}},"redirect_uri":"{REDIRECT}""#);
    for body in [
        format!(r#"{{{user},"redirect_uri":"{REDIRECT}"}}"#),
        format!(r#"{{{user},"x":1,"x":1}}"#),
        format!(r#"{{{user},"x":[{{"y":1,"y":2}}]}}"#),
        format!(r#"{{{user},"redirect\u005furi":"{REDIRECT}"}}"#),
        format!(r#"{{"customer_user":{{"id":"{USER}","id":"other-user"}},"redirect_uri":"{REDIRECT}"}}"#),
    ] {
        let call = server.call(&server.a, "POST", "/link-session").header("content-type", "application/json");
        let answer = call.body(body).send().await;
        assert_eq!(
            answer.expect(422, VALIDATION).json()["validation_errors"][0]["message"],
            "an object has a key twice"
        );
    }
}

/// The attacks on a redirect (the allow-list holds `https://app.example` and `http://localhost:*`).
const HOSTILE_REDIRECTS: [&str; 68] = [
    "https://app%2eexample/",
    "https://%61pp.example/",
    "https://ａpp.example/",
    "https://app。example/",
    "https://app.example@evil.example/",
    "https://app.example:x@evil.example/",
    "https://app.example%25@evil.example/",
    "https://app.example%40evil.example/",
    "https://@app.example/",
    "https://:@app.example/",
    "https://user@app.example/",
    "https://app.example.evil.example/",
    "https://evil-app.example/",
    "https://evilapp.example/",
    "https://app.example./",
    "https://app.example../",
    "https://.app.example/",
    "https://sub.app.example/",
    "https://app.examples/",
    "https://app.exampl/",
    "https://app/",
    "https://example/",
    "http://app.example/",
    "https://app.example:444/",
    "https://app.example:80/",
    "https://app.example:0/",
    "https://app.example:65536/",
    "https://app.example:4a3/",
    "https://app.example:-443/",
    "//app.example/",
    "//evil.example/",
    "/\\evil.example/",
    "/return",
    "\\\\evil.example/",
    "https:app.example/",
    "https:/app.example/",
    "https:///app.example/",
    "https:\\\\app.example/",
    "https://app.example\\@evil.example/",
    "https://evil.example\\@app.example/",
    "https://evil.example/https://app.example/",
    "https://evil.example#https://app.example",
    "https://evil.example?https://app.example",
    "https://app.example/?next=//evil.example",
    "https://app.example/?",
    "https://app.example/#",
    "https://app.example/#@evil.example",
    "https://app.example#.evil.example",
    "https://app.example?.evil.example",
    " https://app.example/",
    "https://app.example/ ",
    "https://app.example/\t",
    "https://app.example/\n",
    "ht\ttps://app.example/",
    "https://app\n.example/",
    "https://app.example\u{0}/",
    "https://app.example%00/",
    "https://app.example%2f.evil.example/",
    "https://app.example%2e.evil.example/",
    "https://аpp.example/",
    "https://xn--pp-7kc.example/",
    "https://app.examplе/",
    "https://[::ffff:127.0.0.1]/",
    "javascript:alert(1)",
    "javascript://app.example/%0aalert(1)",
    "data:text/html,<script>",
    "blob:https://app.example/x",
    "file:///etc/passwd",
];

#[tokio::test]
async fn a_redirect_goes_to_a_registered_origin_or_nowhere() {
    let server = TestServer::start().await;
    let localhost = [
        "http://localhost.evil.example:80/",
        "https://localhost:3000/",
        "http://localhost:99999/",
        "http://localhost@evil.example:80/",
        "http://127.0.0.1:3000/",
        "http://[::1]:3000/",
    ];
    for redirect in HOSTILE_REDIRECTS.iter().chain(&localhost) {
        let answer = server.session(&server.a, json!({"redirect_uri": redirect})).await;
        let refused = match answer.status {
            403 => answer.code() == "link_session_error.forbidden_config",
            422 => answer.code() == VALIDATION,
            _ => false,
        };
        assert!(refused, "{redirect:?}: {} {}", answer.status, answer.text());
        assert_eq!(answer.header("location"), None);
    }
}

#[tokio::test]
async fn a_session_lives_four_hours_and_works_once() {
    let server = TestServer::start().await;
    let used = server.session_token(&server.a, json!({})).await;
    let open = server.session_token(&server.a, json!({})).await;
    server.complete(&server.a, &used, json!({})).await.ok(201);
    server.complete(&server.a, &used, json!({})).await.expect(422, VALIDATION);
    server.advance(4 * 3_600 - 1);
    let expired = server.session_token(&server.a, json!({})).await;
    let failed = server.complete(&server.a, &open, json!({"username": "user_bad"})).await;
    failed.expect(422, "link_error.bad_state");
    let completed = server.complete(&server.a, &open, json!({})).await.ok(201);
    assert!(text(&completed["exchangeable_token"]).len() == 64);
    server.advance(4 * 3_600);
    server.complete(&server.a, &expired, json!({})).await.expect(422, VALIDATION);
}

#[tokio::test]
async fn a_session_offers_only_what_it_asked_for() {
    let server = TestServer::start().await;
    for (fields, person, place) in [
        (
            json!({"settings": {"countries": ["GB"]}}),
            json!({"institution_id": "credentials_bank"}),
            "body.institution_id",
        ),
        (json!({}), json!({"institution_id": "nobody"}), "body.institution_id"),
        (
            json!({"settings": {"products": {"identity": {"required": true}}}}),
            json!({"institution_id": "statement_file"}),
            "body.institution_id",
        ),
        (json!({}), json!({"accounts": ["no such account"]}), "body.accounts"),
        (json!({}), json!({"accounts": []}), "body.accounts"),
        (
            json!({"connect_features": {"permit_only_one_account": true}}),
            json!({"accounts": ["Everyday Checking", "Rewards Credit Card"]}),
            "body.accounts",
        ),
    ] {
        let token = server.session_token(&server.a, fields.clone()).await;
        let answer = server.complete(&server.a, &token, person).await;
        assert_eq!(answer.expect(422, VALIDATION).places(), [place], "{fields}");
    }
    server.link(&server.a).await;
    let once = json!({"connect_features": {"duplicate_institution_rejected": true}});
    let token = server.session_token(&server.a, once).await;
    server.complete(&server.a, &token, json!({"institution_id": "credentials_bank"})).await.expect(422, VALIDATION);
    server.complete(&server.a, &token, json!({"institution_id": "instant_bank"})).await.ok(201);
    let depository = json!({"connect_features": {"permit_only_depository_accounts": true}});
    let token = server.session_token(&server.a, depository).await;
    let failed = server.complete(&server.a, &token, json!({"username": "user_noaccounts"})).await;
    assert_eq!(failed.expect(422, "link_error.bad_state").json()["link_error_code"], "no_accounts");
}

#[tokio::test]
async fn a_person_who_failed_at_one_bank_may_go_to_another_with_the_same_link() {
    let server = TestServer::start().await;
    let token = server.session_token(&server.a, json!({"link_tags": ["kept"]})).await;
    let failed = server.complete(&server.a, &token, json!({"username": "user_down"})).await;
    assert_eq!(failed.expect(422, "link_error.bad_state").json()["link_error_code"], "institution_error");
    let completed = server.complete(&server.a, &token, json!({"institution_id": "instant_bank"})).await.ok(201);
    let body = json!({"exchangeable_token": completed["exchangeable_token"]});
    let link = server.post(&server.a, "/link-session/exchange-token", &body).await.ok(201)["link"].clone();
    assert_eq!((&link["institution_id"], &link["state"]), (&json!("instant_bank"), &json!("connected")));
    assert_eq!((&link["error_code"], &link["link_tags"]), (&Value::Null, &json!(["kept"])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_people_in_one_session_one_makes_the_link() {
    let server = TestServer::start().await;
    let token = server.session_token(&server.a, json!({})).await;
    let body = json!({"link_session_token": token});
    let call = server.call(&server.a, "POST", "/sandbox/link-sessions/complete").json(&body);
    let calls: Vec<_> = (0..16).map(|_| tokio::spawn(call.clone().send_until_admitted())).collect();
    let mut made = 0;
    for call in calls {
        let answer = call.await.unwrap();
        made += usize::from(answer.status == 201);
        assert!(answer.status == 201 || answer.code() == VALIDATION, "{}", answer.text());
    }
    assert_eq!(made, 1);
}
