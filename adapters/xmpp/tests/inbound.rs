//! A partner's stream to the hub: who may say what, and how it is answered.

use crate::common::*;
use interchange_adapter::{ChainFault, CloseReason, Identity, TlsPeer, TlsRole, Transport};
use interchange_model::{Body, Envelope, Failure, MessageId, Refusal, Up};

const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>";

/// A hub with one link to `a.example`, standing for `b.example` and `c.example`.
fn hub(json: &str) -> Hub {
    Hub::new(&[link("acme", &["a.example", "xn--mller-kva.example"], json)], &["b.example", "c.example"])
}

fn dialback_hub() -> Hub {
    hub(r#"{"host":"xmpp.a.example","authentication":["external","dialback"]}"#)
}

fn message(from: &str, to: &str, inside: &str) -> String {
    format!("<message from='{from}' to='{to}' id='m1' type='chat'>{inside}</message>")
}

/// The reply that left on a stream which the hub opened for it.
fn reply(hub: &mut Hub) -> String {
    let conn = hub.answer_dial("b.example", "a.example");
    hub.heard(conn)
}

#[test]
fn test_1_external_with_the_right_certificate() {
    let mut hub = hub("{}");
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    hub.receive(conn, &message("alice@a.example/w", "bob@b.example/phone", "<body>hi</body>"));
    let came = hub.submissions();
    let envelope = &came[0].1;
    assert_eq!(envelope.from.to_string(), "alice@a.example");
    assert_eq!(envelope.from_device, device("w"));
    assert_eq!(envelope.to.to_string(), "bob@b.example");
    assert_eq!(envelope.to_device, device("phone"));
    assert_eq!(envelope.native_id.as_deref(), Some("m1"));
    assert_eq!(envelope.origin.as_str(), "acme");
    assert_eq!(hub.heard(conn), "");
}

#[test]
fn the_hub_answers_an_opening_tag_in_kind_and_shows_the_domain_asked_for() {
    let mut hub = hub("{}");
    let conn = hub.accept(Transport::Tcp);
    let heard = hub.say(conn, &header("a.example", "b.example"));
    assert_eq!(attribute(&heard, "<stream:stream", "from"), "b.example");
    assert_eq!(attribute(&heard, "<stream:stream", "to"), "a.example");
    assert_eq!(attribute(&heard, "<stream:stream", "id").len(), 32);
    assert!(heard.contains("<required/>") && !heard.contains("dialback'/>") && !heard.contains("EXTERNAL"), "{heard}");
    hub.receive(conn, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    let Some(TlsRole::Server { identity, alpn }) = hub.wants_tls(conn) else { panic!() };
    assert_eq!(identity, Identity::Domain(domain("b.example")));
    assert!(alpn.is_empty());
}

#[test]
fn test_15_direct_tls_begins_with_tls_and_needs_no_sni() {
    let mut hub = hub("{}");
    let conn = hub.accept(Transport::Tls);
    let Some(TlsRole::Server { identity: Identity::Default, alpn }) = hub.wants_tls(conn) else { panic!() };
    assert_eq!(alpn, ["xmpp-server"]);
    hub.secured(conn, proof("a.example"));
    let features = hub.say(conn, &header("a.example", "b.example"));
    assert!(features.contains("EXTERNAL") && !features.contains("starttls"), "{features}");
}

#[test]
fn test_2_abuse_9_a_certificate_for_another_domain_is_not_offered_external() {
    let mut hub = dialback_hub();
    let (_, features) = hub.encrypted("a.example", "b.example", proof("evil.example"));
    assert!(!features.contains("EXTERNAL") && features.contains("<errors/>"), "{features}");
}

#[test]
fn test_3_abuse_9_an_expired_certificate_is_refused_with_the_reason() {
    let mut hub = hub("{}");
    let expired = certificate(&["a.example"], Err(ChainFault::Expired));
    let (conn, heard) = hub.encrypted("a.example", "b.example", expired);
    assert!(heard.contains("<not-authorized") && heard.contains("it has expired"), "{heard}");
    assert!(matches!(&hub.notes[..], [note] if note.contains("a.example") && note.contains("it has expired")), "{:?}", hub.notes);
    assert_eq!(hub.closed(conn), Some(CloseReason::Refused));
}

#[test]
fn test_4_abuse_11_an_authorisation_identity_that_differs_is_refused() {
    let mut hub = hub("{}");
    let (conn, _) = hub.encrypted("a.example", "b.example", proof("a.example"));
    // c.example, in base64.
    let heard = hub.say(conn, &format!("{AUTH}Yy5leGFtcGxl</auth>"));
    assert!(heard.contains("<failure") && heard.contains("<invalid-authzid/>"), "{heard}");
    // a.example: the second attempt.
    let heard = hub.say(conn, &format!("{AUTH}QS5leGFtcGxl</auth>"));
    assert!(heard.contains("<success"), "{heard}");
}

#[test]
fn test_5_no_initial_response_gets_an_empty_challenge() {
    let mut hub = hub("{}");
    let (conn, _) = hub.encrypted("a.example", "b.example", proof("a.example"));
    let heard = hub.say(conn, &format!("{AUTH}</auth>"));
    assert_eq!(heard, "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert!(hub.say(conn, "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").contains("<success"));
}

#[test]
fn sasl_is_tried_twice_at_most() {
    let mut hub = hub("{}");
    let (conn, _) = hub.encrypted("a.example", "b.example", proof("a.example"));
    let heard = hub.say(conn, &AUTH.replace("EXTERNAL", "PLAIN").replace('>', "/>"));
    assert!(heard.contains("<invalid-mechanism/>"), "{heard}");
    let heard = hub.say(conn, &format!("{AUTH}not base64!</auth>"));
    assert!(heard.contains("<incorrect-encoding/>") && heard.contains("<policy-violation"), "{heard}");
    assert_eq!(hub.closed(conn), Some(CloseReason::Refused));
}

#[test]
fn abuse_11_the_opening_tag_after_authentication_keeps_to_what_was_proved() {
    for (from, to, want) in [("c.example", "b.example", "invalid-from"), ("a.example", "c.example", "improper-addressing")] {
        let mut hub = hub("{}");
        let (conn, _) = hub.encrypted("a.example", "b.example", proof("a.example"));
        hub.say(conn, &format!("{AUTH}=</auth>"));
        let heard = hub.say(conn, &header(from, to));
        assert!(heard.contains(&format!("<{want} ")), "{heard}");
        assert_eq!(hub.closed(conn), Some(CloseReason::Refused));
    }
}

#[test]
fn test_9_a_domain_that_the_hub_does_not_stand_for_is_unknown() {
    // A member's own domains are not reached over its own link.
    for to in ["nowhere.example", "a.example", "xn--mller-kva.example", "sub.b.example", "xb.example"] {
        let mut hub = hub("{}");
        let conn = hub.accept(Transport::Tcp);
        let heard = hub.say(conn, &header("a.example", to));
        assert!(heard.starts_with("<?xml") && heard.contains("<host-unknown "), "{heard}");
        assert_eq!(hub.closed(conn), Some(CloseReason::Refused));
        assert_eq!(hub.dialled(), None);
    }
    let mut hub = hub("{}");
    let conn = hub.accept(Transport::Tcp);
    let heard = hub.say(conn, &header("a.example", "b.example").replace(" to='b.example'", ""));
    assert!(heard.contains("<improper-addressing "), "{heard}");
}

#[test]
fn test_10_case_71_abuse_1_a_sender_that_was_not_proved_ends_the_stream() {
    for from in
        ["x@c.example", "x@sub.a.example", "x@aa.example", "x@example", "x@a.example.evil.example", "x@xn--mller-kva.example"]
    {
        let mut hub = hub("{}");
        let conn = hub.authenticated("a.example", "b.example");
        hub.told();
        let heard = hub.say(conn, &message(from, "bob@b.example", "<body>hi</body>"));
        assert!(heard.contains("<invalid-from "), "{heard}");
        assert_eq!(hub.closed(conn), Some(CloseReason::Refused));
        let told = hub.told();
        assert!(matches!(&told[..], [Up::Refused { why: Refusal::NotYours, .. }]), "{told:?}");
    }
}

#[test]
fn abuse_3_spellings_of_a_domain_are_one_domain_test_23() {
    let mut hub = hub("{}");
    let conn = hub.authenticated("xn--mller-kva.example", "b.example");
    hub.told();
    hub.receive(conn, &message("alice@MÜLLER.example", "bob@B.EXAMPLE.", "<body>hi</body>"));
    assert_eq!(hub.submissions()[0].1.from.to_string(), "alice@xn--mller-kva.example");
    let conn = hub.authenticated("A.Example", "b.example");
    hub.receive(conn, &message("alice@a.example", "bob@b.example", "<body>hi</body>"));
    assert_eq!(hub.submissions().len(), 1);
}

#[test]
fn abuse_7_a_recipient_that_was_not_agreed_on_ends_the_stream() {
    for (to, want, refused) in [
        ("bob@c.example", "improper-addressing", false),
        ("eve@nowhere.example", "host-unknown", true),
        ("alice@a.example", "host-unknown", true),
    ] {
        let mut hub = hub("{}");
        let conn = hub.authenticated("a.example", "b.example");
        hub.told();
        let heard = hub.say(conn, &message("alice@a.example", to, "<body>hi</body>"));
        assert!(heard.contains(&format!("<{want} ")), "{heard}");
        assert_eq!(hub.dialled(), None);
        let told = hub.told();
        assert_eq!(told.iter().any(|up| matches!(up, Up::Refused { why: Refusal::UnknownDomain, .. })), refused, "{told:?}");
    }
}

#[test]
fn stanzas_without_addresses_end_the_stream() {
    for stanza in [
        "<message to='bob@b.example'><body>x</body></message>",
        "<iq from='a.example' type='get' id='1'/>",
        "<message from='@' to='bob@b.example'/>",
    ] {
        let mut hub = hub("{}");
        let conn = hub.authenticated("a.example", "b.example");
        assert!(hub.say(conn, stanza).contains("<improper-addressing "));
    }
}

#[test]
fn test_11_case_73_abuse_15_an_element_too_large_before_authentication() {
    let mut hub = hub("{}");
    let conn = hub.accept(Transport::Tcp);
    hub.receive(conn, &header("a.example", "b.example"));
    hub.heard(conn);
    let heard = hub.say(conn, &format!("<a>{}", "x".repeat(10_000)));
    assert!(heard.contains("<policy-violation "), "{heard}");
    assert_eq!(hub.closed(conn), Some(CloseReason::Malformed));
}

#[test]
fn abuse_15_an_element_too_large_after_authentication() {
    let mut hub = hub("{}");
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    hub.receive(conn, &message("alice@a.example", "bob@b.example", &format!("<body>x</body><x>{}</x>", "x".repeat(260_000))));
    assert_eq!(hub.submissions().len(), 1);
    let heard = hub.say(conn, &message("alice@a.example", "bob@b.example", &"x".repeat(262_144)));
    assert!(heard.contains("<policy-violation "), "{heard}");
}

#[test]
fn test_12_abuse_10_what_follows_starttls_in_the_clear_is_discarded() {
    let mut hub = hub("{}");
    let conn = hub.accept(Transport::Tcp);
    hub.say(conn, &header("a.example", "b.example"));
    let injected =
        format!("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>{}{AUTH}=</auth>", header("a.example", "c.example"));
    assert_eq!(hub.say(conn, &injected), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert!(hub.wants_tls(conn).is_some());
    hub.receive(conn, "<more/>");
    hub.secured(conn, proof("a.example"));
    assert_eq!(hub.heard(conn), "");
    assert!(hub.say(conn, &header("a.example", "b.example")).contains("EXTERNAL"));
}

#[test]
fn abuse_10_starttls_comes_once() {
    let mut hub = hub("{}");
    let (conn, _) = hub.encrypted("a.example", "b.example", proof("a.example"));
    let heard = hub.say(conn, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert!(heard.contains("<policy-violation "), "{heard}");
}

#[test]
fn test_13_dialback_in_the_clear_is_refused_where_tls_is_required() {
    let mut hub = dialback_hub();
    let conn = hub.accept(Transport::Tcp);
    hub.say(conn, &header("a.example", "b.example"));
    let heard = hub.say(conn, "<db:result from='a.example' to='b.example'>key</db:result>");
    assert!(heard.contains("type='error'") && heard.contains("<policy-violation "), "{heard}");
    assert_eq!(hub.dialled(), None);
    assert_eq!(hub.closed(conn), None);
}

#[test]
fn abuse_17_stanzas_before_authentication_end_the_stream() {
    let mut hub = dialback_hub();
    let (conn, _) = hub.encrypted("a.example", "b.example", proof("evil.example"));
    hub.told();
    let heard = hub.say(conn, &message("alice@a.example", "bob@b.example", "<body>hi</body>"));
    assert!(heard.contains("<not-authorized "), "{heard}");
    assert!(hub.told().is_empty());
}

#[test]
fn abuse_1_an_unknown_domain_is_offered_nothing_that_works() {
    let mut hub = dialback_hub();
    let (conn, features) = hub.encrypted("evil.example", "b.example", proof("evil.example"));
    assert!(!features.contains("EXTERNAL"), "{features}");
    let heard = hub.say(conn, "<db:result from='evil.example' to='b.example'>key</db:result>");
    assert!(heard.contains("<policy-violation "), "{heard}");
    assert_eq!(hub.dialled(), None);
    let heard = hub.say(conn, &format!("{AUTH}=</auth>"));
    assert!(heard.contains("<invalid-mechanism/>"), "{heard}");
}

#[test]
fn test_16_white_space_is_taken_at_any_time_and_given_after_three_minutes() {
    let mut hub = hub("{}");
    let conn = hub.authenticated("a.example", "b.example");
    assert_eq!(hub.say(conn, " \n "), "");
    hub.seconds(179);
    assert_eq!(hub.heard(conn), "");
    hub.seconds(1);
    assert_eq!(hub.heard(conn), " ");
    hub.seconds(3600);
    assert_eq!(hub.heard(conn), " ".repeat(20));
    assert_eq!(hub.closed(conn), None);
}

#[test]
fn abuse_23_thirty_seconds_to_authenticate() {
    let mut hub = hub("{}");
    let conn = hub.accept(Transport::Tcp);
    hub.say(conn, &header("a.example", "b.example"));
    hub.seconds(29);
    assert_eq!(hub.closed(conn), None);
    hub.seconds(1);
    assert!(hub.heard(conn).contains("<connection-timeout "));
    assert_eq!(hub.closed(conn), Some(CloseReason::TimedOut));
    assert_eq!(hub.adapter.deadline(), None);
}

#[test]
fn abuse_24_unproven_connections_of_one_address_are_limited() {
    let mut hub = Hub::with(r#"{"unproven_per_address":2}"#, 1, &[link("acme", &["a.example"], "{}")], &["b.example"]);
    let first = hub.accept(Transport::Tcp);
    let _proven = hub.authenticated("a.example", "b.example");
    let third = hub.accept(Transport::Tcp);
    let fourth = hub.accept(Transport::Tcp);
    assert_eq!((hub.closed(first), hub.closed(third)), (None, None));
    assert_eq!(hub.closed(fourth), Some(CloseReason::Limit));
    hub.lost(first, CloseReason::PeerClosed, "");
    let fifth = hub.accept(Transport::Tcp);
    assert_eq!(hub.closed(fifth), None);
}

#[test]
fn abuse_13_dtd_comments_and_processing_instructions_end_the_stream() {
    for (nonsense, want) in [
        ("<!DOCTYPE x>", "restricted-xml"),
        ("<message><!-- --></message>", "restricted-xml"),
        ("<message>&x;</message>", "restricted-xml"),
        ("<p:x/>", "bad-namespace-prefix"),
        ("<message></iq>", "not-well-formed"),
        ("text", "bad-format"),
        ("<message xmlns='jabber:client'/>", "invalid-namespace"),
        ("<unheard-of/>", "unsupported-stanza-type"),
    ] {
        let mut hub = hub("{}");
        let conn = hub.authenticated("a.example", "b.example");
        let heard = hub.say(conn, nonsense);
        assert!(heard.contains(&format!("<{want} ")) && heard.ends_with("</stream:stream>"), "{nonsense}: {heard}");
        assert_eq!(hub.closed(conn), Some(CloseReason::Malformed));
    }
}

#[test]
fn nonsense_first_is_answered_inside_a_stream_of_ours() {
    for (nonsense, want) in [
        ("GET / HTTP/1.1\r\n\r\n", "bad-format"),
        (
            "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='b.example' version='1.0'>",
            "invalid-namespace",
        ),
        (
            "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' to='b.example'>",
            "unsupported-version",
        ),
        (
            "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' to='[::1]' version='1.0'>",
            "improper-addressing",
        ),
    ] {
        let mut hub = hub("{}");
        let conn = hub.accept(Transport::Tcp);
        let heard = hub.say(conn, nonsense);
        assert!(heard.starts_with("<?xml version='1.0'?><stream:stream ") && heard.contains(&format!("<{want} ")), "{heard}");
    }
}

#[test]
fn a_refusal_goes_back_to_the_sender_over_a_stream_of_ours() {
    let mut hub = hub("{}");
    hub.durable = false;
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    hub.receive(conn, &message("alice@a.example/w", "bob@b.example", "<body>secret</body>"));
    let token = hub.submissions()[0].0;
    hub.submitted(token, Err(Refusal::NotAllowed));
    assert_eq!(hub.heard(conn), "");
    let said = reply(&mut hub);
    assert!(
        said.starts_with(
            "<message from='bob@b.example' to='alice@a.example/w' id='m1' type='error'><error type='auth'><forbidden "
        ),
        "{said}"
    );
    assert!(said.contains("have not agreed") && !said.contains("secret"), "{said}");
}

#[test]
fn case_69_abuse_34_no_error_is_ever_answered_by_an_error() {
    let mut hub = hub("{}");
    hub.durable = false;
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    hub.receive(conn, "<message from='alice@a.example' to='bob@b.example' id='late' type='error'/>");
    hub.receive(conn, &message("alice@a.example", "bob@b.example", "<body>news</body>").replace("chat", "headline"));
    for (token, _) in hub.submissions() {
        hub.submitted(token, Err(Refusal::UnknownDomain));
    }
    for quiet in [
        "<message from='alice@a.example' to='b.example' type='error'/>",
        "<message from='alice@a.example' to='b.example' type='headline'><body>x</body></message>",
        "<presence from='alice@a.example' to='bob@b.example'/>",
        "<presence from='alice@a.example' to='bob@b.example' type='unavailable'/>",
        "<presence from='alice@a.example' to='bob@b.example' type='error'/>",
        "<iq from='alice@a.example' to='b.example' type='result' id='x'/>",
        "<iq from='alice@a.example' to='b.example' type='error' id='x'/>",
        "<message from='alice@a.example' to='bob@b.example'><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
    ] {
        hub.receive(conn, quiet);
    }
    assert_eq!(hub.dialled(), None);
    assert_eq!(hub.closed(conn), None);
    // Presence and typing are passed on, if they may be.
    let told = hub.told();
    assert!(told.iter().all(|word| matches!(word, Up::Tell { .. })), "{told:?}");
    assert_eq!(told.len(), 4);
}

#[test]
fn a_broker_that_does_not_believe_the_sender_ends_the_stream() {
    let mut hub = hub("{}");
    hub.durable = false;
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    hub.receive(conn, &message("alice@a.example", "bob@b.example", "<body>x</body>"));
    let token = hub.submissions()[0].0;
    hub.submitted(token, Err(Refusal::NotYours));
    assert!(hub.heard(conn).contains("<invalid-from "));
}

#[test]
fn case_8_case_76_case_79_requests_are_answered_within_the_call() {
    for (request, want) in [
        (
            "<iq from='alice@a.example/w' to='b.example' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
            "<iq from='b.example' to='alice@a.example/w' id='1' type='result'/>",
        ),
        (
            "<iq from='a.example' to='b.example' type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
            "<identity category='server' type='im'",
        ),
        (
            "<iq from='a.example' to='b.example' type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info' node='x'/></iq>",
            "<item-not-found ",
        ),
        ("<iq from='a.example' to='bob@b.example' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "<service-unavailable "),
        ("<iq from='a.example' to='bob@b.example/x' type='set' id='1'><q xmlns='urn:unknown'/></iq>", "<service-unavailable "),
        ("<iq from='a.example' to='b.example' type='get' id='1'><q xmlns='urn:unknown'/></iq>", "<service-unavailable "),
        ("<iq from='a.example' to='b.example' type='get'><q xmlns='urn:unknown'/></iq>", "<bad-request "),
        ("<iq from='a.example' to='b.example' type='what' id='1'/>", "<bad-request "),
        ("<message from='alice@a.example' to='b.example' id='1'><body>x</body></message>", "<service-unavailable "),
        (
            "<message from='alice@a.example' to='bob@b.example' id='1' type='groupchat'><body>x</body></message>",
            "<service-unavailable ",
        ),
        ("<message from='alice@a.example' to=\"o'malley@b.example\" id='1'><body>x</body></message>", "<jid-malformed "),
        ("<presence from='alice@a.example' to='b.example' type='subscribe'/>", "<service-unavailable "),
        ("<presence from='alice@a.example' to='b.example' type='probe'/>", "<service-unavailable "),
    ] {
        let mut hub = hub("{}");
        let conn = hub.authenticated("a.example", "b.example");
        hub.receive(conn, request);
        assert_eq!(hub.closed(conn), None, "{request}");
        let said = reply(&mut hub);
        assert!(said.contains(want), "{request}: {said}");
    }
}

#[test]
fn case_25_a_text_too_large_is_refused_with_the_limit_and_the_trace_is_told() {
    let mut hub = hub("{}");
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    hub.receive(conn, &message("alice@a.example", "bob@b.example", &format!("<body>{}</body>", "x".repeat(65_537))));
    assert!(matches!(&hub.told()[..], [Up::Refused { why: Refusal::TooLarge, .. }]));
    let said = reply(&mut hub);
    assert!(said.contains("<policy-violation ") && said.contains("65536 bytes"), "{said}");
}

#[test]
fn case_69_a_late_error_becomes_a_failure_for_the_first_sender() {
    let mut hub = hub("{}");
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    let id = MessageId(0x1234);
    let sent = Envelope { id, native_id: Some("c1".into()), ..text("bob@b.example", "alice@a.example", "x") };
    let reference = crate::common::references().write(&sent);
    for (given, of, native) in [(reference, Some(id), Some("c1")), ("m77".to_owned(), None, Some("m77"))] {
        hub.receive(
            conn,
            &format!("<message from='alice@a.example' to='bob@b.example' id='{given}' type='error'><body>echo</body><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"),
        );
        let came = hub.submissions();
        let want = Body::Failure(Failure { of, native_id: native.map(Into::into), why: Refusal::NoSuchUser, detail: None });
        assert_eq!(came[0].1.body, want);
        assert_eq!(came[0].1.to.to_string(), "bob@b.example");
    }
    // Without an id nobody could tell what failed.
    hub.receive(conn, "<message from='alice@a.example' to='bob@b.example' type='error'/>");
    assert!(hub.submissions().is_empty());
}

#[test]
fn test_19_stanzas_are_acknowledged_only_when_they_are_durable_and_in_order() {
    let mut hub = hub("{}");
    hub.durable = false;
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    // Not counted: it came before.
    hub.receive(conn, "<presence from='alice@a.example' to='bob@b.example'/>");
    assert_eq!(hub.say(conn, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"), "<enabled xmlns='urn:xmpp:sm:3'/>");
    let acknowledged = |count: u32| format!("<a xmlns='urn:xmpp:sm:3' h='{count}'/>");
    assert_eq!(hub.say(conn, "<r xmlns='urn:xmpp:sm:3'/>"), acknowledged(0));
    let two = message("alice@a.example", "bob@b.example", "<body>x</body>").repeat(2);
    hub.receive(conn, &format!("{two}<presence from='alice@a.example' to='bob@b.example'/>"));
    let tokens: Vec<_> = hub.submissions().into_iter().map(|(token, _)| token).collect();
    assert_eq!(hub.say(conn, "<r xmlns='urn:xmpp:sm:3'/>"), acknowledged(0));
    // The second is safe, the first is not: nothing may be acknowledged.
    hub.submitted(tokens[1], Ok(()));
    assert_eq!(hub.say(conn, "<r xmlns='urn:xmpp:sm:3'/>"), acknowledged(0));
    // A refusal is an answer as well.
    hub.submitted(tokens[0], Err(Refusal::NotAllowed));
    assert_eq!(hub.heard(conn), acknowledged(3));
    assert_eq!(hub.say(conn, "<r xmlns='urn:xmpp:sm:3'/>"), acknowledged(3));
    assert!(hub.say(conn, "<enable xmlns='urn:xmpp:sm:3'/>").contains("<failed "));
}

#[test]
fn test_22_a_closing_tag_waits_for_the_last_acknowledgement() {
    let mut hub = hub("{}");
    hub.durable = false;
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    hub.say(conn, "<enable xmlns='urn:xmpp:sm:3'/>");
    let heard = hub.say(conn, &format!("{}</stream:stream>", message("alice@a.example", "bob@b.example", "<body>x</body>")));
    assert_eq!(heard, "");
    let token = hub.submissions()[0].0;
    hub.submitted(token, Ok(()));
    assert_eq!(hub.heard(conn), "<a xmlns='urn:xmpp:sm:3' h='1'/></stream:stream>");
    assert_eq!(hub.closed(conn), Some(CloseReason::PeerClosed));
    // A broker that stands still does not keep it open.
    let conn = hub.authenticated("a.example", "b.example");
    hub.say(conn, "<enable xmlns='urn:xmpp:sm:3'/>");
    hub.say(conn, &format!("{}</stream:stream>", message("alice@a.example", "bob@b.example", "<body>x</body>")));
    hub.seconds(5);
    assert_eq!(hub.heard(conn), "<a xmlns='urn:xmpp:sm:3' h='0'/></stream:stream>");
}

#[test]
fn test_22_a_refusal_finds_its_way_though_the_stream_is_gone() {
    let mut hub = hub("{}");
    hub.durable = false;
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    hub.receive(conn, &format!("{}</stream:stream>", message("alice@a.example", "bob@b.example", "<body>x</body>")));
    assert_eq!(hub.heard(conn), "</stream:stream>");
    let token = hub.submissions()[0].0;
    hub.submitted(token, Err(Refusal::UnknownDomain));
    assert!(reply(&mut hub).contains("<remote-server-not-found "));
}

#[test]
fn test_21_a_whole_conversation_in_one_byte_reads() {
    let mut hub = hub("{}");
    let conn = hub.accept(Transport::Tcp);
    let bytes = |hub: &mut Hub, text: &str| {
        text.bytes().for_each(|byte| hub.input(interchange_adapter::Input::Received { conn, bytes: vec![byte].into() }))
    };
    bytes(&mut hub, &header("a.example", "b.example"));
    bytes(&mut hub, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    hub.secured(conn, proof("a.example"));
    bytes(&mut hub, &header("a.example", "b.example"));
    bytes(&mut hub, &format!("{AUTH}=</auth>"));
    bytes(&mut hub, &header("a.example", "b.example"));
    hub.told();
    bytes(&mut hub, &message("alice@a.example", "bob@b.example", "<body>h\u{e9}</body>"));
    assert_eq!(hub.submissions().len(), 1);
}

#[test]
fn abuse_12_a_domain_that_moved_is_not_spoken_for_any_more() {
    let mut hub = hub("{}");
    let conn = hub.authenticated("a.example", "b.example");
    // The same again changes nothing.
    hub.links(&[link("acme", &["a.example", "xn--mller-kva.example"], "{}")], &["b.example", "c.example"]);
    assert_eq!(hub.closed(conn), None);
    hub.links(&[link("other", &["a.example"], "{}")], &["b.example", "c.example"]);
    assert!(hub.heard(conn).contains("<not-authorized "));
    assert_eq!(hub.closed(conn), Some(CloseReason::Shutdown));
}

#[test]
fn the_hub_says_goodbye_when_it_stops() {
    let mut hub = hub("{}");
    let conn = hub.authenticated("a.example", "b.example");
    hub.input(interchange_adapter::Input::Stop);
    assert!(hub.heard(conn).contains("<system-shutdown "));
    assert_eq!(hub.closed(conn), Some(CloseReason::Shutdown));
    let late = hub.accept(Transport::Tcp);
    assert_eq!(hub.closed(late), Some(CloseReason::Shutdown));
}

mod dialback {
    use super::*;

    const RESULT: &str = "<db:result from='a.example' to='b.example'>the-key</db:result>";

    /// A partner with a certificate that proves nothing asks for its pair: the stream, and our connection to its server.
    fn asking(hub: &mut Hub) -> (interchange_adapter::ConnId, interchange_adapter::ConnId, String) {
        let (conn, features) = hub.encrypted("a.example", "b.example", TlsPeer::default());
        assert!(features.contains("<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"), "{features}");
        let id = attribute(&features, "<stream:stream", "id");
        assert_eq!(hub.say(conn, RESULT), "");
        let (asked, target) = hub.dialled().expect("a dial");
        // The provisioned address, whatever DNS says.
        assert!(format!("{target:?}").contains("xmpp.a.example"), "{target:?}");
        (conn, asked, id)
    }

    /// Our connection is answered up to our question, which is returned.
    fn question(hub: &mut Hub, asked: interchange_adapter::ConnId) -> String {
        hub.connected(asked);
        hub.heard(asked);
        hub.receive(asked, &answer_header("a.example", "b.example", "s1"));
        hub.say(asked, "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>");
        hub.receive(asked, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        hub.secured(asked, TlsPeer::default());
        hub.heard(asked);
        hub.receive(asked, &answer_header("a.example", "b.example", "s2"));
        hub.say(asked, "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>")
    }

    #[test]
    fn test_6_a_valid_key_lets_stanzas_in() {
        let mut hub = dialback_hub();
        let (conn, asked, id) = asking(&mut hub);
        let said = question(&mut hub, asked);
        assert_eq!(said, format!("<db:verify from='b.example' to='a.example' id='{id}'>the-key</db:verify>"));
        hub.receive(asked, &format!("<db:verify from='a.example' to='b.example' id='{id}' type='valid'/>"));
        assert_eq!(hub.heard(conn), "<db:result from='b.example' to='a.example' type='valid'/>");
        assert_eq!(hub.heard(asked), "</stream:stream>");
        hub.told();
        hub.receive(conn, &message("alice@a.example", "bob@b.example", "<body>x</body>"));
        assert_eq!(hub.submissions().len(), 1);
    }

    #[test]
    fn test_6_an_invalid_key_ends_the_stream() {
        let mut hub = dialback_hub();
        let (conn, asked, id) = asking(&mut hub);
        question(&mut hub, asked);
        hub.receive(asked, &format!("<db:verify from='a.example' to='b.example' id='{id}' type='invalid'/>"));
        assert_eq!(hub.heard(conn), "<db:result from='b.example' to='a.example' type='invalid'/></stream:stream>");
        assert_eq!(hub.closed(conn), Some(CloseReason::Refused));
    }

    #[test]
    fn test_6_a_server_that_cannot_be_asked_is_an_error_and_the_stream_lives() {
        let mut hub = dialback_hub();
        let (conn, asked, _) = asking(&mut hub);
        hub.lost(asked, CloseReason::Unreachable, "nobody there");
        let heard = hub.heard(conn);
        assert!(heard.contains("type='error'") && heard.contains("<remote-connection-failed "), "{heard}");
        assert_eq!(hub.closed(conn), None);
        // It may ask again.
        hub.receive(conn, RESULT);
        assert!(hub.dialled().is_some());
        assert_eq!(hub.health("acme"), Some(interchange_model::Health::Up));
    }

    #[test]
    fn test_6_a_server_that_does_not_answer_is_an_error_after_30_s() {
        let mut hub = dialback_hub();
        let (conn, asked, _) = asking(&mut hub);
        hub.seconds(1);
        question(&mut hub, asked);
        hub.seconds(29);
        // The peer's own 30 s for authentication are over as well.
        let heard = hub.heard(conn);
        assert!(heard.contains("<connection-timeout "), "{heard}");
        hub.seconds(2);
        assert_eq!(hub.closed(asked), Some(CloseReason::TimedOut));
    }

    #[test]
    fn abuse_8_only_the_answer_to_the_question_asked_counts() {
        let mut hub = dialback_hub();
        let (conn, asked, id) = asking(&mut hub);
        question(&mut hub, asked);
        // Unsolicited, on the peer's own stream; for another id; for other domains; before it was asked.
        hub.receive(conn, &format!("<db:verify from='a.example' to='b.example' id='{id}' type='valid'/>"));
        hub.receive(conn, "<db:result from='a.example' to='b.example' type='valid'/>");
        hub.receive(asked, "<db:verify from='a.example' to='b.example' id='other' type='valid'/>");
        hub.receive(asked, &format!("<db:verify from='c.example' to='b.example' id='{id}' type='valid'/>"));
        hub.receive(asked, &format!("<db:result from='a.example' to='b.example' id='{id}' type='valid'/>"));
        assert_eq!(hub.heard(conn), "");
        let heard = hub.say(conn, &message("alice@a.example", "bob@b.example", "<body>x</body>"));
        assert!(heard.contains("<not-authorized "), "{heard}");
    }

    #[test]
    fn test_7_the_pair_counts_and_not_the_opening_tag() {
        let mut hub = Hub::new(
            &[
                link("acme", &["a.example"], r#"{"host":"h","authentication":["dialback"]}"#),
                link("globex", &["g.example"], "{}"),
            ],
            &["b.example"],
        );
        let (conn, _) = hub.encrypted("a.example", "b.example", TlsPeer::default());
        // That domain's link does not allow dialback, whatever the stream says.
        let heard = hub.say(conn, "<db:result from='g.example' to='b.example'>k</db:result>");
        assert!(heard.contains("<policy-violation "), "{heard}");
        let heard = hub.say(conn, "<db:result from='a.example' to='nowhere.example'>k</db:result>");
        assert!(heard.contains("<item-not-found "), "{heard}");
        let heard = hub.say(conn, "<db:result from='a.example' to='a.example'>k</db:result>");
        assert!(heard.contains("<item-not-found "), "{heard}");
        assert_eq!(hub.dialled(), None);
        assert_eq!(hub.closed(conn), None);
    }

    #[test]
    fn test_8_case_75_a_second_pair_joins_the_stream_and_one_of_them_can_go() {
        let mut hub = dialback_hub();
        let conn = hub.authenticated("a.example", "b.example");
        hub.told();
        // The certificate on the stream speaks for the domain: nobody is called back (XEP-0344).
        let heard = hub.say(conn, "<db:result from='a.example' to='c.example'>k</db:result>");
        assert_eq!(heard, "<db:result from='c.example' to='a.example' type='valid'/>");
        assert_eq!(hub.dialled(), None);
        hub.receive(conn, &message("alice@a.example", "bob@b.example", "<body>x</body>"));
        hub.receive(conn, &message("alice@a.example", "carol@c.example", "<body>x</body>"));
        assert_eq!(hub.submissions().len(), 2);
        let json = r#"{"host":"xmpp.a.example","authentication":["external","dialback"]}"#;
        hub.links(&[link("acme", &["a.example", "xn--mller-kva.example"], json)], &["b.example"]);
        hub.told();
        hub.receive(conn, &message("alice@a.example", "bob@b.example", "<body>x</body>"));
        assert_eq!(hub.submissions().len(), 1);
        let heard = hub.say(conn, &message("alice@a.example", "carol@c.example", "<body>x</body>"));
        assert!(heard.contains("<host-unknown "), "{heard}");
    }

    #[test]
    fn abuse_8_the_hub_vouches_for_its_own_keys_only() {
        let mut hub = dialback_hub();
        // The hub asks as b.example: its key for this stream is learned from the stream itself.
        hub.deliver("acme", 1, text("bob@b.example", "alice@a.example", "hi"));
        let (dialled, _) = hub.dialled().unwrap();
        hub.connected(dialled);
        hub.receive(dialled, &answer_header("a.example", "b.example", "s1"));
        hub.say(dialled, "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>");
        hub.receive(dialled, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        hub.secured(dialled, TlsPeer::default());
        hub.heard(dialled);
        hub.receive(dialled, &answer_header("a.example", "b.example", "s2"));
        let request = hub
            .say(dialled, "<stream:features><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback></stream:features>");
        let key = request.split('>').nth(1).unwrap().split('<').next().unwrap().to_owned();
        assert_eq!(key.len(), 64, "{request}");

        let (conn, _) = hub.encrypted("a.example", "b.example", TlsPeer::default());
        for (from, to, id, key, want) in [
            ("a.example", "b.example", "s2", key.as_str(), "type='valid'"),
            ("a.example", "b.example", "s1", key.as_str(), "type='invalid'"),
            ("a.example", "c.example", "s2", key.as_str(), "type='invalid'"),
            ("a.example", "b.example", "s2", "0000", "type='invalid'"),
            ("a.example", "nowhere.example", "s2", key.as_str(), "<item-not-found "),
            ("evil.example", "b.example", "s2", key.as_str(), "<policy-violation "),
        ] {
            let heard = hub.say(conn, &format!("<db:verify from='{from}' to='{to}' id='{id}'>{key}</db:verify>"));
            assert!(
                heard.starts_with(&format!("<db:verify from='{to}' to='{from}' id='{id}' ")) && heard.contains(want),
                "{heard}"
            );
        }
        assert_eq!(hub.closed(conn), None);
        hub.receive(dialled, "<db:result from='a.example' to='b.example' type='valid'/>");
        assert!(hub.heard(dialled).contains("<body>hi</body>"));
    }

    #[test]
    fn dialback_in_the_clear_works_where_the_link_allows_it() {
        let mut hub = Hub::new(
            &[link("old", &["a.example"], r#"{"host":"xmpp.a.example","authentication":["dialback"],"require_tls":false}"#)],
            &["b.example"],
        );
        let conn = hub.accept(Transport::Tcp);
        let features = hub.say(conn, &header("a.example", "b.example"));
        assert!(features.contains("<errors/>") && !features.contains("<required/>"), "{features}");
        let id = attribute(&features, "<stream:stream", "id");
        hub.receive(conn, RESULT);
        let (asked, _) = hub.dialled().unwrap();
        hub.connected(asked);
        hub.heard(asked);
        hub.receive(asked, &answer_header("a.example", "b.example", "s1"));
        assert!(hub.say(asked, "<stream:features/>").contains("<db:verify "));
        hub.receive(asked, &format!("<db:verify from='a.example' to='b.example' id='{id}' type='valid'/>"));
        assert!(hub.heard(conn).contains("type='valid'"));
    }
}
