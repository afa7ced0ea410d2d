//! What is said in a session (INVITE with MSRP): Eve begins it, towards Alice.

use std::time::Duration;

use crate::fidelity::kinds::{Row, Seen, Who};
use crate::fidelity::person::{has, is_of};
use crate::fidelity::world::World;

const SOON: Duration = Duration::from_secs(20);
const EVE: &str = "eve@globex.example";

fn row(feature: &str, to_sip: Seen, to_xmpp: Seen) -> Row {
    Row::new(feature).with((Who::Alice, Who::Bob), to_sip).with((Who::Bob, Who::Alice), to_xmpp)
}

/// Whether Alice is sent a stanza of Eve's with this in it.
fn sees(world: &mut World, text: &str) -> bool {
    world.alice().saw("stanza", SOON, |event| is_of(event, "from", EVE) && has(event, "xml", text)).is_some()
}

fn chat(world: &mut World, id: &str, inside: &str) {
    world.alice().send_raw(&format!("<message to='{EVE}' type='chat' id='{id}'>{inside}</message>"));
}

fn words(world: &mut World) -> Vec<Row> {
    world.says("session to");
    world.eve.send("s1000001", "session to Alice");
    let to_xmpp = world.alice().saw("message", SOON, |event| event["body"] == "session to Alice").is_some();
    world.alice().send(EVE, "s1", "session to Eve");
    let to_sip = world.eve.saw("session to Eve", SOON).is_some();
    let mut rows = vec![row("Text", Seen::kept(to_sip), Seen::kept(to_xmpp))];

    let long: String = ('a'..='z').cycle().take(60_000).collect();
    world.eve.send("s2000001", &long);
    let to_xmpp = world.alice().saw("message", SOON, |event| event["body"] == long.as_str()).is_some();
    world.alice().send(EVE, "s2", &long);
    let to_sip = world.eve.saw(&long, SOON).is_some();
    rows.push(row("Text of 60,000 letters, in chunks", Seen::kept(to_sip), Seen::kept(to_xmpp)));

    world.eve.send("s3000001", &"x".repeat(1_000_000));
    let told = world.eve.report("s3000001");
    let told = if told == 200 { Seen::Lost } else { Seen::Told(told.to_string()) };
    rows.push(row("Text of 1,000,000 letters: more than an XMPP server would take", Seen::Nothing, told));
    rows
}

fn formatted(world: &mut World) -> Row {
    world.says("very bold words");
    chat(
        world,
        "s4",
        "<body>very bold words</body><html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>very <strong>bold</strong> words</body></html>",
    );
    let html = world.eve.saw("bold words", SOON).is_some_and(|received| {
        let body = String::from_utf8_lossy(&received.body).into_owned();
        received.media.starts_with("multipart/alternative") && body.contains("<b>bold</b>") && body.contains("very bold words")
    });
    world.eve.send_as("s4000001", "text/html", "<p>so <b>bold</b> <script>x</script>words</p>");
    let is_bold =
        |event: &serde_json::Value| has(event, "xml", "so bold words</body>") && has(event, "xml", "<strong>bold</strong>");
    let xhtml = world.alice().saw("stanza", SOON, is_bold).is_some();
    row("Formatted text (HTML, XHTML-IM)", Seen::kept(html), Seen::kept(xhtml))
}

fn typing(world: &mut World) -> Row {
    let composing = "<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>active</state></isComposing>";
    world.eve.send_as("s5000001", "application/im-iscomposing+xml", composing);
    let to_xmpp = sees(world, "<composing");
    chat(world, "s5", "<composing xmlns='http://jabber.org/protocol/chatstates'/>");
    let to_sip = world.eve.saw("<state>active</state>", SOON).is_some();
    row("Typing", Seen::kept(to_sip), Seen::kept(to_xmpp))
}

fn report(world: &mut World) -> Row {
    world.says("report th");
    world.eve.send("s6000001", "report this");
    let event = world.alice().saw("stanza", SOON, |event| has(event, "xml", "report this"));
    let id = event.and_then(|event| event["xml"].as_str()?.split(" id=\"").nth(1)?.split('"').next().map(str::to_owned));
    chat(world, "s6", &format!("<received xmlns='urn:xmpp:receipts' id='{}'/>", id.unwrap_or_default()));
    let to_xmpp = world.eve.report("s6000001") == 200;
    chat(world, "s7", "<body>report that</body><request xmlns='urn:xmpp:receipts'/>");
    world.eve.saw("report that", SOON);
    let to_sip = sees(world, "<received xmlns=\"urn:xmpp:receipts\" id=\"s7\"");
    row("A message has come", Seen::kept(to_sip), Seen::kept(to_xmpp))
}

pub(crate) fn rows(world: &mut World) -> Vec<Row> {
    let to = format!("sip:{}", Who::Alice.address());
    world.eve.invite(&world.globex, &to);
    let mut rows = words(world);
    rows.push(formatted(world));
    rows.push(typing(world));
    rows.push(report(world));
    world.eve.bye();
    let gone = sees(world, "<gone");
    rows.push(row("The end", Seen::Nothing, if gone { Seen::As("gone".to_owned()) } else { Seen::Lost }));
    rows
}
