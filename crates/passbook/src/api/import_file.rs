//! `POST /passbook/links/import-file`: a statement file becomes a link, or extends one.

use axum::{
    Json,
    extract::{Request, State as Extract},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{State, body, caller::Caller, errors::ApiError, query::Query};
use crate::services::imports::Import;

/// Largest statement file.
const FILE_MAX: usize = 16 << 20;

#[derive(Serialize)]
struct ImportAnswer<'a> {
    link_id: &'a str,
    link: &'a RawValue,
    /// Transactions added.
    created: usize,
    /// Transactions changed by a correction.
    updated: usize,
    /// Transactions withdrawn by the bank.
    removed: usize,
    /// Transactions that were stored already.
    unchanged: usize,
    /// What was left out or repaired.
    notes: Vec<String>,
}

/// 201 for a new link, 200 for an existing one.
pub async fn import_file(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let mut query = Query::of(request.uri());
    let customer_user_id = query.text("customer_user_id").unwrap_or_default().to_owned();
    if !(4..=150).contains(&customer_user_id.chars().take(151).count()) {
        query.problem("customer_user_id", "value_error", "must have 4 to 150 characters");
    }
    let institution_id = query.text("institution_id").map(str::to_owned);
    query.finish()?;
    // Held from the first byte to the answer: this many whole files are in memory at most.
    let _held = api.services.files_held.acquire().await.map_err(|_| ApiError::unavailable())?;
    let file = body::read(request.into_body(), FILE_MAX).await?;
    let imported = api.services.import_file(&caller, Import { customer_user_id, institution_id, file }).await?;
    let link = RawValue::from_string(String::from_utf8_lossy(&imported.link_view).into_owned());
    let answer = ImportAnswer {
        link_id: imported.link_id.as_str(),
        link: &link.expect("a rendered view is JSON"),
        created: imported.created,
        updated: imported.updated,
        removed: imported.removed,
        unchanged: imported.unchanged,
        notes: imported.notes,
    };
    let status = if imported.new_link { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(answer)).into_response())
}
