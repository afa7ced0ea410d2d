//! Certificates at the built hub: which are refused and by which rule (abuse case 9), the hub's own authority, and what a reload does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use interchange_integration_tests::certificates::{Authority, Identity, Leaf};
use interchange_integration_tests::hub::{HUB_DOMAIN, HubFiles, LinkSettings, binary};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::processes::Directory;
use interchange_integration_tests::tls_sip_peer::TlsSipClient;
use interchange_integration_tests::tls_xmpp_peer::answer;

const SOON: Duration = Duration::from_secs(20);
const ECHO: &str = "sip:echo@hub.example";
const ALICE: &str = "sip:alice@globex.example";

/// A certificate, what its refusal is to be logged with besides its common name; `None`: it is accepted.
fn cases(own: &str, base: impl Fn(&str) -> Leaf) -> Vec<(Leaf, bool, Option<&'static str>)> {
    let leaf = || base(own);
    vec![
        (leaf().called("case-usual"), true, None),
        (leaf().called("case-servers-only").for_servers_only(), true, None),
        (leaf().called("case-untrusted"), false, Some("it does not lead to a trusted authority")),
        (leaf().called("case-expired").expired(), true, Some("it has expired")),
        (leaf().called("case-early").not_yet_valid(), true, Some("it is not valid yet")),
        (leaf().called("case-code").for_code_only(), true, Some("it may not be used for TLS")),
        (leaf().called("case-no-signature").that_may_not_sign(), true, Some("it may not be used for TLS")),
        (base("other.example").called("case-other"), true, Some("other.example")),
        (Leaf::host("*.example").called("case-wide"), true, Some("*.example")),
        (Leaf::host("*").called("case-widest"), true, Some(" *")),
        // The common name is the right domain, and does not count.
        (leaf().without_names(), true, Some("names no ")),
    ]
}

#[test]
fn abuse_9_every_wrong_certificate_is_refused_with_the_rule_in_the_log() {
    let authority = Authority::new("Test authority");
    let stranger = Authority::new("A stranger");
    let nobody = ReservedPort::any();
    let mut files = HubFiles::new(&authority);
    let links = [
        LinkSettings::sip("globex", "globex.example", nobody.number()),
        LinkSettings::xmpp("acme", "acme.example", nobody.number()),
    ];
    files.configure(&authority, &links);
    let mut hub = files.start();
    let issue = |leaf: &Leaf, trusted: bool| if trusted { authority.issue(leaf) } else { stranger.issue(leaf) };
    let subject = |leaf: &Leaf| format!("{leaf:?}").split('"').nth(1).expect("the common name comes first").to_owned();

    for (leaf, trusted, refused) in cases("globex.example", Leaf::sip) {
        let identity = issue(&leaf, trusted);
        let mut peer = TlsSipClient::connect(files.sip.address(), HUB_DOMAIN, Some(&identity), authority.certificate());
        let status = peer.message(ALICE, ECHO, "hello");
        match refused {
            None => assert!(status == 200 || status == 202, "{leaf:?}: {status}"),
            Some(rule) => {
                assert_eq!(status, 403, "{leaf:?}");
                hub.wait_for_line(&["a SIP request is refused", &format!("CN={}", subject(&leaf)), rule], SOON);
            }
        }
    }
    let mut bare = TlsSipClient::connect(files.sip.address(), HUB_DOMAIN, None, authority.certificate());
    assert_eq!(bare.message(ALICE, ECHO, "hello"), 403);
    hub.wait_for_line(&["a SIP request is refused", "shows no certificate"], SOON);

    for (leaf, trusted, refused) in cases("acme.example", Leaf::xmpp) {
        let identity = issue(&leaf, trusted);
        let offered = answer(files.xmpp.address(), "acme.example", HUB_DOMAIN, Some(&identity), authority.certificate());
        assert_eq!(offered.contains(">EXTERNAL<"), refused.is_none(), "{leaf:?}: {offered}");
        if let Some(rule) = refused {
            assert!(offered.contains("<not-authorized "), "{leaf:?}: {offered}");
            hub.wait_for_line(&["the stream of acme.example was ended by not-authorized", rule], SOON);
        }
    }
    let offered = answer(files.xmpp.address(), "acme.example", HUB_DOMAIN, None, authority.certificate());
    assert!(!offered.contains("EXTERNAL"), "{offered}");
    hub.wait_for_line(&["the stream of acme.example was ended by not-authorized", "no certificate"], SOON);
}

/// The hub's own authority, by its command line.
struct HubAuthority(PathBuf);

impl HubAuthority {
    fn run(&self, arguments: &str) -> String {
        let mut command = Command::new(binary());
        command.arg("authority").args(arguments.split(' ')).arg("--directory").arg(&self.0);
        let output = command.output().expect("the hub's binary runs");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it prints text")
    }

