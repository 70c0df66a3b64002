//! Investments (`/links/{id}/investments`): holdings, what they are holdings of, and what was bought and sold.

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{AccountId, AccountResponse, InvestmentAmount, InvestmentTransactionId, LinkCommon, SecurityId};
use crate::wire::{decimal, open_enum::open_enum, redact::debug_redacted, timestamp};

open_enum! {
    /// Kind of a security.
    SecurityType {
        /// Money.
        Cash = "cash",
        /// A crypto currency.
        Crypto = "crypto",
        /// An option, a future and the like.
        Derivative = "derivative",
        /// A share.
        Equity = "equity",
        /// An exchange traded fund.
        Etf = "etf",
        /// A bond.
        Bond = "bond",
        /// A loan.
        Loan = "loan",
        /// A fund.
        Fund = "fund",
        /// The contract's own word `unknown`: the kind is not known. Not to be confused with `Unknown`.
        UnknownType = "unknown",
    }
}

open_enum! {
    /// What an investment transaction does, without its subtype.
    InvestmentTransactionKind {
        /// Buys.
        Buy = "buy",
        /// Sells.
        Sell = "sell",
        /// Moves money.
        Cash = "cash",
        /// Costs.
        Fee = "fee",
        /// Moves a position.
        Transfer = "transfer",
    }
}

/// The holdings of a link, with the securities and accounts they refer to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetHoldingsResponse {
    /// Holdings.
    pub holdings: Vec<HoldingResponse>,
    /// The securities of these holdings.
    pub securities: Vec<SecurityResponse>,
    /// The accounts of these holdings.
    pub accounts: Vec<AccountResponse>,
    /// The link they belong to.
    pub link: LinkCommon,
}

/// One page of the investment transactions of a link, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetInvestmentTransactionsResponse {
    /// Number of transactions the whole query matches.
    pub total: u64,
    /// Number of this page, from 1.
    pub page: u64,
    /// Number of transactions in this page.
    pub size: u64,
    /// Investment transactions.
    pub investment_transactions: Vec<InvestmentTransactionResponse>,
    /// The securities of these transactions.
    pub securities: Vec<SecurityResponse>,
    /// The accounts of these transactions.
    pub accounts: Vec<AccountResponse>,
    /// The link they belong to.
    pub link: LinkCommon,
}

/// One holding. `Debug` hides how much it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldingResponse {
    /// The account that holds.
    pub account_id: AccountId,
    /// What is held.
    pub security_id: SecurityId,
    /// Units.
    #[serde(with = "decimal::string")]
    pub quantity: Decimal,
    /// Price of a unit in the account's currency.
    #[serde(default, with = "decimal::string_option")]
    pub price: Option<Decimal>,
    /// When that was the price.
    #[serde(default, with = "timestamp::option")]
    pub price_datetime: Option<Timestamp>,
    /// Value of the holding in the account's currency.
    #[serde(default, with = "decimal::string_option")]
    pub value: Option<Decimal>,
    /// What the whole holding cost.
    #[serde(default, with = "decimal::string_option")]
    pub cost_basis: Option<Decimal>,
}

debug_redacted!(HoldingResponse {
    show: [account_id, security_id, price_datetime],
    hide: [quantity, price, value, cost_basis]
});

/// Reference data of a security, the same for everybody who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityResponse {
    /// Security id.
    pub security_id: SecurityId,
    /// The same id under its older name, which older clients read. Passbook sends it; it is not in the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SecurityId>,
    /// Display name.
    pub name: String,
    /// Kind; `type` on the wire.
    #[serde(rename = "type")]
    pub security_type: SecurityType,
    /// Currency it is priced in, as an ISO 4217 code.
    pub currency: String,
    /// Trading symbol.
    #[serde(default)]
    pub ticker: Option<String>,
    /// ISIN.
    #[serde(default)]
    pub isin: Option<String>,
    /// SEDOL.
    #[serde(default)]
    pub sedol: Option<String>,
    /// Price of a unit at the last close, in `currency`.
    #[serde(default, with = "decimal::string_option")]
    pub close_price: Option<Decimal>,
    /// Date of that close.
    #[serde(default)]
    pub close_date: Option<Date>,
}

/// One investment transaction. `Debug` hides what was moved.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvestmentTransactionResponse {
    /// Investment transaction id.
    pub investment_transaction_id: InvestmentTransactionId,
    /// The same id under its older name, which older clients read. Passbook sends it; it is not in the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<InvestmentTransactionId>,
    /// The account it belongs to.
    pub account_id: AccountId,
    /// What it moved: positive leaves the account. `quantity` times `price` plus `fees`, when both exist.
    pub amount: InvestmentAmount,
    /// Effective date.
    pub date: Date,
    /// Exact time when the institution gives one.
    #[serde(default, with = "timestamp::option")]
    pub datetime: Option<Timestamp>,
    /// Cleaned description.
    pub description: String,
    /// Kind, with a dotted subtype where there is one, such as `buy.buy_to_cover`; `type` on the wire. An open string:
    /// see [`kind`](Self::kind) and [`subtype`](Self::subtype).
    #[serde(rename = "type")]
    pub transaction_type: String,
    /// All fees together; refunds are negative.
    #[serde(default, with = "decimal::string_option")]
    pub fees: Option<Decimal>,
    /// Exchange rate when the currencies differ.
    #[serde(default, with = "decimal::string_option")]
    pub forex_rate: Option<Decimal>,
    /// Price of a unit in the account's currency.
    #[serde(default, with = "decimal::string_option")]
    pub price: Option<Decimal>,
    /// Units; positive adds to the account.
    #[serde(default, with = "decimal::string_option")]
    pub quantity: Option<Decimal>,
    /// What was moved, if it was a security.
    #[serde(default)]
    pub security_id: Option<SecurityId>,
}

debug_redacted!(InvestmentTransactionResponse {
    show: [investment_transaction_id, id, account_id, date, transaction_type, security_id],
    hide: [amount, datetime, description, fees, forex_rate, price, quantity]
});

impl InvestmentTransactionResponse {
    /// What it does: `transaction_type` up to its dot.
    #[must_use]
    pub fn kind(&self) -> InvestmentTransactionKind {
        let kind = self.transaction_type.split_once('.').map_or(self.transaction_type.as_str(), |(kind, _)| kind);
        InvestmentTransactionKind::from(kind)
    }

    /// The subtype: `transaction_type` from its dot on.
    #[must_use]
    pub fn subtype(&self) -> Option<&str> {
        self.transaction_type.split_once('.').map(|(_, subtype)| subtype)
    }
}
