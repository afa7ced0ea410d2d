//! What an operator can set: for the platform in the hub's configuration, for a link in the registry.

use std::time::Duration;

use interchange_adapter::{Pin, Target, Transport};
use interchange_model::{Domain, Settings, SettingsError};
use serde::Deserialize;

/// Settings of the platform `ocs`, the same for all its links.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlatformSettings {
    /// The name that partners' edges have beside their allowed domains, with `:port` where the listener's is not 5061. It stands in Via and Contact, and
    /// the hub's certificate must have it. Without it: the hub's own domain.
    pub contact_host: Option<String>,
}

impl PlatformSettings {
    /// Reads them.
    ///
    /// # Errors
    /// [`SettingsError`] with the path of the setting that is wrong.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        settings.read()
    }
}

/// What becomes of the text in an INVITE (`ms-text-format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstText {
    /// It is left alone, and the client sends it again as the first MESSAGE.
    Message,
    /// It is delivered, the INVITE is answered when that is safe, and the answer says so.
    Invite,
}

/// Settings of one link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSettings {
    /// The full name of the member's Access Edge: it must be in the Edge's certificate, and the hub connects to it. Without it the hub looks up
    /// `_sipfederationtls._tcp` of the link's first domain, and the certificate must name a host in one of the link's domains.
    pub edge: Option<String>,
    /// Host name or IP address to connect to, where that is another than `edge`.
    pub address: Option<String>,
    /// Port at the edge: 5061 where nothing is set. SRV records name their own.
    pub port: Option<u16>,
    /// SHA-256 of the SubjectPublicKeyInfo of the edge's keys, each 64 hexadecimal digits. When given, one of these keys is required, and is the
    /// proof by itself, whatever the certificate says. Two of them for a change of keys.
    pub pin: Vec<Pin>,
    /// Whether the hub is on the Edge's Allow list. Where it is merely discovered, the Edge takes 20 messages a second and 1,000 addresses, so the hub
    /// keeps below that: `false` (default).
    pub listed: bool,
    /// Requests a second to this edge, 1 to 1,000. Without it 15 where the hub is not `listed`, and no limit where it is.
    pub rate: Option<u32>,
    /// What becomes of the text in an INVITE: `message` (default) or `invite`.
    pub first_text: FirstText,
    /// Whether formatted text goes out as HTML to clients that take it. Without it, and for clients that do not, as plain text, with a font where all of it
    /// looks alike.
    pub html: bool,
    /// Whether people are told what became of their messages by reports (`application/ms-imdn+xml`) where their client takes those: `false` (default), by a
    /// message from the person that it was for.
    pub reports: bool,
    /// Bytes of the largest text sent in one message, 1,000 to 65,536 (default).
    pub max_message: usize,
    /// Milliseconds for which the answer to a stored message is held back, so that it can be the recipient's own refusal. 0 to 20,000; default 1,000.
    pub answer_wait: u64,
    /// Minutes after which a session in which nothing is said is ended; the next message begins another. 1 to 1,440; default 20.
    pub idle: u64,
    /// Seconds between two OPTIONS that ask whether the edge lives, 10 to 3,600; 0: it is never asked. Default 60.
    pub options_interval: u64,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            edge: None,
            address: None,
            port: None,
            pin: Vec::new(),
            listed: false,
            rate: None,
            first_text: FirstText::Message,
            html: true,
            reports: false,
            max_message: MAX_TEXT,
            answer_wait: 1_000,
            idle: 20,
            options_interval: 60,
        }
    }
}

