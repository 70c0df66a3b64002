//! Webhooks: what the server sends to the URL of a link, and the call that has one sent for a test.
//!
//! Every event has an idempotency key that stays the same when it is delivered again; use it to tell repetitions.
//! Events may arrive out of order. They carry no data of the end user: read what changed from the API.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LinkId, Product, PublicLinkError, PublicLinkState};
use crate::wire::{open_enum::open_enum, timestamp};

open_enum! {
    /// Where the refresh of a product is.
    LinkProductState {
        /// Accepted.
        Pending = "pending",
        /// Being fetched.
        InProgress = "in_progress",
        /// Fetched.
        Completed = "completed",
        /// Not fetched; the link's product says why.
        Failed = "failed",
    }
}

open_enum! {
    /// The event to simulate.
    WebhookLinkTestEvent {
        /// A link changed its state.
        LinkStateChanged = "link.state_changed",
        /// The change feed has something new.
        TransactionsUpdatesAvailable = "transactions.updates_available",
        /// An older name of `link.product_refresh`, which is what is delivered.
        ProductStateChanged = "product.state_changed",
        /// The refresh of a product went on.
        LinkProductRefresh = "link.product_refresh",
    }
}

/// Has an event sent to the webhook of a sandbox link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookTestLinkRequest {
    /// The event to simulate.
    pub webhook_event: WebhookLinkTestEvent,
    /// The idempotency key that the event is to carry.
    pub webhook_idempotency_key: String,
}

impl WebhookTestLinkRequest {
    /// Simulates an event that carries this idempotency key.
    pub fn new(event: WebhookLinkTestEvent, idempotency_key: impl Into<String>) -> Self {
        Self { webhook_event: event, webhook_idempotency_key: idempotency_key.into() }
    }
}

/// A test event is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookTestLinkResponse {
    /// What the delivery has in its header `MoneyKit-Delivery-Token`.
    pub delivery_token: String,
}

/// Defines a webhook's payload: what all have in common, its name, and its own fields.
macro_rules! payload {
    (
        $(#[$meta:meta])*
        $name:ident, $event:literal {
            $( $(#[$field_meta:meta])* $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// Major version of the payload: 1.
            #[serde(default = "major_version")]
            pub webhook_major_version: u32,
            /// Minor version of the payload: 0.
            #[serde(default)]
            pub webhook_minor_version: u32,
            /// The same whenever the event is delivered again.
            pub webhook_idempotency_key: String,
            /// When the event was made; the same whenever it is delivered again.
            #[serde(with = "timestamp")]
            pub webhook_timestamp: Timestamp,
            /// The link it is about.
            pub link_id: LinkId,
            /// Tags of the link.
            pub link_tags: Vec<String>,
            /// Always [`Self::EVENT`].
            #[serde(default = $event)]
            pub webhook_event: String,
            $( $(#[$field_meta])* pub $field: $type, )*
        }
    };
}

payload! {
    /// A link changed its state.
    AppLinkStateChangedWebhook, "AppLinkStateChangedWebhook::event" {
        /// The state it is in now.
        state: PublicLinkState,
        /// Set only in state `error`.
        #[serde(default)]
        error: Option<PublicLinkError>,
        /// The same as text.
        #[serde(default)]
        error_message: Option<String>,
    }
}

payload! {
    /// The refresh of a product went on.
    ProductStateChangedWebhook, "ProductStateChangedWebhook::event" {
        /// The product.
        product: Product,
        /// Where its refresh is now.
        state: LinkProductState,
        /// Since when.
        #[serde(with = "timestamp")]
        state_changed_at: Timestamp,
        /// Why it failed.
        #[serde(default)]
        error_message: Option<String>,
    }
}

payload! {
    /// The change feed of a link's transactions has something new.
    TransactionUpdatesAvailableWebhook, "TransactionUpdatesAvailableWebhook::event" {
        /// Deprecated.
        #[serde(default)]
        has_history: Option<bool>,
    }
}

macro_rules! event_names {
    ($($name:ident = $event:literal),+ $(,)?) => { $(
        impl $name {
            /// The name of this event.
            pub const EVENT: &'static str = $event;

            fn event() -> String {
                Self::EVENT.to_owned()
            }
        }
    )+ };
}
event_names!(
    AppLinkStateChangedWebhook = "link.state_changed",
    ProductStateChangedWebhook = "link.product_refresh",
    TransactionUpdatesAvailableWebhook = "transactions.updates_available",
);

fn major_version() -> u32 {
    1
}
