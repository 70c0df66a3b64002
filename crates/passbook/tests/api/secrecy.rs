//! Nothing secret reaches a log line, an error body or a metric, whatever goes wrong.
//!
//! One test, because the log of a process has one subscriber: it takes the happy path and the error paths with
//! everything logged, and then looks for every secret it used.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use passbook_core::{failure::FailureClass, product::Product};
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;

use crate::support::{Answer, Call, Canaries, REDIRECT, TestServer, USER, bank, fixture, text};

const ACCOUNT_NUMBER: &str = "98765001234567";
const ROUTING_NUMBER: &str = "322271627";
const WRONG_NUMBER: &str = "55550000777712";
const PASSWORD: &str = "hunter2-canary-password";
const CODE: &str = "canary-code-775533";
const OWNER: &str = "Canarina Birdwhistle";
const STREET: &str = "17 Yellow Feather Lane";
const EMAIL: &str = "canary@feathers.example";
const PHONE: &str = "+14155557788";

/// What is logged, by any thread of the process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(move || writer.clone()).init();
        log
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The answers that may not hold a secret.
#[derive(Default)]
struct Errors(Vec<u8>, usize);

impl Errors {
    #[track_caller]
    fn take(&mut self, answer: &Answer) {
        assert!(answer.status >= 400, "an error path that succeeds: {}", answer.text());
        self.0.extend_from_slice(format!("{:?}\n", answer.headers).as_bytes());
        self.0.extend_from_slice(&answer.body);
        self.1 += 1;
    }
}

fn custom_link() -> Value {
    let owner = json!({
        "names": [OWNER], "emails": [{"address": EMAIL}],
        "addresses": [{"street": STREET}], "phone_numbers": [{"number": PHONE, "type": "home"}]
    });
    let account = json!({
        "account_type": "checking", "name": "Custom", "account_number": ACCOUNT_NUMBER, "routing_number": ROUTING_NUMBER
    });
    json!({
        "institution_id": bank::ID, "username": "user_custom",
        "custom_sandbox_data": {"accounts": [account], "owners": [owner]}
    })
}

#[tokio::test]
async fn secrets_reach_no_log_no_error_and_no_metric() {
    let log = Log::start();
    let server = TestServer::start().await;
    let (mut canaries, mut errors) = (Canaries::default(), Errors::default());
    for (name, secret) in [
        ("custom account number", ACCOUNT_NUMBER),
        ("custom routing number", ROUTING_NUMBER),
        ("wrong account number", WRONG_NUMBER),
        ("password", PASSWORD),
        ("code", CODE),
        ("owner", OWNER),
        ("street", STREET),
        ("e-mail address", EMAIL),
        ("phone number", PHONE),
        ("statement account number", "1000200030"),
        ("number in a panic", "4111111111111111"),
        ("client secret of A", &server.a.secret),
        ("client secret of B", &server.b.secret),
    ] {
        canaries.add(name, secret);
    }
    happy_path(&server, &mut canaries).await;
    for call in broken_requests(&server, &mut canaries).await {
        errors.take(&call.send().await);
    }
    failing_banks(&server, &mut errors).await;
    server.services.store.close().await;
    errors.take(&server.anonymous("POST", "/auth/token").form(&form(&server)).send().await);
    errors.take(&server.post(&server.a, "/sandbox/links", &custom_link()).await);

    assert!(canaries.count() >= 19 && errors.1 >= 50, "{} secrets, {} errors", canaries.count(), errors.1);
    let log = log.bytes();
    assert!(tells(&log, "answered") && tells(&log, "handler panicked"), "the log is the server's");
    assert_eq!(canaries.found_in(&log), Vec::<String>::new(), "in the log");
    assert_eq!(canaries.found_in(&errors.0), Vec::<String>::new(), "in an error");
    let metrics = server.anonymous("GET", "/metrics").send().await;
    assert_eq!(canaries.found_in(&metrics.body), Vec::<String>::new(), "in the metrics");
}

#[test]
fn the_search_finds_a_secret_in_every_form() {
    let mut canaries = Canaries::default();
    canaries.add("number", ACCOUNT_NUMBER);
    for (form, text) in [
        ("raw", format!("number={ACCOUNT_NUMBER}.")),
        ("reversed", "x76543210056789x".to_owned()),
        ("in groups of four", "9876 5001 2345 67".to_owned()),
        ("base64", "OTg3NjUwMDEyMzQ1Njc=".to_owned()),
        ("hex", "3938373635303031323334353637".to_owned()),
        ("UTF-16", ACCOUNT_NUMBER.chars().flat_map(|letter| [letter, '\0']).collect()),
        ("list of bytes", "[57, 56, 55, 54, 53, 48, 48, 49, 50, 51, 52, 53, 54, 55]".to_owned()),
    ] {
        assert!(canaries.found_in(text.as_bytes()).contains(&format!("number ({form})")), "{form}");
    }
    assert!(canaries.found_in(b"9876500123456").is_empty());
}

