//! Which accounts a simulated person has.

use passbook_core::{account::AccountType, account_numbers::AccountNumbers, institution::Country};

use super::{
    bank::Bank,
    ledger::Role,
    numbers::{account_number, mask, payment_numbers},
    stream::PersonKey,
};

/// An account at a simulated bank.
pub(super) struct Holding {
    /// Stable key, free of account numbers.
    pub(super) key: String,
    pub(super) account_type: AccountType,
    pub(super) name: String,
    pub(super) mask: Option<String>,
    /// Empty where the type has none.
    pub(super) numbers: AccountNumbers,
    /// Which household's ledger it shows; `None`: an account whose bank reports a balance and no transactions.
    pub(super) ledger: Option<(u64, Role)>,
}

struct Template {
    key: &'static str,
    account_type: &'static str,
    /// Display names in the United States, Canada and the United Kingdom.
    names: [&'static str; 3],
    ledger: Option<(u64, Role)>,
}

/// The first three are everybody's, the last two also `user_investor`'s; all of them are `user_many`'s.
const TEMPLATES: [Template; 14] = [
    template(
        "checking",
        "depository.checking",
        ["Everyday Checking", "Everyday Chequing", "Everyday Current Account"],
        Some((0, Role::Checking)),
    ),
    template(
        "savings",
        "depository.savings",
        ["High-Yield Savings", "High-Interest Savings", "Instant Saver"],
        Some((0, Role::Savings)),
    ),
    template(
        "credit_card",
        "liability.credit_card",
        ["Rewards Credit Card", "Rewards Credit Card", "Rewards Credit Card"],
        Some((0, Role::Card)),
    ),
    template(
        "checking_2",
        "depository.checking",
        ["Household Checking", "Household Chequing", "Household Current Account"],
        Some((1, Role::Checking)),
    ),
    template(
        "savings_2",
        "depository.savings",
        ["Rainy Day Savings", "Rainy Day Savings", "Rainy Day Saver"],
        Some((1, Role::Savings)),
    ),
    template(
        "credit_card_2",
        "liability.credit_card",
        ["Travel Credit Card", "Travel Credit Card", "Travel Credit Card"],
        Some((1, Role::Card)),
    ),
    template(
        "checking_3",
        "depository.checking",
        ["Side Business Checking", "Side Business Chequing", "Side Business Account"],
        Some((2, Role::Checking)),
    ),
    template(
        "money_market",
        "depository.money_market",
        ["Money Market", "Premium Money Market", "Reserve Saver"],
        None,
    ),
    template("cd", "depository.cd", ["12-Month CD", "1-Year GIC", "1-Year Fixed Bond"], None),
    template("line_of_credit", "liability.line_of_credit", ["Home Equity Line", "Line of Credit", "Credit Line"], None),
    template("auto_loan", "liability.auto_loan", ["Auto Loan", "Car Loan", "Car Finance"], None),
    template("mortgage", "liability.mortgage", ["Home Mortgage", "Home Mortgage", "Home Mortgage"], None),
    template("brokerage", "investment.brokerage", ["Brokerage", "Self-Directed Investing", "Share Dealing"], None),
    template("retirement", "investment.retirement", ["Retirement Account", "RRSP", "Personal Pension"], None),
];

const fn template(
    key: &'static str,
    account_type: &'static str,
    names: [&'static str; 3],
    ledger: Option<(u64, Role)>,
) -> Template {
    Template { key, account_type, names, ledger }
}

/// Checking, savings and a credit card.
pub(super) fn usual(bank: &Bank, key: &PersonKey) -> Vec<Holding> {
    open(&TEMPLATES[..3], bank, key)
}

/// The usual accounts, a brokerage account and one for retirement.
pub(super) fn investor(bank: &Bank, key: &PersonKey) -> Vec<Holding> {
    let mut accounts = usual(bank, key);
    accounts.extend(open(&TEMPLATES[12..], bank, key));
    accounts
}

/// Accounts of many types.
pub(super) fn many(bank: &Bank, key: &PersonKey) -> Vec<Holding> {
    open(&TEMPLATES, bank, key)
}

fn open(templates: &[Template], bank: &Bank, key: &PersonKey) -> Vec<Holding> {
    let language = match bank.country {
        Country::Us => 0,
        Country::Ca => 1,
        Country::Gb => 2,
    };
    templates
        .iter()
        .map(|template| {
            let account_type = AccountType::new(template.account_type);
            let number = account_number(bank, key, template.key, &account_type);
            Holding {
                key: template.key.to_owned(),
                name: template.names[language].to_owned(),
                mask: mask(&number),
                numbers: payment_numbers(bank, key, &account_type, number),
                account_type,
                ledger: template.ledger,
            }
        })
        .collect()
}
