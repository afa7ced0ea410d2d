//! Vectors 10, 11 and 13: what is written, and who may not.

use interchange_model::{Body, Failure, Outcome, Refusal, Text, Typing, TypingState};

use crate::common::*;
use crate::recorded::play::Play;

const BOB: &str = "bob@fabrikam.example";
const ALICE: &str = "alice@contoso.example";
/// The text is in the INVITE, so that the answer to it can be the refusal of the text.
const FIRST: &str = r#"{"edge":"sip.contoso.example","listed":true,"first_text":"invite"}"#;

const SESSIONS: &str = "a message outside a session: shared/protocols/ocs.md 4.4, sessions are used towards Microsoft peers, page mode is only accepted";

/// Somebody of ours writes, or stops.
fn types(play: &mut Play, state: TypingState) {
    let typing = Body::Typing(Typing { state, conversation: None });
    play.hub.tell(interchange_model::Envelope { body: typing, ..text(1, BOB, ALICE, "") });
}

fn typing(play: &mut Play) -> Vec<TypingState> {
    let states = play.hub.telling();
    let state = |envelope: &std::sync::Arc<interchange_model::Envelope>| match &envelope.body {
        Body::Typing(typing) => typing.state,
        other => panic!("{other:?}"),
    };
    states.iter().map(state).collect()
}

#[test]
fn vector_10_messages_both_ways_with_a_client_of_2007() {
    let mut play = Play::new("10-im-both-ways-2007.sip", EDGE);
    play.otherwise(1..=2, SESSIONS);
    // The hub begins.
    play.hub.deliver(1, text(1, BOB, ALICE, "plain in dialog"));
    let invite = play.says(3);
    assert!(invite.body.contains("m=message 5060 sip null\r\na=accept-types:text/plain text/html"), "{}", invite.body);
    play.hears(&invite, 4);
    let sent = play.hub.wire(play.own);
    let [ack, message] = &sent[..] else { panic!("{sent:#?}") };
    play.says_this(ack, 5);
    play.says_this(message, 6);
    assert_eq!((ack.header("CSeq"), message.header("CSeq")), ("1 ACK", "2 MESSAGE"));
    assert_eq!((message.body.as_str(), message.header("Content-Type")), ("plain in dialog", "text/plain;charset=UTF-8"));
    play.hears(message, 7);
    assert_eq!(play.hub.settled(), [(1, Outcome::Delivered)]);
    for (state, info, answer) in [(TypingState::Composing, 8, 9), (TypingState::Paused, 10, 11)] {
        types(&mut play, state);
        let wire = play.says(info);
        let read = |body: &str| ocs_codec::keyboard::Keyboard::read(body.as_bytes()).unwrap();
        assert_eq!(read(&wire.body), read(&play.recorded(info).body));
        play.hears(&wire, answer);
    }
    let reading = interchange_rich_text::from_html(&play.recorded(12).body);
    let body = Body::Text(Text { plain: reading.plain.clone(), rich: reading.rich, ..Text::default() });
    play.hub.deliver(2, interchange_model::Envelope { body, ..text(2, BOB, ALICE, "") });
    let html = play.says(12);
    assert!(
        html.header("Content-Type").starts_with("text/html") && html.body.contains("<b>bold</b> &amp; <i>it</i>"),
        "{html:?}"
    );
    play.hears(&html, 13);
    assert_eq!(play.hub.settled(), [(2, Outcome::Delivered)]);
    play.otherwise(14..=15, "alternatives: the hub knows what the client takes, and says one");
    play.otherwise(
        16..=19,
        "isComposing: the hub says it by KeyboardActivity, the only form that clients say themselves (ocs.md 4.7)",
    );
    play.otherwise(20..=21, "CPIM: never sent, for clients answer 415 (ocs.md 4.5)");
    play.otherwise(22..=23, "RTF: the hub writes HTML");
    // Nothing more is said in it.
    let sent = play.hub.live(play.own, 20 * 60);
    let [bye] = &sent[..] else { panic!("{sent:#?}") };
    play.says_this(bye, 24);
    play.hears(bye, 25);

    // The client begins, under the Call-ID of the session that has ended.
    play.asks_and_answers(26, 27);
    play.acknowledges(28);
    assert_eq!(play.writes(29, 30), format!("{ALICE} -> {BOB}: reply in the peer-opened session"));
    play.otherwise(31..=36, SESSIONS);

    // A hub that has lost the session calls: the client ends the one before. That BYE is one for who has it.
    let first = play.other_hub(EDGE);
    play.hub.deliver(3, text(3, BOB, ALICE, "first in INVITE"));
    let invite = play.says(37);
    play.hears(&invite, 38);
    let sent = play.hub.wire(play.own);
    play.says_this(&sent[0], 41);
    assert_eq!(
        (sent.len(), sent[1].body.as_str()),
        (2, "first in INVITE"),
        "the text comes behind, for the client does not show it"
    );
    let second = play.back(first);
    play.asks_and_answers(39, 40);
    play.back(second);
    play.asks_and_answers(42, 43);
    assert_eq!(typing(&mut play), [TypingState::Composing]);
    play.asks_and_answers(44, 45);
    assert_eq!(typing(&mut play), [TypingState::Gone]);
    play.account(27);
}

