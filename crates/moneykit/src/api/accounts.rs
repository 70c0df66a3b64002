//! Accounts and balances.

use super::{AccountNumbersApi, UsersApi, api_group};
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{
        AccountId, CustomerUserId, GetAccountNumbersResponse, GetAccountResponse, GetAccountsResponse,
        GetUserAccountsResponse, LinkId,
    },
};

api_group! {
    /// `/links/{id}/accounts`.
    AccountsApi
}

impl AccountsApi {
    /// The open, permissioned accounts of a link with their cached balances. An empty `account_ids` means all; ids the
    /// link does not have are ignored.
    ///
    /// # Errors
    /// 403 if the user did not grant accounts; see [`api`](crate::api) for the others.
    pub async fn get_accounts(
        &self,
        id: impl Into<LinkId>,
        account_ids: &[AccountId],
    ) -> Result<GetAccountsResponse, Error> {
        Ok(self.get_accounts_with_http_info(id, account_ids).await?.data)
    }

    /// [`get_accounts`](Self::get_accounts) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_accounts_with_http_info(
        &self,
        id: impl Into<LinkId>,
        account_ids: &[AccountId],
    ) -> Result<ApiResponse<GetAccountsResponse>, Error> {
        let id = id.into();
        let call = Call::get("get_accounts", &["links", id.as_str(), "accounts"]);
        self.client.call(call.query_each("account_ids", account_ids)).await
    }

    /// One account of a link; closed accounts can be read too.
    ///
    /// # Errors
    /// 404 `link_error.not_found` also for an account that is unknown or not permissioned.
    pub async fn get_account(
        &self,
        id: impl Into<LinkId>,
        account_id: impl Into<AccountId>,
    ) -> Result<GetAccountResponse, Error> {
        Ok(self.get_account_with_http_info(id, account_id).await?.data)
    }

    /// [`get_account`](Self::get_account) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_account_with_http_info(
        &self,
        id: impl Into<LinkId>,
        account_id: impl Into<AccountId>,
    ) -> Result<ApiResponse<GetAccountResponse>, Error> {
        let (id, account_id) = (id.into(), account_id.into());
        self.client.call(Call::get("get_account", &["links", id.as_str(), "accounts", account_id.as_str()])).await
    }

    /// [`AccountNumbersApi::get_account_numbers`], which the official SDKs have in this group as well.
    ///
    /// # Errors
    /// The same.
    pub async fn get_account_numbers(&self, id: impl Into<LinkId>) -> Result<GetAccountNumbersResponse, Error> {
        AccountNumbersApi::new(&self.client).get_account_numbers(id).await
    }

    /// [`UsersApi::get_user_accounts`], which the official SDKs have in this group as well.
    ///
    /// # Errors
    /// The same.
    pub async fn get_user_accounts(
        &self,
        id: impl Into<CustomerUserId>,
        account_ids: &[AccountId],
    ) -> Result<GetUserAccountsResponse, Error> {
        UsersApi::new(&self.client).get_user_accounts(id, account_ids).await
    }
}
