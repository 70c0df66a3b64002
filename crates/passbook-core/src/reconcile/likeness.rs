//! Which reported transaction is a stored one that the bank now calls by another name.
//!
//! Keys and references come first and are compared elsewhere. This is for what is left on both sides: the same account,
//! the same amount in the same direction, dates close together and descriptions that have something in common. Every
//! pair is one to one, the closest dates first, so that of two like purchases neither is counted twice nor lost. However
//! many alike a bank sends, the work is bounded.

use std::collections::{BTreeSet, HashMap};

use jiff::{ToSpan as _, civil::Date};
use rust_decimal::Decimal;

use crate::{
    ids::AccountId,
    transaction::{Direction, TransactionDetails},
};

/// Most days between the beginning of a pending transaction and its posting.
pub(super) const POSTING_DAYS_MAX: i32 = 10;
/// Most days by which two sources date the same posted transaction apart.
pub(super) const DATING_DAYS_MAX: i32 = 3;
/// Most pairs that are looked at; above it there are thousands alike, and nothing to tell them apart by.
const PAIRS_MAX: usize = 200_000;
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
    /// The first and the last date that the reported side may have.
    fn window(self, stored: Date) -> (Date, Date) {
        let (early, late) = match self {
            Self::Posting => (EARLY_DAYS_MAX, POSTING_DAYS_MAX),
            Self::Dating => (DATING_DAYS_MAX, DATING_DAYS_MAX),
        };
        (stored.saturating_sub(early.days()), stored.saturating_add(late.days()))
    }
}

/// Pairs of indexes, stored and reported, that are the same transaction.
pub(super) fn pair(stored: &[Candidate<'_>], reported: &[Candidate<'_>], dates: Dates) -> Vec<(usize, usize)> {
    let new_words: Vec<_> = reported.iter().map(|candidate| words(candidate.details)).collect();
    let mut by_amount: HashMap<_, Vec<(Date, usize)>> = HashMap::new();
    for (new, after) in reported.iter().enumerate() {
        by_amount.entry(after.exact()).or_default().push((after.details.date, new));
    }
    by_amount.values_mut().for_each(|rows| rows.sort_unstable());
    let (mut likely, mut looked_at) = (Vec::new(), 0);
    for (old, before) in stored.iter().enumerate() {
        let Some(rows) = by_amount.get(&before.exact()) else { continue };
        let (old_words, date) = (words(before.details), before.details.date);
        let (first, last) = dates.window(date);
        let near = rows.iter().skip(rows.partition_point(|row| row.0 < first)).take_while(|row| row.0 <= last);
        for (reported_on, new) in near.take(PAIRS_MAX - looked_at) {
            looked_at += 1;
            if described_alike(&old_words, &new_words[*new]) {
                likely.push((date.until(*reported_on).map_or(i32::MAX, |span| span.get_days().abs()), date, old, *new));
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

/// At least half of the words of the shorter description are in the other one. Without words there is nothing to tell
/// them apart by.
fn described_alike(one: &BTreeSet<String>, other: &BTreeSet<String>) -> bool {
    let shorter = one.len().min(other.len());
    shorter == 0 || one.intersection(other).count() * 2 >= shorter
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
    fn thousands_alike_cost_a_bounded_number_of_looks() {
        let alike = vec![details("5", "2026-01-10", "Coffee"); 4_000];
        let found = pairs(&alike, &alike, Dates::Dating);
        assert!(!found.is_empty() && found.len() <= PAIRS_MAX / 4_000 + 1, "{}", found.len());
    }

    #[test]
    fn many_of_one_amount_on_many_days_are_all_paired() {
        let first: Date = "2024-01-01".parse().unwrap();
        let rows: Vec<_> = (0..2_000)
            .map(|n| TransactionDetails {
                date: first.saturating_add((n / 2).days()),
                ..details("2.5", "2024-01-01", "Bus")
            })
            .collect();
        assert_eq!(pairs(&rows, &rows, Dates::Dating).len(), rows.len());
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
