//! What a person on XMPP says to a person on XMPP through two hubs with SIP between them: XMPP → model → SIP → model → XMPP.
//! Any words and any address arrive unchanged, or the sender's side is told a reason. Adapters without their drivers,
//! and bytes at every end; the peers' escaping is written here again, so that it shares no mistake with ours.

#[path = "../../adapters/sip/tests/common/mod.rs"]
mod sip;
#[path = "../../adapters/xmpp/tests/common/mod.rs"]
mod xmpp;

use std::fmt::Write as _;

use interchange_adapter::Transport;
use interchange_model::{Address, Domain, Envelope, Outcome, Plain, Refusal};
use proptest::prelude::*;

/// Bytes of text that both adapters take in one message.
const MOST_TEXT: usize = 65_536;

/// How far a message came.
#[derive(Debug, PartialEq)]
enum End {
    /// The sender's server was told so, or the operator where the sender has no address, by this text.
    RefusedByXmpp(String),
    /// The broker was told so, which tells the sender.
    RefusedBySip(Refusal),
    /// What the recipient's server heard: from, to, body.
    Arrived { from: String, to: String, body: String },
}

fn send(from: &str, to: &str, words: &str) -> End {
    let envelope = match from_xmpp(from, to, words, "") {
        Ok(envelope) => envelope,
        Err(told) => return End::RefusedByXmpp(told),
    };
    match through_sip(envelope, sip::LB) {
        Ok(envelope) => arrived(&to_xmpp(envelope, "{}")),
        Err(why) => End::RefusedBySip(why),
    }
}

/// The envelope of what Alice's server says, or what it was told instead. `beside`: other elements of the stanza.
fn from_xmpp(from: &str, to: &str, words: &str, beside: &str) -> Result<Envelope, String> {
    let mut hub = xmpp::Hub::new(&[xmpp::link("la", &["a.example"], "{}")], &["b.example"]);
    let conn = hub.authenticated("a.example", "b.example");
    hub.told();
    let (from, to, words) = (xml(&jid(from, "a.example")), xml(&jid(to, "b.example")), xml(words));
    let stanza =
        format!("<message from='{from}/x' to='{to}' type='chat' id='m1'><subject/><body>{words}</body>{beside}</message>");
    let heard = hub.say(conn, &stanza);
    let mut submitted = hub.submissions();
    assert!(submitted.len() <= 1, "{submitted:?}");
    if let Some((_, envelope)) = submitted.pop() {
        return Ok((*envelope).clone());
    }
    // What is wrong with a stanza goes back over the stream to its sender; what is wrong with the stream ends it.
    if hub.closed(conn).is_some() {
        return Err(heard);
    }
    // Nobody can be told whose own address is wrong, but the operator.
    if let Some(note) = hub.notes.pop() {
        return Err(note);
    }
    let back = hub.answer_dial("b.example", "a.example");
    Err(hub.heard(back))
}

