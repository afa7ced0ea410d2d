//! What the servers of one company know, and what every message passes: faults, the trace, transactions.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use super::OcsSettings;
use super::connection::{ConnectionId, Handle};
use super::message::{Message, address, parameter, uri};
use super::presence::{Presence, Publications};
use super::routes::{Hop, Routes};
use super::watch::Subscription;

/// Longer than the 32 s after which RFC 3261 gives a transaction up.
const ANSWER_WITHIN: Duration = Duration::from_secs(35);
/// How long somebody may be asked to talk.
const INVITE_WITHIN: Duration = Duration::from_secs(180);
/// Within which every final answer to an INVITE is acknowledged.
const ACK_WITHIN: Duration = Duration::from_secs(5);
const KEPT_ANSWERS: usize = 1_000;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// A client's.
    Client,
    /// A partner's, which he has opened.
    Inbound(usize),
    /// To a partner, opened here.
    Outbound(usize),
}

pub(super) struct Connection {
    pub(super) handle: Handle,
    pub(super) side: Side,
}

/// The way to a partner.
#[derive(Default)]
pub(super) struct Outbound {
    /// The connection, from when it is dialled.
    pub(super) connection: Option<ConnectionId>,
    /// Whether compression was negotiated, which is to say refused: nothing is sent before.
    pub(super) ready: bool,
    pub(super) waiting: VecDeque<Message>,
}

/// Where a person's client is.
pub(super) struct Registration {
    pub(super) connection: ConnectionId,
    /// Its own address.
    pub(super) contact: String,
    /// Every Contact it has shown in dialogs.
    pub(super) shown: HashSet<String>,
}

/// What the pool keeps for a person.
#[derive(Default)]
pub(super) struct Home {
    /// Groups: number and name.
    pub(super) groups: Vec<(u32, String)>,
    /// Contacts: address, shown name, groups.
    pub(super) contacts: Vec<(String, String, String)>,
    pub(super) delta: u32,
    pub(super) publications: Publications,
    /// What watchers were last told.
    pub(super) shown: Option<Presence>,
}

/// What becomes of the answer to a request that was sent.
pub(super) enum Purpose {
    /// It goes back to where the request came from, with these Vias.
    Forward { to: ConnectionId, vias: Vec<String> },
    /// The first request on a connection.
    Negotiate,
    /// The server's own NOTIFY in a subscription.
    Notify { subscription: u64 },
    /// Nothing: a CANCEL that was answered here.
    Nothing,
}

/// A request without a final answer.
pub(super) struct Pending {
    pub(super) request: Message,
    pub(super) over: ConnectionId,
    pub(super) purpose: Purpose,
    pub(super) until: Instant,
    /// Refused already, by a CANCEL or by time.
    pub(super) given_up: bool,
}

/// A final answer to an INVITE, which is to be acknowledged.
pub(super) struct Answered {
    pub(super) key: (String, String, u32),
    pub(super) status: u16,
    pub(super) by: Instant,
    pub(super) acknowledged: bool,
    /// Whether the one to acknowledge is a partner.
    pub(super) partner: bool,
}

/// What is scripted for requests that come for federation.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) method: String,
    pub(super) status: u16,
    pub(super) times: u32,
}

pub(super) struct State {
    pub(super) settings: OcsSettings,
    pub(super) routes: Routes,
    pub(super) connections: HashMap<ConnectionId, Connection>,
    pub(super) outbound: Vec<Outbound>,
    pub(super) registrations: HashMap<String, Registration>,
    pub(super) homes: HashMap<String, Home>,
    pub(super) pending: HashMap<(String, String), Pending>,
    pub(super) answered: VecDeque<Answered>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) scripts: Vec<Script>,
    /// Requests a second from a partner, if there is a limit; those of this second.
    pub(super) throttle: Option<u32>,
    pub(super) this_second: (Instant, u32),
    pub(super) branches: HashSet<String>,
    pub(super) numbers: HashMap<(String, String), u32>,
    pub(super) faults: Vec<String>,
    pub(super) federated: Vec<Message>,
    pub(super) trace: File,
    pub(super) dial: Box<dyn Fn(usize) -> ConnectionId + Send>,
    pub(super) next_subscription: u64,
    next: u64,
}

