//! A whole server inside the test: real router, a real store of its own ([`home::StoreKind`]), running workers, and a clock that stands still until the test moves it.
//!
//! [`TestServer`] composes the parts as `main.rs` does, with [`ScriptedBank`] beside the real connectors: a bank whose
//! fetches can be counted, failed and held. Two applications share it ([`TestServer::a`], [`TestServer::b`]), and both
//! call their end user [`USER`].

pub mod bank;
pub mod call;
pub mod canaries;
pub mod clock;
pub mod home;
pub mod receiver;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use passbook::{
    api::{self, Api, limits::Limits, observe::RequestIds},
    clocks::Clocks,
    directory::Directory,
    keys::{Cursors, SessionTokens},
    outbound::{Outbound, Policy},
    readiness::Readiness,
    services::{Services, Webhooks, access::TokenCache},
    signing::{self, SigningKeys},
    supervision::Supervisor,
    system::random_alphanumeric,
    workers::{Workers, schedule::Updates, webhooks::Courier},
};
use passbook_connectors::{ofx::OfxConnector, sandbox::Sandbox};
use passbook_core::{
    ids::{AppId, Derivation},
    tenant::{Environment, ScopeSet, Tenant},
    time::AppClock,
};
use passbook_store::{
    port::{App, Changes, Client as ClientRow, Store},
    sealing::Keys,
};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::{
    bank::ScriptedBank,
    call::{Answer, Call},
    canaries::Canaries,
    clock::TestClock,
    home::{Answered, Cell, Home, StoreKind},
    receiver::{Attempt, Receiver},
};

/// The end user of both applications.
pub const USER: &str = "user-0001";
/// The redirect target both applications registered.
pub const REDIRECT: &str = "https://app.example/return";
/// An id of the right form that belongs to nothing.
pub const UNKNOWN_LINK: &str = "mk_zzzzzzzzzzzzzzzzzzzzzz";
/// Where clients reach the server.
pub const PUBLIC_URL: &str = "http://passbook.test";
/// Longest wait for background work; far above what any of it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// An API client with its secret.
#[derive(Clone)]
pub struct Client {
    pub tenant: Tenant,
    pub id: String,
    pub secret: String,
}

/// See the module page.
pub struct TestServer {
    pub services: Arc<Services>,
    pub api: Arc<Api>,
    pub router: Router,
    pub clock: Arc<TestClock>,
    pub bank: ScriptedBank,
    /// Application A in the sandbox, every scope.
    pub a: Client,
    /// Application B in the sandbox, every scope.
    pub b: Client,
    /// Application A, live.
    pub live: Client,
    /// Application A in the sandbox, for links and institutions only.
    pub limited: Client,
    /// Stops the workers.
    pub stop: CancellationToken,
    _stopped_at_the_end: DropGuard,
    home: Home,
}

/// What a test says of its server.
struct Settings {
    limits: Option<Limits>,
    updates: Option<Updates>,
    webhooks: Webhooks,
    /// How long a request waits for a place.
    place_patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        // On a machine that has much to do, the server learns that it has few places; whoever tests something else is
        // not to be refused for that.
        Self { limits: None, updates: None, webhooks: webhooks_of_this_machine(), place_patience: PATIENCE }
    }
}

/// What a start of the process makes.
struct Parts {
    services: Arc<Services>,
    api: Arc<Api>,
    router: Router,
    clock: Arc<TestClock>,
    bank: ScriptedBank,
    stop: CancellationToken,
}

impl Parts {
    async fn compose(home: &Home, clock: Arc<TestClock>, bank: ScriptedBank, settings: Settings) -> Self {
        let Settings { limits, updates, webhooks, place_patience } = settings;
        let store = home.open(clock.clone()).await;
        let services = compose(store, clock.clone(), bank.clone(), updates, webhooks);
        let stop = CancellationToken::new();
        let metrics = services.metrics.clone();
        signing::prepare(services.store.as_ref()).await.expect("signing keys");
        let api = Api {
            services: services.clone(),
            shedder: passbook::api::shed::Shedder::new(place_patience, place_patience),
            bodies: passbook::api::bodies::Bodies::default(),
            long_answers: passbook::api::long_answers::LongAnswers::default(),
            limits,
            metrics: metrics.clone(),
            streams: api::streams::Streams::new(api::streams::STREAMS_MAX),
            sandbox: true,
            documents: passbook::api::documents::Documents::of(Some(PUBLIC_URL)),
            readiness: ready(),
            request_ids: RequestIds::default(),
        };
        tokio::spawn(Arc::new(Workers::new(services.clone(), metrics, stop.clone())).run());
        let outbound = Outbound::new(services.webhooks.policy.clone()).expect("a way out");
        tokio::spawn(Arc::new(Courier::new(services.clone(), outbound, stop.clone())).run());
        let api = Arc::new(api);
        Self { services, router: api::router(api.clone()), api, clock, bank, stop }
    }
}

