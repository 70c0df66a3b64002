//! `PATCH /links/{id}`, `POST /links/{id}/reset`, `POST /webhooks/test/link/{id}` and `POST /sandbox/links/{id}/events`.

use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use moneykit::models::WebhookTestLinkResponse;
use passbook_core::{event::SimulatedEvent, link::lifecycle::LinkUpdate};
use serde::{Deserialize, Deserializer};

use super::{
    State,
    body::Problems,
    caller::Caller,
    errors::ApiError,
    idempotency::answer_once,
    link_session_request::{check_tags, check_webhook},
    links::read_change,
    path::LinkPath,
};
use crate::{outbound::Policy, services::idempotency::Answer, views};

/// Longest idempotency key of a test event; it is stored and sent back.
const EVENT_KEY_MAX: usize = 255;

#[derive(Deserialize)]
struct UpdateBody {
    /// Absent keeps the webhook, null removes it.
    #[serde(default, deserialize_with = "given")]
    webhook: Option<Option<String>>,
    #[serde(default)]
    link_tags: Option<Vec<String>>,
    /// Deprecated alias of `link_tags`, which wins.
    #[serde(default)]
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct SandboxEventBody {
    webhook_event: SimulatedEvent,
}

#[derive(Deserialize)]
struct TestEventBody {
    webhook_event: SimulatedEvent,
    webhook_idempotency_key: String,
}

/// Changes webhook and tags.
pub async fn update_link(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, bytes) = read_change(&api, &caller, &id, request).await?;
    let update = link_update(api.read_json(&caller, &parts, &bytes).await?, &api.services.webhooks.policy)?;
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let keep = held.keep(|view: &Vec<u8>| Answer { status: 200, body: view.clone() });
        let body = api.services.update_link(&caller, &id, &update, &keep).await?;
        Ok(Answer { status: 200, body })
    })
    .await
}

/// Makes the link need a reconnect.
pub async fn reset_link(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Response, ApiError> {
    // There is no body in the contract; whatever a client sends must still arrive.
    let (parts, bytes) = read_change(&api, &caller, &id, request).await?;
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let keep = held.keep(|view: &Vec<u8>| Answer { status: 200, body: view.clone() });
        let body = api.services.reset_link(&caller, &id, &keep).await?;
        Ok(Answer { status: 200, body })
    })
    .await
}

/// Accepts a simulated event.
pub async fn trigger_test_link_webhook_event(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, bytes) = read_change(&api, &caller, &id, request).await?;
    let TestEventBody { webhook_event, webhook_idempotency_key: key } = api.read_json(&caller, &parts, &bytes).await?;
    let mut problems = Problems::default();
    problems.length(&key, "webhook_idempotency_key", 1, EVENT_KEY_MAX);
    problems.finish()?;
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let keep = held.keep(|token: &String| test_answer(token));
        let delivery_token = api.services.request_test_event(&caller, &id, webhook_event, &key, &keep).await?;
        Ok(test_answer(&delivery_token))
    })
    .await
}

/// Records a simulated event, whether or not the link has a webhook: those who read the ledger see it.
pub async fn create_sandbox_event(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, bytes) = read_change(&api, &caller, &id, request).await?;
    let SandboxEventBody { webhook_event } = api.read_json(&caller, &parts, &bytes).await?;
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let keep = held.keep(|token: &String| Answer { status: 201, ..test_answer(token) });
        let delivery_token = api.services.simulate_event(&caller, &id, webhook_event, &keep).await?;
        Ok(Answer { status: 201, ..test_answer(&delivery_token) })
    })
    .await
}

fn test_answer(delivery_token: &str) -> Answer {
    let body = WebhookTestLinkResponse { delivery_token: delivery_token.to_owned() };
    Answer { status: 200, body: views::json(&body) }
}

fn link_update(body: UpdateBody, policy: &Policy) -> Result<LinkUpdate, ApiError> {
    let mut problems = Problems::default();
    if let Some(Some(webhook)) = &body.webhook {
        check_webhook(&mut problems, webhook, policy);
    }
    let tags = body.link_tags.or(body.tags);
    check_tags(&mut problems, tags.as_deref().unwrap_or_default());
    problems.finish()?;
    Ok(LinkUpdate { webhook: body.webhook, tags })
}

/// A field that is there, were it null.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
