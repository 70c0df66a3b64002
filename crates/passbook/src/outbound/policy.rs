//! What may be called: schemes, ports, addresses.

use std::net::IpAddr;

use url::{Host, Url};

use super::address;
use crate::network::Network;

/// Longest URL (contract, section 2.4).
const URL_LENGTH_MAX: usize = 65_536;

/// What may be called. The default is what a stranger's URL may have: https, port 443, public addresses.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Whether `http` is allowed, with port 80.
    pub plain_http: bool,
    /// Ports beside 443 (and 80).
    pub ports: Vec<u16>,
    /// Ranges that may be called although they are not public.
    pub networks: Vec<Network>,
    /// Whether this machine may be called, with any port and plainly: for trying things out.
    pub loopback: bool,
    /// Whether nothing else is called. URLs that lead elsewhere may be set all the same; they are only never called.
    pub only_this_machine: bool,
}

/// Why a URL may not be called. Texts for the app's developer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefusal {
    /// Not an absolute URL with a host, or too long.
    #[error("must be an absolute http or https URL")]
    Malformed,
    /// `http` where it is not allowed.
    #[error("must be an https URL")]
    Scheme,
    /// User name or password.
    #[error("must not hold a user name or a password")]
    UserInfo,
    /// Another port.
    #[error("must have a port that this server may call")]
    Port,
    /// An address that is not public.
    #[error("must not be an address inside a network")]
    Address,
}

impl Policy {
    /// What `passbook dev` may call: public https, and anything on this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self { loopback: true, ..Self::default() }
    }

    /// As [`Policy::check`], right before a call.
    pub(super) fn check_call(&self, url: &str) -> Result<Url, UrlRefusal> {
        let url = self.check(url)?;
        match self.only_this_machine && !url.host().is_some_and(|host| is_this_machine(&host)) {
            true => Err(UrlRefusal::Address),
            false => Ok(url),
        }
    }

    /// Looks at a URL, and at the address if it holds one; names are looked at when they are called.
    ///
    /// # Errors
    /// [`UrlRefusal`].
    pub fn check(&self, url: &str) -> Result<Url, UrlRefusal> {
        // Parsers do not agree on what a backslash is.
        let is_odd = |letter: char| letter.is_control() || letter.is_whitespace() || letter == '\\';
        if url.len() > URL_LENGTH_MAX || url.chars().any(is_odd) {
            return Err(UrlRefusal::Malformed);
        }
        let url = Url::parse(url).map_err(|_| UrlRefusal::Malformed)?;
        let Some(host) = url.host() else { return Err(UrlRefusal::Malformed) };
        let is_own = self.loopback && is_this_machine(&host);
        match url.scheme() {
            "https" => {}
            "http" if self.plain_http || is_own => {}
            "http" => return Err(UrlRefusal::Scheme),
            _ => return Err(UrlRefusal::Malformed),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlRefusal::UserInfo);
        }
        let address = match host {
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
            Host::Domain(_) => None,
        };
        if address.is_some_and(|address| !self.allows_address(address)) {
            return Err(UrlRefusal::Address);
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let is_known = port == 443 || (port == 80 && self.plain_http) || self.ports.contains(&port);
        if !is_known && !is_own {
            return Err(UrlRefusal::Port);
        }
        Ok(url)
    }

    /// Whether an address may be called.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        if address::is_metadata(address) {
            return false;
        }
        address::is_public(address)
            || self.networks.iter().any(|network| network.contains(address))
            || (self.loopback && address.to_canonical().is_loopback())
    }
}

/// Names below `localhost` are this machine by definition (RFC 6761 section 6.3).
fn is_this_machine(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).to_canonical().is_loopback(),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_network_of_the_operator_opens_the_metadata_of_a_cloud() {
        let networks = ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"].map(|range| range.parse().unwrap());
        let policy = Policy { plain_http: true, networks: networks.to_vec(), ..Policy::default() };
        for metadata in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "[fd00:ec2::254]",
            "[fd00:ec2::23]",
            "[fd20:ce::254]",
            "[fd00:c1::a9fe:a9fe]",
            "[fe80::a9fe:a9fe]",
            "[64:ff9b::169.254.169.254]",
        ] {
            for url in [format!("https://{metadata}/"), format!("http://{metadata}/latest/meta-data/")] {
                assert_eq!(policy.check(&url), Err(UrlRefusal::Address), "{url}");
            }
        }
        for inside in ["https://10.0.0.1/", "https://[fd00::1]/", "http://192.168.1.1/"] {
            assert!(policy.check(inside).is_ok(), "{inside}");
        }
    }
}
