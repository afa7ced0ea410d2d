//! What others say to somebody here: to each of their clients, and what shows that one of them has it.
//!
//! The protocol acknowledges nothing. So behind what was said, a client is asked something that it must answer, and clients do one thing after
//! another: a channel is opened to it with a type of conversation that no client has, which the library refuses by itself without a sign on the
//! screen. When it has, what was said before is settled. One question is under way at a time, for all that was said since the last.

use std::collections::VecDeque;
use std::sync::Arc;

use interchange_adapter::{ConnId, Now};
use interchange_model::{
    Address, Body, DeliveryId, Envelope, LinkId, Outcome, Receipt, ReceiptKind, Refusal, TypingState, Watch,
};
use rand::RngExt;

use crate::codec::{Body as Words, ClientType, Create, LoginInfo, Message, WireString, mode, service};
use crate::conversation::Pending;
use crate::session::{Probe, Sent};
use crate::settings::Offline;
use crate::{Sametime, Submitted, limits, send, session_of, translate};

/// A type of conversation that no client has.
const NO_CLIENT: ClientType = ClientType(2);

/// A delivery that clients are told of.
pub(crate) struct Delivering {
    pub(crate) link: LinkId,
    pub(crate) delivery: DeliveryId,
    envelope: Arc<Envelope>,
    /// Logins of which it is not known whether they have it.
    open: usize,
    /// Why one of them does not.
    why: Option<Refusal>,
}

impl Sametime {
    pub(crate) fn deliver(&mut self, now: Now, link: &LinkId, delivery: DeliveryId, envelope: &Arc<Envelope>) {
        if self.stopped || self.links.get(link).is_none_or(|link| !link.domains.contains(envelope.to.domain())) {
            return self.settle(link.clone(), delivery, Outcome::LinkDown);
        }
        match &envelope.body {
            Body::Text(_) => self.deliver_text(now, link, delivery, envelope),
            Body::Failure(_) => {
                if !self.hand_out(now, link, delivery, envelope) {
                    // Somebody who wrote and left learns it when they are back.
                    self.settle(link.clone(), delivery, Outcome::Absent);
                }
            }
            Body::Watch(Watch::Ask) => self.asked_to_be_seen(now, link, delivery, envelope),
            Body::Watch(watch) => {
                self.heard_of_watch(now, *watch, envelope);
                self.settle(link.clone(), delivery, Outcome::Delivered);
            }
            // Nothing of the protocol shows a receipt.
            Body::Receipt(_) => self.settle(link.clone(), delivery, Outcome::Delivered),
            Body::Typing(_) | Body::Presence(_) => {
                self.settle(link.clone(), delivery, Outcome::Refused(Refusal::Unsupported));
            }
        }
    }

    fn deliver_text(&mut self, now: Now, link: &LinkId, delivery: DeliveryId, envelope: &Arc<Envelope>) {
        // To whom they do not show themselves, they are not here.
        if self.people.get(&envelope.to).is_some_and(|person| !person.logins.is_empty() && person.hidden.from(&envelope.from)) {
            return self.settle(link.clone(), delivery, Outcome::Refused(Refusal::Unavailable));
        }
        if !self.hand_out(now, link, delivery, envelope) {
            self.absent(now, link, delivery, envelope);
        }
    }

    /// Says it to each login of the recipient; whether there are any.
    fn hand_out(&mut self, now: Now, link: &LinkId, delivery: DeliveryId, envelope: &Arc<Envelope>) -> bool {
        let mut logins = self.people.get(&envelope.to).map(|person| person.logins.clone()).unwrap_or_default();
        if matches!(envelope.body, Body::Failure(_)) {
            // Where it was written, as far as that is known.
            let writes = |conn: &ConnId| {
                session_of(&mut self.conns, *conn).is_some_and(|session| session.conversations.contains_key(&envelope.from))
            };
            let there: Vec<ConnId> = logins.iter().copied().filter(writes).collect();
            if !there.is_empty() {
                logins = there;
            }
        }
        if logins.is_empty() {
            return false;
        }
        let number = self.number();
        let delivering = Delivering { link: link.clone(), delivery, envelope: envelope.clone(), open: logins.len(), why: None };
        self.deliveries.insert(number, delivering);
        for login in logins {
            let pending = Pending::new(envelope.clone(), Some(number));
            if matches!(envelope.body, Body::Failure(_)) {
                self.tell_failure(now, login, pending);
            } else {
                self.speak(now, login, &envelope.from, pending);
            }
        }
        true
    }