#[test]
fn vector_11_every_refusal_of_an_invite() {
    let mut play = Play::new("11-errors-2007.sip", FIRST);
    let as_recorded = [
        (1, Refusal::NoSuchUser),
        (3, Refusal::Unavailable),
        (9, Refusal::Overloaded),
        (11, Refusal::TimedOut),
        (17, Refusal::NotAllowed),
        (19, Refusal::Unsupported),
    ];
    let otherwise = [
        (
            5,
            Refusal::Unavailable,
            480,
            "486: that somebody is not to be disturbed is a state and no refusal; who cannot be reached is 480",
        ),
        (7, Refusal::Unsupported, 415, "488: for other media, groups and files (ocs.md 4.1), which this INVITE does not ask for"),
        (
            13,
            Refusal::PeerRefused,
            403,
            "603: never for a person's refusal, which clients show as a failure of the service (ocs.md 7)",
        ),
        (15, Refusal::PeerRefused, 403, "606: for a filter of contents (ocs.md 7), and the hub has none"),
    ];
    for (invite, refusal) in as_recorded {
        play.asks(invite);
        let (token, _) = play.hub.one_submitted();
        play.hub.store(token, Err(refusal));
        let answer = play.answers(invite, invite + 1);
        assert!(answer.header("ms-diagnostics-public").contains(refusal.sentence()), "{answer:?}");
    }
    for (invite, refusal, status, why) in otherwise {
        play.asks(invite);
        let (token, _) = play.hub.one_submitted();
        play.hub.store(token, Err(refusal));
        let answer = play.answers_otherwise(invite, invite + 1, status, why);
        assert!(answer.header("ms-diagnostics-public").contains(refusal.sentence()), "{answer:?}");
    }
    play.asks(21);
    play.hub.store_one();
    play.answers_otherwise(21, 22, 200, "202: never to an INVITE, for clients take it for a failure and say no ACK (ocs.md 7)");

    // The text of the INVITE is confirmed, and what comes behind it is the next.
    const OVER: &str =
        "408 and 481 end a session at the client, and 486 is no failure of one message: never in one that stands (ocs.md 9)";
    play.asks(23);
    let mut texts = vec![words(&play.hub.store_one()).to_owned()];
    play.answers(23, 24);
    play.acknowledges(25);
    texts.push(play.writes(26, 27));
    // A message that is refused leaves the session as it is.
    let refused = |play: &mut Play, request: u32, refusal: Refusal, status: u16| {
        play.asks(request);
        let (token, envelope) = play.hub.one_submitted();
        play.hub.store(token, Err(refusal));
        play.answers_otherwise(request, request + 1, status, OVER);
        assert_eq!(envelope.from.to_string(), ALICE);
    };
    refused(&mut play, 28, Refusal::TimedOut, 504);
    play.asks_and_answers(30, 31);
    play.asks(32);
    texts.push(words(&play.hub.store_one()).to_owned());
    play.answers(32, 33);
    play.acknowledges(34);
    refused(&mut play, 35, Refusal::Unavailable, 504);
    refused(&mut play, 37, Refusal::PeerFault, 500);
    play.asks_and_answers(39, 40);
    play.asks(41);
    texts.push(words(&play.hub.store_one()).to_owned());
    play.answers(41, 42);
    play.acknowledges(43);
    play.asks_and_answers(44, 45);
    assert_eq!(texts.len(), 4, "{texts:?}");
    play.account(37);
}

