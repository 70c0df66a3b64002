//! `GET /users/{id}/links`, `/users/{id}/accounts` and `/users/{id}/transactions`.
//!
//! The id is the app's own name of its end user. One that no link has is answered with nothing in it, as the contract
//! knows no 404 here.

use axum::{
    Json,
    extract::{Request, State as Extract},
    response::Response,
};
use http::Uri;
use moneykit::models::{AccountGroup, GetUserAccountsResponse, GetUserLinksResponse};
use passbook_core::product::Product;

use super::{
    State,
    caller::Caller,
    errors::ApiError,
    path,
    query::{EmptyIds, Query, TransactionRange},
};
use crate::views;

/// Links in every state but `deleted`.
pub async fn get_user_links(
    Extract(api): State,
    caller: Caller,
    request: Request,
) -> Result<Json<GetUserLinksResponse>, ApiError> {
    let _place = api.admit(&caller).await?;
    let links = api.services.list_user_links(&caller, &user_id(request.uri())).await?;
    let links = links.iter().map(|stored| (stored.link.id.as_str().into(), views::link_common(&stored.link)));
    Ok(Json(GetUserLinksResponse { links: links.collect() }))
}

/// Open, permitted accounts of usable links.
pub async fn get_user_accounts(
    Extract(api): State,
    caller: Caller,
    request: Request,
) -> Result<Json<GetUserAccountsResponse>, ApiError> {
    let wanted = Query::read(&request, |query| query.accounts(EmptyIds::Refused))?;
    let user = user_id(request.uri());
    let _place = api.admit(&caller).await?;
    let links = api.services.list_readable_user_links(&caller, &user, Product::Accounts).await?;
    let group = |link: &passbook_core::link::Link| AccountGroup {
        accounts: link
            .accounts
            .iter()
            .filter(|account| account.is_visible())
            .filter(|account| wanted.takes(account.id.as_str()))
            .map(views::account)
            .collect(),
        last_synced_at: link.last_synced_at(),
    };
    let links = links.iter().map(|stored| (stored.link.id.as_str().into(), group(&stored.link)));
    Ok(Json(GetUserAccountsResponse { links: links.filter(|(_, group)| !group.accounts.is_empty()).collect() }))
}

/// One page of transactions of usable links, newest first.
pub async fn get_user_transactions(
    Extract(api): State,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (range, wanted) =
        Query::read(&request, |query| (TransactionRange::of(query), query.accounts(EmptyIds::Refused)))?;
    let user = user_id(request.uri());
    let _place = api.admit(&caller).await?;
    let links = api.services.list_readable_user_links(&caller, &user, Product::Transactions).await?;
    let found = api.services.list_user_transactions(&caller, &links, &wanted, range.filter()).await?;
    let items = found.items.len();
    let make = move || views::user_transactions_page(&links, range.page, found.total, found.items);
    api.long_answers.render(&caller.tenant, items, make).await
}

/// The user in the path. Bytes that are no text name nobody.
fn user_id(uri: &Uri) -> String {
    path::text(path::segment(uri, 1)).unwrap_or_default().into_owned()
}
