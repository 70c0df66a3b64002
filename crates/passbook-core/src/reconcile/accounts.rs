//! Accounts, their numbers and their owners.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    account::Account,
    ids::Derivation,
    link::{ACCOUNTS_MAX, Link, LinkSecrets, OWNERS_MAX},
    snapshot::{BankAccount, BankAccountNumbers, BankAccountOwners},
};

/// Most characters kept of an account's name.
const NAME_CHARS_MAX: usize = 255;

/// Which accounts that were never seen before the end user has permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewAccounts {
    /// All of them: the first sign-in without a choice, or a statement file the user handed over.
    Permitted,
    /// Those whose upstream key is in the set: the user chose.
    Only(BTreeSet<String>),
    /// None: a background refresh found them, and only the user can permit them, on a reconnect.
    NotPermitted,
}

/// What merging accounts did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountsReport {
    /// Accounts made.
    pub created: usize,
    /// Accounts left out because the link holds [`ACCOUNTS_MAX`] already.
    pub left_out: usize,
}

/// Merges the bank's accounts into the link.
///
/// An account is the same when its upstream key is. A complete report also matches by likeness: when type, currency and
/// mask agree, with the name or without, and name exactly one account on either side, the bank has changed its keys. When
/// no key is known at all, another source reports, and the name alone may decide between accounts of one type. A statement file is never
/// complete, and its keys come from the full account number, so there another key always is another account. With
/// `complete`, accounts that the bank no longer reports are closed.
pub fn reconcile_accounts(
    link: &mut Link,
    reported: Vec<BankAccount>,
    new_accounts: &NewAccounts,
    complete: bool,
    derivation: &Derivation,
) -> AccountsReport {
    let mut report = AccountsReport::default();
    let mut matches = match_by_key(&link.accounts, &reported);
    if complete {
        match_by_likeness(&mut matches, &link.accounts, &reported);
    }
    let mut seen: BTreeSet<usize> = BTreeSet::new();
    for (account, matched) in reported.into_iter().zip(matches) {
        if let Some(index) = matched {
            seen.insert(index);
            update(&mut link.accounts[index], account);
        } else if link.accounts.len() < ACCOUNTS_MAX {
            let id = link.next_account_id(derivation);
            let permitted = match new_accounts {
                NewAccounts::Permitted => true,
                NewAccounts::Only(keys) => keys.contains(&account.upstream_key),
                NewAccounts::NotPermitted => false,
            };
            seen.insert(link.accounts.len());
            link.accounts.push(Account {
                id,
                upstream_key: account.upstream_key,
                account_type: account.account_type,
                name: shortened(account.name),
                nickname: account.nickname.map(shortened),
                mask: account.mask,
                balances: account.balances,
                closed: account.closed,
                permitted,
                original_id: None,
            });
            report.created += 1;
        } else {
            report.left_out += 1;
        }
    }
    if complete {
        for (index, account) in link.accounts.iter_mut().enumerate() {
            account.closed |= !seen.contains(&index);
        }
    }
    report
}

/// Replaces the stored numbers by the reported ones. Only depository accounts keep any, whatever the bank sends.
/// With `complete`, accounts missing from the report lose theirs: the bank no longer gives them.
pub fn reconcile_numbers(link: &Link, secrets: &mut LinkSecrets, reported: Vec<BankAccountNumbers>, complete: bool) {
    let by_key: HashMap<&str, &Account> =
        link.accounts.iter().map(|account| (account.upstream_key.as_str(), account)).collect();
    let mut numbers = if complete { BTreeMap::new() } else { std::mem::take(&mut secrets.numbers) };
    for entry in reported {
        if let Some(account) = by_key.get(entry.upstream_key.as_str()) {
            if account.account_type.is_depository() && !entry.numbers.is_empty() {
                numbers.insert(account.id.clone(), entry.numbers);
            } else {
                numbers.remove(&account.id);
            }
        }
    }
    secrets.numbers = numbers;
}

/// Replaces the stored owners by the reported ones.
pub fn reconcile_owners(link: &Link, secrets: &mut LinkSecrets, reported: Vec<BankAccountOwners>) {
    let by_key: HashMap<&str, &Account> =
        link.accounts.iter().map(|account| (account.upstream_key.as_str(), account)).collect();
    secrets.owners = reported
        .into_iter()
        .filter_map(|mut entry| {
            entry.owners.truncate(OWNERS_MAX);
            Some((by_key.get(entry.upstream_key.as_str())?.id.clone(), entry.owners))
        })
        .collect();
}

/// For each reported account the index of the stored one it is.
fn match_by_key(stored: &[Account], reported: &[BankAccount]) -> Vec<Option<usize>> {
    let by_key: HashMap<&str, usize> =
        stored.iter().enumerate().map(|(index, account)| (account.upstream_key.as_str(), index)).collect();
    reported.iter().map(|account| by_key.get(account.upstream_key.as_str()).copied()).collect()
}

