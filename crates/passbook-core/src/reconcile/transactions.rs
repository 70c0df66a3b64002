//! Transactions: matched by the upstream's key within an account, else by likeness; re-issued while pending.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{ToSpan as _, civil::Date};

use super::{
    content_digest, hex_digest,
    likeness::{Candidate, DATING_DAYS_MAX, Dates, pair},
};
use crate::{
    enrichment::Enrichment,
    ids::{AccountId, Derivation, TransactionId},
    link::Link,
    snapshot::{BankTransaction, BankTransactions},
    transaction::{Direction, Transaction, TransactionDetails},
};

/// Most keys a link remembers as withdrawn. Banks correct a handful a year; the bound keeps the document small.
const WITHDRAWN_MAX: usize = 2_000;

/// What has to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionChanges {
    /// New rows.
    pub created: Vec<Transaction>,
    /// Rows whose details or key changed; ids stay.
    pub updated: Vec<Transaction>,
    /// Rows that are gone, as they were stored.
    pub removed: Vec<Transaction>,
    /// Reported rows that were stored already, exactly so.
    pub unchanged: usize,
}

impl TransactionChanges {
    /// Whether nothing has to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.created.is_empty() && self.updated.is_empty() && self.removed.is_empty()
    }
}

/// Compares the bank's transactions with the stored ones.
///
/// `stored` must hold every pending row of the link and every posted row on or after [`compared_since`] (all of them
/// when it is `None`). A pending row never becomes a posted one: it is removed, and the posted one gets an id of its
/// own and remembers the other; with a complete window every pending row is issued anew. What is the same transaction
/// is decided by the bank's key, then by the key it says it replaces, then by likeness. Transactions of accounts the
/// link does not know are left out.
pub fn reconcile_transactions(
    link: &mut Link,
    stored: Vec<Transaction>,
    reported: BankTransactions,
    derivation: &Derivation,
) -> TransactionChanges {
    let accounts: HashMap<String, AccountId> =
        link.accounts.iter().map(|account| (account.upstream_key.clone(), account.id.clone())).collect();
    let mut merge = Merge::new(stored);

    for withdrawn in reported.withdrawn {
        if let Some(account_id) = accounts.get(&withdrawn.account_key) {
            merge.withdraw(link, account_id, &withdrawn.upstream_key);
        }
    }
    let mut occurrences = HashMap::new();
    let mut items: Vec<(AccountId, String, BankTransaction)> = Vec::with_capacity(reported.items.len());
    for item in reported.items {
        if let Some(account_id) = accounts.get(&item.account_key) {
            let key = match &item.upstream_key {
                Some(key) => key.clone(),
                None => content_key(&item.details, occurrences.entry(account_id.clone()).or_default()),
            };
            items.push((account_id.clone(), key, item));
        }
    }
    // Ids follow the order of events, and within one instant the bank's. Never the key: it may be a hash under a key
    // that differs between instances, and equal data must give equal ids.
    items.sort_by_key(|(_, _, item)| (item.details.date, item.details.datetime));
    for (account_id, key, item) in items {
        merge.report(link, account_id, key, item, reported.complete_since.is_some());
    }
    merge.match_pending();
    if let Some(since) = reported.complete_since {
        merge.match_posted(since);
        merge.remove_unreported(since);
    }
    merge.finish(link, derivation)
}

/// From when on posted rows must be loaded to compare a window with: a row just before it may be one that the bank now
/// dates into it.
#[must_use]
pub fn compared_since(complete_since: Option<Date>) -> Option<Date> {
    complete_since.map(|since| since.saturating_sub(DATING_DAYS_MAX.days()))
}

/// A row to create, once it is known that it is not a stored one.
struct NewRow {
    place: (AccountId, String),
    details: TransactionDetails,
    pending_id: Option<TransactionId>,
    /// What an app corrected of the pending row that this one was.
    correction: Option<Enrichment>,
    /// It turned out to be a stored row under another key.
    matched: bool,
}

