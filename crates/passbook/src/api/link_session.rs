//! `POST /link-session` and `POST /link-session/exchange-token`.

use axum::{
    Json,
    extract::{Request, State as Extract},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use moneykit::models::CreateLinkSessionResponse;
use serde::Deserialize;

use super::{
    State, body, caller::Caller, errors::ApiError, link_session_request, links::json_response, operation::Operation,
};
use crate::views;

#[derive(Deserialize)]
struct ExchangeBody {
    exchangeable_token: String,
}

/// Opens a session for Connect.
pub async fn create_link_session(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(body, body::JSON_MAX).await?;
    let session = link_session_request::parse(&api, &caller, &parts.headers, &bytes)?;
    if let Some(limits) = &api.limits {
        let app = caller.tenant.app_id.as_str();
        let user = session.customer_user_id.as_bytes();
        limits.count_narrow(Operation::CreateLinkSession, app, user).inspect_err(|_| {
            api.metrics.limited.inc();
        })?;
    }
    let link_session_token = api.services.create_link_session(&caller, &session).await?;
    Ok((StatusCode::CREATED, Json(CreateLinkSessionResponse { link_session_token })).into_response())
}

/// Trades the token of a finished session for its link.
pub async fn exchange_token(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(body, body::JSON_MAX).await?;
    let ExchangeBody { exchangeable_token } = body::parse(&parts.headers, &bytes)?;
    let exchanged = api.services.exchange_token(&caller, &exchangeable_token).await?;
    let answer = views::exchange_body(exchanged.link_id.as_str(), &exchanged.link_view);
    Ok(json_response(StatusCode::CREATED, answer))
}
