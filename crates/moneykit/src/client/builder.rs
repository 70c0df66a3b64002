//! Setting up a client. All checks happen in [`ClientBuilder::build`].

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderValue;
use zeroize::Zeroizing;

use super::{
    Client, Inner,
    address::BaseUrl,
    token::{Credentials, Token, TokenCache, Tokens},
};
use crate::{Error, error::Kind};

/// The API version this crate speaks.
const VERSION: &str = "2023-02-18";

/// Settings of a new [`Client`]. `Debug` never shows credentials.
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    base_url: Option<String>,
    identity: Identity,
    scope: String,
    version: String,
    connect_timeout: Duration,
    request_timeout: Duration,
    max_retries: u32,
}

#[derive(Clone)]
enum Identity {
    None,
    AccessToken(Zeroizing<String>),
    ClientCredentials { id: String, secret: Zeroizing<String> },
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            base_url: None,
            identity: Identity::None,
            scope: String::new(),
            version: VERSION.to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_retries: 2,
        }
    }
}

impl ClientBuilder {
    /// Where the server is: `http` or `https`, without credentials, query or fragment. A path is kept as a prefix.
    /// There is no default, so that no secret goes to a server nobody chose.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// Fetches and renews access tokens for this client id and secret. Replaces an access token given before.
    pub fn client_credentials(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.identity = Identity::ClientCredentials { id: id.into(), secret: Zeroizing::new(secret.into()) };
        self
    }

    /// Uses an access token the caller manages; it is never renewed. Replaces client credentials given before.
    pub fn access_token(mut self, token: impl Into<String>) -> Self {
        self.identity = Identity::AccessToken(Zeroizing::new(token.into()));
        self
    }

    /// Space-separated actions the tokens may do; empty, the default, asks for all the app may do.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self
    }

    /// The `MoneyKit-Version` header; by default `2023-02-18`, the version this crate's types describe.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// How long a connection may take to come about; 10 seconds by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one HTTP exchange may take from start to the end of the answer; 30 seconds by default. Repetitions and
    /// the waits between them count anew.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How often a call is repeated at most, where repeating is safe; 2 by default.
    pub fn max_retries(mut self, repetitions: u32) -> Self {
        self.max_retries = repetitions;
        self
    }

    /// Builds the client. Nothing is sent yet.
    ///
    /// # Errors
    /// The base URL is missing or not usable, the version or token cannot be sent in a header, or the machine's TLS
    /// set-up is broken. Repeating does not help.
    pub fn build(self) -> Result<Client, Error> {
        let base_url = self.base_url.ok_or_else(|| Error::config("the base URL is missing"))?;
        let base_url = BaseUrl::parse(&base_url)?;
        let version = HeaderValue::from_str(&self.version)
            .map_err(|_| Error::config("the version cannot be sent in a header"))?;
        let tokens = match self.identity {
            Identity::None => Tokens::None,
            Identity::AccessToken(token) => Tokens::Fixed(Arc::new(Token::fixed(&token)?)),
            Identity::ClientCredentials { id, secret } => {
                Tokens::Renewed(TokenCache::new(Credentials { id, secret, scope: self.scope }))
            }
        };
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("moneykit-rust/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout)
            .timeout(self.request_timeout)
            // A redirect would carry the token or the secret to a place nobody configured.
            .redirect(reqwest::redirect::Policy::none())
            // The environment is not ours to read, and repeating is decided in one place only.
            .no_proxy()
            .retry(reqwest::retry::never());
        if !base_url.is_https() {
            // Never used then, and a machine without certificates, such as a bare container, must still work.
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|error| Error::new("client", Kind::Setup(error.without_url())))?;
        let inner = Inner { http, base_url, version, max_retries: self.max_retries, tokens };
        Ok(Client { inner: Arc::new(inner), idempotency_key: None })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not even the base URL: it is checked only in `build`, and may still carry a password.
        formatter
            .debug_struct("ClientBuilder")
            .field("version", &self.version)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("max_retries", &self.max_retries)
            .finish_non_exhaustive()
    }
}
