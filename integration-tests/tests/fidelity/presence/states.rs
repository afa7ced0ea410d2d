//! The states that people choose, as each client names them.

use crate::fidelity::kinds::Who;

/// A state, and the word for it in each client; `None`: the client has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) name: &'static str,
    pub(crate) xmpp: Option<&'static str>,
    pub(crate) sip: Option<&'static str>,
    pub(crate) microsoft: Option<&'static str>,
    pub(crate) sametime: Option<&'static str>,
}

impl State {
    /// What somebody chooses, or what their client does by itself.
    pub(crate) fn choice(&self, who: Who) -> Option<&'static str> {
        // SIPE shows it of others; its own people are idle after minutes.
        self.word(who).filter(|word| (who, *word) != (Who::Carol, "idle"))
    }

    /// What it is called.
    pub(crate) fn word(&self, who: Who) -> Option<&'static str> {
        match who {
            Who::Alice | Who::Dave => self.xmpp,
            Who::Bob => self.sip,
            Who::Carol => self.microsoft,
            Who::Frank => self.sametime,
        }
    }
}

const NONE: State = State { name: "", xmpp: None, sip: None, microsoft: None, sametime: None };

pub(crate) const STATES: [State; 12] = [
    State {
        name: "available",
        xmpp: Some("available"),
        sip: Some("open"),
        microsoft: Some("available"),
        sametime: Some("active"),
    },
    State { name: "free for a chat", xmpp: Some("chat"), ..NONE },
    State { name: "away", xmpp: Some("away"), sip: Some("away"), microsoft: Some("away"), sametime: Some("away") },
    State { name: "away by itself (idle)", xmpp: Some("idle"), microsoft: Some("idle"), sametime: Some("idle"), ..NONE },
    State { name: "be right back", microsoft: Some("be-right-back"), ..NONE },
    State { name: "at lunch", sip: Some("lunch"), ..NONE },
    State { name: "away for long, on holiday", xmpp: Some("xa"), sip: Some("vacation"), ..NONE },
    State { name: "busy", sip: Some("busy"), microsoft: Some("busy"), ..NONE },
    State {
        name: "do not disturb",
        xmpp: Some("dnd"),
        microsoft: Some("do-not-disturb"),
        sametime: Some("do not disturb"),
        ..NONE
    },
    State { name: "in a meeting", sip: Some("meeting"), sametime: Some("in a meeting"), ..NONE },
    State { name: "on the phone", sip: Some("on-the-phone"), ..NONE },
    State { name: "presenting", sip: Some("presentation"), ..NONE },
];

/// The numbers of Sametime's states.
const SAMETIME: [(u16, &str); 6] =
    [(0, "offline"), (0x20, "active"), (0x08, "in a meeting"), (0x40, "idle"), (0x60, "away"), (0x80, "do not disturb")];

/// The number of a state in Sametime.
pub(crate) fn number(name: &str) -> u16 {
    SAMETIME.iter().find(|(_, known)| *known == name).map(|(number, _)| *number).expect("a state of Sametime")
}

/// What a number in Sametime says.
pub(crate) fn name(number: Option<u64>) -> String {
    let known = SAMETIME.iter().find(|(known, _)| number == Some(u64::from(*known)));
    known.map_or_else(|| format!("{number:?}"), |(_, name)| (*name).to_owned())
}

/// A client's word, or what it means that there is none.
pub(crate) fn or(word: String, otherwise: &str) -> String {
    if word.is_empty() { otherwise.to_owned() } else { word }
}
