//! The stream of events: it goes on behind the last event wherever a connection ends.

use moneykit::api::StreamEventsQuery;
use serde_json::json;

use crate::support::{Reply, Server};

fn message(position: u64) -> String {
    let event = json!({
        "event_id": format!("evt_{position}"), "position": position, "link_id": "mk_1", "sequence": position,
        "webhook_event": "link.state_changed", "occurred_at": "2026-01-15T09:00:00.000000Z", "payload": {},
        "deliveries": [],
    });
    format!("id: {position}\nevent: link.state_changed\ndata: {event}\n\n")
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ended_goes_on_behind_its_last_event() {
    let server = Server::start_with_tokens(|call| match call.header("last-event-id") {
        None => Reply::json(200, [":\n\n".to_owned(), message(1), message(2), "id: 3\nda".to_owned()].concat()),
        Some("2") => Reply::json(200, message(3)),
        Some(other) => panic!("behind {other}"),
    })
    .await;
    let query = StreamEventsQuery { cursor: Some("0".to_owned()), ..StreamEventsQuery::default() };
    let mut stream = server.client().events().stream_events(&query);
    for expected in 1..=3 {
        assert_eq!(stream.next().await.unwrap().position, expected);
    }
    assert_eq!(server.calls().len(), 2);
    assert!(server.calls()[0].target.ends_with("/passbook/events/stream?cursor=0"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_is_an_error_and_may_be_tried_again() {
    let server = Server::start_with_tokens(|_| Reply::error(503, "api_error.system.unhandled", "later")).await;
    let mut stream = server.client().events().stream_events(&StreamEventsQuery::default());
    for _ in 0..2 {
        assert_eq!(stream.next().await.unwrap_err().status().map(|status| status.as_u16()), Some(503));
    }
}

fn end(position: u64, code: &str) -> String {
    let reason = json!({"error_code": code, "error_message": "why", "documentation_url": null});
    format!("id: {position}\nevent: stream.ended\ndata: {reason}\n\n")
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_server_ends_for_a_while_goes_on_behind_what_it_was_told() {
    for code in ["stream_error.lifetime_over", "stream_error.server_stopping", "api_error.auth.expired_access_token"] {
        let server = Server::start_with_tokens(move |call| match call.header("last-event-id") {
            None => Reply::json(200, [message(1), end(7, code)].concat()),
            Some("7") => Reply::json(200, message(8)),
            Some(other) => panic!("behind {other}"),
        })
        .await;
        let mut stream = server.client().events().stream_events(&StreamEventsQuery::default());
        assert_eq!(stream.next().await.unwrap().position, 1);
        assert_eq!(stream.next().await.unwrap().position, 8, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_client_whose_access_was_withdrawn_ends_with_that_error() {
    for code in ["api_error.auth.unauthorized", "link_error.unauthorized_access"] {
        let server = Server::start_with_tokens(move |_| Reply::json(200, [message(1), end(1, code)].concat())).await;
        let mut stream = server.client().events().stream_events(&StreamEventsQuery::default());
        assert_eq!(stream.next().await.unwrap().position, 1);
        let error = stream.next().await.unwrap_err();
        assert_eq!((error.status().map(|status| status.as_u16()), error.error_code()), (Some(401), Some(code)));
        assert_eq!(error.error_message(), Some("why"));
        assert_eq!(server.calls().len(), 1, "it does not come again by itself");
    }
}

#[tokio::test(start_paused = true)]
async fn a_position_without_an_event_is_remembered() {
    let server = Server::start_with_tokens(|call| match call.header("last-event-id") {
        None => Reply::json(200, "id: 2000\n\n".to_owned()),
        Some("2000") => Reply::json(200, message(2_001)),
        Some(other) => panic!("behind {other}"),
    })
    .await;
    let mut stream = server.client().events().stream_events(&StreamEventsQuery::default());
    assert_eq!(stream.next().await.unwrap().position, 2_001);
}
