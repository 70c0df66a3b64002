//! Transactions.

use jiff::civil::Date;

use super::api_group;
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{AccountId, GetTransactionsResponse, LinkId},
};

api_group! {
    /// `/links/{id}/transactions`.
    TransactionsApi
}

/// Which transactions to list; the default lists all, newest first, 50 a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GetTransactionsQuery {
    /// Only these accounts; empty means all.
    pub account_ids: Vec<AccountId>,
    /// Page number, from 1.
    pub page: Option<u64>,
    /// Page size, 1 to 1000.
    pub size: Option<u64>,
    /// Earliest date, inclusive.
    pub start_date: Option<Date>,
    /// Latest date, inclusive.
    pub end_date: Option<Date>,
}

impl TransactionsApi {
    /// One page of a link's transactions, newest first, as last fetched. Never makes the server fetch. `total` counts
    /// all that match, over all pages.
    ///
    /// # Errors
    /// 403 if the user did not grant transactions, 422 if the end date is before the start date; see
    /// [`api`](crate::api) for the others.
    pub async fn get_transactions(
        &self,
        id: impl Into<LinkId>,
        query: &GetTransactionsQuery,
    ) -> Result<GetTransactionsResponse, Error> {
        Ok(self.get_transactions_with_http_info(id, query).await?.data)
    }

    /// [`get_transactions`](Self::get_transactions) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_transactions_with_http_info(
        &self,
        id: impl Into<LinkId>,
        query: &GetTransactionsQuery,
    ) -> Result<ApiResponse<GetTransactionsResponse>, Error> {
        let id = id.into();
        let call = Call::get("get_transactions", &["links", id.as_str(), "transactions"])
            .query_each("account_ids", &query.account_ids)
            .query("page", query.page)
            .query("size", query.size)
            .query("start_date", query.start_date)
            .query("end_date", query.end_date);
        self.client.call(call).await
    }
}
