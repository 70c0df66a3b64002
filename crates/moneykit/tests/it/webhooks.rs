//! Verifying webhooks: what is accepted, forgeries, and how often keys are asked for.

use std::time::Duration;

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use http::{HeaderMap, HeaderValue, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use moneykit::{
    jiff::Timestamp,
    models::{LinkProductState, Product, PublicLinkState},
    webhooks::{Delivery, Event, VerificationError, Verifier},
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::advance};

use crate::support::{Reply, Server};

const NOW: i64 = 1_700_000_000;
const KID: &str = "key-1";

#[path = "../../examples/receive_webhooks.rs"]
#[expect(dead_code, reason = "its `main` only reads arguments")]
mod receive_webhooks;

/// A key of the server, or of somebody else.
struct Signer {
    key: EncodingKey,
    public: Vec<u8>,
}

impl Signer {
    fn new() -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        let public = pair.public_key().as_ref().to_vec();
        Self { key: EncodingKey::from_ec_der(document.as_ref()), public }
    }

    fn jwk(&self, kid: &str) -> Value {
        // An uncompressed point: 4, x, y.
        let (x, y) = self.public[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": base64(x), "y": base64(y)})
    }

    fn sign(&self, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &self.key).unwrap()
    }

    fn signature(&self, body: &[u8]) -> String {
        self.sign(Some(KID), &claims(body))
    }
}

fn claims(body: &[u8]) -> Value {
    json!({"iss": "https://api.moneykit.com", "iat": NOW, "request_body_sha256": sha256(body)})
}

