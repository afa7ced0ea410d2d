//! The messages themselves: a header of eight bytes, and what its type says.

use super::channel::{Accept, Announce, Create, tail};
use super::person::{LoginInfo, Privacy, UserStatus};
use super::wire::{Malformed, Reader, WireString, Writer, length};

/// One message, without the length of its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// [`Message::ENCRYPTED`], and others that are not known.
    pub options: u16,
    /// Which channel it concerns; 0: the connection as a whole.
    pub channel: u32,
    /// Attributes, which nobody is known to send.
    pub attributes: Option<Vec<u8>>,
    /// What it says.
    pub body: Body,
    /// What is behind all that is known. Newer clients append fields, so there may be some anywhere.
    pub rest: Vec<u8>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The client begins.
    Handshake(Handshake),
    /// The server answers.
    HandshakeAck(HandshakeAck),
    /// The client says who it is.
    Login(Login),
    /// The server has let it in.
    LoginAck(LoginAck),
    /// The server sends it elsewhere.
    Redirect {
        /// Where: a host, at the same port.
        host: WireString,
        /// That server's id.
        server: WireString,
    },
    /// The client would rather stay.
    Continue,
    /// A channel is opened.
    Create(Create),
    /// It is taken.
    Accept(Accept),
    /// Something is said on it.
    Send {
        /// What kind of thing, by the service.
        kind: u16,
        /// The service's own words, perhaps encrypted.
        payload: Vec<u8>,
    },
    /// It ends, or was refused; channel 0: the connection ends.
    Destroy {
        /// 0, or an error ([`crate::reason`]).
        reason: u32,
        /// Nobody is known to use it.
        data: Vec<u8>,
    },
    /// How the client's user is.
    Status(UserStatus),
    /// Who may see the client's user.
    Privacy(Privacy),
    /// Whether a service is there; and that it is.
    Sense {
        /// Which.
        service: u32,
    },
    /// Words of the administrator.
    Admin {
        /// What.
        text: WireString,
    },
    /// A notice to several.
    Announce(Announce),
    /// Of a type that is not known, which is to be skipped.
    Unknown {
        /// The type.
        kind: u16,
        /// All that is behind the header.
        data: Vec<u8>,
    },
}

/// The client begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handshake {
    /// `1e`.
    pub major: u16,
    /// `1d` of the library.
    pub minor: u16,
    /// 0.
    pub channel: u32,
    /// 0.
    pub server_address: u32,
    /// The kind of client.
    pub login_type: u16,
    /// 0.
    pub own_address: u32,
    /// What newer ones have more.
    pub more: Option<HandshakeMore>,
}

/// What newer handshakes have more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HandshakeMore {
    /// `0100`.
    pub unknown: u16,
    /// 0.
    pub zero: u32,
    /// The client's own name.
    pub host: WireString,
}

/// The server answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HandshakeAck {
    /// `1e`.
    pub major: u16,
    /// `1d`; up to `18`, there is nothing more.
    pub minor: u16,
    /// What makes the stronger login possible.
    pub more: Option<AckMore>,
}

/// What makes the stronger login possible.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckMore {
    /// The client's IPv4 address.
    pub address: u32,
    /// To be repeated inside the encrypted login.
    pub magic: u32,
    /// The server's Diffie-Hellman public key; shorter than 64 bytes, the client uses the weaker login.
    pub key: Vec<u8>,
}

/// The client says who it is.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Login {
    /// The kind of client.
    pub login_type: u16,
    /// The name as it was typed.
    pub name: WireString,
    /// The password, wrapped as `auth_type` says.
    pub auth_data: Vec<u8>,
    /// 2 or 4 ([`crate::cipher::open_login`]).
    pub auth_type: u16,
    /// 0.
    pub unknown: u16,
}

/// The wrapping of type 2 hides nothing.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("login_type", &self.login_type).field("auth_type", &self.auth_type).finish_non_exhaustive()
    }
}

/// The server has let the client in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoginAck {
    /// The client's own login.
    pub login: LoginInfo,
    /// 0.
    pub unknown: u16,
    /// Who may see it.
    pub privacy: Privacy,
    /// How it is.
    pub status: UserStatus,
}

