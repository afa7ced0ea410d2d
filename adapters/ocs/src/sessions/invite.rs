//! How sessions begin and end: INVITE, ACK, BYE, both ways.

use interchange_adapter::Now;
use interchange_model::{Address, DisplayName, Outcome, Refusal};
use ocs_codec::first_text::FirstText as FirstWords;
use ocs_codec::session::{MediaWord, Session as Description, SessionFault};
use rand::RngExt;
use sip_adapter::Host as _;
use sip_codec::{ContentType, Method, Name, NameAddr, Request, RequestBuilder, Response, Unencodable, Value};
use sip_model::address;
use sip_model::outbox::{Pair, Place};
use sip_model::refusals::from_status;
use sip_stack::{Dialog, SendError, ServerId};

use super::refresh::{self, Agreed};
use super::{MOST, MOST_OF_ONE, RINGS, Session, Stage};
use crate::body::{self, ACCEPT, Said};
use crate::diagnostics::{Carriage, Diagnosis, of_refusal};
use crate::inbound::{ONLY_TWO, Open, of_address, rules};
use crate::outbound::retry_after;
use crate::settings::FirstText;
use crate::timers::Alarm;
use crate::{Asked, Ocs};

/// The name of a conversation, so that several dialogs are one window at the client.
const CONVERSATION: &str = "Ms-Conversation-ID";
/// The longest that is kept.
const MAX_CONVERSATION: usize = 64;
/// That the text in the INVITE was taken.
const TEXT_FORMAT: &str = "ms-text-format";

/// An INVITE that can be answered.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    link: u64,
    pair: Pair,
    offer: Description,
    window: Option<String>,
    timer: Option<Agreed>,
}

/// An INVITE of ours.
struct Call<'a> {
    pair: &'a Pair,
    /// How whoever calls is called.
    name: Option<DisplayName>,
    call_id: &'a str,
    tag: &'a str,
    sequence: u32,
    /// The message that it is for.
    id: &'a str,
    hops: u8,
    /// Seconds that the session shall last without a refresh, and the fewest that we take.
    interval: u32,
    minimum: u32,
}

/// What an INVITE that is sent once more has of the one before.
struct Again {
    call_id: String,
    tag: String,
    sequence: u32,
    interval: u32,
    minimum: u32,
}

impl Ocs {
    /// An INVITE.
    pub(crate) fn take_invite(&mut self, now: Now, number: u64, from: &Address, open: Open) {
        if open.request.to().tag().is_some() {
            return self.take_refresh(now, from, &open);
        }
        let wanted = match self.read_invite(number, from, &open.request) {
            Ok(wanted) => wanted,
            Err(diagnosis) => {
                self.report(&open, diagnosis.code);
                return self.refuse(now, &open, &diagnosis);
            }
        };
        // The text in it is delivered and confirmed, or left alone and sent again: one without the other would lose or double it.
        let takes_text = self.links.get(&number).is_some_and(|link| link.settings.first_text == FirstText::Invite);
        let words = if takes_text { first_words(&open.request) } else { None };
        match words {
            Some((plain, rich)) => {
                let name = self.display_name(&open.request, from);
                let people = (from, &wanted.pair.0.clone());
                if let Some(envelope) = self.text_envelope(now, number, &open.request, people, (plain, rich), name) {
                    self.submit(now, number, envelope, open, Carriage::Invite, Some(Box::new(wanted)));
                }
            }
            None => self.begin_session(now, &open, &wanted, false),
        }
    }

