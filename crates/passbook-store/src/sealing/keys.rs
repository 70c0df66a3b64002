//! The keys derived from the master key, one per purpose.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use passbook_core::{
    ids::{AppId, LinkId, SessionId},
    secret::SecretBytes,
    tenant::Tenant,
};
use zeroize::Zeroizing;

use super::{DoesNotOpen, KEY_LENGTH, MasterKey, Place, SealingKey, random_bytes};

/// Everything that is derived from the master key. Cheap to share behind an `Arc`; holds no printable form.
pub struct Keys {
    version: u32,
    root: hmac::Key,
    wrapping: SealingKey,
    instance_values: SealingKey,
    client_secrets: hmac::Key,
}

impl Keys {
    /// Derives the keys.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, master.expose());
        Self {
            version: master.version(),
            wrapping: SealingKey::new(&derive(&root, "link data keys", &[])),
            instance_values: SealingKey::new(&derive(&root, "instance values", &[])),
            client_secrets: hmac::Key::new(hmac::HMAC_SHA256, &*derive(&root, "client secrets", &[])),
            root,
        }
    }

    /// The version of the master key.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
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

    /// What a store keeps to recognise its own master key; tells nothing about the key.
    pub(crate) fn check_value(&self) -> [u8; 32] {
        *derive(&self.root, "key check", &[])
    }

    /// A fresh data key for a link.
    pub(crate) fn generate_data_key(&self, app: &AppId, link: &LinkId) -> (SealingKey, Vec<u8>) {
        let bytes: Zeroizing<[u8; KEY_LENGTH]> = Zeroizing::new(random_bytes());
        (SealingKey::new(&bytes), self.wrapping.seal(wrapped_key_of(app, link), &*bytes))
    }

    /// The data key of a link.
    pub(crate) fn unwrap_data_key(
        &self,
        app: &AppId,
        link: &LinkId,
        wrapped: &[u8],
    ) -> Result<SealingKey, DoesNotOpen> {
        let bytes = self.wrapping.open(wrapped_key_of(app, link), wrapped)?;
        bytes.expose().try_into().map(SealingKey::new).map_err(|_| DoesNotOpen)
    }

    /// The key of one session's request.
    pub(crate) fn session_key(&self, app: &AppId, session: &SessionId) -> SealingKey {
        SealingKey::new(&derive(&self.root, "session requests", &[app.as_str(), session.as_str()]))
    }

    pub(crate) fn seal_instance_value(&self, name: &str, value: &[u8]) -> Vec<u8> {
        self.instance_values.seal(instance_value(name), value)
    }

    pub(crate) fn open_instance_value(&self, name: &str, sealed: &[u8]) -> Result<SecretBytes, DoesNotOpen> {
        self.instance_values.open(instance_value(name), sealed)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Keys(version {})", self.version)
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
        let keys = Keys::new(&MasterKey::generate());
        let hashes = [keys.hash_client_secret("old"), keys.hash_client_secret("new")];
        assert!(keys.client_secret_matches("old", &hashes));
        assert!(keys.client_secret_matches("new", &hashes));
        assert!(!keys.client_secret_matches("other", &hashes));
        assert!(!keys.client_secret_matches("old", &[]));
        assert!(!Keys::new(&MasterKey::generate()).client_secret_matches("old", &hashes));
    }

    #[test]
    fn fingerprints_are_equal_within_a_tenant_only() {
        let keys = Keys::new(&MasterKey::generate());
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
        let keys = Keys::new(&MasterKey::generate());
        let (app, link) = (AppId::from_bits(1), LinkId::from_bits(1));
        let place = Place { app: app.as_str(), row: link.as_str(), column: "numbers" };
        let (key, wrapped) = keys.generate_data_key(&app, &link);
        let sealed = key.seal(place, b"digits");
        let again = keys.unwrap_data_key(&app, &link, &wrapped).unwrap();
        assert_eq!(again.open(place, &sealed).unwrap().expose(), b"digits");
        assert!(keys.unwrap_data_key(&AppId::from_bits(2), &link, &wrapped).is_err());
        assert!(keys.unwrap_data_key(&app, &LinkId::from_bits(2), &wrapped).is_err());
        assert!(Keys::new(&MasterKey::generate()).unwrap_data_key(&app, &link, &wrapped).is_err());
    }

    #[test]
    fn purposes_have_different_keys() {
        let keys = Keys::new(&MasterKey::generate());
        assert_ne!(keys.session_token_key().expose(), keys.check_value());
        let sealed = keys.seal_instance_value("seed", b"1");
        assert_eq!(keys.open_instance_value("seed", &sealed).unwrap().expose(), b"1");
        assert!(keys.open_instance_value("other", &sealed).is_err());
    }
}
