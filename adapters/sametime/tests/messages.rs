//! Messages, both ways.

use std::time::Duration;

use crate::common::*;
use interchange_adapter::{CloseReason, ConnId};
use interchange_model::{
    Body, Detail, Failure, Outcome, Receipt, ReceiptKind, Refusal, Relation, Rich, Span, Style, Text, TypingState, Wants,
    Words as RichWords,
};
use interchange_sametime::codec::{Body as Words, ClientType, Message, Said, WireString, data, mode};
use interchange_sametime::reason;

const EVE: &str = "@E eve@globex.example";

fn said(words: &str) -> Said {
    Said::Text(words.into())
}

/// What alice has written, as the broker gets it.
fn written(world: &mut World) -> Vec<Text> {
    world
        .submitted()
        .into_iter()
        .map(|(_, envelope)| {
            assert_eq!(
                (envelope.from.to_string(), envelope.to.to_string()),
                ("alice@acme.example".into(), "eve@globex.example".into())
            );
            assert_eq!(envelope.origin, "acme".into());
            match envelope.body {
                Body::Text(text) => text,
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

#[test]
fn text_html_mime_parts_and_subject_reach_the_broker() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let channel = world.call(conn, EVE, ClientType::RICH, mode::NONE);
    world.speak(conn, channel, &said("hi there"));
    world.speak(conn, channel, &Said::data(data::SUBJECT, 0, b"Lunch".to_vec()));
    world.speak(conn, channel, &Said::data(data::HTML, 0, b"<b>bold</b> &amp; plain &#228;".to_vec()));
    let mime = "Mime-Version: 1.0\r\nContent-Type: multipart/related; boundary=\"xx\"; type=\"text/html\"\r\n\r\n--xx\r\n\
        Content-Type: text/html; charset=\"utf-8\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\n<i>look</i>\r\n--xx\r\n\
        Content-Type: image/png\r\nContent-ID: <a@b>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0=\r\n--xx--\r\n";
    world.speak(conn, channel, &Said::data(data::MIME, 0, mime.as_bytes().to_vec()));
    world.speak(conn, channel, &Said::data(data::PARTS, 0, Vec::new()));
    world.speak(conn, channel, &Said::data(data::HTML, 0, b"one <b>tw".to_vec()));
    world.speak(conn, channel, &Said::data(data::HTML, 0, b"o</b>".to_vec()));
    world.speak(conn, channel, &Said::data(data::PARTS_END, 0, Vec::new()));
    let texts = written(&mut world);
    let plain: Vec<&str> = texts.iter().map(|text| text.plain.as_str()).collect();
    assert_eq!(plain, ["hi there", "bold & plain ä", "look", "one two"]);
    assert_eq!(texts[1].subject.as_ref().map(|subject| subject.as_str()), Some("Lunch"));
    assert_eq!(texts[0].display_name.as_ref().map(|name| name.as_str()), Some("Alice Adams"));
    assert!(texts[0].rich.is_none() && texts[1..].iter().all(|text| text.rich.is_some()));
    assert!(texts[2].subject.is_none(), "a subject is of one text");
}

#[test]
fn trap_7_a_conversation_that_is_opened_says_nothing() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.ups();
    let channel = world.call(conn, EVE, ClientType::RICH, mode::NONE);
    world.say(conn, &Message::destroy(channel, reason::NONE));
    assert!(world.ups().is_empty(), "nobody is woken by a window that was opened");
}

#[test]
fn conversations_are_encrypted_as_the_client_offers() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    for (offer, cipher) in
        [(mode::NONE, None), (mode::WHATEVER, Some(1)), (mode::ALL, Some(1)), (mode::RC2_40, Some(0)), (mode::RC2_128, Some(1))]
    {
        let (id, address) = (format!("@E u{offer:x}@globex.example"), format!("u{offer:x}@globex.example"));
        let channel = world.call(conn, &id, ClientType::RICH, offer);
        assert_eq!(world.clients[&conn].talks[&channel].agreed, cipher, "{offer:04x}");
        world.speak(conn, channel, &said("to them"));
        world.speak(conn, channel, &said("again"));
        let submitted = world.submitted();
        assert_eq!(
            submitted.iter().map(|(_, envelope)| words(envelope)).collect::<Vec<_>>(),
            ["to them", "again"],
            "{offer:04x}"
        );
        // What comes back is encrypted as well.
        let delivery = world.deliver(text(1, &address, "alice@acme.example", "from them"));
        world.deliver(text(2, &address, "alice@acme.example", "more"));
        assert_eq!(world.log(conn), [Event::text(&id, "from them"), Event::text(&id, "more")], "{offer:04x}");
        assert_eq!(world.settled()[0], (delivery, Outcome::Delivered));
    }
    // Ciphers that nobody knows, and a key that is none.
    world.call(conn, EVE, ClientType::RICH, 0x4000);
    assert_eq!(world.log(conn), []);
}

#[test]
fn unencrypted_words_on_an_encrypted_conversation_are_taken() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let channel = world.call(conn, EVE, ClientType::RICH, mode::WHATEVER);
    world.speak(conn, channel, &said("one"));
    let plain = Message::new(channel, Words::Send { kind: 0x64, payload: said("two").write() });
    world.say(conn, &plain);
    world.speak(conn, channel, &said("three"));
    let texts = written(&mut world);
    assert_eq!(texts.iter().map(|text| text.plain.as_str()).collect::<Vec<_>>(), ["one", "two", "three"]);
}

