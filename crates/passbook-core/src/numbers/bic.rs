//! BIC: ISO 9362:2022. Four alphanumeric characters, a country, two alphanumeric, and optionally three for the branch.

use super::{Reason, Verdict, countries::is_bic_country};

/// A well-formed BIC in upper case. A BIC names an institution and is public, so `Debug` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bic {
    bytes: [u8; 11],
    has_branch: bool,
}

impl Bic {
    /// Reads 8 or 11 characters; letters are made upper case.
    ///
    /// Digits are allowed in the first four characters, as in the standard. The network's own stricter rule (letters
    /// only) would refuse codes that exist.
    ///
    /// # Errors
    /// The first rule broken: length, characters, country.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let length = text.chars().count();
        if !matches!(length, 8 | 11) {
            return Err(Reason::WrongLength);
        }
        let mut bytes = *b"XXXXXXXXXXX";
        for (index, (byte, character)) in bytes.iter_mut().zip(text.chars()).enumerate() {
            let is_country = matches!(index, 4 | 5);
            *byte = u8::try_from(character.to_ascii_uppercase())
                .ok()
                .filter(|byte| byte.is_ascii_uppercase() || (!is_country && byte.is_ascii_digit()))
                .ok_or(Reason::WrongCharacter)?;
        }
        if !is_bic_country([bytes[4], bytes[5]]) {
            return Err(Reason::UnknownCountry);
        }
        Ok(Self { bytes, has_branch: length == 11 })
    }

    /// The code at the length it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = if self.has_branch { 11 } else { 8 };
        &self.padded()[..length]
    }

    /// Always 11 characters; the head office is `XXX`. Two spellings of one office are equal in this form.
    #[must_use]
    pub fn padded(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("only ASCII letters and digits are stored")
    }

    /// Two-letter country code.
    #[must_use]
    pub fn country(&self) -> &str {
        &self.padded()[4..6]
    }

    /// Whether it names the head office: no branch, or `XXX`.
    #[must_use]
    pub fn is_head_office(&self) -> bool {
        self.bytes[8..] == *b"XXX"
    }
}

/// Judges a BIC in any case.
pub fn check(text: &str) -> Verdict {
    Bic::parse(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_codes_are_valid() {
        for code in ["NWBKGB2L", "DEUTDEFF500", "E097AEXX", "NCBVXKPR"] {
            assert_eq!(check(code), Verdict::Valid, "{code}");
        }
    }

    #[test]
    fn broken_codes_name_the_broken_rule() {
        let cases = [
            ("NWBKGB2", Reason::WrongLength),
            ("NWBKGB2L1", Reason::WrongLength),
            ("NWBKGB2LXXXX", Reason::WrongLength),
            ("NWBK2B2L", Reason::WrongCharacter),
            ("NWBKGB2-", Reason::WrongCharacter),
            ("NWBKGB2\u{df}", Reason::WrongCharacter),
            ("NWBKZZ2L", Reason::UnknownCountry),
            ("NWBKUK2L", Reason::UnknownCountry),
        ];
        for (code, reason) in cases {
            assert_eq!(check(code), Verdict::Invalid(reason), "{code}");
        }
    }

    #[test]
    fn head_office_has_two_spellings() {
        let (short, long) = (Bic::parse("NWBKGB2L").unwrap(), Bic::parse("nwbkgb2lxxx").unwrap());
        assert!(short.is_head_office() && long.is_head_office());
        assert_eq!(short.padded(), long.padded());
        assert_eq!((short.as_str(), long.as_str()), ("NWBKGB2L", "NWBKGB2LXXX"));
        assert!(!Bic::parse("DEUTDEFF500").unwrap().is_head_office());
    }
}
