//! The life of one investment account up to a day.

use std::collections::BTreeMap;

use jiff::{ToSpan as _, civil::Date};
use passbook_core::{
    investment::{InvestmentKind, InvestmentTransactionDetails},
    snapshot::BankInvestmentTransaction,
};
use rust_decimal::{Decimal, RoundingStrategy};

use super::market::{CASH, Market, money};
use crate::sandbox::{
    portfolio::Holding as AccountHeld,
    stream::{PersonKey, Stream},
};

/// Digits of a quantity.
const QUANTITY_DIGITS: u32 = 4;
/// What a single security's trade costs, in cents.
const COMMISSION: i64 = 495;
/// What the account costs each January, in cents.
const YEARLY_FEE: i64 = 2_500;
/// What is left uninvested when dividends and sales have added up, in cents.
const CASH_KEPT: i64 = 25_000;
/// How long an account is lived with; afterwards only its prices move.
const MONTHS_MAX: i64 = 600;
/// The earliest year in which an account is opened, and how many years there are to choose from.
const OPENED: (i16, i64) = (2018, 5);

/// What is left of what was bought.
#[derive(Default)]
pub(super) struct Lot {
    pub(super) quantity: Decimal,
    pub(super) cost: Decimal,
}

/// An account on a day.
pub(super) struct Position {
    /// By the security's place in the market.
    pub(super) lots: BTreeMap<usize, Lot>,
    /// Money that is not invested.
    pub(super) cash: Decimal,
    /// Everything that happened, oldest first.
    pub(super) transactions: Vec<BankInvestmentTransaction>,
}

/// What the owner does every month.
struct Habit {
    opened: Date,
    /// Paid in each month, in cents.
    deposit: i64,
    /// The two securities that it buys.
    bought: [usize; 2],
    /// The position with which the account began.
    moved_in: usize,
    /// Something is sold every so many months.
    sells_every: i64,
}

impl Habit {
    /// Retirement accounts buy funds; brokerage accounts buy a fund and something of their own.
    fn of(market: &Market, account: &AccountHeld, stream: &mut Stream) -> Self {
        let (year, years) = OPENED;
        let year = year + i16::try_from(stream.between(0, years - 1)).unwrap_or(0);
        let month = i8::try_from(stream.between(1, 12)).unwrap_or(1);
        let is_retirement = account.account_type.0 != "investment.brokerage";
        let last = i64::try_from(market.len()).unwrap_or(1) - 1;
        let pick = |number: i64| usize::try_from(number).unwrap_or(0);
        let bought = match is_retirement {
            true => [2, pick(stream.between(0, 1))],
            false => [pick(stream.between(0, 1)), pick(stream.between(4, last))],
        };
        Self {
            opened: jiff::civil::date(year, month, 1),
            deposit: stream.between(20, 120) * 1_000,
            bought,
            moved_in: if is_retirement { 3 } else { pick(stream.between(3, last)) },
            sells_every: stream.between(5, 11),
        }
    }
}

impl Position {
    /// The account at the end of `today`; nothing before it was opened.
    pub(super) fn at(market: &Market, key: &PersonKey, account: &AccountHeld, today: Date) -> Self {
        let mut stream = key.stream("investment", &account.key);
        let habit = Habit::of(market, account, &mut stream);
        let position = Self { lots: BTreeMap::new(), cash: Decimal::ZERO, transactions: Vec::new() };
        let mut life = Life { market, account, today, position };
        let worth = Decimal::from(stream.between(500, 9_000));
        life.move_in(habit.moved_in, worth, habit.opened.saturating_add(2.days()));
        let mut first = habit.opened;
        for month in 0..MONTHS_MAX {
            if first > today {
                break;
            }
            life.live_a_month(&habit, month, first);
            first = first.saturating_add(1.month());
        }
        life.position
    }
}

/// A position under way.
struct Life<'a> {
    market: &'a Market,
    account: &'a AccountHeld,
    today: Date,
    position: Position,
}

