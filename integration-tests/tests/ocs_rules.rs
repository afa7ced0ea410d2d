//! What a link with Microsoft's servers lets through, whom it refuses and with which rule in the log, and how formatted text, failures and
//! presence look on both sides, shown by real clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use interchange_integration_tests::certificates::{Authority, Identity, Leaf};
use interchange_integration_tests::hub::{HUB_DOMAIN, Hub, HubFiles, LinkSettings};
use interchange_integration_tests::kamailio::SipPorts;
use interchange_integration_tests::ocs::{Community, Dialect, WithSip};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::purple_client::PurpleClient;
use interchange_integration_tests::sip_client::{SipClient, Transport};
use interchange_integration_tests::tls_sip_peer::{SipFrame, SipRequest, TlsSipClient, TlsSipServer};
use interchange_integration_tests::xmpp_client::XmppClient;

const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(500);
/// One of two kinds of events is awaited so long before it is the other's turn.
const TURN: Duration = Duration::from_millis(100);

const ALICE: &str = "alice@contoso.example";
const ECHO: &str = "sip:echo@hub.example";
/// As the plugin SIPE names them.
const BOB_ON_XMPP: &str = "sip:bob@acme.example";
const BOB_ON_SIP: &str = "sip:bob@globex.example";

/// A hub with two partners on Microsoft's servers and one on XMPP, none of whom is there.
struct Partners {
    authority: Authority,
    files: HubFiles,
    hub: Hub,
    _nobody: ReservedPort,
}

fn partners() -> Partners {
    let authority = Authority::new("Test authority");
    let nobody = ReservedPort::any();
    let mut files = HubFiles::new(&authority);
    files.configure(
        &authority,
        &[
            LinkSettings::ocs("contoso", "contoso.example", nobody.number()),
            LinkSettings::ocs("fabrikam", "fabrikam.example", nobody.number()),
            LinkSettings::xmpp("acme", "acme.example", nobody.number()),
        ],
    );
    let hub = files.start();
    Partners { authority, files, hub, _nobody: nobody }
}

impl Partners {
    /// Somebody who shows a certificate of this authority, or none, where edges connect.
    fn peer(&self, shows: Option<(&Authority, &Leaf)>) -> TlsSipClient {
        let identity = shows.map(|(authority, leaf)| authority.issue(leaf));
        TlsSipClient::connect(self.files.ocs.address(), HUB_DOMAIN, identity.as_ref(), self.authority.certificate())
    }
}

/// One message to Echo from somebody.
fn message(number: usize, from: &str) -> String {
    format!(
        "MESSAGE {ECHO} SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bKpeer{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:{from}>;tag=peer{number}\r\nTo: <{ECHO}>\r\nCall-ID: peer{number}\r\nCSeq: 1 MESSAGE\r\n\
         Content-Type: text/plain;charset=UTF-8\r\nContent-Length: 5\r\n\r\nhello"
    )
}

/// Panics unless an answer is a 403 for this reason.
#[track_caller]
fn assert_refused(answer: &SipFrame, reason: &str, whom: &str) {
    assert_eq!(answer.status(), Some(403), "{whom}: {answer:?}");
    let said = answer.header("ms-diagnostics-public").unwrap_or_default();
    assert!(said.contains(reason), "{whom}: {said:?}");
}

