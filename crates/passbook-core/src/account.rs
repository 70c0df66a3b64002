//! Accounts and their balances.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::ids::AccountId;

/// The dotted account type, for example `depository.checking`.
///
/// An open string by contract: clients test the prefix only. [`AccountType::is_depository`],
/// [`AccountType::is_liability`] and [`AccountType::is_investment`] are those prefix tests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountType(pub String);

impl AccountType {
    /// Takes a dotted type as it is.
    #[must_use]
    pub fn new(dotted: &str) -> Self {
        Self(dotted.to_owned())
    }

    /// Whether payment numbers may exist for it.
    #[must_use]
    pub fn is_depository(&self) -> bool {
        self.has_prefix("depository")
    }

    /// Whether a positive balance is owed by the user.
    #[must_use]
    pub fn is_liability(&self) -> bool {
        self.has_prefix("liability")
    }

    /// Whether it holds securities.
    #[must_use]
    pub fn is_investment(&self) -> bool {
        self.has_prefix("investment")
    }

    fn has_prefix(&self, prefix: &str) -> bool {
        self.0.split('.').next() == Some(prefix)
    }
}

/// What the bank reported about the money in an account.
///
/// Liability accounts: positive is owed by the user. Others: negative is an overdraft. `available` leaves an overdraft
/// line out. Amounts are exact decimals in major units.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balances {
    /// ISO 4217 code; `None` when the bank did not say.
    pub currency: Option<String>,
    /// Spendable funds.
    pub available: Option<Decimal>,
    /// Total funds.
    pub current: Option<Decimal>,
    /// Credit limit.
    pub limit: Option<Decimal>,
    /// When the bank captured the balance.
    pub balance_date: Option<Timestamp>,
}

/// One account under a link, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Stable public id.
    pub id: AccountId,
    /// The upstream's own key for the account, opaque and free of account numbers.
    pub upstream_key: String,
    /// Dotted type.
    pub account_type: AccountType,
    /// Display name.
    pub name: String,
    /// The user's name for it.
    pub nickname: Option<String>,
    /// Last characters of the true number; not unique.
    pub mask: Option<String>,
    /// Balances at the last fetch.
    pub balances: Balances,
    /// The bank reports the account closed, or stopped reporting it.
    pub closed: bool,
    /// The end user permitted this account.
    pub permitted: bool,
    /// The caller's own id, for imported accounts only.
    pub original_id: Option<String>,
}

impl Account {
    /// Open and permitted: the accounts that list answers show.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        self.permitted && !self.closed
    }
}
