//! Holdings and investment transactions.

use jiff::civil::Date;

use super::{Pages, api_group, paging::Position, query};
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{AccountId, GetHoldingsResponse, GetInvestmentTransactionsResponse, LinkId},
};

api_group! {
    /// `/links/{id}/investments`.
    InvestmentsApi
}

query! {
    /// Which investment transactions to list; the default lists all, newest first, 50 a page.
    GetInvestmentTransactionsQuery {
        /// Page number, from 1.
        page: u64,
        /// Page size, 1 to 1000.
        size: u64,
        /// Earliest date, inclusive.
        start_date: Date,
        /// Latest date, inclusive.
        end_date: Date,
    }
    each {
        /// Only these accounts; empty means all.
        account_ids: AccountId
    }
}

impl InvestmentsApi {
    /// What the investment accounts of a link hold, as last fetched. Never makes the server fetch. An empty
    /// `account_ids` means all.
    ///
    /// # Errors
    /// 403 if the user did not grant investments; see [`api`](crate::api) for the others.
    pub async fn get_holdings(
        &self,
        id: impl Into<LinkId>,
        account_ids: &[AccountId],
    ) -> Result<GetHoldingsResponse, Error> {
        Ok(self.get_holdings_with_http_info(id, account_ids).await?.data)
    }

    /// [`get_holdings`](Self::get_holdings) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_holdings_with_http_info(
        &self,
        id: impl Into<LinkId>,
        account_ids: &[AccountId],
    ) -> Result<ApiResponse<GetHoldingsResponse>, Error> {
        let id = id.into();
        let call = Call::get("get_holdings", &["links", id.as_str(), "investments", "holdings"]);
        self.client.call(call.query_each("account_ids", account_ids)).await
    }

    /// One page of the investment transactions of a link, newest first, as last fetched. Never makes the server fetch.
    ///
    /// The sign of an amount is the opposite of that of imports: see [`InvestmentAmount`](crate::models::InvestmentAmount).
    ///
    /// # Errors
    /// 403 if the user did not grant investments, 422 if the end date is before the start date; see
    /// [`api`](crate::api) for the others.
    pub async fn get_investment_transactions(
        &self,
        id: impl Into<LinkId>,
        query: &GetInvestmentTransactionsQuery,
    ) -> Result<GetInvestmentTransactionsResponse, Error> {
        Ok(self.get_investment_transactions_with_http_info(id, query).await?.data)
    }

    /// [`get_investment_transactions`](Self::get_investment_transactions) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_investment_transactions_with_http_info(
        &self,
        id: impl Into<LinkId>,
        query: &GetInvestmentTransactionsQuery,
    ) -> Result<ApiResponse<GetInvestmentTransactionsResponse>, Error> {
        let id = id.into();
        let call = Call::get("get_investment_transactions", &["links", id.as_str(), "investments", "transactions"])
            .query("page", query.page)
            .query("size", query.size)
            .query_each("account_ids", &query.account_ids)
            .query("start_date", query.start_date)
            .query("end_date", query.end_date);
        self.client.call(call).await
    }

    /// All pages of [`get_investment_transactions`](Self::get_investment_transactions), from the one the query names.
    pub fn get_investment_transactions_pages(
        &self,
        id: impl Into<LinkId>,
        query: &GetInvestmentTransactionsQuery,
    ) -> Pages<GetInvestmentTransactionsResponse> {
        let (api, id, query) = (self.clone(), id.into(), query.clone());
        Pages::new("get_investment_transactions", Position::from_number(query.page), move |position| {
            let query = GetInvestmentTransactionsQuery { page: position.into_number(), ..query.clone() };
            let (api, id) = (api.clone(), id.clone());
            async move { api.get_investment_transactions(id, &query).await }
        })
    }
}
