//! The file of an embedded store's master keys.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::Path,
};

use zeroize::Zeroizing;

use super::open::OpenError;
use crate::{sealing::MasterKey, stored::ledger::sync_parent};

/// Reads the master keys of the store at `database` from `key_file`, or makes one for a store that does not exist yet.
///
/// A database that has content never gets a new key: with it, everything stored would be unreadable.
///
/// # Errors
/// [`OpenError::MissingMasterKey`] when the database exists and the file does not, [`OpenError::MalformedMasterKey`],
/// [`OpenError::File`].
pub fn load_or_create_master_keys(key_file: &Path, database: &Path) -> Result<Vec<MasterKey>, OpenError> {
    let fault = |source| OpenError::File { path: key_file.to_owned(), source };
    match fs::read_to_string(key_file) {
        Ok(text) => MasterKey::parse_all(&Zeroizing::new(text))
            .map_err(|source| OpenError::MalformedMasterKey { path: key_file.to_owned(), source }),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(fault(error)),
        Err(_) if has_content(database) => Err(OpenError::MissingMasterKey),
        Err(_) => Ok(vec![create(key_file).map_err(fault)?]),
    }
}

/// Whether there is a database worth protecting.
pub(super) fn has_content(database: &Path) -> bool {
    fs::metadata(database).is_ok_and(|metadata| metadata.len() > 0)
}

/// Writes a fresh key so that either the whole file is there after a crash or none of it.
fn create(path: &Path) -> std::io::Result<MasterKey> {
    let key = MasterKey::generate();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = path.with_file_name(name);
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(key.to_file_text().as_bytes())?;
    file.sync_all()?;
    // Linking fails when somebody else made the key in the meantime; renaming would replace it.
    fs::hard_link(&unfinished, path)?;
    fs::remove_file(&unfinished)?;
    sync_parent(path)?;
    Ok(key)
}
