//! Subscriptions at the pool: of clients to their own data and to each other, and of partners' people to ours.

use std::time::{Duration, Instant};

use super::connection::ConnectionId;
use super::message::{Message, address, parameter, uri};
use super::presence::{Format, Presence};
use super::routes::Hop;
use super::state::{Purpose, State};
use super::xml::Element;

const LONGEST: u32 = 28_800;
/// Without an Expires header. RFC 3856 §6.4
const USUAL: u32 = 3_600;

/// Who has subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subscriber {
    Client(ConnectionId),
    Partner(usize),
}

/// To what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Contacts,
    RoamingSelf,
    Presence(Format),
    Other,
}

/// One subscription.
pub(super) struct Subscription {
    id: u64,
    pub(super) subscriber: Subscriber,
    kind: Kind,
    /// Users of ours.
    of: Vec<String>,
    pub(super) call: String,
    remote: String,
    local: String,
    contact: String,
    routes: Vec<String>,
    event: String,
    number: u32,
    without_answer: bool,
    until: Instant,
}

impl State {
    /// Accepts a subscription; the first document is in the answer or follows it.
    #[expect(clippy::too_many_arguments, reason = "all that a subscription is")]
    pub(super) fn accept(
        &mut self,
        subscriber: Subscriber,
        connection: ConnectionId,
        request: &Message,
        kind: Kind,
        of: Vec<String>,
        content: &str,
        document: &str,
    ) {
        let (usual, longest) = match subscriber {
            Subscriber::Client(_) => (LONGEST, LONGEST),
            Subscriber::Partner(_) => (USUAL, self.settings.subscription_seconds.unwrap_or(LONGEST)),
        };
        let seconds: u32 = request.header("Expires").parse().unwrap_or(usual).min(longest);
        let supports = |token: &str| request.all("Supported").any(|line| line == token);
        let piggyback = supports("ms-piggyback-first-notify");
        let pool = self.routes.name(Hop::Pool);
        let mut response = self.response(request, 200, "OK");
        if let Subscriber::Partner(_) = subscriber {
            let mut records = vec![self.routes.record(Hop::Pool, request), self.routes.record(Hop::Edge, request)];
            records.extend(request.list("Record-Route"));
            for record in records {
                response.push("Record-Route", record);
            }
            response.push("ms-asserted-verification-level", "ms-source-verified-user=verified");
        }
        response.push("Expires", seconds.to_string());
        response.push("Event", request.header("Event"));
        response.push("Contact", format!("<sip:{pool}:5061;transport=tls>"));
        let state = if seconds == 0 { "terminated" } else { "active" };
        response.push("subscription-state", format!("{state};expires={seconds}"));
        if piggyback {
            response.push("ms-piggyback-cseq", "1");
            response.push("Supported", "ms-piggyback-first-notify");
            response = response.with_body(content, document);
        }
        self.next_subscription += 1;
        let id = self.next_subscription;
        self.subscriptions.push(Subscription {
            id,
            subscriber,
            kind,
            of,
            call: request.header("Call-ID").to_owned(),
            remote: request.header("From").to_owned(),
            local: response.header("To").to_owned(),
            contact: uri(request.header("Contact")).to_owned(),
            routes: request.list("Record-Route"),
            event: request.header("Event").to_owned(),
            number: u32::from(piggyback),
            without_answer: supports("ms-benotify"),
            until: Instant::now() + Duration::from_secs(seconds.into()),
        });
        self.respond(connection, request, response);
        if !piggyback {
            self.notify(id, seconds == 0, content, document);
        }
        if seconds == 0 {
            self.subscriptions.retain(|subscription| subscription.id != id);
        }
    }

    /// A partner's user wants to see one of ours.
    pub(super) fn partner_watches(&mut self, connection: ConnectionId, partner: usize, user: &str, request: &Message) {
        if !self.homes.contains_key(user) {
            let mut response = self.response(request, 404, "Not Found");
            response.push("ms-diagnostics-public", "1003;reason=\"User does not exist\"");
            return self.respond(connection, request, response);
        }
        self.watch(Subscriber::Partner(partner), connection, user, request);
    }

    /// A client wants to see one other.
    pub(super) fn client_watches(&mut self, connection: ConnectionId, user: &str, request: &Message) {
        self.watch(Subscriber::Client(connection), connection, user, request);
    }

