//! `[server]`: listening, proxies, roles, stopping.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use url::Url;

use super::{
    Settings,
    settings::{Kind, is_loopback},
};
use crate::{
    hosts::Host,
    network::{ForwardedHeader, Network},
};

pub(super) const KEYS: &[(&str, Kind)] = &[
    ("listen", Kind::Text),
    ("public_url", Kind::Text),
    ("hosts", Kind::List),
    ("operator_listen", Kind::Text),
    ("role", Kind::Text),
    ("replicas", Kind::Number),
    ("tls_certificate_file", Kind::Text),
    ("tls_key_file", Kind::Text),
    ("trusted_proxies", Kind::List),
    ("forwarded_header", Kind::Text),
    ("drain_seconds", Kind::Number),
];

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Answers requests.
    Api,
    /// Runs jobs and cleans up.
    Worker,
    /// Both.
    All,
}

impl Role {
    /// Whether the API is served.
    #[must_use]
    pub fn serves(self) -> bool {
        self != Self::Worker
    }

    /// Whether jobs are run.
    #[must_use]
    pub fn works(self) -> bool {
        self != Self::Api
    }
}

impl std::str::FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "api" => Ok(Self::Api),
            "worker" => Ok(Self::Worker),
            "all" => Ok(Self::All),
            _ => Err("the roles are api, worker and all"),
        }
    }
}

/// Certificate and key.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Chain in PEM, the server's own certificate first.
    pub certificate_file: PathBuf,
    /// Private key in PEM.
    pub key_file: PathBuf,
}

/// See the module page.
#[derive(Debug)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where clients reach the server.
    pub public_url: Option<Url>,
    /// Host names beside that one under which it is called.
    pub hosts: Vec<Host>,
    /// Where `/readyz` and `/metrics` are, if not beside everything else.
    pub operator_listen: Option<SocketAddr>,
    /// What this process does.
    pub role: Role,
    /// Processes that share the request limits.
    pub replicas: u32,
    /// Certificate and key; without them HTTP is plain.
    pub tls: Option<Tls>,
    /// Who is believed about a client's address.
    pub trusted_proxies: Vec<Network>,
    /// How they give it.
    pub forwarded_header: ForwardedHeader,
    /// Between "not ready" and the end of listening.
    pub drain: Duration,
}

impl Server {
    pub(super) fn read(settings: &mut Settings) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listen = settings.parsed("server.listen", "is not an address with a port", "write it as 127.0.0.1:8080");
        let public_url = settings.parsed("server.public_url", "is not a URL", "write it as https://host");
        Self {
            listen: listen.unwrap_or(nowhere),
            public_url: public_url.filter(|url| check_public_url(settings, url)),
            hosts: read_hosts(settings),
            operator_listen: settings.parsed(
                "server.operator_listen",
                "is not an address with a port",
                "write it as 127.0.0.1:9090",
            ),
            role: settings.parsed("server.role", "is not a role", "give api, worker or all").unwrap_or(Role::All),
            replicas: settings.number("server.replicas", 1..=1_000),
            tls: read_tls(settings),
            trusted_proxies: settings.networks(
                "server.trusted_proxies",
                "trusts every address",
                "name the proxies' own addresses; everybody could forge a client's address otherwise",
            ),
            forwarded_header: settings
                .parsed("server.forwarded_header", "is not a header we read", "give x-forwarded-for or forwarded")
                .unwrap_or_default(),
            drain: Duration::from_secs(settings.number("server.drain_seconds", 0..=300).into()),
        }
    }
}

impl Server {
    /// Every name that requests may be made under: the ones that were told, and the addresses that are listened on.
    #[must_use]
    pub fn known_hosts(&self) -> Vec<Host> {
        let public = self.public_url.as_ref().and_then(Url::host_str).and_then(|host| host.parse().ok());
        let addresses = [Some(self.listen), self.operator_listen].into_iter().flatten().map(|listen| listen.ip());
        // "Every address" is none that a request could name.
        let addresses = addresses.filter(|address| !address.is_unspecified()).map(Host::from);
        public.into_iter().chain(self.hosts.iter().cloned()).chain(addresses).collect()
    }
}

fn read_hosts(settings: &mut Settings) -> Vec<Host> {
    let mut hosts = Vec::new();
    for text in settings.list("server.hosts") {
        match text.parse() {
            Ok(host) => hosts.push(host),
            Err(_) => {
                let remedy = "write it as passbook.example.com or 10.0.0.7, without scheme and port";
                settings.problems.add("server.hosts", format!("{text:?} is not a host"), remedy);
            }
        }
    }
    hosts
}

fn read_tls(settings: &mut Settings) -> Option<Tls> {
    let certificate = settings.text("server.tls_certificate_file").map(PathBuf::from);
    let key = settings.text("server.tls_key_file").map(PathBuf::from);
    match (certificate, key) {
        (Some(certificate_file), Some(key_file)) => {
            if !certificate_file.is_file() {
                let what = format!("{} is not a file", certificate_file.display());
                settings.problems.add("server.tls_certificate_file", what, "name an existing file");
            }
            settings.private_file("server.tls_key_file", &key_file);
            Some(Tls { certificate_file, key_file })
        }
        (None, None) => None,
        (Some(_), None) => {
            settings.problems.add("server.tls_key_file", "is missing", "a certificate needs its key");
            None
        }
        (None, Some(_)) => {
            settings.problems.add("server.tls_certificate_file", "is missing", "a key needs its certificate");
            None
        }
    }
}

/// A bare origin: https, or http on this machine.
fn check_public_url(settings: &mut Settings, url: &Url) -> bool {
    let name = "server.public_url";
    let is_origin = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let has_user = !url.username().is_empty() || url.password().is_some();
    if !is_origin || has_user || url.host_str().is_none() {
        settings.problems.add(name, "is more than scheme, host and port", "write it as https://host");
        return false;
    }
    match url.scheme() {
        "https" => true,
        "http" if url.host_str().is_some_and(is_loopback) => true,
        _ => {
            let remedy = "credentials would cross the network in the clear; give an https URL";
            settings.problems.add(name, "is not https", remedy);
            false
        }
    }
}