/// The running comparison.
struct Merge {
    stored: BTreeMap<(AccountId, String), Transaction>,
    seen: HashSet<(AccountId, String)>,
    new: Vec<NewRow>,
    changes: TransactionChanges,
}

impl Merge {
    fn new(stored: Vec<Transaction>) -> Self {
        let stored = stored.into_iter().map(|row| ((row.account_id.clone(), row.upstream_key.clone()), row)).collect();
        Self { stored, seen: HashSet::new(), new: Vec::new(), changes: TransactionChanges::default() }
    }

    fn withdraw(&mut self, link: &mut Link, account_id: &AccountId, key: &str) {
        if link.withdrawn.len() < WITHDRAWN_MAX {
            link.withdrawn.insert(withdrawn_digest(account_id, key));
        }
        if let Some(row) = self.stored.remove(&(account_id.clone(), key.to_owned())) {
            self.remove(row);
        }
    }

    /// Removes a row, and forgets what else was to be written of it.
    fn remove(&mut self, row: Transaction) {
        self.changes.updated.retain(|updated| updated.id != row.id);
        self.changes.removed.push(row);
    }

    fn report(&mut self, link: &mut Link, account_id: AccountId, key: String, item: BankTransaction, live: bool) {
        let place = (account_id, key);
        if link.withdrawn.contains(&withdrawn_digest(&place.0, &place.1)) || !self.seen.insert(place.clone()) {
            return;
        }
        if let Some(replaced) = &item.replaces {
            self.rename(link, &place, replaced);
        }
        let Some(row) = self.stored.get(&place) else { return self.create(place, item.details, None, None) };
        match (row.details.pending, item.details.pending) {
            // An older file still lists as pending what has posted since.
            (false, true) if !live => self.changes.unchanged += 1,
            (true, false) => self.reissue(place, item.details),
            (true, true) if live || row.details != item.details => self.reissue(place, item.details),
            _ if row.details == item.details => {
                // A row that was only renamed still has to be written.
                if !self.changes.updated.iter().any(|updated| updated.id == row.id) {
                    self.changes.unchanged += 1;
                }
            }
            _ => {
                let updated = Transaction { details: item.details, ..row.clone() };
                self.update(updated.clone());
                self.stored.insert(place, updated);
            }
        }
    }

    fn update(&mut self, row: Transaction) {
        self.changes.updated.retain(|earlier| earlier.id != row.id);
        self.changes.updated.push(row);
    }

    /// A pending row goes, and comes back under a new id: still pending, or posted.
    fn reissue(&mut self, place: (AccountId, String), details: TransactionDetails) {
        let pending = self.stored.remove(&place);
        let pending_id = pending.as_ref().filter(|_| !details.pending).map(|row| row.id.clone());
        let correction = pending.as_ref().and_then(correction_of);
        if let Some(row) = pending {
            self.remove(row);
        }
        self.create(place, details, pending_id, correction);
    }

    /// The bank replaced one id by another: the row keeps its public id under the new key.
    fn rename(&mut self, link: &mut Link, place: &(AccountId, String), replaced: &str) {
        let old_place = (place.0.clone(), replaced.to_owned());
        if link.withdrawn.len() < WITHDRAWN_MAX {
            link.withdrawn.insert(withdrawn_digest(&old_place.0, &old_place.1));
        }
        let Some(mut row) = self.stored.remove(&old_place) else { return };
        if self.stored.contains_key(place) {
            self.remove(row);
        } else {
            row.upstream_key.clone_from(&place.1);
            self.changes.updated.push(row.clone());
            self.stored.insert(place.clone(), row);
        }
    }

    fn create(
        &mut self,
        place: (AccountId, String),
        details: TransactionDetails,
        pending_id: Option<TransactionId>,
        correction: Option<Enrichment>,
    ) {
        self.new.push(NewRow { place, details, pending_id, correction, matched: false });
    }

