//! IM sessions, both ways: how they begin, what is said in them, how they end, and what a restart does to them.

use crate::common::alice::{Alice, ROUTES};
use crate::common::*;
use interchange_adapter::ConnId;
use interchange_model::{Body, Failure, Outcome, Receipt, ReceiptKind, Refusal, Text, Typing, TypingState, Wants};

const BOB: &str = "sip:bob@fabrikam.example";
const TYPES: &str = "<?xml version=\"1.0\"?><KeyboardActivity> <status status=\"type\" /></KeyboardActivity>";
const RESTS: &str = "<?xml version=\"1.0\"?><KeyboardActivity> <status status=\"idle\" /></KeyboardActivity>";

/// Alice has a session with Bob.
fn session(hub: &mut Hub, edge: ConnId, call: &str) -> Alice {
    let mut alice = Alice::calls(BOB, call);
    hub.receive(edge, alice.invites(""));
    let answer = hub.one(edge);
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_eq!(answer.all("Record-Route"), ROUTES);
    alice.hears(&answer);
    hub.receive(edge, alice.says("ACK", "", "", ""));
    alice
}

/// Bob writes to Alice, who accepts; her dialog, with the MESSAGE.
fn called(hub: &mut Hub, own: ConnId, number: u64, words: &str) -> (Alice, Wire) {
    hub.deliver(number, text(number, "bob@fabrikam.example", "alice@contoso.example", words));
    let invite = hub.one(own);
    assert_eq!(invite.start, "INVITE sip:alice@contoso.example SIP/2.0");
    let alice = Alice::answers(&invite);
    hub.receive(own, alice.accepts(&invite));
    let mut sent = hub.wire(own);
    assert_eq!(sent.iter().map(Wire::method).collect::<Vec<_>>(), ["ACK", "MESSAGE"]);
    (alice, sent.remove(1))
}

#[test]
fn a_message_is_answered_when_it_is_safe_and_not_before() {
    let (mut hub, _, edge) = Hub::up(EDGE);
    let mut alice = session(&mut hub, edge, "c1");
    hub.receive(edge, alice.writes("hi Bob"));
    let (token, envelope) = hub.one_submitted();
    assert_eq!((words(&envelope), envelope.from.to_string()), ("hi Bob", "alice@contoso.example".to_owned()));
    let Body::Text(Text { display_name: Some(name), .. }) = &envelope.body else { panic!() };
    assert_eq!(name.as_str(), "Alice");
    hub.seconds(5);
    assert!(hub.wire(edge).is_empty());
    hub.store(token, Ok(()));
    assert!(hub.wire(edge).is_empty(), "a moment is left for a better answer");
    hub.seconds(1);
    let answer = hub.one(edge);
    assert_eq!(answer.status(), 200);
    // The client's own Via has no branch, and goes back as it is.
    assert_eq!(answer.all("Via")[1], "SIP/2.0/tcp 10.0.0.5:50274;ms-received-port=50274;ms-received-cid=100");
}

#[test]
fn a_refused_message_leaves_the_session_and_names_the_reason() {
    let (mut hub, _, edge) = Hub::up(EDGE);
    let mut alice = session(&mut hub, edge, "c1");
    for (refusal, status) in
        [(Refusal::Unavailable, 504), (Refusal::NoSuchUser, 404), (Refusal::NotAllowed, 403), (Refusal::Overloaded, 503)]
    {
        hub.receive(edge, alice.writes("x"));
        let (token, _) = hub.one_submitted();
        hub.store(token, Err(refusal));
        let answer = hub.one(edge);
        assert_eq!(answer.status(), status, "{refusal}");
        assert!(answer.header("ms-diagnostics-public").contains(refusal.sentence()), "{answer:?}");
        assert!(!answer.header("ms-diagnostics-public").contains("source="));
    }
    // A refusal that comes after the message was stored, in time.
    hub.receive(edge, alice.writes("y"));
    let (token, envelope) = hub.one_submitted();
    hub.store(token, Ok(()));
    let failure = Failure { of: Some(envelope.id), native_id: None, why: Refusal::NoSuchUser, detail: None };
    hub.deliver(7, interchange_model::Envelope { body: Body::Failure(failure), ..hello(7) });
    assert_eq!(hub.one(edge).status(), 404);
    assert_eq!(hub.settled(), [(7, Outcome::Delivered)]);
}

