//! Products: the kinds of data a link can offer, their settings, and how fresh each one is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::{null_as_default, open_enum::open_enum, timestamp};

open_enum! {
    /// A kind of data on offer.
    Product {
        /// Accounts and balances; always included.
        Accounts = "accounts",
        /// Payment numbers.
        AccountNumbers = "account_numbers",
        /// Account owners.
        Identity = "identity",
        /// Transactions.
        Transactions = "transactions",
        /// Holdings and investment transactions.
        Investments = "investments",
        /// Categories and merchants of transactions; cannot be requested in a session.
        Enrichment = "enrichment",
    }
}

open_enum! {
    /// Why the last refresh of a product failed.
    LinkProductError {
        /// Refreshed too often, or outside the institution's hours.
        RateLimit = "rate_limit",
        /// Access ended; the user must reconnect.
        AuthExpired = "auth_expired",
        /// The institution cannot give this data.
        NotSupported = "not_supported",
        /// The institution did not answer in time.
        Timeout = "timeout",
        /// The contract's own word `unknown`: the cause is not known. Not to be confused with `Unknown`.
        UnknownCause = "unknown",
        /// No account carries this data.
        NoAccounts = "no_accounts",
        /// The institution failed.
        InstitutionError = "institution_error",
        /// The user did not permit it at the institution.
        NoPermission = "no_permission",
    }
}

/// Refresh status of one granted product.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkProductResponse {
    /// Last successful refresh; `None` before the first. Rises with every success.
    #[serde(default, with = "timestamp::option")]
    pub refreshed_at: Option<Timestamp>,
    /// Last attempt, successful or not; `None` before the first.
    #[serde(default, with = "timestamp::option")]
    pub last_attempted_at: Option<Timestamp>,
    /// Why the last attempt failed; `None` after a success.
    #[serde(default)]
    pub error_code: Option<LinkProductError>,
    /// The same as text.
    #[serde(default)]
    pub error_message: Option<String>,
    /// Why the product cannot be refreshed now; past data stays readable.
    #[serde(default)]
    pub unavailable: Option<String>,
    /// Deprecated echo of the settings given when the product was added.
    #[serde(default)]
    pub settings: Option<ProductSettings>,
}

/// Refresh status of the transactions product.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionsLinkProduct {
    /// Last successful refresh; `None` before the first. Rises with every success.
    #[serde(default, with = "timestamp::option")]
    pub refreshed_at: Option<Timestamp>,
    /// Last attempt, successful or not; `None` before the first.
    #[serde(default, with = "timestamp::option")]
    pub last_attempted_at: Option<Timestamp>,
    /// Why the last attempt failed; `None` after a success.
    #[serde(default)]
    pub error_code: Option<LinkProductError>,
    /// The same as text.
    #[serde(default)]
    pub error_message: Option<String>,
    /// Why the product cannot be refreshed now; past data stays readable.
    #[serde(default)]
    pub unavailable: Option<String>,
    /// Deprecated echo of the settings given when the product was added.
    #[serde(default)]
    pub settings: Option<TransactionsProductSettings>,
    /// Deprecated, but required by the contract.
    pub has_history: bool,
}

/// The granted products of a link by name. A product that was not granted is left out (null reads the same).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkProducts {
    /// Accounts and balances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<LinkProductResponse>,
    /// Payment numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_numbers: Option<LinkProductResponse>,
    /// Account owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<LinkProductResponse>,
    /// Transactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactions: Option<TransactionsLinkProduct>,
    /// Holdings and investment transactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub investments: Option<LinkProductResponse>,
    /// Categories and merchants of transactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrichment: Option<LinkProductResponse>,
}

/// What every product's refresh status has in common; see [`LinkProducts::status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductRefreshStatus<'a> {
    /// Last successful refresh; `None` before the first.
    pub refreshed_at: Option<Timestamp>,
    /// Last attempt; `None` before the first.
    pub last_attempted_at: Option<Timestamp>,
    /// Why the last attempt failed; `None` after a success.
    pub error_code: Option<&'a LinkProductError>,
    /// The same as text.
    pub error_message: Option<&'a str>,
    /// Why the product cannot be refreshed now.
    pub unavailable: Option<&'a str>,
}

impl LinkProducts {
    /// Refresh status of one product; `None` when it was not granted or this release does not know it.
    #[must_use]
    pub fn status(&self, product: &Product) -> Option<ProductRefreshStatus<'_>> {
        let product = match product {
            Product::Accounts => self.accounts.as_ref()?,
            Product::AccountNumbers => self.account_numbers.as_ref()?,
            Product::Identity => self.identity.as_ref()?,
            Product::Investments => self.investments.as_ref()?,
            Product::Enrichment => self.enrichment.as_ref()?,
            Product::Transactions => return self.transactions.as_ref().map(TransactionsLinkProduct::status),
            Product::Unknown(_) => return None,
        };
        Some(product.status())
    }
}

impl LinkProductResponse {
    /// The part that all products share.
    #[must_use]
    pub fn status(&self) -> ProductRefreshStatus<'_> {
        ProductRefreshStatus {
            refreshed_at: self.refreshed_at,
            last_attempted_at: self.last_attempted_at,
            error_code: self.error_code.as_ref(),
            error_message: self.error_message.as_deref(),
            unavailable: self.unavailable.as_deref(),
        }
    }
}

impl TransactionsLinkProduct {
    /// The part that all products share.
    #[must_use]
    pub fn status(&self) -> ProductRefreshStatus<'_> {
        ProductRefreshStatus {
            refreshed_at: self.refreshed_at,
            last_attempted_at: self.last_attempted_at,
            error_code: self.error_code.as_ref(),
            error_message: self.error_message.as_deref(),
            unavailable: self.unavailable.as_deref(),
        }
    }
}

/// How one product is requested in a link session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductSettings {
    /// Offer only institutions that support the product; the user must permit it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub required: bool,
    /// For products that are not required: the user cannot opt out. Ignored when required.
    #[serde(default, deserialize_with = "null_as_default")]
    pub require_permission: bool,
    /// Fetch as soon as possible after linking; otherwise data appears only after the first refresh.
    #[serde(default, deserialize_with = "null_as_default")]
    pub prefetch: bool,
    /// Short purpose shown on the permission screen.
    #[serde(default)]
    pub reason: Option<String>,
}

/// How the transactions product is requested in a link session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionsProductSettings {
    /// Offer only institutions that support the product; the user must permit it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub required: bool,
    /// For products that are not required: the user cannot opt out. Ignored when required.
    #[serde(default, deserialize_with = "null_as_default")]
    pub require_permission: bool,
    /// Fetch as soon as possible after linking; otherwise data appears only after the first refresh.
    #[serde(default, deserialize_with = "null_as_default")]
    pub prefetch: bool,
    /// Short purpose shown on the permission screen.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The products a link session asks for. Accounts are implied and have no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductsSettings {
    /// Payment numbers.
    #[serde(default)]
    pub account_numbers: Option<ProductSettings>,
    /// Account owners.
    #[serde(default)]
    pub identity: Option<ProductSettings>,
    /// Transactions.
    #[serde(default)]
    pub transactions: Option<TransactionsProductSettings>,
    /// Holdings and investment transactions.
    #[serde(default)]
    pub investments: Option<ProductSettings>,
}

/// The products to refresh; at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshProductsRequest {
    /// Products.
    pub products: Vec<Product>,
}

impl RefreshProductsRequest {
    /// Asks for these products.
    pub fn new(products: impl IntoIterator<Item = Product>) -> Self {
        Self { products: products.into_iter().collect() }
    }
}