    fn read_invite(&self, number: u64, from: &Address, request: &Request) -> Result<Wanted, Diagnosis> {
        let ours = address::from_uri(request.uri()).map_err(of_address)?.address;
        if is_group(request) {
            return Err(Diagnosis::because(488, ONLY_TWO));
        }
        let offer = read_offer(request)?;
        let timer = refresh::agree(request)?;
        let count = self.sessions.of_one.get(from).copied().unwrap_or_default();
        if self.stopped || self.sessions.all.len() >= MOST || count >= MOST_OF_ONE {
            return Err(of_refusal(Refusal::Overloaded, Carriage::Invite));
        }
        let window = request.headers().named(CONVERSATION).next().map(|value| value.text().trim().to_owned());
        let window = window.filter(|name| {
            (1..=MAX_CONVERSATION).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        });
        Ok(Wanted { link: number, pair: (ours, from.clone()), offer, window, timer })
    }

    /// Answers an INVITE with 200. `has_text`: the text in it was taken.
    pub(crate) fn begin_session(&mut self, now: Now, open: &Open, wanted: &Wanted, has_text: bool) {
        let tag = self.layer.new_tag();
        let Ok(dialog) = Dialog::of_request(&open.request, &tag) else {
            return self.refuse(now, open, &Diagnosis::because(400, "Malformed Contact or Record-Route"));
        };
        let Ok(response) = self.answer_offer(open, Some(&tag), &wanted.offer, has_text, wanted.timer) else {
            return self.refuse(now, open, &Diagnosis::of(500));
        };
        // The client has lost the session before this one, or it is another device of the same person: there is one window here.
        let old = self.sessions.state(wanted.link, &wanted.pair);
        let waiting = old.and_then(|(old, _)| self.drop_session(now, old, true));
        let number = self.random.random();
        let mut session = Session {
            link: wanted.link,
            pair: wanted.pair.clone(),
            call_id: open.request.call_id().to_owned(),
            stage: Stage::Answered(Box::new(dialog)),
            html: false,
            reports: false,
            word: wanted.offer.word,
            timer: None,
            used: now.instant,
            waiting,
            writing: None,
            reserved: 0,
            alarm: Alarm::default(),
        };
        session.describe(&wanted.offer);
        if let Some(window) = &wanted.window {
            self.sessions.remember_window(&wanted.pair, window.clone());
        }
        self.sessions.add(number, session);
        self.set_timer(now, number, wanted.timer, open.request.headers().has_token(Name::Allow, "UPDATE"));
        self.sessions.answered.insert(open.server, number);
        let _ = self.layer.respond(now.instant, open.server, &response, &mut self.actions);
        self.keep_session(now, number);
        self.arm_session(number);
    }

    pub(super) fn answer_offer(
        &self,
        open: &Open,
        tag: Option<&str>,
        offer: &Description,
        has_text: bool,
        timer: Option<Agreed>,
    ) -> Result<Response, Unencodable> {
        let mut response = Response::to_request(&open.request, 200, tag, None)?
            .with_header(Name::Contact, self.hub.contact()?)?
            .with_header(Name::Server, Value::new("Interchange")?)?
            .with_record_route_of(&open.request);
        if has_text {
            // On a line of its own: clients compare the whole of it.
            response = response.with_header(Name::Supported, Value::new(TEXT_FORMAT)?)?;
        }
        if timer.is_some() {
            response = response.with_header(Name::Allow, Value::new(&rules().allow())?)?;
        }
        response = refresh::with_timer(response, timer)?;
        let answer = Description { word: offer.word, accept: ACCEPT.map(str::to_owned).to_vec() };
        Ok(response.with_body(&ContentType::new("application", "sdp")?, answer.write(None)))
    }

    /// Our 200 was acknowledged: the session stands.
    pub(crate) fn acknowledged(&mut self, now: Now, server: Option<ServerId>) {
        let Some(number) = server.and_then(|server| self.sessions.answered.remove(&server)) else { return };
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        if let Stage::Answered(dialog) = &session.stage {
            session.stage = Stage::Up(dialog.clone());
        }
        self.resume(now, number);
    }

