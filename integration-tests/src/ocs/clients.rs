//! The home server towards its clients: sign-on, contacts, what they publish, and the way of what they send.

use super::Dialect;
use super::connection::ConnectionId;
use super::message::{Message, address, parameter, uri};
use super::routes::Hop;
use super::state::{Registration, State};
use super::watch::{Kind, Subscriber};
use super::xml::{Element, escaped};

const EVENTS: &str = "vnd-microsoft-provisioning,vnd-microsoft-roaming-contacts,vnd-microsoft-roaming-ACL,presence,\
                      presence.wpending,vnd-microsoft-roaming-self,vnd-microsoft-provisioning-v2";
const SOAP: &str = "application/SOAP+xml";
const ROAMING_SELF: &str = "application/vnd-microsoft-roaming-self+xml";
const ROAMING_CONTACTS: &str = "application/vnd-microsoft-roaming-contacts+xml";

impl State {
    /// A request of a client.
    pub(super) fn client_asks(&mut self, connection: ConnectionId, mut request: Message) {
        if let Some((_, via)) = request.headers.iter_mut().find(|(field, _)| field.eq_ignore_ascii_case("via")) {
            via.push_str(&format!(";ms-received-port=5061;ms-received-cid={}", connection.0));
        }
        let method = request.method().unwrap_or_default().to_owned();
        let sender = self.own_user(uri(request.header("From"))).filter(|user| self.homes.contains_key(user));
        let Some(user) = sender else {
            return self.answer(connection, &request, 403, "Forbidden");
        };
        if method == "REGISTER" {
            return self.register(connection, &user, &request);
        }
        if self.registrations.get(&user).is_none_or(|registration| registration.connection != connection) {
            return self.answer(connection, &request, 403, "Forbidden");
        }
        self.remember_contact(connection, &request);
        match method.as_str() {
            "SERVICE" => return self.service(connection, &user, &request),
            "CANCEL" => return self.cancel(connection, &request),
            "ACK" if matches!(self.take_ack(&request), Some(300..)) => return,
            _ => {}
        }
        let routes = request.list("Route");
        if !routes.is_empty() {
            return self.client_in_dialog(connection, request, &routes);
        }
        let target = request.uri().to_owned();
        let (name, host) = address(&target);
        let own = host == self.settings.domain || host == self.routes.name(Hop::Pool);
        match method.as_str() {
            "SUBSCRIBE" if own => self.client_subscribes(connection, &user, &name, &request),
            _ if own => self.pass_to_client(connection, &name, request, &[Hop::Pool]),
            _ => {
                if method == "SUBSCRIBE" && self.settings.dialect == Dialect::Lcs2005 {
                    // The plugin offers them here too; clients of 2005 did not know them.
                    request.set("Accept", "text/xml+msrtc.pidf, application/xpidf+xml, application/pidf+xml");
                }
                self.pass_to_partner(connection, request, &target);
            }
        }
    }

    fn client_in_dialog(&mut self, connection: ConnectionId, mut request: Message, routes: &[String]) {
        let mut used = 0;
        for hop in [Hop::Pool, Hop::Edge] {
            if routes.get(used).and_then(|route| self.routes.names(route)) != Some(hop) {
                continue;
            }
            if let Err(fault) = self.routes.check(hop, routes.get(used), &request) {
                self.fault(&fault, Some(&request));
                return self.answer(connection, &request, 403, "Forbidden");
            }
            used += 1;
        }
        let remote = uri(request.header("To")).to_owned();
        request.replace("Route", &routes[used..]);
        match self.own_user(&remote) {
            Some(user) => self.pass_to_client(connection, &user, request, &[Hop::Pool]),
            None => self.pass_to_partner(connection, request, &remote),
        }
    }

