//! The three sign conventions of the contract, as three types that do not mix.
//!
//! | Where | On the wire | Type |
//! | --- | --- | --- |
//! | transactions | never negative; the direction is a field of its own | [`TransactionAmount`] |
//! | imports | positive enters the account (credit), negative leaves it (debit) | [`ImportAmount`] |
//! | investment transactions | positive leaves the account (debit), negative enters it (credit) | [`InvestmentAmount`] |
//!
//! None of them turns into a bare [`Decimal`] by itself: whoever takes the number out says which sign it is to have
//! ([`credit_positive`](ImportAmount::credit_positive), [`debit_positive`](ImportAmount::debit_positive)). The signed
//! ones convert into each other with `From`, which turns the sign around.
//!
//! `Debug` hides the amount; `Display` writes it as it is on the wire.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::TransactionType;
use crate::wire::{decimal, redact::Redacted};

/// How much money a transaction moved, whichever way: never negative.
///
/// ```
/// use moneykit::models::{ImportAmount, TransactionAmount, TransactionType};
/// use rust_decimal::Decimal;
///
/// let paid = TransactionAmount::magnitude_of(Decimal::new(-710, 2));
/// assert_eq!(paid.unsigned(), Decimal::new(710, 2));
/// let change = ImportAmount::of_transaction(paid, &TransactionType::Debit).expect("the direction is known");
/// assert_eq!(change.credit_positive(), Decimal::new(-710, 2));
/// ```
///
/// It has no sign, so it cannot stand where one is expected:
///
/// ```compile_fail
/// use moneykit::models::{TransactionAmount, TransactionImportData};
/// use rust_decimal::Decimal;
///
/// let paid = TransactionAmount::magnitude_of(Decimal::new(710, 2));
/// TransactionImportData::new("account", paid, "2024-01-09".parse::<jiff::civil::Date>().unwrap());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionAmount(Decimal);

impl TransactionAmount {
    /// The absolute value of any number.
    #[must_use]
    pub fn magnitude_of(amount: Decimal) -> Self {
        Self(amount.abs())
    }

    /// The number, without a sign.
    #[must_use]
    pub fn unsigned(self) -> Decimal {
        self.0
    }
}

impl Serialize for TransactionAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        decimal::string::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for TransactionAmount {
    /// A negative amount is refused: its direction would be said twice, and a guess could turn a debit into a credit.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let amount = decimal::string::deserialize(deserializer)?;
        if amount < Decimal::ZERO {
            return Err(de::Error::custom("expected an amount that is not negative"));
        }
        Ok(Self::magnitude_of(amount))
    }
}

/// Defines a signed amount whose wire form has the sign of one direction.
macro_rules! signed_amount {
    ($(#[$meta:meta])* $name:ident, positive $positive:ident, negative $negative:ident, other $other:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(#[serde(with = "decimal::string")] Decimal);

        impl $name {
            /// This much money entering the account.
            #[must_use]
            pub fn credit(amount: TransactionAmount) -> Self {
                Self::moving(amount, TransactionType::Credit)
            }

            /// This much money leaving the account.
            #[must_use]
            pub fn debit(amount: TransactionAmount) -> Self {
                Self::moving(amount, TransactionType::Debit)
            }

            /// From a number in which money entering the account is positive.
            #[must_use]
            pub fn from_credit_positive(amount: Decimal) -> Self {
                Self::from_positive(amount, TransactionType::Credit)
            }

            /// From a number in which money leaving the account is positive.
            #[must_use]
            pub fn from_debit_positive(amount: Decimal) -> Self {
                Self::from_positive(amount, TransactionType::Debit)
            }

            /// The amount of a transaction with its direction. `None` if the direction is a word that this release does
            /// not know.
            #[must_use]
            pub fn of_transaction(amount: TransactionAmount, direction: &TransactionType) -> Option<Self> {
                match direction {
                    TransactionType::Credit => Some(Self::credit(amount)),
                    TransactionType::Debit => Some(Self::debit(amount)),
                    TransactionType::Unknown(_) => None,
                }
            }

            /// The number in which money entering the account is positive.
            #[must_use]
            pub fn credit_positive(self) -> Decimal {
                self.positive_for(TransactionType::Credit)
            }

            /// The number in which money leaving the account is positive.
            #[must_use]
            pub fn debit_positive(self) -> Decimal {
                self.positive_for(TransactionType::Debit)
            }

            /// How much, whichever way.
            #[must_use]
            pub fn magnitude(self) -> TransactionAmount {
                TransactionAmount::magnitude_of(self.0)
            }

            /// Which way; `None` for zero.
            #[must_use]
            pub fn direction(self) -> Option<TransactionType> {
                match self.0.cmp(&Decimal::ZERO) {
                    std::cmp::Ordering::Greater => Some(TransactionType::$positive),
                    std::cmp::Ordering::Less => Some(TransactionType::$negative),
                    std::cmp::Ordering::Equal => None,
                }
            }

            /// The sum; `None` if it has too many digits.
            #[must_use]
            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }

            fn moving(amount: TransactionAmount, direction: TransactionType) -> Self {
                Self::from_positive(amount.unsigned(), direction)
            }

            fn from_positive(amount: Decimal, direction: TransactionType) -> Self {
                Self(if direction == TransactionType::$positive { amount } else { -amount })
            }

            fn positive_for(self, direction: TransactionType) -> Decimal {
                if direction == TransactionType::$positive { self.0 } else { -self.0 }
            }
        }

        impl From<$other> for $name {
            /// The same movement of money; the sign turns around.
            fn from(amount: $other) -> Self {
                Self(-amount.0)
            }
        }
    };
}

