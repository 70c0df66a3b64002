//! The event ledger: `GET /passbook/events`, `GET /passbook/events/stream`, `POST /passbook/events/replay`.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    pin::pin,
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
use futures_util::{Stream, stream};
use http::{Extensions, HeaderMap, StatusCode};
use moneykit::models::{
    EventCursors, GetEventsResponse, LedgerEvent, ReplayEvents, ReplayEventsResponse, SignedWebhook,
};
use passbook_core::{
    event::Event,
    ids::{EventId, LinkId},
};
use passbook_store::{
    compute::{self, NoResult},
    places::NoPlace,
    port::{self, EventFilter, LedgerPage},
};
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
    services::{Fault, Services, events::Replay, ledgers::Tail},
    signing::Signer,
    views,
};

/// Events that one call may name.
const NAMED_MAX: usize = 1_000;
/// Events that a stream reads at once.
const STREAM_PAGE: u32 = 100;
/// Events of a stream that are rendered at once: handing them over would take longer.
const AT_ONCE_MAX: usize = 5;
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
    let (limit, filter) =
        Query::read(&request, |query| (query.number("limit", 1, 1_000, 50) as u32, filter_of(query)))?;
    let _place = api.admit(&caller).await?;
    let (page, next) = api.services.list_events(&caller, &filter, limit).await?;
    let next = next.map(|position| position.to_string());
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
    let tail = api.services.follow_ledger(&caller).await?;
    let address = address_of(request.extensions());
    drop(place);
    let place = api.streams.open(&caller.tenant, address).map_err(|_| ApiError::unavailable())?;
    let follower = Follower {
        moved: tail.moved(),
        tail,
        standing: caller.standing().clone(),
        ends_at: Instant::now() + STREAM_MAX,
        looked_at: Instant::now(),
        rendered: Rendered::new(),
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
    let (parts, bytes) = api.receive(&caller, request, body::JSON_MAX).await?;
    let replay = replay_of(api.read_json(&caller, &parts, &bytes).await?)?;
    caller.standing().check_withdrawal(&api.services).await?;
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
struct Follower {
    api: Arc<Api>,
    standing: Standing,
    place: Place,
    tail: Arc<Tail>,
    moved: watch::Receiver<()>,
    /// Begins behind what was read and rendered.
    filter: EventFilter,
    signed: bool,
    /// Rendered, and not yet handed out.
    rendered: Rendered,
    ends_at: Instant,
    looked_at: Instant,
}

/// Messages with the positions that they tell.
type Rendered = VecDeque<(u64, Message)>;

impl Follower {
    /// Events, and at the end a message that says why it ends. Who comes again goes on behind the last position it was
    /// told.
    fn messages(self) -> impl Stream<Item = Result<Message, Infallible>> {
        stream::unfold(Some(self), |follower| async move {
            let mut follower = follower?;
            match follower.next().await {
                Ok(message) => Some((Ok(message), Some(follower))),
                Err(reason) => Some((Ok(follower.last_message(&reason)), None)),
            }
        })
    }

    /// The next event, or how far was read without finding any. Before each it looks: a page may wait for a slow reader
    /// for minutes.
    ///
    /// # Errors
    /// Why the stream ends.
    async fn next(&mut self) -> Result<Message, ApiError> {
        loop {
            self.look().await?;
            if let Some((_, message)) = self.rendered.pop_front() {
                return Ok(message);
            }
            self.moved.borrow_and_update();
            let Ok(page) = self.read().await? else {
                self.pause().await;
                continue;
            };
            if page.events.is_empty() && page.is_last {
                self.filter.after = page.read_to;
                self.wait().await;
            } else if self.render(page).await?.is_err() {
                self.pause().await;
            }
        }
    }

    /// The next page: from memory, or from the store in turn with other streams. The turn is over before anything is
    /// rendered or sent.
    async fn read(&mut self) -> Result<Result<LedgerPage, NoPlace>, ApiError> {
        if let Some(page) = self.tail.read(&self.filter, STREAM_PAGE as usize) {
            return Ok(Ok(page));
        }
        let (api, actor) = (self.api.clone(), self.standing.actor().clone());
        let Ok(_turn) = self.meanwhile(api.streams.turn(&actor.tenant)).await? else {
            return Ok(Err(NoPlace));
        };
        Ok(Ok(api.services.catch_up(&actor, &self.filter, STREAM_PAGE).await?))
    }

    /// Renders a page: a few events at once, more of them on a thread for long work.
    async fn render(&mut self, page: LedgerPage) -> Result<Result<(), NoPlace>, ApiError> {
        let (api, tenant, read_to) = (self.api.clone(), self.standing.actor().tenant.clone(), page.read_to);
        let signer = match self.signed {
            true => Some(api.services.signer(tenant.environment).await?),
            false => None,
        };
        self.rendered = if page.events.len() <= AT_ONCE_MAX {
            rendered(&api.services, signer.as_ref(), page)?
        } else {
            let services = api.services.clone();
            let rendering = compute::run(Some(&tenant), move || rendered(&services, signer.as_ref(), page));
            match self.meanwhile(rendering).await? {
                Err(NoResult::Busy) => return Ok(Err(NoPlace)),
                done => done??,
            }
        };
        self.filter.after = read_to;
        Ok(Ok(()))
    }

    /// What comes of `waiting`, looking as often as ever while it takes.
    async fn meanwhile<T>(&mut self, waiting: impl Future<Output = T>) -> Result<T, ApiError> {
        let mut waiting = pin!(waiting);
        loop {
            tokio::select! {
                done = &mut waiting => return Ok(done),
                () = self.pause() => self.look().await?,
            }
        }
    }

    /// Until there may be more to read, or it is time to look again.
    async fn wait(&mut self) {
        tokio::select! {
            _rung = self.moved.changed() => {}
            () = self.place.displaced() => {}
            () = tokio::time::sleep_until(self.looked_at + LOOK_EVERY) => {}
        }
    }

    /// Until it is time to look again.
    async fn pause(&self) {
        tokio::select! {
            () = self.place.displaced() => {}
            () = tokio::time::sleep_until(self.looked_at + LOOK_EVERY) => {}
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
        // What was rendered and not handed out is read again by who comes again.
        let told = self.rendered.front().map_or(self.filter.after, |(position, _)| position - 1);
        Message::default().id(told.to_string()).event(ENDED).data(body)
    }
}

/// The messages of a page that is not the last or has events, signed if there is a signer.
fn rendered(services: &Services, signer: Option<&Signer>, page: LedgerPage) -> Result<Rendered, ApiError> {
    if page.events.is_empty() {
        // An id without data: who comes again need not have this part looked through again.
        return Ok([(page.read_to, Message::default().id(page.read_to.to_string()))].into());
    }
    page.events.iter().map(|one| Ok((one.position, message(services, signer, one)?))).collect()
}

fn message(services: &Services, signer: Option<&Signer>, one: &port::LedgerEvent) -> Result<Message, ApiError> {
    let mut event: LedgerEvent = views::webhooks::ledger_event(one, &services.derivation);
    if let Some(signer) = signer {
        event.signed = Some(signed(services, signer, &one.event)?);
    }
    let message = Message::default().id(one.position.to_string()).event(&event.webhook_event);
    message.json_data(&event).map_err(|_| ApiError::internal())
}

fn signed(services: &Services, signer: &Signer, event: &Event) -> Result<SignedWebhook, ApiError> {
    let body = views::webhooks::webhook_body(event, &services.derivation);
    let signature = signer.sign(&body, services.clocks.real_now()).map_err(|_| ApiError::internal())?;
    let url = event.webhook.as_deref().unwrap_or_default();
    let delivery_token = event.delivery_token(&services.derivation, url);
    let body = String::from_utf8(body).map_err(|_| ApiError::internal())?;
    Ok(SignedWebhook { signature, delivery_token, body })
}