#[test]
fn what_is_certainly_for_nobody_is_refused_at_once() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    for (target, why) in [
        ("@E eve@nowhere.example", 0x8000_0006),
        ("@E ", 0x8000_0006),
        ("", 0x8000_0006),
        ("alice", 0x8000_0006),
        // A colleague who is not signed in, whoever that may be.
        ("bob", 0x8000_2000),
        ("nobody", 0x8000_2000),
    ] {
        world.call(conn, target, ClientType::RICH, mode::NONE);
        assert_eq!(world.log(conn), [Event::Ended(target.to_owned(), why)]);
    }
    // A type of client that has places, and one that nobody knows: the client tries again with a plain one.
    for client in [ClientType(0x19), ClientType(7)] {
        world.call(conn, EVE, client, mode::NONE);
        assert_eq!(world.log(conn), [Event::Ended(EVE.to_owned(), 0x8000_2005)]);
    }
    assert!(world.submitted().is_empty());
}

#[test]
fn a_refusal_of_the_broker_is_told_in_the_conversation_and_a_lasting_one_at_once_the_next_time() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    for refusal in Refusal::ALL {
        let target = format!("@E {}@globex.example", refusal.label());
        let channel = world.call(conn, &target, ClientType::RICH, mode::NONE);
        world.speak(conn, channel, &said("hello"));
        let [(token, _)] = world.submitted()[..] else { panic!("one text") };
        world.answer(token, Err(refusal));
        let words = format!("Your message was not delivered. {}", refusal.sentence());
        let lasting = matches!(refusal, Refusal::UnknownDomain | Refusal::NoSuchUser | Refusal::NotAllowed | Refusal::NotYours);
        let mut wanted = vec![Event::text(&target, &words)];
        wanted.extend(lasting.then(|| Event::Ended(target.clone(), reason::of(refusal))));
        assert_eq!(world.log(conn), wanted, "{refusal}");
        if lasting {
            world.call(conn, &target, ClientType::RICH, mode::NONE);
            assert_eq!(world.log(conn), [Event::Ended(target.clone(), reason::of(refusal))]);
            world.pass(Duration::from_secs(61));
            world.run();
            world.call(conn, &target, ClientType::RICH, mode::NONE);
            assert_eq!(world.log(conn), [], "people may have become partners");
        }
    }
}

