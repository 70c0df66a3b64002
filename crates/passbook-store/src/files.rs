//! Files and directories that nobody but their owner may use, whatever the umask says.
//!
//! Everything that Passbook writes is made here: a file under its own name exclusively and with mode 0600, a file that
//! replaces another one under a random name beside it. A file that exists already must be a regular one and belong to
//! the user that this process runs as; a wider mode is taken back. On systems without owners and modes only the names
//! are as described.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{Error, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use tempfile::{NamedTempFile, TempPath};

/// How the name of a file ends that does not have its own name yet.
const UNFINISHED: &str = ".new";

/// A file or directory that is not this user's alone.
#[derive(Debug, thiserror::Error)]
pub enum NotPrivate {
    /// It belongs to somebody else.
    #[error(
        "{} belongs to the user with id {owner}, and this process runs as {user}; run as that user, or name a \
         directory of your own, such as one below it",
        path.display()
    )]
    OtherOwner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// Everybody may make files there (a sticky directory such as `/tmp`), or it is the root directory.
    #[error("{} is shared with other programs; name a directory of its own, such as one below it", path.display())]
    Shared {
        /// The directory.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("{} is not a {wanted}; move it away", path.display())]
    OtherKind {
        /// What is there.
        path: PathBuf,
        /// What should be.
        wanted: &'static str,
    },
    /// It cannot be made, read or changed.
    #[error("{} cannot be used", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: Error,
    },
}

impl NotPrivate {
    fn at(path: &Path) -> impl FnOnce(Error) -> Self {
        move |source| Self::File { path: path.to_owned(), source }
    }
}

/// Makes `path` a directory with mode 0700, with the directories above it when they are absent. One that exists must
/// belong to this user; a wider mode is taken back.
///
/// # Errors
/// [`NotPrivate`]; an existing directory is as it was.
pub fn private_directory(path: &Path) -> Result<(), NotPrivate> {
    let fault = || NotPrivate::at(path);
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Err(NotPrivate::OtherKind { path: path.to_owned(), wanted: "directory" }),
        Ok(metadata) => take_directory(path, &metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut builder = DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(path).map_err(fault())?;
            // The umask may have taken more away than is bearable.
            set_mode(path, 0o700).map_err(fault())
        }
        Err(error) => Err(fault()(error)),
    }
}

#[cfg(unix)]
fn take_directory(path: &Path, metadata: &fs::Metadata) -> Result<(), NotPrivate> {
    use std::os::unix::fs::MetadataExt as _;
    const STICKY: u32 = 0o1000;
    let is_root = path.canonicalize().map_err(NotPrivate::at(path))?.parent().is_none();
    if is_root || metadata.mode() & STICKY != 0 {
        return Err(NotPrivate::Shared { path: path.to_owned() });
    }
    let user = user_of(path).map_err(NotPrivate::at(path))?;
    if metadata.uid() != user {
        return Err(NotPrivate::OtherOwner { path: path.to_owned(), owner: metadata.uid(), user });
    }
    if metadata.mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others could use the directory; it is for its owner only now");
        set_mode(path, 0o700).map_err(NotPrivate::at(path))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn take_directory(_path: &Path, _metadata: &fs::Metadata) -> Result<(), NotPrivate> {
    Ok(())
}

/// Looks at a file that may exist: it must be a regular one and this user's, and is for this user only afterwards.
///
/// # Errors
/// [`NotPrivate`].
pub fn tighten(path: &Path) -> Result<(), NotPrivate> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(NotPrivate::at(path))?,
    };
    if !metadata.is_file() {
        return Err(NotPrivate::OtherKind { path: path.to_owned(), wanted: "regular file" });
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let user = user_of(parent_of(path)).map_err(NotPrivate::at(path))?;
        if metadata.uid() != user {
            return Err(NotPrivate::OtherOwner { path: path.to_owned(), owner: metadata.uid(), user });
        }
        if metadata.mode() & 0o177 != 0 {
            if metadata.mode() & 0o077 != 0 {
                tracing::warn!(path = %path.display(), "others could use the file; it is for its owner only now");
            }
            set_mode(path, metadata.mode() & 0o600).map_err(NotPrivate::at(path))?;
        }
    }
    Ok(())
}

/// Opens a file for reading and writing, making it when it is absent. It is never reached through a symbolic link.
///
/// # Errors
/// [`NotPrivate`].
pub fn open_private(path: &Path) -> Result<File, NotPrivate> {
    loop {
        match create_private(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            created => return created.map_err(NotPrivate::at(path)),
        }
        tighten(path)?;
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            // Removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            opened => opened.map_err(NotPrivate::at(path))?,
        };
        if is_at(&file, path).map_err(NotPrivate::at(path))? {
            return Ok(file);
        }
    }
}

/// Whether `path` itself, not through a link, is the open file.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let (open, named) = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            named => (file.metadata()?, named?),
        };
        Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        Ok(true)
    }
}

/// Makes a file that does not exist yet, with mode 0600.
///
/// # Errors
/// When it cannot be made, or exists.
pub fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    set_mode_of(&file, 0o600)?;
    Ok(file)
}

