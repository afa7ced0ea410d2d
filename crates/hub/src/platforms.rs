//! The platforms of this hub: the only place that names them.

use interchange_adapter::{Platform, Transport};
use interchange_guide::Listeners;
use interchange_model::PlatformName;

use crate::config::Config;

/// A new platform is a folder under `adapters/` and a line here.
pub const PLATFORMS: &[Platform] = &[
    interchange_echo::PLATFORM,
    interchange_xmpp::PLATFORM,
    interchange_sip::PLATFORM,
    interchange_ocs::PLATFORM,
    interchange_sametime::PLATFORM,
];

/// The platform of a name.
#[must_use]
pub fn platform(name: &PlatformName) -> Option<&'static Platform> {
    PLATFORMS.iter().find(|platform| platform.name == name.as_str())
}

/// Whether links of a platform lead to somebody else's server: the Echo user has none.
#[must_use]
pub fn is_linkable(name: &PlatformName) -> bool {
    name.as_str() != interchange_echo::PLATFORM.name
}

/// Whether people of a platform's links sign in at the hub itself, which can tell them something then.
#[must_use]
pub fn hosts_people(name: &PlatformName) -> bool {
    name.as_str() == interchange_sametime::PLATFORM.name
}

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
        ocs_tls: port(&interchange_ocs::PLATFORM, Transport::Tls),
    }
}
