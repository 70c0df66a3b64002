//! Payment numbers.

use super::api_group;
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{GetAccountNumbersResponse, LinkId},
};

api_group! {
    /// `/links/{id}/accounts/numbers`.
    AccountNumbersApi
}

impl AccountNumbersApi {
    /// The open, permissioned accounts of a link with their payment numbers, as last fetched. Never makes the server
    /// fetch.
    ///
    /// Call it once after linking or after a refresh, and treat what it returns as sensitive. How old the numbers are
    /// tells `link.products.account_numbers.refreshed_at`; accounts without numbers are left out.
    ///
    /// # Errors
    /// 403 if the user did not grant the product; see [`api`](crate::api) for the others.
    pub async fn get_account_numbers(&self, id: impl Into<LinkId>) -> Result<GetAccountNumbersResponse, Error> {
        Ok(self.get_account_numbers_with_http_info(id).await?.data)
    }

    /// [`get_account_numbers`](Self::get_account_numbers) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_account_numbers_with_http_info(
        &self,
        id: impl Into<LinkId>,
    ) -> Result<ApiResponse<GetAccountNumbersResponse>, Error> {
        let id = id.into();
        self.client.call(Call::get("get_account_numbers", &["links", id.as_str(), "accounts", "numbers"])).await
    }
}
