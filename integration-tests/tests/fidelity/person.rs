//! Somebody at the client of their platform: what they say, and what they are shown. What a cell of the tables says is read here.

use std::time::{Duration, Instant};

use interchange_integration_tests::meanwhile_client::MeanwhileClient;
use interchange_integration_tests::purple_client::PurpleClient;
use interchange_integration_tests::sip_client::SipClient;
use interchange_integration_tests::xmpp_client::XmppClient;
use serde_json::{Value, json};

use crate::fidelity::kinds::Who;

/// One of two kinds of events is awaited so long before it is the other's turn.
const TURN: Duration = Duration::from_millis(100);

/// A client of any platform.
pub(crate) enum Client {
    Xmpp(XmppClient),
    Sip(SipClient),
    Microsoft(PurpleClient),
    Sametime(MeanwhileClient),
}

/// Somebody at their client.
pub(crate) struct Person {
    pub(crate) who: Who,
    pub(crate) client: Client,
}

/// A message as it was shown.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Who is shown as its sender.
    pub(crate) from: String,
    /// Without mark-up, each line end one LF.
    pub(crate) words: String,
    /// All that the client was given: a stanza, or mark-up in the client's own form; empty where there was none.
    pub(crate) looks: String,
}

/// Words with mark-up, as they are said on a platform that has any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Formatted<'a> {
    pub(crate) plain: &'a str,
    pub(crate) html: &'a str,
    pub(crate) xhtml: &'a str,
}

pub(crate) fn has(event: &Value, field: &str, text: &str) -> bool {
    event[field].as_str().is_some_and(|value| value.contains(text))
}

/// Whether an event is of somebody, whatever the platform writes around the address.
pub(crate) fn is_of(event: &Value, field: &str, who: &str) -> bool {
    has(event, field, who)
}

fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn text(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap_or_default().replace("\r\n", "\n")
}