    fn register(&mut self, connection: ConnectionId, user: &str, request: &Message) {
        let contact = request.header("Contact").to_owned();
        let expires = request.header("Expires").parse().ok().or_else(|| parameter(&contact, "expires")?.parse::<u32>().ok());
        let mut response = self.response(request, 200, "OK");
        if expires == Some(0) {
            response.push("Expires", "0");
            self.respond(connection, request, response);
            return self.signed_off(user);
        }
        let own = uri(&contact).to_owned();
        let gruu = format!("sip:{};opaque=user:epid:{};gruu", self.address_of(user), self.routes.letters(&own, 15));
        response.push("Expires", "3600");
        let instance = parameter(&contact, "+sip.instance").unwrap_or_default();
        let modern = self.settings.dialect == Dialect::Ocs2007;
        let granted = if modern { format!(";gruu=\"{gruu}\"") } else { String::new() };
        response.push("Contact", format!("<{own}>;expires=3600;+sip.instance=\"{instance}\"{granted}"));
        response.push("presence-state", "register-action=\"added\"");
        response.push("Allow-Events", EVENTS);
        response.push("Supported", "adhoclist");
        if modern {
            response.push("Supported", "msrtc-event-categories");
        }
        response.push("ms-keep-alive", "UAS; tcp=no; hop-hop=yes; end-end=no; timeout=300");
        self.registrations.insert(user.to_owned(), Registration { connection, contact: own, shown: [gruu].into() });
        self.respond(connection, request, response);
        self.show(user);
    }

    /// A person's client has left.
    pub(super) fn signed_off(&mut self, user: &str) {
        self.registrations.remove(user);
        if let Some(home) = self.homes.get_mut(user) {
            home.publications.signed_off();
        }
        self.show(user);
    }

    fn client_subscribes(&mut self, connection: ConnectionId, user: &str, name: &str, request: &Message) {
        let event = request.header("Event").to_owned();
        let tagged = parameter(request.header("To"), "tag").is_some();
        if tagged && request.header("Expires") == "0" {
            let call = request.header("Call-ID");
            self.subscriptions.retain(|subscription| subscription.call != call);
            let mut response = self.response(request, 200, "OK");
            response.push("Expires", "0");
            return self.respond(connection, request, response);
        }
        let address = self.address_of(user);
        let (kind, content, document) = match event.as_str() {
            "vnd-microsoft-roaming-contacts" => (Kind::Contacts, ROAMING_CONTACTS, self.contact_list(user)),
            "vnd-microsoft-roaming-self" => {
                let home = self.homes.get(user);
                (Kind::RoamingSelf, ROAMING_SELF, home.map_or_else(String::new, |home| home.publications.roaming_self(&address)))
            }
            "vnd-microsoft-provisioning-v2" => (
                Kind::Other,
                "application/vnd-microsoft-roaming-provisioning-v2+xml",
                "<provisionGroupList xmlns=\"http://schemas.microsoft.com/2006/09/sip/provisiongrouplist-notification\">\
                 <provisionGroup name=\"ServerConfiguration\"><ucMaxVideoRateAllowed>CIF-250K</ucMaxVideoRateAllowed>\
                 </provisionGroup></provisionGroupList>"
                    .to_owned(),
            ),
            "vnd-microsoft-provisioning" => (
                Kind::Other,
                "application/vnd-microsoft-roaming-provisioning+xml",
                format!("<provisioning><user uri=\"{address}\"/></provisioning>"),
            ),
            "vnd-microsoft-roaming-ACL" => (
                Kind::Other,
                "application/vnd-microsoft-roaming-acls+xml",
                "<ACLlist deltaNum=\"1\"><ACE type=\"ALL\" mask=\"\" rights=\"AA\"/></ACLlist>".to_owned(),
            ),
            "presence.wpending" => (Kind::Other, "text/xml+msrtc.wpending", "<watchers/>".to_owned()),
            "presence" if request.header("Require").contains("adhoclist") => {
                return self.client_watches_many(connection, request);
            }
            "presence" if !self.homes.contains_key(name) => return self.answer(connection, request, 404, "Not Found"),
            "presence" => return self.client_watches(connection, name, request),
            _ => return self.answer(connection, request, 489, "Bad Event"),
        };
        self.accept(Subscriber::Client(connection), connection, request, kind, vec![user.to_owned()], content, &document);
    }

    fn contact_list(&self, user: &str) -> String {
        let Some(home) = self.homes.get(user) else { return String::new() };
        let groups =
            home.groups.iter().map(|(id, name)| format!("<group id=\"{id}\" name=\"{}\" externalURI=\"\"/>", escaped(name)));
        let contacts = home.contacts.iter().map(|(contact, name, groups)| {
            format!(
                "<contact uri=\"{contact}\" name=\"{}\" groups=\"{groups}\" subscribed=\"true\" externalURI=\"\"/>",
                escaped(name)
            )
        });
        let entries: String = groups.chain(contacts).collect();
        format!("<contactList deltaNum=\"{}\">{entries}</contactList>", home.delta)
    }

