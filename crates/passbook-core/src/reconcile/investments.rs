//! Investments: securities recognised by their identifiers, holdings replaced, transactions matched by key.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::content_digest;
use crate::{
    ids::{AccountId, Derivation, InvestmentTransactionId, SecurityId},
    investment::{
        HOLDINGS_MAX, Holding, InvestmentTransaction, InvestmentTransactionDetails, Portfolio, SECURITIES_MAX,
        Security, SecurityDetails,
    },
    link::Link,
    snapshot::{BankHolding, BankInvestmentTransaction, BankInvestments},
};

/// What has to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvestmentChanges {
    /// The portfolio, which replaces the stored one.
    pub portfolio: Portfolio,
    /// New transactions.
    pub created: Vec<InvestmentTransaction>,
    /// Transactions whose content changed; ids stay.
    pub updated: Vec<InvestmentTransaction>,
    /// Transactions that the bank withdrew.
    pub removed: Vec<InvestmentTransactionId>,
}

/// Compares the bank's investments with the stored ones.
///
/// `stored` must hold every transaction of the link on or after the report's `complete_since` (all of them when it is
/// `None`). A security is the same when the bank's key is, else when ISIN, SEDOL, or symbol and currency agree; its id
/// stays. Holdings and transactions of accounts the link does not know are left out, as is what exceeds
/// [`SECURITIES_MAX`] or [`HOLDINGS_MAX`].
#[must_use]
pub fn reconcile_investments(
    link: &Link,
    known: Portfolio,
    stored: Vec<InvestmentTransaction>,
    reported: BankInvestments,
    derivation: &Derivation,
) -> InvestmentChanges {
    let accounts: HashMap<&str, &AccountId> =
        link.accounts.iter().map(|account| (account.upstream_key.as_str(), &account.id)).collect();
    let scope = [link.tenant.app_id.as_str(), link.id.as_str()];
    let (securities, ids) = merge_securities(known.securities, reported.securities, |identity| {
        SecurityId::from_bits(derivation.bits("security", &[scope[0], scope[1], identity], 0))
    });
    let holding = |held: BankHolding| {
        let account_id = (*accounts.get(held.account_key.as_str())?).clone();
        Some(Holding { account_id, security_id: ids.get(&held.security_key)?.clone(), amount: held.amount })
    };
    let holdings = reported.holdings.into_iter().filter_map(holding).take(HOLDINGS_MAX).collect();
    let mut changes = InvestmentChanges { portfolio: Portfolio { securities, holdings }, ..Default::default() };

    let mut stored: BTreeMap<_, _> =
        stored.into_iter().map(|row| ((row.account_id.clone(), row.upstream_key.clone()), row)).collect();
    let mut seen = HashSet::new();
    let mut occurrences = HashMap::new();
    for item in reported.transactions {
        let Some(account_id) = accounts.get(item.account_key.as_str()).map(|id| (*id).clone()) else { continue };
        let upstream_key = key_of(&item, occurrences.entry(account_id.clone()).or_default());
        if !seen.insert((account_id.clone(), upstream_key.clone())) {
            continue;
        }
        let security_id = item.security_key.and_then(|key| ids.get(&key).cloned());
        match stored.remove(&(account_id.clone(), upstream_key.clone())) {
            None => {
                let parts = [scope[0], scope[1], account_id.as_str(), upstream_key.as_str()];
                let id = InvestmentTransactionId::from_bits(derivation.bits("investment_transaction", &parts, 0));
                let details = item.details;
                changes.created.push(InvestmentTransaction { id, account_id, upstream_key, security_id, details });
            }
            Some(row) if row.details == item.details && row.security_id == security_id => {}
            Some(row) => {
                changes.updated.push(InvestmentTransaction { security_id, details: item.details, ..row });
            }
        }
    }
    if let Some(since) = reported.complete_since {
        let gone = stored.into_values().filter(|row| row.details.date >= since);
        changes.removed.extend(gone.map(|row| row.id));
    }
    changes
}

