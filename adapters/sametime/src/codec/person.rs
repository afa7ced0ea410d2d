//! Who somebody is, and how they are: the parts that several messages share.

use super::wire::{Malformed, Reader, WireString, Writer};

/// Who is logged in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoginInfo {
    /// Unique for this login; its first five bytes are a channel key ([`crate::cipher`]), and the library reads five without looking.
    pub login_id: WireString,
    /// The kind of client.
    pub login_type: u16,
    /// Unique in the community.
    pub user: WireString,
    /// For people.
    pub name: WireString,
    /// Empty for the own community.
    pub community: WireString,
    /// What the long form has more.
    pub more: Option<LoginMore>,
}

/// What the long form of a [`LoginInfo`] has more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoginMore {
    /// For people.
    pub description: WireString,
    /// The client's IPv4 address.
    pub address: u32,
    /// The server that the login is at.
    pub server: WireString,
}

impl LoginInfo {
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            login_id: from.string("a login id")?,
            login_type: from.u16("a login type")?,
            user: from.string("a user id")?,
            name: from.string("a user name")?,
            community: from.string("a community")?,
            more: if from.bool("whether a login is in full")? {
                Some(LoginMore {
                    description: from.string("a description")?,
                    address: from.u32("an IP address")?,
                    server: from.string("a server id")?,
                })
            } else {
                None
            },
        })
    }

    pub(crate) fn write(&self, to: &mut Writer) {
        to.string(&self.login_id).u16(self.login_type).string(&self.user).string(&self.name).string(&self.community);
        to.bool(self.more.is_some());
        if let Some(more) = &self.more {
            to.string(&more.description).u32(more.address).string(&more.server);
        }
    }

    pub(crate) fn read_optional(from: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        from.bool("whether there is a login").and_then(|there| there.then(|| Self::read(from)).transpose())
    }

    pub(crate) fn write_optional(login: Option<&Self>, to: &mut Writer) {
        to.bool(login.is_some());
        if let Some(login) = login {
            login.write(to);
        }
    }
}

/// A person in a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserItem {
    /// Unique in the community.
    pub user: WireString,
    /// Empty for the own one.
    pub community: WireString,
    /// For people; only in the long form.
    pub name: Option<WireString>,
}

/// Who may see somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privacy {
    /// Everybody but these; otherwise only these.
    pub deny: bool,
    /// These.
    pub users: Vec<UserItem>,
}

impl Default for Privacy {
    /// Everybody.
    fn default() -> Self {
        Self { deny: true, users: Vec::new() }
    }
}

impl Privacy {
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let deny = from.bool("whether a list denies")?;
        let users = from.list(5, "the people of a list", |from| {
            let full = from.bool("whether a person is in full")?;
            Ok(UserItem {
                user: from.string("a user id")?,
                community: from.string("a community")?,
                name: if full { Some(from.string("a user name")?) } else { None },
            })
        })?;
        Ok(Self { deny, users })
    }

    pub(crate) fn write(&self, to: &mut Writer) {
        to.bool(self.deny).list(&self.users, |to, user| {
            to.bool(user.name.is_some()).string(&user.user).string(&user.community);
            if let Some(name) = &user.name {
                to.string(name);
            }
        });
    }

    /// As bytes, for keeping.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::default();
        self.write(&mut to);
        to.finish()
    }

    /// What [`to_bytes`](Self::to_bytes) has written.
    ///
    /// # Errors
    /// [`Malformed`], when it has not.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(bytes))
    }
}

/// How somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserStatus {
    /// One of the constants here, perhaps with flags above `ff`.
    pub status: u16,
    /// Seconds since 1970 in old clients, something else in newer ones; 0 serves.
    pub time: u32,
    /// What the person has said about it.
    pub text: WireString,
}

impl UserStatus {
    /// Not signed in.
    pub const OFFLINE: u16 = 0x00;
    /// In a meeting.
    pub const MEETING: u16 = 0x08;
    /// Here.
    pub const ACTIVE: u16 = 0x20;
    /// Here a moment ago.
    pub const IDLE: u16 = 0x40;
    /// Not here.
    pub const AWAY: u16 = 0x60;
    /// Not to be disturbed.
    pub const BUSY: u16 = 0x80;

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { status: from.u16("a status")?, time: from.u32("a time")?, text: from.string("a status text")? })
    }

    pub(crate) fn write(&self, to: &mut Writer) {
        to.u16(self.status).u32(self.time).string(&self.text);
    }
}

/// Somebody by id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdBlock {
    /// Unique in the community.
    pub user: WireString,
    /// Empty for the own one.
    pub community: WireString,
}

impl IdBlock {
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { user: from.string("a user id")?, community: from.string("a community")? })
    }

    pub(crate) fn write(&self, to: &mut Writer) {
        to.string(&self.user).string(&self.community);
    }
}