const HANDSHAKE: u16 = 0x0000;
const LOGIN: u16 = 0x0001;
const CREATE: u16 = 0x0002;
const DESTROY: u16 = 0x0003;
const SEND: u16 = 0x0004;
const ACCEPT: u16 = 0x0006;
const STATUS: u16 = 0x0009;
const PRIVACY: u16 = 0x000b;
const SENSE: u16 = 0x0011;
const CONTINUE: u16 = 0x0016;
const REDIRECT: u16 = 0x0018;
const ADMIN: u16 = 0x0019;
const ANNOUNCE: u16 = 0x0022;
const HANDSHAKE_ACK: u16 = 0x8000;
const LOGIN_ACK: u16 = 0x8001;

/// An attributes opaque follows the header.
const HAS_ATTRIBUTES: u16 = 0x8000;

/// Versions from which a handshake has more.
const LONG_HANDSHAKE: (u16, u16) = (0x1e, 0x1d);
/// The last version of an answer that has nothing more.
const SHORT_ACK: u16 = 0x18;

impl Message {
    /// The payload of a `Send` is encrypted.
    pub const ENCRYPTED: u16 = 0x4000;

    /// A message about a channel.
    #[must_use]
    pub fn new(channel: u32, body: Body) -> Self {
        let rest = match &body {
            Body::Create(create) => tail(create.offer.is_some()),
            Body::Accept(accept) => tail(accept.chosen.is_some()),
            _ => Vec::new(),
        };
        Self { options: 0, channel, attributes: None, body, rest }
    }

    /// The end of a channel, or with channel 0 of the connection.
    #[must_use]
    pub fn destroy(channel: u32, reason: u32) -> Self {
        Self::new(channel, Body::Destroy { reason, data: Vec::new() })
    }

    /// Reads the bytes of a frame.
    ///
    /// # Errors
    /// [`Malformed`], when fields are missing or lengths lie. Bytes left over are no error.
    pub fn decode(frame: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(frame);
        let kind = from.u16("a message type")?;
        let options = from.u16("options")?;
        let channel = from.u32("a channel")?;
        let attributes = if options & HAS_ATTRIBUTES == 0 { None } else { Some(from.opaque("attributes")?.to_vec()) };
        let body = Body::read(kind, &mut from)?;
        Ok(Self { options: options & !HAS_ATTRIBUTES, channel, attributes, body, rest: from.rest() })
    }

    /// Writes it as a whole frame, with its length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        let options = self.options & !HAS_ATTRIBUTES | if self.attributes.is_some() { HAS_ATTRIBUTES } else { 0 };
        to.u32(0).u16(self.body.kind()).u16(options).u32(self.channel);
        if let Some(attributes) = &self.attributes {
            to.opaque(attributes);
        }
        self.body.write(&mut to);
        to.raw(&self.rest);
        let mut bytes = to.finish();
        let own = length(bytes.len().saturating_sub(4));
        if let Some(head) = bytes.first_chunk_mut::<4>() {
            *head = own.to_be_bytes();
        }
        bytes
    }
}