    fn watch(&mut self, subscriber: Subscriber, connection: ConnectionId, user: &str, request: &Message) {
        let accept: Vec<&str> = request.all("Accept").collect();
        let accept = if accept.is_empty() { "application/pidf+xml".to_owned() } else { accept.join(",") };
        let Some(format) = Format::accepted(&accept, self.settings.dialect) else {
            return self.answer(connection, request, 406, "Not Acceptable");
        };
        let document = self.presence_of(user).document(format, &self.address_of(user));
        self.accept(
            subscriber,
            connection,
            request,
            Kind::Presence(format),
            vec![user.to_owned()],
            format.content_type(),
            &document,
        );
    }

    /// A client wants to see many at once: those of other domains it must ask for one by one.
    pub(super) fn client_watches_many(&mut self, connection: ConnectionId, request: &Message) {
        let Ok(list) = Element::parse(&request.text()) else {
            return self.answer(connection, request, 400, "Bad Request");
        };
        let mut resources = Vec::new();
        list.all("resource", &mut resources);
        let accept: Vec<&str> = request.all("Accept").collect();
        let format = Format::accepted(&accept.join(","), self.settings.dialect).unwrap_or(Format::MsrtcPidf);
        let domain = &self.settings.domain;
        let (mut of, mut entries, mut parts) = (Vec::new(), String::new(), String::new());
        for resource in resources {
            let target = resource.attribute("uri");
            let (user, host) = address(target);
            if host == *domain && self.homes.contains_key(&user) {
                let number = of.len() + 1;
                entries.push_str(&format!(
                    "<resource uri=\"{target}\"><instance id=\"0\" state=\"active\" cid=\"p{number}@{domain}\"/></resource>"
                ));
                parts.push_str(&format!(
                    "--part\r\nContent-ID: <p{number}@{domain}>\r\nContent-Type: {}\r\n\r\n{}\r\n\r\n",
                    format.content_type(),
                    self.presence_of(&user).document(format, &self.address_of(&user)),
                ));
                of.push(user);
            } else {
                let state = if host == *domain { "terminated" } else { "resubscribe" };
                entries.push_str(&format!("<resource uri=\"{target}\"><instance id=\"0\" state=\"{state}\"/></resource>"));
            }
        }
        // The client's reader drops two bytes before a boundary: an empty line more.
        let document = format!(
            "--part\r\nContent-ID: <p0@{domain}>\r\nContent-Type: application/rlmi+xml\r\n\r\n\
             <list xmlns=\"urn:ietf:params:xml:ns:rlmi\" uri=\"{}\" version=\"0\" fullState=\"true\">{entries}</list>\r\n\r\n\
             {parts}--part--\r\n",
            uri(request.header("From")),
        );
        let content = format!("multipart/related;type=\"application/rlmi+xml\";start=\"<p0@{domain}>\";boundary=part");
        self.accept(Subscriber::Client(connection), connection, request, Kind::Presence(format), of, &content, &document);
    }

    /// A refresh, or the end, of a partner's subscription.
    pub(super) fn in_own_subscription(&mut self, connection: ConnectionId, request: Message) {
        let call = request.header("Call-ID").to_owned();
        let tag = parameter(request.header("From"), "tag");
        let found = self.subscriptions.iter_mut().find(|subscription| {
            subscription.call == call && parameter(&subscription.remote, "tag") == tag && request.method() == Some("SUBSCRIBE")
        });
        let Some(subscription) = found else {
            return self.answer(connection, &request, 481, "Call Leg/Transaction Does Not Exist");
        };
        let asked: u32 = request.header("Expires").parse().unwrap_or(USUAL);
        let seconds = asked.min(self.settings.subscription_seconds.unwrap_or(LONGEST));
        subscription.until = Instant::now() + Duration::from_secs(seconds.into());
        let (id, kind, user) = (subscription.id, subscription.kind, subscription.of.first().cloned().unwrap_or_default());
        let mut response = self.response(&request, 200, "OK");
        response.push("Expires", seconds.to_string());
        response.push("Event", "presence");
        response.push("Contact", format!("<sip:{}:5061;transport=tls>", self.routes.name(Hop::Pool)));
        self.respond(connection, &request, response);
        if let Kind::Presence(format) = kind {
            let document = self.presence_of(&user).document(format, &self.address_of(&user));
            self.notify(id, seconds == 0, format.content_type(), &document);
        }
        if seconds == 0 {
            self.subscriptions.retain(|subscription| subscription.id != id);
        }
    }

