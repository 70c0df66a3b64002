//! The host names that the server answers for.
//!
//! A web page that a browser has open may be served from a name whose address its owner changes to this machine's (DNS
//! rebinding); to the browser the server then is that page's own. What gives such a request away is the name in it, so
//! a request is answered only under the names that the server was told, and under those of this machine. A name that is
//! an IP address cannot be rebound: a page under it came from that address.

use std::{net::IpAddr, sync::OnceLock};

use http::{HeaderMap, Request, Uri, Version, header};

/// Paths that are answered under any name: a balancer asks by address, and nobody learns anything from the answers.
const UNDER_ANY_NAME: [&str; 2] = ["/healthz", "/readyz"];

/// Longest text that a connection remembers: a name of 253 characters with a port, and some room.
const REMEMBERED_MAX: usize = 264;

/// A host without its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name in lower case, without a dot at its end.
    Name(String),
    /// An address in its shortest family.
    Address(IpAddr),
}

/// The text is not a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a host name or address")]
pub struct NotAHost;

impl std::str::FromStr for Host {
    type Err = NotAHost;

    /// Reads a name or address as an operator writes it: without port, IPv6 with or without brackets.
    fn from_str(text: &str) -> Result<Self, NotAHost> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        match url::Host::parse(text).map_err(|_| NotAHost)? {
            url::Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                match !name.is_empty() && name.bytes().all(is_name) {
                    true => Ok(Self::Name(name.to_owned())),
                    false => Err(NotAHost),
                }
            }
            url::Host::Ipv4(address) => Ok(IpAddr::from(address).into()),
            url::Host::Ipv6(address) => Ok(IpAddr::from(address).into()),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

/// Why a request is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It names no host where it has to, two of them, or something that is none (RFC 9112, section 3.2; RFC 9113,
    /// section 8.3.1).
    Malformed,
    /// It names a host that is not this server's.
    Unknown,
}

/// The names of a server, beside those of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(Vec<Host>);

impl Hosts {
    /// These and the ones of this machine: `localhost`, names below it, and loopback addresses.
    #[must_use]
    pub fn new(told: Vec<Host>) -> Self {
        Self(told)
    }

    /// Why a request must not be answered; `None` when it may be. Costs a comparison of texts when the connection named
    /// this host before.
    #[must_use]
    pub fn refuse<B>(&self, request: &Request<B>, before: &NamedBefore) -> Option<Refusal> {
        self.check(request, before).err()
    }

    fn check<B>(&self, request: &Request<B>, before: &NamedBefore) -> Result<(), Refusal> {
        let named = named(request.version(), request.uri(), request.headers())?;
        if let Some(named) = named {
            if before.0.get().is_some_and(|before| before == named) {
                return Ok(());
            }
            if self.contain(without_port(named)?) {
                if named.len() <= REMEMBERED_MAX {
                    before.0.get_or_init(|| named.to_owned());
                }
                return Ok(());
            }
        }
        if UNDER_ANY_NAME.contains(&request.uri().path()) { Ok(()) } else { Err(Refusal::Unknown) }
    }

    fn contain(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        if let Some(address) = address(host) {
            return address.is_loopback() || self.0.contains(&Host::Address(address));
        }
        is_localhost(host)
            || self.0.iter().any(|known| matches!(known, Host::Name(known) if known.eq_ignore_ascii_case(host)))
    }
}

/// The first accepted `Host` of a connection. Most connections send the same one with every request.
#[derive(Debug, Default)]
pub struct NamedBefore(OnceLock<String>);

/// The host that a request names, with its port. `None` when it names none and need not.
fn named<'a>(version: Version, uri: &'a Uri, headers: &'a HeaderMap) -> Result<Option<&'a str>, Refusal> {
    let mut headers = headers.get_all(header::HOST).iter();
    let in_header = match (headers.next(), headers.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host.to_str().map_err(|_| Refusal::Malformed)?),
        (Some(_), Some(_)) => return Err(Refusal::Malformed),
    };
    let in_target = uri.authority().map(http::uri::Authority::as_str);
    match (version, in_target, in_header) {
        (Version::HTTP_11, _, None) => Err(Refusal::Malformed),
        // What HTTP/1 has in its target goes before the header.
        (Version::HTTP_09 | Version::HTTP_10 | Version::HTTP_11, Some(target), Some(header)) => {
            without_port(header)?;
            Ok(Some(target))
        }
        (_, Some(target), Some(header)) if !target.eq_ignore_ascii_case(header) => Err(Refusal::Malformed),
        (_, Some(text), _) | (_, None, Some(text)) => Ok(Some(text)),
        (Version::HTTP_2 | Version::HTTP_3, None, None) => Err(Refusal::Malformed),
        (_, None, None) => Ok(None),
    }
}

