//! Who sees people here: what they are told, and when.
//!
//! The protocol asks nobody for leave: whoever asks may see, unless the privacy list says otherwise; to those it names, a person is never here. Who
//! sees is known by what the broker asks: each granted watch, whenever the hub has started.

use std::sync::Arc;

use interchange_adapter::{Now, Output};
use interchange_model::{Address, Body, DeliveryId, Envelope, LinkId, Presence, Up, Watch};

use crate::person::Person;
use crate::timers::Sleeper;
use crate::{Sametime, Submitted, limits};

impl Sametime {
    /// How somebody is, for one who sees them.
    pub(crate) fn presence_of(&self, person: &Address, viewer: &Address) -> Presence {
        let Some(known) = self.people.get(person).filter(|known| !known.hidden.from(viewer)) else {
            return Presence::default();
        };
        let devices = known.logins.iter().filter_map(|login| match &self.conns.get(login)?.state {
            crate::session::State::In(session) => session.presence.clone(),
            _ => None,
        });
        // One for the person: all that is said to them goes to all their clients.
        let all = Presence { devices: devices.collect(), ..Presence::default() };
        all.best().cloned().map(Presence::of).unwrap_or_default()
    }

    /// Somebody has come, gone, or is otherwise than before: whoever sees them is told, at most once a second.
    pub(crate) fn state_changed(&mut self, now: Now, person: &Address) {
        let Some(known) = self.people.get_mut(person) else { return };
        match known.told {
            Some(told) if now.instant < told + limits::STATUS_PACE => {
                if !std::mem::replace(&mut known.is_planned, true) {
                    self.planned.push_back((told + limits::STATUS_PACE, person.clone()));
                }
            }
            _ => self.tell_all(now, person),
        }
    }

    fn tell_all(&mut self, now: Now, person: &Address) {
        let Some(known) = self.people.get_mut(person) else { return };
        known.told = Some(now.instant);
        known.is_planned = false;
        let mut watchers: Vec<Address> = known.watchers.iter().cloned().collect();
        watchers.sort_unstable_by_key(|watcher| watcher.to_string());
        for watcher in watchers {
            self.tell_one(now, person, &watcher);
        }
    }

    fn tell_one(&mut self, now: Now, person: &Address, watcher: &Address) {
        let link = self.people.get(person).and_then(|known| self.links.get(&known.link));
        if link.is_some_and(|link| link.domains.contains(watcher.domain())) {
            return self.inform(watcher, person);
        }
        let presence = self.presence_of(person, watcher);
        if let Some(envelope) = self.envelope(now, person, watcher, Body::Presence(presence)) {
            let link = envelope.origin.clone();
            self.out.push(Output::Broker(Up::Tell { link, envelope: Arc::new(envelope) }));
        }
    }

    /// Somebody of another link asks to see somebody here.
    pub(crate) fn asked_to_be_seen(&mut self, now: Now, link: &LinkId, delivery: DeliveryId, envelope: &Arc<Envelope>) {
        let is_known = self.people.get(&envelope.to).is_some_and(|person| !person.logins.is_empty())
            || self.links.get(link).is_some_and(|link| link.memory.knows(&envelope.to));
        if is_known {
            self.answer_watch(now, link, delivery, envelope, true);
        } else {
            self.look_up_person(link, delivery, envelope);
        }
    }

    pub(crate) fn answer_watch(&mut self, now: Now, link: &LinkId, delivery: DeliveryId, envelope: &Envelope, allow: bool) {
        if allow {
            self.add_watcher(&envelope.to, &envelope.from);
        }
        let watch = if allow { Watch::Allow } else { Watch::Refuse };
        if let Some(answer) = self.envelope(now, &envelope.to, &envelope.from, Body::Watch(watch)) {
            self.submit(answer, Submitted::Settles { link: link.clone(), delivery });
        }
    }

    fn add_watcher(&mut self, person: &Address, watcher: &Address) {
        let Some(link) = self.domains.get(person.domain()).cloned() else { return };
        if self.watchers < limits::WATCHERS {
            let known = self.people.entry(person.clone()).or_insert_with(|| Person::new(link));
            self.watchers += usize::from(known.watchers.insert(watcher.clone()));
        }
    }

    /// The broker wants to know how somebody is, for one who may see them.
    pub(crate) fn fetched(&mut self, now: Now, envelope: &Envelope) {
        self.add_watcher(&envelope.to, &envelope.from);
        self.tell_one(now, &envelope.to, &envelope.from);
    }

    pub(crate) fn not_seen_any_more(&mut self, person: &Address, watcher: &Address) {
        if let Some(known) = self.people.get_mut(person) {
            self.watchers -= usize::from(known.watchers.remove(watcher));
        }
        self.tidy(person);
    }

    /// Forgets somebody of whom nothing needs to be known.
    pub(crate) fn tidy(&mut self, person: &Address) {
        if self.people.get(person).is_some_and(Person::is_idle) {
            self.people.remove(person);
        }
    }

    pub(crate) fn wake_presence(&mut self, now: Now) {
        while let Some((at, _)) = self.planned.front()
            && *at <= now.instant
        {
            let Some((_, person)) = self.planned.pop_front() else { break };
            if self.people.get(&person).is_some_and(|known| known.is_planned) {
                self.tell_all(now, &person);
            }
        }
        self.fetch_some(now);
    }

    pub(crate) fn arm_presence(&mut self, now: Now) {
        let told = self.planned.front().map(|(at, _)| *at);
        let next = self.fetched.map_or(now.instant, |at| at + limits::FETCH_PACE);
        let fetched = (!self.fetches.is_empty()).then_some(next);
        let at = told.into_iter().chain(fetched).min();
        self.timers.set(&mut self.presence_alarm, Sleeper::Presence, at);
    }
}
