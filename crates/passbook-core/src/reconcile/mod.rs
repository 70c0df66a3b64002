//! Merging what a bank reports into what is stored.
//!
//! Accounts keep their ids across relinking, renaming, re-masking and reordering; transactions are matched, never
//! duplicated; nothing here runs after a failed fetch, so stored data cannot go backwards on one.

mod accounts;
mod investments;
mod likeness;
mod transactions;

use aws_lc_rs::digest;

pub use self::{
    accounts::{AccountsReport, NewAccounts, reconcile_accounts, reconcile_numbers, reconcile_owners},
    investments::{InvestmentChanges, reconcile_investments},
    transactions::{TransactionChanges, compared_since, reconcile_transactions},
};

/// A key for a transaction that the bank gave none: a digest of what a person would recognise it by, and how many like it
/// came before.
fn content_digest(content: &str, occurrence: u32) -> String {
    format!("content:{}", hex_digest(&format!("{content}|{occurrence}"), 16))
}

/// The first `length` bytes of a digest of `text`, in hexadecimal.
fn hex_digest(text: &str, length: usize) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(length).map(|byte| format!("{byte:02x}")).collect()
}
