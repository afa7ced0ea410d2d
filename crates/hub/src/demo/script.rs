//! Who the firms of the demonstration are, and what their people say.

/// A firm.
pub(super) struct Firm {
    /// Its member id, and the name of its link.
    pub(super) id: &'static str,
    /// What people call it.
    pub(super) name: &'static str,
    /// Its domain.
    pub(super) domain: &'static str,
    /// Its platform.
    pub(super) platform: &'static str,
    /// Its people.
    pub(super) people: &'static [&'static str],
}

/// Four firms on two platforms.
pub(super) const FIRMS: &[Firm] = &[
    Firm { id: "acme", name: "Acme Trading", domain: "acme.example", platform: "xmpp", people: &["alice", "o'malley"] },
    Firm { id: "globex", name: "Globex Bank", domain: "globex.example", platform: "sip", people: &["bob", "yūko"] },
    Firm { id: "initech", name: "Initech Brokers", domain: "initech.example", platform: "xmpp", people: &["carol"] },
    Firm { id: "umbrella", name: "Umbrella Insurance", domain: "umbrella.example", platform: "sip", people: &["dave"] },
];

/// One conversation: two people, who take turns.
pub(super) struct Conversation {
    pub(super) first: &'static str,
    pub(super) second: &'static str,
    pub(super) lines: &'static [&'static str],
}

/// What they talk about. Each message that arrives is answered by the next line, so a conversation that goes on shows both ways.
pub(super) const CONVERSATIONS: &[Conversation] = &[
    Conversation {
        first: "alice@acme.example",
        second: "bob@globex.example",
        lines: &[
            "Good morning Bob, are you quoting EUR/USD < 1.09 today?",
            "Morning! 1.0885 / 1.0888 for 5 & 10 million.",
            "Mine at 88. 👍",
            "Done. Confirmation follows by post, as in 1889.",
        ],
    },
    Conversation {
        first: "dave@umbrella.example",
        second: "carol@initech.example",
        lines: &[
            "Carol, can you cover the Tōkyō office?",
            "Yes:\n1. building\n2. contents\n3. \"earthquake\"",
            "Premium?",
            "On its way.",
        ],
    },
    Conversation {
        first: "o'malley@acme.example",
        second: "carol@initech.example",
        lines: &["Lunch?", "12:30, the usual place", "See you there 🍜", "👋"],
    },
    Conversation {
        first: "yūko@globex.example",
        second: "dave@umbrella.example",
        lines: &[
            "お世話になっております。",
            "Hello Yūko-san, I'm listening.",
            "The policy for <vault 7>, please.",
            "Sent & signed.",
        ],
    },
    Conversation { first: "carol@initech.example", second: "echo@hub.example", lines: &["Is this thing on?"] },
    // Somebody who has left: the sender is told, in their own client.
    Conversation { first: "alice@acme.example", second: "former.employee@globex.example", lines: &["Are you still there?"] },
];
