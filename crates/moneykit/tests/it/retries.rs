//! What is repeated, when, and what never is.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use moneykit::{
    Client,
    models::{CreateLinkSessionRequest, ExchangeTokenRequest, Product, RefreshProductsRequest},
};
use tokio::{net::TcpListener, time::Instant};

use crate::support::{Reply, Server, connected_link};

const LIMITED: &str = "api_error.rate_limit_exceeded";
const UNAVAILABLE: &str = "api_error.unavailable";

/// Answers the first calls from the list, and all later ones with a link.
async fn server_answering(replies: Vec<Reply>) -> Server {
    let next = AtomicUsize::new(0);
    Server::start_with_tokens(move |_| {
        let reply = replies.get(next.fetch_add(1, Ordering::Relaxed));
        reply.cloned().unwrap_or_else(|| Reply::json(200, connected_link()))
    })
    .await
}

/// Seconds between the first two calls the server saw.
fn pause(server: &Server) -> u64 {
    let calls = server.calls();
    calls[1].at.duration_since(calls[0].at).as_secs()
}

#[tokio::test(start_paused = true)]
async fn reads_wait_as_many_seconds_as_the_server_asks() {
    for status in [429, 503] {
        let server =
            server_answering(vec![Reply::error(status, LIMITED, "slow down").header("Retry-After", "7")]).await;
        server.client().links().get_link("mk_1").await.unwrap();
        assert_eq!((server.calls().len(), pause(&server)), (2, 7));
    }
}