fn sha256(body: &[u8]) -> String {
    digest::digest(&digest::SHA256, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let sextet = |group: u32, place: usize| char::from(ALPHABET[(group >> (18 - 6 * place)) as usize & 63]);
    let text = |chunk: &[u8]| {
        let group = chunk.iter().fold(0, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).map(|place| sextet(group, place)).collect::<String>()
    };
    bytes.chunks(3).map(text).collect()
}

fn body() -> Vec<u8> {
    let event = json!({
        "webhook_event": "link.state_changed", "webhook_major_version": 1, "webhook_minor_version": 0,
        "webhook_idempotency_key": "once", "webhook_timestamp": "2023-11-14T22:13:20.000000Z", "link_id": "mk_1",
        "link_tags": ["tag"], "state": "error", "error": "auth_expired", "error_message": null,
    });
    event.to_string().into_bytes()
}

fn headers(signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("moneykit-signature", HeaderValue::from_str(signature).unwrap());
    headers.insert("moneykit-delivery-token", HeaderValue::from_static("delivery-1"));
    headers.insert("moneykit-delivery-attempt", HeaderValue::from_static("3"));
    headers
}

/// A server that lists these keys, and a verifier of its webhooks.
async fn server_with(keys: Vec<Value>) -> (Server, Verifier) {
    let server = Server::start(move |_| Reply::json(200, json!({"keys": keys}))).await;
    let verifier = Verifier::new(&server.client());
    (server, verifier)
}

async fn verify(verifier: &Verifier, headers: &HeaderMap, body: &[u8]) -> Result<Delivery, VerificationError> {
    verifier.verify_at(headers, body, Timestamp::from_second(NOW).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn a_signed_event_is_read_with_its_delivery() {
    let signer = Signer::new();
    let (server, verifier) = server_with(vec![signer.jwk(KID)]).await;
    let body = body();
    let delivery = verify(&verifier, &headers(&signer.signature(&body)), &body).await.unwrap();
    assert_eq!((delivery.token.as_deref(), delivery.attempt), (Some("delivery-1"), Some(3)));
    assert_eq!((delivery.event.name(), delivery.event.idempotency_key()), ("link.state_changed", Some("once")));
    assert_eq!(delivery.event.link_id().map(|id| id.as_str()), Some("mk_1"));
    let Event::LinkStateChanged(event) = delivery.event else { panic!("another event") };
    assert_eq!(event.state, PublicLinkState::Error);
    let calls = server.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].target, "/.well-known/jwks.json");
    assert_eq!(calls[0].header("authorization"), None, "keys need no token");
}

#[tokio::test(start_paused = true)]
async fn every_event_has_its_type_and_an_unknown_one_is_kept() {
    let signer = Signer::new();
    let (_server, verifier) = server_with(vec![signer.jwk(KID)]).await;
    let read = async |changes: Value| {
        let mut event: Value = serde_json::from_slice(&body()).unwrap();
        event.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let body = event.to_string().into_bytes();
        verify(&verifier, &headers(&signer.signature(&body)), &body).await
    };
    let refresh = json!({"webhook_event": "link.product_refresh", "product": "transactions", "state": "completed",
        "state_changed_at": "2023-11-14T22:13:20.000000Z"});
    let Event::ProductRefresh(event) = read(refresh).await.unwrap().event else { panic!("another event") };
    assert_eq!((event.product, event.state), (Product::Transactions, LinkProductState::Completed));
    let updates = json!({"webhook_event": "transactions.updates_available", "has_history": true});
    let event = read(updates).await.unwrap().event;
    assert!(matches!(event, Event::TransactionsUpdatesAvailable(event) if event.has_history == Some(true)));
    let Event::Unknown(event) = read(json!({"webhook_event": "link.sneezed"})).await.unwrap().event else {
        panic!("a known event")
    };
    assert_eq!((event.webhook_event.as_str(), &event.fields["link_id"]), ("link.sneezed", &json!("mk_1")));
    let broken = read(json!({"state": 7})).await.unwrap_err();
    assert_eq!((broken.status(), broken.is_retryable()), (StatusCode::BAD_REQUEST, false));
    assert!(!format!("{broken} {broken:?}").contains("mk_1"), "{broken:?}");
}

/// Everything that is not a signature of the server, over this body, made now.
#[tokio::test(start_paused = true)]
async fn forgeries_are_refused() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let mut unfit = stranger.jwk("for encryption");
    unfit["use"] = json!("enc");
    let (server, verifier) = server_with(vec![signer.jwk(KID), unfit]).await;
    let body = body();
    let good = signer.signature(&body);
    let parts: Vec<_> = good.split('.').collect();
    let resigned = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims(&body);
        change(&mut claims);
        signer.sign(Some(KID), &claims)
    };
    let alg = |header: Value| format!("{}.{}.", base64(header.to_string().as_bytes()), parts[1]);
    let hmac = {
        // The classic: the public key taken for a secret.
        let header = Header { kid: Some(KID.to_owned()), ..Header::new(Algorithm::HS256) };
        encode(&header, &claims(&body), &EncodingKey::from_secret(&signer.public)).unwrap()
    };
    let forged: Vec<(&str, String)> = vec![
        ("empty", String::new()),
        ("a space", " ".to_owned()),
        ("another scheme", "v1,".to_owned()),
        ("another scheme with a value", format!("v1,{}", base64(&[7; 32]))),
        ("bearer", format!("Bearer {good}")),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("four parts", format!("{good}.x")),
        ("half of it", good[..good.len() / 2].to_owned()),
        ("all but the last letter", good[..good.len() - 1].to_owned()),
        ("one letter more", format!("{good}A")),
        ("doubled", format!("{good}{good}")),
        ("a list", format!("{good},{good}")),
        ("padded", format!("{good}==")),
        ("no algorithm", alg(json!({"alg": "none", "kid": KID, "typ": "JWT"}))),
        ("no algorithm, spelt otherwise", alg(json!({"alg": "None", "kid": KID}))),
        ("no algorithm at all", alg(json!({"kid": KID, "typ": "JWT"}))),
        ("the public key as a secret", hmac),
        ("another algorithm", alg(json!({"alg": "RS256", "kid": KID}))),
        ("a key in the header", alg(json!({"alg": "ES256", "jwk": stranger.jwk(KID)}))),
        ("a key by address", alg(json!({"alg": "ES256", "kid": KID, "jku": "http://127.0.0.1/"}))),
        ("a zero signature", format!("{}.{}.{}", parts[0], parts[1], base64(&[0; 64]))),
        ("no key id", signer.sign(None, &claims(&body))),
        ("an empty key id", signer.sign(Some(""), &claims(&body))),
        ("an endless key id", signer.sign(Some(&"k".repeat(300)), &claims(&body))),
        ("a key that is not listed", signer.sign(Some("key-2"), &claims(&body))),
        ("a stranger's key under a known id", stranger.signature(&body)),
        ("a key for something else", stranger.sign(Some("for encryption"), &claims(&body))),
        ("five minutes and a second ago", resigned(&|claims| claims["iat"] = json!(NOW - 301))),
        ("in five minutes and a second", resigned(&|claims| claims["iat"] = json!(NOW + 301))),
        ("at the beginning of time", resigned(&|claims| claims["iat"] = json!(i64::MIN))),
        ("at the end of time", resigned(&|claims| claims["iat"] = json!(i64::MAX))),
        ("no time", resigned(&|claims| claims["iat"] = Value::Null)),
        ("time as text", resigned(&|claims| claims["iat"] = json!(NOW.to_string()))),
        ("expired", resigned(&|claims| claims["exp"] = json!(NOW - 301))),
        ("no digest", resigned(&|claims| claims["request_body_sha256"] = Value::Null)),
        ("an empty digest", resigned(&|claims| claims["request_body_sha256"] = json!(""))),
        ("half a digest", resigned(&|claims| claims["request_body_sha256"] = json!(sha256(&body)[..32]))),
        ("the digest and more", resigned(&|claims| claims["request_body_sha256"] = json!(sha256(&body) + "00"))),
        ("a shouted digest", resigned(&|claims| claims["request_body_sha256"] = json!(sha256(&body).to_uppercase()))),
        ("the digest of nothing", resigned(&|claims| claims["request_body_sha256"] = json!(sha256(b"")))),
        ("a list of claims", signer.sign(Some(KID), &json!([]))),
        ("far too long", format!("{good}{}", "A".repeat(5_000))),
    ];
    assert!(forged.len() >= 40);
    for (what, signature) in forged {
        let refused = verify(&verifier, &headers(&signature), &body).await.expect_err(what);
        assert_eq!((refused.status(), refused.is_retryable()), (StatusCode::UNAUTHORIZED, false), "{what}");
    }
    for (what, other) in [
        ("a space more", [&body[..], b" "].concat()),
        ("a space less", body[1..].to_vec()),
        ("nothing", Vec::new()),
        ("reordered", {
            let event: std::collections::BTreeMap<String, Value> = serde_json::from_slice(&body).unwrap();
            serde_json::to_vec(&event.into_iter().rev().collect::<Vec<_>>()).unwrap()
        }),
    ] {
        assert!(verify(&verifier, &headers(&good), &other).await.is_err(), "{what}");
    }
    assert!(verify(&verifier, &HeaderMap::new(), &body).await.is_err(), "no header");
    let mut twice = headers(&good);
    twice.append("moneykit-signature", HeaderValue::from_str(&good).unwrap());
    assert!(verify(&verifier, &twice, &body).await.is_err(), "two headers");
    assert!(verify(&verifier, &headers(&good), &body).await.is_ok(), "and the real one is still good");
    assert_eq!(server.calls().len(), 1, "one call for the keys in all this");
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_anywhere_is_refused() {
    let signer = Signer::new();
    let (_server, verifier) = server_with(vec![signer.jwk(KID)]).await;
    let body = body();
    let good = signer.signature(&body);
    for place in 0..body.len() * 8 {
        let mut other = body.clone();
        other[place / 8] ^= 1 << (place % 8);
        assert!(verify(&verifier, &headers(&good), &other).await.is_err(), "bit {place} of the body");
    }
    for place in 0..good.len() * 8 {
        let mut other = good.clone().into_bytes();
        other[place / 8] ^= 1 << (place % 8);
        let Ok(value) = HeaderValue::from_bytes(&other) else { continue };
        let mut headers = HeaderMap::new();
        headers.insert("moneykit-signature", value);
        assert!(verify(&verifier, &headers, &body).await.is_err(), "bit {place} of the signature");
    }
}

