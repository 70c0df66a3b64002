//! Exact decimals in the contract's two spellings.
//!
//! Balances are JSON numbers, every other amount is a decimal string. Neither may pass through a binary float, which
//! would turn `0.1` into something else. Numbers therefore travel as raw JSON text. serde_json's `arbitrary_precision`
//! would do the same, but features unify over a build, and it changes how every other crate reads numbers.

/// `Option<Decimal>` as a JSON number or null.
///
/// Exact with serde_json's text readers and writers (`from_str`, `from_slice`, `from_reader`, `to_string`, `to_vec`,
/// `to_writer`). A detour over [`serde_json::Value`] is not exact, because a `Value` holds floats.
pub(crate) mod json_number {
    use rust_decimal::Decimal;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
    use serde_json::value::RawValue;

    pub(crate) fn serialize<S: Serializer>(amount: &Option<Decimal>, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(amount) = amount else { return serializer.serialize_none() };
        RawValue::from_string(amount.to_string()).map_err(ser::Error::custom)?.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
        let Some(raw) = Option::<Box<RawValue>>::deserialize(deserializer)? else { return Ok(None) };
        parse(raw.get()).map(Some).ok_or_else(|| de::Error::custom("expected a JSON number of at most 28 digits"))
    }

    /// `None` for anything that is not a JSON number, or that a `Decimal` cannot hold exactly.
    fn parse(text: &str) -> Option<Decimal> {
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return None;
        }
        let exponent_free = !text.contains(['e', 'E']);
        if exponent_free { Decimal::from_str_exact(text).ok() } else { Decimal::from_scientific(text).ok() }
    }
}

/// `Decimal` as a decimal string (`"7.07"`), trailing zeros kept.
pub(crate) mod string {
    use rust_decimal::Decimal;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(amount: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(amount)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The text itself stays out of the message: amounts are personal data.
        Decimal::from_str_exact(&text).map_err(|_| de::Error::custom("expected a decimal string of at most 28 digits"))
    }
}

/// `Option<Decimal>` as a decimal string or null.
pub(crate) mod string_option {
    use rust_decimal::Decimal;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(amount: &Option<Decimal>, serializer: S) -> Result<S::Ok, S::Error> {
        match amount {
            Some(amount) => super::string::serialize(amount, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
        #[derive(Deserialize)]
        struct Amount(#[serde(with = "super::string")] Decimal);
        Ok(Option::<Amount>::deserialize(deserializer)?.map(|Amount(amount)| amount))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        #[serde(default, with = "super::json_number")]
        balance: Option<Decimal>,
        #[serde(with = "super::string")]
        amount: Decimal,
    }

    #[test]
    fn amounts_survive_byte_for_byte() {
        for text in ["0.1", "12345678901234.56", "100.00", "0", "-42.50", "0.10", "79228162514264337593543950335", "7"]
        {
            let json = format!(r#"{{"balance":{text},"amount":"{text}"}}"#);
            let sample: Sample = serde_json::from_str(&json).unwrap();
            assert_eq!(sample.amount.to_string(), text);
            assert_eq!(serde_json::to_string(&sample).unwrap(), json);
            let from_reader: Sample = serde_json::from_reader(json.as_bytes()).unwrap();
            assert_eq!(from_reader, sample);
        }
    }

    #[test]
    fn numbers_with_an_exponent_are_exact() {
        for (text, expected) in [("1e3", "1000"), ("1.5E-7", "0.00000015"), ("-2.5e1", "-25")] {
            let sample: Sample = serde_json::from_str(&format!(r#"{{"balance":{text},"amount":"1"}}"#)).unwrap();
            assert_eq!(sample.balance.unwrap(), expected.parse::<Decimal>().unwrap());
        }
    }

    #[test]
    fn the_wrong_kind_and_inexact_values_are_refused() {
        let inexact = format!("0.{}", "1".repeat(40));
        for balance in [r#""7.07""#, "true", "[]", "{}", "1e400", &inexact] {
            let json = format!(r#"{{"balance":{balance},"amount":"1"}}"#);
            assert!(serde_json::from_str::<Sample>(&json).is_err(), "{balance}");
        }
        for amount in ["7.07", "null", r#""seven""#, r#""""#, &format!("{inexact:?}")] {
            let json = format!(r#"{{"balance":null,"amount":{amount}}}"#);
            assert!(serde_json::from_str::<Sample>(&json).is_err(), "{amount}");
        }
    }

    #[test]
    fn null_and_absent_balances_are_none_and_written_as_null() {
        for json in [r#"{"balance":null,"amount":"1"}"#, r#"{"amount":"1"}"#] {
            let sample: Sample = serde_json::from_str(json).unwrap();
            assert_eq!(sample.balance, None);
            assert_eq!(serde_json::to_string(&sample).unwrap(), r#"{"balance":null,"amount":"1"}"#);
        }
    }

    proptest! {
        #[test]
        fn every_decimal_round_trips(mantissa in -(1_i128 << 95)..(1_i128 << 95), scale in 0_u32..=28) {
            let value = Decimal::from_i128_with_scale(mantissa, scale);
            let sample = Sample { balance: Some(value), amount: value };
            let json = serde_json::to_string(&sample).unwrap();
            let read: Sample = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(serde_json::to_string(&read).unwrap(), json);
            prop_assert_eq!(read, sample);
        }
    }
}
