//! The states of a link, why one is in error, and what a state blocks.

use serde::{Deserialize, Serialize};

/// The states of a link; the contract's closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// The end user is in Connect.
    Connecting,
    /// Made, waiting for the app to exchange its token.
    AwaitingTokenExchange,
    /// Usable.
    Connected,
    /// See the error code.
    Error,
    /// Only a stub remains.
    Deleted,
}

impl LinkState {
    /// The contract's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::AwaitingTokenExchange => "awaiting_token_exchange",
            Self::Connected => "connected",
            Self::Error => "error",
            Self::Deleted => "deleted",
        }
    }
}

/// Why a link is in state `error`; the contract's closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkErrorCode {
    /// A failure of ours.
    SystemError,
    /// The upstream provider failed.
    ProviderError,
    /// The institution is down.
    InstitutionError,
    /// The user never finished.
    UserError,
    /// Access ended; reconnect.
    AuthExpired,
    /// No account of the requested kind.
    NoAccounts,
    /// The user must act on the bank's site.
    UserSetupRequired,
    /// Wrong credentials.
    InvalidCredentials,
    /// The user refused at the bank.
    UserOauthDenied,
    /// Wrong code or answer.
    UserInputIncorrect,
    /// Partly done; can be finished later.
    Incomplete,
}

impl LinkErrorCode {
    /// The contract's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SystemError => "system_error",
            Self::ProviderError => "provider_error",
            Self::InstitutionError => "institution_error",
            Self::UserError => "user_error",
            Self::AuthExpired => "auth_expired",
            Self::NoAccounts => "no_accounts",
            Self::UserSetupRequired => "user_setup_required",
            Self::InvalidCredentials => "invalid_credentials",
            Self::UserOauthDenied => "user_oauth_denied",
            Self::UserInputIncorrect => "user_input_incorrect",
            Self::Incomplete => "incomplete",
        }
    }

    /// The same for a person.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::SystemError => "The service failed",
            Self::ProviderError => "The data provider failed",
            Self::InstitutionError => "The institution is not available",
            Self::UserError => "The user did not finish linking",
            Self::AuthExpired => "Access has ended; the user has to reconnect",
            Self::NoAccounts => "The user has no accounts that can be linked",
            Self::UserSetupRequired => "The user has to act on the institution's own site first",
            Self::InvalidCredentials => "The institution did not accept the credentials",
            Self::UserOauthDenied => "The user did not give consent at the institution",
            Self::UserInputIncorrect => "The institution did not accept an answer of the user",
            Self::Incomplete => "The connection was not completed in time",
        }
    }
}

/// [`Link::blocked_by`](super::Link::blocked_by) for callers that hold only the stored columns.
#[must_use]
pub fn blocked_by(state: LinkState, error: Option<LinkErrorCode>) -> Option<&'static str> {
    match state {
        LinkState::Connected => None,
        LinkState::Error => Some(error.map_or("error", LinkErrorCode::as_str)),
        other => Some(other.as_str()),
    }
}
