//! What a message is beside its words: typing, receipts, relations, files, and what only another XMPP server understands.

use std::sync::Arc;

use crate::common::{Hub, link, references, text};
use interchange_adapter::{ConnId, Input};
use interchange_model::{
    Address, Body, Down, Envelope, MessageId, Receipt, ReceiptKind, Relation, SharedFile, Text, Typing, TypingState, Up, Wants,
};

fn hub() -> Hub {
    Hub::new(&[link("acme", &["a.example"], "{}"), link("globex", &["c.example"], "{}")], &["b.example"])
}

/// What a chat message from Alice with this inside becomes.
fn said(hub: &mut Hub, conn: ConnId, inside: &str) -> Vec<Up> {
    hub.told();
    hub.receive(conn, &format!("<message from='alice@a.example/x' to='bob@b.example' type='chat' id='m1'>{inside}</message>"));
    assert_eq!(hub.closed(conn), None, "{inside}");
    hub.told()
}

fn submitted(hub: &mut Hub, conn: ConnId, inside: &str) -> Envelope {
    let told = said(hub, conn, inside);
    let [Up::Submit { envelope, .. }] = &told[..] else { panic!("{inside}: {told:?}") };
    (**envelope).clone()
}

fn words(envelope: &Envelope) -> &Text {
    let Body::Text(text) = &envelope.body else { panic!("{envelope:?}") };
    text
}

/// What Carol's server at c.example hears of what Alice sent to hers.
fn relayed(inside: &str) -> String {
    let mut hub = hub();
    let conn = hub.authenticated("a.example", "b.example");
    let envelope = submitted(&mut hub, conn, inside);
    let to = Address::parse("carol@c.example").unwrap();
    hub.deliver("globex", 1, Envelope { to, ..envelope });
    let out = hub.answer_dial("a.example", "c.example");
    let heard = hub.heard(out);
    heard.split("<iq ").next().unwrap().to_owned()
}

#[test]
fn chat_states_alone_are_passed_on_and_never_stored() {
    let mut hub = hub();
    let conn = hub.authenticated("a.example", "b.example");
    for (name, state) in [
        ("composing", TypingState::Composing),
        ("paused", TypingState::Paused),
        ("active", TypingState::Active),
        ("inactive", TypingState::Inactive),
        ("gone", TypingState::Gone),
    ] {
        let inside = format!(
            "<thread>t1</thread><{name} xmlns='http://jabber.org/protocol/chatstates'/><no-store xmlns='urn:xmpp:hints'/>"
        );
        let told = said(&mut hub, conn, &inside);
        let [Up::Tell { envelope, .. }] = &told[..] else { panic!("{told:?}") };
        assert_eq!(envelope.body, Body::Typing(Typing { state, conversation: Some("t1".into()) }));
    }
    // With words it is a message.
    let inside = "<body>x</body><active xmlns='http://jabber.org/protocol/chatstates'/>";
    assert_eq!(words(&submitted(&mut hub, conn, inside)).plain.as_str(), "x");
}

#[test]
fn case_35_typing_of_another_platform_is_shown() {
    let mut hub = hub();
    hub.deliver("acme", 1, text("bob@b.example", "alice@a.example", "x"));
    let conn = hub.answer_dial("b.example", "a.example");
    hub.heard(conn);
    for (state, name) in [(TypingState::Composing, "composing"), (TypingState::Paused, "paused"), (TypingState::Gone, "gone")] {
        let body = Body::Typing(Typing { state, conversation: Some("t".into()) });
        let envelope = Envelope { body, origin: "sip".into(), ..text("bob@b.example", "alice@a.example", "") };
        hub.input(Input::Broker(Down::Told { link: "acme".into(), envelope: Arc::new(envelope) }));
        assert_eq!(
            hub.heard(conn),
            format!(
                "<message from='bob@b.example' to='alice@a.example' type='chat'><thread>t</thread><{name} xmlns='http://jabber.org/protocol/chatstates'/></message>"
            )
        );
    }
}

#[test]
fn case_37_receipts_are_asked_for_and_told() {
    let mut hub = hub();
    let conn = hub.authenticated("a.example", "b.example");
    let asked = submitted(
        &mut hub,
        conn,
        "<body>x</body><request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>",
    );
    assert_eq!(words(&asked).wants, Wants { delivered: true, displayed: true });
    for (what, want) in [
        (ReceiptKind::Delivered, "<received xmlns='urn:xmpp:receipts' id='m1'/>"),
        (ReceiptKind::Displayed, "<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/>"),
    ] {
        let receipt = Receipt { of: Some(asked.id), native_id: asked.native_id.clone(), what };
        let answer = Envelope { origin: "sip".into(), ..asked.answer(MessageId(9), Body::Receipt(receipt), asked.accepted) };
        let mut hub = self::hub();
        hub.deliver("acme", 1, answer);
        let out = hub.answer_dial("b.example", "a.example");
        let heard = hub.heard(out);
        assert!(heard.contains("to='alice@a.example/x'") && heard.contains(want), "{heard}");
    }
}

