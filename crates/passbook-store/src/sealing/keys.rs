//! The keys of a store, one per purpose, derived from its master keys and its lookup root.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use passbook_core::{
    ids::{AppId, LinkId, SessionId},
    secret::SecretBytes,
    tenant::Tenant,
};
use zeroize::Zeroizing;

use super::{DoesNotOpen, KEY_LENGTH, MasterKey, Place, SealingKey, random_bytes};

/// All keys of a store. Cheap to share behind an `Arc`; holds no printable form.
///
/// Two roots, because they live differently. The **master keys** wrap what must be readable again: data keys of links
/// and values of the instance. They are versioned and can be replaced while serving. The **lookup root** is one random
/// value of the store, kept in it as a sealed instance value; keyed hashes and signatures derive from it, so that
/// replacing a master key changes none of them.
pub struct Keys {
    ring: RwLock<Arc<Ring>>,
    root: hmac::Key,
    client_secrets: hmac::Key,
}

/// The master keys at hand, and which of them wraps what is written from now on.
pub(crate) struct Ring {
    active: usize,
    keys: Vec<Wrapping>,
}

/// What one master key wraps with.
struct Wrapping {
    version: u32,
    data_keys: SealingKey,
    instance_values: SealingKey,
    check_value: [u8; KEY_LENGTH],
}

/// No master key of that version is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("version {0} of the master key is not at hand")]
pub struct UnknownKeyVersion(pub u32);

/// A wrapped key or sealed value that cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnwrapError {
    /// Its master key is not at hand.
    #[error(transparent)]
    UnknownVersion(#[from] UnknownKeyVersion),
    /// It was sealed under another key or for another place, or is damaged.
    #[error(transparent)]
    DoesNotOpen(#[from] DoesNotOpen),
}

impl Ring {
    /// The ring of these keys, with `active` in use for writing.
    pub(crate) fn new(masters: &[MasterKey], active: u32) -> Result<Self, UnknownKeyVersion> {
        let keys: Vec<_> = masters.iter().map(Wrapping::of).collect();
        let active = keys.iter().position(|key| key.version == active).ok_or(UnknownKeyVersion(active))?;
        Ok(Self { active, keys })
    }

    /// What a store keeps to recognise its own master key; tells nothing about the key.
    pub(crate) fn check_value(&self, version: u32) -> Result<&[u8; KEY_LENGTH], UnknownKeyVersion> {
        Ok(&self.key(version)?.check_value)
    }

    pub(crate) fn active_version(&self) -> u32 {
        self.keys[self.active].version
    }

    /// Seals a value of the instance under the active key.
    pub(crate) fn seal_instance_value(&self, name: &str, value: &[u8]) -> SealedUnder<Vec<u8>> {
        let key = &self.keys[self.active];
        SealedUnder { key_version: key.version, value: key.instance_values.seal(instance_value(name), value) }
    }

    pub(crate) fn open_instance_value(
        &self,
        name: &str,
        key_version: u32,
        sealed: &[u8],
    ) -> Result<SecretBytes, UnwrapError> {
        Ok(self.key(key_version)?.instance_values.open(instance_value(name), sealed)?)
    }

    fn key(&self, version: u32) -> Result<&Wrapping, UnknownKeyVersion> {
        self.keys.iter().find(|key| key.version == version).ok_or(UnknownKeyVersion(version))
    }
}

impl Wrapping {
    fn of(master: &MasterKey) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, master.expose());
        Self {
            version: master.version(),
            data_keys: SealingKey::new(&derive(&root, "link data keys", &[])),
            instance_values: SealingKey::new(&derive(&root, "instance values", &[])),
            check_value: *derive(&root, "key check", &[]),
        }
    }
}

/// Something sealed, and the version of the master key it is sealed under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedUnder<T> {
    pub key_version: u32,
    pub value: T,
}

