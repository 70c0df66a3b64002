//! How every connection is made: its security, its limits on waiting, and what it is set to.

use std::{sync::Arc, time::Duration};

use deadpool_postgres::{ClientWrapper, Connect};
use futures_util::future::BoxFuture;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{
    Client, Config, Error, NoTls,
    config::{Host, SslMode},
    error::SqlState,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    failure::{Late, told, unavailable},
    open::OpenError,
};
use crate::port::StoreError;

/// How long reaching one address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long all of it may take: several addresses, TLS, the password. Whoever accepts and then says nothing would hold
/// everybody up otherwise.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that acknowledges nothing for this long is gone.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// When an idle connection is probed first, and how often then.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// Limits that the server holds every connection to, in milliseconds. An engine that does not know one goes without:
/// the limits on this side hold anyway.
const SETTINGS: [&str; 3] =
    ["SET statement_timeout = 10000", "SET lock_timeout = 4000", "SET idle_in_transaction_session_timeout = 15000"];

/// No connection could be made.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// Somebody answers there, but not to the end.
    Late,
    /// Anything else.
    Refused(Error),
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<ConnectError> for StoreError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Late => unavailable(Late),
            ConnectError::Refused(error) => told(&error),
        }
    }
}

/// Makes connections to one database. Cheap to clone. Never printed: it holds the password.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Connector {
    /// Reads a URL or a list of `key=value`. With `tls_roots` (PEM) every connection by TCP is encrypted, and the
    /// server must show a certificate of one of these authorities.
    pub(super) fn new(url: &str, tls_roots: Option<&[u8]>) -> Result<Self, OpenError> {
        // The driver's error may quote a piece of a password that was not percent-encoded.
        let mut config: Config = url.parse().map_err(|_| OpenError::MalformedUrl)?;
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(PEER_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
        if config.get_application_name().is_none() {
            config.application_name("passbook");
        }
        let by_tcp = config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(_)));
        // An address alone names no host, and is reached by TCP all the same.
        let by_tcp = by_tcp || !config.get_hostaddrs().is_empty();
        let tls = match tls_roots {
            Some(_) if by_tcp && config.get_ssl_mode() == SslMode::Disable => return Err(OpenError::TlsDisabled),
            Some(roots) if by_tcp => {
                config.ssl_mode(SslMode::Require);
                Some(MakeRustlsConnect::new(client_config(roots)?))
            }
            _ if config.get_ssl_mode() == SslMode::Require => return Err(OpenError::NoTlsRoots),
            _ => {
                config.ssl_mode(SslMode::Disable);
                None
            }
        };
        Ok(Self { config, tls })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// A connection with its limits set.
    pub(super) async fn open(&self) -> Result<ClientWrapper, ConnectError> {
        let opened = timeout(READY_TIMEOUT, self.open_limited()).await;
        let (client, connection) = opened.map_err(|_| ConnectError::Late)??;
        Ok(ClientWrapper::new(client, connection))
    }

    /// A connection that may take its time, for changing the schema.
    pub(super) async fn open_patient(&self) -> Result<ClientWrapper, ConnectError> {
        let opened = timeout(READY_TIMEOUT, self.open_unlimited()).await;
        let (client, connection) = opened.map_err(|_| ConnectError::Late)??;
        Ok(ClientWrapper::new(client, connection))
    }

    async fn open_limited(&self) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, connection) = self.open_unlimited().await?;
        for setting in SETTINGS {
            match client.batch_execute(setting).await {
                Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => {}
                other => other?,
            }
        }
        Ok((client, connection))
    }

    async fn open_unlimited(&self) -> Result<(Client, JoinHandle<()>), Error> {
        Ok(match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                (client, tokio::spawn(ends_silently(connection)))
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                (client, tokio::spawn(ends_silently(connection)))
            }
        })
    }
}

/// Whoever uses the connection meets its error too, and reports it where it matters.
async fn ends_silently(connection: impl Future<Output = Result<(), Error>>) {
    let _reported_by_the_client = connection.await;
}

impl Connect for Connector {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        Box::pin(self.open_limited())
    }
}

fn client_config(roots: &[u8]) -> Result<ClientConfig, OpenError> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots) {
        let root = root.map_err(|_| OpenError::MalformedTlsRoots)?;
        store.add(root).map_err(|_| OpenError::MalformedTlsRoots)?;
    }
    if store.is_empty() {
        return Err(OpenError::MalformedTlsRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| OpenError::MalformedTlsRoots)?;
    Ok(config.with_root_certificates(store).with_no_client_auth())
}
