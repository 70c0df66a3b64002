//! The file of an embedded store's master keys.

use std::{fs, io::ErrorKind, path::Path};

use zeroize::Zeroizing;

use super::{
    condition::{self, Presence, presence},
    open::OpenError,
};
use crate::{
    files::{place, tighten},
    sealing::MasterKey,
};

/// Reads the master keys of the store at `database` from `key_file`, or makes one for a store that does not exist yet.
///
/// A store that exists, or did, never gets a new key: with it, everything stored would be unreadable.
///
/// # Errors
/// [`OpenError::MissingMasterKey`] when the database exists and the file does not, [`OpenError::Lost`] when the file
/// exists and the database does not, [`OpenError::MalformedMasterKey`], [`OpenError::Damaged`],
/// [`OpenError::NotPrivate`], [`OpenError::File`].
pub fn load_or_create_master_keys(
    key_file: &Path,
    database: &Path,
    ledger: &Path,
) -> Result<Vec<MasterKey>, OpenError> {
    let fault = |source| OpenError::File { path: key_file.to_owned(), source };
    let presence = presence(database, ledger, Some(key_file))?;
    tighten(key_file)?;
    match fs::read_to_string(key_file) {
        Ok(text) => MasterKey::parse_all(&Zeroizing::new(text))
            .map_err(|source| OpenError::MalformedMasterKey { path: key_file.to_owned(), source }),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(fault(error)),
        Err(_) if presence == Presence::Present => Err(OpenError::MissingMasterKey),
        Err(_) => {
            condition::begin(database)?;
            let key = MasterKey::generate();
            place(key_file, key.to_file_text().as_bytes()).map_err(fault)?;
            Ok(vec![key])
        }
    }
}
