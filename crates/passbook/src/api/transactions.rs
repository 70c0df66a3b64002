//! `GET /links/{id}/transactions`.

use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use passbook_core::product::Product;
use passbook_store::port::TransactionFilter;

use super::{State, caller::Caller, errors::ApiError, path::LinkPath, query::Query};
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
    let mut query = Query::of(request.uri());
    let page = query.number("page", 1, u64::MAX, 1);
    let limit = query.number("size", 1, 1000, 50);
    let (start_date, end_date) = (query.date("start_date"), query.date("end_date"));
    if start_date.zip(end_date).is_some_and(|(start, end)| end < start) {
        query.problem("end_date", "value_error.date", "must not be before start_date");
    }
    query.finish()?;
    check_readable(&stored, Product::Transactions)?;
    let offset = (page - 1).saturating_mul(limit);
    let filter = TransactionFilter { accounts: None, start_date, end_date, offset, limit: limit as u32 };
    let wanted = TransactionQuery { account_ids: query.list("account_ids"), filter };
    let found = api.services.list_transactions(&caller, &stored, wanted).await?;
    let items = found.items.len();
    let make = move || views::transactions_page(&stored.link, page, found.total, found.items);
    api.long_answers.render(items, make).await
}
