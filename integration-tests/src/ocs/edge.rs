//! The Access Edge towards partners: who may say what, and where it goes.

use std::time::{Duration, Instant};

use super::connection::ConnectionId;
use super::message::{Message, parameter, uri};
use super::routes::Hop;
use super::state::{Script, State, who};

/// What a script says of requests that are to be ignored.
pub(super) const NO_ANSWER: u16 = 0;

/// Servers of the path, from the edge inwards.
const INWARDS: [Hop; 2] = [Hop::Edge, Hop::Pool];

impl State {
    /// A request of a partner.
    pub(super) fn partner_asks(&mut self, connection: ConnectionId, partner: usize, request: Message) {
        let method = request.method().unwrap_or_default().to_owned();
        if method == "NEGOTIATE" {
            return self.answer(connection, &request, 488, "Compression algorithm refused");
        }
        let mut faults = super::rules::of_request(&request);
        faults.extend(self.transaction_faults(&request));
        for fault in faults {
            self.fault(&fault, Some(&request));
        }
        if let Err((status, reason, fault)) = self.admit(partner, &request) {
            if let Some(fault) = fault {
                self.fault(&fault, Some(&request));
            }
            if status != NO_ANSWER {
                self.answer(connection, &request, status, reason);
            }
            return;
        }
        match method.as_str() {
            "ACK" => match self.take_ack(&request) {
                Some(300..) => {}
                Some(_) => self.pass_in_dialog(connection, request),
                None => self.fault("an ACK for no answer to an INVITE", Some(&request)),
            },
            "CANCEL" => self.cancel(connection, &request),
            "INVITE" | "MESSAGE" | "INFO" | "BYE" | "NOTIFY" | "BENOTIFY" | "SUBSCRIBE" | "OPTIONS" => {
                if parameter(request.header("To"), "tag").is_some() {
                    self.pass_in_dialog(connection, request);
                } else {
                    self.out_of_dialog(connection, partner, request);
                }
            }
            "REGISTER" | "SERVICE" | "PUBLISH" => {
                self.fault("a request that is not for federated partners", Some(&request));
                let mut response = self.response(&request, 403, "Forbidden");
                response.push(
                    "ms-diagnostics-public",
                    "1027;reason=\"Cannot route this type of SIP request to or from federated partners\"",
                );
                self.respond(connection, &request, response);
            }
            _ => self.answer(connection, &request, 501, "Not Implemented"),
        }
    }

    /// Violations that only the history of the connection shows.
    fn transaction_faults(&mut self, request: &Message) -> Vec<String> {
        let mut faults = Vec::new();
        let method = request.method().unwrap_or_default();
        let branch = parameter(request.header("Via"), "branch").unwrap_or_default();
        // A CANCEL and the ACK of a refusal have their INVITE's branch.
        if !matches!(method, "ACK" | "CANCEL") {
            if !self.branches.insert(branch.to_owned()) {
                faults.push(format!("a branch for the second time, and over a stream nothing is repeated: {branch}"));
            }
            // The plugin SIPE counts anew after its INVITE is answered. A gateway has no such excuse.
            let sipe = request.header("User-Agent").contains("Sipe/");
            if let Some((number, _)) = request.cseq().filter(|_| !sipe) {
                let tag = parameter(request.header("From"), "tag").unwrap_or_default();
                let key = (request.header("Call-ID").to_owned(), tag.to_owned());
                if let Some(before) = self.numbers.insert(key, number).filter(|&before| before >= number) {
                    faults.push(format!("CSeq {number} after {before} in one dialog"));
                }
            }
        }
        faults
    }

    /// Whether this partner may send this. An error: what he is answered, and what was wrong, if it was his fault.
    fn admit(&mut self, partner: usize, request: &Message) -> Result<(), (u16, &'static str, Option<String>)> {
        let from = uri(request.header("From"));
        if self.partner_of(from) != Some(partner) {
            let edge = &self.settings.partners[partner].edge;
            return Err((403, "Forbidden", Some(format!("{edge} sends for a domain that is not of its entry: {from}"))));
        }
        let method = request.method().unwrap_or_default();
        if method == "ACK" || method == "BENOTIFY" {
            return Ok(());
        }
        let now = Instant::now();
        if now.duration_since(self.this_second.0) >= Duration::from_secs(1) {
            self.this_second = (now, 0);
        }
        self.this_second.1 += 1;
        if self.throttle.is_some_and(|limit| self.this_second.1 > limit) {
            return Err((503, "Service Unavailable", None));
        }
        let script = self.scripts.iter_mut().find(|script| script.method == method && script.times > 0);
        if let Some(Script { status, times, .. }) = script {
            *times -= 1;
            return Err((*status, "Scripted", None));
        }
        Ok(())
    }

    /// A request within a dialog: its Routes must be those that were signed.
    fn pass_in_dialog(&mut self, connection: ConnectionId, mut request: Message) {
        let routes = request.list("Route");
        let checked = self.routes.check(Hop::Edge, routes.first(), &request).and_then(|()| {
            self.routes.check(Hop::Pool, routes.get(1), &request)?;
            if routes.len() > 2 { Err(format!("Routes beyond those of the dialog: {routes:?}")) } else { Ok(()) }
        });
        if let Err(fault) = checked {
            self.fault(&fault, Some(&request));
            return self.answer(connection, &request, 403, "Forbidden");
        }
        request.remove("Route");
        let target = request.uri().to_owned();
        if super::message::address(&target) == (String::new(), self.routes.name(Hop::Pool)) {
            return self.in_own_subscription(connection, request);
        }
        let (user, host) = super::message::address(uri(request.header("To")));
        if host != self.settings.domain {
            self.fault("a request in a dialog with a domain that is not here", Some(&request));
            return self.answer(connection, &request, 404, "Not Found");
        }
        let shown = self.registrations.get(&user).is_none_or(|registration| registration.shown.contains(&target));
        if !shown {
            self.fault(&format!("the Request-URI is not the Contact of the dialog: {target}"), Some(&request));
        }
        self.pass_to_client(connection, &user, request, &INWARDS);
    }

    fn out_of_dialog(&mut self, connection: ConnectionId, partner: usize, request: Message) {
        if request.has("Route") {
            self.fault("a Route outside a dialog", Some(&request));
        }
        let method = request.method().unwrap_or_default().to_owned();
        let (_, host) = super::message::address(request.uri());
        if method == "OPTIONS" && (host == self.settings.domain || host == self.routes.name(Hop::Edge)) {
            return self.answer(connection, &request, 200, "OK");
        }
        let Some(user) = self.own_user(request.uri()) else {
            self.fault("a request for a domain that is not here", Some(&request));
            return self.answer(connection, &request, 404, "Not Found");
        };
        if who(&request, "To") != self.address_of(&user) {
            self.fault("To is not whom the request is for", Some(&request));
        }
        match method.as_str() {
            "SUBSCRIBE" if request.header("Event") != "presence" => self.answer(connection, &request, 489, "Bad Event"),
            "SUBSCRIBE" => self.partner_watches(connection, partner, &user, &request),
            "MESSAGE" if !self.settings.page_mode => {
                self.fault("a MESSAGE outside a session", Some(&request));
                self.answer(connection, &request, 403, "Forbidden");
            }
            "INVITE" | "MESSAGE" => self.pass_to_client(connection, &user, request, &INWARDS),
            _ => self.answer(connection, &request, 481, "Call Leg/Transaction Does Not Exist"),
        }
    }
}