/// What vector 11 records of a session that the other side has lost, on the hub's side: when it really has, it says 481, and the client begins anew.
#[test]
fn vector_11_a_session_that_the_hub_has_lost_is_481() {
    let mut play = Play::new("11-errors-2007.sip", FIRST);
    play.asks(32);
    play.hub.store_one();
    play.answers(32, 33);
    play.acknowledges(34);
    play.other_hub(FIRST);
    play.asks(37);
    play.answers(37, 38);
    assert!(play.hub.submitted().is_empty());
    play.asks(41);
    play.hub.store_one();
    play.answers(41, 42);
}

#[test]
fn vector_13_a_client_of_2005_and_its_group() {
    const GROUP: &str = "a group: ocs.md 3 and 8 leave it to be refused on purpose, and rooms are the hub's (decisions.md)";
    const NO_GROUP: &str = "of the group that the hub has refused";
    let mut play = Play::new("13-multiparty-2005.sip", EDGE);
    super::presence::subscribes(&mut play, 1, 2);
    super::presence::subscribes(&mut play, 3, 4);
    let here = interchange_model::PresenceState::Available;
    super::presence::shows(&mut play, 5, "bob@fabrikam.example", here, false);
    super::presence::shows(&mut play, 6, "carol@fabrikam.example", here, false);
    // The word of the offer comes back in the answer.
    play.asks(7);
    assert!(play.answers(7, 8).body.contains("m=x-ms-message "));
    play.acknowledges(9);
    assert_eq!(play.writes(10, 11), format!("{ALICE} -> {BOB}: hello 2005"));
    // The first two of a group are two people.
    play.asks(12);
    play.answers(12, 13);
    let bye = play.hub.one(play.own);
    assert_eq!((bye.method(), bye.header("Call-ID")), ("BYE", play.recorded(7).header("Call-ID")));
    play.hub.receive(play.own, bye.answer(200, ""));
    play.acknowledges(14);
    // The third is one too many: she would see nothing of what Bob answers.
    play.asks(15);
    let answer = play.answers_otherwise(15, 16, 488, GROUP);
    assert!(answer.header("ms-diagnostics-public").contains("more than two people"), "{answer:?}");
    play.not_ours([17], NO_GROUP);
    assert_eq!(play.writes(18, 19), format!("{ALICE} -> {BOB}: hello room"));
    play.asks(20);
    play.answers_otherwise(20, 21, 481, NO_GROUP);
    assert!(play.hub.submitted().is_empty());
    play.not_ours(22..=25, NO_GROUP);
    // A session of Carol's own, which says nothing of a group.
    play.hub.deliver(1, text(1, "carol@fabrikam.example", ALICE, "triggered hello"));
    let invite = play.hub.one(play.own);
    play.is_this(&invite, 26);
    assert!(invite.find("TriggeredInvite").is_none(), "{invite:?}");
    play.otherwise([26], "without TriggeredInvite, which would make it a group's (ocs.md 8)");
    play.hears(&invite, 27);
    let sent = play.hub.wire(play.own);
    play.says_this(&sent[0], 28);
    play.says_this(&sent[1], 29);
    assert_eq!(sent[1].body, "triggered hello");
    play.hears(&sent[1], 30);
    assert_eq!(play.hub.settled(), [(1, Outcome::Delivered)]);
    play.asks(31);
    play.answers_otherwise(31, 32, 481, "its session has ended when the same person began another (ocs.md 4.1)");
    play.asks_and_answers(33, 34);
    play.asks_and_answers(35, 36);
    play.hub.telling();
    super::presence::unsubscribes(&mut play, 37, 38, 39, 40);
    play.account(31);
}

/// A failure that comes when the answer has been given is a message of its own, in the recorded session.
#[test]
fn vector_10_a_late_failure_is_said_in_the_recorded_session() {
    let mut play = Play::new("10-im-both-ways-2007.sip", EDGE);
    play.asks_and_answers(26, 27);
    play.acknowledges(28);
    play.asks(29);
    let envelope = play.hub.store_one();
    play.answers(29, 30);
    let failure = Failure { of: Some(envelope.id), native_id: None, why: Refusal::Expired, detail: None };
    play.hub.deliver(7, interchange_model::Envelope { body: Body::Failure(failure), ..text(7, BOB, ALICE, "") });
    let notice = play.hub.one(play.own);
    assert_eq!((notice.method(), notice.header("Call-ID")), ("MESSAGE", play.recorded(26).header("Call-ID")));
}
