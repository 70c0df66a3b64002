//! Access tokens and who they belong to (`/auth/token`, `/auth/introspect`).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::{redact::debug_redacted, timestamp};

/// An OAuth 2 token answer (RFC 6749 section 5.1). `Debug` hides the token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateAccessTokenResponse {
    /// Bearer token for the `Authorization` header.
    pub access_token: String,
    /// Always `bearer`.
    pub token_type: String,
    /// Lifetime in seconds from the moment of the answer; 3600.
    pub expires_in: u64,
}

debug_redacted!(CreateAccessTokenResponse { show: [token_type, expires_in], hide: [access_token] });

/// The API client and the app behind a bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppClientResponse {
    /// Client id.
    pub client_id: String,
    /// Deprecated label.
    pub client_name: String,
    /// Space-separated actions the token may do.
    pub scope: String,
    /// The owning app.
    pub app: AppResponse,
    /// When the client was or will be disabled.
    #[serde(default, with = "timestamp::option")]
    pub disabled_at: Option<Timestamp>,
}

/// An app. The contract sends id and name twice, under two keys each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppResponse {
    /// App id.
    pub app_id: String,
    /// Display name.
    pub name: String,
    /// Same as `app_id`.
    pub id: String,
    /// Same as `name`.
    pub app_name: String,
}
