//! The sandbox control calls: what a person, a bank and a calendar would do.

use std::collections::BTreeMap;

use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use bytes::Bytes;
use http::{StatusCode, request::Parts};
use jiff::Timestamp;
use passbook_core::{ids::LinkId, session::SessionRequest, tenant::Environment, time::format_instant};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Api, State,
    body::{self, Problems, object, optional_object},
    caller::Caller,
    errors::ApiError,
    idempotency::answer_once,
    link_session::exchange_answer,
    link_session_request::{
        CustomSandboxData, CustomerUser, Settings, SettingsRead, check_custom_data, check_tags, check_user,
        check_webhook, custom_data_json,
    },
    links::json_response,
};
use crate::{
    services::{
        Actor, Services,
        idempotency::{Answer, Held, Keep},
        sandbox_clock::{ClockChange, ClockReading},
        sessions::Exchanged,
        sign_in::{Completed, Person, SignInEnd, SignInRefusal},
    },
    views,
};

/// How long a call waits for its prefetch.
const PREFETCH_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// Sessions made for the caller return here; nobody is redirected.
const NOWHERE: &str = "http://localhost/";

#[derive(Deserialize)]
struct SandboxLinkBody {
    #[serde(deserialize_with = "object")]
    customer_user: CustomerUser,
    #[serde(default)]
    institution_id: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    answers: Option<BTreeMap<String, Value>>,
    #[serde(default, deserialize_with = "optional_object")]
    settings: Option<Settings>,
    #[serde(default)]
    webhook: Option<String>,
    #[serde(default)]
    link_tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "optional_object")]
    custom_sandbox_data: Option<CustomSandboxData>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    exchange: Option<bool>,
}

#[derive(Deserialize)]
struct CompleteBody {
    link_session_token: String,
    #[serde(default)]
    institution_id: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    answers: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    accounts: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ClockBody {
    #[serde(default)]
    advance_seconds: Option<i64>,
    #[serde(default)]
    freeze_at: Option<Timestamp>,
    #[serde(default)]
    unfreeze: Option<bool>,
}

#[derive(Serialize)]
struct TokensAnswer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    link_session_token: Option<&'a str>,
    exchangeable_token: Option<&'a str>,
    link_id: &'a str,
}

#[derive(Serialize)]
struct ClockAnswer {
    now: String,
    frozen: bool,
    pending_jobs: u64,
}

/// A link in one call: session, sign-in, exchange and prefetch.
pub async fn create_sandbox_link(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (parts, bytes, body) = read(&api, &caller, request).await?;
    let (session, exchange, person) = sandbox_session(&api, body)?;
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let token = api.services.create_sandbox_session(&caller, &session, &Keep::nothing()).await?;
        sandbox_link(&api.services, &caller, token, exchange, person, &held).await
    })
    .await
}

/// The link of a sandbox session. Of its commits, the one after which nothing is left to do keeps the answer: the failed
/// sign-in's, the successful one's when nothing is exchanged, else the exchange's.
async fn sandbox_link(
    services: &Services,
    actor: &Actor,
    token: String,
    exchange: bool,
    person: Person,
    held: &Held,
) -> Result<Answer, ApiError> {
    let session_token = token.clone();
    let keep = held.keep_some(move |end: &SignInEnd| match end {
        SignInEnd::Failed { link_id, link_view } => Some(link_answer(link_id, link_view)),
        SignInEnd::Completed(completed) => (!exchange).then(|| tokens_answer(Some(&session_token), completed)),
    });
    let completed = match services.complete_link_session(actor, &token, person, &keep).await {
        Ok(completed) => completed,
        // What the bank refused is an answer here, not an error: the link tells it.
        Err(SignInRefusal::Failed { link_id, .. }) => {
            return Ok(link_answer(&link_id, &services.get_link(actor, &link_id).await?));
        }
        Err(refusal) => return Err(refusal.into()),
    };
    if !exchange {
        return Ok(tokens_answer(Some(&token), &completed));
    }
    let exchangeable_token = completed.exchangeable_token.as_deref().unwrap_or_default();
    let exchanged = services.exchange_token(actor, exchangeable_token, &held.keep(exchange_answer)).await?;
    // The link is connected. If the store fails from here on, that is no reason to say that nothing was changed.
    let prefetched = prefetched_view(services, actor, &exchanged).await;
    Ok(link_answer(&exchanged.link_id, &prefetched.unwrap_or(exchanged.link_view)))
}

async fn prefetched_view(services: &Services, actor: &Actor, exchanged: &Exchanged) -> Option<Vec<u8>> {
    if let Some(job) = &exchanged.prefetch {
        services.wait_for_job(job, PREFETCH_PATIENCE).await.ok()?;
    }
    services.get_link(actor, &exchanged.link_id).await.ok()
}

