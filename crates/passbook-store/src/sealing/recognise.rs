//! Recognising a store's master keys, and its lookup root.
//!
//! A store remembers a check value of every master key it was ever written with. The newest remembered version is the
//! active one; it must be at hand and be the right one.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use passbook_core::secret::SecretBytes;

use super::{KEY_LENGTH, MasterKey, Ring, random_bytes};

/// Name of the instance value that holds the lookup root.
pub(crate) const LOOKUP_ROOT: &str = "lookup_root";

/// What a store remembers of one master key.
pub(crate) struct RememberedKey {
    pub version: u32,
    pub check_value: Vec<u8>,
}

/// The given keys are not this store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyRefusal {
    /// No key was given.
    Missing,
    /// The active one is not among them, or one of them is another key of the same version.
    Wrong,
}

/// The ring for a store that remembers these keys. A store that remembers none takes the newest key at hand.
pub(crate) fn recognise(masters: &[MasterKey], remembered: &[RememberedKey]) -> Result<Ring, KeyRefusal> {
    let newest_at_hand = masters.iter().map(MasterKey::version).max().ok_or(KeyRefusal::Missing)?;
    let active = remembered.iter().map(|key| key.version).max().unwrap_or(newest_at_hand);
    let ring = Ring::new(masters, active).map_err(|_| KeyRefusal::Wrong)?;
    for key in remembered {
        match ring.check_value(key.version) {
            Ok(own) if verify_slices_are_equal(own, &key.check_value).is_err() => return Err(KeyRefusal::Wrong),
            // A retired key need not be at hand.
            _ => {}
        }
    }
    Ok(ring)
}

/// The lookup root of a store that has none yet. A store that existed before there were lookup roots derived everything
/// from its only master key, and goes on with that.
pub(crate) fn first_lookup_root(ring: &Ring, masters: &[MasterKey], is_new_store: bool) -> SecretBytes {
    let only = masters.iter().find(|master| master.version() == ring.active_version()).filter(|_| !is_new_store);
    SecretBytes::new(only.map_or_else(|| random_bytes::<KEY_LENGTH>().to_vec(), |master| master.expose().to_vec()))
}
