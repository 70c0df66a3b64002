//! The event ledger: a part of Passbook's own API, which other servers do not have.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::LinkId;
use crate::wire::{open_enum::open_enum, timestamp};

open_enum! {
    /// Where a delivery stands.
    DeliveryState {
        /// Attempts are to come.
        Waiting = "waiting",
        /// The receiver has it.
        Delivered = "delivered",
        /// Given up: a dead letter, which can be replayed.
        Dead = "dead",
    }
}

/// A page of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GetEventsResponse {
    /// Events, in the order of their positions.
    pub events: Vec<LedgerEvent>,
    /// Where to go on.
    pub cursors: EventCursors,
}

/// Where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCursors {
    /// For the next page; null when this was the last one. The position of an event is a cursor, too.
    pub next: Option<String>,
}

/// Something that happened to a link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEvent {
    /// Its name, for ever.
    pub event_id: String,
    /// Its place among the events of the app: rises, and no event ever appears behind one that was read.
    pub position: u64,
    /// The link it happened to.
    pub link_id: LinkId,
    /// Its place among the events of the link, from 1.
    pub sequence: u64,
    /// What happened, for example `link.state_changed`.
    pub webhook_event: String,
    /// When, by the app's clock.
    #[serde(with = "timestamp")]
    pub occurred_at: Timestamp,
    /// The body of its webhooks.
    pub payload: serde_json::Value,
    /// Its deliveries; none when the link had no webhook.
    pub deliveries: Vec<EventDelivery>,
    /// The webhook as it would be sent now; only in a stream that was asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedWebhook>,
}

/// The delivery of an event to a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventDelivery {
    /// What receivers are told in `MoneyKit-Delivery-Token`.
    pub delivery_token: String,
    /// Where it goes.
    pub url: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts that ended.
    pub attempts: u32,
    /// When the next one is due, by the app's clock.
    #[serde(with = "timestamp::option")]
    pub next_attempt_at: Option<Timestamp>,
    /// The status of the last answer.
    pub last_status: Option<u16>,
    /// What went wrong last: `refused`, `timeout`, `no_connection`, `connection_broken` or `not_allowed`.
    pub last_error: Option<String>,
}

/// A webhook, signed and ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedWebhook {
    /// The value of `MoneyKit-Signature`.
    pub signature: String,
    /// The value of `MoneyKit-Delivery-Token`.
    pub delivery_token: String,
    /// The body, byte by byte.
    pub body: String,
}

/// What is to be sent again: named events, or all that match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayEvents {
    /// These events; nothing else may be given beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_ids: Option<Vec<String>>,
    /// Only those of this link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_id: Option<LinkId>,
    /// Only those of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_event: Option<String>,
    /// Only those at or after this instant.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "timestamp::option")]
    pub from: Option<Timestamp>,
    /// Only those before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "timestamp::option")]
    pub to: Option<Timestamp>,
    /// Only those with a delivery in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_state: Option<DeliveryState>,
}

/// How much is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayEventsResponse {
    /// Deliveries that are due now.
    pub deliveries: u64,
}
