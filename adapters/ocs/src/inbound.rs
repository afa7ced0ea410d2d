//! From the edge: the checks of a server in their order, and which part of the adapter a request is for.

use interchange_adapter::{ConnId, Now, Output};
use interchange_model::{Address, Body, DisplayName, Envelope, LinkId, MessageId, Plain, Refusal, Rich, Text, Up};
use ocs_codec::keyboard::Keyboard;
use rand::RngExt;
pub(crate) use sip_adapter::Open;
use sip_adapter::presence::Engine as _;
use sip_codec::{Method, Name, Request, Response, Value};
use sip_model::address::{self, AddressFault};
use sip_stack::{Flow, Rules, ServerId};

use crate::Ocs;
use crate::body::{self, ACCEPT, BodyFault, Said};
use crate::diagnostics::{self, Carriage, Diagnosis};
use crate::sessions::is_report;
use crate::settings::MAX_TEXT;

/// Requests in dialogs of one link that wait until it is known which dialogs there are.
const MOST_EARLY: usize = 256;
/// Log lines about wrong senders on one connection.
const MOST_NOTES: u8 = 10;

/// What we understand.
pub(crate) fn rules() -> Rules {
    use Method::{Ack, Bye, Cancel, Info, Invite, Message, Notify, Options, Prack, Refer, Subscribe, Update};
    Rules {
        methods: vec![Invite, Ack, Cancel, Bye, Options, Message, Info, Update, Subscribe, Notify],
        known_methods: vec![Refer, Prack],
        // Clients of 2005 require it also of two people.
        extensions: vec!["com.microsoft.rtc-multiparty".to_owned(), "timer".to_owned()],
        // Means that it may be used, and it need not be.
        proxy_extensions: vec!["ms-benotify".to_owned()],
        ..Rules::default()
    }
}

pub(crate) fn of_rules(refused: &sip_stack::Refused) -> Diagnosis {
    let headers = refused.headers.iter();
    headers.fold(Diagnosis::of(refused.status), |diagnosis, (name, value)| diagnosis.with(*name, &value.text()))
}

impl Ocs {
    /// A new request on a connection of a link.
    pub(crate) fn requested(&mut self, now: Now, server: ServerId, flow: Flow, request: Box<Request>) {
        let conn = ConnId::from_u64(flow.id.0);
        let open = Open { server, conn, source: flow.source, request };
        match self.check(&open) {
            Err(diagnosis) => {
                self.report(&open, diagnosis.code);
                self.refuse(now, &open, &diagnosis);
            }
            Ok(None) => self.answer_options(now, &open),
            Ok(Some((number, from))) => self.dispatch(now, number, &from, open),
        }
    }

    /// Hops, loops, method, extensions, sender; with the link that the sender is of. `None`: an OPTIONS, which anybody may ask.
    fn check(&mut self, open: &Open) -> Result<Option<(u64, Address)>, Diagnosis> {
        let request = &open.request;
        if matches!(request.method().as_str(), "REGISTER" | "SERVICE" | "PUBLISH") {
            return Err(Diagnosis::because(403, "Not for a federated partner"));
        }
        if request.max_forwards() != Some(0) && self.hub.has_seen(request) {
            return Err(Diagnosis::of(482));
        }
        let rules = rules();
        rules.check_request(request).map_err(|refused| of_rules(&refused))?;
        if *request.method() == Method::Options {
            return Ok(None);
        }
        rules.check_content(request).map_err(|refused| of_rules(&refused))?;
        self.sender(open).map(Some)
    }

    /// Whose a request is: From must be of a domain of a link whose edge the connection is.
    fn sender(&mut self, open: &Open) -> Result<(u64, Address), Diagnosis> {
        let wrong = || Diagnosis::because(403, "The sender's domain is not that of the partner whose edge this is");
        let uri = open.request.from().uri();
        let from = address::from_sender_uri(uri).map_err(|fault| match fault {
            AddressFault::Domain => wrong(),
            _ => Diagnosis::because(400, "Malformed From"),
        })?;
        let Some(known) = self.conns.get_mut(&open.conn) else { return Err(wrong()) };
        let owns = |number: &&u64| self.links.get(number).is_some_and(|link| link.domains.contains(from.address.domain()));
        if let Some(number) = known.links.iter().find(owns) {
            return Ok((*number, from.address));
        }
        let about = known.links.first().and_then(|number| self.links.get(number)).map(|link| link.id.clone());
        if known.note_wrong_sender(MOST_NOTES) {
            let domain = from.address.domain();
            let link = about.as_ref().map_or_else(String::new, LinkId::to_string);
            let text = format!(
                "a request of {domain} is refused (403): it came from the edge of link {link}, which does not have that domain"
            );
            // Of the link's own health it says nothing.
            self.out.push(Output::Note { conn: open.conn, about: None, text });
        }
        Err(wrong())
    }

