//! Files that `passbook links export --format json` writes, read like statement files.
//!
//! The form is the API's own: accounts as in `GET /links/{id}/accounts`, payment numbers as in `.../accounts/numbers`,
//! transactions as in `.../transactions`. Other programs may write it too, `passbook links import-file` does so for CSV
//! files; so everything is checked, and messages name a place and never quote what stands there.

use std::collections::HashSet;

use jiff::{Timestamp, civil::Date};
use passbook_core::{
    account::{AccountType, Balances},
    account_numbers::{AccountNumbers, AchNumber, BacsNumber, EftNumber, InternationalNumber},
    snapshot::{
        BankAccount, BankAccountNumbers, BankTransaction, BankTransactions, StatementFile, StatementInstitution,
    },
    transaction::{Direction, TransactionDetails},
};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::port::{FileRefusal, StatementReading};

/// What `format` says in such a file.
pub const FORMAT: &str = "passbook-export";
/// The version that this release writes and reads.
pub const VERSION: u32 = 1;

/// Most accounts, and transactions of all accounts together.
const ACCOUNTS_MAX: usize = 500;
const TRANSACTIONS_MAX: usize = 250_000;
/// Longest id, name, and description.
const ID_CHARS_MAX: usize = 255;
const NAME_CHARS_MAX: usize = 255;
const DESCRIPTION_CHARS_MAX: usize = 1_000;
/// Amounts have fewer than this many units.
const AMOUNT_MAX: i64 = 1_000_000_000_000_000;

#[derive(Deserialize)]
struct File {
    format: String,
    version: u32,
    link: LinkOfFile,
    accounts: Vec<AccountOfFile>,
}

#[derive(Deserialize)]
struct LinkOfFile {
    #[serde(default)]
    institution_name: Option<String>,
}

#[derive(Deserialize)]
struct AccountOfFile {
    account_id: String,
    account_type: String,
    name: String,
    #[serde(default)]
    nickname: Option<String>,
    #[serde(default)]
    account_mask: Option<String>,
    #[serde(default)]
    balances: BalancesOfFile,
    #[serde(default)]
    closed: Option<bool>,
    #[serde(default)]
    numbers: Option<NumbersOfFile>,
    #[serde(default)]
    transactions: Vec<TransactionOfFile>,
}

#[derive(Default, Deserialize)]
struct BalancesOfFile {
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    available: Option<Decimal>,
    #[serde(default)]
    current: Option<Decimal>,
    #[serde(default)]
    limit: Option<Decimal>,
    #[serde(default)]
    balance_date: Option<Timestamp>,
}

#[derive(Deserialize)]
struct NumbersOfFile {
    #[serde(default)]
    ach: Vec<AchNumber>,
    #[serde(default)]
    eft: Vec<EftNumber>,
    #[serde(default)]
    bacs: Vec<BacsNumber>,
    #[serde(default)]
    international: Vec<InternationalNumber>,
}

#[derive(Deserialize)]
struct TransactionOfFile {
    transaction_id: String,
    amount: Decimal,
    #[serde(rename = "type")]
    direction: Direction,
    currency: String,
    date: Date,
    #[serde(default)]
    datetime: Option<Timestamp>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    raw_description: Option<String>,
    #[serde(default)]
    pending: bool,
}

