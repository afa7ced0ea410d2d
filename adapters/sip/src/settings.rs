//! What an operator can set: for the platform in the hub's configuration, for a link in the registry.

use std::net::IpAddr;
use std::time::Duration;

use interchange_adapter::{Network, Pin, Target, Transport};
use interchange_model::{Domain, Settings, SettingsError};
use serde::Deserialize;
use sip_codec::Host;

/// Settings of the platform `sip`, the same for all its links.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlatformSettings {
    /// Host name under which peers reach the hub's SIP listeners, with `:port` where that is not 5061 (TLS) or 5060:
    /// it stands in the Via of every request. Without it: the hub's own domain, and no port.
    pub contact_host: Option<String>,
    /// `host` or `host:port` under which peers reach one of the hub's TLS listeners of this platform for MSRP (RFC 4975): it stands in the
    /// paths of sessions. Any of these listeners takes SIP and MSRP. Without it: `contact_host`, at its port or 5061.
    pub msrp_host: Option<String>,
    /// The same for a TCP listener, for the sessions of links without TLS. Without it: `contact_host`, at 5060.
    pub msrp_tcp_host: Option<String>,
}

/// The hub's name in its own Via headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentBy {
    pub(crate) host: Host,
    pub(crate) port: Option<u16>,
}

impl PlatformSettings {
    /// Reads and checks them.
    ///
    /// # Errors
    /// [`SettingsError`] with the path of the setting that is wrong.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let read: Self = settings.read()?;
        if let Some(text) = &read.contact_host {
            parse_sent_by(text).ok_or_else(|| SettingsError::new("contact_host", "must be `host` or `host:port`"))?;
        }
        for (path, text) in [("msrp_host", &read.msrp_host), ("msrp_tcp_host", &read.msrp_tcp_host)] {
            if text.as_ref().is_some_and(|text| parse_sent_by(text).is_none()) {
                return Err(SettingsError::new(path, "must be `host` or `host:port`"));
            }
        }
        Ok(read)
    }

    /// Where sessions' connections go to: with TLS, and without.
    pub(crate) fn media(&self, sent_by: &SentBy) -> MediaHosts {
        let read = |text: &Option<String>| text.as_ref().and_then(|text| parse_sent_by(text));
        let place = |own: Option<SentBy>, usual: Option<u16>, port: u16| match own {
            Some(own) => (own.host.as_str().to_owned(), own.port.unwrap_or(port)),
            None => (sent_by.host.as_str().to_owned(), usual.unwrap_or(port)),
        };
        MediaHosts {
            secure: place(read(&self.msrp_host), sent_by.port, 5061),
            clear: place(read(&self.msrp_tcp_host), None, 5060),
        }
    }

    /// What to write into a Via; the hub's own domain where nothing was set.
    pub(crate) fn sent_by(&self, hub: &Domain) -> Result<SentBy, SettingsError> {
        let text = self.contact_host.as_deref().unwrap_or(hub.as_str());
        parse_sent_by(text).ok_or_else(|| SettingsError::new("contact_host", "must be `host` or `host:port`"))
    }
}

/// Host and port for the media of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaHosts {
    pub(crate) secure: (String, u16),
    pub(crate) clear: (String, u16),
}

fn parse_sent_by(text: &str) -> Option<SentBy> {
    // The colons of an IPv6 address are inside brackets.
    let (host, port) = match text.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port != 0)?)),
        None => (text, None),
    };
    Some(SentBy { host: Host::new(host).ok()?, port })
}

/// What the peer's certificate must name (RFC 5922 §7, interworking with hosts that have certificates of their own).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityRule {
    /// One of the link's domains: the standard.
    Domain,
    /// The host of the setting `host`; what Kamailio and Microsoft sites usually have.
    Host,
}

/// Who opens the connection that the hub sends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dial {
    /// The hub, at once, and it keeps the connection: that is also how it knows that the link works.
    Always,
    /// Only the peer, who may be behind a firewall; messages wait while there is no connection.
    Never,
}

