//! From the peer: the checks of a server in their order, submission, and the answer that may wait.

use std::collections::HashMap;
use std::sync::Arc;

use interchange_adapter::{ConnId, Now, Output};
use interchange_model::{Address, Body, Failure, LinkId, MessageId, Receipt, ReceiptKind, Refusal, Token, Up};
use rand::RngExt;
use simple_codec::composing::Composing;
use simple_codec::imdn::{Imdn, Status as ImdnStatus};
pub(crate) use sip_adapter::Open;
use sip_adapter::presence::Engine as _;
use sip_codec::{Method, Name, Request, Value};
use sip_stack::{Flow, Refused, Rules, ServerId};

use crate::address::{self, AddressFault};
use crate::body::{self, BodyFault, Said, Words};
use crate::outbox::Pair;
use crate::refusals::{self, Status};
use crate::seen::{Fate, Fingerprint, Seen};
use crate::settings::MAX_TEXT;
use crate::timers::{Alarm, Sleeper};
use crate::{Sip, translate};

/// Messages of one link that the broker has not answered; more get 503.
pub(crate) const MOST_UNANSWERED: usize = 2_000;
/// Stored messages of all links whose answer is held back; more are answered 202 at once.
const MOST_HELD: usize = 20_000;
/// Transactions that carry one message and wait for one answer: the newest.
const MOST_REPEATS: usize = 4;

/// What we understand, and what waits for an answer.
pub(crate) struct Desk {
    rules: Rules,
    waiting: HashMap<Token, Waiting>,
    by_message: HashMap<MessageId, Token>,
    seen: Seen<Answer>,
}

/// A message whose sender waits for the answer.
struct Waiting {
    link: u64,
    message: MessageId,
    fingerprint: Fingerprint,
    /// The requests that carried it: more than one, where it was repeated as a new transaction.
    requests: Vec<Open>,
    /// There may be more to learn of it than that it is stored.
    may_wait: bool,
    /// The broker has it.
    stored: bool,
    /// What became of it, learnt before the broker said that it has it.
    early: Option<Answer>,
    alarm: Alarm,
}

/// The final answer to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 200: the recipient's server has it.
    Delivered,
    /// 202: it is stored (RFC 3428 §7).
    Accepted,
    /// 400 and above.
    Refused(Status),
}

impl Desk {
    pub(crate) fn new() -> Self {
        use Method::{
            Ack, Bye, Cancel, Info, Invite, Message, Notify, Options, Prack, Publish, Refer, Register, Subscribe, Update,
        };
        let rules = Rules {
            methods: vec![Invite, Ack, Cancel, Bye, Options, Message, Subscribe, Notify],
            known_methods: vec![Register, Publish, Refer, Info, Update, Prack],
            encodings: vec![body::DEFLATE.to_owned()],
            accept: ACCEPT.iter().map(|media| (*media).to_owned()).collect(),
            ..Rules::default()
        };
        Self { rules, waiting: HashMap::new(), by_message: HashMap::new(), seen: Seen::default() }
    }

    /// Whether an answer is still owed on a connection.
    pub(crate) fn owes(&self, conn: ConnId) -> bool {
        self.waiting.values().any(|waiting| waiting.requests.iter().any(|open| open.conn == conn))
    }
}

/// Bodies in which we find words, or what is said beside them.
const ACCEPT: [&str; 9] = [
    "text/plain",
    "text/html",
    "multipart/alternative",
    "multipart/mixed",
    "multipart/related",
    "message/cpim",
    "message/imdn+xml",
    "application/im-iscomposing+xml",
    "application/pidf+xml",
];

/// What a MESSAGE says, and on which link, by its number.
enum Taken {
    Nothing,
    Envelope(u64, Box<interchange_model::Envelope>),
    /// From whom to whom.
    Composing(u64, Pair, Composing),
}

pub(crate) fn of_status(status: Status) -> Refused {
    let refused = Refused::of(status.code);
    match status.retry_after {
        Some(seconds) => refused.with(Name::RetryAfter, &seconds.to_string()),
        None => refused,
    }
}

fn of_address(fault: AddressFault) -> Refused {
    match fault {
        AddressFault::Sips => Refused::because(416, "SIPS not available beyond this hub"),
        AddressFault::Scheme => Refused::of(416),
        // A server and no person, or no domain that anybody could have.
        AddressFault::NoUser | AddressFault::Domain => Refused::of(404),
        AddressFault::User => Refused::because(400, "Malformed user in Request-URI"),
        AddressFault::Headers => Refused::because(400, "Headers in Request-URI"),
        AddressFault::TooLong => Refused::of(414),
    }
}

