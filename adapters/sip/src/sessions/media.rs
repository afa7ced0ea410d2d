//! The connections of sessions. They come to the same listeners as SIP and are told apart by their first bytes; which session one is for,
//! its first message says (RFC 4975 §5.4).

use std::collections::BTreeSet;

use bytes::Bytes;
use interchange_adapter::{CloseReason, ConnId, Identity, Now, Output, TlsPeer, TlsRole, Transport};
use msrp_stack::{FailureReport, Limits, Message, Method, Path, Rejected, Request, StreamDecoder};

use super::{MOST_HELD, RECONNECT_WITHIN, Stage};
use crate::settings::MAX_SESSION_MESSAGE;
use crate::{Sip, identity};

/// What begins a connection of sessions.
pub(crate) const OPENING: &[u8] = b"MSRP ";

/// What a connection of sessions is, beside a connection.
pub(crate) struct Carrier {
    decoder: StreamDecoder,
    /// Whose messages have come by it.
    sessions: BTreeSet<u64>,
    /// Whether it ever was of use.
    was_bound: bool,
}

impl Carrier {
    pub(crate) fn new() -> Self {
        // Whoever is unknown gets no further than one message of 16 KiB (abuse case 24).
        let limits = Limits { body: 16 * 1024, ..Limits::default() };
        Self { decoder: StreamDecoder::new(limits), sessions: BTreeSet::new(), was_bound: false }
    }

    pub(crate) fn is_bound(&self) -> bool {
        !self.sessions.is_empty()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.decoder.is_idle()
    }
}

impl Sip {
    /// A dial of ours for a session has come through, as far as TCP.
    pub(crate) fn media_opened(&mut self, now: Now, conn: ConnId, number: u64, transport: Transport) {
        if transport == Transport::Tls {
            let server_name =
                self.sessions.all.get(&number).and_then(|session| session.msrp.remote().first()).map(|hop| hop.host());
            let server_name = server_name.unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let identity = Identity::Domain(self.domain.clone());
            self.out.push(Output::StartTls { conn, role: TlsRole::Client { server_name, identity, alpn: &[] } });
        } else {
            self.media_ready(now, conn, number);
        }
    }

    /// A connection of ours to a client can be used: it is bound by an empty message.
    pub(crate) fn media_ready(&mut self, now: Now, conn: ConnId, number: u64) {
        if let Err(why) = self.check_client(conn, number) {
            self.out.push(Output::Note { conn, about: None, text: format!("a session's connection is not used: {why}") });
            return self.close(now, conn, CloseReason::Refused, "the client did not prove who it is");
        }
        let Some(known) = self.conns.get_mut(&conn) else { return };
        known.carrier = Some(Box::new(Carrier::new()));
        let id = self.message_id();
        let mut events = Vec::new();
        if let Some(session) = self.sessions.all.get_mut(&number) {
            session.msrp.bind(now.instant, &id, &mut events);
        }
        self.bind(now, conn, number);
        self.session_events(now, number, events);
        self.session_ready(now, number);
    }

    /// RFC 4975 §14.4: whoever we connect to must have the certificate that the INVITE named, or one that proves the link. Whoever connects to us
    /// is known by the session's name, and if it shows a certificate, and named one, by that as well.
    fn check_client(&self, conn: ConnId, number: u64) -> Result<(), String> {
        let (Some(session), Some(known)) = (self.sessions.all.get(&number), self.conns.get(&conn)) else {
            return Err("the session is over".to_owned());
        };
        let wanted = session.media.as_ref().and_then(|media| media.fingerprint);
        let shown: Option<&TlsPeer> = known.tls.as_ref();
        let Some(peer) = shown else { return Ok(()) };
        match (wanted, &peer.certificate) {
            (Some(wanted), Some(certificate)) if certificate.fingerprint == wanted => Ok(()),
            (Some(_), Some(_)) => Err("its certificate is not the one of the session's description (RFC 4975 §14.4)".to_owned()),
            (_, None) if !conn.is_dialled() => Ok(()),
            _ if !conn.is_dialled() => Ok(()),
            _ => {
                let Some(link) = self.links.get(&session.link) else { return Err("the link is gone".to_owned()) };
                identity::proves(peer, &link.domains, &link.settings).map_err(|trouble| trouble.text)
            }
        }
    }

    /// Whether a connection came to a listener that only paths of sessions name.
    pub(crate) fn is_media_listener(&self, conn: ConnId) -> bool {
        let Some(known) = self.conns.get(&conn) else { return false };
        let (hosts, sip) = (&self.sessions.hosts, self.hub.sent_by.port);
        let (media, sip) = match known.via.transport() {
            Transport::Tls => (hosts.secure.1, sip.unwrap_or(5061)),
            _ => (hosts.clear.1, sip.unwrap_or(5060)),
        };
        media != sip && known.via.local().port() == media
    }

