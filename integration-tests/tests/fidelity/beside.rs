//! What XMPP clients say beside the words, and what becomes of it where nobody has the like.

use std::time::{Duration, Instant};

use crate::fidelity::kinds::{Row, Seen, Way, Who, ways};
use crate::fidelity::world::World;

const SOON: Duration = Duration::from_secs(20);

struct Beside {
    feature: &'static str,
    /// What is in the stanza.
    inside: &'static str,
    /// What the reader finds it by.
    find: &'static str,
    /// The body as it is typed; empty: there is none.
    body: &'static str,
    /// What another XMPP client has of it, if it is kept.
    kept: &'static str,
}

const ALL: [Beside; 8] = [
    Beside {
        feature: "Correction (XEP-0308)",
        inside: "<body>corrected words</body><replace xmlns='urn:xmpp:message-correct:0' id='t1'/>",
        find: "corrected words",
        body: "corrected words",
        kept: "urn:xmpp:message-correct:0",
    },
    Beside {
        feature: "Reply (XEP-0461)",
        inside: "<body>&gt; old words\nnew words</body><reply xmlns='urn:xmpp:reply:0' to='x@y.example' id='1'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='12'/></fallback>",
        find: "old words",
        body: "",
        kept: "urn:xmpp:reply:0",
    },
    Beside {
        feature: "Reaction (XEP-0444)",
        inside: "<reactions xmlns='urn:xmpp:reactions:0' id='t1'><reaction>👋</reaction></reactions>",
        find: "👋",
        body: "",
        kept: "urn:xmpp:reactions:0",
    },
    Beside {
        feature: "Retraction (XEP-0424)",
        inside: "<retract xmlns='urn:xmpp:message-retract:1' id='t1'/><fallback xmlns='urn:xmpp:fallback:0'/><body>took a message back</body>",
        find: "took a message back",
        body: "",
        kept: "urn:xmpp:message-retract:1",
    },
    Beside {
        feature: "Address of a shared file (XEP-0066)",
        inside: "<body>look here</body><x xmlns='jabber:x:oob'><url>https://files.acme.example/a.png</url></x>",
        find: "look here",
        body: "look here",
        kept: "https://files.acme.example/a.png",
    },
    Beside {
        feature: "Message Styling (XEP-0393)",
        inside: "<body>*styled* words</body>",
        find: "styled* words",
        body: "*styled* words",
        kept: "*styled* words",
    },
    Beside {
        feature: "End-to-end encryption (OMEMO)",
        inside: "<body>an OMEMO message</body><encrypted xmlns='eu.siacs.conversations.axolotl'><payload>AAAA</payload></encrypted>",
        find: "OMEMO",
        body: "",
        kept: "AAAA",
    },
    Beside {
        feature: "Time of a delayed message (XEP-0203)",
        inside: "<body>delayed words</body><delay xmlns='urn:xmpp:delay' from='acme.example' stamp='2026-01-01T00:00:00Z'/>",
        find: "delayed words",
        body: "delayed words",
        kept: "2026-01-01T00:00:00",
    },
];

fn seen(world: &mut World, (from, to): Way, one: &Beside, deadline: Instant) -> Seen {
    let Some(shown) = world.person(to).shown(from.address(), one.find, deadline) else { return Seen::Lost };
    match () {
        () if to == Who::Dave => Seen::kept(shown.looks.contains(one.kept)),
        () if shown.words == one.kept => Seen::Kept,
        () if shown.words == one.body => Seen::WordsAlone,
        () => Seen::As(shown.words),
    }
}

pub(crate) fn rows(world: &mut World) -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, one) in ALL.iter().enumerate() {
        world.says(one.find);
        let ways = || ways().into_iter().filter(|(from, _)| *from == Who::Alice);
        for (_, to) in ways() {
            let to = to.address();
            world.alice().send_raw(&format!("<message to='{to}' type='chat' id='b{number}'>{}</message>", one.inside));
        }
        let deadline = Instant::now() + SOON;
        let row = ways().fold(Row::new(one.feature), |row, way| {
            let seen = seen(world, way, one, deadline);
            row.with(way, seen)
        });
        rows.push(row);
    }
    rows
}