/// What becomes of sessions (INVITE with MSRP, RFC 4975).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionPolicy {
    /// An INVITE is refused by 488.
    Off,
    /// The member's people may begin them; the hub sends single messages (MESSAGE) where there is none.
    Accept,
    /// As `accept`, and the hub begins one for what somebody writes to the member's people; where that is refused, it sends single messages.
    Offer,
}

/// How the link's bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkTransport {
    /// TLS 1.2 or later, with certificates on both sides.
    Tls,
    /// A stream in the clear; needs `addresses`.
    Tcp,
    /// Datagrams in the clear; needs `addresses`.
    Udp,
}

impl LinkTransport {
    /// Its name as a URI parameter (RFC 3261 §19.1.1).
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl From<LinkTransport> for Transport {
    fn from(transport: LinkTransport) -> Self {
        match transport {
            LinkTransport::Tls => Self::Tls,
            LinkTransport::Tcp => Self::Tcp,
            LinkTransport::Udp => Self::Udp,
        }
    }
}

/// Settings of one link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSettings {
    /// Host name or IP address of the member's SIP server. Without it, the SRV records `_sips._tcp` of the link's first domain.
    pub host: Option<String>,
    /// Port at `host`: 5061 for TLS and 5060 otherwise, where nothing is set.
    pub port: Option<u16>,
    /// `tls` (default), `tcp` or `udp`. The last two prove nobody: only for private networks, and with `addresses`.
    pub transport: LinkTransport,
    /// Which name the peer's certificate must hold: `domain` (default) or `host`.
    pub identity: IdentityRule,
    /// Whether `*.b.example` in the peer's certificate stands for `sip.b.example`; the standard says no (RFC 5922 §7.2).
    pub wildcard: bool,
    /// SHA-256 of the SubjectPublicKeyInfo of the peer's keys, each 64 hexadecimal digits. When given, one of these keys is
    /// required, and is the proof by itself, whatever its certificate says. Two of them for a change of keys.
    pub pin: Vec<Pin>,
    /// IP addresses and networks (`192.0.2.0/24`) from which the peer may come without TLS. Needed by `tcp` and `udp`,
    /// without meaning for `tls`.
    pub addresses: Vec<Network>,
    /// `always` (default) or `never`.
    pub dial: Dial,
    /// Bytes of the largest text sent in one MESSAGE over TLS or TCP, 1,000 to 65,536 (default); over UDP bytes of the whole
    /// request, 1,000 to 1,300 (default, RFC 3428 §8). More goes in up to ten parts of 9/13 of it.
    pub max_message: Option<usize>,
    /// Milliseconds for which the answer to a stored message is held back, so that it can be 200 or the recipient's own
    /// refusal instead of 202. 0 to 20,000; default 1,000.
    pub answer_wait: u64,
    /// Whether the member's clients are asked for receipts (IMDN, RFC 5438) when a sender of another platform wants one. Without it a 200 counts
    /// as one: the recipient's server, or client, has the message.
    pub imdn: bool,
    /// Whether formatted text goes out as multipart/alternative of text/plain and text/html. Without it, and for what the peer refuses so (415) or is
    /// too large so, text/plain alone.
    pub html: bool,
    /// Seconds between two OPTIONS that ask whether the peer lives. 10 to 3,600, over UDP 10 to 120; default 60.
    pub options_interval: u64,
    /// Sessions with the member's people (MSRP): `off`, `accept` (default) or `offer`.
    pub sessions: SessionPolicy,
    /// IP addresses and networks that the hub may connect to when a client wants to be connected to for its session (RFC 6135 `passive`). The
    /// address of the link's own SIP server always counts as one. Nobody else decides where the hub connects to.
    pub msrp_networks: Vec<Network>,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            transport: LinkTransport::Tls,
            identity: IdentityRule::Domain,
            wildcard: false,
            pin: Vec::new(),
            addresses: Vec::new(),
            dial: Dial::Always,
            max_message: None,
            answer_wait: 1_000,
            imdn: false,
            html: false,
            options_interval: 60,
            sessions: SessionPolicy::Accept,
            msrp_networks: Vec::new(),
        }
    }
}

