//! Investments: securities, what is held of them, and what was bought, sold and paid.

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, InvestmentTransactionId, SecurityId};

/// Most securities kept of a link.
pub const SECURITIES_MAX: usize = 5_000;
/// Most holdings kept of a link.
pub const HOLDINGS_MAX: usize = 5_000;

/// What the investment accounts of a link hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portfolio {
    /// Securities that a holding or an investment transaction refers to, in the order in which they were first seen.
    pub securities: Vec<Security>,
    /// Holdings as last fetched, in the bank's order.
    pub holdings: Vec<Holding>,
}

/// A security as a link knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// Stable public id within the link.
    pub id: SecurityId,
    /// What the bank reported last.
    pub details: SecurityDetails,
}

/// Reference data of a security.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityDetails {
    /// The upstream's key, unique within the credential.
    pub upstream_key: String,
    /// Display name.
    pub name: String,
    /// Kind.
    pub kind: SecurityKind,
    /// ISO 4217 code of the currency it is priced in.
    pub currency: String,
    /// Trading symbol.
    pub ticker: Option<String>,
    /// ISIN (ISO 6166).
    pub isin: Option<String>,
    /// SEDOL.
    pub sedol: Option<String>,
    /// Price of a unit at the last close, in `currency`.
    pub close_price: Option<Decimal>,
    /// Day of that close.
    pub close_date: Option<Date>,
}

/// Kinds of securities; the contract's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityKind {
    /// Money.
    Cash,
    /// A crypto currency.
    Crypto,
    /// An option, a future and the like.
    Derivative,
    /// A share.
    Equity,
    /// An exchange traded fund.
    Etf,
    /// A bond.
    Bond,
    /// A loan.
    Loan,
    /// A fund.
    Fund,
    /// Something else.
    Unknown,
}

/// How much of a security an account holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The account.
    pub account_id: AccountId,
    /// What it holds.
    pub security_id: SecurityId,
    /// How much.
    pub amount: HoldingAmount,
}

/// Quantity and value of a holding, exact decimals; money is in major units of the account's currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldingAmount {
    /// Units.
    pub quantity: Decimal,
    /// Price of a unit.
    pub price: Option<Decimal>,
    /// When that was the price.
    pub price_datetime: Option<Timestamp>,
    /// Value of all units.
    pub value: Option<Decimal>,
    /// What all units cost.
    pub cost_basis: Option<Decimal>,
}

/// One current investment transaction of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvestmentTransaction {
    /// Stable public id.
    pub id: InvestmentTransactionId,
    /// The account it belongs to.
    pub account_id: AccountId,
    /// The upstream's key, unique within the account; derived from the content when the upstream has none.
    pub upstream_key: String,
    /// What was moved, if it was a security.
    pub security_id: Option<SecurityId>,
    /// What the bank reported.
    pub details: InvestmentTransactionDetails,
}

/// What a bank reports about an investment transaction. Money is in major units of the account's currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvestmentTransactionDetails {
    /// What it moved: **positive leaves the account** (contract, section 4.8), the opposite of an import. Quantity times
    /// price plus fees, when both exist.
    pub amount: Decimal,
    /// Effective date.
    pub date: Date,
    /// Exact instant, only when the bank gives one.
    pub datetime: Option<Timestamp>,
    /// Cleaned description.
    pub description: String,
    /// What it does.
    pub kind: InvestmentKind,
    /// More precisely, without the kind: `buy_to_cover`.
    pub subtype: Option<String>,
    /// All fees together; refunds are negative.
    pub fees: Option<Decimal>,
    /// Exchange rate when currencies differ.
    pub forex_rate: Option<Decimal>,
    /// Price of a unit.
    pub price: Option<Decimal>,
    /// Units; positive adds to the account.
    pub quantity: Option<Decimal>,
}

/// What an investment transaction does; the contract's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvestmentKind {
    /// Buys.
    Buy,
    /// Sells.
    Sell,
    /// Moves money.
    Cash,
    /// Costs.
    Fee,
    /// Moves a position.
    Transfer,
}

impl InvestmentKind {
    /// The contract's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
            Self::Cash => "cash",
            Self::Fee => "fee",
            Self::Transfer => "transfer",
        }
    }
}

impl InvestmentTransactionDetails {
    /// Kind and subtype in the contract's dotted form: `buy`, `cash.dividend`.
    #[must_use]
    pub fn dotted_type(&self) -> String {
        match &self.subtype {
            Some(subtype) => format!("{}.{subtype}", self.kind.as_str()),
            None => self.kind.as_str().to_owned(),
        }
    }
}
