//! The path of a message between clients and partners: what is asked, answered, acknowledged and cancelled.

use super::connection::ConnectionId;
use super::message::{Message, parameter, uri};
use super::routes::Hop;
use super::state::{Pending, Purpose, Side, State, dialog_key, who};

/// What the edge tells its own clients of a partner's message.
const TRUST: &str = "ms-edge-proxy-message-trust";
const VERIFIED: (&str, &str) = ("ms-asserted-verification-level", "ms-source-verified-user=verified");

impl State {
    /// Any message, on any connection.
    pub(super) fn received(&mut self, connection: ConnectionId, message: Message) {
        let Some(side) = self.connections.get(&connection).map(|found| found.side) else { return };
        let from = self.name_of(connection);
        self.record(&from, "ocs", &message);
        if side != Side::Client {
            self.federated.push(message.clone());
        }
        match (side, message.status()) {
            (_, Some(_)) => self.response_came(connection, message),
            (Side::Client, None) => self.client_asks(connection, message),
            (Side::Inbound(partner), None) => self.partner_asks(connection, partner, message),
            (Side::Outbound(partner), None) => {
                self.fault("a request over the connection that the edge has opened: a partner opens its own", Some(&message));
                self.partner_asks(connection, partner, message);
            }
        }
    }

    /// Hands a client's request to the partner of `domain_uri`'s domain.
    pub(super) fn pass_to_partner(&mut self, connection: ConnectionId, mut request: Message, domain_uri: &str) {
        let Some(partner) = self.partner_of(domain_uri) else {
            let mut response = self.response(&request, 404, "Not Found");
            response.push("ms-diagnostics", "1017;reason=\"Cannot route From and To domains in this combination\"");
            return self.respond(connection, &request, response);
        };
        let vias: Vec<String> = request.all("Via").map(str::to_owned).collect();
        let begins = parameter(request.header("To"), "tag").is_none();
        if begins && matches!(request.method(), Some("INVITE" | "SUBSCRIBE" | "REFER")) {
            let records = [self.routes.record(Hop::Edge, &request), self.routes.record(Hop::Pool, &request)];
            request.replace("Record-Route", &records);
        }
        let sender = who(&request, "From");
        request.set(VERIFIED.0, VERIFIED.1);
        request.set("P-Asserted-Identity", format!("\"{}\"<sip:{sender}>", super::presence::display_name(&sender)));
        self.ask_partner(partner, request, Purpose::Forward { to: connection, vias });
    }

    /// Sends a request to a partner, over the edge's own connection.
    pub(super) fn ask_partner(&mut self, partner: usize, request: Message, purpose: Purpose) {
        let over = match self.outbound[partner].connection {
            Some(over) => over,
            None => {
                let over = (self.dial)(partner);
                self.outbound[partner].connection = Some(over);
                over
            }
        };
        self.forward(over, request, &[Hop::Pool, Hop::Edge], purpose);
    }

    /// The connection to a partner stands: compression is asked for first.
    pub(super) fn opened_to(&mut self, connection: ConnectionId, partner: usize) {
        if !self.settings.negotiates {
            return self.ready(partner);
        }
        let (edge, theirs) = (self.routes.name(Hop::Edge), self.settings.partners[partner].edge.clone());
        let mut negotiate = Message::request("NEGOTIATE", "sip:127.0.0.1:5061");
        // As it is documented, without a branch.
        let via = "SIP/2.0/TLS 127.0.0.1:2616".to_owned();
        negotiate.push("Via", via);
        negotiate.push("CSeq", "1 NEGOTIATE");
        let call = self.unique("negotiate");
        negotiate.push("Call-ID", call.clone());
        negotiate.push("From", format!("<sip:{edge}>;tag={}", self.tag()));
        negotiate.push("To", format!("<sip:{theirs}>"));
        negotiate.push("Compression", "LZ77-8K");
        negotiate.push("Max-Forwards", "0");
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let pending =
            Pending { request: negotiate.clone(), over: connection, purpose: Purpose::Negotiate, until, given_up: false };
        self.pending.insert((call, "NEGOTIATE".to_owned()), pending);
        self.send(connection, &negotiate);
    }

