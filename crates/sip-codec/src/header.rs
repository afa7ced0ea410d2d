//! Headers: names in both forms, values that cannot break a line, and the list they stand in.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::error::{Malformed, Unencodable};
use crate::fields::{self, ContentType, RetryAfter};
use crate::lex;
use crate::name_addr::NameAddr;
use crate::via::Via;

macro_rules! names {
    ($($variant:ident = $long:literal $(/ $short:literal)?),* $(,)?) => {
        /// The headers this crate knows by name, in the form IANA lists. Any other is reached by [`Headers::named`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Name {
            $($variant,)*
        }

        /// Most frequent first: the search is linear.
        const NAMES: &[(Name, &str, Option<u8>)] = &[$((Name::$variant, $long, names!(@short $($short)?)),)*];

        impl Name {
            /// The long form, which is the one we send.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $long,)*
                }
            }
        }
    };
    (@short) => { None };
    (@short $short:literal) => { Some($short) };
}

// Compact forms: RFC 3261 §7.3.3 and the IANA registry
names! {
    Via = "Via" / b'v',
    To = "To" / b't',
    From = "From" / b'f',
    CSeq = "CSeq",
    CallId = "Call-ID" / b'i',
    Contact = "Contact" / b'm',
    MaxForwards = "Max-Forwards",
    ContentType = "Content-Type" / b'c',
    ContentLength = "Content-Length" / b'l',
    RecordRoute = "Record-Route",
    Route = "Route",
    Event = "Event" / b'o',
    Expires = "Expires",
    Allow = "Allow",
    Supported = "Supported" / b'k',
    UserAgent = "User-Agent",
    Date = "Date",
    Accept = "Accept",
    SubscriptionState = "Subscription-State",
    Subject = "Subject" / b's',
    PAssertedIdentity = "P-Asserted-Identity",
    Require = "Require",
    ProxyRequire = "Proxy-Require",
    Server = "Server",
    AllowEvents = "Allow-Events" / b'u',
    RetryAfter = "Retry-After",
    Unsupported = "Unsupported",
    Warning = "Warning",
    Reason = "Reason",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    ContentEncoding = "Content-Encoding" / b'e',
    ContentLanguage = "Content-Language",
    ContentDisposition = "Content-Disposition",
    MimeVersion = "MIME-Version",
    MinExpires = "Min-Expires",
    MinSe = "Min-SE",
    SessionExpires = "Session-Expires" / b'x',
    ReferTo = "Refer-To" / b'r',
    ReferredBy = "Referred-By" / b'b',
    Replaces = "Replaces",
    SipEtag = "SIP-ETag",
    SipIfMatch = "SIP-If-Match",
    Authorization = "Authorization",
    WwwAuthenticate = "WWW-Authenticate",
    ProxyAuthorization = "Proxy-Authorization",
    ProxyAuthenticate = "Proxy-Authenticate",
    AuthenticationInfo = "Authentication-Info",
    AlertInfo = "Alert-Info",
    CallInfo = "Call-Info",
    ErrorInfo = "Error-Info",
    InReplyTo = "In-Reply-To",
    Organization = "Organization",
    Priority = "Priority",
    Privacy = "Privacy",
    PPreferredIdentity = "P-Preferred-Identity",
    ReplyTo = "Reply-To",
    Timestamp = "Timestamp",
    RSeq = "RSeq",
    RAck = "RAck",
    Path = "Path",
    ServiceRoute = "Service-Route",
    HistoryInfo = "History-Info",
    FlowTimer = "Flow-Timer",
    AcceptContact = "Accept-Contact" / b'a',
    RejectContact = "Reject-Contact" / b'j',
    RequestDisposition = "Request-Disposition" / b'd',
    Identity = "Identity" / b'y',
    IdentityInfo = "Identity-Info" / b'n',
}

impl Name {
    /// The known header of this name, long or compact, in any case.
    pub fn lookup(name: &[u8]) -> Option<Self> {
        let known = NAMES.iter().find(|(_, long, short)| match name {
            [letter] => *short == Some(letter.to_ascii_lowercase()),
            _ => long.len() == name.len() && long.as_bytes().eq_ignore_ascii_case(name),
        });
        known.map(|(name, _, _)| *name)
    }

