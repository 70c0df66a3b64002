//! What a connector reports: one product of one credential, normalised, at one moment.
//!
//! A snapshot is the upstream's own view. It carries no identifiers of ours and decides nothing; [`crate::reconcile`]
//! merges it into what is stored. Accounts are named by `upstream_key`: opaque text, unique within the credential,
//! stable over time and **free of account numbers** (an upstream id that holds one is replaced by its keyed hash).

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;

use crate::{
    account::{AccountType, Balances},
    account_numbers::AccountNumbers,
    identity::Owner,
    investment::{HoldingAmount, InvestmentTransactionDetails, SecurityDetails},
    transaction::TransactionDetails,
};

/// The result of fetching one product.
#[derive(Debug, Clone)]
pub enum Snapshot {
    /// Every account of the credential, in the bank's order.
    Accounts(Vec<BankAccount>),
    /// Number sets; an account without any may be missing.
    AccountNumbers(Vec<BankAccountNumbers>),
    /// Owners of every account.
    Identity(Vec<BankAccountOwners>),
    /// Transactions of a time window.
    Transactions(BankTransactions),
    /// Securities, holdings, and investment transactions of a time window.
    Investments(BankInvestments),
}

/// An account as the bank shows it.
#[derive(Debug, Clone)]
pub struct BankAccount {
    /// See the module page.
    pub upstream_key: String,
    /// Dotted type.
    pub account_type: AccountType,
    /// Display name.
    pub name: String,
    /// The user's name for it.
    pub nickname: Option<String>,
    /// Last four characters of the true number.
    pub mask: Option<String>,
    /// Balances; liability: owed is positive.
    pub balances: Balances,
    /// The bank says the account is closed.
    pub closed: bool,
}

/// Payment numbers of one account.
#[derive(Debug, Clone)]
pub struct BankAccountNumbers {
    /// The account.
    pub upstream_key: String,
    /// Its sets.
    pub numbers: AccountNumbers,
}

/// Owners of one account.
#[derive(Debug, Clone)]
pub struct BankAccountOwners {
    /// The account.
    pub upstream_key: String,
    /// At most 20 are kept.
    pub owners: Vec<Owner>,
}

/// Transactions of a window of time.
#[derive(Debug, Clone)]
pub struct BankTransactions {
    /// Posted transactions on or after this date that are stored but missing here were withdrawn by the bank and are
    /// removed. `None`: the snapshot only ever adds and changes (a statement file).
    pub complete_since: Option<Date>,
    /// The transactions, in any order.
    pub items: Vec<BankTransaction>,
    /// Upstream keys, per account, that the bank withdraws explicitly (OFX `CORRECTACTION` = `DELETE`).
    pub withdrawn: Vec<WithdrawnTransaction>,
}

/// One transaction as the bank shows it.
#[derive(Debug, Clone)]
pub struct BankTransaction {
    /// The account.
    pub account_key: String,
    /// The bank's id, unique within the account; `None` when it gives none (a key is then derived from the content).
    pub upstream_key: Option<String>,
    /// An earlier transaction that this one replaces (OFX `CORRECTACTION` = `REPLACE`).
    pub replaces: Option<String>,
    /// What the bank reports.
    pub details: TransactionDetails,
}

/// What the investment accounts hold, and what happened in them in a window of time.
#[derive(Debug, Clone, Default)]
pub struct BankInvestments {
    /// Transactions on or after this date that are stored but missing here were withdrawn and are removed. `None`: the
    /// snapshot only ever adds and changes.
    pub complete_since: Option<Date>,
    /// The securities that the rest refers to, each once.
    pub securities: Vec<SecurityDetails>,
    /// Every holding of every account, in the bank's order.
    pub holdings: Vec<BankHolding>,
    /// The transactions, in any order.
    pub transactions: Vec<BankInvestmentTransaction>,
}

/// How much of a security an account holds.
#[derive(Debug, Clone)]
pub struct BankHolding {
    /// The account.
    pub account_key: String,
    /// The security's upstream key.
    pub security_key: String,
    /// How much.
    pub amount: HoldingAmount,
}

/// One investment transaction as the bank shows it.
#[derive(Debug, Clone)]
pub struct BankInvestmentTransaction {
    /// The account.
    pub account_key: String,
    /// The bank's id, unique within the account; `None` when it gives none (a key is then derived from the content).
    pub upstream_key: Option<String>,
    /// The security's upstream key, if it was about one.
    pub security_key: Option<String>,
    /// What the bank reports.
    pub details: InvestmentTransactionDetails,
}

/// A transaction that the bank withdrew.
#[derive(Debug, Clone)]
pub struct WithdrawnTransaction {
    /// The account.
    pub account_key: String,
    /// The bank's id of the withdrawn transaction.
    pub upstream_key: String,
}

/// A statement file, read: everything it says about the accounts in it.
#[derive(Debug, Clone)]
pub struct StatementFile {
    /// The institution the file names, if any.
    pub institution: Option<StatementInstitution>,
    /// Accounts in file order, each once.
    pub accounts: Vec<BankAccount>,
    /// Number sets for those accounts that have them.
    pub numbers: Vec<BankAccountNumbers>,
    /// Transactions; never a complete window.
    pub transactions: BankTransactions,
    /// What was left out or repaired and why, for the person who imported the file. Never holds a number.
    pub notes: Vec<String>,
}

/// The institution named in a statement file (OFX `FI`: `ORG` and `FID`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementInstitution {
    /// Organisation name.
    pub org: Option<String>,
    /// The organisation's id for itself.
    pub fid: Option<String>,
}

/// A balance helper for connectors: a plain amount in a currency at a moment.
#[must_use]
pub fn balance(
    currency: &str,
    current: Option<Decimal>,
    available: Option<Decimal>,
    at: Option<Timestamp>,
) -> Balances {
    Balances { currency: Some(currency.to_owned()), available, current, limit: None, balance_date: at }
}
