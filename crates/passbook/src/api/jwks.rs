//! `GET /.well-known/jwks.json`: the keys of webhook signatures. Public; every active key of the instance, whoever
//! asks.

use axum::{
    extract::State as Extract,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};

use super::State;
use crate::views;

/// The key set. Verifiers may keep it for a day, less than the 48 hours for which a retired key stays listed.
pub async fn get_well_known_jwks(Extract(api): State) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
    ];
    (headers, views::json(&api.key_set)).into_response()
}