fn tells(log: &[u8], message: &str) -> bool {
    String::from_utf8_lossy(log).contains(message)
}

fn form(server: &TestServer) -> String {
    format!("client_id={}&client_secret={}", server.a.id, server.a.secret)
}

/// Everything that works, and the secrets it shows.
async fn happy_path(server: &TestServer, canaries: &mut Canaries) {
    let token = server.token(&server.a).await;
    canaries.add("access token", &token);
    assert_eq!(server.bearer(&token, "GET", "/auth/introspect").send().await.status, 200);
    let custom = server.link_with(&server.a, custom_link()).await;
    let usual = server.link(&server.a).await;
    let imported = server.import(&server.a, USER, &fixture("plain_sgml_crlf.ofx")).await.ok(201);
    for id in [&custom, &usual, &text(&imported["link_id"])] {
        for path in ["", "/accounts", "/accounts/numbers", "/transactions"] {
            assert_eq!(server.get(&server.a, &format!("/links/{id}{path}")).await.status, 200);
        }
    }
    let numbers = server.get(&server.a, &format!("/links/{usual}/accounts/numbers")).await.ok(200);
    for account in numbers["accounts"].as_array().unwrap() {
        canaries.add("simulated account number", &text(&account["numbers"]["ach"][0]["account_number"]));
    }
    let identity = server.get(&server.a, &format!("/links/{custom}/identity")).await.ok(200);
    assert_eq!(identity["accounts"][0]["owners"][0]["names"][0], OWNER);
    let person = json!({
        "id": USER, "email": {"address": EMAIL}, "phone": {"number": PHONE},
    });
    let session = server.session_token(&server.a, json!({"customer_user": person})).await;
    canaries.add("session token", &session);
    let completed = server.complete(&server.a, &session, json!({})).await.ok(201);
    let exchangeable = text(&completed["exchangeable_token"]);
    canaries.add("exchangeable token", &exchangeable);
    let body = json!({"exchangeable_token": exchangeable});
    server.post(&server.a, "/link-session/exchange-token", &body).await.ok(201);
    let refresh = json!({"products": ["accounts", "account_numbers", "identity", "transactions"]});
    server.post(&server.a, &format!("/links/{custom}/products"), &refresh).await.ok(202);
    server.drain(&server.a).await;
    for id in [&custom, &usual] {
        assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204);
    }
}