/// Whether a file looks like one: JSON begins with a brace, and no statement does.
pub(crate) fn is_one(file: &[u8]) -> bool {
    let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Reads a file.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn read(file: &[u8], reading: &StatementReading<'_>) -> Result<StatementFile, FileRefusal> {
    let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    // serde's own message may quote the file.
    let file: File = serde_json::from_slice(text).map_err(|error| {
        FileRefusal::new(format!("line {}, column {}: not a Passbook export", error.line(), error.column()))
    })?;
    if file.format != FORMAT || file.version != VERSION {
        return Err(FileRefusal::new("not a Passbook export of version 1"));
    }
    if file.accounts.is_empty() {
        return Err(FileRefusal::new("there is no account in the file"));
    }
    if file.accounts.len() > ACCOUNTS_MAX {
        return Err(FileRefusal::new(format!("more than {ACCOUNTS_MAX} accounts")));
    }
    let mut read = StatementFile {
        institution: institution(file.link),
        accounts: Vec::new(),
        numbers: Vec::new(),
        transactions: BankTransactions { complete_since: None, items: Vec::new(), withdrawn: Vec::new() },
        notes: Vec::new(),
    };
    for (number, account) in file.accounts.into_iter().enumerate() {
        add(&mut read, number, account, reading)?;
    }
    Ok(read)
}

fn institution(link: LinkOfFile) -> Option<StatementInstitution> {
    let name = link.institution_name.filter(|name| !name.trim().is_empty());
    name.map(|name| StatementInstitution { org: Some(cut(name, NAME_CHARS_MAX)), fid: None })
}

fn add(
    read: &mut StatementFile,
    number: usize,
    account: AccountOfFile,
    reading: &StatementReading<'_>,
) -> Result<(), FileRefusal> {
    let wrong = |problem: &str| FileRefusal::new(format!("account {}: {problem}", number + 1));
    let check = |ok: bool, problem: &str| if ok { Ok(()) } else { Err(wrong(problem)) };
    check(is_id(&account.account_id), "account_id must have 1 to 255 characters")?;
    check(is_text(&account.name) && is_text(&account.account_type), "name and account_type must be texts")?;
    let amounts = [account.balances.available, account.balances.current, account.balances.limit];
    check(amounts.into_iter().flatten().all(is_amount), "a balance is too large")?;
    // An id may be an account number where another program wrote the file.
    let key = (reading.fingerprint)(&format!("export\n{}", account.account_id));
    check(read.accounts.iter().all(|known| known.upstream_key != key), "its account_id occurs twice")?;
    let currency = account.balances.currency.clone();
    check(currency.as_deref().is_none_or(is_currency), "currency must be three capital letters")?;
    read.accounts.push(BankAccount {
        upstream_key: key.clone(),
        account_type: AccountType(cut(account.account_type, NAME_CHARS_MAX)),
        name: cut(account.name, NAME_CHARS_MAX),
        nickname: account.nickname.map(|nickname| cut(nickname, NAME_CHARS_MAX)),
        mask: account
            .account_mask
            .map(|mask| mask.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect()),
        balances: Balances {
            currency,
            available: account.balances.available,
            current: account.balances.current,
            limit: account.balances.limit,
            balance_date: account.balances.balance_date,
        },
        closed: account.closed.unwrap_or(false),
    });
    if let Some(numbers) = account.numbers {
        read.numbers.push(BankAccountNumbers { upstream_key: key.clone(), numbers: first_of_each(numbers) });
    }
    let mut ids = HashSet::new();
    for (place, item) in account.transactions.into_iter().enumerate() {
        let wrong =
            |problem: &str| FileRefusal::new(format!("account {}, transaction {}: {problem}", number + 1, place + 1));
        if read.transactions.items.len() >= TRANSACTIONS_MAX {
            return Err(FileRefusal::new(format!("more than {TRANSACTIONS_MAX} transactions")));
        }
        if !ids.insert(item.transaction_id.clone()) {
            return Err(wrong("its transaction_id occurs twice"));
        }
        read.transactions.items.push(transaction(&key, item).map_err(wrong)?);
    }
    Ok(())
}

fn first_of_each(numbers: NumbersOfFile) -> AccountNumbers {
    AccountNumbers {
        ach: numbers.ach.into_iter().next(),
        eft: numbers.eft.into_iter().next(),
        bacs: numbers.bacs.into_iter().next(),
        international: numbers.international.into_iter().next(),
    }
}

fn transaction(account_key: &str, item: TransactionOfFile) -> Result<BankTransaction, &'static str> {
    if !is_id(&item.transaction_id) {
        return Err("transaction_id must have 1 to 255 characters");
    }
    if item.amount.is_sign_negative() || !is_amount(item.amount) {
        return Err("amount must not be negative: type says which way the money went");
    }
    if !is_currency(&item.currency) {
        return Err("currency must be three capital letters");
    }
    Ok(BankTransaction {
        account_key: account_key.to_owned(),
        upstream_key: Some(item.transaction_id),
        replaces: None,
        details: TransactionDetails {
            amount: item.amount,
            direction: item.direction,
            currency: item.currency,
            date: item.date,
            datetime: item.datetime,
            description: item.description.map(|text| cut(text, DESCRIPTION_CHARS_MAX)),
            raw_description: item.raw_description.map(|text| cut(text, DESCRIPTION_CHARS_MAX)),
            pending: item.pending,
        },
    })
}