/// What a person does in Connect.
pub async fn complete_link_session(
    Extract(api): State,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, bytes, body): (_, _, CompleteBody) = read(&api, &caller, request).await?;
    let person = Person {
        institution_id: body.institution_id,
        username: body.username.unwrap_or_else(default_username),
        answers: body.answers.unwrap_or_default(),
        accounts: body.accounts,
    };
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let keep = held.keep_some(|end: &SignInEnd| match end {
            SignInEnd::Completed(completed) => Some(tokens_answer(None, completed)),
            // Answered 422: the person may try again, with the same key too.
            SignInEnd::Failed { .. } => None,
        });
        let token = &body.link_session_token;
        Ok(tokens_answer(None, &api.services.complete_link_session(&caller, token, person, &keep).await?))
    })
    .await
}

fn link_answer(link_id: &LinkId, link_view: &[u8]) -> Answer {
    Answer { status: 201, body: views::exchange_body(link_id.as_str(), link_view) }
}

fn tokens_answer(link_session_token: Option<&str>, completed: &Completed) -> Answer {
    let body = TokensAnswer {
        link_session_token,
        exchangeable_token: completed.exchangeable_token.as_deref(),
        link_id: completed.link_id.as_str(),
    };
    Answer { status: 201, body: views::json(&body) }
}

/// What the app's clock shows.
pub async fn get_sandbox_clock(Extract(api): State, caller: Caller) -> Result<Response, ApiError> {
    Ok(clock_answer(api.services.read_clock(&caller).await?))
}

/// Moves, freezes or releases the app's clock.
pub async fn set_sandbox_clock(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (_, _, body): (_, _, ClockBody) = read(&api, &caller, request).await?;
    let changes: Vec<ClockChange> = [
        body.advance_seconds.map(ClockChange::Advance),
        body.freeze_at.map(ClockChange::Freeze),
        body.unfreeze.filter(|unfreeze| *unfreeze).map(|_| ClockChange::Unfreeze),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut problems = Problems::default();
    problems.require(changes.len() == 1, "", "give exactly one of advance_seconds, freeze_at and unfreeze: true");
    problems.finish()?;
    caller.standing().check_withdrawal(&api.services).await?;
    let _place = api.admit(&caller).await?;
    Ok(clock_answer(api.services.change_clock(&caller, changes[0]).await?))
}

fn clock_answer(reading: ClockReading) -> Response {
    let answer =
        ClockAnswer { now: format_instant(reading.now), frozen: reading.frozen, pending_jobs: reading.pending_jobs };
    json_response(StatusCode::OK, views::json(&answer))
}

/// The request's head, its body, and what the body says.
async fn read<T: DeserializeOwned + Send + 'static>(
    api: &Api,
    caller: &Caller,
    request: Request,
) -> Result<(Parts, Bytes, T), ApiError> {
    let (parts, bytes) = api.receive(caller, request, body::JSON_MAX).await?;
    let parsed = api.read_json(caller, &parts, &bytes).await?;
    Ok((parts, bytes, parsed))
}

fn default_username() -> String {
    "user_good".to_owned()
}

fn sandbox_session(api: &Api, body: SandboxLinkBody) -> Result<(SessionRequest, bool, Person), ApiError> {
    let mut problems = Problems::default();
    check_user(&mut problems, &body.customer_user);
    if let Some(webhook) = &body.webhook {
        check_webhook(&mut problems, webhook, &api.services.webhooks.policy);
    }
    check_tags(&mut problems, body.link_tags.as_deref().unwrap_or_default());
    if let Some(id) = &body.institution_id {
        let found = api.services.directory.find(Environment::Sandbox, id);
        problems.require(found.is_some(), "institution_id", "no institution has this id");
    }
    if let Some(data) = &body.custom_sandbox_data {
        check_custom_data(&mut problems, data);
    }
    let settings = SettingsRead::of(&mut problems, body.settings);
    problems.finish()?;
    let session = SessionRequest {
        customer_user_id: body.customer_user.id,
        existing_link_id: None,
        institution_id: body.institution_id,
        redirect_uri: NOWHERE.to_owned(),
        webhook: body.webhook,
        tags: body.link_tags.unwrap_or_default(),
        products: settings.products,
        countries: settings.countries,
        permit_only_depository_accounts: false,
        permit_only_one_account: false,
        duplicate_institution_rejected: false,
        custom_sandbox_data: body.custom_sandbox_data.as_ref().map(custom_data_json),
        person_seed: body.seed,
    };
    let person = Person {
        institution_id: None,
        username: body.username.unwrap_or_else(default_username),
        answers: body.answers.unwrap_or_default(),
        accounts: None,
    };
    Ok((session, body.exchange.unwrap_or(true), person))
}
