//! `[admin]`: where metrics and health are served; `[canary]`: how often links are probed.

use std::net::SocketAddr;
use std::time::Duration;

use toml::Spanned;

use super::Check;

/// Between two probes of a link, where nothing else is said.
const USUAL_CANARY: u64 = 60;

impl Check<'_> {
    /// Seconds between two probes of a link.
    pub(super) fn canary(&mut self, seconds: Option<&Spanned<u64>>) -> Option<Duration> {
        let value = seconds.map_or(USUAL_CANARY, |seconds| *seconds.get_ref());
        if let Some(seconds) = seconds
            && !(value == 0 || (5..=3_600).contains(&value))
        {
            self.fault(seconds.span(), format!("{value} s between two probes of a link"), "write 5 to 3600, or 0 for none");
        }
        (value > 0).then(|| Duration::from_secs(value))
    }

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
