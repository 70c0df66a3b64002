//! The deletion ledger: which links were destroyed, kept apart from the database and its backups.
//!
//! An append-only text file, one synced line per link: `<instant> <link id>`. An older backup that is put back knows
//! nothing of later deletions; replaying the ledger destroys those links again before anything is served.
//!
//! Several processes on one machine may share the file: it is locked while one of them appends.

use std::{
    fmt::Write as _,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use passbook_core::{ids::LinkId, time::format_instant};

use crate::files::{NotPrivate, open_private, sync_parent};

/// One destroyed link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LedgerEntry {
    /// When it was deleted, in the application's time.
    pub at: Timestamp,
    /// The link.
    pub link_id: LinkId,
}

/// The open ledger.
pub(crate) struct DeletionLedger {
    file: File,
    /// Bytes of whole, synced lines.
    length: u64,
}

/// A ledger that cannot be used. Starting without it could bring deleted data back.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error("the deletion ledger {path} cannot be used")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not this user's alone.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
    /// A line is not an instant and a link id.
    #[error("line {line} of the deletion ledger {path} is malformed")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
}

impl DeletionLedger {
    /// Opens or creates the file and reads it. A last line without an end was never acknowledged and is cut off.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<LedgerEntry>), LedgerError> {
        let fault = |source| LedgerError::File { path: path.to_owned(), source };
        let mut file = open_private(path)?;
        sync_parent(path).map_err(fault)?;
        let mut text = String::new();
        {
            let mut locked = Locked::take(&mut file).map_err(fault)?;
            locked.cut_torn_line(0).map_err(fault)?;
            locked.0.seek(SeekFrom::Start(0)).map_err(fault)?;
            locked.0.read_to_string(&mut text).map_err(fault)?;
        }
        let ledger = Self { file, length: text.len() as u64 };
        let entries = text
            .lines()
            .enumerate()
            .map(|(index, line)| {
                parse_line(line).ok_or_else(|| LedgerError::Malformed { path: path.to_owned(), line: index + 1 })
            })
            .collect::<Result<_, _>>()?;
        Ok((ledger, entries))
    }

    /// A ledger over any handle, for tests of failing ones.
    #[cfg(test)]
    pub(crate) fn over(file: File) -> Self {
        Self { file, length: 0 }
    }

    /// Appends and syncs. On failure the lines may be there or not; appending them again does no harm, because a line
    /// that is there twice says nothing new.
    pub(crate) fn append(&mut self, entries: &[LedgerEntry]) -> std::io::Result<()> {
        let mut lines = String::new();
        for entry in entries {
            let _infallible = writeln!(lines, "{} {}", format_instant(entry.at), entry.link_id);
        }
        let locked = Locked::take(&mut self.file)?;
        let end = locked.cut_torn_line(self.length)?;
        let mut file = locked.0;
        file.seek(SeekFrom::Start(end))?;
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        self.length = end + lines.len() as u64;
        Ok(())
    }
}

/// The file while no other process writes to it.
struct Locked<'a>(&'a File);

impl<'a> Locked<'a> {
    fn take(file: &'a mut File) -> std::io::Result<Self> {
        file.lock()?;
        Ok(Self(file))
    }

    /// Cuts off what a writer left that was stopped in the middle of a line; up to `whole` there are whole lines.
    /// Returns where the file ends.
    fn cut_torn_line(&self, whole: u64) -> std::io::Result<u64> {
        let mut file = self.0;
        let mut rest = Vec::new();
        file.seek(SeekFrom::Start(whole))?;
        file.read_to_end(&mut rest)?;
        let kept = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let end = whole + kept as u64;
        if kept < rest.len() {
            file.set_len(end)?;
        }
        Ok(end)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Closing the file would give the lock back too.
        let _released_at_the_latest_by_closing = self.0.unlock();
    }
}

fn parse_line(line: &str) -> Option<LedgerEntry> {
    let (at, link_id) = line.split_once(' ')?;
    Some(LedgerEntry { at: at.parse().ok()?, link_id: LinkId::parse(link_id)? })
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    fn entry(bits: u128) -> LedgerEntry {
        LedgerEntry { at: "2024-05-01T00:00:00.000001Z".parse().unwrap(), link_id: LinkId::from_bits(bits) }
    }

    #[test]
    fn entries_are_read_back_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deletions.ledger");
        let (mut ledger, entries) = DeletionLedger::open(&path).unwrap();
        assert_eq!(entries, []);
        ledger.append(&[entry(1), entry(2)]).unwrap();
        ledger.append(&[entry(3)]).unwrap();
        drop(ledger);
        assert_eq!(DeletionLedger::open(&path).unwrap().1, [entry(1), entry(2), entry(3)]);
    }

    #[test]
    fn a_torn_last_line_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deletions.ledger");
        DeletionLedger::open(&path).unwrap().0.append(&[entry(1)]).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"2024-05-01T00:00:00Z mk_22").unwrap();
        let (mut ledger, entries) = DeletionLedger::open(&path).unwrap();
        assert_eq!(entries, [entry(1)]);
        ledger.append(&[entry(2)]).unwrap();
        assert_eq!(DeletionLedger::open(&path).unwrap().1, [entry(1), entry(2)]);
    }

    #[test]
    fn processes_that_share_the_file_keep_each_others_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deletions.ledger");
        let (mut one, _) = DeletionLedger::open(&path).unwrap();
        let (mut other, _) = DeletionLedger::open(&path).unwrap();
        one.append(&[entry(1)]).unwrap();
        other.append(&[entry(2)]).unwrap();
        one.append(&[entry(3)]).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"2024-05-01T00:00:00Z mk_22").unwrap();
        other.append(&[entry(4)]).unwrap();
        assert_eq!(DeletionLedger::open(&path).unwrap().1, [entry(1), entry(2), entry(3), entry(4)]);
    }

    #[test]
    fn a_malformed_line_is_not_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deletions.ledger");
        std::fs::write(&path, "2024-05-01T00:00:00Z nothing\n").unwrap();
        assert!(matches!(DeletionLedger::open(&path), Err(LedgerError::Malformed { line: 1, .. })));
    }
}
