//! Failures of the database, before they become the port's errors.
//!
//! The driver's own errors are never passed on: their details quote rows. What is kept is the SQLSTATE and, where it
//! cannot quote anything, the message.

use std::error::Error as _;

use tokio_postgres::{Error, error::SqlState};

use crate::port::{CommitError, Guard, StoreError};

/// A unit of work that failed.
#[derive(Debug)]
pub(super) enum WriteError {
    /// A guard was lost.
    Conflict(Guard),
    /// A guard was lost that the unit of work had chosen itself; doing the whole of it again chooses another.
    Raced(Guard),
    /// The database refused or went away.
    Database(Error),
    /// Anything else.
    Store(StoreError),
}

/// The store was closed.
#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
pub(super) struct Closed;

/// The database did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the database did not answer in time")]
pub(super) struct Late;

/// More writes wait than the store holds.
#[derive(Debug, thiserror::Error)]
#[error("too many writes are waiting")]
pub(super) struct Crowded;

/// A failure of the database as far as it may be told.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Told(String);

impl Told {
    pub(super) fn of(error: &Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            return Self(format!("{error}{cause}"));
        };
        let state = refusal.code().code();
        // Data exceptions and broken constraints quote values in their messages.
        if state.starts_with("22") || state.starts_with("23") {
            return Self(format!("SQLSTATE {state} ({})", refusal.constraint().unwrap_or("no constraint")));
        }
        Self(format!("SQLSTATE {state}: {}", refusal.message()))
    }
}

pub(super) fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable(source.into())
}

pub(super) fn told(error: &Error) -> StoreError {
    unavailable(Told::of(error))
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WriteError> for CommitError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Conflict(guard) | WriteError::Raced(guard) => Self::Conflict(guard),
            WriteError::Database(error) => Self::Store(told(&error)),
            WriteError::Store(error) => Self::Store(error),
        }
    }
}

/// For requests that have no guard to lose.
impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        match CommitError::from(error) {
            CommitError::Store(error) => error,
            conflict @ CommitError::Conflict(_) => unavailable(conflict),
        }
    }
}

/// The connection is gone, or the server is going: whether the statement had an effect is not known from this.
pub(super) fn is_lost(error: &Error) -> bool {
    match error.code() {
        None => true,
        Some(state) => {
            let state = state.code();
            state.starts_with("08") || matches!(state, "57P01" | "57P02" | "57P03")
        }
    }
}

/// The database gave way to another transaction; doing the whole of it again may succeed.
pub(super) fn is_serialization_failure(error: &Error) -> bool {
    error.code().is_some_and(|state| {
        [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::TRANSACTION_ROLLBACK]
            .contains(state)
    })
}

/// An answer to COMMIT that proves that nothing was committed. Everything else leaves the outcome open.
pub(super) fn is_rolled_back(error: &Error) -> bool {
    is_serialization_failure(error) || error.code().is_some_and(|state| state.code().starts_with("23"))
}