impl State {
    pub(super) fn new(settings: OcsSettings, trace: File, dial: Box<dyn Fn(usize) -> ConnectionId + Send>) -> Self {
        let homes = settings.users.iter().map(|user| {
            let contacts = settings.contacts.iter().filter(|(owner, _)| owner == user);
            let contacts = contacts.map(|(_, contact)| (contact.clone(), String::new(), "1".to_owned())).collect();
            (user.clone(), Home { groups: vec![(1, "~".to_owned())], contacts, delta: 1, ..Home::default() })
        });
        Self {
            routes: Routes::new(&settings.domain),
            connections: HashMap::new(),
            outbound: settings.partners.iter().map(|_| Outbound::default()).collect(),
            registrations: HashMap::new(),
            homes: homes.collect(),
            pending: HashMap::new(),
            answered: VecDeque::new(),
            subscriptions: Vec::new(),
            scripts: Vec::new(),
            throttle: None,
            this_second: (Instant::now(), 0),
            branches: HashSet::new(),
            numbers: HashMap::new(),
            faults: Vec::new(),
            federated: Vec::new(),
            trace,
            dial,
            next_subscription: 0,
            next: 0,
            settings,
        }
    }

    /// The other side did what it must not; `message` shows it.
    pub(super) fn fault(&mut self, what: &str, message: Option<&Message>) {
        let mut fault = what.to_owned();
        if let Some(message) = message {
            let _ = write!(fault, "\n{}", String::from_utf8_lossy(&message.bytes()));
        }
        let _ = writeln!(self.trace, "!!!! {what}\n");
        self.faults.push(fault);
    }

    pub(super) fn record(&mut self, from: &str, to: &str, message: &Message) {
        let text = String::from_utf8_lossy(&message.bytes()).replace("\r\n", "\n");
        let _ = writeln!(self.trace, "==== {from} -> {to}\n{text}");
    }

    pub(super) fn name_of(&self, connection: ConnectionId) -> String {
        match self.connections.get(&connection).map(|connection| connection.side) {
            Some(Side::Client) => self.user_of(connection).unwrap_or("client").to_owned(),
            Some(Side::Inbound(partner) | Side::Outbound(partner)) => self.settings.partners[partner].edge.clone(),
            None => "gone".to_owned(),
        }
    }

    /// Who is signed on over this connection.
    pub(super) fn user_of(&self, connection: ConnectionId) -> Option<&str> {
        self.registrations.iter().find(|(_, registration)| registration.connection == connection).map(|(user, _)| user.as_str())
    }

    pub(super) fn address_of(&self, user: &str) -> String {
        format!("{user}@{}", self.settings.domain)
    }

    /// The user of our own domain that a URI names.
    pub(super) fn own_user(&self, uri: &str) -> Option<String> {
        let (user, host) = address(uri);
        (host == self.settings.domain).then_some(user)
    }

    /// The partner that stands for the domain of a URI.
    pub(super) fn partner_of(&self, uri: &str) -> Option<usize> {
        let (_, host) = address(uri);
        self.settings.partners.iter().position(|partner| partner.domains.contains(&host))
    }

    pub(super) fn unique(&mut self, what: &str) -> String {
        self.next += 1;
        // Of this run and this server alone.
        format!("{what}{:X}{:016X}", self.next, self.routes.number(self.next))
    }

    pub(super) fn tag(&mut self) -> String {
        self.unique("")
    }

    pub(super) fn send(&mut self, connection: ConnectionId, message: &Message) {
        let to = self.name_of(connection);
        self.record("ocs", &to, message);
        if let Some(connection) = self.connections.get(&connection) {
            connection.handle.send(message);
        }
    }

    /// Answers a request here.
    pub(super) fn answer(&mut self, connection: ConnectionId, request: &Message, status: u16, reason: &str) {
        if request.method() == Some("ACK") || request.method() == Some("BENOTIFY") {
            return;
        }
        let response = self.response(request, status, reason);
        self.respond(connection, request, response);
    }

    /// A response of the servers' own.
    pub(super) fn response(&mut self, request: &Message, status: u16, reason: &str) -> Message {
        let tag = self.tag();
        let mut response = request.response(status, reason, &tag);
        response.push("Server", self.settings.dialect.server());
        response
    }

    /// Sends a final response, and waits for its ACK if it is one to an INVITE.
    pub(super) fn respond(&mut self, connection: ConnectionId, request: &Message, response: Message) {
        let status = response.status().unwrap_or_default();
        if request.method() == Some("INVITE") && status >= 200 {
            self.expect_ack(connection, request, status);
        }
        self.send(connection, &response);
    }

    pub(super) fn expect_ack(&mut self, connection: ConnectionId, request: &Message, status: u16) {
        let partner = !matches!(self.connections.get(&connection).map(|found| found.side), Some(Side::Client));
        self.answered.push_back(Answered {
            key: dialog_key(request),
            status,
            by: Instant::now() + ACK_WITHIN,
            acknowledged: false,
            partner,
        });
        if self.answered.len() > KEPT_ANSWERS {
            self.answered.pop_front();
        }
    }

