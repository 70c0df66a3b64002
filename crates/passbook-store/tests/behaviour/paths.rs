//! Everything that requests, workers and couriers ask of a store, once. Tests that look at plans walk it on a store that
//! holds many other links of the same application.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use passbook_core::{
    change_log::{LogEntry, LogWrites},
    event::{Event, EventKind},
    ids::{AccountId, AppId, EventId, InvestmentTransactionId, JobId, LinkId, SecurityId, SessionId, TransactionId},
    institution::Country,
    investment::{
        Holding, HoldingAmount, InvestmentKind, InvestmentTransaction, InvestmentTransactionDetails, Portfolio,
        Security, SecurityDetails, SecurityKind,
    },
    link::{Link, LinkState},
    reconcile::InvestmentChanges,
    retention::TimeWatch,
    secret::SecretBytes,
    session::SessionProgress,
    tenant::{ScopeSet, Tenant},
    time::AppClock,
    transaction::Transaction,
};
use passbook_store::port::{
    Address, AnswerKey, AnswerWrite, AppInstitution, AuditEntry, ChangeFilter, Changes, Client, ClockWrite,
    CommitError, DeliveryState, DispatchedEvent, EndedAttempt, EventFilter, FinishedJob, Guard, ImportKey,
    InvestmentWrites, JobState, LeaseRequest, LeasedDelivery, LinkWrite, NewDelivery, NewToken, NextAttempt,
    ReadyFilter, Reservation, SessionWrite, Store, TransactionFilter, TransactionWrites, UserTransactionFilter,
};

use crate::examples::*;

/// Transactions of the link that the walk reads.
pub const TRANSACTIONS: u128 = 120;

/// What one walk makes and reads. Walks of different numbers do not touch each other's rows.
pub struct Walk {
    store: Arc<dyn Store>,
    number: u128,
}

fn row(bits: u128, day: u128) -> Transaction {
    let date = format!("2024-04-{:02}", day % 28 + 1);
    Transaction { account_id: AccountId::from_bits(bits % 3 + 1), ..transaction(bits, &date) }
}

fn entry(position: u64, row: &Transaction) -> LogEntry {
    LogEntry { position, transaction_id: row.id.clone(), account_id: row.account_id.clone() }
}

fn investment(bits: u128) -> InvestmentTransaction {
    InvestmentTransaction {
        id: InvestmentTransactionId::from_bits(bits),
        account_id: AccountId::from_bits(bits % 3 + 1),
        upstream_key: format!("key-{bits}"),
        security_id: Some(SecurityId::from_bits(1)),
        details: InvestmentTransactionDetails {
            amount: "-12.50".parse().expect("a decimal"),
            date: format!("2024-04-{:02}", bits % 28 + 1).parse().expect("a date"),
            datetime: None,
            description: "Dividend".into(),
            kind: InvestmentKind::Cash,
            subtype: None,
            fees: None,
            forex_rate: None,
            price: None,
            quantity: None,
        },
    }
}

fn portfolio() -> Portfolio {
    let details = SecurityDetails {
        upstream_key: "fund".into(),
        name: "A fund".into(),
        kind: SecurityKind::Fund,
        currency: "USD".into(),
        ticker: None,
        isin: None,
        sedol: None,
        close_price: None,
        close_date: None,
    };
    let amount = HoldingAmount {
        quantity: "1".parse().expect("a decimal"),
        price: None,
        price_datetime: None,
        value: None,
        cost_basis: None,
    };
    Portfolio {
        securities: vec![Security { id: SecurityId::from_bits(1), details }],
        holdings: vec![Holding { account_id: AccountId::from_bits(1), security_id: SecurityId::from_bits(1), amount }],
    }
}

impl Walk {
    pub fn new(store: Arc<dyn Store>, number: u128) -> Self {
        Self { store, number }
    }

    fn bits(&self, offset: u128) -> u128 {
        (self.number + 1) * 1_000_000_000 + offset
    }

    fn user(&self) -> String {
        format!("walker {}", self.number)
    }

