//! Bodies of webhooks. Once made, a body is stored and sent as it is; `tests/api/snapshots` shows one of each.

use moneykit::models::{
    self, AppLinkStateChangedWebhook, ProductStateChangedWebhook, TransactionUpdatesAvailableWebhook,
};
use passbook_core::{
    event::{Event, EventKind, RefreshState, SimulatedEvent},
    ids::Derivation,
    link::{LinkErrorCode, LinkState},
    product::Product,
};
use passbook_store::port::LedgerEvent;

use super::json;

/// What an app is told of `event`.
pub fn webhook_body(event: &Event, derivation: &Derivation) -> Vec<u8> {
    let key = event.idempotency_key(derivation);
    match &event.kind {
        EventKind::LinkStateChanged { state, error } => state_changed(event, key, *state, *error),
        EventKind::ProductRefresh { product, state, error_message } => {
            refreshed(event, key, *product, *state, error_message.clone())
        }
        EventKind::TransactionsUpdatesAvailable => updates_available(event, key),
        EventKind::TestRequested(test) => match test.simulates {
            SimulatedEvent::LinkStateChanged => state_changed(event, key, LinkState::Connected, None),
            SimulatedEvent::ProductRefresh => refreshed(event, key, Product::Accounts, RefreshState::Completed, None),
            SimulatedEvent::TransactionsUpdatesAvailable => updates_available(event, key),
        },
    }
}

macro_rules! payload {
    ($event:expr, $key:expr, $name:ident { $($field:ident: $value:expr),* $(,)? }) => {
        json(&$name {
            webhook_major_version: 1,
            webhook_minor_version: 0,
            webhook_idempotency_key: $key,
            webhook_timestamp: $event.at,
            link_id: $event.link_id.as_str().into(),
            link_tags: $event.tags.clone(),
            webhook_event: $name::EVENT.to_owned(),
            $($field: $value),*
        })
    };
}

fn state_changed(event: &Event, key: String, state: LinkState, error: Option<LinkErrorCode>) -> Vec<u8> {
    payload!(
        event,
        key,
        AppLinkStateChangedWebhook {
            state: state.as_str().into(),
            error: error.map(|error| error.as_str().into()),
            error_message: error.map(|error| error.message().to_owned()),
        }
    )
}

fn refreshed(event: &Event, key: String, product: Product, state: RefreshState, message: Option<String>) -> Vec<u8> {
    payload!(
        event,
        key,
        ProductStateChangedWebhook {
            product: product.as_str().into(),
            state: state.as_str().into(),
            state_changed_at: event.at,
            error_message: message,
        }
    )
}

fn updates_available(event: &Event, key: String) -> Vec<u8> {
    payload!(event, key, TransactionUpdatesAvailableWebhook { has_history: Some(true) })
}

/// An event of the ledger with its deliveries.
pub fn ledger_event(one: &LedgerEvent, derivation: &Derivation) -> models::LedgerEvent {
    let event = &one.event;
    let delivery = |delivery: &passbook_store::port::DeliveryStatus| models::EventDelivery {
        delivery_token: delivery.token.clone(),
        url: delivery.url.clone(),
        state: delivery.state.as_str().into(),
        attempts: delivery.attempts,
        next_attempt_at: delivery.app_due_at,
        last_status: delivery.last_status,
        last_error: delivery.last_error.clone(),
    };
    models::LedgerEvent {
        event_id: event.id(derivation).into(),
        position: one.position,
        link_id: event.link_id.as_str().into(),
        sequence: event.sequence,
        webhook_event: event.kind.name().to_owned(),
        occurred_at: event.at,
        payload: serde_json::from_slice(&webhook_body(event, derivation)).expect("our own JSON"),
        deliveries: one.deliveries.iter().map(delivery).collect(),
        signed: None,
    }
}