    /// What has waited for a session goes.
    fn resume(&mut self, now: Now, number: u64) {
        let Some(session) = self.sessions.all.get_mut(&number) else { return };
        let link = session.link;
        if let Some(place) = session.waiting.take()
            && let Some(known) = self.links.get_mut(&link)
        {
            known.outbox.again(place);
        }
        self.arm_session(number);
        self.send_waiting(now, link);
    }

    /// It was not: the session is over (RFC 3261 §13.3.1.4).
    pub(crate) fn not_acknowledged(&mut self, now: Now, server: ServerId) {
        if let Some(number) = self.sessions.answered.remove(&server) {
            self.end_session(now, number, true);
        }
    }

    /// A BYE; of a dialog that we do not have, it is answered 481 (RFC 3261 §15.1.2).
    pub(crate) fn take_bye(&mut self, now: Now, from: &Address, open: &Open) {
        let Some(number) = self.session_of(&open.request, from) else { return self.refuse(now, open, &Diagnosis::of(481)) };
        self.accept(now, open);
        self.no_longer_writes_in(now, number);
        self.end_session(now, number, false);
    }

    /// The window was closed: whoever was writing does not any more.
    fn no_longer_writes_in(&mut self, now: Now, number: u64) {
        let Some(session) = self.sessions.all.get(&number) else { return };
        let pair = (session.pair.1.clone(), session.pair.0.clone());
        let Some(link) = self.links.get(&session.link).map(|link| link.id.clone()) else { return };
        self.no_longer_writes(&pair);
        self.tell_typing(now, &link, &pair, interchange_model::TypingState::Gone);
    }

    /// Begins a session for an entry.
    pub(crate) fn invite(&mut self, now: Now, link: u64, place: Place) {
        let number = self.random.random();
        let (call_id, tag) = (self.new_call_id(), self.layer.new_tag());
        let again = Again { call_id, tag, sequence: 1, interval: refresh::INTERVAL, minimum: refresh::LEAST };
        if self.send_invite(now, link, place, number, again) {
            // A person is asked now: others need not wait for that.
            if let Some(known) = self.links.get_mut(&link) {
                known.outbox.park(place);
            }
            self.arm_session(number);
        }
    }

    /// Sends an INVITE for an entry; `false`: that could not be done, and what becomes of the entry is settled.
    fn send_invite(&mut self, now: Now, link: u64, place: Place, number: u64, again: Again) -> bool {
        let Some(known) = self.links.get(&link) else { return false };
        let (Some(way), Some(delivery)) = (known.way(), known.outbox.get(place)) else { return false };
        let (pair, id, hops) = (delivery.pair.clone(), delivery.message.to_string(), delivery.hops);
        let name = delivery.display_name.as_deref().and_then(DisplayName::new);
        let Again { call_id, tag, sequence, interval, minimum } = again;
        let call = Call { pair: &pair, name, call_id: &call_id, tag: &tag, sequence, id: &id, hops, interval, minimum };
        let Ok(request) = self.build_invite(&call) else {
            self.finish(link, place, Outcome::Refused(Refusal::Unsupported));
            return false;
        };
        let sent = self.layer.send_request(now.instant, request, self.hub.via(), way.flow, &mut self.actions);
        let client = match sent {
            Ok(client) => client,
            Err(SendError::TooMany) => {
                self.silent(now, link, "too many requests are under way");
                return false;
            }
            Err(_) => {
                self.finish(link, place, Outcome::Refused(Refusal::Unsupported));
                return false;
            }
        };
        self.clients.insert(client, Asked::Invite { session: number, link, sent: now.instant });
        let session = Session {
            link,
            pair,
            call_id,
            stage: Stage::Inviting { client, until: now.instant + RINGS, interval },
            html: false,
            reports: false,
            word: MediaWord::Message,
            timer: None,
            used: now.instant,
            waiting: Some(place),
            writing: None,
            reserved: 0,
            alarm: Alarm::default(),
        };
        self.sessions.add(number, session);
        true
    }