#[test]
fn a_failure_that_comes_later_reaches_the_sender_also_where_the_conversation_is_closed() {
    let mut world = World::new(PLAIN);
    let (conn, other) = (world.sign_in("alice"), world.sign_in("alice"));
    world.call(conn, EVE, ClientType::RICH, mode::NONE);
    let sent = text(1, "alice@acme.example", "eve@globex.example", "hi").id;
    let failure =
        Failure { of: Some(sent), native_id: None, why: Refusal::TooLarge, detail: Some(Detail::Most { bytes: 1_000 }) };
    let delivery = world.deliver(envelope(2, "eve@globex.example", "alice@acme.example", Body::Failure(failure.clone())));
    let words = "Your message of 2027-01-15 08:00:00 UTC was not delivered. The message is larger than the recipient's system takes. At most 1000 bytes of text are taken.";
    assert_eq!(world.log(conn), [Event::text(EVE, words)]);
    assert_eq!(world.log(other), [], "only where it was written");
    assert_eq!(world.settled(), [(delivery, Outcome::Delivered)]);
    // Nobody is there: it waits, whatever the link's setting.
    world.hang_up(conn);
    world.hang_up(other);
    let delivery = world.deliver(envelope(3, "eve@globex.example", "alice@acme.example", Body::Failure(failure)));
    assert_eq!(world.settled(), [(delivery, Outcome::Absent)]);
}

#[test]
fn a_message_is_delivered_when_the_client_has_shown_that_it_has_it() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.clients.get_mut(&conn).unwrap().answers = false;
    let delivery = world.deliver(text(1, "eve@globex.example", "alice@acme.example", "hello"));
    assert_eq!(world.settled(), []);
    let log = world.log(conn);
    let [Event::Other(Message { body: Words::Create(create), .. })] = &log[..] else { panic!("{log:?}") };
    assert!(create.id & 0x8000_0000 != 0, "trap 5");
    let creator = create.creator.as_ref().unwrap();
    assert_eq!((creator.user.to_text(), creator.community.is_empty()), (EVE.into(), true));
    // The client takes the conversation: the words come, and a question behind them; and only when that is answered it is settled.
    let accept = interchange_sametime::codec::Accept {
        service: 0x1000,
        protocol: 0x1000,
        version: 3,
        data: create.data.clone(),
        ..Default::default()
    };
    world.say(conn, &Message::new(create.id, Words::Accept(accept)));
    let frames = world.taken(conn);
    let [Message { body: Words::Send { payload, .. }, .. }, Message { body: Words::Create(probe), .. }] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!(Said::read(payload), Ok(said("hello")));
    assert_eq!(world.settled(), []);
    world.say(conn, &Message::destroy(probe.id, reason::NOT_REGISTERED));
    assert_eq!(world.settled(), [(delivery, Outcome::Delivered)]);
    assert!(world.taken(conn).is_empty());
}

#[test]
fn without_questions_a_message_is_delivered_when_it_is_written() {
    let mut world = World::new(r#"{"plain_networks":["192.0.2.0/24"],"probe":false}"#);
    let conn = world.sign_in("alice");
    let delivery = world.deliver(text(1, "eve@globex.example", "alice@acme.example", "hello"));
    assert_eq!(world.settled(), [(delivery, Outcome::Delivered)]);
    assert_eq!(world.log(conn), [Event::text(EVE, "hello")]);
}

#[test]
fn a_message_that_is_not_answered_for_is_not_delivered() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let first = world.deliver(text(1, "eve@globex.example", "alice@acme.example", "one"));
    assert_eq!(world.settled(), [(first, Outcome::Delivered)]);
    // The client hangs.
    world.clients.get_mut(&conn).unwrap().answers = false;
    let second = world.deliver(text(2, "eve@globex.example", "alice@acme.example", "two"));
    assert_eq!(world.settled(), []);
    world.pass(Duration::from_secs(31));
    assert_eq!(world.closed(conn), Some(CloseReason::TimedOut));
    assert_eq!(world.settled(), [(second, Outcome::Refused(Refusal::Unavailable))]);
}

#[test]
fn a_client_that_takes_some_conversations_and_never_one_is_not_waited_for_for_ever() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.clients.get_mut(&conn).unwrap().answers = false;
    let delivery = world.deliver(text(1, "eve@globex.example", "alice@acme.example", "hello"));
    world.clients.get_mut(&conn).unwrap().answers = true;
    for number in 0..10 {
        world.idle(Duration::from_secs(4));
        world.deliver(text(number, &format!("u{number}@globex.example"), "alice@acme.example", "hello"));
    }
    assert_eq!(world.closed(conn), Some(CloseReason::TimedOut));
    assert!(world.settled().contains(&(delivery, Outcome::Refused(Refusal::Unavailable))));
}

