//! Transactions (`/links/{id}/transactions`) and their enrichment.

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{AccountId, AccountResponse, ImportAmount, InvestmentAmount, LinkCommon, TransactionAmount, TransactionId};
use crate::wire::{open_enum::open_enum, redact::debug_redacted, timestamp};

open_enum! {
    /// The direction of money, the same for every account type.
    TransactionType {
        /// Money enters the account.
        Credit = "credit",
        /// Money leaves the account.
        Debit = "debit",
    }
}

/// One page of the transactions of a link, newest first.
#[doc(alias = "ApiPublicTransactionsLegacyGetTransactionsResponse")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetTransactionsResponse {
    /// Number of transactions the whole query matches.
    pub total: u64,
    /// Number of this page, from 1.
    pub page: u64,
    /// Number of transactions in this page.
    pub size: u64,
    /// Transactions.
    pub transactions: Vec<TransactionResponse>,
    /// The accounts of these transactions.
    pub accounts: Vec<AccountResponse>,
    /// The link they belong to.
    pub link: LinkCommon,
}

/// One transaction. `Debug` hides what was paid and to whom.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionResponse {
    /// Transaction id.
    pub transaction_id: TransactionId,
    /// The account it belongs to.
    pub account_id: AccountId,
    /// Amount in major units of `currency`, never negative; the direction is in `transaction_type`.
    pub amount: TransactionAmount,
    /// Direction; `type` on the wire.
    #[serde(rename = "type")]
    pub transaction_type: TransactionType,
    /// ISO 4217 code.
    pub currency: String,
    /// Posting date, or initiation date while pending.
    pub date: Date,
    /// Exact time when the institution gives one.
    #[serde(default, with = "timestamp::option")]
    pub datetime: Option<Timestamp>,
    /// Cleaned description.
    #[serde(default)]
    pub description: Option<String>,
    /// Description as the institution gives it.
    #[serde(default)]
    pub raw_description: Option<String>,
    /// Not yet settled.
    pub pending: bool,
    /// Deprecated dotted category; see `enrichment`.
    #[serde(default)]
    pub category: Option<String>,
    /// Category, merchant and recurrence, when enriched.
    #[serde(default)]
    pub enrichment: Option<TransactionEnrichmentResponse>,
    /// The caller's own id, for imported transactions.
    #[serde(default)]
    pub original_id: Option<String>,
    /// The pending transaction that this one was before it posted, as far as is known. Passbook's own field: other
    /// servers do not send it, and it is left out when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_transaction_id: Option<TransactionId>,
}

debug_redacted!(TransactionResponse {
    show: [transaction_id, account_id, transaction_type, currency, date, pending, pending_transaction_id],
    hide: [amount, datetime, description, raw_description, category, enrichment, original_id]
});

impl TransactionResponse {
    /// What it moved, with the sign of imports. `None` if the direction is a word that this release does not know.
    #[must_use]
    pub fn import_amount(&self) -> Option<ImportAmount> {
        ImportAmount::of_transaction(self.amount, &self.transaction_type)
    }

    /// What it moved, with the sign of investment transactions. `None` if the direction is a word that this release does
    /// not know.
    #[must_use]
    pub fn investment_amount(&self) -> Option<InvestmentAmount> {
        InvestmentAmount::of_transaction(self.amount, &self.transaction_type)
    }
}

/// What is known about a transaction beyond the institution's data. `Debug` hides all of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionEnrichmentResponse {
    /// Category.
    pub category: TransactionCategoryResponse,
    /// Subcategory.
    #[serde(default)]
    pub subcategory: Option<TransactionSubcategoryResponse>,
    /// Predicted merchant.
    #[serde(default)]
    pub merchant: Option<TransactionMerchantResponse>,
    /// Predicted payment processor.
    #[serde(default)]
    pub processor: Option<TransactionProcessorResponse>,
    /// Detected recurrence.
    #[serde(default)]
    pub recurrence: Option<TransactionRecurrenceResponse>,
}

debug_redacted!(TransactionEnrichmentResponse {
    show: [],
    hide: [category, subcategory, merchant, processor, recurrence]
});

/// A category with its confidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionCategoryResponse {
    /// A word of the contract's `BudPrimaryCategory` list, such as `food_and_drink`.
    pub value: String,
    /// Percent.
    #[serde(default)]
    pub confidence: Option<i64>,
}

/// A subcategory with its confidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionSubcategoryResponse {
    /// A word of the contract's `BudSubcategory` list, such as `coffee`.
    pub value: String,
    /// Percent.
    #[serde(default)]
    pub confidence: Option<i64>,
}

/// A predicted merchant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionMerchantResponse {
    /// Merchant id.
    #[serde(default)]
    pub id: Option<String>,
    /// Display name.
    #[serde(default)]
    pub name: Option<String>,
    /// URL of the logo.
    #[serde(default)]
    pub logo: Option<String>,
    /// Percent.
    #[serde(default)]
    pub confidence: Option<i64>,
}

/// A predicted payment processor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionProcessorResponse {
    /// Processor id.
    #[serde(default)]
    pub id: Option<String>,
    /// Display name.
    #[serde(default)]
    pub name: Option<String>,
    /// URL of the logo.
    #[serde(default)]
    pub logo: Option<String>,
    /// Percent.
    #[serde(default)]
    pub confidence: Option<i64>,
}

/// A detected recurrence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionRecurrenceResponse {
    /// How often, for example `monthly`.
    #[serde(default)]
    pub frequency: Option<String>,
    /// The next expected date.
    #[serde(default)]
    pub next_predicted_date: Option<Date>,
}