    fn dispatch(&mut self, now: Now, number: u64, from: &Address, open: Open) {
        let in_dialog = open.request.to().tag().is_some();
        let Some(link) = self.links.get_mut(&number) else { return };
        if let Some(early) = link.early.as_mut().filter(|_| in_dialog) {
            // The hub has just begun: which dialogs there are is not known yet.
            if early.len() < MOST_EARLY {
                return early.push(open);
            }
            return self.refuse(now, &open, &diagnostics::of_refusal(Refusal::Overloaded, Carriage::Session));
        }
        match open.request.method() {
            Method::Message => self.take_message(now, number, from, open),
            Method::Invite => self.take_invite(now, number, from, open),
            Method::Info => self.take_info(now, from, &open),
            Method::Bye => self.take_bye(now, from, &open),
            Method::Update => self.take_refresh(now, from, &open),
            Method::Subscribe => self.take_subscribe(now, open),
            _ if is_report(&open.request) => self.take_report(now, number, from, &open),
            _ => self.take_notify(now, &open),
        }
    }

    /// Which dialogs there are is known: what has waited for that is answered.
    pub(crate) fn dialogs_known(&mut self, now: Now, number: u64) {
        let early = self.links.get_mut(&number).and_then(|link| link.early.take()).unwrap_or_default();
        for open in early {
            if let Ok(from) = address::from_sender_uri(open.request.from().uri()) {
                self.dispatch(now, number, &from.address, open);
            }
        }
    }

    /// An OPTIONS is answered to whoever is a link's edge, whatever it asks about.
    fn answer_options(&mut self, now: Now, open: &Open) {
        let tag = self.layer.new_tag();
        let answer = || -> Result<Response, sip_codec::Unencodable> {
            Response::to_request(&open.request, 200, Some(&tag), None)?
                .with_header(Name::Allow, Value::new(&rules().allow())?)?
                .with_header(Name::Accept, Value::new(&format!("application/sdp, {}", ACCEPT.join(", ")))?)?
                .with_header(Name::AllowEvents, Value::new("presence")?)?
                .with_header(Name::Server, Value::new("Interchange")?)
        };
        if let Ok(response) = answer() {
            let _ = self.layer.respond(now.instant, open.server, &response, &mut self.actions);
        }
    }

    /// A MESSAGE, in a session or by itself.
    fn take_message(&mut self, now: Now, number: u64, from: &Address, open: Open) {
        if is_report(&open.request) {
            return self.take_report(now, number, from, &open);
        }
        match self.read_message(now, from, &open) {
            Err(diagnosis) => {
                self.report(&open, diagnosis.code);
                self.refuse(now, &open, &diagnosis);
            }
            Ok((_, _, Said::Nothing)) => self.accept(now, &open),
            Ok((_, to, Said::Typing(is_typing))) => {
                self.accept(now, &open);
                self.note_writer(now, number, (from.clone(), to), is_typing);
            }
            Ok((carriage, to, Said::Words(plain, rich))) => {
                self.no_longer_writes(&(from.clone(), to.clone()));
                let name = self.display_name(&open.request, from);
                if let Some(mut envelope) = self.text_envelope(now, number, &open.request, (from, &to), (plain, rich), name) {
                    if let Body::Text(text) = &mut envelope.body {
                        text.wants.delivered = self.will_report(from, &open.request);
                    }
                    self.submit(now, number, envelope, open, carriage, None);
                }
            }
        }
    }

    fn read_message(&mut self, now: Now, from: &Address, open: &Open) -> Result<(Carriage, Address, Said), Diagnosis> {
        let request = &open.request;
        let (carriage, to) = match request.to().tag() {
            Some(_) => {
                let session = self.session_of(request, from).ok_or(Diagnosis::of(481))?;
                (Carriage::Session, self.heard_in(now, session, request).ok_or(Diagnosis::of(481))?)
            }
            None => (Carriage::Page, address::from_uri(request.uri()).map_err(of_address)?.address),
        };
        if request.body().len() > 4 * MAX_TEXT {
            return Err(Diagnosis::of(513));
        }
        let media = request.headers().content_type().map_err(|_| Diagnosis::because(400, "Malformed Content-Type"))?;
        let said = body::read(media.as_ref(), request.body()).map_err(of_body)?;
        Ok((carriage, to, said))
    }

    /// The envelope of a text, whose sender the link has proved.
    pub(crate) fn text_envelope(
        &mut self,
        now: Now,
        number: u64,
        request: &Request,
        (from, to): (&Address, &Address),
        (plain, rich): (Plain, Option<Rich>),
        display_name: Option<DisplayName>,
    ) -> Option<Envelope> {
        let link = self.links.get(&number)?.id.clone();
        let id = MessageId::new(now.wall, self.random.random());
        let body = Body::Text(Text { plain, rich, display_name, ..Text::default() });
        Some(Envelope {
            // RFC 3261 §16.6 step 3; none is 70 (§16.3 step 3).
            hops: request.max_forwards().map_or(Envelope::FULL_HOPS, |hops| hops.min(Envelope::FULL_HOPS)).saturating_sub(1),
            ..Envelope::new(id, link, (from.clone(), to.clone()), now.wall, body)
        })
    }

