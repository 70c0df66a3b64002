//! Laws that hold for every number, over at least 100,000 generated ones. Seeds are fixed, so a failure repeats.

use passbook_core::numbers::{
    Bic, EftRouting, Iban, Reason, SortCode, UkAccount, Verdict, aba, bic, cross_check,
    eft::{self, DigitOrder},
    iban,
    iban_structures::{self, CharacterClass},
    sort_code::TenDigitRule,
    uk_modulus,
};
use proptest::{prelude::*, sample, test_runner::RngSeed};

fn config(cases: u32, seed: u64) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..ProptestConfig::default() }
}

fn digits(length: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(b'0'..=b'9', length).prop_map(text)
}

fn characters(class: CharacterClass, length: usize) -> impl Strategy<Value = Vec<u8>> {
    let alphabet: Vec<u8> = (b'0'..=b'9').chain(b'A'..=b'Z').filter(|byte| class.admits(*byte)).collect();
    prop::collection::vec(sample::select(alphabet), length)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("only ASCII is generated")
}

/// A routing number with an assigned prefix and its check digit.
fn routing_number() -> impl Strategy<Value = String> {
    (prop_oneof![0..=12_u8, 21..=32_u8, 61..=72_u8, Just(80)], digits(6)).prop_filter_map(
        "all zeros is the one number the ranges and the checksum let through",
        |(prefix, rest)| {
            let first_eight = format!("{prefix:02}{rest}");
            let check_digit = aba::check_digit(&first_eight).expect("eight digits were generated");
            (first_eight != "00000000").then(|| format!("{first_eight}{check_digit}"))
        },
    )
}

/// A country with an IBAN and a national number that fits its structure.
fn national_number() -> impl Strategy<Value = (&'static str, String)> {
    sample::select(iban_structures::countries().collect::<Vec<_>>()).prop_flat_map(|country| {
        let fields = iban_structures::structure_of(country).expect("the country was listed");
        let fields: Vec<_> = fields.iter().map(|field| characters(field.class, field.length)).collect();
        fields.prop_map(move |parts| (country, text(parts.concat())))
    })
}

/// Another character of the same kind at one position: a digit for a digit, a letter for a letter.
fn replaced(number: &str, position: usize, step: u8) -> String {
    let mut bytes = number.as_bytes().to_vec();
    bytes[position] = match bytes[position] {
        digit @ b'0'..=b'9' => b'0' + (digit - b'0' + 1 + step % 9) % 10,
        letter => b'A' + (letter - b'A' + 1 + step % 25) % 26,
    };
    text(bytes)
}

fn swapped(number: &str, position: usize) -> String {
    let mut bytes = number.as_bytes().to_vec();
    bytes.swap(position, position + 1);
    text(bytes)
}

proptest! {
    #![proptest_config(config(25_000, 0x5047_0002))]

    #[test]
    fn routing_numbers_detect_every_single_wrong_digit(
        number in routing_number(), position in 0..9_usize, step: u8,
    ) {
        prop_assert_eq!(aba::check(&number), Verdict::Valid);
        prop_assert!(aba::check(&replaced(&number, position, step)).is_invalid());
    }

    /// Neighbouring weights differ by 2, 4 or 6, so a swap is seen unless the digits are equal or five apart.
    #[test]
    fn routing_numbers_detect_neighbours_swapped(number in routing_number(), position in 0..8_usize) {
        let (left, right) = (number.as_bytes()[position], number.as_bytes()[position + 1]);
        let verdict = aba::check(&swapped(&number, position));
        if matches!(left.abs_diff(right), 0 | 5) {
            prop_assert!(matches!(verdict, Verdict::Valid | Verdict::Invalid(Reason::UnassignedPrefix)));
        } else {
            prop_assert!(verdict.is_invalid());
        }
    }
}

proptest! {
    #![proptest_config(config(25_000, 0x5047_0003))]

    #[test]
    fn ibans_complete_print_and_detect_single_errors(
        (country, bban) in national_number(), position: sample::Index, step: u8,
    ) {
        let iban = Iban::from_bban(country, &bban).unwrap();
        prop_assert_eq!((iban.country(), iban.bban()), (country, bban.as_str()));
        prop_assert_eq!(&Iban::parse(&iban.grouped()).unwrap(), &iban);
        prop_assert_eq!(&Iban::parse(&iban.as_str().to_lowercase()).unwrap(), &iban);
        let digits = iban::check_digits(country, &bban).unwrap();
        prop_assert!((2..=98).contains(&digits));
        prop_assert_eq!(&iban.as_str()[2..4], format!("{digits:02}"));
        let position = position.index(iban.as_str().len());
        prop_assert!(iban::check(&replaced(iban.as_str(), position, step)).is_invalid());
    }

    /// Promised for two digits and for two letters, unless they are equal. A letter beside a digit is not: B1 and 1B are both 111 to the
    /// checksum.
    #[test]
    fn ibans_detect_neighbours_swapped((country, bban) in national_number(), position: sample::Index) {
        let iban = Iban::from_bban(country, &bban).unwrap();
        let position = 4 + position.index(bban.len() - 1);
        let (left, right) = (iban.as_str().as_bytes()[position], iban.as_str().as_bytes()[position + 1]);
        if left == right || left.is_ascii_digit() == right.is_ascii_digit() {
            prop_assert_eq!(iban::check(&swapped(iban.as_str(), position)).is_invalid(), left != right);
        }
    }
}

