//! The hub's streams to a partner: deliveries, their settling, and what happens when things break.

use std::time::Duration;

use crate::common::*;
use interchange_adapter::{ChainFault, CloseReason, ConnId, Identity, Input, Target, TlsPeer, TlsRole};
use interchange_model::{Body, Down, Text};
use interchange_model::{Envelope, Failure, Health, MessageId, Outcome, Refusal, Up};

pub(crate) fn hub(json: &str) -> Hub {
    let mut hub = Hub::new(&[link("acme", &["a.example", "sub.a.example"], json)], &["b.example", "c.example"]);
    assert_eq!(hub.health("acme"), Some(Health::Up));
    hub
}

fn bounce(hub: &mut Hub, inbound: ConnId, id: &str) {
    hub.receive(
        inbound,
        &format!("<message from='alice@a.example' to='bob@b.example' id='{id}' type='error'><body>words</body><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"),
    );
}

/// The last `<iq` of what was heard.
fn ping_in(heard: &str) -> &str {
    &heard[heard.rfind("<iq ").unwrap_or_else(|| panic!("no ping in {heard}"))..]
}

#[test]
fn a_delivery_is_settled_by_the_answer_to_a_later_ping() {
    let mut hub = hub(r#"{"host":"xmpp.a.example","port":5300}"#);
    hub.deliver("acme", 1, numbered(1));
    let at = hub.out.iter().find_map(|output| match output {
        interchange_adapter::Output::Dial { to, .. } => Some(to.clone()),
        _ => None,
    });
    let want = Target::Host { host: "xmpp.a.example".to_owned(), port: 5300, transport: interchange_adapter::Transport::Tcp };
    assert_eq!(at, Some(want));
    let conn = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(conn);
    assert!(
        heard.starts_with("<message from='bob@b.example' to='alice@a.example' id='00000000000000000000000000000001"),
        "{heard}"
    );
    assert!(
        heard.contains("' type='chat'><body>words 1</body><active xmlns='http://jabber.org/protocol/chatstates'/></message><iq "),
        "{heard}"
    );
    let inbound = hub.authenticated("a.example", "b.example");
    hub.told();
    // Not by the answer to something else.
    hub.receive(inbound, "<iq from='a.example' to='b.example' type='result' id='other'/>");
    // Nor by the right one from a person.
    let id = attribute(ping_in(&heard), "<iq", "id");
    hub.receive(inbound, &format!("<iq from='mallory@a.example' to='b.example' type='result' id='{id}'/>"));
    assert_eq!(hub.settled(), []);
    // An error is an answer.
    hub.receive(inbound, &format!("<iq from='a.example' to='b.example' type='error' id='{id}'/>"));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    assert_eq!(hub.health("acme"), None);
}

const MANAGED: &str = "<stream:features><sm xmlns='urn:xmpp:sm:3'/></stream:features>";

#[test]
fn case_48_what_a_broken_stream_has_acknowledged_is_not_sent_again() {
    let mut hub = hub("{}");
    for number in 1..=3 {
        hub.deliver("acme", number, numbered(number));
    }
    let conn = hub.answer_dial_with("b.example", "a.example", MANAGED);
    let heard = hub.heard(conn);
    assert!(heard.starts_with("<enable xmlns='urn:xmpp:sm:3'/><message "), "{heard}");
    assert!(heard.ends_with("</iq><r xmlns='urn:xmpp:sm:3'/>"), "{heard}");
    hub.receive(conn, "<enabled xmlns='urn:xmpp:sm:3'/>");
    // It asks us, too, though nothing came on this stream.
    assert_eq!(hub.say(conn, "<r xmlns='urn:xmpp:sm:3'/>"), "<a xmlns='urn:xmpp:sm:3' h='0'/>");
    // Two of three; that settles nothing yet, for an error may follow.
    hub.receive(conn, "<a xmlns='urn:xmpp:sm:3' h='2'/>");
    assert_eq!(hub.settled(), []);
    hub.lost(conn, CloseReason::Broken, "reset");
    assert_eq!(hub.settled(), [(1, Outcome::Delivered), (2, Outcome::Delivered), (3, Outcome::LinkDown)]);
}

#[test]
fn counts_that_cannot_be_true_are_not_believed() {
    for (handled, delivered) in [("4", 3), ("5", 0), ("4294967295", 0), ("nonsense", 0), ("", 0), ("0", 0)] {
        let mut hub = hub("{}");
        for number in 1..=3 {
            hub.deliver("acme", number, numbered(number));
        }
        let conn = hub.answer_dial_with("b.example", "a.example", MANAGED);
        hub.heard(conn);
        // Three messages and a ping are four.
        hub.receive(conn, &format!("<enabled xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='{handled}'/>"));
        hub.lost(conn, CloseReason::Broken, "reset");
        let settled = hub.settled();
        assert_eq!(settled.iter().filter(|(_, outcome)| *outcome == Outcome::Delivered).count(), delivered, "{handled}");
        assert_eq!(settled.len(), 3, "{handled}");
    }
    // A peer that says no is not asked, and nothing of it is believed.
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    let conn = hub.answer_dial_with("b.example", "a.example", MANAGED);
    hub.heard(conn);
    hub.receive(conn, "<failed xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='1'/>");
    hub.lost(conn, CloseReason::Broken, "reset");
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
}

#[test]
fn one_ping_at_a_time_covers_what_was_sent_before_it() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    hub.deliver("acme", 2, numbered(2));
    let conn = hub.answer_dial("b.example", "a.example");
    let inbound = hub.authenticated("a.example", "b.example");
    let first = hub.heard(conn);
    assert_eq!(first.matches("<message ").count(), 2);
    assert_eq!(first.matches("<iq ").count(), 1);
    hub.deliver("acme", 3, numbered(3));
    hub.deliver("acme", 4, numbered(4));
    let second = hub.heard(conn);
    assert_eq!((second.matches("<message ").count(), second.matches("<iq ").count()), (2, 0));
    pong(&mut hub, inbound, &first);
    assert_eq!(hub.settled(), [(1, Outcome::Delivered), (2, Outcome::Delivered)]);
    // The next waits for company: so long, or until there is enough of it.
    hub.after(Duration::from_millis(19));
    assert_eq!(hub.heard(conn), "");
    hub.after(Duration::from_millis(1));
    let third = hub.heard(conn);
    assert_eq!((third.matches("<message ").count(), third.matches("<iq ").count()), (0, 1));
    pong(&mut hub, inbound, &third);
    assert_eq!(hub.settled(), [(3, Outcome::Delivered), (4, Outcome::Delivered)]);
    for number in 5..=36 {
        assert_eq!(hub.heard(conn).matches("<iq ").count(), 0);
        hub.deliver("acme", number, numbered(number));
    }
    let fourth = hub.heard(conn);
    assert_eq!(fourth.matches("<iq ").count(), 1);
    pong(&mut hub, inbound, &fourth);
    assert_eq!(hub.settled().len(), 32);
    // One message after a pause is asked for at once.
    hub.seconds(1);
    hub.deliver("acme", 37, numbered(37));
    assert_eq!(hub.heard(conn).matches("<iq ").count(), 1);
}

