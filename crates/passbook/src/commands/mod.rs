//! Operator commands: from the command line to a request, and from its answer to text.
//!
//! A command goes to the server that has the store, over its control socket, or opens a store that nobody has. Both
//! ways execute the same request ([`crate::operator`]), so they cannot differ.

mod arguments;
mod doctor;
mod migrate;
mod reach;
mod render;
mod restore;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use passbook_core::time::Clock as _;
use passbook_store::{port::Upkeep, sealing::Keys};

pub use self::arguments::OperatorCommand;
use self::arguments::Work;
use crate::{operator::Answer, system::SystemClock};

/// A store that a command has opened.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Upkeep>,
    /// Its keys.
    pub keys: Arc<Keys>,
}

/// A store that a command cannot open.
#[derive(Debug)]
pub enum OpenFailure {
    /// Another process has it.
    InUse,
    /// Anything else.
    Other(anyhow::Error),
}

/// The schema that a store has and the one that this release has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Of the store; `None` when there is no store yet.
    pub found: Option<i32>,
    /// Of this release.
    pub known: i32,
}

/// The stores that commands may use; the composition root knows which they are.
pub trait Stores {
    /// The data directory that is meant, when the command line says `given`.
    fn data(&self, given: &Path) -> PathBuf {
        given.to_owned()
    }

    /// Opens the store in `data`, which must exist.
    ///
    /// # Errors
    /// [`OpenFailure`].
    fn open<'a>(&'a self, data: &'a Path) -> BoxFuture<'a, Result<Opened, OpenFailure>>;

    /// Makes the store in `data`, where there is none, as the first start of a server would.
    ///
    /// # Errors
    /// [`OpenFailure`]; also when the command line alone names `data`, because a mistyped path must not become a store.
    fn create<'a>(&'a self, data: &'a Path) -> BoxFuture<'a, Result<Opened, OpenFailure>>;

    /// Looks at the schema in `data` without changing it.
    ///
    /// # Errors
    /// [`OpenFailure`].
    fn schema<'a>(&'a self, data: &'a Path) -> BoxFuture<'a, Result<Schema, OpenFailure>>;

    /// Verifies the backup `from` and puts it into `data`. Returns what is to be told about it.
    ///
    /// # Errors
    /// With the reason; nothing is left in `data` then.
    fn restore(&self, from: &Path, data: &Path, deletions: Option<&Path>) -> anyhow::Result<RestoredShown>;

    /// The files beside the store in `data`: master keys, deletion ledger.
    fn files(&self, data: &Path) -> StoreFiles;
}

/// Files beside a store.
pub struct StoreFiles {
    /// Master keys; `None` when they do not come from a file.
    pub keys: Option<PathBuf>,
    /// Deletion ledger.
    pub ledger: PathBuf,
    /// The database itself.
    pub database: PathBuf,
}

/// What is told about a restored backup.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RestoredShown {
    /// When the backup was begun.
    pub created_at: jiff::Timestamp,
    /// Version of the master key that it needs.
    pub master_key_version: u32,
    /// Whether that key is there.
    pub key_at_hand: bool,
}

/// Runs a command. `false` when it ran and found something wrong.
///
/// # Errors
/// When it could not be done.
pub async fn run(command: OperatorCommand, stores: &dyn Stores) -> anyhow::Result<bool> {
    let target = command.target();
    let (data, json) = (stores.data(&target.data), target.json);
    match command.work()? {
        Work::Request(request) => {
            let answer = reach::fulfil(&data, request, stores).await?;
            show(&answer, json)?;
            Ok(true)
        }
        Work::Doctor => {
            let checks = doctor::examine(&data, stores).await;
            let is_well = checks.iter().all(|check| check.verdict < crate::operator::Verdict::Fail);
            show(&Answer::Checks(checks), json)?;
            Ok(is_well)
        }
        Work::Migrate { check } => migrate::migrate(&data, check, json, stores).await,
        Work::Restore { from, deletions, without_deletions } => {
            restore::restore(&from, &data, deletions.as_deref(), without_deletions, stores).await?;
            Ok(true)
        }
    }
}

fn show(answer: &Answer, json: bool) -> anyhow::Result<()> {
    let text = match json {
        true => render::json(answer)?,
        false => render::text(answer),
    };
    write_out(&text)
}

/// Whole lines to standard output. The one place, because a secret that does not come through must be an error.
fn write_out(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output is closed")
}

/// The backup to make: `to` itself, or a directory in it that is named by the time.
fn backup_destination(to: &Path) -> anyhow::Result<PathBuf> {
    let to = std::path::absolute(to).context("the backup's path cannot be used")?;
    let now = SystemClock.now().strftime("%Y%m%dT%H%M%SZ");
    Ok(if to.is_dir() { to.join(format!("passbook-{now}")) } else { to })
}