    /// Bytes on a connection of sessions. Whether a message has come whole.
    pub(crate) fn media_received(&mut self, now: Now, conn: ConnId, bytes: &[u8]) -> bool {
        let mut finished = false;
        if let Some(carrier) = self.conns.get_mut(&conn).and_then(|known| known.carrier.as_mut()) {
            carrier.decoder.push(bytes);
        }
        while let Some(read) =
            self.conns.get_mut(&conn).and_then(|known| known.carrier.as_mut()).and_then(|carrier| carrier.decoder.next_message())
        {
            finished = true;
            match read {
                Ok(Message::Request(request)) => self.media_request(now, conn, request),
                Ok(Message::Response(response)) => {
                    let Some(number) = self.session_at(&response.to_path) else { continue };
                    let mut events = Vec::new();
                    if let Some(session) = self.sessions.all.get_mut(&number).filter(|session| session.carrier == Some(conn)) {
                        session.msrp.response_received(now.instant, &response, &mut events);
                    }
                    self.session_events(now, number, events);
                }
                Err(Rejected { response, framing_lost, why }) => {
                    if let Some(response) = response {
                        self.out.push(Output::Send { conn, bytes: response.encode() });
                    }
                    if framing_lost {
                        self.close(now, conn, CloseReason::Malformed, &format!("the peer sent what is no MSRP: {why}"));
                        return true;
                    }
                }
            }
        }
        finished
    }

    fn media_request(&mut self, now: Now, conn: ConnId, request: Request) {
        let Some(number) = self.session_at(&request.to_path) else { return self.media_refuse(now, conn, &request, 481) };
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        match session.carrier {
            Some(bound) if bound == conn => {}
            // RFC 4975 §7.3.1
            Some(_) => return self.media_refuse(now, conn, &request, 506),
            None => {
                // The name alone is not enough where the client has said which certificate is its own.
                if let Err(why) = self.check_client(conn, number) {
                    self.out.push(Output::Note { conn, about: None, text: format!("a session's connection is not used: {why}") });
                    return self.media_refuse(now, conn, &request, 481);
                }
                self.bind(now, conn, number);
                self.session_ready(now, number);
            }
        }
        if self.sessions.held > MOST_HELD && request.content.is_some() {
            return self.media_refuse(now, conn, &request, 413);
        }
        if let Some(session) = self.sessions.all.get_mut(&number) {
            session.used = now.instant;
        }
        let mut events = Vec::new();
        self.sessions.with_msrp(number, |msrp| msrp.request_received(now.instant, request, &mut events));
        self.session_events(now, number, events);
    }

    /// The session that a path leads to.
    fn session_at(&self, path: &Path) -> Option<u64> {
        let uri = path.first()?;
        let number = *self.sessions.by_name.get(uri.session()?)?;
        self.sessions.all.get(&number).filter(|session| session.msrp.local() == uri).map(|_| number)
    }

    fn media_refuse(&mut self, now: Now, conn: ConnId, request: &Request, status: u16) {
        if request.method != Method::Report && request.failure_report != FailureReport::No {
            self.out.push(Output::Send { conn, bytes: request.answer(status, None).encode() });
        }
        // Whoever names no session of ours on a new connection is not listened to any longer.
        let bound = self.conns.get(&conn).and_then(|known| known.carrier.as_ref()).is_some_and(|carrier| carrier.was_bound);
        if !bound {
            self.close(now, conn, CloseReason::Refused, "the connection belongs to no session");
        }
    }

    fn bind(&mut self, now: Now, conn: ConnId, number: u64) {
        let Some(carrier) = self.conns.get_mut(&conn).and_then(|known| known.carrier.as_mut()) else { return };
        carrier.sessions.insert(number);
        carrier.was_bound = true;
        let body = usize::try_from(MAX_SESSION_MESSAGE).unwrap_or(usize::MAX);
        carrier.decoder.set_limits(Limits { body, ..Limits::default() });
        if let Some(session) = self.sessions.all.get_mut(&number) {
            session.carrier = Some(conn);
            session.stage = Stage::Up;
            session.used = now.instant;
        }
        self.arm_conn(conn);
        self.arm_session(number);
    }

    /// A session uses a connection no longer; without any it is closed.
    pub(super) fn unbind(&mut self, now: Now, conn: ConnId, number: u64) {
        let Some(carrier) = self.conns.get_mut(&conn).and_then(|known| known.carrier.as_mut()) else { return };
        carrier.sessions.remove(&number);
        if carrier.sessions.is_empty() {
            self.close(now, conn, CloseReason::Finished, "its sessions are over");
        }
    }

    /// A connection of sessions is gone, or never came about.
    pub(crate) fn media_gone(&mut self, now: Now, conn: ConnId, carrier: Option<&Carrier>) {
        if let Some(number) = self.sessions.dials.remove(&conn)
            && self.sessions.all.get(&number).is_some_and(|session| session.carrier.is_none())
        {
            return self.end_session(now, number, true);
        }
        for number in carrier.map(|carrier| carrier.sessions.clone()).unwrap_or_default() {
            let Some(session) = self.sessions.all.get_mut(&number).filter(|session| session.carrier == Some(conn)) else {
                continue;
            };
            session.carrier = None;
            session.stage = Stage::Lost { until: now.instant + RECONNECT_WITHIN };
            let mut events = Vec::new();
            self.sessions.with_msrp(number, |msrp| msrp.disconnected(&mut events));
            self.session_events(now, number, events);
        }
    }

    pub(super) fn transmit(&mut self, number: u64, bytes: Bytes) {
        if let Some(conn) = self.sessions.all.get(&number).and_then(|session| session.carrier) {
            self.out.push(Output::Send { conn, bytes });
        }
    }
}
