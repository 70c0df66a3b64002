//! What somebody may change at a simulated bank, so that everything a bank can do is tried end to end.
//!
//! The bank keeps the edits of a customer in their credential, sealed and deleted with it, and applies them in their
//! order to what it would have shown otherwise. They are seen with the next fetch.

use jiff::civil::Date;
use passbook_core::{identity::Owner, transaction::Direction};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Most edits that a customer's bank keeps.
pub const EDITS_MAX: usize = 1_000;

/// One change. Accounts and transactions are named by their upstream keys. No `Debug`: it may hold an account number.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
pub enum BankEdit {
    /// The account is closed from now on.
    CloseAccount {
        /// Which.
        account: String,
    },
    /// The account is open again.
    ReopenAccount {
        /// Which.
        account: String,
    },
    /// The account has another name.
    RenameAccount {
        /// Which.
        account: String,
        /// The name.
        name: String,
    },
    /// The account has another number, in the networks in which it had one, and the mask that belongs to it.
    ChangeNumbers {
        /// Which.
        account: String,
        /// The full number.
        account_number: String,
        /// The routing number, in the United States; `None` keeps it.
        routing_number: Option<String>,
    },
    /// The bank gives no payment numbers of the account any more.
    RemoveNumbers {
        /// Which.
        account: String,
    },
    /// The account's balances stand at these amounts from now on.
    SetBalance {
        /// Which.
        account: String,
        /// What is in it, or owed on a liability; `None` leaves it as it is.
        current: Option<Decimal>,
        /// What can be spent; `None` leaves it as it is.
        available: Option<Decimal>,
    },
    /// Something happened on the account. Its balance moves with it.
    AddTransaction {
        /// Which.
        account: String,
        /// The transaction.
        transaction: AddedTransaction,
    },
    /// The bank corrected a transaction. What is `None` stays.
    ChangeTransaction {
        /// Which account.
        account: String,
        /// Which of its transactions.
        transaction: String,
        /// The new amount, never negative.
        amount: Option<Decimal>,
        /// The new direction.
        direction: Option<Direction>,
        /// The new date.
        date: Option<Date>,
        /// The new description.
        description: Option<String>,
    },
    /// The bank withdrew a transaction.
    RemoveTransaction {
        /// Which account.
        account: String,
        /// Which of its transactions.
        transaction: String,
    },
    /// A pending transaction posts now.
    PostPending {
        /// Which account.
        account: String,
        /// Which of its transactions.
        transaction: String,
    },
    /// The account belongs to other people.
    SetOwners {
        /// Which; `None`: every account.
        account: Option<String>,
        /// Who.
        owners: Vec<Owner>,
    },
    /// Access ends: the person must sign in again, which takes this back.
    ExpireConsent,
}

/// A transaction that an edit adds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedTransaction {
    /// Never negative, in major units.
    pub amount: Decimal,
    /// Which way the money went.
    pub direction: Direction,
    /// When.
    pub date: Date,
    /// The description, both cleaned and as the bank wrote it.
    pub description: String,
    /// Not yet settled.
    pub pending: bool,
}

/// Why edits were not taken. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditRefusal {
    /// Only simulated banks can be edited.
    #[error("only links at simulated banks can be edited")]
    NotSimulated,
    /// The bank would keep more than [`EDITS_MAX`].
    #[error("the bank keeps 1000 edits of a link at most")]
    TooMany,
    /// The credential is not one of this bank's.
    #[error("the simulated bank cannot read its own stored state")]
    Unreadable,
}
