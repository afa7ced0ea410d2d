//! How sessions begin and end: INVITE, ACK, BYE, both ways (RFC 3261 §13 to §15, RFC 3264).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use interchange_adapter::{ConnId, Now, Output, Target, Transport};
use interchange_model::{Address, DisplayName, Envelope, LinkId};
use msrp_stack::sdp::{Description, Local, Media, Setup};
use msrp_stack::{MsrpUri, Path};
use rand::RngExt;
use sip_adapter::Host as _;
use sip_codec::{ContentType, Method, Name, NameAddr, Request, Response, Unencodable, Value};
use sip_stack::{Dialog, DialogFault, Refused, ServerId};

use super::{CONNECT_WITHIN, Conversation, DECLINED, DECLINED_NOW, MOST, MOST_OF_ONE, Stage};
use crate::inbound::Open;
use crate::outbox::Place;
use crate::settings::{LinkTransport, MAX_SESSION_MESSAGE, SessionPolicy};
use crate::timers::Alarm;
use crate::translate::TRACE;
use crate::{Asked, Sip, address};

/// What is taken in a session, and inside message/cpim in it.
pub(super) const ACCEPT: [&str; 5] =
    ["message/cpim", "text/plain", "text/html", "multipart/alternative", "application/im-iscomposing+xml"];
pub(super) const WRAPPED: [&str; 5] =
    ["text/plain", "text/html", "multipart/alternative", "message/imdn+xml", "application/im-iscomposing+xml"];

