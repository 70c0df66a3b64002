//! Putting a backup back.
//!
//! Everything is verified before anything gets the name under which a store is opened: format, schema, length and hash
//! of each file, and the database's own consistency. The deletion ledger is replayed by the next opening, before
//! anything is served.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use super::{
    backup::{BACKUP_FORMAT, DATABASE, MANIFEST, describe, hex},
    condition::beside,
    connection::connect_copier,
    examine::damage,
    failure::ReadError,
    open::known_schema_version,
};
use crate::{
    files,
    port::BackupManifest,
    sealing::{Keys, MasterKey},
};

/// Largest manifest that is read.
const MANIFEST_MAX: u64 = 1 << 20;

/// What to restore, and where.
pub struct RestoreOptions<'a> {
    /// The backup: a directory with a manifest.
    pub from: &'a Path,
    /// The database to make.
    pub database: &'a Path,
    /// The deletion ledger of the store that is opened next.
    pub deletion_ledger: &'a Path,
    /// The ledger of the store that was lost; copied to `deletion_ledger`.
    pub deletions: Option<&'a Path>,
    /// The master keys at hand, to tell early when the needed one is not among them.
    pub master_keys: &'a [MasterKey],
}

/// A restored store, not opened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says about itself.
    pub manifest: BackupManifest,
    /// Whether its master key is at hand.
    pub key_at_hand: bool,
}

/// A backup that was not put back. Nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is a database already.
    #[error("{} exists already; restore into an empty directory", .0.display())]
    Occupied(PathBuf),
    /// The manifest cannot be understood.
    #[error("{} is not the manifest of a backup of this release", .0.display())]
    Manifest(PathBuf),
    /// A newer release made it.
    #[error("the backup has schema version {found}, this release knows versions up to {known}; use the newer release")]
    NewerSchema {
        /// What the backup has.
        found: i32,
        /// What this release has.
        known: i32,
    },
    /// A file is not what the manifest says.
    #[error("{} is damaged: it is not the file that the manifest describes", .0.display())]
    Damaged(PathBuf),
    /// The database contradicts itself.
    #[error("the database in the backup is damaged: {0}")]
    Inconsistent(String),
    /// Another key of the needed version is at hand.
    #[error("the master key of version {0} at hand is not the one this backup was made with")]
    WrongKey(u32),
    /// A deletion ledger is given and another one is there.
    #[error("{} exists already and is another deletion ledger than the one given", .0.display())]
    TwoLedgers(PathBuf),
    /// The database cannot be read.
    #[error("the database in the backup cannot be read")]
    Database(#[source] rusqlite::Error),
    /// A file cannot be read or written.
    #[error("{} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Verifies a backup and puts it in place. Blocks.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(options: &RestoreOptions<'_>) -> Result<Restored, RestoreError> {
    // A write-ahead log that another database left would be taken for this one's.
    for suffix in ["", "-wal", "-journal"] {
        let path = beside(options.database, suffix);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(RestoreError::Occupied(path));
        }
    }
    let manifest = read_manifest(&options.from.join(MANIFEST))?;
    let known = known_schema_version();
    if manifest.schema_version > known {
        return Err(RestoreError::NewerSchema { found: manifest.schema_version, known });
    }
    let key_at_hand = recognise_key(&manifest, options.master_keys)?;
    let source = options.from.join(DATABASE);
    let fault = |source| RestoreError::File { path: options.database.to_owned(), source };
    let unfinished = files::beside(options.database).map_err(fault)?.into_temp_path();
    let placed = copy_verified(&source, &unfinished, &manifest)
        .and_then(|()| verify_database(&unfinished))
        .and_then(|()| place_ledger(options));
    for suffix in ["-wal", "-shm", "-journal"] {
        // What SQLite put beside it. What stays is in nobody's way.
        let _best_effort = fs::remove_file(beside(&unfinished, suffix));
    }
    placed?;
    files::place_file(unfinished, options.database).map_err(fault)?;
    Ok(Restored { manifest, key_at_hand })
}

fn read_manifest(path: &Path) -> Result<BackupManifest, RestoreError> {
    let fault = |source| RestoreError::File { path: path.to_owned(), source };
    let is_plausible = fs::metadata(path).map_err(fault)?.len() <= MANIFEST_MAX;
    let text = if is_plausible { fs::read(path).map_err(fault)? } else { Vec::new() };
    let manifest: Option<BackupManifest> = serde_json::from_slice(&text).ok();
    manifest.filter(|manifest| manifest.format == BACKUP_FORMAT).ok_or_else(|| RestoreError::Manifest(path.to_owned()))
}

fn recognise_key(manifest: &BackupManifest, masters: &[MasterKey]) -> Result<bool, RestoreError> {
    let version = manifest.master_key_version;
    match masters.iter().find(|master| master.version() == version) {
        Some(master) if hex(&Keys::check_value_of(master)) != manifest.master_key_check => {
            Err(RestoreError::WrongKey(version))
        }
        found => Ok(found.is_some()),
    }
}

/// Copies first and judges the copy, so that what is verified is what is used.
fn copy_verified(source: &Path, target: &Path, manifest: &BackupManifest) -> Result<(), RestoreError> {
    let fault = |path: &Path, source| RestoreError::File { path: path.to_owned(), source };
    let described = manifest.files.iter().find(|file| file.name == DATABASE);
    let described = described.ok_or_else(|| RestoreError::Damaged(source.to_owned()))?;
    let mut from = File::open(source).map_err(|error| fault(source, error))?;
    let mut copy = || {
        let mut to = File::options().write(true).truncate(true).open(target)?;
        std::io::copy(&mut from, &mut to)?;
        to.flush()?;
        to.sync_all()?;
        describe(target)
    };
    let found = copy().map_err(|error| fault(target, error))?;
    if (found.bytes, &found.sha256) == (described.bytes, &described.sha256) {
        Ok(())
    } else {
        Err(RestoreError::Damaged(source.to_owned()))
    }
}

fn verify_database(path: &Path) -> Result<(), RestoreError> {
    let connection = connect_copier(path).map_err(RestoreError::Database)?;
    match damage(&connection) {
        Ok(damage) if damage.is_empty() => Ok(()),
        Ok(damage) => Err(RestoreError::Inconsistent(damage.join("; "))),
        Err(ReadError::Database(error)) => Err(RestoreError::Database(error)),
        Err(ReadError::Store(error)) => Err(RestoreError::Inconsistent(error.to_string())),
    }
}

fn place_ledger(options: &RestoreOptions<'_>) -> Result<(), RestoreError> {
    let Some(given) = options.deletions else { return Ok(()) };
    let place = options.deletion_ledger;
    let text = fs::read(given).map_err(|source| RestoreError::File { path: given.to_owned(), source })?;
    let fault = |source| RestoreError::File { path: place.to_owned(), source };
    match fs::read(place) {
        Ok(there) if there == text => Ok(()),
        Ok(_) => Err(RestoreError::TwoLedgers(place.to_owned())),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fault(error)),
        Err(_) => files::place(place, &text).map_err(fault),
    }
}