    /// A text for somebody who is not signed in.
    fn absent(&mut self, now: Now, link: &LinkId, delivery: DeliveryId, envelope: &Arc<Envelope>) {
        let Some(known) = self.links.get(link) else { return };
        // What was on its way when the hub stopped comes again at once, before anybody can be back: that is no reason to refuse it. The broker asks again
        // when they are, and after a pause that is longer than this.
        let just_started = self.started.is_some_and(|started| now.instant < started + limits::RETURN);
        if just_started && known.memory.may_return(&envelope.to) {
            return self.settle(link.clone(), delivery, Outcome::Absent);
        }
        if known.memory.knows(&envelope.to) {
            return self.settle_absent(link, delivery);
        }
        // Whether there is such a person, the directory knows.
        self.look_up_person(link, delivery, envelope);
    }

    /// Somebody exists and is not here.
    pub(crate) fn settle_absent(&mut self, link: &LinkId, delivery: DeliveryId) {
        let outcome = match self.links.get(link).map(|link| link.settings.offline) {
            Some(Offline::Hold) => Outcome::Absent,
            Some(Offline::Refuse) => Outcome::Refused(Refusal::Unavailable),
            // The link is no more.
            None => Outcome::LinkDown,
        };
        self.settle(link.clone(), delivery, outcome);
    }

    /// Says something to a client, in the conversation with `from`, which is opened if it is not.
    pub(crate) fn speak(&mut self, now: Now, conn: ConnId, from: &Address, pending: Pending) {
        self.touched.insert(conn);
        let channel = session_of(&mut self.conns, conn).and_then(|session| session.conversations.get(from).copied());
        let channel = channel.or_else(|| self.call(now, conn, from, ClientType::RICH));
        let conversation =
            channel.and_then(|channel| session_of(&mut self.conns, conn).and_then(|session| session.conversation(channel)));
        let (Some(channel), Some(conversation)) = (channel, conversation) else {
            return self.cannot(&pending, None);
        };
        if conversation.is_open {
            return self.say(now, conn, channel, pending);
        }
        if conversation.waiting.len() >= limits::WAITING {
            return self.cannot(&pending, Some(Refusal::Overloaded));
        }
        conversation.waiting.push_back(pending);
    }

    fn cannot(&mut self, pending: &Pending, why: Option<Refusal>) {
        if let Some(delivery) = pending.delivery {
            self.not_delivered(delivery, why);
        }
    }

    /// Says something on an open channel.
    pub(crate) fn say(&mut self, now: Now, conn: ConnId, channel: u32, pending: Pending) {
        let Some(session) = session_of(&mut self.conns, conn) else { return self.cannot(&pending, None) };
        let probes = self.links.get(&session.link).is_some_and(|link| link.settings.probe);
        let Some(conversation) = session.conversation(channel) else { return self.cannot(&pending, None) };
        let envelope = &pending.envelope;
        let said = match &envelope.body {
            Body::Text(text) => translate::to_said(text, conversation.client, envelope.accepted, now.wall),
            Body::Failure(failure) => translate::to_said(&translate::notice(failure), ClientType::PLAIN, now.wall, now.wall),
            _ => Vec::new(),
        };
        conversation.used = now.instant;
        for said in said {
            let message = conversation.say(channel, &said);
            send(&mut self.out, conn, &message);
        }
        self.touched.insert(conn);
        if pending.delivery.is_some() && probes {
            session.last_sent += 1;
            session.sent.push_back(Sent { number: session.last_sent, channel, pending });
        } else if let Some(delivery) = pending.delivery {
            self.delivered(now, delivery);
        }
    }

