//! What the store keeps of events and of their deliveries.

use jiff::Timestamp;
use passbook_core::{
    delivery::Failing,
    event::Event,
    ids::{EventId, LinkId},
    tenant::Tenant,
};
use serde::{Deserialize, Serialize};

#[expect(unused_imports, reason = "named in the documentation")]
use super::Store;

/// An event that no reader sees yet.
#[derive(Debug, Clone)]
pub struct UndispatchedEvent {
    /// Whose.
    pub tenant: Tenant,
    /// The event, with its webhook.
    pub event: Event,
}

/// What becomes of an event: everybody may read it, and it may have to be delivered.
#[derive(Debug, Clone)]
pub struct DispatchedEvent {
    /// Whose.
    pub tenant: Tenant,
    /// The link it happened to.
    pub link_id: LinkId,
    /// Which of its events.
    pub sequence: u64,
    /// Its name.
    pub event_id: EventId,
    /// The delivery, if the link has a webhook.
    pub delivery: Option<NewDelivery>,
}

/// A delivery to make. There is at most one for each event and address.
#[derive(Clone)]
pub struct NewDelivery {
    /// Its name, which the receiver is told.
    pub token: String,
    /// Where it goes.
    pub address: Address,
    /// The body, byte by byte as every attempt sends it.
    pub body: String,
    /// When the first attempt is due, real time.
    pub due_at: Timestamp,
    /// The same by the app's clock.
    pub app_due_at: Timestamp,
}

/// A URL that takes an app's webhooks. Whether it gets any is kept for each app and environment.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// A digest of tenant and URL.
    pub id: String,
    /// The URL. It may hold a secret of the app.
    pub url: String,
    /// Host and port of the URL.
    pub host: String,
}

/// Which ready deliveries are asked for: of each tenant those to the first addresses, or to the next ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyFilter {
    /// Most addresses of one tenant.
    pub addresses: u32,
    /// Most deliveries that are counted for one address.
    pub per_address: u32,
    /// Tenants of which only addresses behind this one are looked at.
    pub after: Vec<(Tenant, String)>,
}

/// How many deliveries to one address are to be leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Whose address it is.
    pub tenant: Tenant,
    /// The address.
    pub address_id: String,
    /// How many, at most.
    pub count: u32,
}

/// A delivery under lease: one attempt is to be made.
#[derive(Clone)]
pub struct LeasedDelivery {
    /// The lease.
    pub lease: DeliveryLease,
    /// Whose.
    pub tenant: Tenant,
    /// The link it is about.
    pub link_id: LinkId,
    /// Where it goes.
    pub address: Address,
    /// The body.
    pub body: String,
    /// Attempts that ended.
    pub attempts: u32,
    /// The same since the delivery was made or replayed.
    pub tries: u32,
    /// What is known of the address.
    pub failing: Failing,
}

/// Proof of a lease: only the newest fence may end the attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryLease {
    /// The delivery.
    pub token: String,
    /// Raised by every lease.
    pub fence: u64,
}

impl DeliveryLease {
    /// The fence as stored. None comes near the limit; one beyond it matches no row.
    pub(crate) fn fence_number(&self) -> i64 {
        i64::try_from(self.fence).unwrap_or(-1)
    }
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct EndedAttempt {
    /// The lease under which it was made.
    pub lease: DeliveryLease,
    /// The link it is about.
    pub link_id: LinkId,
    /// The address that was called.
    pub address_id: String,
    /// What becomes of the delivery.
    pub next: NextAttempt,
    /// The status that the receiver answered.
    pub status: Option<u16>,
    /// What went wrong, in words of ours.
    pub error: Option<&'static str>,
    /// When it ended, by the app's clock.
    pub app_ended_at: Timestamp,
    /// Why the address is switched off now. Deliveries that wait for it become dead letters, the first of them at once;
    /// see [`Store::bury_deliveries`].
    pub switch_off: Option<&'static str>,
}

/// What becomes of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAttempt {
    /// Nothing: the receiver has it.
    Delivered,
    /// Another one.
    At {
        /// Real time.
        due_at: Timestamp,
        /// The same by the app's clock.
        app_due_at: Timestamp,
    },
    /// Nothing: it was given up.
    Dead,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Attempts are to come.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// Given up.
    Dead,
}

impl DeliveryState {
    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

impl NextAttempt {
    /// Where the delivery stands then.
    pub(crate) fn state(self) -> DeliveryState {
        match self {
            Self::Delivered => DeliveryState::Delivered,
            Self::At { .. } => DeliveryState::Waiting,
            Self::Dead => DeliveryState::Dead,
        }
    }
}

/// Which events are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those behind this position.
    pub after: u64,
    /// Only those of this link.
    pub link_id: Option<LinkId>,
    /// Only those of this name.
    pub kind: Option<String>,
    /// Only those at or after this instant of the app's clock.
    pub from: Option<Timestamp>,
    /// Only those before this instant of the app's clock.
    pub to: Option<Timestamp>,
    /// Only those with a delivery in this state.
    pub delivery: Option<DeliveryState>,
}

