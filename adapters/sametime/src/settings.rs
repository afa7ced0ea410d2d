//! What an operator can set: for the platform in the hub's configuration, for a link in the registry.

use std::net::IpAddr;

use interchange_adapter::{Network, Transport};
use interchange_model::{Domain, Settings, SettingsError};
use serde::Deserialize;

/// The platform has no settings of its own; its listeners are the hub's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformSettings {}

/// What becomes of a message for somebody who is not signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Offline {
    /// Its sender is told at once.
    Refuse,
    /// It is kept until they sign in, or for the link's time to live.
    Hold,
}

/// How a contact is shown who is busy, in a meeting or on the telephone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusyAs {
    /// Not to be disturbed: every client knows it.
    DoNotDisturb,
    /// In a meeting, which clients of the community's own vendor know; Pidgin shows it as active.
    Meeting,
}

/// Settings of one link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSettings {
    /// IP addresses and networks (`10.0.0.0/8`) from which people may sign in without TLS: the protocol's own encryption keeps a password from nobody.
    /// None by default.
    pub plain_networks: Vec<Network>,
    /// What becomes of messages for people who are not signed in: `refuse` (default) or `hold`.
    pub offline: Offline,
    /// The port of the listener through which people of this link sign in by their bare names. Needed where the hub has several links of this
    /// platform and they do not type `name@domain`.
    pub local_port: Option<u16>,
    /// Logins of one person at one time, 1 to 16; default 5. One more ends the oldest.
    pub logins: usize,
    /// Whether the client is asked, behind each message, for an answer that shows that it has it. Without it a message counts as delivered when it was
    /// written. Default: true.
    pub probe: bool,
    /// How a contact is shown who is busy: `do-not-disturb` (default) or `meeting`.
    pub busy: BusyAs,
    /// Whether clients are offered a Diffie-Hellman key, by which they wrap a password under RC2/128 (login type 4). Without it they use RC2/40 with the key
    /// beside it (type 2), which hides nothing; there are clients that know no other. A handshake does not say whose link it is: the key is left out
    /// where no link that its client may be of offers one. Default: true.
    pub diffie_hellman: bool,
    /// Another server, by its host name or IP address, to which clients of this link are sent when they sign in; the port is the one at which they came. A
    /// client that cannot get there, or would rather stay, is served here. None by default.
    pub redirect: Option<String>,
    /// Whether people of the link may see and write to each other here. This does not pass the broker: no trace, no barriers. Default: true.
    pub colleagues: bool,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            plain_networks: Vec::new(),
            offline: Offline::Refuse,
            local_port: None,
            logins: 5,
            probe: true,
            busy: BusyAs::DoNotDisturb,
            diffie_hellman: true,
            redirect: None,
            colleagues: true,
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
        if read.local_port == Some(0) {
            return Err(SettingsError::new("local_port", "must be 1 to 65535"));
        }
        if !(1..=16).contains(&read.logins) {
            return Err(SettingsError::new("logins", "must be 1 to 16"));
        }
        if read.redirect.as_deref().is_some_and(|host| host.parse::<IpAddr>().is_err() && Domain::parse(host).is_err()) {
            return Err(SettingsError::new("redirect", "must be a host name or an IP address, without a port"));
        }
        Ok(read)
    }

    /// Whether a password may come this way.
    pub(crate) fn allows(&self, transport: Transport, peer: IpAddr) -> bool {
        transport == Transport::Tls || self.plain_networks.iter().any(|network| network.contains(peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<LinkSettings, SettingsError> {
        LinkSettings::read(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn without_settings_nobody_signs_in_in_the_clear() {
        let settings = read("{}").unwrap();
        assert_eq!(settings, LinkSettings::default());
        let address = "127.0.0.1".parse().unwrap();
        assert!(!settings.allows(Transport::Tcp, address) && settings.allows(Transport::Tls, address));
        let settings = read(r#"{"plain_networks":["127.0.0.0/8"],"offline":"hold","busy":"meeting","local_port":1533}"#).unwrap();
        assert!(settings.allows(Transport::Tcp, address) && !settings.allows(Transport::Tcp, "10.0.0.1".parse().unwrap()));
        assert_eq!((settings.offline, settings.busy, settings.local_port), (Offline::Hold, BusyAs::Meeting, Some(1533)));
    }

    #[test]
    fn what_cannot_work_is_named() {
        for (json, path) in [
            (r#"{"plain_networks":["0.0.0.0/0"]}"#, "plain_networks[0]"),
            (r#"{"offline":"maybe"}"#, "offline"),
            (r#"{"local_port":0}"#, "local_port"),
            (r#"{"logins":0}"#, "logins"),
            (r#"{"logins":17}"#, "logins"),
            (r#"{"redirect":""}"#, "redirect"),
            (r#"{"redirect":"hub2.example:1533"}"#, "redirect"),
            (r#"{"redirect":"two words"}"#, "redirect"),
        ] {
            assert_eq!(read(json).unwrap_err().path, path, "{json}");
        }
        assert!(read(r#"{"plain":1}"#).unwrap_err().message.contains("unknown field"));
    }
}
