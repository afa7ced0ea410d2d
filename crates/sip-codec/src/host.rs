//! The host of a URI or of a Via.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::{Malformed, Unencodable};

/// A name or an IP address, as written; an IPv6 address is in brackets. Compared without regard to case, and IP
/// addresses by value.
#[derive(Clone)]
pub struct Host(Box<str>);

impl Host {
    /// `b.example`, `192.0.2.1` or `[2001:db8::1]`.
    pub fn new(text: &str) -> Result<Self, Unencodable> {
        if text.is_empty() {
            return Err(Unencodable::Empty("a host"));
        }
        Self::parse(text.as_bytes())
            .map_err(|_| Unencodable::Byte(text.bytes().find(|byte| !is_host_byte(*byte)).unwrap_or(b'.'), "a host"))
    }

    /// Letters, digits, `-`, `_` and dots, with no empty label but one at the end; or an IPv6 reference.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::at("a host", bytes, 0))?;
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']').ok_or_else(|| Malformed::at("a closing bracket", bytes, bytes.len()))?;
            // RFC 5118 §4.10: a third colon in a row is not an address
            address.parse::<Ipv6Addr>().map_err(|_| Malformed::word("an IPv6 address", bytes))?;
            return Ok(Self(text.into()));
        }
        if let Some(wrong) = bytes.iter().position(|byte| !is_host_byte(*byte)) {
            return Err(Malformed::at("a host", bytes, wrong));
        }
        let labels = text.strip_suffix('.').unwrap_or(text);
        if labels.is_empty() || labels.split('.').any(str::is_empty) {
            return Err(Malformed::at("a host", bytes, 0));
        }
        Ok(Self(text.into()))
    }

    /// As written, with brackets around IPv6.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, if it is one and no name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.0.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => self.0.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        }
    }
}

fn is_host_byte(byte: u8) -> bool {
    // The underscore is in no grammar and in many real names
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(address.to_string().into()),
            IpAddr::V6(address) => Self(format!("[{address}]").into()),
        }
    }
}

impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        if self.0.eq_ignore_ascii_case(&other.0) {
            return true;
        }
        // Only brackets can be the same address in two spellings
        self.0.starts_with('[') && other.0.starts_with('[') && self.ip() == other.ip()
    }
}

impl Eq for Host {}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.0)
    }
}
