//! The keys that sign webhooks: a ring for each environment, in the store, the same for every process.
//!
//! Private keys stay here. [`SigningKeys::signer`] gives what signs bodies, [`SigningKeys::published`] what verifies their
//! signatures. The ring is read again every minute, so that a rotation by another process is known long before its key signs.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use moneykit::models::{JWKSet, JsonWebKey};
use passbook_core::{secret::SecretBytes, signing, tenant::Environment};
use passbook_store::port::{AuditEntry, Changes, CommitError, Guard, Store};
use serde::{Deserialize, Serialize};

use crate::system::{hex, sha256};

/// How long the ring may be known from memory, by the store's time, which also says when a key begins to sign.
const FRESH_FOR: SignedDuration = SignedDuration::from_secs(60);

/// A key that signs webhooks.
struct SigningKey {
    environment: Environment,
    signs_from: Timestamp,
    /// Read once: reading it takes longer than signing.
    pair: EcdsaKeyPair,
    /// The first part of every signature, as it is sent.
    header: String,
    public: JsonWebKey,
}

/// Signs bodies with the key that signs now, on whatever thread.
pub struct Signer {
    ring: Arc<Vec<SigningKey>>,
    index: usize,
    issuer: String,
}

/// A key as it is stored, sealed by the master key.
#[derive(Serialize, Deserialize)]
struct StoredKey {
    signs_from: Timestamp,
    pkcs8: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
    request_body_sha256: String,
}

/// See the module page.
pub struct SigningKeys {
    store: Arc<dyn Store>,
    issuer: String,
    ring: RwLock<Option<(Arc<Vec<SigningKey>>, Timestamp)>>,
}

impl SigningKeys {
    /// The keys in `store`; signatures name `issuer`.
    pub fn new(store: Arc<dyn Store>, issuer: String) -> Self {
        Self { store, issuer, ring: RwLock::default() }
    }

    /// What signs bodies of this environment that are sent about now, by real time.
    ///
    /// # Errors
    /// When the store does not give the keys.
    pub async fn signer(&self, environment: Environment, now: Timestamp) -> anyhow::Result<Signer> {
        let ring = self.ring().await?;
        let keys: Vec<_> = (0..ring.len()).filter(|index| ring[*index].environment == environment).collect();
        let signs_from: Vec<_> = keys.iter().map(|index| ring[*index].signs_from).collect();
        let index = signing::signing(&signs_from, now).map(|index| keys[index]).context("there is no signing key")?;
        Ok(Signer { ring, index, issuer: self.issuer.clone() })
    }

    /// The keys that verify signatures of this environment, or of both.
    ///
    /// # Errors
    /// When the store does not give the keys.
    pub async fn published(&self, environment: Option<Environment>, now: Timestamp) -> anyhow::Result<JWKSet> {
        let ring = self.ring().await?;
        let mut keys = Vec::new();
        for wanted in [Environment::Sandbox, Environment::Live] {
            if environment.is_some_and(|environment| environment != wanted) {
                continue;
            }
            let of_environment: Vec<_> = ring.iter().filter(|key| key.environment == wanted).collect();
            let signs_from: Vec<_> = of_environment.iter().map(|key| key.signs_from).collect();
            let published = signing::published(&signs_from, now);
            keys.extend(published.into_iter().map(|index| of_environment[index].public.clone()));
        }
        Ok(JWKSet { keys })
    }

    async fn ring(&self) -> anyhow::Result<Arc<Vec<SigningKey>>> {
        let known = self.ring.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((ring, read_at)) = &known
            && self.store.now().duration_since(*read_at) < FRESH_FOR
        {
            return Ok(ring.clone());
        }
        let read = read_ring(self.store.as_ref()).await;
        let ring = match (read, known) {
            (Ok(ring), _) => Arc::new(ring),
            // A store that is away for a while takes no signature away: what was known is still true.
            (Err(error), Some((ring, _))) => {
                tracing::warn!(error = &*error as &dyn std::error::Error, "the signing keys could not be read again");
                ring
            }
            (Err(error), None) => return Err(error),
        };
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Some((ring.clone(), self.store.now()));
        Ok(ring)
    }
}