/// Whether content of a type is taken.
fn accepts(media: &str) -> bool {
    let name = media.split(';').next().unwrap_or_default().trim();
    ACCEPT.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// An INVITE that can be answered.
struct Wanted {
    link: u64,
    ours: Address,
    theirs: Address,
    offer: Description,
    media: Media,
}

impl Sip {
    /// An INVITE.
    pub(crate) fn take_invite(&mut self, now: Now, open: &Open) {
        let done = match open.request.to().tag() {
            Some(_) => self.reinvited(now, open),
            None => self.read_invite(now, open).and_then(|wanted| self.begin_session(now, open, wanted)),
        };
        if let Err(refused) = done {
            self.refuse(now, open, &refused);
        }
    }

    fn read_invite(&mut self, now: Now, open: &Open) -> Result<Wanted, Refused> {
        let request = &open.request;
        let to = address::from_uri(request.uri()).map_err(|_| Refused::of(404))?;
        let from = address::from_sender_uri(request.from().uri()).map_err(|_| Refused::of(403))?;
        // As with messages: From decides among the links of the connection, and must be one of theirs.
        let links = self.conns.get(&open.conn).map(|conn| conn.links.clone()).unwrap_or_default();
        let owner = |number: &u64| self.links.get(number).is_some_and(|link| link.domains.contains(from.address.domain()));
        let link = links.into_iter().find(owner).ok_or_else(|| Refused::of(403))?;
        let offer = read_offer(request)?;
        let media = offer.message().cloned().ok_or_else(|| Refused::of(488))?;
        self.check_media(now, link, open.conn, &media)?;
        let count = self.sessions.of_one.get(&from.address).copied().unwrap_or_default();
        if count >= MOST_OF_ONE {
            return Err(Refused::of(486));
        }
        if self.stopped || self.sessions.all.len() >= MOST {
            return Err(Refused::of(503).with(Name::RetryAfter, "10"));
        }
        Ok(Wanted { link, ours: to.address, theirs: from.address, offer, media })
    }

    /// Whether a session with this client is possible on a link.
    fn check_media(&self, _now: Now, link: u64, conn: ConnId, media: &Media) -> Result<(), Refused> {
        let Some(link) = self.links.get(&link) else { return Err(Refused::of(403)) };
        // What TLS protects on the way here is not sent in the clear beside it.
        let in_the_clear = link.settings.transport == LinkTransport::Tls && !media.secure;
        let readable = media.accepts("text/plain") || media.accepts_wrapped("text/plain");
        if link.settings.sessions == SessionPolicy::Off || in_the_clear || !readable {
            return Err(Refused::of(488));
        }
        if media.setup == Some(Setup::Passive) && self.media_target(link, conn, media).is_none() {
            return Err(Refused::of(488));
        }
        Ok(())
    }

    /// Where to connect to for a session whose client wants that: an address that the operator has allowed, or that of the link's own server.
    /// A peer never decides alone where the hub connects to (abuse case 7).
    fn media_target(&self, link: &crate::link::Link, conn: ConnId, media: &Media) -> Option<Target> {
        let hop = media.path.first()?;
        let host = hop.host().trim_matches(['[', ']']);
        let by_name = link.settings.host.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(host));
        let by_address = host.parse().is_ok_and(|ip: std::net::IpAddr| {
            self.conns.get(&conn).is_some_and(|known| known.via.peer().ip().to_canonical() == ip.to_canonical())
                || link.settings.msrp_networks.iter().any(|network| network.contains(ip))
        });
        let transport = if media.secure { Transport::Tls } else { Transport::Tcp };
        (hop.transport() == "tcp" && (by_name || by_address)).then(|| Target::Host {
            host: host.to_owned(),
            port: hop.port(),
            transport,
        })
    }

    fn begin_session(&mut self, now: Now, open: &Open, wanted: Wanted) -> Result<(), Refused> {
        let Wanted { link, ours, theirs, offer, media } = wanted;
        let tag = self.layer.new_tag();
        let dialog = Dialog::of_request(&open.request, &tag).map_err(|_| Refused::of(400))?;
        let number = self.number();
        let we_connect = media.setup == Some(Setup::Passive);
        let local = self
            .local_media(media.secure, if we_connect { Setup::Active } else { Setup::Passive })
            .ok_or_else(|| Refused::of(500))?;
        let stage = Stage::Connecting { until: now.instant + CONNECT_WITHIN };
        let call_id = open.request.call_id().to_owned();
        let mut session = self.new_session(now, link, ours, theirs, call_id, &local, stage, &media.path);
        session.dialog = Some(dialog);
        session.display_name = open.request.from().display().and_then(DisplayName::new);
        session.media = Some(media);
        self.sessions.add(number, session);
        self.sessions.answered.insert(open.server, number);
        let answer = |sip: &Self| -> Result<Response, Unencodable> {
            let name = sip.links.get(&link).map(|link| link.id.clone()).unwrap_or_else(|| "".into());
            let response = Response::to_request(&open.request, 200, Some(&tag), open.source)?
                .with_header(Name::Contact, sip.contact_of(&name, &user_of(number))?)?
                .with_header(Name::Server, Value::new("Interchange")?)?
                .with_record_route_of(&open.request);
            Ok(response.with_body(&ContentType::new("application", "sdp")?, local.answer(&offer)))
        };
        match answer(self) {
            Ok(response) => {
                let _ = self.layer.respond(now.instant, open.server, &response, &mut self.actions);
            }
            Err(_) => {
                self.sessions.take(number);
                return Err(Refused::of(500));
            }
        }
        if we_connect {
            self.dial_media(number, open.conn);
        }
        self.arm_session(number);
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn new_session(
        &mut self,
        now: Now,
        link: u64,
        ours: Address,
        theirs: Address,
        call_id: String,
        local: &Local,
        stage: Stage,
        remote: &Path,
    ) -> Conversation {
        let settings = msrp_stack::Settings { max_message: MAX_SESSION_MESSAGE, accepts };
        self.sessions.seed = self.sessions.seed.wrapping_add(1 << 32);
        Conversation {
            link,
            ours,
            theirs,
            display_name: None,
            call_id,
            dialog: None,
            stage,
            media: None,
            msrp: msrp_stack::Session::new(local.uri.clone(), remote.clone(), settings, self.sessions.seed),
            carrier: None,
            used: now.instant,
            pending: VecDeque::new(),
            sending: std::collections::HashMap::new(),
            wanted: std::collections::HashMap::new(),
            given: VecDeque::new(),
            next_token: 0,
            alarm: Alarm::default(),
        }
    }

    /// Our end of a new session. Its name has 128 random bits: whoever knows it was told in the session's own INVITE (RFC 4975 §14.1).
    fn local_media(&mut self, secure: bool, setup: Setup) -> Option<Local> {
        let (host, port) = if secure { &self.sessions.hosts.secure } else { &self.sessions.hosts.clear };
        let uri = MsrpUri::new(secure, host, *port, &format!("{:032x}", self.random.random::<u128>())).ok()?;
        // RFC 8866 §5.2: below 2^63, as many readers take it for signed.
        let id = self.random.random::<u64>() >> 2;
        Some(Local { id, version: 1, uri, accept: &ACCEPT, wrapped: &WRAPPED, max_size: MAX_SESSION_MESSAGE, setup })
    }

    fn dial_media(&mut self, number: u64, beside: ConnId) {
        let target = self.sessions.all.get(&number).and_then(|session| {
            let link = self.links.get(&session.link)?;
            self.media_target(link, beside, session.media.as_ref()?)
        });
        if let Some(to) = target {
            let conn = ConnId::dialled(self.number());
            self.sessions.dials.insert(conn, number);
            self.out.push(Output::Dial { conn, to, avoid: Vec::new() });
        }
    }

    /// A new offer in a session (RFC 3264 §8): the client has moved, or holds it.
    fn reinvited(&mut self, now: Now, open: &Open) -> Result<(), Refused> {
        let number = self.session_of(&open.request).ok_or_else(|| Refused::of(481))?;
        let offer = read_offer(&open.request)?;
        let media = offer.message().cloned().ok_or_else(|| Refused::of(488))?;
        let Some(session) = self.sessions.all.get_mut(&number) else { return Err(Refused::of(481)) };
        let Some(dialog) = session.dialog.as_mut() else { return Err(Refused::of(491)) };
        if dialog.take(&open.request) == Err(DialogFault::OutOfOrder) {
            return Err(Refused::of(500));
        }
        let (link, secure) = (session.link, session.msrp.local().is_secure());
        if media.secure != secure {
            return Err(Refused::of(488));
        }
        self.check_media(now, link, open.conn, &media)?;
        let Some(session) = self.sessions.all.get_mut(&number) else { return Err(Refused::of(481)) };
        let moved = session.msrp.remote() != &media.path;
        session.msrp.set_remote(media.path.clone());
        let we_connect = media.setup == Some(Setup::Passive);
        session.media = Some(media);
        let setup = if we_connect { Setup::Active } else { Setup::Passive };
        let uri = session.msrp.local().clone();
        let local =
            Local { id: number, version: 2, uri, accept: &ACCEPT, wrapped: &WRAPPED, max_size: MAX_SESSION_MESSAGE, setup };
        let old = if moved { session.carrier.take() } else { None };
        if moved {
            session.stage = Stage::Connecting { until: now.instant + CONNECT_WITHIN };
        }
        let name = self.links.get(&link).map(|link| link.id.clone()).unwrap_or_else(|| "".into());
        let answer = |sip: &Self| -> Result<Response, Unencodable> {
            let response = Response::to_request(&open.request, 200, None, open.source)?
                .with_header(Name::Contact, sip.contact_of(&name, &user_of(number))?)?
                .with_record_route_of(&open.request);
            Ok(response.with_body(&ContentType::new("application", "sdp")?, local.answer(&offer)))
        };
        if let Ok(response) = answer(self) {
            self.sessions.answered.insert(open.server, number);
            let _ = self.layer.respond(now.instant, open.server, &response, &mut self.actions);
        }
        if let Some(conn) = old {
            self.unbind(now, conn, number);
        }
        if moved && we_connect {
            self.dial_media(number, open.conn);
        }
        self.arm_session(number);
        Ok(())
    }

    /// The session to whose dialog a request belongs.
    fn session_of(&self, request: &Request) -> Option<u64> {
        let number = *self.sessions.by_call.get(request.call_id())?;
        let session = self.sessions.all.get(&number)?;
        session.dialog.as_ref()?.has(request).then_some(number)
    }

    /// A 2xx of ours was acknowledged.
    pub(crate) fn acknowledged(&mut self, server: Option<ServerId>) {
        if let Some(server) = server {
            self.sessions.answered.remove(&server);
        }
    }

    /// It was not: the session is over (RFC 3261 §13.3.1.4).
    pub(crate) fn not_acknowledged(&mut self, now: Now, server: ServerId) {
        if let Some(number) = self.sessions.answered.remove(&server) {
            self.end_session(now, number, true);
        }
    }

    /// A BYE; of a dialog that we do not have, it is answered 481 (RFC 3261 §15.1.2).
    pub(crate) fn take_bye(&mut self, now: Now, open: &Open) {
        let Some(number) = self.session_of(&open.request) else { return self.refuse(now, open, &Refused::of(481)) };
        let late = self
            .sessions
            .all
            .get_mut(&number)
            .and_then(|session| session.dialog.as_mut())
            .map(|dialog| dialog.take(&open.request));
        if late == Some(Err(DialogFault::OutOfOrder)) {
            return self.refuse(now, open, &Refused::of(500));
        }
        self.refuse(now, open, &Refused::of(200));
        self.tell_gone(now, number);
        self.end_session(now, number, false);
    }

    pub(super) fn send_bye(&mut self, now: Now, session: &mut Conversation) {
        let Some(link) = self.links.get(&session.link).map(|link| link.id.clone()) else { return };
        let Some(dialog) = session.dialog.as_mut() else { return };
        if let Ok(request) = dialog.request(Method::Bye) {
            self.send_told(now, &link, request, Asked::Bye);
        }
    }

    /// Begins a session for what is to be said to one of the member's people.
    pub(super) fn invite(&mut self, now: Now, link: u64, place: Place, envelope: &Arc<Envelope>) -> bool {
        let (ours, theirs) = (envelope.from.clone(), envelope.to.clone());
        let secure = self.links.get(&link).is_some_and(|link| link.settings.transport == LinkTransport::Tls);
        let Some(name) = self.links.get(&link).map(|link| link.id.clone()) else { return false };
        let Some(local) = self.local_media(secure, Setup::ActPass) else { return false };
        let number = self.number();
        let call_id = self.new_call_id();
        let Ok(request) = self.build_invite(&name, number, envelope, &call_id, &local) else { return false };
        let Some(client) = self.send_told(now, &name, request, Asked::Invite { session: number }) else { return false };
        let stage = Stage::Inviting { client, until: now.instant + CONNECT_WITHIN };
        // Until the answer tells where the client is, we are at both ends.
        let nobody = Path::direct(local.uri.clone());
        let mut session = self.new_session(now, link, ours, theirs, call_id, &local, stage, &nobody);
        session.pending.push_back((place, envelope.clone()));
        self.sessions.add(number, session);
        self.arm_session(number);
        true
    }

    fn build_invite(
        &mut self,
        link: &LinkId,
        number: u64,
        envelope: &Envelope,
        call_id: &str,
        local: &Local,
    ) -> Result<sip_codec::RequestBuilder, Unencodable> {
        let to = address::to_uri(&envelope.to)?;
        let tag = self.layer.new_tag();
        let request = Request::builder(Method::Invite, to.clone())
            .from(NameAddr::new(address::to_uri(&envelope.from)?).with_tag(&tag)?)
            .to(NameAddr::new(to))
            .call_id(call_id)?
            .cseq(1)
            .max_forwards(envelope.hops.min(Envelope::FULL_HOPS))
            .header(Name::Contact, self.contact_of(link, &user_of(number))?)?
            .header(Name::Allow, Value::new("INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, SUBSCRIBE, NOTIFY")?)?
            .named_header(TRACE, Value::new(&format!("{};hub={}", envelope.id, self.hub.mark))?)?;
        Ok(request.body(ContentType::new("application", "sdp")?, local.offer()))
    }

    /// An answer to an INVITE of ours.
    pub(crate) fn invite_answered(&mut self, now: Now, number: u64, response: &Response) {
        if !(200..300).contains(&response.status()) {
            return self.invite_failed(now, number, Some(response.status()));
        }
        let Ok(mut dialog) = Dialog::of_response(response) else { return self.invite_failed(now, number, None) };
        let Some(link) = self.link_of_invite(number, response) else { return };
        self.acknowledge(&link, &mut dialog, response.cseq().number);
        let taken = self.sessions.all.get(&number).is_some_and(|session| matches!(session.stage, Stage::Inviting { .. }));
        let answer = Description::parse(response.body()).ok().and_then(|answer| answer.message().cloned());
        let local_secure = self.sessions.all.get(&number).is_some_and(|session| session.msrp.local().is_secure());
        let usable = answer.filter(|media| media.secure == local_secure && media.setup != Some(Setup::ActPass));
        let (Some(media), true) = (usable, taken) else {
            // Too late, a second phone (RFC 3261 §13.2.2.4), or nothing that can be used.
            if let Ok(request) = dialog.request(Method::Bye) {
                self.send_told(now, &link, request, Asked::Bye);
            }
            if taken {
                self.invite_failed(now, number, Some(488));
            }
            return;
        };
        let we_connect = match media.setup {
            Some(Setup::Active) => false,
            // RFC 4975 §5.4: whoever does not know of `setup` waits for whoever offered.
            _ => true,
        };
        let beside = self.names.get(&link).and_then(|link| self.links.get(link)).and_then(|link| Some(link.way()?.conn));
        if let Some(session) = self.sessions.all.get_mut(&number) {
            session.dialog = Some(dialog);
            session.msrp.set_remote(media.path.clone());
            session.media = Some(media);
            session.stage = Stage::Connecting { until: now.instant + CONNECT_WITHIN };
        }
        if we_connect {
            if let Some(conn) = beside {
                self.dial_media(number, conn);
            }
            if !self.sessions.dials.values().any(|session| *session == number) {
                self.decline_session(now, number, DECLINED);
                return self.end_session(now, number, true);
            }
        }
        self.arm_session(number);
    }

    /// The link of a session of ours, also of one that was given up while it was being answered.
    fn link_of_invite(&self, number: u64, response: &Response) -> Option<LinkId> {
        if let Some(session) = self.sessions.all.get(&number) {
            return self.links.get(&session.link).map(|link| link.id.clone());
        }
        let theirs = address::from_sender_uri(response.to().uri()).ok()?.address;
        self.links.values().find(|link| link.domains.contains(theirs.domain())).map(|link| link.id.clone())
    }

    /// The ACK of a 2xx, which is a request of its own (RFC 3261 §13.2.2.4).
    fn acknowledge(&mut self, link: &LinkId, dialog: &mut Dialog, sequence: u32) {
        let branch = self.layer.new_branch();
        let Some(conn) = self.names.get(link).and_then(|link| self.links.get(link)).and_then(|link| Some(link.way()?.conn))
        else {
            return;
        };
        let Some(known) = self.conns.get(&conn) else { return };
        let via = self.hub.via(known.via.transport()).and_then(|via| via.with_branch(&branch));
        let request = dialog.request(Method::Ack).and_then(|request| request.cseq(sequence).via(via?).build());
        if let Ok(request) = request {
            self.out.push(Output::Send { conn, bytes: request.encode() });
        }
    }

    /// An INVITE of ours came to nothing: what waits goes as single messages.
    pub(crate) fn invite_failed(&mut self, now: Now, number: u64, status: Option<u16>) {
        if !self.sessions.all.get(&number).is_some_and(|session| matches!(session.stage, Stage::Inviting { .. })) {
            return;
        }
        let time = match status {
            // The client, or the server on the way, has no sessions.
            Some(405 | 406 | 415 | 420 | 488 | 501 | 606) => DECLINED,
            _ => DECLINED_NOW,
        };
        self.decline_session(now, number, time);
        self.end_session(now, number, false);
    }

    fn decline_session(&mut self, now: Now, number: u64, time: Duration) {
        if let Some(session) = self.sessions.all.get(&number) {
            let (link, theirs) = (session.link, session.theirs.clone());
            self.sessions.decline(now, link, &theirs, time);
        }
    }
}

/// The user part of our Contact in a session.
fn user_of(number: u64) -> String {
    format!("m-{number:x}")
}

/// The offer in an INVITE.
fn read_offer(request: &Request) -> Result<Description, Refused> {
    if request.headers().first(Name::ContentEncoding).is_some_and(|encoding| encoding.text().trim() != "identity") {
        return Err(Refused::of(415).with(Name::AcceptEncoding, "identity"));
    }
    if request.headers().first(Name::Require).is_some_and(|required| !required.text().trim().is_empty()) {
        let required = request.headers().first(Name::Require).map(|value| value.text().into_owned()).unwrap_or_default();
        return Err(Refused::of(420).with(Name::Unsupported, &required));
    }
    // An INVITE that offers nothing wants an offer of ours, which could only be a guess (RFC 3261 §13.2.1).
    if request.body().is_empty() {
        return Err(Refused::of(488));
    }
    match request.headers().content_type() {
        Ok(Some(media)) if media.is("application", "sdp") => {}
        _ => return Err(Refused::of(415).with(Name::Accept, "application/sdp")),
    }
    Description::parse(request.body()).map_err(|_| Refused::of(400))
}
