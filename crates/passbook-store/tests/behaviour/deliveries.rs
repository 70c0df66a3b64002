//! Events and their deliveries: positions, leases, order, ends, replay.

use std::sync::Arc;

use passbook_core::{
    event::{Event, EventKind},
    ids::{EventId, LinkId},
    link::LinkState,
    tenant::Tenant,
    time::AppClock,
};
use passbook_store::port::{
    Address, Changes, ClockWrite, DeliveryState, DispatchedEvent, EndedAttempt, EventFilter, LeasedDelivery,
    LedgerEvent, NewDelivery, NextAttempt, Store,
};

use crate::examples::*;

crate::on_every_store! {
    events_are_dispatched_once_and_get_rising_positions,
    a_lost_race_dispatches_nothing,
    a_delivery_is_leased_once_and_again_after_its_lease,
    an_untried_delivery_waits_for_the_one_before_it,
    one_address_gets_no_more_than_its_share,
    an_ended_attempt_is_remembered,
    a_late_end_of_an_attempt_is_refused,
    a_switched_off_address_gets_nothing_until_it_is_switched_on,
    a_replay_is_due_at_once_and_keeps_counting,
    a_clock_change_moves_deliveries_of_the_sandbox,
    events_are_found_by_filter_and_by_id,
    parallel_dispatchers_leave_no_gap,
    what_is_over_is_cleaned_up_with_its_deliveries,
}

const URL: &str = "https://app.example/hook?token=secret";

fn event(link: u128, sequence: u64) -> Event {
    Event {
        link_id: LinkId::from_bits(link),
        sequence,
        at: second(sequence as i64),
        tags: vec!["tag".to_owned()],
        kind: EventKind::LinkStateChanged { state: LinkState::Connected, error: None },
        webhook: Some(URL.to_owned()),
    }
}

/// A link with so many events.
async fn linked(store: &Arc<dyn Store>, link: u128, events: u64) {
    stored_link(&**store, link).await;
    let events = (1..=events).map(|sequence| event(link, sequence)).collect();
    store.commit(Changes { events, ..Changes::default() }).await.unwrap();
}

fn address(name: &str) -> Address {
    Address { id: name.to_owned(), url: format!("{URL}&to={name}") }
}

fn dispatched(tenant: &Tenant, event: &Event, to: &str) -> DispatchedEvent {
    let bits = u128::from(event.sequence) << 64 | u128::from(event.link_id.as_str().as_bytes()[24]);
    DispatchedEvent {
        tenant: tenant.clone(),
        link_id: event.link_id.clone(),
        sequence: event.sequence,
        event_id: EventId::from_bits(bits),
        delivery: Some(NewDelivery {
            token: format!("{}/{}/{to}", event.link_id, event.sequence),
            address: address(to),
            body: format!("{{\"n\":{}}}", event.sequence),
            due_at: second(100),
            app_due_at: second(100),
        }),
    }
}

/// Dispatches everything that waits, to one address.
async fn dispatch(store: &Arc<dyn Store>, to: &str) {
    let waiting = store.list_undispatched(1_000).await.unwrap();
    let events = waiting.iter().map(|one| dispatched(&one.tenant, &one.event, to)).collect();
    assert!(store.dispatch_events(events).await.unwrap());
}

async fn lease(store: &Arc<dyn Store>, now: i64) -> Vec<LeasedDelivery> {
    store.lease_deliveries("courier", second(now), second(now + 30), 100, 100, &[]).await.unwrap()
}

fn ended(leased: &LeasedDelivery, next: NextAttempt) -> EndedAttempt {
    EndedAttempt {
        lease: leased.lease.clone(),
        address_id: leased.address.id.clone(),
        next,
        status: Some(204),
        error: None,
        app_ended_at: second(101),
        switch_off: None,
    }
}

fn again(seconds: i64) -> NextAttempt {
    NextAttempt::At { due_at: second(seconds), app_due_at: second(seconds) }
}

async fn ledger(store: &Arc<dyn Store>) -> Vec<LedgerEvent> {
    store.list_events(&tenant(), &EventFilter::default(), 1_000).await.unwrap()
}

