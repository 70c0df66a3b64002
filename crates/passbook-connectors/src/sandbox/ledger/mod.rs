//! The bank's books: balances and transactions of a person's accounts at any instant.
//!
//! Nothing is stored. A `household` says what happens in each month; this module places the instant in it. An item is
//! pending from its initiation until it posts, under a key of its own, because banks issue a new key on posting. Once
//! posted it never changes.

mod calendar;
mod entry;
mod household;
mod text;

use jiff::{Span, Timestamp, civil::Date};
use passbook_core::{
    account::Balances,
    snapshot::BankTransaction,
    transaction::{Direction, TransactionDetails},
};
use rust_decimal::Decimal;

pub(super) use self::calendar::date_of;
use self::{
    calendar::{Month, month_index},
    entry::{Cause, Entry},
    household::Household,
};
use super::{bank::Bank, portfolio::Holding, stream::PersonKey};

pub(super) use household::Role;

/// How far back a bank shows the transactions of a busy household.
const HISTORY_MONTHS: i64 = 24;
/// How far back it shows those of a quiet one.
const QUIET_HISTORY_DAYS: i64 = 90;
/// How many households of one person have transactions; further accounts have a balance only. Bounds the work and the
/// size of a fetch of custom data.
pub(super) const HOUSEHOLDS_MAX: u64 = 8;

/// How much happens on a person's accounts, and how much of it the bank shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// Between 25 and 45 transactions over the last 90 days, the first and the last day included.
    Quiet,
    /// 20 to 32 transactions a month, over the last 24 months.
    Busy,
}

impl Activity {
    /// The first date of the history that a bank shows at `now`.
    pub(super) fn window_start(self, now: Timestamp) -> Date {
        let span = match self {
            Self::Quiet => Span::new().days(QUIET_HISTORY_DAYS),
            Self::Busy => Span::new().months(HISTORY_MONTHS),
        };
        date_of(now).saturating_sub(span)
    }
}

/// The books of one person at one bank.
pub(super) struct Books<'a> {
    pub(super) bank: &'a Bank,
    pub(super) key: &'a PersonKey,
    activity: Activity,
}

impl<'a> Books<'a> {
    /// Opens the books.
    pub(super) fn of(bank: &'a Bank, key: &'a PersonKey, activity: Activity) -> Self {
        Self { bank, key, activity }
    }

    /// The first date of the history shown at `now`.
    pub(super) fn window_start(&self, now: Timestamp) -> Date {
        self.activity.window_start(now)
    }

    fn household(&self, number: u64) -> Household {
        Household::derive(self.bank, self.key, number, self.activity)
    }

    /// The account's balances at `now`: `current` counts posted items, `available` also holds back pending ones that
    /// take money away.
    pub(super) fn balances(&self, holding: &Holding, now: Timestamp) -> Balances {
        let standing = match holding.ledger {
            Some((number, role)) => self.moving(number, role, now),
            None => self.resting(holding),
        };
        Balances {
            currency: Some(self.bank.currency().to_owned()),
            available: standing.available.map(money),
            current: Some(money(standing.current)),
            limit: standing.limit.map(money),
            balance_date: Some(now),
        }
    }

    fn moving(&self, number: u64, role: Role, now: Timestamp) -> Standing {
        let household = self.household(number);
        let month = month_index(date_of(now));
        let now = now.as_second();
        let mut posted = household.opening_balance(role, month);
        let mut held = 0;
        // An item waits at most a week, so whatever is pending posts in this month or the next.
        for entry in (month..=month + 1).flat_map(|index| household.entries(role, index)) {
            if entry.posted <= now {
                posted += entry.cents;
            } else if entry.initiated <= now {
                held += entry.cents.min(0);
            }
        }
        match role {
            Role::Checking | Role::Savings => Standing { current: posted, available: Some(posted + held), limit: None },
            Role::Card => {
                let limit = household.card_limit;
                Standing { current: -posted, available: Some(limit + posted + held), limit: Some(limit) }
            }
        }
    }

    /// A balance that stands still.
    fn resting(&self, holding: &Holding) -> Standing {
        let mut stream = self.key.stream("balance", &holding.key);
        // In major units, drawn to the cent.
        let mut between = |low: i64, high: i64| stream.between(low * 100, high * 100);
        match holding.account_type.0.as_str() {
            "liability.mortgage" => Standing::fixed(between(80_000, 420_000)),
            "liability.credit_card" | "liability.line_of_credit" => {
                let (limit, owed) = (between(10_000, 40_000) / 100_000 * 100_000, between(0, 9_000));
                Standing { current: owed, available: Some(limit - owed), limit: Some(limit) }
            }
            _ if holding.account_type.is_liability() => Standing::fixed(between(4_000, 38_000)),
            _ if holding.account_type.is_depository() => {
                let current = between(1_000, 25_000);
                Standing { current, available: Some(current), limit: None }
            }
            _ => Standing::fixed(between(5_000, 180_000)),
        }
    }

    /// The account's transactions of the history that ends at `now`, oldest first by month.
    pub(super) fn transactions(&self, holding: &Holding, now: Timestamp) -> Vec<BankTransaction> {
        let Some((number, role)) = holding.ledger else { return Vec::new() };
        let household = self.household(number);
        let start = self.window_start(now);
        let mut items = Vec::with_capacity(512);
        for index in month_index(start)..=month_index(date_of(now)) + 1 {
            let Some(month) = Month::at(index) else { continue };
            for (position, entry) in household.entries(role, index).iter().enumerate() {
                let Some(state) = State::of(entry, now) else { continue };
                let Some(details) = self.details(&household, entry, state) else { continue };
                if details.date >= start {
                    let mark = if state == State::Pending { 'P' } else { 'T' };
                    items.push(BankTransaction {
                        account_key: holding.key.clone(),
                        upstream_key: Some(format!("{mark}{}-{position:02}", month.digits())),
                        replaces: None,
                        details,
                    });
                }
            }
        }
        items
    }

    /// `None` only where a date falls out of the representable years.
    fn details(&self, household: &Household, entry: &Entry, state: State) -> Option<TransactionDetails> {
        let shown = if state == State::Pending { entry.initiated } else { entry.posted };
        let date = date_of(Timestamp::from_second(shown).ok()?);
        let datetime = match entry.cause {
            // The terminal's clock; other bookings have a day only.
            Cause::Purchase { .. } | Cause::Subscription { .. } => Some(Timestamp::from_second(entry.initiated).ok()?),
            _ => None,
        };
        let (amount, direction) = Direction::split(money(entry.cents));
        let (description, raw_description) = text::describe(household, entry);
        Some(TransactionDetails {
            amount,
            direction,
            currency: self.bank.currency().to_owned(),
            date,
            datetime,
            description: Some(description),
            raw_description: Some(raw_description),
            pending: state == State::Pending,
        })
    }
}

/// Balances in minor units; what is owed is positive on liabilities.
struct Standing {
    current: i64,
    available: Option<i64>,
    limit: Option<i64>,
}

impl Standing {
    /// A value that nothing can be drawn from: a loan, an investment.
    fn fixed(current: i64) -> Self {
        Self { current, available: None, limit: None }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Posted,
}

impl State {
    /// `None`: it has not happened yet.
    fn of(entry: &Entry, now: Timestamp) -> Option<Self> {
        let now = now.as_second();
        match () {
            () if entry.posted <= now => Some(Self::Posted),
            () if entry.initiated <= now => Some(Self::Pending),
            () => None,
        }
    }
}

fn money(cents: i64) -> Decimal {
    Decimal::new(cents, 2)
}