impl TestServer {
    /// A server without request limits.
    pub async fn start() -> Self {
        Self::start_as(Settings::default()).await
    }

    /// A server with these request limits.
    pub async fn start_with(limits: Option<Limits>) -> Self {
        Self::start_as(Settings { limits, ..Settings::default() }).await
    }

    /// A server whose links update on their own.
    pub async fn start_updating(updates: Updates) -> Self {
        Self::start_as(Settings { updates: Some(updates), ..Settings::default() }).await
    }

    /// A server whose operator says this of webhooks.
    pub async fn start_with_webhooks(webhooks: Webhooks) -> Self {
        Self::start_as(Settings { webhooks, ..Settings::default() }).await
    }

    /// A server that refuses a request soon when no place becomes free.
    pub async fn start_impatient() -> Self {
        Self::start_as(Settings { place_patience: Duration::from_secs(1), ..Settings::default() }).await
    }

    async fn start_as(settings: Settings) -> Self {
        let home = Home::new(StoreKind::of_this_run()).await;
        let parts = Parts::compose(&home, Arc::default(), ScriptedBank::default(), settings).await;
        let services = &parts.services;
        let (sandbox, live) = (Environment::Sandbox, Environment::Live);
        for (bits, name) in [(1, "App A"), (2, "App B")] {
            add_app(services, bits, name).await;
        }
        let some = ScopeSet::requested("links institutions", ScopeSet::all()).expect("known scopes");
        let a = add_client(services, 1, sandbox, "a", ScopeSet::all()).await;
        let b = add_client(services, 2, sandbox, "b", ScopeSet::all()).await;
        let live = add_client(services, 1, live, "c", ScopeSet::all()).await;
        let limited = add_client(services, 1, sandbox, "d", some).await;
        Self::of(parts, home, [a, b, live, limited])
    }

    /// The same server after a restart of the process: another store over the same files, nothing in memory.
    pub async fn restart(self) -> Self {
        let Self { services, router, api, clock, bank, a, b, live, limited, _stopped_at_the_end, home, .. } = self;
        drop((_stopped_at_the_end, router, api));
        services.store.close().await;
        drop(services);
        let parts = Parts::compose(&home, clock, bank, Settings::default()).await;
        Self::of(parts, home, [a, b, live, limited])
    }

    fn of(parts: Parts, home: Home, [a, b, live, limited]: [Client; 4]) -> Self {
        let Parts { services, api, router, clock, bank, stop } = parts;
        let _stopped_at_the_end = stop.clone().drop_guard();
        Self { services, api, router, clock, bank, a, b, live, limited, stop, _stopped_at_the_end, home }
    }

    /// A request with the client's header pair, which outlives every move of the clock.
    pub fn call(&self, client: &Client, method: &str, path: &str) -> Call {
        Call::new(self.router.clone(), method, path)
            .header("x-client-id", &client.id)
            .header("x-client-secret", &client.secret)
    }

    /// A request without credentials.
    pub fn anonymous(&self, method: &str, path: &str) -> Call {
        Call::new(self.router.clone(), method, path)
    }

    /// A request with a bearer token.
    pub fn bearer(&self, token: &str, method: &str, path: &str) -> Call {
        self.anonymous(method, path).header("authorization", &format!("Bearer {token}"))
    }

    pub async fn get(&self, client: &Client, path: &str) -> Answer {
        self.call(client, "GET", path).send().await
    }

    pub async fn delete(&self, client: &Client, path: &str) -> Answer {
        self.call(client, "DELETE", path).send().await
    }

    pub async fn post(&self, client: &Client, path: &str, body: &Value) -> Answer {
        self.call(client, "POST", path).json(body).send().await
    }

    /// A fresh access token.
    pub async fn token(&self, client: &Client) -> String {
        self.scoped_token(client, "").await
    }

