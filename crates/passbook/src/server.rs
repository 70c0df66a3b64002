//! A running server: the parts that a role asks for, started together and stopped in order.
//!
//! Stopping: *not ready* → (grace, so that balancers notice) → nothing new is accepted, running requests finish, workers
//! finish their jobs or give them back → the store is closed. A second signal ends it at once: what was acknowledged is
//! durable at any moment. A vital part that ends by itself has the same done (`supervision`).

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::SignedDuration;
use passbook_core::time::Clock;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    api::{
        self, Api, bodies::Bodies, documents::Documents, limits::Limits, long_answers::LongAnswers,
        observe::RequestIds, shed::Shedder,
    },
    clocks::Clocks,
    config::Role,
    directory::Directory,
    hosts::{Host, Hosts},
    http_server::{self, Bounds, Edge, Named, Stop, tls::Certificates},
    instance::Instance,
    keys::{Cursors, SessionTokens},
    log,
    opened_store::OpenedStore,
    operator::Operator,
    outbound::Outbound,
    readiness::Readiness,
    services::{Services, Webhooks, access::TokenCache, imports, ledgers::Ledgers},
    signals::Signals,
    signing::SigningKeys,
    supervision::Supervisor,
    system::SystemClock,
    workers::{self, Workers, schedule::Updates, webhooks::Courier},
};

/// How long a stop may take, counted from the end of the grace, before the process ends anyway.
const STOP_PATIENCE: Duration = Duration::from_secs(25);

/// Connections of the operators' own listener, and of one peer among them: a few scrapers and probes.
const OPERATOR_CONNECTIONS_MAX: usize = 128;
const OPERATOR_CONNECTIONS_PER_PEER_MAX: usize = 64;

/// Why a server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was told to.
    Told,
    /// A vital part has ended.
    PartEnded,
}

/// What is served, and how.
pub struct Plan {
    /// Which parts run.
    pub role: Role,
    /// Request limits; `None` turns them off.
    pub limits: Option<Limits>,
    /// Whether the sandbox control calls exist.
    pub sandbox: bool,
    /// What lies between the network and the router.
    pub edge: Edge,
    /// Between "not ready" and the end of listening.
    pub drain: Duration,
    /// The directory of the control socket.
    pub control: PathBuf,
    /// Serves the same by TLS on a second listener, within the same bounds.
    pub tls: Option<(TcpListener, Arc<Certificates>)>,
    /// Where clients reach this server; `None` when nobody can say.
    pub public_url: Option<String>,
    /// Host names that are answered beside this machine's own.
    pub hosts: Vec<Host>,
    /// Where `/readyz` and `/metrics` are, if not beside everything else.
    pub operators: Option<TcpListener>,
}

/// See the module page.
pub struct Server {
    /// What handlers reach.
    pub api: Arc<Api>,
    /// The use cases.
    pub services: Arc<Services>,
    stop: Stop,
    drain: Duration,
    parts: Supervisor,
    tasks: Vec<JoinHandle<()>>,
}

/// The use cases over an open store.
#[must_use]
pub fn compose(
    opened: &OpenedStore,
    clock: Arc<dyn Clock>,
    instance: &Instance,
    directory: Directory,
    lease: SignedDuration,
    updates: Option<Updates>,
    webhooks: Webhooks,
) -> Arc<Services> {
    let (store, keys) = (opened.store.clone(), opened.keys.clone());
    Arc::new(Services {
        clocks: Clocks::new(clock, store.clone()),
        store,
        directory,
        session_tokens: SessionTokens::new(&keys.session_token_key()),
        keys,
        cursors: Cursors::new(&instance.derivation),
        derivation: instance.derivation.clone(),
        job_bell: Arc::default(),
        job_ended: Arc::default(),
        event_bell: Arc::default(),
        ledgers: Ledgers::default(),
        signing_keys: SigningKeys::new(opened.store.clone(), webhooks.issuer.clone()),
        webhooks,
        metrics: Arc::default(),
        token_cache: TokenCache::default(),
        keys_at_work: Arc::default(),
        import_turns: imports::import_turns(),
        updates,
        bounds: opened.bounds,
        lease,
    })
}

