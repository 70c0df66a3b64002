//! `GET /links/{id}/investments/holdings` and `GET /links/{id}/investments/transactions`.

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
    services::{
        investments::accounts_with_holdings,
        links::{TransactionQuery, check_readable},
    },
    views,
};

/// What permitted accounts hold, as last fetched. Never causes a fetch.
pub async fn get_holdings(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Response, ApiError> {
    let stored = api.services.open_for_read(&caller, &id, Product::Investments).await?;
    let wanted = Query::read(&request, |query| query.accounts(EmptyIds::NameNothing))?;
    let _place = api.admit(&caller).await?;
    let portfolio = api.services.portfolio(&caller, &stored).await?;
    let shown = accounts_with_holdings(&stored, &wanted);
    let items = portfolio.holdings.len();
    api.long_answers
        .render(&caller.tenant, items, move || views::investments::holdings(&stored.link, portfolio, &shown))
        .await
}

/// One page of investment transactions, newest first, as last fetched. Never causes a fetch.
pub async fn get_investment_transactions(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Response, ApiError> {
    let stored = api.services.load(&caller, &id).await?;
    let (range, accounts) =
        Query::read(&request, |query| (TransactionRange::of(query), query.accounts(EmptyIds::NameNothing)))?;
    check_readable(&stored, Product::Investments)?;
    let wanted = TransactionQuery { accounts, filter: range.filter() };
    let _place = api.admit(&caller).await?;
    let (found, securities) = api.services.list_investment_transactions(&caller, &stored, wanted).await?;
    let (total, items) = (found.total, found.items);
    let make = move |items| {
        views::investments::investment_transactions_page(&stored.link, securities, range.page, total, items)
    };
    api.long_answers.render(&caller.tenant, items.len(), move || make(items)).await
}
