//! Imports (`/links/import`, `/links/{id}/import/transactions`): links made of data the app already has.

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{AccountBalances, CustomerUser, ImportAmount, InstitutionId, Provider};
use crate::wire::{redact::debug_redacted, timestamp};

/// A link made of the app's own data. At least one account; at most a megabyte, which is about 4000 transactions.
///
/// ```
/// use jiff::civil::date;
/// use moneykit::models::{AccountImportData, ImportAmount, ImportLinkRequest, TransactionImportData};
/// use rust_decimal::Decimal;
///
/// let coffee = ImportAmount::from_credit_positive(Decimal::new(-710, 2));
/// let request = ImportLinkRequest::new("user-17", "mx.chase")
///     .account(AccountImportData::new("our-account-1", "Everyday", "checking").mask("6789"))
///     .transaction(TransactionImportData::new("our-account-1", coffee, date(2024, 1, 9)).description("Coffee"));
/// assert_eq!(request.transactions[0].amount.to_string(), "-7.10");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportLinkRequest {
    /// The end user.
    pub customer_user: CustomerUser,
    /// Where the data came from, if known.
    #[serde(default)]
    pub provider: Option<Provider>,
    /// An institution's id, or a provider's id for it with the provider's name before a dot: `mx.chase`.
    pub institution_id: InstitutionId,
    /// Accounts, at least one.
    pub accounts: Vec<AccountImportData>,
    /// Transactions of these accounts.
    pub transactions: Vec<TransactionImportData>,
}

impl ImportLinkRequest {
    /// An import for this user at this institution. It still needs an account.
    pub fn new(customer_user: impl Into<CustomerUser>, institution_id: impl Into<InstitutionId>) -> Self {
        Self {
            customer_user: customer_user.into(),
            provider: None,
            institution_id: institution_id.into(),
            accounts: Vec::new(),
            transactions: Vec::new(),
        }
    }

    /// Says where the data came from.
    #[must_use]
    pub fn provider(mut self, provider: Provider) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Adds an account.
    #[must_use]
    pub fn account(mut self, account: AccountImportData) -> Self {
        self.accounts.push(account);
        self
    }

    /// Adds a transaction.
    #[must_use]
    pub fn transaction(mut self, transaction: TransactionImportData) -> Self {
        self.transactions.push(transaction);
        self
    }

    /// Adds accounts.
    #[must_use]
    pub fn accounts(mut self, accounts: impl IntoIterator<Item = AccountImportData>) -> Self {
        self.accounts.extend(accounts);
        self
    }

    /// Adds transactions.
    #[must_use]
    pub fn transactions(mut self, transactions: impl IntoIterator<Item = TransactionImportData>) -> Self {
        self.transactions.extend(transactions);
        self
    }
}

/// Transactions to add to an imported link. One that was sent before, with the same `transaction_id` and account, is
/// updated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportTransactionsRequest {
    /// Transactions.
    pub transactions: Vec<TransactionImportData>,
}

impl ImportTransactionsRequest {
    /// Adds these transactions.
    pub fn new(transactions: impl IntoIterator<Item = TransactionImportData>) -> Self {
        Self { transactions: transactions.into_iter().collect() }
    }
}

/// One account of an import. `Debug` hides its names, mask and the caller's id.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountImportData {
    /// The caller's own id, unique in the import; shown later as `original_id`.
    pub account_id: String,
    /// Display name.
    pub name: String,
    /// The user's name for it.
    #[serde(default)]
    pub nickname: Option<String>,
    /// Any text; the server makes an account type of it. `type` on the wire.
    #[serde(rename = "type")]
    pub account_type: String,
    /// Last four characters of the account number, by which a later reconnect finds the account again.
    #[serde(default)]
    pub mask: Option<String>,
    /// Balances.
    pub balances: AccountBalances,
}

debug_redacted!(AccountImportData { show: [account_type, balances], hide: [account_id, name, nickname, mask] });

impl AccountImportData {
    /// An account by the caller's id, its name, and its type in any words. Balances are unknown.
    pub fn new(account_id: impl Into<String>, name: impl Into<String>, account_type: impl Into<String>) -> Self {
        Self {
            account_id: account_id.into(),
            name: name.into(),
            nickname: None,
            account_type: account_type.into(),
            mask: None,
            balances: AccountBalances::default(),
        }
    }

    /// Sets the user's name for it.
    #[must_use]
    pub fn nickname(mut self, nickname: impl Into<String>) -> Self {
        self.nickname = Some(nickname.into());
        self
    }

    /// Sets the last four characters of the account number.
    #[must_use]
    pub fn mask(mut self, mask: impl Into<String>) -> Self {
        self.mask = Some(mask.into());
        self
    }

    /// Sets the balances.
    #[must_use]
    pub fn balances(mut self, balances: AccountBalances) -> Self {
        self.balances = balances;
        self
    }
}

/// One transaction of an import. `Debug` hides what was paid and to whom.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionImportData {
    /// The `account_id` of one of the imported accounts.
    pub account_id: String,
    /// The caller's own id; shown later as `original_id`.
    #[serde(default)]
    pub transaction_id: Option<String>,
    /// What it moved: positive enters the account.
    pub amount: ImportAmount,
    /// When it took effect.
    pub date: ModelDate,
    /// Description.
    #[serde(default)]
    pub description: Option<String>,
    /// Type or category in any words; `type` on the wire.
    #[serde(default, rename = "type")]
    pub transaction_type: Option<String>,
}

debug_redacted!(TransactionImportData {
    show: [date],
    hide: [account_id, transaction_id, amount, description, transaction_type]
});

impl TransactionImportData {
    /// A transaction of an imported account.
    pub fn new(account_id: impl Into<String>, amount: ImportAmount, date: impl Into<ModelDate>) -> Self {
        Self {
            account_id: account_id.into(),
            transaction_id: None,
            amount,
            date: date.into(),
            description: None,
            transaction_type: None,
        }
    }

    /// Sets the caller's own id, by which the server knows it again when it is sent once more.
    #[must_use]
    pub fn transaction_id(mut self, id: impl Into<String>) -> Self {
        self.transaction_id = Some(id.into());
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets the type or category.
    #[must_use]
    pub fn transaction_type(mut self, transaction_type: impl Into<String>) -> Self {
        self.transaction_type = Some(transaction_type.into());
        self
    }
}

/// A date, or a date with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelDate {
    /// A date.
    Date(Date),
    /// An instant.
    DateTime(Timestamp),
}

impl From<Date> for ModelDate {
    fn from(date: Date) -> Self {
        Self::Date(date)
    }
}

impl From<Timestamp> for ModelDate {
    fn from(instant: Timestamp) -> Self {
        Self::DateTime(instant)
    }
}

impl Serialize for ModelDate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Date(date) => serializer.collect_str(date),
            Self::DateTime(instant) => timestamp::serialize(instant, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ModelDate {
    /// Text of ten characters is a date; anything longer has a time.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const DATE_LENGTH: usize = "2024-01-09".len();
        let text = String::deserialize(deserializer)?;
        let date = if text.len() <= DATE_LENGTH {
            text.parse().map(Self::Date).ok()
        } else {
            timestamp::parse(&text).map(Self::DateTime)
        };
        date.ok_or_else(|| de::Error::custom("expected an ISO 8601 date or date-time"))
    }
}
