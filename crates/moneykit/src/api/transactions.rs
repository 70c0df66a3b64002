//! Transactions.

use jiff::civil::Date;

use super::{GetUserTransactionsQuery, Pages, UsersApi, api_group, paging::Position, query};
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{
        AccountId, BudCategory, CorrectEnrichmentResponse, CustomerUserId, GetTransactionsResponse,
        GetUserTransactionsResponse, LinkId, TransactionId, TransactionSyncResponse,
    },
};

api_group! {
    /// `/links/{id}/transactions`.
    TransactionsApi
}

query! {
    /// Which transactions to list; the default lists all, newest first, 50 a page.
    GetTransactionsQuery {
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

query! {
    /// Which changes to list; the default lists the whole history, 50 changes a page.
    GetTransactionsSyncQuery {
        /// `cursor.next` of the page before, or of the last page of the time before.
        cursor: String,
        /// Page size, 1 to 500.
        size: u64,
    }
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

    /// All pages of [`get_transactions`](Self::get_transactions), from the one the query names, until as many came as
    /// there are.
    ///
    /// Pages are counted from the newest transaction. When the link gets new ones meanwhile, a page may repeat the last
    /// transactions of the page before; [`get_transactions_sync_pages`](Self::get_transactions_sync_pages) never does.
    pub fn get_transactions_pages(
        &self,
        id: impl Into<LinkId>,
        query: &GetTransactionsQuery,
    ) -> Pages<GetTransactionsResponse> {
        let (api, id, query) = (self.clone(), id.into(), query.clone());
        Pages::new("get_transactions", Position::from_number(query.page), move |position| {
            let query = GetTransactionsQuery { page: position.into_number(), ..query.clone() };
            let (api, id) = (api.clone(), id.clone());
            async move { api.get_transactions(id, &query).await }
        })
    }

    /// One page of what changed in a link's transactions since a cursor. Never makes the server fetch. The server keeps
    /// no cursor: the app stores `cursor.next`, which every page has.
    ///
    /// # Errors
    /// 403 if the user did not grant transactions, 422 for a cursor of another link; see [`api`](crate::api) for the
    /// others.
    pub async fn get_transactions_sync(
        &self,
        id: impl Into<LinkId>,
        query: &GetTransactionsSyncQuery,
    ) -> Result<TransactionSyncResponse, Error> {
        Ok(self.get_transactions_sync_with_http_info(id, query).await?.data)
    }

    /// [`get_transactions_sync`](Self::get_transactions_sync) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_transactions_sync_with_http_info(
        &self,
        id: impl Into<LinkId>,
        query: &GetTransactionsSyncQuery,
    ) -> Result<ApiResponse<TransactionSyncResponse>, Error> {
        let id = id.into();
        let call = Call::get("get_transactions_sync", &["links", id.as_str(), "transactions", "sync"])
            .query("cursor", query.cursor.as_ref())
            .query("size", query.size);
        self.client.call(call).await
    }

    /// All pages of [`get_transactions_sync`](Self::get_transactions_sync) from the query's cursor until nothing more
    /// waits.
    ///
    /// Store each page's `cursor.next` together with what the page changed. Then the walk can stop at any page, by error
    /// or by choice, and go on from the stored cursor.
    ///
    /// ```no_run
    /// # async fn example(client: moneykit::Client, stored: Option<String>) -> Result<(), moneykit::Error> {
    /// use moneykit::api::GetTransactionsSyncQuery;
    ///
    /// let query = GetTransactionsSyncQuery { cursor: stored, size: Some(500) };
    /// let mut pages = client.transactions().get_transactions_sync_pages("mk_eqkWN34UEoa2NxyALG8pcV", &query);
    /// while let Some(page) = pages.next_page().await.transpose()? {
    ///     println!("{} new, {} gone", page.transactions.created.len(), page.transactions.removed.len());
    ///     // … and store `page.cursor.next` in the same database transaction.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_transactions_sync_pages(
        &self,
        id: impl Into<LinkId>,
        query: &GetTransactionsSyncQuery,
    ) -> Pages<TransactionSyncResponse> {
        let (api, id, query) = (self.clone(), id.into(), query.clone());
        Pages::new("get_transactions_sync", Position::from_cursor(query.cursor.clone()), move |position| {
            let query = GetTransactionsSyncQuery { cursor: position.into_cursor(), ..query.clone() };
            let (api, id) = (api.clone(), id.clone());
            async move { api.get_transactions_sync(id, &query).await }
        })
    }

    /// Sets the category of a transaction, and of similar past ones. Answers with all that changed.
    ///
    /// # Errors
    /// 404 `link_error.not_found` also for an unknown transaction, 422 for a subcategory of another category; see
    /// [`api`](crate::api) for the others.
    pub async fn correct_enrichment(
        &self,
        id: impl Into<LinkId>,
        transaction_id: impl Into<TransactionId>,
        category: &BudCategory,
    ) -> Result<CorrectEnrichmentResponse, Error> {
        Ok(self.correct_enrichment_with_http_info(id, transaction_id, category).await?.data)
    }

    /// [`correct_enrichment`](Self::correct_enrichment) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn correct_enrichment_with_http_info(
        &self,
        id: impl Into<LinkId>,
        transaction_id: impl Into<TransactionId>,
        category: &BudCategory,
    ) -> Result<ApiResponse<CorrectEnrichmentResponse>, Error> {
        let (id, transaction_id) = (id.into(), transaction_id.into());
        let segments = ["links", id.as_str(), "transactions", transaction_id.as_str(), "enrichment"];
        self.client.call(Call::post("correct_enrichment", &segments, category)?).await
    }

    /// [`UsersApi::get_user_transactions`], which the official SDKs have in this group as well.
    ///
    /// # Errors
    /// The same.
    pub async fn get_user_transactions(
        &self,
        id: impl Into<CustomerUserId>,
        query: &GetUserTransactionsQuery,
    ) -> Result<GetUserTransactionsResponse, Error> {
        UsersApi::new(&self.client).get_user_transactions(id, query).await
    }
}
