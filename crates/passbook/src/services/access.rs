//! Access tokens: issuing them for client credentials and recognising them.
//!
//! A token is 256 random bits, opaque, stored as its SHA-256 only. Known-good tokens are answered from memory for at
//! most a second, so that a revocation reaches every replica within that. Only valid tokens enter the cache, so a flood
//! of bad ones cannot push good ones out.
//!
//! Whoever works for a caller for longer than that asks again, by the [`Proof`] that the caller gave: what was withdrawn
//! ends, whatever it was in the middle of.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use passbook_core::tenant::{Scope, ScopeSet};
use passbook_store::{
    port::{Changes, Client, NewToken, Token},
    sealing::Keys,
};

use super::{Actor, Fault, Outcome, Services};
use crate::system::{random_hex, sha256};

/// Life of an access token (contract, section 1).
pub const TOKEN_LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// How long a recognised token is answered from memory.
pub const CACHED_FOR: Duration = Duration::from_secs(1);
/// Tokens kept in memory. A busy application uses a handful.
const CACHED_MAX: usize = 4_096;
/// How long the row of an expired token is kept, so that it is called expired and not unknown.
const KEPT_AFTER_EXPIRY: SignedDuration = SignedDuration::from_hours(24 * 7);

/// What a caller proved itself with, in a form that can be asked about again and is no secret itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// The SHA-256 of a bearer token.
    Token([u8; 32]),
    /// A client and the keyed hash of the secret that it gave.
    Secret {
        /// Who says so.
        client_id: String,
        /// As the store has it.
        hash: [u8; 32],
    },
}

impl Proof {
    /// Its name in the cache.
    fn key(&self) -> [u8; 32] {
        match self {
            Self::Token(hash) => *hash,
            Self::Secret { client_id, hash } => sha256(&[client_id.as_bytes(), b"\n", hash].concat()),
        }
    }
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Token(_) => "Token",
            Self::Secret { .. } => "Secret",
        })
    }
}

/// A recognised caller and how long the recognition holds.
#[derive(Debug)]
pub struct Recognised {
    /// Who.
    pub actor: Actor,
    /// The row behind it.
    pub token: Option<Token>,
    /// By what.
    pub proof: Proof,
    seen_at: Instant,
}

impl Recognised {
    /// Whether the store said so less than [`CACHED_FOR`] ago.
    pub fn is_fresh(&self) -> bool {
        self.seen_at.elapsed() < CACHED_FOR
    }
}

/// See the module page.
pub struct TokenCache(quick_cache::sync::Cache<[u8; 32], Arc<Recognised>>);

impl Default for TokenCache {
    fn default() -> Self {
        Self(quick_cache::sync::Cache::new(CACHED_MAX))
    }
}

/// Why a caller was not let in.
#[derive(Debug, thiserror::Error)]
pub enum AccessRefusal {
    /// The token was good and has expired.
    #[error("access token expired")]
    Expired,
    /// Anything else.
    #[error("unauthorized")]
    Unauthorized,
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// Wrong id or secret.
    #[error("invalid client credentials")]
    WrongCredentials,
    /// A scope that does not exist or that the client may not have.
    #[error("unknown scope")]
    UnknownScope,
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A fresh token.
pub struct IssuedToken {
    /// The bearer token; shown once.
    pub access_token: String,
    /// Life in seconds.
    pub expires_in: i64,
}

impl Services {
    /// Issues a token to a client that [`verify_client`](Self::verify_client) has let in. The two are apart so that the
    /// caller can count right and wrong secrets differently in between.
    ///
    /// # Errors
    /// [`TokenRefusal`], but never for the credentials; nothing is stored then.
    pub async fn create_access_token(&self, client: Client, scope: &str) -> Result<IssuedToken, TokenRefusal> {
        let scopes = ScopeSet::requested(scope, client.scopes).map_err(|_| TokenRefusal::UnknownScope)?;
        let now = self.now(&client.tenant).await?;
        let real_now = self.clocks.real_now();
        let access_token = random_hex();
        let token = NewToken {
            hash: sha256(access_token.as_bytes()),
            client_id: client.client_id,
            scopes,
            created_at: now,
            expires_at: later(now, TOKEN_LIFETIME),
            purge_after: later(real_now, TOKEN_LIFETIME + KEPT_AFTER_EXPIRY),
        };
        let on_behalf_of = Some(client.tenant);
        match self.try_commit(Changes { token: Some(token), on_behalf_of, ..Changes::default() }).await? {
            Outcome::Committed => Ok(IssuedToken { access_token, expires_in: TOKEN_LIFETIME.as_secs() }),
            Outcome::LostRace(_) => Err(Fault::too_many_races().into()),
        }
    }