    /// A fresh access token for these scopes; none means all that the client has.
    pub async fn scoped_token(&self, client: &Client, scope: &str) -> String {
        let (id, secret) = (&client.id, &client.secret);
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}&scope={scope}");
        let answer = self.anonymous("POST", "/auth/token").form(&form).send().await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    /// A link at `institution` made in one call, whatever became of it.
    pub async fn link_at(&self, client: &Client, institution: &str, username: &str) -> String {
        let body = json!({"institution_id": institution, "username": username});
        self.link_with(client, body).await
    }

    /// A link made with these fields beside the end user.
    pub async fn link_with(&self, client: &Client, mut fields: Value) -> String {
        fields["customer_user"] = json!({"id": USER});
        let answer = self.post(client, "/sandbox/links", &fields).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let id = answer.json()["link_id"].as_str().expect("a link id").to_owned();
        self.drain(client).await;
        id
    }

    /// A connected link with every product fetched.
    pub async fn link(&self, client: &Client) -> String {
        self.link_at(client, "credentials_bank", "user_good").await
    }

    /// A link at the scripted bank with these products' settings.
    pub async fn scripted_link(&self, products: Value) -> String {
        self.link_with(&self.a, json!({"institution_id": bank::ID, "settings": {"products": products}})).await
    }

    /// A link whose token waits, and the token.
    pub async fn waiting_link(&self, client: &Client) -> (String, String) {
        let body = json!({"customer_user": {"id": USER}, "exchange": false});
        let answer = self.post(client, "/sandbox/links", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let answer = answer.json();
        (text(&answer["link_id"]), text(&answer["exchangeable_token"]))
    }

    /// A deleted link.
    pub async fn deleted_link(&self, client: &Client) -> String {
        let id = self.link(client).await;
        assert_eq!(self.delete(client, &format!("/links/{id}")).await.status, 204);
        id
    }

    /// A link session with these fields beside the required ones.
    pub async fn session(&self, client: &Client, fields: Value) -> Answer {
        let mut body = json!({"customer_user": {"id": USER}, "redirect_uri": REDIRECT});
        for (name, value) in fields.as_object().expect("fields") {
            body[name] = value.clone();
        }
        self.post(client, "/link-session", &body).await
    }

    /// The token of a session that must be made.
    pub async fn session_token(&self, client: &Client, fields: Value) -> String {
        let answer = self.session(client, fields).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        text(&answer.json()["link_session_token"])
    }

    /// Plays the person in a session.
    pub async fn complete(&self, client: &Client, token: &str, mut fields: Value) -> Answer {
        fields["link_session_token"] = json!(token);
        self.post(client, "/sandbox/link-sessions/complete", &fields).await
    }

    /// Sends a statement file.
    pub async fn import(&self, client: &Client, user: &str, file: &[u8]) -> Answer {
        let path = format!("/passbook/links/import-file?customer_user_id={user}");
        self.call(client, "POST", &path).body(file.to_vec()).send().await
    }

    /// Moves real time, and with it every running application clock, and wakes the workers.
    pub fn advance(&self, seconds: i64) {
        self.clock.advance(seconds);
        self.services.job_bell.notify_one();
        self.services.event_bell.notify_one();
    }

    /// Disables the client's application.
    pub async fn disable_app(&self, client: &Client) {
        self.switch_app(client, Some(self.services.store.now())).await;
    }

    /// Enables the client's application.
    pub async fn enable_app(&self, client: &Client) {
        self.switch_app(client, None).await;
    }

    async fn switch_app(&self, client: &Client, disabled_at: Option<jiff::Timestamp>) {
        let store = &self.services.store;
        let app = store.lookup_app(&client.tenant.app_id).await.expect("the store answers").expect("an app");
        let app = App { disabled_at, ..app };
        store.commit(Changes { app: Some(app), ..Changes::default() }).await.expect("the app is stored");
    }

    /// Every byte of every file of the store; of a database, all that its tables hold.
    pub fn files(&self) -> Vec<u8> {
        self.home.bytes()
    }

    /// Runs a statement beside the server, to look under its feet or to pull at its rug. Parameters are `?1`, `?2`, …;
    /// bytes are `X'00'`.
    pub fn sql(&self, sql: &str, parameters: &[Cell]) -> Answered {
        self.home.sql(sql, parameters)
    }

    /// What orders rows by when they were written last.
    pub fn written_order(&self) -> &'static str {
        self.home.written_order()
    }

