//! Error bodies, one type per error of the contract.
//!
//! All carry `error_code`, `error_message` and `documentation_url`; `error_code` is fixed per type (`CODE`).
//! `Default` has the contract's message, which is empty where the contract leaves the text free: use `new(message)`.

use serde::{Deserialize, Serialize};

/// Defines an error body with a fixed code and, where the contract has one, a default message.
macro_rules! error_body {
    ($(#[$meta:meta])* $name:ident, $code:literal $(, default message $message:literal)?) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            /// Always [`Self::CODE`].
            pub error_code: String,
            /// Text for the developer.
            pub error_message: String,
            /// Optional help page.
            pub documentation_url: Option<String>,
        }

        impl $name {
            /// The code of this error.
            pub const CODE: &'static str = $code;

            /// This error with a message of its own.
            pub fn new(message: impl Into<String>) -> Self {
                Self { error_code: Self::CODE.to_owned(), error_message: message.into(), documentation_url: None }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(concat!($($message)?))
            }
        }
    };
}

error_body! {
    /// 401: the bearer token was valid but has expired. Get a new one and repeat the call.
    APIErrorAuthExpiredAccessTokenResponse, "api_error.auth.expired_access_token",
    default message "Access token expired"
}
error_body! {
    /// 400 or 401: credentials are missing, malformed or unknown.
    APIErrorAuthUnauthorizedResponse, "api_error.auth.unauthorized"
}
error_body! {
    /// 429: too many requests. A `Retry-After` header says when to come back.
    APIErrorRateLimitExceededResponse, "api_error.rate_limit_exceeded", default message "Rate limit exceeded"
}
error_body! {
    /// 404: no such institution.
    InstitutionErrorNotFoundResponse, "institution_error.not_found", default message "Institution not found"
}
error_body! {
    /// 400: the link has no webhook URL.
    LinkErrorBadConfigResponse, "link_error.bad_config"
}
error_body! {
    /// 410: the link was deleted.
    LinkErrorDeletedResponse, "link_error.deleted", default message "This link was deleted at some earlier time."
}
error_body! {
    /// 403: the end user did not grant this data, or the link does not allow the action.
    LinkErrorForbiddenActionResponse, "link_error.forbidden_action"
}
error_body! {
    /// 404: no such link.
    LinkErrorNotFoundResponse, "link_error.not_found", default message "Link not found."
}
error_body! {
    /// 401: the token is valid but its scope does not cover the call.
    LinkErrorUnauthorizedAccessResponse, "link_error.unauthorized_access",
    default message "Unauthorized link access."
}
error_body! {
    /// 403: the session asks for something the app may not use.
    LinkSessionErrorForbiddenConfigResponse, "link_session_error.forbidden_config"
}
error_body! {
    /// 400: the exchangeable token is unknown, expired or used.
    LinkSessionErrorInvalidTokenExchange, "link_session_error.invalid_token_exchange"
}

/// 422: the link is not in a usable state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkErrorBadStateResponse {
    /// Always [`Self::CODE`].
    pub error_code: String,
    /// Text for the developer.
    pub error_message: String,
    /// Optional help page.
    #[serde(default)]
    pub documentation_url: Option<String>,
    /// What blocks the call: the link's error code, or the name of its state.
    pub link_error_code: String,
}

impl LinkErrorBadStateResponse {
    /// The code of this error.
    pub const CODE: &'static str = "link_error.bad_state";

    /// This error with a message, and what blocks the call.
    pub fn new(message: impl Into<String>, link_error_code: impl Into<String>) -> Self {
        Self {
            error_code: Self::CODE.to_owned(),
            error_message: message.into(),
            documentation_url: None,
            link_error_code: link_error_code.into(),
        }
    }
}

/// 422: the request itself is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HTTPValidationError {
    /// Always [`Self::CODE`].
    pub error_code: String,
    /// Text for the developer.
    pub error_message: String,
    /// Optional help page.
    #[serde(default)]
    pub documentation_url: Option<String>,
    /// Every problem found.
    pub validation_errors: Vec<ValidationError>,
}

impl HTTPValidationError {
    /// The code of this error.
    pub const CODE: &'static str = "api_error.request.validation_failed";

    /// This error with the contract's message and these problems.
    #[must_use]
    pub fn new(validation_errors: Vec<ValidationError>) -> Self {
        Self {
            error_code: Self::CODE.to_owned(),
            error_message: "Request validation error".to_owned(),
            documentation_url: None,
            validation_errors,
        }
    }
}

/// One problem of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationError {
    /// Path to the bad input, from the outside in: `body`, `settings`, `countries`, `0`.
    pub location: Vec<ValidationErrorLocationInner>,
    /// Text of the problem.
    pub message: String,
    /// Kind of problem; `type` on the wire.
    #[serde(rename = "type")]
    pub error_type: String,
}

/// One step of a [`ValidationError`] path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ValidationErrorLocationInner {
    /// Position in a list, from 0.
    Index(i64),
    /// Key of an object.
    Key(String),
}

impl From<&str> for ValidationErrorLocationInner {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl std::fmt::Display for ValidationErrorLocationInner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index(index) => write!(formatter, "{index}"),
            Self::Key(key) => formatter.write_str(key),
        }
    }
}

/// Every other error: `api_error.not_found` (no such route), `api_error.method_not_allowed`, `api_error.unavailable`
/// and `api_error.internal`. Also the shape all error bodies share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct APIErrorResponse {
    /// Dotted error code.
    pub error_code: String,
    /// Text for the developer.
    pub error_message: String,
    /// Optional help page.
    #[serde(default)]
    pub documentation_url: Option<String>,
}

impl APIErrorResponse {
    /// An error with any code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { error_code: code.into(), error_message: message.into(), documentation_url: None }
    }
}
