//! One connection: who the peer is, and how its bytes become messages.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use interchange_adapter::{About, CloseReason, ConnId, Identity, Now, Output, TlsPeer, TlsRole, Transport, Via};
use interchange_model::{Fault, Trouble};
use sip_codec::{
    Limits, Message, Method, Rejected, Request, Response, StreamDecoder, StreamEvent, decode_datagram, is_keep_alive,
};
use sip_stack::{Flow, FlowId, PeerId};

use crate::Sip;
use crate::identity;
use crate::sessions::{Carrier, OPENING};
use crate::settings::MAX_TEXT;
use crate::timers::{Alarm, Sleeper};

/// How long a message may take to come whole, and a stranger may stay.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests of a stranger that are answered before the connection is closed.
const STRANGER_REQUESTS: u8 = 3;
/// Pauses between the answers to keep-alives: a peer that sends more of them gets no more.
const PONG_PAUSE: Duration = Duration::from_millis(500);

/// A connection that is open.
pub(crate) struct Conn {
    pub(crate) via: Via,
    /// What the peer proved; `None` without TLS, and before the handshake is done.
    pub(crate) tls: Option<TlsPeer>,
    /// The links whose peer this is, by number. Empty: a stranger.
    pub(crate) links: Vec<u64>,
    /// The link for which it was dialled.
    dialled_for: Option<u64>,
    /// Whose transactions these are.
    peer: PeerId,
    /// `None` on UDP, and before TLS is done.
    decoder: Option<StreamDecoder>,
    /// The first bytes, until they tell SIP from MSRP; `None` afterwards.
    opening: Option<Vec<u8>>,
    /// It carries sessions, and no SIP.
    pub(crate) carrier: Option<Box<Carrier>>,
    /// Whether the peer offered by `;alias` to take our requests here (RFC 5923).
    pub(crate) alias: bool,
    /// Whether the peer has ever answered a keep-alive.
    pub(crate) ponged: bool,
    /// Requests of a stranger.
    strikes: u8,
    opened: Instant,
    unfinished_since: Option<Instant>,
    last_pong: Option<Instant>,
    alarm: Alarm,
}

impl Conn {
    /// The way by which what came from here is answered.
    pub(crate) fn flow(&self, conn: ConnId) -> Flow {
        self.flow_as(FlowId(conn.as_u64()))
    }

    /// The same way under another number.
    pub(crate) fn flow_as(&self, id: FlowId) -> Flow {
        Flow { id, peer: self.peer, reliable: self.via.transport().is_reliable(), source: Some(self.via.peer()) }
    }

    /// Whether the handshake is done.
    pub(crate) fn is_ready(&self) -> bool {
        self.via.transport() != Transport::Tls || self.tls.is_some()
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.via.transport().is_reliable()
    }

    fn is_stranger(&self) -> bool {
        self.links.is_empty()
    }

    /// What the peer showed of itself, for the operator.
    fn shown(&self) -> String {
        match &self.tls {
            None => "and has no TLS".to_owned(),
            Some(TlsPeer { certificate: None, .. }) => "and shows no certificate".to_owned(),
            Some(TlsPeer { certificate: Some(shown), .. }) => match &shown.chain {
                Ok(()) => {
                    let names = identity::named(shown);
                    format!("and no link wants its certificate ({}), which names {names} (RFC 5922 §7.1)", shown.subject)
                }
                Err(fault) => format!("and its certificate ({}) proves nothing: {fault}", shown.subject),
            },
        }
    }

    /// When something must have happened.
    fn deadline(&self) -> Option<Instant> {
        let unfinished = self.unfinished_since.map(|since| since + PATIENCE);
        let is_of_use = self.carrier.as_ref().is_some_and(|carrier| carrier.is_bound());
        let stranger = (self.is_stranger() && self.is_ready() && !is_of_use).then(|| self.opened + PATIENCE);
        [unfinished, stranger].into_iter().flatten().min()
    }
}

/// What one connection may send us. A stranger gets no further than its 403.
fn limits(stranger: bool) -> Limits {
    if stranger {
        // Less than 64 KiB in all (abuse case 24).
        Limits { header_block: 16 * 1024, body: 16 * 1024, ..Limits::default() }
    } else {
        // Text of the largest size inside mark-up; more is answered 413 before it is read.
        Limits { body: 4 * MAX_TEXT, ..Limits::default() }
    }
}

