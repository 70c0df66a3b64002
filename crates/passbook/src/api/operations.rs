//! For operators: health, readiness, metrics, the contract itself, and the answers for paths that do not exist.

use std::sync::atomic::Ordering;

use axum::{
    extract::State as Extract,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

use super::{State, errors::ApiError};

/// The contract, served as it is.
const OPENAPI: &str = include_str!("../../../../contract/openapi.yaml");

/// The process answers.
pub async fn get_health() -> &'static str {
    "ok\n"
}

/// Start-up is complete, nothing drains, and the store answers.
pub async fn get_readiness(Extract(api): State) -> Response {
    if !api.ready.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    }
    match api.services.store.ping().await {
        Ok(()) => "ready\n".into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "store unavailable\n").into_response(),
    }
}

/// Prometheus text format.
pub async fn get_metrics(Extract(api): State) -> Response {
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], api.metrics.render()).into_response()
}

/// The API's description.
pub async fn get_openapi() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"))], OPENAPI).into_response()
}

/// No such path.
pub async fn route_not_found() -> ApiError {
    ApiError::route_not_found()
}

/// No such method; the router adds `Allow`.
pub async fn method_not_allowed() -> ApiError {
    ApiError::method_not_allowed()
}