#[test]
fn case_38_a_receipt_finds_the_message_of_another_platform() {
    let mut hub = hub();
    let text = Text { plain: "hi".into(), wants: Wants { delivered: true, displayed: true }, ..Text::default() };
    let sent = Envelope {
        id: MessageId(0x77),
        origin: "sip".into(),
        native_id: Some("imdn-1".into()),
        body: Body::Text(text),
        ..crate::common::text("bob@b.example", "alice@a.example", "")
    };
    hub.deliver("acme", 1, sent.clone());
    let out = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(out);
    assert!(heard.contains("<request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>"), "{heard}");
    let id = crate::common::attribute(&heard, "<message", "id");
    assert_eq!(id, references().write(&sent));
    let conn = hub.authenticated("a.example", "b.example");
    for (inside, what) in [
        (format!("<received xmlns='urn:xmpp:receipts' id='{id}'/>"), ReceiptKind::Delivered),
        (format!("<received xmlns='urn:xmpp:chat-markers:0' id='{id}'/>"), ReceiptKind::Delivered),
        (format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/>"), ReceiptKind::Displayed),
    ] {
        let receipt = submitted(&mut hub, conn, &inside);
        assert_eq!(receipt.body, Body::Receipt(Receipt { of: Some(MessageId(0x77)), native_id: Some("imdn-1".into()), what }));
    }
    // Case 39: somebody to whom it was not sent knows nothing of it.
    hub.told();
    hub.receive(
        conn,
        &format!("<message from='eve@a.example' to='bob@b.example'><received xmlns='urn:xmpp:receipts' id='{id}'/></message>"),
    );
    let (_, envelope) = hub.submissions().remove(0);
    assert!(matches!(&envelope.body, Body::Receipt(Receipt { of: None, .. })), "{envelope:?}");
}

#[test]
fn case_28_29_what_a_text_is_to_an_earlier_one_is_told() {
    let mut hub = hub();
    let conn = hub.authenticated("a.example", "b.example");
    let mut relation = |inside: &str| words(&submitted(&mut hub, conn, inside)).relation.clone();
    assert_eq!(relation("<body>new</body><replace xmlns='urn:xmpp:message-correct:0' id='m0'/>"), Some(Relation::Correction));
    assert_eq!(
        relation("<body>&gt; old\nnew</body><reply xmlns='urn:xmpp:reply:0' to='bob@b.example' id='m0'/>"),
        Some(Relation::Reply)
    );
    let reactions = "<reactions xmlns='urn:xmpp:reactions:0' id='m0'><reaction>👋</reaction><reaction>🐢</reaction></reactions>";
    assert_eq!(relation(reactions), Some(Relation::Reaction(vec!["👋".into(), "🐢".into()])));
    assert_eq!(relation("<retract xmlns='urn:xmpp:message-retract:1' id='m0'/>"), Some(Relation::Retraction));
    assert_eq!(relation("<body>x</body>"), None);
    let many = format!("<reactions xmlns='urn:xmpp:reactions:0' id='m0'>{}</reactions>", "<reaction>x</reaction>".repeat(100));
    assert!(matches!(relation(&many), Some(Relation::Reaction(reactions)) if reactions.len() == 32));
}

#[test]
fn case_30_a_shared_file_is_named_once() {
    let mut hub = hub();
    let conn = hub.authenticated("a.example", "b.example");
    let url = "https://files.a.example/x.png";
    let inside = format!("<body>{url}</body><x xmlns='jabber:x:oob'><url>{url}</url><desc>A picture</desc></x>");
    let envelope = submitted(&mut hub, conn, &inside);
    assert_eq!(words(&envelope).files, [SharedFile { url: url.into(), description: Some("A picture".into()) }]);
    // To XMPP from another platform.
    let mut hub = self::hub();
    let text = Text { plain: "look".into(), files: vec![SharedFile { url: url.into(), description: None }], ..Text::default() };
    hub.deliver(
        "acme",
        1,
        Envelope { origin: "sip".into(), body: Body::Text(text), ..crate::common::text("bob@b.example", "alice@a.example", "") },
    );
    let out = hub.answer_dial("b.example", "a.example");
    let heard = hub.heard(out);
    assert!(
        heard.contains(&format!("<body>look\n{url}</body>"))
            && heard.contains(&format!("<x xmlns='jabber:x:oob'><url>{url}</url></x>")),
        "{heard}"
    );
    // What no browser fetches is no file.
    let mut hub = self::hub();
    let conn = hub.authenticated("a.example", "b.example");
    let odd = submitted(&mut hub, conn, "<body>x</body><x xmlns='jabber:x:oob'><url>javascript:alert(1)</url></x>");
    assert!(words(&odd).files.is_empty());
}

#[test]
fn case_27_between_xmpp_servers_unknown_elements_are_passed_on_as_they_are() {
    let omemo = "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='27183'><key rid='31415' prekey='true'>BASE64/+=</key><iv>AA==</iv></header><payload>BB==</payload></encrypted>";
    let hint = "<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl' name='OMEMO'/>";
    let heard = relayed(&format!("<body>I sent you an OMEMO message</body>{omemo}{hint}"));
    assert!(heard.contains(&format!("<body>I sent you an OMEMO message</body>{omemo}{hint}</message>")), "{heard}");
    // Without words as well, and with prefixes of their own.
    let reactions = "<r:reactions xmlns:r='urn:xmpp:reactions:0' id='m0'><r:reaction>&lt;👋&gt;</r:reaction></r:reactions>";
    let heard = relayed(reactions);
    assert!(
        heard.contains("<reactions xmlns='urn:xmpp:reactions:0' id='m0'><reaction>&lt;👋&gt;</reaction></reactions></message>"),
        "{heard}"
    );
    assert!(!heard.contains("<body"), "{heard}");
    let odd =
        "<a xmlns='urn:a'><b xmlns='urn:b' xmlns:q='urn:q' q:x='1' xml:lang='de'>t&amp;<c xmlns='urn:a'/></b><d xmlns=''/></a>";
    let heard = relayed(&format!("<body>x</body>{odd}"));
    assert!(heard.contains("<a xmlns='urn:a'><b xmlns='urn:b' xmlns:a0='urn:q' a0:x='1' xml:lang='de'>t&amp;<c xmlns='urn:a'/></b><d xmlns=''/></a>"), "{heard}");
}

#[test]
fn abuse_6_nobody_speaks_for_somebody_else_by_what_is_passed_on() {
    let spoofs = "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>not hers</body></message></forwarded>\
        <delay xmlns='urn:xmpp:delay' from='elsewhere.example' stamp='2001-01-01T00:00:00Z'/>\
        <stanza-id xmlns='urn:xmpp:sid:0' by='carol@c.example' id='1'/>\
        <result xmlns='jabber:server:dialback'/><error type='cancel'/>";
    let heard = relayed(&format!("<body>x</body>{spoofs}<stanza-id xmlns='urn:xmpp:sid:0' by='alice@a.example' id='2'/>"));
    for gone in ["forwarded", "not hers", "elsewhere", "carol@c.example' id='1'", "dialback", "<error"] {
        assert!(!heard.contains(gone), "{gone}: {heard}");
    }
    assert!(heard.contains("<stanza-id xmlns='urn:xmpp:sid:0' by='alice@a.example' id='2'/>"), "{heard}");
    // Case 80: carbons and archives are dropped whole.
    let mut hub = hub();
    let conn = hub.authenticated("a.example", "b.example");
    for forged in [
        "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received>",
        "<body>x</body><result xmlns='urn:xmpp:mam:2' id='1'/>",
    ] {
        assert!(said(&mut hub, conn, forged).is_empty());
    }
}

#[test]
fn a_native_form_from_the_bus_is_trusted_no_more_than_a_peer() {
    for payload in [
        "</message><message from='eve@a.example'><body>x</body>",
        "<x xmlns='urn:x'>",
        "<x xmlns='urn:x'/><!-- -->",
        "<a:x/>",
        "text",
        "<x xmlns='urn:x'/></message></s><s><message>",
    ] {
        let native = interchange_model::Native { platform: interchange_xmpp::PLATFORM.name(), payload: payload.into() };
        let mut hub = hub();
        hub.deliver(
            "globex",
            1,
            Envelope { native: Some(native), origin: "acme".into(), ..text("alice@a.example", "carol@c.example", "hi") },
        );
        let out = hub.answer_dial("a.example", "c.example");
        let heard = hub.heard(out);
        assert!(heard.contains("<body>hi</body></message><iq "), "{payload}: {heard}");
    }
}

#[test]
fn case_21_a_choice_of_languages_is_made_for_the_recipient() {
    let mut hub = hub();
    let conn = hub.authenticated("a.example", "b.example");
    let both = "<body xml:lang='en'>hello</body><body xml:lang='de'>hallo</body>";
    assert_eq!(words(&submitted(&mut hub, conn, both)).plain.as_str(), "hello");
    let german = Text { plain: "guten Tag".into(), language: Some("de".into()), ..Text::default() };
    hub.deliver(
        "acme",
        1,
        Envelope { origin: "sip".into(), body: Body::Text(german), ..text("bob@b.example", "alice@a.example", "") },
    );
    hub.answer_dial("b.example", "a.example");
    let chosen = submitted(&mut hub, conn, both);
    assert_eq!((words(&chosen).plain.as_str(), words(&chosen).language.as_deref()), ("hallo", Some("de")));
}
