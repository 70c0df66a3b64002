//! One random history on both stores: every step has the same outcome, and afterwards every read of the port gives the
//! same. Steps draw from few ids, so that they meet: guards are lost, rows are taken over, deleted links are written to.

use std::{fmt::Debug, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use passbook_core::{
    change_log::{LogEntry, LogWrites},
    delivery_shares::ReadyQueue,
    event::{Event, EventKind},
    ids::{AccountId, EventId, InvestmentTransactionId, JobId, LinkId, SecurityId, SessionId, TransactionId},
    institution::Country,
    investment::{InvestmentKind, InvestmentTransaction, InvestmentTransactionDetails, Portfolio},
    link::{LinkErrorCode, LinkSecrets, LinkState},
    reconcile::InvestmentChanges,
    retention::TimeWatch,
    secret::SecretBytes,
    session::SessionProgress,
    tenant::{ScopeSet, Tenant},
    time::AppClock,
    transaction::Transaction,
};
use passbook_store::port::{
    Address, AnswerKey, AnswerWrite, AppInstitution, ChangeFilter, Changes, Client, ClockWrite, DeliveryLease,
    DeliveryState, DispatchedEvent, EndedAttempt, EventFilter, FinishedJob, ImportKey, InvestmentWrites, JobState,
    JobWork, LeaseRef, LeaseRequest, LeasedDelivery, LinkPosition, LinkWrite, NewDelivery, NewJob, NewToken,
    NextAttempt, ReadyFilter, Reservation, SessionWrite, Store, StoreError, TransactionFilter, TransactionWrites,
    UserTransactionFilter,
};
use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, TestRunner},
};

use crate::{Fresh, examples::*};

/// Reads that are compared after each history, at least.
const QUERIES: usize = 400;
/// Histories of a test run, and steps of each at most.
const HISTORIES: u32 = 12;
const STEPS: usize = 80;

/// A kind of step and the numbers that it draws its values from.
type Step = (u8, u8, u8, u8);

/// A store and what the history remembers of it: values that the store itself made at random.
struct Side {
    store: Arc<dyn Store>,
    fences: Vec<(AnswerKey, u64)>,
}

/// What both stores gave so far, the same for both.
#[derive(Default)]
struct Remembered {
    leases: Vec<LeaseRef>,
    deliveries: Vec<(DeliveryLease, LinkId, String)>,
    dispatched: Vec<DispatchedEvent>,
}

fn tenant_of(number: u8) -> Tenant {
    match number % 4 {
        0 | 1 => tenant(),
        other => strangers()[usize::from(other) - 2].clone(),
    }
}

fn user(number: u8) -> String {
    ["ada", "bob \u{e9}", "cy\u{0}d", "\u{10ffff}0"][usize::from(number % 4)].to_owned()
}

fn link_bits(number: u8) -> u128 {
    u128::from(number % 5) + 1
}

/// An address is of one tenant and has one URL: its id is a digest of both.
fn address_of(tenant: &Tenant, number: u8) -> Address {
    let number = number % 3;
    let (app, environment) = (tenant.app_id.as_str(), tenant.environment.as_str());
    Address { id: format!("{number} of {app} {environment}"), url: user(number), host: format!("host {number}") }
}

fn account_of(number: u8) -> AccountId {
    AccountId::from_bits(u128::from(number % 3) + 1)
}

fn day(number: u8) -> String {
    format!("2024-05-{:02}", number % 6 + 1)
}

fn moment(number: u8) -> Timestamp {
    second(i64::from(number) * 10)
}

fn row(bits: u8, variant: u8) -> Transaction {
    let mut row = transaction(u128::from(bits), &day(variant));
    row.account_id = account_of(bits);
    row.upstream_key = format!("key {}", variant % 8);
    row.details.datetime = (!variant.is_multiple_of(3)).then(|| moment(variant));
    row.details.pending = variant.is_multiple_of(5);
    row.details.raw_description = variant.is_multiple_of(2).then(|| user(variant));
    row.original_id = (variant % 4 == 1).then(|| format!("theirs {variant}"));
    row.pending_id = variant.is_multiple_of(7).then(|| TransactionId::from_bits(u128::from(variant)));
    row
}