/// Events that one read of the ledger may pass over. A read that has to look at more of them stops there and says where.
pub const PASSED_OVER_MAX: u32 = 2_000;

/// Which index answers a filter, with the two values of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LedgerIndex {
    /// All events of the tenant: application, environment.
    Tenant,
    /// Those of a link: link, environment and application as one value.
    Link,
    /// Those of a kind: application and environment as one value, kind.
    Kind,
}

impl EventFilter {
    /// The narrowest index, and its key.
    pub(crate) fn index(&self, tenant: &Tenant) -> (LedgerIndex, String, String) {
        // Neither holds a space, so that two of them make one value. A link has one tenant, which is only compared.
        let (app, environment) = (tenant.app_id.as_str(), tenant.environment.as_str());
        match (&self.link_id, &self.kind) {
            (Some(link), _) => (LedgerIndex::Link, link.to_string(), format!("{environment} {app}")),
            (None, Some(kind)) => (LedgerIndex::Kind, format!("{app} {environment}"), kind.clone()),
            (None, None) => (LedgerIndex::Tenant, app.to_owned(), environment.to_owned()),
        }
    }

    /// Whether the event is one of those asked for.
    #[must_use]
    pub fn matches(&self, one: &LedgerEvent) -> bool {
        let event = &one.event;
        one.position > self.after
            && self.link_id.as_ref().is_none_or(|link| *link == event.link_id)
            && self.kind.as_ref().is_none_or(|kind| kind == event.kind.name())
            && self.from.is_none_or(|from| event.at >= from)
            && self.to.is_none_or(|to| event.at < to)
            && self.delivery.is_none_or(|state| one.deliveries.iter().any(|delivery| delivery.state == state))
    }

    /// Whether events of the narrowest index may still be passed over.
    pub(crate) fn passes_over(&self) -> bool {
        let has_two = self.link_id.is_some() && self.kind.is_some();
        has_two || self.from.is_some() || self.to.is_some() || self.delivery.is_some()
    }
}

/// What one read of the ledger found.
#[derive(Debug, Clone, Default)]
pub struct LedgerPage {
    /// Matching events, by position.
    pub events: Vec<LedgerEvent>,
    /// Up to here, inclusive, the ledger was looked at; the next read begins behind it, also when nothing matched.
    pub read_to: u64,
    /// Nothing was behind `read_to` when the read began.
    pub is_last: bool,
}

impl LedgerPage {
    /// A page of at most `limit` `events` from a ledger that went to `newest`, of which those up to `up_to` were looked at.
    pub(crate) fn of(events: Vec<LedgerEvent>, limit: u32, after: u64, up_to: u64, newest: u64) -> Self {
        let is_full = events.len() >= limit as usize;
        let read_to = events.last().filter(|_| is_full).map_or(up_to.max(after), |last| last.position);
        Self { events, read_to, is_last: read_to >= newest }
    }
}

/// An event as readers see it.
#[derive(Debug, Clone)]
pub struct LedgerEvent {
    /// Its place among the events of the tenant: rises, and no event appears behind one that was seen.
    pub position: u64,
    /// The event, with its webhook.
    pub event: Event,
    /// Its deliveries.
    pub deliveries: Vec<DeliveryStatus>,
}

/// What became of a delivery so far.
#[derive(Clone)]
pub struct DeliveryStatus {
    /// Its name.
    pub token: String,
    /// Where it goes.
    pub url: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts that ended.
    pub attempts: u32,
    /// When the next one is due, by the app's clock.
    pub app_due_at: Option<Timestamp>,
    /// The status of the last answer.
    pub last_status: Option<u16>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// A URL and whether it gets webhooks.
#[derive(Clone)]
pub struct AddressStatus {
    /// Whose.
    pub tenant: Tenant,
    /// The URL.
    pub url: String,
    /// Since when it has not succeeded, by the app's clock.
    pub failing_since: Option<Timestamp>,
    /// Why it is switched off.
    pub switched_off: Option<String>,
}

/// Hides what may hold an app's secret.
macro_rules! debug_without_url {
    ($($name:ident { $($field:ident),* })*) => { $(
        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        }
    )* };
}
debug_without_url! {
    NewDelivery { token, due_at }
    Address { id }
    LeasedDelivery { lease, tenant, link_id, address, attempts, tries }
    DeliveryStatus { token, state, attempts, last_status, last_error }
    AddressStatus { tenant, failing_since, switched_off }
}