#[tokio::test(start_paused = true)]
async fn clocks_may_be_five_minutes_apart_and_the_issuer_counts_when_asked_for() {
    let signer = Signer::new();
    let (_server, verifier) = server_with(vec![signer.jwk(KID)]).await;
    let body = body();
    for iat in [NOW - 300, NOW + 300] {
        let mut claims = claims(&body);
        claims["iat"] = json!(iat);
        verify(&verifier, &headers(&signer.sign(Some(KID), &claims)), &body).await.unwrap();
    }
    let strict = verifier.with_issuer("https://api.moneykit.com");
    verify(&strict, &headers(&signer.signature(&body)), &body).await.unwrap();
    let other = strict.with_issuer("https://bank.example");
    let refused = verify(&other, &headers(&signer.signature(&body)), &body).await.unwrap_err();
    assert_eq!(refused.to_string(), "the webhook was signed by another issuer");
}

#[tokio::test(start_paused = true)]
async fn invented_keys_make_one_call_in_five_minutes() {
    let signer = Signer::new();
    let (server, verifier) = server_with(vec![signer.jwk(KID)]).await;
    let body = body();
    let mut forgeries = JoinSet::new();
    for number in 0..1_000 {
        let (verifier, body) = (verifier.clone(), body.clone());
        let forged = headers(&signer.sign(Some(&format!("invented {number}")), &claims(&body)));
        forgeries.spawn(async move { verify(&verifier, &forged, &body).await.is_err() });
    }
    assert!(forgeries.join_all().await.into_iter().all(|refused| refused));
    assert_eq!(server.calls().len(), 1);
    advance(Duration::from_secs(301)).await;
    let unknown = headers(&signer.sign(Some("invented"), &claims(&body)));
    assert!(verify(&verifier, &unknown, &body).await.is_err());
    assert!(verify(&verifier, &unknown, &body).await.is_err());
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_and_a_withdrawn_one_is_forgotten_within_a_day() {
    let (old, new) = (Signer::new(), Signer::new());
    let (first, then) = (json!({"keys": [old.jwk("old")]}), json!({"keys": [new.jwk("new")]}));
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Reply::json(200, if call == 0 { &first } else { &then })
    })
    .await;
    let verifier = Verifier::new(&server.client());
    let body = body();
    let by_old = headers(&old.sign(Some("old"), &claims(&body)));
    let by_new = headers(&new.sign(Some("new"), &claims(&body)));
    verify(&verifier, &by_old, &body).await.unwrap();
    assert!(verify(&verifier, &by_new, &body).await.is_err(), "not asked again so soon");
    advance(Duration::from_secs(24 * 3600 - 1)).await;
    verify(&verifier, &by_old, &body).await.unwrap();
    assert_eq!(server.calls().len(), 1, "a known key asks for nothing");
    advance(Duration::from_secs(1)).await;
    assert!(verify(&verifier, &by_old, &body).await.is_err(), "the day is over");
    verify(&verifier, &by_new, &body).await.unwrap();
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_keys_the_server_is_told_to_come_again() {
    let signer = Signer::new();
    let server = Server::start(|_| Reply::json(500, "{}")).await;
    let verifier = Verifier::new(&server.client());
    assert!(verifier.fetch_keys().await.is_err());
    let body = body();
    let refused = verify(&verifier, &headers(&signer.signature(&body)), &body).await.unwrap_err();
    assert_eq!((refused.status(), refused.is_retryable()), (StatusCode::SERVICE_UNAVAILABLE, true));
}

