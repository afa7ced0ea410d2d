//! What is said on the channels of the other services: who is meant by a name, and what a client keeps at the server.

use super::wire::{Malformed, Reader, WireString, Writer, length};

/// The send type of all that is said on a resolve channel.
pub const RESOLVE: u16 = 2;

/// A client asks who is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// 0.
    pub zero: u32,
    /// The client's, for the answer.
    pub id: u32,
    /// What was typed; an answer for each.
    pub names: Vec<WireString>,
    /// [`Question::FIRST`] and others.
    pub flags: u32,
}

impl Question {
    /// Only the first that fits is wanted.
    pub const FIRST: u32 = 2;

    /// Reads a question.
    ///
    /// # Errors
    /// [`Malformed`], when fields are missing or lengths lie.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(payload);
        Ok(Self {
            zero: from.u32("a number")?,
            id: from.u32("a request")?,
            names: from.list(2, "names", |from| from.string("a name"))?,
            flags: from.u32("flags").unwrap_or_default(),
        })
    }

    /// Its payload.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u32(self.zero)
            .u32(self.id)
            .list(&self.names, |to, name| {
                to.string(name);
            })
            .u32(self.flags);
        to.finish()
    }
}

/// The server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 0.
    pub zero: u32,
    /// That of the question.
    pub id: u32,
    /// 0, or an error.
    pub code: u32,
    /// One for each name, in the same order.
    pub results: Vec<Answer>,
}

/// Who is meant by one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Not known; 0 serves.
    pub unknown: u32,
    /// [`Answer::FOUND`], [`Answer::NOBODY`], [`Answer::SEVERAL`].
    pub code: u32,
    /// What was asked.
    pub name: WireString,
    /// Who fits.
    pub matches: Vec<Match>,
}

impl Answer {
    /// One fits.
    pub const FOUND: u32 = 0;
    /// Nobody does.
    pub const NOBODY: u32 = 0x8000_0005;
    /// Several do.
    pub const SEVERAL: u32 = 0x8002_0000;
}

/// Somebody who fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The id.
    pub user: WireString,
    /// For people.
    pub name: WireString,
    /// For people.
    pub description: WireString,
    /// 1: a person.
    pub kind: u32,
}

impl Reply {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`Malformed`], when fields are missing or lengths lie.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(payload);
        Ok(Self {
            zero: from.u32("a number")?,
            id: from.u32("a request")?,
            code: from.u32("a code")?,
            results: from.list(14, "answers", |from| {
                Ok(Answer {
                    unknown: from.u32("a number")?,
                    code: from.u32("a code")?,
                    name: from.string("a name")?,
                    matches: from.list(10, "who fits", |from| {
                        Ok(Match {
                            user: from.string("a user id")?,
                            name: from.string("a name")?,
                            description: from.string("a description")?,
                            kind: from.u32("a kind")?,
                        })
                    })?,
                })
            })?,
        })
    }

    /// Its payload.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u32(self.zero).u32(self.id).u32(self.code).list(&self.results, |to, answer| {
            to.u32(answer.unknown).u32(answer.code).string(&answer.name).list(&answer.matches, |to, one| {
                to.string(&one.user).string(&one.name).string(&one.description).u32(one.kind);
            });
        });
        to.finish()
    }
}

/// What is said on a storage channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// The client wants these back.
    Load {
        /// The client's, for the answer.
        id: u32,
        /// Which.
        keys: Vec<u32>,
    },
    /// The server gives what it has of them.
    Loaded {
        /// That of the question.
        id: u32,
        /// 0, or an error.
        result: u32,
        /// None where nothing is kept.
        items: Vec<Item>,
    },
    /// The client wants these kept.
    Save {
        /// The client's, for the answer.
        id: u32,
        /// What.
        items: Vec<Item>,
    },
    /// They are.
    Saved {
        /// That of the question.
        id: u32,
        /// 0, or an error.
        result: u32,
    },
    /// Anything else.
    Unknown {
        /// The send type.
        kind: u16,
        /// The payload.
        data: Vec<u8>,
    },
}

/// Something that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// 20 more than the data has, as the library writes it; it does not read it.
    pub length: u32,
    /// What it is.
    pub key: u32,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Item {
    /// Something that is kept.
    #[must_use]
    pub fn new(key: u32, data: Vec<u8>) -> Self {
        Self { length: length(data.len().saturating_add(20)), key, data }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            length: from.u32("an item's length")?,
            key: from.u32("an item's key")?,
            data: from.opaque("an item's data")?.to_vec(),
        })
    }

    fn write(&self, to: &mut Writer) {
        to.u32(self.length).u32(self.key).opaque(&self.data);
    }
}

const LOAD: u16 = 4;
const LOADED: u16 = 5;
const SAVE: u16 = 6;
const SAVED: u16 = 7;

impl Storage {
    /// Reads what is said.
    ///
    /// # Errors
    /// [`Malformed`], when fields are missing or lengths lie.
    pub fn read(kind: u16, payload: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(payload);
        Ok(match kind {
            LOAD => Self::Load { id: from.u32("a request")?, keys: from.list(4, "keys", |from| from.u32("a key"))? },
            LOADED => Self::Loaded {
                id: from.u32("a request")?,
                result: from.u32("a result")?,
                items: from.list(12, "items", Item::read)?,
            },
            SAVE => Self::Save { id: from.u32("a request")?, items: from.list(12, "items", Item::read)? },
            SAVED => Self::Saved { id: from.u32("a request")?, result: from.u32("a result")? },
            kind => Self::Unknown { kind, data: payload.to_vec() },
        })
    }

    /// The send type and the payload.
    #[must_use]
    pub fn write(&self) -> (u16, Vec<u8>) {
        let mut to = Writer::default();
        let kind = match self {
            Self::Load { id, keys } => {
                to.u32(*id).list(keys, |to, key| {
                    to.u32(*key);
                });
                LOAD
            }
            Self::Loaded { id, result, items } => {
                to.u32(*id).u32(*result).list(items, |to, item| item.write(to));
                LOADED
            }
            Self::Save { id, items } => {
                to.u32(*id).list(items, |to, item| item.write(to));
                SAVE
            }
            Self::Saved { id, result } => {
                to.u32(*id).u32(*result);
                SAVED
            }
            Self::Unknown { kind, data } => {
                to.raw(data);
                *kind
            }
        };
        (kind, to.finish())
    }
}