/// Requests that fail, each with a secret in the place where it goes wrong.
async fn broken_requests(server: &TestServer, canaries: &mut Canaries) -> Vec<Call> {
    let (_, token) = server.waiting_link(&server.b).await;
    canaries.add("foreign exchangeable token", &token);
    let number: u64 = WRONG_NUMBER.parse().unwrap();
    let post = |path: &str, body: Value| server.call(&server.a, "POST", path).json(&body);
    let raw = |body: String| {
        server.call(&server.a, "POST", "/link-session").header("content-type", "application/json").body(body)
    };
    let session = |name: &str, value: Value| {
        let mut body = json!({"customer_user": {"id": USER}, "redirect_uri": REDIRECT});
        body[name] = value;
        post("/link-session", body)
    };
    let account = |number: Value, routing: Value| json!({"accounts": [{"account_type": "checking", "name": "x", "account_number": number, "routing_number": routing}]});
    let statement = String::from_utf8(fixture("plain_sgml_crlf.ofx")).unwrap();
    let import = |file: String| {
        server.call(&server.a, "POST", &format!("/passbook/links/import-file?customer_user_id={USER}")).body(file)
    };
    let mut calls = vec![
        server.anonymous("POST", "/auth/token").form(&format!("client_id={}&client_secret={PASSWORD}", server.a.id)),
        server.anonymous("POST", "/auth/token").form(&format!("scope={PASSWORD}&{}", form(server))),
        server.anonymous("POST", "/auth/token").form(&format!("grant_type={PASSWORD}&{}", form(server))),
        server.anonymous("POST", &format!("/auth/token?{}", form(server))),
        server.anonymous("POST", "/auth/token").header("authorization", &format!("Basic {PASSWORD}")),
        server.bearer(PASSWORD, "GET", "/links"),
        server.bearer(&server.a.secret, "GET", "/links"),
        server.anonymous("GET", &format!("/links?access_token={PASSWORD}")),
        server.anonymous("GET", "/links").header("x-client-id", &server.a.id).header("x-client-secret", PASSWORD),
        server.call(&server.a, "GET", "/links").header("moneykit-version", PASSWORD),
        server.call(&server.a, "GET", &format!("/links/{WRONG_NUMBER}")),
        server.call(&server.a, "GET", &format!("/institutions/{WRONG_NUMBER}")),
        server.call(&server.a, "GET", &format!("/{WRONG_NUMBER}")),
        server.call(&server.a, "PUT", &format!("/links/{WRONG_NUMBER}")),
        server.call(&server.a, "GET", &format!("/links?cursor={WRONG_NUMBER}")),
        server.call(&server.a, "GET", &format!("/links?limit={WRONG_NUMBER}")),
        server.call(&server.a, "GET", &format!("/institutions?featured={WRONG_NUMBER}")),
        post("/link-session/exchange-token", json!({"exchangeable_token": token})),
        post("/link-session/exchange-token", json!({"exchangeable_token": number})),
        post("/sandbox/link-sessions/complete", json!({"link_session_token": PASSWORD})),
        raw(WRONG_NUMBER.to_owned()),
        raw(format!("\"{PASSWORD}\"")),
        raw(format!("{{{PASSWORD}")),
        raw(format!("{{\"{PASSWORD}\":1,\"{PASSWORD}\":2}}")),
        raw(format!("{{\"customer_user\":{{\"id\":\"{PASSWORD}\\ud800\"}}}}")),
        session("customer_user", json!(PASSWORD)),
        session("customer_user", json!({"id": number})),
        session("customer_user", json!({"id": USER, "email": EMAIL})),
        session("customer_user", json!({"id": USER, "phone": {"number": PHONE.repeat(4)}})),
        session("customer_user", json!({"id": USER, "phone": {"number": PHONE, "country": PASSWORD}})),
        session("customer_user", json!({"id": USER, "email": {"address": EMAIL, "customer_verified_at": CODE}})),
        session("redirect_uri", json!(format!("https://user:{PASSWORD}@app.example/"))),
        session("webhook", json!(format!("ftp://{PASSWORD}"))),
        session("link_tags", json!([format!("-{PASSWORD}")])),
        session("settings", json!({"countries": [PASSWORD]})),
        session("settings", json!({"providers": [PASSWORD]})),
        session("settings", json!({"products": {"identity": {"required": PASSWORD}}})),
        session("existing_link_id", json!(WRONG_NUMBER)),
        session("institution_id", json!(WRONG_NUMBER)),
        session("custom_sandbox_data", account(json!(number), Value::Null)),
        session("custom_sandbox_data", account(json!(WRONG_NUMBER), json!(WRONG_NUMBER))),
        session("custom_sandbox_data", account(json!(WRONG_NUMBER.repeat(3)), Value::Null)),
        session("custom_sandbox_data", json!({"accounts": [], "owners": [OWNER]})),
        post("/sandbox/clock", json!({"freeze_at": PASSWORD})),
        import(format!("{OWNER} {ACCOUNT_NUMBER}")),
        import(statement.replace("<TRNAMT>-42.17", &format!("<TRNAMT>{WRONG_NUMBER}x"))),
        import(statement.replace("<DTPOSTED>20240503", &format!("<DTPOSTED>{WRONG_NUMBER}"))),
        import(statement[..statement.len() / 2].to_owned()),
    ];
    let answers = json!({"password": PASSWORD, "code": CODE});
    let signed_in = json!({"link_session_token": server.session_token(&server.a, json!({})).await, "answers": answers});
    calls.push(post("/sandbox/link-sessions/complete", signed_in));
    calls
}

/// Banks that fail and panic, at sign-in and in the background.
async fn failing_banks(server: &TestServer, errors: &mut Errors) {
    let body = json!({"customer_user": {"id": USER}, "username": "user_otp", "answers": {"code": CODE}});
    server.post(&server.a, "/sandbox/links", &body).await.ok(201);
    let id = server.link_with(&server.a, custom_link()).await;
    for product in [Product::Accounts, Product::AccountNumbers, Product::Identity, Product::Transactions] {
        server.bank.fail(product, FailureClass::ConsentExpired);
    }
    let refresh = json!({"products": ["account_numbers", "identity"]});
    server.post(&server.a, &format!("/links/{id}/products"), &refresh).await.ok(202);
    server.drain(&server.a).await;
    errors.take(&server.get(&server.a, &format!("/links/{id}/accounts/numbers")).await);
    server.bank.panic_at_sign_in();
    let mut body = custom_link();
    body["customer_user"] = json!({"id": USER});
    errors.take(&server.post(&server.a, "/sandbox/links", &body).await);
}