    fn client(&self) -> Client {
        Client {
            client_id: format!("walk_{}", self.number),
            tenant: tenant(),
            name: "Backend".into(),
            secret_hashes: vec![[7; 32]],
            scopes: ScopeSet::all(),
            disabled_at: None,
            app_disabled_at: None,
        }
    }

    fn hash(&self, kind: u8) -> [u8; 32] {
        let mut hash = [kind; 32];
        hash[..16].copy_from_slice(&self.bits(0).to_be_bytes());
        hash
    }

    /// A connected link of the walk's user.
    fn link(&self, offset: u128) -> Link {
        let mut link = connected_link(self.bits(offset));
        link.customer_user_id = self.user();
        link
    }

    async fn commit(&self, changes: Changes) {
        self.store.commit(changes).await.expect("the walk's own commits lose no guard");
    }

    /// All of it.
    pub async fn run(&self) {
        self.calls_are_recognised().await;
        self.a_link_is_made().await;
        self.a_fetch_is_stored().await;
        self.a_link_is_read().await;
        self.an_end_user_is_read().await;
        self.jobs_are_worked_on().await;
        self.events_are_delivered().await;
        self.upkeep_is_done().await;
        self.a_link_is_deleted().await;
    }

    async fn calls_are_recognised(&self) {
        let store = &self.store;
        let renamed = passbook_store::port::App { name: "Renamed".into(), ..app(1) };
        let app_was = store.lookup_app(&app_id(1)).await.unwrap();
        self.commit(Changes { app: Some(renamed), app_was, client: Some(self.client()), ..Changes::default() }).await;
        // A withdrawn secret.
        let client = Client { secret_hashes: vec![[8; 32]], ..self.client() };
        let client_was = store.lookup_client(&client.client_id).await.unwrap();
        self.commit(Changes { client: Some(client), client_was, ..Changes::default() }).await;
        let token = NewToken {
            hash: self.hash(1),
            client_id: self.client().client_id,
            scopes: ScopeSet::all(),
            created_at: second(0),
            expires_at: second(1_800),
            purge_after: second(3_600),
        };
        self.commit(Changes { token: Some(token), ..Changes::default() }).await;
        assert!(store.find_token_by_hash(&self.hash(1)).await.unwrap().is_some());
        assert!(store.lookup_client(&self.client().client_id).await.unwrap().is_some());
        assert!(store.lookup_app(&app_id(1)).await.unwrap().is_some());
        assert!(store.take_ordinal(&app_id(1), "walk").await.unwrap() > 0);
        let name = format!("walk {}", self.number);
        let value = (name.clone(), SecretBytes::new(vec![1]));
        self.commit(Changes { instance_values: vec![value], ..Changes::default() }).await;
        assert!(store.lookup_instance_value(&name).await.unwrap().is_some());
        let named = AppInstitution { id: format!("bank_{}", self.number), name: "A bank".into(), country: Country::Us };
        self.commit(Changes { institution: Some((tenant(), named)), ..Changes::default() }).await;
        assert!(!store.list_app_institutions(&tenant()).await.unwrap().is_empty());
        store.ping().await.unwrap();
    }

    fn key(&self, kind: &str) -> AnswerKey {
        AnswerKey { tenant: tenant(), hash: format!("{kind}{:062x}", self.number) }
    }

    async fn reserve(&self, kind: &str) -> Reservation {
        self.store.reserve_answer(&self.key(kind), &[1; 32], second(0), second(60)).await.unwrap()
    }

