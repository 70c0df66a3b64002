//! Facts that happened to a link, written in the same transaction as the change itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{DeliveryId, Derivation, EventId, LinkId},
    link::{LinkErrorCode, LinkState},
    product::Product,
};

/// One fact. Holds ids, states and tags only: never data of the end user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The link it happened to.
    pub link_id: LinkId,
    /// Position within the link, from 1, without gaps.
    pub sequence: u64,
    /// The application's instant.
    pub at: Timestamp,
    /// Tags of the link at that moment.
    pub tags: Vec<String>,
    /// What happened.
    pub kind: EventKind,
    /// Where the link's events went at that moment. Stored beside the event: it may hold the app's secret.
    #[serde(skip)]
    pub webhook: Option<String>,
}

impl Event {
    /// Names the event, for ever.
    #[must_use]
    pub fn id(&self, derivation: &Derivation) -> EventId {
        EventId::from_bits(derivation.bits("event", &[self.link_id.as_str()], self.sequence))
    }

    /// Names the delivery of the event to an address; a simulated event brings the name of its first one.
    #[must_use]
    pub fn delivery_token(&self, derivation: &Derivation, address: &str) -> String {
        match &self.kind {
            EventKind::TestRequested(test) if self.webhook.as_deref() == Some(address) => test.delivery_token.clone(),
            _ => {
                let bits = derivation.bits("delivery", &[self.link_id.as_str(), address], self.sequence);
                DeliveryId::from_bits(bits).into()
            }
        }
    }

    /// What lets a receiver see that it has the event already.
    #[must_use]
    pub fn idempotency_key(&self, derivation: &Derivation) -> String {
        match &self.kind {
            EventKind::TestRequested(test) => test.idempotency_key.clone(),
            _ => self.id(derivation).into(),
        }
    }
}

/// The contract's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum EventKind {
    /// The link's state changed.
    #[serde(rename = "link.state_changed")]
    LinkStateChanged {
        /// The new state.
        state: LinkState,
        /// Set in state `error`.
        error: Option<LinkErrorCode>,
    },
    /// A refresh job of a product changed state.
    #[serde(rename = "link.product_refresh")]
    ProductRefresh {
        /// The product.
        product: Product,
        /// The job's new state.
        state: RefreshState,
        /// Set when it failed.
        error_message: Option<String>,
    },
    /// Transactions changed.
    #[serde(rename = "transactions.updates_available")]
    TransactionsUpdatesAvailable,
    /// An app asked for a simulated event: nothing happened to the link.
    #[serde(rename = "test")]
    TestRequested(TestEvent),
}

/// A simulated event, with everything that its delivery needs beside the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestEvent {
    /// What is simulated.
    pub simulates: SimulatedEvent,
    /// The app's own idempotency key, to be sent back to it.
    pub idempotency_key: String,
    /// Names the delivery, as the app was told.
    pub delivery_token: String,
}

/// Events an app may have simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SimulatedEvent {
    /// The link's state changed.
    #[serde(rename = "link.state_changed")]
    LinkStateChanged,
    /// A refresh of `accounts` changed state; `product.state_changed` is the contract's other name for it.
    #[serde(rename = "link.product_refresh", alias = "product.state_changed")]
    ProductRefresh,
    /// Transactions changed.
    #[serde(rename = "transactions.updates_available")]
    TransactionsUpdatesAvailable,
}

impl EventKind {
    /// The contract's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::LinkStateChanged { .. } => "link.state_changed",
            Self::ProductRefresh { .. } => "link.product_refresh",
            Self::TransactionsUpdatesAvailable => "transactions.updates_available",
            Self::TestRequested(test) => match test.simulates {
                SimulatedEvent::LinkStateChanged => "link.state_changed",
                SimulatedEvent::ProductRefresh => "link.product_refresh",
                SimulatedEvent::TransactionsUpdatesAvailable => "transactions.updates_available",
            },
        }
    }
}

/// States of a refresh job as events tell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshState {
    /// Accepted.
    Pending,
    /// A worker began.
    InProgress,
    /// Data stored.
    Completed,
    /// The attempt failed.
    Failed,
}

impl RefreshState {
    /// The contract's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// Whether the job has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}
