//! The keys of a store, one per purpose, derived from its master keys and its lookup root.
//!
//! The ring of master keys changes while serving: a file that the keys follow is read again when a row names a version
//! that is not at hand, so that a replica finds a key that was handed out after it was started.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use passbook_core::{
    ids::{AppId, LinkId, SessionId},
    secret::SecretBytes,
    tenant::Tenant,
};
use zeroize::Zeroizing;

use super::{
    DoesNotOpen, KEY_LENGTH, KeyFile, KeyFileError, MasterKey, SealingKey, random_bytes,
    ring::{Ring, SealedUnder, UnknownKeyVersion, UnwrapError, derive, wrapped_key_of},
};

/// How often the key file is read again for versions that are not at hand.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// All keys of a store. Cheap to share behind an `Arc`; holds no printable form.
///
/// Two roots, because they live differently. The **master keys** wrap what must be readable again: data keys of links
/// and values of the instance. They are versioned and can be replaced while serving. The **lookup root** is one random
/// value of the store, kept in it as a sealed instance value; keyed hashes and signatures derive from it, so that
/// replacing a master key changes none of them.
pub struct Keys {
    ring: RwLock<Arc<Ring>>,
    followed: Mutex<Option<Followed>>,
    root: hmac::Key,
    client_secrets: hmac::Key,
}

/// The file that the keys follow.
struct Followed {
    file: KeyFile,
    looked_at: Option<Instant>,
}

impl Keys {
    /// Derives the keys of a store from its ring and its lookup root.
    pub(crate) fn new(ring: Ring, lookup_root: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, lookup_root);
        Self {
            ring: RwLock::new(Arc::new(ring)),
            followed: Mutex::new(None),
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

    /// Whether the master key of this version is at hand.
    #[must_use]
    pub fn holds(&self, version: u32) -> bool {
        self.ring().holds(version)
    }

    /// Follows a key file from now on: versions that are added to it are found while serving.
    pub fn follow(&self, file: KeyFile) {
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Followed { file, looked_at: None });
    }

    /// The file that is followed.
    #[must_use]
    pub fn key_file(&self) -> Option<KeyFile> {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.as_ref().map(|followed| followed.file.clone())
    }

    /// Reads the followed file again and takes what it adds. Keys that left the file stay until
    /// [`Keys::forget`]: something may still be wrapped by them.
    ///
    /// # Errors
    /// [`KeyFileError`]; then nothing changed.
    pub fn reload(&self) -> Result<(), KeyFileError> {
        let Some(file) = self.key_file() else { return Ok(()) };
        let masters = file.read()?;
        self.change_ring(|ring| ring.with_added(&masters))
            .map_err(|version| KeyFileError::Exchanged { path: file.path().to_owned(), version: version.0 })
    }

    /// Wraps by this version from now on.
    ///
    /// # Errors
    /// [`UnknownKeyVersion`] when it is not at hand; then nothing changed.
    pub fn activate(&self, version: u32) -> Result<(), UnknownKeyVersion> {
        self.change_ring(|ring| ring.with_active(version))
    }

    /// Drops a version; the active one stays.
    pub fn forget(&self, version: u32) {
        let _infallible = self.change_ring(|ring| Ok::<_, UnknownKeyVersion>(ring.without(version)));
    }

