//! The link aggregate.

use serde::{Deserialize, Serialize};

/// Why a link is in state `error`; the contract's closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
