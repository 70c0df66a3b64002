//! What a simulated person's investment accounts hold, and how it came to that.
//!
//! An account is opened on a day of its own with a position that moves in, then lives by a plan: money comes in every
//! month and buys securities, dividends and fees come in their months, now and then something is sold. Everything is a
//! function of the person, the account and the day, so a later instant only adds to what an earlier one showed.
//! Quantities and money are exact; positions are the sum of the transactions, and cash is what the amounts left.
//!
//! The securities are invented. Their identifiers have valid check digits, and nobody trades them.

mod market;
mod plan;

use jiff::{Timestamp, ToSpan as _, civil::Date};
use passbook_core::{
    account::Balances,
    investment::{HoldingAmount, SecurityDetails},
    snapshot::{BankHolding, BankInvestmentTransaction, BankInvestments},
};
use rust_decimal::Decimal;

use self::{
    market::{Market, money},
    plan::Position,
};
use super::{
    bank::Bank,
    ledger::{Activity, date_of},
    portfolio::Holding as AccountHeld,
    stream::PersonKey,
};

/// The investments of all accounts at `now`.
pub(super) fn investments(bank: &Bank, key: &PersonKey, accounts: &[AccountHeld], now: Timestamp) -> BankInvestments {
    let (market, today, since) = (Market::of(bank.country), date_of(now), Activity::Busy.window_start(now));
    let mut report = BankInvestments { complete_since: Some(since), ..BankInvestments::default() };
    for account in accounts.iter().filter(|account| account.account_type.is_investment()) {
        let position = Position::at(&market, key, account, today);
        report.holdings.extend(holdings(&market, &position, account, today));
        let shown = position.transactions.into_iter().filter(|item| item.details.date >= since);
        report.transactions.extend(shown);
    }
    report.securities = used(&market, &report.holdings, &report.transactions, today);
    report
}

/// What an investment account is worth at `now`, and how much of it is cash.
pub(super) fn balances(bank: &Bank, key: &PersonKey, account: &AccountHeld, now: Timestamp) -> Balances {
    let (market, today) = (Market::of(bank.country), date_of(now));
    let position = Position::at(&market, key, account, today);
    let value = holdings(&market, &position, account, today).filter_map(|held| held.amount.value).sum();
    Balances {
        currency: Some(bank.currency().to_owned()),
        available: Some(money(position.cash)),
        current: Some(money(value)),
        limit: None,
        balance_date: Some(now),
    }
}

/// Every security with some of it left, then cash.
fn holdings<'a>(
    market: &'a Market,
    position: &'a Position,
    account: &'a AccountHeld,
    today: Date,
) -> impl Iterator<Item = BankHolding> + 'a {
    let held = |security_key: &str, amount| BankHolding {
        account_key: account.key.clone(),
        security_key: security_key.to_owned(),
        amount,
    };
    let closed = last_close(today);
    let securities = position.lots.iter().filter(|(_, lot)| !lot.quantity.is_zero()).map(move |(index, lot)| {
        let price = market.price(*index, closed);
        let amount = HoldingAmount {
            quantity: lot.quantity,
            price: Some(price),
            price_datetime: Some(market::close_of(closed)),
            value: Some(money(lot.quantity * price)),
            cost_basis: Some(money(lot.cost)),
        };
        held(market.security(*index).key, amount)
    });
    let cash = (!position.cash.is_zero()).then(|| {
        let amount = HoldingAmount {
            quantity: money(position.cash),
            price: Some(Decimal::ONE),
            price_datetime: None,
            value: Some(money(position.cash)),
            cost_basis: None,
        };
        held(market::CASH, amount)
    });
    securities.chain(cash)
}

/// The securities that the rest of a report refers to.
fn used(
    market: &Market,
    holdings: &[BankHolding],
    transactions: &[BankInvestmentTransaction],
    today: Date,
) -> Vec<SecurityDetails> {
    let is_used = |details: &SecurityDetails| {
        holdings.iter().any(|held| held.security_key == details.upstream_key)
            || transactions.iter().any(|item| item.security_key.as_deref() == Some(details.upstream_key.as_str()))
    };
    market.details(last_close(today)).filter(is_used).collect()
}

/// The last day whose close everybody knows by now.
fn last_close(today: Date) -> Date {
    today.saturating_sub(1.day())
}