impl Life<'_> {
    fn live_a_month(&mut self, habit: &Habit, month: i64, first: Date) {
        let day = |day: i64| first.saturating_add((day - 1).days());
        self.deposit(habit.deposit, day(1));
        for (number, index) in habit.bought.into_iter().enumerate() {
            // Half each, and a little stays as cash.
            let budget = Decimal::new(habit.deposit / 2 - 1_000, 2);
            self.buy(index, budget, day(3 + i64::try_from(number).unwrap_or(0)));
        }
        if first.month() == 1 && self.position.cash > Decimal::new(YEARLY_FEE, 2) {
            self.fee(day(10));
        }
        if first.month() % 3 == 0 {
            let held: Vec<usize> = self.position.lots.keys().copied().collect();
            for index in held {
                self.pay_out(index, day(15));
            }
        }
        if month % habit.sells_every == habit.sells_every - 1 {
            self.sell(habit.bought[1], day(20));
        }
        let spare = self.position.cash - Decimal::new(CASH_KEPT, 2);
        if spare > Decimal::new(CASH_KEPT, 2) {
            self.buy(habit.bought[0], spare, day(22));
        }
    }

    fn move_in(&mut self, index: usize, worth: Decimal, day: Date) {
        let price = self.market.price(index, day);
        let quantity = rounded_down(worth / price);
        let cost = money(quantity * price);
        let details = self.details(InvestmentKind::Transfer, Some("transfer_in"), day, Decimal::ZERO, "Transferred in");
        if self.happen(Some(index), InvestmentTransactionDetails { quantity: Some(quantity), ..details }) {
            let lot = self.position.lots.entry(index).or_default();
            lot.quantity += quantity;
            lot.cost += cost;
        }
    }

    fn deposit(&mut self, cents: i64, day: Date) {
        let details = self.details(InvestmentKind::Cash, Some("deposit"), day, -Decimal::new(cents, 2), "Contribution");
        self.happen(None, details);
    }

    fn fee(&mut self, day: Date) {
        let amount = Decimal::new(YEARLY_FEE, 2);
        let details = self.details(InvestmentKind::Fee, Some("account_fee"), day, amount, "Yearly account fee");
        self.happen(None, details);
    }

    fn buy(&mut self, index: usize, budget: Decimal, day: Date) {
        let (price, fees) = (self.market.price(index, day), self.commission(index));
        let quantity = rounded_down((budget - fees) / price);
        if quantity <= Decimal::ZERO {
            return;
        }
        let amount = money(quantity * price + fees);
        let what = format!("Bought {}", self.name(index));
        let details = self.details(InvestmentKind::Buy, None, day, amount, &what);
        if self.happen(Some(index), traded(details, price, quantity, fees)) {
            let lot = self.position.lots.entry(index).or_default();
            lot.quantity += quantity;
            lot.cost += amount;
        }
    }

    /// A fifth of what is held.
    fn sell(&mut self, index: usize, day: Date) {
        let Some(lot) = self.position.lots.get(&index) else { return };
        let (price, fees) = (self.market.price(index, day), self.commission(index));
        let quantity = rounded_down(lot.quantity / Decimal::from(5));
        if money(quantity * price) <= fees {
            return;
        }
        let cost = money(lot.cost * quantity / lot.quantity);
        let what = format!("Sold {}", self.name(index));
        let details = self.details(InvestmentKind::Sell, None, day, money(fees - quantity * price), &what);
        if self.happen(Some(index), traded(details, price, -quantity, fees)) {
            let lot = self.position.lots.entry(index).or_default();
            lot.quantity -= quantity;
            lot.cost -= cost;
        }
    }

    fn pay_out(&mut self, index: usize, day: Date) {
        let payout = self.market.payout(index);
        let quantity = self.position.lots.get(&index).map_or(Decimal::ZERO, |lot| lot.quantity);
        let paid = money(quantity * self.market.price(index, day) * Decimal::new(payout, 3) / Decimal::from(4));
        if paid > Decimal::ZERO {
            let what = format!("Dividend {}", self.name(index));
            let details = self.details(InvestmentKind::Cash, Some("dividend"), day, -paid, &what);
            self.happen(Some(index), details);
        }
    }

    /// Funds trade for nothing.
    fn commission(&self, index: usize) -> Decimal {
        if index < 3 { Decimal::ZERO } else { Decimal::new(COMMISSION, 2) }
    }

    fn name(&self, index: usize) -> String {
        self.market.details(self.today).nth(index).map_or_else(|| CASH.to_owned(), |details| details.name)
    }

    fn details(
        &self,
        kind: InvestmentKind,
        subtype: Option<&str>,
        date: Date,
        amount: Decimal,
        description: &str,
    ) -> InvestmentTransactionDetails {
        InvestmentTransactionDetails {
            amount: money(amount),
            date,
            datetime: None,
            description: description.to_owned(),
            kind,
            subtype: subtype.map(str::to_owned),
            fees: None,
            forex_rate: None,
            price: None,
            quantity: None,
        }
    }

    /// Books it, unless its day has not come; says whether it did.
    fn happen(&mut self, security: Option<usize>, details: InvestmentTransactionDetails) -> bool {
        if details.date > self.today {
            return false;
        }
        self.position.cash -= details.amount;
        let about = security.map_or(CASH, |index| self.market.security(index).key);
        self.position.transactions.push(BankInvestmentTransaction {
            account_key: self.account.key.clone(),
            upstream_key: Some(format!("{}-{}-{about}", details.date, details.dotted_type())),
            security_key: security.map(|index| self.market.security(index).key.to_owned()),
            details,
        });
        true
    }
}

fn traded(
    details: InvestmentTransactionDetails,
    price: Decimal,
    quantity: Decimal,
    fees: Decimal,
) -> InvestmentTransactionDetails {
    let fees = (!fees.is_zero()).then_some(fees);
    InvestmentTransactionDetails { price: Some(price), quantity: Some(quantity), fees, ..details }
}

fn rounded_down(quantity: Decimal) -> Decimal {
    quantity.round_dp_with_strategy(QUANTITY_DIGITS, RoundingStrategy::ToZero)
}