#[test]
fn an_error_before_the_answer_refuses_that_delivery_only() {
    let mut hub = hub("{}");
    for number in 1..=3 {
        hub.deliver("acme", number, numbered(number));
    }
    let conn = hub.answer_dial("b.example", "a.example");
    let inbound = hub.authenticated("a.example", "b.example");
    let heard = hub.heard(conn);
    hub.told();
    let second = crate::common::references().write(&numbered(2));
    // Somebody else's error with that id refuses nothing; it is told to whom it names.
    hub.receive(inbound, &format!("<message from='eve@a.example' to='bob@b.example' id='{second}' type='error'/>"));
    assert_eq!(hub.settled(), []);
    assert_eq!(hub.submissions().len(), 1);
    bounce(&mut hub, inbound, &second);
    assert_eq!(hub.settled(), [(2, Outcome::Refused(Refusal::NoSuchUser))]);
    assert!(hub.submissions().is_empty());
    pong(&mut hub, inbound, &heard);
    assert_eq!(hub.settled(), [(1, Outcome::Delivered), (3, Outcome::Delivered)]);
}

#[test]
fn the_senders_own_id_is_kept_among_xmpp_links_while_it_is_unique() {
    let mut hub = Hub::new(&[link("acme", &["a.example"], "{}"), link("globex", &["c.example"], "{}")], &[]);
    let from_xmpp = |number: u128| Envelope {
        id: MessageId(number),
        origin: "globex".into(),
        from_device: device("laptop"),
        native_id: Some("same".into()),
        ..text("carol@c.example", "alice@a.example", "x")
    };
    hub.deliver("acme", 1, from_xmpp(1));
    hub.deliver("acme", 2, from_xmpp(2));
    let conn = hub.answer_dial("c.example", "a.example");
    let heard = hub.heard(conn);
    assert!(heard.contains("<message from='carol@c.example/laptop' to='alice@a.example' id='same' "), "{heard}");
    assert!(heard.contains(&format!("id='{}", MessageId(2))), "{heard}");
    // From another platform, neither its id nor its device means anything to XMPP.
    let foreign = Envelope { origin: "sip".into(), ..from_xmpp(3) };
    hub.deliver("acme", 3, foreign);
    let heard = hub.heard(conn);
    assert!(heard.contains(&format!("<message from='carol@c.example' to='alice@a.example' id='{}", MessageId(3))), "{heard}");
}

