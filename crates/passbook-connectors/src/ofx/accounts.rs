//! Which account a statement is about: its kind, its stable key, its mask.
//!
//! The key is the fingerprint (keyed hash) of bank, branch, account number and kind. The kind belongs to it because
//! credit unions give every share of a member the same `ACCTID` and tell them apart by `ACCTTYPE` alone. White space
//! and letter case may differ between two downloads and do not count; leading zeros do.

use passbook_core::account::AccountType;
use zeroize::Zeroizing;

use super::{
    notes::{Note, Notes},
    tree::Element,
};
use crate::port::StatementReading;

/// Characters of the mask. A text has to be longer to count as an account number when looking for quotes of it.
pub(super) const MASK_CHARS: usize = 4;

/// What kind of account the statement's own words say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccountKind {
    /// `CHECKING`.
    Checking,
    /// `SAVINGS`.
    Savings,
    /// `MONEYMRKT`.
    MoneyMarket,
    /// `CD`.
    CertificateOfDeposit,
    /// `CREDITLINE`.
    CreditLine,
    /// A bank account whose `ACCTTYPE` is missing or unknown.
    OtherBank,
    /// `CCACCTFROM`.
    Card,
    /// `LOANACCTFROM`.
    Loan,
    /// `INVACCTFROM`.
    Investment,
}

impl AccountKind {
    /// Reads `ACCTTYPE`, with the spellings seen outside the standard's list.
    fn of_bank_account(account_type: Option<&str>) -> Self {
        match account_type.unwrap_or_default().to_ascii_uppercase().as_str() {
            "CHECKING" | "CHECK" | "CHEQUING" | "CURRENT" => Self::Checking,
            "SAVINGS" | "SAVING" => Self::Savings,
            "MONEYMRKT" | "MONEYMARKET" => Self::MoneyMarket,
            "CD" => Self::CertificateOfDeposit,
            "CREDITLINE" | "HELOC" => Self::CreditLine,
            _ => Self::OtherBank,
        }
    }

    /// The kind's part of the key. Stored behind a hash: never change one.
    fn key(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Savings => "savings",
            Self::MoneyMarket => "money_market",
            Self::CertificateOfDeposit => "cd",
            Self::CreditLine => "line_of_credit",
            Self::OtherBank => "bank",
            Self::Card => "card",
            Self::Loan => "loan",
            Self::Investment => "investment",
        }
    }

    /// The dotted type. `refinement` is the file's finer word for loans and investments.
    pub(super) fn account_type(self, refinement: Option<&str>) -> AccountType {
        let refinement = refinement.unwrap_or_default().to_ascii_uppercase();
        AccountType::new(match self {
            Self::Checking => "depository.checking",
            Self::Savings => "depository.savings",
            Self::MoneyMarket => "depository.money_market",
            Self::CertificateOfDeposit => "depository.cd",
            Self::CreditLine => "liability.line_of_credit",
            Self::OtherBank => "unknown",
            Self::Card => "liability.credit_card",
            Self::Loan => match refinement.as_str() {
                "AUTO" => "liability.auto_loan",
                "MORTGAGE" => "liability.mortgage",
                "STUDENT" => "liability.student_loan",
                _ => "liability.loan",
            },
            Self::Investment => match refinement.as_str() {
                "401K" => "investment.401k",
                "IRA" => "investment.ira",
                "NORMAL" => "investment.brokerage",
                "403B" | "KEOGH" | "SARSEP" | "SIMPLE" | "TDA" => "investment.retirement",
                _ => "investment.other",
            },
        })
    }

    /// The name shown when the file gives none. The mask is shown beside it.
    pub(super) fn display_name(self) -> &'static str {
        match self {
            Self::Checking => "Checking account",
            Self::Savings => "Savings account",
            Self::MoneyMarket => "Money market account",
            Self::CertificateOfDeposit => "Certificate of deposit",
            Self::CreditLine => "Line of credit",
            Self::OtherBank => "Bank account",
            Self::Card => "Credit card",
            Self::Loan => "Loan",
            Self::Investment => "Investment account",
        }
    }
}

/// An account as a file identifies it. Holds full numbers: wiped on drop, no `Debug`.
pub(super) struct AccountIdentity {
    /// Its kind.
    pub(super) kind: AccountKind,
    /// `BANKID`, or `BROKERID`; empty when there is none.
    pub(super) bank_id: Zeroizing<String>,
    /// `BRANCHID`; empty when there is none.
    pub(super) branch_id: Zeroizing<String>,
    /// `ACCTID`.
    pub(super) account_id: Zeroizing<String>,
    /// `LOANACCTTYPE`.
    pub(super) loan_type: Option<String>,
}

