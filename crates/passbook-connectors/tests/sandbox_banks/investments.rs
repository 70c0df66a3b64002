//! Investments: what adds up, and what a later day may change.

use std::collections::{BTreeMap, BTreeSet};

use passbook_core::{
    investment::{InvestmentKind, SecurityKind},
    snapshot::{BankInvestmentTransaction, BankInvestments},
};
use rust_decimal::Decimal;

use crate::world::{Visitor, at};

/// Instants before, at and after the earliest an account of these people can have been opened.
const INSTANTS: [&str; 5] = [
    "2016-03-01T12:00:00Z",
    "2019-06-15T00:00:00Z",
    "2023-12-31T23:59:59Z",
    "2024-05-15T12:00:00Z",
    "2026-11-26T08:00:00Z",
];
const BANKS: [&str; 3] = ["credentials_bank", "credentials_bank_ca", "credentials_bank_gb"];

#[tokio::test]
async fn an_investor_has_holdings_and_two_years_of_transactions() {
    for bank in BANKS {
        for user in ["user_investor", "user_many"] {
            let link = Visitor::new(bank, user).sign_in().await;
            let report = link.investments(at(INSTANTS[3])).await;
            let accounts: BTreeSet<_> = report.holdings.iter().map(|held| held.account_key.as_str()).collect();
            assert_eq!(accounts, BTreeSet::from(["brokerage", "retirement"]));
            let kinds: BTreeSet<_> = report.transactions.iter().map(|item| item.details.kind.as_str()).collect();
            assert!(kinds.is_superset(&BTreeSet::from(["buy", "sell", "cash", "fee"])), "{kinds:?}");
            assert!(report.transactions.len() > 100, "{}", report.transactions.len());
            assert_eq!(report.complete_since, Some("2022-05-15".parse().unwrap()));
        }
    }
    let usual = Visitor::new("credentials_bank", "user_good").sign_in().await.investments(at(INSTANTS[3])).await;
    assert!(usual.holdings.is_empty() && usual.securities.is_empty() && usual.transactions.is_empty());
}

#[tokio::test]
async fn what_is_reported_adds_up() {
    for index in 0..40 {
        for bank in BANKS {
            let visitor = Visitor::new(bank, "user_investor").customer(format!("investor-{index}"));
            let link = visitor.sign_in().await;
            for now in INSTANTS.map(at) {
                let report = link.investments(now).await;
                let mut worth = BTreeMap::new();
                for held in &report.holdings {
                    let (amount, value) = (&held.amount, held.amount.value.unwrap());
                    assert!(amount.quantity > Decimal::ZERO);
                    let exact = amount.quantity * amount.price.unwrap();
                    assert!((value - exact).abs() <= Decimal::new(5, 3), "{value} is not {exact}");
                    assert!(amount.cost_basis.is_none_or(|cost| cost >= Decimal::ZERO));
                    *worth.entry(held.account_key.clone()).or_insert(Decimal::ZERO) += value;
                }
                for account in
                    link.accounts(now).await.into_iter().filter(|account| account.account_type.is_investment())
                {
                    let holds = worth.remove(&account.upstream_key).unwrap_or_default();
                    assert_eq!(account.balances.current, Some(holds), "{} at {now}", account.upstream_key);
                    assert!(account.balances.available.unwrap() >= Decimal::ZERO);
                }
                check_transactions(&report);
            }
        }
    }
}

fn check_transactions(report: &BankInvestments) {
    let securities: BTreeSet<_> = report.securities.iter().map(|security| security.upstream_key.as_str()).collect();
    assert_eq!(securities.len(), report.securities.len(), "each once");
    assert!(report.holdings.iter().all(|held| securities.contains(held.security_key.as_str())));
    let mut keys = BTreeSet::new();
    for item in &report.transactions {
        assert!(keys.insert((&item.account_key, item.upstream_key.as_ref().unwrap())), "{item:?}");
        assert!(item.security_key.as_deref().is_none_or(|key| securities.contains(key)));
        let details = &item.details;
        if let (Some(price), Some(quantity)) = (details.price, details.quantity) {
            let exact = quantity * price + details.fees.unwrap_or_default();
            assert!((details.amount - exact).abs() <= Decimal::new(5, 3), "{details:?}");
        }
        match details.kind {
            InvestmentKind::Buy => assert!(details.amount > Decimal::ZERO && details.quantity > Some(Decimal::ZERO)),
            InvestmentKind::Sell => assert!(details.amount < Decimal::ZERO && details.quantity < Some(Decimal::ZERO)),
            InvestmentKind::Fee => assert!(details.amount > Decimal::ZERO),
            InvestmentKind::Cash => assert!(details.amount < Decimal::ZERO),
            InvestmentKind::Transfer => assert_eq!(details.amount, Decimal::ZERO),
        }
    }
}

/// From one day to the next, positions move by what the transactions of the day say, and nothing older changes.
#[tokio::test]
async fn a_later_day_only_adds() {
    let link = Visitor::new("credentials_bank", "user_investor").sign_in().await;
    let quantities = |report: &BankInvestments| -> BTreeMap<(String, String), Decimal> {
        let not_money = report.holdings.iter().filter(|held| held.security_key != "cash");
        not_money.map(|held| ((held.account_key.clone(), held.security_key.clone()), held.amount.quantity)).collect()
    };
    let mut before = link.investments(at("2025-01-01T12:00:00Z")).await;
    let mut moved = 0;
    for day in 2..=28 {
        let after = link.investments(at(&format!("2025-01-{day:02}T12:00:00Z"))).await;
        let mut expected = quantities(&before);
        for item in &after.transactions {
            let is_it = |known: &&BankInvestmentTransaction| {
                (&known.account_key, &known.upstream_key) == (&item.account_key, &item.upstream_key)
            };
            let known = before.transactions.iter().find(is_it);
            match known {
                Some(known) => assert_eq!(known.details, item.details),
                None => {
                    assert_eq!(item.details.date.day(), day);
                    if let (Some(key), Some(quantity)) = (&item.security_key, item.details.quantity) {
                        *expected.entry((item.account_key.clone(), key.clone())).or_default() += quantity;
                        moved += 1;
                    }
                }
            }
        }
        assert_eq!(quantities(&after), expected);
        before = after;
    }
    assert!(moved >= 2, "{moved}");
}

#[tokio::test]
async fn identifiers_have_the_form_of_their_country() {
    for (bank, country) in [("credentials_bank", "US"), ("credentials_bank_ca", "CA"), ("credentials_bank_gb", "GB")] {
        let report = Visitor::new(bank, "user_many").sign_in().await.investments(at(INSTANTS[3])).await;
        for security in report.securities.iter().filter(|security| security.kind != SecurityKind::Cash) {
            let isin = security.isin.as_deref().unwrap_or("US0000000000");
            assert!(isin.len() == 12 && (isin.starts_with(country) || security.isin.is_none()), "{isin}");
            assert_eq!(security.sedol.as_ref().map(String::len), (country == "GB").then_some(7));
            assert!(security.close_price.unwrap() > Decimal::ZERO);
        }
    }
}