fn investment(bits: u8, variant: u8) -> InvestmentTransaction {
    InvestmentTransaction {
        id: InvestmentTransactionId::from_bits(u128::from(bits)),
        account_id: account_of(bits),
        upstream_key: format!("key {}", variant % 8),
        security_id: variant.is_multiple_of(2).then(|| SecurityId::from_bits(1)),
        details: InvestmentTransactionDetails {
            amount: "-12.50".parse().expect("a decimal"),
            date: day(variant).parse().expect("a date"),
            datetime: (!variant.is_multiple_of(3)).then(|| moment(variant)),
            description: user(variant),
            kind: InvestmentKind::Cash,
            subtype: None,
            fees: None,
            forex_rate: None,
            price: None,
            quantity: None,
        },
    }
}

fn entry(position: u64, row: &Transaction) -> LogEntry {
    LogEntry { position, transaction_id: row.id.clone(), account_id: row.account_id.clone() }
}

fn answer_key(number: u8) -> AnswerKey {
    AnswerKey { tenant: tenant_of(number), hash: format!("{:064x}", number % 3) }
}

/// An outcome as far as both stores must agree on it.
fn shown<T: Debug, E: std::error::Error>(outcome: &Result<T, E>) -> String {
    match outcome {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("refused: {error}"),
    }
}

fn client(a: u8, b: u8, c: u8) -> Client {
    Client {
        client_id: format!("client {}", a % 3),
        tenant: tenant_of(b),
        name: user(c),
        secret_hashes: (0..=c % 3).map(|hash| [hash.wrapping_add(b); 32]).collect(),
        scopes: ScopeSet::all(),
        disabled_at: c.is_multiple_of(5).then(|| moment(c)),
        app_disabled_at: None,
    }
}

/// A write of link `a` as `from` says it is stored, or of a new one.
async fn link_write(from: &Side, a: u8, b: u8, c: u8) -> LinkWrite {
    let id = LinkId::from_bits(link_bits(a));
    let stored = from.store.lookup_link(&tenant_of(b), &id).await.ok().flatten();
    let (mut link, version) = match stored {
        Some(stored) => (stored.link, Some(stored.version + u64::from(c.is_multiple_of(7)))),
        None => (link(link_bits(a)), c.is_multiple_of(11).then_some(1)),
    };
    if version.is_none() {
        link.tenant = tenant_of(b);
        link.customer_user_id = user(c);
        link.created_at = moment(b);
    }
    match c % 4 {
        0 => link.connect(moment(c)),
        1 => link.fail(LinkErrorCode::AuthExpired, moment(c)),
        2 => link.note_fetched(passbook_core::product::Product::Accounts, moment(c)),
        _ => {}
    }
    link.recorded.clear();
    let secret = |wanted: bool| wanted.then(|| SecretBytes::new(vec![b, c]));
    LinkWrite {
        expected_version: version,
        numbers_view: secret(c.is_multiple_of(3)),
        secrets: b.is_multiple_of(3).then(|| if c.is_multiple_of(2) { secrets() } else { LinkSecrets::default() }),
        credential: secret(b.is_multiple_of(4)),
        import_key: match c % 6 {
            0 | 1 => ImportKey::Set(format!("file {}", b % 2)),
            2 => ImportKey::Free,
            _ => ImportKey::Keep,
        },
        ..insertion(link)
    }
}

