//! The ledger: reading, filters, streams, replay.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use http::Request;
use passbook_core::{
    event::{Event, EventKind},
    ids::LinkId,
    tenant::{ScopeSet, Tenant},
};
use passbook_store::{
    places::Place,
    port::{Changes, Client as ClientRow},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Client, TestServer, UNKNOWN_LINK};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

async fn events(server: &TestServer, client: &Client, query: &str) -> Vec<Value> {
    let page = server.get(client, &format!("/passbook/events{query}")).await.ok(200);
    page["events"].as_array().unwrap().clone()
}

/// A link with its events dispatched.
async fn linked(server: &TestServer, client: &Client) -> String {
    let id = server.link(client).await;
    while server.services.dispatch().await.unwrap() {}
    while !server.services.store.list_undispatched(1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    id
}

async fn simulate(server: &TestServer, link: &str, event: &str) {
    let body = json!({"webhook_event": event});
    server.post(&server.a, &format!("/sandbox/links/{link}/events"), &body).await.ok(201);
}

#[tokio::test]
async fn the_ledger_is_read_page_by_page_and_narrowed_by_filters() {
    let server = TestServer::start().await;
    let (one, two) = (linked(&server, &server.a).await, linked(&server, &server.a).await);
    let all = events(&server, &server.a, "?limit=1000").await;
    let positions: Vec<_> = all.iter().map(|event| event["position"].as_u64().unwrap()).collect();
    assert_eq!(positions, (1..=all.len() as u64).collect::<Vec<_>>());

    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&server.a, &format!("/passbook/events?limit=3{cursor}")).await.ok(200);
        paged.extend(page["events"].as_array().unwrap().clone());
        let Some(next) = page["cursors"]["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, all);

    let of_one = events(&server, &server.a, &format!("?limit=1000&link_id={one}")).await;
    let of_two = events(&server, &server.a, &format!("?limit=1000&link_id={two}")).await;
    assert!(!of_one.is_empty() && of_one.iter().all(|event| event["link_id"] == one));
    assert_eq!(of_one.len() + of_two.len(), all.len());
    let states = events(&server, &server.a, "?webhook_event=link.state_changed").await;
    assert!(!states.is_empty() && states.iter().all(|event| event["webhook_event"] == "link.state_changed"));
    let at = all[0]["occurred_at"].as_str().unwrap();
    assert_eq!(events(&server, &server.a, &format!("?limit=1000&from={at}")).await.len(), all.len());
    assert_eq!(events(&server, &server.a, &format!("?to={at}")).await.len(), 0);
    assert_eq!(events(&server, &server.a, "?delivery_state=waiting").await.len(), 0);
    assert_eq!(events(&server, &server.b, "").await.len(), 0, "another app has none");
    assert_eq!(events(&server, &server.live, "").await.len(), 0, "nor has the same app's other environment");
    insta::assert_json_snapshot!("ledger_event", all[0]);
}

#[tokio::test]
async fn nonsense_is_refused_with_its_place() {
    let server = TestServer::start().await;
    for (query, place) in [
        ("cursor=x", "query.cursor"),
        ("cursor=-1", "query.cursor"),
        ("link_id=nobody", "query.link_id"),
        ("from=yesterday", "query.from"),
        ("to=2026-01-01", "query.to"),
        ("delivery_state=lost", "query.delivery_state"),
        ("limit=0", "query.limit"),
    ] {
        let answer = server.get(&server.a, &format!("/passbook/events?{query}")).await;
        assert_eq!((answer.status, answer.places()), (422, vec![place.to_owned()]), "{query}");
    }
    for (body, place) in [
        (json!({}), "body.event_ids"),
        (json!({"event_ids": []}), "body.event_ids"),
        (json!({"event_ids": ["evt_1"]}), "body.event_ids"),
        (json!({"event_ids": ["evt_zzzzzzzzzzzzzzzzzzzzzz"], "link_id": UNKNOWN_LINK}), "body.event_ids"),
        (json!({"link_id": "x"}), "body.link_id"),
        (json!({"delivery_state": "lost"}), "body.delivery_state"),
    ] {
        let answer = server.post(&server.a, "/passbook/events/replay", &body).await;
        assert_eq!((answer.status, answer.places()), (422, vec![place.to_owned()]), "{body}");
    }
    let unknown = json!({"event_ids": ["evt_zzzzzzzzzzzzzzzzzzzzzz"]});
    let answer = server.post(&server.a, "/passbook/events/replay", &unknown).await.ok(202);
    assert_eq!(answer, json!({"deliveries": 0}));
}

/// An open stream.
struct Stream {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Stream {
    async fn open(server: &TestServer, query: &str, last_id: Option<u64>) -> Self {
        Self::open_as(server, &server.a, query, last_id).await
    }

    async fn open_as(server: &TestServer, client: &Client, query: &str, last_id: Option<u64>) -> Self {
        let mut request = Request::get(format!("/passbook/events/stream{query}"))
            .header("x-client-id", &client.id)
            .header("x-client-secret", &client.secret);
        if let Some(last) = last_id {
            request = request.header("last-event-id", last.to_string());
        }
        Self::of(server, request.body(axum::body::Body::empty()).unwrap()).await
    }

    async fn bearer(server: &TestServer, token: &str) -> Self {
        let request = Request::get("/passbook/events/stream").header("authorization", format!("Bearer {token}"));
        Self::of(server, request.body(axum::body::Body::empty()).unwrap()).await
    }

    async fn of(server: &TestServer, request: Request<axum::body::Body>) -> Self {
        let response = server.router.clone().oneshot(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event: its id and its data.
    async fn next(&mut self) -> (u64, Value) {
        let (name, id, data) = self.next_message().await;
        assert_eq!(Some(name.as_str()), data["webhook_event"].as_str());
        (id, data)
    }

    /// The code with which the stream ends, and that nothing follows.
    async fn end(mut self) -> String {
        let (name, _, data) = self.next_message().await;
        assert_eq!(name, "stream.ended", "{data}");
        let mut keys: Vec<_> = data.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["documentation_url", "error_code", "error_message"]);
        let rest = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("an end");
        assert!(rest.is_none() && self.text.is_empty());
        data["error_code"].as_str().unwrap().to_owned()
    }

    /// The next message with data: its name, id and data.
    async fn next_message(&mut self) -> (String, u64, Value) {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let parsed = field("data:").map(|data| {
                    let id = field("id:").expect("an id").parse().unwrap();
                    (field("event:").expect("a name").to_owned(), id, serde_json::from_str(data).unwrap())
                });
                self.text = rest.to_owned();
                // Otherwise a sign of life.
                if let Some(parsed) = parsed {
                    return parsed;
                }
                continue;
            }
            let chunk = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("a message in time");
            self.text.push_str(std::str::from_utf8(&chunk.expect("an open stream").unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_stream_shows_what_happens_and_goes_on_where_it_broke() {
    let server = TestServer::start().await;
    let id = linked(&server, &server.a).await;
    let past = events(&server, &server.a, "?limit=1000").await;
    let mut stream = Stream::open(&server, "", None).await;
    simulate(&server, &id, "transactions.updates_available").await;
    let (position, event) = stream.next().await;
    assert_eq!(position, past.len() as u64 + 1, "what was before is not repeated");
    assert_eq!((&event["webhook_event"], &event["signed"]), (&json!("transactions.updates_available"), &Value::Null));
    drop(stream);
    simulate(&server, &id, "link.state_changed").await;
    simulate(&server, &id, "link.product_refresh").await;
    let mut stream = Stream::open(&server, "", Some(position)).await;
    assert_eq!((stream.next().await.0, stream.next().await.0), (position + 1, position + 2));
    let mut from_the_start = Stream::open(&server, "?cursor=0", None).await;
    for expected in &past {
        assert_eq!(from_the_start.next().await.1, *expected);
    }
}

#[tokio::test]
async fn a_stream_may_ask_for_signatures() {
    let server = TestServer::start().await;
    linked(&server, &server.a).await;
    let mut stream = Stream::open(&server, "?cursor=0&signed=true", None).await;
    let (_, event) = stream.next().await;
    let signed = &event["signed"];
    let body: Value = serde_json::from_str(signed["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, event["payload"]);
    assert_eq!(signed["signature"].as_str().unwrap().split('.').count(), 3);
    assert!(signed["delivery_token"].as_str().unwrap().starts_with("dlv_"));
}

#[tokio::test]
async fn a_stream_shows_nothing_of_other_tenants() {
    let server = TestServer::start().await;
    let foreign = linked(&server, &server.a).await;
    for client in [&server.b, &server.live] {
        let query = format!("?cursor=0&link_id={foreign}");
        let mut narrowed = Stream::open_as(&server, client, &query, None).await;
        let silence = tokio::time::timeout(Duration::from_millis(200), narrowed.next()).await;
        assert!(silence.is_err(), "{silence:?}");
    }
    let mut all = Stream::open_as(&server, &server.b, "?cursor=0", None).await;
    let own = linked(&server, &server.b).await;
    let (position, event) = all.next().await;
    assert_eq!((position, &event["link_id"]), (1, &json!(own)));
}

/// Changes the row of A's client.
async fn change_client(server: &TestServer, change: impl FnOnce(&mut ClientRow)) {
    let mut client = server.services.store.lookup_client(&server.a.id).await.unwrap().expect("a client");
    change(&mut client);
    server.services.store.commit(Changes { client: Some(client), ..Changes::default() }).await.unwrap();
}

/// A stream of the header pair and one of a token.
async fn both_streams(server: &TestServer) -> [Stream; 2] {
    let token = server.token(&server.a).await;
    [Stream::open(server, "", None).await, Stream::bearer(server, &token).await]
}

#[tokio::test]
async fn a_stream_of_a_revoked_client_ends_and_says_why() {
    let server = TestServer::start().await;
    let streams = both_streams(&server).await;
    let revoked_at = server.services.store.now();
    change_client(&server, |client| client.disabled_at = Some(revoked_at)).await;
    for stream in streams {
        assert_eq!(stream.end().await, "api_error.auth.unauthorized");
    }
}

#[tokio::test]
async fn a_stream_of_a_disabled_app_ends_and_says_why() {
    let server = TestServer::start().await;
    let streams = both_streams(&server).await;
    server.disable_app(&server.a).await;
    for stream in streams {
        assert_eq!(stream.end().await, "api_error.auth.unauthorized");
    }
    server.enable_app(&server.a).await;
    let mut again = Stream::open(&server, "?cursor=0", None).await;
    linked(&server, &server.a).await;
    again.next().await;
}

#[tokio::test]
async fn a_stream_of_a_withdrawn_secret_ends_and_says_why() {
    let server = TestServer::start().await;
    let streams = both_streams(&server).await;
    let another = server.services.keys.hash_client_secret("another");
    change_client(&server, |client| client.secret_hashes.push(another)).await;
    let mut still_there = Stream::open(&server, "?cursor=0", None).await;
    linked(&server, &server.a).await;
    still_there.next().await;
    // The one that the streams were opened with goes, and with it every token.
    change_client(&server, |client| client.secret_hashes = vec![another]).await;
    for stream in streams {
        assert_eq!(last_code(stream).await, "api_error.auth.unauthorized");
    }
}

/// The code of the end, behind whatever events come before it.
async fn last_code(mut stream: Stream) -> String {
    loop {
        let (name, _, data) = stream.next_message().await;
        if name == "stream.ended" {
            return data["error_code"].as_str().unwrap().to_owned();
        }
    }
}

#[tokio::test]
async fn a_stream_whose_scope_was_taken_ends_and_says_why() {
    let server = TestServer::start().await;
    let streams = both_streams(&server).await;
    let others = ScopeSet::requested("links accounts", ScopeSet::all()).unwrap();
    change_client(&server, |client| client.scopes = others).await;
    for stream in streams {
        assert_eq!(stream.end().await, "api_error.auth.unauthorized");
    }
}

#[tokio::test]
async fn a_stream_of_an_expired_token_ends_by_the_clock_of_the_app() {
    let server = TestServer::start().await;
    let [mut of_pair, of_token] = both_streams(&server).await;
    server.post(&server.a, "/sandbox/clock", &json!({"advance_seconds": 3_600})).await.ok(200);
    assert_eq!(of_token.end().await, "api_error.auth.expired_access_token");
    linked(&server, &server.a).await;
    of_pair.next().await;
}

#[tokio::test]
async fn a_stream_ends_after_a_quarter_of_an_hour_and_says_why() {
    let server = TestServer::start().await;
    let stream = Stream::open(&server, "", None).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(15 * 60)).await;
    tokio::time::resume();
    assert_eq!(stream.end().await, "stream_error.lifetime_over");
}

#[tokio::test]
async fn nobody_is_told_anything_once_the_stream_has_ended() {
    let server = TestServer::start().await;
    let stream = Stream::open(&server, "", None).await;
    let revoked_at = server.services.store.now();
    change_client(&server, |client| client.disabled_at = Some(revoked_at)).await;
    assert_eq!(stream.end().await, "api_error.auth.unauthorized");
    let answer = server.call(&server.a, "GET", "/passbook/events/stream").send().await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_page_that_found_nothing_yet_says_where_to_go_on() {
    let server = TestServer::start().await;
    let link = linked(&server, &server.a).await;
    ledger_of(&server, &link, 2_100).await;
    let (mut pages, mut cursor) = (0, "0".to_owned());
    loop {
        let page =
            server.get(&server.a, &format!("/passbook/events?delivery_state=dead&cursor={cursor}")).await.ok(200);
        assert_eq!(page["events"], json!([]));
        pages += 1;
        let Some(next) = page["cursors"]["next"].as_str() else { break };
        assert!(next.parse::<u64>().unwrap() > cursor.parse().unwrap());
        next.clone_into(&mut cursor);
    }
    assert_eq!(pages, 2);
    // A stream that looks for the same tells how far it came, so that the next one need not look there again.
    let mut stream = Stream::open(&server, "?delivery_state=dead&cursor=0", None).await;
    let chunk = tokio::time::timeout(PATIENCE, stream.body.next()).await.expect("a message in time");
    assert_eq!(chunk.expect("an open stream").unwrap(), "id: 2000\n\n");
}

/// So many more events of a link, dispatched.
async fn ledger_of(server: &TestServer, link: &str, count: u64) {
    let store = &server.services.store;
    let link_id = LinkId::parse(link).unwrap();
    let event = |number| Event {
        link_id: link_id.clone(),
        // Behind those that the link has.
        sequence: 10_000 + number,
        at: store.now(),
        tags: Vec::new(),
        kind: EventKind::TransactionsUpdatesAvailable,
        webhook: None,
    };
    let events = (1..=count).map(event).collect();
    store.commit(Changes { events, ..Changes::default() }).await.unwrap();
    while server.services.dispatch().await.unwrap() {}
}

/// All turns to read the store that app A's streams may have.
fn take_turns(server: &TestServer) -> Vec<Place<Tenant>> {
    let turn = || server.api.streams.turn(&server.a.tenant).now_or_never();
    std::iter::from_fn(|| turn()?.ok()).collect()
}

#[tokio::test]
async fn a_stream_that_is_behind_waits_for_a_turn_and_one_that_is_not_needs_none() {
    let server = TestServer::start().await;
    let link = linked(&server, &server.a).await;
    let past = events(&server, &server.a, "?limit=1000").await.len() as u64;
    let mut of_now = Stream::open(&server, "", None).await;
    let mut behind = Stream::open(&server, "?cursor=0", None).await;
    let turns = take_turns(&server);
    ledger_of(&server, &link, 1).await;
    assert_eq!(of_now.next().await.0, past + 1);
    // Longer than it takes to look again.
    let silence = tokio::time::timeout(Duration::from_millis(700), behind.next_message()).await;
    assert!(silence.is_err(), "{silence:?}");
    assert_eq!(server.api.metrics.shed.get(), 0, "nobody was refused anything");
    drop(turns);
    for position in 1..=past + 1 {
        assert_eq!(behind.next().await.0, position);
    }
}

#[tokio::test]
async fn a_stream_that_catches_up_holds_no_place_while_it_sends() {
    let server = TestServer::start().await;
    let link = linked(&server, &server.a).await;
    ledger_of(&server, &link, 300).await;
    let before = server.api.shedder.held();
    let mut stream = Stream::open(&server, "?cursor=0&signed=true", None).await;
    for position in 1..=300 {
        let (id, event) = stream.next().await;
        assert_eq!((id, server.api.shedder.held()), (position, before));
        assert!(event["signed"]["signature"].is_string());
    }
}

#[tokio::test]
async fn a_stream_that_ends_keeps_back_the_rest_of_what_it_has_read() {
    let server = TestServer::start().await;
    let link = linked(&server, &server.a).await;
    ledger_of(&server, &link, 50).await;
    let mut stream = Stream::open(&server, "?cursor=0&signed=true", None).await;
    assert_eq!((stream.next().await.0, stream.next().await.0), (1, 2));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(15 * 60)).await;
    tokio::time::resume();
    let (name, last, data) = stream.next_message().await;
    assert_eq!((name.as_str(), &data["error_code"]), ("stream.ended", &json!("stream_error.lifetime_over")));
    let mut again = Stream::open(&server, "", Some(last)).await;
    assert_eq!(again.next().await.0, 3, "nothing is left out");
}

#[tokio::test]
async fn streams_of_one_tenant_do_not_shut_out_another() {
    let server = TestServer::start().await;
    let mut of_a = Vec::new();
    for _ in 0..passbook::api::streams::STREAMS_MAX {
        of_a.push(Stream::open(&server, "", None).await);
    }
    let refused = server.call(&server.a, "GET", "/passbook/events/stream").send().await;
    assert_eq!(refused.status, 503, "alone it had them all");
    let mut of_b = Stream::open_as(&server, &server.b, "?cursor=0", None).await;
    let newest = of_a.pop().expect("a stream");
    assert_eq!(newest.end().await, "stream_error.displaced");
    linked(&server, &server.b).await;
    of_b.next().await;
    drop(of_a);
    Stream::open(&server, "", None).await;
}
