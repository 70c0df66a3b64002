//! The store's files, looked at without the server.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rusqlite::{Connection, OpenFlags};

use super::invariants::broken_in_sqlite;

/// What every SQLite database file begins with (file format, section 1.3.1).
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// Whether accepted jobs may still be open in the files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// The server was stopped in the middle of work.
    MayBeOpen,
    /// Every accepted refresh was seen to end.
    HaveEnded,
}

/// Copies the store of a stopped server and fails unless SQLite finds the copy whole and no invariant is broken in it.
///
/// On a copy, because opening a database replays its log: the server shall do that itself on its own file.
pub fn check_store(data: &Path, jobs: Jobs) -> Result<()> {
    let copy = tempfile::tempdir().context("a directory for the copy")?;
    copy_files(data, copy.path())?;
    check_integrity(copy.path())?;
    for database in databases_in(copy.path())? {
        let broken = broken_in_sqlite(&Connection::open(&database)?, jobs == Jobs::HaveEnded)?;
        ensure!(broken.is_empty(), "{}: {}", database.display(), broken.join("; "));
    }
    Ok(())
}

/// What SQLite itself says about the databases of a directory.
fn check_integrity(copy: &Path) -> Result<()> {
    let databases = databases_in(copy)?;
    if databases.is_empty() {
        bail!("no database in {}", copy.display());
    }
    for database in databases {
        let connection = Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .with_context(|| format!("{}", database.display()))?;
        let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if verdict != "ok" {
            bail!("integrity_check of {}: {verdict}", database.display());
        }
        let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
        if let Some(row) = statement.query([])?.next()? {
            bail!("foreign_key_check: a row of `{}` has no parent", row.get::<_, String>(0)?);
        }
    }
    Ok(())
}

/// Copies the plain files of one directory.
pub fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).context("copying the store")?;
        }
    }
    Ok(())
}

/// The databases among the files of one directory.
pub fn databases_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut databases = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("{}", directory.display()))? {
        let path = entry?.path();
        if path.is_file() && std::fs::read(&path)?.starts_with(SQLITE_MAGIC) {
            databases.push(path);
        }
    }
    Ok(databases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_database_passes_and_an_orphaned_row_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let connection = Connection::open(directory.path().join("store.db")).expect("a database");
        let tables = "PRAGMA foreign_keys = OFF; CREATE TABLE parent (id INTEGER PRIMARY KEY);
            CREATE TABLE child (parent INTEGER REFERENCES parent (id));";
        connection.execute_batch(tables).expect("tables");
        check_integrity(directory.path()).expect("sound");
        connection.execute("INSERT INTO child VALUES (7)", []).expect("an orphan");
        let error = check_integrity(directory.path()).expect_err("an orphan is found");
        assert!(error.to_string().contains("`child` has no parent"));
    }

    #[test]
    fn a_directory_without_a_database_is_no_proof() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(check_integrity(directory.path()).is_err());
    }
}
