//! Products: the kinds of data a link can give, and the state of each on a link.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::JobId;

/// A kind of data on offer. The order is the contract's and the order in which a job fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// Accounts and balances.
    Accounts,
    /// Payment numbers.
    AccountNumbers,
    /// Owners.
    Identity,
    /// Transactions.
    Transactions,
    /// Holdings and investment transactions.
    Investments,
    /// Categories and merchants; accompanies transactions.
    Enrichment,
}

impl Product {
    /// Every product, in the contract's order.
    pub const ALL: [Self; 6] =
        [Self::Accounts, Self::AccountNumbers, Self::Identity, Self::Transactions, Self::Investments, Self::Enrichment];

    /// The contract's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::AccountNumbers => "account_numbers",
            Self::Identity => "identity",
            Self::Transactions => "transactions",
            Self::Investments => "investments",
            Self::Enrichment => "enrichment",
        }
    }

    /// How long after an accepted refresh the next one is refused, in seconds (contract, refresh limits): an hour for
    /// accounts and transactions, a day for the rest.
    #[must_use]
    pub fn refresh_window_seconds(self) -> i64 {
        match self {
            Self::Accounts | Self::Transactions => 3_600,
            _ => 86_400,
        }
    }
}

/// A set of products, stored as a bit mask so that a read can check a grant without decoding a document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProductSet(u8);

impl ProductSet {
    /// No product.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// The mask as stored; bit `n` is the `n`-th product of [`Product::ALL`].
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Reads a stored mask; unknown bits are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0b11_1111)
    }

    /// Whether `product` is in the set.
    #[must_use]
    pub const fn contains(self, product: Product) -> bool {
        self.0 & (1 << product as u8) != 0
    }

    /// Adds `product`.
    pub fn insert(&mut self, product: Product) {
        self.0 |= 1 << product as u8;
    }

    /// The products, in the contract's order.
    pub fn iter(self) -> impl Iterator<Item = Product> {
        Product::ALL.into_iter().filter(move |product| self.contains(*product))
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The products of `self` that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The products in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<Product> for ProductSet {
    fn from_iter<I: IntoIterator<Item = Product>>(products: I) -> Self {
        let mut set = Self::new();
        for product in products {
            set.insert(product);
        }
        set
    }
}

/// How an app asked for a product in a link session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductSettings {
    /// Only institutions that support it are offered, and the user must grant it. Implies a fetch on linking.
    pub required: bool,
    /// When not required: the user cannot opt out.
    pub require_permission: bool,
    /// Fetch right after linking.
    pub prefetch: bool,
    /// Short purpose shown on the permission screen.
    pub reason: Option<String>,
}

impl ProductSettings {
    /// Whether data is fetched as soon as the link is made.
    #[must_use]
    pub fn fetches_on_linking(&self) -> bool {
        self.required || self.prefetch
    }
}

/// Why the last fetch of a product failed; the contract's closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductErrorCode {
    /// The upstream limits calls.
    RateLimit,
    /// The user must reconnect.
    AuthExpired,
    /// The institution cannot give it.
    NotSupported,
    /// No answer in time.
    Timeout,
    /// Anything else.
    Unknown,
    /// No account of the right kind.
    NoAccounts,
    /// The institution is down.
    InstitutionError,
    /// The consent does not cover it.
    NoPermission,
}

impl ProductErrorCode {
    /// Whether a job that ended this way gives the refresh allowance back (contract, refresh limits).
    #[must_use]
    pub fn returns_allowance(self) -> bool {
        matches!(self, Self::InstitutionError | Self::Timeout | Self::Unknown)
    }
}

/// State of one granted product on a link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductRecord {
    /// Settings given when the product was added; `None` for `accounts`, which has none.
    pub settings: Option<ProductSettings>,
    /// Last successful fetch. Rises strictly with every success, also under a frozen clock.
    pub refreshed_at: Option<Timestamp>,
    /// When the last attempt began.
    pub last_attempted_at: Option<Timestamp>,
    /// Why the last attempt failed; `None` after a success.
    pub error: Option<ProductFault>,
    /// Why it cannot be refreshed at all; stored data stays readable.
    pub unavailable: Option<String>,
    /// When the last limited refresh was accepted; starts the refresh window.
    pub accepted_at: Option<Timestamp>,
    /// The job that is fetching it now.
    pub running_job: Option<JobId>,
}

/// A failed attempt as the app sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductFault {
    /// The contract's code.
    pub code: ProductErrorCode,
    /// Text for the app developer.
    pub message: String,
}
