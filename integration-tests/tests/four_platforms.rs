//! A community of four firms, one on each platform: everybody writes to everybody, each with a real client of their own platform.

use std::time::{Duration, Instant};

use interchange_integration_tests::api::Api;
use interchange_integration_tests::certificates::Authority;
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, HubFiles, LinkSettings};
use interchange_integration_tests::kamailio::{Kamailio, KamailioSettings, SipPorts};
use interchange_integration_tests::meanwhile_client::MeanwhileClient;
use interchange_integration_tests::ocs::{OcsPorts, OcsServer, OcsSettings};
use interchange_integration_tests::prosody;
use interchange_integration_tests::purple_client::{PurpleAccount, PurpleClient};
use interchange_integration_tests::sip_client::{SipClient, Transport};
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServerSettings};

const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(500);
const PASSWORD: &str = "opensesame";
const EACH_WAY: usize = 100;

/// Somebody at a client of their platform.
enum Person {
    Xmpp(XmppClient),
    Sip(SipClient),
    Microsoft(PurpleClient),
    Sametime(MeanwhileClient),
}

impl Person {
    fn send(&mut self, to: &str, id: &str, words: &str) {
        match self {
            Person::Xmpp(client) => client.send(to, id, words),
            Person::Sip(client) => client.send(&format!("sip:{to}"), id, words),
            Person::Microsoft(client) => client.send(&format!("sip:{to}"), words),
            Person::Sametime(client) => client.send(to, words),
        }
    }

    /// The next message: who it shows as its sender, and its words with each line end as one LF.
    fn next(&mut self) -> (String, String) {
        let (from, words) = match self {
            Person::Xmpp(client) => {
                let message = client.expect_message(SOON);
                (message.from, message.body)
            }
            Person::Sip(client) => {
                let message = client.expect_message(SOON);
                (message.from, message.body)
            }
            Person::Microsoft(client) => {
                let message = client.expect_message(SOON);
                (message.from, message.text)
            }
            Person::Sametime(client) => {
                let message = client.expect_message(SOON);
                (message.from, message.text)
            }
        };
        (from, words.replace("\r\n", "\n"))
    }

    /// Nothing more comes, and nothing was wrong.
    fn is_content(&mut self) {
        match self {
            Person::Xmpp(client) => client.expect_no_message(QUIET),
            Person::Sip(client) => client.expect_no_message(QUIET),
            Person::Microsoft(client) => {
                client.expect_no_message(QUIET);
                client.expect_no_error_shown(QUIET);
            }
            Person::Sametime(client) => {
                client.expect_no_message(QUIET);
                client.expect_no_warning();
            }
        }
    }
}

/// Texts that a careless translation would damage, each told apart by its number.
fn text(number: usize) -> String {
    let words = match number % 5 {
        0 => "plain words",
        1 => "5 < 6 && \"quotes\" 'single' </body> &amp;",
        2 => "first line\nsecond line",
        3 => "Grüße aus Tōkyō 東京 👋 عربى",
        _ => "Content-Length: 0\nMESSAGE sip:mallory@evil.example SIP/2.0",
    };
    format!("{number}: {words}")
}

/// The first words from one to another.
fn opens(from: &str, sender: &mut Person, to: &str, recipient: &mut Person) {
    sender.send(to, &format!("first-{to}"), "first");
    let (shown, words) = recipient.next();
    assert_eq!(words, "first", "{from} to {to}");
    assert!(shown.contains(from), "{from} is shown to {to} as {shown}");
}

