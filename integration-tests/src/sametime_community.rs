//! A company on Prosody, and one whose people sign in at the hub with Sametime clients.

use std::net::SocketAddr;

use crate::certificates::Authority;
use crate::dns::{NameServer, ServiceRecord};
use crate::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use crate::meanwhile_client::MeanwhileClient;
use crate::prosody;
use crate::xmpp_client::XmppClient;
use crate::xmpp_server::{XmppPorts, XmppServer, XmppServerSettings};

/// The password of everybody who signs in at the hub.
pub const PASSWORD: &str = "opensesame";
/// On Prosody.
pub const ALICE: &str = "alice@acme.example";
/// At the hub.
pub const BOB: &str = "bob@globex.example";
/// At the hub.
pub const CAROL: &str = "carol@globex.example";

/// Acme on Prosody, with Alice, and Globex, whose people, Bob Brown and Carol Clark, sign in at the hub.
#[derive(Debug)]
pub struct SametimeCommunity {
    files: HubFiles,
    hub: Option<Hub>,
    _names: NameServer,
    acme: XmppServer,
}

impl SametimeCommunity {
    /// Starts hub and Prosody; links have their usual settings.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(None, None)
    }

    /// The same with one more setting for the link of Acme and of Globex, for example `offline = "hold"`.
    #[track_caller]
    pub fn start_with(of_acme: Option<&str>, of_globex: Option<&str>) -> Self {
        let authority = Authority::new("Test authority");
        let mut files = HubFiles::new(&authority);
        let ports = XmppPorts::reserve();
        let mut records = vec![ServiceRecord::xmpp_server("acme.example", ports.server.number())];
        let behind_the_hub = ["globex.example", HUB_DOMAIN];
        records.extend(behind_the_hub.map(|domain| ServiceRecord::xmpp_server(domain, files.xmpp.number())));
        let names = NameServer::start(&records);
        files.serve_sametime();
        files.add_account("globex", "bob", "Bob Brown", PASSWORD);
        files.add_account("globex", "carol", "Carol Clark", PASSWORD);
        let with = |link: LinkSettings, setting: Option<&str>| match setting {
            Some(setting) => link.with(setting),
            None => link,
        };
        let acme = with(LinkSettings::xmpp("acme", "acme.example", ports.server.number()), of_acme);
        let globex = with(LinkSettings::sametime("globex", "globex.example"), of_globex);
        files.configure(&authority, &[acme, globex]);
        let hub = Some(files.start());
        let acme = prosody::start(XmppServerSettings::new("acme.example", &["alice"], ports, &authority, &names));
        Self { files, hub, _names: names, acme }
    }

    /// Where Sametime clients connect.
    pub fn address(&self) -> SocketAddr {
        self.files.sametime.as_ref().expect("the hub serves Sametime").address()
    }

    /// The running hub.
    ///
    /// # Panics
    /// When it was killed and not started again.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub.as_mut().expect("the hub runs")
    }

    /// SIGKILL for the hub.
    pub fn kill_hub(&mut self) {
        self.hub = None;
    }

    /// Starts the hub again on the files of the one that was killed.
    #[track_caller]
    pub fn start_hub(&mut self) {
        self.hub = Some(self.files.start());
    }

    /// Alice, online.
    pub fn alice(&self) -> XmppClient {
        XmppClient::login(&self.acme, "alice")
    }

    /// Somebody of Globex, signed in with libmeanwhile.
    #[track_caller]
    pub fn meanwhile(&self, user: &str) -> MeanwhileClient {
        MeanwhileClient::sign_in(self.address(), user, PASSWORD)
    }
}