    /// Pending rows that were not reported again may have posted under another key.
    fn match_pending(&mut self) {
        let wanted = |new: &NewRow| !new.details.pending && new.pending_id.is_none();
        for (row, new) in self.likely(|row| row.details.pending, wanted, Dates::Posting) {
            self.new[new].pending_id = Some(row.id.clone());
            self.new[new].correction = correction_of(&row);
            self.remove(row);
        }
    }

    /// Posted rows that a complete report lacks may be in it under another key: the bank changed its keys, or another
    /// source names the same transactions. They keep their ids.
    fn match_posted(&mut self, since: Date) {
        let first = since.saturating_sub(DATING_DAYS_MAX.days());
        let missing = |row: &Transaction| !row.details.pending && row.details.date >= first;
        let wanted = |new: &NewRow| !new.details.pending && new.pending_id.is_none();
        for (row, new) in self.likely(missing, wanted, Dates::Dating) {
            self.new[new].matched = true;
            let (upstream_key, details) = (self.new[new].place.1.clone(), self.new[new].details.clone());
            self.update(Transaction { upstream_key, details, ..row });
        }
    }

    /// Takes out of the stored rows those that were not reported and are a new one all the same, with its index.
    fn likely(
        &mut self,
        missing: impl Fn(&Transaction) -> bool,
        wanted: impl Fn(&NewRow) -> bool,
        dates: Dates,
    ) -> Vec<(Transaction, usize)> {
        let rows: Vec<&Transaction> = self
            .stored
            .iter()
            .filter(|(place, row)| !self.seen.contains(*place) && missing(row))
            .map(|(_, row)| row)
            .collect();
        let news: Vec<usize> = (0..self.new.len()).filter(|index| wanted(&self.new[*index])).collect();
        let old: Vec<_> =
            rows.iter().map(|row| Candidate { account_id: &row.account_id, details: &row.details }).collect();
        let new: Vec<_> = news
            .iter()
            .map(|index| &self.new[*index])
            .map(|new| Candidate { account_id: &new.place.0, details: &new.details })
            .collect();
        let places: Vec<_> = pair(&old, &new, dates)
            .into_iter()
            .map(|(row, new)| ((rows[row].account_id.clone(), rows[row].upstream_key.clone()), news[new]))
            .collect();
        places.into_iter().filter_map(|(place, new)| Some((self.stored.remove(&place)?, new))).collect()
    }

    fn remove_unreported(&mut self, since: Date) {
        for (place, row) in std::mem::take(&mut self.stored) {
            if !self.seen.contains(&place) && (row.details.pending || row.details.date >= since) {
                self.remove(row);
            }
        }
    }

    fn finish(mut self, link: &mut Link, derivation: &Derivation) -> TransactionChanges {
        for new in self.new.into_iter().filter(|new| !new.matched) {
            let id = link.next_transaction_id(derivation);
            let ((account_id, upstream_key), details, pending_id) = (new.place, new.details, new.pending_id);
            let enrichment = new.correction;
            let row = Transaction { id, account_id, upstream_key, details, original_id: None, pending_id, enrichment };
            self.changes.created.push(row);
        }
        self.changes
    }
}

fn correction_of(row: &Transaction) -> Option<Enrichment> {
    row.enrichment.clone().filter(|known| known.corrected)
}

/// A key for a transaction without one: what a person would recognise it by, and how many like it came before.
fn content_key(details: &TransactionDetails, occurrences: &mut HashMap<String, u32>) -> String {
    let description = details.raw_description.as_deref().or(details.description.as_deref()).unwrap_or_default();
    let normalised = description.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase();
    let direction = match details.direction {
        Direction::Credit => "+",
        Direction::Debit => "-",
    };
    let content = format!("{}|{direction}{}|{normalised}", details.date, details.amount.normalize());
    let occurrence = occurrences.entry(content.clone()).or_insert(0);
    *occurrence += 1;
    content_digest(&content, *occurrence)
}

