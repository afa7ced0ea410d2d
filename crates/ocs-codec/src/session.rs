//! The description of an IM session: SDP of which only one media line matters, `m=message PORT sip null`. Addresses and ports in it are never used:
//! the messages go by the dialog.

/// Bytes of a description that is read.
const MAX_BYTES: usize = 16 * 1024;
/// Types of content that are kept.
const MAX_TYPES: usize = 64;

/// The word in the media line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaWord {
    /// `message`: since OCS 2007.
    Message,
    /// `x-ms-message`: LCS 2005.
    MsMessage,
}

impl MediaWord {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            MediaWord::Message => "message",
            MediaWord::MsMessage => "x-ms-message",
        }
    }
}

/// An IM session, as one side describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Which word it was offered with; an answer has the same.
    pub word: MediaWord,
    /// Types of content that the side takes, in lower case, without parameters. Empty: it does not say.
    pub accept: Vec<String>,
}

/// Why a description is not that of an IM session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionFault {
    /// It cannot be read.
    #[error("expected a session description")]
    Malformed,
    /// It is of something else, or of something else too: speech, pictures, a shared screen, a file.
    #[error("expected a session of messages alone")]
    OtherMedia,
}

impl Session {
    /// Reads a description.
    ///
    /// # Errors
    /// [`SessionFault`].
    pub fn read(bytes: &[u8]) -> Result<Self, SessionFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| SessionFault::Malformed)?;
        if text.len() > MAX_BYTES || !text.trim_start().starts_with("v=") {
            return Err(SessionFault::Malformed);
        }
        let mut word = None;
        let mut accept = Vec::new();
        for line in text.lines() {
            if let Some(media) = line.strip_prefix("m=") {
                let found = match media.split_whitespace().next() {
                    Some(name) if name.eq_ignore_ascii_case("message") => MediaWord::Message,
                    Some(name) if name.eq_ignore_ascii_case("x-ms-message") => MediaWord::MsMessage,
                    _ => return Err(SessionFault::OtherMedia),
                };
                word = word.or(Some(found));
            } else if let Some(types) = line.strip_prefix("a=accept-types:") {
                accept.extend(types.split_whitespace().take(MAX_TYPES).map(str::to_ascii_lowercase));
            }
        }
        accept.truncate(MAX_TYPES);
        Ok(Self { word: word.ok_or(SessionFault::OtherMedia)?, accept })
    }

    /// Whether the side takes content of a type; one that says nothing takes plain text.
    #[must_use]
    pub fn accepts(&self, media: &str) -> bool {
        if self.accept.is_empty() {
            media == "text/plain"
        } else {
            self.accept.iter().any(|known| known == media || known == "*")
        }
    }

    /// The description; in an answer `to` is the URI of the person whose session it is, as Microsoft's clients write it, and `null` in an offer.
    #[must_use]
    pub fn write(&self, to: Option<&str>) -> String {
        format!(
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=session\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm={} 5060 sip {}\r\na=accept-types:{}\r\n",
            self.word.as_str(),
            to.unwrap_or("null"),
            self.accept.join(" ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORDED: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=session\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 25060 sip null\r\na=accept-types:text/plain text/html image/gif application/im-iscomposing+xml application/ms-imdn+xml text/x-msmsgsinvite\r\n";

    #[test]
    fn the_recorded_offers_are_read() {
        let session = Session::read(RECORDED.as_bytes()).unwrap();
        assert_eq!((session.word, session.accept.len()), (MediaWord::Message, 6));
        assert!(session.accepts("text/html") && !session.accepts("text/rtf"));
        let old = RECORDED.replace("m=message", "m=x-ms-message");
        assert_eq!(Session::read(old.as_bytes()).unwrap().word, MediaWord::MsMessage);
        assert_eq!(Session::read(session.write(None).as_bytes()), Ok(session));
    }

    #[test]
    fn whoever_says_nothing_takes_plain_text() {
        let silent = Session { word: MediaWord::Message, accept: Vec::new() };
        assert!(silent.accepts("text/plain") && !silent.accepts("text/html"));
    }

    #[test]
    fn other_media_are_told_apart() {
        for media in ["audio 5004 RTP/AVP 0", "video 5006 RTP/AVP 31", "applicationsharing 1 TCP/RTP/SAVP 127", "data 6901 TCP x"]
        {
            let other = RECORDED.replace("message 25060 sip null", media);
            assert_eq!(Session::read(other.as_bytes()), Err(SessionFault::OtherMedia), "{media}");
            let both = format!("{RECORDED}m={media}\r\n");
            assert_eq!(Session::read(both.as_bytes()), Err(SessionFault::OtherMedia), "{media}");
        }
        assert_eq!(Session::read(b"v=0\r\n"), Err(SessionFault::OtherMedia));
        for text in [&b""[..], b"\xff", b"m=message 1 sip null"] {
            assert_eq!(Session::read(text), Err(SessionFault::Malformed));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "v=[a-z=\r\n :/]{0,200}") {
            let _ = Session::read(&bytes);
            let _ = Session::read(text.as_bytes());
        }
    }
}
