//! Which countries have IBANs, and what the national part looks like.
//!
//! Source: SWIFT IBAN registry, release 101, with Brazil as in the later release that lets the bank code and the last
//! two characters be alphanumeric. Facts only: neighbouring fields of one character class are written as one. Two
//! groups are left out because the registry does: countries that use IBAN-like numbers without registration, and
//! territories whose IBANs carry the parent's code (`GP` banks issue `FR` numbers).

/// What characters a run of positions may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CharacterClass {
    /// `n`: digits.
    Digit,
    /// `a`: upper-case letters.
    Letter,
    /// `c`: digits and upper-case letters.
    Alphanumeric,
}

impl CharacterClass {
    /// Whether this ASCII character belongs to the class.
    #[must_use]
    pub fn admits(self, character: u8) -> bool {
        match self {
            Self::Digit => character.is_ascii_digit(),
            Self::Letter => character.is_ascii_uppercase(),
            Self::Alphanumeric => character.is_ascii_digit() || character.is_ascii_uppercase(),
        }
    }
}

/// A run of positions of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StructureField {
    /// How many characters, exactly.
    pub length: usize,
    /// What they may be.
    pub class: CharacterClass,
}

/// The fields of a country's national part (BBAN) in order, or `None` when the country has no IBAN.
#[must_use]
pub fn structure_of(country: &str) -> Option<&'static [StructureField]> {
    let index = STRUCTURES.binary_search_by(|(code, _)| (*code).cmp(country)).ok()?;
    Some(STRUCTURES[index].1)
}

/// Countries with an IBAN, in alphabetical order of their two-letter codes.
pub fn countries() -> impl Iterator<Item = &'static str> {
    STRUCTURES.iter().map(|(code, _)| *code)
}

const fn n(length: usize) -> StructureField {
    StructureField { length, class: CharacterClass::Digit }
}

const fn a(length: usize) -> StructureField {
    StructureField { length, class: CharacterClass::Letter }
}

const fn c(length: usize) -> StructureField {
    StructureField { length, class: CharacterClass::Alphanumeric }
}

#[rustfmt::skip]
static STRUCTURES: &[(&str, &[StructureField])] = &[
    ("AD", &[n(8), c(12)]), ("AE", &[n(19)]), ("AL", &[n(8), c(16)]), ("AT", &[n(16)]), ("AZ", &[a(4), c(20)]),
    ("BA", &[n(16)]), ("BE", &[n(12)]), ("BG", &[a(4), n(6), c(8)]), ("BH", &[a(4), c(14)]), ("BI", &[n(23)]),
    ("BR", &[c(8), n(15), c(2)]), ("BY", &[c(4), n(4), c(16)]), ("CH", &[n(5), c(12)]), ("CR", &[n(18)]),
    ("CY", &[n(8), c(16)]), ("CZ", &[n(20)]), ("DE", &[n(18)]), ("DJ", &[n(23)]), ("DK", &[n(14)]),
    ("DO", &[c(4), n(20)]), ("EE", &[n(16)]), ("EG", &[n(25)]), ("ES", &[n(20)]), ("FI", &[n(14)]),
    ("FK", &[a(2), n(12)]), ("FO", &[n(14)]), ("FR", &[n(10), c(11), n(2)]), ("GB", &[a(4), n(14)]),
    ("GE", &[a(2), n(16)]), ("GI", &[a(4), c(15)]), ("GL", &[n(14)]), ("GR", &[n(7), c(16)]), ("GT", &[c(24)]),
    ("HN", &[a(4), n(20)]), ("HR", &[n(17)]), ("HU", &[n(24)]), ("IE", &[a(4), n(14)]), ("IL", &[n(19)]),
    ("IQ", &[a(4), n(15)]), ("IS", &[n(22)]), ("IT", &[a(1), n(10), c(12)]), ("JO", &[a(4), n(4), c(18)]),
    ("KW", &[a(4), c(22)]), ("KZ", &[n(3), c(13)]), ("LB", &[n(4), c(20)]), ("LC", &[a(4), c(24)]),
    ("LI", &[n(5), c(12)]), ("LT", &[n(16)]), ("LU", &[n(3), c(13)]), ("LV", &[a(4), c(13)]), ("LY", &[n(21)]),
    ("MC", &[n(10), c(11), n(2)]), ("MD", &[c(20)]), ("ME", &[n(18)]), ("MK", &[n(3), c(10), n(2)]),
    ("MN", &[n(16)]), ("MR", &[n(23)]), ("MT", &[a(4), n(5), c(18)]), ("MU", &[a(4), n(19), a(3)]),
    ("NI", &[a(4), n(20)]), ("NL", &[a(4), n(10)]), ("NO", &[n(11)]), ("OM", &[n(3), c(16)]),
    ("PK", &[a(4), c(16)]), ("PL", &[n(24)]), ("PS", &[a(4), c(21)]), ("PT", &[n(21)]), ("QA", &[a(4), c(21)]),
    ("RO", &[a(4), c(16)]), ("RS", &[n(18)]), ("RU", &[n(14), c(15)]), ("SA", &[n(2), c(18)]),
    ("SC", &[a(4), n(20), a(3)]), ("SD", &[n(14)]), ("SE", &[n(20)]), ("SI", &[n(15)]), ("SK", &[n(20)]),
    ("SM", &[a(1), n(10), c(12)]), ("SO", &[n(19)]), ("ST", &[n(21)]), ("SV", &[a(4), n(20)]), ("TL", &[n(19)]),
    ("TN", &[n(20)]), ("TR", &[n(6), c(16)]), ("UA", &[n(6), c(19)]), ("VA", &[n(18)]), ("VG", &[a(4), n(16)]),
    ("XK", &[n(16)]), ("YE", &[a(4), n(4), c(18)]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_sorted_and_unique() {
        assert!(STRUCTURES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn every_structure_fits_the_longest_iban() {
        for (country, fields) in STRUCTURES {
            let length: usize = fields.iter().map(|field| field.length).sum();
            assert!((11..=30).contains(&length), "{country}");
        }
    }

    #[test]
    fn only_registered_countries_have_a_structure() {
        assert_eq!(structure_of("GB"), Some([a(4), n(14)].as_slice()));
        for absent in ["US", "GP", "MA", "gb", "", "GBR"] {
            assert_eq!(structure_of(absent), None, "{absent}");
        }
    }
}
