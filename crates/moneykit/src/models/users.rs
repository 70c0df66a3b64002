//! Listings over all links of an end user (`/users/{id}`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AccountId, AccountResponse, InstitutionId, LinkCommon, LinkId, TransactionResponse};
use crate::wire::{redact::debug_redacted, timestamp};

/// The links of an end user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetUserLinksResponse {
    /// Links by id.
    pub links: BTreeMap<LinkId, LinkCommon>,
}

/// The accounts of an end user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetUserAccountsResponse {
    /// Accounts by the id of their link.
    pub links: BTreeMap<LinkId, AccountGroup>,
}

/// The accounts of one link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountGroup {
    /// Accounts.
    pub accounts: Vec<AccountResponse>,
    /// When anything of the link was last refreshed.
    #[serde(default, with = "timestamp::option")]
    pub last_synced_at: Option<Timestamp>,
}

/// One page of the transactions of an end user, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetUserTransactionsResponse {
    /// Number of transactions the whole query matches.
    pub total: u64,
    /// Number of this page, from 1.
    pub page: u64,
    /// Number of transactions in this page.
    pub size: u64,
    /// Transactions.
    pub transactions: Vec<TransactionResponse>,
    /// The accounts of these transactions, by id.
    pub accounts: BTreeMap<AccountId, BasicAccountDetails>,
}

/// The account of a transaction in short. `Debug` hides its name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasicAccountDetails {
    /// Display name.
    pub name: String,
    /// When anything of the link was last refreshed.
    #[serde(default, with = "timestamp::option")]
    pub last_synced_at: Option<Timestamp>,
    /// Institution id.
    pub institution_id: InstitutionId,
    /// The link it belongs to.
    pub link_id: LinkId,
}

debug_redacted!(BasicAccountDetails { show: [last_synced_at, institution_id, link_id], hide: [name] });
