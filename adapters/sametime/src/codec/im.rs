//! What is said on the channel of a conversation.

use super::person::UserStatus;
use super::wire::{Malformed, Reader, WireString, Writer};

/// The send type of all that is said in a conversation.
pub const SEND: u16 = 0x64;

/// What two clients can say to each other: the conversation's is that of its create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientType(pub u32);

impl ClientType {
    /// Text and typing.
    pub const PLAIN: Self = Self(1);
    /// HTML, subject and MIME as well.
    pub const RICH: Self = Self(0x0003_3453);

    /// From the data of a create or an accept; `None`: there is none.
    #[must_use]
    pub fn read(data: &[u8]) -> Option<Self> {
        let mut from = Reader::new(data);
        from.u32("a mark").ok()?;
        from.u32("a client type").ok().map(Self)
    }

    /// The data of a create.
    #[must_use]
    pub fn to_create(self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u32(1).u32(self.0);
        to.finish()
    }

    /// The data of an accept.
    #[must_use]
    pub fn to_accept(self, status: &UserStatus) -> Vec<u8> {
        let mut to = Writer::default();
        to.u32(1).u32(self.0).u32(2);
        status.write(&mut to);
        to.finish()
    }
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Words.
    Text(WireString),
    /// Anything else.
    Data {
        /// [`data`].
        kind: u32,
        /// By the kind.
        subtype: u32,
        /// By the kind.
        data: Vec<u8>,
    },
}

/// Kinds of data.
pub mod data {
    /// Whether somebody writes; the subtype is 0 when they do.
    pub const TYPING: u32 = 1;
    /// The subject of what follows.
    pub const SUBJECT: u32 = 3;
    /// HTML.
    pub const HTML: u32 = 4;
    /// A MIME document.
    pub const MIME: u32 = 5;
    /// What follows, of one kind, is to be put together.
    pub const PARTS: u32 = 0x1388;
    /// It is complete.
    pub const PARTS_END: u32 = 0x1389;
    /// So many bytes are one part.
    pub const PART: usize = 2_048;
}

impl Said {
    /// Somebody writes, or has stopped.
    #[must_use]
    pub fn typing(active: bool) -> Self {
        Self::data(data::TYPING, u32::from(!active), Vec::new())
    }

    /// Data.
    #[must_use]
    pub fn data(kind: u32, subtype: u32, data: Vec<u8>) -> Self {
        Self::Data { kind, subtype, data }
    }

    /// Reads what is said, decrypted.
    ///
    /// # Errors
    /// [`Malformed`], when fields are missing or lengths lie.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(payload);
        match from.u32("what is said")? {
            1 => from.string("a text").map(Self::Text),
            2 => Ok(Self::Data {
                kind: from.u32("a kind of data")?,
                subtype: from.u32("a subtype")?,
                data: from.opaque("data")?.to_vec(),
            }),
            _ => Err(Malformed { expected: "text or data" }),
        }
    }

    /// Its payload.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut to = Writer::default();
        match self {
            Self::Text(text) => to.u32(1).string(text),
            Self::Data { kind, subtype, data } => to.u32(2).u32(*kind).u32(*subtype).opaque(data),
        };
        to.finish()
    }
}
