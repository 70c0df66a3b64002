//! Online backups of the embedded store.
//!
//! A connection of its own holds one read transaction, so what is copied is the store at one moment, whatever is
//! written meanwhile. The copy goes in steps with a pause after each, so that writers keep most of the disk. While it
//! lasts, the write-ahead log can not be emptied.
//!
//! A backup is a directory: `passbook.db` and `manifest.json`. It is made beside its destination under another name,
//! synced, and renamed, so what has the destination's name is whole. Neither the master key nor the deletion ledger is
//! in it.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use jiff::Timestamp;
use rusqlite::{
    Connection, OptionalExtension as _,
    backup::{Backup, StepResult},
};

use super::{connection::connect_copier, failure::unavailable};
use crate::{
    files::{create_private, sync_parent},
    port::{BackupError, BackupFile, BackupManifest},
};

/// The only format so far.
pub(super) const BACKUP_FORMAT: u32 = 1;
/// The database in a backup.
pub(super) const DATABASE: &str = "passbook.db";
/// The manifest in a backup.
pub(super) const MANIFEST: &str = "manifest.json";
/// How the name of a backup ends that is not whole yet.
const UNFINISHED: &str = ".partial";
/// Pages copied at a time: 1 MiB.
const STEP_PAGES: i32 = 256;
/// A pause at least as long as the step before it leaves writers half of the disk.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// Makes a backup of `database` at `destination`. Blocks.
pub(super) fn back_up(
    database: &Path,
    destination: &Path,
    created_at: Timestamp,
) -> Result<BackupManifest, BackupError> {
    if destination.exists() {
        return Err(BackupError::Occupied(destination.to_owned()));
    }
    let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fault = |source| BackupError::File { path: destination.to_owned(), source };
    remove_unfinished(parent, destination);
    let unfinished = private_directory_in(parent, destination).map_err(fault)?;
    let manifest = copy(database, unfinished.path(), created_at)?;
    // Renaming replaces an empty directory that somebody made meanwhile, and nothing else.
    fs::rename(unfinished.path(), destination).and_then(|()| sync_parent(destination)).map_err(fault)?;
    // It has another name now, and there is nothing to remove.
    let _renamed = unfinished.keep();
    Ok(manifest)
}

fn copy(database: &Path, directory: &Path, created_at: Timestamp) -> Result<BackupManifest, BackupError> {
    let target = directory.join(DATABASE);
    // SQLite gives the files beside it the same mode.
    create_private(&target).map_err(|source| BackupError::File { path: target.clone(), source })?;
    let (schema_version, key) = copy_database(database, &target).map_err(unavailable)?;
    let fault = |source| BackupError::File { path: target.clone(), source };
    File::open(&target).and_then(|file| file.sync_all()).map_err(fault)?;
    let manifest = BackupManifest {
        format: BACKUP_FORMAT,
        created_at,
        schema_version,
        master_key_version: key.0,
        master_key_check: hex(&key.1),
        files: vec![describe(&target).map_err(fault)?],
    };
    let path = directory.join(MANIFEST);
    write_synced(&path, &manifest).map_err(|source| BackupError::File { path: path.clone(), source })?;
    sync_parent(&path).map_err(|source| BackupError::File { path, source })?;
    Ok(manifest)
}

/// Copies one moment of the database. Returns its schema version and its active master key's version and check value.
fn copy_database(database: &Path, target: &Path) -> rusqlite::Result<(i32, (u32, Vec<u8>))> {
    let source = connect_copier(database)?;
    // Until this transaction ends, the connection sees one moment, and the copy is never begun again.
    source.execute_batch("BEGIN")?;
    let schema = source.query_row("SELECT MAX(version) FROM refinery_schema_history", [], |row| row.get(0))?;
    const KEY: &str = "SELECT key_version, check_value FROM master_keys ORDER BY key_version DESC LIMIT 1";
    let key = source.query_row(KEY, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let mut copy = Connection::open(target)?;
    copy.pragma_update(None, "synchronous", "FULL")?;
    {
        let backup = Backup::new(&source, &mut copy)?;
        loop {
            let begun = Instant::now();
            match backup.step(STEP_PAGES)? {
                StepResult::Done => break,
                _ => std::thread::sleep(begun.elapsed().max(PAUSE_MIN)),
            }
        }
    }
    source.execute_batch("COMMIT")?;
    copy.close().map_err(|(_, error)| error)?;
    Ok((schema, key.unwrap_or_default()))
}

/// A directory with a random name beside `destination`, for this user only. It goes when it is dropped.
fn private_directory_in(parent: &Path, destination: &Path) -> std::io::Result<tempfile::TempDir> {
    let prefix = unfinished_prefix(destination);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(UNFINISHED);
    #[cfg(unix)]
    let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let directory = builder.tempdir_in(parent)?;
    #[cfg(unix)]
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(directory)
}

/// Removes what killed backups to the same destination left.
fn remove_unfinished(parent: &Path, destination: &Path) {
    let prefix = unfinished_prefix(destination);
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&prefix) && name.ends_with(UNFINISHED) {
            // What stays is in nobody's way.
            let _best_effort = fs::remove_dir_all(entry.path());
        }
    }
}

fn unfinished_prefix(destination: &Path) -> String {
    format!(".{}.", destination.file_name().unwrap_or_default().to_string_lossy())
}

fn write_synced(path: &Path, manifest: &BackupManifest) -> std::io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(&serde_json::to_vec_pretty(manifest)?)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// Name, length and SHA-256 of a file.
pub(super) fn describe(path: &Path) -> std::io::Result<BackupFile> {
    let mut file = File::open(path)?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        context.update(&buffer[..read]);
        bytes += read as u64;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(BackupFile { name, bytes, sha256: hex(context.finish().as_ref()) })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
