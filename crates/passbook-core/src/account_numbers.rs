//! Payment numbers of an account: at most one set per payment network.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The number sets of one account. Each set is wiped on drop; `Debug` shows which networks are present, never a digit.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountNumbers {
    /// United States.
    pub ach: Option<AchNumber>,
    /// Canada.
    pub eft: Option<EftNumber>,
    /// United Kingdom.
    pub bacs: Option<BacsNumber>,
    /// IBAN and BIC.
    pub international: Option<InternationalNumber>,
}

impl AccountNumbers {
    /// Whether no network has a set. Accounts without any are left out of the numbers answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ach.is_none() && self.eft.is_none() && self.bacs.is_none() && self.international.is_none()
    }
}

impl std::fmt::Debug for AccountNumbers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AccountNumbers")
            .field("ach", &self.ach.is_some())
            .field("eft", &self.eft.is_some())
            .field("bacs", &self.bacs.is_some())
            .field("international", &self.international.is_some())
            .finish()
    }
}

/// A US ACH set. All values are digits kept as text, leading zeros included.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct AchNumber {
    /// Full account number.
    pub account_number: String,
    /// Nine-digit ABA routing number.
    pub routing_number: String,
    /// Routing number for wires; only from the bank, never derived.
    pub wire_routing_number: Option<String>,
}

/// A Canadian EFT set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct EftNumber {
    /// Full account number.
    pub account_number: String,
    /// Three digits.
    pub institution_number: String,
    /// Five digits (the transit number).
    pub branch_number: String,
}

/// A UK BACS set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct BacsNumber {
    /// Eight digits.
    pub account_number: String,
    /// Six digits, no hyphens.
    pub sort_code: String,
}

/// An IBAN with its BIC; both are required by the contract.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct InternationalNumber {
    /// IBAN without spaces, upper case.
    pub iban: String,
    /// BIC of 8 or 11 characters.
    pub bic: String,
}
