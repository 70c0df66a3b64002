//! Which addresses are on the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds give secrets to whoever asks from inside, as first address and prefix. Never called, whatever the
/// operator allows. IPv4: all link-local addresses (metadata of nearly every cloud, ECS and EKS credentials among
/// them), Alibaba, Azure's WireServer, Oracle Cloud at Customer.
const METADATA_V4: [([u8; 4], u32); 4] =
    [([169, 254, 0, 0], 16), ([100, 100, 100, 200], 32), ([168, 63, 129, 16], 32), ([192, 0, 0, 192], 32)];

/// The same in IPv6: link-local (OpenStack and others at `fe80::a9fe:a9fe`), the range of AWS (metadata at `::254`, EKS
/// credentials at `::23`), Google, Oracle, Alibaba, Akamai, Scaleway.
const METADATA_V6: [(Ipv6Addr, u32); 7] = [
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
    (Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200), 128),
    (Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1), 128),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
];

/// Prefixes behind which translators find an IPv4 address in the last 32 bits: IPv4-compatible addresses and NAT64 (RFC
/// 6052, RFC 8215), and 6to4 (RFC 3056), which has it right behind its own 16 bits.
const CARRIES_V4: [(u128, u32); 3] = [(0, 96), (0x0064_ff9b << 96, 96), (0x0064_ff9b_0001 << 80, 48)];
const SIX_TO_FOUR: (u128, u32) = (0x2002 << 112, 16);

/// IPv4 ranges that are not public: first address and prefix.
const SPECIAL_V4: [([u8; 4], u32); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// IPv6: what is given out globally (`2000::/3`) and, inside it, what is not public. Addresses that carry an IPv4
/// address are among the latter (6to4 and Teredo) or outside of the former (NAT64, IPv4-compatible).
const GLOBAL_V6: (u128, u32) = (0x2000 << 112, 3);
const SPECIAL_V6: [(u128, u32); 4] =
    [(0x2001 << 112, 23), (0x2001_0db8 << 96, 32), (0x2002 << 112, 16), (0x3fff << 112, 20)];

/// Whether clouds give secrets there, be the address written as IPv6 or carried in one.
pub(super) fn is_metadata(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_metadata_v4(address),
        IpAddr::V6(address) => {
            METADATA_V6.iter().any(|(first, prefix)| is_in_v6(address, (first.to_bits(), *prefix)))
                || carried_v4(address).is_some_and(is_metadata_v4)
        }
    }
}

fn is_metadata_v4(address: Ipv4Addr) -> bool {
    METADATA_V4.iter().any(|(first, prefix)| shared_bits_v4(address, Ipv4Addr::from(*first)) >= *prefix)
}

/// The IPv4 address to which a translator would send what goes to this one.
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    if is_in_v6(address, SIX_TO_FOUR) {
        return Some(Ipv4Addr::from_bits((bits >> 80) as u32));
    }
    CARRIES_V4.iter().any(|range| is_in_v6(address, *range)).then(|| Ipv4Addr::from_bits(bits as u32))
}

fn is_in_v6(address: Ipv6Addr, (first, prefix): (u128, u32)) -> bool {
    (address.to_bits() ^ first).leading_zeros() >= prefix
}

/// Whether it is an address of the public internet. IPv4 written as IPv6 is IPv4.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            !SPECIAL_V4.iter().any(|(first, prefix)| shared_bits_v4(address, Ipv4Addr::from(*first)) >= *prefix)
        }
        IpAddr::V6(address) => {
            is_in_v6(address, GLOBAL_V6) && !SPECIAL_V6.iter().any(|range| is_in_v6(address, *range))
        }
    }
}

fn shared_bits_v4(one: Ipv4Addr, other: Ipv4Addr) -> u32 {
    (one.to_bits() ^ other.to_bits()).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_public_internet_is_public() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "2001:4860:4860::8888",
            "3ffe::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(address(public)), "{public}");
        }
        for special in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.1",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address(special)), "{special}");
        }
    }

    #[test]
    fn metadata_is_known_however_it_is_written() {
        for metadata in [
            // EC2 and nearly everybody else, ECS, EKS, Scaleway, Tencent.
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "169.254.42.42",
            "169.254.0.23",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            // EC2, EKS, Google, Oracle, Alibaba, Akamai, Scaleway, OpenStack.
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:100::100:200",
            "fd00:a9fe:a9fe::1",
            "fd00:42::42",
            "fe80::a9fe:a9fe",
            // Written as IPv6, and behind translators.
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.170.23",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "64:ff9b::168.63.129.16",
        ] {
            assert!(is_metadata(address(metadata)), "{metadata}");
        }
        for other in [
            "169.253.255.255",
            "169.255.0.0",
            "100.100.100.199",
            "168.63.129.17",
            "192.0.0.191",
            "fd00:ec3::254",
            "fd20:ce::253",
            "fec0::1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "10.0.0.1",
        ] {
            assert!(!is_metadata(address(other)), "{other}");
        }
    }
}