impl Body {
    fn kind(&self) -> u16 {
        match self {
            Self::Handshake(_) => HANDSHAKE,
            Self::HandshakeAck(_) => HANDSHAKE_ACK,
            Self::Login(_) => LOGIN,
            Self::LoginAck(_) => LOGIN_ACK,
            Self::Redirect { .. } => REDIRECT,
            Self::Continue => CONTINUE,
            Self::Create(_) => CREATE,
            Self::Accept(_) => ACCEPT,
            Self::Send { .. } => SEND,
            Self::Destroy { .. } => DESTROY,
            Self::Status(_) => STATUS,
            Self::Privacy(_) => PRIVACY,
            Self::Sense { .. } => SENSE,
            Self::Admin { .. } => ADMIN,
            Self::Announce(_) => ANNOUNCE,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    fn read(kind: u16, from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match kind {
            HANDSHAKE => Self::Handshake(Handshake::read(from)?),
            HANDSHAKE_ACK => Self::HandshakeAck(HandshakeAck::read(from)?),
            LOGIN => Self::Login(Login {
                login_type: from.u16("a login type")?,
                name: from.string("a login name")?,
                auth_data: from.opaque("a wrapped password")?.to_vec(),
                auth_type: from.u16("an authentication type")?,
                unknown: from.u16("a number").unwrap_or_default(),
            }),
            LOGIN_ACK => Self::LoginAck(LoginAck {
                login: LoginInfo::read(from)?,
                unknown: from.u16("a number")?,
                privacy: Privacy::read(from)?,
                status: UserStatus::read(from)?,
            }),
            REDIRECT => Self::Redirect { host: from.string("a host")?, server: from.string("a server id")? },
            CONTINUE => Self::Continue,
            CREATE => Self::Create(Create::read(from)?),
            ACCEPT => Self::Accept(Accept::read(from)?),
            SEND => Self::Send { kind: from.u16("a send type")?, payload: from.opaque("a payload")?.to_vec() },
            DESTROY => {
                Self::Destroy { reason: from.u32("a reason")?, data: from.opaque("a reason's data").unwrap_or_default().to_vec() }
            }
            STATUS => Self::Status(UserStatus::read(from)?),
            PRIVACY => Self::Privacy(Privacy::read(from)?),
            SENSE => Self::Sense { service: from.u32("a service")? },
            ADMIN => Self::Admin { text: from.string("a text")? },
            ANNOUNCE => Self::Announce(Announce::read(from)?),
            kind => Self::Unknown { kind, data: from.take(from.left(), "nothing")?.to_vec() },
        })
    }

    fn write(&self, to: &mut Writer) {
        match self {
            Self::Handshake(handshake) => handshake.write(to),
            Self::HandshakeAck(ack) => ack.write(to),
            Self::Login(login) => {
                to.u16(login.login_type).string(&login.name).opaque(&login.auth_data);
                to.u16(login.auth_type).u16(login.unknown);
            }
            Self::LoginAck(ack) => {
                ack.login.write(to);
                to.u16(ack.unknown);
                ack.privacy.write(to);
                ack.status.write(to);
            }
            Self::Redirect { host, server } => {
                to.string(host).string(server);
            }
            Self::Continue => {}
            Self::Create(create) => create.write(to),
            Self::Accept(accept) => accept.write(to),
            Self::Send { kind, payload } => {
                to.u16(*kind).opaque(payload);
            }
            Self::Destroy { reason, data } => {
                to.u32(*reason).opaque(data);
            }
            Self::Status(status) => status.write(to),
            Self::Privacy(privacy) => privacy.write(to),
            Self::Sense { service } => {
                to.u32(*service);
            }
            Self::Admin { text } => {
                to.string(text);
            }
            Self::Announce(announce) => announce.write(to),
            Self::Unknown { data, .. } => {
                to.raw(data);
            }
        }
    }
}

impl Handshake {
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (major, minor) = (from.u16("a major version")?, from.u16("a minor version")?);
        Ok(Self {
            major,
            minor,
            channel: from.u32("a channel")?,
            server_address: from.u32("an address")?,
            login_type: from.u16("a login type")?,
            own_address: from.u32("an address")?,
            more: if (major, minor) >= LONG_HANDSHAKE && from.left() >= 8 {
                Some(HandshakeMore {
                    unknown: from.u16("a number")?,
                    zero: from.u32("a number")?,
                    host: from.string("a host name")?,
                })
            } else {
                None
            },
        })
    }

    fn write(&self, to: &mut Writer) {
        to.u16(self.major).u16(self.minor).u32(self.channel).u32(self.server_address).u16(self.login_type).u32(self.own_address);
        if let Some(more) = &self.more {
            to.u16(more.unknown).u32(more.zero).string(&more.host);
        }
    }
}

impl HandshakeAck {
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (major, minor) = (from.u16("a major version")?, from.u16("a minor version")?);
        let more = if minor > SHORT_ACK && from.left() > 0 {
            Some(AckMore {
                address: from.u32("an address")?,
                magic: from.u32("a number to repeat")?,
                key: from.opaque("a public key")?.to_vec(),
            })
        } else {
            None
        };
        Ok(Self { major, minor, more })
    }

    fn write(&self, to: &mut Writer) {
        to.u16(self.major).u16(self.minor);
        if let Some(more) = &self.more {
            to.u32(more.address).u32(more.magic).opaque(&more.key);
        }
    }
}