#[test]
fn a_failure_is_sent_as_an_error_and_settled_like_a_message() {
    let mut hub = hub("{}");
    let body =
        Body::Failure(Failure { of: Some(MessageId(9)), native_id: Some("m9".into()), why: Refusal::NoSuchUser, detail: None });
    hub.deliver("acme", 1, Envelope { body, to_device: device("w"), ..text("bob@b.example", "alice@a.example", "") });
    let conn = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(conn);
    assert!(heard.starts_with("<message from='bob@b.example' to='alice@a.example/w' id='m9' type='error'>"), "{heard}");
    let inbound = hub.authenticated("a.example", "b.example");
    pong(&mut hub, inbound, &heard);
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
}

#[test]
fn each_pair_of_domains_has_its_stream_with_its_own_certificate() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, text("bob@b.example", "alice@a.example", "x"));
    hub.deliver("acme", 2, text("carol@c.example", "alice@a.example", "x"));
    hub.deliver("acme", 3, text("carol@c.example", "alice@sub.a.example", "x"));
    for (own, partner) in [("b.example", "a.example"), ("c.example", "a.example"), ("c.example", "sub.a.example")] {
        let (conn, to) = hub.dialled().unwrap();
        assert!(
            matches!(to, Target::Srv { service: "xmpp-server", domain: of, fallback_port: Some(5269), .. } if of == domain(partner))
        );
        hub.connected(conn);
        assert!(hub.heard(conn).contains(&format!(" from='{own}' to='{partner}'")));
        hub.receive(conn, &answer_header(partner, own, "s"));
        hub.receive(conn, "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>");
        hub.receive(conn, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        let Some(TlsRole::Client { server_name, identity, alpn }) = hub.wants_tls(conn) else { panic!() };
        assert_eq!((server_name.as_str(), identity), (partner, Identity::Domain(domain(own))));
        assert!(alpn.is_empty());
    }
    assert_eq!(hub.dialled(), None);
}