/// Text in one message, in bytes of UTF-8 (shared with the other platforms).
pub(crate) const MAX_TEXT: usize = 65_536;
/// Requests a second to an edge that has merely discovered the hub, which takes 20 of its messages.
const UNLISTED_RATE: u32 = 15;

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
        if self.edge.as_ref().is_some_and(|edge| Domain::parse(edge).is_err()) {
            return error("edge", "must be the full name of the Access Edge, such as sip.contoso.example");
        }
        let bad_host = |host: &String| host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control());
        if self.address.as_ref().is_some_and(bad_host) {
            return error("address", "must be a host name or an IP address");
        }
        if self.edge.is_none() && (self.address.is_some() || self.port.is_some()) {
            let path = if self.address.is_some() { "address" } else { "port" };
            return error(path, "has no meaning without `edge`: SRV records say where the edge is");
        }
        if self.port == Some(0) {
            return error("port", "must be 1 to 65535");
        }
        if self.rate.is_some_and(|rate| !(1..=1_000).contains(&rate)) {
            return error("rate", "must be 1 to 1000 requests a second");
        }
        if !(1_000..=MAX_TEXT).contains(&self.max_message) {
            return error("max_message", "must be 1000 to 65536 bytes");
        }
        if self.answer_wait > 20_000 {
            return error("answer_wait", "must be 0 to 20000 milliseconds");
        }
        if !(1..=1_440).contains(&self.idle) {
            return error("idle", "must be 1 to 1440 minutes");
        }
        if self.options_interval != 0 && !(10..=3_600).contains(&self.options_interval) {
            return error("options_interval", "must be 10 to 3600 seconds, or 0 for never");
        }
        Ok(())
    }

    /// The name that the edge's certificate must have, where one was set.
    pub(crate) fn edge(&self) -> Option<Domain> {
        self.edge.as_ref().and_then(|edge| Domain::parse(edge).ok())
    }

    pub(crate) fn answer_wait(&self) -> Duration {
        Duration::from_millis(self.answer_wait)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle * 60)
    }

    /// Between two OPTIONS; `None`: never.
    pub(crate) fn options_interval(&self) -> Option<Duration> {
        (self.options_interval > 0).then(|| Duration::from_secs(self.options_interval))
    }

    /// Requests a second; `None`: as many as there are.
    pub(crate) fn rate(&self) -> Option<u32> {
        self.rate.or((!self.listed).then_some(UNLISTED_RATE))
    }

    /// Where the edge is.
    pub(crate) fn target(&self, domain: &Domain) -> Target {
        let transport = Transport::Tls;
        match self.address.as_ref().or(self.edge.as_ref()) {
            Some(host) => {
                let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
                Target::Host { host, port: self.port.unwrap_or(5061), transport }
            }
            None => Target::Srv { service: "sipfederationtls", domain: domain.clone(), transport, fallback_port: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<LinkSettings, SettingsError> {
        LinkSettings::read(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn the_edge_is_found_by_its_name_or_by_the_domain() {
        let domain = Domain::parse("contoso.example").unwrap();
        let explicit = read(r#"{"edge":"sip.contoso.example"}"#).unwrap().target(&domain);
        assert_eq!(explicit, Target::Host { host: "sip.contoso.example".into(), port: 5061, transport: Transport::Tls });
        let elsewhere = read(r#"{"edge":"sip.contoso.example","address":"[::1]","port":15061}"#).unwrap().target(&domain);
        assert_eq!(elsewhere, Target::Host { host: "::1".into(), port: 15_061, transport: Transport::Tls });
        let found = read("{}").unwrap().target(&domain);
        assert!(matches!(found, Target::Srv { service: "sipfederationtls", fallback_port: None, .. }));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (json, path) in [
            (r#"{"edge":"192.0.2.1"}"#, "edge"),
            (r#"{"port":5061}"#, "port"),
            (r#"{"address":"x"}"#, "address"),
            (r#"{"edge":"e.example","rate":0}"#, "rate"),
            (r#"{"idle":0}"#, "idle"),
            (r#"{"options_interval":5}"#, "options_interval"),
            (r#"{"max_message":10}"#, "max_message"),
            (r#"{"first_text":"both"}"#, "first_text"),
            (r#"{"host":"x"}"#, "host"),
        ] {
            assert_eq!(read(json).unwrap_err().path, path, "{json}");
        }
    }

    #[test]
    fn an_edge_that_does_not_list_the_hub_is_spared() {
        assert_eq!(read("{}").unwrap().rate(), Some(15));
        assert_eq!(read(r#"{"listed":true}"#).unwrap().rate(), None);
        assert_eq!(read(r#"{"listed":true,"rate":3}"#).unwrap().rate(), Some(3));
    }
}