signed_amount! {
    /// An amount as imports write it: **positive enters the account**, negative leaves it.
    ///
    /// ```
    /// use moneykit::models::{ImportAmount, InvestmentAmount};
    /// use rust_decimal::Decimal;
    ///
    /// let wages = ImportAmount::from_credit_positive(Decimal::new(250_000, 2));
    /// assert_eq!(wages.to_string(), "2500.00");
    /// assert_eq!(InvestmentAmount::from(wages).to_string(), "-2500.00");
    /// ```
    ///
    /// ```compile_fail
    /// use moneykit::models::{ImportAmount, InvestmentAmount};
    /// use rust_decimal::Decimal;
    ///
    /// let bought = InvestmentAmount::from_debit_positive(Decimal::ONE);
    /// let mixed: ImportAmount = bought;
    /// ```
    ImportAmount, positive Credit, negative Debit, other InvestmentAmount
}

signed_amount! {
    /// An amount as investment transactions write it: **positive leaves the account**, negative enters it.
    InvestmentAmount, positive Debit, negative Credit, other ImportAmount
}

macro_rules! shown {
    ($($name:ident),+) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_tuple(stringify!($name)).field(&Redacted).finish()
            }
        }
    )+ };
}
shown!(TransactionAmount, ImportAmount, InvestmentAmount);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal() -> impl Strategy<Value = Decimal> {
        (-(1_i128 << 95)..(1_i128 << 95), 0_u32..=28)
            .prop_map(|(mantissa, scale)| Decimal::from_i128_with_scale(mantissa, scale))
    }

    #[test]
    fn the_same_purchase_is_written_in_three_ways() {
        let paid = TransactionAmount::magnitude_of("7.10".parse().unwrap());
        assert_eq!(serde_json::to_string(&paid).unwrap(), r#""7.10""#);
        assert_eq!(serde_json::to_string(&ImportAmount::debit(paid)).unwrap(), r#""-7.10""#);
        assert_eq!(serde_json::to_string(&InvestmentAmount::debit(paid)).unwrap(), r#""7.10""#);
    }

    #[test]
    fn a_negative_transaction_amount_is_refused_and_a_negative_zero_is_zero() {
        assert!(serde_json::from_str::<TransactionAmount>(r#""-7.10""#).is_err());
        assert_eq!(serde_json::from_str::<TransactionAmount>(r#""-0.00""#).unwrap().to_string(), "0.00");
    }

    #[test]
    fn debug_hides_every_amount() {
        let amount: ImportAmount = serde_json::from_str(r#""-7.10""#).unwrap();
        let shown = format!("{amount:?} {:?} {:?}", InvestmentAmount::from(amount), amount.magnitude());
        assert!(!shown.contains('7'), "{shown}");
    }

    proptest! {
        #[test]
        fn the_direction_survives_every_conversion(number in decimal()) {
            let import = ImportAmount::from_credit_positive(number);
            let investment = InvestmentAmount::from(import);
            prop_assert_eq!(import.direction(), investment.direction());
            prop_assert_eq!(import.magnitude(), investment.magnitude());
            prop_assert_eq!(ImportAmount::from(investment), import);
            prop_assert_eq!(import.credit_positive(), investment.credit_positive());
            prop_assert_eq!(import.debit_positive(), investment.debit_positive());
            prop_assert_eq!(import.debit_positive(), -number);
            prop_assert_eq!(InvestmentAmount::from_credit_positive(number), investment);
            if let Some(direction) = import.direction() {
                prop_assert_eq!(ImportAmount::of_transaction(import.magnitude(), &direction), Some(import));
                prop_assert_eq!(InvestmentAmount::of_transaction(import.magnitude(), &direction), Some(investment));
            }
        }
    }
}
