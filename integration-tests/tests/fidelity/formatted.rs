//! How words look, and what a message says of itself beside them.
//!
//! Linphone shows plain text alone, so for SIP it is Eve who writes, and whose telephone is looked at: it shows all that a MESSAGE has.

use std::time::{Duration, Instant};

use interchange_integration_tests::tls_sip_peer::SipFrame;

use crate::fidelity::kinds::{Row, Seen, Way, Who, ways};
use crate::fidelity::person::{Client, Formatted, Shown, has, is_of};
use crate::fidelity::world::World;

const SOON: Duration = Duration::from_secs(20);
const TURN: Duration = Duration::from_millis(500);
const EVE: &str = "eve@globex.example";
const PAGE: &str = "https://www.acme.example/page";

/// Words with mark-up, and what the mark-up looks like when it is kept: any of these.
struct Look {
    feature: &'static str,
    words: Formatted<'static>,
    kept: &'static [&'static str],
}

const LOOKS: [Look; 4] = [
    Look {
        feature: "Some words bold",
        words: Formatted {
            plain: "some: very bold words",
            html: "some: very <b>bold</b> words",
            xhtml: "some: very <strong>bold</strong> words",
        },
        kept: &["<b>bold</b>", "<strong>bold</strong>"],
    },
    Look {
        feature: "A whole message bold",
        words: Formatted {
            plain: "whole: bold words",
            html: "<b>whole: bold words</b>",
            xhtml: "<strong>whole: bold words</strong>",
        },
        kept: &["<b>whole", "<strong>whole", "<b><font"],
    },
    Look {
        feature: "A whole message in a colour",
        words: Formatted {
            plain: "colour: red words",
            html: "<font color=\"#ff0000\">colour: red words</font>",
            xhtml: "<span style='color: #ff0000'>colour: red words</span>",
        },
        kept: &["color=\"#ff0000\"", "color: #ff0000", "color:#ff0000", "color: #f00"],
    },
    Look {
        feature: "Words that are a link",
        words: Formatted {
            plain: "link: the page (https://www.acme.example/page)",
            html: "link: <a href=\"https://www.acme.example/page\">the page</a>",
            xhtml: "link: <a href='https://www.acme.example/page'>the page</a>",
        },
        kept: &["href=\"https://www.acme.example/page\">the page</a>"],
    },
];

/// What has become of words with mark-up.
fn look(shown: Option<Shown>, look: &Look) -> Seen {
    let Some(shown) = shown else { return Seen::Lost };
    let looks = shown.looks.to_lowercase().replace('\'', "\"");
    if look.kept.iter().any(|kept| looks.contains(kept)) {
        return Seen::Kept;
    }
    match shown.words == look.words.plain {
        // The address is in the words.
        true if look.words.plain.contains(PAGE) => Seen::As(shown.words),
        true => Seen::WordsAlone,
        false => Seen::As(shown.words),
    }
}

/// The next MESSAGE at Eve's telephone with this in it.
fn paged(world: &mut World, find: &str) -> Option<SipFrame> {
    (0..10).map(|_| world.eve.paged()).find(|frame| frame.text().contains(find))
}

/// Sends something on every way, and reads it: `send` says whether the sender's client can, `read` is not asked for Eve.
fn row(
    world: &mut World,
    feature: &str,
    find: &str,
    mut send: impl FnMut(&mut World, Way, &str) -> bool,
    mut read: impl FnMut(&mut World, Way, Instant) -> Seen,
    read_at_eve: impl Fn(&SipFrame) -> Seen,
) -> Row {
    let mut row = Row::new(feature);
    for (from, to) in ways() {
        let at_eve = to == Who::Bob;
        if !send(world, (from, to), if at_eve { EVE } else { to.address() }) {
            row = row.with((from, to), Seen::Nothing);
        } else if at_eve {
            let seen = paged(world, find).map_or(Seen::Lost, |frame| read_at_eve(&frame));
            row = row.with((from, to), seen);
        } else {
            let seen = read(world, (from, to), Instant::now() + SOON);
            row = row.with((from, to), seen);
        }
    }
    row
}

/// As it is shown in its sender's name: Eve's, where Bob's platform is the sender's.
fn shown(world: &mut World, (from, to): Way, find: &str, deadline: Instant) -> Option<Shown> {
    let from = if from == Who::Bob { EVE } else { from.address() };
    world.person(to).shown(from, find, deadline)
}

