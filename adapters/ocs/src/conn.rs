//! One connection, always TLS: who the peer is, and how its bytes become messages.

use std::time::{Duration, Instant};

use bytes::Bytes;
use interchange_adapter::{About, CloseReason, ConnId, Identity, Now, Output, TlsPeer, TlsRole, Transport, Via};
use interchange_model::{LinkId, Trouble};
use sip_adapter::presence::Engine as _;
use sip_codec::{Limits, Message, Method, Rejected, Request, StreamDecoder, StreamEvent};
use sip_model::address;
use sip_stack::{Flow, FlowId, PeerId};

use crate::diagnostics::{self, Diagnosis};
use crate::settings::MAX_TEXT;
use crate::timers::{Alarm, Sleeper};
use crate::{Ocs, identity};

/// How long a message may take to come whole, and a stranger may stay.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests of a stranger that are answered before the connection is closed.
const STRANGER_REQUESTS: u8 = 3;
/// Pauses between the answers to keep-alives.
const PONG_PAUSE: Duration = Duration::from_millis(500);

/// A connection that is open.
pub(crate) struct Conn {
    pub(crate) via: Via,
    /// What the peer proved; `None` before the handshake is done.
    tls: Option<TlsPeer>,
    /// The links whose edge this is, by number. None: a stranger.
    pub(crate) links: Vec<u64>,
    dialled_for: Option<u64>,
    /// Whose transactions these are.
    peer: PeerId,
    decoder: Option<StreamDecoder>,
    /// Whether the peer has ever answered a keep-alive.
    pub(crate) ponged: bool,
    strikes: u8,
    opened: Instant,
    unfinished_since: Option<Instant>,
    last_pong: Option<Instant>,
    alarm: Alarm,
}

impl Conn {
    /// The way by which what came from here is answered, under a number.
    pub(crate) fn flow_as(&self, id: FlowId) -> Flow {
        // Every Via goes back byte for byte: no `received` is added to the edge's, which has signed what is in it.
        Flow { id, peer: self.peer, reliable: true, source: None }
    }

    /// What the peer showed of itself, for the operator.
    fn shown(&self) -> String {
        match &self.tls {
            None | Some(TlsPeer { certificate: None, .. }) => "it shows no certificate (mutual TLS)".to_owned(),
            Some(TlsPeer { certificate: Some(shown), .. }) => match &shown.chain {
                Ok(()) => {
                    format!(
                        "no link names an edge of its certificate ({}), which names {}",
                        shown.subject,
                        identity::named(shown)
                    )
                }
                Err(fault) => format!("its certificate ({}) proves nothing: {fault}", shown.subject),
            },
        }
    }

    /// Whether a log line about a wrong sender is still due on this connection.
    pub(crate) fn note_wrong_sender(&mut self, most: u8) -> bool {
        self.strikes = self.strikes.saturating_add(1);
        self.strikes <= most
    }

    fn deadline(&self) -> Option<Instant> {
        let unfinished = self.unfinished_since.map(|since| since + PATIENCE);
        let stranger = (self.links.is_empty() && self.tls.is_some()).then(|| self.opened + PATIENCE);
        [unfinished, stranger].into_iter().flatten().min()
    }
}

/// What one connection may send us. A stranger gets no further than its 403.
fn limits(is_stranger: bool) -> Limits {
    if is_stranger {
        // Less than 64 KiB in all (abuse case 24).
        Limits { header_block: 16 * 1024, body: 16 * 1024, ..Limits::default() }
    } else {
        // A first text of the largest size stands in a header, as base64; text inside mark-up in the body.
        Limits { header_block: 2 * MAX_TEXT + 32 * 1024, body: 4 * MAX_TEXT, ..Limits::default() }
    }
}

impl Ocs {
    pub(crate) fn opened(&mut self, conn: ConnId, via: Via, now: Now) {
        let dialled_for = self.dials.get(&conn).copied();
        // Without TLS nobody proves anything: a listener of another kind is a mistake in the hub's configuration.
        if self.stopped || via.transport() != Transport::Tls || (conn.is_dialled() && dialled_for.is_none()) {
            let why = if self.stopped { CloseReason::Shutdown } else { CloseReason::Refused };
            if via.transport() != Transport::Tls {
                let text = "the platform takes TLS alone: its listener must have transport = \"tls\"".to_owned();
                self.out.push(Output::Note { conn, about: None, text });
            }
            return self.out.push(Output::Close { conn, why });
        }
        let fresh = Conn {
            via,
            tls: None,
            links: Vec::new(),
            dialled_for,
            peer: PeerId(conn.as_u64()),
            decoder: None,
            ponged: false,
            strikes: 0,
            opened: now.instant,
            unfinished_since: None,
            last_pong: None,
            alarm: Alarm::default(),
        };
        self.conns.insert(conn, fresh);
        let role = match dialled_for.and_then(|number| self.links.get(&number)) {
            Some(link) => {
                let identity = Identity::Domain(self.hub.name.clone());
                TlsRole::Client { server_name: link.server_name(), identity, alpn: &[] }
            }
            None => TlsRole::Server { identity: Identity::Domain(self.hub.name.clone()), alpn: &[] },
        };
        self.out.push(Output::StartTls { conn, role });
    }

