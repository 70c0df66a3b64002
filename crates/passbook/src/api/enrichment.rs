//! `POST /links/{id}/transactions/{txn_id}/enrichment`.

use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use passbook_core::{enrichment::Kind, ids::TransactionId};
use serde::Deserialize;

use super::{
    State,
    body::Problems,
    caller::Caller,
    errors::ApiError,
    idempotency::answer_once,
    links::read_change,
    path::{self, LinkPath},
};
use crate::{
    services::{enrichment::Corrected, idempotency::Answer},
    views,
};

#[derive(Deserialize)]
struct CategoryBody {
    category: String,
    #[serde(default)]
    subcategory: Option<String>,
}

/// Gives a transaction and similar past ones the category that the app says.
pub async fn correct_enrichment(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Response, ApiError> {
    let transaction_id = path::text(path::segment(request.uri(), 3)).and_then(|id| TransactionId::parse(&id));
    let (parts, bytes) = read_change(&api, &caller, &id, request).await?;
    let kind = kind(&api.read_json(&caller, &parts, &bytes).await?)?;
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let keep = held.keep(corrected_answer);
        let done = api.services.correct_enrichment(&caller, &id, transaction_id.as_ref(), kind, &keep).await?;
        Ok(corrected_answer(&done))
    })
    .await
}

fn kind(body: &CategoryBody) -> Result<Kind, ApiError> {
    let mut problems = Problems::default();
    let known = Kind::find(&body.category, None);
    problems.require(known.is_some(), "category", "must be a category of the contract");
    let kind = Kind::find(&body.category, body.subcategory.as_deref());
    problems.require(known.is_none() || kind.is_some(), "subcategory", "must be a subcategory of the category");
    problems.finish()?;
    kind.ok_or_else(ApiError::internal)
}

fn corrected_answer(corrected: &Corrected) -> Answer {
    Answer { status: 200, body: views::json(&views::enrichment::corrected(corrected)) }
}
