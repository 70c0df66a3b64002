//! The check-up: named checks, each with what was seen and what to do.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use passbook_store::port::{Examination, MasterKeyUse};

use super::{Check, Operator, Verdict};

/// Skew of the machine's clock from which readiness is withdrawn.
const SKEW_MAX: SignedDuration = SignedDuration::from_secs(30);
/// A due job waits at most seconds while workers run.
const WAITING_MAX: SignedDuration = SignedDuration::from_mins(10);
/// Free disk space below which a check-up warns, and below which it fails.
const FREE_BYTES_WARN: u64 = 1 << 30;
const FREE_BYTES_FAIL: u64 = 64 << 20;

/// What to do about a damaged store.
const RESTORE: &str = "stop the server, keep the files, and restore the newest backup; see docs/backup.md";

impl Check {
    /// A check that went well.
    pub fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), verdict: Verdict::Ok, detail: detail.into(), remedy: None }
    }

    /// A check that did not, and what to do.
    pub fn not_ok(name: &str, verdict: Verdict, detail: impl Into<String>, remedy: &str) -> Self {
        Self { name: name.to_owned(), verdict, detail: detail.into(), remedy: Some(remedy.to_owned()) }
    }
}

/// Checks of an open store.
pub(super) async fn store_checks(operator: &Operator) -> Vec<Check> {
    let (store, wall) = (&operator.store, operator.wall.now());
    let mut checks = vec![clock_check(store.now(), wall)];
    match store.examine().await {
        Ok(examination) => checks.extend(examination_checks(&examination, store.now())),
        Err(error) => checks.push(Check::not_ok(
            "store",
            Verdict::Fail,
            format!("the store cannot be examined: {}", chain(&error)),
            "look at the server's log and at the disk",
        )),
    }
    // After the examination, which may meet some.
    checks.push(match store.met_damage() {
        None => Check::ok("damage", "none was met since the store was opened"),
        Some(what) => Check::not_ok("damage", Verdict::Fail, what, RESTORE),
    });
    match store.list_master_keys().await {
        Ok(keys) => checks.push(key_check(&keys)),
        Err(error) => checks.push(Check::not_ok(
            "master key",
            Verdict::Fail,
            format!("the master keys cannot be listed: {}", chain(&error)),
            "look at the server's log and at the disk",
        )),
    }
    checks
}

fn clock_check(store_now: Timestamp, wall: Timestamp) -> Check {
    let skew = wall.duration_since(store_now);
    if skew.abs() <= SKEW_MAX {
        return Check::ok("clock", "this machine's clock agrees with the store's time");
    }
    let detail = format!("this machine's clock is {} s off the store's time", skew.as_secs());
    Check::not_ok("clock", Verdict::Fail, detail, "set the clock right; run a time service such as chrony")
}

fn examination_checks(seen: &Examination, now: Timestamp) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.push(match seen.schema_version == seen.schema_known {
        true => Check::ok("schema", format!("version {}", seen.schema_version)),
        false => Check::not_ok(
            "schema",
            Verdict::Fail,
            format!("version {}, this release has {}", seen.schema_version, seen.schema_known),
            "run `passbook migrate` of the newest release that you use",
        ),
    });
    checks.push(match (seen.damage_searched, seen.damage.is_empty()) {
        (true, true) => Check::ok("integrity", "the database is consistent"),
        (true, false) => Check::not_ok("integrity", Verdict::Fail, seen.damage.join("; "), RESTORE),
        (false, _) => Check::ok("integrity", "not looked for here; use pg_amcheck of the database server"),
    });
    checks.push(jobs_check(seen, now));
    checks.push(match seen.undestroyed {
        0 => Check::ok("deletions", "no deleted link has a key"),
        count => Check::not_ok(
            "deletions",
            Verdict::Fail,
            format!("{count} deleted links still have a key"),
            "restart the server: opening the store destroys them again",
        ),
    });
    let unused = seen.bytes_unused.saturating_mul(100).checked_div(seen.bytes).unwrap_or(0);
    let detail = format!("{} MiB, {unused} % of it unused", seen.bytes >> 20);
    checks.push(match unused {
        51.. if seen.bytes > FREE_BYTES_FAIL => Check::not_ok(
            "size",
            Verdict::Warn,
            detail,
            "nothing is wrong: the space is used again; a backup that is restored is as large",
        ),
        _ => Check::ok("size", detail),
    });
    checks
}

fn jobs_check(seen: &Examination, now: Timestamp) -> Check {
    let waiting = seen.oldest_due_at.map(|due| now.duration_since(due));
    let detail = format!("{} unfinished, {} begun again and again", seen.jobs_open, seen.jobs_struggling);
    if seen.jobs_struggling > 0 {
        return Check::not_ok(
            "jobs",
            Verdict::Warn,
            detail,
            "look in the log for the ids of jobs that are interrupted",
        );
    }
    match waiting {
        Some(waiting) if waiting > WAITING_MAX => Check::not_ok(
            "jobs",
            Verdict::Warn,
            format!("{detail}; one has been due for {} minutes", waiting.as_mins()),
            "start a server with workers, or look in the log why they do not get on",
        ),
        _ => Check::ok("jobs", detail),
    }
}