    pub(crate) fn secured(&mut self, now: Now, conn: ConnId, peer: TlsPeer) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        known.tls = Some(peer);
        self.judge(conn);
        let Some(known) = self.conns.get_mut(&conn) else { return };
        known.decoder = Some(StreamDecoder::new(limits(known.links.is_empty())));
        let (links, dialled_for) = (known.links.clone(), known.dialled_for);
        self.arm_conn(conn);
        match dialled_for {
            Some(number) => self.dialled(now, number, conn),
            None => {
                for number in links {
                    self.note_proved(conn, number);
                }
            }
        }
    }

    /// Finds the links whose edge this is.
    pub(crate) fn judge(&mut self, conn: ConnId) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let Some(peer) = &known.tls else { return };
        let belongs = |link: &crate::link::Link| identity::proves(peer, &link.domains, &link.settings).is_ok();
        known.links = self.links.iter().filter(|(_, link)| belongs(link)).map(|(number, _)| *number).collect();
        // A connection of several links has the transactions of the first; they meet there on every connection.
        known.peer = known.links.first().map_or(PeerId(conn.as_u64()), |number| PeerId(*number));
    }

    /// Why a connection does not prove that it is a link's edge.
    pub(crate) fn why_not(&self, number: u64, conn: ConnId) -> Option<Trouble> {
        let (link, known) = (self.links.get(&number)?, self.conns.get(&conn)?);
        identity::proves(known.tls.as_ref()?, &link.domains, &link.settings).err()
    }

    pub(crate) fn received(&mut self, now: Now, conn: ConnId, bytes: &Bytes) {
        let Some(decoder) = self.conns.get_mut(&conn).and_then(|known| known.decoder.as_mut()) else { return };
        decoder.push(bytes);
        let mut finished = false;
        while let Some(known) = self.conns.get_mut(&conn)
            && let Some(event) = known.decoder.as_mut().and_then(StreamDecoder::next_event)
        {
            finished = true;
            match event {
                StreamEvent::Message(message) => self.message(now, conn, message),
                // Blank lines between messages are legal, and those of a keep-alive are answered (RFC 5626 §4.4.1).
                StreamEvent::Ping => {
                    if known.last_pong.is_none_or(|last| now.instant >= last + PONG_PAUSE) {
                        known.last_pong = Some(now.instant);
                        self.out.push(Output::Send { conn, bytes: Bytes::from_static(b"\r\n") });
                    }
                }
                StreamEvent::Pong => {
                    known.ponged = true;
                    for number in known.links.clone() {
                        self.ponged(number, conn);
                    }
                }
                StreamEvent::Rejected(rejected) => {
                    let lost = rejected.framing_lost;
                    self.rejected(conn, &rejected);
                    if lost {
                        self.close(now, conn, CloseReason::Malformed, "the peer sent what is no SIP");
                    }
                }
            }
        }
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let is_idle = known.decoder.as_ref().is_none_or(StreamDecoder::is_idle);
        known.unfinished_since = if is_idle { None } else { known.unfinished_since.filter(|_| !finished).or(Some(now.instant)) };
        self.arm_conn(conn);
    }

    fn message(&mut self, now: Now, conn: ConnId, message: Message) {
        let Some(known) = self.conns.get(&conn) else { return };
        if known.links.is_empty() {
            if let Message::Request(request) = &message {
                self.stranger(now, conn, request);
            }
            return;
        }
        let flow = known.flow_as(FlowId(conn.as_u64()));
        if let Message::Request(request) = &message {
            match request.method().as_str() {
                // Compression: refused, whatever its Max-Forwards, and the stream goes on as it is. A peer that hears nothing would wait.
                "NEGOTIATE" => return self.answer_at_once(conn, request, &Diagnosis::of(488)),
                // The same as NOTIFY, and never answered.
                "BENOTIFY" if self.take_silent_report(now, conn, request) => return,
                "BENOTIFY" => return self.take_benotify(now, conn, request),
                _ => {}
            }
        }
        self.layer.receive(now.instant, flow, message, &mut self.actions);
        self.run(now);
    }

    /// An answer without a transaction.
    fn answer_at_once(&mut self, conn: ConnId, request: &Request, diagnosis: &Diagnosis) {
        let tag = self.layer.new_tag();
        if let Ok(response) = diagnostics::response(request, &tag, diagnosis) {
            self.out.push(Output::Send { conn, bytes: response.encode() });
        }
    }

    /// A request on a connection that is nobody's: 403 before anything else, so that nobody learns which users exist.
    fn stranger(&mut self, now: Now, conn: ConnId, request: &Request) {
        let about = self.claimed_link(conn, request);
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let source = known.via.peer();
        known.strikes += 1;
        if known.strikes == 1 {
            let text = format!("a request of {source} is refused (403), for it is no partner's edge: {}", known.shown());
            self.out.push(Output::Note { conn, about, text });
        }
        let is_last = known.strikes >= STRANGER_REQUESTS;
        if !matches!(*request.method(), Method::Ack) && request.method().as_str() != "BENOTIFY" {
            self.answer_at_once(conn, request, &Diagnosis::because(403, "The certificate is not that of a partner's edge"));
        }
        if is_last {
            self.close(now, conn, CloseReason::Refused, "the peer belongs to no link");
        }
    }

    /// The link whose edge a stranger says that it is, and why it is not.
    fn claimed_link(&self, conn: ConnId, request: &Request) -> Option<About> {
        let party = address::from_uri(request.from().uri()).ok()?;
        let (number, link) = self.links.iter().find(|(_, link)| link.domains.contains(party.address.domain()))?;
        Some(About { link: link.id.clone(), sign: Err(self.why_not(*number, conn)?.fault) })
    }

    pub(crate) fn note_proved(&mut self, conn: ConnId, number: u64) {
        let (Some(link), Some(known)) = (self.links.get(&number), self.conns.get(&conn)) else { return };
        let version = known.tls.as_ref().map_or("", |tls| tls.version);
        let text = format!("{} has proved to be the Access Edge of link {} ({version})", known.via.peer(), link.id);
        self.out.push(Output::Note { conn, about: Some(About { link: link.id.clone(), sign: Ok(()) }), text });
    }

    /// The name of the first link of a connection, for the trace.
    pub(crate) fn link_of(&self, conn: ConnId) -> Option<LinkId> {
        let number = self.conns.get(&conn)?.links.first()?;
        self.links.get(number).map(|link| link.id.clone())
    }

    /// A message that cannot be acted upon; answered where that makes sense.
    fn rejected(&mut self, conn: ConnId, rejected: &Rejected) {
        let tag = self.layer.new_tag();
        if let Some(bytes) = rejected.to_response(&tag, None) {
            self.out.push(Output::Send { conn, bytes });
        }
    }

    /// Ends a connection, after everything that was sent on it.
    pub(crate) fn close(&mut self, now: Now, conn: ConnId, why: CloseReason, detail: &str) {
        if self.conns.contains_key(&conn) || self.dials.contains_key(&conn) {
            self.closing.push((conn, why));
            self.gone(now, conn, why, detail);
        }
    }

    /// A connection is no more: whoever used it learns of it. Sessions outlive it; they are of the dialog, not of the connection.
    pub(crate) fn gone(&mut self, now: Now, conn: ConnId, why: CloseReason, detail: &str) {
        if let Some(mut known) = self.conns.remove(&conn) {
            self.timers.set(&mut known.alarm, Sleeper::Conn(conn), None);
        }
        self.layer.flow_closed(now.instant, FlowId(conn.as_u64()), &mut self.actions);
        self.dials.remove(&conn);
        let numbers: Vec<u64> = self.links.iter().filter(|(_, link)| link.uses(conn)).map(|(number, _)| *number).collect();
        for number in numbers {
            self.lost(now, number, conn, why, detail);
        }
    }

    pub(crate) fn wake_conn(&mut self, now: Now, conn: ConnId) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        known.alarm.rang();
        if known.deadline().is_some_and(|deadline| now.instant >= deadline) {
            let (why, detail) = if known.links.is_empty() {
                (CloseReason::Refused, "the peer belongs to no link")
            } else {
                (CloseReason::TimedOut, "a message did not come whole within 30 s")
            };
            self.close(now, conn, why, detail);
        } else {
            self.arm_conn(conn);
        }
    }

    pub(crate) fn arm_conn(&mut self, conn: ConnId) {
        if let Some(known) = self.conns.get_mut(&conn) {
            let deadline = known.deadline();
            self.timers.set(&mut known.alarm, Sleeper::Conn(conn), deadline);
        }
    }
}