    /// How a sender is called: by From, else by what the edge, which has proved itself, asserts of the same person.
    pub(crate) fn display_name(&self, request: &Request, from: &Address) -> Option<DisplayName> {
        if let Some(name) = request.from().display().and_then(DisplayName::new) {
            return Some(name);
        }
        let asserted = request.headers().named("P-Asserted-Identity").filter_map(|value| {
            value
                .elements()
                .filter_map(|element| sip_codec::NameAddr::parse(element).ok())
                .find(|party| address::from_sender_uri(party.uri()).is_ok_and(|party| party.address == *from))
        });
        asserted.filter_map(|party| DisplayName::new(party.display()?)).next()
    }

    /// An INFO in a session: typing, above all.
    fn take_info(&mut self, now: Now, from: &Address, open: &Open) {
        let request = &open.request;
        let Some(session) = self.session_of(request, from) else { return self.refuse(now, open, &Diagnosis::of(481)) };
        let (Some(to), Some(link)) = (self.heard_in(now, session, request), self.link_of_session(session)) else { return };
        let media = request.headers().content_type().ok().flatten();
        match media.as_ref().map(|media| (media.kind(), media.subtype())) {
            Some(ocs_codec::keyboard::MEDIA_TYPE) => match Keyboard::read(request.body()) {
                Ok(keyboard) => {
                    self.accept(now, open);
                    self.note_writer(now, link, (from.clone(), to), keyboard.is_typing);
                }
                Err(_) => self.refuse(now, open, &Diagnosis::because(400, "Malformed body")),
            },
            // A group's business, and there is none.
            Some(("application", "x-ms-mim")) => self.refuse(now, open, &Diagnosis::because(488, ONLY_TWO)),
            // The subject of the conversation, and whatever else is said beside it.
            Some(("application", "xml+conversationinfo")) | None => self.accept(now, open),
            Some(_) => self.refuse(now, open, &Diagnosis::of(415)),
        }
    }

    /// 200.
    pub(crate) fn accept(&mut self, now: Now, open: &Open) {
        self.accept_with(now, open, None);
    }

    /// 200 with one more header.
    pub(crate) fn accept_with(&mut self, now: Now, open: &Open, more: Option<(&str, Value)>) {
        let tag = self.layer.new_tag();
        let response = Response::to_request(&open.request, 200, Some(&tag), None)
            .and_then(|response| response.with_header(Name::Contact, self.hub.contact()?))
            .and_then(|response| response.with_header(Name::Server, Value::new("Interchange")?))
            .and_then(|response| match more {
                Some((name, value)) => response.with_named_header(name, value),
                None => Ok(response),
            });
        if let Ok(response) = response {
            let _ = self.layer.respond(now.instant, open.server, &response, &mut self.actions);
        }
    }

    /// A final answer of 300 or more.
    pub(crate) fn refuse(&mut self, now: Now, open: &Open, diagnosis: &Diagnosis) {
        let tag = self.layer.new_tag();
        if let Ok(response) = diagnostics::response(&open.request, &tag, diagnosis) {
            // A transaction that is over has nobody who waits (RFC 4320 §4.1).
            let _ = self.layer.respond(now.instant, open.server, &response, &mut self.actions);
        }
    }

    /// Tells the trace of a message that we refuse ourselves, where it says who wrote to whom.
    pub(crate) fn report(&mut self, open: &Open, code: u16) {
        if !matches!(open.request.method(), Method::Message | Method::Invite) {
            return;
        }
        let link = self.link_of(open.conn);
        let from = address::from_sender_uri(open.request.from().uri()).ok().map(|party| party.address);
        let to = address::from_sender_uri(open.request.to().uri()).ok().map(|party| party.address);
        if let (Some(link), Some(from), Some(to)) = (link, from, to) {
            let why = if code == 403 { Refusal::NotYours } else { sip_model::refusals::from_status(code) };
            self.out.push(Output::Broker(Up::Refused { link, from, to, why }));
        }
    }
}

/// Why whatever is for more than two people is refused.
pub(crate) const ONLY_TWO: &str = "Conversations of more than two people are not carried to partners";

pub(crate) fn of_address(fault: AddressFault) -> Diagnosis {
    match fault {
        AddressFault::Sips | AddressFault::Scheme => Diagnosis::of(416),
        // A server and no person, or no domain that anybody could have.
        AddressFault::NoUser | AddressFault::Domain => Diagnosis::because(404, Refusal::NoSuchUser.sentence()),
        AddressFault::User => Diagnosis::because(400, "Malformed user in Request-URI"),
        AddressFault::Headers => Diagnosis::because(400, "Headers in Request-URI"),
        AddressFault::TooLong => Diagnosis::of(414),
    }
}

pub(crate) fn of_body(fault: BodyFault) -> Diagnosis {
    match fault {
        BodyFault::NoType => Diagnosis::because(400, "Missing Content-Type"),
        BodyFault::Malformed => Diagnosis::because(400, "Malformed body"),
        BodyFault::TooLarge => Diagnosis::because(513, Refusal::TooLarge.sentence()),
        BodyFault::Media => Diagnosis::because(415, Refusal::Unsupported.sentence()).with(Name::Accept, &ACCEPT.join(", ")),
    }
}
