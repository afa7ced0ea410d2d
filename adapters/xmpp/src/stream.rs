//! Streams: what both directions share. [`inbound`] answers a peer's stream, [`outbound`] opens ours.

pub(crate) mod dialback;
pub(crate) mod inbound;
pub(crate) mod outbound;
mod proving;
mod stanzas;

pub(crate) use stanzas::tell_sender;

use bytes::BytesMut;
use interchange_model::Domain;

use crate::address::push_domain;
use crate::codec::{Codec, Element, Namespace, push_attribute};
use crate::errors::StreamError;

/// Bytes of the largest element before authentication: what RFC 6120 §13.12 has everybody accept, and no more.
pub(crate) const LIMIT_BEFORE: usize = 10_000;

/// The addresses and version of a stream's opening tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Who claims to speak.
    pub(crate) from: Option<Domain>,
    /// Who is spoken to.
    pub(crate) to: Option<Domain>,
    /// The id that the answering side gives.
    pub(crate) id: Option<String>,
    /// The language of all that does not say its own.
    pub(crate) language: Option<String>,
}

impl Header {
    /// Reads an opening tag.
    ///
    /// # Errors
    /// The [`StreamError`] it deserves.
    pub(crate) fn read(tag: Element<'_>, codec: &Codec) -> Result<Self, StreamError> {
        // RFC 6120 §4.8.1, §4.8.2
        if !tag.is(Namespace::Stream, "stream") || codec.content() != Namespace::Server {
            return Err(StreamError::InvalidNamespace);
        }
        let domain = |name| tag.attribute(name).map(Domain::parse).transpose();
        let header = Self {
            from: domain("from").map_err(|_| StreamError::InvalidFrom)?,
            to: domain("to").map_err(|_| StreamError::ImproperAddressing)?,
            id: tag.attribute("id").map(str::to_owned),
            language: tag.language().map(str::to_owned),
        };
        // RFC 6120 §4.7.5: without a version, or below 1.0, it is the protocol before stream features.
        let version = tag.attribute("version").and_then(|version| version.split_once('.')?.0.parse::<u32>().ok());
        if version.is_none_or(|major| major < 1) {
            return Err(StreamError::UnsupportedVersion);
        }
        Ok(header)
    }
}

/// Appends an opening tag. The prefix `db` is declared in each, since XEP-0220 wants it so (§2.4.1).
pub(crate) fn push_header(out: &mut BytesMut, from: Option<&Domain>, to: Option<&Domain>, id: Option<&str>) {
    out.extend_from_slice(
        b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
          xmlns:db='jabber:server:dialback'",
    );
    for (name, domain) in [("from", from), ("to", to)] {
        if let Some(domain) = domain {
            push_domain(out, name, domain);
        }
    }
    if let Some(id) = id {
        push_attribute(out, "id", id);
    }
    // Our own words are English (RFC 6120 §4.7.4). What we deliver on a stream of ours is in whatever language people
    // write: a default there would be put on every message that does not say.
    out.extend_from_slice(if id.is_some() { b" version='1.0' xml:lang='en'>" } else { b" version='1.0'>" });
}
