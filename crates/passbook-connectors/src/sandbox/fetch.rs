//! A product of a customer at an instant.

use std::collections::HashMap;

use jiff::Timestamp;
use passbook_core::{
    failure::{Failure, FailureClass},
    product::Product,
    snapshot::{BankAccount, BankAccountNumbers, BankAccountOwners, BankTransactions, Snapshot},
};
use rust_decimal::Decimal;

use super::{
    bank::Bank,
    credential::{Customer, TestUser},
    custom, edited, investments,
    ledger::Books,
    person::Person,
    portfolio::{self, Holding},
    stream::PersonKey,
};
use crate::{edits::BankEdit, port::Credential};

/// The bank's view of `product` at `now`.
pub(super) fn snapshot(credential: &Credential, now: Timestamp, product: Product) -> Result<Snapshot, Failure> {
    let (mut customer, key) = Customer::open(credential)?;
    let bank = Bank::find(&customer.institution)
        .ok_or_else(|| Failure::new(FailureClass::Unexpected, "the credential belongs to no simulated bank"))?;
    edited::check_consent(&customer.edits)?;
    let holdings = holdings(&customer, &key, bank);
    let books = Books::of(bank, &key, customer.user.activity());
    match product {
        Product::Accounts => {
            let moved = moved(&customer.edits, &books, &holdings, now);
            let mut accounts = accounts(&books, holdings, now);
            edited::accounts(&customer.edits, &mut accounts, &moved);
            Ok(Snapshot::Accounts(accounts))
        }
        Product::AccountNumbers => {
            let mut numbers = account_numbers(holdings);
            edited::numbers(&customer.edits, &mut numbers);
            Ok(Snapshot::AccountNumbers(numbers))
        }
        Product::Identity => {
            let edits = std::mem::take(&mut customer.edits);
            let mut owners = identity(customer, &key, bank, holdings);
            edited::owners(&edits, &mut owners);
            Ok(Snapshot::Identity(owners))
        }
        Product::Transactions => {
            let mut report = transactions(&books, &holdings, now);
            edited::transactions(&customer.edits, &mut report.items, books.window_start(now), bank.currency());
            Ok(Snapshot::Transactions(report))
        }
        Product::Investments => Ok(Snapshot::Investments(investments::investments(bank, &key, &holdings, now))),
        Product::Enrichment => {
            Err(Failure::new(FailureClass::NotSupported, "the simulated banks do not give this product"))
        }
    }
}

/// How much further than the books say edited transactions have moved each account.
fn moved(edits: &[BankEdit], books: &Books<'_>, holdings: &[Holding], now: Timestamp) -> HashMap<String, Decimal> {
    if edits.is_empty() {
        return HashMap::new();
    }
    let mut items = transactions(books, holdings, now).items;
    let before = edited::posted(&items);
    edited::transactions(edits, &mut items, books.window_start(now), books.bank.currency());
    let mut moved = edited::posted(&items);
    for (account, sum) in before {
        *moved.entry(account).or_default() -= sum;
    }
    moved
}

fn holdings(customer: &Customer, key: &PersonKey, bank: &Bank) -> Vec<Holding> {
    match (customer.user, &customer.custom) {
        (TestUser::Custom, Some(data)) => custom::holdings(data, key),
        (TestUser::Custom, None) | (TestUser::NoAccounts, _) => Vec::new(),
        (TestUser::Many, _) => portfolio::many(bank, key),
        (TestUser::Investor, _) => portfolio::investor(bank, key),
        _ => portfolio::usual(bank, key),
    }
}

fn accounts(books: &Books<'_>, holdings: Vec<Holding>, now: Timestamp) -> Vec<BankAccount> {
    holdings
        .into_iter()
        .map(|holding| BankAccount {
            balances: match holding.account_type.is_investment() {
                true => investments::balances(books.bank, books.key, &holding, now),
                false => books.balances(&holding, now),
            },
            upstream_key: holding.key,
            account_type: holding.account_type,
            name: holding.name,
            nickname: None,
            mask: holding.mask,
            closed: false,
        })
        .collect()
}

fn account_numbers(holdings: Vec<Holding>) -> Vec<BankAccountNumbers> {
    holdings
        .into_iter()
        .filter(|holding| !holding.numbers.is_empty())
        .map(|holding| BankAccountNumbers { upstream_key: holding.key, numbers: holding.numbers })
        .collect()
}

fn identity(customer: Customer, key: &PersonKey, bank: &Bank, holdings: Vec<Holding>) -> Vec<BankAccountOwners> {
    let person = Person::derive(key, bank.country);
    let given = customer.custom.and_then(|data| data.owners);
    holdings
        .into_iter()
        .map(|holding| BankAccountOwners {
            owners: given.clone().unwrap_or_else(|| person.owners(&holding.account_type)),
            upstream_key: holding.key,
        })
        .collect()
}

fn transactions(books: &Books<'_>, holdings: &[Holding], now: Timestamp) -> BankTransactions {
    let items = holdings.iter().flat_map(|holding| books.transactions(holding, now)).collect();
    BankTransactions { complete_since: Some(books.window_start(now)), items, withdrawn: Vec::new() }
}
