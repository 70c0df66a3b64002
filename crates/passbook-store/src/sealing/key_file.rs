//! The file of master keys, and how it is changed: always whole, by renaming, so that a crash leaves the old file or
//! the new one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{MalformedMasterKey, MasterKey};
use crate::files;

/// A file of master keys; see [`MasterKey::parse_all`] for its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    path: PathBuf,
}

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("the key file {} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It does not hold master keys.
    #[error("the key file {} is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: MalformedMasterKey,
    },
    /// It holds another key than the one in use under the same version.
    #[error("the key file {} holds another key of version {version} than the one in use", path.display())]
    Exchanged {
        /// The file.
        path: PathBuf,
        /// The version.
        version: u32,
    },
}

impl KeyFile {
    /// The file at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys, oldest first.
    ///
    /// # Errors
    /// [`KeyFileError::File`], [`KeyFileError::Malformed`].
    pub fn read(&self) -> Result<Vec<MasterKey>, KeyFileError> {
        Ok(self.read_text()?.1)
    }

    /// Adds a fresh key of the next version and returns that version.
    ///
    /// # Errors
    /// As [`KeyFile::read`]; then the file is as it was.
    pub fn append_successor(&self) -> Result<u32, KeyFileError> {
        let (text, keys) = self.read_text()?;
        let newest = keys.last().map_or_else(MasterKey::generate, MasterKey::successor);
        let line = newest.to_file_text();
        // Room for everything at once: a string that grows leaves unwiped copies behind.
        let mut whole = Zeroizing::new(String::with_capacity(text.len() + line.len() + 1));
        whole.push_str(&text);
        if !whole.ends_with('\n') {
            whole.push('\n');
        }
        whole.push_str(&line);
        self.replace(&whole)?;
        Ok(newest.version())
    }

    /// Takes a version out. Nothing happens when it is not there, or is the only one.
    ///
    /// # Errors
    /// As [`KeyFile::read`]; then the file is as it was.
    pub fn remove(&self, version: u32) -> Result<(), KeyFileError> {
        let (text, keys) = self.read_text()?;
        if keys.len() < 2 || keys.iter().all(|key| key.version() != version) {
            return Ok(());
        }
        let is_other = |line: &&str| MasterKey::parse(line).map_or(true, |key| key.version() != version);
        let mut whole = Zeroizing::new(String::with_capacity(text.len() + 1));
        for line in text.lines().filter(is_other) {
            whole.push_str(line);
            whole.push('\n');
        }
        self.replace(&whole)
    }

    fn read_text(&self) -> Result<(Zeroizing<String>, Vec<MasterKey>), KeyFileError> {
        let text = Zeroizing::new(fs::read_to_string(&self.path).map_err(|source| self.fault(source))?);
        let keys = MasterKey::parse_all(&text)
            .map_err(|source| KeyFileError::Malformed { path: self.path.clone(), source })?;
        Ok((text, keys))
    }

    fn replace(&self, text: &str) -> Result<(), KeyFileError> {
        files::replace(&self.path, text.as_bytes()).map_err(|source| self.fault(source))
    }

    fn fault(&self, source: std::io::Error) -> KeyFileError {
        KeyFileError::File { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(file: &KeyFile) -> Vec<u32> {
        file.read().unwrap().iter().map(MasterKey::version).collect()
    }

    #[test]
    fn keys_are_added_and_taken_out_and_the_rest_of_the_text_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::new(directory.path().join("master.key"));
        fs::write(file.path(), format!("# kept in the safe\n{}", MasterKey::generate().to_file_text().trim_end()))
            .unwrap();
        assert_eq!(file.append_successor().unwrap(), 2);
        assert_eq!(file.append_successor().unwrap(), 3);
        assert_eq!(versions(&file), [1, 2, 3]);
        file.remove(2).unwrap();
        file.remove(7).unwrap();
        assert_eq!(versions(&file), [1, 3]);
        assert!(fs::read_to_string(file.path()).unwrap().starts_with("# kept in the safe\n"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn the_last_key_is_never_taken_out() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::new(directory.path().join("master.key"));
        fs::write(file.path(), MasterKey::generate().to_file_text().as_bytes()).unwrap();
        file.remove(1).unwrap();
        assert_eq!(versions(&file), [1]);
    }

    #[test]
    fn a_malformed_or_missing_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::new(directory.path().join("master.key"));
        assert!(matches!(file.append_successor(), Err(KeyFileError::File { .. })));
        fs::write(file.path(), "nothing").unwrap();
        assert!(matches!(file.append_successor(), Err(KeyFileError::Malformed { .. })));
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "nothing");
    }
}
