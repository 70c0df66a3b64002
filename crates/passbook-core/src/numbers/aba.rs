//! US routing numbers (ABA routing transit numbers).
//!
//! Nine digits, the last a check digit over the weights 3, 7, 1. The first two digits are the Federal Reserve district
//! plus an offset for the kind of institution; ranges outside the list below were never assigned.
//! Source: Accredited Standards Committee X9, Routing Number Policy.

use super::{Reason, Verdict, digits};

const WEIGHTS: [u32; 9] = [3, 7, 1, 3, 7, 1, 3, 7, 1];

/// Judges a routing number of exactly nine digits. Serves ACH and wire numbers alike.
pub fn check(number: &str) -> Verdict {
    validate(number).into()
}

/// The ninth digit that completes eight.
///
/// The prefix is not looked at: a generator chooses it, and [`check`] judges the whole number.
///
/// # Errors
/// When the text is not exactly eight ASCII digits.
pub fn check_digit(first_eight: &str) -> Result<char, Reason> {
    let values = digits::exactly::<8>(first_eight)?;
    let complement = (10 - weighted_sum(&values) % 10) % 10;
    Ok(char::from_digit(complement, 10).expect("a remainder of ten is a digit"))
}

fn validate(number: &str) -> Result<(), Reason> {
    let values = digits::exactly::<9>(number)?;
    if values == [0; 9] {
        return Err(Reason::AllZero);
    }
    if !matches!(values[0] * 10 + values[1], 0..=12 | 21..=32 | 61..=72 | 80) {
        return Err(Reason::UnassignedPrefix);
    }
    if weighted_sum(&values).is_multiple_of(10) { Ok(()) } else { Err(Reason::ChecksumMismatch) }
}

fn weighted_sum(values: &[u8]) -> u32 {
    values.iter().zip(WEIGHTS).map(|(value, weight)| u32::from(*value) * weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_numbers_are_valid() {
        for number in ["011401533", "021000021", "121000358", "010088889", "026009593"] {
            assert_eq!(check(number), Verdict::Valid, "{number}");
        }
    }

    #[test]
    fn broken_numbers_name_the_broken_rule() {
        let cases = [
            ("021000022", Reason::ChecksumMismatch),
            ("123456789", Reason::ChecksumMismatch),
            ("000000000", Reason::AllZero),
            ("130000006", Reason::UnassignedPrefix),
            ("02100002", Reason::WrongLength),
            ("0210000210", Reason::WrongLength),
            ("", Reason::WrongLength),
            ("02100002A", Reason::WrongCharacter),
            ("02100002\u{0661}", Reason::WrongCharacter),
            ("021 00021", Reason::WrongCharacter),
        ];
        for (number, reason) in cases {
            assert_eq!(check(number), Verdict::Invalid(reason), "{number}");
        }
    }

    #[test]
    fn every_prefix_is_judged_by_the_assigned_ranges() {
        let assigned: Vec<u32> = (0..=12).chain(21..=32).chain(61..=72).chain([80]).collect();
        for prefix in 0..100 {
            let first_eight = format!("{prefix:02}100002");
            let number = format!("{first_eight}{}", check_digit(&first_eight).unwrap());
            let expected =
                if assigned.contains(&prefix) { Verdict::Valid } else { Verdict::Invalid(Reason::UnassignedPrefix) };
            assert_eq!(check(&number), expected, "{number}");
        }
    }

    #[test]
    fn check_digit_needs_eight_digits() {
        assert_eq!(check_digit("02100002"), Ok('1'));
        assert_eq!(check_digit("0210000"), Err(Reason::WrongLength));
        assert_eq!(check_digit("0210000x"), Err(Reason::WrongCharacter));
    }
}
