//! The server's public keys, and when to ask for them.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::DecodingKey;
use tokio::{sync::Mutex, time::Instant};

use super::rejection::{Kind, VerificationError};
use crate::{
    Client, Error,
    api::AccessTokenApi,
    models::{JWKSet, JsonWebKey},
};

/// How long fetched keys are believed. A key that is withdrawn is accepted for this long at most.
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long not to ask again, whatever came of the last time.
const PAUSE: Duration = Duration::from_secs(5 * 60);
/// Keys that are kept; a server has a handful.
const KEYS_MAX: usize = 100;

/// The keys of one server.
pub(super) struct Keys {
    client: Client,
    known: RwLock<Known>,
    /// When they were last asked for. Held while asking, so that many webhooks at once make one call.
    asked: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<String, DecodingKey>,
    fetched: Option<Instant>,
}

impl Keys {
    pub(super) fn new(client: Client) -> Self {
        Self { client, known: RwLock::default(), asked: Mutex::default() }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The key with this id. Known keys never wait for a fetch that an unknown one began.
    pub(super) async fn find(&self, id: &str) -> Result<DecodingKey, VerificationError> {
        if let Found::Key(key) = self.look(id) {
            return Ok(key);
        }
        let mut asked = self.asked.lock().await;
        let found = match self.look(id) {
            Found::Key(key) => return Ok(key),
            // Another webhook has just asked, or somebody invents keys.
            found if asked.is_some_and(|asked| asked.elapsed() < PAUSE) => found,
            _ => {
                *asked = Some(Instant::now());
                self.fetch_now().await.map_err(|error| Kind::NoKeys(Some(error)))?;
                self.look(id)
            }
        };
        match found {
            Found::Key(key) => Ok(key),
            Found::Unknown => Err(Kind::UnknownKey.into()),
            Found::Stale => Err(Kind::NoKeys(None).into()),
        }
    }

    /// Fetches the keys whether or not they are needed.
    pub(super) async fn fetch(&self) -> Result<(), Error> {
        let mut asked = self.asked.lock().await;
        *asked = Some(Instant::now());
        self.fetch_now().await
    }

    async fn fetch_now(&self) -> Result<(), Error> {
        let begun = Instant::now();
        let set = AccessTokenApi::new(&self.client).get_well_known_jwks().await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Known { by_id: usable(&set), fetched: Some(begun) };
        Ok(())
    }

    fn look(&self, id: &str) -> Found {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.fetched.is_none_or(|fetched| fetched.elapsed() >= AGE_MAX) {
            return Found::Stale;
        }
        known.by_id.get(id).map_or(Found::Unknown, |key| Found::Key(key.clone()))
    }
}

enum Found {
    Key(DecodingKey),
    Unknown,
    /// Never fetched, or too long ago.
    Stale,
}

/// The keys that may verify a webhook: P-256, for signatures, with an id.
fn usable(set: &JWKSet) -> HashMap<String, DecodingKey> {
    set.keys.iter().filter_map(key).take(KEYS_MAX).collect()
}

fn key(key: &JsonWebKey) -> Option<(String, DecodingKey)> {
    let fits = key.kty == "EC"
        && key.crv.as_deref() == Some("P-256")
        && key.alg.as_deref().is_none_or(|alg| alg == "ES256")
        && key.key_use.as_deref().is_none_or(|key_use| key_use == "sig");
    let decoding = DecodingKey::from_ec_components(key.x.as_deref()?, key.y.as_deref()?).ok()?;
    fits.then_some((key.kid.clone()?, decoding))
}