impl Sip {
    pub(crate) fn opened(&mut self, now: Now, conn: ConnId, via: Via) {
        let dialled_for = self.dials.get(&conn).copied();
        let session = self.sessions.dialled(conn);
        if self.stopped || (conn.is_dialled() && dialled_for.is_none() && session.is_none()) {
            self.out.push(Output::Close { conn, why: CloseReason::Shutdown });
            return;
        }
        let fresh = Conn {
            via,
            tls: None,
            links: Vec::new(),
            dialled_for,
            peer: PeerId(conn.as_u64()),
            decoder: None,
            opening: Some(Vec::new()),
            carrier: None,
            alias: false,
            ponged: false,
            strikes: 0,
            opened: now.instant,
            unfinished_since: None,
            last_pong: None,
            alarm: Alarm::default(),
        };
        self.conns.insert(conn, fresh);
        if let Some(session) = session {
            return self.media_opened(now, conn, session, via.transport());
        }
        if via.transport() == Transport::Tls {
            let role = match dialled_for.and_then(|number| self.links.get(&number)) {
                Some(link) => {
                    let identity = Identity::Domain(self.domain.clone());
                    TlsRole::Client { server_name: link.server_name(), identity, alpn: &[] }
                }
                None => TlsRole::Server { identity: Identity::Default, alpn: &[] },
            };
            self.out.push(Output::StartTls { conn, role });
        } else {
            self.ready(now, conn);
        }
    }

    pub(crate) fn secured(&mut self, now: Now, conn: ConnId, peer: TlsPeer) {
        if let Some(known) = self.conns.get_mut(&conn) {
            known.tls = Some(peer);
            match self.sessions.dialled(conn) {
                Some(session) => self.media_ready(now, conn, session),
                None => self.ready(now, conn),
            }
        }
    }

    /// The connection can be judged, and used.
    fn ready(&mut self, now: Now, conn: ConnId) {
        self.judge(conn);
        let Some(known) = self.conns.get_mut(&conn) else { return };
        known.decoder = known.is_stream().then(|| StreamDecoder::new(limits(known.links.is_empty())));
        let (links, dialled_for) = (known.links.clone(), known.dialled_for);
        self.arm_conn(conn);
        match dialled_for {
            Some(number) => self.dialled(now, number, conn),
            // A listener that is there for sessions alone carries none of our requests.
            None if self.is_media_listener(conn) => {}
            None => {
                for number in links {
                    self.note_proved(conn, number);
                    self.consider(now, number, conn);
                }
            }
        }
    }

