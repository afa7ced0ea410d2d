//! What an operator can set: for the platform in the hub's configuration, for a link in the registry.

use std::time::Duration;

use interchange_adapter::{Pin, Target, Transport};
use interchange_model::{Domain, Settings, SettingsError};
use serde::Deserialize;

/// Settings of the platform `xmpp`, the same for all its links.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlatformSettings {
    /// Seconds after which an outgoing stream that carried nothing is closed. 60 to 86,400.
    pub idle_seconds: u64,
    /// Seconds of silence after which a blank keeps a connection alive. 10 to 3,600.
    pub keepalive_seconds: u64,
    /// Seconds after which an outgoing stream is asked for an answer though nothing was delivered, so that a dead
    /// connection is noticed. 10 to 3,600.
    pub ping_seconds: u64,
    /// Seconds in which a peer must answer a ping or a dialback question, and finish authentication. 5 to 300.
    pub answer_seconds: u64,
    /// Incoming connections of one IP address that are not authenticated yet. A partner that returns dials once
    /// for each of our domains it talks to, all from one address, so this must not be small. 1 to 10,000.
    pub unproven_per_address: u32,
}

impl Default for PlatformSettings {
    fn default() -> Self {
        Self { idle_seconds: 600, keepalive_seconds: 180, ping_seconds: 300, answer_seconds: 30, unproven_per_address: 100 }
    }
}

impl PlatformSettings {
    /// Reads and checks them.
    ///
    /// # Errors
    /// [`SettingsError`] with the path of the setting that is wrong.
    pub fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let read: Self = settings.read()?;
        for (name, value, least, most) in [
            ("idle_seconds", read.idle_seconds, 60, 86_400),
            ("keepalive_seconds", read.keepalive_seconds, 10, 3_600),
            ("ping_seconds", read.ping_seconds, 10, 3_600),
            ("answer_seconds", read.answer_seconds, 5, 300),
            ("unproven_per_address", u64::from(read.unproven_per_address), 1, 10_000),
        ] {
            if !(least..=most).contains(&value) {
                return Err(SettingsError::new(name, format!("must be {least} to {most}")));
            }
        }
        Ok(read)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }

    pub(crate) fn keepalive(&self) -> Duration {
        Duration::from_secs(self.keepalive_seconds)
    }

    pub(crate) fn ping(&self) -> Duration {
        Duration::from_secs(self.ping_seconds)
    }

    pub(crate) fn answer(&self) -> Duration {
        Duration::from_secs(self.answer_seconds)
    }
}

/// A way for a peer and the hub to prove themselves to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authentication {
    /// TLS certificates and SASL EXTERNAL (RFC 6120 §6, XEP-0178).
    External,
    /// Asking back at the provisioned address (XEP-0220). Only as strong as the way there.
    Dialback,
}

/// Settings of one link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSettings {
    /// Name or address of the member's server. Without it, each domain's SRV records `_xmpp-server._tcp`, or the domain itself.
    pub host: Option<String>,
    /// Port at `host`, or of a domain without SRV records.
    pub port: u16,
    /// How the two sides may prove themselves, best first.
    pub authentication: Vec<Authentication>,
    /// Whether all but the negotiation of TLS must be encrypted. `false` lets a server without TLS use dialback in
    /// the clear: for tests, and for old servers inside a private network.
    pub require_tls: bool,
    /// SHA-256 of the SubjectPublicKeyInfo of the server's keys, each 64 hexadecimal digits. When given, one of these keys is
    /// required, and is the proof by itself, whatever its certificate says. Two of them for a change of keys.
    pub pin: Vec<Pin>,
    /// Whether to name our domain in SASL EXTERNAL, for old servers that insist on it (XEP-0178 §3).
    pub external_authzid: bool,
    /// Bytes of the largest stanza that the server may send, and that it is sent where it does not say itself
    /// (XEP-0478). 10,000 to 1,048,576.
    pub max_stanza: usize,
    /// Whether the server may be answered on the streams that it opens (XEP-0288), where it asks for that: then the hub need not be able to reach it.
    pub bidi: bool,
    /// Whether formatted text of other platforms goes out as XHTML-IM (XEP-0071, deprecated) beside the plain, where both fit into a stanza.
    pub xhtml_im: bool,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            host: None,
            port: 5269,
            authentication: vec![Authentication::External],
            require_tls: true,
            pin: Vec::new(),
            external_authzid: false,
            max_stanza: 262_144,
            bidi: false,
            xhtml_im: false,
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
        let error = |path: &str, message: &str| Err(SettingsError::new(path, message));
        if read.host.as_ref().is_some_and(|host| host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()))
        {
            return error("host", "must be a host name or an IP address");
        }
        if read.port == 0 {
            return error("port", "must be 1 to 65535");
        }
        if read.authentication.is_empty() {
            return error("authentication", "must name `external`, `dialback` or both");
        }
        if !read.require_tls && !read.dialback() {
            return error("require_tls", "can be false only where `authentication` has `dialback`: a certificate needs TLS");
        }
        // RFC 6120 §13.12: at least 10,000.
        if !(10_000..=1_048_576).contains(&read.max_stanza) {
            return error("max_stanza", "must be 10000 to 1048576 bytes");
        }
        Ok(read)
    }

    pub(crate) fn external(&self) -> bool {
        self.authentication.contains(&Authentication::External)
    }

    pub(crate) fn dialback(&self) -> bool {
        self.authentication.contains(&Authentication::Dialback)
    }

    /// Where the server of a domain is.
    pub(crate) fn target(&self, domain: &Domain) -> Target {
        let transport = Transport::Tcp;
        match &self.host {
            Some(host) => Target::Host { host: host.clone(), port: self.port, transport },
            // RFC 6120 §3.2
            None => Target::Srv { service: "xmpp-server", domain: domain.clone(), transport, fallback_port: Some(self.port) },
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
    fn nothing_set_means_certificates_over_tls() {
        let settings = read("{}").unwrap();
        assert!(settings.external() && !settings.dialback() && settings.require_tls);
        assert_eq!((settings.port, settings.max_stanza), (5269, 262_144));
        let domain = Domain::parse("a.example").unwrap();
        assert!(matches!(settings.target(&domain), Target::Srv { fallback_port: Some(5269), .. }));
    }

    #[test]
    fn what_cannot_work_is_named() {
        for (json, path) in [
            (r#"{"port":0}"#, "port"),
            (r#"{"authentication":[]}"#, "authentication"),
            (r#"{"require_tls":false}"#, "require_tls"),
            (r#"{"max_stanza":9999}"#, "max_stanza"),
            (r#"{"host":"a b"}"#, "host"),
            (r#"{"pin":["zz"]}"#, "pin[0]"),
        ] {
            assert_eq!(read(json).unwrap_err().path, path, "{json}");
        }
        assert!(read(r#"{"prot":1}"#).unwrap_err().message.contains("unknown field"));
        assert!(read(r#"{"require_tls":false,"authentication":["dialback"]}"#).is_ok());
    }

    #[test]
    fn pins_are_read_with_and_without_colons() {
        let plain = "0f".repeat(32);
        let colons = vec!["0F"; 32].join(":");
        let settings = read(&format!(r#"{{"pin":["{plain}","{colons}"]}}"#)).unwrap();
        assert_eq!(settings.pin, vec![Pin([15; 32]), Pin([15; 32])]);
    }
}
