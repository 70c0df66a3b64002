//! For operators: health, readiness, metrics, the contract itself, and the answers for paths that do not exist.

use axum::{
    Json,
    extract::{Request, State as Extract},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{Api, State, errors::ApiError};
use crate::{
    hosts::Refusal,
    metrics::{self, StateOfServer},
    readiness::Reason,
};

/// Every part of the process is alive. One that has ended does not come back, and the process is about to end.
pub async fn get_health(Extract(api): State) -> Response {
    let ended = api.readiness.ended_parts();
    match ended.is_empty() {
        true => "ok\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, format!("ended: {}\n", ended.join(", "))).into_response(),
    }
}

/// Why this process should get no requests.
#[derive(Serialize)]
struct NotReady {
    ready: bool,
    reasons: Vec<Reason>,
    /// Vital parts that have ended (`supervision`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ended_parts: Vec<&'static str>,
}

/// Start-up is complete, nothing drains, the store answers, and the clock is right.
pub async fn get_readiness(Extract(api): State) -> Response {
    let reasons = reasons(&api).await;
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    let ended_parts = api.readiness.ended_parts();
    (StatusCode::SERVICE_UNAVAILABLE, Json(NotReady { ready: false, reasons, ended_parts })).into_response()
}

async fn reasons(api: &Api) -> Vec<Reason> {
    let reasons = api.readiness.reasons(api.services.store.as_ref()).await;
    if reasons.contains(&Reason::StoreUnavailable) {
        api.metrics.store_failed(metrics::StoreError::Ping);
    }
    reasons
}

/// Prometheus text format.
pub async fn get_metrics(Extract(api): State) -> Response {
    let jobs = api.services.waiting_jobs().await;
    api.metrics.set_state(&StateOfServer {
        reasons: reasons(&api).await,
        clock_skew_seconds: api.readiness.skew().as_secs_f64(),
        jobs_due: jobs.as_ref().ok().map(|jobs| jobs.due),
        job_waiting_seconds: jobs.map_or(0.0, |jobs| jobs.oldest_waits.as_secs_f64()),
        short_requests_max: api.shedder.limit(),
    });
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], api.metrics.render()).into_response()
}

/// The contract's operations.
pub async fn get_openapi(Extract(api): State) -> Response {
    document(api.documents.contract.clone())
}

/// The operations beside the contract.
pub async fn get_passbook_openapi(Extract(api): State) -> Response {
    document(api.documents.passbook.clone())
}

fn document(yaml: Bytes) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"))], yaml).into_response()
}

/// The request names no host of this server.
pub async fn wrong_host(request: Request) -> ApiError {
    match request.extensions().get() {
        Some(Refusal::Malformed) => ApiError::malformed_host(),
        Some(Refusal::Unknown) | None => ApiError::misdirected(),
    }
}

/// No such path.
pub async fn route_not_found() -> ApiError {
    ApiError::route_not_found()
}

/// No such method; the router adds `Allow`.
pub async fn method_not_allowed() -> ApiError {
    ApiError::method_not_allowed()
}