#[tokio::test]
async fn the_example_believes_what_is_signed_and_works_once() {
    let signer = Signer::new();
    let (_server, verifier) = server_with(vec![signer.jwk(KID)]).await;
    let done = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = done.clone();
    let app = receive_webhooks::app(verifier, std::sync::Arc::new(move |task| noted.lock().unwrap().push(task)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let body = body();
    let mut now = claims(&body);
    now["iat"] = json!(jsonwebtoken::get_current_timestamp());
    let signature = signer.sign(Some(KID), &now);
    let client = reqwest::Client::new();
    let send =
        |signature: String, body: Vec<u8>| client.post(&url).header("moneykit-signature", signature).body(body).send();
    for _ in 0..2 {
        assert_eq!(send(signature.clone(), body.clone()).await.unwrap().status(), 204);
    }
    assert_eq!(send(signature.clone(), b"{}".to_vec()).await.unwrap().status(), 401);
    assert_eq!(send(String::new(), body).await.unwrap().status(), 401);
    assert_eq!(*done.lock().unwrap(), ["ask the user of mk_1 to reconnect"]);
}

/// What verifiers in other languages can be held to; `docs/webhooks.md` says how.
#[tokio::test(start_paused = true)]
async fn the_published_vectors_are_judged_as_they_say() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/webhooks.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 25);
    for case in cases {
        // A verifier of its own: an unknown key must not use up the one refetch of all.
        let (_server, verifier) = server_with(vectors["jwks"]["keys"].as_array().unwrap().clone()).await;
        let body = case["body"].as_str().unwrap().as_bytes();
        let now = Timestamp::from_second(case["now"].as_i64().unwrap()).unwrap();
        let judged = verifier.verify_at(&headers(case["signature"].as_str().unwrap()), body, now).await;
        assert_eq!(judged.is_ok(), case["accepted"].as_bool().unwrap(), "{}: {judged:?}", case["name"]);
    }
}
