//! `POST /links/import` and `POST /links/{id}/import/transactions`.

use std::collections::HashSet;

use axum::{
    extract::{Request, State as Extract},
    response::Response,
};
use jiff::{Timestamp, civil::Date};
use passbook_core::{account::Balances, link::ACCOUNTS_MAX};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

use super::{
    State,
    body::{self, Problems, object, objects},
    caller::Caller,
    errors::ApiError,
    idempotency::answer_once,
    link_session_request::{CustomerUser, Provider, check_user},
    links::read_change,
    path::LinkPath,
};
use crate::services::{
    idempotency::Answer,
    import_links::{ImportedAccount, ImportedLink, ImportedTransaction, LinkImport},
};

/// Longest id, name or type of the caller's.
const TEXT_MAX: usize = 255;
/// Longest description.
const DESCRIPTION_MAX: usize = 2_000;

#[derive(Deserialize)]
struct ImportLinkBody {
    #[serde(deserialize_with = "object")]
    customer_user: CustomerUser,
    #[expect(dead_code, reason = "checked by its type; a self-hosted server is the provider of its links")]
    #[serde(default)]
    provider: Option<Provider>,
    institution_id: String,
    #[serde(deserialize_with = "objects")]
    accounts: Vec<AccountBody>,
    #[serde(deserialize_with = "objects")]
    transactions: Vec<TransactionBody>,
}

#[derive(Deserialize)]
struct ImportTransactionsBody {
    #[serde(deserialize_with = "objects")]
    transactions: Vec<TransactionBody>,
}

#[derive(Deserialize)]
struct AccountBody {
    account_id: String,
    name: String,
    #[serde(default)]
    nickname: Option<String>,
    #[serde(rename = "type")]
    account_type: String,
    #[serde(default)]
    mask: Option<String>,
    #[serde(deserialize_with = "object")]
    balances: BalancesBody,
}

#[derive(Deserialize)]
struct BalancesBody {
    #[serde(default)]
    currency: Option<String>,
    #[serde(default, deserialize_with = "number")]
    available: Option<Decimal>,
    #[serde(default, deserialize_with = "number")]
    current: Option<Decimal>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<Decimal>,
    #[serde(default)]
    balance_date: Option<String>,
}

#[derive(Deserialize)]
struct TransactionBody {
    account_id: String,
    #[serde(default)]
    transaction_id: Option<String>,
    #[serde(deserialize_with = "signed_amount")]
    amount: Decimal,
    date: String,
    #[serde(default)]
    description: Option<String>,
    #[expect(dead_code, reason = "checked by its type; categories are our own")]
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// Makes a link of data the app already has.
pub async fn import_link(Extract(api): State, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (parts, bytes) = api.receive(&caller, request, body::JSON_MAX).await?;
    let import = read_link(api.read_json(&caller, &parts, &bytes).await?)?;
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let keep = held.keep(answer);
        Ok(answer(&api.services.import_link(&caller, import, &keep).await?))
    })
    .await
}

/// Adds transactions to such a link.
pub async fn import_transactions(
    Extract(api): State,
    caller: Caller,
    LinkPath(id): LinkPath,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, bytes) = read_change(&api, &caller, &id, request).await?;
    let body: ImportTransactionsBody = api.read_json(&caller, &parts, &bytes).await?;
    let mut problems = Problems::default();
    let transactions = read_transactions(&mut problems, body.transactions);
    problems.finish()?;
    answer_once(&api, &caller, &parts, &bytes, async |held| {
        let keep = held.keep(answer);
        Ok(answer(&api.services.import_transactions(&caller, &id, transactions, &keep).await?))
    })
    .await
}

fn answer(imported: &ImportedLink) -> Answer {
    Answer { status: 200, body: imported.link_view.clone() }
}

fn read_link(body: ImportLinkBody) -> Result<LinkImport, ApiError> {
    let mut problems = Problems::default();
    check_user(&mut problems, &body.customer_user);
    problems.length(&body.institution_id, "institution_id", 1, TEXT_MAX);
    let count = body.accounts.len();
    problems.require((1..=ACCOUNTS_MAX).contains(&count), "accounts", &format!("must be 1 to {ACCOUNTS_MAX} accounts"));
    let mut ids = HashSet::new();
    for (index, account) in body.accounts.iter().enumerate() {
        let field = |name: &str| format!("accounts.{index}.{name}");
        problems.length(&account.account_id, &field("account_id"), 1, TEXT_MAX);
        problems.require(ids.insert(account.account_id.as_str()), &field("account_id"), "must be unique");
    }
    for (index, transaction) in body.transactions.iter().enumerate() {
        let known = ids.contains(transaction.account_id.as_str());
        problems.require(known, &format!("transactions.{index}.account_id"), "must be one of the accounts");
    }
    let accounts =
        body.accounts.into_iter().enumerate().map(|(index, account)| read_account(&mut problems, index, account));
    let accounts = accounts.collect();
    let transactions = read_transactions(&mut problems, body.transactions);
    problems.finish()?;
    let (customer_user_id, institution_id) = (body.customer_user.id, body.institution_id);
    Ok(LinkImport { customer_user_id, institution_id, accounts, transactions })
}