    fn change_ring<E>(&self, change: impl FnOnce(&Ring) -> Result<Ring, E>) -> Result<(), E> {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        *ring = Arc::new(change(&ring)?);
        Ok(())
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The ring, after another look into the followed file when it lacks `version`.
    fn ring_with(&self, version: u32) -> Arc<Ring> {
        let ring = self.ring();
        if ring.holds(version) || !self.may_look_again() {
            return ring;
        }
        if let Err(error) = self.reload() {
            tracing::error!(error = &error as &dyn std::error::Error, "the key file cannot be read again");
        }
        self.ring()
    }

    fn may_look_again(&self) -> bool {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(followed) = followed.as_mut() else { return false };
        let is_time = followed.looked_at.is_none_or(|at| at.elapsed() >= LOOK_AGAIN_AFTER);
        if is_time {
            followed.looked_at = Some(Instant::now());
        }
        is_time
    }

    /// The keyed hash under which a client secret is stored. Secrets are random 256-bit values, so a slow password
    /// hash would cost processor time and add nothing; the key keeps a stolen table useless even so.
    #[must_use]
    pub fn hash_client_secret(&self, secret: &str) -> [u8; 32] {
        bytes_of(&keyed_hash(&self.client_secrets, secret.as_bytes()))
    }

    /// Whether `secret` is one of those hashed. Takes the same time wherever the difference is and whichever hash
    /// matches; pass no hashes for an unknown client, so that it costs about as much as a known one.
    #[must_use]
    pub fn client_secret_matches(&self, secret: &str, hashes: &[[u8; 32]]) -> bool {
        Self::client_secret_hash_matches(&self.hash_client_secret(secret), hashes)
    }

    /// The same for a secret that was hashed before.
    #[must_use]
    pub fn client_secret_hash_matches(given: &[u8; 32], hashes: &[[u8; 32]]) -> bool {
        hashes.iter().fold(false, |found, hash| verify_slices_are_equal(given, hash).is_ok() | found)
    }

    /// A keyed hash of an account number or the like, as hexadecimal digits: equal texts of one tenant have equal
    /// fingerprints, and neither other tenants nor the store's files can be searched with it.
    #[must_use]
    pub fn fingerprint(&self, tenant: &Tenant, text: &str) -> String {
        let key = derive(&self.root, "fingerprints", &[tenant.app_id.as_str(), tenant.environment.as_str()]);
        let tag = keyed_hash(&hmac::Key::new(hmac::HMAC_SHA256, &*key), text.as_bytes());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The key that signs link session tokens (HMAC-SHA256).
    #[must_use]
    pub fn session_token_key(&self) -> SecretBytes {
        SecretBytes::new(derive(&self.root, "session tokens", &[]).to_vec())
    }

    /// The secret that an app shares with the server for Standard Webhooks (HMAC-SHA256).
    #[must_use]
    pub fn webhook_secret(&self, tenant: &Tenant) -> SecretBytes {
        let scope = [tenant.app_id.as_str(), tenant.environment.as_str()];
        SecretBytes::new(derive(&self.root, "standard webhooks", &scope).to_vec())
    }

    /// A fresh data key for a link.
    pub(crate) fn generate_data_key(&self, app: &AppId, link: &LinkId) -> (SealingKey, SealedUnder<Vec<u8>>) {
        let bytes: Zeroizing<[u8; KEY_LENGTH]> = Zeroizing::new(random_bytes());
        (SealingKey::new(&bytes), self.ring().wrap(wrapped_key_of(app, link), &*bytes))
    }

    /// The data key of a link.
    pub(crate) fn unwrap_data_key(
        &self,
        app: &AppId,
        link: &LinkId,
        key_version: u32,
        wrapped: &[u8],
    ) -> Result<SealingKey, UnwrapError> {
        let bytes = self.ring_with(key_version).unwrap(wrapped_key_of(app, link), key_version, wrapped)?;
        Ok(bytes.expose().try_into().map(SealingKey::new).map_err(|_| DoesNotOpen)?)
    }

    /// The same data key wrapped by the active master key.
    pub(crate) fn rewrap_data_key(
        &self,
        app: &AppId,
        link: &LinkId,
        key_version: u32,
        wrapped: &[u8],
    ) -> Result<SealedUnder<Vec<u8>>, UnwrapError> {
        let ring = self.ring_with(key_version);
        let bytes = ring.unwrap(wrapped_key_of(app, link), key_version, wrapped)?;
        Ok(ring.wrap(wrapped_key_of(app, link), bytes.expose()))
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
        self.ring_with(key_version).open_instance_value(name, key_version, sealed)
    }

    /// The same instance value sealed by the active master key.
    pub(crate) fn reseal_instance_value(
        &self,
        name: &str,
        key_version: u32,
        sealed: &[u8],
    ) -> Result<SealedUnder<Vec<u8>>, UnwrapError> {
        let ring = self.ring_with(key_version);
        let value = ring.open_instance_value(name, key_version, sealed)?;
        Ok(ring.seal_instance_value(name, value.expose()))
    }

    /// What a store keeps to recognise this master key.
    pub(crate) fn check_value_of(master: &MasterKey) -> [u8; KEY_LENGTH] {
        Ring::check_value_of(master)
    }

    /// What a store keeps to recognise the master key of this version.
    pub(crate) fn check_value(&self, version: u32) -> Result<[u8; KEY_LENGTH], UnknownKeyVersion> {
        self.ring_with(version).check_value(version).copied()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Keys(version {})", self.active_version())
    }
}

pub(super) fn bytes_of(tag: &hmac::Tag) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// More than the frames of one keyed hash take, in a build without optimisation too.
const STACK_OF_A_HASH: usize = 16 << 10;

/// The HMAC of a secret. The library's context holds the end of the message and is moved about on the stack, where nobody
/// wipes it; so the stack is overwritten afterwards.
fn keyed_hash(key: &hmac::Key, secret: &[u8]) -> hmac::Tag {
    let tag = sign_below(key, secret);
    overwrite_stack();
    tag
}

#[inline(never)]
fn sign_below(key: &hmac::Key, secret: &[u8]) -> hmac::Tag {
    hmac::sign(key, secret)
}

/// Covers what [`sign_below`] used: called from the same frame, it begins at the same place.
#[inline(never)]
fn overwrite_stack() {
    // Not a shared reference to a constant, which would point into the binary.
    let mut area = [0_u8; STACK_OF_A_HASH];
    std::hint::black_box(&mut area);
}

#[cfg(test)]
mod tests {
    use passbook_core::tenant::Environment;

    use super::*;
    use crate::sealing::Place;

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

        assert_eq!(keys.activate(2), Err(UnknownKeyVersion(2)));
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::new(directory.path().join("master.key"));
        let text = format!("{}{}", *old.to_file_text(), *new.to_file_text());
        std::fs::write(file.path(), text).unwrap();
        keys.follow(file);
        keys.reload().unwrap();
        assert_eq!(keys.active_version(), 1, "a key at hand is not yet in use");
        keys.activate(2).unwrap();
        assert_eq!(keys.active_version(), 2);
        assert_eq!(keys.hash_client_secret("secret"), hash);
        assert!(keys.unwrap_data_key(&app, &link, 1, &wrapped.value).is_ok(), "the old key still opens");
        let rewrapped = keys.rewrap_data_key(&app, &link, 1, &wrapped.value).unwrap();
        assert_eq!(rewrapped.key_version, 2);

        std::fs::write(keys.key_file().unwrap().path(), new.to_file_text().as_bytes()).unwrap();
        keys.forget(1);
        let opened = keys.unwrap_data_key(&app, &link, 2, &rewrapped.value).unwrap();
        assert_eq!(opened.open(place, &sealed).unwrap().expose(), b"digits");
        let gone = keys.unwrap_data_key(&app, &link, 1, &wrapped.value).err();
        assert_eq!(gone, Some(UnwrapError::UnknownVersion(UnknownKeyVersion(1))));
    }

    #[test]
    fn a_version_that_is_not_at_hand_is_looked_for_in_the_file() {
        let (old, app, link) = (MasterKey::generate(), AppId::from_bits(1), LinkId::from_bits(1));
        let (here, there) = (Keys::for_test(&old), Keys::for_test(&old));
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::new(directory.path().join("master.key"));
        std::fs::write(file.path(), old.to_file_text().as_bytes()).unwrap();
        here.follow(file.clone());
        there.follow(file.clone());
        file.append_successor().unwrap();
        here.reload().unwrap();
        here.activate(2).unwrap();
        let (_, wrapped) = here.generate_data_key(&app, &link);
        assert_eq!(wrapped.key_version, 2);
        assert!(there.unwrap_data_key(&app, &link, 2, &wrapped.value).is_ok());
        assert_eq!(there.active_version(), 1);
    }

    #[test]
    fn an_exchanged_key_is_refused() {
        let keys = Keys::for_test(&MasterKey::generate());
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::new(directory.path().join("master.key"));
        std::fs::write(file.path(), MasterKey::generate().to_file_text().as_bytes()).unwrap();
        keys.follow(file);
        assert!(matches!(keys.reload(), Err(KeyFileError::Exchanged { version: 1, .. })));
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
