//! Failures inside the store, before they become the port's errors.

use crate::port::{CommitError, Guard, StoreError};

/// A read that failed.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The database failed.
    Database(rusqlite::Error),
    /// A stored value cannot be understood.
    Store(StoreError),
}

/// A write that failed.
#[derive(Debug)]
pub(super) enum WriteError {
    /// A guard was lost.
    Conflict(Guard),
    /// Anything else.
    Failed(ReadError),
}

/// The store was closed, or its writer ended.
#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
pub(super) struct Closed;

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ReadError> for WriteError {
    fn from(error: ReadError) -> Self {
        Self::Failed(error)
    }
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<CommitError> for WriteError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(guard) => Self::Conflict(guard),
            CommitError::Store(error) => Self::Failed(error.into()),
        }
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(error) => unavailable(error),
            ReadError::Store(error) => error,
        }
    }
}

impl From<WriteError> for CommitError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Conflict(guard) => Self::Conflict(guard),
            WriteError::Failed(error) => Self::Store(error.into()),
        }
    }
}

/// For requests that have no guard to lose.
impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Conflict(guard) => unavailable(CommitError::Conflict(guard)),
            WriteError::Failed(error) => error.into(),
        }
    }
}

pub(super) fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable(source.into())
}

/// Tells a lost unique key or a missing parent row apart from a failing database.
pub(super) fn constraint_as(guard: Guard) -> impl FnOnce(rusqlite::Error) -> WriteError {
    move |error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => WriteError::Conflict(guard),
        _ => error.into(),
    }
}

/// `changed` rows were meant to be exactly one.
pub(super) fn one_row(changed: usize, guard: Guard) -> Result<(), WriteError> {
    if changed == 1 { Ok(()) } else { Err(WriteError::Conflict(guard)) }
}
