//! A stream that we open: to deliver stanzas of one pair of domains, or to ask about one dialback key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use interchange_adapter::{CloseReason, ConnId, Identity, Now, Output, TlsPeer, TlsRole};
use interchange_model::{Fault, Refusal, Trouble};

use super::dialback::{Answer, push_question, push_request};
use super::{Header, LIMIT_BEFORE, push_header};
use crate::certificate::proves;
use crate::codec::{Codec, Document, Element, Frame, Namespace, push_text};
use crate::core::{Core, Verdict};
use crate::directory::LinkInfo;
use crate::errors::{StreamError, condition_of};
use crate::pair::PairKey;
use crate::sink::Sink;
use crate::timers::{Alarm, Sleeper};

/// How long the peer's `</stream:stream>` is waited for.
const CLOSING: Duration = Duration::from_secs(5);

/// What a stream is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// To carry stanzas.
    Stanzas,
    /// To ask whether a key, which came on the incoming stream `asked_on` of id `id`, is the peer's (XEP-0220 §2.1.2).
    Question {
        /// The connection of the incoming stream.
        asked_on: ConnId,
        /// The id that we gave that stream.
        id: String,
        /// The key.
        key: String,
    },
}

/// Why a stream cannot be used, or not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The peer does not want our domain; what the senders are told, and why.
    Refused(Refusal, Trouble),
    /// The peer closed the stream in good order.
    Closed,
    /// The peer cannot be reached, or stopped answering: heals alone.
    Away(Trouble),
    /// The peer's certificate or its offers are not what the link demands: a person must act.
    Misconfigured(Trouble),
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The connection.
    Dialling,
    /// The peer's opening tag and features.
    Features,
    /// The answer to `<starttls/>`.
    Proceed,
    /// The end of the TLS handshake.
    Handshake,
    /// The answer to `<auth/>`.
    Sasl,
    /// The answer to our `<db:result/>`.
    Dialback,
    /// The answer to our `<db:verify/>`.
    Answer,
    /// Nothing: stanzas may be sent.
    Ready,
    /// The peer's closing tag.
    Closing,
}

/// One outgoing stream.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// The link of the peer's domain.
    pub(crate) link: Arc<LinkInfo>,
    conn: ConnId,
    pair: PairKey,
    purpose: Purpose,
    state: State,
    codec: Codec,
    secured: bool,
    /// Whether the peer's certificate proves its domain.
    proved: bool,
    /// SASL EXTERNAL succeeded: the next features are those of a stream that takes stanzas.
    authenticated: bool,
    /// SASL EXTERNAL failed and is not tried again.
    external_failed: bool,
    /// The id that the peer gave the stream, part of dialback keys.
    id: String,
    dialback_offered: bool,
    /// The peer offers stream management (XEP-0198).
    management_offered: bool,
    max_stanza: usize,
    deadline: Option<Instant>,
    alarm: Alarm,
}

impl Outbound {
    /// A stream whose connection was asked for.
    pub(crate) fn new(conn: ConnId, link: Arc<LinkInfo>, pair: PairKey, purpose: Purpose) -> Self {
        let max_stanza = link.settings.max_stanza;
        Self {
            link,
            conn,
            pair,
            purpose,
            state: State::Dialling,
            codec: Codec::new(LIMIT_BEFORE),
            secured: false,
            proved: false,
            authenticated: false,
            external_failed: false,
            id: String::new(),
            dialback_offered: false,
            management_offered: false,
            max_stanza,
            deadline: None,
            alarm: Alarm::default(),
        }
    }

    /// Whether it asks about a key.
    pub(crate) fn is_question(&self) -> bool {
        matches!(self.purpose, Purpose::Question { .. })
    }

    /// The connection stands.
    pub(crate) fn opened(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>) {
        self.push_header(sink);
        self.wait(now.instant + core.settings.answer(), core);
    }

