//! Events and their deliveries: positions, leases, order, ends, replay.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use passbook_core::{
    delivery::Failing,
    delivery_shares::{Destination, ReadyQueue},
    event::{Event, EventKind},
    ids::{EventId, LinkId},
    link::LinkState,
    tenant::Tenant,
    time::AppClock,
};
use passbook_store::port::{
    Address, Changes, ClockWrite, DeliveryState, DispatchedEvent, EndedAttempt, EventFilter, LeaseRequest,
    LeasedDelivery, LedgerEvent, NewDelivery, NextAttempt, PASSED_OVER_MAX, ReadyFilter, Store,
};

use crate::examples::*;

crate::on_every_store! {
    events_are_dispatched_once_and_get_rising_positions,
    a_lost_race_dispatches_nothing,
    a_delivery_is_leased_once_and_again_after_its_lease,
    an_untried_delivery_waits_for_the_one_before_it,
    ready_deliveries_are_listed_by_tenant_and_address,
    a_tenant_with_many_addresses_is_looked_at_in_parts,
    an_address_gets_as_many_leases_as_are_asked_for,
    what_is_behind_an_untried_delivery_is_not_listed,
    a_replay_into_a_line_keeps_its_order,
    failed_attempts_are_counted_up_to_ten_until_one_succeeds,
    a_long_line_is_buried_in_pieces,
    what_was_not_buried_yet_goes_on_when_its_address_is_switched_on,
    an_address_goes_with_its_last_delivery,
    a_line_goes_on_behind_what_retention_deleted,
    lines_that_grow_while_they_are_delivered_never_stop,
    an_ended_attempt_is_remembered,
    a_late_end_of_an_attempt_is_refused,
    a_switched_off_address_gets_nothing_until_it_is_switched_on,
    a_replay_is_due_at_once_and_keeps_counting,
    a_clock_change_moves_deliveries_of_the_sandbox,
    events_are_found_by_filter_and_by_id,
    a_narrowed_read_passes_over_a_bounded_part_and_says_how_far_it_came,
    a_filter_matches_in_memory_what_it_finds_in_the_store,
    parallel_dispatchers_leave_no_gap,
    what_is_over_is_cleaned_up_with_its_deliveries,
}

