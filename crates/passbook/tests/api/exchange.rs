//! `POST /link-session/exchange-token`.

use serde_json::json;

use crate::support::{TestServer, without_avatar};

const INVALID: &str = "link_session_error.invalid_token_exchange";
const EXCHANGE: &str = "/link-session/exchange-token";

#[tokio::test]
async fn the_link_comes_back_connected_with_its_prefetch_pending() {
    let server = TestServer::start().await;
    let (id, token) = server.waiting_link(&server.a).await;
    let answer = server.post(&server.a, EXCHANGE, &json!({"exchangeable_token": token})).await;
    let body = answer.ok(201);
    assert_eq!((&body["link_id"], &body["link"]["link_id"]), (&json!(id), &json!(id)));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    insta::assert_json_snapshot!("exchanged_link", without_avatar(body));
}

#[tokio::test]
async fn of_32_exchanges_at_once_exactly_one_succeeds() {
    let server = TestServer::start().await;
    for _ in 0..4 {
        let (_, token) = server.waiting_link(&server.a).await;
        let call = server.call(&server.a, "POST", EXCHANGE).json(&json!({"exchangeable_token": token}));
        let calls: Vec<_> = (0..32).map(|_| tokio::spawn(call.clone().send_until_admitted())).collect();
        let mut statuses = Vec::new();
        for call in calls {
            let answer = call.await.unwrap();
            statuses.push(answer.status);
            assert!(answer.status == 201 || answer.code() == INVALID, "{}", answer.text());
        }
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 31);
        call.send().await.expect(400, INVALID);
    }
}

#[tokio::test]
async fn after_half_an_hour_the_token_is_worthless_and_the_link_incomplete() {
    let server = TestServer::start().await;
    let (id, token) = server.waiting_link(&server.a).await;
    let (in_time, good) = server.waiting_link(&server.a).await;
    server.advance(30 * 60 - 1);
    server.post(&server.a, EXCHANGE, &json!({"exchangeable_token": good})).await.ok(201);
    server.advance(1);
    server.post(&server.a, EXCHANGE, &json!({"exchangeable_token": token})).await.expect(400, INVALID);
    server.drain(&server.a).await;
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!((&link["state"], &link["error_code"]), (&json!("error"), &json!("incomplete")));
    let blocked = server.get(&server.a, &format!("/links/{id}/accounts")).await;
    assert_eq!(blocked.expect(422, "link_error.bad_state").json()["link_error_code"], "incomplete");
    let link = server.get(&server.a, &format!("/links/{in_time}")).await.ok(200);
    assert_eq!(link["state"], "connected");
}

#[tokio::test]
async fn the_sandbox_clock_expires_tokens_too() {
    let server = TestServer::start().await;
    server.post(&server.a, "/sandbox/clock", &json!({"freeze_at": "2026-02-01T00:00:00Z"})).await.ok(200);
    let (id, token) = server.waiting_link(&server.a).await;
    server.post(&server.a, "/sandbox/clock", &json!({"advance_seconds": 1800})).await.ok(200);
    server.post(&server.a, EXCHANGE, &json!({"exchangeable_token": token})).await.expect(400, INVALID);
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!(link["error_code"], "incomplete");
}

#[tokio::test]
async fn a_link_deleted_before_the_exchange_cannot_be_exchanged() {
    let server = TestServer::start().await;
    let (id, token) = server.waiting_link(&server.a).await;
    assert_eq!(server.delete(&server.a, &format!("/links/{id}")).await.status, 204);
    server.post(&server.a, EXCHANGE, &json!({"exchangeable_token": token})).await.expect(400, INVALID);
    let link = server.get(&server.a, &format!("/links/{id}")).await.ok(200);
    assert_eq!(link["state"], "deleted");
}

#[tokio::test]
async fn the_body_is_checked() {
    let server = TestServer::start().await;
    for body in [json!({}), json!({"exchangeable_token": null}), json!({"exchangeable_token": 1}), json!([])] {
        let answer = server.post(&server.a, EXCHANGE, &body).await;
        answer.expect(422, "api_error.request.validation_failed");
    }
}
