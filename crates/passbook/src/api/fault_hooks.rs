//! Ends vital parts on demand, for experiments. No released binary contains this.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use http::StatusCode;
use std::sync::Arc;

use super::{Api, State};
use crate::supervision::hooks::How;

/// `GET /fault-hooks` lists the parts, `POST /fault-hooks/{part}/{how}` ends one; `how` is `returns` or `panics`.
pub fn calls() -> Router<Arc<Api>> {
    Router::new()
        .route("/fault-hooks", get(list_parts))
        .route("/fault-hooks/{part}/{how}", axum::routing::post(end_part))
}

async fn list_parts(Extract(api): State) -> Json<Vec<&'static str>> {
    let mut parts = api.readiness.supervisor().parts();
    parts.extend(api.services.store.parts());
    parts.push("log");
    Json(parts)
}

async fn end_part(Extract(api): State, Path((part, how)): Path<(String, String)>) -> StatusCode {
    let panics = match how.as_str() {
        "returns" => false,
        "panics" => true,
        _ => return StatusCode::UNPROCESSABLE_ENTITY,
    };
    let was_there = match part.as_str() {
        "log" => crate::log::end(panics),
        _ if api.services.store.end_part(&part, panics) => true,
        _ => api.readiness.supervisor().end(&part, if panics { How::Panics } else { How::Returns }),
    };
    if was_there { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}