fn of_body(fault: BodyFault) -> Refused {
    match fault {
        BodyFault::NoType => Refused::because(400, "Missing Content-Type"),
        BodyFault::Malformed => Refused::because(400, "Malformed body"),
        BodyFault::TooLarge => Refused::of(413),
        BodyFault::Media => Refused::of(415).with(Name::Accept, &ACCEPT.join(", ")),
        BodyFault::Charset => {
            let accept = format!("text/plain;charset=utf-8, {}", ACCEPT.get(1..).unwrap_or_default().join(", "));
            Refused::of(415).with(Name::Accept, &accept)
        }
        BodyFault::Spoofed => Refused::because(403, "Sender of the body differs"),
    }
}

impl Sip {
    /// A new request on a connection of a link (shared/protocols/sip.md §4, the order of checks).
    pub(crate) fn requested(&mut self, now: Now, server: ServerId, flow: Flow, request: Box<Request>) {
        let conn = ConnId::from_u64(flow.id.0);
        let open = Open { server, conn, source: flow.source, request };
        self.note_alias(now, conn, &open.request);
        if let Err(refused) = self.check(&open.request) {
            self.report(conn, &open.request, refused.status);
            return self.refuse(now, &open, &refused);
        }
        match open.request.method() {
            Method::Options => self.answer_options(now, &open),
            Method::Message => self.take(now, open),
            Method::Subscribe => self.take_subscribe(now, open),
            Method::Notify => self.take_notify(now, &open),
            Method::Invite => self.take_invite(now, &open),
            _ => self.take_bye(now, &open),
        }
    }

