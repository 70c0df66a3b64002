//! The transactions of one account, gathered over all its statements in a file.
//!
//! `FITID` is unique within an account by the standard and not always in the field, and a file may hold a transaction
//! together with its own correction. Both are settled here, so that what leaves is free of repetitions and
//! contradictions: no key twice, nothing both present and withdrawn.

use std::collections::{HashMap, HashSet};

use passbook_core::{
    snapshot::{BankTransaction, BankTransactions, WithdrawnTransaction},
    transaction::TransactionDetails,
};

use super::{
    notes::{Note, Notes},
    transactions::Row,
};

/// See the module page.
#[derive(Default)]
pub(super) struct Ledger {
    entries: Vec<Entry>,
    by_id: HashMap<String, usize>,
    /// Content of the entries that share another one's id.
    reused: HashSet<String>,
    corrections: Vec<Correction>,
}

struct Entry {
    id: Option<String>,
    replaces: Option<String>,
    details: TransactionDetails,
}

/// A correction in file order.
struct Correction {
    /// The id it does away with.
    target: String,
    /// The entry that takes its place; `None` for a deletion.
    replacement: Option<usize>,
}

impl Ledger {
    /// Takes the next row of the file.
    pub(super) fn add(&mut self, row: Row, notes: &mut Notes) {
        match row {
            Row::Deletion(target) => self.corrections.push(Correction { target, replacement: None }),
            Row::Transaction { id, replaces, details } => self.add_transaction(Entry { id, replaces, details }, notes),
        }
    }

    fn add_transaction(&mut self, mut entry: Entry, notes: &mut Notes) {
        let replaces_itself = entry.replaces.is_some() && entry.replaces == entry.id;
        if replaces_itself {
            entry.replaces = None;
        }
        if let Some(id) = &entry.id {
            match self.by_id.get(id) {
                None => {
                    self.by_id.insert(id.clone(), self.entries.len());
                }
                Some(&first) if replaces_itself => {
                    self.entries[first].details = entry.details;
                    return;
                }
                Some(&first) => {
                    let is_same = self.entries[first].details == entry.details;
                    if is_same || !self.reused.insert(format!("{id}\n{:?}", entry.details)) {
                        notes.add(Note::TransactionRepeated);
                        return;
                    }
                    notes.add(Note::TransactionIdReused);
                    entry.id = None;
                }
            }
        }
        if let Some(target) = entry.replaces.clone() {
            self.corrections.push(Correction { target, replacement: Some(self.entries.len()) });
        }
        self.entries.push(entry);
    }

    /// Applies the corrections and hands everything over under the account's key.
    pub(super) fn finish(self, account_key: &str, transactions: &mut BankTransactions) {
        let (is_dropped, withdrawn) = self.corrected();
        let kept = self.entries.into_iter().zip(is_dropped).filter(|(_, is_dropped)| !is_dropped);
        transactions.items.extend(kept.map(|(entry, _)| BankTransaction {
            account_key: account_key.to_owned(),
            upstream_key: entry.id,
            replaces: entry.replaces,
            details: entry.details,
        }));
        transactions.withdrawn.extend(
            withdrawn
                .into_iter()
                .map(|upstream_key| WithdrawnTransaction { account_key: account_key.to_owned(), upstream_key }),
        );
    }

    /// Which entries are corrected away, and which ids are withdrawn from what is stored.
    ///
    /// An entry that goes takes along whatever it replaced itself, which may only be stored. Corrections count in file
    /// order and one that is gone corrects nothing, so a ring of them leaves one standing.
    fn corrected(&self) -> (Vec<bool>, Vec<String>) {
        let mut is_dropped = vec![false; self.entries.len()];
        let mut withdrawn = Vec::new();
        for Correction { target, replacement } in &self.corrections {
            if replacement.is_some_and(|index| is_dropped[index]) {
                continue;
            }
            if replacement.is_none() {
                withdrawn.push(target.clone());
            }
            let mut next = Some(target);
            while let Some(&index) = next.and_then(|id| self.by_id.get(id)) {
                if is_dropped[index] || Some(index) == *replacement {
                    break;
                }
                is_dropped[index] = true;
                next = self.entries[index].replaces.as_ref();
                let own_id = replacement.and_then(|index| self.entries[index].id.as_ref());
                withdrawn.extend(next.filter(|id| Some(*id) != own_id).cloned());
            }
        }
        withdrawn.sort_unstable();
        withdrawn.dedup();
        (is_dropped, withdrawn)
    }
}

#[cfg(test)]
mod tests {
    use passbook_core::transaction::Direction;

    use super::*;

    fn row(id: &str, replaces: &str, cents: i64) -> Row {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Row::Transaction {
            id: some(id),
            replaces: some(replaces),
            details: TransactionDetails {
                amount: rust_decimal::Decimal::new(cents, 2),
                direction: Direction::Credit,
                currency: "USD".to_owned(),
                date: jiff::civil::date(2024, 1, 5),
                datetime: None,
                description: None,
                raw_description: None,
                pending: false,
            },
        }
    }

    fn deletion(id: &str) -> Row {
        Row::Deletion(id.to_owned())
    }

    /// `id<replaced=amount` per transaction, `-id` per withdrawal, then the notes.
    fn outcome(rows: Vec<Row>) -> String {
        let mut notes = Notes::default();
        let mut ledger = Ledger::default();
        rows.into_iter().for_each(|row| ledger.add(row, &mut notes));
        let mut transactions = BankTransactions { complete_since: None, items: vec![], withdrawn: vec![] };
        ledger.finish("account", &mut transactions);
        let items = transactions.items.iter().map(|item| {
            let replaces = item.replaces.as_ref().map(|id| format!("<{id}")).unwrap_or_default();
            format!("{}{replaces}={}", item.upstream_key.as_deref().unwrap_or("?"), item.details.amount)
        });
        let withdrawn = transactions.withdrawn.iter().map(|gone| format!("-{}", gone.upstream_key));
        items.chain(withdrawn).chain(notes.into_texts()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn repeated_and_reused_ids() {
        assert_eq!(
            outcome(vec![row("a", "", 1), row("a", "", 1), row("a", "", 2), row("a", "", 2), row("", "", 1)]),
            "a=0.01 ?=0.02 ?=0.01 1 transaction with the id of another one: kept, told apart by content. \
             2 transactions repeated exactly: kept once."
        );
    }

    #[test]
    fn corrections_within_one_file_leave_no_contradiction() {
        for (rows, expected) in [
            (vec![row("a", "", 1), row("b", "a", 2)], "b<a=0.02"),
            (vec![row("b", "a", 2), row("a", "", 1)], "b<a=0.02"),
            (vec![row("b", "a", 2)], "b<a=0.02"),
            (vec![row("a", "", 1), deletion("a")], "-a"),
            (vec![deletion("a"), row("b", "", 2)], "b=0.02 -a"),
            (vec![row("a", "", 1), row("b", "a", 2), row("c", "b", 3)], "c<b=0.03 -a"),
            (vec![row("c", "b", 3), row("b", "a", 2), row("a", "", 1)], "c<b=0.03 -a"),
            (vec![row("b", "a", 2), deletion("b")], "-a -b"),
            (vec![row("a", "b", 1), row("b", "a", 2)], "a<b=0.01"),
            (vec![row("a", "a", 1)], "a=0.01"),
            (vec![row("a", "", 1), row("a", "a", 2)], "a=0.02"),
        ] {
            assert_eq!(outcome(rows), expected);
        }
    }
}
