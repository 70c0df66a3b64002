//! `torture damaged-directories`: data directories that a disk, a copy or a person damaged.
//!
//! Two sound directories are made: one of a server that was stopped, one of a server that was killed and whose last
//! writes are in the write-ahead log only. What the server answers about every link is noted. Then copies are damaged,
//! each in one way, and a server is started on each. It must refuse by name and leave the files as they are, or serve
//! exactly what was noted. It may refuse single reads; then it must not call itself ready, and `doctor` must name the
//! damage. It must never take the directory for a new one, and never answer anything else.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::DamagedDirectoriesOptions;
use super::conduct::Conduct;
use crate::api::{Api, sandbox_link};
use crate::rng::Rng;
use crate::server::{Plan, Server, is_ready};

/// A clock that stands still, so that the same question has the same answer.
const FROZEN_AT: &str = "2026-01-15T09:00:00Z";
/// Links of the first directory, and links that the second one has besides.
const LINKS: u64 = 4;
const LINKS_IN_LOG: u64 = 2;
/// What is asked about each link, after its path.
const QUESTIONS: [&str; 5] = ["", "/accounts", "/accounts/numbers", "/identity", "/transactions?page=1&size=200"];
/// Parts of the refusals that name what is wrong.
const NAMED: [&str; 8] = [
    "is damaged:",
    "there is no store at",
    "the master key of the existing store is missing",
    "the master key is not the one this store was made with",
    "is malformed",
    "belongs to the user with id",
    "is not a regular file",
    "is shared with other programs",
];
const SECTOR: u64 = 512;

/// How a directory is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Damage {
    DatabaseMissing,
    DatabaseEmpty,
    DatabaseCut,
    DatabaseCutAtPage,
    HeaderOverwritten,
    PageZeroed,
    PagesSwapped,
    PageRepeated,
    SectorZeroed,
    DatabaseForeign,
    KeyMissing,
    KeyForeign,
    KeyEmpty,
    OnlyKeyLeft,
    OnlyLedgerLeft,
    LedgerMissing,
    LedgerCut,
    LedgerOverwritten,
    LogMissing,
    LogCut,
    DevFileMissing,
    OtherOwner,
    DatabaseIsLink,
    LockIsLink,
    ModesWide,
}

impl Damage {
    const ALL: [Self; 25] = [
        Self::DatabaseMissing,
        Self::PagesSwapped,
        Self::PageZeroed,
        Self::DatabaseCut,
        Self::OnlyKeyLeft,
        Self::KeyForeign,
        Self::SectorZeroed,
        Self::DatabaseEmpty,
        Self::PageRepeated,
        Self::OtherOwner,
        Self::OnlyLedgerLeft,
        Self::DatabaseForeign,
        Self::DatabaseCutAtPage,
        Self::HeaderOverwritten,
        Self::KeyMissing,
        Self::LogCut,
        Self::LedgerMissing,
        Self::KeyEmpty,
        Self::LedgerCut,
        Self::LedgerOverwritten,
        Self::LogMissing,
        Self::DevFileMissing,
        Self::DatabaseIsLink,
        Self::LockIsLink,
        Self::ModesWide,
    ];

    /// A start on it may not succeed.
    fn must_be_refused(self) -> bool {
        matches!(
            self,
            Self::DatabaseMissing
                | Self::DatabaseEmpty
                | Self::HeaderOverwritten
                | Self::DatabaseForeign
                | Self::KeyMissing
                | Self::KeyForeign
                | Self::KeyEmpty
                | Self::OnlyKeyLeft
                | Self::OnlyLedgerLeft
                | Self::LedgerOverwritten
                | Self::OtherOwner
                | Self::DatabaseIsLink
                | Self::LockIsLink
        )
    }

    /// What is only in the log may be missing: a log that was cut cannot be told from one whose end was never written.
    fn may_lose_the_log(self) -> bool {
        matches!(self, Self::LogMissing | Self::LogCut)
    }
}

/// A sound directory and what a server answers on it.
struct Sound {
    directory: PathBuf,
    /// Answers by path.
    truth: BTreeMap<String, Vec<u8>>,
}

/// What became of one start.
enum Outcome {
    Refused,
    Served { refused_reads: u64 },
}

