//! Which reported transaction is a stored one that the bank now calls by another name.
//!
//! Keys and references come first and are compared elsewhere. This is for what is left on both sides: the same account,
//! the same amount in the same direction, dates close together and descriptions that have something in common. Every
//! pair is one to one, the closest dates first, so that of two like purchases neither is counted twice nor lost.

use std::collections::{BTreeSet, HashMap};

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::{
    ids::AccountId,
    transaction::{Direction, TransactionDetails},
};

/// Most days between the beginning of a pending transaction and its posting.
pub(super) const POSTING_DAYS_MAX: i32 = 10;
/// Most days by which two sources date the same posted transaction apart.
pub(super) const DATING_DAYS_MAX: i32 = 3;
/// A posting may be dated before the pending transaction: another time zone, or the date of the purchase.
const EARLY_DAYS_MAX: i32 = 1;

/// One side of a comparison.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub account_id: &'a AccountId,
    pub details: &'a TransactionDetails,
}

impl<'a> Candidate<'a> {
    /// What must agree exactly.
    fn exact(&self) -> (&'a AccountId, Decimal, Direction, &'a str) {
        let details = self.details;
        (self.account_id, details.amount.normalize(), details.direction, &details.currency)
    }
}

/// How a date of the stored side may differ from the reported one.
#[derive(Clone, Copy)]
pub(super) enum Dates {
    /// Stored is pending, reported is posted.
    Posting,
    /// Both are posted, and two sources name them.
    Dating,
}

impl Dates {
    fn allow(self, stored: Date, reported: Date) -> Option<i32> {
        let days = stored.until(reported).map(|span| span.get_days()).unwrap_or(i32::MAX);
        let allowed = match self {
            Self::Posting => -EARLY_DAYS_MAX..=POSTING_DAYS_MAX,
            Self::Dating => -DATING_DAYS_MAX..=DATING_DAYS_MAX,
        };
        allowed.contains(&days).then_some(days.abs())
    }
}

/// Pairs of indexes, stored and reported, that are the same transaction.
pub(super) fn pair(stored: &[Candidate<'_>], reported: &[Candidate<'_>], dates: Dates) -> Vec<(usize, usize)> {
    let mut by_amount: HashMap<_, Vec<usize>> = HashMap::new();
    for (new, after) in reported.iter().enumerate() {
        by_amount.entry(after.exact()).or_default().push(new);
    }
    let mut likely = Vec::new();
    for (old, before) in stored.iter().enumerate() {
        for new in by_amount.get(&before.exact()).into_iter().flatten() {
            if let Some(days) = distance(before.details, reported[*new].details, dates) {
                likely.push((days, before.details.date, old, *new));
            }
        }
    }
    // The order is total, so equal data pairs equally whoever runs this.
    likely.sort_unstable();
    let (mut taken_old, mut taken_new) = (BTreeSet::new(), BTreeSet::new());
    let mut pairs = Vec::new();
    for (_, _, old, new) in likely {
        if !taken_old.contains(&old) && !taken_new.contains(&new) {
            taken_old.insert(old);
            taken_new.insert(new);
            pairs.push((old, new));
        }
    }
    pairs
}

/// Days between two transactions of the same amount that may be the same one.
fn distance(stored: &TransactionDetails, reported: &TransactionDetails, dates: Dates) -> Option<i32> {
    let days = dates.allow(stored.date, reported.date)?;
    described_alike(stored, reported).then_some(days)
}

/// At least half of the words of the shorter description are in the other one. Without words there is nothing to tell
/// them apart by.
fn described_alike(one: &TransactionDetails, other: &TransactionDetails) -> bool {
    let (one, other) = (words(one), words(other));
    let shorter = one.len().min(other.len());
    shorter == 0 || one.intersection(&other).count() * 2 >= shorter
}

/// Words of letters, at least three of them; numbers differ between a pending and a posted line.
fn words(details: &TransactionDetails) -> BTreeSet<String> {
    let text = [details.description.as_deref(), details.raw_description.as_deref()];
    text.into_iter()
        .flatten()
        .flat_map(|text| text.split(|letter: char| !letter.is_alphabetic()))
        .filter(|word| word.chars().nth(2).is_some())
        .map(str::to_uppercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(amount: &str, date: &str, description: &str) -> TransactionDetails {
        TransactionDetails {
            amount: amount.parse().unwrap(),
            direction: Direction::Debit,
            currency: "USD".into(),
            date: date.parse().unwrap(),
            datetime: None,
            description: Some(description.into()),
            raw_description: None,
            pending: false,
        }
    }

    fn pairs(stored: &[TransactionDetails], reported: &[TransactionDetails], dates: Dates) -> Vec<(usize, usize)> {
        let account = AccountId::from_bits(1);
        let side = |rows: &[TransactionDetails]| rows.to_vec();
        let (stored, reported) = (side(stored), side(reported));
        let candidate = |details| Candidate { account_id: &account, details };
        let (old, new): (Vec<_>, Vec<_>) =
            (stored.iter().map(candidate).collect(), reported.iter().map(candidate).collect());
        pair(&old, &new, dates)
    }

    #[test]
    fn amount_dates_and_words_must_agree() {
        let pending = details("5", "2026-01-10", "POS COFFEE HOUSE 1234");
        for (posted, alike) in [
            (details("5.00", "2026-01-12", "Coffee House"), true),
            (details("5", "2026-01-20", "coffee house berlin"), true),
            (details("5", "2026-01-09", "COFFEE"), true),
            (details("5", "2026-01-12", ""), true),
            (details("5", "2026-01-21", "Coffee House"), false),
            (details("5", "2026-01-08", "Coffee House"), false),
            (details("5.01", "2026-01-12", "Coffee House"), false),
            (details("5", "2026-01-12", "Bakery"), false),
            (TransactionDetails { direction: Direction::Credit, ..details("5", "2026-01-12", "Coffee") }, false),
            (TransactionDetails { currency: "EUR".into(), ..details("5", "2026-01-12", "Coffee") }, false),
        ] {
            let found = pairs(std::slice::from_ref(&pending), std::slice::from_ref(&posted), Dates::Posting);
            assert_eq!(!found.is_empty(), alike, "{posted:?}");
        }
    }

    #[test]
    fn of_several_the_closest_are_paired_and_each_once() {
        let stored = [details("5", "2026-01-10", "Coffee"), details("5", "2026-01-12", "Coffee")];
        let reported = [details("5", "2026-01-12", "Coffee"), details("5", "2026-01-13", "Coffee")];
        let mut found = pairs(&stored, &reported, Dates::Dating);
        found.sort_unstable();
        assert_eq!(found, [(0, 1), (1, 0)]);
        assert_eq!(pairs(&stored, &reported[..1], Dates::Dating), [(1, 0)]);
    }
}
