//! What only the embedded store promises: its file, its master key, its lock, its deletion ledger.
//!
//! The cases look into the database file with a connection of their own, which one process may have beside the store's.
#![cfg(unix)]

mod at_rest;
#[path = "../statements/crowd.rs"]
mod crowd;
mod damage;
mod deletion;
#[path = "../behaviour/examples.rs"]
mod examples;
mod inconsistent;
mod master_keys;
mod migrating;
mod opening;
#[path = "../behaviour/paths.rs"]
mod paths;
mod pieces;
mod plans;
mod reading;
mod reservations;
#[path = "../statements/sources.rs"]
mod sources;
mod speed;

use std::path::PathBuf;

use passbook_core::link::Link;
use passbook_store::{
    sealing::MasterKey,
    sqlite::{OpenError, OpenOptions, SqliteStore},
};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

/// A directory with a store and its key.
struct Home {
    directory: TempDir,
    key: MasterKey,
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory"), key: MasterKey::generate() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn database(&self) -> PathBuf {
        self.path("passbook.db")
    }

    fn open(&self) -> SqliteStore {
        self.try_open(Some(self.key.clone())).expect("the store opens")
    }

    fn try_open(&self, master_key: Option<MasterKey>) -> Result<SqliteStore, OpenError> {
        SqliteStore::open(OpenOptions {
            path: self.database(),
            master_keys: master_key.into_iter().collect(),
            deletion_ledger: self.path("deletions.ledger"),
            clock: std::sync::Arc::new(examples::FixedClock),
            renderer: 7,
            render_stub: &stub,
        })
    }

    /// A connection beside the store's own.
    fn raw(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags_and_vfs(self.database(), flags, "unix-excl").expect("the database opens")
    }
}

fn stub(link: &Link) -> Vec<u8> {
    format!("stub of {} in state {}", link.id, link.state.as_str()).into_bytes()
}
