//! IBAN: ISO 13616 structure and the ISO 7064 mod 97-10 check digits.
//!
//! National check digits inside the BBAN are not checked: banks abroad publish numbers without them, and the IBAN's own
//! check digits already detect every single wrong character.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Reason, SortCode, UkAccount, Verdict, iban_structures::structure_of};

/// The longest an IBAN can be.
const LENGTH_MAX: usize = 34;

/// A valid IBAN in its stored form: no spaces, upper case. Held inline, wiped on drop, and `Debug` shows the country
/// only.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Iban {
    bytes: [u8; LENGTH_MAX],
    length: usize,
}

impl Iban {
    /// Reads an IBAN. Spaces anywhere are dropped and letters made upper case.
    ///
    /// # Errors
    /// The first rule broken, in the order: characters, country, length, class per position, range of the check digits,
    /// checksum.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let mut bytes = [0; LENGTH_MAX];
        let mut length = 0;
        for character in text.chars().filter(|character| *character != ' ') {
            if !character.is_ascii_alphanumeric() {
                return Err(Reason::WrongCharacter);
            }
            *bytes.get_mut(length).ok_or(Reason::WrongLength)? = ascii(character).to_ascii_uppercase();
            length += 1;
        }
        let iban = Self { bytes, length };
        iban.validate()?;
        Ok(iban)
    }

    /// Builds the IBAN of a national number, computing the check digits.
    ///
    /// # Errors
    /// When the country has no IBAN or the number does not fit its structure. Nothing is stripped or upper-cased.
    pub fn from_bban(country: &str, bban: &str) -> Result<Self, Reason> {
        let check_digits = check_digits(country, bban)?;
        Self::parse(&format!("{country}{check_digits:02}{bban}"))
    }

    /// The whole number, without spaces.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("only ASCII letters and digits are stored")
    }

    /// The printed form, in groups of four.
    #[must_use]
    pub fn grouped(&self) -> String {
        let mut grouped = String::with_capacity(self.length + self.length / 4);
        for (index, character) in self.as_str().chars().enumerate() {
            if index > 0 && index % 4 == 0 {
                grouped.push(' ');
            }
            grouped.push(character);
        }
        grouped
    }

    /// Two-letter country code.
    #[must_use]
    pub fn country(&self) -> &str {
        &self.as_str()[..2]
    }

    /// The national part.
    #[must_use]
    pub fn bban(&self) -> &str {
        &self.as_str()[4..]
    }

    /// Bank code, sort code and account of a GB number; `None` for any other country.
    #[must_use]
    pub fn gb_parts(&self) -> Option<GbParts<'_>> {
        if self.country() != "GB" {
            return None;
        }
        let (bank_code, rest) = self.bban().split_at_checked(4)?;
        let (sort_code, account) = rest.split_at_checked(6)?;
        Some(GbParts { bank_code, account: UkAccount::from_parts(sort_code, account).ok()? })
    }

    fn validate(&self) -> Result<(), Reason> {
        let text = self.as_str();
        let (Some(country), Some(check), Some(bban)) = (text.get(..2), text.get(2..4), text.get(4..)) else {
            return Err(Reason::WrongLength);
        };
        fits_structure(country, bban)?;
        if !check.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(Reason::WrongCharacter);
        }
        // 00, 01 and 99 leave the same remainder as 97, 98 and 02, so the checksum alone would let them through.
        if matches!(check, "00" | "01" | "99") {
            return Err(Reason::CheckDigitsOutOfRange);
        }
        let rearranged = bban.bytes().chain(country.bytes()).chain(check.bytes());
        if remainder_97(rearranged) == 1 { Ok(()) } else { Err(Reason::ChecksumMismatch) }
    }
}

impl fmt::Debug for Iban {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Iban[{}]", self.country())
    }
}

/// What a GB IBAN is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GbParts<'a> {
    /// Four letters: the start of the bank's BIC.
    pub bank_code: &'a str,
    /// Sort code and account.
    pub account: UkAccount,
}

impl GbParts<'_> {
    /// The sort code.
    #[must_use]
    pub fn sort_code(&self) -> SortCode {
        self.account.sort_code
    }
}

/// Judges an IBAN in any spacing and case.
pub fn check(text: &str) -> Verdict {
    Iban::parse(text).into()
}

/// The check digits, 2 to 98, for a national number.
///
/// # Errors
/// When the country has no IBAN or the number does not fit its structure exactly.
pub fn check_digits(country: &str, bban: &str) -> Result<u8, Reason> {
    fits_structure(country, bban)?;
    Ok(98 - remainder_97(bban.bytes().chain(country.bytes()).chain(*b"00")))
}