    fn ready(&mut self, partner: usize) {
        let outbound = &mut self.outbound[partner];
        outbound.ready = true;
        let Some(connection) = outbound.connection else { return };
        for request in std::mem::take(&mut outbound.waiting) {
            self.send(connection, &request);
        }
    }

    fn response_came(&mut self, connection: ConnectionId, mut response: Message) {
        let side = self.connections.get(&connection).map(|found| found.side);
        let from_partner = side != Some(Side::Client);
        let status = response.status().unwrap_or_default();
        let method = response.cseq().map_or_else(String::new, |(_, method)| method.to_owned());
        let mut key = (parameter(response.header("Via"), "branch").unwrap_or_default().to_owned(), method.clone());
        if method == "NEGOTIATE" {
            key.0 = response.header("Call-ID").to_owned();
        }
        let Some(pending) = self.pending.get(&key) else {
            if from_partner {
                self.fault("an answer to no request that still waits for one", Some(&response));
            }
            return;
        };
        let request = pending.request.clone();
        let misplaced = pending.over != connection;
        if from_partner {
            if misplaced {
                self.fault("an answer over another connection than the request's", Some(&response));
            }
            for fault in super::rules::of_response(&request, &response) {
                self.fault(&fault, Some(&response));
            }
        }
        if status < 200 {
            let forward = self.pending.get(&key).and_then(|pending| match &pending.purpose {
                Purpose::Forward { to, vias } if status > 100 && !pending.given_up => Some((*to, vias.clone())),
                _ => None,
            });
            if let Some((to, vias)) = forward {
                response.replace("Via", &vias);
                self.send(to, &response);
            }
            return;
        }
        let Some(pending) = self.pending.remove(&key) else { return };
        if method == "INVITE" && status >= 300 {
            self.acknowledge(connection, &request, &response);
        }
        match pending.purpose {
            Purpose::Negotiate => self.negotiated(connection, status, &response),
            Purpose::Notify { subscription } => self.notified(subscription, status, &response),
            Purpose::Nothing => {}
            Purpose::Forward { .. } if pending.given_up => {}
            Purpose::Forward { to, vias } => {
                response.replace("Via", &vias);
                if from_partner {
                    let edge = self.routes.name(Hop::Edge);
                    response.set(
                        TRUST,
                        format!("ms-source-type=DirectPartner;ms-ep-fqdn={edge};ms-source-verified-user=verified;ms-source-network=federation"),
                    );
                } else {
                    self.remember_contact(connection, &response);
                    if matches!(self.connections.get(&to).map(|found| found.side), Some(Side::Inbound(_) | Side::Outbound(_))) {
                        response.set(VERIFIED.0, VERIFIED.1);
                    }
                }
                let mut asked = request;
                asked.replace("Via", &vias);
                self.respond(to, &asked, response);
            }
        }
    }

    fn negotiated(&mut self, connection: ConnectionId, status: u16, response: &Message) {
        if status < 300 {
            self.fault("compression was agreed to, which nobody here can do", Some(response));
            if let Some(found) = self.connections.get(&connection) {
                found.handle.close();
            }
            return;
        }
        if let Some(Side::Outbound(partner)) = self.connections.get(&connection).map(|found| found.side) {
            self.ready(partner);
        }
    }

    /// The ACK of a refusal goes over the same hop alone. RFC 3261 §17.1.1.3
    fn acknowledge(&mut self, connection: ConnectionId, request: &Message, response: &Message) {
        let mut ack = Message::request("ACK", request.uri());
        ack.push("Via", request.header("Via"));
        ack.push("From", request.header("From"));
        ack.push("To", response.header("To"));
        ack.push("Call-ID", request.header("Call-ID"));
        ack.push("CSeq", format!("{} ACK", request.cseq().map_or(1, |(number, _)| number)));
        ack.push("Max-Forwards", "70");
        for route in request.all("Route") {
            ack.push("Route", route);
        }
        self.send(connection, &ack);
    }

