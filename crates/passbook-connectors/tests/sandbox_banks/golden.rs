//! The data of fixed people, written out, so that nobody's data changes by accident.
//!
//! Where a change is meant, the new text is in the file that the failing test names; copy it over the old one.

use std::{fmt::Write as _, path::Path};

use jiff::civil::{Date, date};
use passbook_core::{
    account_numbers::AccountNumbers, identity::Owner, ids::Derivation, snapshot::BankTransaction,
    transaction::Direction,
};

use crate::world::{Visitor, noon};

/// Transactions from here on are written out; a digest stands for all of them.
const WRITTEN_OUT_SINCE: Date = date(2024, 4, 1);

async fn describe(bank: &'static str, username: &'static str) -> String {
    let link = Visitor::new(bank, username).sign_in().await;
    let mut text = format!("{bank} {username} at {}\n\nAccounts\n", noon());
    for account in link.accounts(noon()).await {
        let balances = &account.balances;
        let amount = |amount: Option<rust_decimal::Decimal>| amount.map_or("-".to_owned(), |amount| amount.to_string());
        writeln!(
            text,
            "{} | {} | {} | {} | current {} available {} limit {} {}",
            account.upstream_key,
            account.account_type.0,
            account.name,
            account.mask.as_deref().unwrap_or("-"),
            amount(balances.current),
            amount(balances.available),
            amount(balances.limit),
            balances.currency.as_deref().unwrap_or("-"),
        )
        .unwrap();
    }
    text.push_str("\nNumbers\n");
    for set in link.numbers().await {
        writeln!(text, "{} | {}", set.upstream_key, describe_numbers(&set.numbers)).unwrap();
    }
    text.push_str("\nOwners\n");
    for account in link.owners().await {
        let owners: Vec<String> = account.owners.iter().map(describe_owner).collect();
        writeln!(text, "{} | {}", account.upstream_key, owners.join(" & ")).unwrap();
    }
    let items = link.transactions(noon()).await.items;
    let lines: Vec<String> = items.iter().map(describe_transaction).collect();
    let digest = Derivation::new(b"golden").bits("transactions", &[&lines.concat()], 0);
    writeln!(text, "\n{} transactions, digest {digest:032x}, since {WRITTEN_OUT_SINCE}", items.len()).unwrap();
    for (line, item) in lines.iter().zip(&items) {
        if item.details.date >= WRITTEN_OUT_SINCE {
            text.push_str(line);
        }
    }
    text
}

fn describe_transaction(item: &BankTransaction) -> String {
    let details = &item.details;
    format!(
        "{} {} | {}{} | {}{} {} | {} | {} | {}\n",
        item.account_key,
        item.upstream_key.as_deref().unwrap_or("-"),
        details.date,
        details.datetime.map_or(String::new(), |datetime| format!(" {datetime}")),
        if details.direction == Direction::Debit { "-" } else { "+" },
        details.amount,
        details.currency,
        if details.pending { "pending" } else { "posted" },
        details.description.as_deref().unwrap_or("-"),
        details.raw_description.as_deref().unwrap_or("-"),
    )
}

fn describe_numbers(numbers: &AccountNumbers) -> String {
    let mut parts = Vec::new();
    if let Some(ach) = &numbers.ach {
        let wire = ach.wire_routing_number.as_deref().unwrap_or("-");
        parts.push(format!("ach {} {} wire {wire}", ach.routing_number, ach.account_number));
    }
    if let Some(eft) = &numbers.eft {
        parts.push(format!("eft {} {} {}", eft.institution_number, eft.branch_number, eft.account_number));
    }
    if let Some(bacs) = &numbers.bacs {
        parts.push(format!("bacs {} {}", bacs.sort_code, bacs.account_number));
    }
    if let Some(international) = &numbers.international {
        parts.push(format!("international {} {}", international.iban, international.bic));
    }
    parts.join(", ")
}

fn describe_owner(owner: &Owner) -> String {
    let address = &owner.addresses[0];
    let line = [&address.street, &address.city, &address.region, &address.postal_code, &address.country]
        .map(|part| part.clone().unwrap_or_default());
    let phones: Vec<&str> = owner.phone_numbers.iter().map(|phone| phone.number.as_str()).collect();
    format!("{}; {}; {}; {}", owner.names[0], line.join(", "), phones.join(" "), owner.emails[0].address)
}

async fn compare(bank: &'static str, username: &'static str, expected: &str) {
    let actual = describe(bank, username).await;
    if actual != expected {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{bank}.{username}.txt"));
        std::fs::write(&path, &actual).unwrap();
        let line = actual.lines().zip(expected.lines()).position(|(new, old)| new != old);
        panic!("{bank} {username} differs from line {line:?} on (from 0); the new text is in {}", path.display());
    }
}

#[tokio::test]
async fn american_data_is_what_it_was() {
    compare("credentials_bank", "user_good", include_str!("golden/credentials_bank.user_good.txt")).await;
}

#[tokio::test]
async fn data_of_a_long_history_is_what_it_was() {
    compare("credentials_bank", "user_history", include_str!("golden/credentials_bank.user_history.txt")).await;
}

#[tokio::test]
async fn data_of_many_accounts_is_what_it_was() {
    compare("credentials_bank", "user_many", include_str!("golden/credentials_bank.user_many.txt")).await;
}

#[tokio::test]
async fn canadian_data_is_what_it_was() {
    compare("credentials_bank_ca", "user_good", include_str!("golden/credentials_bank_ca.user_good.txt")).await;
}

#[tokio::test]
async fn british_data_is_what_it_was() {
    compare("credentials_bank_gb", "user_good", include_str!("golden/credentials_bank_gb.user_good.txt")).await;
}