#[test]
fn a_late_failure_is_told_in_the_window() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let mut alice = session(&mut hub, edge, "c1");
    hub.receive(edge, alice.writes("y"));
    let envelope = hub.store_one();
    assert_eq!(hub.one(edge).status(), 200);
    let failure = Failure { of: Some(envelope.id), native_id: None, why: Refusal::Expired, detail: None };
    hub.deliver(7, interchange_model::Envelope { body: Body::Failure(failure), ..hello(7) });
    let notice = hub.one(own);
    assert_eq!((notice.method(), notice.header("Call-ID")), ("MESSAGE", "c1"));
    assert!(
        notice.body.contains("was not delivered. The message could not be delivered in the time allowed."),
        "{}",
        notice.body
    );
}

#[test]
fn a_message_goes_in_a_session_that_is_begun_for_it_and_the_next_in_the_same() {
    let (mut hub, own, _) = Hub::up(EDGE);
    let (_, message) = called(&mut hub, own, 1, "first");
    assert_eq!((message.body.as_str(), message.all("Route")), ("first", ROUTES.to_vec()));
    assert_eq!(message.start, "MESSAGE sip:alice@contoso.example;opaque=user:epid:2XcI;gruu SIP/2.0");
    assert!(message.header("To").ends_with(";epid=0123456789"), "{message:?}");
    // In order: the second waits for the answer to the first.
    hub.deliver(2, text(2, "bob@fabrikam.example", "alice@contoso.example", "second"));
    assert!(hub.wire(own).is_empty());
    hub.receive(own, message.answer(200, ""));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    let second = hub.one(own);
    assert_eq!((second.body.as_str(), second.header("CSeq")), ("second", "3 MESSAGE"));
    hub.receive(own, second.answer(200, ""));
    assert_eq!(hub.settled(), [(2, Outcome::Delivered)]);
}

#[test]
fn a_200_is_a_receipt_for_whoever_wants_one() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let mut alice = session(&mut hub, edge, "c1");
    let wants = Wants { delivered: true, displayed: false };
    let body = Body::Text(Text { plain: "did you get it".into(), wants, ..Text::default() });
    hub.deliver(1, interchange_model::Envelope { body, native_id: Some("m1".into()), ..hello(1) });
    let message = hub.one(own);
    hub.receive(own, message.answer(200, ""));
    let (_, receipt) = hub.one_submitted();
    assert!(
        matches!(&receipt.body, Body::Receipt(Receipt { native_id: Some(id), what: ReceiptKind::Delivered, .. }) if &**id == "m1")
    );
    assert_eq!(receipt.to.to_string(), "bob@fabrikam.example");
    let _ = alice.writes("");
}

#[test]
fn an_answer_goes_in_the_session_that_the_other_has_begun() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    session(&mut hub, edge, "c1");
    hub.deliver(1, hello(1));
    let message = hub.one(own);
    assert_eq!((message.method(), message.header("Call-ID"), message.all("Route")), ("MESSAGE", "c1", ROUTES.to_vec()));
    assert_eq!(message.header("To"), "<sip:alice@contoso.example>;tag=alicetag;epid=d8d053f0ae7f");
    // A dialog that we have not begun begins to count at 1.
    assert_eq!(message.header("CSeq"), "1 MESSAGE");
}

#[test]
fn a_session_that_the_client_has_lost_is_begun_again_and_nothing_is_lost() {
    let (mut hub, own, _) = Hub::up(EDGE);
    let (_, message) = called(&mut hub, own, 1, "first");
    hub.receive(own, message.answer(200, ""));
    hub.settled();
    hub.deliver(2, hello(2));
    let second = hub.one(own);
    hub.receive(own, second.answer(481, ""));
    let invite = hub.one(own);
    assert_eq!(invite.method(), "INVITE");
    assert!(hub.settled().is_empty());
    let alice = Alice::answers(&invite);
    hub.receive(own, alice.accepts(&invite));
    let sent = hub.wire(own);
    assert_eq!((sent[1].method(), sent[1].body.as_str()), ("MESSAGE", "hello"));
    // Only once: a client that always answers so is not asked for ever.
    hub.receive(own, sent[1].answer(481, ""));
    assert_eq!(hub.settled(), [(2, Outcome::Refused(Refusal::PeerFault))]);
}

