//! The master keys at hand, and which of them wraps what is written from now on.
//!
//! A ring never changes; a change makes another one, so that whoever holds a ring finishes with the keys it began with.

use std::sync::Arc;

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use passbook_core::{
    ids::{AppId, LinkId},
    secret::SecretBytes,
};
use zeroize::Zeroizing;

use super::{DoesNotOpen, KEY_LENGTH, MasterKey, Place, SealingKey, keys::bytes_of};

/// See the module page.
pub(crate) struct Ring {
    active: usize,
    keys: Vec<Arc<Wrapping>>,
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

/// Something sealed, and the version of the master key it is sealed under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedUnder<T> {
    pub key_version: u32,
    pub value: T,
}

impl Ring {
    /// The ring of these keys, with `active` in use for writing.
    pub(crate) fn new(masters: &[MasterKey], active: u32) -> Result<Self, UnknownKeyVersion> {
        Self::of(masters.iter().map(|master| Arc::new(Wrapping::of(master))).collect(), active)
    }

    fn of(keys: Vec<Arc<Wrapping>>, active: u32) -> Result<Self, UnknownKeyVersion> {
        let active = keys.iter().position(|key| key.version == active).ok_or(UnknownKeyVersion(active))?;
        Ok(Self { active, keys })
    }

    /// This ring and what `masters` adds. Another key under a version that is at hand is refused.
    pub(super) fn with_added(&self, masters: &[MasterKey]) -> Result<Self, UnknownKeyVersion> {
        let mut keys = self.keys.clone();
        for master in masters {
            let found = Wrapping::of(master);
            match self.key(found.version) {
                Ok(own) if verify_slices_are_equal(&own.check_value, &found.check_value).is_err() => {
                    return Err(UnknownKeyVersion(found.version));
                }
                Ok(_) => {}
                Err(_) => keys.push(Arc::new(found)),
            }
        }
        Self::of(keys, self.active_version())
    }

    pub(super) fn with_active(&self, version: u32) -> Result<Self, UnknownKeyVersion> {
        Self::of(self.keys.clone(), version)
    }

    /// This ring without `version`, unless that is the active one.
    pub(super) fn without(&self, version: u32) -> Self {
        let active = self.active_version();
        let keys: Vec<_> =
            self.keys.iter().filter(|key| key.version != version || key.version == active).cloned().collect();
        let position = keys.iter().position(|key| key.version == active).unwrap_or(0);
        Self { active: position, keys }
    }

    pub(crate) fn holds(&self, version: u32) -> bool {
        self.key(version).is_ok()
    }

    /// What a store keeps to recognise its own master key; tells nothing about the key.
    pub(crate) fn check_value(&self, version: u32) -> Result<&[u8; KEY_LENGTH], UnknownKeyVersion> {
        Ok(&self.key(version)?.check_value)
    }

    pub(super) fn check_value_of(master: &MasterKey) -> [u8; KEY_LENGTH] {
        Wrapping::of(master).check_value
    }

    pub(crate) fn active_version(&self) -> u32 {
        self.keys[self.active].version
    }

    /// Wraps a data key by the active master key.
    pub(super) fn wrap(&self, place: Place<'_>, data_key: &[u8]) -> SealedUnder<Vec<u8>> {
        let key = &self.keys[self.active];
        SealedUnder { key_version: key.version, value: key.data_keys.seal(place, data_key) }
    }

    pub(super) fn unwrap(
        &self,
        place: Place<'_>,
        key_version: u32,
        wrapped: &[u8],
    ) -> Result<SecretBytes, UnwrapError> {
        Ok(self.key(key_version)?.data_keys.open(place, wrapped)?)
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
        self.keys.iter().find(|key| key.version == version).map(|key| &**key).ok_or(UnknownKeyVersion(version))
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

pub(super) fn wrapped_key_of<'a>(app: &'a AppId, link: &'a LinkId) -> Place<'a> {
    Place { app: app.as_str(), row: link.as_str(), column: "wrapped_key" }
}

fn instance_value(name: &str) -> Place<'_> {
    Place { app: "", row: name, column: "value" }
}

/// HMAC-SHA256 over the length-prefixed purpose and scope.
pub(super) fn derive(root: &hmac::Key, purpose: &str, scope: &[&str]) -> Zeroizing<[u8; KEY_LENGTH]> {
    let mut context = hmac::Context::with_key(root);
    for part in std::iter::once(&purpose).chain(scope) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    Zeroizing::new(bytes_of(&context.sign()))
}
