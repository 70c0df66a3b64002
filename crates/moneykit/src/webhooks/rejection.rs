//! Why a webhook is not believed.

use std::fmt;

use http::StatusCode;

use crate::Error;

/// A webhook was not verified. Says why in general terms; never quotes the request.
#[derive(Debug, Clone)]
pub struct VerificationError {
    kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// There is no signature.
    Missing,
    /// The signature is not one ES256 JWT with a key id and the needed claims.
    Malformed,
    /// The server does not list the key.
    UnknownKey,
    /// The keys could not be fetched, or not again so soon.
    NoKeys(Option<Error>),
    /// The signature does not fit.
    WrongSignature,
    /// The body is not what was signed.
    WrongBody,
    /// Signed too long ago, or in the future.
    WrongTime,
    /// Signed by another issuer.
    WrongIssuer,
    /// Well signed, and not an event.
    NotAnEvent,
    /// The body did not arrive whole, or is longer than events are.
    #[cfg_attr(not(feature = "axum"), expect(dead_code, reason = "only the extractor reads bodies"))]
    Body,
}

impl VerificationError {
    /// The keys could not be fetched; the same webhook may be verified later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::NoKeys(_))
    }

    /// What to answer the request with: 503 when [`is_retryable`](Self::is_retryable), 400 for a body that is no event,
    /// else 401.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.kind {
            Kind::NoKeys(_) => StatusCode::SERVICE_UNAVAILABLE,
            Kind::NotAnEvent | Kind::Body => StatusCode::BAD_REQUEST,
            _ => StatusCode::UNAUTHORIZED,
        }
    }
}

impl From<Kind> for VerificationError {
    fn from(kind: Kind) -> Self {
        Self { kind }
    }
}

impl fmt::Display for VerificationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.kind {
            Kind::Missing => "the webhook has no signature",
            Kind::Malformed => "the webhook's signature is malformed",
            Kind::UnknownKey => "the webhook was signed with a key that the server does not list",
            Kind::NoKeys(_) => "the keys that verify webhooks could not be fetched",
            Kind::WrongSignature => "the webhook's signature is wrong",
            Kind::WrongBody => "the webhook's body is not the one that was signed",
            Kind::WrongTime => "the webhook was not signed just now",
            Kind::WrongIssuer => "the webhook was signed by another issuer",
            Kind::NotAnEvent => "the webhook is well signed and its body is not an event",
            Kind::Body => "the webhook's body did not arrive whole or is too long",
        })
    }
}

impl std::error::Error for VerificationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::NoKeys(Some(error)) => Some(error),
            _ => None,
        }
    }
}
