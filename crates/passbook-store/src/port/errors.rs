//! Why the store refused.

#[expect(unused_imports, reason = "named in the documentation")]
use super::{AnswerWrite, Changes, ClockWrite, LinkWrite, SessionWrite};

/// A read or a lease that could not be served.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is full, or failed; nothing changed and trying later may help.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection to the database died under a change, and the database could not be asked afterwards whether it
    /// took effect. Also a deletion that is in force, but whose line in the deletion ledger could not be synced yet: a
    /// backup restored at this moment would bring the link back. Trying again needs to look first.
    #[error("it is not known whether the change was stored")]
    OutcomeUnknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A stored value cannot be understood or opened.
    #[error("inconsistent data in {table}.{column} of {row}")]
    Inconsistent {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// Key of the row; never a secret.
        row: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A commit that changed nothing, unless the store says that it does not know ([`StoreError::OutcomeUnknown`]).
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A guard was lost to somebody else; reload and decide again.
    #[error("lost a race on {0:?}")]
    Conflict(Guard),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a commit was conditional on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// [`LinkWrite::expected_version`], or the link exists already, or its import key does, or what was written beside
    /// it (a transaction, job or event) does not fit the stored link.
    Link,
    /// The job's lease.
    Lease,
    /// [`SessionWrite::expected_version`] or the token was spent.
    Session,
    /// [`ClockWrite::expected`].
    Clock,
    /// The reservation of an idempotency key.
    Answer,
    /// [`Changes::app_was`] or [`Changes::client_was`].
    Settings,
    /// A unique id of a job, client, token or instance value, or a client that a token needs.
    Unique,
}