    async fn a_link_is_made(&self) {
        let store = &self.store;
        let mut session = session(self.bits(1));
        let request = Some(SecretBytes::new(b"{}".to_vec()));
        let write = SessionWrite { request, ..session_write(session.clone(), None) };
        self.commit(Changes { session: Some(write), ..Changes::default() }).await;
        assert!(store.lookup_session(&session.id).await.unwrap().is_some());
        let hash = self.hash(2);
        session.progress = SessionProgress::Succeeded { exchange_hash: hash, exchange_expires_at: second(1_800) };
        session.link_id = Some(LinkId::from_bits(self.bits(1)));
        let write = session_write(session.clone(), Some(1));
        self.commit(Changes { session: Some(write), ..Changes::default() }).await;
        assert!(store.find_session_by_exchange_hash(&tenant(), &hash).await.unwrap().is_some());

        let Reservation::Reserved { fence } = self.reserve("aa").await else { panic!("a fresh key is free") };
        assert!(matches!(self.reserve("aa").await, Reservation::Running));
        let Reservation::Reserved { fence: other } = self.reserve("bb").await else { panic!("a fresh key is free") };
        store.release_answer(&self.key("bb"), other).await.unwrap();
        session.progress = SessionProgress::Exchanged;
        let spent = SessionWrite { spends_token: true, ..session_write(session, Some(2)) };
        let far = second(100_000_000);
        let timed = passbook_store::port::NewJob { app_due_at: Some(far), ..self.job(3, far) };
        let mut link = self.link(1);
        let events = std::mem::take(&mut link.recorded);
        let import_key = ImportKey::Set(format!("walk {}", self.number));
        let entry = AuditEntry {
            tenant: tenant(),
            actor: "walk".into(),
            action: "exchange_token",
            link_id: Some(link.id.clone()),
            at: second(0),
        };
        let answer = AnswerWrite {
            key: self.key("aa"),
            fence,
            status: 201,
            body: SecretBytes::new(b"{}".to_vec()),
            link_id: Some(link.id.clone()),
            expires_at: second(86_400),
        };
        self.commit(Changes {
            session: Some(spent),
            jobs: vec![self.job(1, second(0)), self.job(2, second(1)), timed],
            events,
            audit: vec![entry],
            answer: Some(answer),
            ..changes(LinkWrite { import_key, ..insertion_with_secrets(link) })
        })
        .await;
    }

    fn job(&self, offset: u128, due: Timestamp) -> passbook_store::port::NewJob {
        job(self.bits(offset), self.bits(1), due)
    }

    async fn a_fetch_is_stored(&self) {
        let id = LinkId::from_bits(self.bits(1));
        let stored = self.store.lookup_link(&tenant(), &id).await.unwrap().unwrap();
        let rows: Vec<_> = (0..TRANSACTIONS).map(|n| row(self.bits(n), n)).collect();
        let positions = (1..).zip(&rows).map(|(position, row)| entry(position, row)).collect();
        let log = LogWrites { created: positions, ..LogWrites::default() };
        let transactions =
            TransactionWrites { link_id: Some(id.clone()), created: rows.clone(), log, ..TransactionWrites::default() };
        let created = InvestmentChanges {
            portfolio: portfolio(),
            created: (0..40).map(|n| investment(self.bits(n))).collect(),
            ..InvestmentChanges::default()
        };
        let write = LinkWrite {
            numbers_view: Some(SecretBytes::new(b"[]".to_vec())),
            secrets: Some(secrets()),
            ..replacement(stored.link.clone(), 1)
        };
        self.commit(Changes {
            transactions: Some(transactions),
            investments: Some(InvestmentWrites { link_id: id.clone(), changes: created }),
            ..changes(write)
        })
        .await;

        let log = LogWrites {
            dropped: vec![rows[0].id.clone()],
            removed: vec![entry(1_001, &rows[1])],
            updated: vec![entry(1_002, &rows[2]), entry(1_003, &rows[3])],
            created: vec![entry(1_004, &rows[0])],
        };
        let transactions = TransactionWrites {
            link_id: Some(id.clone()),
            updated: vec![rows[2].clone(), rows[3].clone()],
            removed: vec![rows[1].id.clone()],
            log,
            ..TransactionWrites::default()
        };
        let changed = InvestmentChanges {
            portfolio: portfolio(),
            updated: vec![investment(self.bits(1))],
            removed: vec![InvestmentTransactionId::from_bits(self.bits(2))],
            ..InvestmentChanges::default()
        };
        self.commit(Changes {
            transactions: Some(transactions),
            investments: Some(InvestmentWrites { link_id: id, changes: changed }),
            ..changes(replacement(stored.link, 2))
        })
        .await;
    }

