//! The change feed of transactions (`/links/{id}/transactions/sync`).

use serde::{Deserialize, Serialize};

use super::{AccountResponse, CursorPagination, LinkCommon, TransactionId, TransactionResponse};

/// One page of changes since a cursor.
///
/// Store `cursor.next` together with what the page changed, in one database transaction: then nothing is lost and
/// nothing is applied twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionSyncResponse {
    /// What changed.
    pub transactions: TransactionSync,
    /// The accounts of the transactions.
    pub accounts: Vec<AccountResponse>,
    /// Where the next page begins. Always set, also on the last page.
    pub cursor: CursorPagination,
    /// More changes wait: call again with `cursor.next`.
    pub has_more: bool,
    /// The link they belong to.
    pub link: LinkCommon,
}

/// Changes, each list without an order.
///
/// Pending transactions appear in `created` only. They are dropped and issued anew, with other ids, at each refresh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionSync {
    /// New transactions, which may be older than known ones.
    pub created: Vec<TransactionResponse>,
    /// Known transactions as they are now.
    pub updated: Vec<TransactionResponse>,
    /// Known transactions that are gone.
    pub removed: Vec<TransactionId>,
}

impl TransactionSync {
    /// Whether the page changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.created.is_empty() && self.updated.is_empty() && self.removed.is_empty()
    }
}
