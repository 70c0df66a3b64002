//! Holdings and investment transactions in the contract's words.

use std::collections::HashSet;

use moneykit::models;
use passbook_core::{
    ids::{AccountId, SecurityId},
    investment::{Holding, InvestmentTransaction, Portfolio, Security, SecurityKind},
    link::Link,
    money::with_minor_digits,
};
use rust_decimal::Decimal;

use super::{account, link_common};

/// What the accounts of `shown` hold, with the securities and accounts that occur in it.
pub fn holdings(link: &Link, portfolio: Portfolio, shown: &HashSet<AccountId>) -> models::GetHoldingsResponse {
    let is_shown = |holding: &Holding| shown.contains(&holding.account_id);
    let held: Vec<Holding> = portfolio.holdings.into_iter().filter(is_shown).collect();
    let referred: HashSet<_> = held.iter().map(|holding| holding.security_id.clone()).collect();
    let accounts: HashSet<_> = held.iter().map(|holding| holding.account_id.clone()).collect();
    models::GetHoldingsResponse {
        holdings: held.into_iter().map(|held| holding(link, held)).collect(),
        securities: securities(portfolio.securities, &referred),
        accounts: accounts_of(link, &accounts),
        link: link_common(link),
    }
}

/// One page of a link's investment transactions, with the securities and accounts that occur in it.
pub fn investment_transactions_page(
    link: &Link,
    known: Vec<Security>,
    page: u64,
    total: u64,
    items: Vec<InvestmentTransaction>,
) -> models::GetInvestmentTransactionsResponse {
    let referred: HashSet<_> = items.iter().filter_map(|item| item.security_id.clone()).collect();
    let accounts: HashSet<_> = items.iter().map(|item| item.account_id.clone()).collect();
    models::GetInvestmentTransactionsResponse {
        total,
        page,
        size: items.len() as u64,
        securities: securities(known, &referred),
        accounts: accounts_of(link, &accounts),
        link: link_common(link),
        investment_transactions: items.into_iter().map(|item| transaction(link, item)).collect(),
    }
}

fn accounts_of(link: &Link, shown: &HashSet<AccountId>) -> Vec<models::AccountResponse> {
    link.accounts.iter().filter(|account| shown.contains(&account.id)).map(account).collect()
}

fn securities(known: Vec<Security>, referred: &HashSet<SecurityId>) -> Vec<models::SecurityResponse> {
    known.into_iter().filter(|security| referred.contains(&security.id)).map(security).collect()
}

fn security(security: Security) -> models::SecurityResponse {
    let details = security.details;
    models::SecurityResponse {
        security_id: security.id.as_str().into(),
        id: Some(security.id.as_str().into()),
        name: details.name,
        security_type: match details.kind {
            SecurityKind::Cash => models::SecurityType::Cash,
            SecurityKind::Crypto => models::SecurityType::Crypto,
            SecurityKind::Derivative => models::SecurityType::Derivative,
            SecurityKind::Equity => models::SecurityType::Equity,
            SecurityKind::Etf => models::SecurityType::Etf,
            SecurityKind::Bond => models::SecurityType::Bond,
            SecurityKind::Loan => models::SecurityType::Loan,
            SecurityKind::Fund => models::SecurityType::Fund,
            SecurityKind::Unknown => models::SecurityType::UnknownType,
        },
        close_price: details.close_price.map(|price| with_minor_digits(price, &details.currency)),
        currency: details.currency,
        ticker: details.ticker,
        isin: details.isin,
        sedol: details.sedol,
        close_date: details.close_date,
    }
}

fn holding(link: &Link, holding: Holding) -> models::HoldingResponse {
    let money = money_of(link, &holding.account_id);
    let amount = holding.amount;
    models::HoldingResponse {
        account_id: holding.account_id.as_str().into(),
        security_id: holding.security_id.as_str().into(),
        quantity: amount.quantity,
        price: amount.price.map(&money),
        price_datetime: amount.price_datetime,
        value: amount.value.map(&money),
        cost_basis: amount.cost_basis.map(&money),
    }
}

fn transaction(link: &Link, row: InvestmentTransaction) -> models::InvestmentTransactionResponse {
    let money = money_of(link, &row.account_id);
    let transaction_type = row.details.dotted_type();
    let details = row.details;
    models::InvestmentTransactionResponse {
        investment_transaction_id: row.id.as_str().into(),
        id: Some(row.id.as_str().into()),
        account_id: row.account_id.as_str().into(),
        amount: models::InvestmentAmount::from_debit_positive(money(details.amount)),
        date: details.date,
        datetime: details.datetime,
        description: details.description,
        transaction_type,
        fees: details.fees.map(&money),
        forex_rate: details.forex_rate,
        price: details.price.map(&money),
        quantity: details.quantity,
        security_id: row.security_id.map(|id| id.as_str().into()),
    }
}

/// Shows money of an account with its currency's digits.
fn money_of(link: &Link, account_id: &AccountId) -> impl Fn(Decimal) -> Decimal {
    let currency = link.account(account_id).and_then(|account| account.balances.currency.clone());
    move |amount| with_minor_digits(amount, currency.as_deref().unwrap_or_default())
}
