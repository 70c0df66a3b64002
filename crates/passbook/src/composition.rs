//! The composition root: names the connectors, has `stores` open a store, and hands the parts to the server.

use std::{path::Path, sync::Arc};

use passbook::{
    api::limits::Limits,
    config::{self, Config},
    dev::{self, authority::Authority},
    directory::Directory,
    http_server::{Edge, tls::Certificates},
    instance::Instance,
    outbound::Policy,
    serve,
    server::{Ending, Plan, Server, compose},
    services::Webhooks,
    signals::Signals,
    system::SystemClock,
};
use passbook_connectors::{ofx::OfxConnector, sandbox::Sandbox};
use passbook_core::time::Clock as _;
use tokio::net::TcpListener;

use super::{DevArguments, stores};

/// Serves by TLS.
type TlsListener = (TcpListener, Arc<Certificates>);

/// Every institution of every connector.
fn directory() -> Directory {
    Directory::new(vec![Arc::new(Sandbox), Arc::new(OfxConnector)])
}

/// `passbook serve`.
pub async fn run_serve(config: Config) -> anyhow::Result<Ending> {
    // First of all, so that a stop during start-up is not lost.
    let signals = Signals::listen()?;
    let opened = stores::open_configured(&config).await?;
    serve::run(&config, opened, Arc::new(SystemClock), directory(), signals).await
}

/// `passbook dev`.
pub async fn run_dev(arguments: DevArguments) -> anyhow::Result<Ending> {
    let mut signals = Signals::listen()?;
    dev::make_data_directory(&arguments.data)?;
    let temporary = match arguments.ephemeral {
        true => Some(tempfile::Builder::new().prefix("passbook-").tempdir()?),
        false => None,
    };
    let directory_of_store = temporary.as_ref().map_or(arguments.data.as_path(), |directory| directory.path());
    let listener = dev::listen(arguments.port, "--port").await?;
    let port = listener.local_addr()?.port();
    let (tls, tls_address) = match arguments.tls {
        true => {
            let (tls, address) = listen_by_tls(&arguments).await?;
            (Some(tls), Some(address))
        }
        false => (None, None),
    };

    let opened = stores::open_directory(directory_of_store)?;
    let instance = Instance::open_dev(opened.store.as_ref(), arguments.seed).await?;
    dev::prepare_app(opened.store.as_ref(), &instance.derivation, arguments.frozen_at, SystemClock.now()).await?;
    let policy = Policy { only_this_machine: arguments.local_webhooks, ..Policy::of_this_machine() };
    let webhooks = Webhooks { policy, issuer: dev::api_url(port), ..Webhooks::default() };
    let lease = passbook::workers::LEASE;
    let services = compose(&opened, Arc::new(SystemClock), &instance, directory(), lease, None, webhooks);
    let (actor, secret) = dev::prepare_client(&services, &arguments.data).await?;
    let server = Server::start(services, &opened, listener, dev_plan(&arguments, port, directory_of_store, tls))?;
    let started = async {
        let link_id = dev::prepare_link(&server.services, &actor).await?;
        dev::announce(&server.api, &arguments.data, (port, tls_address), &actor, &secret, &link_id)
    };
    let outcome = tokio::select! {
        started = started => started,
        ending = server.ending(&mut signals) => return Ok(server.stop(&mut signals, ending).await),
    };
    let ending = match outcome {
        Ok(()) => server.ending(&mut signals).await,
        Err(_) => Ending::Told,
    };
    let ending = server.stop(&mut signals, ending).await;
    outcome.map(|()| ending)
}

/// A listener for https, whose certificates this machine's own authority issues.
async fn listen_by_tls(arguments: &DevArguments) -> anyhow::Result<(TlsListener, dev::TlsAddress)> {
    let listener = dev::listen(arguments.tls_port, "--tls-port").await?;
    let port = listener.local_addr()?.port();
    let authority = Authority::open(&arguments.data, SystemClock.now())?;
    let address = dev::TlsAddress { port, ca_file: authority.certificate_file().to_owned() };
    let certificates = authority.into_certificates(Arc::new(SystemClock))?;
    // Lives as long as the process.
    tokio::spawn(dev::authority::renew(certificates.clone()));
    Ok(((listener, certificates), address))
}

fn dev_plan(arguments: &DevArguments, port: u16, control: &Path, tls: Option<TlsListener>) -> Plan {
    Plan {
        role: config::Role::All,
        limits: arguments.rate_limits.map(|factor| Limits::new(1, factor)),
        sandbox: true,
        edge: Edge::default(),
        drain: std::time::Duration::ZERO,
        control: control.to_owned(),
        tls,
        public_url: Some(dev::api_url(port)),
        hosts: Vec::new(),
        operators: None,
    }
}
