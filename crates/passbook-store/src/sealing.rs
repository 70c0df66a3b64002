//! Sealing: how secret fields are kept unreadable at rest.
//!
//! A [`MasterKey`] lives outside the store. [`Keys`] derives, by HMAC-SHA256, one key per purpose, so that no key is
//! ever used for two things. Each link has a random data key of its own, wrapped by a master key; destroying that
//! wrapped key makes everything sealed under it unreadable for ever.
//!
//! A sealed value is a format byte, a random 96-bit nonce, the AES-256-GCM ciphertext and its tag. Where the value
//! belongs (application, row and column) is authenticated with it: bytes moved to another place do not open.
//! A random nonce per value is safe because a data key seals far fewer than 2^32 values.

mod key_file;
mod keys;
mod master_key;
mod recognise;
mod ring;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use passbook_core::secret::SecretBytes;
use zeroize::Zeroizing;

pub(crate) use self::ring::UnwrapError;
pub use self::{
    key_file::{KeyFile, KeyFileError},
    keys::Keys,
    master_key::{MalformedMasterKey, MasterKey},
    ring::UnknownKeyVersion,
};
pub(crate) use self::{
    recognise::{KeyRefusal, LOOKUP_ROOT, RememberedKey, first_lookup_root, recognise},
    ring::{Ring, SealedUnder},
};

/// Bytes of a data key.
pub(crate) const KEY_LENGTH: usize = 32;
/// The only format of sealed values so far; authenticated like the place.
const FORMAT: u8 = 1;
const TAG_LENGTH: usize = 16;
const HEADER_LENGTH: usize = 1 + NONCE_LEN;

/// Fresh randomness from the operating system: the source of every key, nonce, token and secret.
///
/// # Panics
/// When the operating system has no randomness to give. Nothing may be sealed, signed or handed out then.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
pub fn random_bytes<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system's generator answers on every running system");
    bytes
}

/// Where a sealed value belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The application; empty for values of the instance.
    pub app: &'a str,
    /// Link id, or the key of the row.
    pub row: &'a str,
    /// Column.
    pub column: &'static str,
}

impl Place<'_> {
    /// Every part is length-prefixed, so that no two places share an encoding.
    fn associated_data(&self) -> Vec<u8> {
        let parts = [self.app, self.row, self.column];
        let mut data = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum::<usize>() + 5);
        for part in parts.iter().map(|part| part.as_bytes()).chain([&[FORMAT][..]]) {
            data.extend_from_slice(&(part.len() as u32).to_be_bytes());
            data.extend_from_slice(part);
        }
        data
    }
}

/// The value was sealed under another key or for another place, or is damaged. Which of them cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value does not open here")]
pub struct DoesNotOpen;

/// A key that seals values.
pub(crate) struct SealingKey(LessSafeKey);

impl SealingKey {
    pub(crate) fn new(bytes: &[u8; KEY_LENGTH]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("AES-256 takes every key of 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Seals `plaintext` for `place`.
    pub(crate) fn seal(&self, place: Place<'_>, plaintext: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = random_bytes();
        let mut sealed = Vec::with_capacity(HEADER_LENGTH + plaintext.len() + TAG_LENGTH);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.associated_data()),
                &mut sealed[HEADER_LENGTH..],
            )
            .expect("AES-256-GCM seals anything shorter than 64 GiB");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what [`SealingKey::seal`] made for the same place.
    pub(crate) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<SecretBytes, DoesNotOpen> {
        let Some((&[FORMAT, ref nonce @ ..], body)) = sealed.split_first_chunk::<HEADER_LENGTH>() else {
            return Err(DoesNotOpen);
        };
        let Some((ciphertext, tag)) = body.split_last_chunk::<TAG_LENGTH>() else { return Err(DoesNotOpen) };
        let mut plaintext = Zeroizing::new(vec![0; ciphertext.len()]);
        let mut bare_nonce = [0; NONCE_LEN];
        bare_nonce.copy_from_slice(nonce);
        self.0
            .open_separate_gather(
                Nonce::assume_unique_for_key(bare_nonce),
                Aad::from(place.associated_data()),
                ciphertext,
                tag,
                &mut plaintext,
            )
            .map_err(|_| DoesNotOpen)?;
        Ok(SecretBytes::new(std::mem::take(&mut *plaintext)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place { app: "app_a", row: "mk_1", column: "numbers" };

    #[test]
    fn a_sealed_value_opens_only_in_its_place_and_under_its_key() {
        let key = SealingKey::new(&[7; KEY_LENGTH]);
        let sealed = key.seal(PLACE, b"000123456789");
        assert_eq!(key.open(PLACE, &sealed).unwrap().expose(), b"000123456789");
        for place in [
            Place { app: "app_b", ..PLACE },
            Place { row: "mk_2", ..PLACE },
            Place { column: "owners", ..PLACE },
            Place { app: "app_am", row: "k_1", ..PLACE },
        ] {
            assert_eq!(key.open(place, &sealed).err(), Some(DoesNotOpen), "{place:?}");
        }
        assert!(SealingKey::new(&[8; KEY_LENGTH]).open(PLACE, &sealed).is_err());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let key = SealingKey::new(&[7; KEY_LENGTH]);
        let sealed = key.seal(PLACE, b"secret");
        for index in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[index] ^= 1;
            assert!(key.open(PLACE, &bent).is_err(), "byte {index}");
            assert!(key.open(PLACE, &sealed[..index]).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn equal_values_seal_differently() {
        let key = SealingKey::new(&[7; KEY_LENGTH]);
        assert_ne!(key.seal(PLACE, b""), key.seal(PLACE, b""));
        assert_eq!(key.open(PLACE, &key.seal(PLACE, b"")).unwrap().expose(), b"");
    }
}
