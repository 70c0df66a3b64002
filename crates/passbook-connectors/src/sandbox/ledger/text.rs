//! How the banks of each country word a transaction: cleaned for people, and raw as on a statement.

use passbook_core::institution::Country;

use super::{
    entry::{Cause, Entry},
    household::Household,
};

/// The cleaned and the raw description.
pub(super) fn describe(household: &Household, entry: &Entry) -> (String, String) {
    let words = Words::of(household.country);
    let raw = |prefix: &str, party: &str| format!("{prefix} {}", party.to_uppercase());
    let at_store = |merchant: &str, store: u64| {
        format!("{} #{store:04} {}", merchant.to_uppercase(), household.city.to_uppercase())
    };
    let enters = entry.cents > 0;
    match entry.cause {
        Cause::Purchase { merchant, store } => (merchant.to_owned(), at_store(merchant, store)),
        Cause::Subscription { merchant } => (merchant.to_owned(), raw("RECURRING", merchant)),
        Cause::Refund { merchant, store } => (format!("{merchant} refund"), raw("REFUND", &at_store(merchant, store))),
        Cause::CardPayment if enters => ("Payment, thank you".to_owned(), "PAYMENT RECEIVED - THANK YOU".to_owned()),
        Cause::CardPayment => ("Credit card payment".to_owned(), raw(words.debit, "CREDIT CARD PAYMENT")),
        Cause::Salary => (format!("{} payroll", household.employer), raw(words.payroll, household.employer)),
        Cause::Rent => (format!("Rent, {}", household.landlord), raw(words.standing_order, household.landlord)),
        Cause::Utility => (household.utility.to_owned(), raw(words.debit, household.utility)),
        Cause::Phone => (household.phone_company.to_owned(), raw(words.debit, household.phone_company)),
        Cause::Cash => ("Cash withdrawal".to_owned(), raw(words.cash, household.city)),
        Cause::PersonToPerson if enters => ("Payment from a friend".to_owned(), format!("{} RECEIVED", words.person)),
        Cause::PersonToPerson => ("Payment to a friend".to_owned(), format!("{} SENT", words.person)),
        Cause::Interest => ("Interest".to_owned(), words.interest.to_owned()),
        Cause::Transfer { counterpart } => transfer(enters, counterpart),
    }
}

fn transfer(enters: bool, counterpart: &str) -> (String, String) {
    let direction = if enters { "from" } else { "to" };
    let text = format!("Transfer {direction} {counterpart}");
    let raw = format!("ONLINE {}", text.to_uppercase());
    (text, raw)
}

struct Words {
    payroll: &'static str,
    debit: &'static str,
    standing_order: &'static str,
    cash: &'static str,
    person: &'static str,
    interest: &'static str,
}

impl Words {
    fn of(country: Country) -> Self {
        match country {
            Country::Us => Self {
                payroll: "ACH CREDIT PAYROLL",
                debit: "ACH DEBIT",
                standing_order: "BILL PAY",
                cash: "ATM WITHDRAWAL",
                person: "P2P PAYMENT",
                interest: "INTEREST PAID",
            },
            Country::Ca => Self {
                payroll: "PAYROLL DEPOSIT",
                debit: "PREAUTHORIZED DEBIT",
                standing_order: "BILL PAYMENT",
                cash: "ABM WITHDRAWAL",
                person: "E-TRANSFER",
                interest: "INTEREST CREDIT",
            },
            Country::Gb => Self {
                payroll: "BGC SALARY",
                debit: "DIRECT DEBIT",
                standing_order: "STANDING ORDER",
                cash: "CASH MACHINE",
                person: "FASTER PAYMENT",
                interest: "GROSS INTEREST",
            },
        }
    }
}