/// Runs the experiment.
pub async fn run(options: DamagedDirectoriesOptions) -> Result<()> {
    let conduct = Conduct::new(&options.common, &["--frozen-at", FROZEN_AT])?;
    conduct.run("S31-damaged-directories", &options.common, async |conduct| experiment(conduct, &options).await).await
}

async fn experiment(conduct: &mut Conduct, options: &DamagedDirectoriesOptions) -> Result<()> {
    let stopped = make_stopped(conduct).await.context("the first sound directory")?;
    let killed = make_killed(conduct, &stopped).await.context("the second sound directory")?;
    let foreign = make_foreign(conduct).await.context("a foreign directory")?;
    let mut rng = Rng::new(conduct.seed, 0);
    let is_root = is_root(conduct.directory())?;
    let mut seen: BTreeMap<Damage, u64> = BTreeMap::new();
    let (mut refused, mut served, mut refused_reads, mut skipped) = (0_u64, 0_u64, 0_u64, 0_u64);
    for round in 0..options.directories {
        let damage = Damage::ALL[usize::try_from(round)? % Damage::ALL.len()];
        if damage == Damage::OtherOwner && !is_root {
            skipped += 1;
            continue;
        }
        // The log belongs to the killed server; everything else happens to both.
        let sound = if damage.may_lose_the_log() || rng.below(2) == 0 { &killed } else { &stopped };
        let home = TempDir::new_in(conduct.directory())?;
        let context = || format!("directory {round}, {damage:?}");
        let mut plan = Plan::new(conduct.plan.binary.clone(), home.path(), conduct.plan.arguments.clone())?;
        plan.environment.push(("PASSBOOK_LOG".to_owned(), "off".to_owned()));
        super::copy_files(&sound.directory, &plan.data)?;
        inflict(damage, &plan.data, &foreign, home.path(), &mut rng).with_context(context)?;
        match judge(conduct, &plan, damage, sound, &stopped).await.with_context(context)? {
            Outcome::Refused => refused += 1,
            Outcome::Served { refused_reads: reads } => {
                served += 1;
                refused_reads += reads;
            }
        }
        *seen.entry(damage).or_default() += 1;
        conduct.rounds += 1;
    }
    conduct.figure("refused", refused);
    conduct.figure("served", served);
    conduct.figure("reads_refused", refused_reads);
    conduct.figure("kinds", seen.len());
    conduct.figure("skipped_without_root", skipped);
    ensure!(refused > 0 && served > 0, "{refused} refused and {served} served: the experiment saw one side only");
    Ok(())
}

async fn make_stopped(conduct: &mut Conduct) -> Result<Sound> {
    let server = Server::start(&conduct.plan).await?;
    let mut api = Api::new(&server);
    let mut links = vec![server.access.link_id.clone()];
    for number in 0..LINKS {
        links.push(make_link(&mut api, number).await?);
    }
    // A link that is gone must stay gone, and the ledger has a line.
    let gone = links.pop().context("a link")?;
    let answer = api.call("DELETE", &format!("/links/{gone}"), crate::api::Body::Empty).await?;
    ensure!(answer.status < 300, "deleting answered {}", answer.status);
    let mut truth = ask_all(&mut api, &links).await?;
    let of_gone = format!("/links/{gone}");
    truth.insert(of_gone.clone(), ask(&mut api, &of_gone).await?.1);
    conduct.tally.acked += links.len() as u64;
    server.stop().await?;
    keep(conduct, "stopped", truth)
}

async fn make_killed(conduct: &mut Conduct, stopped: &Sound) -> Result<Sound> {
    let server = Server::start(&conduct.plan).await?;
    let mut api = Api::new(&server);
    let mut links = Vec::new();
    for number in 0..LINKS_IN_LOG {
        links.push(make_link(&mut api, 100 + number).await?);
    }
    let mut truth = stopped.truth.clone();
    for (path, answer) in &stopped.truth {
        ensure!(ask(&mut api, path).await?.1 == *answer, "{path} has another answer after a restart");
    }
    truth.extend(ask_all(&mut api, &links).await?);
    conduct.tally.acked += links.len() as u64;
    server.kill()?;
    let sound = keep(conduct, "killed", truth)?;
    let log = sound.directory.join("passbook.db-wal");
    ensure!(fs::metadata(&log).is_ok_and(|log| log.len() > 0), "the killed server left no write-ahead log");
    Ok(sound)
}