#[test]
fn everybody_writes_to_everybody_a_hundred_times_in_order() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let (xmpp_ports, sip_ports, ocs_ports) = (XmppPorts::reserve(), SipPorts::reserve(), OcsPorts::reserve());
    let domains = ["acme.example", "globex.example", "contoso.example", "initech.example"];
    let mut records = vec![ServiceRecord::xmpp_server(domains[0], xmpp_ports.server.number())];
    let behind_the_hub = domains[1..].iter().copied().chain([HUB_DOMAIN]);
    records.extend(behind_the_hub.map(|domain| ServiceRecord::xmpp_server(domain, files.xmpp.number())));
    let names = NameServer::start(&records);
    files.serve_sametime();
    files.add_account("initech", "dave", "Dave Davis", PASSWORD);
    files.configure(
        &authority,
        &[
            LinkSettings::xmpp("acme", domains[0], xmpp_ports.server.number()),
            LinkSettings::sip("globex", domains[1], sip_ports.tls.number()).with("identity = \"domain\""),
            LinkSettings::ocs("contoso", domains[2], ocs_ports.edge.number()),
            LinkSettings::sametime("initech", domains[3]),
        ],
    );
    let settings = KamailioSettings::new(domains[1], sip_ports, &authority, files.sip.address(), HUB_DOMAIN);
    let globex = Kamailio::start(settings.with_partners(&[domains[0], domains[2], domains[3], HUB_DOMAIN]));
    let partners = [domains[0], domains[1], domains[3], HUB_DOMAIN];
    let contoso = OcsServer::start(OcsSettings::new(domains[2], &["carol"], ocs_ports, &authority).with_partner(
        HUB_DOMAIN,
        files.ocs.address(),
        &partners,
    ));
    let hub = files.start();
    let acme = prosody::start(XmppServerSettings::new(domains[0], &["alice"], xmpp_ports, &authority, &names));

    let community = files.sametime.as_ref().expect("the hub serves Sametime").address();
    let mut people = [
        ("alice@acme.example", Person::Xmpp(XmppClient::login(&acme, "alice"))),
        ("bob@globex.example", Person::Sip(SipClient::register(&globex, "bob", Transport::Tcp))),
        (
            "carol@contoso.example",
            Person::Microsoft(PurpleClient::sign_on(&PurpleAccount::ocs("carol@contoso.example", contoso.client_address()))),
        ),
        ("dave@initech.example", Person::Sametime(MeanwhileClient::sign_in(community, "dave", PASSWORD))),
    ];
    for first in 0..people.len() {
        for second in first + 1..people.len() {
            let (before, after) = people.split_at_mut(second);
            let ((one, one_client), (two, two_client)) = (&mut before[first], &mut after[0]);
            let begun = Instant::now();
            // Streams and sessions open with the first words.
            opens(one, one_client, two, two_client);
            opens(two, two_client, one, one_client);
            for number in 0..EACH_WAY {
                let id = format!("{first}{second}-{number}");
                one_client.send(two, &id, &text(number));
                two_client.send(one, &id, &text(number));
            }
            for number in 0..EACH_WAY {
                assert_eq!(two_client.next().1, text(number), "{one} to {two}");
                assert_eq!(one_client.next().1, text(number), "{two} to {one}");
            }
            println!("{one} and {two}: {EACH_WAY} each way in {:.1?}", begun.elapsed());
        }
    }
    for (_, client) in &mut people {
        client.is_content();
    }
    contoso.assert_no_faults();
    nothing_is_told(&hub.log(), &files);
}

/// Whatever was said went through the hub, and none of it, no password and nobody's name is in its log, its metrics or the API's answers about them.
fn nothing_is_told(log: &str, files: &HubFiles) {
    assert!(log.lines().count() > 10, "it logs what happens");
    let api = Api::new(files.admin.number(), &files.operator_token());
    let metrics = api.agent.get(format!("http://127.0.0.1:{}/metrics", files.admin.number())).call().expect("the hub answers");
    let metrics = metrics.into_body().read_to_string().expect("text");
    assert!(metrics.contains("interchange_"), "{metrics}");
    let path = "trace?from=carol@contoso.example&to=dave@initech.example";
    let (status, trace) = api.get(path);
    assert!(status == 200 && trace.as_array().is_some_and(|stages| !stages.is_empty()), "{path}: {status} {trace}");
    let (_, accounts) = api.get("accounts");
    let shown = [log, &metrics, &trace.to_string(), &accounts.to_string()];
    let said = ["plain words", "quotes", "second line", "Grüße", "mallory", PASSWORD, "argon2id"];
    for place in shown {
        for words in said {
            assert!(!place.contains(words), "{words:?} is in {}", &place[..place.len().min(2_000)]);
        }
    }
    for name in ["alice@", "bob@", "carol@", "dave@", "Dave Davis"] {
        assert!(!log.contains(name) && !metrics.contains(name), "{name} is told");
    }
}