#[test]
fn all_logins_are_told_and_the_first_that_has_it_settles_it() {
    let mut world = World::new(PLAIN);
    let (one, two) = (world.sign_in("alice"), world.sign_in("alice"));
    let delivery = world.deliver(text(1, "eve@globex.example", "alice@acme.example", "hello"));
    assert_eq!(world.settled(), [(delivery, Outcome::Delivered)]);
    for conn in [one, two] {
        assert_eq!(world.log(conn), [Event::text(EVE, "hello")]);
    }
    // One hangs, the other has it.
    world.clients.get_mut(&one).unwrap().answers = false;
    let delivery = world.deliver(text(2, "eve@globex.example", "alice@acme.example", "more"));
    assert_eq!(world.settled(), [(delivery, Outcome::Delivered)]);
    world.pass(Duration::from_secs(40));
    world.run();
    assert_eq!(world.settled(), [], "it is settled once");
    assert!(world.closed(one).is_some() && world.closed(two).is_none());
}

#[test]
fn a_hundred_messages_arrive_once_and_in_order() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.clients.get_mut(&conn).unwrap().answers = false;
    let mut deliveries: Vec<_> = (0..50)
        .map(|number| world.deliver(text(number, "eve@globex.example", "alice@acme.example", &number.to_string())))
        .collect();
    // What was opened is taken late; what comes then comes behind.
    let client = world.clients.get_mut(&conn).unwrap();
    client.answers = true;
    let opened: Vec<Event> = std::mem::take(&mut client.log);
    let messages = opened.into_iter().map(|event| match event {
        Event::Other(message) => message,
        other => panic!("{other:?}"),
    });
    world.frames.insert(conn, messages.collect());
    world.run();
    deliveries.extend(
        (50..100).map(|number| world.deliver(text(number, "eve@globex.example", "alice@acme.example", &number.to_string()))),
    );
    let wanted: Vec<Event> = (0..100).map(|number| Event::text(EVE, &number.to_string())).collect();
    assert_eq!(world.log(conn), wanted);
    let wanted: Vec<_> = deliveries.into_iter().map(|delivery| (delivery, Outcome::Delivered)).collect();
    assert_eq!(world.settled(), wanted);
}

#[test]
fn words_that_cross_the_end_of_a_conversation_are_said_again() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.deliver(text(1, "eve@globex.example", "alice@acme.example", "one"));
    world.log(conn);
    world.settled();
    let channel = world.clients[&conn].talk(EVE);
    // The window is closed; what comes on it is thrown away.
    world.clients.get_mut(&conn).unwrap().talks.remove(&channel);
    world.clients.get_mut(&conn).unwrap().answers = false;
    let delivery = world.deliver(text(2, "eve@globex.example", "alice@acme.example", "two"));
    world.clients.get_mut(&conn).unwrap().log.clear();
    world.clients.get_mut(&conn).unwrap().answers = true;
    world.say(conn, &Message::destroy(channel, reason::NONE));
    world.run();
    assert_eq!(world.log(conn), [Event::text(EVE, "two")]);
    // The question of before is still open; its answer is for what was before.
    assert!(world.settled().is_empty() || world.settled() == [(delivery, Outcome::Delivered)]);
}

#[test]
fn a_client_that_closes_every_conversation_is_not_called_for_ever() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.clients.remove(&conn);
    let delivery = world.deliver(text(1, "eve@globex.example", "alice@acme.example", "hello"));
    for turn in 0..50 {
        let frames = world.taken(conn);
        if frames.is_empty() {
            assert!(turn < 20, "{turn}");
            break;
        }
        for frame in frames {
            let Words::Create(create) = frame.body else { continue };
            if ClientType::read(&create.data) == Some(ClientType(2)) {
                continue;
            }
            let accept = interchange_sametime::codec::Accept { service: 0x1000, data: create.data.clone(), ..Default::default() };
            world.say(conn, &Message::new(create.id, Words::Accept(accept)));
            world.say(conn, &Message::destroy(create.id, reason::NONE));
        }
    }
    assert_eq!(world.settled(), [(delivery, Outcome::Refused(Refusal::Unavailable))]);
}

