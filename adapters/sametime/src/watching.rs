//! Whom people here see: their contact lists, and what they are told.
//!
//! A client names its contacts anew at each sign-on. Those of other links are asked for their state as if the watch were there, which it mostly is;
//! where the broker knows of none, it answers with a refusal, and the contact is asked. So a sign-on stores nothing for contacts that are old ones.

use std::collections::HashMap;

use interchange_adapter::{ConnId, Now, Output};
use interchange_model::{Address, Body, Envelope, Presence, Refusal, Up, Watch};

use crate::codec::{AwareId, Awareness, Body as Words, Message, Online, Record, UserStatus};
use crate::person::{Person, Stage};
use crate::{Sametime, Submitted, ids, limits, send, session_of, translate};
use std::sync::Arc;

impl Sametime {
    pub(crate) fn watches(&mut self, now: Now, conn: ConnId, channel: u32, said: Awareness) {
        match said {
            Awareness::Add(added) => {
                let records: Vec<Record> = added.into_iter().map(|id| self.add_contact(conn, id)).collect();
                // At sign-on, clients add nobody.
                if records.is_empty() {
                    return;
                }
                let (kind, payload) = Awareness::Snapshot(records).write();
                send(&mut self.out, conn, &Message::new(channel, Words::Send { kind, payload }));
                self.wake_presence(now);
            }
            Awareness::Remove(removed) => {
                for id in removed {
                    self.remove_contact(now, conn, &id);
                }
            }
            // Attributes concern sound, pictures and files, which do not pass the hub.
            _ => {}
        }
    }

    /// Somebody is to be seen. What is known of them.
    fn add_contact(&mut self, conn: ConnId, id: AwareId) -> Record {
        let unseen = |id| Record::new(id, None);
        let Some(session) = session_of(&mut self.conns, conn) else { return unseen(id) };
        let person = session.person.clone();
        let contact = match ids::to_address(&id.user, person.domain()) {
            Some(contact) if id.kind == AwareId::USER => contact,
            // Groups of a directory, servers.
            _ => return unseen(id),
        };
        let entries = session.contacts.get(&contact);
        if !entries.is_some_and(|entries| entries.contains(&id)) {
            if session.contact_count >= limits::CONTACTS {
                return unseen(id);
            }
            session.contact_count += 1;
            session.contacts.entry(contact.clone()).or_default().push(id.clone());
            self.begin(&person, &contact);
        }
        self.record(&person, &contact, id)
    }

    /// One more entry of a login for a contact.
    fn begin(&mut self, person: &Address, contact: &Address) {
        let Some(known) = self.people.get_mut(person) else { return };
        let entry = known.contacts.entry(contact.clone()).or_default();
        entry.entries += 1;
        if entry.entries > 1 {
            return;
        }
        let link = known.link.clone();
        if self.links.get(&link).is_some_and(|link| link.domains.contains(contact.domain())) {
            if contact != person && self.watchers < limits::WATCHERS {
                let colleague = self.people.entry(contact.clone()).or_insert_with(|| Person::new(link));
                self.watchers += usize::from(colleague.watchers.insert(person.clone()));
            }
        } else {
            self.plan_fetch(person, contact);
        }
    }

    /// Somebody of another link is to be asked for, in its turn.
    fn plan_fetch(&mut self, person: &Address, contact: &Address) {
        if !self.hosted.contains(contact.domain()) || self.fetches.len() >= limits::PLANNED {
            return;
        }
        let entry = self.people.get_mut(person).and_then(|known| known.contacts.get_mut(contact));
        if let Some(entry) = entry.filter(|entry| entry.stage == Stage::Idle) {
            entry.stage = Stage::Planned;
            self.fetches.push_back((person.clone(), contact.clone()));
        }
    }