/// Changes that do not depend on what the history remembers.
async fn changes_of(from: &Side, step: Step) -> Option<Changes> {
    let (kind, a, b, c) = step;
    let nothing = Changes::default;
    Some(match kind {
        0 => Changes {
            app: Some(passbook_store::port::App {
                name: user(b),
                // Disable only the app that has the jobs. While another app is disabled, the stores may order jobs that
                // are due at the same time differently.
                disabled_at: (a.is_multiple_of(2) && c % 6 == 5).then(|| moment(c)),
                ..app(u128::from(a % 2) + 1)
            }),
            ..nothing()
        },
        1 => Changes { client: Some(client(a, b, c)), ..nothing() },
        2 => {
            let token = NewToken {
                hash: [c % 8; 32],
                client_id: format!("client {}", a % 3),
                scopes: ScopeSet::all(),
                created_at: moment(b),
                expires_at: moment(c),
                purge_after: moment(c),
            };
            Changes { token: Some(token), ..nothing() }
        }
        3 => changes(link_write(from, a, b, c).await),
        4 => {
            let mut write = link_write(from, a, b, c).await;
            write.expected_version?;
            write.link.delete(moment(c));
            let events = std::mem::take(&mut write.link.recorded);
            Changes { events, ..changes(LinkWrite { destroy: true, ..write }) }
        }
        5 => {
            let log = LogWrites { created: vec![entry(u64::from(c), &row(b, c))], ..LogWrites::default() };
            let writes = TransactionWrites { created: vec![row(b, c)], log, ..of_link(a) };
            Changes { transactions: Some(writes), ..nothing() }
        }
        6 => {
            let updated = vec![row(b, c), row(b.wrapping_add(1), c.wrapping_add(1))];
            let log = LogWrites {
                dropped: vec![row(c, 0).id],
                removed: vec![entry(200 + u64::from(c), &row(a, 0))],
                updated: vec![entry(500 + u64::from(c), &row(b, c))],
                created: Vec::new(),
            };
            let removed = vec![row(a, 0).id];
            Changes { transactions: Some(TransactionWrites { updated, removed, log, ..of_link(a) }), ..nothing() }
        }
        7 => {
            let moved = InvestmentChanges {
                portfolio: Portfolio::default(),
                created: vec![investment(b, c)],
                updated: if c.is_multiple_of(3) { vec![investment(a, c)] } else { Vec::new() },
                removed: vec![InvestmentTransactionId::from_bits(u128::from(c))],
            };
            let link_id = LinkId::from_bits(link_bits(a));
            Changes { investments: Some(InvestmentWrites { link_id, changes: moved }), ..nothing() }
        }
        8 => {
            let work = match c % 3 {
                0 => JobWork::FollowSchedule { failures: c.into() },
                1 => JobWork::ExpireExchange,
                _ => JobWork::RefreshProducts { products: passbook_core::product::ProductSet::default() },
            };
            let due_at = if c.is_multiple_of(9) { Timestamp::MAX } else { moment(c) };
            let app_due_at = c.is_multiple_of(2).then(|| moment(b));
            let job = NewJob { work, due_at, app_due_at, ..job(u128::from(b % 12), link_bits(a), moment(c)) };
            Changes { jobs: vec![job], ..nothing() }
        }
        9 => {
            let event = Event {
                link_id: LinkId::from_bits(link_bits(a)),
                sequence: u64::from(b % 6) + 1,
                at: moment(c),
                tags: vec![user(c)],
                kind: EventKind::LinkStateChanged { state: LinkState::Connected, error: None },
                webhook: c.is_multiple_of(2).then(|| "https://app.example/hook".to_owned()),
            };
            Changes { events: vec![event], ..nothing() }
        }
        10 => {
            let mut session = session(u128::from(a % 4) + 1);
            session.tenant = tenant_of(b);
            session.expires_at = moment(c);
            session.progress = match c % 3 {
                0 => SessionProgress::Open,
                1 => SessionProgress::Succeeded { exchange_hash: [b % 4; 32], exchange_expires_at: moment(c) },
                _ => SessionProgress::Exchanged,
            };
            let known = from.store.lookup_session(&session.id).await.ok().flatten();
            let write = SessionWrite {
                request: b.is_multiple_of(2).then(|| SecretBytes::new(vec![c])),
                wipe_request: b.is_multiple_of(5),
                spends_token: c % 3 == 2,
                ..session_write(session, known.map(|known| known.version + u64::from(b % 6 == 5)))
            };
            Changes { session: Some(write), ..nothing() }
        }
        11 => {
            let known = from.store.lookup_app(&app_id(u128::from(a % 2) + 1)).await.ok().flatten()?;
            let expected = if c.is_multiple_of(5) { AppClock::Frozen { at: moment(c) } } else { known.clock };
            let clock = match b % 3 {
                0 => AppClock::Frozen { at: moment(c) },
                1 => AppClock::Running { offset_us: i64::from(c) * 1_000_000 },
                _ => AppClock::default(),
            };
            Changes { clock: Some(ClockWrite { app_id: known.id, expected, clock, now: second(0) }), ..nothing() }
        }
        12 => {
            let named = AppInstitution { id: format!("bank {}", a % 3), name: user(c), country: Country::Gb };
            let values = vec![(format!("value {}", b % 6), SecretBytes::new(vec![c]))];
            Changes { institution: Some((tenant_of(b), named)), instance_values: values, ..nothing() }
        }
        13 => Changes { switched_on: vec![address_of(&tenant_of(b), a).id], ..nothing() },
        _ => return None,
    })
}