    /// TLS is on. Whether the stream lives on.
    pub(crate) fn secured(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, peer: &TlsPeer) -> bool {
        self.secured = true;
        let proof = proves(peer, &self.pair.partner, &self.link.settings);
        self.proved = proof.is_ok();
        match proof {
            // Dialback relies on the provisioned address, not on the certificate.
            Err(why) if !self.link.settings.dialback() => {
                sink.close(self.conn, CloseReason::TlsFailed);
                self.fail(now, core, sink, Failure::Misconfigured(why))
            }
            _ => {
                // RFC 6120 §5.4.3.3: a new stream, and nothing is remembered of the old one.
                self.codec = Codec::new(LIMIT_BEFORE);
                self.push_header(sink);
                true
            }
        }
    }

    /// Bytes came. Whether the stream lives on.
    pub(crate) fn received(
        &mut self,
        now: Now,
        core: &mut Core,
        sink: &mut Sink<'_>,
        bytes: &Bytes,
        document: &mut Document,
    ) -> bool {
        self.codec.push(bytes);
        loop {
            // The handshake's own bytes are not ours; what came in the clear before it is not to be believed.
            if self.state == State::Handshake {
                return true;
            }
            let alive = match self.codec.next(document) {
                Ok(None) => return true,
                Ok(Some(frame)) => self.frame(now, core, sink, frame, document.root()),
                Err(malformed) => {
                    StreamError::from(malformed).push(sink.write(self.conn), &malformed.to_string());
                    sink.close(self.conn, CloseReason::Malformed);
                    let why = format!("{} sent what cannot be understood: {malformed}", self.pair.partner);
                    self.fail(now, core, sink, Failure::Away(Trouble::new(Fault::WrongProtocol, why)))
                }
            };
            if !alive {
                return false;
            }
        }
    }

    /// The connection is gone, or could not be made.
    pub(crate) fn closed(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, why: CloseReason, detail: &str) {
        let failure = match (self.state, why) {
            (State::Ready, CloseReason::PeerClosed | CloseReason::Finished) => Failure::Closed,
            _ if detail.is_empty() => Failure::Away(Trouble::new(why.into(), format!("{}: {why}", self.pair.partner))),
            _ => Failure::Away(Trouble::new(why.into(), format!("{}: {detail}", self.pair.partner))),
        };
        self.fail(now, core, sink, failure);
    }

    /// Its deadline may have come. Whether the stream lives on.
    pub(crate) fn wake(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>) -> bool {
        self.alarm.rang();
        let Some(deadline) = self.deadline else { return true };
        if deadline > now.instant {
            self.wait(deadline, core);
            return true;
        }
        if self.state == State::Closing {
            sink.close(self.conn, CloseReason::Finished);
            return false;
        }
        let waited = self.state;
        self.end(sink, CloseReason::TimedOut);
        let why = format!("{} did not finish authentication within {} s", self.pair.partner, core.settings.answer_seconds);
        let fault = match waited {
            // It has the key, and what it asks the hub about it does not reach the hub, or the answer does not reach it.
            State::Dialback => Fault::NoWayBack,
            _ => Fault::Silent,
        };
        self.fail(now, core, sink, Failure::Away(Trouble::new(fault, why)))
    }

    /// Closes it in good order; it is not used any more.
    pub(crate) fn finish(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>) {
        if self.state == State::Dialling || self.state == State::Handshake {
            sink.close(self.conn, CloseReason::Finished);
        } else {
            sink.write(self.conn).extend_from_slice(b"</stream:stream>");
        }
        self.state = State::Closing;
        self.wait(now.instant + CLOSING, core);
    }

    /// Closes it now.
    pub(crate) fn shut(&mut self, core: &mut Core, sink: &mut Sink<'_>, why: CloseReason) {
        let conn = self.conn;
        core.timers.clear(&mut self.alarm, || Sleeper::Outbound(conn));
        match self.state {
            State::Dialling | State::Handshake | State::Closing => {}
            // RFC 6120 §4.9.3.20, §4.9.3.4
            _ if why == CloseReason::Shutdown => StreamError::SystemShutdown.push(sink.write(conn), ""),
            _ => StreamError::ConnectionTimeout.push(sink.write(conn), ""),
        }
        sink.close(conn, why);
    }

    fn push_header(&mut self, sink: &mut Sink<'_>) {
        push_header(sink.write(self.conn), Some(&self.pair.own), Some(&self.pair.partner), None);
        self.state = State::Features;
    }

