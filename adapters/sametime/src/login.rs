//! From the first byte of a connection to somebody who has signed in, and the end of it.

use interchange_adapter::{
    About, Account, CloseReason, ConnId, Identity, Now, Output, Password, SignInError, TlsRole, Transport, Via,
};
use interchange_model::{Address, Domain, LinkId, Up};
use rand::RngExt;

use crate::cipher::{self, KeyPair};
use crate::codec::{
    AckMore, Body, Frame, FrameError, Handshake, HandshakeAck, Login, LoginAck, LoginInfo, LoginMore, Message, Stream,
    UserStatus, WireString,
};
use crate::limits::{self, Bucket};
use crate::person::{Hidden, Person};
use crate::session::{Attempt, Conn, Proving, Redirected, Session, State};
use crate::{Sametime, ids, reason, send, session_of, translate};

/// The version that we speak: of a higher minor one, the library would expect more in places.
const MAJOR: u16 = 0x1e;
const MINOR: u16 = 0x1d;

impl Sametime {
    pub(crate) fn opened(&mut self, now: Now, conn: ConnId, via: &Via) {
        let (transport, peer, local) = (via.transport(), via.peer(), via.local());
        if self.stopped {
            return self.out.push(Output::Close { conn, why: CloseReason::Shutdown });
        }
        let state = if transport == Transport::Tls {
            let role = TlsRole::Server { identity: Identity::Default, alpn: &[] };
            self.out.push(Output::StartTls { conn, role });
            State::Securing
        } else {
            State::Greeting
        };
        let known = Conn {
            peer,
            local_port: local.port(),
            transport,
            stream: Stream::default(),
            state,
            alarm: interchange_adapter::Alarm::default(),
            opened: now.instant,
            heard: now.instant,
            partial: None,
            messages: Bucket::messages(now.instant),
        };
        self.conns.insert(conn, known);
        self.touched.insert(conn);
    }

    pub(crate) fn secured(&mut self, conn: ConnId) {
        if let Some(known) = self.conns.get_mut(&conn)
            && matches!(known.state, State::Securing)
        {
            known.state = State::Greeting;
        }
    }