#[test]
fn refusals_of_an_invite_come_back_to_the_sender() {
    for (status, refusal) in [
        (404, Refusal::NoSuchUser),
        (403, Refusal::PeerRefused),
        (480, Refusal::Unavailable),
        (486, Refusal::Unavailable),
        (408, Refusal::Unavailable),
        (487, Refusal::Unavailable),
        (488, Refusal::Unsupported),
        (500, Refusal::PeerFault),
        (504, Refusal::TimedOut),
        (603, Refusal::PeerRefused),
    ] {
        let (mut hub, own, _) = Hub::up(EDGE);
        hub.deliver(1, hello(1));
        let invite = hub.one(own);
        hub.receive(own, invite.answer(status, ""));
        assert_eq!(hub.one(own).method(), "ACK");
        assert_eq!(hub.settled(), [(1, Outcome::Refused(refusal))], "{status}");
    }
}

#[test]
fn a_client_may_ring_for_a_minute_and_then_the_invite_is_taken_back() {
    let (mut hub, own, _) = Hub::up(EDGE);
    hub.deliver(1, hello(1));
    let invite = hub.one(own);
    hub.receive(own, invite.answer(180, ""));
    hub.live(own, 60);
    assert!(hub.settled().is_empty());
    let sent = hub.live(own, 11);
    assert_eq!(hub.settled(), [(1, Outcome::Refused(Refusal::Unavailable))]);
    assert!(sent.iter().any(|wire| wire.method() == "CANCEL"));
    // She accepts too late: the session is ended at once.
    let alice = Alice::answers(&invite);
    hub.receive(own, alice.accepts(&invite));
    assert_eq!(hub.wire(own).iter().map(Wire::method).collect::<Vec<_>>(), ["ACK", "BYE"]);
}

#[test]
fn the_second_device_that_accepts_is_let_go() {
    let (mut hub, own, _) = Hub::up(EDGE);
    hub.deliver(1, hello(1));
    let invite = hub.one(own);
    let first = Alice::answers(&invite);
    hub.receive(own, first.accepts(&invite));
    assert_eq!(hub.wire(own).len(), 2);
    let second = Alice { tag: "laptop", ..Alice::answers(&invite) };
    hub.receive(own, second.accepts(&invite));
    let sent = hub.wire(own);
    assert_eq!(sent.iter().map(Wire::method).collect::<Vec<_>>(), ["ACK", "BYE"]);
    assert!(sent[1].header("To").contains("tag=laptop"));
}

#[test]
fn a_new_invite_of_the_same_person_takes_the_place_of_the_old_session() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    session(&mut hub, edge, "c1");
    session(&mut hub, edge, "c2");
    // The other device hears that its window is closed, and would begin anew.
    let bye = hub.one(own);
    assert_eq!((bye.method(), bye.header("Call-ID")), ("BYE", "c1"));
    hub.deliver(1, hello(1));
    assert_eq!(hub.one(own).header("Call-ID"), "c2");
}

#[test]
fn glare_is_settled_by_taking_the_other_sides_invite() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    hub.deliver(1, hello(1));
    let ours = hub.one(own);
    assert_eq!(ours.method(), "INVITE");
    session(&mut hub, edge, "c1");
    let sent = hub.wire(own);
    let message = sent.iter().find(|wire| wire.method() == "MESSAGE").expect("it goes in her session");
    assert_eq!((message.header("Call-ID"), message.body.as_str()), ("c1", "hello"));
    hub.receive(own, message.answer(200, ""));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
    // Hers was quicker than the CANCEL.
    let late = Alice::answers(&ours);
    hub.receive(own, late.accepts(&ours));
    assert_eq!(hub.wire(own).iter().map(Wire::method).collect::<Vec<_>>(), ["ACK", "BYE"]);
}

