//! The async client: one connection pool, one token, shared by every API group.
//!
//! A [`Client`] is a handle; clones share everything and live on any task. [`ClientBuilder`] sets it up, `token` keeps
//! the access token fresh, `exchange` does one HTTP exchange, `retry` decides about repeating it, `trace` tells about it, `request` is for
//! calls without a method, `stream` reads events, `address` builds URLs
//! that ids cannot escape from. The client never follows redirects, because they would carry credentials to places
//! nobody configured, never uses a proxy from the environment, and reads no clock but the monotonic one.

mod address;
mod builder;
mod exchange;
mod request;
mod retry;
mod stream;
mod token;
mod trace;

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderValue, StatusCode};

pub use self::builder::ClientBuilder;
pub(crate) use self::exchange::{Authorization, Call};
use self::{address::BaseUrl, token::Tokens};
pub use self::{request::Request, stream::EventStream};
use crate::{
    Error,
    api::{
        AccessTokenApi, AccountNumbersApi, AccountsApi, EventsApi, IdentityApi, InstitutionsApi, InvestmentsApi,
        LinkSessionApi, LinksApi, ProductsApi, TransactionsApi, UsersApi, WebhooksApi,
    },
};

/// The longest idempotency key a server takes.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// A handle to one MoneyKit-compatible server. Cheap to clone; clones share connections and the access token.
///
/// With client credentials it fetches the access token by itself, renews it before it expires, and once more when the
/// server says it expired; calls that need a token at the same time share one renewal.
///
/// Reads (`GET`) are repeated on 429, 503 and connection failures, waiting as long as `Retry-After` asks, up to 60
/// seconds. Other calls are repeated only if no connection came about, because only that proves they had no effect; or,
/// with an idempotency key, also on 503 and lost answers (see [`with_idempotency_key`](Self::with_idempotency_key)).
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    /// Sent with every `POST` of this handle.
    idempotency_key: Option<HeaderValue>,
}

struct Inner {
    http: reqwest::Client,
    base_url: BaseUrl,
    version: HeaderValue,
    max_retries: u32,
    tokens: Tokens,
}

/// An answer with its head, from the `…_with_http_info` variants.
///
/// `Debug` shows the status and the data's own redacted `Debug`, but no headers.
#[derive(Clone)]
pub struct ApiResponse<T> {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The decoded body.
    pub data: T,
}

impl<T> ApiResponse<T> {
    pub(crate) fn map<U>(self, convert: impl FnOnce(T) -> U) -> ApiResponse<U> {
        ApiResponse { status: self.status, headers: self.headers, data: convert(self.data) }
    }
}

impl<T: fmt::Debug> fmt::Debug for ApiResponse<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ApiResponse")
            .field("status", &self.status)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Starts a client. Needs at least a base URL.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// This client with an idempotency key, which every `POST` through it sends as `Idempotency-Key`.
    ///
    /// A Passbook server does a call at most once for each key, within a day, and answers a repetition as the first
    /// time (with the header `Idempotency-Replayed: true`). So such calls are repeated by themselves when the answer was
    /// lost, late or 503, and may be repeated by hand after any failure. **Only with a server that knows the header**:
    /// one that ignores it does the call again.
    ///
    /// Take a fresh key for each thing to be done, and keep it until the answer is there. The same key for another
    /// request of the same operation is refused with 422.
    ///
    /// ```no_run
    /// # async fn example(client: moneykit::Client, request: moneykit::models::CreateLinkSessionRequest)
    /// # -> Result<(), moneykit::Error> {
    /// let once = client.with_idempotency_key("order-4711-link")?;
    /// let session = once.link_session().create_link_session(&request).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The key does not have 1 to 255 printable ASCII characters. Nothing is sent.
    pub fn with_idempotency_key(&self, key: &str) -> Result<Self, Error> {
        let printable = key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let key = HeaderValue::from_str(key)
            .ok()
            .filter(|_| printable && (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()))
            .ok_or_else(|| Error::config("an idempotency key has 1 to 255 printable ASCII characters"))?;
        Ok(Self { inner: Arc::clone(&self.inner), idempotency_key: Some(key) })
    }

    /// Access tokens and keys.
    #[must_use]
    pub fn access_token(&self) -> AccessTokenApi {
        AccessTokenApi::new(self)
    }

    /// Payment numbers.
    #[must_use]
    pub fn account_numbers(&self) -> AccountNumbersApi {
        AccountNumbersApi::new(self)
    }

    /// Accounts and balances.
    #[must_use]
    pub fn accounts(&self) -> AccountsApi {
        AccountsApi::new(self)
    }

    /// Account owners.
    #[must_use]
    pub fn identity(&self) -> IdentityApi {
        IdentityApi::new(self)
    }

    /// The institution directory.
    #[must_use]
    pub fn institutions(&self) -> InstitutionsApi {
        InstitutionsApi::new(self)
    }

    /// Holdings and investment transactions.
    #[must_use]
    pub fn investments(&self) -> InvestmentsApi {
        InvestmentsApi::new(self)
    }

    /// Link sessions and token exchange.
    #[must_use]
    pub fn link_session(&self) -> LinkSessionApi {
        LinkSessionApi::new(self)
    }

    /// Links.
    #[must_use]
    pub fn links(&self) -> LinksApi {
        LinksApi::new(self)
    }

    /// Refreshes.
    #[must_use]
    pub fn products(&self) -> ProductsApi {
        ProductsApi::new(self)
    }

    /// Transactions.
    #[must_use]
    pub fn transactions(&self) -> TransactionsApi {
        TransactionsApi::new(self)
    }

    /// What an end user has over all links.
    #[must_use]
    pub fn users(&self) -> UsersApi {
        UsersApi::new(self)
    }

    /// What happened to the links of the app: Passbook's event ledger.
    #[must_use]
    pub fn events(&self) -> EventsApi {
        EventsApi::new(self)
    }

    /// Trying out webhooks.
    #[must_use]
    pub fn webhooks(&self) -> WebhooksApi {
        WebhooksApi::new(self)
    }

    /// Makes a call and decodes its answer.
    pub(crate) async fn call<T: serde::de::DeserializeOwned>(&self, call: Call<'_>) -> Result<ApiResponse<T>, Error> {
        let operation = call.operation;
        let response = self.call_raw(call).await?;
        exchange::decode(operation, response)
    }

    /// Makes a call whose answer has no body.
    pub(crate) async fn call_empty(&self, call: Call<'_>) -> Result<ApiResponse<()>, Error> {
        Ok(self.call_raw(call).await?.map(drop))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("base_url", &self.inner.base_url).finish_non_exhaustive()
    }
}
