//! A running server: the parts that a role asks for, started together and stopped in order.
//!
//! Stopping: *not ready* → (grace, so that balancers notice) → nothing new is accepted, running requests finish, workers
//! finish their jobs or give them back → the store is closed. A second signal ends it at once: what was acknowledged is
//! durable at any moment.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::SignedDuration;
use passbook_core::time::Clock;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    api::{self, Api, limits::Limits, long_answers::LongAnswers, observe::RequestIds, shed::Shedder},
    clocks::Clocks,
    config::Role,
    directory::Directory,
    http_server::{self, Edge, Stop},
    instance::Instance,
    keys::{Cursors, SessionTokens},
    opened_store::OpenedStore,
    operator::Operator,
    outbound::Outbound,
    readiness::Readiness,
    services::{Services, Webhooks, access::TokenCache, imports},
    signals::Signals,
    signing::SigningKeys,
    system::SystemClock,
    workers::{self, Workers, schedule::Updates, webhooks::Courier},
};

/// How long a stop may take, counted from the end of the grace, before the process ends anyway.
const STOP_PATIENCE: Duration = Duration::from_secs(25);

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
}

/// See the module page.
pub struct Server {
    /// What handlers reach.
    pub api: Arc<Api>,
    /// The use cases.
    pub services: Arc<Services>,
    stop: Stop,
    drain: Duration,
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
        ledger_moved: Arc::default(),
        signing_keys: SigningKeys::new(opened.store.clone(), webhooks.issuer.clone()),
        webhooks,
        metrics: Arc::default(),
        token_cache: TokenCache::default(),
        keys_at_work: Arc::default(),
        files_held: tokio::sync::Semaphore::new(imports::FILES_HELD_MAX),
        import_turns: imports::import_turns(),
        updates,
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
        let operator = Operator::new(opened.upkeep.clone(), opened.keys.clone(), Arc::new(SystemClock));
        let attending = operator.attend(&plan.control, stop.stopped.clone())?;
        let metrics = services.metrics.clone();
        plan.edge.open = metrics.connections.clone();
        let api = Arc::new(Api {
            services: services.clone(),
            shedder: Shedder::default(),
            long_answers: LongAnswers::default(),
            limits: plan.limits,
            metrics: metrics.clone(),
            streams: Arc::new(tokio::sync::Semaphore::new(api::STREAMS_MAX)),
            sandbox: plan.sandbox,
            readiness: Readiness::starting(opened.skew.clone()),
            request_ids: RequestIds::default(),
        });
        let router = match plan.role.serves() {
            true => api::router(api.clone()),
            false => api::operator_router(api.clone()),
        };
        let mut tasks = vec![attending, tokio::spawn(http_server::serve(plan.edge, listener, router, stop.clone()))];
        if plan.role.works() {
            let pool = Arc::new(Workers::new(services.clone(), metrics, stop.stopped.clone()));
            tasks.push(tokio::spawn(pool.run()));
            tasks.push(tokio::spawn(workers::maintenance::run(services.clone(), stop.stopped.clone())));
            tasks.push(tokio::spawn(workers::schedule::run(services.clone(), stop.stopped.clone())));
            let outbound = Outbound::new(services.webhooks.policy.clone())?;
            let courier = Arc::new(Courier::new(services.clone(), outbound, stop.stopped.clone()));
            tasks.push(tokio::spawn(courier.run()));
        }
        Ok(Self { api, services, stop, drain: plan.drain, tasks })
    }

    /// Stops in order; a further signal cuts it short.
    pub async fn stop(self, signals: &mut Signals) {
        tokio::select! {
            () = self.stop_in_order() => {}
            () = signals.stop() => tracing::warn!("told to stop again: ending at once"),
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