    async fn a_link_is_read(&self) {
        let store = &self.store;
        let (tenant, id) = (tenant(), LinkId::from_bits(self.bits(1)));
        assert!(store.lookup_numbers_answer(&tenant, &id).await.unwrap().is_some());
        assert!(store.lookup_link_answer(&tenant, &id).await.unwrap().is_some());
        assert!(store.lookup_link(&tenant, &id).await.unwrap().is_some());
        assert!(store.lookup_secrets(&tenant, &id).await.unwrap().is_some());
        let import_key = format!("walk {}", self.number);
        assert!(store.find_link_by_import_key(&tenant, &import_key).await.unwrap().is_some());
        let connected = store.find_connected_link(&tenant, &self.user(), "credentials_bank").await.unwrap();
        assert_eq!(connected, Some(id.clone()));
        let page = store.list_links(&tenant, None, 101).await.unwrap();
        assert_eq!(page.len(), 101);
        assert_eq!(store.list_links(&tenant, page.last(), 101).await.unwrap().len(), 101);

        let all = TransactionFilter { limit: 50, ..TransactionFilter::default() };
        let some = TransactionFilter { accounts: Some(vec![AccountId::from_bits(1)]), offset: 5, ..all.clone() };
        let days = TransactionFilter {
            start_date: "2024-04-10".parse().ok(),
            end_date: "2024-04-12".parse().ok(),
            ..all.clone()
        };
        for filter in [&all, &some, &days] {
            assert!(!store.list_transactions(&tenant, &id, filter).await.unwrap().items.is_empty());
            assert!(!store.list_investment_transactions(&tenant, &id, filter).await.unwrap().items.is_empty());
        }
        for accounts in [None, Some(vec![AccountId::from_bits(1)])] {
            let filter = ChangeFilter { after: 20, accounts, limit: 50 };
            assert!(!store.list_transaction_changes(&tenant, &id, &filter).await.unwrap().is_empty());
        }
        assert!(!store.load_transactions(&tenant, &id, "2024-04-20".parse().ok()).await.unwrap().is_empty());
        assert!(store.lookup_portfolio(&tenant, &id).await.unwrap().is_some());
        assert!(!store.load_investment_transactions(&tenant, &id, "2024-04-20".parse().ok()).await.unwrap().is_empty());
    }

    async fn an_end_user_is_read(&self) {
        let store = &self.store;
        assert_eq!(store.list_user_links(&tenant(), &self.user()).await.unwrap().len(), 1);
        let filter = UserTransactionFilter {
            links: vec![LinkId::from_bits(self.bits(1)), LinkId::from_bits(1)],
            accounts: (1..4).map(AccountId::from_bits).collect(),
            limit: 50,
            ..UserTransactionFilter::default()
        };
        assert!(!store.list_user_transactions(&tenant(), &filter).await.unwrap().items.is_empty());
    }

    async fn jobs_are_worked_on(&self) {
        let store = &self.store;
        assert!(store.next_due_at().await.unwrap().is_some());
        assert!(store.count_due_jobs(&app_id(1), second(10)).await.unwrap() > 0);
        let except = [app_id(2)];
        let leased = store.lease_jobs("walker", second(10), second(40), 8, &except).await.unwrap();
        let lease = leased.iter().find(|job| job.link_id == LinkId::from_bits(self.bits(1))).expect("the walk's job");
        let lease = lease.lease.clone();
        assert!(store.next_due_at().await.unwrap().is_some());
        assert!(store.renew_lease(&lease, second(50)).await.unwrap());
        self.commit(Changes { held_lease: Some(lease.clone()), ..Changes::default() }).await;
        let finished = FinishedJob { lease: lease.clone(), state: JobState::Done, finished_at: second(11) };
        self.commit(Changes { finished_job: Some(finished), ..Changes::default() }).await;
        assert_eq!(store.lookup_job_state(&lease.job_id).await.unwrap(), Some(JobState::Done));
        let second_job = store.lease_jobs("walker", second(10), second(40), 8, &[]).await.unwrap();
        for leased in leased.iter().chain(&second_job).filter(|job| job.lease != lease) {
            store.release_job(&leased.lease, second(20)).await.unwrap();
        }
        let switched = |disabled_at| passbook_store::port::App { disabled_at, ..app(3) };
        self.commit(Changes { app: Some(switched(Some(second(-2)))), ..Changes::default() }).await;
        assert!(store.next_due_at().await.unwrap().is_some());
        self.commit(Changes { app: Some(switched(None)), ..Changes::default() }).await;
    }