    /// RFC 5923 §4: over TLS the peer may offer its connection for our requests.
    fn note_alias(&mut self, now: Now, conn: ConnId, request: &Request) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        if known.alias || known.via.transport() != interchange_adapter::Transport::Tls || !request.via().params().has("alias") {
            return;
        }
        known.alias = true;
        for number in known.links.clone() {
            self.consider(now, number, conn);
        }
    }

    /// Hops, loops, method, scheme.
    fn check(&self, request: &Request) -> Result<(), Refused> {
        if request.max_forwards() != Some(0) && self.hub.has_seen(request) {
            return Err(Refused::of(482));
        }
        self.desk.rules.check_request(request)
    }

    /// An OPTIONS is answered to whoever is a link's peer, whatever it asks about.
    fn answer_options(&mut self, now: Now, open: &Open) {
        let capabilities = Refused {
            status: 200,
            reason: None,
            // RFC 3261 §11.2
            headers: [
                (Name::Allow, self.desk.rules.allow()),
                (Name::Accept, ACCEPT.join(", ")),
                (Name::AllowEvents, "presence".to_owned()),
                (Name::Supported, String::new()),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name, Value::new(&value).ok()?)))
            .collect(),
        };
        self.refuse(now, open, &capabilities);
    }

    /// A MESSAGE: checked, and submitted.
    fn take(&mut self, now: Now, open: Open) {
        match self.read_message(now, &open) {
            Err(refused) => {
                self.report(open.conn, &open.request, refused.status);
                self.refuse(now, &open, &refused);
            }
            // It says nothing: fine, and nobody is told.
            Ok(Taken::Nothing) => self.reply(now, &open, Answer::Delivered),
            Ok(Taken::Envelope(number, envelope)) => self.submit(now, number, *envelope, open),
            Ok(Taken::Composing(number, pair, composing)) => {
                self.take_composing(now, number, pair, &composing);
                self.reply(now, &open, Answer::Delivered);
            }
        }
    }

    /// What a MESSAGE says, for which link.
    fn read_message(&mut self, now: Now, open: &Open) -> Result<Taken, Refused> {
        let request = &open.request;
        self.desk.rules.check_content(request)?;
        // We have no dialogs (RFC 3261 §12.2.2).
        if request.to().tag().is_some() {
            return Err(Refused::of(481));
        }
        let to = address::from_uri(request.uri()).map_err(of_address)?;
        let from = address::from_sender_uri(request.from().uri()).map_err(|fault| match fault {
            AddressFault::Domain => Refused::of(403),
            _ => Refused::because(400, "Malformed From"),
        })?;
        if request.body().len() > MAX_TEXT {
            return Err(Refused::of(413));
        }
        let media = request.headers().content_type().map_err(|_| Refused::because(400, "Malformed Content-Type"))?;
        let content = body::unpacked(request, MAX_TEXT).map_err(of_body)?;
        let said = match body::read(media.as_ref(), &content, &from.address) {
            Ok(Some(said)) => said,
            Ok(None) => return Ok(Taken::Nothing),
            Err(fault) => return Err(of_body(fault)),
        };
        // From decides among the links of the connection. From a domain of none of them it is submitted all the same, for
        // the broker to refuse: so the trace shows it.
        let links = self.conns.get(&open.conn).map(|conn| conn.links.as_slice()).unwrap_or_default();
        let owner =
            links.iter().find(|number| self.links.get(number).is_some_and(|link| link.domains.contains(from.address.domain())));
        let Some(number) = owner.or(links.first()).copied() else { return Err(Refused::of(403)) };
        let Some(link) = self.links.get(&number) else { return Err(Refused::of(403)) };
        let id = MessageId::new(now.wall, self.random.random());
        let name = link.id.clone();
        let (words, receipt) = match said {
            Said::Composing(composing) => return Ok(Taken::Composing(number, (from.address, to.address), composing)),
            Said::Words(words) => (words, None),
            Said::Receipt(imdn) => match self.receipt(&imdn, &from.address, &to.address) {
                Some(body) => (Words::default(), Some(body)),
                // Case 39: of a message that we know nothing of.
                None => return Ok(Taken::Nothing),
            },
        };
        let envelope = translate::to_envelope(request, from, to, words, id, name, now.wall);
        let envelope = match receipt {
            Some(body) => interchange_model::Envelope { body, ..envelope },
            None => {
                self.note_words(now, &envelope.from, &envelope.to);
                envelope
            }
        };
        Ok(Taken::Envelope(number, Box::new(envelope)))
    }

    /// What became of a message that went out under a reference of ours, from the person it was sent to.
    pub(crate) fn receipt(&self, imdn: &Imdn, from: &Address, to: &Address) -> Option<Body> {
        let (of, native_id) = self.hub.references.read(&imdn.message_id, to, from)?;
        let (of, what) = match imdn.status {
            ImdnStatus::Delivered => (Some(of), ReceiptKind::Delivered),
            ImdnStatus::Displayed => (Some(of), ReceiptKind::Displayed),
            ImdnStatus::Failed => {
                return Some(Body::Failure(Failure { of: Some(of), native_id, why: Refusal::PeerFault, detail: None }));
            }
            // RFC 5438 §7.2.1: nobody may say, or can.
            ImdnStatus::Forbidden | ImdnStatus::Error | ImdnStatus::Processed | ImdnStatus::Stored => return None,
        };
        Some(Body::Receipt(Receipt { of, native_id, what }))
    }

    fn submit(&mut self, now: Now, number: u64, envelope: interchange_model::Envelope, open: Open) {
        let fingerprint = Fingerprint::of(&envelope.origin, &open.request);
        match self.desk.seen.get(now.instant, &fingerprint) {
            Some(Fate::Answered(answer)) => return self.reply(now, &open, answer),
            Some(Fate::Open(token)) => {
                if let Some(waiting) = self.desk.waiting.get_mut(&token) {
                    // The newest is the one whose sender still waits: it takes the place of the oldest.
                    if waiting.requests.len() >= MOST_REPEATS {
                        waiting.requests.remove(0);
                    }
                    waiting.requests.push(open);
                }
                return;
            }
            None => {}
        }
        let Some(link) = self.links.get_mut(&number) else { return };
        if self.stopped || link.unanswered >= MOST_UNANSWERED {
            return self.reply(now, &open, Answer::Refused(refusals::to_status(Refusal::Overloaded)));
        }
        link.unanswered += 1;
        let name = link.id.clone();
        let token = Token(self.number());
        let message = envelope.id;
        self.desk.seen.open(now.instant, fingerprint, token);
        self.desk.by_message.insert(message, token);
        let requests = vec![open];
        let may_wait = matches!(envelope.body, Body::Text(_));
        let waiting = Waiting {
            link: number,
            message,
            fingerprint,
            requests,
            may_wait,
            stored: false,
            early: None,
            alarm: Alarm::default(),
        };
        self.desk.waiting.insert(token, waiting);
        self.out.push(Output::Broker(Up::Submit { token, link: name, envelope: Arc::new(envelope) }));
    }

    /// The broker has taken a message, or refuses it.
    pub(crate) fn submitted(&mut self, now: Now, token: Token, result: Result<(), Refusal>) {
        let crowded = self.desk.waiting.len() > MOST_HELD;
        let Some(waiting) = self.desk.waiting.get_mut(&token) else { return };
        let link = self.links.get_mut(&waiting.link);
        let wait =
            link.as_ref().filter(|_| waiting.may_wait).map_or(std::time::Duration::ZERO, |link| link.settings.answer_wait());
        if let Some(link) = link {
            link.unanswered = link.unanswered.saturating_sub(1);
        }
        waiting.stored = result.is_ok();
        match (result, waiting.early) {
            (Err(why), _) => self.conclude(now, token, Answer::Refused(refusals::to_status(why))),
            (Ok(()), Some(answer)) => self.conclude(now, token, answer),
            (Ok(()), None) if wait.is_zero() || self.stopped || crowded => {
                self.conclude(now, token, Answer::Accepted);
            }
            (Ok(()), None) => self.timers.set(&mut waiting.alarm, Sleeper::Answer(token), Some(now.instant + wait)),
        }
    }

    /// The recipient's server has it.
    pub(crate) fn delivered(&mut self, now: Now, link: &LinkId, message: MessageId) {
        let Some(number) = self.names.get(link).copied() else { return };
        self.learn(now, number, message, Answer::Delivered);
    }

    /// Uses the open answer to tell of a failure; `false`: there is none any more.
    pub(crate) fn answer_failure(&mut self, now: Now, number: u64, message: MessageId, why: Refusal) -> bool {
        self.learn(now, number, message, Answer::Refused(refusals::to_status(why)))
            || self.report_words(now, number, message, Err(why))
    }

    fn learn(&mut self, now: Now, number: u64, message: MessageId, answer: Answer) -> bool {
        let Some(token) = self.desk.by_message.get(&message).copied() else { return false };
        let Some(waiting) = self.desk.waiting.get_mut(&token).filter(|waiting| waiting.link == number) else { return false };
        if waiting.stored {
            self.conclude(now, token, answer);
        } else {
            waiting.early = Some(answer);
        }
        true
    }

    /// The answer may wait no longer.
    pub(crate) fn wake_answer(&mut self, now: Now, token: Token) {
        if let Some(waiting) = self.desk.waiting.get_mut(&token) {
            waiting.alarm.rang();
            self.conclude(now, token, Answer::Accepted);
        }
    }

    /// The hub stops: whoever waits for more than that a message is stored waits no longer.
    pub(crate) fn stop_waiting(&mut self, now: Now) {
        let mut stored: Vec<Token> =
            self.desk.waiting.iter().filter(|(_, waiting)| waiting.stored).map(|(token, _)| *token).collect();
        stored.sort_unstable();
        for token in stored {
            self.conclude(now, token, Answer::Accepted);
        }
    }

    /// Gives the final answer.
    fn conclude(&mut self, now: Now, token: Token, answer: Answer) {
        let Some(mut waiting) = self.desk.waiting.remove(&token) else { return };
        self.timers.set(&mut waiting.alarm, Sleeper::Answer(token), None);
        self.desk.by_message.remove(&waiting.message);
        if waiting.stored {
            self.desk.seen.answered(&waiting.fingerprint, answer);
        } else {
            // Not taken: it may come again.
            self.desk.seen.forget(&waiting.fingerprint);
        }
        for open in &waiting.requests {
            self.reply(now, open, answer);
        }
    }

    fn reply(&mut self, now: Now, open: &Open, answer: Answer) {
        let response = match answer {
            Answer::Delivered => Refused::of(200),
            Answer::Accepted => Refused::of(202),
            Answer::Refused(status) => of_status(status),
        };
        self.refuse(now, open, &response);
    }

    /// Sends a final answer of whatever class.
    pub(crate) fn refuse(&mut self, now: Now, open: &Open, answer: &Refused) {
        let tag = self.layer.new_tag();
        // No Contact (RFC 3428 §7), no Record-Route: nothing of this begins a dialog. The product's name, no version.
        let response = answer.to_response(&open.request, &tag, open.source).and_then(|response| {
            let server = Value::new("Interchange")?;
            response.with_header(Name::Server, server)
        });
        if let Ok(response) = response {
            // A transaction that is over has nobody who waits (RFC 4320 §4.1).
            let _ = self.layer.respond(now.instant, open.server, &response, &mut self.actions);
        }
    }

    /// Tells the trace of a message that we refuse ourselves, where it says who wrote to whom.
    fn report(&mut self, conn: ConnId, request: &Request, code: u16) {
        if *request.method() != Method::Message {
            return;
        }
        let link = self.conns.get(&conn).and_then(|conn| self.links.get(conn.links.first()?)).map(|link| link.id.clone());
        let from: Option<Address> = address::from_sender_uri(request.from().uri()).ok().map(|party| party.address);
        let to = address::from_sender_uri(request.uri()).ok().map(|party| party.address);
        if let (Some(link), Some(from), Some(to)) = (link, from, to) {
            self.out.push(Output::Broker(Up::Refused { link, from, to, why: refusals::from_status(code) }));
        }
    }
}
