//! `GET /links/{id}/accounts/numbers`: the call everything exists for.

use axum::{body::Body, extract::State as Extract, response::Response};
use bytes::Bytes;
use http::StatusCode;

use super::{State, caller::Caller, errors::ApiError, links::json_response, path::LinkPath};
use crate::views;

/// The open, permitted accounts that have payment numbers, exactly as last fetched. Never causes a fetch.
pub async fn get_account_numbers(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
) -> Result<Response, ApiError> {
    let answer = api.services.get_account_numbers(&caller, &id).await?;
    let mut body = views::numbers_body(answer.accounts.expose(), &answer.link.link_view);
    // The allocator wipes the buffer when the last byte has been sent, so here it is not done a second time.
    Ok(json_response(StatusCode::OK, Body::from(Bytes::from(std::mem::take(&mut *body)))))
}