    /// Asks a client, if there is something to be asked about and no question under way.
    pub(crate) fn probe(&mut self, now: Now, conn: ConnId) {
        let unsure = session_of(&mut self.conns, conn).is_some_and(|session| !session.sent.is_empty());
        if unsure {
            self.send_probe(now, conn);
        }
    }

    pub(crate) fn send_probe(&mut self, now: Now, conn: ConnId) {
        let login_id = WireString::new(&format!("{:016x}", self.random.random::<u64>()));
        let Some(session) = session_of(&mut self.conns, conn).filter(|session| session.probe.is_none()) else { return };
        let channel = session.next_channel();
        session.probe = Some(Probe { channel, upto: session.last_sent, since: now.instant });
        let creator = LoginInfo {
            login_id,
            login_type: session.login_type,
            user: WireString::new(self.hub.as_str()),
            name: WireString::new(self.hub.as_str()),
            ..LoginInfo::default()
        };
        let create = Create {
            id: channel,
            service: service::MESSAGES,
            protocol: service::MESSAGES,
            version: 3,
            data: NO_CLIENT.to_create(),
            creator: Some(creator),
            mode: mode::NONE,
            ..Create::default()
        };
        send(&mut self.out, conn, &Message::new(0, Words::Create(create)));
    }

    /// A client has answered.
    pub(crate) fn probed(&mut self, now: Now, conn: ConnId) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        let Some(probe) = session.probe.take() else { return };
        let (has, unsure): (VecDeque<Sent>, _) =
            std::mem::take(&mut session.sent).into_iter().partition(|sent| sent.number <= probe.upto);
        session.sent = unsure;
        for sent in has {
            if let Some(delivery) = sent.pending.delivery {
                self.delivered(now, delivery);
            }
        }
    }

    /// One of the recipient's clients has it.
    fn delivered(&mut self, now: Now, number: u64) {
        let Some(delivering) = self.deliveries.remove(&number) else { return };
        self.settle(delivering.link, delivering.delivery, Outcome::Delivered);
        let envelope = delivering.envelope;
        let Body::Text(text) = &envelope.body else { return };
        if text.wants.delivered {
            let receipt = Receipt { of: Some(envelope.id), native_id: envelope.native_id.clone(), what: ReceiptKind::Delivered };
            if let Some(receipt) = self.envelope(now, &envelope.to, &envelope.from, Body::Receipt(receipt)) {
                let receipt = Envelope { to_device: envelope.from_device.clone(), ..receipt };
                self.submit(receipt, Submitted::Other);
            }
        }
    }

    /// One of the recipient's clients will not have it; `None`: it is gone.
    pub(crate) fn not_delivered(&mut self, number: u64, why: Option<Refusal>) {
        let Some(delivering) = self.deliveries.get_mut(&number) else { return };
        delivering.open = delivering.open.saturating_sub(1);
        delivering.why = why.or(delivering.why);
        if delivering.open > 0 {
            return;
        }
        let Some(Delivering { link, delivery, envelope, why, .. }) = self.deliveries.remove(&number) else { return };
        match why {
            Some(why) => self.settle(link, delivery, Outcome::Refused(why)),
            None if matches!(envelope.body, Body::Failure(_)) => self.settle(link, delivery, Outcome::Absent),
            None => self.settle_absent(&link, delivery),
        }
    }

    /// The broker tells something that is not settled.
    pub(crate) fn told(&mut self, now: Now, envelope: &Envelope) {
        match &envelope.body {
            Body::Presence(presence) => self.sees(&envelope.to, &envelope.from, presence),
            Body::Typing(typing) => {
                self.show_typing(&envelope.from, &envelope.to, typing.state == TypingState::Composing);
            }
            Body::Watch(Watch::Fetch) => self.fetched(now, envelope),
            _ => {}
        }
    }
}