    /// Whether this ACK is for a refusal, which went no further than here.
    pub(super) fn take_ack(&mut self, ack: &Message) -> Option<u16> {
        let key = dialog_key(ack);
        let answered = self.answered.iter_mut().rev().find(|answered| answered.key == key)?;
        answered.acknowledged = true;
        Some(answered.status)
    }

    /// Takes a request back that still waits for its answer.
    pub(super) fn cancel(&mut self, connection: ConnectionId, cancel: &Message) {
        let asked = dialog_key(cancel);
        let found = self.pending.iter().find(|((_, method), pending)| {
            method == "INVITE"
                && dialog_key(&pending.request) == asked
                && matches!(pending.purpose, Purpose::Forward { to, .. } if to == connection)
        });
        let Some(key) = found.map(|(key, _)| key.clone()) else {
            return self.answer(connection, cancel, 481, "Call Leg/Transaction Does Not Exist");
        };
        self.answer(connection, cancel, 200, "OK");
        let Some(pending) = self.pending.get_mut(&key) else { return };
        if std::mem::replace(&mut pending.given_up, true) {
            return;
        }
        let (over, invite) = (pending.over, pending.request.clone());
        let Purpose::Forward { vias, .. } = &pending.purpose else { return };
        let vias = vias.clone();
        let mut refused = invite.clone();
        refused.replace("Via", &vias);
        self.answer(connection, &refused, 487, "Request Terminated");
        let mut down = Message::request("CANCEL", invite.uri());
        down.push("Via", invite.header("Via"));
        for field in ["From", "To", "Call-ID"] {
            down.push(field, invite.header(field));
        }
        down.push("CSeq", format!("{} CANCEL", asked.2));
        down.push("Max-Forwards", "70");
        let until = std::time::Instant::now() + std::time::Duration::from_secs(35);
        let pending = Pending { request: down.clone(), over, purpose: Purpose::Nothing, until, given_up: true };
        self.pending.insert((key.0, "CANCEL".to_owned()), pending);
        self.transmit(over, down);
    }

    /// Hands a request to the client of one of our own; `hops` are the servers it passes here.
    pub(super) fn pass_to_client(&mut self, connection: ConnectionId, user: &str, mut request: Message, hops: &[Hop]) {
        let known = self.homes.contains_key(user);
        let Some(registration) = self.registrations.get(user) else {
            // The robot that clients look for is not here, and they know it.
            let (status, reason) = if known || user == "ocschat" { (480, "Temporarily Unavailable") } else { (404, "Not Found") };
            let mut response = self.response(&request, status, reason);
            if !known {
                response.push("ms-diagnostics-public", "1003;reason=\"User does not exist\"");
            }
            if !matches!(request.method(), Some("ACK" | "BENOTIFY")) {
                self.respond(connection, &request, response);
            }
            return;
        };
        let (over, contact) = (registration.connection, registration.contact.clone());
        let vias: Vec<String> = request.all("Via").map(str::to_owned).collect();
        let begins = parameter(request.header("To"), "tag").is_none();
        if begins && matches!(request.method(), Some("INVITE" | "REFER")) {
            let mut records: Vec<String> = hops.iter().rev().map(|hop| self.routes.record(*hop, &request)).collect();
            records.extend(request.list("Record-Route"));
            request.replace("Record-Route", &records);
        }
        if hops.contains(&Hop::Edge) {
            let edge = self.routes.name(Hop::Edge);
            request.set(
                TRUST,
                format!(
                    "ms-source-type=DirectPartner;ms-ep-fqdn={edge};ms-source-verified-user=verified;ms-source-network=federation"
                ),
            );
        }
        let method = request.method().unwrap_or_default().to_owned();
        request.start = format!("{method} {contact} SIP/2.0");
        self.forward(over, request, hops, Purpose::Forward { to: connection, vias });
    }

    /// Notes by which addresses a client wants to be reached in its dialogs.
    pub(super) fn remember_contact(&mut self, connection: ConnectionId, message: &Message) {
        let contact = uri(message.header("Contact")).to_owned();
        let shown = self.registrations.values_mut().find(|registration| registration.connection == connection);
        if let Some(registration) = shown.filter(|_| !contact.is_empty()) {
            registration.shown.insert(contact);
        }
    }
}
