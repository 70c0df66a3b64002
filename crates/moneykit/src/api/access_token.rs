//! Access tokens, the client behind one, and the keys that sign webhooks.

use super::api_group;
use crate::{
    ApiResponse, Error,
    client::{Authorization, Call},
    models::{AppClientResponse, CreateAccessTokenResponse, JWKSet},
};

api_group! {
    /// `/auth` and `/.well-known/jwks.json`.
    AccessTokenApi
}

impl AccessTokenApi {
    /// Trades the client's credentials for a new bearer token, valid for an hour.
    ///
    /// A [`Client`](crate::Client) with credentials does this by itself; call it only to use the token elsewhere. The
    /// client's own token is not touched.
    ///
    /// # Errors
    /// 401 `api_error.auth.unauthorized`: id or secret are wrong. Also when the client has no client credentials.
    pub async fn create_access_token(&self) -> Result<CreateAccessTokenResponse, Error> {
        Ok(self.create_access_token_with_http_info().await?.data)
    }

    /// [`create_access_token`](Self::create_access_token) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn create_access_token_with_http_info(&self) -> Result<ApiResponse<CreateAccessTokenResponse>, Error> {
        self.client.call_create_access_token().await
    }

    /// The API client and the app behind the bearer token. The spelling is the contract's.
    ///
    /// # Errors
    /// Only the general ones.
    #[doc(alias = "introspect_client")]
    pub async fn instrospect_client(&self) -> Result<AppClientResponse, Error> {
        Ok(self.instrospect_client_with_http_info().await?.data)
    }

    /// [`instrospect_client`](Self::instrospect_client) with status and headers.
    ///
    /// # Errors
    /// The same.
    #[doc(alias = "introspect_client_with_http_info")]
    pub async fn instrospect_client_with_http_info(&self) -> Result<ApiResponse<AppClientResponse>, Error> {
        self.client.call(Call::get("instrospect_client", &["auth", "introspect"])).await
    }

    /// The public keys that verify webhook signatures. Needs no token; the client id, when known, selects the keys.
    ///
    /// Cache them for at most a day, and ask again, at most every five minutes, when a signature names an unknown key.
    ///
    /// # Errors
    /// Only the general ones.
    pub async fn get_well_known_jwks(&self) -> Result<JWKSet, Error> {
        Ok(self.get_well_known_jwks_with_http_info().await?.data)
    }

    /// [`get_well_known_jwks`](Self::get_well_known_jwks) with status and headers.
    ///
    /// # Errors
    /// The same.
    pub async fn get_well_known_jwks_with_http_info(&self) -> Result<ApiResponse<JWKSet>, Error> {
        let call = Call::get("get_well_known_jwks", &[".well-known", "jwks.json"]);
        self.client.call(call.authorization(Authorization::ClientId)).await
    }
}
