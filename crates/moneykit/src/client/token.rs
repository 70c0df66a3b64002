//! The access token: fetched when first needed, renewed before it expires, one renewal at a time.
//!
//! Callers that find no fresh token queue for the renewal lock. The first one asks the server; the others find its
//! token when their turn comes, or share its failure, so that a refused secret costs one request and not one per caller.
//! No task is spawned: a caller that gives up drops the lock and the next one takes over.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::{HeaderValue, Method};
use tokio::{sync::Mutex, time::Instant};
use zeroize::Zeroizing;

use super::{
    Client,
    exchange::{self, Authorization, Call, Payload},
};
use crate::{Error, error::Kind, models::CreateAccessTokenResponse};

/// How long before its end a token counts as expired, so that a call under way does not meet the end.
const RENEW_BEFORE_MAX: Duration = Duration::from_secs(60);

/// Short-lived tokens are renewed when a tenth of their life is left.
const RENEW_BEFORE_FRACTION: u32 = 10;

/// How the client proves who it is.
pub(super) enum Tokens {
    /// Not at all; only public calls work.
    None,
    /// With a token the caller manages.
    Fixed(Arc<Token>),
    /// With tokens it fetches for its credentials.
    Renewed(TokenCache),
}

/// Client id and secret. This copy of the secret is wiped when the last client is dropped; those that requests were
/// written from are not. No `Debug` on purpose.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
    pub(super) scope: String,
}

pub(super) struct TokenCache {
    credentials: Credentials,
    current: RwLock<Option<Arc<Token>>>,
    renewals: Mutex<()>,
    outcome: RwLock<Outcome>,
}

/// How the newest renewal ended.
#[derive(Default)]
struct Outcome {
    finished: u64,
    failure: Option<Error>,
}

/// One access token, ready for the `Authorization` header. No `Debug` on purpose.
pub(super) struct Token {
    header: HeaderValue,
    /// `None` for tokens whose end the client does not know.
    fresh: Option<Freshness>,
}

struct Freshness {
    asked_at: Instant,
    lifetime: Duration,
}

impl Token {
    pub(super) fn fixed(token: &str) -> Result<Self, Error> {
        Self::new(token, None).ok_or_else(|| Error::config("the access token cannot be sent in a header"))
    }

    fn new(token: &str, fresh: Option<Freshness>) -> Option<Self> {
        let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        // Keeps it out of the `Debug` of header maps, and out of HTTP/2 compression tables.
        header.set_sensitive(true);
        Some(Self { header, fresh })
    }

    pub(super) fn header(&self) -> &HeaderValue {
        &self.header
    }

    fn is_fresh(&self) -> bool {
        self.fresh.as_ref().is_none_or(|fresh| {
            let early = RENEW_BEFORE_MAX.min(fresh.lifetime / RENEW_BEFORE_FRACTION);
            fresh.asked_at.elapsed() < fresh.lifetime.saturating_sub(early)
        })
    }
}

impl TokenCache {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, current: RwLock::default(), renewals: Mutex::new(()), outcome: RwLock::default() }
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// A token the server has not refused, from the cache if it is fresh.
    pub(super) async fn get(&self, client: &Client) -> Result<Arc<Token>, Error> {
        match self.usable(None) {
            Some(token) => Ok(token),
            None => self.renew(client, None).await,
        }
    }

    /// A token other than `refused`, which the server just called expired.
    pub(super) async fn replace(&self, client: &Client, refused: &Arc<Token>) -> Result<Arc<Token>, Error> {
        self.renew(client, Some(refused)).await
    }

    async fn renew(&self, client: &Client, refused: Option<&Arc<Token>>) -> Result<Arc<Token>, Error> {
        let finished_before = self.read_outcome(|outcome| outcome.finished);
        let _turn = self.renewals.lock().await;
        if let Some(token) = self.usable(refused) {
            return Ok(token);
        }
        let failed_while_waiting =
            self.read_outcome(|outcome| outcome.failure.clone().filter(|_| outcome.finished > finished_before));
        if let Some(failure) = failed_while_waiting {
            return Err(failure);
        }
        let result = self.fetch(client).await;
        let mut outcome = self.outcome.write().unwrap_or_else(PoisonError::into_inner);
        outcome.finished += 1;
        outcome.failure = result.as_ref().err().cloned();
        if let Ok(token) = &result {
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(token));
        }
        result
    }

    fn usable(&self, refused: Option<&Arc<Token>>) -> Option<Arc<Token>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let token = current.as_ref()?;
        let is_refused = refused.is_some_and(|refused| Arc::ptr_eq(refused, token));
        (token.is_fresh() && !is_refused).then(|| Arc::clone(token))
    }

    fn read_outcome<T>(&self, read: impl FnOnce(&Outcome) -> T) -> T {
        read(&self.outcome.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn fetch(&self, client: &Client) -> Result<Arc<Token>, Error> {
        // Counted from before the request, so that a slow answer makes the token older, never younger.
        let asked_at = Instant::now();
        let call = create_access_token(&self.credentials);
        let response = client.send(&call, None).await?;
        let answer: CreateAccessTokenResponse = exchange::decode(call.operation, response)?.data;
        let fresh = Freshness { asked_at, lifetime: Duration::from_secs(answer.expires_in) };
        Token::new(&answer.access_token, Some(fresh))
            .map(Arc::new)
            .ok_or_else(|| Error::new(call.operation, Kind::Config("the access token cannot be sent in a header")))
    }
}

/// The call that trades credentials for a token. They go in the form, as the official clients send them.
pub(super) fn create_access_token(credentials: &Credentials) -> Call<'static> {
    let form = vec![
        ("grant_type", "client_credentials".to_owned()),
        ("scope", credentials.scope.clone()),
        ("client_id", credentials.id.clone()),
        ("client_secret", credentials.secret.to_string()),
    ];
    Call::new("create_access_token", Method::POST, vec!["auth".into(), "token".into()])
        .payload(Payload::Form(form))
        .authorization(Authorization::None)
}
