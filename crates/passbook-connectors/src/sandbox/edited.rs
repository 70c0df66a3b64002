//! Applying a customer's edits to what the bank would have shown.
//!
//! A transaction's key begins with `P` while it is pending and with `T` once it is posted, and is the same otherwise. So
//! an edit names it by the rest, and holds on when it posts by itself.

use std::collections::HashMap;

use jiff::civil::Date;
use passbook_core::{
    account_numbers::AccountNumbers,
    failure::{Failure, FailureClass},
    numbers::iban::Iban,
    snapshot::{BankAccount, BankAccountNumbers, BankAccountOwners, BankTransaction},
    transaction::{Direction, TransactionDetails},
};
use rust_decimal::Decimal;

use super::numbers::mask;
use crate::edits::{AddedTransaction, BankEdit};

/// Refuses when the last word on access is that it ended.
pub(super) fn check_consent(edits: &[BankEdit]) -> Result<(), Failure> {
    match edits.iter().any(|edit| matches!(edit, BankEdit::ExpireConsent)) {
        true => Err(Failure::new(FailureClass::ConsentExpired, "The consent has expired")),
        false => Ok(()),
    }
}

/// Names, closings, masks and balances. `moved` is what edited transactions add to the posted ones of each account,
/// money that enters being positive.
pub(super) fn accounts(edits: &[BankEdit], accounts: &mut [BankAccount], moved: &HashMap<String, Decimal>) {
    for account in accounts.iter_mut() {
        let entered = moved.get(&account.upstream_key).copied().unwrap_or_default();
        let owed = account.account_type.is_liability();
        let balances = &mut account.balances;
        balances.current = balances.current.map(|current| if owed { current - entered } else { current + entered });
        balances.available = balances.available.map(|available| available + entered);
    }
    for edit in edits {
        match edit {
            BankEdit::CloseAccount { account } => each(accounts, account, |found| found.closed = true),
            BankEdit::ReopenAccount { account } => each(accounts, account, |found| found.closed = false),
            BankEdit::RenameAccount { account, name } => each(accounts, account, |found| found.name.clone_from(name)),
            BankEdit::ChangeNumbers { account, account_number, .. } => {
                each(accounts, account, |found| found.mask = mask(account_number));
            }
            BankEdit::SetBalance { account, current, available } => each(accounts, account, |found| {
                found.balances.current = current.or(found.balances.current);
                found.balances.available = available.or(found.balances.available);
            }),
            _ => {}
        }
    }
}

fn each(accounts: &mut [BankAccount], key: &str, change: impl Fn(&mut BankAccount)) {
    accounts.iter_mut().filter(|account| account.upstream_key == key).for_each(change);
}

/// Payment numbers.
pub(super) fn numbers(edits: &[BankEdit], sets: &mut Vec<BankAccountNumbers>) {
    for edit in edits {
        match edit {
            BankEdit::ChangeNumbers { account, account_number, routing_number } => {
                for set in sets.iter_mut().filter(|set| set.upstream_key == *account) {
                    change(&mut set.numbers, account_number, routing_number.as_deref());
                }
            }
            BankEdit::RemoveNumbers { account } => sets.retain(|set| set.upstream_key != *account),
            _ => {}
        }
    }
}

fn change(numbers: &mut AccountNumbers, account_number: &str, routing_number: Option<&str>) {
    if let Some(ach) = &mut numbers.ach {
        account_number.clone_into(&mut ach.account_number);
        if let Some(routing_number) = routing_number {
            routing_number.clone_into(&mut ach.routing_number);
        }
    }
    if let Some(eft) = &mut numbers.eft {
        account_number.clone_into(&mut eft.account_number);
    }
    let Some(bacs) = &mut numbers.bacs else { return };
    account_number.clone_into(&mut bacs.account_number);
    // A British IBAN ends with sort code and number; one that these do not fit is none.
    let national = format!("{}{account_number}", bacs.sort_code);
    let iban = numbers
        .international
        .as_ref()
        .and_then(|set| Iban::from_bban("GB", &format!("{}{national}", set.bic.get(..4)?)).ok());
    match (iban, &mut numbers.international) {
        (Some(iban), Some(set)) => iban.as_str().clone_into(&mut set.iban),
        _ => numbers.international = None,
    }
}

/// Owners.
pub(super) fn owners(edits: &[BankEdit], accounts: &mut [BankAccountOwners]) {
    for edit in edits {
        let BankEdit::SetOwners { account, owners } = edit else { continue };
        let is_meant = |found: &&mut BankAccountOwners| account.as_ref().is_none_or(|key| *key == found.upstream_key);
        accounts.iter_mut().filter(is_meant).for_each(|found| found.owners.clone_from(owners));
    }
}

/// Transactions on or after `since`, in `currency`.
pub(super) fn transactions(edits: &[BankEdit], items: &mut Vec<BankTransaction>, since: Date, currency: &str) {
    for (number, edit) in edits.iter().enumerate() {
        match edit {
            BankEdit::AddTransaction { account, transaction } if transaction.date >= since => {
                items.push(added(number, account, transaction, currency));
            }
            BankEdit::ChangeTransaction { account, transaction, amount, direction, date, description } => {
                for details in found(items, account, transaction).map(|item| &mut item.details) {
                    details.amount = amount.unwrap_or(details.amount);
                    details.direction = direction.unwrap_or(details.direction);
                    details.date = date.unwrap_or(details.date);
                    if let Some(description) = description {
                        details.description = Some(description.clone());
                        details.raw_description = Some(description.clone());
                    }
                }
            }
            BankEdit::RemoveTransaction { account, transaction } => {
                items.retain(|item| !is(item, account, transaction));
            }
            BankEdit::PostPending { account, transaction } => {
                for item in found(items, account, transaction) {
                    item.details.pending = false;
                    item.upstream_key = item.upstream_key.as_deref().map(|key| format!("T{}", base(key)));
                }
            }
            _ => {}
        }
    }
    items.retain(|item| item.details.date >= since);
}

fn added(number: usize, account: &str, transaction: &AddedTransaction, currency: &str) -> BankTransaction {
    let AddedTransaction { amount, direction, date, description, pending } = transaction.clone();
    BankTransaction {
        account_key: account.to_owned(),
        upstream_key: Some(format!("{}E{number:04}", if pending { 'P' } else { 'T' })),
        replaces: None,
        details: TransactionDetails {
            amount,
            direction,
            currency: currency.to_owned(),
            date,
            datetime: None,
            description: Some(description.clone()),
            raw_description: Some(description),
            pending,
        },
    }
}

/// What posted items add up to, by account; money that enters is positive.
pub(super) fn posted(items: &[BankTransaction]) -> HashMap<String, Decimal> {
    let mut sums = HashMap::new();
    for item in items.iter().filter(|item| !item.details.pending) {
        let amount = item.details.amount;
        *sums.entry(item.account_key.clone()).or_insert(Decimal::ZERO) += match item.details.direction {
            Direction::Credit => amount,
            Direction::Debit => -amount,
        };
    }
    sums
}

fn found<'a>(
    items: &'a mut [BankTransaction],
    account: &'a str,
    transaction: &'a str,
) -> impl Iterator<Item = &'a mut BankTransaction> {
    items.iter_mut().filter(move |item| is(item, account, transaction))
}

fn is(item: &BankTransaction, account: &str, transaction: &str) -> bool {
    item.account_key == account && item.upstream_key.as_deref().map(base) == Some(base(transaction))
}

/// A key without the letter that says whether it is pending.
fn base(key: &str) -> &str {
    key.strip_prefix(['P', 'T']).unwrap_or(key)
}
