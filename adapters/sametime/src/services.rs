//! The server's services: who is meant by a name, and what clients keep here.

use std::sync::Arc;

use interchange_adapter::{Account, ConnId, Now, Output, SignInError};
use interchange_model::{Address, DeliveryId, Domain, Envelope, LinkId, Outcome, Refusal};

use crate::codec::{Answer, Body as Words, Item, Match, Message, Question, RESOLVE, Reply, Storage, WireString};
use crate::{Sametime, ids, limits, reason, send, session_of};

/// What the directory was asked for.
pub(crate) enum LookUp {
    /// The first name of a question that has no answer yet.
    Names(Box<Asking>),
    /// Whether somebody exists whom a delivery is for.
    Person { link: LinkId, delivery: DeliveryId, envelope: Arc<Envelope> },
}

/// A client's question that is being answered.
pub(crate) struct Asking {
    conn: ConnId,
    channel: u32,
    id: u32,
    flags: u32,
    names: std::vec::IntoIter<WireString>,
    /// The one that the directory was asked for.
    current: WireString,
    results: Vec<Answer>,
}

impl Sametime {
    pub(crate) fn resolve(&mut self, conn: ConnId, channel: u32, question: &Question) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        if session.questions.len() >= limits::QUESTIONS {
            let reply = Reply { zero: 0, id: question.id, code: reason::STARVING, results: Vec::new() };
            let payload = reply.write();
            return send(&mut self.out, conn, &Message::new(channel, Words::Send { kind: RESOLVE, payload }));
        }
        let names: Vec<WireString> = question.names.iter().take(limits::NAMES).cloned().collect();
        let asking = Asking {
            conn,
            channel,
            id: question.id,
            flags: question.flags,
            names: names.into_iter(),
            current: WireString::default(),
            results: Vec::new(),
        };
        self.resolve_next(asking);
    }

    /// Answers names until the directory must be asked, or all are.
    fn resolve_next(&mut self, mut asking: Asking) {
        let conn = asking.conn;
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        let (link, own) = (session.link.clone(), session.person.domain().clone());
        while let Some(name) = asking.names.next() {
            let answer = match self.meant(&link, &own, &name) {
                Ok(matches) => answer(name, matches),
                Err(user) => {
                    let query = self.number();
                    asking.current = name;
                    self.lookups.insert(query, LookUp::Names(Box::new(asking)));
                    if let Some(session) = session_of(&mut self.conns, conn) {
                        session.questions.insert(query);
                    }
                    return self.out.push(Output::LookUp { conn, query, link, name: user });
                }
            };
            asking.results.push(answer);
        }
        let reply = Reply { zero: 0, id: asking.id, code: 0, results: asking.results };
        let message = Message::new(asking.channel, Words::Send { kind: RESOLVE, payload: reply.write() });
        send(&mut self.out, conn, &message);
    }

    /// Who is meant by a name, as far as that is known without the directory; else what it is to be asked for.
    fn meant(&self, link: &LinkId, own: &Domain, name: &WireString) -> Result<Vec<Match>, String> {
        let text = name.to_text();
        let domains = self.links.get(link).map(|link| link.domains.as_slice()).unwrap_or_default();
        let user = match ids::to_address(name, own) {
            // Partners are found by their addresses.
            Some(address) if !domains.contains(address.domain()) => {
                let matched = Match { user: name.clone(), name: name.clone(), description: WireString::default(), kind: 1 };
                return Ok(if self.hosted.contains(address.domain()) { vec![matched] } else { Vec::new() });
            }
            Some(address) => address.user().to_owned(),
            None => text.trim().to_owned(),
        };
        if user.is_empty() || user.len() > limits::NAME {
            return Ok(Vec::new());
        }
        Err(user)
    }

    /// Whether there is somebody whom a delivery is for.
    pub(crate) fn look_up_person(&mut self, link: &LinkId, delivery: DeliveryId, envelope: &Arc<Envelope>) {
        let name = envelope.to.user().to_owned();
        if name.len() > limits::NAME {
            return self.nobody(None, link, delivery, envelope);
        }
        let query = self.number();
        let look_up = LookUp::Person { link: link.clone(), delivery, envelope: envelope.clone() };
        self.lookups.insert(query, look_up);
        // No connection asks.
        self.out.push(Output::LookUp { conn: ConnId::dialled(0), query, link: link.clone(), name });
    }

    fn nobody(&mut self, now: Option<Now>, link: &LinkId, delivery: DeliveryId, envelope: &Envelope) {
        match (&envelope.body, now) {
            (interchange_model::Body::Watch(_), Some(now)) => self.answer_watch(now, link, delivery, envelope, false),
            _ => self.settle(link.clone(), delivery, Outcome::Refused(Refusal::NoSuchUser)),
        }
    }

    pub(crate) fn found(&mut self, now: Now, query: u64, result: Result<Vec<Account>, SignInError>) {
        match self.lookups.remove(&query) {
            Some(LookUp::Names(asking)) => {
                if let Some(session) = session_of(&mut self.conns, asking.conn) {
                    session.questions.remove(&query);
                }
                self.names_found(*asking, result.unwrap_or_default());
            }
            Some(LookUp::Person { link, delivery, envelope }) => {
                let is_them = |account: &Account| {
                    Address::new(&account.user, envelope.to.domain().clone()).is_ok_and(|address| address == envelope.to)
                };
                match result {
                    Err(_) => self.settle(link, delivery, Outcome::Refused(Refusal::TimedOut)),
                    Ok(accounts) if !accounts.iter().any(is_them) => self.nobody(Some(now), &link, delivery, &envelope),
                    Ok(_) if matches!(envelope.body, interchange_model::Body::Watch(_)) => {
                        self.answer_watch(now, &link, delivery, &envelope, true);
                    }
                    // They may have signed in while the directory was asked.
                    Ok(_) if self.people.get(&envelope.to).is_some_and(|person| !person.logins.is_empty()) => {
                        self.deliver(now, &link, delivery, &envelope);
                    }
                    Ok(_) => self.settle_absent(&link, delivery),
                }
            }
            None => {}
        }
    }

    fn names_found(&mut self, mut asking: Asking, accounts: Vec<Account>) {
        let Some(session) = session_of(&mut self.conns, asking.conn) else { return };
        let domain = session.person.domain().clone();
        let domains = self.links.get(&session.link).map(|link| link.domains.clone()).unwrap_or_default();
        let name = std::mem::take(&mut asking.current);
        let typed = ids::to_address(&name, &domain);
        let domain = typed.as_ref().map_or(domain, |typed| typed.domain().clone());
        let mut matches = Vec::new();
        for account in accounts {
            let Ok(address) = Address::new(&account.user, domain.clone()) else { continue };
            let shown = account.display_name.as_ref().map_or(address.user(), |name| name.as_str());
            let matched =
                Match { user: ids::of_own(&address, &domains), name: shown.into(), description: WireString::default(), kind: 1 };
            // Who has typed somebody's own name means them.
            if typed.as_ref() == Some(&address) {
                matches = vec![matched];
                break;
            }
            matches.push(matched);
        }
        if asking.flags & Question::FIRST != 0 {
            matches.truncate(1);
        }
        asking.results.push(answer(name, matches));
        self.resolve_next(asking);
    }

    pub(crate) fn store(&mut self, conn: ConnId, channel: u32, said: Storage) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        let Some(link) = self.links.get_mut(&session.link) else { return };
        let person = &session.person;
        let answer = match said {
            Storage::Load { id, keys } => {
                let mut items = Vec::new();
                let mut room = limits::FRAME_AFTER;
                for key in keys {
                    // A question of a thousand times the same key is not answered by a thousand times its value.
                    if let Some(value) = link.memory.value(person, key)
                        && room >= value.len()
                    {
                        room -= value.len();
                        items.push(Item::new(key, value.clone()));
                    }
                }
                Storage::Loaded { id, result: 0, items }
            }
            Storage::Save { id, items } => {
                let mut result = 0;
                for item in items {
                    if !link.memory.keep(&session.link, person, item.key, item.data, &mut self.out) {
                        result = reason::TOO_LARGE;
                    }
                }
                Storage::Saved { id, result }
            }
            Storage::Loaded { .. } | Storage::Saved { .. } | Storage::Unknown { .. } => return,
        };
        let (kind, payload) = answer.write();
        send(&mut self.out, conn, &Message::new(channel, Words::Send { kind, payload }));
    }
}

fn answer(name: WireString, matches: Vec<Match>) -> Answer {
    let code = match matches.len() {
        0 => Answer::NOBODY,
        1 => Answer::FOUND,
        _ => Answer::SEVERAL,
    };
    Answer { unknown: 0, code, name, matches }
}