/// The same after it was a request between two hubs of different names.
fn through_sip(envelope: Envelope, link: &str) -> Result<Envelope, Refusal> {
    let (mut hub, conn) = sip::Hub::up(link);
    hub.sends.clear();
    hub.deliver(1, envelope);
    if let Some((_, Outcome::Refused(why) | Outcome::RefusedWith(why, _))) = hub.settled().pop() {
        return Err(why);
    }
    let links = [
        sip::link("lb", &["a.example"], r#"{"host":"sip.a.example"}"#),
        sip::link("lc", &["b.example"], r#"{"host":"sip.b.example"}"#),
    ];
    let mut other = sip::Hub::named("other.example", 9, "{}", &links);
    let inbound = other.accept(Transport::Tls, "192.0.2.20:40000", Some(sip::proof("a.example")));
    for (on, bytes) in &hub.sends {
        assert_eq!(*on, conn);
        // Streams have no borders.
        for piece in bytes.chunks(997) {
            other.receive(inbound, piece);
        }
    }
    let submitted = other.submitted();
    let [(_, envelope)] = &submitted[..] else { panic!("{:?} {:?}", other.wire(inbound), other.notes) };
    Ok((**envelope).clone())
}

/// The stanza that Bob's server hears.
fn to_xmpp(envelope: Envelope, link: &str) -> String {
    let mut hub = xmpp::Hub::new(&[xmpp::link("lb", &["b.example"], link)], &["a.example"]);
    // No link of this adapter is the one that it came in over.
    hub.deliver("lb", 1, Envelope { origin: "sip".into(), ..envelope });
    let conn = hub.answer_dial("a.example", "b.example");
    let heard = hub.heard(conn);
    let stanza = &heard[heard.find("<message ").unwrap_or_else(|| panic!("{heard:?}"))..];
    assert_eq!(heard.matches("<message ").count(), 1, "{heard}");
    stanza.to_owned()
}

/// Who says what to whom in a stanza.
fn arrived(stanza: &str) -> End {
    let body = stanza.split_once("<body>").and_then(|(_, rest)| rest.split_once("</body>")).unwrap_or_else(|| panic!("{stanza}"));
    let from = plain(&xmpp::attribute(stanza, "<message", "from"));
    let to = plain(&xmpp::attribute(stanza, "<message", "to"));
    End::Arrived { from, to, body: plain(body.0) }
}

/// A bare JID, its user escaped by the table of XEP-0106 §4.1.
fn jid(user: &str, domain: &str) -> String {
    const TABLE: [(&str, &str); 9] = [
        (" ", r"\20"),
        ("\"", r"\22"),
        ("&", r"\26"),
        ("'", r"\27"),
        ("/", r"\2f"),
        (":", r"\3a"),
        ("<", r"\3c"),
        (">", r"\3e"),
        ("@", r"\40"),
    ];
    // First every backslash that would read as an escape.
    let mut escaped = String::new();
    for (at, c) in user.char_indices() {
        let next = user.get(at..at + 3).unwrap_or_default().to_ascii_lowercase();
        let reads = next == r"\5c" || TABLE.iter().any(|(_, escape)| *escape == next);
        if c == '\\' && reads { escaped.push_str(r"\5c") } else { escaped.push(c) }
    }
    for (text, escape) in TABLE {
        escaped = escaped.replace(text, escape);
    }
    format!("{escaped}@{domain}")
}

/// Text as it may stand in XML, between tags or between apostrophes.
fn xml(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '\r' => write!(out, "&#{};", u32::from(c)).expect("to a string"),
            c => out.push(c),
        }
    }
    out
}

/// What the references of XML stand for.
fn plain(text: &str) -> String {
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(';').expect("a whole reference");
        let number = |radix, digits| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let c = match name {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => match name.strip_prefix("#x") {
                Some(digits) => number(16, digits),
                None => name.strip_prefix('#').and_then(|digits| number(10, digits)),
            },
        };
        out.push(c.unwrap_or_else(|| panic!("&{name};")));
        out.push_str(rest);
    }
    out
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        // Everything that XML can carry, with many of the characters that mean something to somebody.
        3 => "[^\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{fffe}\u{ffff}]{1,40}",
        3 => "[ \t\r\n<>&'\";:%=,\\\\\u{1f600}\u{200d}\u{202e}\u{feff}\u{85}\u{2028}a-c.-]{1,60}",
        1 => "(\r\n|--x|Content-Type: text/html\r\n\r\n|MESSAGE sip:a@b SIP/2\\.0\r\n|]]>|</body>|&amp;|%0d%0a){1,6}",
        1 => (1_usize..70_000).prop_map(|length| "žá".repeat(length / 4 + 1)),
    ]
}

fn user() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9.]{0,9}",
        r#"[a-cA-C "&'/:<>@\\%;=+,?$!*()\[\]2570cCfF#{}|^`~.-]{1,12}"#,
        "\\PC{1,12}",
        (900_usize..1_100).prop_map(|length| "u".repeat(length)),
    ]
}

