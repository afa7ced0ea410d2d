//! A member whose servers speak TLS 1.0 alone: through the proxy that the manual shows for them people talk both ways, and without it the hub
//! says why there is no link.

use std::process::{Command, Stdio};
use std::time::Duration;

use interchange_integration_tests::certificates::{Authority, Identity, Leaf};
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, HubFiles, LinkSettings};
use interchange_integration_tests::ocs::{OcsPorts, OcsServer, OcsSettings};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::processes::Directory;
use interchange_integration_tests::prosody;
use interchange_integration_tests::purple_client::{PurpleAccount, PurpleClient};
use interchange_integration_tests::stunnel::{self, Stunnel};
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServerSettings};

const SOON: Duration = Duration::from_secs(20);

const PAGE: &str = include_str!("../../docs/platforms/ocs.md");
const CHAPTER: &str = "## Servers that speak TLS 1.0 only\n";

/// A key with its certificate, as stunnel reads both from one file.
fn write(directory: &Directory, file: &str, identity: &Identity) {
    directory.write(file, &format!("{}{}", identity.private_key, identity.certificate));
}

/// Where the old servers are: as an Edge of Windows Server 2003 with its update for AES, which knows TLS 1.0, RSA and nothing newer.
struct OldTls {
    /// Where partners connect.
    edge: ReservedPort,
    /// Where the company's own servers connect to reach the hub.
    to_hub: ReservedPort,
    _stunnel: Stunnel,
}

impl OldTls {
    /// In front of the scripted servers, whose own TLS is of today. `hub`: where they believe the hub to be.
    fn start(company: &Authority, servers: &OcsPorts, hub: &ReservedPort) -> Self {
        let [edge, to_hub, inside, outside] = [(); 4].map(|()| ReservedPort::any());
        let directory = Directory::new("old-tls");
        directory.write("company.pem", company.certificate());
        write(&directory, "edge.pem", &company.issue_rsa(&Leaf::host("sip.contoso.example")));
        write(&directory, "hub.pem", &company.issue(&Leaf::host(HUB_DOMAIN)));
        let files = directory.path().display().to_string();
        let old = "sslVersionMin = TLSv1\nsslVersionMax = TLSv1\nciphers = AES128-SHA:@SECLEVEL=0";
        let trust = format!("CAfile = {files}/company.pem\nverifyChain = yes");
        let services = format!(
            "[old-edge]\naccept = {}\ncert = {files}/edge.pem\n{trust}\ncheckHost = {HUB_DOMAIN}\n{old}\nconnect = {inside}\n\n\
             [new-edge]\nclient = yes\naccept = {inside}\nconnect = {}\ncert = {files}/hub.pem\n{trust}\ncheckHost = sip.contoso.example\n\n\
             [new-hub]\naccept = {}\ncert = {files}/hub.pem\n{trust}\nconnect = {outside}\n\n\
             [old-hub]\nclient = yes\naccept = {outside}\nconnect = {}\ncert = {files}/edge.pem\n{trust}\ncheckHost = {HUB_DOMAIN}\n{old}\n",
            edge.address(),
            servers.edge.address(),
            to_hub.address(),
            hub.address(),
            inside = inside.address(),
            outside = outside.address(),
        );
        Self { edge, to_hub, _stunnel: Stunnel::start(directory, &services) }
    }
}

/// The proxy of the manual, between the hub, which trusts the public authority, and the old servers. It listens at `from_hub` and `from_edge`.
fn documented_proxy(
    [public, company]: [&Authority; 2],
    (from_hub, hub): (&ReservedPort, &ReservedPort),
    (from_edge, edge): (&ReservedPort, &ReservedPort),
) -> Stunnel {
    let [inwards, outwards] = [(); 2].map(|()| ReservedPort::any());
    let directory = Directory::new("documented-proxy");
    directory.write("hub-authority.pem", public.certificate());
    directory.write("company-authority.pem", company.certificate());
    write(&directory, "edge.pem", &public.issue(&Leaf::host("sip.contoso.example")));
    write(&directory, "hub-here.pem", &company.issue_rsa(&Leaf::host(HUB_DOMAIN)));
    let services = stunnel::shown(
        PAGE,
        CHAPTER,
        &[
            ("/etc/stunnel/", format!("{}/", directory.path().display())),
            ("accept = 5061\n", format!("accept = {}\n", from_hub.address())),
            ("127.0.0.1:15061", inwards.address().to_string()),
            ("10.0.0.5:5061", edge.address().to_string()),
            ("10.0.0.6:5061", from_edge.address().to_string()),
            ("127.0.0.1:15062", outwards.address().to_string()),
            ("im.hub.example:5061", hub.address().to_string()),
            ("im.hub.example", HUB_DOMAIN.to_owned()),
        ],
    );
    Stunnel::start(directory, &services)
}

