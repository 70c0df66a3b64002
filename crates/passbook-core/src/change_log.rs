//! The change log of a link's transactions: what a reader that has followed it up to a position still has to be told.
//!
//! A position is given once, in the order of commits, because the counter is part of the link and the link is written
//! under its version. So a reader that stands at a position has been told everything before it, and no commit ever adds
//! anything there. A transaction has at most one row of each kind:
//!
//! | kind | position | goes when |
//! | --- | --- | --- |
//! | created | where the transaction first appeared; fixed | the transaction is removed |
//! | updated | its newest change; a later change moves it | the transaction is removed |
//! | removed | its removal, with the position of its `created` | never while the link lives |
//!
//! A pending transaction has a `created` row and no other: when it goes, the row goes with it, and nobody is told. A
//! reader whose position is before the `created` of a removed transaction never saw it and is not told either. So the
//! log does not grow with the number of changes, and a cursor, which is a position, never expires.
//!
//! This module decides; stores only write [`LogWrites`] and read rows back in order.

use std::collections::HashSet;

use crate::{
    ids::{AccountId, TransactionId},
    link::Link,
    reconcile::TransactionChanges,
    transaction::Transaction,
};

/// What a row of the log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The transaction appeared.
    Created,
    /// It changed since.
    Updated,
    /// It is gone.
    Removed,
}

impl ChangeKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Created, Self::Updated, Self::Removed];

    /// The word that stores keep.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Removed => "removed",
        }
    }
}

/// A row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position; higher than every position of the link so far.
    pub position: u64,
    /// The transaction.
    pub transaction_id: TransactionId,
    /// Its account.
    pub account_id: AccountId,
}

/// What a commit does to the log. To be written in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogWrites {
    /// Every row of these transactions goes.
    pub dropped: Vec<TransactionId>,
    /// Rows `removed`, each with the position of the transaction's `created` row as its `since`. The other rows of the
    /// transaction go. A transaction without a `created` row gets none: nobody was ever told of it.
    pub removed: Vec<LogEntry>,
    /// Rows `updated`; an earlier one of the transaction moves.
    pub updated: Vec<LogEntry>,
    /// Rows `created`.
    pub created: Vec<LogEntry>,
}

impl LogWrites {
    /// Whether nothing has to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.removed.is_empty() && self.updated.is_empty() && self.created.is_empty()
    }
}

/// Gives positions to `changes`. The link must be written in the same commit, under its version.
pub fn log_changes(link: &mut Link, changes: &TransactionChanges) -> LogWrites {
    let (pending, posted): (Vec<_>, Vec<_>) = changes.removed.iter().partition(|row| row.details.pending);
    LogWrites {
        dropped: pending.into_iter().map(|row| row.id.clone()).collect(),
        removed: posted.into_iter().map(|row| entry(link, row)).collect(),
        // A pending transaction is never shown as updated. What changed of it is a key: its details change by issuing
        // it anew.
        updated: changes.updated.iter().filter(|row| !row.details.pending).map(|row| entry(link, row)).collect(),
        created: changes.created.iter().map(|row| entry(link, row)).collect(),
    }
}

/// Shows transactions that no reader could see so far, because their account was not permitted: they are created anew,
/// after everything that readers have passed.
pub fn log_permitted(link: &mut Link, permitted: &[Transaction]) -> LogWrites {
    LogWrites {
        dropped: permitted.iter().map(|row| row.id.clone()).collect(),
        created: permitted.iter().map(|row| entry(link, row)).collect(),
        ..LogWrites::default()
    }
}

fn entry(link: &mut Link, row: &Transaction) -> LogEntry {
    link.counters.changes += 1;
    LogEntry { position: link.counters.changes, transaction_id: row.id.clone(), account_id: row.account_id.clone() }
}

/// A row as read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedChange {
    /// Its position.
    pub position: u64,
    /// What it tells, with the transaction as it is now.
    pub change: Change,
}

/// What a row that was read back tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The transaction appeared.
    Created(Transaction),
    /// It changed.
    Updated(Transaction),
    /// It is gone.
    Removed(TransactionId),
}

/// What one page tells a reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangePage {
    /// Transactions that appeared.
    pub created: Vec<Transaction>,
    /// Transactions that changed and are not among the created ones of this page.
    pub updated: Vec<Transaction>,
    /// Transactions that are gone.
    pub removed: Vec<TransactionId>,
    /// Where the reader stands after the page.
    pub position: u64,
}

/// Makes a page of consecutive rows that were read in one snapshot by a reader that stood at `after`.
#[must_use]
pub fn change_page(after: u64, rows: Vec<LoggedChange>) -> ChangePage {
    let mut page = ChangePage { position: rows.last().map_or(after, |row| row.position), ..ChangePage::default() };
    let mut created = HashSet::new();
    for row in rows {
        match row.change {
            Change::Created(transaction) => {
                created.insert(transaction.id.clone());
                page.created.push(transaction);
            }
            // It is shown as it is now already. Its `created` row always comes first: an update is younger.
            Change::Updated(transaction) if created.contains(&transaction.id) => {}
            Change::Updated(transaction) => page.updated.push(transaction),
            Change::Removed(id) => page.removed.push(id),
        }
    }
    page
}
