//! Following the transactions of a link (`/links/{id}/transactions/sync`).

use serde::{Deserialize, Serialize};

use super::{AccountResponse, CursorPagination, LinkCommon, TransactionId, TransactionResponse};

/// What happened to the transactions of a link. The lists are in no order, and older transactions can come later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionSync {
    /// Transactions that appeared. Pending ones stand only here: with every refresh they are dropped and issued anew
    /// under other ids.
    pub created: Vec<TransactionResponse>,
    /// Transactions that changed.
    pub updated: Vec<TransactionResponse>,
    /// Ids of transactions that are gone.
    pub removed: Vec<TransactionId>,
}

/// One page of what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionSyncResponse {
    /// The changes.
    pub transactions: TransactionSync,
    /// The accounts of these transactions.
    pub accounts: Vec<AccountResponse>,
    /// Where to go on: `next` is always there; keep it, also after the last page.
    pub cursor: CursorPagination,
    /// More changes wait: call again with the new cursor.
    pub has_more: bool,
    /// The link they belong to.
    pub link: LinkCommon,
}