proptest! {
    #![proptest_config(config(10_000, 0x5047_0004))]

    #[test]
    fn bics_parse_to_themselves(
        party in characters(CharacterClass::Alphanumeric, 4),
        country in sample::select(iban_structures::countries().collect::<Vec<_>>()),
        location in characters(CharacterClass::Alphanumeric, 2),
        branch in prop::option::of(characters(CharacterClass::Alphanumeric, 3)),
    ) {
        let head = format!("{}{country}{}", text(party), text(location));
        let branch = branch.map(text);
        let code = format!("{head}{}", branch.as_deref().unwrap_or_default());
        let parsed = Bic::parse(&code).unwrap();
        prop_assert_eq!(parsed.as_str(), &code);
        prop_assert_eq!(parsed.country(), country);
        prop_assert_eq!(parsed.is_head_office(), branch.is_none_or(|branch| branch == "XXX"));
        let padded = Bic::parse(parsed.padded()).unwrap();
        prop_assert_eq!(padded.padded(), parsed.padded());
    }

    #[test]
    fn eft_routing_survives_every_written_form(
        institution in digits(3), branch in digits(5), account in "[0-9]{1,12}",
    ) {
        let routing = EftRouting::from_parts(&institution, &branch).unwrap();
        prop_assert_eq!(EftRouting::parse(&routing.electronic(), None), Ok(routing));
        prop_assert_eq!(EftRouting::parse(&routing.cheque(), None), Ok(routing));
        let branch_first = format!("{branch}{institution}");
        prop_assert_eq!(EftRouting::parse(&branch_first, Some(DigitOrder::BranchFirst)), Ok(routing));
        let institution_first = format!("{institution}{branch}");
        prop_assert_eq!(EftRouting::parse(&institution_first, Some(DigitOrder::InstitutionFirst)), Ok(routing));
        prop_assert_eq!(eft::check(&institution, &branch, &account), Verdict::Valid);
    }

    #[test]
    fn sort_codes_survive_every_written_form(code in digits(6)) {
        let parsed = SortCode::parse(&code).unwrap();
        prop_assert_eq!(parsed.compact(), code);
        prop_assert_eq!(SortCode::parse(&parsed.hyphenated()), Ok(parsed));
        prop_assert_eq!(SortCode::parse(&parsed.hyphenated().replace('-', " ")), Ok(parsed));
    }

    #[test]
    fn uk_accounts_keep_their_digits_through_every_length(code in digits(6), account in digits(10)) {
        let normalise = |length: usize, rule| UkAccount::normalise(&code, &account[..length], rule).unwrap();
        for length in 6..=8 {
            let normalised = normalise(length, None);
            prop_assert_eq!(normalised.account(), format!("{:0>8}", &account[..length]));
            prop_assert_eq!(normalised.sort_code.compact(), code.as_str());
        }
        let nine = normalise(9, None);
        prop_assert_eq!(
            format!("{}{}", nine.sort_code.compact(), nine.account()), format!("{}{}", &code[..5], &account[..9])
        );
        prop_assert_eq!(normalise(10, Some(TenDigitRule::FirstEight)).account(), &account[..8]);
        prop_assert_eq!(normalise(10, Some(TenDigitRule::LastEight)).account(), &account[2..]);
    }

    #[test]
    fn gb_ibans_contain_the_account_they_were_built_from(
        bank in "[A-Z]{4}", code in digits(6), account in digits(8), position in 0..14_usize, step: u8,
    ) {
        let iban = Iban::from_bban("GB", &format!("{bank}{code}{account}")).unwrap();
        let other = replaced(&format!("{code}{account}"), position, step);
        let same = UkAccount::from_parts(&code, &account).unwrap();
        let other = UkAccount::from_parts(&other[..6], &other[6..]).unwrap();
        prop_assert_eq!(cross_check::iban_matches_uk_account(&iban, &same), Some(Verdict::Valid));
        prop_assert!(cross_check::iban_matches_uk_account(&iban, &other).is_some_and(Verdict::is_invalid));
        prop_assert!(matches!(uk_modulus::check(&same, None), Verdict::Unchecked(_)));
    }

    /// Numbers come from remote systems: whatever the text, there is a verdict and no panic.
    #[test]
    fn any_text_gets_a_verdict(input in "\\PC{0,40}|[0-9A-Za-z\\- ]{0,40}") {
        prop_assert!(aba::check(&input).is_invalid() || input.len() == 9);
        prop_assert!(bic::check(&input).is_invalid() || matches!(input.len(), 8 | 11));
        prop_assert_eq!(iban::check(&input) == Verdict::Valid, Iban::parse(&input).is_ok());
        prop_assert!(eft::check(&input, &input, &input).is_invalid());
        for order in [None, Some(DigitOrder::BranchFirst), Some(DigitOrder::InstitutionFirst)] {
            prop_assert!(EftRouting::parse(&input, order).is_err() || matches!(input.len(), 8 | 9));
        }
        prop_assert!(UkAccount::normalise(&input, &input, None).is_err() || input.len() == 6 || input.len() == 8);
    }
}
