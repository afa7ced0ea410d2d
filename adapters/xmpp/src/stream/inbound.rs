//! A stream that a peer opens: who it is, whom it may speak for, and what it sends.
//!
//! `proving` holds how a peer proves a domain, `stanzas` what happens to what it then sends.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use interchange_adapter::{About, CloseReason, ConnId, Identity, Now, Output, TlsPeer, TlsRole, Transport, Via};
use interchange_model::{Domain, Fault, Refusal, Trouble};

use super::stanzas::Held;
use super::{Header, LIMIT_BEFORE, push_header};
use crate::certificate::proves;
use crate::codec::{Codec, Document, Element, Frame, Namespace};
use crate::core::{Core, pair_key};
use crate::directory::LinkInfo;
use crate::errors::StreamError;
use crate::sink::Sink;
use crate::timers::{Alarm, Sleeper};

/// Stanzas of one stream that the broker has not answered. The broker's own limits are reached long before: this one is
/// for a broker that stands still.
pub(crate) const MAX_OPEN: usize = 8_192;
/// Bytes kept of one stream while `MAX_OPEN` is reached.
const MAX_HELD: usize = 4 * 1024 * 1024;
/// How long the last acknowledgement may keep a stream open that the peer has closed.
const DRAINING: Duration = Duration::from_secs(5);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The peer's opening tag: at first, after TLS, after SASL.
    Header,
    /// Whatever may come on an open stream. Before TLS: only the wish for it.
    Open,
    /// The end of the TLS handshake.
    Handshake,
    /// The answer to an empty SASL challenge.
    Response,
    /// The peer has closed the stream; the last acknowledgement waits for what is not durable yet.
    Draining,
    /// Nothing. We have closed.
    Closed,
}

/// A domain of ours and one of a peer's, for which a stream may carry stanzas.
#[derive(Debug, Clone)]
pub(super) struct Proved {
    pub(super) own: Domain,
    pub(super) partner: Domain,
    pub(super) link: Arc<LinkInfo>,
}

/// One incoming stream.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(super) conn: ConnId,
    pub(super) state: State,
    codec: Codec,
    /// What the peer showed in the TLS handshake, if there was one.
    pub(super) tls: Option<TlsPeer>,
    /// As in the opening tag last read.
    pub(super) header: Header,
    /// The id that we gave it; empty before we answered its opening tag.
    pub(super) id: String,
    /// The pair proved by SASL EXTERNAL, which later opening tags must keep to.
    pub(super) external: Option<(Domain, Domain)>,
    /// SASL attempts that failed.
    pub(super) attempts: u8,
    pub(super) pairs: Vec<Proved>,
    /// The pair of the last stanza: most likely that of the next.
    pub(super) last: usize,
    /// Pairs whose keys are being asked about.
    pub(super) asking: Vec<(Domain, Domain)>,
    /// Stanzas since they are counted, answered or not.
    pub(super) counted: u64,
    /// Of them, how many are done, without a gap.
    pub(super) done: u64,
    /// For each after those: whether it is done.
    pub(super) open: VecDeque<bool>,
    /// Answers that wait for what came before their requests; at most as many as are open.
    pub(super) held: VecDeque<Held>,
    /// The count that stream management began at; `None`: it is off (XEP-0198).
    pub(super) managed: Option<u64>,
    /// An acknowledgement was asked for when this many were counted.
    pub(super) asked_at: Option<u64>,
    /// The peer takes stanzas on it too (XEP-0288).
    bidi: bool,
    /// The address to be counted out of the unproven ones.
    unproven: Option<IpAddr>,
    deadline: Option<Instant>,
    sent: Instant,
    alarm: Alarm,
}

