//! The ways that messages take in the benches, with everything that stands along them.

use super::table::Row;
use super::{LoadSender, Shape, SipReceiver, SipSender, Systems, Tally, XmppReceiver, XmppSender, measure};
use crate::certificates::{Authority, Identity, Leaf};
use crate::dns::{NameServer, ServiceRecord};
use crate::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use crate::ports::ReservedPort;
use crate::processes::Usage;
use crate::tls_sip_peer::TlsSipClient;
use crate::xmpp_server::{XmppPorts, XmppServer, XmppServerSettings};
use crate::{ejabberd, prosody};

/// The length of every body.
pub const BODY_BYTES: usize = 200;
/// How many people are written to, in turn.
pub const CONVERSATIONS: usize = 50;
/// How many runs a figure is the median of.
pub const RUNS: usize = 3;

/// From one server to the other without a hub.
pub const DIRECT: &str = "Prosody → ejabberd, direct";
/// Between two XMPP companies.
pub const XMPP_TO_XMPP: &str = "Prosody → hub → ejabberd";
/// From an XMPP company to a SIP proxy.
pub const XMPP_TO_SIP: &str = "Prosody → hub → SIP";
/// From the SIP proxy to an XMPP company.
pub const SIP_TO_XMPP: &str = "SIP → hub → Prosody";
/// Between two SIP companies, both of them this program: no server's time beside the hub's.
pub const SIP_TO_SIP: &str = "SIP → hub → SIP";

