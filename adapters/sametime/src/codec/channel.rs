//! Channels: how they begin, and by which cipher.

use super::person::{IdBlock, LoginInfo};
use super::wire::{Malformed, Reader, WireString, Writer};

/// The services that a channel leads to.
pub mod service {
    /// Who is here.
    pub const AWARENESS: u32 = 0x11;
    /// Who is meant.
    pub const RESOLVE: u32 = 0x15;
    /// What a client keeps at the server.
    pub const STORAGE: u32 = 0x18;
    /// Instant messages.
    pub const MESSAGES: u32 = 0x1000;
}

/// A cipher, and what the other side needs for it: nothing, or a Diffie-Hellman public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CipherItem {
    /// 0: RC2/40; 1: RC2/128.
    pub cipher: u16,
    /// The public key, for RC2/128.
    pub info: Vec<u8>,
}

impl CipherItem {
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { cipher: from.u16("a cipher")?, info: from.opaque("a cipher's key")?.to_vec() })
    }

    fn write(&self, to: &mut Writer) {
        to.u16(self.cipher).opaque(&self.info);
    }
}

/// How the bytes of a channel may be encrypted.
pub mod mode {
    /// Not at all.
    pub const NONE: u16 = 0;
    /// As the other side likes.
    pub const WHATEVER: u16 = 1;
    /// By any cipher.
    pub const ALL: u16 = 2;
    /// By RC2/40.
    pub const RC2_40: u16 = 0x1000;
    /// By RC2/128.
    pub const RC2_128: u16 = 0x2000;
}

/// The ciphers that are offered; none at all is no offer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offer {
    /// These.
    pub items: Vec<CipherItem>,
    /// The mode once more.
    pub mode: u16,
    /// Not known.
    pub flag: bool,
}

/// What is behind the last field that anybody reads: the library writes it and reads it nowhere.
const TAIL: [u8; 6] = [0, 0, 0, 0, 0, 7];
const LONG_TAIL: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 7];

pub(crate) fn tail(is_encrypted: bool) -> Vec<u8> {
    if is_encrypted { LONG_TAIL.to_vec() } else { TAIL.to_vec() }
}

/// Somebody opens a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Create {
    /// 0.
    pub reserved: u32,
    /// The channel's number from now on. The server's have the top bit set.
    pub id: u32,
    /// Whom it is for; nobody for a service of the server, and in what the server opens.
    pub target: IdBlock,
    /// To what.
    pub service: u32,
    /// The service's protocol.
    pub protocol: u32,
    /// Its version.
    pub version: u32,
    /// 0.
    pub options: u32,
    /// What the service wants to know.
    pub data: Vec<u8>,
    /// Who opens it; the server says so, a client does not.
    pub creator: Option<LoginInfo>,
    /// [`mode`].
    pub mode: u16,
    /// The ciphers.
    pub offer: Option<Offer>,
}

impl Create {
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            reserved: from.u32("a reserved number")?,
            id: from.u32("a channel")?,
            target: IdBlock::read(from)?,
            service: from.u32("a service")?,
            protocol: from.u32("a protocol")?,
            version: from.u32("a version")?,
            options: from.u32("options")?,
            data: from.opaque("a service's data")?.to_vec(),
            creator: LoginInfo::read_optional(from)?,
            mode: from.u16("an encryption mode")?,
            offer: {
                let bytes = from.opaque("an offer of ciphers")?;
                if bytes.is_empty() { None } else { Some(offer(bytes)?) }
            },
        })
    }

    pub(crate) fn write(&self, to: &mut Writer) {
        to.u32(self.reserved).u32(self.id);
        self.target.write(to);
        to.u32(self.service).u32(self.protocol).u32(self.version).u32(self.options).opaque(&self.data);
        LoginInfo::write_optional(self.creator.as_ref(), to);
        let mut offer = Writer::default();
        if let Some(made) = &self.offer {
            offer.list(&made.items, |to, item| item.write(to)).u16(made.mode).bool(made.flag);
        }
        to.u16(self.mode).opaque(&offer.finish());
    }
}

fn offer(bytes: &[u8]) -> Result<Offer, Malformed> {
    let mut from = Reader::new(bytes);
    let items = from.list(6, "the ciphers of an offer", CipherItem::read)?;
    // Nobody is known to leave these out; nobody needs them either.
    let mode = from.u16("a mode").unwrap_or_default();
    Ok(Offer { items, mode, flag: from.bool("a flag").unwrap_or_default() })
}

/// The cipher that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// It.
    pub item: CipherItem,
    /// The mode that the offer named.
    pub mode: u16,
    /// Not known.
    pub flag: bool,
}

/// The other side takes a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accept {
    /// As in the create.
    pub service: u32,
    /// As in the create.
    pub protocol: u32,
    /// As in the create.
    pub version: u32,
    /// What the service wants to know.
    pub data: Vec<u8>,
    /// Who takes it: of people the server says so, a client does not.
    pub acceptor: Option<LoginInfo>,
    /// [`mode`]: none, or the one that was chosen.
    pub mode: u16,
    /// The cipher.
    pub chosen: Option<Chosen>,
}

impl Accept {
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            service: from.u32("a service")?,
            protocol: from.u32("a protocol")?,
            version: from.u32("a version")?,
            data: from.opaque("a service's data")?.to_vec(),
            acceptor: LoginInfo::read_optional(from)?,
            mode: from.u16("an encryption mode")?,
            chosen: {
                let bytes = from.opaque("a cipher")?;
                if bytes.is_empty() {
                    None
                } else {
                    let mut from = Reader::new(bytes);
                    let item = CipherItem::read(&mut from)?;
                    let mode = from.u16("a mode").unwrap_or_default();
                    Some(Chosen { item, mode, flag: from.bool("a flag").unwrap_or_default() })
                }
            },
        })
    }

    pub(crate) fn write(&self, to: &mut Writer) {
        to.u32(self.service).u32(self.protocol).u32(self.version).opaque(&self.data);
        LoginInfo::write_optional(self.acceptor.as_ref(), to);
        let mut chosen = Writer::default();
        if let Some(made) = &self.chosen {
            made.item.write(&mut chosen);
            chosen.u16(made.mode).bool(made.flag);
        }
        to.u16(self.mode).opaque(&chosen.finish());
    }
}

/// A notice to people of the own community.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Announce {
    /// Who says it; the server tells.
    pub sender: Option<LoginInfo>,
    /// 0.
    pub unknown: u16,
    /// Whether it may be answered.
    pub may_reply: bool,
    /// What.
    pub text: WireString,
    /// `@U user` or `@G group`; the client tells.
    pub recipients: Vec<WireString>,
}

impl Announce {
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let sender = LoginInfo::read_optional(from)?;
        let unknown = from.u16("a number")?;
        let mut notice = Reader::new(from.opaque("a notice")?);
        Ok(Self {
            sender,
            unknown,
            may_reply: notice.bool("whether a notice may be answered")?,
            text: notice.string("a notice's text")?,
            recipients: from.list(2, "the people of a notice", |from| from.string("somebody"))?,
        })
    }

    pub(crate) fn write(&self, to: &mut Writer) {
        LoginInfo::write_optional(self.sender.as_ref(), to);
        let mut notice = Writer::default();
        notice.bool(self.may_reply).string(&self.text);
        to.u16(self.unknown).opaque(&notice.finish()).list(&self.recipients, |to, one| {
            to.string(one);
        });
    }
}
