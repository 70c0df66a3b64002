//! What a webhook says, by its name.

use jiff::Timestamp;
use serde::Deserialize;

use super::rejection::{Kind, VerificationError};
use crate::models::{
    AppLinkStateChangedWebhook, LinkId, ProductStateChangedWebhook, TransactionUpdatesAvailableWebhook,
};

/// An event that changed something about a link.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// `link.state_changed`: a link is in another state.
    LinkStateChanged(AppLinkStateChangedWebhook),
    /// `link.product_refresh`: the refresh of a product went on.
    ProductRefresh(ProductStateChangedWebhook),
    /// `transactions.updates_available`: the change feed has something new.
    TransactionsUpdatesAvailable(TransactionUpdatesAvailableWebhook),
    /// An event that this version does not know.
    Unknown(UnknownEvent),
}

/// An event of a later server. Answer 2xx to what you do not need.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct UnknownEvent {
    /// Its name.
    pub webhook_event: String,
    /// The same whenever the event is delivered again.
    #[serde(default)]
    pub webhook_idempotency_key: Option<String>,
    /// Everything else it says.
    #[serde(flatten)]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Name {
    webhook_event: String,
}

impl Event {
    /// Reads the body of a webhook that was verified.
    pub(super) fn parse(body: &[u8]) -> Result<Self, VerificationError> {
        let parsed = match serde_json::from_slice::<Name>(body).map_err(|_| Kind::NotAnEvent)?.webhook_event.as_str() {
            AppLinkStateChangedWebhook::EVENT => serde_json::from_slice(body).map(Self::LinkStateChanged),
            ProductStateChangedWebhook::EVENT => serde_json::from_slice(body).map(Self::ProductRefresh),
            TransactionUpdatesAvailableWebhook::EVENT => {
                serde_json::from_slice(body).map(Self::TransactionsUpdatesAvailable)
            }
            _ => serde_json::from_slice(body).map(Self::Unknown),
        };
        // serde's text may quote the body.
        parsed.map_err(|_| Kind::NotAnEvent.into())
    }

    /// The event's name, for example `link.state_changed`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::LinkStateChanged(event) => &event.webhook_event,
            Self::ProductRefresh(event) => &event.webhook_event,
            Self::TransactionsUpdatesAvailable(event) => &event.webhook_event,
            Self::Unknown(event) => &event.webhook_event,
        }
    }

    /// The same whenever the event is delivered again: store it, and do nothing the second time.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&str> {
        match self {
            Self::LinkStateChanged(event) => Some(&event.webhook_idempotency_key),
            Self::ProductRefresh(event) => Some(&event.webhook_idempotency_key),
            Self::TransactionsUpdatesAvailable(event) => Some(&event.webhook_idempotency_key),
            Self::Unknown(event) => event.webhook_idempotency_key.as_deref(),
        }
    }

    /// The link it is about; `None` for unknown events.
    #[must_use]
    pub fn link_id(&self) -> Option<&LinkId> {
        match self {
            Self::LinkStateChanged(event) => Some(&event.link_id),
            Self::ProductRefresh(event) => Some(&event.link_id),
            Self::TransactionsUpdatesAvailable(event) => Some(&event.link_id),
            Self::Unknown(_) => None,
        }
    }

    /// When it happened; `None` for unknown events.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        match self {
            Self::LinkStateChanged(event) => Some(event.webhook_timestamp),
            Self::ProductRefresh(event) => Some(event.webhook_timestamp),
            Self::TransactionsUpdatesAvailable(event) => Some(event.webhook_timestamp),
            Self::Unknown(_) => None,
        }
    }
}