/// Far ahead of every store's own time, so that nothing becomes ready unless a case wakes it.
fn second(seconds: i64) -> Timestamp {
    at("2099-05-01T00:00:00.000001Z") + SignedDuration::from_secs(seconds)
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
    Address { id: name.to_owned(), url: format!("{URL}&to={name}"), host: format!("{name}.example:443") }
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

const ALL: ReadyFilter = ReadyFilter { addresses: 100, per_address: 100, after: Vec::new() };

/// Everything that is ready at this time, under leases of 30 seconds.
async fn lease(store: &Arc<dyn Store>, now: i64) -> Vec<LeasedDelivery> {
    store.wake_deliveries(second(now), 1_000).await.unwrap();
    let ready = store.list_ready_deliveries(&ALL).await.unwrap();
    store.lease_deliveries("courier", second(now + 30), ready.iter().map(request).collect()).await.unwrap()
}

fn request(queue: &ReadyQueue) -> LeaseRequest {
    let Destination { tenant, address_id, .. } = queue.destination.clone();
    LeaseRequest { tenant, address_id, count: queue.count }
}

fn ended(leased: &LeasedDelivery, next: NextAttempt) -> EndedAttempt {
    EndedAttempt {
        lease: leased.lease.clone(),
        link_id: leased.link_id.clone(),
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
    store.list_events(&tenant(), &EventFilter::default(), 1_000).await.unwrap().events
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
        assert!(store.list_events(&stranger, &EventFilter::default(), 10).await.unwrap().events.is_empty());
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

/// A link of this tenant with one event that is dispatched to these addresses.
async fn dispatch_of(store: &Arc<dyn Store>, owner: &Tenant, bits: u128, to: &[&str]) {
    for (index, to) in to.iter().enumerate() {
        let mut own = link(bits + index as u128);
        own.tenant = owner.clone();
        let id = own.id.clone();
        let happened = Event { link_id: id, ..event(1, 1) };
        store.commit(Changes { events: vec![happened], ..changes(insertion(own)) }).await.unwrap();
        dispatch(store, to).await;
    }
}

/// What can be attempted: tenant, address, how many.
fn listed(queues: &[ReadyQueue]) -> Vec<(Tenant, String, u32)> {
    let one =
        |queue: &ReadyQueue| (queue.destination.tenant.clone(), queue.destination.address_id.clone(), queue.count);
    queues.iter().map(one).collect()
}

async fn ready(store: &Arc<dyn Store>, filter: &ReadyFilter) -> Vec<ReadyQueue> {
    store.list_ready_deliveries(filter).await.unwrap()
}

async fn ready_deliveries_are_listed_by_tenant_and_address(store: Arc<dyn Store>) {
    let [other, live] = strangers();
    dispatch_of(&store, &tenant(), 1, &["a", "a", "b"]).await;
    dispatch_of(&store, &other, 11, &["c"]).await;
    dispatch_of(&store, &live, 21, &["d"]).await;
    assert!(ready(&store, &ALL).await.is_empty(), "nothing is due");
    assert_eq!(store.wake_deliveries(second(99), 100).await.unwrap(), 0);
    assert_eq!(store.wake_deliveries(second(100), 3).await.unwrap(), 3);
    assert_eq!(store.wake_deliveries(second(100), 100).await.unwrap(), 2);
    let queues = ready(&store, &ALL).await;
    let name = |name: &str| name.to_owned();
    let expected = [(tenant(), name("a"), 2), (tenant(), name("b"), 1), (other, name("c"), 1), (live, name("d"), 1)];
    let mut found = listed(&queues);
    found.sort_by(|one, other| one.1.cmp(&other.1));
    assert_eq!(found, expected);
    let of_a = queues.iter().find(|queue| queue.destination.address_id == "a").unwrap();
    assert_eq!((of_a.destination.host.as_str(), of_a.due_at), ("a.example:443", second(100)));
    assert!(!of_a.destination.is_failing);
    let one = ready(&store, &ReadyFilter { per_address: 1, ..ALL }).await;
    assert!(one.iter().all(|queue| queue.count == 1), "counted no further than asked for");
    let leased = lease(&store, 100).await;
    assert_eq!(leased.len(), 5);
    assert!(leased.iter().all(|one| one.address.host == address(&one.address.id).host));
    let failed = leased.iter().find(|one| one.address.id == "b").unwrap();
    store.end_attempt(ended(failed, again(105))).await.unwrap();
    store.wake_deliveries(second(105), 100).await.unwrap();
    let queues = ready(&store, &ALL).await;
    assert_eq!(listed(&queues), [(tenant(), name("b"), 1)], "leased ones are not listed");
    assert!(queues[0].destination.is_failing);
}

async fn a_tenant_with_many_addresses_is_looked_at_in_parts(store: Arc<dyn Store>) {
    dispatch_of(&store, &tenant(), 1, &["a", "b", "c", "d", "e"]).await;
    dispatch_of(&store, &strangers()[0], 11, &["x"]).await;
    store.wake_deliveries(second(100), 100).await.unwrap();
    let mut filter = ReadyFilter { addresses: 2, ..ALL };
    let mut parts = Vec::new();
    for _ in 0..3 {
        let queues = ready(&store, &filter).await;
        let own = queues.iter().filter(|queue| queue.destination.tenant == tenant());
        let own: Vec<_> = own.map(|queue| queue.destination.address_id.clone()).collect();
        assert_eq!(queues.len(), own.len() + 1, "the other tenant is always looked at");
        filter.after = vec![(tenant(), own.last().unwrap().clone())];
        parts.push(own.concat());
    }
    assert_eq!(parts, ["ab", "cd", "e"]);
}

async fn an_address_gets_as_many_leases_as_are_asked_for(store: Arc<dyn Store>) {
    dispatch_of(&store, &tenant(), 1, &["a", "a", "a", "b"]).await;
    store.wake_deliveries(second(100), 100).await.unwrap();
    let requests = [("a", 2), ("b", 5), ("unknown", 5)];
    let requests = requests.map(|(id, count)| LeaseRequest { tenant: tenant(), address_id: id.to_owned(), count });
    let leased = store.lease_deliveries("courier", second(130), requests.to_vec()).await.unwrap();
    let count = |id: &str| leased.iter().filter(|one| one.address.id == id).count();
    assert_eq!((count("a"), count("b")), (2, 1));
    let foreign = LeaseRequest { tenant: strangers()[0].clone(), ..requests[0].clone() };
    assert!(store.lease_deliveries("courier", second(130), vec![foreign]).await.unwrap().is_empty());
    assert!(store.lease_deliveries("courier", second(130), Vec::new()).await.unwrap().is_empty());
    assert_eq!(lease(&store, 100).await.len(), 1);
}

async fn what_is_behind_an_untried_delivery_is_not_listed(store: Arc<dyn Store>) {
    linked(&store, 1, 50).await;
    dispatch(&store, "a").await;
    assert_eq!(store.wake_deliveries(second(100), 100).await.unwrap(), 1);
    assert_eq!(listed(&ready(&store, &ALL).await), [(tenant(), "a".to_owned(), 1)]);
    let head = lease(&store, 100).await.pop().unwrap();
    assert!(ready(&store, &ALL).await.is_empty());
    assert_eq!(store.next_delivery_at().await.unwrap(), Some(second(130)), "the end of the lease");
    store.end_attempt(ended(&head, again(500))).await.unwrap();
    let next = lease(&store, 101).await;
    assert_eq!(next.iter().map(|one| one.body.as_str()).collect::<Vec<_>>(), [r#"{"n":2}"#]);
}

async fn a_replay_into_a_line_keeps_its_order(store: Arc<dyn Store>) {
    linked(&store, 1, 5).await;
    dispatch(&store, "a").await;
    for _ in 1..=2 {
        let leased = lease(&store, 100).await.pop().unwrap();
        store.end_attempt(ended(&leased, NextAttempt::Delivered)).await.unwrap();
    }
    // The third is the head; the second and the first come back before it.
    let replayed = [2, 1].map(|sequence| dispatched(&tenant(), &event(1, sequence), "a"));
    store.replay_deliveries(replayed.to_vec()).await.unwrap();
    let mut order = Vec::new();
    while let Some(leased) = lease(&store, 100).await.pop() {
        assert!(lease(&store, 100).await.is_empty(), "one at a time");
        order.push(leased.body.clone());
        store.end_attempt(ended(&leased, NextAttempt::Delivered)).await.unwrap();
    }
    assert_eq!(order, (1..=5).map(|number| format!("{{\"n\":{number}}}")).collect::<Vec<_>>());
}

async fn failed_attempts_are_counted_up_to_ten_until_one_succeeds(store: Arc<dyn Store>) {
    linked(&store, 1, 1).await;
    dispatch(&store, "a").await;
    for number in 0..12_u32 {
        let leased = lease(&store, 100).await.pop().unwrap();
        let since = (number > 0).then(|| second(101));
        assert_eq!(leased.failing, Failing { since, attempts: number.min(10) });
        store.end_attempt(ended(&leased, again(100))).await.unwrap();
    }
    let leased = lease(&store, 100).await.pop().unwrap();
    store.end_attempt(ended(&leased, NextAttempt::Delivered)).await.unwrap();
    store.replay_deliveries(vec![dispatched(&tenant(), &event(1, 1), "a")]).await.unwrap();
    let leased = lease(&store, 100).await.pop().unwrap();
    assert_eq!(leased.failing, Failing::default());
    store.end_attempt(ended(&leased, again(100))).await.unwrap();
    let on = Changes { switched_on: vec!["a".to_owned()], ..Changes::default() };
    store.commit(on).await.unwrap();
    assert_eq!(lease(&store, 100).await.pop().unwrap().failing, Failing::default(), "switched on, it begins anew");
}

/// So many events of a link to an address, which is switched off by the first attempt.
async fn switched_off(store: &Arc<dyn Store>, events: u64) {
    linked(store, 1, events).await;
    while !store.list_undispatched(1).await.unwrap().is_empty() {
        dispatch(store, "a").await;
    }
    let leased = lease(store, 100).await.pop().unwrap();
    let unwanted = EndedAttempt { switch_off: Some("unwanted"), ..ended(&leased, NextAttempt::Dead) };
    assert!(store.end_attempt(unwanted).await.unwrap());
}

async fn count_in(store: &Arc<dyn Store>, state: DeliveryState) -> usize {
    let filter = EventFilter { delivery: Some(state), ..EventFilter::default() };
    let page = store.list_events(&tenant(), &filter, 10_000).await.unwrap();
    assert!(page.is_last, "all of them were looked at");
    page.events.len()
}

async fn a_long_line_is_buried_in_pieces(store: Arc<dyn Store>) {
    switched_off(&store, 1_203).await;
    assert_eq!(count_in(&store, DeliveryState::Waiting).await, 702, "500 at once, and the one that was tried");
    assert!(lease(&store, 100).await.is_empty(), "none of them is attempted");
    assert_eq!(store.bury_deliveries(700).await.unwrap(), 700);
    assert_eq!(store.bury_deliveries(700).await.unwrap(), 2);
    assert_eq!(store.bury_deliveries(700).await.unwrap(), 0);
    assert_eq!(count_in(&store, DeliveryState::Dead).await, 1_203);
}

async fn what_was_not_buried_yet_goes_on_when_its_address_is_switched_on(store: Arc<dyn Store>) {
    switched_off(&store, 503).await;
    store.commit(Changes { switched_on: vec!["a".to_owned()], ..Changes::default() }).await.unwrap();
    for _ in 0..2 {
        let leased = lease(&store, 100).await.pop().unwrap();
        store.end_attempt(ended(&leased, NextAttempt::Delivered)).await.unwrap();
    }
    assert!(lease(&store, 100).await.is_empty());
    assert_eq!(count_in(&store, DeliveryState::Waiting).await, 0);
}

async fn an_address_goes_with_its_last_delivery(store: Arc<dyn Store>) {
    linked(&store, 1, 1).await;
    dispatch(&store, "a").await;
    let leased = lease(&store, 100).await.pop().unwrap();
    store.end_attempt(ended(&leased, again(200))).await.unwrap();
    assert_eq!(store.list_failing_addresses().await.unwrap().len(), 1);
    let far = store.now() + SignedDuration::from_hours(1);
    while store.cleanup(store.now() - SignedDuration::from_hours(1), 10).await.unwrap() > 0 {}
    assert_eq!(store.list_failing_addresses().await.unwrap().len(), 1, "its delivery is there");
    while store.cleanup(far, 10).await.unwrap() > 0 {}
    assert!(store.list_failing_addresses().await.unwrap().is_empty());
    linked(&store, 2, 1).await;
    dispatch(&store, "a").await;
    assert_eq!(lease(&store, 100).await.len(), 1, "it comes back with the next event");
}

async fn a_line_goes_on_behind_what_retention_deleted(store: Arc<dyn Store>) {
    linked(&store, 1, 3).await;
    dispatch(&store, "a").await;
    let far = store.now() + SignedDuration::from_hours(1);
    store.cleanup(far, 1).await.unwrap();
    let mut went = 0;
    while let Some(leased) = lease(&store, 100).await.pop() {
        store.end_attempt(ended(&leased, NextAttempt::Delivered)).await.unwrap();
        went += 1;
    }
    assert_eq!(went, 2);
}

async fn lines_that_grow_while_they_are_delivered_never_stop(store: Arc<dyn Store>) {
    const LINKS: u128 = 4;
    const EVENTS: u64 = 40;
    for link in 1..=LINKS {
        stored_link(&*store, link).await;
    }
    let writer = |store: Arc<dyn Store>| async move {
        for sequence in 1..=EVENTS {
            let events = (1..=LINKS).map(|link| event(link, sequence)).collect();
            store.commit(Changes { events, ..Changes::default() }).await.unwrap();
            let waiting = store.list_undispatched(1_000).await.unwrap();
            let events = waiting.iter().map(|one| dispatched(&one.tenant, &one.event, "a")).collect();
            assert!(store.dispatch_events(events).await.unwrap());
        }
    };
    let courier = |store: Arc<dyn Store>, open: Arc<std::sync::atomic::AtomicUsize>| async move {
        use std::sync::atomic::Ordering::SeqCst;
        while open.load(SeqCst) > 0 {
            let leased = lease(&store, 100).await;
            for one in &leased {
                // Every third is tried again, at once.
                let is_third = one.tries == 0 && one.lease.token.len() % 3 == 0;
                let next = if is_third { again(100) } else { NextAttempt::Delivered };
                assert!(store.end_attempt(ended(one, next)).await.unwrap());
                if !is_third {
                    open.fetch_sub(1, SeqCst);
                }
            }
            if leased.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    };
    let open = Arc::new(std::sync::atomic::AtomicUsize::new(LINKS as usize * EVENTS as usize));
    let mut tasks = vec![tokio::spawn(writer(store.clone()))];
    tasks.extend((0..3).map(|_| tokio::spawn(courier(store.clone(), open.clone()))));
    let all = futures_util::future::join_all(tasks);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(120), all).await;
    let ended = ended.unwrap_or_else(|_| panic!("{open:?} deliveries are never attempted"));
    ended.into_iter().for_each(|task| task.unwrap());
    assert_eq!(count_in(&store, DeliveryState::Waiting).await, 0);
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
    assert_eq!((leased.attempts, leased.tries), (1, 1));
    assert_eq!(leased.failing, Failing { since: Some(second(101)), attempts: 1 });
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
    let count = async |filter: EventFilter| store.list_events(&tenant(), &filter, 100).await.unwrap().events.len();
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

async fn a_narrowed_read_passes_over_a_bounded_part_and_says_how_far_it_came(store: Arc<dyn Store>) {
    let many = u64::from(PASSED_OVER_MAX) + 500;
    linked(&store, 1, many - 1).await;
    while !store.list_undispatched(1).await.unwrap().is_empty() {
        dispatch(&store, "a").await;
    }
    linked(&store, 2, 1).await;
    dispatch(&store, "a").await;
    let read = async |filter: &EventFilter| {
        let page = store.list_events(&tenant(), filter, 10).await.unwrap();
        (page.events.iter().map(|one| one.position).collect::<Vec<_>>(), page.read_to, page.is_last)
    };
    let all = EventFilter::default;
    // Nothing is dead: looked at in parts, one after the other.
    let dead = EventFilter { delivery: Some(DeliveryState::Dead), ..all() };
    assert_eq!(read(&dead).await, (vec![], u64::from(PASSED_OVER_MAX), false));
    let behind = EventFilter { after: u64::from(PASSED_OVER_MAX), ..dead };
    assert_eq!(read(&behind).await, (vec![], many, true));
    // A link and a kind have an index: nothing else is passed over.
    let of_link = EventFilter { link_id: Some(LinkId::from_bits(2)), ..all() };
    for filter in
        [of_link.clone(), EventFilter { kind: Some("link.state_changed".into()), to: Some(second(99)), ..of_link }]
    {
        assert_eq!(read(&filter).await, (vec![many], many, true), "{filter:?}");
    }
    let of_kind = EventFilter { kind: Some("nothing".into()), ..all() };
    assert_eq!(read(&of_kind).await, (vec![], many, true));
    // A full page says where its last event stands, an empty one behind the end where it began.
    assert_eq!(read(&all()).await, ((1..=10).collect(), 10, false));
    assert_eq!(read(&EventFilter { after: many - 10, ..all() }).await, ((many - 9..=many).collect(), many, true));
    assert_eq!(read(&EventFilter { after: many + 7, ..all() }).await, (vec![], many + 7, true));
}

async fn a_filter_matches_in_memory_what_it_finds_in_the_store(store: Arc<dyn Store>) {
    linked(&store, 1, 4).await;
    linked(&store, 2, 3).await;
    dispatch(&store, "a").await;
    let leased = lease(&store, 100).await;
    store.end_attempt(ended(&leased[0], NextAttempt::Dead)).await.unwrap();
    let everything = ledger(&store).await;
    let link_ids = [None, Some(LinkId::from_bits(1)), Some(LinkId::from_bits(9))];
    let kinds = [None, Some("link.state_changed".to_owned()), Some("nothing".to_owned())];
    let (times, states) = ([None, Some(second(2)), Some(second(4))], [None, Some(DeliveryState::Dead)]);
    for (link_id, kind) in link_ids.iter().flat_map(|id| kinds.iter().map(move |kind| (id.clone(), kind.clone()))) {
        for (from, to) in times.iter().flat_map(|from| times.iter().map(move |to| (*from, *to))) {
            for (after, delivery) in [0, 3].iter().flat_map(|after| states.iter().map(move |state| (*after, *state))) {
                let filter = EventFilter { after, link_id: link_id.clone(), kind: kind.clone(), from, to, delivery };
                let found = store.list_events(&tenant(), &filter, 100).await.unwrap().events;
                let positions = |events: &mut dyn Iterator<Item = &LedgerEvent>| -> Vec<u64> {
                    events.map(|one| one.position).collect()
                };
                let matching = positions(&mut everything.iter().filter(|one| filter.matches(one)));
                assert_eq!(positions(&mut found.iter()), matching, "{filter:?}");
            }
        }
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
    let far = store.now() + SignedDuration::from_hours(1);
    while store.cleanup(far, 2).await.unwrap() > 0 {}
    assert!(ledger(&store).await.is_empty());
    assert_eq!(store.next_delivery_at().await.unwrap(), None);
    assert_eq!(store.list_undispatched(10).await.unwrap().len(), 1, "what nobody has seen yet stays");
}
