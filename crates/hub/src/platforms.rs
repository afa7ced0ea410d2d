//! The platforms of this hub: the only place that names them.

use interchange_adapter::Platform;

/// A new platform is a folder under `adapters/` and a line here.
pub const PLATFORMS: &[Platform] = &[interchange_echo::PLATFORM, interchange_xmpp::PLATFORM, interchange_sip::PLATFORM];
