//! What a household earns and spends: the transactions of one checking account, one savings account and one credit card
//! that belong together, month by month.
//!
//! A month's entries depend on nothing but the household and the month, so any window of time can be written without
//! replaying what came before. Three rules tie the accounts together and keep balances bounded for ever, so that the
//! balance shown always equals an earlier balance plus what was posted in between:
//!
//! - on the 20th, checking pays off everything the card posted in the month before;
//! - on the 2nd, what checking gained in the month before moves to savings (or back, after a bad month);
//! - on the 5th of each quarter, what savings gained in the quarter before moves to an investment elsewhere.
//!
//! A quiet household has the same rules and fewer entries: one salary a month, rent, one bill, interest once a quarter,
//! and a card purchase every six days. Three months of it fit on one page of the API.
//!
//! Only those of the three accounts that the person holds are shown; for the others the money goes "elsewhere".

use passbook_core::institution::Country;

use super::{
    Activity,
    calendar::{Month, quarter_start},
    entry::{Cause, Entry, HOUR, booking, total},
};
use crate::sandbox::{
    bank::Bank,
    person::home,
    stream::{PersonKey, Stream},
    vocabulary::merchants::{
        DINING, EMPLOYERS, FUEL, GROCERIES, LANDLORDS, PHONE_COMPANIES, SHOPPING, SUBSCRIPTIONS, Trade, UTILITIES,
    },
};

/// When banks post card purchases.
const CARD_BOOKING_TIME: i64 = 6 * HOUR;

const SWEEP_DAY: i64 = 2;
const INVESTMENT_DAY: i64 = 5;
const CARD_PAYMENT_DAY: i64 = 20;
const REFUND_DAYS_LATER: i64 = 7;
/// Days between two bookings of a quiet household's card, counted through months and years.
const QUIET_RHYTHM: i64 = 6;
/// How long a quiet household's card purchase is pending: a day more than the rhythm, so that at any instant at least
/// one is.
const QUIET_WAIT_DAYS: i64 = QUIET_RHYTHM + 1;

/// Which of the household's ledgers an account shows. The discriminants count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Role {
    /// Income, rent and bills.
    Checking,
    /// What is left over.
    Savings,
    /// Daily spending.
    Card,
}