fn key_check(keys: &[MasterKeyUse]) -> Check {
    let needed = keys.iter().filter(|key| key.active || key.links > 0 || key.instance_values > 0);
    let missing: Vec<_> = needed.filter(|key| !key.at_hand).map(|key| key.version.to_string()).collect();
    if !missing.is_empty() {
        return Check::not_ok(
            "master key",
            Verdict::Fail,
            format!("versions {} are needed and not at hand", missing.join(", ")),
            "put the missing lines back into the key file",
        );
    }
    let older: u64 = keys.iter().filter(|key| !key.active).map(|key| key.links + key.instance_values).sum();
    match older {
        0 => Check::ok("master key", "the active master key wraps everything"),
        count => Check::not_ok(
            "master key",
            Verdict::Warn,
            format!("older master keys still wrap {count} values"),
            "a running server wraps them anew by itself; look again later",
        ),
    }
}

/// Checks of the files beside a store, which need no open store.
pub fn file_checks(data: &Path, key_file: Option<&Path>, ledger: &Path) -> Vec<Check> {
    let keys = key_file.map(|path| mode_check("key file", path));
    keys.into_iter().chain([ledger_check(ledger), space_check(data)]).collect()
}

fn mode_check(name: &str, path: &Path) -> Check {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            let detail = format!("{}: {error}", path.display());
            return Check::not_ok(name, Verdict::Fail, detail, "put the original file back; a new key opens nothing");
        }
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let detail = format!("{} has mode {mode:o}: others may use it", path.display());
            return Check::not_ok(name, Verdict::Fail, detail, "chmod 600 the file, and rotate the key if it was read");
        }
    }
    Check::ok(name, format!("{}, {} bytes, for its owner only", path.display(), metadata.len()))
}

fn ledger_check(path: &Path) -> Check {
    match std::fs::File::options().read(true).append(true).open(path) {
        Ok(_) => Check::ok("deletion ledger", path.display().to_string()),
        Err(error) => Check::not_ok(
            "deletion ledger",
            Verdict::Fail,
            format!("{}: {error}", path.display()),
            "make it readable and writable for the server; if it is lost, restore it before any backup of the store",
        ),
    }
}

fn space_check(data: &Path) -> Check {
    let Some(free) = free_bytes(data) else {
        return Check::not_ok("disk", Verdict::Warn, "free space cannot be told", "look at it with `df`");
    };
    let detail = format!("{} MiB free", free >> 20);
    match free {
        ..FREE_BYTES_FAIL => {
            Check::not_ok("disk", Verdict::Fail, detail, "make room: writes are refused when it is full")
        }
        FREE_BYTES_FAIL..FREE_BYTES_WARN => Check::not_ok("disk", Verdict::Warn, detail, "make room before it is full"),
        _ => Check::ok("disk", detail),
    }
}

/// Free space by `df`, in the form that POSIX lays down: the standard library cannot tell it.
fn free_bytes(path: &Path) -> Option<u64> {
    let output = std::process::Command::new("df").arg("-Pk").arg("--").arg(path).output().ok()?;
    parse_df(std::str::from_utf8(&output.stdout).ok()?)
}

fn parse_df(text: &str) -> Option<u64> {
    let line = text.lines().nth(1)?;
    // Name, blocks, used, available, capacity, mount point; only the name and the last may hold spaces.
    let capacity = line.split_ascii_whitespace().position(|word| word.ends_with('%'))?;
    let available: u64 = line.split_ascii_whitespace().nth(capacity.checked_sub(1)?)?.parse().ok()?;
    Some(available.saturating_mul(1024))
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_named_with_what_to_do() {
        let now = Timestamp::UNIX_EPOCH;
        let good = Examination { schema_version: 4, schema_known: 4, damage_searched: true, ..Examination::default() };
        assert!(examination_checks(&good, now).iter().all(|check| check.verdict == Verdict::Ok));
        let bad = Examination {
            schema_version: 3,
            damage: vec!["page 7 is never used".into()],
            jobs_struggling: 1,
            undestroyed: 2,
            ..good
        };
        let checks = examination_checks(&bad, now);
        let of = |name: &str| checks.iter().find(|check| check.name == name).map(|check| check.verdict);
        assert_eq!(of("schema"), Some(Verdict::Fail));
        assert_eq!(of("integrity"), Some(Verdict::Fail));
        assert_eq!(of("jobs"), Some(Verdict::Warn));
        assert_eq!(of("deletions"), Some(Verdict::Fail));
        assert!(checks.iter().all(|check| check.verdict == Verdict::Ok || check.remedy.is_some()));
    }

    #[test]
    fn a_clock_that_is_off_fails() {
        let now = Timestamp::UNIX_EPOCH;
        let later = |seconds| now + SignedDuration::from_secs(seconds);
        assert_eq!(clock_check(now, later(30)).verdict, Verdict::Ok);
        assert_eq!(clock_check(now, later(31)).verdict, Verdict::Fail);
        assert_eq!(clock_check(later(31), now).verdict, Verdict::Fail);
    }

    #[test]
    fn free_space_is_read_from_df() {
        let text = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/my disk 100 40 60 40% /mnt/a b\n";
        assert_eq!(parse_df(text), Some(61_440));
        assert_eq!(parse_df(""), None);
    }
}