    fn event(&self, sequence: u64) -> Event {
        Event {
            link_id: LinkId::from_bits(self.bits(1)),
            sequence,
            at: second(0),
            tags: Vec::new(),
            kind: EventKind::LinkStateChanged { state: LinkState::Connected, error: None },
            webhook: None,
        }
    }

    fn address(&self) -> String {
        format!("walk-{}", self.number)
    }

    fn dispatched(&self, tenant: Tenant, event: &Event) -> DispatchedEvent {
        let number = self.bits(u128::from(event.sequence));
        DispatchedEvent {
            tenant,
            link_id: event.link_id.clone(),
            sequence: event.sequence,
            event_id: EventId::from_bits(number),
            delivery: Some(NewDelivery {
                token: format!("walk-{number}"),
                address: Address {
                    id: self.address(),
                    url: "https://app.example/hook".into(),
                    host: "app.example:443".into(),
                },
                body: "{}".into(),
                due_at: second(-1_000),
                app_due_at: second(-1_000),
            }),
        }
    }

    fn ended(&self, leased: &LeasedDelivery, next: NextAttempt, switch_off: Option<&'static str>) -> EndedAttempt {
        EndedAttempt {
            lease: leased.lease.clone(),
            link_id: leased.link_id.clone(),
            address_id: leased.address.id.clone(),
            next,
            status: Some(204),
            error: None,
            app_ended_at: second(101),
            switch_off,
        }
    }

    /// Leases one delivery to the walk's address.
    async fn lease_delivery(&self) -> LeasedDelivery {
        let filter = ReadyFilter { addresses: 100, per_address: 8, after: vec![(tenant(), "address".into())] };
        let ready = self.store.list_ready_deliveries(&filter).await.unwrap();
        let own = ready.iter().find(|queue| queue.destination.address_id == self.address()).expect("the walk's queue");
        let request = LeaseRequest { tenant: own.destination.tenant.clone(), address_id: self.address(), count: 1 };
        let leased = self.store.lease_deliveries("walker", second(30), vec![request]).await.unwrap();
        leased.into_iter().next().expect("a delivery of the walk")
    }

    async fn events_are_delivered(&self) {
        let store = &self.store;
        let events = (101..=104).map(|sequence| self.event(sequence)).collect();
        self.commit(Changes { events, ..Changes::default() }).await;
        let waiting = store.list_undispatched(500).await.unwrap();
        let own: Vec<_> = waiting.iter().filter(|one| one.event.link_id == LinkId::from_bits(self.bits(1))).collect();
        assert!(own.len() >= 4);
        let made: Vec<_> = own.iter().map(|one| self.dispatched(one.tenant.clone(), &one.event)).collect();
        assert!(store.dispatch_events(made.clone()).await.unwrap());
        let retry = NextAttempt::At { due_at: second(5), app_due_at: second(5) };
        let mut ended = Vec::new();
        for (next, off) in [(NextAttempt::Delivered, None), (retry, None), (retry, Some("the receiver failed"))] {
            let leased = self.lease_delivery().await;
            assert!(store.end_attempt(self.ended(&leased, next, off)).await.unwrap());
            ended.push(leased.lease.token);
        }
        store.bury_deliveries(500).await.unwrap();
        let was_tried = |one: &DispatchedEvent| one.delivery.as_ref().is_some_and(|made| ended.contains(&made.token));
        let again: Vec<_> = made.iter().filter(|one| !was_tried(one)).cloned().collect();
        store.replay_deliveries(again).await.unwrap();
        self.commit(Changes { switched_on: vec![self.address()], ..Changes::default() }).await;
        let leased = self.lease_delivery().await;
        assert!(store.end_attempt(self.ended(&leased, retry, None)).await.unwrap());
        assert_eq!(store.next_delivery_at().await.unwrap(), Some(second(5)));
        assert!(store.wake_deliveries(second(10), 500).await.unwrap() > 0);
        self.events_are_read(&made).await;
    }

