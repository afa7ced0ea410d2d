//! `[admin]`: where metrics and health are served.

use std::net::SocketAddr;

use toml::Spanned;

use super::Check;

impl Check<'_> {
    /// A loopback address: what is served there has no TLS and asks nobody who they are.
    pub(super) fn admin(&mut self, text: Option<&Spanned<String>>) -> Option<SocketAddr> {
        let text = text?;
        let value = text.get_ref();
        let Ok(address) = value.parse::<SocketAddr>() else {
            let message = format!("`{}` is not an IP address with a port", value.escape_debug());
            self.fault(text.span(), message, "write \"127.0.0.1:9464\"");
            return None;
        };
        if !address.ip().is_loopback() {
            let help = "write \"127.0.0.1:9464\", and let a proxy with TLS and a password stand before it where Prometheus runs elsewhere";
            self.fault(text.span(), format!("{} is no loopback address, and metrics are served without TLS", address.ip()), help);
        }
        Some(address)
    }
}