impl Signer {
    /// The value of `MoneyKit-Signature` for a body that is sent now, by real time: a JWT (RFC 7519) in its compact form.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn sign(&self, body: &[u8], now: Timestamp) -> anyhow::Result<String> {
        let key = &self.ring[self.index];
        let claims = Claims { iss: &self.issuer, iat: now.as_second(), request_body_sha256: hex(&sha256(body)) };
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims)?);
        let mut signature = format!("{}.{claims}", key.header);
        let signed = key.pair.sign(&SystemRandom::new(), signature.as_bytes());
        let signed = signed.map_err(|_| anyhow::anyhow!("a body cannot be signed"))?;
        signature.push('.');
        URL_SAFE_NO_PAD.encode_string(signed.as_ref(), &mut signature);
        Ok(signature)
    }
}

/// Makes the first key of each environment, in one commit. Of several processes that start at once, one makes them.
///
/// # Errors
/// When the store fails.
pub async fn prepare(store: &dyn Store) -> anyhow::Result<()> {
    if store.lookup_instance_value(&name(Environment::Live, 1)).await?.is_some() {
        return Ok(());
    }
    let mut instance_values = Vec::new();
    for environment in [Environment::Sandbox, Environment::Live] {
        instance_values.push((name(environment, 1), new_key(store.now())?));
    }
    match store.commit(Changes { instance_values, ..Changes::default() }).await {
        Ok(()) | Err(CommitError::Conflict(Guard::Unique)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Adds a key that will sign once every receiver can know it; gives when.
///
/// # Errors
/// When the store fails, or somebody else rotates at the same moment.
pub async fn rotate(store: &dyn Store, environment: Environment, audit: AuditEntry) -> anyhow::Result<Timestamp> {
    let mut number = 1;
    while store.lookup_instance_value(&name(environment, number)).await?.is_some() {
        number += 1;
    }
    let signs_from = store.now().checked_add(signing::PUBLISHED_AHEAD)?;
    let instance_values = vec![(name(environment, number), new_key(signs_from)?)];
    store.commit(Changes { instance_values, audit: vec![audit], ..Changes::default() }).await?;
    Ok(signs_from)
}

/// Names a key among the values of the instance.
fn name(environment: Environment, number: u32) -> String {
    format!("webhook_key/{}/{number}", environment.as_str())
}

async fn read_ring(store: &dyn Store) -> anyhow::Result<Vec<SigningKey>> {
    let mut ring = Vec::new();
    for environment in [Environment::Sandbox, Environment::Live] {
        let mut number = 1;
        while let Some(value) = store.lookup_instance_value(&name(environment, number)).await? {
            ring.push(read_key(environment, &value)?);
            number += 1;
        }
    }
    Ok(ring)
}

/// A new P-256 key, straight from the operating system's randomness.
fn new_key(signs_from: Timestamp) -> anyhow::Result<SecretBytes> {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .map_err(|_| anyhow::anyhow!("cannot generate a signing key"))?;
    let stored = StoredKey { signs_from, pkcs8: URL_SAFE_NO_PAD.encode(document.as_ref()) };
    Ok(SecretBytes::new(serde_json::to_vec(&stored)?))
}

fn read_key(environment: Environment, value: &SecretBytes) -> anyhow::Result<SigningKey> {
    // Neither cause is passed on: it could quote the key.
    let unreadable = || anyhow::anyhow!("a stored signing key cannot be read");
    let stored: StoredKey = serde_json::from_slice(value.expose()).map_err(|_| unreadable())?;
    let pkcs8 = SecretBytes::new(URL_SAFE_NO_PAD.decode(&stored.pkcs8).map_err(|_| unreadable())?);
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.expose()).map_err(|_| unreadable())?;
    let public = public_key(&pair);
    Ok(SigningKey { environment, signs_from: stored.signs_from, header: header(&public)?, pair, public })
}

/// The JOSE header of what the key signs, encoded.
fn header(public: &JsonWebKey) -> anyhow::Result<String> {
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid.clone_from(&public.kid);
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header)?))
}

/// The public half, as the contract publishes it: `kid` is the RFC 7638 thumbprint.
fn public_key(pair: &EcdsaKeyPair) -> JsonWebKey {
    // Uncompressed point: 0x04, then x and y of 32 bytes each (SEC 1, section 2.3.3).
    let point = pair.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
    let thumbprint = sha256(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes());
    let text = |value: &str| Some(value.to_owned());
    JsonWebKey {
        kty: "EC".to_owned(),
        key_use: text("sig"),
        alg: text("ES256"),
        kid: Some(URL_SAFE_NO_PAD.encode(thumbprint)),
        crv: text("P-256"),
        x: Some(x),
        y: Some(y),
    }
}
