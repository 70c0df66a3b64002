//! Webhooks that fail, and the keys that sign.

use std::net::SocketAddr;

use axum::{Router, http::StatusCode};
use passbook::system::SystemClock;
use passbook_core::time::Clock as _;
use serde_json::{Value, json};

use crate::server::{Home, Server, field, http, wait_until};

async fn call(server: &Server, method: &str, path: &str, body: Value) -> Value {
    let method = method.parse().expect("a method");
    let call = http().request(method, format!("{}{path}", server.api_url)).json(&body);
    let call = call.header("x-client-id", &server.client_id).header("x-client-secret", &server.client_secret);
    let answer = call.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.json().await.expect("JSON")
}

/// A receiver that wants nothing.
async fn gone() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = Router::new().fallback(|| async { StatusCode::GONE });
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test]
async fn a_webhook_that_was_switched_off_is_listed_and_enabled() {
    let home = Home::new();
    let server = home.start().await;
    assert_eq!(home.ask(&["webhooks", "list"]), json!([]));
    let url = format!("http://{}/hook?token=secret", gone().await);
    let link = format!("/links/{}", server.link_id);
    call(&server, "PATCH", &link, json!({"webhook": url})).await;
    let event = json!({"webhook_event": "link.state_changed"});
    call(&server, "POST", &format!("/sandbox{link}/events"), event).await;
    wait_until("the webhook is switched off", async || {
        home.ask(&["webhooks", "list"])[0]["switched_off"] == "unwanted"
    })
    .await;
    let listed = home.ask(&["webhooks", "list"]);
    assert_eq!((listed[0]["url"].as_str(), &listed[0]["environment"]), (Some(url.as_str()), &json!("sandbox")));
    let app = field(&listed[0], "app_id");
    let enable = |url: &'static str| ["webhooks", "enable", "--app", "Passbook dev", "--environment", "sandbox", url];
    assert!(home.refusal(&enable("http://127.0.0.1:1/")).contains("webhooks list"));
    let words = ["webhooks", "enable", "--app", &app, "--environment", "sandbox", &url];
    assert_eq!(home.ask(&words), json!([]), "nothing fails any more");
}

#[tokio::test]
async fn a_new_signing_key_is_published_before_it_signs() {
    let home = Home::new();
    let server = home.start().await;
    let keys = async |server: &Server| {
        let call = http().get(format!("{}/.well-known/jwks.json", server.api_url));
        let answer = call.header("x-client-id", &server.client_id).send().await.expect("an answer");
        answer.json::<Value>().await.expect("JSON")["keys"].as_array().expect("keys").clone()
    };
    let before = keys(&server).await;
    assert_eq!(before.len(), 1);
    let rotated = home.ask(&["keys", "rotate-signing", "--environment", "sandbox"]);
    let signs_from: jiff::Timestamp = field(&rotated, "signs_from").parse().expect("an instant");
    let ahead = signs_from.duration_since(SystemClock.now()).as_secs();
    assert!((89_000..=90_000).contains(&ahead), "{ahead} s ahead");
    server.stop();
    let server = home.start().await;
    let after = keys(&server).await;
    assert_eq!((after.len(), &after[0]), (2, &before[0]));
}

#[tokio::test]
async fn the_secret_of_standard_webhooks_is_one_for_each_app_and_environment() {
    let home = Home::served_once().await;
    let secret = |environment: &str| {
        let shown = home.ask(&["webhooks", "secret", "--app", "Passbook dev", "--environment", environment]);
        shown.as_str().expect("a text").to_owned()
    };
    assert!(secret("sandbox").starts_with("whsec_") && secret("sandbox").len() == 50);
    assert_eq!(secret("sandbox"), secret("sandbox"));
    assert_ne!(secret("sandbox"), secret("live"));
}
