//! A company on Prosody, and one whose people sign in at the hub with Sametime clients.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use crate::certificates::Authority;
use crate::dns::{NameServer, ServiceRecord};
use crate::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use crate::meanwhile_client::MeanwhileClient;
use crate::ports::ReservedPort;
use crate::prosody;
use crate::slapd::{BASE, SERVICE, SERVICE_PASSWORD, SlapdFiles};
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

/// How a community is set up. The default: links have their usual settings, Globex's people are in the hub's configuration and sign in without TLS.
#[derive(Debug, Default)]
pub struct CommunitySettings<'a> {
    /// One more setting for the link of Acme.
    pub of_acme: Option<&'a str>,
    /// One more setting for the link of Globex, for example `offline = "hold"`.
    pub of_globex: Option<&'a str>,
    /// People of Globex sign in with TLS only.
    pub only_tls: bool,
    /// They are in this directory, and not in the hub's configuration.
    pub directory: Option<&'a SlapdFiles>,
    /// What the hub's environment has more.
    pub environment: &'a [(&'a str, &'a str)],
}

/// Acme on Prosody, with Alice, and Globex, whose people, Bob Brown and Carol Clark, sign in at the hub.
#[derive(Debug)]
pub struct SametimeCommunity {
    /// The hub's.
    pub files: HubFiles,
    hub: Option<Hub>,
    secure: ReservedPort,
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
        let settings = CommunitySettings { of_acme, of_globex, ..CommunitySettings::default() };
        Self::start_of(&Authority::new("Test authority"), &settings)
    }

    /// The same, set up in any way, with certificates of `authority`.
    #[track_caller]
    pub fn start_of(authority: &Authority, settings: &CommunitySettings<'_>) -> Self {
        let mut files = HubFiles::new(authority);
        let ports = XmppPorts::reserve();
        let secure = ReservedPort::any();
        let mut records = vec![ServiceRecord::xmpp_server("acme.example", ports.server.number())];
        let behind_the_hub = ["globex.example", HUB_DOMAIN];
        records.extend(behind_the_hub.map(|domain| ServiceRecord::xmpp_server(domain, files.xmpp.number())));
        let names = NameServer::start(&records);
        files.serve_sametime();
        files.add(&format!("[[listener]]\nplatform = \"sametime\"\naddress = \"{}\"\ntransport = \"tls\"", secure.address()));
        match settings.directory {
            Some(slapd) => {
                let password = files.configuration().with_file_name("ldap.password");
                std::fs::write(&password, SERVICE_PASSWORD).expect("the hub's folder takes a file");
                std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).expect("the file is ours");
                files.add(&directory("globex", slapd));
            }
            None => {
                files.add_account("globex", "bob", "Bob Brown", PASSWORD);
                files.add_account("globex", "carol", "Carol Clark", PASSWORD);
            }
        }
        let with = |link: LinkSettings, setting: Option<&str>| match setting {
            Some(setting) => link.with(setting),
            None => link,
        };
        let acme = with(LinkSettings::xmpp("acme", "acme.example", ports.server.number()), settings.of_acme);
        let mut globex = LinkSettings::sametime("globex", "globex.example");
        if settings.only_tls {
            globex.settings = "plain_networks = []".to_owned();
        }
        files.configure(authority, &[acme, with(globex, settings.of_globex)]);
        let hub = Some(files.start_with(settings.environment));
        let acme = prosody::start(XmppServerSettings::new("acme.example", &["alice"], ports, authority, &names));
        Self { files, hub, secure, _names: names, acme }
    }

    /// Where Sametime clients connect.
    pub fn address(&self) -> SocketAddr {
        self.files.sametime.as_ref().expect("the hub serves Sametime").address()
    }

    /// Where Sametime clients connect with TLS.
    pub fn secure_address(&self) -> SocketAddr {
        self.secure.address()
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

/// What `hub.toml` has of a member's directory, whose password is in the file `ldap.password`.
pub fn directory(member: &str, slapd: &SlapdFiles) -> String {
    format!(
        "[[directory]]\nmember = \"{member}\"\nurl = \"ldaps://{}\"\nserver_name = \"localhost\"\nbase = \"{BASE}\"\n\
         bind_dn = \"{SERVICE}\"\nbind_password_file = \"ldap.password\"\n",
        slapd.secure.address()
    )
}