    /// The hub reaches more people than before.
    pub(crate) fn plan_new_contacts(&mut self) {
        let mut idle = Vec::new();
        for (person, known) in &self.people {
            let own = self.links.get(&known.link).map(|link| link.domains.as_slice()).unwrap_or_default();
            let contacts = known.contacts.iter().filter(|(contact, entry)| {
                entry.stage == Stage::Idle && self.hosted.contains(contact.domain()) && !own.contains(contact.domain())
            });
            idle.extend(contacts.map(|(contact, _)| (person.clone(), contact.clone())));
        }
        idle.sort_unstable_by_key(|(person, contact)| (person.to_string(), contact.to_string()));
        for (person, contact) in idle {
            self.plan_fetch(&person, &contact);
        }
    }

    /// Asks for the states whose turn it is.
    pub(crate) fn fetch_some(&mut self, now: Now) {
        if self.fetches.is_empty() || self.fetched.is_some_and(|at| now.instant < at + limits::FETCH_PACE) {
            return;
        }
        self.fetched = Some(now.instant);
        let mut left = limits::FETCHES;
        while left > 0
            && let Some((person, contact)) = self.fetches.pop_front()
        {
            let entry = self.people.get_mut(&person).and_then(|known| known.contacts.get_mut(&contact));
            if let Some(entry) = entry.filter(|entry| entry.stage == Stage::Planned) {
                entry.stage = Stage::Fetching;
                left -= 1;
                if let Some(envelope) = self.envelope(now, &person, &contact, Body::Watch(Watch::Fetch)) {
                    let link = envelope.origin.clone();
                    self.out.push(Output::Broker(Up::Tell { link, envelope: Arc::new(envelope) }));
                }
            }
        }
    }

    /// The broker has taken a question to a contact, or knows that it was refused.
    pub(crate) fn asked(&mut self, person: &Address, contact: &Address, result: Result<(), Refusal>) {
        let entry = self.people.get_mut(person).and_then(|known| known.contacts.get_mut(contact));
        if let (Some(entry), Err(_)) = (entry, result) {
            entry.stage = Stage::Refused;
        }
    }

    /// A contact, or the broker for it, says something of a watch.
    pub(crate) fn heard_of_watch(&mut self, now: Now, watch: Watch, envelope: &Envelope) {
        if watch.is_from_watcher() {
            return self.not_seen_any_more(&envelope.to, &envelope.from);
        }
        let (person, contact) = (&envelope.to, &envelope.from);
        let Some(entry) = self.people.get_mut(person).and_then(|known| known.contacts.get_mut(contact)) else { return };
        match (watch, entry.stage) {
            (Watch::Allow, _) => entry.stage = Stage::Granted,
            // There was no watch.
            (Watch::Refuse, Stage::Fetching) => {
                entry.stage = Stage::Asked;
                let (person, contact) = (person.clone(), contact.clone());
                if let Some(ask) = self.envelope(now, &person, &contact, Body::Watch(Watch::Ask)) {
                    self.submit(ask, Submitted::Ask { person, contact });
                }
            }
            _ => {
                entry.stage = Stage::Refused;
                if entry.known.take().is_some() {
                    self.inform(person, contact);
                }
            }
        }
    }

    /// The broker tells how a contact is.
    pub(crate) fn sees(&mut self, person: &Address, contact: &Address, presence: &Presence) {
        let Some(entry) = self.people.get_mut(person).and_then(|known| known.contacts.get_mut(contact)) else { return };
        entry.stage = Stage::Granted;
        // Only the best is shown, and only that is kept: a contact list of two thousand is some hundred kilobytes.
        let best = presence.best().cloned().map(|best| interchange_model::DevicePresence { native: None, ..best });
        let shown = Presence { devices: best.into_iter().collect(), is_unknown: presence.is_unknown, gone: Vec::new() };
        if entry.known.as_ref() != Some(&shown) {
            entry.known = Some(shown);
            self.inform(person, contact);
        }
    }

