//! Conditions of errors: of streams, which end them, and of stanzas, with the two tables between them and [`Refusal`].

use bytes::BytesMut;
use interchange_model::{Detail, Refusal};

use crate::codec::{Element, Malformed, Namespace, push_text};

/// Why a stream is ended by us (RFC 6120 §4.9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamError {
    /// §4.9.3.1
    BadFormat,
    /// §4.9.3.2
    BadNamespacePrefix,
    /// §4.9.3.4
    ConnectionTimeout,
    /// §4.9.3.6
    HostUnknown,
    /// §4.9.3.7
    ImproperAddressing,
    /// §4.9.3.9
    InvalidFrom,
    /// §4.9.3.10
    InvalidNamespace,
    /// §4.9.3.12
    NotAuthorized,
    /// §4.9.3.13
    NotWellFormed,
    /// §4.9.3.14
    PolicyViolation,
    /// §4.9.3.17
    ResourceConstraint,
    /// §4.9.3.18
    RestrictedXml,
    /// §4.9.3.20
    SystemShutdown,
    /// §4.9.3.22
    UnsupportedEncoding,
    /// §4.9.3.24
    UnsupportedStanzaType,
    /// §4.9.3.25
    UnsupportedVersion,
}

impl StreamError {
    /// The name of its element.
    #[must_use]
    pub(crate) const fn condition(self) -> &'static str {
        match self {
            StreamError::BadFormat => "bad-format",
            StreamError::BadNamespacePrefix => "bad-namespace-prefix",
            StreamError::ConnectionTimeout => "connection-timeout",
            StreamError::HostUnknown => "host-unknown",
            StreamError::ImproperAddressing => "improper-addressing",
            StreamError::InvalidFrom => "invalid-from",
            StreamError::InvalidNamespace => "invalid-namespace",
            StreamError::NotAuthorized => "not-authorized",
            StreamError::NotWellFormed => "not-well-formed",
            StreamError::PolicyViolation => "policy-violation",
            StreamError::ResourceConstraint => "resource-constraint",
            StreamError::RestrictedXml => "restricted-xml",
            StreamError::SystemShutdown => "system-shutdown",
            StreamError::UnsupportedEncoding => "unsupported-encoding",
            StreamError::UnsupportedStanzaType => "unsupported-stanza-type",
            StreamError::UnsupportedVersion => "unsupported-version",
        }
    }

    /// Appends it with the stream's end; `text` is for the other side's administrator.
    pub(crate) fn push(self, out: &mut BytesMut, text: &str) {
        out.extend_from_slice(b"<stream:error><");
        out.extend_from_slice(self.condition().as_bytes());
        out.extend_from_slice(b" xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>");
        if !text.is_empty() {
            out.extend_from_slice(b"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>");
            push_text(out, text);
            out.extend_from_slice(b"</text>");
        }
        out.extend_from_slice(b"</stream:error></stream:stream>");
    }
}

impl From<Malformed> for StreamError {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::NotWellFormed(_) => StreamError::NotWellFormed,
            Malformed::Restricted(_) => StreamError::RestrictedXml,
            Malformed::Encoding => StreamError::UnsupportedEncoding,
            Malformed::Prefix => StreamError::BadNamespacePrefix,
            Malformed::Text => StreamError::BadFormat,
            Malformed::TooLarge(_) | Malformed::TooMany(..) => StreamError::PolicyViolation,
        }
    }
}

/// An error of a stanza as we send it: condition and type (RFC 6120 §8.3.3, §8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StanzaError {
    /// The name of the condition's element.
    pub(crate) condition: &'static str,
    /// What the sender may do about it.
    pub(crate) kind: &'static str,
    /// A sentence for the person who reads it; may be empty.
    pub(crate) text: &'static str,
}

impl StanzaError {
    /// No such service: the answer to whatever is not known (RFC 6120 §8.3.3.19).
    pub(crate) const SERVICE_UNAVAILABLE: Self = Self { condition: "service-unavailable", kind: "cancel", text: "" };
    /// RFC 6120 §8.3.3.1
    pub(crate) const BAD_REQUEST: Self = Self { condition: "bad-request", kind: "modify", text: "" };
    /// RFC 6120 §8.3.3.8
    pub(crate) const JID_MALFORMED: Self = Self { condition: "jid-malformed", kind: "modify", text: "" };
    /// RFC 6120 §8.3.3.7
    pub(crate) const ITEM_NOT_FOUND: Self = Self { condition: "item-not-found", kind: "cancel", text: "" };
    /// RFC 6120 §8.3.3.12
    pub(crate) const POLICY_VIOLATION: Self = Self { condition: "policy-violation", kind: "cancel", text: "" };