    /// Finds the links whose peer this is: by certificate, or by address where a link has no TLS (RFC 5922 §7).
    pub(crate) fn judge(&mut self, conn: ConnId) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let belongs = |link: &crate::link::Link| match &known.tls {
            Some(peer) => identity::proves(peer, &link.domains, &link.settings).is_ok(),
            None => known.via.transport() != Transport::Tls && link.settings.allows(known.via.peer().ip()),
        };
        known.links = self.links.iter().filter(|(_, link)| belongs(link)).map(|(number, _)| *number).collect();
        // A connection of several links has the transactions of the first; they meet there on every connection.
        known.peer = known.links.first().map_or(PeerId(conn.as_u64()), |number| PeerId(*number));
    }

    /// Why a connection does not prove that it is a link's peer.
    pub(crate) fn why_not(&self, number: u64, conn: ConnId) -> Option<Trouble> {
        let (link, known) = (self.links.get(&number)?, self.conns.get(&conn)?);
        if known.links.contains(&number) {
            return None;
        }
        match &known.tls {
            Some(peer) => identity::proves(peer, &link.domains, &link.settings).err(),
            None => {
                let why = format!("{} is none of the link's `addresses`", known.via.peer().ip());
                Some(Trouble::new(Fault::AddressNotAllowed, why))
            }
        }
    }

    pub(crate) fn received(&mut self, now: Now, conn: ConnId, bytes: Bytes) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        if !known.is_stream() {
            return self.datagram(now, conn, bytes);
        }
        if known.carrier.is_some() {
            return self.read_media(now, conn, &bytes);
        }
        let (bytes, is_first) = match known.opening.take() {
            None => (bytes, false),
            Some(mut opening) => {
                opening.extend_from_slice(&bytes);
                if opening.len() < OPENING.len() && OPENING.starts_with(&opening) {
                    known.opening = Some(opening);
                    known.unfinished_since = known.unfinished_since.or(Some(now.instant));
                    return self.arm_conn(conn);
                }
                (opening.into(), true)
            }
        };
        if is_first && bytes.starts_with(OPENING) {
            known.carrier = Some(Box::new(Carrier::new()));
            known.decoder = None;
            return self.read_media(now, conn, &bytes);
        }
        if let Some(decoder) = &mut known.decoder {
            decoder.push(&bytes);
            self.read_stream(now, conn);
        }
    }

    /// Bytes of a connection of sessions.
    fn read_media(&mut self, now: Now, conn: ConnId, bytes: &[u8]) {
        let finished = self.media_received(now, conn, bytes);
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let is_idle = known.carrier.as_ref().is_none_or(|carrier| carrier.is_idle());
        known.unfinished_since = if is_idle { None } else { known.unfinished_since.filter(|_| !finished).or(Some(now.instant)) };
        self.arm_conn(conn);
    }

    /// Takes what is whole from a stream.
    fn read_stream(&mut self, now: Now, conn: ConnId) {
        let mut finished = false;
        while let Some(known) = self.conns.get_mut(&conn)
            && let Some(event) = known.decoder.as_mut().and_then(StreamDecoder::next_event)
        {
            finished = true;
            match event {
                StreamEvent::Message(message) => self.message(now, conn, message),
                StreamEvent::Ping => {
                    // RFC 5626 §4.4.1
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
        let is_idle = known.decoder.as_ref().is_none_or(|decoder| decoder.is_idle());
        known.unfinished_since = if is_idle { None } else { known.unfinished_since.filter(|_| !finished).or(Some(now.instant)) };
        self.arm_conn(conn);
    }

    fn datagram(&mut self, now: Now, conn: ConnId, bytes: Bytes) {
        let Some(known) = self.conns.get(&conn) else { return };
        // Abuse case 27: who is not known by address gets no answer at all. Keep-alives get none either (RFC 5626 §3.5.1
        // wants STUN on UDP).
        if known.is_stranger() || is_keep_alive(&bytes) {
            return;
        }
        match decode_datagram(bytes, &limits(false)) {
            Ok(message) => self.message(now, conn, message),
            Err(rejected) => self.rejected(conn, &rejected),
        }
    }

    fn message(&mut self, now: Now, conn: ConnId, message: Message) {
        let Some(known) = self.conns.get(&conn) else { return };
        if known.is_stranger() {
            if let Message::Request(request) = &message {
                self.stranger(now, conn, request);
            }
            return;
        }
        let flow = known.flow(conn);
        self.layer.receive(now.instant, flow, message, &mut self.actions);
        self.run(now);
    }

    /// A request on a connection that is nobody's: 403 before anything else, so that nobody learns which users exist.
    fn stranger(&mut self, now: Now, conn: ConnId, request: &Request) {
        if *request.method() == Method::Ack {
            return;
        }
        let tag = self.layer.new_tag();
        let about = self.claimed_link(conn, request);
        let Some(known) = self.conns.get_mut(&conn) else { return };
        known.strikes += 1;
        if known.strikes == 1 {
            let text = format!("a SIP request is refused: {} belongs to no link, {}", known.via.peer(), known.shown());
            self.out.push(Output::Note { conn, about, text });
        }
        if let Ok(response) = Response::to_request(request, 403, Some(&tag), Some(known.via.peer())) {
            self.out.push(Output::Send { conn, bytes: response.encode() });
        }
        if known.strikes >= STRANGER_REQUESTS {
            self.close(now, conn, CloseReason::Refused, "the peer belongs to no link");
        }
    }

    /// The link whose peer a stranger says that it is, and why it is not.
    fn claimed_link(&self, conn: ConnId, request: &Request) -> Option<About> {
        let party = crate::address::from_uri(request.from().uri()).ok()?;
        let domain = party.address.domain();
        let (number, link) = self.links.iter().find(|(_, link)| link.domains.contains(domain))?;
        Some(About { link: link.id.clone(), sign: Err(self.why_not(*number, conn)?.fault) })
    }

    fn note_proved(&mut self, conn: ConnId, number: u64) {
        let (Some(link), Some(known)) = (self.links.get(&number), self.conns.get(&conn)) else { return };
        let text = format!("{} has proved to be the server of link {}", known.via.peer(), link.id);
        self.out.push(Output::Note { conn, about: Some(About { link: link.id.clone(), sign: Ok(()) }), text });
    }

    /// A message that cannot be acted upon; answered where that makes sense.
    fn rejected(&mut self, conn: ConnId, rejected: &Rejected) {
        let tag = self.layer.new_tag();
        let source: Option<SocketAddr> = self.conns.get(&conn).map(|known| known.via.peer());
        if let Some(bytes) = rejected.to_response(&tag, source) {
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

    /// A connection is no more: whoever used it learns of it.
    pub(crate) fn gone(&mut self, now: Now, conn: ConnId, why: CloseReason, detail: &str) {
        let known = self.conns.remove(&conn).map(|mut known| {
            self.timers.set(&mut known.alarm, Sleeper::Conn(conn), None);
            known
        });
        self.media_gone(now, conn, known.as_ref().and_then(|known| known.carrier.as_deref()));
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
            let detail =
                if known.is_stranger() { "the peer belongs to no link" } else { "a message did not come whole within 30 s" };
            let why = if known.is_stranger() { CloseReason::Refused } else { CloseReason::TimedOut };
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
