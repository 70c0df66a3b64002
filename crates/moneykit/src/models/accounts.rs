//! Accounts and their balances (`/links/{id}/accounts`).

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{AccountId, LinkCommon};
use crate::wire::{decimal::json_number, redact::debug_redacted, timestamp};

/// Balances of one account at one moment, in major units of `currency`. JSON numbers on the wire, exact here.
///
/// `Debug` hides the amounts.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountBalances {
    /// ISO 4217 code; `None` when the institution does not say.
    #[serde(default)]
    pub currency: Option<String>,
    /// Spendable funds, overdraft usually excluded.
    #[serde(default, with = "json_number")]
    pub available: Option<Decimal>,
    /// Total funds. Liability accounts: positive is owed by the user. Others: negative is an overdraft or margin debt.
    #[serde(default, with = "json_number")]
    pub current: Option<Decimal>,
    /// Credit or overdraft limit.
    #[serde(default, with = "json_number")]
    pub limit: Option<Decimal>,
    /// When the institution captured the balance; `None` if unknown.
    #[serde(default, with = "timestamp::option")]
    pub balance_date: Option<Timestamp>,
}

debug_redacted!(AccountBalances { show: [currency, balance_date], hide: [available, current, limit] });

/// One account. `Debug` hides its names, mask and balances.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountResponse {
    /// Account id.
    pub account_id: AccountId,
    /// Dotted type such as `depository.checking`. An open string: test the prefix only.
    pub account_type: String,
    /// Display name.
    pub name: String,
    /// The user's name for it.
    #[serde(default)]
    pub nickname: Option<String>,
    /// Last four characters of the account number; not unique.
    #[serde(default)]
    pub account_mask: Option<String>,
    /// Cached balances.
    pub balances: AccountBalances,
    /// The caller's own id, for imported accounts.
    #[serde(default)]
    pub original_id: Option<String>,
    /// `true` when the institution reports the account closed.
    #[serde(default)]
    pub closed: Option<bool>,
}

debug_redacted!(AccountResponse {
    show: [account_id, account_type, balances, closed],
    hide: [name, nickname, account_mask, original_id]
});

/// The open, permissioned accounts of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAccountsResponse {
    /// Accounts.
    pub accounts: Vec<AccountResponse>,
    /// The link they belong to.
    pub link: LinkCommon,
}

/// One account and its link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAccountResponse {
    /// The account.
    pub account: AccountResponse,
    /// The link it belongs to.
    pub link: LinkCommon,
}
