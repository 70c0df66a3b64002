//! Transactions as stored and shown.

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{
    enrichment::Enrichment,
    ids::{AccountId, TransactionId},
};

/// Direction of money, the same for every account type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Money enters the account.
    Credit,
    /// Money leaves the account.
    Debit,
}

impl Direction {
    /// Splits a signed amount (positive = credit) into an absolute amount and its direction. Zero is a credit.
    #[must_use]
    pub fn split(signed: Decimal) -> (Decimal, Self) {
        let direction = if signed.is_sign_negative() && !signed.is_zero() { Self::Debit } else { Self::Credit };
        (signed.abs(), direction)
    }
}

/// One current transaction of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Stable public id. A pending transaction gets a new one when it posts.
    pub id: TransactionId,
    /// The account it belongs to.
    pub account_id: AccountId,
    /// The upstream's key, unique within the account; derived from the content when the upstream has none.
    pub upstream_key: String,
    /// What the bank reported.
    pub details: TransactionDetails,
    /// The caller's own id, for imported transactions only.
    pub original_id: Option<String>,
    /// Which pending transaction this posted one was, as far as is known.
    pub pending_id: Option<TransactionId>,
    /// What is known of it beyond the bank's words; `None` when they say too little.
    pub enrichment: Option<Enrichment>,
}

/// What a bank reports about a transaction; equal details mean nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDetails {
    /// Never negative; exact decimal in major units.
    pub amount: Decimal,
    /// Which way the money went.
    pub direction: Direction,
    /// ISO 4217 code.
    pub currency: String,
    /// Posting date, or initiation date while pending.
    pub date: Date,
    /// Exact instant, only when the bank gives one.
    pub datetime: Option<Timestamp>,
    /// Cleaned description.
    pub description: Option<String>,
    /// Description exactly as the bank wrote it.
    pub raw_description: Option<String>,
    /// Not yet settled.
    pub pending: bool,
}