#[test]
fn a_call_id_of_a_session_that_has_ended_may_come_again() {
    let (mut hub, _, edge) = Hub::up(EDGE);
    let mut first = session(&mut hub, edge, "c1");
    hub.receive(edge, first.says("BYE", "", "", ""));
    assert_eq!(hub.one(edge).status(), 200);
    hub.receive(edge, first.writes("late"));
    assert_eq!(hub.one(edge).status(), 481);
    let mut again = Alice { tag: "another", ..Alice::calls(BOB, "c1") };
    hub.receive(edge, again.invites("X-Again: 1\r\n").replace("z9hG4bKc11", "z9hG4bKagain"));
    let answer = hub.one(edge);
    assert_eq!(answer.status(), 200);
    again.hears(&answer);
    hub.receive(edge, again.says("ACK", "", "", ""));
    hub.receive(edge, again.writes("here again").replace("z9hG4bKc13", "z9hG4bKagain3"));
    assert_eq!(words(&hub.store_one()), "here again");
}

#[test]
fn real_clients_count_anew_in_a_session() {
    let (mut hub, _, edge) = Hub::up(EDGE);
    let mut alice = session(&mut hub, edge, "c1");
    for words in ["one", "two", "two"] {
        alice.sequence = 0;
        hub.receive(edge, alice.writes(words));
        hub.store_one();
        assert_eq!(hub.one(edge).status(), 200);
    }
}

#[test]
fn a_message_that_comes_twice_is_delivered_once() {
    let (mut hub, _, edge) = Hub::up(EDGE);
    let mut alice = session(&mut hub, edge, "c1");
    let message = alice.writes("once");
    hub.receive(edge, &message);
    hub.store_one();
    assert_eq!(hub.one(edge).status(), 200);
    // The edge lost the connection with the answer, and says it again on another.
    hub.lose(edge);
    hub.seconds(20);
    let edge = hub.accept_edge();
    hub.receive(edge, &message);
    assert_eq!(hub.one(edge).status(), 200);
    assert!(hub.submitted().is_empty());
}