/// Matches what the keys did not, from the surest likeness to the weakest. What fits several is left unmatched: a wrong
/// merge is worse than a new id.
fn match_by_likeness(matches: &mut [Option<usize>], stored: &[Account], reported: &[BankAccount]) {
    let another_source = matches.iter().all(Option::is_none);
    match_unique(matches, stored, reported, |traits| traits.mask.map(|mask| (mask, Some(folded(traits.name)))));
    match_unique(matches, stored, reported, |traits| traits.mask.map(|mask| (mask, None)));
    // While the bank still uses its keys, a new key with another mask is another account, whatever its name.
    if another_source {
        match_unique(matches, stored, reported, |traits| Some(("", Some(folded(traits.name)))));
    }
}

/// Matches accounts of one type and currency whose likeness occurs once on either side among those that are left.
/// Accounts without a likeness match nothing.
fn match_unique<'a>(
    matches: &mut [Option<usize>],
    stored: &'a [Account],
    reported: &'a [BankAccount],
    likeness: impl Fn(&Traits<'a>) -> Option<(&'a str, Option<String>)>,
) {
    let taken: BTreeSet<usize> = matches.iter().flatten().copied().collect();
    let key = |traits: Traits<'a>| Some((traits.account_type, traits.currency, likeness(&traits)?));
    let mut stored_left: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, account) in stored.iter().enumerate().filter(|(index, _)| !taken.contains(index)) {
        if let Some(key) = key(Traits::of_stored(account)) {
            stored_left.entry(key).or_default().push(index);
        }
    }
    let mut reported_left: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, account) in reported.iter().enumerate().filter(|(index, _)| matches[*index].is_none()) {
        if let Some(key) = key(Traits::of_reported(account)) {
            reported_left.entry(key).or_default().push(index);
        }
    }
    for (key, reported_indexes) in reported_left {
        if let ([reported_index], Some([stored_index])) =
            (reported_indexes.as_slice(), stored_left.get(&key).map(Vec::as_slice))
        {
            matches[*reported_index] = Some(*stored_index);
        }
    }
}

/// What an account may be recognised by beside its key.
struct Traits<'a> {
    account_type: &'a str,
    currency: Option<&'a str>,
    mask: Option<&'a str>,
    name: &'a str,
}

impl<'a> Traits<'a> {
    fn of_stored(account: &'a Account) -> Self {
        let Account { account_type, balances, mask, name, .. } = account;
        Self { account_type: &account_type.0, currency: balances.currency.as_deref(), mask: mask.as_deref(), name }
    }

    fn of_reported(account: &'a BankAccount) -> Self {
        let BankAccount { account_type, balances, mask, name, .. } = account;
        Self { account_type: &account_type.0, currency: balances.currency.as_deref(), mask: mask.as_deref(), name }
    }
}

/// A name as people compare it: without case and spare white space.
fn folded(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// A display name within bounds, so that a link stays small whatever a bank sends.
fn shortened(name: String) -> String {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => name[..end].to_owned(),
        None => name,
    }
}