fn of_link(number: u8) -> TransactionWrites {
    TransactionWrites { link_id: Some(LinkId::from_bits(link_bits(number))), ..TransactionWrites::default() }
}

/// Everything else. `remembered` comes from the first side, whose outcomes are the other's.
async fn act(side: &mut Side, remembered: &Remembered, step: Step) -> (String, Remembered) {
    let (kind, a, b, c) = step;
    let (store, mut learnt) = (Arc::clone(&side.store), Remembered::default());
    let (now, until) = (moment(b), moment(b.saturating_add(c % 30)));
    let outcome = match kind {
        14 => {
            let leased = store.lease_jobs("worker", now, until, u32::from(a % 4) + 1, &[]).await;
            learnt.leases = leased.iter().flatten().map(|job| job.lease.clone()).collect();
            shown(&leased)
        }
        15 => match pick(&remembered.leases, a) {
            None => String::new(),
            Some(lease) => match b % 4 {
                0 => shown(&store.renew_lease(lease, until).await),
                1 => shown(&store.release_job(lease, moment(c)).await),
                2 => shown(&store.commit(Changes { held_lease: Some(lease.clone()), ..Changes::default() }).await),
                _ => {
                    let state = if c.is_multiple_of(2) { JobState::Done } else { JobState::Failed };
                    let finished = FinishedJob { lease: lease.clone(), state, finished_at: moment(c) };
                    shown(&store.commit(Changes { finished_job: Some(finished), ..Changes::default() }).await)
                }
            },
        },
        16 => {
            let waiting = store.list_undispatched(u32::from(a % 4) + 1).await.expect("the store answers");
            let to_address = |one: &passbook_store::port::UndispatchedEvent| NewDelivery {
                token: format!("{}/{}", one.event.link_id, one.event.sequence),
                address: address_of(&one.tenant, b),
                body: user(c),
                due_at: moment(c),
                app_due_at: moment(c),
            };
            let made: Vec<_> = waiting
                .iter()
                .map(|one| DispatchedEvent {
                    tenant: one.tenant.clone(),
                    link_id: one.event.link_id.clone(),
                    sequence: one.event.sequence,
                    event_id: EventId::from_bits(
                        u128::from(one.event.sequence) << 64 | u128::from(one.event.link_id.as_str().as_bytes()[24]),
                    ),
                    delivery: (!c.is_multiple_of(4)).then(|| to_address(one)),
                })
                .collect();
            let outcome = shown(&store.dispatch_events(made.clone()).await);
            learnt.dispatched = made;
            format!("{waiting:?} {outcome}")
        }
        17 => {
            let (woken, ready) = (store.wake_deliveries(now, 1_000).await, ready(&*store).await);
            // Which of several that are due at the same time comes first is nobody's promise, so none is left out.
            let requests: Vec<_> = ready.iter().flatten().map(lease_of_all).collect();
            let mut leased = store.lease_deliveries("courier", until, requests).await;
            let token = |one: &LeasedDelivery| one.lease.token.clone();
            leased.iter_mut().for_each(|all| all.sort_by_key(token));
            let place = |one: &LeasedDelivery| (one.lease.clone(), one.link_id.clone(), one.address.id.clone());
            learnt.deliveries = leased.iter().flatten().map(place).collect();
            let sent: Vec<_> = leased.iter().flatten().map(sent).collect();
            format!("{} {} {} {sent:?}", shown(&woken), shown(&ready), shown(&leased))
        }
        18 => match pick(&remembered.deliveries, a) {
            None => String::new(),
            Some((lease, link, address)) => {
                let next = match b % 3 {
                    0 => NextAttempt::Delivered,
                    1 => NextAttempt::At { due_at: moment(c), app_due_at: moment(c) },
                    _ => NextAttempt::Dead,
                };
                let ended = EndedAttempt {
                    lease: lease.clone(),
                    link_id: link.clone(),
                    address_id: address.clone(),
                    next,
                    status: c.is_multiple_of(2).then_some(503),
                    error: c.is_multiple_of(3).then_some("it failed"),
                    app_ended_at: moment(c),
                    switch_off: c.is_multiple_of(5).then_some("it failed for long"),
                };
                shown(&store.end_attempt(ended).await)
            }
        },
        19 => match pick(&remembered.dispatched, a) {
            None => String::new(),
            Some(event) => shown(&store.replay_deliveries(vec![event.clone()]).await),
        },
        20 => {
            let reserved = store.reserve_answer(&answer_key(a), &[b % 2; 32], now, until).await;
            match reserved {
                Ok(Reservation::Reserved { fence }) => {
                    side.fences.push((answer_key(a), fence));
                    "reserved".to_owned()
                }
                Ok(Reservation::Answered(kept)) => format!("{} {:?}", kept.status, kept.body.expose()),
                other => shown(&other),
            }
        }
        21 => match pick(&side.fences, a).cloned() {
            None => String::new(),
            Some((key, fence)) if b.is_multiple_of(2) => shown(&store.release_answer(&key, fence).await),
            Some((key, fence)) => {
                let link_id = c.is_multiple_of(2).then(|| LinkId::from_bits(link_bits(c)));
                let body = SecretBytes::new(vec![c]);
                let answer = AnswerWrite { key, fence, status: 201, body, link_id, expires_at: moment(c) };
                shown(&store.commit(Changes { answer: Some(answer), ..Changes::default() }).await)
            }
        },
        22 => shown(&store.take_ordinal(&app_id(u128::from(a % 2) + 1), &format!("kind {}", b % 2)).await),
        23 => {
            let cleaned = shown(&store.cleanup(moment(a), 1_000).await);
            let wiped = shown(&store.wipe_expired_sessions(&tenant_of(b), moment(c), 1_000).await);
            let buried = shown(&store.bury_deliveries(1_000).await);
            format!("{cleaned} {wiped} {buried} {}", shown(&store.forget(moment(b), moment(c), 1_000).await))
        }
        _ => {
            let known = store.lookup_watched_time().await.expect("the store answers");
            let watch = TimeWatch::look(known, moment(b), SignedDuration::from_secs(c.into()));
            let expected = if a.is_multiple_of(4) { None } else { known };
            shown(&store.write_watched_time(expected, watch).await)
        }
    };
    (outcome, learnt)
}

