//! How a connector classifies what went wrong, and what that class means for the link and the product.
//!
//! The class alone decides: connectors never choose a link state.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{link::LinkErrorCode, product::ProductErrorCode};

/// A classified failure of a sign-in step or a fetch.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{class:?}: {message}")]
pub struct Failure {
    /// What kind of failure.
    pub class: FailureClass,
    /// Text for the app developer and the end user. Never holds upstream bodies, numbers or credentials.
    pub message: String,
    /// How long the upstream asked us to wait.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without a requested delay.
    #[must_use]
    pub fn new(class: FailureClass, message: &str) -> Self {
        Self { class, message: message.to_owned(), retry_after: None }
    }
}

/// The classes a connector may report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Wrong user name or password.
    InvalidCredentials,
    /// Wrong one-time code or security answer.
    UserInputIncorrect,
    /// The user refused at the bank.
    UserDenied,
    /// The user must act on the bank's own site first.
    UserSetupRequired,
    /// Consent or token ended; the user must reconnect.
    ConsentExpired,
    /// The bank shares no account of the requested kind.
    NoAccounts,
    /// The consent does not cover this product.
    NoPermission,
    /// The institution or connector cannot give this product.
    NotSupported,
    /// The upstream limits calls.
    RateLimited,
    /// The bank is down or in maintenance.
    InstitutionDown,
    /// No answer within our deadline.
    Timeout,
    /// An aggregator between us and the bank failed.
    ProviderFault,
    /// Anything else; a bug or a changed upstream.
    Unexpected,
}

impl FailureClass {
    /// The link error for a failed sign-in, and for failed fetches that end the link's access.
    #[must_use]
    pub fn link_error(self) -> LinkErrorCode {
        match self {
            Self::InvalidCredentials => LinkErrorCode::InvalidCredentials,
            Self::UserInputIncorrect => LinkErrorCode::UserInputIncorrect,
            Self::UserDenied => LinkErrorCode::UserOauthDenied,
            Self::UserSetupRequired => LinkErrorCode::UserSetupRequired,
            Self::ConsentExpired => LinkErrorCode::AuthExpired,
            Self::NoAccounts => LinkErrorCode::NoAccounts,
            Self::RateLimited | Self::InstitutionDown | Self::Timeout => LinkErrorCode::InstitutionError,
            Self::ProviderFault => LinkErrorCode::ProviderError,
            Self::NoPermission | Self::NotSupported | Self::Unexpected => LinkErrorCode::SystemError,
        }
    }

    /// Whether a *fetch* that failed this way means that the link itself needs the user again.
    #[must_use]
    pub fn ends_access(self) -> bool {
        matches!(self, Self::InvalidCredentials | Self::ConsentExpired | Self::UserDenied | Self::UserSetupRequired)
    }

    /// The product error shown after a failed fetch.
    #[must_use]
    pub fn product_error(self) -> ProductErrorCode {
        match self {
            Self::InvalidCredentials
            | Self::ConsentExpired
            | Self::UserDenied
            | Self::UserInputIncorrect
            | Self::UserSetupRequired => ProductErrorCode::AuthExpired,
            Self::NoAccounts => ProductErrorCode::NoAccounts,
            Self::NoPermission => ProductErrorCode::NoPermission,
            Self::NotSupported => ProductErrorCode::NotSupported,
            Self::RateLimited => ProductErrorCode::RateLimit,
            Self::InstitutionDown => ProductErrorCode::InstitutionError,
            Self::Timeout => ProductErrorCode::Timeout,
            Self::ProviderFault | Self::Unexpected => ProductErrorCode::Unknown,
        }
    }
}