#[test]
fn abuse_9_whoever_does_not_prove_to_be_a_links_edge_is_refused_with_the_rule_in_the_log() {
    let mut partners = partners();
    let stranger = Authority::new("A stranger");
    let edge = || Leaf::host("sip.contoso.example");
    let wrong_name = "no link names an edge of its certificate";
    let unproved = "proves nothing";
    let (own, other) = ("contoso.example", "tailspin.example");
    let others_edge = || Leaf::host("sip.tailspin.example");
    // A certificate, whether a trusted authority has issued it, the sender's domain, and what the log says beside the common name.
    let cases = [
        (others_edge().called("case-other"), true, own, [wrong_name, "names sip.tailspin.example"]),
        (Leaf::host(own).called("case-domain"), true, own, [wrong_name, "names contoso.example"]),
        (Leaf::host("*.contoso.example").called("case-wide"), true, own, [wrong_name, "names *.contoso.example"]),
        // Nobody's link, and it says so itself.
        (others_edge().called("case-unlisted"), true, other, [wrong_name, "names sip.tailspin.example"]),
        (edge().called("case-untrusted"), false, own, [unproved, "it does not lead to a trusted authority"]),
        (edge().called("case-expired").expired(), true, own, [unproved, "it has expired"]),
        (edge().called("case-early").not_yet_valid(), true, own, [unproved, "it is not valid yet"]),
        (edge().called("case-code").for_code_only(), true, own, [unproved, "it may not be used for TLS"]),
    ];
    for (number, (leaf, is_trusted, domain, rule)) in cases.iter().enumerate() {
        let subject = format!("{leaf:?}").split('"').nth(1).expect("the common name comes first").to_owned();
        let authority = if *is_trusted { &partners.authority } else { &stranger };
        let mut peer = partners.peer(Some((authority, leaf)));
        let answer = peer.ask_for_all(&message(number, &format!("alice@{domain}")));
        assert_refused(&answer, "The certificate is not that of a partner's edge", &subject);
        let subject = format!("(CN={subject})");
        let line = ["is refused (403), for it is no partner's edge", subject.as_str(), rule[0], rule[1]];
        partners.hub.wait_for_line(&line, SOON);
    }
    let mut bare = partners.peer(None);
    assert_refused(&bare.ask_for_all(&message(100, ALICE)), "The certificate is not that of a partner's edge", "no certificate");
    partners.hub.wait_for_line(&["is refused (403), for it is no partner's edge", "it shows no certificate (mutual TLS)"], SOON);

    // Nobody has proved anything so far; whoever shows the right name does, also where it is a common name alone.
    assert!(!partners.hub.log().contains("has proved to be the Access Edge"), "{}", partners.hub.log());
    for (number, leaf) in [edge(), edge().without_names()].iter().enumerate() {
        let mut peer = partners.peer(Some((&partners.authority, leaf)));
        assert_eq!(peer.ask(&message(200 + number, ALICE)), 200, "{leaf:?}");
    }
    partners.hub.wait_for_line(&["has proved to be the Access Edge of link contoso"], SOON);
}

#[test]
fn a_stranger_is_answered_three_times_and_then_left() {
    let partners = partners();
    let leaf = Leaf::host("sip.tailspin.example");
    let mut peer = partners.peer(Some((&partners.authority, &leaf)));
    for number in 0..3 {
        let answer = peer.ask_for_all(&message(number, "alice@tailspin.example"));
        assert_refused(&answer, "The certificate is not that of a partner's edge", "the stranger");
    }
    peer.expect_closed();
}

#[test]
fn an_edge_speaks_for_its_own_links_domains_alone() {
    let mut partners = partners();
    let leaf = Leaf::host("sip.contoso.example");
    let mut peer = partners.peer(Some((&partners.authority, &leaf)));
    // Another partner's domain, one of another platform, the hub's own, and nobody's.
    for (number, domain) in ["fabrikam.example", "acme.example", HUB_DOMAIN, "tailspin.example"].into_iter().enumerate() {
        let answer = peer.ask_for_all(&message(number, &format!("mallory@{domain}")));
        assert_refused(&answer, "The sender's domain is not that of the partner whose edge this is", domain);
        let refused = format!("a request of {domain} is refused (403): it came from the edge of link contoso, ");
        partners.hub.wait_for_line(&[refused.as_str(), "which does not have that domain"], SOON);
    }
    // The connection stays, for those who may use it.
    assert_eq!(peer.ask(&message(100, ALICE)), 200);
    assert!(!partners.hub.log().contains("mallory"), "a name is in the log: {}", partners.hub.log());
}

#[test]
fn the_hub_says_nothing_to_an_edge_whose_certificate_has_another_name() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let port = ReservedPort::any();
    files.configure(&authority, &[LinkSettings::ocs("contoso", "contoso.example", port.number())]);
    let identity = authority.issue(&Leaf::host("sip.tailspin.example"));
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let _edge = TlsSipServer::start(port, &identity, authority.certificate(), move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        200_u16
    });
    let mut hub = files.start();
    let wrong_name = "the peer's certificate names sip.tailspin.example and must name sip.contoso.example";
    hub.wait_for_line(&[wrong_name, "(the edge that the link names)"], SOON);
    assert_eq!(requests.load(Ordering::Relaxed), 0, "requests that it was sent");
}