/// The securities, and the id of each by the bank's key.
fn merge_securities(
    mut securities: Vec<Security>,
    reported: Vec<SecurityDetails>,
    new_id: impl Fn(&str) -> SecurityId,
) -> (Vec<Security>, HashMap<String, SecurityId>) {
    let mut ids = HashMap::new();
    for details in reported {
        let by_key = securities.iter().position(|known| known.details.upstream_key == details.upstream_key);
        // Of several that fit, none is it.
        let by_identifier = || {
            let mut alike = (0..securities.len()).filter(|index| is_same(&securities[*index].details, &details));
            alike.next().filter(|_| alike.next().is_none())
        };
        let id = match by_key.or_else(by_identifier) {
            Some(index) => securities[index].id.clone(),
            None if securities.len() >= SECURITIES_MAX => continue,
            None => new_id(&details.upstream_key),
        };
        ids.insert(details.upstream_key.clone(), id.clone());
        match securities.iter_mut().find(|known| known.id == id) {
            Some(known) => known.details = details,
            None => securities.push(Security { id, details }),
        }
    }
    (securities, ids)
}

/// Whether the first identifier that both have is the same. ISIN and SEDOL name one security; a symbol names one in its
/// market.
fn is_same(one: &SecurityDetails, other: &SecurityDetails) -> bool {
    let agree = |one: &Option<String>, other: &Option<String>| one.as_ref().zip(other.as_ref()).map(|(a, b)| a == b);
    agree(&one.isin, &other.isin)
        .or_else(|| agree(&one.sedol, &other.sedol))
        .or_else(|| agree(&one.ticker, &other.ticker).map(|same| same && one.currency == other.currency))
        .unwrap_or(false)
}

