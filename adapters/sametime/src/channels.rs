//! What a client that has signed in may say, and the channels that it opens, takes and ends.

use interchange_adapter::{CloseReason, ConnId, Now};
use interchange_model::{Address, PresenceState};
use rand::RngExt;

use crate::cipher::KeyPair;
use crate::codec::{
    Accept, Awareness, Body, Chosen, CipherItem, ClientType, Create, LoginInfo, Message, Offer, Privacy, Question, RESOLVE,
    SEND_SAID, Storage, UserStatus, WireString, mode, service,
};
use crate::conversation::Conversation;
use crate::person::Hidden;
use crate::session::{Channel, Session};
use crate::{Sametime, ids, limits, reason, send, session_of, translate};

/// On how many channels the same is said to a client that closes them.
const TRIES: u8 = 3;

/// The kind of client that people of other platforms seem to have.
const LOGIN_TYPE: u16 = 0x1002;

impl Sametime {
    pub(crate) fn said_by_client(&mut self, now: Now, conn: ConnId, channel: u32, options: u16, body: Body) {
        match body {
            Body::Create(create) => self.create(now, conn, create),
            Body::Accept(accept) => self.accepted(now, conn, channel, &accept),
            Body::Send { kind, payload } => self.heard(now, conn, channel, options, kind, &payload),
            Body::Destroy { .. } if channel == 0 => self.close(now, conn, CloseReason::PeerClosed),
            Body::Destroy { reason, .. } => self.destroyed(now, conn, channel, reason),
            Body::Status(status) => self.set_status(now, conn, status),
            Body::Privacy(privacy) => self.set_privacy(now, conn, privacy),
            Body::Sense { service } => self.sensed(now, conn, service),
            // Notices are for the own community's servers; and what is not known is skipped.
            Body::Announce(_) | Body::Admin { .. } | Body::Unknown { .. } | Body::Continue => {}
            // Who has signed in does not begin again.
            Body::Handshake(_) | Body::HandshakeAck(_) | Body::Login(_) | Body::LoginAck(_) | Body::Redirect { .. } => {
                self.note(conn, "a client is turned away: it speaks out of turn after it has signed in");
                self.end(now, conn, reason::PROTOCOL, CloseReason::Refused);
            }
        }
    }

