//! Links for measurements: many, real, and made without a bank.
//!
//! Every link is written the way a finished sign-in writes it (aggregate, rendered views, sealed numbers), only without
//! the conversation and the jobs. Used by the project's benchmark; no server path leads here.

use jiff::{Timestamp, ToSpan as _, civil::Date};
use passbook_core::{
    account::AccountType,
    account_numbers::{AccountNumbers, AchNumber},
    ids::{Derivation, LinkId},
    institution::{Country, Institution},
    link::{Link, LinkSecrets, derive_link_id, lifecycle::NewLink},
    numbers::aba,
    product::{Product, ProductSettings},
    reconcile::{NewAccounts, reconcile_accounts, reconcile_transactions},
    snapshot::{BankAccount, BankTransaction, BankTransactions, balance},
    tenant::Tenant,
    transaction::{Direction, TransactionDetails},
};
use passbook_store::port::{Changes, StoredLink};
use rust_decimal::Decimal;

use crate::services::{changes_with_link, transaction_writes};

/// The id of the `n`-th seeded link.
pub fn link_id(derivation: &Derivation, tenant: &Tenant, n: u64) -> LinkId {
    derive_link_id(derivation, tenant, "seed", n)
}

/// The changes that store the `n`-th seeded link: connected, three accounts, two of them with numbers.
pub fn link_changes(derivation: &Derivation, tenant: &Tenant, n: u64, now: Timestamp) -> Changes {
    let institution = Institution {
        id: "credentials_bank".to_owned(),
        aliases: Vec::new(),
        name: "Credentials Bank".to_owned(),
        country: Country::Us,
        domain: None,
        color: Some("#1d4ed8".to_owned()),
        color_dark: None,
        is_featured: true,
        connector: "sandbox".to_owned(),
        products: [Product::Accounts, Product::AccountNumbers, Product::Transactions].into_iter().collect(),
    };
    let mut link = Link::begin(NewLink {
        id: link_id(derivation, tenant, n),
        tenant: tenant.clone(),
        customer_user_id: format!("seeded-{n}"),
        institution: &institution,
        webhook: None,
        tags: Vec::new(),
        now,
    });
    let prefetch = ProductSettings { prefetch: true, ..ProductSettings::default() };
    link.grant(&[(Product::AccountNumbers, prefetch.clone()), (Product::Transactions, prefetch)]);
    reconcile_accounts(&mut link, bank_accounts(n, now), &NewAccounts::Permitted, true, derivation);
    for product in [Product::Accounts, Product::AccountNumbers, Product::Transactions] {
        link.note_fetched(product, now);
    }
    link.connect(now);
    let numbers = link
        .accounts
        .iter()
        .zip(0..)
        .filter(|(account, _)| account.account_type.is_depository())
        .map(|(account, index)| (account.id.clone(), ach(n, index)))
        .collect();
    let secrets = LinkSecrets { numbers, ..LinkSecrets::default() };
    changes_with_link(link, None, Some(secrets), |_| {})
}

/// The changes that give a seeded link the transactions of these numbers, which it must not have yet: three a day, from
/// the first number on, in its first account.
pub fn transaction_changes(derivation: &Derivation, stored: StoredLink, numbers: std::ops::Range<u64>) -> Changes {
    const FIRST_DAY: Date = jiff::civil::date(1000, 1, 1);
    let item = |number: u64| BankTransaction {
        account_key: "Everyday Checking".to_owned(),
        upstream_key: Some(format!("seeded-{number}")),
        replaces: None,
        details: TransactionDetails {
            amount: Decimal::new((number % 100_000) as i64 + 1, 2),
            direction: Direction::Debit,
            currency: "USD".to_owned(),
            date: FIRST_DAY.saturating_add((number / 3).cast_signed().days()),
            datetime: None,
            description: Some(format!("Payee {}", number % 1_000)),
            raw_description: Some(format!("POS PURCHASE PAYEE {number}")),
            pending: false,
        },
    };
    let reported = BankTransactions { complete_since: None, items: numbers.map(item).collect(), withdrawn: Vec::new() };
    let mut link = stored.link;
    let rows = reconcile_transactions(&mut link, Vec::new(), reported, derivation);
    let transactions = transaction_writes(&mut link, rows);
    Changes { transactions, ..changes_with_link(link, Some(stored.version), None, |_| {}) }
}

fn bank_accounts(n: u64, now: Timestamp) -> Vec<BankAccount> {
    [
        ("Everyday Checking", "depository.checking"),
        ("High-Yield Savings", "depository.savings"),
        ("Rewards Credit Card", "liability.credit_card"),
    ]
    .into_iter()
    .zip(0..)
    .map(|((name, account_type), index)| BankAccount {
        upstream_key: name.to_owned(),
        account_type: AccountType::new(account_type),
        name: name.to_owned(),
        nickname: None,
        mask: Some(format!("{:04}", account_number(n, index) % 10_000)),
        balances: balance("USD", Some((n % 100_000).into()), Some((n % 90_000).into()), Some(now)),
        closed: false,
    })
    .collect()
}

fn account_number(n: u64, index: u64) -> u64 {
    1_000_000_000 + n * 10 + index
}

fn ach(n: u64, index: u64) -> AccountNumbers {
    let body = format!("0910{:04}", n % 10_000);
    let check = aba::check_digit(&body).expect("eight digits with a valid prefix");
    AccountNumbers {
        ach: Some(AchNumber {
            account_number: account_number(n, index).to_string(),
            routing_number: format!("{body}{check}"),
            wire_routing_number: None,
        }),
        ..AccountNumbers::default()
    }
}