#[test]
fn what_a_client_cannot_show_is_asked_for_in_plain_and_what_it_will_not_take_is_refused() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.clients.get_mut(&conn).unwrap().client = ClientType::PLAIN;
    let rich =
        Rich::new([Span::Words(RichWords { text: "bold".into(), style: Style { bold: true, ..Style::default() } })]).unwrap();
    let body = |rich: &Rich| Body::Text(Text { plain: "bold".into(), rich: Some(rich.clone()), ..Text::default() });
    let delivery = world.deliver(envelope(1, "eve@globex.example", "alice@acme.example", body(&rich)));
    assert_eq!(world.log(conn), [Event::text(EVE, "bold")]);
    assert_eq!(world.settled(), [(delivery, Outcome::Delivered)]);
    // Do not disturb: the library refuses by itself.
    let conn = world.sign_in("bob");
    for (why, refusal) in
        [(0x8000_2001, Refusal::Unavailable), (0x8000_0003, Refusal::PeerRefused), (0x8000_2000, Refusal::Unavailable)]
    {
        world.clients.get_mut(&conn).unwrap().refuses = Some(why);
        let delivery = world.deliver(text(2, "eve@globex.example", "bob@acme.example", "hello"));
        assert_eq!(world.settled(), [(delivery, Outcome::Refused(refusal))]);
    }
    world.clients.get_mut(&conn).unwrap().refuses = None;
    let delivery = world.deliver(envelope(3, "eve@globex.example", "bob@acme.example", body(&rich)));
    let log = world.log(conn);
    assert!(matches!(&log[..], [Event::Html(from, html)] if from == EVE && html.contains("bold")), "{log:?}");
    assert_eq!(world.settled(), [(delivery, Outcome::Delivered)]);
}

#[test]
fn people_who_are_not_signed_in_are_absent_held_for_or_nobody() {
    for (offline, outcome) in [("refuse", Outcome::Refused(Refusal::Unavailable)), ("hold", Outcome::Absent)] {
        let mut world = World::new(&format!(r#"{{"plain_networks":["192.0.2.0/24"],"offline":"{offline}"}}"#));
        let delivery = world.deliver(text(1, "eve@globex.example", "Alice@acme.example", "hello"));
        assert_eq!((world.settled(), world.find()), (vec![], 1));
        assert_eq!(world.settled(), [(delivery, outcome)]);
        let delivery = world.deliver(text(2, "eve@globex.example", "mallory@acme.example", "hello"));
        world.find();
        assert_eq!(world.settled(), [(delivery, Outcome::Refused(Refusal::NoSuchUser))], "{offline}");
        // Somebody who was found by a part of their name is not the one that was meant.
        let delivery = world.deliver(text(3, "eve@globex.example", "ali@acme.example", "hello"));
        world.find();
        assert_eq!(world.settled(), [(delivery, Outcome::Refused(Refusal::NoSuchUser))], "{offline}");
        // Somebody who signs in while the directory is asked gets it.
        let delivery = world.deliver(text(4, "eve@globex.example", "alice@acme.example", "hello"));
        let conn = world.sign_in("alice");
        world.find();
        world.run();
        assert_eq!(world.log(conn), [Event::text(EVE, "hello")]);
        assert_eq!(world.settled(), [(delivery, Outcome::Delivered)]);
    }
    let mut world = World::new(PLAIN);
    let delivery = world.deliver(text(1, "eve@globex.example", "alice@acme.example", "hello"));
    let query = 1;
    let result = Err(interchange_adapter::SignInError::Unavailable);
    world.input(interchange_adapter::Input::Found { conn: ConnId::dialled(0), query, result });
    assert_eq!(world.settled(), [(delivery, Outcome::Refused(Refusal::TimedOut))], "it is tried again");
}

#[test]
fn trap_3_somebody_is_the_one_whom_the_client_has_in_its_list_however_it_spells_them() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    for (spelling, from) in [("@E Eve@Globex.Example", "eve@globex.example"), ("Ann@globex.example", "ann@GLOBEX.example")] {
        world.watch(conn, &interchange_sametime::codec::Awareness::Add(vec![aware(spelling)]));
        world.log(conn);
        world.deliver(text(1, from, "alice@acme.example", "hello"));
        assert_eq!(world.log(conn), [Event::text(spelling, "hello")]);
    }
    // Or as it wrote to them last.
    let channel = world.call(conn, "@E MAX@globex.example", ClientType::RICH, mode::NONE);
    world.say(conn, &Message::destroy(channel, reason::NONE));
    world.clients.get_mut(&conn).unwrap().talks.remove(&channel);
    world.deliver(text(2, "max@globex.example", "alice@acme.example", "hello"));
    assert_eq!(world.log(conn), [Event::text("@E MAX@globex.example", "hello")]);
}

#[test]
fn abuse_33_a_long_text_comes_in_strings_that_the_client_can_take_and_whole() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let long: String = "äöü\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} ".repeat(8_000);
    let delivery = world.deliver(text(1, "eve@globex.example", "alice@acme.example", &long));
    let pieces: Vec<String> = world
        .log(conn)
        .into_iter()
        .map(|event| match event {
            Event::Text(_, words) => words,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= WireString::LONGEST));
    assert_eq!(pieces.concat(), long);
    assert!(pieces.iter().all(|piece| !piece.starts_with('\u{200D}')), "never inside what a person sees as one");
    assert_eq!(world.settled(), [(delivery, Outcome::Delivered)]);
    // Formatted text of more than 2,048 bytes comes in parts.
    let words = "bold ".repeat(2_000);
    let style = Style { bold: true, ..Style::default() };
    let rich = Rich::new([Span::Words(RichWords { text: words.as_str().into(), style })]).unwrap();
    let body = Body::Text(Text { plain: words.as_str().into(), rich: Some(rich), ..Text::default() });
    world.deliver(envelope(2, "eve@globex.example", "alice@acme.example", body));
    let log = world.log(conn);
    let html: String =
        log.iter().filter_map(|event| if let Event::Html(_, part) = event { Some(part.as_str()) } else { None }).collect();
    assert!(log.len() > 4 && html.contains(words.trim_end()), "{}", log.len());
}

