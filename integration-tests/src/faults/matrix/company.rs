//! A company of a run: its scripted server, and the breakable networks between it and the hub.

use std::net::SocketAddr;
use std::sync::Arc;

use super::load::POISON;
use crate::certificates::{Authority, Leaf};
use crate::faults::peer::{Listener, Peer};
use crate::faults::proxy::{FaultProxy, Mode};
use crate::faults::sip_peer::{SipPeer, SipPeerSettings};
use crate::faults::xmpp_peer::{XmppPeer, XmppPeerSettings};
use crate::hub::{HUB_DOMAIN, HubFiles};
use crate::ports::ReservedPort;

/// One company and its networks.
pub struct Company {
    /// Its domain.
    pub domain: &'static str,
    /// `xmpp` or `sip`.
    pub platform: &'static str,
    pub(super) peer: Arc<dyn Peer>,
    /// Carries what the company dials.
    pub to_hub: FaultProxy,
    /// Carries what the hub dials.
    pub from_hub: FaultProxy,
}

impl Company {
    /// Breaks or heals both networks.
    pub fn set(&self, mode: Mode) {
        self.to_hub.set(mode);
        self.from_hub.set(mode);
    }
}

/// Where a hub listens for servers of this platform.
pub(super) fn address(files: &HubFiles, platform: &str) -> SocketAddr {
    if platform == "xmpp" { files.xmpp.address() } else { files.sip.address() }
}

/// Starts a company whose links the hub finds behind `from_hub`.
pub(super) fn company(
    authority: &Authority,
    files: &HubFiles,
    (platform, domain): (&'static str, &'static str),
    from_hub: FaultProxy,
    port: ReservedPort,
    poison: bool,
    listener: Listener,
) -> Company {
    let to_hub = FaultProxy::start(address(files, platform));
    let (hub, poison) = (to_hub.address(), poison.then(|| POISON.to_owned()));
    let peer: Arc<dyn Peer> = if platform == "xmpp" {
        let identity = &authority.issue(&Leaf::xmpp(domain));
        let authority = authority.certificate();
        let domain = domain.to_owned();
        let settings = XmppPeerSettings { domain, remote_domains: Vec::new(), port, hub, identity, authority, poison };
        Arc::new(XmppPeer::start(settings, listener))
    } else {
        let settings = SipPeerSettings {
            domain: domain.to_owned(),
            port,
            hub,
            hub_name: HUB_DOMAIN,
            identity: &authority.issue(&Leaf::sip(domain)),
            authority: authority.certificate(),
            refuse: Arc::new(|_| None),
            poison,
        };
        Arc::new(SipPeer::start(settings, listener))
    };
    Company { domain, platform, peer, to_hub, from_hub }
}