/// Habits that stay the same every month. Money is in minor units.
pub(super) struct Household {
    pub(super) country: Country,
    pub(super) city: &'static str,
    pub(super) employer: &'static str,
    pub(super) landlord: &'static str,
    pub(super) utility: &'static str,
    pub(super) phone_company: &'static str,
    subscriptions: [(&'static str, i64); 2],
    salary: i64,
    rent: i64,
    phone_bill: i64,
    checking_base: i64,
    savings_base: i64,
    /// Credit limit of the card.
    pub(super) card_limit: i64,
    activity: Activity,
    stream: Stream,
}

impl Household {
    /// The person's `number`-th household, from 0.
    pub(super) fn derive(bank: &Bank, key: &PersonKey, number: u64, activity: Activity) -> Self {
        let mut stream = key.stream("household", &number.to_string());
        let history = stream.fork(0);
        let salary = stream.between(3_600, 7_800) * 100;
        let rent = salary * stream.between(24, 33) / 100 / 500 * 500;
        let first_subscription = stream.below(SUBSCRIPTIONS.len() as u64) as usize;
        let step = 1 + stream.below(SUBSCRIPTIONS.len() as u64 - 1) as usize;
        Self {
            country: bank.country,
            city: home(key, bank.country).city,
            employer: *stream.pick(&EMPLOYERS),
            landlord: *stream.pick(&LANDLORDS),
            utility: *stream.pick(&UTILITIES),
            phone_company: *stream.pick(&PHONE_COMPANIES),
            subscriptions: [0, step].map(|step| SUBSCRIPTIONS[(first_subscription + step) % SUBSCRIPTIONS.len()]),
            salary,
            rent,
            phone_bill: stream.between(28, 84) * 100 + 99,
            // Room for rent and bills before the first salary of a month.
            checking_base: rent + stream.between(250_000, 700_000),
            savings_base: stream.between(400_000, 4_000_000),
            card_limit: stream.between(10, 40) * 50_000,
            activity,
            stream: history,
        }
    }

    /// Everything that posts to the `role` account in a month. The order is fixed: an entry's position names it.
    pub(super) fn entries(&self, role: Role, index: i64) -> Vec<Entry> {
        let Some(month) = Month::at(index) else { return Vec::new() };
        let mut entries = match role {
            Role::Checking => self.checking_routine(&month, index),
            Role::Savings => vec![booking(&month, month.days, self.interest(index), Cause::Interest)],
            Role::Card => self.card_spending(&month, index),
        };
        match role {
            Role::Checking => {
                entries.push(booking(&month, CARD_PAYMENT_DAY, -self.card_total(index - 1), Cause::CardPayment));
                let cause = Cause::Transfer { counterpart: "savings" };
                entries.push(booking(&month, SWEEP_DAY, -self.surplus(index - 1), cause));
            }
            Role::Savings => {
                let cause = Cause::Transfer { counterpart: self.checking_word() };
                entries.push(booking(&month, SWEEP_DAY, self.surplus(index - 1), cause));
                if quarter_start(index) == index {
                    let gained = self.quarter_gain(index - 3);
                    let cause = Cause::Transfer { counterpart: "investment account" };
                    entries.push(booking(&month, INVESTMENT_DAY, -gained, cause));
                }
            }
            Role::Card => {
                entries.push(booking(&month, CARD_PAYMENT_DAY, self.card_total(index - 1), Cause::CardPayment));
            }
        }
        entries.retain(|entry| entry.cents != 0);
        entries
    }

    /// The balance of the `role` account at the start of a month, as money the person has (negative on the card).
    pub(super) fn opening_balance(&self, role: Role, index: i64) -> i64 {
        match role {
            Role::Checking => self.checking_base + self.surplus(index - 1),
            Role::Savings => {
                let quarter = quarter_start(index);
                let posted = (quarter..index).flat_map(|earlier| self.entries(role, earlier));
                self.savings_base + self.quarter_gain(quarter - 3) + total(&posted.collect::<Vec<_>>())
            }
            Role::Card => -self.card_total(index - 1),
        }
    }

    fn checking_routine(&self, month: &Month, index: i64) -> Vec<Entry> {
        match self.activity {
            Activity::Quiet => self.quiet_checking(month, index),
            Activity::Busy => self.busy_checking(month, index),
        }
    }

    fn quiet_checking(&self, month: &Month, index: i64) -> Vec<Entry> {
        let mut stream = self.stream.fork(1).fork(index as u64);
        let pay_day = if self.country == Country::Gb { 28 } else { month.days };
        vec![
            booking(month, pay_day, self.salary, Cause::Salary),
            booking(month, 1, -self.rent, Cause::Rent),
            booking(month, 8, -stream.between(6_200, 18_900), Cause::Utility),
        ]
    }

    fn busy_checking(&self, month: &Month, index: i64) -> Vec<Entry> {
        let mut stream = self.stream.fork(1).fork(index as u64);
        let mut entries = Vec::with_capacity(12);
        match self.country {
            Country::Us | Country::Ca => {
                entries.push(booking(month, 15, self.salary / 2, Cause::Salary));
                entries.push(booking(month, month.days, self.salary / 2, Cause::Salary));
            }
            Country::Gb => entries.push(booking(month, 28, self.salary, Cause::Salary)),
        }
        entries.push(booking(month, 1, -self.rent, Cause::Rent));
        entries.push(booking(month, 8, -stream.between(6_200, 18_900), Cause::Utility));
        entries.push(booking(month, 12, -self.phone_bill, Cause::Phone));
        entries.push(booking(month, stream.between(3, 27), -stream.between(1, 6) * 2_000, Cause::Cash));
        if stream.chance(60) {
            let amount = stream.between(800, 14_000);
            entries.push(booking(month, stream.between(4, 26), -amount, Cause::PersonToPerson));
        }
        if stream.chance(30) {
            let amount = stream.between(1_000, 20_000);
            entries.push(booking(month, stream.between(4, 26), amount, Cause::PersonToPerson));
        }
        entries
    }

    fn card_spending(&self, month: &Month, index: i64) -> Vec<Entry> {
        match self.activity {
            Activity::Quiet => self.quiet_card(month, index),
            Activity::Busy => self.busy_card(month, index),
        }
    }

    /// One purchase every six days, the second of a month a subscription.
    fn quiet_card(&self, month: &Month, index: i64) -> Vec<Entry> {
        let mut stream = self.stream.fork(2).fork(index as u64);
        let days = (1..=month.days).filter(|day| month.day_number(*day).rem_euclid(QUIET_RHYTHM) == 0);
        days.enumerate()
            .map(|(position, day)| {
                let initiated = month.instant(day - QUIET_WAIT_DAYS, 12 * HOUR + stream.between(0, 12 * HOUR - 1));
                let posted = month.instant(day, CARD_BOOKING_TIME);
                if position == 1 {
                    let (merchant, price) = self.subscriptions[0];
                    return Entry { initiated, posted, cents: -price, cause: Cause::Subscription { merchant } };
                }
                let (_, cents, merchant, store) = purchase(&mut stream);
                Entry { initiated, posted, cents, cause: Cause::Purchase { merchant, store } }
            })
            .collect()
    }

    /// Purchases post on every second day, two to three days after they were made, so that at any instant at least one
    /// is pending; the odd last day of a month closes the gap to the 2nd of the next.
    fn busy_card(&self, month: &Month, index: i64) -> Vec<Entry> {
        let mut stream = self.stream.fork(2).fork(index as u64);
        let mut entries = Vec::with_capacity(20);
        let days = (1..=month.days).filter(|day| day % 2 == 0 || *day == month.days);
        for day in days {
            let subscription = match day {
                6 => Some(self.subscriptions[0]),
                18 => Some(self.subscriptions[1]),
                _ => None,
            };
            let initiated = month.instant(day - 3, 12 * HOUR + stream.between(0, 12 * HOUR - 1));
            let posted = month.instant(day, CARD_BOOKING_TIME);
            if let Some((merchant, price)) = subscription {
                entries.push(Entry { initiated, posted, cents: -price, cause: Cause::Subscription { merchant } });
                continue;
            }
            let (trade, cents, merchant, store) = purchase(&mut stream);
            entries.push(Entry { initiated, posted, cents, cause: Cause::Purchase { merchant, store } });
            // Within the month, so that a month never ends with the bank owing money.
            if day + REFUND_DAYS_LATER <= month.days && stream.chance(trade.returned_percent) {
                let cause = Cause::Refund { merchant, store };
                entries.push(booking(month, day + REFUND_DAYS_LATER, -cents, cause));
            }
        }
        entries
    }

    fn checking_word(&self) -> &'static str {
        match self.country {
            Country::Us => "checking",
            Country::Ca => "chequing",
            Country::Gb => "current account",
        }
    }

    /// What the card owes for a month.
    fn card_total(&self, index: i64) -> i64 {
        Month::at(index).map_or(0, |month| -total(&self.card_spending(&month, index)))
    }

    /// What checking gained in a month before the sweep.
    fn surplus(&self, index: i64) -> i64 {
        Month::at(index).map_or(0, |month| total(&self.checking_routine(&month, index)) - self.card_total(index - 1))
    }

    fn interest(&self, index: i64) -> i64 {
        let months = match self.activity {
            Activity::Busy => 1,
            Activity::Quiet if quarter_start(index) + 2 == index => 3,
            Activity::Quiet => 0,
        };
        let per_hundred_thousand = self.stream.fork(3).fork(index as u64).between(280, 340);
        months * self.savings_base * per_hundred_thousand / 100_000
    }

    /// What savings gained in the quarter that starts with `quarter`, the transfer to the investment left out.
    fn quarter_gain(&self, quarter: i64) -> i64 {
        (quarter..quarter + 3).map(|index| self.surplus(index - 1) + self.interest(index)).sum()
    }
}

/// Where, how much (negative), at whom and in which shop.
fn purchase(stream: &mut Stream) -> (&'static Trade, i64, &'static str, u64) {
    let trade = choose_trade(stream);
    let merchant = *stream.pick(trade.merchants);
    // Two throws make small purchases more common than large ones.
    let cents = -stream.between(trade.cost.0, trade.cost.1).min(stream.between(trade.cost.0, trade.cost.1));
    (trade, cents, merchant, stream.below(9_999) + 1)
}

fn choose_trade(stream: &mut Stream) -> &'static Trade {
    match stream.below(20) {
        0..8 => &GROCERIES,
        8..14 => &DINING,
        14..17 => &FUEL,
        _ => &SHOPPING,
    }
}
