//! The event ledger: `GET /passbook/events`, `GET /passbook/events/stream`, `POST /passbook/events/replay`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State as Extract},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as Message, KeepAlive},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
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
};
use crate::{
    services::{Actor, Fault, events::Replay},
    views,
};

/// Events that one call may name.
const NAMED_MAX: usize = 1_000;
/// Events that a stream reads at once.
const STREAM_PAGE: u32 = 100;
/// How long a stream lasts. Its reader comes again, with credentials that are looked at again.
const STREAM_MAX: Duration = Duration::from_secs(15 * 60);
/// How often a stream looks for events that other processes dispatched, and whether the server stops.
const STREAM_POLL: Duration = Duration::from_secs(1);

/// A page of the ledger.
pub async fn get_events(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (limit, filter) =
        Query::read(&request, |query| (query.number("limit", 1, 1_000, 50) as u32, filter_of(query)))?;
    let _place = api.admit(&caller).await?;
    let (page, more) = api.services.list_events(&caller, &filter, limit).await?;
    let next = page.last().filter(|_| more).map(|last| last.position.to_string());
    let derivation = api.services.derivation.clone();
    let make = move || GetEventsResponse {
        events: page.iter().map(|one| views::webhooks::ledger_event(one, &derivation)).collect(),
        cursors: EventCursors { next },
    };
    api.long_answers.render(&caller.tenant, limit as usize, make).await
}

/// Events as they become readable, from the one after `Last-Event-ID` or `cursor`, else from now on.
pub async fn stream_events(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (mut filter, signed, begins) =
        Query::read(&request, |query| (filter_of(query), query.boolean("signed"), query.text("cursor").is_some()))?;
    let place = api.admit(&caller).await?;
    match last_event_id(request.headers()) {
        Some(position) => filter.after = position,
        None if begins => {}
        None => filter.after = api.services.store.newest_position(&caller.tenant).await.map_err(Fault::from)?,
    }
    drop(place);
    let Ok(permit) = Arc::clone(&api.streams).try_acquire_owned() else { return Err(ApiError::unavailable()) };
    let reader = Reader {
        moved: api.services.ledger_moved.subscribe(),
        actor: caller.clone(),
        ends_at: Instant::now() + STREAM_MAX,
        api,
        filter,
        signed,
    };
    let messages = reader.messages().map(move |message| {
        let _held_while_streaming = &permit;
        message
    });
    Ok(Sse::new(messages).keep_alive(KeepAlive::new().interval(Duration::from_secs(10))).into_response())
}

/// Sends events again.
pub async fn replay_events(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (parts, bytes) = api.receive(&caller, request, body::JSON_MAX).await?;
    let replay = replay_of(body::parse(&parts.headers, &bytes)?)?;
    let _place = api.admit(&caller).await?;
    let deliveries = api.services.replay(&caller, replay).await? as u64;
    Ok((StatusCode::ACCEPTED, Json(ReplayEventsResponse { deliveries })).into_response())
}

fn filter_of(query: &mut Query) -> EventFilter {
    let link_id = query.text("link_id").map(|id| LinkId::parse(&id));
    if link_id == Some(None) {
        query.problem("link_id", "value_error", "is not the id of a link");
    }
    let state = query.text("delivery_state").map(|word| delivery_state(&word));
    if state == Some(None) {
        query.problem("delivery_state", "value_error.enum", "must be waiting, delivered or dead");
    }
    EventFilter {
        after: query.number("cursor", 0, i64::MAX as u64, 0),
        link_id: link_id.flatten(),
        kind: query.text("webhook_event"),
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
struct Reader {
    api: Arc<Api>,
    actor: Actor,
    filter: EventFilter,
    signed: bool,
    moved: watch::Receiver<u64>,
    ends_at: Instant,
}

impl Reader {
    fn messages(self) -> impl Stream<Item = Result<Message, Infallible>> {
        // A stream that cannot go on ends; its reader comes again and goes on behind the last event it saw.
        stream::unfold(self, |mut reader| async move { Some((reader.next_page().await?, reader)) })
            .flat_map(|page| stream::iter(page.into_iter().map(Ok)))
    }

    /// The next events, when there are some; `None` at the end of the stream.
    async fn next_page(&mut self) -> Option<Vec<Message>> {
        loop {
            if Instant::now() >= self.ends_at || self.api.readiness.is_draining() {
                return None;
            }
            self.moved.borrow_and_update();
            let read = self.api.services.list_events(&self.actor, &self.filter, STREAM_PAGE).await;
            let page =
                read.inspect_err(|error| tracing::warn!(error = error as &dyn std::error::Error, "a stream ends"));
            let (page, _) = page.ok()?;
            if let Some(last) = page.last() {
                self.filter.after = last.position;
                return self.render(&page).await;
            }
            let _rung = tokio::time::timeout(STREAM_POLL, self.moved.changed()).await;
        }
    }

    async fn render(&self, page: &[port::LedgerEvent]) -> Option<Vec<Message>> {
        let services = &self.api.services;
        let mut messages = Vec::with_capacity(page.len());
        for one in page {
            let mut event: LedgerEvent = views::webhooks::ledger_event(one, &services.derivation);
            if self.signed {
                let body = views::webhooks::webhook_body(&one.event, &services.derivation);
                let signature = services.sign_webhook(self.actor.tenant.environment, &body).await.ok()?;
                let url = one.event.webhook.as_deref().unwrap_or_default();
                let delivery_token = one.event.delivery_token(&services.derivation, url);
                event.signed = Some(SignedWebhook { signature, delivery_token, body: String::from_utf8(body).ok()? });
            }
            let message = Message::default().id(one.position.to_string()).event(&event.webhook_event);
            messages.push(message.json_data(&event).ok()?);
        }
        Some(messages)
    }
}
