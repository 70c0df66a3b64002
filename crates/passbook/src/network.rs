//! Addresses of machines: networks, and whose request a proxy passes on.
//!
//! A client can write anything into a forwarding header. So the header is looked at only when the connection comes from
//! a proxy that the operator named, it is read from its end, where that proxy wrote, and only as far as named proxies
//! go. What comes out decides about nothing but accounting and logs.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use http::HeaderMap;

/// Proxies in a row that are followed.
const HOPS_MAX: usize = 16;

/// A range of addresses: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a network")]
pub struct NotANetwork;

impl Network {
    /// Whether the address is in it. An IPv4 address that is written as IPv6 counts as the former.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix);
                (own.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix);
                (own.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// Whether every address of its family is in it.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= most).ok_or(NotANetwork)?
            }
            Some(_) => return Err(NotANetwork),
        };
        // `::ffff:a.b.c.d` would never match: addresses are compared in their shortest family.
        let is_mapped = matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
        if is_mapped { Err(NotANetwork) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// The one header in which the proxies give their client's address. Which one is the operator's to say: a proxy passes
/// the header that it does not write on as the client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses, each proxy adds one at the end.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl FromStr for ForwardedHeader {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err("the headers are x-forwarded-for and forwarded"),
        }
    }
}

/// Which proxies are believed, and how they speak.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Their addresses.
    pub trusted: Vec<Network>,
    /// Their header.
    pub header: ForwardedHeader,
}

impl Proxies {
    /// Whether the address is one of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Whose request this is: the nearest address that is none of the proxies. `peer` itself unless it is a proxy, and
    /// also when the header is missing or cannot be read.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut nearest = peer.to_canonical();
        if !self.contain(nearest) {
            return nearest;
        }
        let name = match self.header {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        };
        let values: Vec<&str> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect();
        let hops = values.iter().rev().flat_map(|value| value.rsplit(','));
        for hop in hops.take(HOPS_MAX) {
            let address = match self.header {
                ForwardedHeader::XForwardedFor => address(hop.trim()),
                ForwardedHeader::Forwarded => forwarded_for(hop),
            };
            let Some(address) = address else { return nearest };
            nearest = address.to_canonical();
            if !self.contain(nearest) {
                return nearest;
            }
        }
        nearest
    }
}

/// The `for` of one element of a `Forwarded` header. A comma within quotes cuts it, and it is then not an address.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(value.trim().trim_matches('"'))
}

/// An address with or without a port, in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))
}

/// Who is behind an address. An IPv6 host usually has a whole /64 to itself, so only the network counts.
#[must_use]
pub fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.1.2.0/24", "::ffff:10.1.2.9", "::ffff:10.1.3.9"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(ip(inside)), "{network} {inside}");
            assert!(!network.contains(ip(outside)), "{network} {outside}");
        }
        for bad in
            ["", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "::/129", "host/8", "10.0.0.0/", "::ffff:10.0.0.0/104"]
        {
            assert_eq!(bad.parse::<Network>(), Err(NotANetwork), "{bad:?}");
        }
    }

    fn client(header: ForwardedHeader, peer: &str, values: &[&str]) -> IpAddr {
        let trusted = vec!["10.0.0.0/24".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let name = if header == ForwardedHeader::Forwarded { "forwarded" } else { "x-forwarded-for" };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        Proxies { trusted, header }.client(ip(peer), &headers)
    }

    #[test]
    fn only_a_named_proxy_is_believed_and_only_about_what_it_saw() {
        use ForwardedHeader::XForwardedFor as Header;
        assert_eq!(client(Header, "203.0.113.9", &["198.51.100.1"]), ip("203.0.113.9"), "not a proxy");
        assert_eq!(client(Header, "10.0.0.5", &["198.51.100.1"]), ip("198.51.100.1"));
        assert_eq!(client(Header, "::ffff:10.0.0.5", &["198.51.100.1:4711"]), ip("198.51.100.1"));
        assert_eq!(client(Header, "10.0.0.5", &["1.2.3.4, 198.51.100.1"]), ip("198.51.100.1"), "the forged part");
        assert_eq!(
            client(Header, "10.0.0.5", &["1.2.3.4", "198.51.100.1, 10.0.0.6"]),
            ip("198.51.100.1"),
            "two proxies"
        );
        assert_eq!(client(Header, "10.0.0.5", &["198.51.100.1, nonsense"]), ip("10.0.0.5"), "nothing is guessed");
        assert_eq!(client(Header, "10.0.0.5", &[]), ip("10.0.0.5"));
        assert_eq!(client(Header, "10.0.0.5", &["10.0.0.6"]), ip("10.0.0.6"), "proxies only");
        assert_eq!(client(Header, "fd00::1", &["[2001:db8::7]:80"]), ip("2001:db8::7"));
    }

    #[test]
    fn the_standard_header_is_read_too() {
        use ForwardedHeader::Forwarded as Header;
        assert_eq!(client(Header, "10.0.0.5", &["for=192.0.2.60;proto=http;by=10.0.0.5"]), ip("192.0.2.60"));
        assert_eq!(client(Header, "10.0.0.5", &["for=1.2.3.4, For=\"[2001:db8::17]:4711\""]), ip("2001:db8::17"));
        assert_eq!(client(Header, "10.0.0.5", &["for=_hidden"]), ip("10.0.0.5"));
        assert_eq!(
            client(Header, "10.0.0.5", &["for=unknown, for=\"x,for=1.2.3.4\""]),
            ip("1.2.3.4"),
            "what it wrote last"
        );
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        assert_eq!(peer(ip("2001:db8::1")), peer(ip("2001:db8::ffff:0:1")));
        assert_ne!(peer(ip("2001:db8::1")), peer(ip("2001:db8:0:1::1")));
        assert_eq!(peer(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }
}
