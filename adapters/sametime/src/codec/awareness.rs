//! What is said on the channel of awareness: who is here.

use super::person::UserStatus;
use super::wire::{Malformed, Reader, WireString, Writer, length};

/// Somebody, or a group, that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AwareId {
    /// [`AwareId::USER`], a group (3), a server (8).
    pub kind: u16,
    /// Whom.
    pub user: WireString,
    /// Empty for the own community.
    pub community: WireString,
}

impl AwareId {
    /// A person.
    pub const USER: u16 = 2;

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { kind: from.u16("a kind")?, user: from.string("a user id")?, community: from.string("a community")? })
    }

    fn write(&self, to: &mut Writer) {
        to.u16(self.kind).string(&self.user).string(&self.community);
    }
}

/// What a client is told of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it counts is not known; [`Record::new`] has the size of what follows.
    pub length: u32,
    /// Whom, byte for byte as the client has it.
    pub id: AwareId,
    /// The watched group because of which; mostly none.
    pub group: WireString,
    /// How they are; `None`: not here.
    pub online: Option<Online>,
}

/// How somebody is who is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Online {
    /// Another id, mostly the same.
    pub alternative: WireString,
    /// How.
    pub status: UserStatus,
    /// For people.
    pub name: WireString,
}

impl Record {
    /// A record of somebody.
    #[must_use]
    pub fn new(id: AwareId, online: Option<Online>) -> Self {
        let mut record = Self { length: 0, id, group: WireString::default(), online };
        let mut to = Writer::default();
        record.write(&mut to);
        record.length = length(to.finish().len().saturating_sub(4));
        record
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            length: from.u32("a record's length")?,
            id: AwareId::read(from)?,
            group: from.string("a group")?,
            online: if from.bool("whether somebody is here")? {
                Some(Online {
                    alternative: from.string("another id")?,
                    status: UserStatus::read(from)?,
                    name: from.string("a name")?,
                })
            } else {
                None
            },
        })
    }

    fn write(&self, to: &mut Writer) {
        to.u32(self.length);
        self.id.write(to);
        to.string(&self.group).bool(self.online.is_some());
        if let Some(online) = &self.online {
            to.string(&online.alternative);
            online.status.write(to);
            to.string(&online.name);
        }
    }
}

/// What is said on an awareness channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awareness {
    /// The client wants to see these.
    Add(Vec<AwareId>),
    /// The client wants to see these no more.
    Remove(Vec<AwareId>),
    /// The client says something about itself.
    SetAttribute {
        /// 0, the length of the value, 0.
        numbers: [u32; 3],
        /// Of what.
        key: u32,
        /// What.
        value: Vec<u8>,
    },
    /// The client says it no more.
    UnsetAttribute {
        /// 0.
        zero: u32,
        /// Of what.
        key: u32,
    },
    /// The client wants to be told of these attributes, and of no others.
    WatchAttributes {
        /// 0.
        zero: u32,
        /// These.
        keys: Vec<u32>,
    },
    /// The server tells of several.
    Snapshot(Vec<Record>),
    /// The server tells of one.
    Update(Record),
    /// The server tells of an attribute.
    Attribute {
        /// Not known, 0.
        unknown: [u32; 3],
        /// Whose.
        id: AwareId,
        /// Of what.
        key: u32,
        /// What; `None`: nothing.
        value: Option<Vec<u8>>,
    },
    /// Anything else.
    Unknown {
        /// The send type.
        kind: u16,
        /// The payload.
        data: Vec<u8>,
    },
}

const ADD: u16 = 0x68;
const REMOVE: u16 = 0x69;
const SET: u16 = 0xc9;
const UNSET: u16 = 0xca;
const WATCH: u16 = 0xcb;
const SNAPSHOT: u16 = 0x1f4;
const UPDATE: u16 = 0x1f5;
const ATTRIBUTE: u16 = 0x259;

impl Awareness {
    /// Reads what is said.
    ///
    /// # Errors
    /// [`Malformed`], when fields are missing or lengths lie.
    pub fn read(kind: u16, payload: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(payload);
        Ok(match kind {
            ADD => Self::Add(from.list(6, "people to watch", AwareId::read)?),
            REMOVE => Self::Remove(from.list(6, "people to watch no more", AwareId::read)?),
            SET => {
                let numbers = [from.u32("a number")?, from.u32("a length")?, from.u32("a number")?];
                Self::SetAttribute { numbers, key: from.u32("an attribute")?, value: from.opaque("a value")?.to_vec() }
            }
            UNSET => Self::UnsetAttribute { zero: from.u32("a number")?, key: from.u32("an attribute")? },
            WATCH => Self::WatchAttributes {
                zero: from.u32("a number")?,
                keys: from.list(4, "attributes", |from| from.u32("an attribute"))?,
            },
            // A record may have trailing fields, which only its length tells; those that are known have none.
            SNAPSHOT => Self::Snapshot(from.list(13, "records", Record::read)?),
            UPDATE => Self::Update(Record::read(&mut from)?),
            ATTRIBUTE => {
                let first = from.u32("a number")?;
                let id = AwareId::read(&mut from)?;
                let second = from.u32("a number")?;
                let there = from.u32("whether there is a value")? != 0;
                let third = from.u32("a number")?;
                let key = from.u32("an attribute")?;
                let value = if there { Some(from.opaque("a value")?.to_vec()) } else { None };
                Self::Attribute { unknown: [first, second, third], id, key, value }
            }
            kind => Self::Unknown { kind, data: payload.to_vec() },
        })
    }

    /// The send type and the payload.
    #[must_use]
    pub fn write(&self) -> (u16, Vec<u8>) {
        let mut to = Writer::default();
        let kind = match self {
            Self::Add(ids) => {
                to.list(ids, |to, id| id.write(to));
                ADD
            }
            Self::Remove(ids) => {
                to.list(ids, |to, id| id.write(to));
                REMOVE
            }
            Self::SetAttribute { numbers, key, value } => {
                for number in numbers {
                    to.u32(*number);
                }
                to.u32(*key).opaque(value);
                SET
            }
            Self::UnsetAttribute { zero, key } => {
                to.u32(*zero).u32(*key);
                UNSET
            }
            Self::WatchAttributes { zero, keys } => {
                to.u32(*zero).list(keys, |to, key| {
                    to.u32(*key);
                });
                WATCH
            }
            Self::Snapshot(records) => {
                to.list(records, |to, record| record.write(to));
                SNAPSHOT
            }
            Self::Update(record) => {
                record.write(&mut to);
                UPDATE
            }
            Self::Attribute { unknown: [first, second, third], id, key, value } => {
                to.u32(*first);
                id.write(&mut to);
                to.u32(*second).u32(u32::from(value.is_some())).u32(*third).u32(*key);
                if let Some(value) = value {
                    to.opaque(value);
                }
                ATTRIBUTE
            }
            Self::Unknown { kind, data } => {
                to.raw(data);
                *kind
            }
        };
        (kind, to.finish())
    }
}