    fn wait(&mut self, deadline: Instant, core: &mut Core) {
        self.deadline = Some(deadline);
        let conn = self.conn;
        core.timers.set_by(&mut self.alarm, || Sleeper::Outbound(conn), deadline);
    }

    fn end(&mut self, sink: &mut Sink<'_>, why: CloseReason) {
        if !matches!(self.state, State::Dialling | State::Handshake) {
            sink.write(self.conn).extend_from_slice(b"</stream:stream>");
        }
        sink.close(self.conn, why);
    }

    /// Tells whoever waits for the stream. Always `false`: it does not live on.
    fn fail(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, failure: Failure) -> bool {
        let conn = self.conn;
        core.timers.clear(&mut self.alarm, || Sleeper::Outbound(conn));
        match &self.purpose {
            _ if self.state == State::Closing => {}
            Purpose::Stanzas => core.failed(now, sink, &self.pair, conn, failure),
            Purpose::Question { .. } => self.answer(core, Answer::error("remote-connection-failed")),
        }
        false
    }

    /// The peer does not want our domain; `said` is how it put it, and what that means.
    fn refuse(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, why: Refusal, (fault, said): (Fault, &str)) -> bool {
        let text = self.note_refused(sink, said);
        self.end(sink, CloseReason::Refused);
        self.fail(now, core, sink, Failure::Refused(why, Trouble::new(fault, text)))
    }

    fn note_refused(&self, sink: &mut Sink<'_>, said: &str) -> String {
        let text = format!("{} does not take {}: {}", self.pair.partner, self.pair.own, printable(said));
        sink.note(self.conn, &text);
        text
    }

    fn answer(&self, core: &mut Core, answer: Answer) {
        if let Purpose::Question { asked_on, .. } = &self.purpose {
            core.verdicts.push(Verdict { conn: *asked_on, pair: self.pair.clone(), answer });
        }
    }

    fn frame(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, frame: Frame, root: Option<Element<'_>>) -> bool {
        match (frame, root) {
            (Frame::Open, Some(tag)) => match Header::read(tag, &self.codec) {
                Ok(header) => {
                    self.id = header.id.unwrap_or_default();
                    true
                }
                Err(error) => {
                    error.push(sink.write(self.conn), "");
                    sink.close(self.conn, CloseReason::Malformed);
                    let why = format!("{} does not speak this protocol: {}", self.pair.partner, error.condition());
                    self.fail(now, core, sink, Failure::Misconfigured(Trouble::new(Fault::WrongProtocol, why)))
                }
            },
            (Frame::Element, Some(element)) => self.element(now, core, sink, element),
            _ => {
                if self.state == State::Closing {
                    sink.close(self.conn, CloseReason::Finished);
                } else {
                    self.end(sink, CloseReason::PeerClosed);
                }
                let why = format!("{} closed the stream before it was authenticated", self.pair.partner);
                let why = Trouble::new(Fault::Disconnected, why);
                let failure = if self.state == State::Ready { Failure::Closed } else { Failure::Away(why) };
                self.fail(now, core, sink, failure)
            }
        }
    }

