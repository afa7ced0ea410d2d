//! Reports of what became of a message, after its answer (`application/ms-imdn+xml`). Whoever answers a MESSAGE with a `Message-Id` has taken it without
//! having delivered it, and says later what became of it; the hub does the same for clients that take such reports, where the link says so.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use interchange_adapter::{ConnId, Now, Output};
use interchange_model::{Address, Body, Envelope, MessageId, Receipt, ReceiptKind, Refusal, Text, Token, Up};
use ocs_codec::imdn::{self, Imdn, Recipient};
use rand::RngExt;
use sip_codec::{ContentType, Method, Name, Request, RequestBuilder, Response, Uri, Value};
use sip_model::address;
use sip_model::outbox::Pair;
use sip_model::refusals::from_status;

use crate::diagnostics::{Carriage, Diagnosis, of_refusal};
use crate::inbound::{Open, of_address};
use crate::{Asked, Ocs};

/// Messages whose reports are awaited; of more, those of the oldest are nobody's any more.
const MOST: usize = 10_000;
/// How long a report is awaited.
const AWAITED: Duration = Duration::from_secs(60 * 60);

/// Messages that others have taken, and will tell of.
#[derive(Default)]
pub(crate) struct Reports {
    awaited: HashMap<Named, (Box<Envelope>, Instant)>,
    order: VecDeque<Named>,
}

/// A message, by the name that whoever took it has given to it: one name can be another message's for another pair.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Named {
    link: u64,
    pair: Pair,
    name: String,
}

impl Reports {
    fn insert(&mut self, now: Instant, named: Named, envelope: Box<Envelope>) {
        while self.order.front().is_some_and(|oldest| {
            self.order.len() >= MOST || self.awaited.get(oldest).is_none_or(|(_, since)| now >= *since + AWAITED)
        }) {
            if let Some(oldest) = self.order.pop_front() {
                self.awaited.remove(&oldest);
            }
        }
        if self.awaited.insert(named.clone(), (envelope, now)).is_none() {
            self.order.push_back(named);
        }
    }

    fn take(&mut self, now: Instant, named: &Named) -> Option<Box<Envelope>> {
        let (envelope, since) = self.awaited.remove(named)?;
        (now < since + AWAITED).then_some(envelope)
    }
}

/// The name that an answer gives to a message.
fn name_of(response: &Response) -> Option<String> {
    let value = response.headers().named(imdn::MESSAGE_ID).next()?;
    let name = value.text().trim().to_owned();
    (1..=imdn::MAX_ID).contains(&name.len()).then_some(name)
}

/// Whether a request holds a report.
pub(crate) fn is_report(request: &Request) -> bool {
    let media = request.headers().content_type().ok().flatten();
    media.is_some_and(|media| media.is(imdn::MEDIA_TYPE.0, imdn::MEDIA_TYPE.1))
}

impl Ocs {
    /// A message was taken; `true`: by somebody who will tell what becomes of it.
    pub(crate) fn await_report(&mut self, now: Now, link: u64, envelope: &Envelope, response: &Response) -> bool {
        let (Some(name), Body::Text(text)) = (name_of(response), &envelope.body) else { return false };
        let pair = (envelope.from.clone(), envelope.to.clone());
        // Not its words, which nobody needs any more.
        let body = Body::Text(Text { wants: text.wants, kind: text.kind, ..Text::default() });
        let envelope = Envelope { body, native: None, ..envelope.clone() };
        self.reports.insert(now.instant, Named { link, pair, name }, Box::new(envelope));
        true
    }

    /// A report came in a MESSAGE or a NOTIFY. Of a message that nobody waits for it says nothing, and is taken all the same.
    pub(crate) fn take_report(&mut self, now: Now, number: u64, from: &Address, open: &Open) {
        match self.read_report(now, number, from, &open.request) {
            Ok(()) => self.accept(now, open),
            Err(diagnosis) => self.refuse(now, open, &diagnosis),
        }
    }

    /// The same in a BENOTIFY, which is never answered; `true`: it was one.
    pub(crate) fn take_silent_report(&mut self, now: Now, conn: ConnId, request: &Request) -> bool {
        if !is_report(request) {
            return false;
        }
        if let Ok(from) = address::from_sender_uri(request.from().uri()) {
            let owns = |number: &&u64| self.links.get(number).is_some_and(|link| link.domains.contains(from.address.domain()));
            let number = self.conns.get(&conn).and_then(|known| known.links.iter().find(owns).copied());
            if let Some(number) = number {
                let _ = self.read_report(now, number, &from.address, request);
            }
        }
        true
    }

    fn read_report(&mut self, now: Now, number: u64, from: &Address, request: &Request) -> Result<(), Diagnosis> {
        let to = match request.to().tag() {
            Some(_) => {
                let session = self.session_of(request, from).ok_or(Diagnosis::of(481))?;
                self.heard_in(now, session, request).ok_or(Diagnosis::of(481))?
            }
            None => address::from_uri(request.uri()).map_err(of_address)?.address,
        };
        // Whatever it is, there is nothing in it for a person to see.
        let Ok(report) = Imdn::read(request.body()) else { return Ok(()) };
        // What it says of others is theirs to say.
        let is_of_sender = |recipient: &&Recipient| {
            let uri = Uri::parse(recipient.uri.as_bytes()).ok();
            uri.and_then(|uri| address::from_sender_uri(&uri).ok()).is_some_and(|party| party.address == *from)
        };
        let Some(recipient) = report.recipients.iter().find(is_of_sender) else { return Ok(()) };
        let named = Named { link: number, pair: (to, from.clone()), name: report.message_id };
        let Some(envelope) = self.reports.take(now.instant, &named) else { return Ok(()) };
        match recipient.status {
            Some(200..=299) => self.receipt(now, number, &envelope),
            status => {
                let id = MessageId::new(now.wall, self.random.random());
                let failure = envelope.failure(id, status.map_or(Refusal::PeerFault, from_status), now.wall);
                self.submit_answer(number, failure);
            }
        }
        Ok(())
    }