    /// What watchers of a user see now.
    pub(super) fn presence_of(&self, user: &str) -> Presence {
        match self.homes.get(user) {
            Some(home) if self.registrations.contains_key(user) => home.publications.presence(),
            _ => Presence::offline(),
        }
    }

    /// Tells all watchers of a user what has changed, if anything has.
    pub(super) fn show(&mut self, user: &str) {
        let presence = self.presence_of(user);
        let address = self.address_of(user);
        let Some(home) = self.homes.get_mut(user) else { return };
        if home.shown.replace(presence.clone()).is_some_and(|before| before == presence) {
            return;
        }
        let watchers: Vec<(u64, Format)> = self
            .subscriptions
            .iter()
            .filter(|subscription| subscription.of.iter().any(|watched| watched == user))
            .filter_map(|subscription| match subscription.kind {
                Kind::Presence(format) => Some((subscription.id, format)),
                _ => None,
            })
            .collect();
        for (id, format) in watchers {
            self.notify(id, false, format.content_type(), &presence.document(format, &address));
        }
    }

    /// Tells a user's client of a change to his own data.
    pub(super) fn notify_own(&mut self, user: &str, kind: Kind, content: &str, document: &str) {
        let subscribed = |subscription: &&Subscription| subscription.kind == kind && subscription.of.iter().any(|of| of == user);
        let ids: Vec<u64> = self.subscriptions.iter().filter(subscribed).map(|subscription| subscription.id).collect();
        for id in ids {
            self.notify(id, false, content, document);
        }
    }

    fn notify(&mut self, id: u64, last: bool, content: &str, document: &str) {
        let Some(subscription) = self.subscriptions.iter_mut().find(|subscription| subscription.id == id) else { return };
        subscription.number += 1;
        // The last one wants an answer in any case: it may be lost otherwise.
        let method = if subscription.without_answer && !last { "BENOTIFY" } else { "NOTIFY" };
        let mut notify = Message::request(method, &subscription.contact);
        for route in &subscription.routes {
            notify.push("Route", route.clone());
        }
        notify.push("Max-Forwards", "71");
        notify.push("From", subscription.local.clone());
        notify.push("To", subscription.remote.clone());
        notify.push("Call-ID", subscription.call.clone());
        notify.push("CSeq", format!("{} {method}", subscription.number));
        notify.push("Event", subscription.event.clone());
        let left = subscription.until.saturating_duration_since(Instant::now()).as_secs();
        let state = if last { "terminated;expires=0".to_owned() } else { format!("active;expires={left}") };
        notify.push("subscription-state", state);
        let subscriber = subscription.subscriber;
        let notify = notify.with_body(content, document);
        let purpose = Purpose::Notify { subscription: id };
        match subscriber {
            Subscriber::Client(connection) => self.forward(connection, notify, &[Hop::Pool], purpose),
            Subscriber::Partner(partner) => self.ask_partner(partner, notify, purpose),
        }
    }

    /// The answer to a NOTIFY.
    pub(super) fn notified(&mut self, id: u64, status: u16, response: &Message) {
        if status == 481 {
            self.subscriptions.retain(|subscription| subscription.id != id);
        } else if status >= 300 {
            self.fault("a NOTIFY in a subscription that stands was refused", Some(response));
        }
    }

    pub(super) fn expire_subscriptions(&mut self) {
        let now = Instant::now();
        let over: Vec<(u64, Kind, String)> = self
            .subscriptions
            .iter()
            .filter(|subscription| subscription.until < now)
            .map(|subscription| (subscription.id, subscription.kind, subscription.of.first().cloned().unwrap_or_default()))
            .collect();
        for (id, kind, user) in over {
            if let Kind::Presence(format) = kind {
                let document = self.presence_of(&user).document(format, &self.address_of(&user));
                self.notify(id, true, format.content_type(), &document);
            }
            self.subscriptions.retain(|subscription| subscription.id != id);
        }
    }
}