fn is_id(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.chars().take(ID_CHARS_MAX + 1).count()) && !text.contains('\0')
}

fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains('\0')
}

fn is_amount(amount: Decimal) -> bool {
    amount.abs() < Decimal::from(AMOUNT_MAX)
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|letter| letter.is_ascii_uppercase())
}

fn cut(text: String, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => text[..end].to_owned(),
        None => text.replace('\0', ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"format": "passbook-export", "version": 1, "link": {"institution_name": "First Bank"},
        "accounts": [{"account_id": "a", "account_type": "depository.checking", "name": "Everyday", "account_mask": "6789",
        "balances": {"currency": "USD", "current": 12.5}, "numbers": {"ach": [{"account_number": "123456789",
        "routing_number": "091000019", "wire_routing_number": null}]}, "transactions": [{"transaction_id": "t",
        "amount": "7.50", "type": "debit", "currency": "USD", "date": "2024-05-01", "description": "Kiosk",
        "unknown": [1]}]}]}"#;

    fn read_text(text: &str) -> Result<StatementFile, FileRefusal> {
        let fingerprint = |text: &str| format!("hash of {}", text.len());
        read(text.as_bytes(), &StatementReading { fingerprint: &fingerprint, country: None })
    }

    #[test]
    fn an_export_is_read_whole() {
        let file = read_text(GOOD).unwrap();
        assert_eq!(file.institution.unwrap().org.as_deref(), Some("First Bank"));
        assert_eq!((file.accounts.len(), file.accounts[0].mask.as_deref()), (1, Some("6789")));
        assert_eq!(file.numbers[0].numbers.ach.as_ref().unwrap().account_number, "123456789");
        let item = &file.transactions.items[0];
        assert_eq!((item.details.amount, item.details.direction), (Decimal::new(750, 2), Direction::Debit));
        assert!(is_one(GOOD.as_bytes()) && is_one(b"\xef\xbb\xbf \n{") && !is_one(b"OFXHEADER:100") && !is_one(b""));
    }

    #[test]
    fn what_is_wrong_is_named_and_not_quoted() {
        for (from, to, place) in [
            ("\"version\": 1", "\"version\": 2", "version 1"),
            ("\"7.50\"", "\"-7.50\"", "account 1, transaction 1: amount"),
            ("\"7.50\"", "\"seven\"", "line"),
            ("\"7.50\"", "1e40", "line"),
            ("\"7.50\"", "\"9999999999999999\"", "account 1, transaction 1: amount"),
            ("\"debit\"", "\"sideways\"", "line"),
            ("\"2024-05-01\"", "\"2024-13-01\"", "line"),
            ("\"currency\": \"USD\", \"date\"", "\"currency\": \"dollars\", \"date\"", "currency"),
            ("\"account_id\": \"a\"", "\"account_id\": \"\"", "account 1: account_id"),
            ("\"account_id\": \"a\"", "\"account_id\": \"a\", \"account_id\": \"b\"", "line"),
            (
                "\"unknown\": [1]}]",
                "\"unknown\": [1]}, {\"transaction_id\": \"t\", \"amount\": \"1\", \"type\": \"debit\", \"currency\": \"USD\", \"date\": \"2024-05-01\"}]",
                "account 1, transaction 2: its transaction_id occurs twice",
            ),
            ("[{\"account_id\"", "[], \"x\": [{\"account_id\"", "no account"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let Err(refusal) = read_text(&text) else { panic!("{to} was read") };
            assert!(refusal.message.contains(place), "{to}: {}", refusal.message);
            assert!(!refusal.message.contains("123456789") && !refusal.message.contains("seven"));
        }
        for text in ["", "{", "null", "[]", "{}", &"[".repeat(100_000)] {
            assert!(read_text(text).is_err());
        }
    }
}