impl Inbound {
    /// A connection was accepted.
    pub(crate) fn new(now: Now, conn: ConnId, via: &Via, core: &mut Core, sink: &mut Sink<'_>) -> Option<Self> {
        let address = via.peer().ip();
        let unproven = core.unproven.entry(address).or_default();
        // Abuse case 24.
        if *unproven >= core.settings.unproven_per_address {
            sink.close(conn, CloseReason::Limit);
            return None;
        }
        *unproven += 1;
        let direct = via.transport() == Transport::Tls;
        if direct {
            // XEP-0368 §4
            let role = TlsRole::Server { identity: Identity::Default, alpn: &["xmpp-server"] };
            sink.push(Output::StartTls { conn, role });
        }
        let mut stream = Self {
            conn,
            state: if direct { State::Handshake } else { State::Header },
            codec: Codec::new(LIMIT_BEFORE),
            tls: None,
            header: Header { from: None, to: None, id: None, language: None },
            id: String::new(),
            external: None,
            attempts: 0,
            pairs: Vec::new(),
            last: 0,
            asking: Vec::new(),
            counted: 0,
            done: 0,
            open: VecDeque::new(),
            managed: None,
            bidi: false,
            asked_at: None,
            held: VecDeque::new(),
            unproven: Some(address),
            deadline: Some(now.instant + core.settings.answer()),
            sent: now.instant,
            alarm: Alarm::default(),
        };
        stream.set_alarm(core);
        Some(stream)
    }

    /// TLS is on.
    pub(crate) fn secured(&mut self, peer: TlsPeer) {
        if self.state == State::Handshake {
            self.tls = Some(peer);
            self.restart_secured();
        }
    }

    fn restart_secured(&mut self) {
        // RFC 6120 §5.4.3.3: what was said in the clear is forgotten.
        self.codec = Codec::new(LIMIT_BEFORE);
        self.header = Header { from: None, to: None, id: None, language: None };
        self.id = String::new();
        self.state = State::Header;
    }

    /// Bytes came.
    pub(crate) fn received(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, bytes: &Bytes, document: &mut Document) {
        // In the clear during a handshake, or after the end: not to be believed, or not to be kept.
        if !matches!(self.state, State::Header | State::Open | State::Response) {
            return;
        }
        self.codec.push(bytes);
        self.read(now, core, sink, document);
    }

    /// Reads what has come, as far as may be now.
    pub(crate) fn read(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, document: &mut Document) {
        while matches!(self.state, State::Header | State::Open | State::Response) {
            if self.open.len() >= MAX_OPEN {
                if self.codec.held() > MAX_HELD {
                    self.fail(core, sink, StreamError::ResourceConstraint, "", CloseReason::Limit);
                }
                return;
            }
            match self.codec.next(document) {
                Ok(None) => return,
                Ok(Some(frame)) => match (frame, document.root()) {
                    (Frame::Open, Some(tag)) => self.header(now, core, sink, tag),
                    (Frame::Element, Some(element)) => self.element(now, core, sink, element),
                    _ => self.peer_closes(now, core, sink),
                },
                Err(malformed) => {
                    let text = malformed.to_string();
                    self.fail(core, sink, malformed.into(), &text, CloseReason::Malformed);
                }
            }
        }
    }

    /// The connection is gone.
    pub(crate) fn gone(&mut self, core: &mut Core) {
        let conn = self.conn;
        core.timers.clear(&mut self.alarm, || Sleeper::Inbound(conn));
        self.count_out(core);
    }

    /// A time has come: of the deadline, or to keep the connection alive.
    pub(crate) fn wake(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>) {
        self.alarm.rang();
        if self.deadline.is_some_and(|deadline| deadline <= now.instant) {
            if self.state == State::Draining {
                return self.close(core, sink, CloseReason::PeerClosed);
            }
            // Abuse case 23.
            return self.fail(core, sink, StreamError::ConnectionTimeout, "", CloseReason::TimedOut);
        }
        if self.state == State::Open && now.instant.saturating_duration_since(self.sent) >= core.settings.keepalive() {
            // RFC 6120 §4.6.1
            self.write(now, sink).extend_from_slice(b" ");
        }
        self.set_alarm(core);
    }

    fn set_alarm(&mut self, core: &mut Core) {
        if self.state == State::Closed {
            return;
        }
        let keepalive = self.sent + core.settings.keepalive();
        let at = self.deadline.map_or(keepalive, |deadline| deadline.min(keepalive));
        let conn = self.conn;
        core.timers.set_by(&mut self.alarm, || Sleeper::Inbound(conn), at);
    }

