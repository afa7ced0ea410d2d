//! MSRP, the Message Session Relay Protocol (RFC 4975), without IO, clock or randomness: bytes and time in, bytes and events out.
//!
//! [`StreamDecoder`] cuts a connection into [`Message`]s; a [`Session`] puts chunks together, cuts texts into chunks, answers and waits
//! for answers; [`sdp`] holds the offers and answers by which sessions begin (RFC 4975 §8, RFC 6135).
//!
//! Left out: relays of our own (RFC 4976; a path through a relay of the peer works, for To-Path is sent whole), SIP, and connections. One
//! connection may carry several sessions: who owns the connection hands each message to the session of its To-Path.
#![forbid(unsafe_code)]

mod decode;
mod limits;
mod message;
pub mod sdp;
mod session;
mod uri;

pub use decode::{Malformed, Rejected, StreamDecoder};
pub use limits::Limits;
pub use message::{ByteRange, Content, Continuation, FailureReport, Message, Method, Request, Response, TransactionId};
pub use session::{Complete, Event, Outgoing, Session, Settings, Token};
pub use uri::{BadUri, MsrpUri, Path};