    /// Headers that a message holds as typed values, or that are computed.
    pub(crate) fn is_managed(self) -> bool {
        use Name::*;
        matches!(self, Via | From | To | CallId | CSeq | MaxForwards | ContentType | ContentLength)
    }

    /// Headers that may stand once only, where a second one could make two readers see two messages.
    pub(crate) fn is_single(self) -> bool {
        use Name::*;
        matches!(
            self,
            From | To
                | CallId
                | CSeq
                | MaxForwards
                | ContentType
                | Event
                | Expires
                | MinExpires
                | SubscriptionState
                | ReferTo
                | SessionExpires
        )
    }
}

/// The value of one header line, unfolded and without white space at its ends. Never holds CR or LF.
///
/// Received values may hold any other byte; values from [`Value::new`] and from typed fields hold no control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Bytes);

impl Value {
    /// A value to send. CR, LF, NUL and every control character but the tab are an error; white space at the ends is cut.
    pub fn new(text: &str) -> Result<Self, Unencodable> {
        lex::refuse_controls(text.as_bytes(), "a header value")?;
        Ok(Self(Bytes::copy_from_slice(lex::trim(text.as_bytes()))))
    }

    /// Only for bytes the decoder has checked or a typed field has written.
    pub(crate) fn checked(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// As received.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As text; bytes that are not UTF-8 show as U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The elements of a comma-separated value; commas in quotes and `<>` do not count.
    pub fn elements(&self) -> impl Iterator<Item = &[u8]> {
        lex::split(&self.0, b',').map(lex::trim)
    }
}

impl From<&NameAddr> for Value {
    fn from(address: &NameAddr) -> Self {
        Self::checked(address.to_string())
    }
}

impl From<&Via> for Value {
    fn from(via: &Via) -> Self {
        Self::checked(via.to_string())
    }
}

impl From<&ContentType> for Value {
    fn from(media: &ContentType) -> Self {
        Self::checked(media.to_string())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::checked(number.to_string())
    }
}

/// Shows the length only: values hold addresses, subjects and credentials.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.0.len())
    }
}

/// One header line.
#[derive(Clone, Debug)]
pub struct Header {
    known: Option<Name>,
    spelling: Bytes,
    value: Value,
}

impl Header {
    pub(crate) fn received(known: Option<Name>, spelling: Bytes, value: Value) -> Self {
        Self { known, spelling, value }
    }

    /// The header it is, if this crate knows it.
    pub fn name(&self) -> Option<Name> {
        self.known
    }

    /// The name as written by the sender: perhaps compact, in any case.
    pub fn spelling(&self) -> &str {
        // Names are tokens, so always ASCII
        std::str::from_utf8(&self.spelling).unwrap_or_default()
    }

    /// The name to send: the long form of a known header, any other as it came.
    pub fn sent_name(&self) -> &str {
        match self.known {
            Some(name) => name.as_str(),
            None => self.spelling(),
        }
    }

    /// The value.
    pub fn value(&self) -> &Value {
        &self.value
    }
}

/// The same header with the same value; how its name was spelled does not matter.
impl PartialEq for Header {
    fn eq(&self, other: &Self) -> bool {
        self.sent_name().eq_ignore_ascii_case(other.sent_name()) && self.value == other.value
    }
}

impl Eq for Header {}

/// All headers of a message in their order, without Content-Length, which is the framing's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

impl Headers {
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// All lines.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first value under this name.
    pub fn first(&self, name: Name) -> Option<&Value> {
        self.all(name).next()
    }

