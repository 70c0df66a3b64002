//! Account owners.

use super::api_group;
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{AccountId, IdentityResponse, LinkId},
};

api_group! {
    /// `/links/{id}/identity`.
    IdentityApi
}

impl IdentityApi {
    /// The permissioned accounts of a link with their owners, as last fetched. Never makes the server fetch. An empty
    /// `account_ids` means all.
    ///
    /// # Errors
    /// 403 if the user did not grant identity; see [`api`](crate::api) for the others.
    pub async fn get_identities(
        &self,
        id: impl Into<LinkId>,
        account_ids: &[AccountId],
    ) -> Result<IdentityResponse, Error> {
        Ok(self.get_identities_with_http_info(id, account_ids).await?.data)
    }

    /// [`get_identities`](Self::get_identities) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_identities_with_http_info(
        &self,
        id: impl Into<LinkId>,
        account_ids: &[AccountId],
    ) -> Result<ApiResponse<IdentityResponse>, Error> {
        let id = id.into();
        let call = Call::get("get_identities", &["links", id.as_str(), "identity"]);
        self.client.call(call.query_each("account_ids", account_ids)).await
    }
}
