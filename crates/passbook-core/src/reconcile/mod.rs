//! Merging what a bank reports into what is stored.
//!
//! Accounts keep their ids across relinking, renaming, re-masking and reordering; transactions are matched, never
//! duplicated; nothing here runs after a failed fetch, so stored data cannot go backwards on one.

mod accounts;
mod likeness;
mod transactions;

pub use self::{
    accounts::{AccountsReport, NewAccounts, reconcile_accounts, reconcile_numbers, reconcile_owners},
    transactions::{TransactionChanges, compared_since, reconcile_transactions},
};