    /// More text than the hub takes (`crate::translate::MAX_TEXT`): whoever sent it learns how much that is.
    pub(crate) const TOO_LARGE: Self = Self {
        condition: "policy-violation",
        kind: "modify",
        text: "The message is too large: at most 65536 bytes of text and 1024 of subject are taken.",
    };

    /// How XMPP says a refusal.
    #[must_use]
    pub(crate) const fn of(refusal: Refusal) -> Self {
        let (condition, kind) = match refusal {
            Refusal::UnknownDomain => ("remote-server-not-found", "cancel"),
            Refusal::NotAllowed | Refusal::NotYours => ("forbidden", "auth"),
            // RFC 7247 §7.2 for this and the next: 404, 480.
            Refusal::NoSuchUser => ("item-not-found", "cancel"),
            Refusal::Unavailable => ("recipient-unavailable", "wait"),
            Refusal::Unsupported | Refusal::Loop => ("not-acceptable", "modify"),
            Refusal::TooLarge => ("policy-violation", "modify"),
            Refusal::PeerRefused => ("not-allowed", "cancel"),
            // `wait` and not the usual `cancel`: another try may succeed.
            Refusal::PeerFault => ("internal-server-error", "wait"),
            Refusal::TimedOut | Refusal::Expired => ("remote-server-timeout", "wait"),
            Refusal::Overloaded | Refusal::RateLimited => ("resource-constraint", "wait"),
            Refusal::Malformed => ("bad-request", "modify"),
        };
        Self { condition, kind, text: refusal.sentence() }
    }

    /// Appends the `<error/>` element.
    pub(crate) fn push(self, out: &mut BytesMut) {
        self.push_with(out, None);
    }

    /// The same, with what else there is to say.
    pub(crate) fn push_with(self, out: &mut BytesMut, detail: Option<Detail>) {
        out.extend_from_slice(b"<error type='");
        out.extend_from_slice(self.kind.as_bytes());
        out.extend_from_slice(b"'><");
        out.extend_from_slice(self.condition.as_bytes());
        out.extend_from_slice(b" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>");
        if !self.text.is_empty() {
            out.extend_from_slice(b"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>");
            push_text(out, self.text);
            if let Some(detail) = detail {
                push_text(out, " ");
                push_text(out, &detail.sentence());
            }
            out.extend_from_slice(b"</text>");
        }
        out.extend_from_slice(b"</error>");
    }
}

/// The name of the condition inside a stanza's `<error/>` or a dialback answer; empty when there is none.
pub(crate) fn condition_of(stanza: Element<'_>) -> &str {
    error_of(stanza)
        .and_then(|error| error.children().find(|child| child.namespace() == Namespace::StanzaErrors && child.name() != "text"))
        .map_or("", Element::name)
}

