//! `GET /links/{id}/transactions`.

use axum::{
    Json,
    extract::{Request, State as Extract},
};
use moneykit::models::GetTransactionsResponse;
use passbook_core::product::Product;

use super::{
    State,
    caller::Caller,
    errors::ApiError,
    path::LinkPath,
    query::{Query, TransactionRange},
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
) -> Result<Json<GetTransactionsResponse>, ApiError> {
    let stored = api.services.load(&caller, &id).await?;
    let mut query = Query::of(request.uri());
    let range = TransactionRange::of(&mut query);
    query.finish()?;
    check_readable(&stored, Product::Transactions)?;
    let wanted = TransactionQuery { account_ids: query.list("account_ids"), filter: range.filter() };
    let found = api.services.list_transactions(&caller, &stored, wanted).await?;
    let shown = |id: &passbook_core::ids::AccountId| found.items.iter().any(|row| row.account_id == *id);
    let accounts = stored.link.accounts.iter().filter(|account| shown(&account.id)).map(views::account).collect();
    Ok(Json(GetTransactionsResponse {
        total: found.total,
        page: range.page,
        size: found.items.len() as u64,
        accounts,
        link: views::link_common(&stored.link),
        transactions: found.items.into_iter().map(views::transaction).collect(),
    }))
}
