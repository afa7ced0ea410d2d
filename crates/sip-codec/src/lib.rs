//! SIP messages, URIs and stream framing: bytes to typed values and back. No IO, no clock, no state beyond the
//! framing of one stream.
//!
//! Three doors:
//! - [`decode_datagram`] for UDP and [`StreamDecoder`] for TCP and TLS turn bytes into a [`Message`]. Whatever they
//!   return is sound: every mandatory header is there once and has been parsed, so `request.from()` cannot fail.
//! - [`Request`], [`Response`] and the field types ([`Uri`], [`NameAddr`], [`Via`], [`ContentType`]) give the values.
//! - [`RequestBuilder`] and [`Response::to_request`] make messages; `encode` writes them. Nothing that could start a
//!   new header line ever gets into a [`Value`].
//!
//! Left out: transactions and dialogs (crate `sip-stack`), SDP, MIME bodies, digest authentication.
//!
//! ```
//! use sip_codec::{Limits, Message, Response, StreamDecoder, StreamEvent};
//!
//! let mut stream = StreamDecoder::new(Limits::default());
//! stream.push(b"OPTIONS sip:b.example SIP/2.0\r\nVia: SIP/2.0/TLS a.example;branch=z9hG4bK1\r\n\
//!     From: <sip:a.example>;tag=1\r\nTo: <sip:b.example>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n");
//! match stream.next_event() {
//!     Some(StreamEvent::Message(Message::Request(request))) => {
//!         let answer = Response::to_request(&request, 200, Some("tag1"), None).expect("200 and a token");
//!         assert!(answer.encode().starts_with(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS a.example;branch=z9hG4bK1\r\n"));
//!     }
//!     other => panic!("{other:?}"),
//! }
//! ```
#![forbid(unsafe_code)]

mod build;
mod decode;
mod encode;
mod error;
mod fields;
mod header;
mod host;
mod lex;
mod limits;
mod message;
mod method;
mod name_addr;
mod params;
mod status;
mod stream;
mod uri;
mod via;

pub use build::RequestBuilder;
pub use decode::{decode_datagram, is_keep_alive};
pub use error::{Found, Malformed, Rejected, Unencodable};
pub use fields::{CSeq, ContentType, RetryAfter};
pub use header::{Header, Headers, Name, Value};
pub use host::Host;
pub use limits::Limits;
pub use message::{Message, Request, Response};
pub use method::Method;
pub use name_addr::NameAddr;
pub use params::{Param, Params};
pub use status::reason_phrase;
pub use stream::{StreamDecoder, StreamEvent};
pub use uri::{Scheme, Uri, percent_decode, percent_encode};
pub use via::{Transport, Via};

/// The example in the README compiles and holds.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