fn key_of(item: &BankInvestmentTransaction, occurrences: &mut HashMap<String, u32>) -> String {
    if let Some(key) = &item.upstream_key {
        return key.clone();
    }
    let InvestmentTransactionDetails { amount, date, quantity, description, .. } = &item.details;
    let quantity = quantity.map(|quantity| quantity.normalize().to_string()).unwrap_or_default();
    let kind = item.details.dotted_type();
    let content = format!("{date}|{kind}|{}|{quantity}|{description}", amount.normalize());
    let occurrence = occurrences.entry(content.clone()).or_insert(0);
    *occurrence += 1;
    content_digest(&content, *occurrence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        account::AccountType,
        investment::{HoldingAmount, InvestmentKind, SecurityKind},
        link::tests::sample_link,
        reconcile::{NewAccounts, reconcile_accounts},
        snapshot::{BankAccount, balance},
    };

    fn derivation() -> Derivation {
        Derivation::new(b"seed")
    }

    fn link() -> Link {
        let mut link = sample_link();
        let account = BankAccount {
            upstream_key: "acct".into(),
            account_type: AccountType::new("investment.brokerage"),
            name: "Brokerage".into(),
            nickname: None,
            mask: None,
            balances: balance("USD", None, None, None),
            closed: false,
        };
        reconcile_accounts(&mut link, vec![account], &NewAccounts::Permitted, true, &derivation());
        link
    }

    fn security(key: &str, isin: Option<&str>, ticker: Option<&str>) -> SecurityDetails {
        SecurityDetails {
            upstream_key: key.into(),
            name: "A share".into(),
            kind: SecurityKind::Equity,
            currency: "USD".into(),
            ticker: ticker.map(Into::into),
            isin: isin.map(Into::into),
            sedol: None,
            close_price: None,
            close_date: None,
        }
    }

    fn holding(account: &str, security: &str, quantity: i64) -> BankHolding {
        let amount = HoldingAmount {
            quantity: quantity.into(),
            price: None,
            price_datetime: None,
            value: None,
            cost_basis: None,
        };
        BankHolding { account_key: account.into(), security_key: security.into(), amount }
    }

    fn bought(key: Option<&str>, date: &str, amount: i64) -> BankInvestmentTransaction {
        BankInvestmentTransaction {
            account_key: "acct".into(),
            upstream_key: key.map(Into::into),
            security_key: Some("s1".into()),
            details: InvestmentTransactionDetails {
                amount: amount.into(),
                date: date.parse().unwrap(),
                datetime: None,
                description: "Bought".into(),
                kind: InvestmentKind::Buy,
                subtype: None,
                fees: None,
                forex_rate: None,
                price: None,
                quantity: Some(1.into()),
            },
        }
    }

    fn report(securities: Vec<SecurityDetails>, transactions: Vec<BankInvestmentTransaction>) -> BankInvestments {
        let holdings = securities.iter().map(|security| holding("acct", &security.upstream_key, 3)).collect();
        BankInvestments { complete_since: Some("2024-01-01".parse().unwrap()), securities, holdings, transactions }
    }

    fn merge(known: Portfolio, stored: Vec<InvestmentTransaction>, reported: BankInvestments) -> InvestmentChanges {
        reconcile_investments(&link(), known, stored, reported, &derivation())
    }

    #[test]
    fn a_security_keeps_its_id_when_the_bank_renames_its_key() {
        let first = merge(Portfolio::default(), Vec::new(), report(vec![security("s1", Some("US1"), None)], vec![]));
        let id = first.portfolio.securities[0].id.clone();
        let renamed = report(vec![security("other", Some("US1"), Some("ABC"))], vec![]);
        let second = merge(first.portfolio, Vec::new(), renamed);
        assert_eq!(second.portfolio.securities.len(), 1);
        assert_eq!((&second.portfolio.securities[0].id, &second.portfolio.holdings[0].security_id), (&id, &id));
        let by_symbol = merge(second.portfolio, Vec::new(), report(vec![security("third", None, Some("ABC"))], vec![]));
        assert_eq!(by_symbol.portfolio.securities[0].id, id);
    }

    #[test]
    fn different_securities_stay_different() {
        let two = vec![security("s1", Some("US1"), Some("ABC")), security("s2", Some("US2"), Some("ABC"))];
        let merged = merge(Portfolio::default(), Vec::new(), report(two, vec![]));
        assert_eq!(merged.portfolio.securities.len(), 2);
        let nothing_known = vec![security("s3", None, None), security("s4", None, None)];
        let merged = merge(merged.portfolio, Vec::new(), report(nothing_known, vec![]));
        assert_eq!(merged.portfolio.securities.len(), 4);
        // The symbol fits two, so it decides nothing.
        let merged = merge(merged.portfolio, Vec::new(), report(vec![security("s5", None, Some("ABC"))], vec![]));
        assert_eq!(merged.portfolio.securities.len(), 5);
    }

    #[test]
    fn transactions_are_made_once_changed_in_place_and_removed_inside_the_window() {
        let one = || vec![security("s1", Some("US1"), None)];
        let items = vec![bought(Some("a"), "2024-05-01", 10), bought(None, "2024-05-02", 10)];
        let first = merge(Portfolio::default(), Vec::new(), report(one(), items.clone()));
        assert_eq!((first.created.len(), first.updated.len(), first.removed.len()), (2, 0, 0));
        let again = merge(first.portfolio.clone(), first.created.clone(), report(one(), items));
        assert!(again.created.is_empty() && again.updated.is_empty() && again.removed.is_empty());
        let mut old = first.created.clone();
        old[1].details.date = "2023-12-31".parse().unwrap();
        let changed = merge(first.portfolio, old, report(one(), vec![bought(Some("a"), "2024-05-01", 11)]));
        assert_eq!(changed.updated[0].id, first.created[0].id);
        assert!(changed.created.is_empty() && changed.removed.is_empty(), "before the window nothing is known");
        let withdrawn = merge(changed.portfolio, first.created.clone(), report(one(), vec![]));
        assert_eq!(withdrawn.removed.len(), 2);
    }

    #[test]
    fn equal_transactions_without_a_key_stay_apart_and_unknown_accounts_are_left_out() {
        let mut stranger = bought(Some("x"), "2024-05-01", 1);
        stranger.account_key = "nobody's".into();
        let items = vec![bought(None, "2024-05-01", 10), bought(None, "2024-05-01", 10), stranger];
        let mut reported = report(vec![security("s1", None, None)], items);
        reported.holdings.push(holding("nobody's", "s1", 1));
        reported.holdings.push(holding("acct", "unheard of", 1));
        let merged = merge(Portfolio::default(), Vec::new(), reported);
        assert_eq!((merged.created.len(), merged.portfolio.holdings.len()), (2, 1));
        assert_ne!(merged.created[0].id, merged.created[1].id);
    }
}