/// A dial that is answered up to the features after TLS, which are given; what the hub says then.
fn after_tls(hub: &mut Hub, peer: TlsPeer, features: &str) -> (ConnId, String) {
    let (conn, _) = hub.dialled().unwrap();
    hub.connected(conn);
    hub.receive(conn, &answer_header("a.example", "b.example", "s1"));
    hub.receive(conn, "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>");
    hub.receive(conn, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    hub.secured(conn, peer);
    hub.receive(conn, &answer_header("a.example", "b.example", "s2").replace(" xmlns:db='jabber:server:dialback'", ""));
    hub.heard(conn);
    let said = hub.say(conn, &format!("<stream:features>{features}</stream:features>"));
    (conn, said)
}

const EXTERNAL: &str = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>";
const DIALBACK: &str = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";

#[test]
fn a_peer_that_refuses_our_domain_refuses_its_messages_and_the_link_stays_up() {
    for (features, answer) in [
        (EXTERNAL, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"),
        (DIALBACK, "<db:result xmlns:db='jabber:server:dialback' from='a.example' to='b.example' type='invalid'/>"),
        (DIALBACK, "<db:result xmlns:db='jabber:server:dialback' from='a.example' to='b.example' type='error'/>"),
        (EXTERNAL, "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"),
        (EXTERNAL, "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"),
        ("", ""),
    ] {
        let mut hub = hub(r#"{"authentication":["external","dialback"]}"#);
        hub.deliver("acme", 1, numbered(1));
        let (conn, _) = after_tls(&mut hub, proof("a.example"), features);
        if !answer.is_empty() {
            hub.receive(conn, answer);
        }
        assert_eq!(hub.settled(), [(1, Outcome::Refused(Refusal::PeerRefused))], "{features} {answer}");
        assert_eq!(hub.health("acme"), None);
        assert!(matches!(&hub.notes[..], [note] if note.starts_with("a.example does not take b.example: ")), "{:?}", hub.notes);
        // For a minute the peer is left alone about this domain, not about others.
        hub.deliver("acme", 2, numbered(2));
        assert_eq!(hub.settled(), [(2, Outcome::Refused(Refusal::PeerRefused))]);
        assert_eq!(hub.dialled(), None);
        hub.deliver("acme", 3, text("carol@c.example", "alice@a.example", "x"));
        assert!(hub.dialled().is_some());
        hub.seconds(60);
        hub.deliver("acme", 4, numbered(4));
        assert!(hub.dialled().is_some());
    }
}

#[test]
fn external_that_fails_goes_on_by_dialback_on_the_same_stream() {
    let mut hub = hub(r#"{"authentication":["external","dialback"]}"#);
    hub.deliver("acme", 1, numbered(1));
    let (conn, said) = after_tls(&mut hub, proof("a.example"), &format!("{EXTERNAL}{DIALBACK}"));
    assert_eq!(said, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
    let said = hub.say(conn, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>");
    assert!(said.starts_with("<db:result from='b.example' to='a.example'>"), "{said}");
    // An answer between others, or from our side, means nothing.
    for (from, to) in [("c.example", "b.example"), ("a.example", "c.example"), ("b.example", "a.example")] {
        hub.receive(conn, &format!("<db:result xmlns:db='jabber:server:dialback' from='{from}' to='{to}' type='valid'/>"));
        assert_eq!(hub.heard(conn), "");
    }
    hub.receive(conn, "<db:result xmlns:db='jabber:server:dialback' from='a.example' to='b.example' type='valid'/>");
    assert!(hub.heard(conn).contains("words 1"));
}

#[test]
fn an_old_server_is_told_the_authorisation_identity() {
    let mut hub = hub(r#"{"external_authzid":true}"#);
    hub.deliver("acme", 1, numbered(1));
    let (_, said) = after_tls(&mut hub, proof("a.example"), EXTERNAL);
    assert!(said.contains(">Yi5leGFtcGxl</auth>"), "{said}");
}

#[test]
fn a_certificate_that_proves_nothing_is_taken_where_dialback_is_allowed_and_external_is_not_tried() {
    let mut hub = hub(r#"{"authentication":["external","dialback"]}"#);
    hub.deliver("acme", 1, numbered(1));
    let peer = certificate(&["a.example"], Err(ChainFault::UnknownAuthority));
    let (_, said) = after_tls(&mut hub, peer, &format!("{EXTERNAL}{DIALBACK}"));
    assert!(said.starts_with("<db:result "), "{said}");
}

#[test]
fn what_is_too_large_for_the_peer_is_not_sent() {
    let mut hub = hub(r#"{"max_stanza":10000}"#);
    hub.deliver("acme", 1, text("bob@b.example", "alice@a.example", &"&".repeat(2_000)));
    hub.deliver("acme", 2, numbered(2));
    let conn = hub.answer_dial("b.example", "a.example");
    assert_eq!(hub.settled(), [(1, Outcome::Refused(Refusal::TooLarge))]);
    let heard = hub.heard(conn);
    assert!(!heard.contains("&amp;") && heard.contains("words 2"), "{heard}");
}

#[test]
fn a_stream_error_gives_everything_back_and_blames_no_message() {
    let mut hub = hub("{}");
    hub.authenticated("a.example", "b.example");
    hub.health("acme");
    for number in 1..=3 {
        hub.deliver("acme", number, numbered(number));
    }
    let conn = hub.answer_dial("b.example", "a.example");
    hub.heard(conn);
    hub.receive(conn, "<stream:error><not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown), (2, Outcome::LinkDown), (3, Outcome::LinkDown)]);
    assert!(matches!(hub.health("acme"), Some(Health::Retrying { why }) if why.contains("not-well-formed")));
}

#[test]
fn the_answer_to_another_hub_s_ping_is_told_to_it() {
    let mut asking = hub("{}");
    asking.deliver("acme", 1, numbered(1));
    let conn = asking.answer_dial("b.example", "a.example");
    let heard = asking.heard(conn);
    // The server's own stream leads to another hub.
    let mut other = hub("{}");
    let inbound = other.authenticated("a.example", "b.example");
    other.told();
    other.receive(inbound, "<iq type='result' from='a.example' to='b.example' id='unknown'/>");
    pong(&mut other, inbound, &heard);
    let told = other.told();
    let [Up::Relay { link, payload }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*link, "acme".into());
    assert_eq!(asking.settled(), []);
    let word = |link: &str| Input::Broker(Down::Relayed { link: link.into(), payload: payload.clone() });
    // Of a link that the partner does not belong to, and then of its own; again is once too often.
    asking.input(word("globex"));
    assert_eq!(asking.settled(), []);
    asking.input(word("acme"));
    assert_eq!(asking.settled(), [(1, Outcome::Delivered)]);
    asking.input(word("acme"));
    assert_eq!(asking.settled(), []);
}

#[test]
fn test_17_a_dead_connection_is_noticed_within_six_minutes() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    let conn = hub.answer_dial("b.example", "a.example");
    let inbound = hub.authenticated("a.example", "b.example");
    let heard = hub.heard(conn);
    pong(&mut hub, inbound, &heard);
    hub.told();
    hub.seconds(360);
    assert_eq!(hub.closed(conn), Some(CloseReason::TimedOut));
    assert!(matches!(hub.health("acme"), Some(Health::Retrying { .. })));
}

#[test]
fn an_idle_stream_says_goodbye_after_ten_minutes_and_costs_nothing_then() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    let conn = hub.answer_dial("b.example", "a.example");
    let inbound = hub.authenticated("a.example", "b.example");
    let heard = hub.heard(conn);
    pong(&mut hub, inbound, &heard);
    hub.told();
    hub.seconds(180);
    assert_eq!(hub.heard(conn), " ");
    hub.seconds(120);
    let heard = hub.heard(conn);
    pong(&mut hub, inbound, &heard);
    hub.seconds(299);
    assert_eq!(hub.closed(conn), None);
    hub.heard(conn);
    hub.seconds(1);
    assert_eq!(hub.heard(conn), "</stream:stream>");
    hub.receive(conn, "</stream:stream>");
    assert_eq!(hub.closed(conn), Some(CloseReason::Finished));
    assert_eq!(hub.health("acme"), None);
    // The next message dials anew.
    hub.deliver("acme", 2, numbered(2));
    assert!(hub.dialled().is_some());
}

#[test]
fn test_22_a_peer_that_closes_an_idle_stream_is_no_trouble() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    let conn = hub.answer_dial("b.example", "a.example");
    let inbound = hub.authenticated("a.example", "b.example");
    let heard = hub.heard(conn);
    pong(&mut hub, inbound, &heard);
    hub.told();
    hub.receive(conn, "</stream:stream>");
    assert_eq!(hub.heard(conn), "</stream:stream>");
    assert_eq!(hub.health("acme"), None);
    hub.deliver("acme", 2, numbered(2));
    let conn = hub.answer_dial("b.example", "a.example");
    // But with a message under way nobody knows whether it was read.
    hub.receive(conn, "</stream:stream>");
    assert_eq!(hub.settled(), [(2, Outcome::LinkDown)]);
    assert!(matches!(hub.health("acme"), Some(Health::Retrying { .. })));
}

#[test]
fn a_link_that_is_removed_gives_everything_back() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    let conn = hub.answer_dial("b.example", "a.example");
    hub.deliver("acme", 2, text("carol@c.example", "alice@a.example", "x"));
    hub.links(&[], &["b.example"]);
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown), (2, Outcome::LinkDown)]);
    assert_eq!(hub.closed(conn), Some(CloseReason::Shutdown));
    hub.deliver("acme", 3, numbered(3));
    assert_eq!(hub.settled(), [(3, Outcome::LinkDown)]);
    assert_eq!(hub.adapter.deadline(), None);
}

#[test]
fn settings_that_cannot_be_used_are_told_as_a_broken_link() {
    let mut hub = Hub::new(&[link("acme", &["a.example"], r#"{"prot":5269}"#)], &[]);
    let Some(Health::Broken { why }) = hub.health("acme") else { panic!() };
    assert!(why.contains("unknown field `prot`"), "{why}");
    hub.deliver("acme", 1, numbered(1));
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
}

#[test]
fn what_does_not_belong_on_a_link_is_refused() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, text("bob@b.example", "x@elsewhere.example", "x"));
    hub.deliver("acme", 2, text("x@sub.a.example", "alice@a.example", "x"));
    assert_eq!(hub.settled(), [(1, Outcome::Refused(Refusal::UnknownDomain)), (2, Outcome::Refused(Refusal::Loop))]);
    assert_eq!(hub.dialled(), None);
}

#[test]
fn a_domain_that_the_hub_stands_for_no_more_sends_nothing() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    let conn = hub.answer_dial("b.example", "a.example");
    hub.heard(conn);
    hub.links(&[link("acme", &["a.example", "sub.a.example"], "{}")], &["c.example"]);
    assert_eq!(hub.settled(), [(1, Outcome::Refused(Refusal::NotAllowed))]);
    assert_eq!(hub.heard(conn), "</stream:stream>");
    hub.deliver("acme", 2, numbered(2));
    assert_eq!(hub.settled(), [(2, Outcome::Refused(Refusal::NotAllowed))]);
}

#[test]
fn the_hub_gives_everything_back_when_it_stops() {
    let mut hub = hub("{}");
    hub.deliver("acme", 1, numbered(1));
    let conn = hub.answer_dial("b.example", "a.example");
    hub.input(interchange_adapter::Input::Stop);
    assert_eq!(hub.settled(), [(1, Outcome::LinkDown)]);
    assert!(hub.heard(conn).contains("<system-shutdown "));
    assert_eq!(hub.closed(conn), Some(CloseReason::Shutdown));
}

#[test]
fn text_kinds_reach_the_wire() {
    let mut hub = hub("{}");
    let body = Body::Text(Text { plain: "x".into(), conversation: Some("t1".into()), ..Text::default() });
    hub.deliver("acme", 1, Envelope { body, ..numbered(1) });
    let conn = hub.answer_dial("b.example", "a.example");
    assert!(hub.heard(conn).contains("<thread>t1</thread>"));
}
