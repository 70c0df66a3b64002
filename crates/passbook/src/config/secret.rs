//! Secrets of the configuration: given as a value, by the environment, or in a file that not everybody may read.

use std::{fs, path::Path};

use passbook_core::secret::SecretBytes;

use super::Settings;

/// Larger files hold no secret of ours.
const FILE_BYTES_MAX: u64 = 64 << 10;

impl Settings {
    /// The secret `name`, from its value or from the file that `<name>_file` names. The environment goes before the
    /// file of settings; two at once on the same level are a problem, because one of them is not meant.
    pub(super) fn secret(&mut self, name: &str) -> Option<SecretBytes> {
        let file_name = format!("{name}_file");
        match (self.sourced_text(name), self.sourced_text(&file_name)) {
            (Some((_, value_from)), Some((_, file_from))) if value_from == file_from => {
                self.problems.add(name, format!("is given beside {file_name}"), "give one of them");
                None
            }
            (Some((value, value_from)), file) if file.as_ref().is_none_or(|(_, file_from)| value_from > *file_from) => {
                Some(SecretBytes::new(value.into_bytes()))
            }
            (_, Some((path, _))) => self.secret_file(&file_name, Path::new(&path)),
            _ => None,
        }
    }

    fn secret_file(&mut self, name: &str, path: &Path) -> Option<SecretBytes> {
        self.private_file(name, path)?;
        if fs::metadata(path).is_ok_and(|metadata| metadata.len() > FILE_BYTES_MAX) {
            self.problems.add(name, "is larger than any secret", "name the right file");
            return None;
        }
        match fs::read(path) {
            Ok(bytes) => Some(SecretBytes::new(bytes)),
            Err(error) => {
                let remedy = "let the user that runs the server read it";
                self.problems.add(name, format!("{} cannot be read ({})", path.display(), error.kind()), remedy);
                None
            }
        }
    }

    /// Complains about a file that is not there or that everybody may read.
    pub(super) fn private_file(&mut self, name: &str, path: &Path) -> Option<()> {
        if !path.is_file() {
            self.problems.add(name, format!("{} is not a file", path.display()), "name an existing file");
            return None;
        }
        if is_world_readable(path) {
            let remedy = "let only its owner and group read it (chmod 640)";
            self.problems.add(name, format!("everybody may read {}", path.display()), remedy);
            return None;
        }
        Some(())
    }
}

/// Whether users who are neither owner nor in the group may read the file.
pub(super) fn is_world_readable(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}
