//! Link sessions: the short-lived context in which a link is made.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{LinkId, SessionId},
    product::{Product, ProductSet, ProductSettings},
    tenant::Tenant,
};

/// How long a session may be used (contract, section 3).
pub const SESSION_LIFETIME: SignedDuration = SignedDuration::from_hours(4);
/// How long an exchangeable token may be exchanged (contract, section 3).
pub const EXCHANGE_LIFETIME: SignedDuration = SignedDuration::from_mins(30);

/// A link session as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSession {
    /// Internal id; also the `jti` of the session token.
    pub id: SessionId,
    /// Its owner.
    pub tenant: Tenant,
    /// The n-th session of the application; the parent of the link's id.
    pub ordinal: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// End of life.
    pub expires_at: Timestamp,
    /// The link it makes, once a sign-in began.
    pub link_id: Option<LinkId>,
    /// How far it got.
    pub progress: SessionProgress,
}

/// How far a session got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionProgress {
    /// Connect may be launched.
    Open,
    /// A link was made; its exchangeable token waits.
    Succeeded {
        /// SHA-256 of the exchangeable token; the token itself is never stored.
        exchange_hash: [u8; 32],
        /// End of the token's life.
        exchange_expires_at: Timestamp,
    },
    /// The token was exchanged.
    Exchanged,
}

/// What the app asked for; sealed at rest because it holds personal data.
#[derive(Clone, Serialize, Deserialize)]
pub struct SessionRequest {
    /// The app's own id of the end user.
    pub customer_user_id: String,
    /// The link to reconnect; `None` makes a new one.
    pub existing_link_id: Option<LinkId>,
    /// Skips institution choice.
    pub institution_id: Option<String>,
    /// Where the bank returns to.
    pub redirect_uri: String,
    /// Webhook of the new link.
    pub webhook: Option<String>,
    /// Tags of the new link.
    pub tags: Vec<String>,
    /// Requested products with their settings; `None` takes the app's defaults.
    pub products: Option<Vec<(Product, ProductSettings)>>,
    /// Restricts institutions to these countries.
    pub countries: Vec<crate::institution::Country>,
    /// Only depository accounts may be permitted.
    pub permit_only_depository_accounts: bool,
    /// Exactly one account may be permitted.
    pub permit_only_one_account: bool,
    /// No second link of this user at the same institution.
    pub duplicate_institution_rejected: bool,
    /// `custom_sandbox_data`, already checked.
    pub custom_sandbox_data: Option<serde_json::Value>,
    /// Seed of the simulated person.
    pub person_seed: Option<u64>,
}

/// Products granted when a session names none: every product the institution has, fetched on linking.
#[must_use]
pub fn default_grant(offered: ProductSet) -> Vec<(Product, ProductSettings)> {
    offered
        .iter()
        .filter(|product| !matches!(product, Product::Accounts | Product::Enrichment))
        .map(|product| (product, ProductSettings { prefetch: true, ..ProductSettings::default() }))
        .collect()
}

impl LinkSession {
    /// Whether Connect may still be launched.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.progress, SessionProgress::Open) && now < self.expires_at
    }

    /// Whether its exchangeable token may be exchanged.
    #[must_use]
    pub fn is_exchangeable(&self, now: Timestamp) -> bool {
        matches!(self.progress, SessionProgress::Succeeded { exchange_expires_at, .. } if now < exchange_expires_at)
    }
}
