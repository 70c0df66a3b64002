//! The event ledger: `GET /passbook/events`, `GET /passbook/events/stream`, `POST /passbook/events/replay`.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json,
    extract::{Request, State as Extract},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as Message, KeepAlive},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use http::{Extensions, HeaderMap, StatusCode};
use moneykit::models::{
    EventCursors, GetEventsResponse, LedgerEvent, ReplayEvents, ReplayEventsResponse, SignedWebhook,
};
use passbook_core::ids::{EventId, LinkId};
use passbook_store::port::{self, EventFilter};
use tokio::{sync::watch, time::Instant};

use super::{
    Api, State,
    body::{self, Problems},
    caller::Caller,
    errors::ApiError,
    query::Query,
    standing::Standing,
    streams::Place,
};
use crate::{
    http_server::ClientAddress,
    services::{Fault, events::Replay, ledgers::Tail},
    views,
};

/// Events that one call may name.
const NAMED_MAX: usize = 1_000;
/// Events that a stream reads at once.
const STREAM_PAGE: u32 = 100;
/// How long a stream lasts, so that streams spread over the replicas there are.
const STREAM_MAX: Duration = Duration::from_secs(15 * 60);
/// How often a stream asks who its caller is and whether the server stops. An answer may be a second old
/// ([`CACHED_FOR`](crate::services::access::CACHED_FOR)); together that is less than two.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a stream that has nothing to send waits for a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// The name of the last message of a stream.
const ENDED: &str = "stream.ended";

/// A page of the ledger.
pub async fn get_events(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let mut query = Query::of(request.uri());
    let limit = query.number("limit", 1, 1_000, 50) as u32;
    let filter = filter_of(&mut query);
    query.finish()?;
    let (page, next) = api.services.list_events(&caller, &filter, limit).await?;
    let next = next.map(|position| position.to_string());
    let derivation = api.services.derivation.clone();
    let make = move || GetEventsResponse {
        events: page.iter().map(|one| views::webhooks::ledger_event(one, &derivation)).collect(),
        cursors: EventCursors { next },
    };
    api.long_answers.render(limit as usize, make).await
}

/// Events as they become readable, from the one after `Last-Event-ID` or `cursor`, else from now on.
pub async fn stream_events(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let mut query = Query::of(request.uri());
    let (mut filter, signed) = (filter_of(&mut query), query.boolean("signed"));
    let begins = query.text("cursor").is_some();
    query.finish()?;
    match last_event_id(request.headers()) {
        Some(position) => filter.after = position,
        None if begins => {}
        None => filter.after = api.services.store.newest_position(&caller.tenant).await.map_err(Fault::from)?,
    }
    let tail = api.services.follow_ledger(&caller).await?;
    let address = address_of(request.extensions());
    let place = api.streams.open(&caller.tenant, address).map_err(|_| ApiError::unavailable())?;
    let follower = Follower {
        moved: tail.moved(),
        tail,
        standing: caller.standing().clone(),
        ends_at: Instant::now() + STREAM_MAX,
        looked_at: Instant::now(),
        place,
        api,
        filter,
        signed,
    };
    Ok(Sse::new(follower.messages()).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE)).into_response())
}

/// Where the request comes from; requests that no connection brought come from nowhere.
fn address_of(extensions: &Extensions) -> IpAddr {
    extensions.get::<ClientAddress>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0)
}

/// Sends events again.
pub async fn replay_events(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(body, body::JSON_MAX).await?;
    let replay = replay_of(body::parse(&parts.headers, &bytes)?)?;
    caller.standing().check_withdrawal(&api.services).await?;
    let deliveries = api.services.replay(&caller, replay).await? as u64;
    Ok((StatusCode::ACCEPTED, Json(ReplayEventsResponse { deliveries })).into_response())
}

fn filter_of(query: &mut Query) -> EventFilter {
    let link_id = query.text("link_id").map(LinkId::parse);
    if link_id == Some(None) {
        query.problem("link_id", "value_error", "is not the id of a link");
    }
    let state = query.text("delivery_state").map(delivery_state);
    if state == Some(None) {
        query.problem("delivery_state", "value_error.enum", "must be waiting, delivered or dead");
    }
    EventFilter {
        after: query.number("cursor", 0, i64::MAX as u64, 0),
        link_id: link_id.flatten(),
        kind: query.text("webhook_event").map(str::to_owned),
        from: query.instant("from"),
        to: query.instant("to"),
        delivery: state.flatten(),
    }
}

fn delivery_state(word: &str) -> Option<port::DeliveryState> {
    use port::DeliveryState::{Dead, Delivered, Waiting};
    [Waiting, Delivered, Dead].into_iter().find(|state| state.as_str() == word)
}

fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

