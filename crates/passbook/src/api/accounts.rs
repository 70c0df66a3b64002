//! `GET /links/{id}/accounts` and `GET /links/{id}/accounts/{account_id}`.

use axum::{
    Json,
    extract::{Request, State as Extract},
};
use moneykit::models::{GetAccountResponse, GetAccountsResponse};
use passbook_core::{ids::AccountId, product::Product};

use super::{
    State,
    caller::Caller,
    errors::ApiError,
    path::{self, LinkPath},
    query::{EmptyIds, Query},
};
use crate::views;

/// Open, permitted accounts.
pub async fn get_accounts(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Json<GetAccountsResponse>, ApiError> {
    let stored = api.services.open_for_read(&caller, &id, Product::Accounts).await?;
    let wanted = Query::read(&request, |query| query.accounts(EmptyIds::NameNothing))?;
    let accounts = stored
        .link
        .accounts
        .iter()
        .filter(|account| account.is_visible())
        .filter(|account| wanted.takes(account.id.as_str()))
        .map(views::account)
        .collect();
    Ok(Json(GetAccountsResponse { accounts, link: views::link_common(&stored.link) }))
}

/// One permitted account, also when it is closed.
pub async fn get_account(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Json<GetAccountResponse>, ApiError> {
    let stored = api.services.open_for_read(&caller, &id, Product::Accounts).await?;
    let account_id = path::text(path::segment(request.uri(), 3)).and_then(|id| AccountId::parse(&id));
    let account = account_id
        .and_then(|id| stored.link.account(&id))
        .filter(|account| account.permitted)
        .ok_or_else(ApiError::link_not_found)?;
    Ok(Json(GetAccountResponse { account: views::account(account), link: views::link_common(&stored.link) }))
}