    fn element(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, element: Element<'_>) -> bool {
        match (self.state, element.namespace(), element.name()) {
            (State::Closing, ..) => true,
            (_, Namespace::Stream, "error") => self.stream_error(now, core, sink, element),
            (State::Features, Namespace::Stream, "features") => self.features(now, core, sink, element),
            (State::Proceed, Namespace::Tls, "proceed") => {
                self.state = State::Handshake;
                let role = TlsRole::Client {
                    server_name: self.pair.partner.as_str().to_owned(),
                    identity: Identity::Domain(self.pair.own.clone()),
                    alpn: &[],
                };
                sink.push(Output::StartTls { conn: self.conn, role });
                true
            }
            (State::Proceed, Namespace::Tls, _) => {
                self.end(sink, CloseReason::TlsFailed);
                let why = format!("{} offered TLS and then refused to begin it", self.pair.partner);
                self.fail(now, core, sink, Failure::Away(Trouble::new(Fault::NoTls, why)))
            }
            (State::Sasl, Namespace::Sasl, "success") => {
                // RFC 6120 §6.4.6
                self.authenticated = true;
                self.codec.restart();
                self.codec.set_limit(self.link.settings.max_stanza);
                self.push_header(sink);
                true
            }
            (State::Sasl, Namespace::Sasl, "challenge") => {
                // The server wants the domain in a response of its own (RFC 6120 §6.4.3).
                self.push_sasl(sink, "response");
                true
            }
            (State::Sasl, Namespace::Sasl, _) => {
                self.external_failed = true;
                if self.link.settings.dialback() && self.dialback_offered {
                    self.ask_dialback(core, sink);
                    return true;
                }
                let said = element.children().map(Element::name).find(|name| *name != "text").unwrap_or("failure");
                self.refuse(now, core, sink, Refusal::PeerRefused, (Fault::AuthenticationRefused, said))
            }
            (State::Dialback, Namespace::Dialback, "result") if self.concerns_us(element) => match element.attribute("type") {
                Some("valid") => {
                    self.codec.set_limit(self.link.settings.max_stanza);
                    self.ready(now, core, sink)
                }
                Some("error") => {
                    let said = condition_of(element);
                    let why = if said == "remote-server-timeout" { Refusal::TimedOut } else { Refusal::PeerRefused };
                    let fault = match said {
                        "remote-server-timeout" | "remote-server-not-found" | "remote-connection-failed" => Fault::NoWayBack,
                        "item-not-found" => Fault::HostUnknown,
                        _ => Fault::DialbackRefused,
                    };
                    self.refuse(now, core, sink, why, (fault, said))
                }
                _ => {
                    let said = (Fault::DialbackRefused, "our dialback key is invalid");
                    self.refuse(now, core, sink, Refusal::PeerRefused, said)
                }
            },
            (State::Answer, Namespace::Dialback, "verify") if self.concerns_us(element) => {
                let Purpose::Question { id, .. } = &self.purpose else { return true };
                // XEP-0220 §3.1: the answer to exactly this question, on the connection it was asked on (abuse case 8).
                if element.attribute("id") != Some(id) {
                    return true;
                }
                let answer = match element.attribute("type") {
                    Some("valid") => Answer::Valid,
                    Some("invalid") => Answer::Invalid,
                    _ => Answer::error("remote-server-not-found"),
                };
                self.answer(core, answer);
                self.finish(now, core, sink);
                true
            }
            (State::Ready, Namespace::StreamManagement, "a") => {
                if let Some(count) = element.attribute("h").and_then(|text| text.trim().parse().ok()) {
                    core.handled(&self.pair, self.conn, count);
                }
                true
            }
            // We have had no stanza on it, and never shall.
            (State::Ready, Namespace::StreamManagement, "r") => {
                sink.write(self.conn).extend_from_slice(b"<a xmlns='urn:xmpp:sm:3' h='0'/>");
                true
            }
            (State::Ready, Namespace::StreamManagement, "failed") => {
                core.unmanaged(&self.pair, self.conn);
                true
            }
            // Whatever else comes on our own stream is not ours to act upon: what a peer wants to say comes on its own.
            _ => true,
        }
    }

    /// Whether a dialback element is between the domains of this stream.
    fn concerns_us(&self, element: Element<'_>) -> bool {
        let is = |name, domain: &interchange_model::Domain| {
            element.attribute(name).is_some_and(|text| interchange_model::Domain::parse(text).as_ref() == Ok(domain))
        };
        is("from", &self.pair.partner) && is("to", &self.pair.own)
    }