#[test]
fn a_text_that_is_late_says_when_it_was_written() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    world.idle(Duration::from_secs(100));
    world.deliver(text(1, "eve@globex.example", "alice@acme.example", "fresh"));
    world.idle(Duration::from_secs(3_500));
    world.deliver(text(2, "eve@globex.example", "alice@acme.example", "stale"));
    assert_eq!(world.log(conn), [Event::text(EVE, "fresh"), Event::text(EVE, "[2027-01-15 08:00:00 UTC] stale")]);
}

#[test]
fn a_reaction_and_a_correction_are_said_in_words() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let texts = [
        Text { relation: Some(Relation::Reaction(vec!["👋".into(), "🐢".into()])), ..Text::default() },
        Text { plain: "new words".into(), relation: Some(Relation::Correction), ..Text::default() },
    ];
    for (number, text) in (1..).zip(texts) {
        world.deliver(envelope(number, "eve@globex.example", "alice@acme.example", Body::Text(text)));
    }
    assert_eq!(world.log(conn), [Event::text(EVE, "reacted with 👋 🐢"), Event::text(EVE, "* new words")]);
}

#[test]
fn whoever_wants_to_know_that_it_arrived_is_told() {
    let mut world = World::new(PLAIN);
    world.sign_in("alice");
    let wants = Wants { delivered: true, displayed: true };
    let body = Body::Text(Text { plain: "hello".into(), wants, ..Text::default() });
    let sent = interchange_model::Envelope {
        native_id: Some("m1".into()),
        ..envelope(1, "eve@globex.example", "alice@acme.example", body)
    };
    world.deliver(sent.clone());
    let [(_, receipt)] = &world.submitted()[..] else { panic!("one receipt") };
    let what = Receipt { of: Some(sent.id), native_id: Some("m1".into()), what: ReceiptKind::Delivered };
    assert_eq!((&receipt.from, &receipt.to, &receipt.body), (&sent.to, &sent.from, &Body::Receipt(what)));
    let delivery = world.deliver(envelope(2, "eve@globex.example", "alice@acme.example", receipt.body.clone()));
    assert!(world.settled().contains(&(delivery, Outcome::Delivered)), "a receipt is taken, though nothing shows it");
}

