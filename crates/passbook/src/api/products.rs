//! `POST /links/{id}/products`.

use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use passbook_core::product::Product;
use serde::Deserialize;

use super::{
    State, body::Problems, caller::Caller, errors::ApiError, idempotency::answer_once, links::read_change,
    path::LinkPath,
};
use crate::services::idempotency::Answer;

#[derive(Deserialize)]
struct RefreshBody {
    products: Vec<Product>,
}

/// Asks for a refresh; the work is stored before this answers.
pub async fn refresh_products(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, bytes) = read_change(&api, &caller, &id, request).await?;
    let RefreshBody { products } = api.read_json(&caller, &parts, &bytes).await?;
    let mut problems = Problems::default();
    problems.require(!products.is_empty(), "products", "must name at least one product");
    problems.finish()?;
    let products = products.into_iter().collect();
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let keep = held.keep(|link_view: &Vec<u8>| Answer { status: 202, body: link_view.clone() });
        let body = api.services.refresh_products(&caller, &id, products, &keep).await?;
        Ok(Answer { status: 202, body })
    })
    .await
}