    fn build_invite(&mut self, call: &Call<'_>) -> Result<RequestBuilder, Unencodable> {
        let (ours, theirs) = call.pair;
        let to = address::to_uri(theirs)?;
        let mut from = NameAddr::new(address::to_uri(ours)?);
        if let Some(name) = &call.name {
            from = from.with_display(name.as_str())?;
        }
        let request = Request::builder(Method::Invite, to.clone())
            .from(from.with_tag(call.tag)?)
            .to(NameAddr::new(to))
            .call_id(call.call_id)?
            .cseq(call.sequence)
            .max_forwards(call.hops);
        let window = self.sessions.windows.get(call.pair).cloned().unwrap_or_else(|| self.hub.conversation(ours, theirs));
        let request = self.hub.signed(request, call.id)?.named_header(CONVERSATION, Value::new(&window)?)?;
        let request = request.header(Name::Allow, Value::new(&rules().allow())?)?;
        let request = refresh::asking(request, call.interval, call.minimum, None)?;
        let offer = Description { word: MediaWord::Message, accept: ACCEPT.map(str::to_owned).to_vec() };
        Ok(request.body(ContentType::new("application", "sdp")?, offer.write(None)))
    }

    /// The timer that we have asked for is too short for somebody on the way (RFC 4028 §7.4); `false`: we have asked for it before, or cannot.
    fn invite_for_longer(&mut self, now: Now, number: u64, link: u64, response: &Response) -> bool {
        let Some(minimum) = refresh::minimum(response).filter(|minimum| *minimum > refresh::INTERVAL) else { return false };
        let Some(session) = self.sessions.all.get(&number) else { return false };
        if !matches!(session.stage, Stage::Inviting { interval: refresh::INTERVAL, .. }) {
            return false;
        }
        let (Some(tag), Some(place)) = (response.from().tag().map(str::to_owned), session.waiting) else { return false };
        let again = Again {
            call_id: session.call_id.clone(),
            tag,
            sequence: response.cseq().number.saturating_add(1),
            interval: minimum,
            minimum,
        };
        let _ = self.drop_session(now, number, false);
        if self.send_invite(now, link, place, number, again) {
            self.arm_session(number);
        } else {
            self.send_waiting(now, link);
        }
        true
    }

    /// A final answer to an INVITE of ours.
    pub(crate) fn invite_answered(&mut self, now: Now, number: u64, link: u64, response: &Response) {
        if !(200..300).contains(&response.status()) {
            if response.status() == 422 && self.invite_for_longer(now, number, link, response) {
                return;
            }
            if response.status() == 503
                && let Some(seconds) = retry_after(response)
            {
                return self.pause(now, link, seconds);
            }
            let why = match response.status() {
                // A person's device, or the person, did not answer; being asked again would only ring again.
                408 => Refusal::Unavailable,
                code => from_status(code),
            };
            return self.invite_failed(now, number, link, Outcome::Refused(why));
        }
        let Ok(dialog) = Dialog::of_response(response) else {
            return self.invite_failed(now, number, link, Outcome::Refused(Refusal::PeerFault));
        };
        self.acknowledge(link, &dialog, response.cseq().number);
        let is_ours = |session: &Session| session.dialog().is_some_and(|known| known.parts().remote == dialog.parts().remote);
        match self.sessions.all.get_mut(&number) {
            Some(session) if matches!(session.stage, Stage::Inviting { .. }) => {
                if let Ok(answer) = Description::read(response.body()) {
                    session.describe(&answer);
                }
                session.stage = Stage::Up(Box::new(dialog));
                session.used = now.instant;
                let by_update = response.headers().has_token(Name::Allow, "UPDATE");
                self.set_timer(now, number, refresh::agreed(response), by_update);
                self.keep_session(now, number);
                self.resume(now, number);
            }
            // The same answer again: it has its ACK.
            Some(session) if is_ours(session) => {}
            // Too late, or a second device (RFC 3261 §13.2.2.4).
            _ => self.say_bye(now, link, dialog),
        }
    }

