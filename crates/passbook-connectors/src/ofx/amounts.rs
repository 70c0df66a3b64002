//! Amounts: exact decimals or a clear refusal, never a guess.
//!
//! OFX 3.2.9.1 allows a comma or a point as the decimal sign and no thousands separators. Banks send those too. They
//! are taken where only one reading exists (`1,234.56`, `1.234,56`, `1 234,56`, `1,234,567`); a lone comma before
//! three digits (`1,234`) may mean a thousand or one and is refused. A lone point before three digits is a decimal
//! sign, as some currencies have three decimals and US files never use the point otherwise.

use rust_decimal::Decimal;

/// Digits before the decimal sign; beyond any bank account and far inside [`Decimal`].
const INTEGER_DIGITS_MAX: usize = 15;
/// Digits after it.
const FRACTION_DIGITS_MAX: usize = 9;
/// Characters looked at in all.
const CHARACTERS_MAX: usize = 64;

/// Why an amount was not taken. The text follows the name of the element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AmountProblem {
    /// Letters, exponents, nothing at all.
    NotANumber,
    /// A separator with two readings.
    Ambiguous,
    /// Too many digits.
    TooManyDigits,
}

impl AmountProblem {
    /// What is wrong, to follow the name of the element.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::NotANumber => "is not an amount",
            Self::Ambiguous => "may mean two different amounts: a comma before three digits",
            Self::TooManyDigits => "has more digits than an amount can have",
        }
    }
}

/// Reads a signed amount.
///
/// # Errors
/// See [`AmountProblem`].
pub(super) fn parse(text: &str) -> Result<Decimal, AmountProblem> {
    let text = text.trim();
    if text.len() > CHARACTERS_MAX {
        return Err(AmountProblem::TooManyDigits);
    }
    let (negative, unsigned) = match text.strip_prefix(['-', '\u{2212}']) {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (integer, fraction) = split(unsigned.trim_start())?;
    let fraction = significant_fraction(fraction);
    let integer = integer.trim_start_matches('0');
    if integer.len() > INTEGER_DIGITS_MAX || fraction.len() > FRACTION_DIGITS_MAX {
        return Err(AmountProblem::TooManyDigits);
    }
    let digits = format!("0{integer}{fraction}");
    let units: i128 = digits.parse().map_err(|_| AmountProblem::NotANumber)?;
    let amount = Decimal::from_i128_with_scale(units, u32::try_from(fraction.len()).unwrap_or_default());
    Ok(if negative { negated(amount) } else { amount })
}

/// The amount with the other sign; zero has none.
pub(super) fn negated(amount: Decimal) -> Decimal {
    if amount.is_zero() { amount } else { -amount }
}

/// Splits into the digits before the decimal sign, without separators, and those after it.
fn split(unsigned: &str) -> Result<(String, &str), AmountProblem> {
    let decimal_sign = decimal_sign(unsigned)?;
    let (integer, fraction) = match decimal_sign {
        Some(at) => (&unsigned[..at], &unsigned[at + 1..]),
        None => (unsigned, ""),
    };
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AmountProblem::NotANumber);
    }
    let mut groups = integer.split([',', '.', ' ', '\u{a0}', '\u{202f}']);
    let mut digits = groups.next().unwrap_or_default().to_owned();
    let leading = digits.len();
    for group in groups {
        if group.len() != 3 || !(1..=3).contains(&leading) {
            return Err(AmountProblem::NotANumber);
        }
        digits.push_str(group);
    }
    let has_digits = !(digits.is_empty() && fraction.is_empty());
    if has_digits && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok((digits, fraction))
    } else {
        Err(AmountProblem::NotANumber)
    }
}

/// Where the decimal sign is, if there is one.
fn decimal_sign(unsigned: &str) -> Result<Option<usize>, AmountProblem> {
    let Some(last) = unsigned.rfind([',', '.']) else { return Ok(None) };
    let sign = unsigned.as_bytes()[last];
    let before = &unsigned[..last];
    if before.as_bytes().contains(&sign) {
        // A repeated sign separates thousands: `1,234,567`. Beside the other sign it means nothing.
        return if before.contains(if sign == b',' { '.' } else { ',' }) {
            Err(AmountProblem::NotANumber)
        } else {
            Ok(None)
        };
    }
    let grouped_before = before.contains([',', '.', ' ', '\u{a0}', '\u{202f}']);
    let three_after = unsigned.len() - last - 1 == 3;
    let could_be_thousands = (1..=3).contains(&before.len()) && !before.starts_with('0');
    if sign == b',' && three_after && could_be_thousands && !grouped_before {
        return Err(AmountProblem::Ambiguous);
    }
    // Mixed group signs, as in `1 234.567,89`, are caught by nothing else.
    if before.contains([',', '.']) && before.contains([' ', '\u{a0}', '\u{202f}']) {
        return Err(AmountProblem::NotANumber);
    }
    Ok(Some(last))
}

/// Without the zeros past the second decimal that some banks' software appends.
fn significant_fraction(fraction: &str) -> &str {
    let significant = fraction.trim_end_matches('0').len().max(2).min(fraction.len());
    &fraction[..significant]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_with_one_reading_are_exact() {
        for (text, expected) in [
            ("12.30", "12.30"),
            ("-12.30", "-12.30"),
            ("+12,3", "12.3"),
            (" - 7 ", "-7"),
            ("\u{2212}7.5", "-7.5"),
            ("0", "0"),
            ("-0.00", "0.00"),
            (".5", "0.5"),
            ("5.", "5"),
            ("0,125", "0.125"),
            ("1.234", "1.234"),
            ("1234,567", "1234.567"),
            ("1,234.56", "1234.56"),
            ("1.234,56", "1234.56"),
            ("1 234,56", "1234.56"),
            ("1\u{a0}234\u{202f}567.89", "1234567.89"),
            ("1,234,567", "1234567"),
            ("12.3400000000", "12.34"),
            ("100.000", "100.00"),
            ("0000000000000000000012.00", "12.00"),
            ("999999999999999.999999999", "999999999999999.999999999"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn amounts_without_a_single_reading_are_refused() {
        for text in [
            "",
            "-",
            ".",
            ",",
            "NaN",
            "inf",
            "1e400",
            "1e2",
            "0x10",
            "--5",
            "5-",
            "$5",
            "1.2.3",
            "1,23,456",
            "12 34",
            "1,234.567,8",
            "1 234.567,89",
            "1.2,3.4",
            "٣",
            "1 2",
            ", 5",
        ] {
            assert_eq!(parse(text), Err(AmountProblem::NotANumber), "{text}");
        }
        for text in ["1,234", "-12,345", "+999,000"] {
            assert_eq!(parse(text), Err(AmountProblem::Ambiguous), "{text}");
        }
        for text in ["1234567890123456", "0.1234567891", &"9".repeat(400)] {
            assert_eq!(parse(text), Err(AmountProblem::TooManyDigits), "{text}");
        }
    }
}
