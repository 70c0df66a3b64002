//! What the writing thread is asked to do, each in a savepoint of its group's transaction, and how its caller is answered.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use jiff::Timestamp;
use passbook_core::ids::{AppId, LinkId};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::{
    failure::{Closed, ReadError, WriteError, unavailable},
    readers::is_broken,
};
use crate::{port::StoreError, stored::ledger::LedgerEntry};

/// What a request did beside the database.
#[derive(Default)]
pub(super) struct Effects {
    /// Links whose keys were destroyed.
    pub destroyed: Vec<LedgerEntry>,
    /// Something is left to `backlog::work`.
    pub has_backlog: bool,
    /// Due times that do not follow their app's clock yet.
    pub retiming: Option<Retiming>,
}

/// Due times of an app that are changed in pieces, after its clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Retiming {
    /// The app.
    pub app: AppId,
    /// Tells several of them apart.
    pub number: i64,
    /// Real time when the clock was set.
    pub now: Timestamp,
}

/// Why a whole group failed; the same for everyone in it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("writing failed")]
pub(super) struct GroupFailed(#[source] pub(super) Arc<rusqlite::Error>);

/// A bug in a request.
#[derive(Debug, thiserror::Error)]
#[error("a request to the store panicked")]
pub(super) struct Panicked;

/// The deletion ledger could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the deletion ledger cannot be written")]
pub(super) struct LedgerFailed;

/// One queued request.
pub(super) trait Request: Send {
    /// The link whose rows it writes.
    fn link(&self) -> Option<&LinkId>;

    /// Runs within the open transaction; an error means that the whole group is lost.
    fn run(&mut self, connection: &Connection, effects: &mut Effects) -> Result<(), rusqlite::Error>;

    /// Answers the caller.
    fn settle(self: Box<Self>, fate: &Fate);

    /// Whether the thread ends after the group.
    #[cfg(feature = "fault-hooks")]
    fn ends_thread(&self) -> bool {
        false
    }
}

/// What became of a group.
pub(super) enum Fate {
    Committed,
    /// Committed, but the deletion ledger was not synced.
    Unrecorded,
    Failed(GroupFailed),
}

/// A request of the store's own port.
pub(super) struct Task<T, F> {
    apply: Option<F>,
    link: Option<LinkId>,
    outcome: Option<Result<T, WriteError>>,
    destroyed: bool,
    reply: oneshot::Sender<Result<T, WriteError>>,
}

impl<T, F> Task<T, F> {
    pub(super) fn new(apply: F, link: Option<LinkId>, reply: oneshot::Sender<Result<T, WriteError>>) -> Self {
        Self { apply: Some(apply), link, outcome: None, destroyed: false, reply }
    }
}

impl<T, F> Request for Task<T, F>
where
    T: Send,
    F: FnOnce(&Connection, &mut Effects) -> Result<T, WriteError> + Send,
{
    fn link(&self) -> Option<&LinkId> {
        self.link.as_ref()
    }

    fn run(&mut self, connection: &Connection, effects: &mut Effects) -> Result<(), rusqlite::Error> {
        let Some(apply) = self.apply.take() else { return Ok(()) };
        let mut own = Effects::default();
        let outcome = within_savepoint(connection, || apply(connection, &mut own))?;
        if outcome.is_ok() {
            self.destroyed = !own.destroyed.is_empty();
            effects.destroyed.append(&mut own.destroyed);
            effects.has_backlog |= own.has_backlog;
        }
        self.outcome = Some(outcome);
        Ok(())
    }

    fn settle(self: Box<Self>, fate: &Fate) {
        let answer = match (fate, self.outcome) {
            // Not `Unavailable`, which says that nothing changed: the link is gone already.
            (Fate::Unrecorded, _) if self.destroyed => Err(StoreError::OutcomeUnknown(Box::new(LedgerFailed)).into()),
            (Fate::Committed | Fate::Unrecorded, Some(outcome)) => outcome,
            (Fate::Committed | Fate::Unrecorded, None) => Err(unavailable(Closed).into()),
            (Fate::Failed(failure), _) => Err(unavailable(failure.clone()).into()),
        };
        // A caller that stopped waiting does not want the answer.
        let _gone = self.reply.send(answer);
    }
}

/// Ends the thread, as a bug outside of any request would.
#[cfg(feature = "fault-hooks")]
pub(super) struct EndOfThread {
    pub(super) panics: bool,
}

#[cfg(feature = "fault-hooks")]
impl Request for EndOfThread {
    fn link(&self) -> Option<&LinkId> {
        None
    }

    fn run(&mut self, _: &Connection, _: &mut Effects) -> Result<(), rusqlite::Error> {
        assert!(!self.panics, "ended by a fault hook");
        Ok(())
    }

    fn settle(self: Box<Self>, _: &Fate) {}

    fn ends_thread(&self) -> bool {
        true
    }
}

/// Runs `work`; what it wrote goes when it fails. An error of the outer result means that the whole group is lost.
pub(super) fn within_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T, WriteError>,
) -> Result<Result<T, WriteError>, rusqlite::Error> {
    connection.prepare_cached("SAVEPOINT request")?.execute([])?;
    // A panic is a bug in one request. The others of the group, and the thread, go on without it.
    let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(unavailable(Panicked).into()));
    match outcome {
        Err(WriteError::Failed(ReadError::Database(error))) if spoils_group(&error, connection) => return Err(error),
        Err(_) => {
            connection.prepare_cached("ROLLBACK TO request")?.execute([])?;
        }
        Ok(_) => {}
    }
    connection.prepare_cached("RELEASE request")?.execute([])?;
    Ok(outcome)
}

/// Whether the error says something about the database rather than about one request.
pub(super) fn spoils_group(error: &rusqlite::Error, connection: &Connection) -> bool {
    connection.is_autocommit()
        || is_broken(error)
        || matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::ReadOnly
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::OperationInterrupted
            )
        )
}