#[test]
fn trap_4_typing_goes_both_ways_and_opens_nothing() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let channel = world.call(conn, EVE, ClientType::RICH, mode::NONE);
    world.tolds();
    for (subtype, state) in [(0, TypingState::Composing), (1, TypingState::Paused)] {
        world.speak(conn, channel, &Said::data(data::TYPING, subtype, Vec::new()));
        let [told] = &world.tolds()[..] else { panic!("one word") };
        assert!(matches!(&told.body, Body::Typing(typing) if typing.state == state));
    }
    let typing = |state| Body::Typing(interchange_model::Typing { state, conversation: None });
    world.tell(envelope(1, "eve@globex.example", "alice@acme.example", typing(TypingState::Composing)));
    world.tell(envelope(2, "eve@globex.example", "alice@acme.example", typing(TypingState::Paused)));
    world.tell(envelope(3, "ann@globex.example", "alice@acme.example", typing(TypingState::Composing)));
    assert_eq!(world.log(conn), [Event::Typing(EVE.to_owned(), true), Event::Typing(EVE.to_owned(), false)]);
}

#[test]
fn colleagues_write_to_each_other_while_both_are_here() {
    let mut world = World::new(PLAIN);
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    world.ups();
    let channel = world.call(alice, "bob", ClientType::RICH, mode::WHATEVER);
    world.speak(alice, channel, &said("hi bob"));
    assert_eq!(world.log(bob), [Event::text("alice", "hi bob")]);
    let back = world.clients[&bob].talk("alice");
    world.speak(bob, back, &Said::typing(true));
    world.speak(bob, back, &Said::data(data::HTML, 0, b"<b>hi</b>".to_vec()));
    let log = world.log(alice);
    assert!(matches!(&log[..], [Event::Typing(of, true), Event::Html(from, _)] if of == "bob" && from == "bob"), "{log:?}");
    assert!(world.ups().is_empty(), "it is nobody else's business");
    world.hang_up(bob);
    world.speak(alice, channel, &said("still there?"));
    assert_eq!(world.log(alice), [Event::text("bob", "Your message was not delivered. The recipient cannot be reached now.")]);
    // Not where the link does not want it.
    let mut world = World::new(r#"{"plain_networks":["192.0.2.0/24"],"colleagues":false}"#);
    let (alice, _) = (world.sign_in("alice"), world.sign_in("bob"));
    world.call(alice, "bob", ClientType::RICH, mode::NONE);
    assert_eq!(world.log(alice), [Event::Ended("bob".to_owned(), 0x8000_0003)]);
}

#[test]
fn traps_2_6_10_and_11_what_a_client_is_told_of_those_it_speaks_with() {
    let mut world = World::new(PLAIN);
    let conn = world.sign_in("alice");
    let client = world.clients.remove(&conn).unwrap();
    let create = interchange_sametime::codec::Create {
        id: 9,
        target: interchange_sametime::codec::IdBlock { user: EVE.into(), community: WireString::default() },
        service: 0x1000,
        protocol: 0x1000,
        version: 3,
        data: ClientType::RICH.to_create(),
        ..Default::default()
    };
    world.say(conn, &Message::new(0, Words::Create(create)));
    let frames = world.taken(conn);
    // The header's channel is the one that is taken, and 0 in a create.
    let [Message { channel: 9, body: Words::Accept(accept), .. }] = &frames[..] else { panic!("{frames:?}") };
    let acceptor = accept.acceptor.as_ref().expect("the library takes name, type and key from it");
    assert_eq!((acceptor.user.to_text(), acceptor.community.is_empty()), (EVE.into(), true));
    assert!(acceptor.login_id.as_bytes().len() >= 5);
    assert_eq!(ClientType::read(&accept.data), Some(ClientType::RICH));
    world.deliver(text(1, "ann@globex.example", "alice@acme.example", "hello"));
    let frames = world.taken(conn);
    let [Message { channel: 0, body: Words::Create(create), .. }] = &frames[..] else { panic!("{frames:?}") };
    let creator = create.creator.as_ref().unwrap();
    assert!(creator.community.is_empty() && create.target == Default::default() && create.reserved == 0 && create.options == 0);
    drop(client);
}