fn update(stored: &mut Account, reported: BankAccount) {
    stored.upstream_key = reported.upstream_key;
    stored.account_type = reported.account_type;
    stored.name = shortened(reported.name);
    stored.nickname = reported.nickname.map(shortened);
    stored.mask = reported.mask.or(stored.mask.take());
    // A statement file may be older than the last one imported; balances do not go back to it.
    if reported.balances.balance_date >= stored.balances.balance_date {
        stored.balances = reported.balances;
    }
    stored.closed = reported.closed;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{account::AccountType, account_numbers::AchNumber, link::tests::sample_link, snapshot::balance};

    fn bank_account(key: &str, name: &str, mask: &str) -> BankAccount {
        BankAccount {
            upstream_key: key.into(),
            account_type: AccountType::new("depository.checking"),
            name: name.into(),
            nickname: None,
            mask: Some(mask.into()),
            balances: balance("USD", None, None, None),
            closed: false,
        }
    }

    fn merge(link: &mut Link, reported: Vec<BankAccount>) -> AccountsReport {
        reconcile_accounts(link, reported, &NewAccounts::Permitted, true, &Derivation::new(b"seed"))
    }

    #[test]
    fn ids_survive_renaming_reordering_and_new_upstream_keys() {
        let mut link = sample_link();
        merge(&mut link, vec![bank_account("a", "Everyday", "1111"), bank_account("b", "Bills", "2222")]);
        let ids: Vec<_> = link.accounts.iter().map(|account| account.id.clone()).collect();

        merge(&mut link, vec![bank_account("b", "Bills & more", "2222"), bank_account("a2", "Everyday", "1111")]);

        assert_eq!(link.accounts.iter().map(|account| account.id.clone()).collect::<Vec<_>>(), ids);
        assert_eq!(link.accounts[0].upstream_key, "a2");
        assert_eq!(link.accounts[1].name, "Bills & more");
    }

    #[test]
    fn statements_of_two_accounts_with_the_same_mask_stay_two_accounts() {
        let mut link = sample_link();
        for key in ["hash-of-11111234", "hash-of-22221234", "hash-of-11111234"] {
            let reported = vec![bank_account(key, "Checking", "1234")];
            reconcile_accounts(&mut link, reported, &NewAccounts::Permitted, false, &Derivation::new(b"seed"));
        }
        assert_eq!(link.accounts.len(), 2);
    }

    #[test]
    fn twins_with_the_same_name_and_mask_stay_two() {
        let mut link = sample_link();
        merge(&mut link, vec![bank_account("a", "Savings", "1111"), bank_account("b", "Savings", "1111")]);
        merge(&mut link, vec![bank_account("x", "Savings", "1111"), bank_account("y", "Savings", "1111")]);
        assert_eq!(link.accounts.len(), 4, "an ambiguous match is not a match");
        assert_eq!(link.accounts.iter().filter(|account| account.is_visible()).count(), 2);
    }

    #[test]
    fn an_account_the_bank_no_longer_reports_is_closed_and_comes_back_open() {
        let mut link = sample_link();
        merge(&mut link, vec![bank_account("a", "Everyday", "1111"), bank_account("b", "Bills", "2222")]);
        merge(&mut link, vec![bank_account("a", "Everyday", "1111")]);
        assert!(link.accounts[1].closed);
        merge(&mut link, vec![bank_account("a", "Everyday", "1111"), bank_account("b", "Bills", "2222")]);
        assert!(!link.accounts[1].closed);
        assert_eq!(link.accounts.len(), 2);
    }

    #[test]
    fn accounts_found_by_a_background_refresh_are_not_permitted() {
        let mut link = sample_link();
        merge(&mut link, vec![bank_account("a", "Everyday", "1111")]);
        let reported = vec![bank_account("a", "Everyday", "1111"), bank_account("new", "New", "3333")];
        reconcile_accounts(&mut link, reported, &NewAccounts::NotPermitted, true, &Derivation::new(b"seed"));
        assert!(link.accounts[0].is_visible());
        assert!(!link.accounts[1].is_visible());
    }

    #[test]
    fn an_older_statement_does_not_turn_balances_back() {
        let mut link = sample_link();
        let dated = |day: &str, current: i64| {
            let mut account = bank_account("a", "Everyday", "1111");
            account.balances =
                balance("USD", Some(current.into()), None, Some(format!("{day}T00:00:00Z").parse().unwrap()));
            vec![account]
        };
        for (day, current) in [("2026-02-01", 200), ("2026-01-01", 100)] {
            reconcile_accounts(
                &mut link,
                dated(day, current),
                &NewAccounts::Permitted,
                false,
                &Derivation::new(b"seed"),
            );
        }
        assert_eq!(link.accounts[0].balances.current, Some(200.into()));
    }

    #[test]
    fn a_link_holds_at_most_its_bound_of_accounts() {
        let mut link = sample_link();
        let many = (0..ACCOUNTS_MAX + 3).map(|n| bank_account(&n.to_string(), "n", &n.to_string())).collect();
        let report = merge(&mut link, many);
        assert_eq!((report.created, report.left_out), (ACCOUNTS_MAX, 3));
    }

    #[test]
    fn only_depository_accounts_keep_numbers() {
        let mut link = sample_link();
        let mut card = bank_account("card", "Card", "9999");
        card.account_type = AccountType::new("liability.credit_card");
        merge(&mut link, vec![bank_account("a", "Everyday", "1111"), card]);
        let entry = |key: &str| BankAccountNumbers {
            upstream_key: key.into(),
            numbers: crate::account_numbers::AccountNumbers {
                ach: Some(AchNumber {
                    account_number: "1".into(),
                    routing_number: "021000021".into(),
                    wire_routing_number: None,
                }),
                ..Default::default()
            },
        };
        let mut secrets = LinkSecrets::default();
        reconcile_numbers(&link, &mut secrets, vec![entry("a"), entry("card"), entry("unknown")], true);
        assert_eq!(secrets.numbers.keys().collect::<Vec<_>>(), [&link.accounts[0].id]);
        reconcile_numbers(&link, &mut secrets, Vec::new(), false);
        assert_eq!(secrets.numbers.len(), 1, "a partial report takes nothing away");
        reconcile_numbers(&link, &mut secrets, Vec::new(), true);
        assert!(secrets.numbers.is_empty());
    }
}