    pub(crate) fn received(&mut self, now: Now, conn: ConnId, bytes: &[u8]) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        if matches!(known.state, State::Over) {
            return;
        }
        self.touched.insert(conn);
        known.heard = now.instant;
        known.stream.push(bytes);
        loop {
            let Some(known) = self.conns.get_mut(&conn).filter(|known| !matches!(known.state, State::Over)) else { return };
            let most = if matches!(known.state, State::In(_)) { limits::FRAME_AFTER } else { limits::FRAME_BEFORE };
            let frame = match known.stream.next(most) {
                Ok(None) => break,
                Ok(Some(Frame::KeepAlive)) => continue,
                Ok(Some(Frame::Message(frame))) => frame,
                Err(error) => {
                    self.note(conn, &format!("a client is turned away: {error}"));
                    let why = match error {
                        FrameError::OtherProtocol => CloseReason::Malformed,
                        FrameError::TooLarge(_) => CloseReason::Limit,
                    };
                    return self.end(now, conn, reason::PROTOCOL, why);
                }
            };
            // A frame that is whole is none that takes too long.
            known.partial = None;
            let cost = u16::try_from(1 + frame.len() / limits::COUNTED).unwrap_or(u16::MAX);
            if !known.messages.take_many(now.instant, cost) {
                self.note(conn, "a client is turned away: it says more than it may in so short a time");
                return self.end(now, conn, reason::RESTRICTED, CloseReason::Limit);
            }
            match Message::decode(&frame) {
                Ok(message) => self.message(now, conn, message),
                Err(error) => {
                    self.note(conn, &format!("a client is turned away: a message of it cannot be read ({error})"));
                    return self.end(now, conn, reason::PROTOCOL, CloseReason::Malformed);
                }
            }
        }
        if let Some(known) = self.conns.get_mut(&conn) {
            known.partial = if known.stream.is_partial() { known.partial.or(Some(now.instant)) } else { None };
        }
    }

    fn message(&mut self, now: Now, conn: ConnId, message: Message) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        match (&mut known.state, message.body) {
            (State::In(_), body) => self.said_by_client(now, conn, message.channel, message.options, body),
            // A client may give up at any time.
            (_, Body::Destroy { .. }) if message.channel == 0 => self.close(now, conn, CloseReason::PeerClosed),
            (_, Body::Unknown { .. }) => {}
            (State::Greeting, Body::Handshake(handshake)) => self.greet(now, conn, &handshake),
            (State::Proving(_), Body::Login(login)) => self.log_in(now, conn, &login),
            // Only who was sent elsewhere may say that they would rather stay.
            (State::Redirected(_), Body::Continue) => self.stays(conn),
            _ => {
                self.note(conn, "a client is turned away: it speaks out of turn before it has signed in");
                self.end(now, conn, reason::PROTOCOL, CloseReason::Refused);
            }
        }
    }

    fn greet(&mut self, now: Now, conn: ConnId, handshake: &Handshake) {
        let Some(known) = self.conns.get(&conn) else { return };
        // Before it can send a password.
        let allowed = self.links.values().any(|link| link.settings.allows(known.transport, known.peer.ip()));
        if !allowed {
            let text = "a client is turned away: it comes without TLS from outside the links' plain_networks, where its password could be read";
            self.note(conn, text);
            return self.end(now, conn, reason::RESTRICTED, CloseReason::Refused);
        }
        let pair = KeyPair::new(&self.random.random());
        let magic = self.random.random();
        let key = if self.offers_key(known) { pair.public().to_vec() } else { Vec::new() };
        let more = AckMore { address: ipv4(known), magic, key };
        // A client that is older than the version we speak is answered in its own.
        let minor = if handshake.major >= MAJOR { MINOR } else { handshake.minor.clamp(0x19, MINOR) };
        let ack = HandshakeAck { major: MAJOR, minor, more: Some(more) };
        send(&mut self.out, conn, &Message::new(0, Body::HandshakeAck(ack.clone())));
        if let Some(known) = self.conns.get_mut(&conn) {
            known.state = State::Proving(Box::new(Proving { pair, magic, ack }));
        }
    }

    /// Whether one of the links that a client may be of offers a key: those of the listener, or else all that let it in.
    fn offers_key(&self, conn: &Conn) -> bool {
        let here = || self.links.values().map(|link| &link.settings).filter(|link| link.allows(conn.transport, conn.peer.ip()));
        let of_port = || here().filter(|link| link.local_port == Some(conn.local_port));
        if of_port().next().is_some() {
            of_port().any(|link| link.diffie_hellman)
        } else {
            here().any(|link| link.diffie_hellman)
        }
    }

    fn log_in(&mut self, now: Now, conn: ConnId, login: &Login) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let State::Proving(proving) = &known.state else { return };
        let password = cipher::open_login(login.auth_type, &login.auth_data, &proving.pair, proving.magic);
        let (transport, peer, port) = (known.transport, known.peer.ip(), known.local_port);
        let name = login.name.to_text();
        let name = name.trim();
        let refused = match (self.link_of(name, port), password.ok().and_then(Password::new)) {
            (Ok((link, domain, user)), Some(password)) if (1..=limits::NAME).contains(&user.len()) => {
                if self.links.get(&link).is_some_and(|link| link.settings.allows(transport, peer)) {
                    let (login_type, auth_type) = (login.login_type, login.auth_type);
                    return self.attempts(conn, Attempt { link, domain, login_type, auth_type, proof: Some((user, password)) });
                }
                (reason::RESTRICTED, "it comes without TLS from outside its link's plain_networks")
            }
            (Err(why), _) => (reason::WRONG, why),
            _ => (reason::WRONG, "its name or password cannot be used"),
        };
        self.note(conn, &format!("a client is not signed in: {}", refused.1));
        self.end(now, conn, refused.0, CloseReason::Refused);
    }

    /// Somebody who may sign in here is judged, or is sent elsewhere.
    fn attempts(&mut self, conn: ConnId, attempt: Attempt) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let Some(host) = self.links.get(&attempt.link).and_then(|link| link.settings.redirect.clone()) else {
            known.state = State::Judging(Box::new(attempt));
            return self.judge(conn);
        };
        let State::Proving(proving) = std::mem::replace(&mut known.state, State::Over) else { return };
        let text = format!("a client of {} is sent to {host}, by the link's setting `redirect`", attempt.domain);
        known.state = State::Redirected(Box::new(Redirected { attempt, ack: proving.ack }));
        let server = WireString::new(&host);
        send(&mut self.out, conn, &Message::new(0, Body::Redirect { host: server.clone(), server }));
        self.note(conn, &text);
    }

    /// Somebody who was sent elsewhere would rather stay, or cannot get there.
    fn stays(&mut self, conn: ConnId) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let State::Redirected(redirected) = std::mem::replace(&mut known.state, State::Over) else { return };
        let Redirected { attempt, ack } = *redirected;
        known.state = State::Judging(Box::new(attempt));
        send(&mut self.out, conn, &Message::new(0, Body::HandshakeAck(ack)));
        self.judge(conn);
    }

    /// Which link a login is of: that of the domain that was typed, of the listener, or the only one. With the domain, and the name without it.
    fn link_of(&self, name: &str, port: u16) -> Result<(LinkId, Domain, String), &'static str> {
        if let Some((user, domain)) = name.rsplit_once('@') {
            let domain = Domain::parse(domain).map_err(|_| "it names no domain")?;
            let link = self.domains.get(&domain).ok_or("it names a domain that has no link of this platform")?;
            return Ok((link.clone(), domain, user.to_owned()));
        }
        let mut of_port = self.links.values().filter(|link| link.settings.local_port == Some(port));
        let mut all = self.links.values();
        let link = match (of_port.next(), of_port.next(), all.next(), all.next()) {
            (Some(link), None, ..) | (None, None, Some(link), None) => link,
            _ => {
                return Err(
                    "its name has no domain, and the hub has several links of this platform: people must type name@domain, or the links need local_port",
                );
            }
        };
        let domain = link.first_domain().ok_or("its link has no domain")?;
        Ok((link.id.clone(), domain.clone(), name.to_owned()))
    }

    /// Asks whether it is them, as soon as it is known what is kept for the link: a contact list that came later would be overwritten.
    fn judge(&mut self, conn: ConnId) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        let State::Judging(attempt) = &mut known.state else { return };
        if !self.links.get(&attempt.link).is_some_and(|link| link.memory.is_known) {
            return;
        }
        if let Some((name, password)) = attempt.proof.take() {
            self.out.push(Output::Authenticate { conn, link: attempt.link.clone(), name, password });
        }
    }

    /// What is kept for a link is known now.
    pub(crate) fn judge_waiting(&mut self, link: &LinkId) {
        let waits = |conn: &Conn| matches!(&conn.state, State::Judging(attempt) if attempt.link == *link);
        let mut waiting: Vec<ConnId> = self.conns.iter().filter(|(_, conn)| waits(conn)).map(|(id, _)| *id).collect();
        waiting.sort_unstable();
        for conn in waiting {
            self.judge(conn);
        }
    }

    pub(crate) fn authenticated(&mut self, now: Now, conn: ConnId, result: Result<Account, SignInError>) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        if !matches!(&known.state, State::Judging(attempt) if attempt.proof.is_none()) {
            return;
        }
        self.touched.insert(conn);
        let account = match result {
            Ok(account) => account,
            Err(SignInError::Wrong) => {
                self.note(conn, "a client is not signed in: wrong name or password");
                return self.end(now, conn, reason::WRONG, CloseReason::Refused);
            }
            // It must come back by itself: of a failed verification a client would say so and stay away.
            Err(SignInError::Unavailable) => {
                self.note(conn, "a client is not signed in: nobody can judge its password now");
                return self.end(now, conn, reason::NOT_RESPONDING, CloseReason::Refused);
            }
        };
        let State::Judging(attempt) = std::mem::replace(&mut known.state, State::Over) else { return };
        match Address::new(&account.user, attempt.domain.clone()) {
            Ok(person) => self.sign_in(now, conn, *attempt, person, account),
            Err(_) => self.end(now, conn, reason::WRONG, CloseReason::Refused),
        }
    }

    fn sign_in(&mut self, now: Now, conn: ConnId, attempt: Attempt, person: Address, account: Account) {
        let (Some(link), Some(known)) = (self.links.get_mut(&attempt.link), self.conns.get_mut(&conn)) else { return };
        link.memory.is_back(&person);
        let most = link.settings.logins;
        let privacy = link.memory.privacy(&person);
        let id = ids::of_own(&person, &link.domains);
        let name: WireString = account.display_name.as_ref().map_or(person.user(), |name| name.as_str()).into();
        // Its beginning is a channel key, and it must be another for each login.
        let login_id = WireString::new(&format!("{:016x}", self.random.random::<u64>()));
        let status = UserStatus { status: UserStatus::ACTIVE, ..UserStatus::default() };
        let more = LoginMore { description: WireString::default(), address: ipv4(known), server: self.hub.as_str().into() };
        let login = LoginInfo {
            login_id: login_id.clone(),
            login_type: attempt.login_type,
            user: id,
            name,
            community: WireString::default(),
            more: Some(more),
        };
        let hidden = Hidden::new(&privacy, person.domain());
        let ack = LoginAck { login, unknown: 0, privacy, status: status.clone() };
        known.state = State::In(Box::new(Session {
            link: attempt.link.clone(),
            person: person.clone(),
            login_id,
            login_type: attempt.login_type,
            presence: translate::from_status(&status, now.wall),
            status,
            channels: Default::default(),
            conversations: Default::default(),
            last_channel: 0,
            contacts: Default::default(),
            contact_count: 0,
            spellings: Default::default(),
            sent: Default::default(),
            last_sent: 0,
            probe: None,
            submissions: 0,
            questions: Default::default(),
            refused: Default::default(),
            creates: Bucket::channels(now.instant),
            opening: None,
        }));
        let (kind, auth, transport) = (attempt.login_type, attempt.auth_type, known.transport.label());
        send(&mut self.out, conn, &Message::new(0, Body::LoginAck(ack)));
        let text = format!(
            "somebody of {} has signed in, by a client of type {kind:04x} with a login of type {auth} over {transport}",
            person.domain()
        );
        let about = Some(About { link: attempt.link.clone(), sign: Ok(()) });
        self.out.push(Output::Note { conn, about, text });
        let entry = self.people.entry(person.clone()).or_insert_with(|| Person::new(attempt.link.clone()));
        entry.name = account.display_name;
        entry.hidden = hidden;
        entry.logins.push(conn);
        let displaced = if entry.logins.len() > most { entry.logins.first().copied() } else { None };
        if let Some(oldest) = displaced {
            self.note(oldest, "a login ends: its user has signed in more often than the link's setting `logins` allows");
            self.end(now, oldest, reason::ELSEWHERE, CloseReason::Refused);
        }
        self.state_changed(now, &person);
        self.out.push(Output::Broker(Up::Here { link: attempt.link, person }));
    }

    /// Ends a connection: the client is told why, and then it is closed.
    pub(crate) fn end(&mut self, now: Now, conn: ConnId, reason: u32, why: CloseReason) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        // Somebody who speaks another protocol would not understand it.
        if !matches!(known.state, State::Securing | State::Over) && why != CloseReason::Malformed {
            send(&mut self.out, conn, &Message::destroy(0, reason));
        }
        self.close(now, conn, why);
    }

    /// Closes a connection without another word.
    pub(crate) fn close(&mut self, now: Now, conn: ConnId, why: CloseReason) {
        self.leave(now, conn);
        if let Some(known) = self.conns.get_mut(&conn)
            && !matches!(std::mem::replace(&mut known.state, State::Over), State::Over)
        {
            self.out.push(Output::Close { conn, why });
            self.touched.insert(conn);
        }
    }

    /// A connection is gone.
    pub(crate) fn gone(&mut self, now: Now, conn: ConnId) {
        self.leave(now, conn);
        self.touched.remove(&conn);
        if let Some(mut known) = self.conns.remove(&conn) {
            self.timers.clear(&mut known.alarm, || crate::timers::Sleeper::Conn(conn));
        }
    }

    /// Whoever has signed in on a connection is not there any more.
    fn leave(&mut self, now: Now, conn: ConnId) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        if !matches!(known.state, State::In(_)) {
            return;
        }
        let State::In(session) = std::mem::replace(&mut known.state, State::Over) else { return };
        // The driver is still to be told to close it.
        known.state = State::Greeting;
        let person = session.person.clone();
        if let Some(known) = self.people.get_mut(&person) {
            known.logins.retain(|login| *login != conn);
        }
        for query in &session.questions {
            self.lookups.remove(query);
        }
        self.forget_contacts(&person, session.contacts);
        let unsettled = session.sent.into_iter().map(|sent| sent.pending);
        let waiting = session.channels.into_values().flat_map(|channel| match channel {
            crate::session::Channel::Conversation(conversation) => conversation.waiting,
            _ => Default::default(),
        });
        let deliveries: Vec<u64> = unsettled.chain(waiting).filter_map(|pending| pending.delivery).collect();
        for delivery in deliveries {
            self.not_delivered(delivery, None);
        }
        self.state_changed(now, &person);
        self.tidy(&person);
    }

    pub(crate) fn wake_conn(&mut self, now: Now, conn: ConnId) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        known.alarm.rang();
        self.touched.insert(conn);
        let late = |since: Option<std::time::Instant>| since.is_some_and(|since| since + limits::PATIENCE <= now.instant);
        let signed_in = matches!(known.state, State::In(_));
        let asked = known.session().is_some_and(|session| late(session.probe.map(|probe| probe.since)) || late(session.opening));
        if late(known.partial) || asked || !signed_in && late(Some(known.opened)) {
            let text = match (signed_in, asked) {
                (false, _) => "a client is turned away: it has not signed in within 30 s",
                (true, true) => "a client has not answered within 30 s: its user counts as gone from there",
                (true, false) => "a client is turned away: a message of it was not complete within 30 s",
            };
            self.note(conn, text);
            return self.end(now, conn, reason::TIMED_OUT, CloseReason::TimedOut);
        }
        if known.heard + limits::SILENCE <= now.instant && signed_in {
            // It is asked whether it lives, once in this time.
            known.heard = now.instant;
            self.ask(now, conn);
        }
    }

    /// Asks a client for a sign of life.
    fn ask(&mut self, now: Now, conn: ConnId) {
        let probing = session_of(&mut self.conns, conn).and_then(|session| self.links.get(&session.link));
        if probing.is_some_and(|link| link.settings.probe) {
            self.send_probe(now, conn);
        } else {
            // Nothing answers it; but a connection that is broken is found out by it.
            self.out.push(Output::Send { conn, bytes: bytes::Bytes::from_static(&[0x80]) });
        }
    }
}

fn ipv4(conn: &Conn) -> u32 {
    match conn.peer.ip().to_canonical() {
        std::net::IpAddr::V4(address) => address.to_bits(),
        std::net::IpAddr::V6(_) => 0,
    }
}