/// A store with another key.
async fn make_foreign(conduct: &Conduct) -> Result<PathBuf> {
    let home = conduct.directory().join("foreign");
    fs::create_dir(&home)?;
    let plan = Plan::new(conduct.plan.binary.clone(), &home, conduct.plan.arguments.clone())?;
    Server::start(&plan).await?.stop().await?;
    Ok(plan.data)
}

fn keep(conduct: &Conduct, name: &str, truth: BTreeMap<String, Vec<u8>>) -> Result<Sound> {
    let directory = conduct.directory().join(name);
    fs::create_dir(&directory)?;
    super::copy_files(&conduct.plan.data, &directory)?;
    Ok(Sound { directory, truth })
}

async fn make_link(api: &mut Api, number: u64) -> Result<String> {
    let made = api.call_until_admitted("POST", "/sandbox/links", &sandbox_link(&format!("user-{number}"))).await?;
    made.json()["link_id"].as_str().map(ToOwned::to_owned).with_context(|| format!("a link answered {}", made.status))
}

async fn ask_all(api: &mut Api, links: &[String]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut truth = BTreeMap::new();
    for link in links {
        for question in QUESTIONS {
            let path = format!("/links/{link}{question}");
            let (status, body) = ask(api, &path).await?;
            ensure!(status == 200, "GET {path} answered {status}");
            truth.insert(path, body);
        }
    }
    Ok(truth)
}

/// Status and body; a read is asked once, because a refusal is an answer here.
async fn ask(api: &mut Api, path: &str) -> Result<(u16, Vec<u8>)> {
    let answer = api.call("GET", path, crate::api::Body::Empty).await.with_context(|| format!("GET {path}"))?;
    Ok((answer.status, answer.body))
}

fn inflict(damage: Damage, data: &Path, foreign: &Path, home: &Path, rng: &mut Rng) -> Result<()> {
    let (database, key) = (data.join("passbook.db"), data.join("master.key"));
    let (ledger, log) = (data.join("deletions.ledger"), data.join("passbook.db-wal"));
    let length = fs::metadata(&database)?.len();
    let page = page_size(&database)?;
    let pages = length / page;
    // The first page is the header's, which has kinds of its own.
    let mut some_page = || 1 + rng.below(pages - 1);
    match damage {
        Damage::DatabaseMissing => {
            fs::remove_file(&database)?;
            remove(&log)
        }
        Damage::DatabaseEmpty => {
            cut(&database, 0)?;
            remove(&log)
        }
        Damage::DatabaseCut => cut(&database, 1 + some_page() * page - rng.below(page)),
        Damage::DatabaseCutAtPage => cut(&database, some_page() * page),
        Damage::HeaderOverwritten => overwrite(&database, 0, &[0x5a; 100]),
        Damage::PageZeroed => overwrite(&database, some_page() * page, &vec![0; usize::try_from(page)?]),
        Damage::PagesSwapped | Damage::PageRepeated => {
            let one = some_page();
            let other = 1 + (one + rng.below(pages - 2)) % (pages - 1);
            let bytes = fs::read(&database)?;
            let of = |number: u64| -> Result<&[u8]> {
                let begin = usize::try_from(number * page)?;
                Ok(&bytes[begin..begin + usize::try_from(page)?])
            };
            overwrite(&database, one * page, of(other)?)?;
            match damage {
                Damage::PagesSwapped => overwrite(&database, other * page, of(one)?),
                _ => Ok(()),
            }
        }
        Damage::SectorZeroed => overwrite(&database, page + rng.below((length - page) / SECTOR) * SECTOR, &[0; 512]),
        Damage::DatabaseForeign => {
            remove(&log)?;
            copy(&foreign.join("passbook.db"), &database)
        }
        Damage::KeyMissing => Ok(fs::remove_file(&key)?),
        Damage::KeyForeign => copy(&foreign.join("master.key"), &key),
        Damage::KeyEmpty => cut(&key, 0),
        Damage::OnlyKeyLeft => remove_all_but(data, &key),
        Damage::OnlyLedgerLeft => remove_all_but(data, &ledger),
        Damage::LedgerMissing => Ok(fs::remove_file(&ledger)?),
        Damage::LedgerCut => {
            let length = fs::metadata(&ledger)?.len();
            cut(&ledger, rng.below(length))
        }
        Damage::LedgerOverwritten => Ok(fs::write(&ledger, "nothing that is a deletion\n")?),
        Damage::LogMissing => Ok(fs::remove_file(&log)?),
        Damage::LogCut => {
            let length = fs::metadata(&log)?.len();
            cut(&log, rng.below(length))
        }
        Damage::DevFileMissing => remove(&data.join("dev.json")),
        Damage::OtherOwner => {
            let victims = [data.to_owned(), database, key, ledger];
            Ok(chown(&victims[rng.index(victims.len())], Some(12_345), None)?)
        }
        Damage::DatabaseIsLink => {
            let elsewhere = home.join("elsewhere.db");
            fs::rename(&database, &elsewhere)?;
            Ok(symlink(elsewhere, database)?)
        }
        Damage::LockIsLink => {
            let lock = data.join("passbook.db.lock");
            remove(&lock)?;
            Ok(symlink(home.join("somebody's"), lock)?)
        }
        Damage::ModesWide => {
            for entry in fs::read_dir(data)? {
                fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o666))?;
            }
            Ok(fs::set_permissions(data, fs::Permissions::from_mode(0o777))?)
        }
    }
}