/// Deliveries that can be attempted, in an order that does not depend on the store.
async fn ready(store: &dyn Store) -> Result<Vec<ReadyQueue>, StoreError> {
    let filter = ReadyFilter { addresses: 100, per_address: 1_000, after: Vec::new() };
    let mut ready = store.list_ready_deliveries(&filter).await?;
    let place = |one: &ReadyQueue| (format!("{:?}", one.destination.tenant), one.destination.address_id.clone());
    ready.sort_by_key(place);
    Ok(ready)
}

fn lease_of_all(queue: &ReadyQueue) -> LeaseRequest {
    let (tenant, address_id) = (queue.destination.tenant.clone(), queue.destination.address_id.clone());
    LeaseRequest { tenant, address_id, count: queue.count }
}

/// What a delivery does not show of itself.
fn sent(one: &LeasedDelivery) -> String {
    format!("{} {} {} {:?}", one.address.url, one.address.host, one.body, one.failing)
}

fn pick<T>(from: &[T], number: u8) -> Option<&T> {
    if from.is_empty() { None } else { from.get(usize::from(number) % from.len()) }
}

/// Every read of the port with every value that histories draw, each with what it was asked.
async fn everything(store: &dyn Store) -> Vec<(String, String)> {
    let mut reads: Vec<(String, String)> = Vec::new();
    macro_rules! read {
        ($($asked:expr),* => $answer:expr) => { reads.push((format!("{:?}", ($($asked,)*)), shown(&$answer))) };
    }
    let exposed = |bytes: &SecretBytes| bytes.expose().to_vec();
    let tenants: Vec<Tenant> = [0, 2, 3].map(tenant_of).into();
    for tenant in &tenants {
        for id in (1..=5).map(LinkId::from_bits) {
            let numbers = store.lookup_numbers_answer(tenant, &id).await;
            read!("numbers", tenant, &id => numbers.map(|one| one.map(|one| (exposed(&one.accounts), one.link))));
            read!("answer", tenant, &id => store.lookup_link_answer(tenant, &id).await);
            read!("link", tenant, &id => store.lookup_link(tenant, &id).await);
            read!("remains", tenant, &id => store.lookup_link_remains(tenant, &id).await);
            let secrets = store.lookup_secrets(tenant, &id).await;
            let opened = |one: passbook_store::port::StoredSecrets| {
                let json = |secret: &dyn erased::Json| secret.json();
                (json(&one.secrets.numbers), json(&one.secrets.owners), one.credential.as_ref().map(exposed))
            };
            read!("secrets", tenant, &id => secrets.map(|one| one.map(opened)));
            for since in [None, day(3).parse().ok()] {
                let mut rows = store.load_transactions(tenant, &id, since).await;
                rows.iter_mut().for_each(|rows| rows.sort_by(|one, other| one.id.cmp(&other.id)));
                read!("load", tenant, &id, since => rows);
                let mut rows = store.load_investment_transactions(tenant, &id, since).await;
                rows.iter_mut().for_each(|rows| rows.sort_by(|one, other| one.id.cmp(&other.id)));
                read!("load investments", tenant, &id, since => rows);
            }
            for filter in [
                TransactionFilter { limit: 100, ..TransactionFilter::default() },
                TransactionFilter {
                    accounts: Some(vec![account_of(1), account_of(1)]),
                    limit: 3,
                    ..Default::default()
                },
                TransactionFilter { accounts: Some(Vec::new()), limit: 3, ..Default::default() },
                TransactionFilter { start_date: day(2).parse().ok(), offset: 1, limit: 4, ..Default::default() },
                TransactionFilter { end_date: day(3).parse().ok(), offset: 90, limit: 4, ..Default::default() },
            ] {
                read!("transactions", tenant, &id, &filter => store.list_transactions(tenant, &id, &filter).await);
                let investments = store.list_investment_transactions(tenant, &id, &filter).await;
                read!("investments", tenant, &id, &filter => investments);
            }
            for (after, accounts, limit) in
                [(0, None, 100), (3, None, 2), (0, Some(vec![account_of(0)]), 100), (9, Some(Vec::new()), 9)]
            {
                let filter = ChangeFilter { after, accounts, limit };
                read!("changes", tenant, &id, &filter => store.list_transaction_changes(tenant, &id, &filter).await);
            }
            read!("portfolio", tenant, &id => store.lookup_portfolio(tenant, &id).await);
        }
        let page = store.list_links(tenant, None, 2).await;
        let after: Option<LinkPosition> = page.as_ref().ok().and_then(|page| page.last().cloned());
        read!("links", tenant => page);
        read!("more links", tenant => store.list_links(tenant, after.as_ref(), 10).await);
        for number in 0..4 {
            let user = user(number);
            read!("user", tenant, &user => store.list_user_links(tenant, &user).await);
            let connected = store.find_connected_link(tenant, &user, "credentials_bank").await;
            read!("connected", tenant, &user => connected);
        }
        for key in ["file 0", "file 1", "file \u{0}"] {
            read!("import key", tenant, key => store.find_link_by_import_key(tenant, key).await);
        }
        let filter = UserTransactionFilter {
            links: (1..=5).map(LinkId::from_bits).collect(),
            accounts: vec![account_of(0), account_of(1)],
            limit: 20,
            ..UserTransactionFilter::default()
        };
        read!("user transactions", tenant => store.list_user_transactions(tenant, &filter).await);
        for hash in 0..4 {
            let found = store.find_session_by_exchange_hash(tenant, &[hash; 32]).await;
            read!("exchange", tenant, hash => found.map(|one| one.map(|one| (one.session, one.version))));
        }
        read!("institutions", tenant => store.list_app_institutions(tenant).await);
        read!("position", tenant => store.newest_position(tenant).await);
        let mut filters = vec![EventFilter::default(), EventFilter { after: 2, ..EventFilter::default() }];
        filters.push(EventFilter { kind: Some("link.state_changed".into()), ..EventFilter::default() });
        filters.push(EventFilter { from: Some(moment(50)), to: Some(moment(150)), ..EventFilter::default() });
        for state in [DeliveryState::Waiting, DeliveryState::Delivered, DeliveryState::Dead] {
            filters.push(EventFilter { delivery: Some(state), ..EventFilter::default() });
        }
        filters
            .extend((1..=5).map(|bits| EventFilter { link_id: Some(LinkId::from_bits(bits)), ..Default::default() }));
        let mut ids = Vec::new();
        for filter in &filters {
            let events = store.list_events(tenant, filter, 50).await;
            let shown = |one: &passbook_store::port::LedgerEvent| {
                let deliveries: Vec<_> =
                    one.deliveries.iter().map(|one| (format!("{one:?}"), one.url.clone(), one.app_due_at)).collect();
                (one.position, one.event.clone(), deliveries)
            };
            let page = |page: passbook_store::port::LedgerPage| {
                (page.events.iter().map(shown).collect::<Vec<_>>(), page.read_to, page.is_last)
            };
            read!("events", tenant, filter => events.map(page));
        }
        for (link, sequence) in (1..=5).flat_map(|link| (1..=6).map(move |sequence| (link, sequence))) {
            let link = LinkId::from_bits(link);
            ids.push(EventId::from_bits(u128::from(sequence as u64) << 64 | u128::from(link.as_str().as_bytes()[24])));
        }
        ids.extend(ids.clone());
        let found = store.find_events(tenant, &ids).await;
        let found = found.map(|all| all.iter().map(|one| (one.position, one.event.clone())).collect::<Vec<_>>());
        read!("events by id", tenant => found);
    }
    for id in (1..=4).map(SessionId::from_bits) {
        let found = store.lookup_session(&id).await;
        let found = found.map(|one| one.map(|one| (one.session, one.version, one.request.as_ref().map(exposed))));
        read!("session", &id => found);
    }
    for number in 1..=2 {
        read!("app", number => store.lookup_app(&app_id(number)).await);
        read!("usage", number => store.app_usage(&app_id(number)).await);
        read!("clients", number => store.list_clients(&app_id(number)).await);
        read!("newest", number => store.newest_time(&app_id(number)).await);
        for at in [0, 100, 255] {
            read!("due", number, at => store.count_due_jobs(&app_id(number), moment(at)).await);
        }
    }
    for number in 0..3 {
        read!("client", number => store.lookup_client(&format!("client {number}")).await);
        read!("nobody", number => store.lookup_client(&user(number)).await);
    }
    for hash in 0..8 {
        read!("token", hash => store.find_token_by_hash(&[hash; 32]).await);
    }
    for job in (0..12).map(JobId::from_bits) {
        read!("job", &job => store.lookup_job_state(&job).await);
    }
    for number in 0..6 {
        let value = store.lookup_instance_value(&format!("value {number}")).await;
        read!("value", number => value.map(|one| one.as_ref().map(exposed)));
    }
    read!("apps" => store.list_apps().await);
    read!("undispatched" => store.list_undispatched(100).await);
    read!("unscheduled" => store.list_unscheduled_links(None, 100).await);
    read!("unscheduled after" => store.list_unscheduled_links(Some(&LinkId::from_bits(2)), 100).await);
    read!("next due" => store.next_due_at().await);
    read!("ready" => ready(store).await);
    read!("next delivery" => store.next_delivery_at().await);
    read!("watched" => store.lookup_watched_time().await);
    let failing = store.list_failing_addresses().await;
    let failing = failing.map(|all| all.into_iter().map(|one| (format!("{one:?}"), one.url)).collect::<Vec<_>>());
    read!("failing" => failing);
    reads
}