impl LinkSettings {
    /// Reads and checks them.
    ///
    /// # Errors
    /// [`SettingsError`] with the path of the setting that is wrong.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let read: Self = settings.read()?;
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<(), SettingsError> {
        let error = |path: &str, message: &str| Err(SettingsError::new(path, message));
        let bad_host = |host: &String| host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control());
        if self.host.as_ref().is_some_and(bad_host) {
            return error("host", "must be a host name or an IP address");
        }
        if self.port == Some(0) {
            return error("port", "must be 1 to 65535");
        }
        if self.port.is_some() && self.host.is_none() {
            return error("port", "has no meaning without `host`: SRV records name the port");
        }
        if self.identity == IdentityRule::Host && self.host.is_none() {
            return error("identity", "`host` needs the setting `host`");
        }
        if self.identity == IdentityRule::Host && self.host.as_ref().is_some_and(|host| Domain::parse(host).is_err()) {
            return error("identity", "`host` needs a name in `host`: certificates of IP addresses are not accepted");
        }
        if self.transport != LinkTransport::Tls {
            if self.addresses.is_empty() {
                return error("addresses", "must list the peer's IP addresses: without TLS nothing else says who it is");
            }
            if self.host.is_none() && self.dial == Dial::Always {
                return error("host", "is needed: without TLS there are no SRV records to follow");
            }
        }
        let udp = self.transport == LinkTransport::Udp;
        if self.max_message.is_some_and(|bytes| !(1_000..=if udp { MAX_DATAGRAM } else { MAX_TEXT }).contains(&bytes)) {
            return error("max_message", if udp { "must be 1000 to 1300 bytes over UDP" } else { "must be 1000 to 65536 bytes" });
        }
        if self.answer_wait > 20_000 {
            return error("answer_wait", "must be 0 to 20000 milliseconds");
        }
        // A UDP peer of which nothing is heard for 180 s is forgotten.
        let most = if udp { 120 } else { 3_600 };
        if !(10..=most).contains(&self.options_interval) {
            return error(
                "options_interval",
                if udp { "must be 10 to 120 seconds over UDP" } else { "must be 10 to 3600 seconds" },
            );
        }
        Ok(())
    }

    pub(crate) fn answer_wait(&self) -> Duration {
        Duration::from_millis(self.answer_wait)
    }

    pub(crate) fn options_interval(&self) -> Duration {
        Duration::from_secs(self.options_interval)
    }

    /// Bytes of text, or of the whole request over UDP.
    pub(crate) fn max_message(&self) -> usize {
        self.max_message.unwrap_or(if self.transport == LinkTransport::Udp { MAX_DATAGRAM } else { MAX_TEXT })
    }

    /// Where the peer's server is.
    pub(crate) fn target(&self, domain: &Domain) -> Target {
        let transport = Transport::from(self.transport);
        match &self.host {
            Some(host) => {
                let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
                let usual = if self.transport == LinkTransport::Tls { 5061 } else { 5060 };
                Target::Host { host, port: self.port.unwrap_or(usual), transport }
            }
            // RFC 3263 §4.1: TLS is the hub's policy, so this is the only service looked up.
            None => Target::Srv { service: "sips", domain: domain.clone(), transport, fallback_port: None },
        }
    }

    /// Whether a peer at this address may speak for the link without TLS.
    pub(crate) fn allows(&self, peer: IpAddr) -> bool {
        self.transport != LinkTransport::Tls && self.addresses.iter().any(|network| network.contains(peer))
    }
}

/// The largest message of a session, in bytes, with what it is wrapped in: room for a text of 1 MiB.
pub(crate) const MAX_SESSION_MESSAGE: u64 = 1_048_576 + 65_536;

