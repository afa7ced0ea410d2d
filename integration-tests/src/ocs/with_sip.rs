//! A community of two firms: one with Microsoft's servers, its partner on SIP, each linked once to the hub.

use std::net::SocketAddr;

use super::{OcsPorts, OcsServer, OcsSettings};
use crate::certificates::Authority;
use crate::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use crate::kamailio::{Kamailio, KamailioSettings, SipPorts};
use crate::purple_client::{PurpleAccount, PurpleClient};

/// The two firms and the hub: alice@contoso.example, and whoever `Proxy` answers for at globex.example.
#[derive(Debug)]
pub struct WithSip<Proxy> {
    /// The firm on Microsoft's servers.
    pub contoso: OcsServer,
    /// The proxy of the firm on SIP.
    pub globex: Proxy,
    _hub: Hub,
    _files: HubFiles,
}

impl WithSip<Kamailio> {
    /// Starts all of it, with a Kamailio that is its people's presence server too.
    pub fn kamailio() -> Self {
        Self::start(
            |globex| globex.with("imdn = true"),
            |ports, authority, hub| {
                let settings = KamailioSettings::new("globex.example", ports, authority, hub, HUB_DOMAIN);
                Kamailio::start(settings.with_partners(&["contoso.example", HUB_DOMAIN]).with_presence())
            },
        )
    }
}

impl<Proxy> WithSip<Proxy> {
    /// `link` gives the link of globex.example further settings, and `proxy` starts who answers there: it is told its ports, and where the hub will
    /// listen.
    pub fn start(
        link: impl FnOnce(LinkSettings) -> LinkSettings,
        proxy: impl FnOnce(SipPorts, &Authority, SocketAddr) -> Proxy,
    ) -> Self {
        let authority = Authority::new("Test authority");
        let mut files = HubFiles::new(&authority);
        let (sip_ports, ocs_ports) = (SipPorts::reserve(), OcsPorts::reserve());
        files.configure(
            &authority,
            &[
                link(LinkSettings::sip("globex", "globex.example", sip_ports.tls.number()).with("identity = \"domain\"")),
                LinkSettings::ocs("contoso", "contoso.example", ocs_ports.edge.number()),
            ],
        );
        let globex = proxy(sip_ports, &authority, files.sip.address());
        let settings = OcsSettings::new("contoso.example", &["alice"], ocs_ports, &authority);
        let settings = settings.with_partner(HUB_DOMAIN, files.ocs.address(), &["globex.example", HUB_DOMAIN]);
        let contoso = OcsServer::start(settings);
        let hub = files.start();
        Self { contoso, globex, _hub: hub, _files: files }
    }

    /// Alice signs on with the plugin SIPE.
    #[track_caller]
    pub fn alice(&self) -> PurpleClient {
        PurpleClient::sign_on(&PurpleAccount::ocs("alice@contoso.example", self.contoso.client_address()))
    }
}
