//! `GET /links/{id}/transactions`.

use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use passbook_core::product::Product;

use super::{
    State,
    caller::Caller,
    errors::ApiError,
    path::LinkPath,
    query::{EmptyIds, Query, TransactionRange},
};
use crate::{
    services::links::{TransactionQuery, check_readable},
    views,
};

/// One page of transactions, newest first.
pub async fn get_transactions(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Response, ApiError> {
    let stored = api.services.load(&caller, &id).await?;
    let (range, accounts) =
        Query::read(&request, |query| (TransactionRange::of(query), query.accounts(EmptyIds::NameNothing)))?;
    check_readable(&stored, Product::Transactions)?;
    let wanted = TransactionQuery { accounts, filter: range.filter() };
    let _place = api.admit(&caller).await?;
    let found = api.services.list_transactions(&caller, &stored, wanted).await?;
    let items = found.items.len();
    let make = move || views::transactions_page(&stored.link, range.page, found.total, found.items);
    api.long_answers.render(&caller.tenant, items, make).await
}