impl Keys {
    /// Derives the keys of a store from its ring and its lookup root.
    pub(crate) fn new(ring: Ring, lookup_root: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, lookup_root);
        Self {
            ring: RwLock::new(Arc::new(ring)),
            client_secrets: hmac::Key::new(hmac::HMAC_SHA256, &*derive(&root, "client secrets", &[])),
            root,
        }
    }

    /// Keys over one master key and a lookup root that nothing else shares; for tests without a store.
    #[must_use]
    #[doc(hidden)]
    pub fn for_test(master: &MasterKey) -> Self {
        let ring = Ring::new(std::slice::from_ref(master), master.version()).expect("the only key is the active one");
        Self::new(ring, master.expose())
    }

    /// The version of the master key that wraps what is written now.
    #[must_use]
    pub fn active_version(&self) -> u32 {
        self.ring().active_version()
    }

    /// Takes other master keys into use; `active` wraps from now on.
    ///
    /// # Errors
    /// [`UnknownKeyVersion`] when `active` is not among them; then nothing changed.
    pub fn adopt(&self, masters: &[MasterKey], active: u32) -> Result<(), UnknownKeyVersion> {
        let ring = Ring::new(masters, active)?;
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(())
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The keyed hash under which a client secret is stored. Secrets are random 256-bit values, so a slow password
    /// hash would cost processor time and add nothing; the key keeps a stolen table useless even so.
    #[must_use]
    pub fn hash_client_secret(&self, secret: &str) -> [u8; 32] {
        bytes_of(&hmac::sign(&self.client_secrets, secret.as_bytes()))
    }

    /// Whether `secret` is one of those hashed. Takes the same time wherever the difference is and whichever hash
    /// matches; pass no hashes for an unknown client, so that it costs about as much as a known one.
    #[must_use]
    pub fn client_secret_matches(&self, secret: &str, hashes: &[[u8; 32]]) -> bool {
        let given = self.hash_client_secret(secret);
        hashes.iter().fold(false, |found, hash| verify_slices_are_equal(&given, hash).is_ok() | found)
    }

    /// A keyed hash of an account number or the like, as hexadecimal digits: equal texts of one tenant have equal
    /// fingerprints, and neither other tenants nor the store's files can be searched with it.
    #[must_use]
    pub fn fingerprint(&self, tenant: &Tenant, text: &str) -> String {
        let key = derive(&self.root, "fingerprints", &[tenant.app_id.as_str(), tenant.environment.as_str()]);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*key), text.as_bytes());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The key that signs link session tokens (HMAC-SHA256).
    #[must_use]
    pub fn session_token_key(&self) -> SecretBytes {
        SecretBytes::new(derive(&self.root, "session tokens", &[]).to_vec())
    }

    /// A fresh data key for a link.
    pub(crate) fn generate_data_key(&self, app: &AppId, link: &LinkId) -> (SealingKey, SealedUnder<Vec<u8>>) {
        let bytes: Zeroizing<[u8; KEY_LENGTH]> = Zeroizing::new(random_bytes());
        let ring = self.ring();
        let wrapping = &ring.keys[ring.active];
        let value = wrapping.data_keys.seal(wrapped_key_of(app, link), &*bytes);
        (SealingKey::new(&bytes), SealedUnder { key_version: wrapping.version, value })
    }

    /// The data key of a link.
    pub(crate) fn unwrap_data_key(
        &self,
        app: &AppId,
        link: &LinkId,
        key_version: u32,
        wrapped: &[u8],
    ) -> Result<SealingKey, UnwrapError> {
        let bytes = self.ring().key(key_version)?.data_keys.open(wrapped_key_of(app, link), wrapped)?;
        Ok(bytes.expose().try_into().map(SealingKey::new).map_err(|_| DoesNotOpen)?)
    }

    /// The same data key wrapped by the active master key.
    #[cfg_attr(not(test), expect(dead_code, reason = "the rotation of master keys calls it"))]
    pub(crate) fn rewrap_data_key(
        &self,
        app: &AppId,
        link: &LinkId,
        key_version: u32,
        wrapped: &[u8],
    ) -> Result<SealedUnder<Vec<u8>>, UnwrapError> {
        let ring = self.ring();
        let bytes = ring.key(key_version)?.data_keys.open(wrapped_key_of(app, link), wrapped)?;
        let wrapping = &ring.keys[ring.active];
        let value = wrapping.data_keys.seal(wrapped_key_of(app, link), bytes.expose());
        Ok(SealedUnder { key_version: wrapping.version, value })
    }

    /// The key of one session's request.
    pub(crate) fn session_key(&self, app: &AppId, session: &SessionId) -> SealingKey {
        SealingKey::new(&derive(&self.root, "session requests", &[app.as_str(), session.as_str()]))
    }

    /// The key of the answers kept for an application's idempotency keys.
    pub(crate) fn answer_key(&self, app: &AppId) -> SealingKey {
        SealingKey::new(&derive(&self.root, "kept answers", &[app.as_str()]))
    }

    pub(crate) fn seal_instance_value(&self, name: &str, value: &[u8]) -> SealedUnder<Vec<u8>> {
        self.ring().seal_instance_value(name, value)
    }

    pub(crate) fn open_instance_value(
        &self,
        name: &str,
        key_version: u32,
        sealed: &[u8],
    ) -> Result<SecretBytes, UnwrapError> {
        self.ring().open_instance_value(name, key_version, sealed)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Keys(version {})", self.active_version())
    }
}

fn wrapped_key_of<'a>(app: &'a AppId, link: &'a LinkId) -> Place<'a> {
    Place { app: app.as_str(), row: link.as_str(), column: "wrapped_key" }
}

fn instance_value(name: &str) -> Place<'_> {
    Place { app: "", row: name, column: "value" }
}