/// A proxy that says of everybody that they are known and not there now, as Kamailio without a module for it does not.
fn proxy_of_the_absent(ports: SipPorts, authority: &Authority, _hub: SocketAddr) -> TlsSipServer {
    let identity = authority.issue(&Leaf::sip("globex.example"));
    TlsSipServer::start(ports.tls, &identity, authority.certificate(), |request: &SipRequest| match request.frame.method() {
        Some("MESSAGE") => 480_u16,
        _ => 200,
    })
}

/// What somebody is told of a message that failed: at the message itself, or in a message from the one it was for.
#[track_caller]
fn is_told(alice: &mut PurpleClient, of: &str) -> String {
    let deadline = Instant::now() + SOON;
    loop {
        let shown = alice.saw("shown", TURN, |event| event["kind"] == "error" && event["with"] == of);
        if let Some(event) = shown.or_else(|| alice.saw("message", TURN, |event| event["from"] == of)) {
            return event["text"].as_str().unwrap_or_default().to_owned();
        }
        assert!(Instant::now() < deadline, "she is told nothing of {of} within {SOON:?}");
    }
}

/// Panics unless a text says that a message was not delivered, in one of these words.
#[track_caller]
fn assert_not_delivered(told: &str, because: [&str; 2]) {
    assert!(told.contains("not delivered") && because.iter().any(|words| told.contains(words)), "{told:?}");
}

#[test]
fn whoever_writes_to_somebody_that_kamailio_does_not_know_is_told_in_sipe_and_goes_on() {
    let community = WithSip::kamailio();
    let mut bob = SipClient::register(&community.globex, "bob", Transport::Tcp);
    let mut alice = community.alice();
    // Kamailio says 404 of a stranger, and of whoever has no telephone registered.
    let nobody = "sip:nobody@globex.example";
    alice.send(nobody, "is anybody there?");
    assert_not_delivered(&is_told(&mut alice, nobody), ["recipients are offline", "knows no such user"]);
    // His link asks for no formatting: what comes are the words.
    alice.send_html(BOB_ON_SIP, "<b>but you are: 5 &lt; 6</b>");
    assert_eq!(bob.expect_message(SOON).body, "but you are: 5 < 6");
    alice.expect_no_error_shown(QUIET);
    community.contoso.assert_no_faults();
}

#[test]
fn whoever_writes_to_somebody_who_is_offline_is_told_in_sipe() {
    let community = WithSip::start(|globex| globex, proxy_of_the_absent);
    let mut alice = community.alice();
    alice.send(BOB_ON_SIP, "are you there?");
    // A 480 would end the session, so she hears of a service that is not available, or why in a message.
    assert_not_delivered(&is_told(&mut alice, BOB_ON_SIP), ["service is not available", "cannot be reached now"]);
    community.contoso.assert_no_faults();
}

/// The stanza of a message with these words as its body.
#[track_caller]
fn stanza_with(bob: &mut XmppClient, body: &str) -> String {
    let end = format!("{body}</body>");
    let stanza = bob.saw("stanza", SOON, |event| event["xml"].as_str().is_some_and(|xml| xml.contains(&end)));
    let stanza = stanza.unwrap_or_else(|| panic!("no stanza with {end:?}"));
    stanza["xml"].as_str().unwrap_or_default().to_owned()
}

