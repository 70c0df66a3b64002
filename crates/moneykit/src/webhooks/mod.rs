//! Receiving webhooks: is this really from the server, and what does it say.
//!
//! A webhook is a POST whose header `MoneyKit-Signature` holds an ES256 JWT over the digest of the exact body. A
//! [`Verifier`] takes the headers and the raw bytes and gives a [`Delivery`], or a [`VerificationError`]. There is no way to
//! a [`Delivery`] without a good signature: signature, time and body are all mandatory.
//!
//! The server's public keys are fetched when they are first needed and kept for a day at most. A key that is not known
//! makes the verifier ask again, at most every five minutes, so nobody can make it ask more often by inventing keys.
//!
//! Answer 2xx when the delivery is stored; anything else makes the server deliver again later. The same event may
//! arrive more than once, and events may arrive out of order: [`Event::idempotency_key`] tells repetitions, and what
//! changed is read from the API.
//!
//! Source: the MoneyKit documentation's page on webhook verification; RFC 7515, RFC 7517, RFC 7518.

#[cfg(feature = "axum")]
mod axum;
mod event;
mod keys;
mod rejection;
mod signature;

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;

#[cfg(feature = "axum")]
pub use self::axum::{BODY_BYTES_MAX, VerifiedWebhook};
pub use self::{
    event::{Event, UnknownEvent},
    rejection::VerificationError,
};
use self::{keys::Keys, rejection::Kind};
use crate::{Client, Error};

/// The header that holds the signature, a compact JWT.
pub const SIGNATURE: HeaderName = HeaderName::from_static("moneykit-signature");
/// The header that holds the id of the delivery.
pub const DELIVERY_TOKEN: HeaderName = HeaderName::from_static("moneykit-delivery-token");
/// The header that counts the attempts of a delivery.
pub const DELIVERY_ATTEMPT: HeaderName = HeaderName::from_static("moneykit-delivery-attempt");

/// Verifies webhooks. Cheap to clone; clones share the keys.
///
/// ```no_run
/// # async fn receive(headers: http::HeaderMap, body: bytes::Bytes) -> Result<(), moneykit::webhooks::VerificationError> {
/// use moneykit::{Client, webhooks::{Event, Verifier}};
///
/// let client = Client::builder()
///     .base_url("http://localhost:8080")
///     .client_credentials("sandbox_0123456789abcdef0123", "the client's secret")
///     .build()
///     .expect("a valid configuration");
/// // Made once, at the start of the program.
/// let verifier = Verifier::new(&client);
///
/// // For each request: all its headers, and the body exactly as it came.
/// let delivery = verifier.verify(&headers, &body).await?;
/// match &delivery.event {
///     Event::LinkStateChanged(event) => println!("{} is {}", event.link_id, event.state),
///     Event::ProductRefresh(event) => println!("{} of {} is {}", event.product, event.link_id, event.state),
///     Event::TransactionsUpdatesAvailable(event) => println!("{} has new transactions", event.link_id),
///     // Later servers may send more; whoever does not know an event answers 2xx all the same.
///     _ => {}
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Keys,
    issuer: Option<String>,
}

/// A webhook whose signature is good.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// What it says.
    pub event: Event,
    /// Id of the delivery, the same at each attempt. Not covered by the signature.
    pub token: Option<String>,
    /// Counts the attempts, from 1. Not covered by the signature.
    pub attempt: Option<u32>,
}

impl Verifier {
    /// A verifier for the webhooks of the client's app. Keys are fetched with `client`, which needs no more than the
    /// right base URL; with client credentials, the keys are those of that client.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self { inner: Arc::new(Inner { keys: Keys::new(client.clone()), issuer: None }) }
    }

    /// Also demands that the signature's `iss` is this: `https://api.moneykit.com`, or what a self-hosted server is
    /// configured to say, its own base URL by default. Without it, `iss` is not looked at; the keys decide.
    #[must_use]
    pub fn with_issuer(self, issuer: impl Into<String>) -> Self {
        let keys = Keys::new(self.inner.keys.client().clone());
        Self { inner: Arc::new(Inner { keys, issuer: Some(issuer.into()) }) }
    }

    /// Verifies a webhook now. `body` is the request's body exactly as it came, before any parsing.
    ///
    /// # Errors
    /// [`VerificationError`]: refuse the request with [`VerificationError::status`]. It [`is
    /// retryable`](VerificationError::is_retryable) when the keys could not be fetched; the server will deliver again.
    pub async fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<Delivery, VerificationError> {
        self.verify_at(headers, body, now()).await
    }

    /// As [`verify`](Self::verify), at an instant that the caller knows better: in tests, and on machines whose clock is
    /// wrong.
    ///
    /// # Errors
    /// The same.
    pub async fn verify_at(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Delivery, VerificationError> {
        let token = the_signature(headers)?;
        let key = self.inner.keys.find(&signature::key_id(token)?).await?;
        signature::check(token, body, &key, self.inner.issuer.as_deref(), now)?;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Delivery {
            event: Event::parse(body)?,
            token: text(DELIVERY_TOKEN).map(str::to_owned),
            attempt: text(DELIVERY_ATTEMPT).and_then(|attempt| attempt.parse().ok()),
        })
    }

    /// Fetches the keys now, so that the first webhook does not wait for them and a wrong base URL shows at the start.
    ///
    /// # Errors
    /// Those of [`get_well_known_jwks`](crate::api::AccessTokenApi::get_well_known_jwks).
    pub async fn fetch_keys(&self) -> Result<(), Error> {
        self.inner.keys.fetch().await
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Verifier").finish_non_exhaustive()
    }
}

/// The one signature. Two of them could mean that something between here and the server added one.
fn the_signature(headers: &HeaderMap) -> Result<&str, VerificationError> {
    let mut values = headers.get_all(SIGNATURE).iter();
    match (values.next(), values.next()) {
        (Some(one), None) => one.to_str().map_err(|_| Kind::Malformed.into()),
        (None, _) => Err(Kind::Missing.into()),
        (Some(_), Some(_)) => Err(Kind::Malformed.into()),
    }
}

#[expect(clippy::disallowed_methods, reason = "webhooks arrive in real time; `verify_at` takes another one")]
fn now() -> Timestamp {
    Timestamp::now()
}
