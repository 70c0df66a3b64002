//! Validation of the numbers that move money: ABA, EFT, UK sort code and account, IBAN and BIC.
//!
//! Connectors hand over numbers as the bank wrote them. The parsers here bring them into the one form that is stored
//! ([`Iban::parse`], [`Bic::parse`], [`UkAccount::normalise`], [`EftRouting::parse`]); [`check_account_numbers`] then
//! judges the stored sets. A [`Verdict`] has three values: *valid*, *invalid* and *unchecked*, because a rule that
//! could not be applied (no modulus tables configured, no row for the sort code) says nothing about the number.
//!
//! What this module must not do:
//!
//! - **Drop a number.** A bank that publishes a number our rules dislike is more often right than our rules. The number
//!   is published and the finding recorded beside it.
//! - **Derive a number.** A wire routing number or a BIC is known from the bank or not known.
//! - **Quote a number.** [`Reason`], its text and every `Debug` in here are free of digits.
//!
//! | file | concept |
//! | --- | --- |
//! | `verdict` | the three outcomes and the closed list of reasons |
//! | `aba`, `eft`, `sort_code` | US, Canadian and UK routing numbers |
//! | `uk_modulus` | UK modulus check and its tables |
//! | `iban`, `iban_structures`, `bic`, `countries` | international numbers |
//! | `cross_check` | sets of one account that must agree with each other |
//! | `account_check` | every rule over one account's sets |

pub mod aba;
mod account_check;
pub mod bic;
mod countries;
pub mod cross_check;
mod digits;
pub mod eft;
pub mod iban;
pub mod iban_structures;
pub mod sort_code;
pub mod uk_modulus;
mod verdict;

pub use account_check::{CheckedNumber, Finding, Rail, check_account_numbers};
pub use bic::Bic;
pub use eft::EftRouting;
pub use iban::Iban;
pub use sort_code::{SortCode, UkAccount};
pub use uk_modulus::ModulusTables;
pub use verdict::{Reason, Verdict};