    /// Tells each client of somebody how a contact is, under the ids that the client has for it.
    pub(crate) fn inform(&mut self, person: &Address, contact: &Address) {
        let logins = self.people.get(person).map(|known| known.logins.clone()).unwrap_or_default();
        for login in logins {
            let Some(session) = session_of(&mut self.conns, login) else { continue };
            let Some(channel) = session.awareness() else { continue };
            let ids = session.contacts.get(contact).cloned().unwrap_or_default();
            for id in ids {
                let (kind, payload) = Awareness::Update(self.record(person, contact, id)).write();
                send(&mut self.out, login, &Message::new(channel, Words::Send { kind, payload }));
            }
        }
    }

    /// What somebody is told of a contact, under the id that was asked for, byte for byte.
    fn record(&self, person: &Address, contact: &Address, id: AwareId) -> Record {
        let online = self.status_seen(person, contact).map(|status| Online {
            alternative: id.user.clone(),
            status,
            name: self.name_of(contact).as_str().into(),
        });
        Record::new(id, online)
    }

    fn status_seen(&self, person: &Address, contact: &Address) -> Option<UserStatus> {
        let known = self.people.get(person)?;
        let link = self.links.get(&known.link)?;
        if link.domains.contains(contact.domain()) {
            return self.status_of_colleague(link, person, contact);
        }
        let presence = known.contacts.get(contact)?.known.as_ref()?;
        translate::to_status(presence, link.settings.busy)
    }

    fn status_of_colleague(&self, link: &crate::link::Link, person: &Address, colleague: &Address) -> Option<UserStatus> {
        if !link.settings.colleagues && person != colleague {
            return None;
        }
        translate::to_status(&self.presence_of(colleague, person), link.settings.busy)
    }

    /// How somebody is, for the one who opens a conversation with them; active where that is not known, since nobody reads it.
    pub(crate) fn presence_seen(&self, person: &Address, contact: &Address) -> UserStatus {
        let active = UserStatus { status: UserStatus::ACTIVE, ..UserStatus::default() };
        self.status_seen(person, contact).unwrap_or(active)
    }

    /// A client wants to see somebody no more. When none of its user's does, the watch ends.
    fn remove_contact(&mut self, now: Now, conn: ConnId, id: &AwareId) {
        let Some(session) = session_of(&mut self.conns, conn) else { return };
        let person = session.person.clone();
        let Some(contact) = ids::to_address(&id.user, person.domain()) else { return };
        let Some(entries) = session.contacts.get_mut(&contact) else { return };
        let Some(place) = entries.iter().position(|known| known == id) else { return };
        entries.remove(place);
        if entries.is_empty() {
            session.contacts.remove(&contact);
        }
        session.contact_count -= 1;
        let stage = self.people.get(&person).and_then(|known| known.contacts.get(&contact)).map(|entry| entry.stage);
        let was_asked = !matches!(stage, None | Some(Stage::Idle | Stage::Planned));
        if self.end_entries(&person, &contact, 1)
            && was_asked
            && let Some(stop) = self.envelope(now, &person, &contact, Body::Watch(Watch::Stop))
        {
            self.submit(stop, Submitted::Other);
        }
    }

    /// So many entries for a contact are no more; whether there is none left.
    fn end_entries(&mut self, person: &Address, contact: &Address, entries: usize) -> bool {
        let Some(known) = self.people.get_mut(person) else { return false };
        let Some(entry) = known.contacts.get_mut(contact) else { return false };
        entry.entries = entry.entries.saturating_sub(entries);
        if entry.entries > 0 {
            return false;
        }
        known.contacts.remove(contact);
        let link = known.link.clone();
        if self.links.get(&link).is_some_and(|link| link.domains.contains(contact.domain())) {
            self.not_seen_any_more(contact, person);
        }
        true
    }

    /// A login is gone: its contacts are seen no more there. The watches stay.
    pub(crate) fn forget_contacts(&mut self, person: &Address, contacts: HashMap<Address, Vec<AwareId>>) {
        for (contact, ids) in contacts {
            self.end_entries(person, &contact, ids.len());
        }
    }
}
