//! Test webhooks (`/webhooks/test/link/{id}`).

use serde::{Deserialize, Serialize};

use crate::wire::{open_enum::open_enum, redact::debug_redacted};

open_enum! {
    /// An event that may be simulated for a sandbox link.
    WebhookLinkTestEvent {
        /// The link's state changed.
        LinkStateChanged = "link.state_changed",
        /// Transactions changed.
        TransactionsUpdatesAvailable = "transactions.updates_available",
        /// Another name of `link.product_refresh`, which is what is delivered.
        ProductStateChanged = "product.state_changed",
        /// A refresh changed state.
        ProductRefresh = "link.product_refresh",
    }
}

/// Which event to simulate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookTestLinkRequest {
    /// The event.
    pub webhook_event: WebhookLinkTestEvent,
    /// Sent back with the event, the same on every attempt.
    pub webhook_idempotency_key: String,
}

/// The accepted event. `Debug` hides the token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookTestLinkResponse {
    /// The value of `MoneyKit-Delivery-Token` of the delivery.
    pub delivery_token: String,
}

debug_redacted!(WebhookTestLinkResponse { show: [], hide: [delivery_token] });
