//! What an end user has over all links.

use jiff::civil::Date;

use super::{Pages, api_group, paging::Position, query};
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{AccountId, CustomerUserId, GetUserAccountsResponse, GetUserLinksResponse, GetUserTransactionsResponse},
};

api_group! {
    /// `/users/{id}`, where the id is the app's own: `customer_user.id` of a link session.
    ///
    /// A user nobody knows has nothing; that is not an error.
    UsersApi
}

query! {
    /// Which transactions to list; the default lists all, newest first, 50 a page.
    GetUserTransactionsQuery {
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
        /// Only these accounts; empty means all. On the wire the parameter is `account_id`.
        account_ids: AccountId
    }
}

impl UsersApi {
    /// All links of an end user, without deleted ones.
    ///
    /// # Errors
    /// Only the general ones.
    pub async fn get_user_links(&self, id: impl Into<CustomerUserId>) -> Result<GetUserLinksResponse, Error> {
        Ok(self.get_user_links_with_http_info(id).await?.data)
    }

    /// [`get_user_links`](Self::get_user_links) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_user_links_with_http_info(
        &self,
        id: impl Into<CustomerUserId>,
    ) -> Result<ApiResponse<GetUserLinksResponse>, Error> {
        let id = id.into();
        self.client.call(Call::get("get_user_links", &["users", id.as_str(), "links"])).await
    }

    /// All accounts of an end user, by link. An empty `account_ids` means all.
    ///
    /// # Errors
    /// 422 for an account id that is empty.
    pub async fn get_user_accounts(
        &self,
        id: impl Into<CustomerUserId>,
        account_ids: &[AccountId],
    ) -> Result<GetUserAccountsResponse, Error> {
        Ok(self.get_user_accounts_with_http_info(id, account_ids).await?.data)
    }

    /// [`get_user_accounts`](Self::get_user_accounts) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_user_accounts_with_http_info(
        &self,
        id: impl Into<CustomerUserId>,
        account_ids: &[AccountId],
    ) -> Result<ApiResponse<GetUserAccountsResponse>, Error> {
        let id = id.into();
        let call = Call::get("get_user_accounts", &["users", id.as_str(), "accounts"]);
        self.client.call(call.query_each("account_ids", account_ids)).await
    }

    /// One page of the transactions of an end user over all links, newest first.
    ///
    /// # Errors
    /// 422 if the end date is before the start date, or for an account id that is empty.
    pub async fn get_user_transactions(
        &self,
        id: impl Into<CustomerUserId>,
        query: &GetUserTransactionsQuery,
    ) -> Result<GetUserTransactionsResponse, Error> {
        Ok(self.get_user_transactions_with_http_info(id, query).await?.data)
    }

    /// [`get_user_transactions`](Self::get_user_transactions) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_user_transactions_with_http_info(
        &self,
        id: impl Into<CustomerUserId>,
        query: &GetUserTransactionsQuery,
    ) -> Result<ApiResponse<GetUserTransactionsResponse>, Error> {
        let id = id.into();
        let call = Call::get("get_user_transactions", &["users", id.as_str(), "transactions"])
            .query_each("account_id", &query.account_ids)
            .query("page", query.page)
            .query("size", query.size)
            .query("start_date", query.start_date)
            .query("end_date", query.end_date);
        self.client.call(call).await
    }

    /// All pages of [`get_user_transactions`](Self::get_user_transactions), from the one the query names.
    pub fn get_user_transactions_pages(
        &self,
        id: impl Into<CustomerUserId>,
        query: &GetUserTransactionsQuery,
    ) -> Pages<GetUserTransactionsResponse> {
        let (api, id, query) = (self.clone(), id.into(), query.clone());
        Pages::new("get_user_transactions", Position::from_number(query.page), move |position| {
            let query = GetUserTransactionsQuery { page: position.into_number(), ..query.clone() };
            let (api, id) = (api.clone(), id.clone());
            async move { api.get_user_transactions(id, &query).await }
        })
    }
}