    /// The client with this id and secret. Unknown ids take the same path and the same time as wrong secrets.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn verify_client(&self, client_id: &str, client_secret: &str) -> Result<Option<Client>, Fault> {
        self.verify_client_hash(client_id, &self.keys.hash_client_secret(client_secret)).await
    }

    async fn verify_client_hash(&self, client_id: &str, hash: &[u8; 32]) -> Result<Option<Client>, Fault> {
        let client = self.store.lookup_client(client_id).await?;
        let hashes = client.as_ref().map(|client| client.secret_hashes.as_slice()).unwrap_or_default();
        let matches = Keys::client_secret_hash_matches(hash, hashes);
        let now = self.store.now();
        Ok(client.filter(|client| matches && client.refused_from().is_none_or(|at| at > now)))
    }

    /// Recognises a bearer token.
    ///
    /// # Errors
    /// [`AccessRefusal`].
    pub async fn recognise_token(&self, token: &str) -> Result<Arc<Recognised>, AccessRefusal> {
        // No token of ours looks otherwise; text of any length is refused before it is hashed.
        if token.len() != 64 || !token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(AccessRefusal::Unauthorized);
        }
        self.recognise(&Proof::Token(sha256(token.as_bytes()))).await
    }

    /// Recognises the header pair `X-Client-Id` and `X-Client-Secret`.
    ///
    /// # Errors
    /// [`AccessRefusal`].
    pub async fn recognise_client(&self, client_id: &str, secret: &str) -> Result<Arc<Recognised>, AccessRefusal> {
        let hash = self.keys.hash_client_secret(secret);
        self.recognise(&Proof::Secret { client_id: client_id.to_owned(), hash }).await
    }

    /// Recognises whoever gave this proof, now or earlier: from memory for at most [`CACHED_FOR`], else by the store.
    ///
    /// # Errors
    /// [`AccessRefusal`].
    pub async fn recognise(&self, proof: &Proof) -> Result<Arc<Recognised>, AccessRefusal> {
        let key = proof.key();
        let recognised = match self.token_cache.0.get(&key) {
            Some(known) if known.is_fresh() => known,
            _ => match self.look_up(proof).await? {
                Some(fresh) => {
                    let fresh = Arc::new(fresh);
                    self.token_cache.0.insert(key, fresh.clone());
                    fresh
                }
                None => {
                    self.token_cache.0.remove(&key);
                    return Err(AccessRefusal::Unauthorized);
                }
            },
        };
        if let Some(row) = &recognised.token
            && row.expires_at <= self.now(&recognised.actor.tenant).await?
        {
            return Err(AccessRefusal::Expired);
        }
        Ok(recognised)
    }

    async fn look_up(&self, proof: &Proof) -> Result<Option<Recognised>, Fault> {
        // Before the read: what a slow store answers is older than its answer.
        let seen_at = Instant::now();
        let (actor, token) = match proof {
            Proof::Token(hash) => {
                let Some(row) = self.store.find_token_by_hash(hash).await? else { return Ok(None) };
                let (tenant, client_id) = (row.tenant.clone(), row.client_id.clone());
                (Actor { tenant, client_id, scopes: row.scopes }, Some(row))
            }
            Proof::Secret { client_id, hash } => {
                let Some(client) = self.verify_client_hash(client_id, hash).await? else { return Ok(None) };
                (Actor { tenant: client.tenant, client_id: client.client_id, scopes: client.scopes }, None)
            }
        };
        Ok(Some(Recognised { actor, token, proof: proof.clone(), seen_at }))
    }

    /// Client, scope and application of a recognised caller.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn introspect(&self, actor: &Actor) -> Result<Introspection, Fault> {
        let client = self.store.lookup_client(&actor.client_id).await?;
        let app = self.store.lookup_app(&actor.tenant.app_id).await?;
        Ok(Introspection {
            client_id: actor.client_id.clone(),
            client_name: client.as_ref().map(|client| client.name.clone()).unwrap_or_default(),
            scope: actor.scopes.to_string(),
            app_id: actor.tenant.app_id.to_string(),
            app_name: app.map(|app| app.name).unwrap_or_default(),
            disabled_at: client.and_then(|client| client.refused_from()),
        })
    }
}

/// See [`Services::introspect`].
pub struct Introspection {
    /// Client id.
    pub client_id: String,
    /// Its label.
    pub client_name: String,
    /// Granted scopes.
    pub scope: String,
    /// Application.
    pub app_id: String,
    /// Its name.
    pub app_name: String,
    /// When the client or its application was or will be disabled.
    pub disabled_at: Option<Timestamp>,
}

impl Actor {
    /// Whether the client may call operations of `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(scope)
    }
}

/// `at` plus `span`; the end of time when it does not fit.
pub fn later(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}
