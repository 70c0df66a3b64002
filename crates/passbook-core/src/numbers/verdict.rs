//! What a check can say about a number, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Outcome of checking one number, or one pair of numbers that belong together.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "verdict", content = "reason", rename_all = "snake_case")]
pub enum Verdict {
    /// Every rule that applies holds.
    Valid,
    /// A rule that applies is broken.
    Invalid(Reason),
    /// The rule exists but could not be applied; nothing is known against the number.
    Unchecked(Reason),
}

impl Verdict {
    /// Whether a rule is broken. `Unchecked` is not: a missing table must not flag good numbers.
    #[must_use]
    pub fn is_invalid(self) -> bool {
        matches!(self, Self::Invalid(_))
    }

    /// The reason, unless valid.
    #[must_use]
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Valid => None,
            Self::Invalid(reason) | Self::Unchecked(reason) => Some(reason),
        }
    }
}

impl<T> From<Result<T, Reason>> for Verdict {
    fn from(outcome: Result<T, Reason>) -> Self {
        match outcome {
            Ok(_) => Self::Valid,
            Err(reason) => Self::Invalid(reason),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => formatter.write_str("valid"),
            Self::Invalid(reason) => write!(formatter, "invalid: {reason}"),
            Self::Unchecked(reason) => write!(formatter, "unchecked: {reason}"),
        }
    }
}

/// Why a number is not valid. Its text names the rule and never quotes the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Too long or too short.
    WrongLength,
    /// A character that this kind of number cannot have at that position.
    WrongCharacter,
    /// All zeros, which passes the arithmetic but names nothing.
    AllZero,
    /// An ABA number whose first two digits are outside the ranges in use.
    UnassignedPrefix,
    /// The check digits do not fit the rest.
    ChecksumMismatch,
    /// IBAN check digits 00, 01 or 99, which the standard never produces.
    CheckDigitsOutOfRange,
    /// An IBAN country that is not in the registry, or a BIC country that is not in ISO 3166.
    UnknownCountry,
    /// None of the written forms of this number.
    UnknownForm,
    /// Eight digits of a Canadian routing number whose order nobody stated.
    AmbiguousOrder,
    /// A ten-digit UK account number whose bank's rule nobody stated.
    AmbiguousTenDigits,
    /// Sort code and account fail the modulus check of their bank.
    ModulusMismatch,
    /// No modulus tables are configured.
    NoModulusTables,
    /// The tables prescribe no check for this sort code.
    SortCodeNotInTables,
    /// A GB IBAN that does not contain the account's sort code.
    IbanSortCodeMismatch,
    /// A GB IBAN that does not contain the account's number.
    IbanAccountMismatch,
    /// The BIC belongs to another country than the IBAN.
    BicCountryMismatch,
}

impl Reason {
    /// Every reason, for documentation and exhaustive tests.
    pub const ALL: [Self; 16] = [
        Self::WrongLength,
        Self::WrongCharacter,
        Self::AllZero,
        Self::UnassignedPrefix,
        Self::ChecksumMismatch,
        Self::CheckDigitsOutOfRange,
        Self::UnknownCountry,
        Self::UnknownForm,
        Self::AmbiguousOrder,
        Self::AmbiguousTenDigits,
        Self::ModulusMismatch,
        Self::NoModulusTables,
        Self::SortCodeNotInTables,
        Self::IbanSortCodeMismatch,
        Self::IbanAccountMismatch,
        Self::BicCountryMismatch,
    ];

    /// Stable machine-readable code in snake case, the same as the serialised form.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.code_and_text().0
    }

    fn code_and_text(self) -> (&'static str, &'static str) {
        match self {
            Self::WrongLength => ("wrong_length", "wrong number of characters"),
            Self::WrongCharacter => ("wrong_character", "a character is not allowed at its position"),
            Self::AllZero => ("all_zero", "all digits are zero"),
            Self::UnassignedPrefix => ("unassigned_prefix", "the prefix is outside the assigned ranges"),
            Self::ChecksumMismatch => ("checksum_mismatch", "the check digits do not match"),
            Self::CheckDigitsOutOfRange => ("check_digits_out_of_range", "the check digits are outside 02 to 98"),
            Self::UnknownCountry => ("unknown_country", "the country code is not known"),
            Self::UnknownForm => ("unknown_form", "not a written form of this number"),
            Self::AmbiguousOrder => ("ambiguous_order", "the order of branch and institution is not known"),
            Self::AmbiguousTenDigits => ("ambiguous_ten_digits", "the bank's rule for ten digits is not known"),
            Self::ModulusMismatch => ("modulus_mismatch", "sort code and account fail the modulus check"),
            Self::NoModulusTables => ("no_modulus_tables", "no modulus tables are configured"),
            Self::SortCodeNotInTables => {
                ("sort_code_not_in_tables", "the modulus tables have no row for the sort code")
            }
            Self::IbanSortCodeMismatch => ("iban_sort_code_mismatch", "the IBAN holds another sort code"),
            Self::IbanAccountMismatch => ("iban_account_mismatch", "the IBAN holds another account number"),
            Self::BicCountryMismatch => ("bic_country_mismatch", "BIC and IBAN name different countries"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code_and_text().1)
    }
}

impl std::error::Error for Reason {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_equals_the_serialised_form() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.code());
        }
    }

    #[test]
    fn codes_are_unique() {
        let codes: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
    }

    #[test]
    fn verdicts_survive_serialisation() {
        let verdicts =
            [Verdict::Valid, Verdict::Invalid(Reason::ChecksumMismatch), Verdict::Unchecked(Reason::NoModulusTables)];
        for verdict in verdicts {
            let json = serde_json::to_string(&verdict).unwrap();
            assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), verdict);
        }
    }
}