/// The words of a piece of HTML.
pub(crate) fn words_of(html: &str) -> String {
    let mut words = String::new();
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        words.push_str(before);
        let (tag, after) = tag.split_once('>').unwrap_or((tag, ""));
        if tag.starts_with("br") {
            words.push('\n');
        }
        rest = after;
    }
    words.push_str(rest);
    let entities =
        [("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(words, |words, (entity, letter)| words.replace(entity, letter))
}

impl Person {
    pub(crate) fn new(who: Who, client: Client) -> Self {
        Self { who, client }
    }

    /// The XMPP client.
    ///
    /// # Panics
    /// When the person has another.
    pub(crate) fn xmpp(&mut self) -> &mut XmppClient {
        match &mut self.client {
            Client::Xmpp(client) => client,
            _ => panic!("{:?} is not on XMPP", self.who),
        }
    }

    /// Says something; `id` is to recognise a failure.
    pub(crate) fn send(&mut self, to: &str, id: &str, words: &str) {
        match &mut self.client {
            Client::Xmpp(client) => client.send(to, id, words),
            Client::Sip(client) => client.send(&format!("sip:{to}"), id, words),
            Client::Microsoft(client) => client.send(&format!("sip:{to}"), words),
            Client::Sametime(client) => client.send(to, words),
        }
    }

    /// Says something with mark-up, if the client has any.
    pub(crate) fn send_formatted(&mut self, to: &str, id: &str, words: &Formatted<'_>) {
        match &mut self.client {
            Client::Xmpp(client) => client.send_raw(&format!(
                "<message to='{to}' type='chat' id='{id}'><body>{}</body><html xmlns='http://jabber.org/protocol/xhtml-im'>\
                 <body xmlns='http://www.w3.org/1999/xhtml'>{}</body></html></message>",
                words.plain, words.xhtml
            )),
            Client::Sip(client) => client.send(&format!("sip:{to}"), id, words.plain),
            Client::Microsoft(client) => client.send_html(&format!("sip:{to}"), words.html),
            Client::Sametime(client) => client.send_html(to, words.html),
        }
    }

    /// Waits for a message of somebody's that has this in its words; `find` is without signs that any mark-up escapes.
    pub(crate) fn shown(&mut self, from: &str, find: &str, deadline: Instant) -> Option<Shown> {
        let fits = |event: &Value, field: &str| is_of(event, "from", from) && has(event, field, find);
        match &mut self.client {
            Client::Xmpp(client) => {
                let stanza = client.saw("stanza", until(deadline), |event| fits(event, "xml"))?;
                // A stanza without a body is no message to the client.
                let message = client.saw("message", TURN, |event| fits(event, "body"));
                let words = message.map(|event| text(&event, "body")).unwrap_or_default();
                Some(Shown { from: text(&stanza, "from"), words, looks: text(&stanza, "xml") })
            }
            Client::Sip(client) => {
                let event = client.saw("message", until(deadline), |event| fits(event, "body"))?;
                Some(Shown { from: text(&event, "from"), words: text(&event, "body"), looks: String::new() })
            }
            Client::Microsoft(client) => {
                let event = client.saw("message", until(deadline), |event| fits(event, "text"))?;
                // libpurple's own way to take mark-up away makes a blank of a tab.
                let looks = text(&event, "html");
                Some(Shown { from: text(&event, "from"), words: words_of(&looks).trim_end().to_owned(), looks })
            }
            Client::Sametime(client) => {
                let event = client.saw("message", until(deadline), |event| fits(event, "text"))?;
                let content = text(&event, "text");
                let is_words = event["kind"] == "text" || event["kind"] == "subject";
                let (words, looks) = if is_words { (content, text(&event, "kind")) } else { (words_of(&content), content) };
                Some(Shown { from: text(&event, "from"), words, looks })
            }
        }
    }

    /// What they read of a message of theirs that failed: at the message itself, or in a message from the one it was for.
    pub(crate) fn told(&mut self, id: &str, to: &str, deadline: Instant) -> Option<String> {
        loop {
            let told = match &mut self.client {
                Client::Xmpp(client) => client
                    .saw("error", TURN, |event| event["id"] == id)
                    .map(|event| format!("{}: {}", text(&event, "condition"), text(&event, "text"))),
                Client::Sip(client) => {
                    // It shows no number and no reason.
                    let failed = |event: &Value| event["id"] == id && event["code"] != 200;
                    let mark = client.saw("sent", TURN, failed).map(|_| "(the mark of a failed message)".to_owned());
                    mark.or_else(|| words_from(client.saw("message", TURN, |event| is_of(event, "from", to)), "body"))
                }
                Client::Microsoft(client) => {
                    let failed = |event: &Value| event["kind"] == "error" && is_of(event, "with", to);
                    let at_the_message = words_from(client.saw("shown", TURN, failed), "text");
                    at_the_message.or_else(|| words_from(client.saw("message", TURN, |event| is_of(event, "from", to)), "text"))
                }
                Client::Sametime(client) => {
                    let in_words = words_from(client.saw("message", TURN, |event| is_of(event, "from", to)), "text");
                    in_words.or_else(|| words_from(client.saw("failed", TURN, |event| event["to"] == to), "reason"))
                }
            };
            if told.is_some() || Instant::now() >= deadline {
                return told.map(|words| timeless(&words));
            }
        }
    }

    /// Shows somebody that they write.
    pub(crate) fn types(&mut self, to: &str) {
        match &mut self.client {
            Client::Xmpp(client) => client.send_raw(&format!(
                "<message to='{to}' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
            )),
            Client::Sip(client) => client.compose(&format!("sip:{to}")),
            Client::Microsoft(client) => client.typing(&format!("sip:{to}"), true),
            Client::Sametime(client) => client.typing(to, true),
        }
    }

    /// Whether they are shown that somebody writes.
    pub(crate) fn sees_typing(&mut self, from: &str, deadline: Instant) -> bool {
        let within = until(deadline);
        let event = match &mut self.client {
            Client::Xmpp(client) => {
                client.saw("stanza", within, |event| is_of(event, "from", from) && has(event, "xml", "<composing"))
            }
            Client::Sip(client) => client.saw("composing", within, |event| is_of(event, "from", from) && event["active"] == true),
            Client::Microsoft(client) => {
                client.saw("typing", within, |event| is_of(event, "from", from) && event["state"] == "typing")
            }
            Client::Sametime(client) => {
                client.saw("typing", within, |event| is_of(event, "from", from) && event["active"] == true)
            }
        };
        event.is_some()
    }

    /// A subject as the client has it: before the words it is for, or with them.
    pub(crate) fn send_subject(&mut self, to: &str, id: &str, subject: &str, words: &str) -> bool {
        match &mut self.client {
            Client::Xmpp(client) => client.send_raw(&format!(
                "<message to='{to}' type='chat' id='{id}'><subject>{subject}</subject><body>{words}</body></message>"
            )),
            Client::Sametime(client) => {
                client.command(&json!({ "op": "send", "to": to, "subject": subject }));
                client.send(to, words);
            }
            Client::Sip(_) | Client::Microsoft(_) => return false,
        }
        true
    }
}

fn words_from(event: Option<Value>, field: &str) -> Option<String> {
    event.map(|event| text(&event, field).trim().to_owned())
}

/// A text without the day and the time of the test.
fn timeless(text: &str) -> String {
    let is_time = |word: &str| {
        word.len() >= 8 && word.chars().all(|letter| letter.is_ascii_digit() || "-:.,".contains(letter)) && {
            word.matches('-').count() == 2 || word.matches(':').count() == 2
        }
    };
    let word = |word: &str| match is_time(word) {
        true if word.contains('-') => "2026-12-31".to_owned(),
        true => "12:00:00".to_owned(),
        false => word.to_owned(),
    };
    text.lines().map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}
