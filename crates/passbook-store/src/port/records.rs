//! What reads return.

use jiff::{Timestamp, civil::Date};
use passbook_core::{
    ids::{AccountId, AppId, LinkId},
    investment::InvestmentTransaction,
    link::{Link, LinkErrorCode, LinkSecrets, LinkState},
    product::ProductSet,
    secret::SecretBytes,
    session::LinkSession,
    tenant::{ScopeSet, Tenant},
    time::AppClock,
    transaction::Transaction,
};
use serde::{Deserialize, Serialize};

/// Everything a numbers read needs, without the aggregate.
pub struct NumbersAnswer {
    /// State, grants and the rendered link object.
    pub link: LinkAnswer,
    /// The rendered `accounts` array, opened; empty when nothing was fetched or the link's key was destroyed.
    pub accounts: SecretBytes,
}

/// What a link read needs.
#[derive(Debug, Clone)]
pub struct LinkAnswer {
    /// State.
    pub state: LinkState,
    /// Error code in state `error`.
    pub error: Option<LinkErrorCode>,
    /// Granted products.
    pub granted: ProductSet,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// Which renderer made the views; an older one means: render again from the aggregate.
    pub renderer: u32,
    /// The public link object as JSON.
    pub link_view: Vec<u8>,
}

/// A link and the version its next write must name.
#[derive(Debug, Clone)]
pub struct StoredLink {
    /// The aggregate.
    pub link: Link,
    /// Rises with every write.
    pub version: u64,
}

/// The opened secrets of a link.
#[derive(Debug, Clone, Default)]
pub struct StoredSecrets {
    /// Numbers and owners.
    pub secrets: LinkSecrets,
    /// What the connector needs to fetch.
    pub credential: Option<SecretBytes>,
}

/// A place in the list of links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkPosition {
    /// Creation time.
    pub created_at: Timestamp,
    /// The link.
    pub id: LinkId,
}

/// Which transactions to list.
#[derive(Debug, Clone, Default)]
pub struct TransactionFilter {
    /// Only these accounts; empty: none at all. `None`: every account of the link.
    pub accounts: Option<Vec<AccountId>>,
    /// Earliest date, inclusive.
    pub start_date: Option<Date>,
    /// Latest date, inclusive.
    pub end_date: Option<Date>,
    /// Matches to skip.
    pub offset: u64,
    /// Matches to return.
    pub limit: u32,
}

/// Which changes of a link's transactions to list.
#[derive(Debug, Clone, Default)]
pub struct ChangeFilter {
    /// Only changes behind this position, and of what was removed only what was created up to it.
    pub after: u64,
    /// Only these accounts; empty: none at all. `None`: every account of the link.
    pub accounts: Option<Vec<AccountId>>,
    /// Changes to return.
    pub limit: u32,
}

/// Which transactions of an end user to list.
#[derive(Debug, Clone, Default)]
pub struct UserTransactionFilter {
    /// Of these links.
    pub links: Vec<LinkId>,
    /// Of these accounts.
    pub accounts: Vec<AccountId>,
    /// Earliest date, inclusive.
    pub start_date: Option<Date>,
    /// Latest date, inclusive.
    pub end_date: Option<Date>,
    /// Matches to skip.
    pub offset: u64,
    /// Matches to return.
    pub limit: u32,
}

/// A page of transactions.
#[derive(Debug, Clone)]
pub struct TransactionPage {
    /// All matches.
    pub total: u64,
    /// This page.
    pub items: Vec<Transaction>,
}

/// A page of investment transactions.
#[derive(Debug, Clone)]
pub struct InvestmentTransactionPage {
    /// All matches.
    pub total: u64,
    /// This page.
    pub items: Vec<InvestmentTransaction>,
}

/// A session as stored.
#[derive(Clone)]
pub struct StoredSession {
    /// The session.
    pub session: LinkSession,
    /// Rises with every write.
    pub version: u64,
    /// JSON of the session request; `None` once the session has succeeded.
    pub request: Option<SecretBytes>,
}

/// An application.
#[derive(Debug, Clone)]
pub struct App {
    /// Id.
    pub id: AppId,
    /// Display name.
    pub name: String,
    /// Its sandbox clock; live objects use real time.
    pub clock: AppClock,
    /// Origins that may receive redirects: `https://app.example`, or `http://localhost:*` for any port.
    pub allowed_origins: Vec<String>,
    /// When it was disabled, in the store's time. From then on its clients are refused and its jobs wait.
    pub disabled_at: Option<Timestamp>,
}

impl App {
    /// Whether it is disabled at `now`, in the store's time.
    #[must_use]
    pub fn is_disabled(&self, now: Timestamp) -> bool {
        self.disabled_at.is_some_and(|at| at <= now)
    }
}

/// An API client.
#[derive(Debug, Clone)]
pub struct Client {
    /// Public id.
    pub client_id: String,
    /// Whose.
    pub tenant: Tenant,
    /// Label.
    pub name: String,
    /// Keyed hashes of its live secrets (one, or two while rotating).
    pub secret_hashes: Vec<[u8; 32]>,
    /// What it may do.
    pub scopes: ScopeSet,
    /// When it was disabled, in the store's time; one in the future still may do everything until then.
    pub disabled_at: Option<Timestamp>,
    /// When its application was disabled, as read with it. A commit does not write this: it is the application's.
    pub app_disabled_at: Option<Timestamp>,
}

impl Client {
    /// From when on it is refused: it or its application is disabled, whichever came first.
    #[must_use]
    pub fn refused_from(&self) -> Option<Timestamp> {
        self.disabled_at.into_iter().chain(self.app_disabled_at).min()
    }
}

/// An idempotency key as a client gave it, bound to whose it is and to the operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerKey {
    /// Whose.
    pub tenant: Tenant,
    /// SHA-256 over operation and key, as hexadecimal digits; the key itself is not stored.
    pub hash: String,
}

/// What became of an idempotency key.
#[derive(Debug, Clone)]
pub enum Reservation {
    /// It was free and is the caller's now.
    Reserved {
        /// To be named by [`Changes::answer`](super::Changes::answer).
        fence: u64,
    },
    /// Its request is being worked on.
    Running,
    /// It belongs to a request with another content.
    OtherRequest,
    /// Its request was answered.
    Answered(KeptAnswer),
}

/// An answer that was kept.
#[derive(Debug, Clone)]
pub struct KeptAnswer {
    /// HTTP status.
    pub status: u16,
    /// The body, opened.
    pub body: SecretBytes,
}

/// An access token.
#[derive(Debug, Clone)]
pub struct Token {
    /// The client it was given to.
    pub client_id: String,
    /// Label of that client.
    pub client_name: String,
    /// Whose.
    pub tenant: Tenant,
    /// Name of the application.
    pub app_name: String,
    /// What it may do.
    pub scopes: ScopeSet,
    /// End of life, in the application's time.
    pub expires_at: Timestamp,
}

/// What an application stores, as its quota counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppUsage {
    /// Links that are not deleted, transactions and investment transactions. Exact.
    pub rows: u64,
    /// Bytes that these take, an estimate.
    pub bytes: u64,
}

/// An institution that a statement file named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppInstitution {
    /// Slug, unique within the application.
    pub id: String,
    /// Name from the file.
    pub name: String,
    /// Country code of the importing call, `US` when unknown.
    pub country: passbook_core::institution::Country,
}
