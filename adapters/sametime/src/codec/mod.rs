//! The Virtual Places protocol: bytes and typed values, both ways, without state. What is a client's word and what a server's is all the same here.
//!
//! All numbers are big-endian. Reading is lenient where clients are known to differ (bytes behind the last known field, unknown types), and strict
//! about every length and count. [`Stream`] takes frames off a connection, [`Message::decode`] reads one; what is said on a channel is read by the
//! type of its service: [`Awareness`], [`Question`] and [`Reply`], [`Storage`], [`Said`].

mod awareness;
mod channel;
mod im;
mod message;
mod person;
mod services;
mod stream;
mod wire;

pub use awareness::{AwareId, Awareness, Online, Record};
pub use channel::{Accept, Announce, Chosen, CipherItem, Create, Offer, mode, service};
pub use im::{ClientType, SEND as SEND_SAID, Said, data};
pub use message::{AckMore, Body, Handshake, HandshakeAck, HandshakeMore, Login, LoginAck, Message};
pub use person::{IdBlock, LoginInfo, LoginMore, Privacy, UserItem, UserStatus};
pub use services::{Answer, Item, Match, Question, RESOLVE, Reply, Storage};
pub use stream::{Frame, FrameError, Stream};
pub use wire::{Malformed, WireString};
pub(crate) use wire::{Reader, Writer};