fn formatted_words_both_ways(xhtml_im: bool) {
    let community =
        Community::start_with(Dialect::Ocs2007, &["bob"], |acme| if xhtml_im { acme.with("xhtml_im = true") } else { acme });
    let mut alice = community.alice();
    let mut bob = community.bob();

    alice.send_html(BOB_ON_XMPP, "<b>5 &lt; 6 &amp; bold</b>");
    assert_eq!(bob.expect_message(SOON).body, "5 < 6 & bold");
    let xml = stanza_with(&mut bob, "5 &lt; 6 &amp; bold");
    assert_eq!((xml.contains("xhtml-im"), xml.contains("<strong>")), (xhtml_im, xhtml_im), "{xml}");
    // The plugin has one look for all words of a message; what it sends of this are the words.
    alice.send_html(BOB_ON_XMPP, "some <b>bold</b> words");
    assert_eq!(bob.expect_message(SOON).body, "some bold words");
    alice.send(BOB_ON_XMPP, "plain words");
    assert_eq!(bob.expect_message(SOON).body, "plain words");
    let xml = stanza_with(&mut bob, "plain words");
    assert!(!xml.contains("xhtml-im"), "{xml}");

    let mut formatted = |id: &str, body: &str, xhtml: &str| {
        bob.send_raw(&format!(
            "<message to='{ALICE}' type='chat' id='{id}'><body>{body}</body><html xmlns='http://jabber.org/protocol/xhtml-im'>\
             <body xmlns='http://www.w3.org/1999/xhtml'>{xhtml}</body></html></message>"
        ));
        let message = alice.expect_message(SOON);
        (message.text.trim().to_owned(), message.html.to_lowercase())
    };
    // One look of all words goes as a font, several as HTML.
    let (text, html) = formatted("f1", "all of it", "<strong>all of it</strong>");
    assert_eq!(text, "all of it");
    assert!(html.contains("<b>"), "{html}");
    let (text, html) = formatted("f2", "5 &lt; 6, so bold words", "5 &lt; 6, so <strong>bold</strong> words");
    assert_eq!(text, "5 < 6, so bold words");
    assert!(html.contains("<b>bold</b>"), "{html}");
    // What the client cannot show goes as it is typed.
    let (text, html) = formatted("f3", "- one\n- two", "<ul><li>one</li><li>two</li></ul>");
    assert_eq!(text, "- one\n- two");
    assert!(!html.contains("<li"), "{html}");

    alice.expect_no_error_shown(QUIET);
    community.contoso.assert_no_faults();
}

#[test]
fn formatted_words_are_readable_on_both_sides_and_xhtml_im_goes_out_where_the_link_asks_for_it() {
    formatted_words_both_ways(true);
}

#[test]
fn formatted_words_are_readable_on_both_sides_without_xhtml_im() {
    formatted_words_both_ways(false);
}

/// The proxy of globex.example, scripted: what it was sent, and who sends for its people.
struct Scripted {
    _server: TlsSipServer,
    messages: Receiver<SipRequest>,
    hub: SocketAddr,
    identity: Identity,
    authority: String,
}

impl Scripted {
    fn start(ports: SipPorts, authority: &Authority, hub: SocketAddr) -> Self {
        let identity = authority.issue(&Leaf::sip("globex.example"));
        let (server, messages) = TlsSipServer::recording(ports.tls, &identity, authority.certificate());
        Self { _server: server, messages, hub, identity, authority: authority.certificate().to_owned() }
    }

    /// Sends one message of a type to her.
    fn send(&self, content_type: &str, body: &str) -> u16 {
        let mut client = TlsSipClient::connect(self.hub, HUB_DOMAIN, Some(&self.identity), &self.authority);
        client.ask(&format!(
            "MESSAGE sip:{ALICE} SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bKformatted\r\nMax-Forwards: 70\r\n\
             From: <{BOB_ON_SIP}>;tag=formatted\r\nTo: <sip:{ALICE}>\r\nCall-ID: formatted\r\nCSeq: 1 MESSAGE\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }
}

#[test]
fn formatted_words_are_readable_on_both_sides_of_a_sip_link_that_asks_for_them() {
    let community = WithSip::start(|globex| globex.with("html = true"), Scripted::start);
    let mut alice = community.alice();

    alice.send_html(BOB_ON_SIP, "<b>5 &lt; 6 &amp; bold</b>");
    let sent = community.globex.messages.recv_timeout(SOON).expect("a MESSAGE").frame;
    let content_type = sent.header("Content-Type").unwrap_or_default();
    assert!(content_type.starts_with("multipart/alternative"), "{content_type}");
    let body = sent.text();
    let part = |kind: &str| body.split("Content-Type: ").find(|part| part.starts_with(kind)).unwrap_or_default();
    assert!(part("text/plain").contains("\n5 < 6 & bold"), "{body}");
    let html = part("text/html");
    assert!(html.contains("5 &lt; 6 &amp; bold") && html.contains("<b>"), "{body}");

    let status = community.globex.send("text/html;charset=UTF-8", "<p>5 &lt; 6, so <b>bold</b> words</p>");
    assert!((200..300).contains(&status), "{status}");
    let message = alice.expect_message(SOON);
    assert_eq!((message.from.as_str(), message.text.trim()), (BOB_ON_SIP, "5 < 6, so bold words"));
    assert!(message.html.to_lowercase().contains("<b>bold</b>"), "{}", message.html);
    community.contoso.assert_no_faults();
}