    /// The values of every line of this name, unsplit.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |header| header.known == Some(name)).map(Header::value)
    }

    /// The values under any name, known or not, in any case.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |header| header.sent_name().eq_ignore_ascii_case(name)).map(Header::value)
    }

    /// The elements of a comma-separated header, whether repeated by comma or by line.
    pub fn elements(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.all(name).flat_map(Value::elements)
    }

    /// The words of Allow, Supported, Require, Accept, Allow-Events and the like; empty ones are skipped.
    pub fn tokens(&self, name: Name) -> impl Iterator<Item = Cow<'_, str>> {
        self.elements(name).filter(|element| !element.is_empty()).map(String::from_utf8_lossy)
    }

    /// Whether the list holds this word, in any case.
    pub fn has_token(&self, name: Name, token: &str) -> bool {
        self.elements(name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Contact, Route, Record-Route, P-Asserted-Identity and the like. `Contact: *` is malformed here: ask
    /// [`Headers::has_wildcard_contact`] first where it may come.
    pub fn addresses(&self, name: Name) -> impl Iterator<Item = Result<NameAddr, Malformed>> {
        self.elements(name).map(NameAddr::parse)
    }

    /// All Via values, top first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via, Malformed>> {
        self.elements(Name::Via).map(Via::parse)
    }

    /// `Contact: *` of a REGISTER that removes all bindings.
    pub fn has_wildcard_contact(&self) -> bool {
        self.all(Name::Contact).any(|value| value.as_bytes() == b"*")
    }

    /// Content-Type.
    pub fn content_type(&self) -> Result<Option<ContentType>, Malformed> {
        self.first(Name::ContentType).map(|value| ContentType::parse(value.as_bytes())).transpose()
    }

    /// Expires in seconds; what is larger than 2³²−1 becomes that.
    pub fn expires(&self) -> Result<Option<u32>, Malformed> {
        self.first(Name::Expires).map(|value| fields::seconds(value.as_bytes())).transpose()
    }

    /// Min-Expires in seconds, bounded as Expires.
    pub fn min_expires(&self) -> Result<Option<u32>, Malformed> {
        self.first(Name::MinExpires).map(|value| fields::seconds(value.as_bytes())).transpose()
    }

    /// Retry-After.
    pub fn retry_after(&self) -> Result<Option<RetryAfter>, Malformed> {
        self.first(Name::RetryAfter).map(|value| RetryAfter::parse(value.as_bytes())).transpose()
    }

    pub(crate) fn push_received(&mut self, header: Header) {
        self.0.push(header);
    }

    pub(crate) fn push(&mut self, name: Name, value: Value) {
        self.0.push(Header { known: Some(name), spelling: Bytes::from_static(name.as_str().as_bytes()), value });
    }

    /// Adds a header by any name; a known one becomes that.
    pub(crate) fn push_named(&mut self, name: &str, value: Value) -> Result<(), Unencodable> {
        lex::require_token(name, "a header name")?;
        match Name::lookup(name.as_bytes()) {
            Some(known) if known.is_managed() => return Err(Unencodable::Managed(known)),
            Some(known) => self.push(known, value),
            None => self.0.push(Header { known: None, spelling: Bytes::copy_from_slice(name.as_bytes()), value }),
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: Name) {
        self.0.retain(|header| header.known != Some(name));
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_and_long_forms_in_any_case() {
        for (text, name) in
            [("v", Name::Via), ("VIA", Name::Via), ("K", Name::Supported), ("x", Name::SessionExpires), ("cAlL-iD", Name::CallId)]
        {
            assert_eq!(Name::lookup(text.as_bytes()), Some(name));
        }
        assert_eq!(Name::lookup(b"q"), None);
        assert_eq!(Name::lookup(b"X-Anything"), None);
    }

    #[test]
    fn lists_by_comma_and_by_line() {
        let mut headers = Headers::default();
        headers.push(Name::Supported, Value::new("timer, 100rel ,,").unwrap());
        headers.push_named("sUPPORTED", Value::new("ms-sender").unwrap()).unwrap();
        assert_eq!(headers.tokens(Name::Supported).collect::<Vec<_>>(), ["timer", "100rel", "ms-sender"]);
        assert!(headers.has_token(Name::Supported, "MS-Sender"));
        assert_eq!(headers.named("supported").count(), 2);
    }

    // security row 29
    #[test]
    fn a_line_break_in_a_value_is_an_error() {
        for bad in ["a\r\nVia: x", "a\nb", "a\rb", "a\0b", "a\u{7f}b"] {
            assert!(Value::new(bad).is_err(), "{bad:?}");
        }
        let mut headers = Headers::default();
        assert!(headers.push_named("X\r\nY", Value::new("z").unwrap()).is_err());
        assert!(headers.push_named("X Y", Value::new("z").unwrap()).is_err());
        assert_eq!(headers.push_named("v", Value::new("z").unwrap()), Err(Unencodable::Managed(Name::Via)));
        assert_eq!(Value::new(" tab\tand ümlaut ").unwrap().text(), "tab\tand ümlaut");
    }
}
