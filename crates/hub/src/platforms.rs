//! The platforms of this hub: the only place that names them.

use interchange_adapter::{Platform, Transport};
use interchange_guide::Listeners;

use crate::config::Config;

/// A new platform is a folder under `adapters/` and a line here.
pub const PLATFORMS: &[Platform] = &[interchange_echo::PLATFORM, interchange_xmpp::PLATFORM, interchange_sip::PLATFORM];

/// Where the guides send members' servers: the first listener of each kind, at the hub's own name.
#[must_use]
pub fn listeners(config: &Config) -> Listeners {
    let port = |platform: &Platform, transport| {
        let mut fitting = config.listeners.iter().filter(|known| known.platform == platform.name && known.transport == transport);
        fitting.next().map(|listener| listener.address.port())
    };
    Listeners {
        host: config.domain.clone(),
        xmpp: port(&interchange_xmpp::PLATFORM, Transport::Tcp),
        sip_tls: port(&interchange_sip::PLATFORM, Transport::Tls),
    }
}
