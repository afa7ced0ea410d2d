//! Servers, clients and the hub between them.

use interchange_integration_tests::certificates::Authority;
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use interchange_integration_tests::kamailio::{Kamailio, KamailioSettings, SipPorts};
use interchange_integration_tests::meanwhile_client::MeanwhileClient;
use interchange_integration_tests::msrp_client::MsrpClient;
use interchange_integration_tests::ocs::{OcsPorts, OcsServer, OcsSettings};
use interchange_integration_tests::purple_client::{PurpleAccount, PurpleClient};
use interchange_integration_tests::sip_client::{SipClient, Transport};
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServer, XmppServerSettings};
use interchange_integration_tests::{ejabberd, prosody};

use crate::fidelity::kinds::Who;
use crate::fidelity::person::{Client, Person};

/// Of people who sign in at the hub.
const PASSWORD: &str = "opensesame";
/// Everybody at a firm who is known and not there.
pub(crate) const ABSENT: &str = "zoe";

/// One firm on each platform, a second one on XMPP, and the hub.
pub(crate) struct World {
    people: Vec<Person>,
    /// A second client on SIP, which shows all that the wire has.
    pub(crate) eve: MsrpClient,
    pub(crate) globex: Kamailio,
    pub(crate) contoso: OcsServer,
    files: HubFiles,
    hub: Option<Hub>,
    /// All that anybody has said.
    said: Vec<String>,
    _acme: XmppServer,
    _initech: XmppServer,
    _names: [NameServer; 2],
}

impl World {
    pub(crate) fn start() -> Self {
        let authority = Authority::new("Test authority");
        let mut files = HubFiles::new(&authority);
        let (acme_ports, initech_ports) = (XmppPorts::reserve(), XmppPorts::reserve());
        let (globex_ports, contoso_ports) = (SipPorts::reserve(), OcsPorts::reserve());
        let domains: Vec<&str> = Who::ALL.map(Who::domain).into_iter().chain([HUB_DOMAIN]).collect();
        let hub_port = files.xmpp.number();
        // Each server finds its own domain at itself, and everybody else at the hub.
        let records = |own: Who, port: u16| -> Vec<ServiceRecord> {
            let port_of = |domain: &str| if domain == own.domain() { port } else { hub_port };
            domains.iter().map(|domain| ServiceRecord::xmpp_server(domain, port_of(domain))).collect()
        };
        let partners = |own: Who| -> Vec<&str> { domains.iter().copied().filter(|domain| *domain != own.domain()).collect() };
        let acme_names = NameServer::start(&records(Who::Alice, acme_ports.server.number()));
        let initech_names = NameServer::start(&records(Who::Dave, initech_ports.server.number()));
        files.serve_sametime();
        for (user, name) in [("frank", "Frank Fisher"), (ABSENT, "Zoe Zimmer")] {
            files.add_account("northwind", user, name, PASSWORD);
        }
        // Whether a failure is the answer to a message or comes later is the same in every run.
        let patient = "answer_wait = 15000";
        files.configure(
            &authority,
            &[
                LinkSettings::xmpp("acme", Who::Alice.domain(), acme_ports.server.number()).with("xhtml_im = true"),
                LinkSettings::xmpp("initech", Who::Dave.domain(), initech_ports.server.number()),
                LinkSettings::sip("globex", Who::Bob.domain(), globex_ports.tls.number())
                    .with("identity = \"domain\", imdn = true, html = true")
                    .with(patient),
                LinkSettings::ocs("contoso", Who::Carol.domain(), contoso_ports.edge.number()).with(patient),
                LinkSettings::sametime("northwind", Who::Frank.domain()),
            ],
        );
        let hub = Some(files.start());
        let acme = prosody::start(XmppServerSettings::new(Who::Alice.domain(), &["alice"], acme_ports, &authority, &acme_names));
        let initech =
            ejabberd::start(XmppServerSettings::new(Who::Dave.domain(), &["dave"], initech_ports, &authority, &initech_names));
        let settings = KamailioSettings::new(Who::Bob.domain(), globex_ports, &authority, files.sip.address(), HUB_DOMAIN);
        let globex = Kamailio::start(settings.with_partners(&partners(Who::Bob)).with_presence().with_relay());
        let settings = OcsSettings::new(Who::Carol.domain(), &["carol", ABSENT], contoso_ports, &authority);
        let contoso = OcsServer::start(settings.with_partner(HUB_DOMAIN, files.ocs.address(), &partners(Who::Carol)));
        let carol = PurpleAccount::ocs(Who::Carol.address(), contoso.client_address());
        let people = vec![
            Person::new(Who::Alice, Client::Xmpp(XmppClient::login(&acme, "alice"))),
            Person::new(Who::Bob, Client::Sip(SipClient::register_with_all(&globex, "bob", Transport::Tcp))),
            Person::new(Who::Carol, Client::Microsoft(PurpleClient::sign_on(&carol))),
            Person::new(Who::Frank, sametime(&files)),
            Person::new(Who::Dave, Client::Xmpp(XmppClient::login(&initech, "dave"))),
        ];
        let eve = MsrpClient::register(&globex, "eve");
        Self {
            people,
            eve,
            globex,
            contoso,
            files,
            hub,
            said: Vec::new(),
            _acme: acme,
            _initech: initech,
            _names: [acme_names, initech_names],
        }
    }

    /// Somebody at their client.
    pub(crate) fn person(&mut self, who: Who) -> &mut Person {
        self.people.iter_mut().find(|person| person.who == who).expect("everybody is there")
    }

    /// Alice's client.
    pub(crate) fn alice(&mut self) -> &mut XmppClient {
        self.person(Who::Alice).xmpp()
    }

    /// Notes what somebody says: the hub must keep it to itself.
    pub(crate) fn says(&mut self, words: &str) {
        // Up to what a log would write in another way.
        self.said.push(words.chars().take(30).take_while(|letter| !matches!(letter, '"' | '\n' | '\\')).collect());
    }

    /// The hub is killed and started again. People who had signed in at it sign in again.
    pub(crate) fn restart_the_hub(&mut self) {
        self.nothing_of_it_is_logged();
        drop(self.hub.take());
        self.hub = Some(self.files.start());
        self.person(Who::Frank).client = sametime(&self.files);
    }

    /// Whatever was said went through the hub, and none of it is in its log: neither words nor notes, nor names before the `@`.
    pub(crate) fn nothing_of_it_is_logged(&self) {
        let log = self.hub.as_ref().expect("it runs").log();
        for words in &self.said {
            assert!(!log.contains(words.as_str()), "the log has {words:?}");
        }
        for name in ["alice@", "bob@", "carol@", "dave@", "eve@", "frank@", "nobody@", "zoe@"] {
            assert!(!log.contains(name), "the log has {name}");
        }
        assert!(self.said.len() > 3 && log.lines().count() > 10, "it logs what happens");
    }
}

/// Frank signs in at the hub, with a client that takes formatted text.
fn sametime(files: &HubFiles) -> Client {
    let hub = files.sametime.as_ref().expect("the hub serves Sametime").address();
    let mut client = MeanwhileClient::sign_in(hub, "frank", PASSWORD);
    client.set_rich(true);
    Client::Sametime(client)
}