/// A shape with its name and how many messages one run has.
pub type NamedShape = (&'static str, Shape, u64);

/// As many on the way as keeps everything busy.
pub const SATURATED: NamedShape = ("saturated, window 1000", Shape::Saturated { window: 1_000 }, 20_000);
/// Some load, far from what is possible.
pub const PACED: NamedShape = ("paced, 500/s", Shape::Paced { per_second: 500 }, 2_500);
/// What a message costs that is alone.
pub const ONE_AT_A_TIME: NamedShape = ("one at a time", Shape::Saturated { window: 1 }, 500);

/// A part that works beside what is measured, with its name in the table.
pub type Beside<'a> = (&'static str, &'a dyn Fn() -> Usage);

/// Measures one way in these shapes.
pub fn run(
    way: &'static str,
    shapes: &[NamedShape],
    sender: &mut dyn LoadSender,
    tally: &Tally,
    measured: &dyn Fn() -> Usage,
    beside: &[Beside<'_>],
) -> Vec<Row> {
    let systems = Systems { measured, beside };
    let shapes = shapes.iter().map(|&(shape, kind, messages)| {
        eprint!("{way}, {shape} … ");
        let measured = measure(sender, tally, kind, messages, RUNS, systems);
        eprintln!("{measured}");
        Row { way, shape, measured }
    });
    shapes.collect()
}

/// The anchor: two servers that speak to each other, both measured.
pub fn direct(shapes: &[NamedShape]) -> Vec<Row> {
    let authority = Authority::new("Bench authority");
    let (acme, initech) = (XmppPorts::reserve(), XmppPorts::reserve());
    let names = NameServer::start(&[
        ServiceRecord::xmpp_server("acme.example", acme.server.number()),
        ServiceRecord::xmpp_server("initech.example", initech.server.number()),
    ]);
    let acme = prosody::start(quiet("acme.example", acme, &authority, &names));
    let initech = ejabberd::start(quiet("initech.example", initech, &authority, &names));
    let tally = Tally::of_conversations(CONVERSATIONS);
    let _receivers = log_in(&initech, &tally);
    let mut sender = XmppSender::login_to_many(&acme, "sender", &recipients("initech.example"), BODY_BYTES);
    run(DIRECT, shapes, &mut sender, &tally, &|| acme.usage() + initech.usage(), &[])
}

/// A hub with two XMPP companies, a SIP proxy, and a SIP company that only sends, every link over TLS.
#[derive(Debug)]
pub struct Community {
    authority: Authority,
    files: HubFiles,
    hub: Hub,
    acme: XmppServer,
    initech: XmppServer,
    globex: Identity,
    umbrella: Identity,
    /// Nobody listens here.
    _umbrella_port: ReservedPort,
    globex_tally: Tally,
    _globex: SipReceiver,
    _names: [NameServer; 2],
}

impl Community {
    /// Starts them all; the hub runs on the RabbitMQ at this address, or on its embedded bus.
    pub fn start(rabbitmq: Option<&str>) -> Self {
        let authority = Authority::new("Bench authority");
        let mut files = HubFiles::new(&authority);
        if let Some(url) = rabbitmq {
            files.use_bus(url);
        }
        let (acme, initech) = (XmppPorts::reserve(), XmppPorts::reserve());
        let (globex_port, umbrella_port) = (ReservedPort::any(), ReservedPort::any());
        files.configure(
            &authority,
            &[
                LinkSettings::xmpp("acme", "acme.example", acme.server.number()),
                LinkSettings::xmpp("initech", "initech.example", initech.server.number()),
                LinkSettings::sip("globex", "globex.example", globex_port.number()),
                LinkSettings::sip("umbrella", "umbrella.example", umbrella_port.number()),
            ],
        );
        let at_hub = |domain| ServiceRecord::xmpp_server(domain, files.xmpp.number());
        // The hub's own domain too: it asks in its name whether the links work.
        let acme_names = NameServer::start(&["initech.example", "globex.example", HUB_DOMAIN].map(at_hub));
        let initech_names = NameServer::start(&["acme.example", HUB_DOMAIN].map(at_hub));
        let globex = authority.issue(&Leaf::sip("globex.example"));
        let globex_tally = Tally::of_conversations(CONVERSATIONS);
        let receiver = SipReceiver::start(globex_port, &globex, authority.certificate(), &globex_tally);
        // A line of log for each stage of each message is part of what a hub does; here it would measure the test's disk.
        let hub = files.start_with(&[("INTERCHANGE_LOG", "warn")]);
        let acme = prosody::start(quiet("acme.example", acme, &authority, &acme_names));
        let initech = ejabberd::start(quiet("initech.example", initech, &authority, &initech_names));
        let umbrella = authority.issue(&Leaf::sip("umbrella.example"));
        Self {
            authority,
            files,
            hub,
            acme,
            initech,
            globex,
            umbrella,
            _umbrella_port: umbrella_port,
            globex_tally,
            _globex: receiver,
            _names: [acme_names, initech_names],
        }
    }

    /// From one XMPP company to the other; `beside` works along with the hub and the servers.
    pub fn xmpp_to_xmpp(&self, shapes: &[NamedShape], beside: &[Beside<'_>]) -> Vec<Row> {
        let tally = Tally::of_conversations(CONVERSATIONS);
        let _receivers = log_in(&self.initech, &tally);
        let mut sender = XmppSender::login_to_many(&self.acme, "sender", &recipients("initech.example"), BODY_BYTES);
        self.run(XMPP_TO_XMPP, shapes, &mut sender, &tally, &|| self.acme.usage() + self.initech.usage(), beside)
    }

    /// From an XMPP company to the SIP proxy.
    pub fn xmpp_to_sip(&self, shapes: &[NamedShape], beside: &[Beside<'_>]) -> Vec<Row> {
        let mut sender = XmppSender::login_to_many(&self.acme, "sender", &recipients("globex.example"), BODY_BYTES);
        self.run(XMPP_TO_SIP, shapes, &mut sender, &self.globex_tally, &|| self.acme.usage(), beside)
    }

    /// From the SIP proxy to an XMPP company.
    pub fn sip_to_xmpp(&self, shapes: &[NamedShape], beside: &[Beside<'_>]) -> Vec<Row> {
        let tally = Tally::of_conversations(CONVERSATIONS);
        let _receivers = log_in(&self.acme, &tally);
        let mut sender = self.sip_sender(&self.globex, "sip:sender@globex.example", "acme.example");
        self.run(SIP_TO_XMPP, shapes, &mut sender, &tally, &|| self.acme.usage(), beside)
    }

    /// From one SIP company to the other.
    pub fn sip_to_sip(&self, shapes: &[NamedShape], beside: &[Beside<'_>]) -> Vec<Row> {
        let mut sender = self.sip_sender(&self.umbrella, "sip:sender@umbrella.example", "globex.example");
        run(SIP_TO_SIP, shapes, &mut sender, &self.globex_tally, &|| self.hub.usage(), beside)
    }

    fn sip_sender(&self, identity: &Identity, from: &str, domain: &str) -> SipSender {
        let address = self.files.sip.address();
        let proxy = TlsSipClient::connect(address, HUB_DOMAIN, Some(identity), self.authority.certificate());
        let recipients: Vec<String> = recipients(domain).iter().map(|address| format!("sip:{address}")).collect();
        SipSender::to_many(proxy, from, &recipients, BODY_BYTES)
    }

    fn run(
        &self,
        way: &'static str,
        shapes: &[NamedShape],
        sender: &mut dyn LoadSender,
        tally: &Tally,
        servers: &dyn Fn() -> Usage,
        others: &[Beside<'_>],
    ) -> Vec<Row> {
        let mut beside: Vec<Beside<'_>> = vec![("servers", servers)];
        beside.extend(others);
        run(way, shapes, sender, tally, &|| self.hub.usage(), &beside)
    }
}

/// Addresses of the people who are written to.
fn recipients(domain: &str) -> Vec<String> {
    (0..CONVERSATIONS).map(|number| format!("receiver{number:02}@{domain}")).collect()
}

/// A server with users that send and receive.
fn quiet(domain: &str, ports: XmppPorts, authority: &Authority, names: &NameServer) -> XmppServerSettings {
    let mut users = vec!["sender".to_owned()];
    users.extend((0..CONVERSATIONS).map(|number| format!("receiver{number:02}")));
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    XmppServerSettings { verbose: false, ..XmppServerSettings::new(domain, &users, ports, authority, names) }
}

fn log_in(server: &XmppServer, tally: &Tally) -> Vec<XmppReceiver> {
    (0..CONVERSATIONS).map(|number| XmppReceiver::login(server, &format!("receiver{number:02}"), tally)).collect()
}