/// Somebody who knows nothing newer than TLS 1.0 connects, and is refused.
fn knock_with_old_tls(hub: &ReservedPort, identity: &Identity) {
    let directory = Directory::new("old-client");
    write(&directory, "edge.pem", identity);
    let mut command = Command::new("openssl");
    command.args(["s_client", "-tls1", "-cipher", "DEFAULT:@SECLEVEL=0", "-connect", &hub.address().to_string()]);
    command.arg("-cert").arg(directory.path().join("edge.pem")).stdin(Stdio::null());
    let output = command.output().expect("openssl starts: run scripts/install-test-tools.sh");
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn servers_that_speak_tls_1_0_only_are_linked_by_the_proxy_of_the_manual_and_by_nothing_else() {
    let (public, company) = (Authority::new("Public authority"), Authority::new("Company authority"));
    let mut files = HubFiles::new(&public);
    let [from_hub, from_edge] = [(); 2].map(|()| ReservedPort::any());
    let (xmpp_ports, ocs_ports) = (XmppPorts::reserve(), OcsPorts::reserve());
    let old = OldTls::start(&company, &ocs_ports, &from_edge);

    let mut records = vec![ServiceRecord::xmpp_server("acme.example", xmpp_ports.server.number())];
    records.extend(["contoso.example", HUB_DOMAIN].map(|domain| ServiceRecord::xmpp_server(domain, files.xmpp.number())));
    let names = NameServer::start(&records);
    files.configure(
        &public,
        &[
            LinkSettings::xmpp("acme", "acme.example", xmpp_ports.server.number()),
            LinkSettings::ocs("contoso", "contoso.example", from_hub.number()),
            // Another firm of the same age, without a proxy.
            LinkSettings::ocs("fabrikam", "fabrikam.example", old.edge.number()),
        ],
    );
    let settings = OcsSettings::new("contoso.example", &["alice"], ocs_ports, &company);
    let settings = settings.with_partner(HUB_DOMAIN, old.to_hub.address(), &["acme.example", HUB_DOMAIN]);
    let contoso = OcsServer::start(settings);
    let proxy = documented_proxy([&public, &company], (&from_hub, &files.ocs), (&from_edge, &old.edge));
    let mut hub = files.start();
    let acme = prosody::start(XmppServerSettings::new("acme.example", &["bob"], xmpp_ports, &public, &names));

    let mut alice = PurpleClient::sign_on(&PurpleAccount::ocs("alice@contoso.example", contoso.client_address()));
    let mut bob = XmppClient::login(&acme, "bob");
    alice.send("sip:bob@acme.example", "from long ago");
    assert_eq!(bob.expect_message(SOON).body, "from long ago");
    hub.wait_for_line(&["has proved to be the Access Edge of link contoso"], SOON);
    bob.send("alice@contoso.example", "b1", "from today");
    assert_eq!(alice.expect_message(SOON).text, "from today");
    contoso.assert_no_faults();
    // A connection each way, with the old version at the company's end and one that the hub takes at the other.
    let log = proxy.log();
    for version in ["TLSv1 ciphersuite: AES128-SHA ", "TLSv1.3 ciphersuite: "] {
        assert!(log.matches(version).count() >= 2, "not two of {version:?} in {log}");
    }

    hub.wait_for_line(&["fabrikam", "the hub speaks TLS 1.2 and 1.3 only"], SOON);
    knock_with_old_tls(&files.ocs, &public.issue_rsa(&Leaf::host("sip.fabrikam.example")));
    // In a line of its own: not the health of a link.
    hub.wait_for_line(&["\"message\":\"no TLS with 127.0.0.1", "the hub speaks TLS 1.2 and 1.3 only"], SOON);
}