/// Whether our model has such an address, and XMPP a way to write it (RFC 7622 §3.3.1: 1,023 bytes, escapes counted).
fn is_person(user: &str) -> bool {
    let domain = Domain::parse("a.example").expect("a domain");
    Address::new(user, domain).is_ok() && jid(user, "").len() <= 1_024
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_words_and_any_address_arrive_unchanged_or_are_refused(from in user(), to in user(), words in words()) {
        let expected = Plain::new(&words);
        match send(&from, &to, &words) {
            End::Arrived { from: came_from, to: went_to, body } => {
                // The model keeps people in NFC, and line ends as LF.
                let kept = |user: &str, domain: &str| {
                    let address = Address::new(user, Domain::parse(domain).expect("a domain")).expect("an address");
                    jid(address.user(), domain)
                };
                prop_assert_eq!(came_from, kept(&from, "a.example"));
                prop_assert_eq!(went_to, kept(&to, "b.example"));
                prop_assert_eq!(body, expected.as_str());
            }
            // A reason, and there is one.
            End::RefusedByXmpp(told) => {
                let noted = told.contains("was dropped for its sender: ") && !is_person(&from);
                prop_assert!(noted || told.contains("<error ") || told.contains("<stream:error>"), "{}", told);
                prop_assert!(words.len() > MOST_TEXT || !is_person(&from) || !is_person(&to), "{:?} {:?}: {}", from, to, told);
            }
            End::RefusedBySip(why) => {
                prop_assert_eq!(why, Refusal::TooLarge);
                prop_assert!(expected.as_str().len() > MOST_TEXT / 4);
            }
        }
    }
}

#[test]
fn the_addresses_of_the_interworking_table_arrive() {
    for user in [
        "alice",
        "o'malley",
        "m&m",
        "tschüss",
        "space cadet",
        "call:me",
        "at@home",
        "a/b",
        "100%",
        r"a\20b",
        r"c:\5c",
        "<x>",
        "ﬁ",
        "+49;x=1",
    ] {
        let end = send(user, "bob", "hello");
        let want = End::Arrived { from: jid(user, "a.example"), to: "bob@b.example".into(), body: "hello".into() };
        assert_eq!(end, want, "{user}");
    }
}

#[test]
fn what_xml_cannot_carry_ends_the_stream_with_a_reason() {
    let End::RefusedByXmpp(told) = send("alice", "bob", "a\u{1}b") else { panic!("it went through") };
    assert!(told.contains("not-well-formed"), "{told}");
}

#[test]
fn formatted_text_arrives_as_it_looked_where_both_links_want_it() {
    let body = "<body xmlns=\"http://www.w3.org/1999/xhtml\"><p><strong>b&lt;</strong>&#160; <em>i</em><br/>\
        <a href=\"https://a.example/?a&amp;b\">l</a></p><ol><li>one</li><li>two</li></ol><pre>  x\ty</pre></body>";
    let html = format!("<html xmlns=\"http://jabber.org/protocol/xhtml-im\">{body}</html>");
    let words = "b< i\nl (https://a.example/?a&b)\n1. one\n2. two\n  x\ty";
    for (sip, xmpp, is_there) in
        [(r#"{"host":"sip.b.example","html":true}"#, r#"{"xhtml_im":true}"#, true), (sip::LB, "{}", false)]
    {
        let envelope = from_xmpp("alice", "bob", words, &html).expect("an envelope");
        let stanza = to_xmpp(through_sip(envelope, sip).expect("it went through"), xmpp);
        let want = End::Arrived { from: "alice@a.example".into(), to: "bob@b.example".into(), body: words.into() };
        assert_eq!(arrived(&stanza), want);
        // Blanks that count are all written as such.
        assert_eq!(stanza.contains(&html.replace("&#160; ", "&#160;&#160;")), is_there, "{stanza}");
    }
}
