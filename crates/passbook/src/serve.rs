//! `passbook serve`: the server that people host, from a configuration.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use passbook_core::time::Clock;
use tokio::net::TcpListener;

use crate::{
    api::limits::Limits,
    config::{Config, Tls},
    directory::Directory,
    http_server::{Edge, tls::Certificates},
    instance::Instance,
    network::Proxies,
    opened_store::OpenedStore,
    server::{Ending, Plan, Server, compose},
    signals::{Signals, on_hangup},
    workers::schedule::Updates,
};

/// Serves until told to stop.
///
/// # Errors
/// When the certificates, an address or the store cannot be used.
pub async fn run(
    config: &Config,
    opened: OpenedStore,
    clock: Arc<dyn Clock>,
    directory: Directory,
    mut signals: Signals,
) -> anyhow::Result<Ending> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let certificates = config.server.tls.as_ref().map(load_certificates).transpose()?;
    let address = config.server.listen;
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    let operators = match config.server.operator_listen {
        Some(address) => Some(TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?),
        None => None,
    };
    let operator_address = operators.as_ref().map(TcpListener::local_addr).transpose()?;
    let instance = Instance::open(opened.store.as_ref()).await?;
    let updates = config.refresh.schedule.map(|schedule| Updates::new(schedule, config.refresh.per_institution));
    let webhooks = config.webhooks.webhooks(config.server.public_url.as_ref());
    let services = compose(&opened, clock, &instance, directory, config.workers.lease, updates, webhooks);
    let plan = Plan { operators, ..plan(config, address, certificates.clone()) };
    let mut server = Server::start(services, &opened, listener, plan)?;
    if let Some(certificates) = certificates {
        let reloading = on_hangup(move || match certificates.reload() {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the certificate stays as it was"),
        });
        server.attach("certificate_reload", reloading);
    }
    server.api.readiness.set_started();
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    let public_url = config.server.public_url.as_ref().map_or("", |url| url.as_str());
    if let Some(address) = operator_address {
        tracing::info!(%address, "operators are served");
    }
    tracing::info!(%address, scheme, public_url, role = ?config.server.role, "serving");
    let ending = server.ending(&mut signals).await;
    Ok(server.stop(&mut signals, ending).await)
}

fn load_certificates(tls: &Tls) -> anyhow::Result<Arc<Certificates>> {
    Ok(Arc::new(Certificates::load(&tls.certificate_file, &tls.key_file)?))
}

fn plan(config: &Config, address: SocketAddr, certificates: Option<Arc<Certificates>>) -> Plan {
    let server = &config.server;
    let proxies = Proxies { trusted: server.trusted_proxies.clone(), header: server.forwarded_header };
    Plan {
        role: server.role,
        limits: config
            .limits
            .enabled
            .then(|| Limits::with_own(server.replicas, config.limits.factor, &config.limits.own)),
        sandbox: config.sandbox.enabled,
        edge: Edge { certificates, proxies, ..Edge::default() },
        drain: server.drain,
        control: config.store.data.clone(),
        tls: None,
        public_url: public_url(config, address),
        hosts: server.known_hosts(),
        operators: None,
    }
}

/// The operator's word, else the address that is listened on. One for every interface is no address for clients.
fn public_url(config: &Config, address: SocketAddr) -> Option<String> {
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    let listening = || (!address.ip().is_unspecified()).then(|| format!("{scheme}://{address}"));
    config.server.public_url.as_ref().map(ToString::to_string).or_else(listening)
}