/// Text in one message, in bytes of UTF-8 (shared/protocols/interworking.md §8).
pub(crate) const MAX_TEXT: usize = 65_536;
/// RFC 3428 §8: a whole request where the path is not known to be congestion-controlled.
const MAX_DATAGRAM: usize = 1_300;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<LinkSettings, SettingsError> {
        LinkSettings::read(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn nothing_set_means_tls_by_srv_and_the_domain_in_the_certificate() {
        let settings = read("{}").unwrap();
        assert_eq!(settings, LinkSettings::default());
        assert_eq!(settings.max_message(), 65_536);
        let domain = Domain::parse("b.example").unwrap();
        assert!(matches!(
            settings.target(&domain),
            Target::Srv { service: "sips", transport: Transport::Tls, fallback_port: None, .. }
        ));
        let host = read(r#"{"host":"sip.b.example","identity":"host"}"#).unwrap().target(&domain);
        assert_eq!(host, Target::Host { host: "sip.b.example".into(), port: 5061, transport: Transport::Tls });
        let udp = read(r#"{"host":"[2001:db8::1]","transport":"udp","addresses":["2001:db8::1"]}"#).unwrap();
        assert_eq!(udp.max_message(), 1_300);
        assert_eq!(udp.target(&domain), Target::Host { host: "2001:db8::1".into(), port: 5060, transport: Transport::Udp });
    }

    #[test]
    fn what_cannot_work_is_named() {
        for (json, path) in [
            (r#"{"host":"a b"}"#, "host"),
            (r#"{"host":"b.example","port":0}"#, "port"),
            (r#"{"port":5061}"#, "port"),
            (r#"{"identity":"host"}"#, "identity"),
            (r#"{"identity":"host","host":"192.0.2.1"}"#, "identity"),
            (r#"{"transport":"tcp","host":"b.example"}"#, "addresses"),
            (r#"{"transport":"udp","addresses":["192.0.2.1"]}"#, "host"),
            (r#"{"max_message":100}"#, "max_message"),
            (r#"{"max_message":65537}"#, "max_message"),
            (r#"{"transport":"udp","host":"b","addresses":["192.0.2.1"],"max_message":1301}"#, "max_message"),
            (r#"{"answer_wait":20001}"#, "answer_wait"),
            (r#"{"options_interval":5}"#, "options_interval"),
            (r#"{"transport":"udp","host":"b","addresses":["192.0.2.1"],"options_interval":121}"#, "options_interval"),
            (r#"{"pin":["zz"]}"#, "pin[0]"),
            (r#"{"addresses":["192.0.2.0/33"]}"#, "addresses[0]"),
            (r#"{"addresses":["0.0.0.0/0"]}"#, "addresses[0]"),
            (r#"{"transport":"sctp"}"#, "transport"),
        ] {
            assert_eq!(read(json).unwrap_err().path, path, "{json}");
        }
        assert!(read(r#"{"prot":1}"#).unwrap_err().message.contains("unknown field"));
        assert!(read(r#"{"transport":"tcp","dial":"never","addresses":["192.0.2.0/24"]}"#).is_ok());
    }

    #[test]
    fn pins_are_read_with_and_without_colons() {
        let plain = "0f".repeat(32);
        let colons = vec!["0F"; 32].join(":");
        let settings = read(&format!(r#"{{"pin":["{plain}","{colons}"]}}"#)).unwrap();
        assert_eq!(settings.pin, vec![Pin([15; 32]), Pin([15; 32])]);
    }

    #[test]
    fn the_hub_is_named_by_its_domain_or_as_set() {
        let hub = Domain::parse("hub.example").unwrap();
        let sent_by = |json: &str| {
            let settings = PlatformSettings::read(&serde_json::from_str(json).unwrap())?;
            settings.sent_by(&hub).map(|sent_by| (sent_by.host.as_str().to_owned(), sent_by.port))
        };
        assert_eq!(sent_by("{}"), Ok(("hub.example".to_owned(), None)));
        assert_eq!(sent_by(r#"{"contact_host":"sip.hub.example:15061"}"#), Ok(("sip.hub.example".to_owned(), Some(15061))));
        assert_eq!(sent_by(r#"{"contact_host":"[2001:db8::1]"}"#), Ok(("[2001:db8::1]".to_owned(), None)));
        assert_eq!(sent_by(r#"{"contact_host":"[2001:db8::1]:5"}"#), Ok(("[2001:db8::1]".to_owned(), Some(5))));
        for bad in
            [r#"{"contact_host":""}"#, r#"{"contact_host":"a b"}"#, r#"{"contact_host":"a:0"}"#, r#"{"contact_host":"a:x"}"#]
        {
            assert_eq!(sent_by(bad).unwrap_err().path, "contact_host", "{bad}");
        }
    }
}
