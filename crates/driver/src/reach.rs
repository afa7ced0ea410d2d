//! Which addresses may be dialled: a link's host name is data, and must not open the hub's own network to whoever writes it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Which addresses may be dialled. The address that is checked is the one that is connected to; a name is never resolved twice.
///
/// Public unicast addresses always; loopback, private, shared, link-local, multicast, unspecified, documentation and reserved
/// ones only where a network that was listed holds them. IPv4 addresses inside IPv6 ones (mapped, NAT64, 6to4) are judged as IPv4.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    allowed: Vec<Network>,
}

impl Reach {
    /// Public addresses only.
    #[must_use]
    pub fn public() -> Self {
        Self::default()
    }

    /// Public addresses, and these networks.
    #[must_use]
    pub fn public_and(allowed: Vec<Network>) -> Self {
        Self { allowed }
    }

    /// Every address: for tests, demonstrations, and hubs that live in a private network altogether.
    #[must_use]
    pub fn everywhere() -> Self {
        let v4 = Network { address: Ipv4Addr::UNSPECIFIED.into(), prefix: 0 };
        let v6 = Network { address: Ipv6Addr::UNSPECIFIED.into(), prefix: 0 };
        Self { allowed: vec![v4, v6] }
    }

    /// Whether `address` may be dialled; if not, what kind of address it is.
    ///
    /// # Errors
    /// The kind, in a word: `private`, `loopback`.
    pub fn check(&self, address: IpAddr) -> Result<(), &'static str> {
        let address = address.to_canonical();
        match kind(address) {
            Some(kind) if !self.allowed.iter().any(|network| network.contains(address)) => Err(kind),
            _ => Ok(()),
        }
    }
}

/// What keeps an address from being dialled; `None` for a public one.
fn kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    }
}

fn kind_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        // RFC 6890 and its registry.
        (0, ..) => Some("unspecified"),
        (127, ..) => Some("loopback"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("private"),
        (100, 64..=127, _) => Some("shared"),
        (169, 254, _) => Some("link-local"),
        (192, 0, 0) | (198, 18..=19, _) | (240..=255, ..) => Some("reserved"),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Some("documentation"),
        (224..=239, ..) => Some("multicast"),
        _ => None,
    }
}

fn kind_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        kind_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        // IPv4-compatible, RFC 4291 §2.5.5.1: deprecated.
        [0, 0, 0, 0, 0, 0, ..] => Some("reserved"),
        // NAT64, RFC 6052 §2.1.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // NAT64 inside one network, RFC 8215.
        [0x64, 0xff9b, 1, ..] => Some("private"),
        // 6to4, RFC 3056 §2.
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, benchmarking, ORCHID and the like: RFC 2928.
        [0x2001, 0..=0x1ff, ..] => Some("reserved"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("documentation"),
        [0xfc00..=0xfdff, ..] => Some("private"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfec0..=0xfeff, ..] => Some("private"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is not a [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network: write it like 10.1.0.0/16, fd00::/8, or a single address")]
pub struct NetworkError(String);

impl Network {
    /// Whether `address` is in it. An IPv4 address that is written as IPv6 (`::ffff:10.0.0.1`) is in IPv4 networks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NetworkError(crate::text::escaped(text, 60));
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
        };
        if prefix > longest {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_unless_a_network_is_listed() {
        let public = Reach::public();
        for (address, want) in [
            ("93.184.216.34", None),
            ("2606:2800:220:1::1", None),
            ("127.0.0.1", Some("loopback")),
            ("0.0.0.0", Some("unspecified")),
            ("10.1.2.3", Some("private")),
            ("172.16.0.1", Some("private")),
            ("172.32.0.1", None),
            ("192.168.1.1", Some("private")),
            ("100.64.0.1", Some("shared")),
            ("169.254.169.254", Some("link-local")),
            ("224.0.0.1", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
            ("::1", Some("loopback")),
            ("::", Some("unspecified")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("64:ff9b::a9fe:a9fe", Some("link-local")),
            ("2002:7f00:1::1", Some("loopback")),
            ("fe80::1", Some("link-local")),
            ("fd00::1", Some("private")),
            ("ff02::1", Some("multicast")),
        ] {
            assert_eq!(public.check(address.parse().unwrap()).err(), want, "{address}");
        }
        let listed = Reach::public_and(vec!["10.1.0.0/16".parse().unwrap(), "::1".parse().unwrap()]);
        assert!(listed.check("10.1.255.1".parse().unwrap()).is_ok());
        assert!(listed.check("::ffff:10.1.0.1".parse().unwrap()).is_ok());
        assert!(listed.check("10.2.0.1".parse().unwrap()).is_err());
        assert!(listed.check("::1".parse().unwrap()).is_ok());
        for address in ["127.0.0.1", "::1", "ff02::1", "10.0.0.1"] {
            assert!(Reach::everywhere().check(address.parse().unwrap()).is_ok());
        }
    }

    #[test]
    fn networks_are_read_strictly() {
        for text in ["10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "::/129", "a.example", "", "/8", "10.0.0.0/8/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.1.2.3".parse().unwrap()) && !all.contains("2001:db8::1".parse().unwrap()));
        assert_eq!(all.to_string(), "0.0.0.0/0");
    }
}
