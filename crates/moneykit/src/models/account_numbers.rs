//! Payment numbers (`/links/{id}/accounts/numbers`): what a payment to or from an account needs.
//!
//! All values are text, leading zeros included. No `Debug` of this module shows a digit.

use serde::{Deserialize, Serialize};

use super::{AccountBalances, AccountId, LinkCommon};
use crate::wire::{open_enum::open_enum, redact::debug_redacted};

open_enum! {
    /// Why an account has no payment numbers. A word of Passbook; other servers do not tell.
    MissingNumbersReason {
        /// Money is not paid to accounts of its type.
        NotADepositAccount = "not_a_deposit_account",
        /// The numbers of the link were never fetched.
        NotFetched = "not_fetched",
        /// They were fetched, and the institution gave none of this account.
        NotGiven = "not_given",
    }
}

/// The accounts of a link that have payment numbers, as last fetched.
///
/// How old the numbers are is told by `link.products.account_numbers.refreshed_at`: `None` means granted but never
/// fetched, and then the list is empty. An account without any number is left out.
#[doc(alias = "GetAccountNumbersResponseLegacy20230218")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAccountNumbersResponse {
    /// Accounts with their numbers.
    pub accounts: Vec<AccountWithAccountNumbers>,
    /// The open accounts that are left out, and why. A field of Passbook; empty where another server answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts_without_numbers: Vec<AccountWithoutNumbers>,
    /// The link they belong to.
    pub link: LinkCommon,
}

/// An account that has no payment numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountWithoutNumbers {
    /// The account.
    pub account_id: AccountId,
    /// Why.
    pub reason: MissingNumbersReason,
}

/// One account with its payment numbers.
#[doc(alias = "AccountWithAccountNumbersLegacy20230218")]
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountWithAccountNumbers {
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
    /// Payment numbers.
    pub numbers: AccountNumbers,
}

debug_redacted!(AccountWithAccountNumbers {
    show: [account_id, account_type, balances, closed, numbers],
    hide: [name, nickname, account_mask, original_id]
});

/// Payment numbers of one account: one list per payment network, each with no or one entry. All four lists are always
/// sent.
#[doc(alias = "AccountNumbersLegacy20230218")]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountNumbers {
    /// United States.
    pub ach: Vec<AchNumber>,
    /// Canada.
    pub eft: Vec<EftNumber>,
    /// United Kingdom.
    pub bacs: Vec<BacsNumber>,
    /// IBAN and BIC.
    pub international: Vec<InternationalNumber>,
}

/// A US ACH number set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AchNumber {
    /// Full account number.
    pub account_number: String,
    /// ABA routing number, nine digits.
    pub routing_number: String,
    /// Routing number for wires, when the institution gives one.
    #[serde(default)]
    pub wire_routing_number: Option<String>,
}

debug_redacted!(AchNumber { show: [], hide: [account_number, routing_number, wire_routing_number] });

/// A Canadian EFT number set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EftNumber {
    /// Full account number.
    pub account_number: String,
    /// Institution number, three digits.
    pub institution_number: String,
    /// Branch (transit) number, five digits.
    pub branch_number: String,
}

debug_redacted!(EftNumber { show: [], hide: [account_number, institution_number, branch_number] });

/// A UK BACS number set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BacsNumber {
    /// Full account number.
    pub account_number: String,
    /// Sort code, six digits.
    pub sort_code: String,
}

debug_redacted!(BacsNumber { show: [], hide: [account_number, sort_code] });

/// An IBAN with its BIC.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternationalNumber {
    /// IBAN (ISO 13616).
    pub iban: String,
    /// BIC (ISO 9362).
    pub bic: String,
}

debug_redacted!(InternationalNumber { show: [], hide: [iban, bic] });
