//! Canadian EFT numbers: institution, branch (transit) and account.
//!
//! There is no checksum; only the shape can be checked. The routing part has two written forms with opposite order:
//! `0IIITTTTT` in electronic files and `TTTTT-III` on cheques. Source: Payments Canada, Rule F1 and Standard 006.

use std::fmt;

use super::{Reason, Verdict, digits};

/// Institution and branch of a Canadian account. `Debug` shows no digit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EftRouting {
    institution: [u8; 3],
    branch: [u8; 5],
}

/// Which part comes first in eight digits without a hyphen. The digits cannot tell, so the connector must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigitOrder {
    /// `TTTTTIII`, the cheque form without its hyphen.
    BranchFirst,
    /// `IIITTTTT`, the electronic form without its leading zero.
    InstitutionFirst,
}

impl EftRouting {
    /// Takes the two parts as the bank lists them: three digits and five.
    ///
    /// # Errors
    /// When a part has another length or holds anything but ASCII digits.
    pub fn from_parts(institution: &str, branch: &str) -> Result<Self, Reason> {
        Ok(Self { institution: digits::exactly(institution)?, branch: digits::exactly(branch)? })
    }

    /// Reads either written form. `order` settles eight digits without a hyphen and is ignored otherwise.
    ///
    /// # Errors
    /// [`Reason::AmbiguousOrder`] for eight digits without `order`, [`Reason::UnknownForm`] for a shape that is none of
    /// the forms, [`Reason::WrongCharacter`] for anything but digits in a known shape.
    pub fn parse(text: &str, order: Option<DigitOrder>) -> Result<Self, Reason> {
        if let Some((branch, institution)) = text.split_once('-') {
            return match Self::from_parts(institution, branch) {
                Err(Reason::WrongLength) => Err(Reason::UnknownForm),
                outcome => outcome,
            };
        }
        match text.chars().count() {
            9 => match digits::exactly::<9>(text)? {
                [0, i1, i2, i3, branch @ ..] => Ok(Self { institution: [i1, i2, i3], branch }),
                _ => Err(Reason::UnknownForm),
            },
            8 => Self::from_eight(digits::exactly(text)?, order.ok_or(Reason::AmbiguousOrder)?),
            _ => Err(Reason::UnknownForm),
        }
    }

    fn from_eight(values: [u8; 8], order: DigitOrder) -> Result<Self, Reason> {
        Ok(match (order, values) {
            (DigitOrder::BranchFirst, [t1, t2, t3, t4, t5, institution @ ..]) => {
                Self { institution, branch: [t1, t2, t3, t4, t5] }
            }
            (DigitOrder::InstitutionFirst, [i1, i2, i3, branch @ ..]) => Self { institution: [i1, i2, i3], branch },
        })
    }

    /// Three digits.
    #[must_use]
    pub fn institution(&self) -> String {
        digits::to_text(&self.institution)
    }

    /// Five digits, also called the transit number.
    #[must_use]
    pub fn branch(&self) -> String {
        digits::to_text(&self.branch)
    }

    /// The form of electronic files, `0IIITTTTT`.
    #[must_use]
    pub fn electronic(&self) -> String {
        format!("0{}{}", self.institution(), self.branch())
    }

    /// The form printed on cheques, `TTTTT-III`.
    #[must_use]
    pub fn cheque(&self) -> String {
        format!("{}-{}", self.branch(), self.institution())
    }
}

impl fmt::Debug for EftRouting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EftRouting[number]")
    }
}

/// Judges the shape of a full set: institution of three digits, branch of five, account of one to twelve.
pub fn check(institution: &str, branch: &str, account: &str) -> Verdict {
    EftRouting::from_parts(institution, branch).and_then(|_| digits::up_to(account, 12)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_written_forms_name_the_same_branch() {
        let electronic = EftRouting::parse("000312345", None).unwrap();
        assert_eq!(EftRouting::parse("12345-003", None), Ok(electronic));
        assert_eq!((electronic.institution().as_str(), electronic.branch().as_str()), ("003", "12345"));
        assert_eq!(electronic.electronic(), "000312345");
        assert_eq!(electronic.cheque(), "12345-003");
    }

    #[test]
    fn eight_digits_need_the_order_from_the_caller() {
        assert_eq!(EftRouting::parse("12345003", None), Err(Reason::AmbiguousOrder));
        let expected = EftRouting::from_parts("003", "12345").unwrap();
        assert_eq!(EftRouting::parse("12345003", Some(DigitOrder::BranchFirst)), Ok(expected));
        assert_eq!(EftRouting::parse("00312345", Some(DigitOrder::InstitutionFirst)), Ok(expected));
    }

    #[test]
    fn other_shapes_are_not_guessed_at() {
        let cases = [
            ("100312345", Reason::UnknownForm),
            ("003-12345", Reason::UnknownForm),
            ("12345-003-1", Reason::UnknownForm),
            ("1234-003", Reason::UnknownForm),
            ("", Reason::UnknownForm),
            ("00031234x", Reason::WrongCharacter),
            ("1234x-003", Reason::WrongCharacter),
        ];
        for (text, reason) in cases {
            assert_eq!(EftRouting::parse(text, Some(DigitOrder::BranchFirst)), Err(reason), "{text}");
        }
    }

    #[test]
    fn sets_are_judged_by_shape() {
        assert_eq!(check("003", "12345", "1"), Verdict::Valid);
        assert_eq!(check("003", "12345", "123456789012"), Verdict::Valid);
        for (institution, branch, account) in
            [("03", "12345", "1"), ("003", "1234", "1"), ("003", "12345", ""), ("003", "12345", "1234567890123")]
        {
            assert_eq!(check(institution, branch, account), Verdict::Invalid(Reason::WrongLength));
        }
        assert_eq!(check("003", "12345", "12-34"), Verdict::Invalid(Reason::WrongCharacter));
    }

    #[test]
    fn debug_shows_no_digit() {
        let routing = EftRouting::from_parts("003", "12345").unwrap();
        assert!(!format!("{routing:?}").contains(|character: char| character.is_ascii_digit()));
    }
}
