//! Via: which way a request came, and a response goes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::error::{Malformed, Unencodable};
use crate::host::Host;
use crate::lex::{self, Cursor};
use crate::params::Params;
use crate::uri;

/// The transport named in a Via. Compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream in clear.
    Tcp,
    /// A stream over TLS.
    Tls,
    /// Any other token, in upper case.
    Other(Box<str>),
}

impl Transport {
    fn parse(token: &[u8]) -> Self {
        match token {
            _ if token.eq_ignore_ascii_case(b"UDP") => Self::Udp,
            _ if token.eq_ignore_ascii_case(b"TCP") => Self::Tcp,
            _ if token.eq_ignore_ascii_case(b"TLS") => Self::Tls,
            _ => Self::Other(lex::text(token).to_ascii_uppercase().into()),
        }
    }

    /// The word in a Via.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Other(name) => name,
        }
    }
}

/// One Via value. The bytes as received stay in the message's headers, and only they are echoed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    transport: Transport,
    host: Host,
    port: Option<u16>,
    params: Params,
}

impl Via {
    /// What every branch of RFC 3261 begins with.
    pub const COOKIE: &'static str = "z9hG4bK";

    /// A Via of our own; add a branch.
    pub fn new(transport: Transport, host: Host, port: Option<u16>) -> Self {
        Self { transport, host, port, params: Params::default() }
    }

    /// With this branch, which must be a token and should begin with [`Via::COOKIE`].
    pub fn with_branch(mut self, branch: &str) -> Result<Self, Unencodable> {
        lex::require_token(branch, "a branch")?;
        self.params.set("branch", Some(branch))?;
        Ok(self)
    }

    /// With a parameter, such as `rport` (RFC 3581) or `alias` (RFC 5923).
    pub fn with_param(mut self, name: &str, value: Option<&str>) -> Result<Self, Unencodable> {
        self.params.set(name, value)?;
        Ok(self)
    }

    /// The transport.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Host of the sent-by.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Port of the sent-by, if written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The branch, if there is one. Real peers leave it out below the top.
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch")
    }

    /// Whether the branch identifies a transaction by itself: the cookie, in any case as is practice, and something
    /// behind it (RFC 4475 §3.2.1 shows one with nothing).
    pub fn has_unique_branch(&self) -> bool {
        self.branch().is_some_and(|branch| {
            branch.get(..Self::COOKIE.len()).is_some_and(|cookie| cookie.eq_ignore_ascii_case(Self::COOKIE))
                && branch.len() > Self::COOKIE.len()
        })
    }

    /// The address in `received`, with or without brackets around IPv6 (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.get("received")?;
        text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text).parse().ok()
    }

    /// `None` without `rport`, `Some(None)` for a bare one that asks for the port (RFC 3581 §3).
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.has("rport").then(|| self.params.get("rport").and_then(|port| port.parse().ok()))
    }

    /// All parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Parses one list element: `SIP / 2.0 / TLS host : 5061 ; branch=...`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(lex::trim(bytes));
        let (transport, host, port) = parse_sent(&mut cursor)?;
        Ok(Self { transport, host, port, params: Params::parse(&mut cursor)? })
    }

    /// Whether protocol and sent-by can be read, so that an answer makes sense even if a parameter is broken.
    pub(crate) fn is_usable(bytes: &[u8]) -> bool {
        parse_sent(&mut Cursor::new(lex::trim(bytes))).is_ok()
    }
}

/// `sent-protocol LWS sent-by` (RFC 3261 §25.1); white space may stand around slashes and the colon.
fn parse_sent(cursor: &mut Cursor<'_>) -> Result<(Transport, Host, Option<u16>), Malformed> {
    let name = cursor.token("\"SIP\"")?;
    cursor.skip_space();
    cursor.expect(b'/', "a slash")?;
    cursor.skip_space();
    let version = cursor.token("\"2.0\"")?;
    if !name.eq_ignore_ascii_case(b"SIP") || version != b"2.0" {
        return Err(Malformed::word("SIP/2.0", version));
    }
    cursor.skip_space();
    cursor.expect(b'/', "a slash")?;
    cursor.skip_space();
    let transport = Transport::parse(cursor.token("a transport")?);
    if !cursor.peek().is_some_and(lex::is_space) {
        return Err(cursor.wrong("white space before the host"));
    }
    cursor.skip_space();
    let mut sent_by = lex::text(cursor.take_while(|byte| !lex::is_space(byte) && byte != b';'));
    cursor.skip_space();
    // "host : 5061": what white space cut off belongs to the port
    if cursor.peek() == Some(b':') || sent_by.ends_with(':') {
        sent_by.push_str(&lex::text(cursor.take_while(|byte| byte == b':')));
        cursor.skip_space();
        sent_by.push_str(&lex::text(cursor.take_while(|byte| byte.is_ascii_digit())));
        cursor.skip_space();
    }
    let (host, port) = uri::parse_host_port(&sent_by)?;
    Ok((transport, host, port))
}

