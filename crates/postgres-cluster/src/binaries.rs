//! Finding the server's programs, and running them as somebody whom they accept.

use std::{
    ffi::OsStr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// Where distributions put the programs of each version.
const INSTALLED: &str = "/usr/lib/postgresql";
/// `nobody`: the server refuses to run as root.
pub(crate) const UNPRIVILEGED: u32 = 65534;

/// The directory of the server's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries(PathBuf);

impl Binaries {
    /// The newest version installed, or what is in `PATH`. `None` when this machine has no server.
    #[must_use]
    pub fn find() -> Option<Self> {
        let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(INSTALLED)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .collect();
        versions.sort();
        let newest_first = versions.into_iter().rev().map(|(_, path)| path);
        let path = std::env::var_os("PATH").unwrap_or_default();
        newest_first.chain(std::env::split_paths(&path)).map(Self).find(Self::are_complete)
    }

    fn are_complete(&self) -> bool {
        ["initdb", "postgres"].iter().all(|name| self.0.join(name).is_file())
    }

    /// One of the programs, to be run by an unprivileged user.
    pub(crate) fn command(&self, name: impl AsRef<OsStr>) -> Command {
        let program = self.0.join(name.as_ref());
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        let id = UNPRIVILEGED;
        command.args([format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".to_owned()]).arg(program);
        command
    }
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Hands a path to the user that the server runs as.
pub(crate) fn hand_over(path: &Path) -> std::io::Result<()> {
    if is_root() { std::os::unix::fs::chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)) } else { Ok(()) }
}