    /// Whether a service is there. Only of one that a channel to will be taken: a client that is refused it then would ask again at once, and for ever.
    fn sensed(&mut self, now: Now, conn: ConnId, asked: u32) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        let known = [service::AWARENESS, service::RESOLVE, service::STORAGE, service::MESSAGES].contains(&asked);
        let room = asked == service::MESSAGES || session.services() < limits::SERVICES;
        if known && room && session.creates.take(now.instant) {
            send(&mut self.out, conn, &Message::new(0, Body::Sense { service: asked }));
        }
    }

    fn create(&mut self, now: Now, conn: ConnId, create: Create) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        // Its own numbers have no top bit, and a number is used by one channel at a time.
        if create.id == 0 || create.id & 0x8000_0000 != 0 || session.channels.contains_key(&create.id) {
            self.note(conn, "a client is turned away: it opens a channel under a number that it may not use");
            return self.end(now, conn, reason::PROTOCOL, CloseReason::Refused);
        }
        let channel = match create.service {
            service::AWARENESS => Channel::Awareness,
            service::RESOLVE => Channel::Resolve,
            service::STORAGE => Channel::Storage,
            service::MESSAGES => return self.create_conversation(now, conn, &create),
            _ => return send(&mut self.out, conn, &Message::destroy(create.id, reason::NO_SERVICE)),
        };
        if session.services() >= limits::SERVICES || !session.creates.take(now.instant) {
            return send(&mut self.out, conn, &Message::destroy(create.id, reason::STARVING));
        }
        session.channels.insert(create.id, channel);
        let accept = Accept { service: create.service, protocol: create.protocol, version: create.version, ..Accept::default() };
        send(&mut self.out, conn, &Message::new(create.id, Body::Accept(accept)));
    }

    fn create_conversation(&mut self, now: Now, conn: ConnId, create: &Create) {
        let refuse = |reason| Message::destroy(create.id, reason);
        let client = match ClientType::read(&create.data) {
            Some(client @ (ClientType::PLAIN | ClientType::RICH)) => client,
            _ => return send(&mut self.out, conn, &refuse(reason::NOT_REGISTERED)),
        };
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        if !session.creates.take(now.instant) {
            return send(&mut self.out, conn, &refuse(reason::STARVING));
        }
        let own = session.person.clone();
        let with = match ids::to_address(&create.target.user, own.domain()) {
            Some(with) if with != own => with,
            _ => return send(&mut self.out, conn, &refuse(reason::NO_SUCH_USER)),
        };
        session.note_spelling(&with, &create.target.user);
        let lately = session.refused.get(&with).filter(|(until, _)| now.instant < *until).map(|(_, why)| *why);
        if let Some(why) = lately.or_else(|| self.known_refusal(&own, &with)) {
            return send(&mut self.out, conn, &refuse(why));
        }
        self.make_room(now, conn);
        let acceptor = self.described(conn, &with);
        let presence = self.presence_seen(&own, &with);
        let cipher = choose(create);
        let pair = matches!(&cipher, Some(item) if item.cipher == 1).then(|| KeyPair::new(&self.random.random()));
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        let mut conversation = Conversation::new(with.clone(), client, now.instant);
        conversation.is_open = true;
        let mut accept = Accept {
            service: create.service,
            protocol: create.protocol,
            version: create.version,
            data: client.to_accept(&presence),
            ..Accept::default()
        };
        let offered = create.offer.as_ref().map_or(create.mode, |offer| offer.mode);
        match (cipher, &pair) {
            (Some(item), Some(pair)) => {
                let Some(key) = pair.shared(&item.info) else {
                    return send(&mut self.out, conn, &refuse(reason::ENCRYPTION));
                };
                conversation.encrypt(&key, &key);
                accept.mode = mode::RC2_128;
                let item = CipherItem { cipher: 1, info: pair.public().to_vec() };
                accept.chosen = Some(Chosen { item, mode: offered, flag: false });
            }
            (Some(item), None) => {
                conversation.encrypt(&start(&acceptor.login_id), &start(&session.login_id));
                accept.mode = mode::RC2_40;
                let item = CipherItem { cipher: item.cipher, info: Vec::new() };
                accept.chosen = Some(Chosen { item, mode: offered, flag: false });
            }
            (None, _) => {}
        }
        accept.acceptor = Some(acceptor);
        // What was to go out on a channel of ours that is not open goes out on this one, which is.
        let waiting = session.conversations.insert(with, create.id).and_then(|older| session.conversation(older));
        let waiting = waiting.filter(|older| !older.is_open).map(|older| std::mem::take(&mut older.waiting));
        session.channels.insert(create.id, Channel::Conversation(Box::new(conversation)));
        send(&mut self.out, conn, &Message::new(create.id, Body::Accept(accept)));
        for pending in waiting.into_iter().flatten() {
            self.say(now, conn, create.id, pending);
        }
    }

    /// Why a message to somebody would be refused, as far as that is known without asking.
    fn known_refusal(&self, own: &Address, with: &Address) -> Option<u32> {
        let link = self.people.get(own).and_then(|person| self.links.get(&person.link))?;
        if !link.domains.contains(with.domain()) {
            return (!self.hosted.contains(with.domain())).then_some(reason::NO_SUCH_USER);
        }
        if !link.settings.colleagues {
            return Some(reason::NOT_AUTHORIZED);
        }
        let here = self.people.get(with).is_some_and(|person| !person.logins.is_empty() && !person.hidden.from(own));
        let busy = self.presence_of(with, own).state() == PresenceState::DoNotDisturb;
        match (here, busy) {
            (false, _) => Some(reason::USER_GONE),
            (true, true) => Some(reason::USER_BUSY),
            (true, false) => None,
        }
    }

    /// Closes the conversation that was longest silent, if there are too many.
    pub(crate) fn make_room(&mut self, now: Now, conn: ConnId) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        if session.channels.len().saturating_sub(session.services()) < limits::CONVERSATIONS {
            return;
        }
        let silent = session.channels.iter().filter_map(|(id, channel)| match channel {
            Channel::Conversation(conversation) => Some((conversation.used, *id)),
            _ => None,
        });
        if let Some((_, oldest)) = silent.min() {
            send(&mut self.out, conn, &Message::destroy(oldest, reason::NONE));
            self.destroyed(now, conn, oldest, reason::NONE);
        }
    }

    /// Opens a channel to a client, in the name of somebody.
    pub(crate) fn call(&mut self, now: Now, conn: ConnId, with: &Address, client: ClientType) -> Option<u32> {
        self.make_room(now, conn);
        let creator = self.described(conn, with);
        let pair = KeyPair::new(&self.random.random());
        let login_id = start(&creator.login_id);
        let session = session_of(&mut self.conns, conn)?;
        let id = session.next_channel();
        let items = vec![CipherItem { cipher: 0, info: Vec::new() }, CipherItem { cipher: 1, info: pair.public().to_vec() }];
        let create = Create {
            id,
            service: service::MESSAGES,
            protocol: service::MESSAGES,
            version: 3,
            data: client.to_create(),
            creator: Some(creator),
            mode: mode::WHATEVER,
            offer: Some(Offer { items, mode: mode::WHATEVER, flag: false }),
            ..Create::default()
        };
        let mut conversation = Conversation::new(with.clone(), client, now.instant);
        conversation.offered = Some((pair, login_id));
        session.channels.insert(id, Channel::Conversation(Box::new(conversation)));
        session.conversations.insert(with.clone(), id);
        session.opening.get_or_insert(now.instant);
        send(&mut self.out, conn, &Message::new(0, Body::Create(create)));
        Some(id)
    }

    fn accepted(&mut self, now: Now, conn: ConnId, channel: u32, accept: &Accept) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        if session.probe.is_some_and(|probe| probe.channel == channel) {
            send(&mut self.out, conn, &Message::destroy(channel, reason::NONE));
            return self.probed(now, conn);
        }
        let own = start(&session.login_id);
        let Some(conversation) = session.conversation(channel).filter(|conversation| !conversation.is_open) else { return };
        let Some((pair, login_id)) = conversation.offered.take() else { return };
        let item = accept.chosen.as_ref().map(|chosen| &chosen.item);
        match (accept.mode, item) {
            (mode::RC2_128, Some(item)) => match pair.shared(&item.info) {
                Some(key) => conversation.encrypt(&key, &key),
                None => {
                    send(&mut self.out, conn, &Message::destroy(channel, reason::ENCRYPTION));
                    return self.destroyed(now, conn, channel, reason::ENCRYPTION);
                }
            },
            (mode::RC2_40, Some(_)) => conversation.encrypt(&login_id, &own),
            _ => {}
        }
        conversation.is_open = true;
        conversation.used = now.instant;
        let waiting = std::mem::take(&mut conversation.waiting);
        self.still_opening(conn);
        for pending in waiting {
            self.say(now, conn, channel, pending);
        }
    }

    /// Since when the oldest of the channels that are not taken is waited for.
    fn still_opening(&mut self, conn: ConnId) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        let opened = session.channels.values().filter_map(|channel| match channel {
            Channel::Conversation(conversation) if !conversation.is_open => Some(conversation.used),
            _ => None,
        });
        session.opening = opened.min();
    }

    fn destroyed(&mut self, now: Now, conn: ConnId, channel: u32, why: u32) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        if session.probe.is_some_and(|probe| probe.channel == channel) {
            return self.probed(now, conn);
        }
        let Some(Channel::Conversation(mut conversation)) = session.channels.remove(&channel) else { return };
        let with = conversation.with.clone();
        if session.conversations.get(&with) == Some(&channel) {
            session.conversations.remove(&with);
        }
        // What was said on it when the client had already closed it was thrown away there: it is said again, on another.
        let (lost, kept) = std::mem::take(&mut session.sent).into_iter().partition(|sent| sent.channel == channel);
        session.sent = kept;
        let mut again = Session::pending(lost);
        again.append(&mut conversation.waiting);
        let refused = !conversation.is_open || again.iter().any(|pending| pending.tries > TRIES);
        self.still_opening(conn);
        let as_plain = matches!(why, reason::NOT_REGISTERED | reason::NO_SERVICE) && conversation.client == ClientType::RICH;
        if again.is_empty() {
            return;
        }
        if refused && !as_plain {
            for pending in again {
                if let Some(delivery) = pending.delivery {
                    self.not_delivered(delivery, Some(reason::to_refusal(why)));
                }
            }
            return;
        }
        let client = if as_plain { ClientType::PLAIN } else { conversation.client };
        if let Some(channel) = self.call(now, conn, &with, client)
            && let Some(conversation) = session_of(&mut self.conns, conn).and_then(|session| session.conversation(channel))
        {
            conversation.waiting = again;
        }
    }

    fn heard(&mut self, now: Now, conn: ConnId, channel: u32, options: u16, kind: u16, payload: &[u8]) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        let is_encrypted = options & Message::ENCRYPTED != 0;
        let read = match session.channels.get_mut(&channel) {
            // It was closed meanwhile.
            None => return,
            Some(Channel::Conversation(conversation)) if kind == SEND_SAID => {
                if conversation.is_open {
                    conversation.used = now.instant;
                }
                match conversation.hear(is_encrypted, payload) {
                    Ok(None) => Ok(()),
                    Ok(Some(said)) => return self.said(now, conn, channel, said),
                    Err(error) => Err(error),
                }
            }
            Some(_) if is_encrypted => Err(crate::codec::Malformed { expected: "no encryption" }),
            Some(Channel::Awareness) => match Awareness::read(kind, payload) {
                Ok(said) => return self.watches(now, conn, channel, said),
                Err(error) => Err(error),
            },
            Some(Channel::Resolve) if kind == RESOLVE => match Question::read(payload) {
                Ok(question) => return self.resolve(conn, channel, &question),
                Err(error) => Err(error),
            },
            Some(Channel::Storage) => match Storage::read(kind, payload) {
                Ok(said) => return self.store(conn, channel, said),
                Err(error) => Err(error),
            },
            Some(_) => Ok(()),
        };
        if read.is_err() {
            send(&mut self.out, conn, &Message::destroy(channel, reason::INVALID));
            self.forget_channel(now, conn, channel);
        }
    }

    /// Ends a channel of which nothing is to be expected any more.
    pub(crate) fn forget_channel(&mut self, now: Now, conn: ConnId, channel: u32) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        match session.channels.get(&channel) {
            Some(Channel::Conversation(_)) => self.destroyed(now, conn, channel, reason::NONE),
            _ => drop(session.channels.remove(&channel)),
        }
    }

    fn set_status(&mut self, now: Now, conn: ConnId, status: UserStatus) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        // No echo: the client has taken it up by itself, and is told of by the others' eyes only.
        session.presence = translate::from_status(&status, now.wall);
        session.status = status;
        let person = session.person.clone();
        self.state_changed(now, &person);
    }

    fn set_privacy(&mut self, now: Now, conn: ConnId, mut privacy: Privacy) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        let (person, link) = (session.person.clone(), session.link.clone());
        privacy.users.truncate(limits::PRIVACY);
        if let Some(known) = self.people.get_mut(&person) {
            known.hidden = Hidden::new(&privacy, person.domain());
        }
        // The client takes up only what comes back.
        send(&mut self.out, conn, &Message::new(0, Body::Privacy(privacy.clone())));
        if let Some(known) = self.links.get_mut(&link) {
            known.memory.keep_privacy(&link, &person, privacy, &mut self.out);
        }
        self.state_changed(now, &person);
    }

    /// Somebody as a client is told of them: under the id that it knows them by.
    fn described(&mut self, conn: ConnId, who: &Address) -> LoginInfo {
        let login_id = WireString::new(&format!("{:016x}", self.random.random::<u64>()));
        let name = self.name_of(who);
        let own = session_of(&mut self.conns, conn).map(|session| {
            let domains = self.links.get(&session.link).map(|link| link.domains.as_slice()).unwrap_or_default();
            session.spelling(who, domains)
        });
        LoginInfo {
            login_id,
            login_type: LOGIN_TYPE,
            user: own.unwrap_or_else(|| ids::of_external(who)),
            name: WireString::new(&name),
            // Never filled in: an answer would go to somebody else.
            community: WireString::default(),
            more: None,
        }
    }

    /// How somebody is called.
    pub(crate) fn name_of(&self, who: &Address) -> String {
        let name = self.people.get(who).and_then(|person| person.name.as_ref());
        name.map_or_else(|| who.to_string(), |name| name.as_str().to_owned())
    }
}

impl Session {
    fn pending(
        lost: std::collections::VecDeque<crate::session::Sent>,
    ) -> std::collections::VecDeque<crate::conversation::Pending> {
        let again = |sent: crate::session::Sent| crate::conversation::Pending { tries: sent.pending.tries + 1, ..sent.pending };
        lost.into_iter().map(again).collect()
    }
}

/// The cipher of those offered: the stronger where there is one.
fn choose(create: &Create) -> Option<CipherItem> {
    let offered = |cipher| create.offer.iter().flat_map(|offer| &offer.items).find(|item| item.cipher == cipher).cloned();
    match create.mode {
        mode::RC2_40 => offered(0),
        mode::RC2_128 => offered(1),
        mode::WHATEVER | mode::ALL => offered(1).or_else(|| offered(0)),
        _ => None,
    }
}

/// The first five bytes of a login id: the key of RC2/40. One that is shorter is no client's of ours, since we give them out.
fn start(login_id: &WireString) -> [u8; 5] {
    let mut key = [0; 5];
    for (place, byte) in key.iter_mut().zip(login_id.as_bytes()) {
        *place = *byte;
    }
    key
}
