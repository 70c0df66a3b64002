//! The composition root: names the stores and the connectors, and hands the parts to the server.

use std::{path::Path, sync::Arc};

use passbook::{
    api::limits::Limits,
    config::{self, Config, Place},
    dev,
    directory::Directory,
    http_server::Edge,
    instance::Instance,
    opened_store::OpenedStore,
    serve,
    server::{Plan, Server, compose},
    signals::Signals,
    system::SystemClock,
    views,
};
use passbook_connectors::{ofx::OfxConnector, sandbox::Sandbox};
use passbook_core::time::Clock as _;
use passbook_store::{
    sealing::MasterKey,
    sqlite::{OpenOptions, SqliteStore, load_or_create_master_keys},
    time::SteadyClock,
};

use crate::DevArguments;

/// Every institution of every connector.
fn directory() -> Directory {
    Directory::new(vec![Arc::new(Sandbox), Arc::new(OfxConnector)])
}

/// `passbook serve`.
pub async fn run_serve(config: Config) -> anyhow::Result<()> {
    // First of all, so that a stop during start-up is not lost.
    let signals = Signals::listen()?;
    let opened = open_configured(&config).await?;
    serve::run(&config, opened, Arc::new(SystemClock), directory(), signals).await
}

/// The store that the configuration names.
async fn open_configured(config: &Config) -> anyhow::Result<OpenedStore> {
    let store = &config.store;
    dev::make_data_directory(&store.data)?;
    match &store.place {
        Place::Embedded => open_embedded(&store.data, config.keys.master_keys.clone(), &store.deletion_ledger),
        Place::Server { .. } => anyhow::bail!("store.kind: this build serves the embedded store only"),
    }
}

fn open_embedded(directory: &Path, master_keys: Vec<MasterKey>, ledger: &Path) -> anyhow::Result<OpenedStore> {
    let clock = Arc::new(SteadyClock::new(Arc::new(SystemClock)));
    let store = SqliteStore::open(OpenOptions {
        path: directory.join("passbook.db"),
        master_keys,
        deletion_ledger: ledger.to_owned(),
        clock: clock.clone(),
        renderer: views::RENDERER,
        render_stub: &views::link_view,
    })?;
    let keys = store.keys().clone();
    Ok(OpenedStore { store: Arc::new(store), keys, skew: Arc::new(move || clock.skew()) })
}

/// `passbook dev`.
pub async fn run_dev(arguments: DevArguments) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    dev::make_data_directory(&arguments.data)?;
    let temporary = match arguments.ephemeral {
        true => Some(tempfile::Builder::new().prefix("passbook-").tempdir()?),
        false => None,
    };
    let directory_of_store = temporary.as_ref().map_or(arguments.data.as_path(), |directory| directory.path());
    let listener = dev::listen(arguments.port).await?;
    let port = listener.local_addr()?.port();

    let master_keys =
        load_or_create_master_keys(&directory_of_store.join("master.key"), &directory_of_store.join("passbook.db"))?;
    let opened = open_embedded(directory_of_store, master_keys, &directory_of_store.join("deletions.ledger"))?;
    let instance = Instance::open_dev(opened.store.as_ref(), arguments.seed).await?;
    dev::prepare_app(opened.store.as_ref(), &instance.derivation, arguments.frozen_at, SystemClock.now()).await?;
    let services = compose(&opened, Arc::new(SystemClock), &instance, directory());
    let (actor, secret) = dev::prepare_client(&services, &arguments.data).await?;
    let server = Server::start(services, &opened, &instance, listener, dev_plan(&arguments))?;
    let started = async {
        let link_id = dev::prepare_link(&server.services, &actor).await?;
        dev::announce(&server.api, &arguments.data, port, &actor, &secret, &link_id)
    };
    let outcome = tokio::select! {
        started = started => started,
        () = signals.stop() => { server.stop(&mut signals).await; return Ok(()) }
    };
    if outcome.is_ok() {
        signals.stop().await;
    }
    server.stop(&mut signals).await;
    outcome
}

fn dev_plan(arguments: &DevArguments) -> Plan {
    Plan {
        role: config::Role::All,
        limits: arguments.rate_limits.map(|factor| Limits::new(1, factor)),
        sandbox: true,
        edge: Edge::default(),
        drain: std::time::Duration::ZERO,
    }
}