fn error_of(stanza: Element<'_>) -> Option<Element<'_>> {
    stanza.children().find(|child| child.name() == "error")
}

/// What an error that a peer sent means.
pub(crate) fn refusal_of(stanza: Element<'_>) -> Refusal {
    let Some(error) = error_of(stanza) else { return Refusal::PeerFault };
    let condition = condition_of(stanza);
    if condition.is_empty() {
        return error.attribute("code").map_or(Refusal::PeerFault, refusal_of_code);
    }
    let text = error.child(Namespace::StanzaErrors, "text").map(Element::text).unwrap_or_default();
    refusal_of_condition(condition, error.attribute("type") == Some("wait"), &text)
}

/// What a condition means; `wait` forbids what is for good.
fn refusal_of_condition(condition: &str, wait: bool, text: &str) -> Refusal {
    let refusal = match condition {
        "bad-request" => Refusal::Malformed,
        "feature-not-implemented" | "not-acceptable" => Refusal::Unsupported,
        "gone" | "item-not-found" | "jid-malformed" => Refusal::NoSuchUser,
        "policy-violation" if text.contains("large") || text.contains("size") || text.contains("big") => Refusal::TooLarge,
        "forbidden"
        | "not-allowed"
        | "not-authorized"
        | "payment-required"
        | "policy-violation"
        | "registration-required"
        | "subscription-required" => Refusal::PeerRefused,
        // For a user's message this says offline or no such user, whichever the server wants to hide (RFC 6121 §8.5).
        "recipient-unavailable" | "redirect" | "service-unavailable" => Refusal::Unavailable,
        "remote-server-not-found" => Refusal::UnknownDomain,
        "remote-server-timeout" => Refusal::TimedOut,
        "resource-constraint" => Refusal::Overloaded,
        _ => Refusal::PeerFault,
    };
    match refusal {
        Refusal::NoSuchUser | Refusal::PeerRefused | Refusal::UnknownDomain if wait => Refusal::Unavailable,
        refusal => refusal,
    }
}

/// What a number of the time before conditions means (XEP-0086 §3).
fn refusal_of_code(code: &str) -> Refusal {
    match code {
        "400" | "409" => Refusal::Malformed,
        "401" | "402" | "403" | "405" | "407" => Refusal::PeerRefused,
        "404" => Refusal::NoSuchUser,
        "406" | "501" => Refusal::Unsupported,
        "302" | "503" => Refusal::Unavailable,
        "408" | "504" => Refusal::TimedOut,
        "502" => Refusal::UnknownDomain,
        _ => Refusal::PeerFault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, Document, Frame};

    fn parsed(stanza: &str) -> Document {
        let mut codec = Codec::new(10_000);
        let mut document = Document::default();
        codec.push(
            &format!("<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>{stanza}").into(),
        );
        assert_eq!(codec.next(&mut document), Ok(Some(Frame::Open)));
        assert_eq!(codec.next(&mut document), Ok(Some(Frame::Element)));
        document
    }

    #[test]
    fn every_refusal_has_a_condition_and_comes_back_as_one_a_peer_may_mean() {
        for refusal in Refusal::ALL {
            let error = StanzaError::of(refusal);
            let mut out = BytesMut::new();
            error.push(&mut out);
            let document = parsed(&format!("<message type='error'>{}</message>", std::str::from_utf8(&out).unwrap()));
            let back = refusal_of(document.root().unwrap());
            // The hub's own words become a peer's words where they say the same of another server.
            let want = match refusal {
                Refusal::NotAllowed | Refusal::NotYours => Refusal::PeerRefused,
                Refusal::Loop => Refusal::Unsupported,
                Refusal::Expired => Refusal::TimedOut,
                Refusal::RateLimited => Refusal::Overloaded,
                same => same,
            };
            assert_eq!(back, want, "{refusal}");
            assert!(matches!(error.kind, "cancel" | "modify" | "auth" | "wait"));
        }
    }

    #[test]
    fn conditions_of_peers_mean_what_the_interworking_table_says() {
        for (condition, kind, want) in [
            ("bad-request", "modify", Refusal::Malformed),
            ("conflict", "cancel", Refusal::PeerFault),
            ("feature-not-implemented", "cancel", Refusal::Unsupported),
            ("forbidden", "auth", Refusal::PeerRefused),
            ("forbidden", "wait", Refusal::Unavailable),
            ("gone", "cancel", Refusal::NoSuchUser),
            ("internal-server-error", "cancel", Refusal::PeerFault),
            ("item-not-found", "cancel", Refusal::NoSuchUser),
            ("item-not-found", "wait", Refusal::Unavailable),
            ("jid-malformed", "modify", Refusal::NoSuchUser),
            ("not-acceptable", "modify", Refusal::Unsupported),
            ("not-allowed", "cancel", Refusal::PeerRefused),
            ("not-authorized", "auth", Refusal::PeerRefused),
            ("policy-violation", "modify", Refusal::PeerRefused),
            ("recipient-unavailable", "wait", Refusal::Unavailable),
            ("redirect", "modify", Refusal::Unavailable),
            ("registration-required", "auth", Refusal::PeerRefused),
            ("remote-server-not-found", "cancel", Refusal::UnknownDomain),
            ("remote-server-timeout", "wait", Refusal::TimedOut),
            ("resource-constraint", "wait", Refusal::Overloaded),
            ("service-unavailable", "cancel", Refusal::Unavailable),
            ("subscription-required", "auth", Refusal::PeerRefused),
            ("undefined-condition", "cancel", Refusal::PeerFault),
            ("unexpected-request", "wait", Refusal::PeerFault),
            ("invented-yesterday", "cancel", Refusal::PeerFault),
        ] {
            let document = parsed(&format!(
                "<message type='error'><error type='{kind}'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
            ));
            assert_eq!(refusal_of(document.root().unwrap()), want, "{condition} {kind}");
        }
    }

    #[test]
    fn errors_of_old_servers_are_understood_by_their_number() {
        for (code, want) in [("404", Refusal::NoSuchUser), ("503", Refusal::Unavailable), ("999", Refusal::PeerFault)] {
            let document = parsed(&format!("<message type='error'><error code='{code}'>Not here</error></message>"));
            assert_eq!(refusal_of(document.root().unwrap()), want);
        }
        assert_eq!(refusal_of(parsed("<message type='error'/>").root().unwrap()), Refusal::PeerFault);
    }
}