    /// The links have changed: what the stream has proved may not be so any more (abuse case 12).
    pub(crate) fn links_changed(&mut self, core: &mut Core, sink: &mut Sink<'_>) {
        let before = self.pairs.len();
        let directory = &core.directory;
        self.pairs.retain(|pair| {
            directory.owner(&pair.partner).is_some_and(|owner| Arc::ptr_eq(owner, &pair.link))
                && directory.hosts_for(&pair.own, &pair.link)
        });
        self.last = 0;
        if before > 0 && self.pairs.is_empty() {
            self.fail(core, sink, StreamError::NotAuthorized, "the link was changed", CloseReason::Shutdown);
        }
    }

    /// The peer does not answer what we say on it.
    pub(crate) fn give_up(&mut self, core: &mut Core, sink: &mut Sink<'_>) {
        self.fail(core, sink, StreamError::ConnectionTimeout, "", CloseReason::TimedOut);
    }

    /// The hub stops.
    pub(crate) fn stop(&mut self, core: &mut Core, sink: &mut Sink<'_>) {
        self.fail(core, sink, StreamError::SystemShutdown, "", CloseReason::Shutdown);
    }

    /// Where to append bytes for the peer.
    pub(super) fn write<'a>(&mut self, now: Now, sink: &'a mut Sink<'_>) -> &'a mut bytes::BytesMut {
        self.sent = now.instant;
        sink.write(self.conn)
    }

    /// Ends the stream with an error.
    pub(super) fn fail(&mut self, core: &mut Core, sink: &mut Sink<'_>, error: StreamError, text: &str, why: CloseReason) {
        self.fail_about(core, sink, None, error, text, why);
    }

    /// The same; `about`: what that means for a link.
    fn fail_about(
        &mut self,
        core: &mut Core,
        sink: &mut Sink<'_>,
        about: Option<About>,
        error: StreamError,
        text: &str,
        why: CloseReason,
    ) {
        if self.state == State::Closed {
            return;
        }
        if why != CloseReason::Shutdown {
            let separator = if text.is_empty() { "" } else { ": " };
            let said = format!("the stream of {} was ended by {}{separator}{text}", self.claimed(), error.condition());
            sink.note_about(self.conn, about, &said);
        }
        if self.state != State::Handshake {
            let out = sink.write(self.conn);
            if self.id.is_empty() {
                // An error is inside a stream, so ours is opened first (RFC 6120 §4.9.1.2).
                self.id = core.unguessable();
                push_header(out, None, None, Some(&self.id));
            }
            error.push(out, text);
        }
        self.end(core, sink, why);
    }

    /// Who it says it is, for the operator.
    pub(super) fn claimed(&self) -> &str {
        self.header.from.as_ref().map_or("a peer that gave no name", Domain::as_str)
    }

    /// Ends the stream in good order.
    pub(super) fn close(&mut self, core: &mut Core, sink: &mut Sink<'_>, why: CloseReason) {
        if self.managed.is_some() {
            self.push_acknowledgement(sink);
        }
        sink.write(self.conn).extend_from_slice(b"</stream:stream>");
        self.end(core, sink, why);
    }

    fn end(&mut self, core: &mut Core, sink: &mut Sink<'_>, why: CloseReason) {
        self.state = State::Closed;
        sink.close(self.conn, why);
        self.gone(core);
    }