/// Makes a file under a random name beside `goal`, with mode 0600. It goes when it is dropped, unless it gets its name.
///
/// # Errors
/// When it cannot be made.
pub fn beside(goal: &Path) -> std::io::Result<NamedTempFile> {
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(goal.file_name().unwrap_or_default());
    prefix.push(".");
    let file = tempfile::Builder::new().prefix(&prefix).suffix(UNFINISHED).tempfile_in(parent_of(goal))?;
    set_mode_of(file.as_file(), 0o600)?;
    Ok(file)
}

/// Writes `bytes` to `goal` in one step: after a crash the old file is there, or the whole new one.
///
/// # Errors
/// When it cannot be written; `goal` is as it was.
pub fn replace(goal: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = beside(goal)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(goal).map_err(|failed| failed.error)?;
    sync_parent(goal)
}

/// Writes `bytes` to `goal` in one step, unless something is there.
///
/// # Errors
/// When it cannot be written, or exists.
pub fn place(goal: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = beside(goal)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    place_file(file.into_temp_path(), goal)
}

/// Gives an unfinished, synced file its name, unless something has it.
///
/// # Errors
/// When it cannot be renamed, or the name is taken.
pub fn place_file(file: TempPath, goal: &Path) -> std::io::Result<()> {
    file.persist_noclobber(goal).map_err(|failed| failed.error)?;
    sync_parent(goal)
}

/// Removes what [`beside`] left in front of `goal` when its process was killed. Nobody else may be writing `goal`.
pub fn sweep(goal: &Path) {
    let prefix = format!(".{}.", goal.file_name().unwrap_or_default().to_string_lossy());
    let Ok(entries) = fs::read_dir(parent_of(goal)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) && name.ends_with(UNFINISHED) {
            // What stays is in nobody's way.
            let _best_effort = fs::remove_file(entry.path());
        }
    }
}

/// Makes a new directory entry durable.
///
/// # Errors
/// When the directory cannot be synced.
pub fn sync_parent(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(parent_of(path))?.sync_all() } else { Ok(()) }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The user as whom this process makes files in `directory`.
#[cfg(unix)]
fn user_of(directory: &Path) -> std::io::Result<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(tempfile::tempfile_in(directory)?.metadata()?.uid())
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    #[cfg(not(unix))]
    let _ = (path, mode);
    Ok(())
}

fn set_mode_of(file: &File, mode: u32) -> std::io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    #[cfg(not(unix))]
    let _ = (file, mode);
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_directory_is_made_or_made_private() {
        let home = tempfile::tempdir().unwrap();
        let made = home.path().join("a/b");
        private_directory(&made).unwrap();
        assert_eq!((mode(&made), mode(made.parent().unwrap())), (0o700, 0o700));
        set_mode(&made, 0o777).unwrap();
        private_directory(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
    }

    #[test]
    fn a_shared_directory_is_refused_and_left_alone() {
        let home = tempfile::tempdir().unwrap();
        set_mode(home.path(), 0o1777).unwrap();
        assert!(matches!(private_directory(home.path()), Err(NotPrivate::Shared { .. })));
        assert!(matches!(private_directory(Path::new("/")), Err(NotPrivate::Shared { .. })));
        assert_eq!(mode(home.path()), 0o1777);
        let file = home.path().join("file");
        create_private(&file).unwrap();
        assert!(matches!(private_directory(&file), Err(NotPrivate::OtherKind { .. })));
    }

    #[test]
    fn a_file_is_opened_under_its_own_name_only() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("file"), home.path().join("link"));
        open_private(&file).unwrap().write_all(b"kept").unwrap();
        set_mode(&file, 0o666).unwrap();
        open_private(&file).unwrap();
        assert_eq!((mode(&file), fs::read(&file).unwrap()), (0o600, b"kept".to_vec()));
        symlink(&file, &link).unwrap();
        assert!(matches!(open_private(&link), Err(NotPrivate::OtherKind { .. })));
        symlink(home.path().join("nothing"), home.path().join("dangling")).unwrap();
        assert!(matches!(open_private(&home.path().join("dangling")), Err(NotPrivate::OtherKind { .. })));
        assert!(!home.path().join("nothing").exists());
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        create_private(&file).unwrap();
        // Only root may give a file away.
        if std::os::unix::fs::chown(&file, Some(12_345), None).is_err() {
            return;
        }
        assert!(matches!(open_private(&file), Err(NotPrivate::OtherOwner { owner: 12_345, .. })));
        std::os::unix::fs::chown(home.path(), Some(12_345), None).unwrap();
        assert!(matches!(private_directory(home.path()), Err(NotPrivate::OtherOwner { owner: 12_345, .. })));
    }

    #[test]
    fn a_file_is_replaced_whole_and_never_placed_over_another() {
        let home = tempfile::tempdir().unwrap();
        let goal = home.path().join("goal");
        place(&goal, b"one").unwrap();
        assert_eq!(place(&goal, b"two").unwrap_err().kind(), ErrorKind::AlreadyExists);
        replace(&goal, b"three").unwrap();
        assert_eq!((fs::read(&goal).unwrap(), mode(&goal)), (b"three".to_vec(), 0o600));
        let left = beside(&goal).unwrap().into_temp_path().keep().unwrap();
        sweep(&goal);
        assert!(!left.exists() && goal.exists());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