    /// The sender of a message is told that it has arrived, where they want to know.
    pub(crate) fn receipt(&mut self, now: Now, number: u64, of: &Envelope) {
        if matches!(&of.body, Body::Text(text) if text.wants.delivered) {
            let id = MessageId::new(now.wall, self.random.random());
            let receipt = Receipt { of: Some(of.id), native_id: of.native_id.clone(), what: ReceiptKind::Delivered };
            self.submit_answer(number, Some(of.answer(id, Body::Receipt(receipt), now.wall)));
        }
    }

    fn submit_answer(&mut self, number: u64, answer: Option<Envelope>) {
        let Some((answer, link)) = answer.zip(self.links.get(&number).map(|link| link.id.clone())) else { return };
        let token = Token(self.number());
        let envelope = Envelope { origin: link.clone(), from_device: None, ..answer };
        self.out.push(Output::Broker(Up::Submit { token, link, envelope: Arc::new(envelope) }));
    }

    /// Whether whoever wrote a message in a session will be told by reports what became of it.
    pub(crate) fn will_report(&self, from: &Address, request: &Request) -> bool {
        let session = self.session_of(request, from).and_then(|number| self.sessions.all.get(&number));
        session.is_some_and(|session| session.reports && self.links.get(&session.link).is_some_and(|link| link.settings.reports))
    }

    /// 200 to a message, with its name where a report will follow.
    pub(crate) fn accept_words(&mut self, now: Now, open: &Open, message: Option<MessageId>) {
        let from = address::from_sender_uri(open.request.from().uri()).ok();
        let message = message.filter(|_| from.is_some_and(|from| self.will_report(&from.address, &open.request)));
        let name = message.and_then(|message| Value::new(&message.to_string()).ok());
        self.accept_with(now, open, name.map(|name| (imdn::MESSAGE_ID, name)));
    }

    /// Tells one of the member's people in their session what became of a message of theirs; `None`: there is no session that takes that.
    pub(crate) fn report_arrival(&mut self, now: Now, number: u64, pair: &Pair, message: MessageId) -> Option<()> {
        if !self.links.get(&number)?.settings.reports {
            return None;
        }
        let (session, _) = self.sessions.standing(number, pair).filter(|(_, session)| session.reports)?;
        let link = self.links.get_mut(&number)?;
        let way = link.way()?;
        // Nobody waits for it.
        link.pace.take(now.instant, 1).ok()?;
        let request = self.report_request(now, session, pair, message, 200)?;
        let client = self.layer.send_request(now.instant, request, self.hub.via(), way.flow, &mut self.actions).ok()?;
        self.clients.insert(client, Asked::Typing { session });
        Some(())
    }

    /// The request that reports of a message in a session.
    pub(crate) fn report_request(
        &mut self,
        now: Now,
        session: u64,
        (ours, _): &Pair,
        message: MessageId,
        status: u16,
    ) -> Option<RequestBuilder> {
        let media = ContentType::new(imdn::MEDIA_TYPE.0, imdn::MEDIA_TYPE.1).ok()?;
        let uri = address::to_uri(ours).ok()?.to_string();
        let report = Imdn { message_id: message.to_string(), recipients: vec![Recipient { uri, status: Some(status) }] };
        let request = self.session_request(now, session, Method::Notify, &format!("{session:016x}"))?;
        // Every NOTIFY says of what it is (RFC 6665 §4.1.3); clients know this one by its body, and nobody has subscribed to it.
        let request = request.header(Name::Event, Value::new("ms-imdn").ok()?).ok()?;
        let request = request.header(Name::SubscriptionState, Value::new("active").ok()?).ok()?;
        Some(request.body(media, report.write()))
    }
}

/// The code by which a report says why a message has failed.
pub(crate) fn status_of(why: Refusal) -> u16 {
    of_refusal(why, Carriage::Session).code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: usize) -> Named {
        let address = |text: &str| Address::parse(text).unwrap();
        Named { link: 1, pair: (address("a@a.example"), address("b@b.example")), name: name.to_string() }
    }

    fn envelope() -> Box<Envelope> {
        let Named { pair: (from, to), .. } = named(0);
        Box::new(Envelope {
            id: MessageId(7),
            origin: "la".into(),
            from,
            from_device: None,
            to,
            to_device: None,
            native_id: None,
            accepted: std::time::UNIX_EPOCH,
            hops: Envelope::FULL_HOPS,
            native: None,
            body: Body::Text(Text::default()),
        })
    }

    #[test]
    fn as_many_reports_are_awaited_as_there_is_room_for_and_each_for_an_hour() {
        let (mut reports, now) = (Reports::default(), Instant::now());
        for name in 0..MOST + 10 {
            reports.insert(now, named(name), envelope());
        }
        assert_eq!((reports.awaited.len(), reports.order.len()), (MOST, MOST));
        assert!(reports.take(now, &named(0)).is_none());
        assert!(reports.take(now, &named(10)).is_some() && reports.take(now, &named(10)).is_none());
        assert!(reports.take(now + AWAITED, &named(11)).is_none());
        reports.insert(now + AWAITED, named(5), envelope());
        assert_eq!((reports.awaited.len(), reports.order.len()), (1, 1));
    }
}