async fn judge(
    conduct: &mut Conduct,
    plan: &Plan,
    damage: Damage,
    sound: &Sound,
    before_log: &Sound,
) -> Result<Outcome> {
    let before = contents(&plan.data)?;
    let server = match Server::start(plan).await {
        Ok(server) => server,
        Err(refusal) => {
            let text = format!("{refusal:#}");
            ensure!(NAMED.iter().any(|name| text.contains(name)), "the refusal names nothing: {text}");
            // Nothing of the store may be made, changed or removed.
            for (name, bytes) in contents(&plan.data)? {
                let is_own = ["passbook.db", "master.key", "deletions.ledger"].contains(&name.as_str());
                ensure!(!is_own || before.get(&name) == Some(&bytes), "a refused start changed or made {name}");
            }
            return Ok(Outcome::Refused);
        }
    };
    ensure!(!damage.must_be_refused(), "it was served");
    let mut api = Api::new(&server);
    let mut refused_reads = 0;
    for (path, truth) in &sound.truth {
        let (status, body) = ask(&mut api, path).await?;
        let was_only_in_log = damage.may_lose_the_log() && !before_log.truth.contains_key(path);
        match status {
            _ if body == *truth => {}
            500.. => refused_reads += 1,
            // An earlier commit of a link whose every commit is in the log, or none of them.
            _ if was_only_in_log => {}
            _ => conduct.tally.findings.push(format!(
                "{damage:?}: GET {path} answered {status} and something else than before: {}",
                String::from_utf8_lossy(&body[..body.len().min(300)])
            )),
        }
    }
    if refused_reads > 0 {
        ensure!(
            !is_ready(server.address).await,
            "{refused_reads} reads were refused, and the server calls itself ready"
        );
        let output = Command::new(&plan.binary).arg("doctor").arg("--data").arg(&plan.data).output()?;
        ensure!(!output.status.success(), "{refused_reads} reads were refused, and `doctor` finds nothing");
    }
    for entry in fs::read_dir(&plan.data)? {
        let entry = entry?;
        let mode = entry.metadata()?.mode() & 0o777;
        ensure!(mode & 0o077 == 0, "{} has mode {mode:o}", entry.path().display());
    }
    let mode = fs::metadata(&plan.data)?.mode() & 0o777;
    ensure!(mode == 0o700, "the data directory has mode {mode:o}");
    server.stop().await?;
    Ok(Outcome::Served { refused_reads })
}

/// The plain files of a directory by name.
fn contents(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
        }
    }
    Ok(files)
}

fn page_size(database: &Path) -> Result<u64> {
    let bytes = fs::read(database)?;
    let size = bytes.get(16..18).context("a database without a header")?;
    Ok(u64::from(u16::from_be_bytes([size[0], size[1]])))
}

fn cut(path: &Path, length: u64) -> Result<()> {
    Ok(File::options().write(true).open(path)?.set_len(length)?)
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    Ok(File::options().write(true).open(path)?.write_all_at(bytes, at)?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)?;
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn remove_all_but(directory: &Path, kept: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path != kept {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Whether this process may give files away.
fn is_root(directory: &Path) -> Result<bool> {
    let file = tempfile::NamedTempFile::new_in(directory)?;
    Ok(chown(file.path(), Some(12_345), None).is_ok())
}
