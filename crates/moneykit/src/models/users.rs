//! What an end user has over all links (`/users/{id}`), by the app's own user id.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AccountId, AccountResponse, InstitutionId, LinkCommon, LinkId, TransactionResponse};
use crate::wire::{redact::debug_redacted, timestamp};

/// All links of a user; none for a user nobody knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetUserLinksResponse {
    /// Links by id.
    pub links: BTreeMap<LinkId, LinkCommon>,
}

/// All accounts of a user, by link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetUserAccountsResponse {
    /// The accounts of each link, by link id.
    pub links: BTreeMap<LinkId, AccountGroup>,
}

/// The accounts of one link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountGroup {
    /// Accounts.
    pub accounts: Vec<AccountResponse>,
    /// When the accounts were last brought up to date.
    #[serde(default, with = "timestamp::option")]
    pub last_synced_at: Option<Timestamp>,
}

/// One page of the transactions of a user over all links, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// What a list of transactions needs to know about an account. `Debug` hides its name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasicAccountDetails {
    /// Display name.
    pub name: String,
    /// When the account was last brought up to date.
    #[serde(default, with = "timestamp::option")]
    pub last_synced_at: Option<Timestamp>,
    /// The institution of the link.
    pub institution_id: InstitutionId,
    /// The link it belongs to.
    pub link_id: LinkId,
}

debug_redacted!(BasicAccountDetails { show: [last_synced_at, institution_id, link_id], hide: [name] });
