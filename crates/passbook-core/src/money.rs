//! Decimal money on the wire.

use rust_decimal::Decimal;

/// Digits after the point that a currency uses (ISO 4217). Unknown currencies are taken to have two.
#[must_use]
pub fn minor_digits(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}

/// The amount as it is shown: exact, with at least the currency's own digits (`7.1` USD becomes `7.10`).
#[must_use]
pub fn with_minor_digits(amount: Decimal, currency: &str) -> Decimal {
    let digits = minor_digits(currency);
    let mut amount = amount.normalize();
    if amount.scale() < digits {
        amount.rescale(digits);
    }
    amount
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_every_digit_and_get_the_currencys_own() {
        for (amount, currency, text) in [
            ("7.1", "USD", "7.10"),
            ("7", "JPY", "7"),
            ("7.125", "USD", "7.125"),
            ("0", "GBP", "0.00"),
            ("1", "BHD", "1.000"),
        ] {
            assert_eq!(with_minor_digits(amount.parse().unwrap(), currency).to_string(), text);
        }
    }
}
