//! What an envelope says.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::millis::optional as optional_millis;
use crate::{Detail, DisplayName, MessageId, Plain, Presence, Refusal, Rich, Watch};

/// What an envelope says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// Words from one person to another.
    Text(Text),
    /// The sender of an earlier text is told that it has arrived, or was shown. `from` is the person it was for.
    Receipt(Receipt),
    /// What somebody does in a conversation beside writing in it.
    Typing(Typing),
    /// Who may see whose presence: asked, allowed, refused, ended.
    Watch(Watch),
    /// How somebody can be reached, told to one who may see it.
    Presence(Presence),
    /// The sender of an earlier envelope is told that it was not delivered. `from` is the person it was for.
    Failure(Failure),
}

/// Words from one person to another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Text {
    /// Always present: every platform can show it.
    pub plain: Plain,
    /// The same with its formatting, where the sender's platform told one. Never the only form: whoever cannot show it loses no word, and in a record
    /// one that cannot be read, as of a later version, is as none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "rich_or_none")]
    pub rich: Option<Rich>,
    /// A line above it, where the platform has one; at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Plain>,
    /// BCP 47 tag of the language, where the sender told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Arc<str>>,
    /// How the sender is called, where the platform told it; it proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "DisplayName::read")]
    pub display_name: Option<DisplayName>,
    /// Opaque name of the conversation, where the platform has one; at most 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Arc<str>>,
    /// How the sender's client meant it to be shown.
    #[serde(default)]
    pub kind: TextKind,
    /// When it was written, by the sender's clock, if that differs from the time of arrival: the message was stored before.
    /// Informative only: nothing is ordered or expired by it. Stored in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_millis")]
    pub written: Option<SystemTime>,
    /// What the sender wants to be told of.
    #[serde(default, skip_serializing_if = "Wants::is_nothing")]
    pub wants: Wants,
    /// That it is about an earlier message, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
    /// Files that are to be had elsewhere; at most [`Text::MOST_FILES`]. Their addresses need not stand in `plain`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SharedFile>,
    /// What it really says is encrypted for the recipient's device, in the native form; `plain` holds at most a notice of that.
    #[serde(default, skip_serializing_if = "is_false")]
    pub encrypted: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn rich_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rich>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Read {
        Rich(Rich),
        Other(IgnoredAny),
    }
    Ok(match Read::deserialize(deserializer)? {
        Read::Rich(rich) => Some(rich),
        Read::Other(IgnoredAny) => None,
    })
}

impl Text {
    /// The most files of one message.
    pub const MOST_FILES: usize = 16;

    /// The plain words; where they have something to do with an earlier text, that is said in words, for platforms that have nothing else for it.
    /// Empty for one that only takes something back.
    #[must_use]
    pub fn in_words(&self) -> Cow<'_, str> {
        let plain = self.plain.as_str();
        match &self.relation {
            // What people do who have no other way to correct themselves.
            Some(Relation::Correction) if !plain.is_empty() => format!("* {plain}").into(),
            Some(Relation::Reaction(reactions)) if plain.is_empty() && !reactions.is_empty() => {
                let reactions: Vec<&str> = reactions.iter().map(Plain::as_str).collect();
                format!("reacted with {}", reactions.join(" ")).into()
            }
            _ => plain.into(),
        }
    }

    /// The files whose addresses do not stand in the plain words.
    pub fn unnamed_files(&self) -> impl Iterator<Item = &SharedFile> {
        self.files.iter().filter(|file| !self.plain.as_str().contains(file.url.as_str()))
    }
}

/// What the sender of a text wants to be told of, beside its failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wants {
    /// That it has arrived (XEP-0184, RFC 5438 positive-delivery).
    #[serde(default)]
    pub delivered: bool,
    /// That it was shown (XEP-0333, RFC 5438 display).
    #[serde(default)]
    pub displayed: bool,
}

impl Wants {
    /// Whether the sender wants to hear of nothing.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        !self.delivered && !self.displayed
    }
}

/// What a text is to an earlier one. Which one, only the native form tells: to whoever cannot show the relation, the name of
/// the other message would say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// It takes the place of the sender's last one (XEP-0308).
    Correction,
    /// It answers one (XEP-0461); the words may repeat it as a quotation.
    Reply,
    /// The sender's reactions to one, all of them, at most 32 (XEP-0444); none takes earlier ones back.
    Reaction(Vec<Plain>),
    /// It takes one back (XEP-0424).
    Retraction,
}

/// A file to be had elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedFile {
    /// Where: `http` or `https`, at most 2,048 bytes.
    pub url: Plain,
    /// What it is, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Plain>,
}

/// The sender of a text is told what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The envelope meant; `None` where only its native id is known, as between two links of one platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<MessageId>,
    /// The `native_id` of that envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_id: Option<Arc<str>>,
    /// What became of it.
    pub what: ReceiptKind,
}

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiptKind {
    /// It reached the recipient's client, or the nearest to it that the platform can tell of.
    Delivered,
    /// The recipient's client has shown it.
    Displayed,
}

/// What somebody does in a conversation beside writing in it (XEP-0085; RFC 3994 knows only whether one is composing).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typing {
    /// What.
    pub state: TypingState,
    /// The conversation, as [`Text::conversation`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Arc<str>>,
}

/// XEP-0085 §2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TypingState {
    /// Writes now.
    Composing,
    /// Has begun to write, and stopped.
    Paused,
    /// Has an eye on the conversation.
    Active,
    /// Has not for a while.
    Inactive,
    /// Has left it.
    Gone,
}

/// How a text is meant to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextKind {
    /// A line in a conversation.
    #[default]
    Chat,
    /// A message that stands by itself (XMPP `normal`).
    Single,
    /// News that wants no answer and no error (XMPP `headline`).
    Headline,
}

/// The sender of an earlier envelope is told that it was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The envelope that failed; `None` when the recipient's side reported it too late to know which it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<MessageId>,
    /// The `native_id` of that envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_id: Option<Arc<str>>,
    /// Why.
    pub why: Refusal,
    /// What else there is to say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

/// The fieldless twin of [`Body`]: policy, capability, metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// [`Body::Text`]
    Text,
    /// [`Body::Receipt`]
    Receipt,
    /// [`Body::Typing`]
    Typing,
    /// [`Body::Watch`]
    Watch,
    /// [`Body::Presence`]
    Presence,
    /// [`Body::Failure`]
    Failure,
}

impl Kind {
    /// The stable label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Receipt => "receipt",
            Kind::Typing => "typing",
            Kind::Watch => "watch",
            Kind::Presence => "presence",
            Kind::Failure => "failure",
        }
    }
}

impl Body {
    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Body::Text(_) => Kind::Text,
            Body::Receipt(_) => Kind::Receipt,
            Body::Typing(_) => Kind::Typing,
            Body::Watch(_) => Kind::Watch,
            Body::Presence(_) => Kind::Presence,
            Body::Failure(_) => Kind::Failure,
        }
    }

    /// Whether it is stored until it is delivered. What is not may be lost, and the newest takes the place of what was before it.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        match self {
            Body::Text(_) | Body::Receipt(_) | Body::Failure(_) => true,
            Body::Watch(watch) => watch.is_durable(),
            Body::Typing(_) | Body::Presence(_) => false,
        }
    }

    /// Bytes of text a person wrote in it: for the trace, which never shows the text itself.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Body::Text(text) => text.plain.as_str().len() + text.subject.as_ref().map_or(0, |subject| subject.as_str().len()),
            Body::Receipt(_) | Body::Typing(_) | Body::Watch(_) | Body::Presence(_) | Body::Failure(_) => 0,
        }
    }
}