    async fn events_are_read(&self, made: &[DispatchedEvent]) {
        let store = &self.store;
        let newest = store.newest_position(&tenant()).await.unwrap();
        let recent = EventFilter { after: newest - 3, ..EventFilter::default() };
        let kind = Some("link.state_changed".to_owned());
        let of_link = EventFilter { link_id: Some(LinkId::from_bits(self.bits(1))), ..EventFilter::default() };
        for filter in [
            recent.clone(),
            EventFilter { to: Some(second(1)), ..recent.clone() },
            EventFilter { kind: kind.clone(), ..recent.clone() },
            EventFilter { kind: kind.clone(), from: Some(second(0)), ..recent },
            of_link.clone(),
            EventFilter { kind, delivery: Some(DeliveryState::Delivered), ..of_link },
        ] {
            let page = store.list_events(&tenant(), &filter, 100).await.unwrap();
            assert!(!page.events.is_empty() && page.is_last, "{filter:?}");
            assert!(page.events.iter().all(|one| one.event.link_id == LinkId::from_bits(self.bits(1))));
        }
        let ids: Vec<_> = made.iter().map(|one| one.event_id.clone()).collect();
        assert_eq!(store.find_events(&tenant(), &ids).await.unwrap().len(), made.len());
        store.list_failing_addresses().await.unwrap();
    }

    async fn upkeep_is_done(&self) {
        let store = &self.store;
        assert!(store.newest_time(&AppId::from_bits(1)).await.unwrap().is_some());
        let long_ago = second(0).checked_sub(SignedDuration::from_hours(100_000)).unwrap();
        store.cleanup(long_ago, 100).await.unwrap();
        store.forget(long_ago, long_ago, 100).await.unwrap();
        assert!(store.app_usage(&app_id(1)).await.unwrap().rows > 0);
        store.wipe_expired_sessions(&tenant(), long_ago, 100).await.unwrap();
        let known = store.lookup_watched_time().await.unwrap();
        let watch = TimeWatch::look(known, second(0), SignedDuration::ZERO);
        assert!(store.write_watched_time(known, watch).await.unwrap());
        assert!(store.write_watched_time(Some(watch), watch).await.unwrap());
        let clock =
            ClockWrite { app_id: app_id(1), expected: AppClock::default(), clock: AppClock::default(), now: second(0) };
        self.commit(Changes { clock: Some(clock), ..Changes::default() }).await;
        store.list_unscheduled_links(None, 100).await.unwrap();
    }

    async fn a_link_is_deleted(&self) {
        let id = LinkId::from_bits(self.bits(1));
        let stored = self.store.lookup_link(&tenant(), &id).await.unwrap().unwrap();
        let stale = self.store.commit(changes(replacement(stored.link.clone(), 9))).await;
        assert!(matches!(stale, Err(CommitError::Conflict(Guard::Link))), "{stale:?}");
        self.commit(changes(deletion(stored.link, stored.version))).await;
        assert!(self.store.lookup_secrets(&tenant(), &id).await.unwrap().is_none());
        assert!(self.store.lookup_session(&SessionId::from_bits(self.bits(1))).await.unwrap().is_some());
        assert!(self.store.lookup_job_state(&JobId::from_bits(self.bits(2))).await.unwrap().is_some());
        let gone = self.store.load_transactions(&tenant(), &id, None).await.unwrap();
        assert!(gone.iter().all(|row| row.id == TransactionId::from_bits(0)), "{}", gone.len());
    }
}