#[test]
fn typing_goes_both_ways_and_ends_by_itself() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let mut alice = session(&mut hub, edge, "c1");
    let states = |hub: &mut Hub| -> Vec<TypingState> {
        hub.telling()
            .iter()
            .map(|envelope| match &envelope.body {
                Body::Typing(typing) => typing.state,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    hub.receive(edge, alice.says("INFO", "", "application/xml", TYPES));
    assert_eq!(hub.one(edge).status(), 200);
    assert_eq!(states(&mut hub), [TypingState::Composing]);
    hub.seconds(11);
    assert!(states(&mut hub).is_empty());
    hub.seconds(1);
    assert_eq!(states(&mut hub), [TypingState::Paused]);
    hub.receive(edge, alice.says("INFO", "", "application/xml", TYPES));
    hub.receive(edge, alice.says("INFO", "", "application/xml", RESTS));
    assert_eq!(states(&mut hub), [TypingState::Composing, TypingState::Paused]);
    hub.wire(edge);
    // The form that other partners send.
    let composing =
        "<?xml version=\"1.0\"?><isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state></isComposing>";
    hub.receive(edge, alice.says("MESSAGE", "", "application/im-iscomposing+xml", composing));
    assert_eq!(hub.one(edge).status(), 200);
    assert_eq!(states(&mut hub), [TypingState::Composing]);

    let told = |state| interchange_model::Envelope { body: Body::Typing(Typing { state, conversation: None }), ..hello(1) };
    hub.tell(told(TypingState::Composing));
    let info = hub.one(own);
    assert_eq!((info.method(), info.header("Content-Type"), info.body.as_str()), ("INFO", "application/xml", TYPES));
    hub.receive(own, info.answer(200, ""));
    // Said again, since the client would forget it.
    hub.seconds(8);
    let again = hub.one(own);
    assert_eq!(again.body, TYPES);
    hub.receive(own, again.answer(200, ""));
    hub.tell(told(TypingState::Paused));
    assert_eq!(hub.one(own).body, RESTS);
}

#[test]
fn no_session_is_begun_to_tell_that_somebody_writes() {
    let (mut hub, own, _) = Hub::up(EDGE);
    let state = TypingState::Composing;
    hub.tell(interchange_model::Envelope { body: Body::Typing(Typing { state, conversation: None }), ..hello(1) });
    assert!(hub.wire(own).is_empty());
}

#[test]
fn an_idle_session_is_ended_and_the_next_message_goes_on_in_the_same_window() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let mut alice = Alice::calls(BOB, "c1");
    hub.receive(edge, alice.invites("Ms-Conversation-ID: 68700699\r\n"));
    alice.hears(&hub.one(edge));
    hub.receive(edge, alice.says("ACK", "", "", ""));
    assert!(hub.live(own, 20 * 60 - 1).is_empty());
    let sent = hub.live(own, 1);
    assert_eq!((sent.len(), sent[0].method(), sent[0].header("Call-ID")), (1, "BYE", "c1"));
    hub.receive(own, sent[0].answer(200, ""));
    hub.deliver(1, hello(1));
    let invite = hub.one(own);
    assert_eq!((invite.method(), invite.header("Ms-Conversation-ID")), ("INVITE", "68700699"));
}

#[test]
fn a_session_outlives_a_restart_of_the_hub() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let mut alice = session(&mut hub, edge, "c1");
    let (mut carol, _) = {
        hub.deliver(1, text(1, "bob@fabrikam.example", "carol@contoso.example", "x"));
        let invite = hub.one(own);
        let carol = Alice { from: "sip:carol@contoso.example", ..Alice::answers(&invite) };
        hub.receive(own, carol.accepts(&invite));
        (carol, hub.wire(own))
    };
    let kept = hub.kept();
    assert_eq!(kept.len(), 2);
    // A new process: the edge connects, and she writes, before the hub knows which sessions there were.
    let mut hub = Hub::with(r#"{"contact_host":"sip.fabrikam.example"}"#, &[link("lb", &["contoso.example"], EDGE)]);
    let edge = hub.accept_edge();
    hub.receive(edge, alice.writes("still there?"));
    assert!(hub.wire(edge).is_empty());
    hub.remember(&kept);
    assert_eq!(words(&hub.store_one()), "still there?");
    assert_eq!(hub.one(edge).status(), 200);
    hub.receive(edge, carol.writes("me too"));
    assert_eq!(words(&hub.store_one()), "me too");
    hub.wire(edge);
    // Answers reach the same window: the same dialog, along its signed route, with a number above all of before.
    let own = hub.bring_up();
    hub.deliver(2, hello(2));
    let message = hub.one(own);
    assert_eq!((message.method(), message.header("Call-ID"), message.all("Route")), ("MESSAGE", "c1", ROUTES.to_vec()));
    let number: u32 = message.header("CSeq").split(' ').next().unwrap().parse().unwrap();
    assert!(number > 50, "{number}");
}

#[test]
fn a_dialog_that_nobody_knows_is_481_and_the_client_begins_anew() {
    let (mut hub, _, edge) = Hub::up(EDGE);
    for (method, media, body) in
        [("MESSAGE", "text/plain", "x"), ("INFO", "application/xml", TYPES), ("BYE", "", ""), ("UPDATE", "", "")]
    {
        let mut ghost = Alice { their_tag: Some("gone".into()), ..Alice::calls(BOB, "ghost") };
        hub.receive(edge, ghost.says(method, "", media, body).replace("z9hG4bKghost", &format!("z9hG4bK{method}")));
        assert_eq!(hub.one(edge).status(), 481, "{method}");
    }
    assert!(hub.submitted().is_empty());
}

#[test]
fn abuse_1_nobody_speaks_in_the_session_of_another() {
    let (mut hub, _, edge) = Hub::up(EDGE);
    let mut alice = session(&mut hub, edge, "c1");
    let mut mallory =
        Alice { from: "sip:mallory@contoso.example", their_tag: alice.their_tag.clone(), ..Alice::calls(BOB, "c1") };
    hub.receive(edge, mallory.writes("as Alice"));
    assert_eq!(hub.one(edge).status(), 481);
    // From another partner's domain, also with all the right tags.
    hub.receive(edge, alice.writes("x").replace("From: <sip:alice@contoso.example>", "From: <sip:alice@evil.example>"));
    let answer = hub.one(edge);
    assert_eq!(answer.status(), 403);
    assert!(answer.header("ms-diagnostics-public").contains("not that of the partner"), "{answer:?}");
    assert!(hub.notes.iter().any(|note| note.contains("evil.example") && note.contains("403")), "{:?}", hub.notes);
    assert_eq!(hub.refused().last(), Some(&Refusal::NotYours));
    assert!(hub.submitted().is_empty());
}

#[test]
fn other_media_groups_and_conferences_are_refused_with_a_reason() {
    let (mut hub, _, edge) = Hub::up(EDGE);
    let audio = crate::common::alice::SDP.replace("message 25060 sip null", "audio 5004 RTP/AVP 0");
    let three = "EndPoints: <sip:alice@contoso.example>, <sip:bob@fabrikam.example>, <sip:carol@fabrikam.example>\r\nRequire: com.microsoft.rtc-multiparty\r\n";
    for (number, (more, media, body, reason)) in [
        ("", "application/sdp", audio.as_str(), "Only sessions of messages"),
        ("", "application/ms-conf-invite+xml", "<Conferencing version=\"2.0\"/>", "more than two people"),
        (
            "",
            "multipart/mixed;boundary=x",
            "--x\r\nContent-Type: application/ms-filetransfer+xml\r\n\r\n<request/>\r\n--x--",
            "Files",
        ),
        (three, "application/sdp", crate::common::alice::SDP, "more than two people"),
        ("TriggeredInvite: TRUE\r\n", "application/sdp", crate::common::alice::SDP, "more than two people"),
        ("", "", "", "must be offered"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut alice = Alice::calls(BOB, &format!("c{number}x"));
        hub.receive(edge, alice.says("INVITE", more, media, body));
        let answer = hub.one(edge);
        assert_eq!(answer.status(), 488, "{media}");
        assert!(answer.header("ms-diagnostics-public").contains(reason), "{answer:?}");
        hub.receive(edge, alice.says("ACK", "", "", ""));
    }
    // An extension that nobody has heard of.
    hub.receive(edge, Alice::calls(BOB, "c20x").invites("Require: adhoclist, categoryList\r\n"));
    let answer = hub.one(edge);
    assert_eq!((answer.status(), answer.header("Unsupported")), (420, "adhoclist, categoryList"));
    // The session of two that stands is not touched by it.
    let mut alice = session(&mut hub, edge, "c30x");
    hub.receive(edge, alice.says("INVITE", three, "application/sdp", crate::common::alice::SDP));
    assert_eq!(hub.one(edge).status(), 488);
    hub.receive(edge, alice.writes("we two"));
    assert_eq!(words(&hub.store_one()), "we two");
}

#[test]
fn what_a_partner_must_not_ask_is_refused_and_nothing_is_dropped() {
    let (mut hub, _, edge) = Hub::up(EDGE);
    for (method, status) in [("REGISTER", 403), ("SERVICE", 403), ("PUBLISH", 403), ("REFER", 405), ("FROBNICATE", 501)] {
        hub.receive(edge, Alice::calls(BOB, method).says(method, "", "", ""));
        assert_eq!(hub.one(edge).status(), status, "{method}");
    }
    hub.receive(edge, Alice::calls(BOB, "o").says("OPTIONS", "", "", ""));
    let options = hub.one(edge);
    assert_eq!(options.status(), 200);
    assert!(options.header("Allow").contains("MESSAGE"));
    // Compression, with no hop left and a Via without a branch.
    hub.receive(edge, "NEGOTIATE sip:192.0.2.1:5061 SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.2:2616\r\nCSeq: 1 NEGOTIATE\r\nCall-ID: 8d8b20f87c9c4221\r\nFrom: <sip:sip.contoso.example>;tag=984721fb59b6\r\nTo: <sip:sip.fabrikam.example>\r\nCompression: LZ77-8K\r\nMax-Forwards: 0\r\nContent-Length: 0\r\n\r\n");
    let answer = hub.one(edge);
    assert_eq!((answer.status(), answer.header("Via"), answer.find("Compression")), (488, "SIP/2.0/TLS 192.0.2.2:2616", None));
}

#[test]
fn a_message_by_itself_is_taken_and_none_is_sent() {
    let (mut hub, _, edge) = Hub::up(EDGE);
    let mut alice = Alice::calls(BOB, "page");
    hub.receive(edge, alice.writes("page mode hello é"));
    assert_eq!(words(&hub.store_one()), "page mode hello é");
    assert_eq!(hub.one(edge).status(), 200);
    hub.receive(edge, alice.says("MESSAGE", "", "message/cpim", "From: <im:a@b>\r\n\r\nContent-Type: text/plain\r\n\r\nhi"));
    let answer = hub.one(edge);
    assert_eq!(answer.status(), 415);
    assert!(answer.header("Accept").contains("text/plain"));
    hub.receive(edge, alice.says("MESSAGE", "", "application/ms-imdn+xml", "<imdn/>"));
    assert_eq!(hub.one(edge).status(), 200);
    assert!(hub.submitted().is_empty());
}

#[test]
fn the_text_of_an_invite_is_delivered_and_confirmed_where_the_link_says_so() {
    let json = r#"{"edge":"sip.contoso.example","listed":true,"first_text":"invite"}"#;
    let first = "ms-text-format: text/plain; charset=UTF-8;ms-body=aGVsbG8gMjAwNQ==\r\n";
    let (mut hub, _, edge) = Hub::up(json);
    let mut alice = Alice::calls(BOB, "c1");
    hub.receive(edge, alice.invites(first));
    let (token, envelope) = hub.one_submitted();
    assert_eq!(words(&envelope), "hello 2005");
    assert!(!hub.wire(edge).iter().any(|wire| wire.status() >= 200));
    hub.store(token, Ok(()));
    hub.seconds(1);
    let answers = hub.wire(edge);
    let answer = answers.iter().find(|wire| wire.status() == 200).expect("accepted");
    assert_eq!(answer.all("Supported"), ["ms-text-format"]);
    // Refused, the session never was.
    let mut carol = Alice { from: "sip:carol@contoso.example", ..Alice::calls(BOB, "c2") };
    hub.receive(edge, carol.invites(first));
    let (token, _) = hub.one_submitted();
    hub.store(token, Err(Refusal::NoSuchUser));
    assert_eq!(hub.wire(edge).last().map(Wire::status), Some(404));
    hub.deliver(1, text(1, "bob@fabrikam.example", "carol@contoso.example", "x"));
    // Left alone by default: the client sends it again.
    let (mut hub, _, edge) = Hub::up(EDGE);
    let mut alice = Alice::calls(BOB, "c3");
    hub.receive(edge, alice.invites(first));
    assert!(hub.submitted().is_empty());
    assert_eq!(hub.one(edge).all("Supported"), Vec::<&str>::new());
}

#[test]
fn formatted_text_goes_as_html_to_whoever_takes_it_and_plain_after_415() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    let mut alice = session(&mut hub, edge, "c1");
    hub.receive(
        edge,
        alice.says("MESSAGE", "", "text/html; charset=UTF-8", "<html><body><b>bold</b> &amp; <i>it</i></body></html>"),
    );
    let envelope = hub.store_one();
    let Body::Text(text) = &envelope.body else { panic!() };
    assert_eq!(text.plain.as_str(), "bold & it");
    assert!(text.rich.as_ref().is_some_and(|rich| rich.is_formatted()));
    let body = Body::Text(Text { plain: text.plain.clone(), rich: text.rich.clone(), ..Text::default() });
    hub.deliver(1, interchange_model::Envelope { body, ..hello(1) });
    let html = hub.one(own);
    assert_eq!(html.header("Content-Type"), "text/html;charset=UTF-8");
    assert!(html.body.contains("<b>bold</b> &amp; <i>it</i>"), "{}", html.body);
    hub.receive(own, html.answer(415, ""));
    let plain = hub.one(own);
    assert_eq!((plain.header("Content-Type"), plain.body.as_str()), ("text/plain;charset=UTF-8", "bold & it"));
    hub.receive(own, plain.answer(200, ""));
    assert_eq!(hub.settled(), [(1, Outcome::Delivered)]);
}

#[test]
fn clients_that_ring_keep_no_other_conversation_waiting() {
    let (mut hub, own, edge) = Hub::up(EDGE);
    session(&mut hub, edge, "c1");
    for number in 1..=120 {
        hub.deliver(number, text(number, "bob@fabrikam.example", &format!("u{number}@contoso.example"), "x"));
    }
    assert_eq!(hub.wire(own).iter().filter(|wire| wire.method() == "INVITE").count(), 120);
    hub.deliver(200, hello(200));
    assert_eq!(hub.one(own).method(), "MESSAGE");
}