fn withdrawn_digest(account_id: &AccountId, key: &str) -> String {
    hex_digest(&format!("{account_id}|{key}"), 12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        account::AccountType,
        link::tests::sample_link,
        reconcile::{NewAccounts, reconcile_accounts},
        snapshot::{BankAccount, WithdrawnTransaction, balance},
    };

    fn link() -> Link {
        let mut link = sample_link();
        let account = BankAccount {
            upstream_key: "acct".into(),
            account_type: AccountType::new("depository.checking"),
            name: "Everyday".into(),
            nickname: None,
            mask: None,
            balances: balance("USD", None, None, None),
            closed: false,
        };
        reconcile_accounts(&mut link, vec![account], &NewAccounts::Permitted, true, &derivation());
        link
    }

    fn derivation() -> Derivation {
        Derivation::new(b"seed")
    }

    fn item(key: Option<&str>, date: &str, amount: &str, pending: bool) -> BankTransaction {
        let (amount, direction) = Direction::split(amount.parse().unwrap());
        BankTransaction {
            account_key: "acct".into(),
            upstream_key: key.map(Into::into),
            replaces: None,
            details: TransactionDetails {
                amount,
                direction,
                currency: "USD".into(),
                date: date.parse().unwrap(),
                datetime: None,
                description: Some("Coffee".into()),
                raw_description: None,
                pending,
            },
        }
    }

    fn file(items: Vec<BankTransaction>) -> BankTransactions {
        BankTransactions { complete_since: None, items, withdrawn: Vec::new() }
    }

    /// Applies changes to a list the way a store does.
    fn apply(stored: &mut Vec<Transaction>, changes: &TransactionChanges) {
        stored.retain(|row| !changes.removed.iter().any(|removed| removed.id == row.id));
        for updated in &changes.updated {
            *stored.iter_mut().find(|row| row.id == updated.id).unwrap() = updated.clone();
        }
        stored.extend(changes.created.iter().cloned());
    }

    #[test]
    fn the_same_report_twice_changes_nothing() {
        let mut link = link();
        let report = file(vec![
            item(Some("1"), "2026-01-01", "-5", false),
            item(None, "2026-01-02", "-3", false),
            item(None, "2026-01-02", "-3", false),
        ]);
        let mut stored = Vec::new();
        let first = reconcile_transactions(&mut link, Vec::new(), report.clone(), &derivation());
        assert_eq!(first.created.len(), 3, "two like transactions without ids stay two");
        apply(&mut stored, &first);
        let second = reconcile_transactions(&mut link, stored, report, &derivation());
        assert!(second.is_empty());
        assert_eq!(second.unchanged, 3);
    }

    #[test]
    fn a_changed_transaction_keeps_its_id() {
        let mut link = link();
        let mut stored = Vec::new();
        let first = reconcile_transactions(
            &mut link,
            vec![],
            file(vec![item(Some("1"), "2026-01-01", "-5", false)]),
            &derivation(),
        );
        apply(&mut stored, &first);
        let changed = file(vec![item(Some("1"), "2026-01-01", "-6", false)]);
        let changes = reconcile_transactions(&mut link, stored.clone(), changed, &derivation());
        assert_eq!(changes.updated.len(), 1);
        assert_eq!(changes.updated[0].id, stored[0].id);
    }

    #[test]
    fn a_complete_window_reissues_pending_items_and_removes_what_the_bank_dropped() {
        let mut link = link();
        let live = |items| BankTransactions {
            complete_since: Some("2026-01-01".parse().unwrap()),
            items,
            withdrawn: Vec::new(),
        };
        let mut stored = Vec::new();
        let first = reconcile_transactions(
            &mut link,
            vec![],
            live(vec![
                item(Some("old"), "2025-12-31", "-1", false),
                item(Some("kept"), "2026-01-01", "-2", false),
                item(Some("dropped"), "2026-01-02", "-3", false),
                item(Some("pending"), "2026-01-03", "-4", true),
            ]),
            &derivation(),
        );
        apply(&mut stored, &first);
        let id_of = |stored: &[Transaction], key: &str| {
            stored.iter().find(|row| row.upstream_key == key).map(|row| row.id.clone())
        };
        let pending_before = id_of(&stored, "pending").unwrap();
        let kept_before = id_of(&stored, "kept").unwrap();

        let second = reconcile_transactions(
            &mut link,
            stored.clone(),
            live(vec![item(Some("kept"), "2026-01-01", "-2", false), item(Some("pending"), "2026-01-03", "-4", true)]),
            &derivation(),
        );
        apply(&mut stored, &second);

        assert_eq!(id_of(&stored, "dropped"), None);
        assert!(id_of(&stored, "old").is_some(), "before the window nothing is removed");
        assert_eq!(id_of(&stored, "kept"), Some(kept_before));
        assert_ne!(id_of(&stored, "pending").unwrap(), pending_before);
    }

    #[test]
    fn a_file_keeps_a_pending_item_until_it_posts_under_a_new_id() {
        let mut link = link();
        let mut stored = Vec::new();
        let pending = file(vec![item(Some("1"), "2026-01-01", "-5", true)]);
        let first = reconcile_transactions(&mut link, vec![], pending.clone(), &derivation());
        apply(&mut stored, &first);
        assert!(reconcile_transactions(&mut link, stored.clone(), pending, &derivation()).is_empty());
        let posted = file(vec![item(Some("1"), "2026-01-02", "-5", false)]);
        let changes = reconcile_transactions(&mut link, stored.clone(), posted, &derivation());
        assert_eq!((changes.created.len(), changes.removed.as_slice()), (1, &stored[..1]));
        assert_eq!(changes.created[0].pending_id.as_ref(), Some(&stored[0].id), "what became of it");
        apply(&mut stored, &changes);
        let older = file(vec![item(Some("1"), "2026-01-01", "-5", true)]);
        assert!(reconcile_transactions(&mut link, stored, older, &derivation()).is_empty(), "posted stays posted");
    }

    #[test]
    fn a_posted_replacement_of_a_pending_item_is_written_once() {
        let mut link = link();
        let mut stored = Vec::new();
        let pending = file(vec![item(Some("p1"), "2026-01-01", "-5", true)]);
        let first = reconcile_transactions(&mut link, vec![], pending, &derivation());
        apply(&mut stored, &first);
        let mut posted = item(Some("p2"), "2026-01-02", "-5", false);
        posted.replaces = Some("p1".into());
        let changes = reconcile_transactions(&mut link, stored.clone(), file(vec![posted]), &derivation());
        assert_eq!((changes.created.len(), changes.updated.len(), changes.removed.len()), (1, 0, 1));
        apply(&mut stored, &changes);
        assert_eq!((stored.len(), stored[0].details.pending), (1, false));
    }

    #[test]
    fn a_replaced_transaction_keeps_its_id_and_older_files_cannot_bring_it_back() {
        let mut link = link();
        let mut stored = Vec::new();
        let original = file(vec![item(Some("1"), "2026-01-01", "-5", false)]);
        let first = reconcile_transactions(&mut link, vec![], original.clone(), &derivation());
        apply(&mut stored, &first);
        let id = stored[0].id.clone();
        let mut replacement = item(Some("2"), "2026-01-01", "-7", false);
        replacement.replaces = Some("1".into());
        let correction = file(vec![replacement]);
        let second = reconcile_transactions(&mut link, stored.clone(), correction.clone(), &derivation());
        apply(&mut stored, &second);
        assert_eq!((stored.len(), &stored[0].id, stored[0].upstream_key.as_str()), (1, &id, "2"));
        assert_eq!(second.updated.len(), 1, "one write although it was renamed and changed");
        for again in [original, correction] {
            assert!(reconcile_transactions(&mut link, stored.clone(), again, &derivation()).is_empty());
        }
    }

    #[test]
    fn a_withdrawn_transaction_is_removed_for_good() {
        let mut link = link();
        let mut stored = Vec::new();
        let original = file(vec![item(Some("1"), "2026-01-01", "-5", false)]);
        let first = reconcile_transactions(&mut link, vec![], original.clone(), &derivation());
        apply(&mut stored, &first);
        let mut deletion = file(Vec::new());
        deletion.withdrawn.push(WithdrawnTransaction { account_key: "acct".into(), upstream_key: "1".into() });
        let second = reconcile_transactions(&mut link, stored.clone(), deletion, &derivation());
        apply(&mut stored, &second);
        assert!(stored.is_empty());
        assert!(reconcile_transactions(&mut link, stored, original, &derivation()).is_empty());
    }

    fn window(items: Vec<BankTransaction>) -> BankTransactions {
        BankTransactions { complete_since: Some("2026-01-01".parse().unwrap()), items, withdrawn: Vec::new() }
    }

    #[test]
    fn a_pending_item_that_posts_under_another_key_is_named_by_the_posted_one() {
        for complete in [true, false] {
            let mut link = link();
            let mut stored = Vec::new();
            let report = |items| if complete { window(items) } else { file(items) };
            let pending = report(vec![item(Some("p"), "2026-01-05", "-5", true)]);
            apply(&mut stored, &reconcile_transactions(&mut link, vec![], pending, &derivation()));
            let posted = report(vec![item(Some("x"), "2026-01-07", "-5", false)]);
            let changes = reconcile_transactions(&mut link, stored.clone(), posted, &derivation());
            assert_eq!(changes.created[0].pending_id.as_ref(), Some(&stored[0].id));
            apply(&mut stored, &changes);
            assert_eq!((stored.len(), stored[0].upstream_key.as_str()), (1, "x"), "complete: {complete}");
        }
    }

    #[test]
    fn a_bank_that_renames_everything_neither_doubles_nor_loses_anything() {
        let mut link = link();
        let mut stored = Vec::new();
        let dates = ["2025-12-31", "2026-01-02", "2026-01-02", "2026-01-09"];
        let rows = |prefix: &str| {
            let item = |(n, date): (usize, &&str)| item(Some(&format!("{prefix}{n}")), date, "-5", false);
            dates.iter().enumerate().map(item).collect::<Vec<_>>()
        };
        apply(&mut stored, &reconcile_transactions(&mut link, vec![], window(rows("a")), &derivation()));
        let ids = |rows: &[Transaction]| {
            let mut ids: Vec<_> = rows.iter().map(|row| (row.id.clone(), row.details.date)).collect();
            ids.sort();
            ids
        };
        let before = ids(&stored);
        let changes = reconcile_transactions(&mut link, stored.clone(), window(rows("b")), &derivation());
        assert_eq!((changes.created.len(), changes.updated.len(), changes.removed.len()), (0, 4, 0));
        apply(&mut stored, &changes);
        assert_eq!(ids(&stored), before);
        assert!(stored.iter().all(|row| row.upstream_key.starts_with('b')));
        // In a file nothing is missing that is not named: there, other keys are other transactions.
        let changes = reconcile_transactions(&mut link, stored, file(rows("c")), &derivation());
        assert_eq!((changes.created.len(), changes.updated.len(), changes.removed.len()), (4, 0, 0));
    }

    #[test]
    fn ids_do_not_depend_on_upstream_keys() {
        let ids = |first: &str, second: &str| {
            let report = file(vec![
                item(Some(first), "2026-01-02", "-5", false),
                item(Some(second), "2026-01-02", "-6", false),
                item(Some("early"), "2026-01-01", "-7", false),
            ]);
            let changes = reconcile_transactions(&mut link(), vec![], report, &derivation());
            changes.created.into_iter().map(|row| (row.details.amount, row.id)).collect::<Vec<_>>()
        };
        assert_eq!(ids("a", "b"), ids("z", "y"));
    }

    #[test]
    fn transactions_of_unknown_accounts_are_left_out() {
        let mut link = link();
        let mut stray = item(Some("1"), "2026-01-01", "-5", false);
        stray.account_key = "elsewhere".into();
        assert!(reconcile_transactions(&mut link, vec![], file(vec![stray]), &derivation()).is_empty());
    }
}