    /// Issues or renews; the serial number.
    fn certify(&self, arguments: &str) -> String {
        let said = self.run(arguments);
        said.lines().find_map(|line| line.strip_prefix("serial ")).expect("it names the serial number").trim().to_owned()
    }

    fn issued(&self, serial: &str) -> Identity {
        let folder = self.0.join("issued").join(serial);
        Identity { certificate: text(&folder.join("certificate.pem")), private_key: text(&folder.join("key.pem")) }
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Everything that an operator does with certificates in a year, while one connection stands.
#[test]
fn a_reload_counts_for_new_connections_and_the_old_ones_stay() {
    let folder = Directory::new("authority");
    let authority = HubAuthority(folder.path().join("authority"));
    authority.run("init --name Test");
    let own = authority.certify("issue hub.example");
    let first = authority.certify("issue globex.example");
    let trusted = text(&authority.0.join("ca.pem"));

    let other = Authority::new("Test authority");
    let nobody = ReservedPort::any();
    let mut files = HubFiles::new(&other);
    files.configure(&other, &[LinkSettings::sip("globex", "globex.example", nobody.number())]);
    let at = |file: &str| authority.0.join(file).display().to_string();
    let tls = format!(
        "[tls]\nauthorities = [\"{}\"]\nrevocation_lists = [\"{}\"]\nsystem_authorities = false\n\n[[tls.identity]]\n\
         certificate = \"{}\"\nkey = \"{}\"\n\n[[listener]]",
        at("ca.pem"),
        at("crl.pem"),
        at("current/hub.example/certificate.pem"),
        at("current/hub.example/key.pem")
    );
    let configured = text(&files.configuration());
    let (before, rest) = configured.split_once("[tls]\n").expect("the configuration has such a table");
    let (_, after) = rest.split_once("[[listener]]").expect("the configuration has listeners");
    std::fs::write(files.configuration(), format!("{before}{tls}{after}")).expect("the configuration can be written");

    let mut hub = files.start();
    let connect = |identity: &Identity| TlsSipClient::connect(files.sip.address(), HUB_DOMAIN, Some(identity), &trusted);
    let taken = |peer: &mut TlsSipClient| matches!(peer.message(ALICE, ECHO, "hello"), 200 | 202);
    let mut standing = connect(&authority.issued(&first));
    assert!(taken(&mut standing));
    let shown = standing.server_certificate();

    // The member's certificate is renewed, and the old one revoked: nothing changes before the reload.
    let second = authority.certify(&format!("renew {first}"));
    authority.run(&format!("revoke {first} --reason superseded"));
    assert!(taken(&mut connect(&authority.issued(&first))));
    reload(&mut hub, "were read again");
    assert!(taken(&mut standing));
    assert!(taken(&mut connect(&authority.issued(&second))));
    assert!(!taken(&mut connect(&authority.issued(&first))));
    hub.wait_for_line(&["a SIP request is refused", "it was revoked"], SOON);

    // A file that cannot be used: all stays as it is, though the hub's own certificate would be new.
    let list = text(&authority.0.join("crl.pem"));
    authority.certify(&format!("renew {own}"));
    std::fs::write(authority.0.join("crl.pem"), "nonsense").expect("the list can be written");
    reload(&mut hub, "the reload failed and the old certificates stay in use");
    hub.wait_for_line(&["the reload failed", "crl.pem", "X509 CRL"], SOON);
    assert!(taken(&mut standing));
    assert!(!taken(&mut connect(&authority.issued(&first))));
    let mut fresh = connect(&authority.issued(&second));
    assert!(taken(&mut fresh));
    assert_eq!(fresh.server_certificate(), shown);

    // Mended: new connections see the hub's new certificate.
    std::fs::write(authority.0.join("crl.pem"), list).expect("the list can be written");
    reload(&mut hub, "were read again");
    let mut fresh = connect(&authority.issued(&second));
    assert!(taken(&mut fresh));
    assert_ne!(fresh.server_certificate(), shown);
    assert!(!taken(&mut connect(&authority.issued(&first))));
    assert!(taken(&mut standing));
}

/// Reloads and waits for one more line with this text.
fn reload(hub: &mut interchange_integration_tests::hub::Hub, text: &str) {
    let lines = |hub: &interchange_integration_tests::hub::Hub| hub.log().lines().filter(|line| line.contains(text)).count();
    let before = lines(hub);
    hub.reload();
    let deadline = std::time::Instant::now() + SOON;
    while lines(hub) == before {
        assert!(std::time::Instant::now() < deadline, "no line with {text}: {}", hub.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}