impl AccountIdentity {
    /// Finds the account aggregate directly inside `parent`; `None` without one or without an account number.
    pub(super) fn find(parent: Element<'_>) -> Option<Self> {
        parent.children().find_map(Self::read)
    }

    fn read(from: Element<'_>) -> Option<Self> {
        let compact = |name: &str| compacted(from.leaf(name).unwrap_or_default());
        let (kind, bank_id, account_id) = if from.is("BANKACCTFROM") {
            (AccountKind::of_bank_account(from.leaf("ACCTTYPE")), compact("BANKID"), compact("ACCTID"))
        } else if from.is("CCACCTFROM") {
            (AccountKind::Card, Zeroizing::default(), compact("ACCTID"))
        } else if from.is("INVACCTFROM") {
            (AccountKind::Investment, compact("BROKERID"), compact("ACCTID"))
        } else if from.is("LOANACCTFROM") {
            let id = if from.child("LOANACCTID").is_some() { "LOANACCTID" } else { "ACCTID" };
            (AccountKind::Loan, compact("BANKID"), compact(id))
        } else {
            return None;
        };
        let loan_type = from.leaf("LOANACCTTYPE").map(str::to_owned);
        let identity = Self { kind, bank_id, branch_id: compact("BRANCHID"), account_id, loan_type };
        (!identity.account_id.is_empty()).then_some(identity)
    }

    /// The opaque key under which the account is known from now on.
    pub(super) fn upstream_key(&self, reading: &StatementReading<'_>) -> String {
        // The separator is escaped so that two different accounts cannot read the same.
        let part = |text: &str| Zeroizing::new(text.to_ascii_uppercase().replace('|', "%7C"));
        let readable = Zeroizing::new(format!(
            "{}|{}|{}|{}",
            *part(&self.bank_id),
            *part(&self.branch_id),
            *part(&self.account_id),
            self.kind.key()
        ));
        (reading.fingerprint)(&readable)
    }

    /// The last four characters, unless the file masks those too or there are no more than four.
    pub(super) fn mask(&self) -> Option<String> {
        let characters: Vec<char> = self.account_id.chars().collect();
        let (hidden, shown) = characters.split_at(characters.len().checked_sub(MASK_CHARS)?);
        let is_readable = shown.iter().all(char::is_ascii_alphanumeric)
            && shown.iter().any(char::is_ascii_digit)
            && !hidden.is_empty();
        is_readable.then(|| shown.iter().collect())
    }

    /// Notes an account type nobody knows.
    pub(super) fn note_kind(&self, notes: &mut Notes) {
        if self.kind == AccountKind::OtherBank {
            notes.add(Note::AccountTypeUnknown);
        }
    }
}

/// Without white space, which banks use to group digits.
fn compacted(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.chars().filter(|character| !character.is_whitespace()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(kind: AccountKind, bank_id: &str, account_id: &str) -> AccountIdentity {
        AccountIdentity {
            kind,
            bank_id: compacted(bank_id),
            branch_id: Zeroizing::default(),
            account_id: compacted(account_id),
            loan_type: None,
        }
    }

    fn key(identity: &AccountIdentity) -> String {
        let reading = StatementReading { fingerprint: &str::to_owned, country: None };
        identity.upstream_key(&reading)
    }

    #[test]
    fn the_key_ignores_spacing_and_case_and_keeps_leading_zeros() {
        let plain = key(&identity(AccountKind::Checking, "021000021", "00ab12"));
        assert_eq!(plain, "021000021||00AB12|checking");
        assert_eq!(key(&identity(AccountKind::Checking, " 021 000 021", "00 AB\n12")), plain);
        assert_ne!(key(&identity(AccountKind::Checking, "021000021", "ab12")), plain);
        assert_ne!(key(&identity(AccountKind::Savings, "021000021", "00ab12")), plain);
        assert_ne!(
            key(&identity(AccountKind::Checking, "1|2", "3")),
            key(&identity(AccountKind::Checking, "1", "2|3"))
        );
    }

    #[test]
    fn the_mask_is_the_end_of_a_readable_number() {
        for (number, expected) in [
            ("123456789", Some("6789")),
            ("XXXX-XXXX-XXXX-4242", Some("4242")),
            ("12345", Some("2345")),
            ("1234", None),
            ("12", None),
            ("1234XXXX", None),
            ("****", None),
            ("12345é", None),
        ] {
            assert_eq!(identity(AccountKind::Card, "", number).mask().as_deref(), expected, "{number}");
        }
    }
}