    /// Waits until no due job of the client's application is left.
    pub async fn drain(&self, client: &Client) {
        let mut ended = self.services.job_ended.subscribe();
        let drained = async {
            loop {
                ended.borrow_and_update();
                let now = self.services.store.now();
                let due = self.services.store.count_due_jobs(&client.tenant.app_id, now).await.expect("a count");
                if due == 0 {
                    return;
                }
                ended.changed().await.expect("the workers run");
            }
        };
        tokio::time::timeout(PATIENCE, drained).await.expect("the jobs end in time");
    }
}

/// Lets everything else run until the condition holds.
pub async fn until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "it never happens");
        tokio::task::yield_now().await;
    }
}

/// Text of a JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// The body with a link's avatar left out: a long `data:` URL that says nothing in a snapshot.
pub fn without_avatar(mut body: Value) -> Value {
    body["link"]["institution_avatar"] = json!("[avatar]");
    body
}

/// A statement file of the connectors' fixtures.
pub fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../passbook-connectors/tests/fixtures/ofx/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn ready() -> Readiness {
    let readiness =
        Readiness::starting(Arc::new(|| jiff::SignedDuration::ZERO), Supervisor::new(CancellationToken::new()));
    readiness.set_started();
    readiness
}

fn compose(
    (store, keys): (Arc<dyn Store>, Arc<Keys>),
    clock: Arc<TestClock>,
    bank: ScriptedBank,
    updates: Option<Updates>,
    webhooks: Webhooks,
) -> Arc<Services> {
    let derivation = Derivation::new(b"api tests");
    Arc::new(Services {
        clocks: Clocks::new(clock, store.clone()),
        directory: Directory::new(vec![Arc::new(Sandbox), Arc::new(OfxConnector), Arc::new(bank)]),
        session_tokens: SessionTokens::new(&keys.session_token_key()),
        keys,
        cursors: Cursors::new(&derivation),
        derivation,
        job_bell: Arc::default(),
        job_ended: Arc::default(),
        event_bell: Arc::default(),
        ledgers: passbook::services::ledgers::Ledgers::default(),
        signing_keys: SigningKeys::new(store.clone(), webhooks.issuer.clone()),
        webhooks,
        metrics: Arc::default(),
        token_cache: TokenCache::default(),
        keys_at_work: Arc::default(),
        import_turns: passbook::services::imports::import_turns(),
        updates,
        bounds: passbook::services::quota::Bounds::default(),
        lease: passbook::workers::LEASE,
        store,
    })
}

/// Webhooks of tests stay on this machine.
pub fn webhooks_of_this_machine() -> Webhooks {
    let policy = Policy { only_this_machine: true, ..Policy::of_this_machine() };
    Webhooks { policy, issuer: PUBLIC_URL.to_owned(), ..Webhooks::default() }
}

async fn add_app(services: &Services, bits: u128, name: &str) {
    let allowed_origins = vec!["https://app.example".to_owned(), "http://localhost:*".to_owned()];
    let id = AppId::from_bits(bits);
    let app = App { id, name: name.to_owned(), clock: AppClock::default(), allowed_origins, disabled_at: None };
    services.store.commit(Changes { app: Some(app), ..Changes::default() }).await.expect("a new app");
}

async fn add_client(services: &Services, app: u128, environment: Environment, digit: &str, scopes: ScopeSet) -> Client {
    let client = Client {
        tenant: Tenant { app_id: AppId::from_bits(app), environment },
        id: format!("{}_{}", environment.as_str(), digit.repeat(20)),
        secret: random_alphanumeric(),
    };
    write_client(services, &client, scopes, None).await;
    client
}

/// Stores the client as it is now.
pub async fn write_client(
    services: &Services,
    client: &Client,
    scopes: ScopeSet,
    disabled_at: Option<jiff::Timestamp>,
) {
    let row = ClientRow {
        client_id: client.id.clone(),
        tenant: client.tenant.clone(),
        name: "Test client".to_owned(),
        secret_hashes: vec![services.keys.hash_client_secret(&client.secret)],
        scopes,
        disabled_at,
        app_disabled_at: None,
    };
    services.store.commit(Changes { client: Some(row), ..Changes::default() }).await.expect("the client is stored");
}
