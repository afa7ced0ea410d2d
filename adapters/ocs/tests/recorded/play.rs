//! One recording, said to a hub again.

use std::collections::BTreeMap;

use interchange_adapter::ConnId;
use interchange_model::{Body, Text};

use crate::common::transcript::{self, Recorded, tag};
use crate::common::{Hub, Wire, words};

/// What has become of a recorded message in a play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was said as recorded, by the edge to the hub or by the hub to the edge.
    Same,
    /// The hub does otherwise, on purpose.
    Otherwise(&'static str),
    /// It does not cross the edge between the two companies, or follows from what the hub does otherwise.
    NotOurs(&'static str),
}

pub(crate) struct Play {
    name: &'static str,
    all: Vec<Recorded>,
    pub(crate) hub: Hub,
    /// The hub's connection to the edge, and the edge's to the hub.
    pub(crate) own: ConnId,
    pub(crate) edge: ConnId,
    /// What differs from one run to another: recorded, and now.
    values: Vec<(String, String)>,
    fates: BTreeMap<u32, Fate>,
}

impl Play {
    pub(crate) fn new(name: &'static str, json: &str) -> Self {
        let (hub, own, edge) = Hub::up(json);
        Self { name, all: transcript::read(name), hub, own, edge, values: Vec::new(), fates: BTreeMap::new() }
    }

    /// Goes on with another hub, which knows nothing of what was said; the hub so far.
    pub(crate) fn other_hub(&mut self, json: &str) -> (Hub, ConnId, ConnId) {
        let (hub, own, edge) = Hub::up(json);
        (std::mem::replace(&mut self.hub, hub), std::mem::replace(&mut self.own, own), std::mem::replace(&mut self.edge, edge))
    }

    /// Goes back to it.
    pub(crate) fn back(&mut self, (hub, own, edge): (Hub, ConnId, ConnId)) -> (Hub, ConnId, ConnId) {
        (std::mem::replace(&mut self.hub, hub), std::mem::replace(&mut self.own, own), std::mem::replace(&mut self.edge, edge))
    }

    pub(crate) fn recorded(&self, number: u32) -> Recorded {
        self.all[usize::try_from(number).unwrap() - 1].clone()
    }

    #[track_caller]
    fn note(&mut self, number: u32, fate: Fate) {
        assert_eq!(self.fates.insert(number, fate), None, "{number} comes twice");
    }

    /// The hub does otherwise than these.
    #[track_caller]
    pub(crate) fn otherwise(&mut self, numbers: impl IntoIterator<Item = u32>, why: &'static str) {
        numbers.into_iter().for_each(|number| self.note(number, Fate::Otherwise(why)));
    }

    /// These are not for the hub to say, or to answer.
    #[track_caller]
    pub(crate) fn not_ours(&mut self, numbers: impl IntoIterator<Item = u32>, why: &'static str) {
        numbers.into_iter().for_each(|number| self.note(number, Fate::NotOurs(why)));
    }

    /// All that neither goes to the hub's side nor comes from it.
    pub(crate) fn not_ours_without(&mut self, end: &str, why: &'static str) {
        let inside: Vec<u32> = self.all.iter().filter(|one| one.from != end && one.to != end).map(|one| one.number).collect();
        self.not_ours(inside, why);
    }

    /// Every message of the recording has been accounted for.
    pub(crate) fn account(&self, same: usize) {
        let missing: Vec<u32> = self.all.iter().map(|one| one.number).filter(|number| !self.fates.contains_key(number)).collect();
        assert!(missing.is_empty() && self.fates.len() == self.all.len(), "{}: nothing is said of {missing:?}", self.name);
        let said = self.fates.values().filter(|fate| **fate == Fate::Same).count();
        assert_eq!(said, same, "{}: so many are said as recorded", self.name);
    }

    fn now(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
    }

    fn is_now(&mut self, old: &str, new: &str) {
        if old != new {
            // A Call-ID that is used again stands for what it stands for last.
            self.values.retain(|(known, _)| known != old);
            self.values.push((old.to_owned(), new.to_owned()));
        }
    }

    /// The edge says a recorded request.
    #[track_caller]
    pub(crate) fn asks(&mut self, number: u32) {
        let recorded = self.recorded(number);
        assert!(recorded.is_request());
        self.note(number, Fate::Same);
        let text = self.now(&String::from_utf8(recorded.bytes()).unwrap());
        self.hub.receive(self.edge, text);
    }

    /// What the hub answers to a recorded request.
    #[track_caller]
    fn answer(&mut self, request: u32, number: u32) -> Wire {
        let (request, recorded) = (self.recorded(request), self.recorded(number));
        let answer = self.hub.one(self.edge);
        // What a server must give back as it came.
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            let sent: Vec<String> = request.all(name).iter().map(|value| self.now(value)).collect();
            assert_eq!(answer.all(name), sent, "{number} {name}");
        }
        if let (Some(old), Some(new)) = (tag(recorded.header("To")), tag(answer.header("To"))) {
            self.is_now(old, new);
        }
        answer
    }

    /// The hub answers a request as recorded.
    #[track_caller]
    pub(crate) fn answers(&mut self, request: u32, number: u32) -> Wire {
        let answer = self.answer(request, number);
        let recorded = self.recorded(number);
        assert_eq!(answer.status(), recorded.status(), "{number}: {answer:?}");
        for name in ["Event", "Supported"] {
            if !recorded.all(name).is_empty() && recorded.all(name) != ["ms-piggyback-first-notify"] {
                assert_eq!(answer.all(name), recorded.all(name), "{number} {name}");
            }
        }
        if recorded.header("Expires") == "0" {
            assert_eq!(answer.header("Expires"), "0", "{number}");
        }
        self.note(number, Fate::Same);
        answer
    }

    /// The hub answers a request otherwise.
    #[track_caller]
    pub(crate) fn answers_otherwise(&mut self, request: u32, number: u32, status: u16, why: &'static str) -> Wire {
        let answer = self.answer(request, number);
        assert_eq!(answer.status(), status, "{number}: {answer:?}");
        assert_ne!(answer.status(), self.recorded(number).status(), "{number} is as recorded");
        self.note(number, Fate::Otherwise(why));
        answer
    }

    /// A request that is answered as recorded.
    #[track_caller]
    pub(crate) fn asks_and_answers(&mut self, request: u32, answer: u32) {
        self.asks(request);
        self.answers(request, answer);
    }

    /// An ACK, which is never answered.
    #[track_caller]
    pub(crate) fn acknowledges(&mut self, number: u32) {
        assert_eq!(self.recorded(number).method(), "ACK");
        self.asks(number);
        assert!(self.hub.wire(self.edge).is_empty(), "{number}");
    }

    /// A message whose text the broker takes, answered as recorded; its text.
    #[track_caller]
    pub(crate) fn writes(&mut self, request: u32, answer: u32) -> String {
        self.asks(request);
        let envelope = self.hub.store_one();
        self.answers(request, answer);
        assert!(matches!(&envelope.body, Body::Text(Text { .. })));
        format!("{} -> {}: {}", envelope.from, envelope.to, words(&envelope))
    }

    /// A request of the hub's is the recorded one: where it goes and by which way, in which dialog, and what it is.
    #[track_caller]
    pub(crate) fn says_this(&mut self, wire: &Wire, number: u32) {
        self.is_this(wire, number);
        self.note(number, Fate::Same);
    }

    #[track_caller]
    pub(crate) fn is_this(&mut self, wire: &Wire, number: u32) {
        let recorded = self.recorded(number);
        // A NOTIFY, so that a watcher who is gone is noticed, where the recording has the one that is never answered.
        assert_eq!(wire.start, recorded.start.replace("BENOTIFY", "NOTIFY"), "{number}");
        assert_eq!(wire.all("Route"), recorded.all("Route"), "{number}: byte for byte, for the edge has signed them");
        assert_eq!(wire.header("To"), self.now(recorded.header("To")), "{number}");
        let person = |value: &str| value.split('>').next().unwrap().split('<').nth(1).unwrap().to_owned();
        assert_eq!(person(wire.header("From")), person(recorded.header("From")), "{number}");
        if tag(recorded.header("To")).is_none() {
            self.is_now(recorded.header("Call-ID"), wire.header("Call-ID"));
            self.is_now(tag(recorded.header("From")).unwrap(), tag(wire.header("From")).unwrap());
        } else {
            assert_eq!(wire.header("Call-ID"), self.now(recorded.header("Call-ID")), "{number}");
            assert_eq!(tag(wire.header("From")).unwrap(), self.now(tag(recorded.header("From")).unwrap()), "{number}");
        }
    }

    /// The hub's only request now is the recorded one.
    #[track_caller]
    pub(crate) fn says(&mut self, number: u32) -> Wire {
        let wire = self.hub.one(self.own);
        self.says_this(&wire, number);
        wire
    }

    /// The edge gives the recorded answer to a request of the hub's.
    #[track_caller]
    pub(crate) fn hears(&mut self, request: &Wire, number: u32) {
        let recorded = self.recorded(number);
        assert!(!recorded.is_request());
        self.note(number, Fate::Same);
        let mut text = format!("{}\r\n", recorded.start);
        for name in ["Via", "From", "Call-ID", "CSeq"] {
            text.push_str(&format!("{name}: {}\r\n", request.header(name)));
        }
        for (name, value) in &recorded.headers {
            // The other company's own servers: the hub stands in their place.
            let is_theirs = name == "Record-Route" && value.contains("fabrikam.example");
            if !["Via", "From", "Call-ID", "CSeq"].contains(&name.as_str()) && !is_theirs {
                text.push_str(&format!("{name}: {}\r\n", self.now(value)));
            }
        }
        self.hub.receive(self.own, format!("{text}\r\n{}", recorded.body));
    }
}
