//! Enrichment: what kind of transaction it is, and at whom, said from the bank's own words.
//!
//! The knowledge is data: `data/enrichment/taxonomy.txt` holds the contract's categories, `data/enrichment/rules.txt`
//! phrases and what they mean. [`Rules`] finds the phrase that says most. An app's correction goes before every rule and
//! stays with the transaction.
//!
//! Recurrence is not told yet, and nothing is learnt from corrections.

mod rules;
mod taxonomy;
mod words;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

pub use self::{
    rules::{RuleError, Rules},
    taxonomy::Kind,
};
use crate::{
    reconcile::TransactionChanges,
    transaction::{Direction, Transaction, TransactionDetails},
};

/// The rules that this release knows. A test reads them, so they can be read.
static RULES: LazyLock<Rules> = LazyLock::new(|| {
    Rules::parse(include_str!("../../data/enrichment/rules.txt")).expect("a test reads the rules of this release")
});

/// What is known of a transaction beyond the bank's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrichment {
    /// What kind of transaction it is.
    pub kind: Kind,
    /// How likely that is, in percent. A correction by the app is certain.
    pub confidence: u8,
    /// At whom, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant: Option<Named>,
    /// Who handled the payment, if the words say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<Named>,
    /// The app said so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub corrected: bool,
}

/// A name with how likely it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Display name.
    pub name: String,
    /// In percent.
    pub confidence: u8,
}

/// What this release's rules say; `None` when the words say too little.
#[must_use]
pub fn enrich(details: &TransactionDetails) -> Option<Enrichment> {
    RULES.enrich(text_of(details), details.direction)
}

/// Enriches what is new or changed. What an app corrected stays as it said.
pub fn enrich_changes(changes: &mut TransactionChanges) {
    for row in changes.created.iter_mut().chain(&mut changes.updated) {
        refresh(row);
    }
}

/// Applies this release's rules to a stored transaction; says whether that changed it.
pub fn refresh(row: &mut Transaction) -> bool {
    if row.enrichment.as_ref().is_some_and(|known| known.corrected) {
        return false;
    }
    let found = enrich(&row.details);
    let changed = row.enrichment != found;
    row.enrichment = found;
    changed
}

/// Sets the kind of a transaction as an app says. Merchant and processor stay.
pub fn correct(row: &mut Transaction, kind: Kind) {
    let known = row.enrichment.take();
    let (merchant, processor) = known.map(|known| (known.merchant, known.processor)).unwrap_or_default();
    row.enrichment = Some(Enrichment { kind, confidence: 100, merchant, processor, corrected: true });
}

/// Whether a correction of `one` is meant for `other` too: money went the same way, at the same merchant, or, where none is
/// known, with the same words apart from numbers.
#[must_use]
pub fn are_similar(one: &Transaction, other: &Transaction) -> bool {
    let merchant = |row: &Transaction| {
        row.enrichment.as_ref().and_then(|known| known.merchant.as_ref()).map(|merchant| merchant.name.clone())
    };
    let same = match (merchant(one), merchant(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => {
            let (one, other) =
                (words::without_numbers(text_of(&one.details)), words::without_numbers(text_of(&other.details)));
            !one.is_empty() && one == other
        }
        _ => false,
    };
    same && one.details.direction == other.details.direction
}

/// The words to go by: the bank's own, which say more than the cleaned ones.
fn text_of(details: &TransactionDetails) -> &str {
    details.raw_description.as_deref().or(details.description.as_deref()).unwrap_or_default()
}

/// Which way money went, as rules say it.
fn direction_of(word: &str) -> Option<Direction> {
    match word {
        "credit" => Some(Direction::Credit),
        "debit" => Some(Direction::Debit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AccountId, TransactionId};

    fn row(text: &str, direction: Direction) -> Transaction {
        let details = TransactionDetails {
            amount: 1.into(),
            direction,
            currency: "USD".into(),
            date: "2024-05-01".parse().unwrap(),
            datetime: None,
            description: Some("cleaned".into()),
            raw_description: Some(text.into()),
            pending: false,
        };
        Transaction {
            id: TransactionId::from_bits(1),
            account_id: AccountId::from_bits(1),
            upstream_key: "k".into(),
            enrichment: enrich(&details),
            details,
            original_id: None,
            pending_id: None,
        }
    }

    #[test]
    fn a_correction_stays_and_keeps_the_merchant() {
        let mut corrected = row("POS STARBUCKS 0312", Direction::Debit);
        let kind = Kind::find("expenses", Some("business_expenses")).unwrap();
        correct(&mut corrected, kind);
        let known = corrected.enrichment.clone().unwrap();
        assert_eq!((known.kind, known.confidence, known.corrected), (kind, 100, true));
        assert_eq!(known.merchant.unwrap().name, "Starbucks");
        assert!(!refresh(&mut corrected), "no rule goes before it");
    }

    #[test]
    fn rules_are_applied_again_when_the_words_change() {
        let mut changed = row("POS STARBUCKS 0312", Direction::Debit);
        assert!(!refresh(&mut changed));
        changed.details.raw_description = Some("POS NETFLIX.COM".into());
        assert!(refresh(&mut changed));
        assert_eq!(changed.enrichment.as_ref().unwrap().merchant.as_ref().unwrap().name, "Netflix");
        changed.details.raw_description = Some("0312".into());
        assert!(refresh(&mut changed));
        assert_eq!(changed.enrichment, None);
    }

    #[test]
    fn similar_is_the_same_merchant_or_the_same_words_in_the_same_direction() {
        let starbucks = |store: &str| row(&format!("STARBUCKS STORE {store}"), Direction::Debit);
        assert!(are_similar(&starbucks("1"), &starbucks("2")));
        assert!(!are_similar(&starbucks("1"), &row("STARBUCKS REFUND", Direction::Credit)));
        assert!(!are_similar(&starbucks("1"), &row("NETFLIX", Direction::Debit)));
        let unknown = |number: &str| row(&format!("XYZ HOLDINGS {number}"), Direction::Debit);
        assert!(are_similar(&unknown("12"), &unknown("77")));
        assert!(!are_similar(&unknown("12"), &row("ABC HOLDINGS", Direction::Debit)));
        assert!(!are_similar(&row("991", Direction::Debit), &row("992", Direction::Debit)), "numbers say nothing");
    }
}