/// HMAC-SHA256 over the length-prefixed purpose and scope.
fn derive(root: &hmac::Key, purpose: &str, scope: &[&str]) -> Zeroizing<[u8; KEY_LENGTH]> {
    let mut context = hmac::Context::with_key(root);
    for part in std::iter::once(&purpose).chain(scope) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    Zeroizing::new(bytes_of(&context.sign()))
}

fn bytes_of(tag: &hmac::Tag) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use passbook_core::tenant::Environment;

    use super::*;

    fn tenant(bits: u128, environment: Environment) -> Tenant {
        Tenant { app_id: AppId::from_bits(bits), environment }
    }

    #[test]
    fn a_client_secret_matches_only_its_own_hash() {
        let keys = Keys::for_test(&MasterKey::generate());
        let hashes = [keys.hash_client_secret("old"), keys.hash_client_secret("new")];
        assert!(keys.client_secret_matches("old", &hashes));
        assert!(keys.client_secret_matches("new", &hashes));
        assert!(!keys.client_secret_matches("other", &hashes));
        assert!(!keys.client_secret_matches("old", &[]));
        assert!(!Keys::for_test(&MasterKey::generate()).client_secret_matches("old", &hashes));
    }

    #[test]
    fn fingerprints_are_equal_within_a_tenant_only() {
        let keys = Keys::for_test(&MasterKey::generate());
        let sandbox = tenant(1, Environment::Sandbox);
        let fingerprint = keys.fingerprint(&sandbox, "000123456789");
        assert_eq!(fingerprint.len(), 64);
        assert_eq!(fingerprint, keys.fingerprint(&sandbox, "000123456789"));
        assert_ne!(fingerprint, keys.fingerprint(&sandbox, "000123456780"));
        assert_ne!(fingerprint, keys.fingerprint(&tenant(1, Environment::Live), "000123456789"));
        assert_ne!(fingerprint, keys.fingerprint(&tenant(2, Environment::Sandbox), "000123456789"));
    }

    #[test]
    fn a_wrapped_data_key_opens_for_its_own_link_only() {
        let keys = Keys::for_test(&MasterKey::generate());
        let (app, link) = (AppId::from_bits(1), LinkId::from_bits(1));
        let place = Place { app: app.as_str(), row: link.as_str(), column: "numbers" };
        let (key, wrapped) = keys.generate_data_key(&app, &link);
        let sealed = key.seal(place, b"digits");
        let again = keys.unwrap_data_key(&app, &link, wrapped.key_version, &wrapped.value).unwrap();
        assert_eq!(again.open(place, &sealed).unwrap().expose(), b"digits");
        let other = |keys: &Keys, app, link| keys.unwrap_data_key(&app, &link, 1, &wrapped.value).is_err();
        assert!(other(&keys, AppId::from_bits(2), link.clone()));
        assert!(other(&keys, app.clone(), LinkId::from_bits(2)));
        assert!(other(&Keys::for_test(&MasterKey::generate()), app, link));
    }

    #[test]
    fn a_replaced_master_key_wraps_anew_and_moves_no_keyed_hash() {
        let old = MasterKey::generate();
        let new = old.successor();
        let keys = Keys::for_test(&old);
        let (app, link) = (AppId::from_bits(1), LinkId::from_bits(1));
        let place = Place { app: app.as_str(), row: link.as_str(), column: "numbers" };
        let (key, wrapped) = keys.generate_data_key(&app, &link);
        let (sealed, hash) = (key.seal(place, b"digits"), keys.hash_client_secret("secret"));

        assert_eq!(keys.adopt(std::slice::from_ref(&old), 2), Err(UnknownKeyVersion(2)));
        keys.adopt(&[old, new.clone()], 2).unwrap();
        assert_eq!(keys.active_version(), 2);
        assert_eq!(keys.hash_client_secret("secret"), hash);
        assert!(keys.unwrap_data_key(&app, &link, 1, &wrapped.value).is_ok(), "the old key still opens");
        let rewrapped = keys.rewrap_data_key(&app, &link, 1, &wrapped.value).unwrap();
        assert_eq!(rewrapped.key_version, 2);

        keys.adopt(&[new], 2).unwrap();
        let opened = keys.unwrap_data_key(&app, &link, 2, &rewrapped.value).unwrap();
        assert_eq!(opened.open(place, &sealed).unwrap().expose(), b"digits");
        let gone = keys.unwrap_data_key(&app, &link, 1, &wrapped.value).err();
        assert_eq!(gone, Some(UnwrapError::UnknownVersion(UnknownKeyVersion(1))));
    }

    #[test]
    fn purposes_have_different_keys() {
        let keys = Keys::for_test(&MasterKey::generate());
        assert_ne!(keys.session_token_key().expose(), keys.hash_client_secret(""));
        let sealed = keys.seal_instance_value("seed", b"1");
        assert_eq!(keys.open_instance_value("seed", 1, &sealed.value).unwrap().expose(), b"1");
        assert!(keys.open_instance_value("other", 1, &sealed.value).is_err());
    }
}