/// `host[:port]` (RFC 3986, section 3.2.2) without its port. An address in brackets keeps them.
fn without_port(text: &str) -> Result<&str, Refusal> {
    let end = match text.strip_prefix('[') {
        Some(rest) => rest.find(']').ok_or(Refusal::Malformed)? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(end);
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    let is_host = host.bytes().all(|b| b.is_ascii_graphic() && !br#"@/\?#"<>^`{|}"#.contains(&b));
    if is_port && is_host { Ok(host) } else { Err(Refusal::Malformed) }
}

fn address(host: &str) -> Option<IpAddr> {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        // Spares the parsing of names.
        None if host.bytes().next_back().is_some_and(|last| last.is_ascii_digit()) => host,
        None => return None,
    };
    bare.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// `localhost` and what is below it, which every resolver takes for this machine (RFC 6761, section 6.3).
fn is_localhost(host: &str) -> bool {
    const LOCALHOST: &str = "localhost";
    let at = host.len().checked_sub(LOCALHOST.len());
    let tail = at.and_then(|at| host.get(at..)).is_some_and(|tail| tail.eq_ignore_ascii_case(LOCALHOST));
    tail && (host.len() == LOCALHOST.len() || host.as_bytes()[host.len() - LOCALHOST.len() - 1] == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        let told = ["passbook.example.com", "10.0.0.7", "2001:db8::7", "Münze.example."];
        Hosts::new(told.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn judge(version: Version, target: &str, headers: &[&str]) -> Option<Refusal> {
        let mut request = Request::builder().version(version).uri(target);
        for host in headers {
            request = request.header(header::HOST, *host);
        }
        let request = request.body(()).unwrap();
        let refusal = hosts().refuse(&request, &NamedBefore::default());
        // What a connection named before makes no difference, and what it names first is remembered.
        for known in [Some("localhost:8080"), None] {
            let before = NamedBefore(known.map(|known| known.to_owned().into()).unwrap_or_default());
            assert_eq!(hosts().refuse(&request, &before), refusal);
            assert_eq!(hosts().refuse(&request, &before), refusal);
        }
        refusal
    }

    #[test]
    fn names_that_were_told_and_those_of_this_machine_are_answered_at_any_port() {
        for host in [
            "passbook.example.com",
            "PASSBOOK.example.COM:8443",
            "passbook.example.com.",
            "10.0.0.7:1",
            "[2001:db8::7]:443",
            "xn--mnze-0ra.example",
            "localhost",
            "LocalHost:8080",
            "localhost.:8080",
            "connect.localhost:8080",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:8080",
        ] {
            assert_eq!(judge(Version::HTTP_11, "/links", &[host]), None, "{host}");
            if let Ok(target) = format!("https://{host}/links").parse::<Uri>() {
                assert_eq!(judge(Version::HTTP_2, &target.to_string(), &[]), None, "{host}");
            }
        }
    }

    #[test]
    fn other_names_are_refused_but_for_health() {
        for host in [
            "evil.example",
            "evil.example:8080",
            "passbook.example.com.evil.example",
            "evilpassbook.example.com",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "[::]",
            "10.0.0.8",
            "[2001:db8::8]",
            "2130706433",
            "0x7f.1",
            "",
        ] {
            assert_eq!(judge(Version::HTTP_11, "/links", &[host]), Some(Refusal::Unknown), "{host:?}");
            for path in UNDER_ANY_NAME {
                assert_eq!(judge(Version::HTTP_11, path, &[host]), None, "{host:?} {path}");
            }
        }
        assert_eq!(judge(Version::HTTP_11, "/healthz/", &["evil.example"]), Some(Refusal::Unknown));
        assert_eq!(judge(Version::HTTP_11, "/metrics", &["evil.example"]), Some(Refusal::Unknown));
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        for host in ["user@localhost", "localhost:80a", "[::1", "[::1]x", "a b", "localhost/"] {
            assert_eq!(judge(Version::HTTP_11, "/", &[host]), Some(Refusal::Malformed), "{host}");
        }
        assert_eq!(judge(Version::HTTP_11, "/", &[]), Some(Refusal::Malformed));
        assert_eq!(judge(Version::HTTP_11, "/healthz", &[]), Some(Refusal::Malformed));
        assert_eq!(judge(Version::HTTP_11, "/", &["localhost", "localhost"]), Some(Refusal::Malformed));
        // HTTP/1.0 need not name one; then it names none of ours.
        assert_eq!(judge(Version::HTTP_10, "/", &[]), Some(Refusal::Unknown));
        assert_eq!(judge(Version::HTTP_10, "/healthz", &[]), None);
    }

    #[test]
    fn the_target_decides_where_it_names_a_host() {
        let (evil, own) = ("http://evil.example/links", "http://localhost:8080/links");
        assert_eq!(judge(Version::HTTP_11, evil, &["localhost"]), Some(Refusal::Unknown));
        assert_eq!(judge(Version::HTTP_11, own, &["evil.example"]), None);
        assert_eq!(judge(Version::HTTP_11, own, &[]), Some(Refusal::Malformed));
        assert_eq!(judge(Version::HTTP_2, evil, &[]), Some(Refusal::Unknown));
        assert_eq!(judge(Version::HTTP_2, own, &["localhost:8080"]), None);
        assert_eq!(judge(Version::HTTP_2, own, &["evil.example"]), Some(Refusal::Malformed));
        assert_eq!(judge(Version::HTTP_2, "/links", &[]), Some(Refusal::Malformed));
        assert_eq!(judge(Version::HTTP_2, "/links", &["evil.example"]), Some(Refusal::Unknown));
    }

    #[test]
    fn hosts_are_written_without_scheme_and_port() {
        for text in ["https://passbook.example.com", "passbook.example.com:443", "a b", "", ".", "a/b", "*.example.com"]
        {
            assert_eq!(text.parse::<Host>(), Err(NotAHost), "{text:?}");
        }
    }
}
