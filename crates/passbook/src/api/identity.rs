//! `GET /links/{id}/identity`.

use axum::{
    Json,
    extract::{Request, State as Extract},
};
use moneykit::models::IdentityResponse;
use passbook_core::product::Product;

use super::{
    State,
    caller::Caller,
    errors::ApiError,
    path::LinkPath,
    query::{EmptyIds, Query},
};
use crate::views;

/// Owners of all permitted accounts, as last fetched. Never causes a fetch.
pub async fn get_identities(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Json<IdentityResponse>, ApiError> {
    let stored = api.services.open_for_read(&caller, &id, Product::Identity).await?;
    let wanted = Query::read(&request, |query| query.accounts(EmptyIds::NameNothing))?;
    let owners = api.services.secrets_of(&stored.link).await?.secrets.owners;
    let accounts = stored
        .link
        .accounts
        .iter()
        .filter(|account| account.is_visible())
        .filter(|account| wanted.takes(account.id.as_str()))
        .map(|account| views::account_identity(account, owners.get(&account.id).map(Vec::as_slice).unwrap_or_default()))
        .collect();
    Ok(Json(IdentityResponse { accounts, link: views::link_common(&stored.link) }))
}