fn replay_of(body: ReplayEvents) -> Result<Replay, ApiError> {
    let mut problems = Problems::default();
    let ReplayEvents { event_ids, link_id, webhook_event, from, to, delivery_state: state } = body;
    let narrows = link_id.is_some() || webhook_event.is_some() || from.is_some() || to.is_some() || state.is_some();
    let replay = match event_ids {
        Some(ids) => {
            problems.require(!narrows, "event_ids", "must stand alone");
            problems.require((1..=NAMED_MAX).contains(&ids.len()), "event_ids", "must name 1 to 1000 events");
            let parsed: Vec<_> = ids.iter().filter_map(|id| EventId::parse(id)).collect();
            problems.require(parsed.len() == ids.len(), "event_ids", "must hold ids of events");
            Replay::Events(parsed)
        }
        None => {
            problems.require(narrows, "event_ids", "must be given, or what the events have in common");
            let link = link_id.as_ref().map(|id| LinkId::parse(id.as_str()));
            problems.require(link != Some(None), "link_id", "is not the id of a link");
            let delivery = state.as_ref().map(|state| delivery_state(state.as_str()));
            problems.require(delivery != Some(None), "delivery_state", "must be waiting, delivered or dead");
            let (link_id, delivery) = (link.flatten(), delivery.flatten());
            Replay::Matching(EventFilter { after: 0, link_id, kind: webhook_event, from, to, delivery })
        }
    };
    problems.finish()?;
    Ok(replay)
}

/// Reads the ledger for one stream.
struct Follower {
    api: Arc<Api>,
    standing: Standing,
    place: Place,
    tail: Arc<Tail>,
    moved: watch::Receiver<()>,
    filter: EventFilter,
    signed: bool,
    ends_at: Instant,
    looked_at: Instant,
}

impl Follower {
    /// Events, and at the end a message that says why it ends. Who comes again goes on behind the last position it was
    /// told.
    fn messages(self) -> impl Stream<Item = Result<Message, Infallible>> {
        stream::unfold(Some(self), |follower| async move {
            let mut follower = follower?;
            match follower.next_page().await {
                Ok(messages) => Some((messages, Some(follower))),
                Err(reason) => Some((vec![follower.last_message(&reason)], None)),
            }
        })
        .flat_map(|messages| stream::iter(messages.into_iter().map(Ok)))
    }

    /// The next events, when there are some, or how far was read without finding any.
    ///
    /// # Errors
    /// Why the stream ends.
    async fn next_page(&mut self) -> Result<Vec<Message>, ApiError> {
        loop {
            self.look().await?;
            self.moved.borrow_and_update();
            let services = &self.api.services;
            let page = services.read_on(self.standing.actor(), &self.tail, &self.filter, STREAM_PAGE).await?;
            self.filter.after = page.read_to;
            if !page.events.is_empty() {
                return self.render(&page.events).await;
            }
            if !page.is_last {
                // An id without data: who comes again need not have this part looked through again.
                return Ok(vec![Message::default().id(page.read_to.to_string())]);
            }
            tokio::select! {
                _rung = self.moved.changed() => {}
                () = self.place.displaced() => {}
                () = tokio::time::sleep_until(self.looked_at + LOOK_EVERY) => {}
            }
        }
    }

    /// Whether the stream may go on.
    async fn look(&mut self) -> Result<(), ApiError> {
        if self.place.is_displaced() {
            return Err(ApiError::stream_displaced());
        }
        let now = Instant::now();
        if now < self.looked_at + LOOK_EVERY {
            return Ok(());
        }
        self.looked_at = now;
        if self.api.readiness.is_draining() {
            return Err(ApiError::stream_server_stopping());
        }
        if now >= self.ends_at {
            return Err(ApiError::stream_lifetime_over());
        }
        self.standing.check(&self.api.services).await
    }

    fn last_message(&self, reason: &ApiError) -> Message {
        let body = String::from_utf8_lossy(reason.body());
        Message::default().id(self.filter.after.to_string()).event(ENDED).data(body)
    }

    async fn render(&self, page: &[port::LedgerEvent]) -> Result<Vec<Message>, ApiError> {
        let services = &self.api.services;
        let mut messages = Vec::with_capacity(page.len());
        for one in page {
            let mut event: LedgerEvent = views::webhooks::ledger_event(one, &services.derivation);
            if self.signed {
                let body = views::webhooks::webhook_body(&one.event, &services.derivation);
                let environment = self.standing.actor().tenant.environment;
                let signature = services.sign_webhook(environment, &body).await?;
                let url = one.event.webhook.as_deref().unwrap_or_default();
                let delivery_token = one.event.delivery_token(&services.derivation, url);
                let body = String::from_utf8(body).map_err(|_| ApiError::internal())?;
                event.signed = Some(SignedWebhook { signature, delivery_token, body });
            }
            let message = Message::default().id(one.position.to_string()).event(&event.webhook_event);
            messages.push(message.json_data(&event).map_err(|_| ApiError::internal())?);
        }
        Ok(messages)
    }
}
