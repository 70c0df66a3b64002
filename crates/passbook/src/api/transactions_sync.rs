//! `GET /links/{id}/transactions/sync`.

use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use passbook_core::product::Product;

use super::{State, caller::Caller, errors::ApiError, path::LinkPath, query::Query};
use crate::{services::links::check_readable, views};

/// What happened to the transactions of the link since the cursor; without one, all of them.
pub async fn get_transactions_sync(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Response, ApiError> {
    let stored = api.services.load(&caller, &id).await?;
    // A cursor stands in one log: of this link, of this app in this environment.
    let (tenant, link) = (&stored.link.tenant, stored.link.id.as_str());
    let context = [tenant.app_id.as_str(), tenant.environment.as_str(), "transactions_sync", link];
    let (size, opened) = Query::read(&request, |query| {
        let size = query.number("size", 1, 500, 50) as u32;
        let opened: Option<Option<u64>> = query
            .text("cursor")
            .filter(|cursor| !cursor.is_empty())
            .map(|cursor| api.services.cursors.open(&context, &cursor).and_then(|position| position.parse().ok()));
        if opened == Some(None) {
            query.problem("cursor", "value_error.cursor", "is not a cursor of this link");
        }
        (size, opened)
    })?;
    check_readable(&stored, Product::Transactions)?;
    let after = opened.flatten().unwrap_or(0);
    let _place = api.admit(&caller).await?;
    let (page, has_more) = api.services.sync_transactions(&caller, &stored, after, size).await?;
    let next = api.services.cursors.seal(&context, &page.position.to_string());
    let items = page.created.len() + page.updated.len();
    let make = move || views::transactions_sync(&stored.link, page, next, has_more);
    api.long_answers.render(&caller.tenant, items, make).await
}
