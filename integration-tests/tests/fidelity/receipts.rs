//! Who writes, and whether a message has come and was read.

use std::time::{Duration, Instant};

use crate::fidelity::kinds::{Row, Seen, Way, Who, ways};
use crate::fidelity::person::{Client, has};
use crate::fidelity::world::World;

const SOON: Duration = Duration::from_secs(20);

fn typing(world: &mut World) -> Row {
    // Nobody is told of the typing of strangers: everybody has written to everybody by now.
    for (from, to) in ways() {
        world.person(from).types(to.address());
    }
    let deadline = Instant::now() + SOON;
    ways().into_iter().fold(Row::new("Typing"), |row, (from, to)| {
        let seen = world.person(to).sees_typing(from.address(), deadline);
        row.with((from, to), Seen::kept(seen))
    })
}

/// Clients that ask for receipts and show them.
fn asks(from: Who) -> bool {
    matches!(from, Who::Alice | Who::Bob)
}

/// Clients that tell what their people have read.
fn tells_of_reading(to: Who) -> bool {
    matches!(to, Who::Alice | Who::Bob | Who::Dave)
}

/// The stanza of a message with this text, as one that asks for receipts.
fn asking(to: &str, id: &str, text: &str) -> String {
    format!(
        "<message to='{to}' type='chat' id='{id}'><body>{text}</body><request xmlns='urn:xmpp:receipts'/>\
         <markable xmlns='urn:xmpp:chat-markers:0'/></message>"
    )
}

/// Whether somebody is shown that their message has come, or was read.
fn shown(world: &mut World, (from, _): Way, id: &str, what: &str) -> bool {
    match &mut world.person(from).client {
        Client::Xmpp(client) => {
            let receipt = match what {
                "delivered" => format!("<received xmlns=\"urn:xmpp:receipts\" id=\"{id}\""),
                _ => format!("<displayed xmlns=\"urn:xmpp:chat-markers:0\" id=\"{id}\""),
            };
            client.saw("stanza", SOON, |event| has(event, "xml", &receipt)).is_some()
        }
        Client::Sip(client) => client.saw("receipt", SOON, |event| event["id"] == id && event["what"] == what).is_some(),
        Client::Microsoft(_) | Client::Sametime(_) => false,
    }
}

/// The id of the stanza that has this in it.
fn id_of(looks: &str) -> Option<&str> {
    looks.split(" id=\"").nth(1)?.split('"').next()
}

fn receipts(world: &mut World) -> Vec<Row> {
    world.says("receipt from");
    let mut came = Row::new("A message has come (XEP-0184, RFC 5438)");
    let mut was_read = Row::new("A message was read (XEP-0333, RFC 5438)");
    for (number, (from, to)) in ways().into_iter().enumerate() {
        if !asks(from) {
            came = came.with((from, to), Seen::Nothing);
            was_read = was_read.with((from, to), Seen::Nothing);
            continue;
        }
        let (id, words) = (format!("r{number}"), format!("receipt from {from:?}"));
        match &mut world.person(from).client {
            Client::Xmpp(client) => client.send_raw(&asking(to.address(), &id, &words)),
            _ => world.person(from).send(to.address(), &id, &words),
        }
        let message = world.person(to).shown(from.address(), &words, Instant::now() + SOON).unwrap_or_default();
        // Linphone, SIPE and Sametime clients answer by themselves; slixmpp does what it is told.
        let stanza = |what: &str| format!("<message to='{}' type='chat'>{what}</message>", from.address());
        let original = id_of(&message.looks).unwrap_or_default();
        if let Client::Xmpp(client) = &mut world.person(to).client {
            client.send_raw(&stanza(&format!("<received xmlns='urn:xmpp:receipts' id='{original}'/>")));
        }
        let seen = shown(world, (from, to), &id, "delivered");
        came = came.with((from, to), Seen::kept(seen));
        if !tells_of_reading(to) {
            was_read = was_read.with((from, to), Seen::Nothing);
            continue;
        }
        match &mut world.person(to).client {
            Client::Xmpp(client) => {
                client.send_raw(&stanza(&format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{original}'/>")));
            }
            Client::Sip(client) => client.read(&format!("sip:{}", from.address())),
            Client::Microsoft(_) | Client::Sametime(_) => {}
        }
        let seen = shown(world, (from, to), &id, "displayed");
        was_read = was_read.with((from, to), Seen::kept(seen));
    }
    vec![came, was_read]
}

pub(crate) fn rows(world: &mut World) -> Vec<Row> {
    let mut rows = vec![typing(world)];
    rows.extend(receipts(world));
    rows
}
