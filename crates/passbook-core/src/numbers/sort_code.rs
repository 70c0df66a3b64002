//! UK sort codes and account numbers, brought to six and eight digits.
//!
//! Banks still print account numbers of six, seven, nine and ten digits. The rules that make them eight are those of the
//! Vocalink document "Validating account numbers", section on non-standard account numbers.

use std::fmt;

use super::{Reason, digits};

/// A UK sort code: six digits. `Debug` shows no digit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortCode([u8; 6]);

impl SortCode {
    /// Reads `123456`, `12-34-56` or `12 34 56`.
    ///
    /// # Errors
    /// [`Reason::UnknownForm`] when separators are mixed or misplaced, else the length or character rule broken.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let Some(separator) = text.chars().find(|character| matches!(character, '-' | ' ')) else {
            return digits::exactly(text).map(Self);
        };
        let mut parts = text.split(separator);
        let (Some(first), Some(second), Some(third), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Reason::UnknownForm);
        };
        let pair = |part| digits::exactly::<2>(part).map_err(|_| Reason::UnknownForm);
        let ([a, b], [c, d], [e, f]) = (pair(first)?, pair(second)?, pair(third)?);
        Ok(Self([a, b, c, d, e, f]))
    }

    /// Six digits without separators, the stored form.
    #[must_use]
    pub fn compact(&self) -> String {
        digits::to_text(&self.0)
    }

    /// The printed form, `12-34-56`.
    #[must_use]
    pub fn hyphenated(&self) -> String {
        let compact = self.compact();
        format!("{}-{}-{}", &compact[..2], &compact[2..4], &compact[4..])
    }

    /// The six digit values, most significant first.
    #[must_use]
    pub fn values(&self) -> [u8; 6] {
        self.0
    }

    pub(super) const fn from_values(values: [u8; 6]) -> Self {
        Self(values)
    }
}

impl fmt::Debug for SortCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SortCode[number]")
    }
}

/// A UK account as BACS addresses it: six digits and eight. `Debug` shows no digit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UkAccount {
    /// Sort code after normalisation, which for nine-digit accounts differs from the one given.
    pub sort_code: SortCode,
    account: [u8; 8],
}

/// How a bank's ten-digit numbers become eight. The digits cannot tell, so the connector must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenDigitRule {
    /// National Westminster Bank: the last eight.
    LastEight,
    /// The Co-operative Bank and Leeds Building Society: the first eight.
    FirstEight,
}

impl UkAccount {
    /// Takes a pair already in its stored form: six digits (any written form of the sort code) and exactly eight.
    ///
    /// # Errors
    /// The shape rule broken first, sort code before account.
    pub fn from_parts(sort_code: &str, account: &str) -> Result<Self, Reason> {
        Ok(Self { sort_code: SortCode::parse(sort_code)?, account: digits::exactly(account)? })
    }

    /// Brings a bank's own writing to eight digits.
    ///
    /// Six and seven digits are padded with zeros on the left. Of nine (Santander) the first replaces the last digit of
    /// the sort code. Ten follow `ten_digits`. Spaces and hyphens in the account are ignored.
    ///
    /// # Errors
    /// [`Reason::AmbiguousTenDigits`] for ten digits without a rule, else the shape rule broken.
    pub fn normalise(sort_code: &str, account: &str, ten_digits: Option<TenDigitRule>) -> Result<Self, Reason> {
        let mut sort_code = SortCode::parse(sort_code)?;
        let mut buffer = [0_u8; 10];
        let mut length = 0;
        for character in account.chars().filter(|character| !matches!(character, ' ' | '-')) {
            let value = character.to_digit(10).ok_or(Reason::WrongCharacter)?;
            *buffer.get_mut(length).ok_or(Reason::WrongLength)? = u8::try_from(value).expect("a digit is below ten");
            length += 1;
        }
        let mut account = [0; 8];
        match length {
            6..=8 => account[8 - length..].copy_from_slice(&buffer[..length]),
            9 => {
                sort_code.0[5] = buffer[0];
                account.copy_from_slice(&buffer[1..9]);
            }
            10 => account.copy_from_slice(match ten_digits.ok_or(Reason::AmbiguousTenDigits)? {
                TenDigitRule::LastEight => &buffer[2..],
                TenDigitRule::FirstEight => &buffer[..8],
            }),
            _ => return Err(Reason::WrongLength),
        }
        Ok(Self { sort_code, account })
    }

    /// Eight digits.
    #[must_use]
    pub fn account(&self) -> String {
        digits::to_text(&self.account)
    }

    /// The eight digit values, most significant first.
    #[must_use]
    pub fn account_values(&self) -> [u8; 8] {
        self.account
    }
}

impl fmt::Debug for UkAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UkAccount[number]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_written_forms_are_one_sort_code() {
        let expected = SortCode([1, 2, 3, 4, 5, 6]);
        for text in ["123456", "12-34-56", "12 34 56"] {
            assert_eq!(SortCode::parse(text), Ok(expected), "{text}");
        }
        assert_eq!(expected.compact(), "123456");
        assert_eq!(expected.hyphenated(), "12-34-56");
    }

    #[test]
    fn other_writings_of_a_sort_code_are_refused() {
        let cases = [
            ("12345", Reason::WrongLength),
            ("1234567", Reason::WrongLength),
            ("12345x", Reason::WrongCharacter),
            ("12-34 56", Reason::UnknownForm),
            ("123-456", Reason::UnknownForm),
            ("1-23-456", Reason::UnknownForm),
            ("12-34-56-", Reason::UnknownForm),
            ("12--3456", Reason::UnknownForm),
        ];
        for (text, reason) in cases {
            assert_eq!(SortCode::parse(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn account_numbers_of_every_length_become_eight_digits() {
        use TenDigitRule::{FirstEight, LastEight};
        let cases = [
            ("123456", None, "102030", "00123456"),
            ("1234567", None, "102030", "01234567"),
            ("12345678", None, "102030", "12345678"),
            ("912345678", None, "102039", "12345678"),
            ("9812345678", Some(LastEight), "102030", "12345678"),
            ("98-12345678", Some(LastEight), "102030", "12345678"),
            ("1234567898", Some(FirstEight), "102030", "12345678"),
        ];
        for (given, rule, sort_code, account) in cases {
            let normalised = UkAccount::normalise("10-20-30", given, rule).unwrap();
            assert_eq!((normalised.sort_code.compact(), normalised.account()), (sort_code.into(), account.into()));
        }
    }

    #[test]
    fn lengths_without_a_rule_are_refused() {
        let cases = [
            ("12345", Reason::WrongLength),
            ("12345678901", Reason::WrongLength),
            ("1234567890", Reason::AmbiguousTenDigits),
            ("1234567x", Reason::WrongCharacter),
        ];
        for (account, reason) in cases {
            assert_eq!(UkAccount::normalise("102030", account, None), Err(reason), "{account}");
        }
    }

    #[test]
    fn debug_shows_no_digit() {
        let account = UkAccount::from_parts("102030", "12345678").unwrap();
        assert!(!format!("{account:?}{:?}", account.sort_code).contains(|character: char| character.is_ascii_digit()));
    }
}
