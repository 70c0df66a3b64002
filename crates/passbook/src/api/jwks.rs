//! `GET /.well-known/jwks.json`: the keys of webhook signatures. Public: a known `X-Client-Id` narrows them to the
//! client's environment, and whoever names none gets every key.

use axum::{
    extract::{Request, State as Extract},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};

use super::{State, caller::check_version_of, errors::ApiError};
use crate::{services::Fault, views};

/// The key set. Verifiers may keep it for a day: a key is published for longer before its first use.
pub async fn get_well_known_jwks(Extract(api): State, request: Request) -> Result<Response, ApiError> {
    check_version_of(&request)?;
    let services = &api.services;
    let client_id = request.headers().get("x-client-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let client = match client_id {
        Some(id) => services.store.lookup_client(&id).await.map_err(Fault::from)?,
        None => None,
    };
    let environment = client.map(|client| client.tenant.environment);
    let keys = services.signing_keys.published(environment, services.store.now()).await;
    let keys = keys.map_err(|error| Fault::Unavailable(error.into()))?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
        (header::VARY, HeaderValue::from_static("x-client-id")),
    ];
    Ok((headers, views::json(&keys)).into_response())
}
