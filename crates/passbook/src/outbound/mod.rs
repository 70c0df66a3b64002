//! Everything that leaves the process for an address that somebody else chose: webhooks.
//!
//! An app chooses where its webhooks go, so without a guard it could make the server call machines that only the server
//! reaches. The guard is here and nowhere else: [`Policy::check`] looks at a URL, and [`Outbound`] resolves its name once,
//! looks at **every** address and connects to one of those. It follows no redirects, uses no proxy, and reads no more of an
//! answer than it needs.
//!
//! Source: the ranges are those of the IANA special-purpose address registries (RFC 6890 and its updates).

mod address;
mod names;
mod policy;

use std::{error::Error as StdError, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header};
use passbook_core::tenant::Tenant;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use self::names::asked_by;
pub use self::{
    names::{Looking, Names, SystemNames},
    policy::{Policy, UrlRefusal},
};

/// How long a connection may take, its name included.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long all of an attempt may take (contract, section 5).
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// How much of an answer is read, and for how long, to use its connection again. What is in it does not matter.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a connection is kept for the next delivery to the same host.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Kept connections of one host.
const IDLE_PER_HOST_MAX: usize = 4;

/// The one way out. Cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    client: reqwest::Client,
    policy: Arc<Policy>,
}

/// What a receiver answered; the body is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// The value of `Retry-After`, as it stands.
    pub retry_after: Option<String>,
}

/// Why there is no answer. Says nothing about what is behind a refused address.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The URL may not be called.
    #[error(transparent)]
    Url(#[from] UrlRefusal),
    /// The name leads to an address that may not be called.
    #[error("the name leads to an address that may not be called")]
    Address,
    /// No connection.
    #[error("no connection could be made")]
    Connect,
    /// No answer in time.
    #[error("there was no answer in time")]
    Timeout,
    /// The connection broke, or what came is not HTTP.
    #[error("the connection broke")]
    Broken,
}

impl OutboundError {
    /// The word by which it is stored and shown.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Url(_) | Self::Address => "not_allowed",
            Self::Connect => "no_connection",
            Self::Timeout => "timeout",
            Self::Broken => "connection_broken",
        }
    }
}

impl Outbound {
    /// A way out under `policy`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(policy: Policy) -> reqwest::Result<Self> {
        Self::with_names(policy, Arc::<SystemNames>::default())
    }

    /// As [`Outbound::new`], with another way from names to addresses.
    ///
    /// # Errors
    /// The same.
    pub fn with_names(policy: Policy, names: Arc<dyn Names>) -> reqwest::Result<Self> {
        let policy = Arc::new(policy);
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_MAX)
            .timeout(ATTEMPT_MAX)
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .dns_resolver(Arc::new(CheckedNames { policy: policy.clone(), names }))
            .build()?;
        Ok(Self { client, policy })
    }

    /// One POST for the tenant. Its answer is one whatever the status; redirects are answers like any other.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub async fn post(
        &self,
        tenant: &Tenant,
        url: &str,
        headers: HeaderMap,
        body: bytes::Bytes,
    ) -> Result<Answer, OutboundError> {
        // A literal address never reaches the resolver, so this check is not the one below done twice.
        let url = self.policy.check_call(url)?;
        let call = self.client.post(url).headers(headers).body(body).send();
        let response = asked_by(tenant.clone(), call).await.map_err(sorted)?;
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let answer = Answer { status, retry_after: retry_after.map(str::to_owned) };
        // The status has decided. A body that trickles or never ends costs its connection and nothing else.
        let _ended = tokio::time::timeout(ANSWER_TIME_MAX, read_a_little(response)).await;
        Ok(answer)
    }
}

/// Reads the answer's body to its end if that is near. A longer one ends with its connection.
async fn read_a_little(mut response: reqwest::Response) {
    let mut read = 0;
    while read <= ANSWER_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) | Err(_) => break,
        }
    }
}

/// Looks names up and lets no address pass that may not be called.
struct CheckedNames {
    policy: Arc<Policy>,
    names: Arc<dyn Names>,
}

/// One of a name's addresses may not be called.
#[derive(Debug, thiserror::Error)]
#[error("an address of the name may not be called")]
struct RefusedAddress;

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, looking) = (self.policy.clone(), self.names.look_up(name.as_str().to_owned()));
        Box::pin(async move {
            let addresses = looking.await?;
            // One bad address refuses all: whoever mixes them wants the bad one to be tried.
            if addresses.iter().any(|address| !policy.allows_address(address.ip())) {
                return Err(RefusedAddress.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn sorted(error: reqwest::Error) -> OutboundError {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(one) = cause {
        if one.is::<RefusedAddress>() {
            return OutboundError::Address;
        }
        cause = one.source();
    }
    match () {
        () if error.is_timeout() => OutboundError::Timeout,
        () if error.is_connect() => OutboundError::Connect,
        () => OutboundError::Broken,
    }
}