async fn events_are_dispatched_once_and_get_rising_positions(store: Arc<dyn Store>) {
    linked(&store, 1, 3).await;
    linked(&store, 2, 2).await;
    assert!(ledger(&store).await.is_empty(), "nobody reads what has no position");
    let waiting = store.list_undispatched(4).await.unwrap();
    assert_eq!((waiting.len(), &waiting[0].tenant), (4, &tenant()));
    assert_eq!(waiting[0].event.webhook.as_deref(), Some(URL));
    dispatch(&store, "a").await;
    assert!(store.list_undispatched(10).await.unwrap().is_empty());
    let events = ledger(&store).await;
    assert_eq!(events.iter().map(|one| one.position).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    for link in [1, 2] {
        let of_link = events.iter().filter(|one| one.event.link_id == LinkId::from_bits(link));
        let sequences: Vec<_> = of_link.map(|one| one.event.sequence).collect();
        assert!(sequences.is_sorted(), "{sequences:?}");
    }
    assert_eq!(store.newest_position(&tenant()).await.unwrap(), 5);
    for stranger in strangers() {
        assert_eq!(store.newest_position(&stranger).await.unwrap(), 0);
        assert!(store.list_events(&stranger, &EventFilter::default(), 10).await.unwrap().is_empty());
    }
}

async fn a_lost_race_dispatches_nothing(store: Arc<dyn Store>) {
    linked(&store, 1, 2).await;
    let first = vec![dispatched(&tenant(), &event(1, 1), "a")];
    assert!(store.dispatch_events(first).await.unwrap());
    let both = vec![dispatched(&tenant(), &event(1, 2), "a"), dispatched(&tenant(), &event(1, 1), "a")];
    assert!(!store.dispatch_events(both).await.unwrap());
    assert_eq!(store.list_undispatched(10).await.unwrap().len(), 1, "the second one still waits");
    dispatch(&store, "a").await;
    assert_eq!(ledger(&store).await.last().unwrap().position, 2, "no position was lost");
}

async fn a_delivery_is_leased_once_and_again_after_its_lease(store: Arc<dyn Store>) {
    linked(&store, 1, 1).await;
    assert_eq!(store.next_delivery_at().await.unwrap(), None);
    dispatch(&store, "a").await;
    assert_eq!(store.next_delivery_at().await.unwrap(), Some(second(100)));
    assert!(lease(&store, 99).await.is_empty());
    let leased = lease(&store, 100).await.pop().unwrap();
    assert_eq!((leased.attempts, leased.tries, leased.body.as_str()), (0, 0, r#"{"n":1}"#));
    assert_eq!((&leased.tenant, leased.address.url.as_str()), (&tenant(), address("a").url.as_str()));
    assert!(lease(&store, 129).await.is_empty());
    assert_eq!(store.next_delivery_at().await.unwrap(), Some(second(130)));
    let taken_over = lease(&store, 130).await.pop().unwrap();
    assert!(taken_over.lease.fence > leased.lease.fence);
}

async fn an_untried_delivery_waits_for_the_one_before_it(store: Arc<dyn Store>) {
    linked(&store, 1, 3).await;
    linked(&store, 2, 1).await;
    dispatch(&store, "a").await;
    let first = lease(&store, 100).await;
    let sequences: Vec<_> = first.iter().map(|one| one.body.clone()).collect();
    assert_eq!(sequences, [r#"{"n":1}"#, r#"{"n":1}"#], "one of each link");
    assert!(lease(&store, 101).await.is_empty());
    let of_one = first.iter().find(|one| one.link_id == LinkId::from_bits(1)).unwrap();
    assert!(store.end_attempt(ended(of_one, again(500))).await.unwrap());
    let second_one = lease(&store, 102).await.pop().unwrap();
    assert_eq!(second_one.body, r#"{"n":2}"#, "one that failed is tried again later and holds up nobody");
    assert!(store.end_attempt(ended(&second_one, NextAttempt::Delivered)).await.unwrap());
    assert_eq!(lease(&store, 103).await.pop().unwrap().body, r#"{"n":3}"#);
}

async fn one_address_gets_no_more_than_its_share(store: Arc<dyn Store>) {
    for link in 1..=6 {
        linked(&store, link, 1).await;
    }
    dispatch(&store, "a").await;
    linked(&store, 7, 1).await;
    dispatch(&store, "b").await;
    let leased = store.lease_deliveries("courier", second(100), second(130), 100, 2, &[]).await.unwrap();
    let count = |id: &str| leased.iter().filter(|one| one.address.id == id).count();
    assert_eq!((count("a"), count("b")), (2, 1));
    let busy = ["a".to_owned()];
    assert!(store.lease_deliveries("courier", second(100), second(130), 100, 2, &busy).await.unwrap().is_empty());
    assert_eq!(store.lease_deliveries("courier", second(100), second(130), 1, 2, &[]).await.unwrap().len(), 1);
}

async fn an_ended_attempt_is_remembered(store: Arc<dyn Store>) {
    linked(&store, 1, 1).await;
    dispatch(&store, "a").await;
    let leased = lease(&store, 100).await.pop().unwrap();
    let failed = EndedAttempt { status: None, error: Some("timeout"), ..ended(&leased, again(105)) };
    assert!(store.end_attempt(failed).await.unwrap());
    let status = ledger(&store).await[0].deliveries[0].clone();
    assert_eq!((status.state, status.attempts, status.app_due_at), (DeliveryState::Waiting, 1, Some(second(105))));
    assert_eq!((status.last_status, status.last_error.as_deref()), (None, Some("timeout")));
    let failing = store.list_failing_addresses().await.unwrap();
    assert_eq!((failing.len(), failing[0].failing_since), (1, Some(second(101))));
    let leased = lease(&store, 105).await.pop().unwrap();
    assert_eq!((leased.attempts, leased.tries, leased.failing_since), (1, 1, Some(second(101))));
    assert!(store.end_attempt(ended(&leased, NextAttempt::Delivered)).await.unwrap());
    let status = ledger(&store).await[0].deliveries[0].clone();
    assert_eq!((status.state, status.attempts, status.app_due_at), (DeliveryState::Delivered, 2, None));
    assert!(store.list_failing_addresses().await.unwrap().is_empty());
    assert_eq!(store.next_delivery_at().await.unwrap(), None);
}

async fn a_late_end_of_an_attempt_is_refused(store: Arc<dyn Store>) {
    linked(&store, 1, 1).await;
    dispatch(&store, "a").await;
    let late = lease(&store, 100).await.pop().unwrap();
    let current = lease(&store, 130).await.pop().unwrap();
    assert!(!store.end_attempt(ended(&late, NextAttempt::Dead)).await.unwrap());
    assert!(store.end_attempt(ended(&current, NextAttempt::Delivered)).await.unwrap());
    assert!(!store.end_attempt(ended(&current, NextAttempt::Dead)).await.unwrap(), "it ends once");
    assert_eq!(ledger(&store).await[0].deliveries[0].attempts, 1);
}

async fn a_switched_off_address_gets_nothing_until_it_is_switched_on(store: Arc<dyn Store>) {
    linked(&store, 1, 2).await;
    dispatch(&store, "a").await;
    let leased = lease(&store, 100).await.pop().unwrap();
    let unwanted = EndedAttempt { switch_off: Some("unwanted"), ..ended(&leased, NextAttempt::Dead) };
    assert!(store.end_attempt(unwanted).await.unwrap());
    let states = |events: &[LedgerEvent]| events.iter().map(|one| one.deliveries[0].state).collect::<Vec<_>>();
    assert_eq!(states(&ledger(&store).await), [DeliveryState::Dead; 2], "what waited is given up, too");
    linked(&store, 2, 1).await;
    dispatch(&store, "a").await;
    assert_eq!(states(&ledger(&store).await), [DeliveryState::Dead; 3], "and so is what comes");
    assert_eq!(store.list_failing_addresses().await.unwrap()[0].switched_off.as_deref(), Some("unwanted"));
    let on = Changes { switched_on: vec!["a".to_owned()], ..Changes::default() };
    store.commit(on).await.unwrap();
    assert!(store.list_failing_addresses().await.unwrap().is_empty());
    linked(&store, 3, 1).await;
    dispatch(&store, "a").await;
    assert_eq!(lease(&store, 200).await.len(), 1);
}

async fn a_replay_is_due_at_once_and_keeps_counting(store: Arc<dyn Store>) {
    linked(&store, 1, 1).await;
    dispatch(&store, "a").await;
    let leased = lease(&store, 100).await.pop().unwrap();
    let off = EndedAttempt { switch_off: Some("failing"), ..ended(&leased, NextAttempt::Dead) };
    store.end_attempt(off).await.unwrap();
    store.replay_deliveries(vec![dispatched(&tenant(), &event(1, 1), "a")]).await.unwrap();
    let again = lease(&store, 100).await.pop().unwrap();
    assert_eq!((again.lease.token, again.attempts, again.tries), (leased.lease.token, 1, 0));
    assert!(store.list_failing_addresses().await.unwrap().is_empty(), "it is switched on");
    // One that is on its way is left alone, and another address is another delivery.
    store.replay_deliveries(vec![dispatched(&tenant(), &event(1, 1), "a")]).await.unwrap();
    store.replay_deliveries(vec![dispatched(&tenant(), &event(1, 1), "b")]).await.unwrap();
    let to: Vec<_> = lease(&store, 100).await.iter().map(|one| one.address.id.clone()).collect();
    assert_eq!(to, ["b"]);
    assert_eq!(ledger(&store).await[0].deliveries.len(), 2);
}

async fn a_clock_change_moves_deliveries_of_the_sandbox(store: Arc<dyn Store>) {
    store.commit(Changes { app: Some(app(1)), ..Changes::default() }).await.unwrap();
    linked(&store, 1, 1).await;
    dispatch(&store, "a").await;
    let clock = AppClock::Running { offset_us: 50_000_000 };
    let write = ClockWrite { app_id: app_id(1), expected: AppClock::default(), clock, now: second(0) };
    store.commit(Changes { clock: Some(write), ..Changes::default() }).await.unwrap();
    assert_eq!(store.next_delivery_at().await.unwrap(), Some(second(50)));
    let frozen = AppClock::Frozen { at: second(60) };
    let write = ClockWrite { app_id: app_id(1), expected: clock, clock: frozen, now: second(0) };
    store.commit(Changes { clock: Some(write), ..Changes::default() }).await.unwrap();
    assert_eq!(store.next_delivery_at().await.unwrap(), None, "it waits for the clock");
}

async fn events_are_found_by_filter_and_by_id(store: Arc<dyn Store>) {
    linked(&store, 1, 3).await;
    linked(&store, 2, 3).await;
    dispatch(&store, "a").await;
    let leased = lease(&store, 100).await;
    store.end_attempt(ended(&leased[0], NextAttempt::Dead)).await.unwrap();
    let count = async |filter: EventFilter| store.list_events(&tenant(), &filter, 100).await.unwrap().len();
    let all = EventFilter::default;
    assert_eq!(count(EventFilter { after: 4, ..all() }).await, 2);
    assert_eq!(count(EventFilter { link_id: Some(LinkId::from_bits(2)), ..all() }).await, 3);
    assert_eq!(count(EventFilter { kind: Some("link.state_changed".into()), ..all() }).await, 6);
    assert_eq!(count(EventFilter { kind: Some("link.product_refresh".into()), ..all() }).await, 0);
    assert_eq!(count(EventFilter { from: Some(second(2)), ..all() }).await, 4);
    assert_eq!(count(EventFilter { to: Some(second(2)), ..all() }).await, 2);
    assert_eq!(count(EventFilter { delivery: Some(DeliveryState::Dead), ..all() }).await, 1);
    let narrow = EventFilter { link_id: Some(LinkId::from_bits(1)), from: Some(second(3)), ..all() };
    assert_eq!(count(narrow).await, 1);
    let known = dispatched(&tenant(), &event(1, 2), "a").event_id;
    // Named twice, it is still one event.
    let ids = [EventId::from_bits(7), known.clone(), known];
    let found = store.find_events(&tenant(), &ids).await.unwrap();
    assert_eq!(found.iter().map(|one| one.event.clone()).collect::<Vec<_>>(), [event(1, 2)]);
    for stranger in strangers() {
        assert!(store.find_events(&stranger, &ids).await.unwrap().is_empty());
    }
}

async fn parallel_dispatchers_leave_no_gap(store: Arc<dyn Store>) {
    for link in 1..=20 {
        linked(&store, link, 10).await;
    }
    let dispatcher = |store: Arc<dyn Store>| async move {
        loop {
            let waiting = store.list_undispatched(17).await.unwrap();
            if waiting.is_empty() {
                return;
            }
            let events = waiting.iter().map(|one| dispatched(&one.tenant, &one.event, "a")).collect();
            let _somebody_was_first = store.dispatch_events(events).await.unwrap();
        }
    };
    let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(dispatcher(store.clone()))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let events = ledger(&store).await;
    let positions: Vec<_> = events.iter().map(|one| one.position).collect();
    assert_eq!(positions, (1..=200).collect::<Vec<_>>());
    assert!(events.iter().all(|one| one.deliveries.len() == 1));
}

async fn what_is_over_is_cleaned_up_with_its_deliveries(store: Arc<dyn Store>) {
    linked(&store, 1, 3).await;
    dispatch(&store, "a").await;
    linked(&store, 2, 1).await;
    let far = store.now() + jiff::SignedDuration::from_hours(1);
    while store.cleanup(far, 2).await.unwrap() > 0 {}
    assert!(ledger(&store).await.is_empty());
    assert_eq!(store.next_delivery_at().await.unwrap(), None);
    assert_eq!(store.list_undispatched(10).await.unwrap().len(), 1, "what nobody has seen yet stays");
}
