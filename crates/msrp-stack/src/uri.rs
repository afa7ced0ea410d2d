//! MSRP URIs (RFC 4975 §6) and paths of them.

use std::fmt;

/// Bytes of the longest URI that is read.
const MAX_URI: usize = 512;
/// Hops of the longest path that is read.
const MAX_HOPS: usize = 8;

/// One MSRP URI, written as it was read: paths are sent back byte for byte.
#[derive(Clone, Debug)]
pub struct MsrpUri {
    text: String,
    secure: bool,
    host: String,
    port: Option<u16>,
    session: Option<String>,
    transport: String,
}

/// What is no MSRP URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an MSRP URI such as msrps://host:2855/session;tcp")]
pub struct BadUri;

impl MsrpUri {
    /// The URI of a session of ours. `host`: a name, an IPv4 address, or an IPv6 address in brackets.
    ///
    /// # Errors
    /// [`BadUri`] for what would not be read back.
    pub fn new(secure: bool, host: &str, port: u16, session: &str) -> Result<Self, BadUri> {
        let scheme = if secure { "msrps" } else { "msrp" };
        Self::parse(&format!("{scheme}://{host}:{port}/{session};tcp"))
    }

    /// Reads one. At most 512 bytes.
    ///
    /// # Errors
    /// [`BadUri`].
    pub fn parse(text: &str) -> Result<Self, BadUri> {
        if text.len() > MAX_URI || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadUri);
        }
        let (scheme, rest) = text.split_once("://").ok_or(BadUri)?;
        let secure = match () {
            () if scheme.eq_ignore_ascii_case("msrp") => false,
            () if scheme.eq_ignore_ascii_case("msrps") => true,
            () => return Err(BadUri),
        };
        let mut parts = rest.split(';');
        let place = parts.next().ok_or(BadUri)?;
        let transport = parts.next().filter(|name| is_token(name)).ok_or(BadUri)?;
        let (authority, session) = match place.split_once('/') {
            Some((authority, session)) => (authority, Some(session).filter(|session| !session.is_empty())),
            None => (place, None),
        };
        if session.is_some_and(|session| !session.bytes().all(is_session_byte)) {
            return Err(BadUri);
        }
        // Userinfo has no meaning in a comparison (RFC 4975 §6.1), and none for us.
        let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        let (host, port) = match address.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
            Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port != 0).ok_or(BadUri)?)),
            None => (address, None),
        };
        if !is_host(host) {
            return Err(BadUri);
        }
        Ok(Self {
            text: text.to_owned(),
            secure,
            host: host.to_ascii_lowercase(),
            port,
            session: session.map(str::to_owned),
            transport: transport.to_ascii_lowercase(),
        })
    }

    /// `msrps`: TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host in lower case; an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 2855 where none is written (RFC 4975 §6).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(2855)
    }

    /// The name of the session; relays have none.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// `tcp`, or a transport that nobody has.
    #[must_use]
    pub fn transport(&self) -> &str {
        &self.transport
    }

    /// As it was read.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// RFC 4975 §6.1: scheme, host and transport in any case, the session by its bytes; a port that is not written is not the default one.
impl PartialEq for MsrpUri {
    fn eq(&self, other: &Self) -> bool {
        self.secure == other.secure
            && self.host == other.host
            && self.port == other.port
            && self.session == other.session
            && self.transport == other.transport
    }
}

impl Eq for MsrpUri {}

impl fmt::Display for MsrpUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte))
}

fn is_session_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+=/".contains(&byte)
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || byte == b'_';
            !host.is_empty() && host.len() <= 255 && host.bytes().all(is_name)
        }
    }
}

/// The hops to somebody, nearest first; never empty, at most 8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<MsrpUri>);

impl Path {
    /// A path without relays.
    #[must_use]
    pub fn direct(uri: MsrpUri) -> Self {
        Self(vec![uri])
    }

    /// For a head that is still being read.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads URIs between blanks.
    ///
    /// # Errors
    /// [`BadUri`].
    pub fn parse(text: &str) -> Result<Self, BadUri> {
        let mut uris = Vec::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            if uris.len() == MAX_HOPS {
                return Err(BadUri);
            }
            uris.push(MsrpUri::parse(word)?);
        }
        if uris.is_empty() { Err(BadUri) } else { Ok(Self(uris)) }
    }

    /// The nearest hop: where a connection goes to, and whose To-Path is ours.
    #[must_use]
    pub fn first(&self) -> Option<&MsrpUri> {
        self.0.first()
    }

    /// Whoever is at its end.
    #[must_use]
    pub fn last(&self) -> Option<&MsrpUri> {
        self.0.last()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, uri) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(uri.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_the_standard_are_read() {
        let uri = MsrpUri::parse("msrp://atlanta.example.com:7654/jshA7weztas;tcp").unwrap();
        assert_eq!(
            (uri.host(), uri.port(), uri.session(), uri.transport()),
            ("atlanta.example.com", 7654, Some("jshA7weztas"), "tcp")
        );
        assert!(!uri.is_secure());
        let uri = MsrpUri::parse("MSRPS://u:p@[2001:DB8::1]/a+b=/c;TCP;x=y").unwrap();
        assert_eq!((uri.host(), uri.port(), uri.session()), ("[2001:db8::1]", 2855, Some("a+b=/c")));
        assert!(uri.is_secure());
        assert_eq!(MsrpUri::parse("msrp://relay.example;tcp").unwrap().session(), None);
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in [
            "",
            "sip:a@b",
            "msrp://",
            "msrp://a/b",
            "msrp://a/b;",
            "msrp:///b;tcp",
            "msrp://a:0/b;tcp",
            "msrp://a:70000/b;tcp",
            "msrp://a b/c;tcp",
            "msrp://a/b\r\nX: y;tcp",
            "msrp://[::g]/b;tcp",
            "msrp://a/b%00;tcp",
            "msrp://a/b;t p",
            "msrp://é/b;tcp",
        ] {
            assert!(MsrpUri::parse(bad).is_err(), "{bad}");
        }
        assert!(MsrpUri::parse(&format!("msrp://a/{};tcp", "b".repeat(600))).is_err());
        assert!(Path::parse("").is_err() && Path::parse(&"msrp://a/b;tcp ".repeat(9)).is_err());
    }

    #[test]
    fn they_are_compared_by_the_rules_of_6_1() {
        let same = |a: &str, b: &str| MsrpUri::parse(a).unwrap() == MsrpUri::parse(b).unwrap();
        assert!(same("msrp://A.example:1/s;tcp", "MSRP://u@a.EXAMPLE:1/s;TCP;x=y"));
        assert!(!same("msrp://a.example:1/s;tcp", "msrp://a.example:1/S;tcp"));
        assert!(!same("msrp://a.example:1/s;tcp", "msrps://a.example:1/s;tcp"));
        assert!(!same("msrp://a.example:2855/s;tcp", "msrp://a.example/s;tcp"));
    }
}
