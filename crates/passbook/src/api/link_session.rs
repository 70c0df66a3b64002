//! `POST /link-session` and `POST /link-session/exchange-token`.

use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use moneykit::models::CreateLinkSessionResponse;
use serde::Deserialize;

use super::{
    State, body, caller::Caller, errors::ApiError, idempotency::answer_once, link_session_request, operation::Operation,
};
use crate::{
    services::{idempotency::Answer, sessions::Exchanged},
    views,
};

#[derive(Deserialize)]
struct ExchangeBody {
    exchangeable_token: String,
}

/// Opens a session for Connect.
pub async fn create_link_session(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (parts, bytes) = api.receive(&caller, request, body::JSON_MAX).await?;
    let session = link_session_request::read(&api, &caller, api.read_json(&caller, &parts, &bytes).await?)?;
    if let Some(limits) = &api.limits {
        let app = caller.tenant.app_id.as_str();
        let user = session.customer_user_id.as_bytes();
        limits.count_narrow(Operation::CreateLinkSession, app, user, parts.extensions.get()).inspect_err(|_| {
            api.metrics.limited.inc();
        })?;
    }
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let keep = held.keep(|token: &String| session_answer(token));
        let token = api.services.create_link_session(&caller, &session, &keep).await?;
        Ok(session_answer(&token))
    })
    .await
}

/// Trades the token of a finished session for its link.
pub async fn exchange_token(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (parts, bytes) = api.receive(&caller, request, body::JSON_MAX).await?;
    let ExchangeBody { exchangeable_token } = api.read_json(&caller, &parts, &bytes).await?;
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let keep = held.keep(exchange_answer);
        let exchanged = api.services.exchange_token(&caller, &exchangeable_token, &keep).await?;
        Ok(exchange_answer(&exchanged))
    })
    .await
}

/// The answer that shows a link just connected.
pub fn exchange_answer(exchanged: &Exchanged) -> Answer {
    Answer { status: 201, body: views::exchange_body(exchanged.link_id.as_str(), &exchanged.link_view) }
}

fn session_answer(token: &str) -> Answer {
    let body = CreateLinkSessionResponse { link_session_token: token.to_owned() };
    Answer { status: 201, body: views::json(&body) }
}