fn looks(world: &mut World, one: &Look) -> Row {
    let find = one.words.plain.split_inclusive(':').next().expect("words begin with what they show");
    world.says(one.words.plain);
    row(
        world,
        one.feature,
        find,
        |world, (from, _), to| {
            match from {
                Who::Bob => drop(world.eve.page_as(&format!("sip:{to}"), "", "text/html;charset=UTF-8", one.words.html)),
                _ => world.person(from).send_formatted(to, find, &one.words),
            }
            true
        },
        |world, way, deadline| look(shown(world, way, find, deadline), one),
        |frame| {
            let text = frame.text();
            let words = if text.contains(one.words.plain) { one.words.plain.to_owned() } else { text.clone() };
            look(Some(Shown { from: String::new(), words, looks: text }), one)
        },
    )
}

/// The same where a client shows plain text alone.
fn at_linphone(world: &mut World) -> Row {
    let one = Look { feature: "Some words bold, to a client that shows plain text alone (Linphone)", ..LOOKS[0] };
    let find = "some:";
    let mut row = Row::new(one.feature);
    for (from, to) in ways().into_iter().filter(|(_, to)| *to == Who::Bob) {
        world.person(from).send_formatted(to.address(), find, &one.words);
        let shown = world.person(to).shown(from.address(), find, Instant::now() + SOON);
        row = row.with((from, to), look(shown, &one));
    }
    row
}

fn subject(world: &mut World) -> Row {
    const WORDS: &str = "subject: it is ready";
    world.says("Lunch today");
    row(
        world,
        "Subject",
        "subject:",
        |world, (from, _), to| match from {
            Who::Bob => world.eve.page(&format!("sip:{to}"), "Subject: Lunch today\r\n", WORDS) < 300,
            _ => world.person(from).send_subject(to, "subject", "Lunch today", WORDS),
        },
        |world, way, deadline| {
            let Some(shown) = shown(world, way, "subject:", deadline) else { return Seen::Lost };
            if shown.words.contains("Lunch today") {
                return Seen::As(shown.words);
            }
            let alone = match &mut world.person(way.1).client {
                _ if shown.looks.contains("Lunch today</subject>") => return Seen::Kept,
                // Before the words, or behind them.
                Client::Xmpp(client) => client.saw("stanza", TURN, |event| has(event, "xml", "Lunch today")),
                Client::Sametime(client) => client.saw("message", TURN, |event| has(event, "text", "Lunch today")),
                Client::Sip(_) | Client::Microsoft(_) => None,
            };
            match alone {
                Some(event) if event["kind"] == "subject" || has(&event, "xml", "Lunch today</subject>") => Seen::Kept,
                Some(event) => Seen::As(event["text"].as_str().unwrap_or("a message of its own").to_owned()),
                None => Seen::WordsAlone,
            }
        },
        |frame| match frame.header("Subject") {
            Some("Lunch today") => Seen::Kept,
            _ if frame.text().contains("Lunch today") => Seen::As("words".to_owned()),
            _ => Seen::WordsAlone,
        },
    )
}

fn language(world: &mut World) -> Row {
    let mut row = Row::new("Language of the words");
    let (words, back) = ("language: Dobrý den", "language: Nashledanou");
    world.says(words);
    let stanza =
        |to: &str| format!("<message to='{to}' type='chat' id='l1' xml:lang='cs'><body xml:lang='cs'>{words}</body></message>");
    world.alice().send_raw(&stanza(EVE));
    let at_eve = paged(world, "language:").is_some_and(|frame| frame.header("Content-Language") == Some("cs"));
    row = row.with((Who::Alice, Who::Bob), Seen::kept(at_eve));
    world.eve.page(&format!("sip:{}", Who::Alice.address()), "Content-Language: cs\r\n", back);
    let is_hers = |event: &serde_json::Value| is_of(event, "from", EVE) && has(event, "xml", back);
    let at_alice = world.alice().saw("stanza", SOON, is_hers).is_some_and(|event| has(&event, "xml", "lang=\"cs\""));
    row = row.with((Who::Bob, Who::Alice), Seen::kept(at_alice));
    world.alice().send_raw(&stanza(Who::Dave.address()));
    let at_dave = world.person(Who::Dave).shown(Who::Alice.address(), "language:", Instant::now() + SOON);
    row.with((Who::Alice, Who::Dave), Seen::kept(at_dave.is_some_and(|shown| shown.looks.contains("lang=\"cs\""))))
}

pub(crate) fn rows(world: &mut World) -> Vec<Row> {
    let mut rows: Vec<Row> = LOOKS.iter().map(|one| looks(world, one)).collect();
    rows.insert(1, at_linphone(world));
    rows.push(subject(world));
    rows.push(language(world));
    rows
}