    /// Ends a dialog that is no session of ours.
    fn say_bye(&mut self, now: Now, link: u64, mut dialog: Dialog) {
        let Some(way) = self.links.get(&link).and_then(|link| link.way()) else { return };
        let Ok(request) = dialog.request(Method::Bye) else { return };
        if let Ok(client) = self.layer.send_request(now.instant, request, self.hub.via(), way.flow, &mut self.actions) {
            self.clients.insert(client, Asked::Bye);
        }
    }

    /// The ACK of a 2xx, which is a request of its own (RFC 3261 §13.2.2.4), along the dialog's route.
    pub(super) fn acknowledge(&mut self, link: u64, dialog: &Dialog, sequence: u32) {
        let branch = self.layer.new_branch();
        let Some(way) = self.links.get(&link).and_then(|link| link.way()) else { return };
        // A copy, so that its number is not used up.
        let request = dialog.clone().request(Method::Ack);
        let request = request.and_then(|request| request.cseq(sequence).via(self.hub.via().with_branch(&branch)?).build());
        if let Ok(request) = request {
            let conn = way.conn;
            self.out.push(interchange_adapter::Output::Send { conn, bytes: request.encode() });
        }
    }

    /// An INVITE of ours came to nothing, or is given up.
    pub(crate) fn invite_failed(&mut self, now: Now, number: u64, link: u64, outcome: Outcome) {
        if !self.sessions.all.get(&number).is_some_and(|session| matches!(session.stage, Stage::Inviting { .. })) {
            return;
        }
        if let Some(place) = self.drop_session(now, number, true) {
            self.settle(now, link, place, outcome, false);
        }
        self.send_waiting(now, link);
    }
}

/// Whether an INVITE is for more than two people: as clients of 2005 do it, or by a conference.
pub(super) fn is_group(request: &Request) -> bool {
    let headers = request.headers();
    let people: usize = headers.named("EndPoints").map(|value| value.elements().count()).sum();
    let triggered = headers.named("TriggeredInvite").any(|value| value.text().trim().eq_ignore_ascii_case("true"));
    people > 2 || triggered
}

/// The offer in an INVITE.
pub(super) fn read_offer(request: &Request) -> Result<Description, Diagnosis> {
    let media = request.headers().content_type().map_err(|_| Diagnosis::because(400, "Malformed Content-Type"))?;
    let Some(media) = media.filter(|_| !request.body().is_empty()) else {
        // An INVITE that offers nothing wants an offer of ours, which could only be a guess (RFC 3261 §13.2.1).
        return Err(Diagnosis::because(488, "A session of messages must be offered"));
    };
    if media.is("application", "ms-conf-invite+xml") {
        return Err(Diagnosis::because(488, ONLY_TWO));
    }
    if !media.is("application", "sdp") {
        return Err(Diagnosis::because(488, "Files and other content of sessions are not carried to partners"));
    }
    let offer = Description::read(request.body()).map_err(|fault| match fault {
        SessionFault::Malformed => Diagnosis::because(400, "Malformed session description"),
        SessionFault::OtherMedia => Diagnosis::because(488, "Only sessions of messages are carried to partners"),
    })?;
    if offer.accepts("text/plain") { Ok(offer) } else { Err(Diagnosis::because(488, "The session must take text/plain")) }
}

/// The text in an INVITE.
fn first_words(request: &Request) -> Option<(interchange_model::Plain, Option<interchange_model::Rich>)> {
    let first = FirstWords::read(&request.headers().named(TEXT_FORMAT).next()?.text())?;
    let media = ContentType::parse(first.content_type.as_bytes()).ok()?;
    match body::read(Some(&media), &first.body) {
        Ok(Said::Words(plain, rich)) => Some((plain, rich)),
        // Left alone: as a MESSAGE it is refused with a reason, if it must be.
        _ => None,
    }
}