/// Values that have no `Debug`, because they are secret.
mod erased {
    pub trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("plain data")
        }
    }
}

async fn same_history(sqlite: &Fresh, postgres: &Fresh, steps: &[Step]) -> Result<usize, TestCaseError> {
    let mut sides = [sqlite, postgres].map(|fresh| Side { store: Arc::clone(&fresh.store), fences: Vec::new() });
    let mut remembered = Remembered::default();
    // Something to begin with, so that most steps find what they need.
    let begin = [(0, 0, 1, 0), (0, 1, 1, 0), (1, 0, 0, 1), (3, 0, 0, 4), (3, 1, 1, 8), (3, 2, 2, 6)];
    for step in begin.iter().chain(steps) {
        let (one, other, learnt) = if step.0 < 14 {
            // Decided from the first side for both: what is read there is the same on the other.
            let made = (changes_of(&sides[0], *step).await, changes_of(&sides[0], *step).await);
            let (Some(one), Some(other)) = made else { continue };
            let one = shown(&sides[0].store.commit(one).await);
            (one, shown(&sides[1].store.commit(other).await), Remembered::default())
        } else {
            let (one, learnt) = act(&mut sides[0], &remembered, *step).await;
            (one, act(&mut sides[1], &remembered, *step).await.0, learnt)
        };
        prop_assert_eq!(one, other, "outcomes of {:?} differ (SQLite, PostgreSQL)", step);
        remembered.leases.extend(learnt.leases);
        remembered.deliveries.extend(learnt.deliveries);
        remembered.dispatched.extend(learnt.dispatched);
    }
    let (one, other) = (everything(&*sides[0].store).await, everything(&*sides[1].store).await);
    prop_assert_eq!(one.len(), other.len());
    for ((asked, one), (_, other)) in one.iter().zip(&other) {
        prop_assert_eq!(one, other, "answers to {} differ (SQLite, PostgreSQL)", asked);
    }
    let found = one.iter().filter(|(_, answer)| answer.contains("Some(")).count();
    prop_assert!(found >= 10, "histories leave something to read: {}", found);
    Ok(one.len())
}

#[test]
fn both_stores_give_the_same_answers_after_the_same_history() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if postgres_cluster::shared().is_none() {
        return;
    }
    let seeds = FileFailurePersistence::Direct(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/behaviour/history.proptest-regressions"
    ));
    let config = ProptestConfig {
        cases: HISTORIES,
        failure_persistence: Some(Box::new(seeds)),
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let steps = proptest::collection::vec((0..25_u8, any::<u8>(), any::<u8>(), any::<u8>()), 1..STEPS);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        runtime.block_on(async {
            let (sqlite, postgres) = (crate::sqlite(), crate::postgres_standing_still().await);
            let postgres = postgres.expect("the cluster is there");
            let compared = same_history(&sqlite, &postgres, &steps).await;
            sqlite.end().await;
            postgres.end().await;
            prop_assert!(compared? >= QUERIES);
            Ok(())
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// A refusal is told by its text; the sources of stores differ.
#[test]
fn a_refusal_is_compared_by_what_the_port_says() {
    let refused: Result<(), StoreError> = Err(StoreError::Unavailable("of one store".into()));
    assert_eq!(shown(&refused), "refused: the store is unavailable");
}