    fn service(&mut self, connection: ConnectionId, user: &str, request: &Message) {
        let kind = request.header("Content-Type").to_owned();
        let document = match Element::parse(&request.text()) {
            Ok(document) => document,
            Err(fault) => {
                self.fault(&format!("a SERVICE that cannot be read: {fault}"), Some(request));
                return self.answer(connection, request, 400, "Bad Request");
            }
        };
        match kind.as_str() {
            "application/msrtc-category-publish+xml" => self.publish(connection, user, request, &document),
            SOAP => self.soap(connection, user, request, &document),
            _ => self.answer(connection, request, 200, "OK"),
        }
    }

    fn publish(&mut self, connection: ConnectionId, user: &str, request: &Message, document: &Element) {
        let address = self.address_of(user);
        let Some(home) = self.homes.get_mut(user) else { return };
        if let Err(fault) = home.publications.publish(document) {
            self.fault(&format!("a publication out of turn: {fault}"), Some(request));
            return self.answer(connection, request, 409, "Conflict");
        }
        let document = home.publications.roaming_self(&address);
        let response = self.response(request, 200, "OK").with_body(ROAMING_SELF, &document);
        self.respond(connection, request, response);
        self.notify_own(user, Kind::RoamingSelf, ROAMING_SELF, &document);
        self.show(user);
    }

    fn soap(&mut self, connection: ConnectionId, user: &str, request: &Message, document: &Element) {
        let Some(call) = document.find("Body").and_then(|body| body.children.first()).cloned() else {
            return self.answer(connection, request, 400, "Bad Request");
        };
        let text = |name: &str| call.child(name).map(|child| child.text.clone()).unwrap_or_default();
        let Some(home) = self.homes.get_mut(user) else { return };
        let contact = text("URI").trim_start_matches("sip:").to_owned();
        let (before, mut change) = (home.delta, String::new());
        match call.name.as_str() {
            "setPresence" => {
                home.publications.set(&call);
                self.answer(connection, request, 200, "OK");
                return self.show(user);
            }
            "setContact" => {
                let (name, groups) = (text("displayName"), text("groups"));
                let known = home.contacts.iter().any(|(known, ..)| *known == contact);
                home.contacts.retain(|(known, ..)| *known != contact);
                home.contacts.push((contact.clone(), name.clone(), groups.clone()));
                let verb = if known { "modifiedContact" } else { "addedContact" };
                change = format!(
                    "<{verb} uri=\"{contact}\" name=\"{}\" groups=\"{groups}\" subscribed=\"true\" externalURI=\"\"/>",
                    escaped(&name)
                );
            }
            "deleteContact" => {
                home.contacts.retain(|(known, ..)| *known != contact);
                change = format!("<deletedContact uri=\"{contact}\"/>");
            }
            "addGroup" => {
                let id = home.groups.iter().map(|(id, _)| id + 1).max().unwrap_or(1);
                home.groups.push((id, text("name")));
                change = format!("<addedGroup id=\"{id}\" name=\"{}\" externalURI=\"\"/>", escaped(&text("name")));
            }
            _ => {}
        }
        if change.is_empty() {
            return self.answer(connection, request, 200, "OK");
        }
        home.delta += 1;
        let (delta, verb) = (home.delta, call.name);
        let group = if verb == "addGroup" { format!("<m:groupID>{}</m:groupID>", home.groups.len()) } else { String::new() };
        let answer = format!(
            "<m:{verb} xmlns:m=\"http://schemas.microsoft.com/winrtc/2002/11/sip\">{group}<m:deltaNum>{delta}</m:deltaNum></m:{verb}>"
        );
        let response = self.response(request, 200, "OK").with_body(SOAP, &answer);
        self.respond(connection, request, response);
        let document = format!("<contactDelta deltaNum=\"{delta}\" prevDeltaNum=\"{before}\">{change}</contactDelta>");
        self.notify_own(user, Kind::Contacts, ROAMING_CONTACTS, &document);
    }
}