impl Server {
    /// Starts the parts that the plan's role asks for. It is not ready until [`Readiness::set_started`].
    ///
    /// # Errors
    /// When TLS cannot be set up, or the control socket cannot be made.
    pub fn start(
        services: Arc<Services>,
        opened: &OpenedStore,
        listener: TcpListener,
        mut plan: Plan,
    ) -> anyhow::Result<Self> {
        let stop = Stop::default();
        let parts = Supervisor::new(stop.stopped.clone());
        let outbound = Outbound::new(services.webhooks.policy.clone())?;
        let operator = Operator::new(opened.upkeep.clone(), opened.keys.clone(), Arc::new(SystemClock));
        let mut tasks = operator.attend(&plan.control, stop.stopped.clone(), &parts)?;
        let store = opened.store.clone();
        parts.watch(async move { store.part_ended().await });
        parts.watch(async {
            log::ended().await;
            "log"
        });
        let metrics = services.metrics.clone();
        plan.edge.open = metrics.connections.clone();
        let api = Arc::new(Api {
            services: services.clone(),
            shedder: Shedder::default(),
            bodies: Bodies::default(),
            long_answers: LongAnswers::default(),
            limits: plan.limits,
            metrics: metrics.clone(),
            streams: api::streams::Streams::new(api::streams::STREAMS_MAX),
            sandbox: plan.sandbox,
            documents: Documents::of(plan.public_url.as_deref()),
            readiness: Readiness::starting(opened.skew.clone(), parts.clone()),
            request_ids: RequestIds::default(),
        });
        let named = Named { hosts: Hosts::new(plan.hosts), otherwise: api::wrong_host_router(api.clone()) };
        plan.edge.named = Some(named.clone());
        let router = match (plan.role.serves(), plan.operators.is_some()) {
            (true, false) => api::router(api.clone()),
            (true, true) => api::public_router(api.clone()),
            (false, false) => api::operator_router(api.clone()),
            (false, true) => api::health_router(api.clone()),
        };
        if let Some((listener, certificates)) = plan.tls.take() {
            let edge = Edge {
                bounds: plan.edge.bounds.clone(),
                certificates: Some(certificates),
                open: plan.edge.open.clone(),
                named: Some(named.clone()),
                ..Edge::default()
            };
            tasks.push(parts.start("tls_listener", http_server::serve(edge, listener, router.clone(), stop.clone())));
        }
        tasks.push(parts.start("listener", http_server::serve(plan.edge, listener, router, stop.clone())));
        if let Some(operators) = plan.operators {
            let bounds = Bounds {
                connections_max: OPERATOR_CONNECTIONS_MAX,
                connections_per_peer_max: OPERATOR_CONNECTIONS_PER_PEER_MAX,
                ..Bounds::default()
            };
            let edge = Edge { bounds, named: Some(named), is_open: true, ..Edge::default() };
            let router = api::operator_router(api.clone());
            tasks.push(parts.start("operator_listener", http_server::serve(edge, operators, router, stop.clone())));
        }
        if plan.role.works() {
            let pool = Arc::new(Workers::new(services.clone(), metrics, stop.stopped.clone()));
            tasks.push(parts.start("workers", pool.run()));
            tasks.push(parts.start("maintenance", workers::maintenance::run(services.clone(), stop.stopped.clone())));
            // Without a schedule there is nothing to do, and that is in order.
            if services.updates.is_some() {
                tasks.push(parts.start("schedule", workers::schedule::run(services.clone(), stop.stopped.clone())));
            }
            let courier = Arc::new(Courier::new(services.clone(), outbound, stop.stopped.clone()));
            tasks.push(parts.start("webhooks", courier.run()));
        }
        Ok(Self { api, services, stop, drain: plan.drain, parts, tasks })
    }

    /// Runs a further vital part until the stop, at which it is dropped.
    pub fn attach(&mut self, part: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.stop.stopped.clone();
        let work = async move {
            tokio::select! {
                () = work => {}
                () = stopped.cancelled() => {}
            }
        };
        self.tasks.push(self.parts.start(part, work));
    }

    /// Waits until there is a reason to stop.
    pub async fn ending(&self, signals: &mut Signals) -> Ending {
        tokio::select! {
            biased;
            () = signals.stop() => Ending::Told,
            () = self.parts.part_ended() => Ending::PartEnded,
        }
    }

    /// Stops in order. The second signal cuts it short, counted from the start: whoever stops a process that was about
    /// to end by itself has told it once. Returns why it stopped in the end.
    pub async fn stop(self, signals: &mut Signals, mut ending: Ending) -> Ending {
        let mut stopping = std::pin::pin!(self.stop_in_order());
        loop {
            tokio::select! {
                () = stopping.as_mut() => return ending,
                () = signals.stop() => match ending {
                    Ending::PartEnded => ending = Ending::Told,
                    Ending::Told => {
                        tracing::warn!("told to stop again: ending at once");
                        return ending;
                    }
                },
            }
        }
    }

    async fn stop_in_order(self) {
        self.api.readiness.set_draining();
        self.stop.draining.cancel();
        tracing::info!(seconds = self.drain.as_secs(), "draining");
        tokio::time::sleep(self.drain).await;
        self.stop.stopped.cancel();
        let ended = async {
            for task in self.tasks {
                // A part that panicked has said so already.
                let _ = task.await;
            }
            self.services.store.close().await;
        };
        if tokio::time::timeout(STOP_PATIENCE, ended).await.is_err() {
            tracing::warn!("stopping took too long: ending at once");
        }
    }
}