#[tokio::test(start_paused = true)]
async fn reads_wait_until_the_date_the_server_names() {
    let reply = Reply::error(503, UNAVAILABLE, "back soon")
        .header("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
        .header("Retry-After", "Sun, 06 Nov 1994 08:50:07 GMT");
    let server = server_answering(vec![reply]).await;
    server.client().links().get_link("mk_1").await.unwrap();
    assert_eq!((server.calls().len(), pause(&server)), (2, 30));
}

#[tokio::test(start_paused = true)]
async fn no_wait_is_longer_than_a_minute() {
    let server = server_answering(vec![Reply::error(429, LIMITED, "tomorrow").header("Retry-After", "86400")]).await;
    server.client().links().get_link("mk_1").await.unwrap();
    assert_eq!(pause(&server), 60);
}

#[tokio::test(start_paused = true)]
async fn the_last_failure_is_returned_with_what_the_server_asked_for() {
    let busy = Reply::error(429, LIMITED, "slow down").header("Retry-After", "300").header("X-Request-Id", "req-17");
    let server = server_answering(vec![busy; 9]).await;
    let error = server.client().links().get_link("mk_1").await.unwrap_err();
    assert_eq!(server.calls().len(), 3);
    assert_eq!(error.status().map(|status| status.as_u16()), Some(429));
    assert_eq!(error.error_code(), Some(LIMITED));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(300)));
    assert_eq!(error.request_id(), Some("req-17"));
    assert!(error.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn the_number_of_repetitions_is_the_callers_choice() {
    for repetitions in [0, 1, 5] {
        let server = server_answering(vec![Reply::error(503, UNAVAILABLE, "down"); 9]).await;
        let client = server.builder().max_retries(repetitions).build().unwrap();
        client.links().get_link("mk_1").await.unwrap_err();
        assert_eq!(server.calls().len(), 1 + repetitions as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn writes_are_never_repeated_once_something_was_sent() {
    let server = server_answering(vec![Reply::error(503, UNAVAILABLE, "down").header("Retry-After", "1"); 9]).await;
    let client = server.client();
    let session = CreateLinkSessionRequest::new("user-1", "https://app.example");
    assert!(client.link_session().create_link_session(&session).await.unwrap_err().is_retryable());
    assert_eq!(server.calls().len(), 1);
    client.link_session().exchange_token(&ExchangeTokenRequest::new("x")).await.unwrap_err();
    assert_eq!(server.calls().len(), 2);
    let refresh = RefreshProductsRequest::new([Product::Accounts]);
    client.products().refresh_products("mk_1", &refresh).await.unwrap_err();
    assert_eq!(server.calls().len(), 3);
    client.links().delete_link("mk_1").await.unwrap_err();
    assert_eq!(server.calls().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_call_with_an_idempotency_key_is_repeated_with_it_until_it_is_answered() {
    let late = Reply::json(200, connected_link()).after(Duration::from_secs(31));
    let replies = vec![late, Reply::error(503, UNAVAILABLE, "down").header("Retry-After", "3")];
    let server = server_answering(replies).await;
    let client = server.client().with_idempotency_key("order 4711").unwrap();
    let refresh = RefreshProductsRequest::new([Product::Accounts]);
    client.products().refresh_products("mk_1", &refresh).await.unwrap();
    let calls = server.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.header("idempotency-key") == Some("order 4711")));
    assert!(calls.iter().all(|call| call.body == calls[0].body));
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_goes_with_posts_that_act_and_with_nothing_else() {
    let server = server_answering(vec![]).await;
    let client = server.client().with_idempotency_key("k").unwrap();
    client.links().get_link("mk_1").await.unwrap();
    client.access_token().create_access_token().await.unwrap();
    server.client().link_session().exchange_token(&ExchangeTokenRequest::new("x")).await.unwrap_err();
    let sent = server.calls().into_iter().chain(server.token_calls());
    assert_eq!(sent.filter(|call| call.header("idempotency-key").is_some()).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn refusals_of_a_call_with_an_idempotency_key_are_not_repeated() {
    for status in [400, 403, 422, 429, 500] {
        let server = server_answering(vec![Reply::error(status, "some.code", "no"); 9]).await;
        let client = server.client().with_idempotency_key("k").unwrap();
        let refresh = RefreshProductsRequest::new([Product::Accounts]);
        client.products().refresh_products("mk_1", &refresh).await.unwrap_err();
        assert_eq!(server.calls().len(), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_idempotency_key_is_refused_before_anything_is_sent() {
    let server = server_answering(vec![]).await;
    for key in ["", "a\r\nX-Evil: 1", "caf\u{e9}", "a\tb", &"k".repeat(256)] {
        assert!(server.client().with_idempotency_key(key).is_err(), "{key:?}");
    }
    assert!(server.client().with_idempotency_key(&"k".repeat(255)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn other_failures_of_reads_are_not_repeated() {
    for status in [400, 403, 404, 410, 422, 500, 502, 302] {
        let server = server_answering(vec![Reply::error(status, "some.code", "no"); 9]).await;
        let error = server.client().links().get_link("mk_1").await.unwrap_err();
        assert_eq!(error.status().map(|status| status.as_u16()), Some(status));
        assert_eq!(server.calls().len(), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn redirects_are_not_followed() {
    let elsewhere = Server::start(|_| Reply::json(200, connected_link())).await;
    let target = format!("{}/links/mk_1", elsewhere.url);
    let server = server_answering(vec![Reply::json(307, "{}").header("Location", &target)]).await;
    server.client().links().get_link("mk_1").await.unwrap_err();
    assert_eq!(elsewhere.calls().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_tried_again_even_for_writes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::builder().base_url(&url).access_token("mine").max_retries(3).build().unwrap();
    let started = Instant::now();
    let error = client.links().delete_link("mk_1").await.unwrap_err();
    // 250 + 500 + 1000 ms between four attempts.
    assert_eq!(started.elapsed().as_millis(), 1750);
    assert!(error.is_connect() && error.is_retryable() && error.status().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_a_timeout_and_not_repeated() {
    let slow = Reply::json(200, connected_link()).after(Duration::from_secs(31));
    let server = server_answering(vec![slow]).await;
    let error = server.client().links().get_link("mk_1").await.unwrap_err();
    assert!(error.is_timeout() && error.is_retryable() && !error.is_connect());
    assert_eq!(server.calls().len(), 1);
}