    fn count_out(&mut self, core: &mut Core) {
        let Some(address) = self.unproven.take() else { return };
        if let Some(count) = core.unproven.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                core.unproven.remove(&address);
            }
        }
    }

    /// A pair is proved: stanzas may come.
    pub(super) fn prove(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, pair: Proved) {
        let said = format!("the server of {} has proved itself to {}", pair.partner, pair.own);
        sink.note_about(self.conn, Some(About { link: pair.link.id.clone(), sign: Ok(()) }), &said);
        self.codec.set_limit(pair.link.settings.max_stanza);
        self.deadline = None;
        self.count_out(core);
        core.seen_alive(now, &pair.link.id);
        self.pairs.push(pair);
        self.set_alarm(core);
    }

    /// The codec begins anew, with bytes that came already.
    pub(super) fn restart(&mut self) {
        self.codec.restart();
        self.state = State::Header;
    }

    fn peer_closes(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>) {
        // The last acknowledgement should tell of everything (XEP-0198 §7).
        if self.managed.is_some() && !self.open.is_empty() {
            self.state = State::Draining;
            self.deadline = Some(now.instant + DRAINING);
            self.set_alarm(core);
            return;
        }
        self.close(core, sink, CloseReason::PeerClosed);
    }

    fn header(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, tag: Element<'_>) {
        let header = match Header::read(tag, &self.codec) {
            Ok(header) => header,
            Err(error) => return self.fail(core, sink, error, "", CloseReason::Malformed),
        };
        self.id = core.unguessable();
        push_header(self.write(now, sink), header.to.as_ref(), header.from.as_ref(), Some(&self.id));
        // RFC 6120 §4.9.3.7: the hub stands for many domains and does not guess which one is meant.
        let Some(to) = header.to.clone() else {
            return self.fail(core, sink, StreamError::ImproperAddressing, "", CloseReason::Refused);
        };
        let link = header.from.as_ref().and_then(|from| core.directory.owner(from)).cloned();
        // RFC 6120 §4.9.3.6. A link's own domains are not reached over that link.
        if !link.as_ref().map_or_else(|| core.directory.hosts(&to), |link| core.directory.hosts_for(&to, link)) {
            let text = format!("{}: no link serves {to}", Refusal::UnknownDomain);
            return self.fail(core, sink, StreamError::HostUnknown, &text, CloseReason::Refused);
        }
        if let Some((own, partner)) = &self.external {
            // What was proved stays proved, and nothing else (abuse case 11).
            if header.from.as_ref().is_some_and(|from| from != partner) {
                return self.fail(core, sink, StreamError::InvalidFrom, "", CloseReason::Refused);
            }
            if to != *own {
                return self.fail(core, sink, StreamError::ImproperAddressing, "", CloseReason::Refused);
            }
        }
        self.header = header;
        self.state = State::Open;
        if self.tls.is_none() {
            self.push_clear_features(now, sink, link.as_deref());
        } else if self.external.is_some() {
            self.push_proved_features(now, sink, link.as_deref());
            self.lend(now, core, sink);
        } else {
            self.push_features(now, core, sink, link.as_deref());
        }
    }

    /// Before TLS: nothing but TLS (RFC 6120 §5.3.1), unless the link allows dialback without it.
    fn push_clear_features(&mut self, now: Now, sink: &mut Sink<'_>, link: Option<&LinkInfo>) {
        let clear = link.is_some_and(|link| !link.settings.require_tls);
        let out = self.write(now, sink);
        out.extend_from_slice(b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>");
        out.extend_from_slice(if clear { b"</starttls>" } else { b"<required/></starttls>" });
        if clear {
            out.extend_from_slice(DIALBACK_FEATURE);
        }
        out.extend_from_slice(b"</stream:features>");
    }

    /// After TLS: how the peer may prove itself.
    fn push_features(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, link: Option<&LinkInfo>) {
        let proof = match (&self.tls, &self.header.from, link) {
            (Some(tls), Some(from), Some(link)) => proves(tls, from, &link.settings),
            _ => Err(Trouble::new(Fault::NoCertificate, "")),
        };
        // EXTERNAL is offered only to whom it will work for (XEP-0178 §3).
        let external = proof.is_ok() && link.is_some_and(|link| link.settings.external());
        let dialback = link.is_none_or(|link| link.settings.dialback());
        if let Err(why) = &proof
            && !dialback
        {
            // Nothing is left to offer (XEP-0178 §3): say why, so that the other administrator need not guess.
            let about = link.map(|link| About { link: link.id.clone(), sign: Err(why.fault) });
            return self.fail_about(core, sink, about, StreamError::NotAuthorized, &why.text, CloseReason::Refused);
        }
        if let (Err(why), Some(_)) = (&proof, link) {
            sink.note(self.conn, &format!("{} is not offered EXTERNAL: {why}", self.claimed()));
        }
        let out = self.write(now, sink);
        out.extend_from_slice(b"<stream:features>");
        if external {
            out.extend_from_slice(
                b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>",
            );
        }
        if dialback {
            out.extend_from_slice(DIALBACK_FEATURE);
        }
        if link.is_some_and(|link| link.settings.bidi) {
            out.extend_from_slice(b"<bidi xmlns='urn:xmpp:features:bidi'/>");
        }
        out.extend_from_slice(b"</stream:features>");
    }

    /// XEP-0288 §2.3: from here on what is for a domain that this stream has proved goes out on it.
    pub(super) fn lend(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>) {
        if !self.bidi || self.state == State::Closed {
            return;
        }
        for pair in self.pairs.iter().filter(|pair| pair.link.settings.bidi) {
            core.lend(now, sink, &pair.link, &pair_key(&pair.own, &pair.partner), self.conn);
        }
    }

    /// After SASL.
    fn push_proved_features(&mut self, now: Now, sink: &mut Sink<'_>, link: Option<&LinkInfo>) {
        let max_stanza = self.pairs.first().map_or(LIMIT_BEFORE, |pair| pair.link.settings.max_stanza);
        let out = self.write(now, sink);
        out.extend_from_slice(b"<stream:features><sm xmlns='urn:xmpp:sm:3'/>");
        if link.is_some_and(|link| link.settings.dialback()) {
            out.extend_from_slice(DIALBACK_FEATURE);
        }
        // XEP-0478 §3
        let limits =
            format!("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>{max_stanza}</max-bytes></limits></stream:features>",);
        out.extend_from_slice(limits.as_bytes());
    }

    fn element(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, element: Element<'_>) {
        match (element.namespace(), element.name()) {
            (Namespace::Tls, "starttls") => self.start_tls(now, core, sink),
            (Namespace::Sasl, name @ ("auth" | "response" | "abort")) => self.sasl(now, core, sink, name, element),
            // A response was due, and a stanza before it cannot be.
            _ if self.state == State::Response => self.fail(core, sink, StreamError::NotAuthorized, "", CloseReason::Refused),
            // Before anything is proved; it has no answer (XEP-0288 §2.2).
            (Namespace::Bidi, "bidi") if self.tls.is_some() && self.pairs.is_empty() => self.bidi = true,
            (Namespace::Dialback, "result") => self.dialback_result(now, core, sink, element),
            (Namespace::Dialback, "verify") => self.dialback_verify(now, core, sink, element),
            (Namespace::StreamManagement, name) => self.manage(now, core, sink, name),
            (Namespace::Server, "message" | "presence" | "iq") => self.stanza(now, core, sink, element),
            (Namespace::Stream, "error") => self.close(core, sink, CloseReason::PeerClosed),
            // RFC 6120 §4.9.3.10
            (_, "message" | "presence" | "iq") => {
                self.fail(core, sink, StreamError::InvalidNamespace, "", CloseReason::Malformed);
            }
            // RFC 6120 §4.9.3.24
            _ => self.fail(core, sink, StreamError::UnsupportedStanzaType, "", CloseReason::Malformed),
        }
    }

    fn start_tls(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>) {
        // Abuse case 10: once only, and before anything is proved.
        if self.tls.is_some() || !self.pairs.is_empty() || !self.asking.is_empty() || self.state != State::Open {
            return self.fail(core, sink, StreamError::PolicyViolation, "TLS is on already", CloseReason::Refused);
        }
        let identity = self.header.to.clone().map_or(Identity::Default, Identity::Domain);
        self.write(now, sink).extend_from_slice(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        sink.push(Output::StartTls { conn: self.conn, role: TlsRole::Server { identity, alpn: &[] } });
        self.restart_secured();
        self.state = State::Handshake;
    }
}

/// XEP-0220 §2.4.2
const DIALBACK_FEATURE: &[u8] = b"<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";