    fn features(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, features: Element<'_>) -> bool {
        let settings = &self.link.settings;
        if let Some(limits) = features.child(Namespace::Limits, "limits")
            && let Some(bytes) = limits.child(Namespace::Limits, "max-bytes").and_then(|bytes| bytes.text().trim().parse().ok())
        {
            // RFC 6120 §13.12: nobody may take less.
            self.max_stanza = LIMIT_BEFORE.max(bytes);
        }
        if self.authenticated {
            self.management_offered = features.child(Namespace::StreamManagement, "sm").is_some();
            return self.ready(now, core, sink);
        }
        if !self.secured && features.child(Namespace::Tls, "starttls").is_some() {
            sink.write(self.conn).extend_from_slice(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
            self.state = State::Proceed;
            return true;
        }
        // Abuse case 10: without TLS no further, whoever removed the offer.
        if !self.secured && settings.require_tls {
            self.end(sink, CloseReason::TlsFailed);
            let why = format!("{} offers no TLS, which this link requires", self.pair.partner);
            return self.fail(now, core, sink, Failure::Misconfigured(Trouble::new(Fault::NoTls, why)));
        }
        self.dialback_offered =
            features.child(Namespace::DialbackFeature, "dialback").is_some() || self.codec.declares_dialback();
        if let Purpose::Question { id, key, .. } = &self.purpose {
            push_question(sink.write(self.conn), &self.pair.own, &self.pair.partner, id, key);
            self.state = State::Answer;
            return true;
        }
        let external = features.child(Namespace::Sasl, "mechanisms").is_some_and(|mechanisms| {
            mechanisms.children().any(|mechanism| mechanism.name() == "mechanism" && mechanism.text().trim() == "EXTERNAL")
        });
        if external && settings.external() && self.proved && !self.external_failed {
            self.push_sasl(sink, "auth");
            self.state = State::Sasl;
            return true;
        }
        if settings.dialback() && self.dialback_offered {
            self.ask_dialback(core, sink);
            return true;
        }
        // The peer offers EXTERNAL only to those whose certificate it believes (XEP-0178 §3).
        let said = (Fault::NoAuthentication, "it offers no authentication that this link allows");
        self.refuse(now, core, sink, Refusal::PeerRefused, said)
    }

    fn push_sasl(&self, sink: &mut Sink<'_>, name: &str) {
        let out: &mut BytesMut = sink.write(self.conn);
        out.extend_from_slice(b"<");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b" xmlns='urn:ietf:params:xml:ns:xmpp-sasl'");
        if name == "auth" {
            out.extend_from_slice(b" mechanism='EXTERNAL'");
        }
        out.extend_from_slice(b">");
        if self.link.settings.external_authzid || name == "response" {
            push_text(out, &STANDARD.encode(self.pair.own.as_str()));
        } else {
            // RFC 6120 §6.4.2: `=` is an initial response of no bytes.
            out.extend_from_slice(b"=");
        }
        out.extend_from_slice(b"</");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b">");
    }

    fn ask_dialback(&mut self, core: &mut Core, sink: &mut Sink<'_>) {
        let key = core.keys.key(&self.pair.partner, &self.pair.own, &self.id);
        push_request(sink.write(self.conn), &self.pair.own, &self.pair.partner, &key);
        self.state = State::Dialback;
    }

    fn ready(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>) -> bool {
        self.state = State::Ready;
        self.deadline = None;
        let conn = self.conn;
        core.timers.clear(&mut self.alarm, || Sleeper::Outbound(conn));
        core.ready(now, sink, &self.pair, (conn, self.management_offered), self.max_stanza);
        true
    }

    fn stream_error(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, error: Element<'_>) -> bool {
        let condition = error
            .children()
            .find(|child| child.namespace() == Namespace::StreamErrors && child.name() != "text")
            .map_or("undefined-condition", Element::name);
        self.end(sink, CloseReason::PeerClosed);
        let said = format!("{} ended the stream: {}", self.pair.partner, printable(condition));
        let failure = match condition {
            "host-unknown" | "host-gone" | "policy-violation" | "not-authorized" | "invalid-from"
                if self.state != State::Ready =>
            {
                let fault = match condition {
                    "host-unknown" | "host-gone" => Fault::HostUnknown,
                    _ => Fault::AuthenticationRefused,
                };
                Failure::Refused(Refusal::PeerRefused, Trouble::new(fault, self.note_refused(sink, condition)))
            }
            _ => Failure::Away(Trouble::new(Fault::Disconnected, said)),
        };
        // Of a stanza on which a peer ends its streams, again and again, the broker finds out which it is.
        self.fail(now, core, sink, failure)
    }
}

/// A peer's word in a sentence for the operator.
fn printable(word: &str) -> String {
    word.chars().take(60).flat_map(char::escape_debug).collect()
}