    /// Sends a request on, or one of our own, with a Via of each server that it passes.
    pub(super) fn forward(&mut self, over: ConnectionId, mut request: Message, hops: &[Hop], purpose: Purpose) {
        let method = request.method().unwrap_or_default().to_owned();
        let branch = self.unique("z9hG4bK");
        let hops_left = request.header("Max-Forwards").parse::<u32>().unwrap_or(70);
        request.set("Max-Forwards", hops_left.saturating_sub(1).to_string());
        let mut vias: Vec<String> = request.all("Via").map(str::to_owned).collect();
        for hop in hops {
            let transport = if *hop == Hop::Pool && hops.len() == 1 { "TCP" } else { "TLS" };
            let info = if *hop == Hop::Edge { ";ms-internal-info=\"M3-qWkGra986\"" } else { "" };
            let name = self.routes.name(*hop);
            vias.insert(0, format!("SIP/2.0/{transport} {name}:5061;branch={branch};branched=FALSE{info}"));
        }
        let records: Vec<String> = request.all("Record-Route").map(str::to_owned).collect();
        request.replace("Via", &vias);
        request.replace("Record-Route", &records);
        let until = Instant::now() + if method == "INVITE" { INVITE_WITHIN } else { ANSWER_WITHIN };
        if method != "ACK" && method != "BENOTIFY" {
            let pending = Pending { request: request.clone(), over, purpose, until, given_up: false };
            self.pending.insert((branch, method), pending);
        }
        self.transmit(over, request);
    }

    /// Sends at once, or when the connection is ready.
    pub(super) fn transmit(&mut self, over: ConnectionId, request: Message) {
        let partner = self.outbound.iter_mut().find(|outbound| outbound.connection == Some(over) && !outbound.ready);
        match partner {
            Some(outbound) => outbound.waiting.push_back(request),
            None => self.send(over, &request),
        }
    }

    /// What the time brings.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        let late: Vec<String> = self
            .answered
            .iter_mut()
            .filter(|answered| answered.partner && !answered.acknowledged && answered.by < now)
            .map(|answered| {
                answered.acknowledged = true;
                format!("no ACK within {ACK_WITHIN:?} for the answer {} to the INVITE of {:?}", answered.status, answered.key)
            })
            .collect();
        for fault in late {
            self.fault(&fault, None);
        }
        let late: Vec<_> = self.pending.iter().filter(|(_, pending)| pending.until < now).map(|(key, _)| key.clone()).collect();
        for key in late {
            let Some(pending) = self.pending.remove(&key) else { continue };
            if matches!(self.connections.get(&pending.over).map(|found| found.side), Some(Side::Outbound(_))) {
                self.fault("a request was never answered", Some(&pending.request));
            }
            if !pending.given_up {
                self.give_up(pending, 408, "Request Timeout");
            }
        }
        self.expire_subscriptions();
    }

    /// Tells whoever waits for an answer that none will come.
    pub(super) fn give_up(&mut self, pending: Pending, status: u16, reason: &str) {
        if let Purpose::Forward { to, vias } = pending.purpose {
            let mut request = pending.request;
            request.replace("Via", &vias);
            self.answer(to, &request, status, reason);
        }
    }

    /// A connection is gone, and with it all that it carried.
    pub(super) fn closed(&mut self, connection: ConnectionId, why: Option<String>) {
        let side = self.connections.remove(&connection).map(|connection| connection.side);
        if let (Some(why), Some(Side::Inbound(_) | Side::Outbound(_))) = (&why, side) {
            self.fault(&format!("a connection of a partner ended badly: {why}"), None);
        }
        for outbound in self.outbound.iter_mut().filter(|outbound| outbound.connection == Some(connection)) {
            *outbound = Outbound::default();
        }
        let lost: Vec<_> =
            self.pending.iter().filter(|(_, pending)| pending.over == connection).map(|(key, _)| key.clone()).collect();
        for key in lost {
            let Some(pending) = self.pending.remove(&key) else { continue };
            match side {
                Some(Side::Client) => self.give_up(pending, 480, "Temporarily Unavailable"),
                _ => self.give_up(pending, 504, "Server time-out"),
            }
        }
        if let Some(user) = self.user_of(connection).map(str::to_owned) {
            self.signed_off(&user);
        }
        self.subscriptions.retain(|subscription| subscription.subscriber != super::watch::Subscriber::Client(connection));
    }
}

/// What an INVITE, its answers and its ACK have in common.
pub(super) fn dialog_key(message: &Message) -> (String, String, u32) {
    let tag = parameter(message.header("From"), "tag").unwrap_or_default();
    (message.header("Call-ID").to_owned(), tag.to_owned(), message.cseq().map_or(0, |(number, _)| number))
}

/// The address in a From or To, without its scheme.
pub(super) fn who(message: &Message, field: &str) -> String {
    let (user, host) = address(uri(message.header(field)));
    format!("{user}@{host}")
}
