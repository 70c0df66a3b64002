//! Two-letter country codes, as BICs use them.
//!
//! Source: ISO 3166-1 alpha-2, the 249 assigned codes, plus the user-assigned `XK` (Kosovo), which ISO 9362 admits.

const ASSIGNED: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ \
    BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ \
    DE DJ DK DM DO DZ \
    EC EE EG EH ER ES ET \
    FI FJ FK FM FO FR \
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY \
    HK HM HN HR HT HU \
    ID IE IL IM IN IO IQ IR IS IT \
    JE JM JO JP \
    KE KG KH KI KM KN KP KR KW KY KZ \
    LA LB LC LI LK LR LS LT LU LV LY \
    MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ \
    NA NC NE NF NG NI NL NO NP NR NU NZ \
    OM \
    PA PE PF PG PH PK PL PM PN PR PS PT PW PY \
    QA \
    RE RO RS RU RW \
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ \
    TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ \
    UA UG UM US UY UZ \
    VA VC VE VG VI VN VU \
    WF WS \
    XK \
    YE YT \
    ZA ZM ZW";

/// One bit per second letter, indexed by the first; built at compile time so that a test is one shift.
const SECOND_LETTERS: [u32; 26] = second_letters(ASSIGNED.as_bytes());

/// Territories whose banks issue IBANs under the parent's code. Source: SWIFT IBAN registry, notes to FR, GB and FI.
const IBAN_PARENTS: [(&str, &[&str]); 3] = [
    ("FI", &["AX"]),
    ("FR", &["BL", "GF", "GP", "MF", "MQ", "NC", "PF", "PM", "RE", "TF", "WF", "YT"]),
    ("GB", &["GG", "IM", "JE"]),
];

/// Whether the two upper-case letters can be the country of a BIC.
pub(super) fn is_bic_country(code: [u8; 2]) -> bool {
    let [first, second] = code.map(|letter| letter.wrapping_sub(b'A'));
    second < 26 && SECOND_LETTERS.get(usize::from(first)).is_some_and(|letters| letters >> second & 1 == 1)
}

/// The country whose code the IBANs of this country carry: the parent of a territory, else the country itself.
pub(super) fn iban_country(code: &str) -> &str {
    IBAN_PARENTS.iter().find_map(|(parent, territories)| territories.contains(&code).then_some(*parent)).unwrap_or(code)
}

const fn second_letters(codes: &[u8]) -> [u32; 26] {
    let mut letters = [0; 26];
    let mut index = 0;
    while index < codes.len() {
        letters[(codes[index] - b'A') as usize] |= 1 << (codes[index + 1] - b'A');
        index += 3;
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_code_and_no_other_is_known() {
        let listed: Vec<[u8; 2]> =
            ASSIGNED.split(' ').map(|code| code.as_bytes().try_into().expect("two letters")).collect();
        assert_eq!(listed.len(), 250);
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                assert_eq!(is_bic_country([first, second]), listed.contains(&[first, second]));
            }
        }
    }

    #[test]
    fn territories_share_the_parent() {
        assert_eq!(iban_country("JE"), "GB");
        assert_eq!(iban_country("RE"), "FR");
        assert_eq!(iban_country("AX"), "FI");
        assert_eq!(iban_country("GL"), "GL");
    }
}
