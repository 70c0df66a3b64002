//! `POST /links/{id}/products`.

use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use http::StatusCode;
use passbook_core::product::Product;
use serde::Deserialize;

use super::{
    State,
    body::{self, Problems},
    caller::Caller,
    errors::ApiError,
    links::json_response,
    path::LinkPath,
};

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
    // The contract answers 404 and 410 before it looks at the body.
    api.services.load(&caller, &id).await?;
    let (parts, body) = request.into_parts();
    let bytes = body::read(body, body::JSON_MAX).await?;
    let RefreshBody { products } = body::parse(&parts.headers, &bytes)?;
    let mut problems = Problems::default();
    problems.require(!products.is_empty(), "products", "must name at least one product");
    problems.finish()?;
    let link_view = api.services.refresh_products(&caller, &id, products.into_iter().collect()).await?;
    Ok(json_response(StatusCode::ACCEPTED, link_view))
}
