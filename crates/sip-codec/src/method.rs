//! Request methods.

use std::fmt;

use crate::error::Unencodable;
use crate::lex;

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// What a request asks for. Compared case-sensitively (RFC 3261 §7.1); never percent-decoded.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Method {
            $($(#[$doc])* $variant,)*
            /// Any other token; made by [`Method::new`].
            Other(Box<str>),
        }

        impl Method {
            pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
                $(if bytes == $text.as_bytes() { return Some(Self::$variant); })*
                lex::is_token(bytes).then(|| Self::Other(lex::text(bytes).into()))
            }

            /// The word on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(name) => name,
                }
            }
        }
    };
}

methods! {
    /// RFC 3261.
    Invite = "INVITE",
    /// RFC 3261.
    Ack = "ACK",
    /// RFC 3261.
    Options = "OPTIONS",
    /// RFC 3261.
    Bye = "BYE",
    /// RFC 3261.
    Cancel = "CANCEL",
    /// RFC 3261.
    Register = "REGISTER",
    /// RFC 3428.
    Message = "MESSAGE",
    /// RFC 6665.
    Subscribe = "SUBSCRIBE",
    /// RFC 6665.
    Notify = "NOTIFY",
    /// RFC 3903.
    Publish = "PUBLISH",
    /// RFC 6086.
    Info = "INFO",
    /// RFC 3515.
    Refer = "REFER",
    /// RFC 3311.
    Update = "UPDATE",
    /// RFC 3262.
    Prack = "PRACK",
}

impl Method {
    /// A method by its name; a name that is not a token is refused.
    pub fn new(name: &str) -> Result<Self, Unencodable> {
        lex::require_token(name, "a method")?;
        Self::parse(name.as_bytes()).ok_or(Unencodable::Empty("a method"))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