fn read_account(problems: &mut Problems, index: usize, account: AccountBody) -> ImportedAccount {
    let field = |name: &str| format!("accounts.{index}.{name}");
    problems.length(&account.name, &field("name"), 0, TEXT_MAX);
    problems.length(account.nickname.as_deref().unwrap_or_default(), &field("nickname"), 0, TEXT_MAX);
    problems.length(&account.account_type, &field("type"), 0, TEXT_MAX);
    problems.length(account.mask.as_deref().unwrap_or_default(), &field("mask"), 0, TEXT_MAX);
    let balances = account.balances;
    problems.length(balances.currency.as_deref().unwrap_or_default(), &field("balances.currency"), 0, 16);
    let balance_date = balances.balance_date.as_deref().map(instant);
    problems.require(balance_date != Some(None), &field("balances.balance_date"), "must be a date-time");
    ImportedAccount {
        id: account.account_id,
        name: account.name,
        nickname: account.nickname,
        account_type: account.account_type,
        mask: account.mask,
        balances: Balances {
            currency: balances.currency.filter(|currency| !currency.is_empty()),
            available: balances.available,
            current: balances.current,
            limit: balances.limit,
            balance_date: balance_date.flatten(),
        },
    }
}

fn read_transactions(problems: &mut Problems, transactions: Vec<TransactionBody>) -> Vec<ImportedTransaction> {
    let mut read = Vec::with_capacity(transactions.len());
    for (index, transaction) in transactions.into_iter().enumerate() {
        let field = |name: &str| format!("transactions.{index}.{name}");
        if let Some(id) = &transaction.transaction_id {
            problems.length(id, &field("transaction_id"), 1, TEXT_MAX);
        }
        let description = transaction.description.as_deref().unwrap_or_default();
        problems.length(description, &field("description"), 0, DESCRIPTION_MAX);
        let date = date_of(&transaction.date);
        problems.require(date.is_some(), &field("date"), "must be a date or a date-time");
        let Some((date, datetime)) = date else { continue };
        read.push(ImportedTransaction {
            account_id: transaction.account_id,
            id: transaction.transaction_id,
            amount: transaction.amount,
            date,
            datetime,
            description: transaction.description,
        });
    }
    read
}

/// A date alone, or a date-time, whose date is the one that was written: not the one it is in UTC. The official Python
/// SDK 0.2.3 quotes it twice.
fn date_of(text: &str) -> Option<(Date, Option<Timestamp>)> {
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    // Longer than a date is a date-time; the parser of dates would silently drop the time.
    if text.len() == 10 {
        return Some((text.parse().ok()?, None));
    }
    let instant = instant(text)?;
    Some((text.get(..10)?.parse().ok()?, Some(instant)))
}

/// A date-time; one without an offset is UTC.
fn instant(text: &str) -> Option<Timestamp> {
    let in_utc = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let known = text.parse().ok();
    known.or_else(|| (text.len() > 10).then(in_utc).flatten().map(|zoned| zoned.timestamp()))
}

/// A JSON number, exactly: it never passes through a binary float.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    let Some(raw) = Option::<Box<RawValue>>::deserialize(deserializer)? else { return Ok(None) };
    let text = raw.get();
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let read = if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { Decimal::from_str_exact(text) };
    let read = if is_number { read.ok() } else { None };
    read.map(Some).ok_or_else(|| D::Error::custom("expected a number of at most 28 digits"))
}

/// A decimal string with an optional sign.
fn signed_amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let plain = digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    // The text itself stays out of the message: amounts are personal data.
    let refused = || D::Error::custom("expected a decimal string of at most 28 digits");
    if plain { Decimal::from_str_exact(&text).map_err(|_| refused()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_dates_or_date_times() {
        let date =
            |text: &str| date_of(text).map(|(date, datetime)| (date.to_string(), datetime.map(|at| at.to_string())));
        for plain in ["2026-01-31", "\"2026-01-31\""] {
            assert_eq!(date(plain), Some(("2026-01-31".into(), None)));
        }
        let instant = Some("2026-02-01T01:00:00Z".to_owned());
        assert_eq!(date("2026-01-31T23:00:00-02:00"), Some(("2026-01-31".into(), instant)));
        let instant = Some("2026-01-31T23:00:00Z".to_owned());
        assert_eq!(date("2026-01-31T23:00:00"), Some(("2026-01-31".into(), instant)));
        for wrong in
            ["", "x", "2026-02-30", "31.01.2026", "2026-01-31T", "20260131", "2026-01-31T25:00:00Z", "é026-01-31"]
        {
            assert_eq!(date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn amounts_are_exact_or_refused() {
        let amount = |json: &str| {
            let mut text = serde_json::Deserializer::from_str(json);
            signed_amount(&mut text).ok().map(|amount| amount.to_string())
        };
        for (json, read) in [("\"-7.10\"", "-7.10"), ("\"+5\"", "5"), ("\"0.1\"", "0.1")] {
            assert_eq!(amount(json).as_deref(), Some(read), "{json}");
        }
        let long = format!("\"0.{}\"", "1".repeat(40));
        for json in ["7", "null", "\"\"", "\"seven\"", "\"1e3\"", "\"1_0\"", "\"--1\"", "\".5\"", long.as_str()] {
            assert_eq!(amount(json), None, "{json}");
        }
    }
}
