//! Link sessions and token exchange.

use super::api_group;
use crate::{
    ApiResponse, Error,
    client::Call,
    models::{CreateLinkSessionRequest, CreateLinkSessionResponse, ExchangeTokenRequest, ExchangeTokenResponse},
};

api_group! {
    /// `/link-session`.
    LinkSessionApi
}

impl LinkSessionApi {
    /// Opens a session in which the Connect widget creates or repairs a link. Each call is a session, unless
    /// it repeats an [idempotency key](crate::Client::with_idempotency_key).
    ///
    /// # Errors
    /// 403 `link_session_error.forbidden_config`: the redirect URI's origin is not on the app's allow-list, a Connect
    /// feature is not allowed, or the link to reconnect is not the app's. 422: a field is not valid.
    pub async fn create_link_session(
        &self,
        request: &CreateLinkSessionRequest,
    ) -> Result<CreateLinkSessionResponse, Error> {
        Ok(self.create_link_session_with_http_info(request).await?.data)
    }

    /// [`create_link_session`](Self::create_link_session) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn create_link_session_with_http_info(
        &self,
        request: &CreateLinkSessionRequest,
    ) -> Result<ApiResponse<CreateLinkSessionResponse>, Error> {
        self.client.call(Call::post("create_link_session", &["link-session"], request)?).await
    }

    /// Trades the token of Connect's success callback for the link, which becomes `connected`. A token works once, so
    /// after a lost answer look for the link instead of repeating, or use an
    /// [idempotency key](crate::Client::with_idempotency_key).
    ///
    /// # Errors
    /// 400 `link_session_error.invalid_token_exchange`: the token is unknown, expired, used, or another app's.
    pub async fn exchange_token(&self, request: &ExchangeTokenRequest) -> Result<ExchangeTokenResponse, Error> {
        Ok(self.exchange_token_with_http_info(request).await?.data)
    }

    /// [`exchange_token`](Self::exchange_token) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn exchange_token_with_http_info(
        &self,
        request: &ExchangeTokenRequest,
    ) -> Result<ApiResponse<ExchangeTokenResponse>, Error> {
        self.client.call(Call::post("exchange_token", &["link-session", "exchange-token"], request)?).await
    }
}
