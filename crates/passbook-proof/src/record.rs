//! What an experiment leaves behind: one line, tied to the commit it was run on.
//!
//! Records (`bench/RESULTS.md` and `docs/proofs.jsonl`) are written from a clean checkout only, because anybody must be
//! able to run the same code again. A run that is to be recorded looks first ([`require_clean`]), so that hours of work
//! are not thrown away, and once more before it writes.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

/// The result of one experiment. Figures that only one experiment has are in `figures`, beside the others on the wire.
#[derive(Serialize)]
pub struct Proof {
    /// Which experiment.
    pub id: &'static str,
    /// Seed that makes the same choices again.
    pub seed: u64,
    /// Rounds or levels done.
    pub rounds: u64,
    /// Writes the server acknowledged.
    pub acked: u64,
    /// Acknowledged writes that were not there afterwards.
    pub lost: u64,
    /// Effects that were there more than once.
    pub dup: u64,
    /// The experiment's own figures.
    #[serde(flatten)]
    pub figures: serde_json::Map<String, Value>,
    /// Duration.
    pub secs: u64,
    /// `pass` or `fail`.
    pub verdict: &'static str,
    /// The commit the checkout was on; ends in `-dirty` when code differed from it.
    pub commit: String,
    /// UTC day.
    pub date: String,
}

impl Proof {
    /// Prints the line, and appends it to `docs/proofs.jsonl` when asked to.
    ///
    /// # Errors
    /// When the line is to be recorded and the checkout is not clean.
    pub fn publish(&self, record: bool) -> Result<()> {
        let line = serde_json::to_string(self).context("the result line")?;
        println!("{line}");
        if record {
            ensure!(require_clean()? == self.commit, "the commit has changed since the run; nothing was recorded");
            let path = root().join("docs/proofs.jsonl");
            let mut file = File::options().create(true).append(true).open(&path).context("docs/proofs.jsonl")?;
            writeln!(file, "{line}").context("docs/proofs.jsonl")?;
        }
        Ok(())
    }
}

/// The root of the checkout this program was built from.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The current commit in 12 digits, marked `-dirty` when a file differs from it; `unknown` outside of a checkout.
pub fn commit() -> String {
    match Checkout::look(&root()) {
        Ok(Checkout { head, changed }) if changed.is_empty() => head,
        Ok(Checkout { head, .. }) => format!("{head}-dirty"),
        Err(_) => "unknown".to_owned(),
    }
}

/// The current commit, for a record.
///
/// # Errors
/// When the commit is not known, or a file differs from it.
pub fn require_clean() -> Result<String> {
    Checkout::look(&root())?.require_clean()
}

/// The files that records are written to: the record of one run does not make the next one dirty.
const RECORDS: [&str; 2] = ["bench/RESULTS.md", "docs/proofs.jsonl"];
/// How many changed files a message names.
const NAMED_MAX: usize = 5;

/// What a checkout looks like, records left out.
struct Checkout {
    /// The commit, in 12 digits.
    head: String,
    /// Files that differ from it, and files that it does not know and `.gitignore` does not name.
    changed: Vec<String>,
}

impl Checkout {
    fn look(root: &Path) -> Result<Self> {
        let head = git(root, &["rev-parse", "--short=12", "HEAD"])?.trim().to_owned();
        let records = RECORDS.map(|file| format!(":(exclude){file}"));
        let mut status = vec!["status", "--porcelain", "--untracked-files=all", "--", "."];
        status.extend(records.iter().map(String::as_str));
        // Two letters, a space, and the path.
        let changed = git(root, &status)?.lines().filter_map(|line| line.get(3..)).map(str::to_owned).collect();
        Ok(Self { head, changed })
    }

    fn require_clean(self) -> Result<String> {
        if self.changed.is_empty() {
            return Ok(self.head);
        }
        let named = self.changed.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        let more = self.changed.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        bail!("records are made from a clean checkout only, and these files differ from the commit: {named}{more}")
    }
}

/// Today in UTC.
pub fn today() -> String {
    now().strftime("%Y-%m-%d").to_string()
}

/// The real time: a record says on which day it was made, and a faked clock starts from it.
#[expect(clippy::disallowed_methods, reason = "experiments work in real time, and their records say when")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Model name and number of processors.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores")
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    const UNKNOWN: &str = "the commit of this checkout is not known, and records name theirs";
    let output = Command::new("git").current_dir(root).args(arguments).output().context(UNKNOWN)?;
    ensure!(output.status.success(), "{UNKNOWN}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A repository with one commit that has a source file and both records.
    fn repository() -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for path in ["crates/a.rs", RECORDS[0], RECORDS[1], ".gitignore"] {
            write(&directory, path, "target\n");
        }
        for arguments in [&["init", "--quiet"][..], &["add", "."]] {
            git(directory.path(), arguments).unwrap();
        }
        let author = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
        git(directory.path(), &[&author[..], &["commit", "--quiet", "--message", "a commit"]].concat()).unwrap();
        directory
    }

    fn write(directory: &TempDir, path: &str, content: &str) {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn clean(directory: &TempDir) -> Result<String> {
        Checkout::look(directory.path())?.require_clean()
    }

    #[test]
    fn a_clean_checkout_gives_its_commit() {
        let directory = repository();
        let head = git(directory.path(), &["rev-parse", "HEAD"]).unwrap();
        assert_eq!(clean(&directory).unwrap(), head[..12]);
        write(&directory, "target", "what is ignored is not code");
        assert!(clean(&directory).is_ok());
    }

    #[test]
    fn records_of_earlier_runs_are_no_change() {
        let directory = repository();
        RECORDS.iter().for_each(|path| write(&directory, path, "a new line"));
        assert!(clean(&directory).is_ok());
    }

    #[test]
    fn a_changed_a_deleted_and_an_unknown_file_are_refused_by_name() {
        for (path, content) in [
            ("crates/a.rs", Some("changed")),
            ("crates/a.rs", None),
            ("crates/new.rs", Some("x")),
            ("README.md", Some("x")),
        ] {
            let directory = repository();
            match content {
                Some(content) => write(&directory, path, content),
                None => std::fs::remove_file(directory.path().join(path)).unwrap(),
            }
            let message = clean(&directory).unwrap_err().to_string();
            assert!(message.contains("clean checkout") && message.contains(path), "{message}");
        }
    }

    #[test]
    fn many_changed_files_are_named_in_part() {
        let directory = repository();
        (0..8).for_each(|number| write(&directory, &format!("new-{number}"), ""));
        let message = clean(&directory).unwrap_err().to_string();
        assert!(message.contains("new-4 and 3 more") && !message.contains("new-5"), "{message}");
    }

    #[test]
    fn a_directory_without_a_commit_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let message = format!("{:#}", clean(&directory).unwrap_err());
        assert!(message.contains("the commit of this checkout is not known"), "{message}");
    }
}