/// The element with `received` and, where it was asked for, `rport` filled in; everything else byte for byte.
pub(crate) fn stamp(element: &[u8], source: SocketAddr) -> Vec<u8> {
    let Ok(via) = Via::parse(element) else { return element.to_vec() };
    let ip = source.ip().to_canonical();
    let asked_for_port = via.rport().is_some();
    // RFC 3261 §18.2.1: if the sent-by is a name or another address. RFC 3581 §4: with rport always
    if !asked_for_port && via.host().ip().map(|host| host.to_canonical()) == Some(ip) && !via.params.has("received") {
        return element.to_vec();
    }
    let mut stamped = Vec::with_capacity(element.len() + 48);
    for (index, part) in lex::split(element, b';').enumerate() {
        let name = lex::trim(part.split(|byte| *byte == b'=').next().unwrap_or_default());
        // A received that came from outside says nothing true
        if index > 0 && name.eq_ignore_ascii_case(b"received") {
            continue;
        }
        if index > 0 {
            stamped.push(b';');
        }
        if index > 0 && name.eq_ignore_ascii_case(b"rport") {
            stamped.extend_from_slice(format!("rport={}", source.port()).as_bytes());
        } else {
            stamped.extend_from_slice(part);
        }
    }
    stamped.extend_from_slice(format!(";received={ip}").as_bytes());
    stamped
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport.as_str(), self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        let mut tail = String::new();
        self.params.write(&mut tail);
        f.write_str(&tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Via {
        Via::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn white_space_anywhere_it_may_stand() {
        let via = parse("SIP / 2.0 / TLS host.example : 5061 ; branch = z9hG4bK1 ; rport");
        assert_eq!((via.transport(), via.host().as_str(), via.port()), (&Transport::Tls, "host.example", Some(5061)));
        assert_eq!(via.branch(), Some("z9hG4bK1"));
        assert_eq!(via.rport(), Some(None));
        assert_eq!(parse("SIP/2.0/TCP a: 5").port(), Some(5));
        assert_eq!(parse("SIP/2.0/TCP a :5").port(), Some(5));
    }

    #[test]
    fn microsoft_via_without_branch() {
        let via = parse("SIP/2.0/tcp 10.0.0.5:37598;ms-received-port=37598;ms-received-cid=100");
        assert_eq!(via.transport(), &Transport::Tcp);
        assert_eq!(via.branch(), None);
        assert!(!via.has_unique_branch());
        assert!(!parse("SIP/2.0/UDP a;branch=z9hG4bK").has_unique_branch());
        assert!(parse("SIP/2.0/UDP a;branch=Z9HG4BKx").has_unique_branch());
    }

    #[test]
    fn ipv6_in_both_forms() {
        let expected: IpAddr = "2001:db8::9:255".parse().unwrap();
        for received in ["[2001:db8::9:255]", "2001:db8::9:255"] {
            let via = parse(&format!("SIP/2.0/UDP [2001:db8::9:1]:6050;received={received};branch=z9hG4bKas3-111"));
            assert_eq!(via.received(), Some(expected));
            assert_eq!(via.port(), Some(6050));
        }
        assert!(Via::parse(b"SIP/2.0/UDP 2001:db8::9:1;branch=x").is_err());
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0 a",
            "SIP/2.0/UDP a;;branch=x",
            "SIP/2.0/UDP a;",
            "SIP/2.0/UDP a b",
            "HTTP/1.1/TCP a",
            "SIP/2.0/UDP a:b",
            "SIP/2.0/UDP a:1:2",
        ] {
            assert!(Via::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn stamping_changes_nothing_else() {
        let source: SocketAddr = "192.0.2.9:1234".parse().unwrap();
        let stamped = |text: &str| String::from_utf8(stamp(text.as_bytes(), source)).unwrap();
        assert_eq!(
            stamped("SIP / 2.0/UDP 192.0.2.9;branch=z9hG4bK1;x=\"a;b\""),
            "SIP / 2.0/UDP 192.0.2.9;branch=z9hG4bK1;x=\"a;b\""
        );
        assert_eq!(
            stamped("SIP/2.0/UDP 192.0.2.9;rport;branch=z"),
            "SIP/2.0/UDP 192.0.2.9;rport=1234;branch=z;received=192.0.2.9"
        );
        assert_eq!(stamped("SIP/2.0/UDP pc; received=10.0.0.1 ;branch=z"), "SIP/2.0/UDP pc;branch=z;received=192.0.2.9");
        assert_eq!(stamped("garbage"), "garbage");
    }
}