fn fits_structure(country: &str, bban: &str) -> Result<(), Reason> {
    let fields = structure_of(country).ok_or(Reason::UnknownCountry)?;
    if bban.len() != fields.iter().map(|field| field.length).sum::<usize>() {
        return Err(Reason::WrongLength);
    }
    let mut characters = bban.bytes();
    let fits = fields.iter().all(|field| characters.by_ref().take(field.length).all(|byte| field.class.admits(byte)));
    if fits { Ok(()) } else { Err(Reason::WrongCharacter) }
}

/// Remainder modulo 97 of the decimal number in which A is written 10 and Z 35.
fn remainder_97(characters: impl Iterator<Item = u8>) -> u8 {
    let remainder = characters.fold(0_u32, |remainder, character| match character {
        b'0'..=b'9' => (remainder * 10 + u32::from(character - b'0')) % 97,
        letter => (remainder * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    u8::try_from(remainder).expect("a remainder of 97 is below 97")
}

fn ascii(character: char) -> u8 {
    u8::try_from(character).expect("the caller tested for ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_numbers_are_valid() {
        for number in ["GB29NWBK60161331926819", "PK36SCBL0000001123456702", "HN88CABF00000000000250005469"] {
            assert_eq!(check(number), Verdict::Valid, "{number}");
        }
    }

    #[test]
    fn spacing_and_case_are_normalised() {
        let iban = Iban::parse(" gb29 NWBK 6016 1331 9268 19 ").unwrap();
        assert_eq!(iban.as_str(), "GB29NWBK60161331926819");
        assert_eq!(iban.grouped(), "GB29 NWBK 6016 1331 9268 19");
    }

    #[test]
    fn broken_numbers_name_the_broken_rule() {
        let cases = [
            ("GB30NWBK60161331926819", Reason::ChecksumMismatch),
            ("GB29NWBK6016133192681", Reason::WrongLength),
            ("GB29NWBK601613319268190", Reason::WrongLength),
            ("GB", Reason::WrongLength),
            ("", Reason::WrongLength),
            ("GB29NWBK601613319268190000000000000", Reason::WrongLength),
            ("GB29NW1K60161331926819", Reason::WrongCharacter),
            ("GB29NWBK6016133192681A", Reason::WrongCharacter),
            ("GB2ANWBK60161331926819", Reason::WrongCharacter),
            ("GB29-NWBK60161331926819", Reason::WrongCharacter),
            ("GB29NWBK6016133192681\u{e9}", Reason::WrongCharacter),
            ("US29NWBK60161331926819", Reason::UnknownCountry),
        ];
        for (number, reason) in cases {
            assert_eq!(check(number), Verdict::Invalid(reason), "{number}");
        }
    }

    #[test]
    fn aliases_of_check_digits_are_refused() {
        // Searched so that the true check digits are 97, 98 and 02; 00, 01 and 99 have the same remainders.
        for (genuine, alias) in [(97, "00"), (98, "01"), (2, "99")] {
            let bban = (0..1000)
                .map(|serial| format!("NWBK60161331926{serial:03}"))
                .find(|bban| check_digits("GB", bban) == Ok(genuine))
                .expect("a thousand serial numbers reach every remainder");
            assert_eq!(check(&format!("GB{genuine:02}{bban}")), Verdict::Valid);
            assert_eq!(check(&format!("GB{alias}{bban}")), Verdict::Invalid(Reason::CheckDigitsOutOfRange));
        }
    }

    #[test]
    fn check_digits_complete_a_national_number() {
        assert_eq!(check_digits("GB", "NWBK60161331926819"), Ok(29));
        assert_eq!(check_digits("GB", "NWBK6016133192681"), Err(Reason::WrongLength));
        assert_eq!(check_digits("GB", "nwbk60161331926819"), Err(Reason::WrongCharacter));
        assert_eq!(check_digits("ZZ", "1"), Err(Reason::UnknownCountry));
        assert_eq!(Iban::from_bban("GB", "NWBK60161331926819").unwrap().as_str(), "GB29NWBK60161331926819");
    }

    #[test]
    fn gb_numbers_come_apart() {
        let iban = Iban::parse("GB29NWBK60161331926819").unwrap();
        let parts = iban.gb_parts().unwrap();
        assert_eq!(parts.bank_code, "NWBK");
        assert_eq!(parts.sort_code().compact(), "601613");
        assert_eq!(parts.account.account(), "31926819");
        assert_eq!(Iban::parse("PK36SCBL0000001123456702").unwrap().gb_parts(), None);
    }

    #[test]
    fn debug_shows_the_country_only() {
        assert_eq!(format!("{:?}", Iban::parse("GB29NWBK60161331926819").unwrap()), "Iban[GB]");
    }
}
