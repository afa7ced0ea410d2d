//! Towards the edge: what the broker hands over becomes messages in sessions, and their answers become settlements.

use std::sync::Arc;
use std::time::Instant;

use interchange_adapter::{About, Now, Output};
use interchange_model::{Body, DeliveryId, Envelope, Failure, Fault, LinkId, Outcome, ReceiptKind, Refusal, Text, Up, Watch};
pub(crate) use sip_adapter::link::retry_after;
use sip_adapter::presence::Engine as _;
use sip_codec::Response;
use sip_model::notices;
use sip_model::outbox::Place;
use sip_model::parts;
use sip_model::refusals::from_status;
use sip_stack::ClientId;

use crate::body::Outgoing;
use crate::link::Delivery;
use crate::parts::Parts;
use crate::sessions::status_of;
use crate::timers::Sleeper;
use crate::{Asked, Ocs};

/// Requests that beginning a session takes: INVITE, ACK, MESSAGE.
const SESSION_COST: u32 = 3;

impl Ocs {
    /// The broker hands over an envelope.
    pub(crate) fn deliver(&mut self, now: Now, name: &LinkId, delivery: DeliveryId, envelope: &Arc<Envelope>) {
        let Some(number) = self.names.get(name).copied() else { return self.settle_at(name, delivery, Outcome::LinkDown) };
        let built = match &envelope.body {
            Body::Watch(watch) => {
                // From here on it is kept, and tried until it ends.
                self.deliver_watch(now, name, envelope, *watch);
                return self.settle_at(name, delivery, Outcome::Delivered);
            }
            Body::Text(text) => self.build_text(number, envelope, text),
            Body::Failure(failure) => Ok(self.build_notice(now, number, envelope, failure).map(|notice| vec![notice])),
            Body::Receipt(receipt) => {
                // A client that takes no reports shows none.
                if let (Some(message), ReceiptKind::Delivered) = (receipt.of, receipt.what) {
                    let _ = self.report_arrival(now, number, &(envelope.from.clone(), envelope.to.clone()), message);
                }
                Ok(None)
            }
            Body::Typing(_) | Body::Presence(_) => Err(Outcome::Refused(Refusal::Unsupported)),
        };
        let parts = match built {
            Err(outcome) => return self.settle_at(name, delivery, outcome),
            // Said already, or not to be said at all.
            Ok(None) => return self.settle_at(name, delivery, Outcome::Delivered),
            Ok(Some(parts)) => parts,
        };
        let up = !self.stopped && self.links.get(&number).is_some_and(|link| link.way().is_some());
        if !up {
            // The broker did not know yet that the link is down.
            return self.settle_at(name, delivery, Outcome::LinkDown);
        }
        let reports = self.links.get(&number).is_some_and(|link| link.settings.reports);
        let (display_name, report) = match &envelope.body {
            Body::Text(text) => (text.display_name.as_ref().map(|name| name.as_str().into()), None),
            Body::Failure(failure) => (None, failure.of.filter(|_| reports).map(|of| (of, status_of(failure.why)))),
            _ => (None, None),
        };
        let pair = (envelope.from.clone(), envelope.to.clone());
        let entry = Delivery {
            id: delivery,
            message: envelope.id,
            pair: pair.clone(),
            parts: Parts::new(parts, self.arrived.of(envelope.id)),
            display_name,
            hops: envelope.hops.min(Envelope::FULL_HOPS),
            is_notice: matches!(envelope.body, Body::Failure(_)),
            envelope: envelope.clone(),
            report,
            is_second: false,
        };
        if let Some(link) = self.links.get_mut(&number) {
            link.outbox.push(pair, entry);
        }
        self.send_waiting(now, number);
    }

    /// A text as it goes out: in parts, where it is too large for one message.
    fn build_text(&self, number: u64, envelope: &Envelope, text: &Text) -> Result<Option<Vec<Outgoing>>, Outcome> {
        let most = self.links.get(&number).map_or(0, |link| link.settings.max_message);
        if envelope.hops == 0 {
            return Err(Outcome::Refused(Refusal::Loop));
        }
        match Outgoing::of(text) {
            // Words that nobody here can read are never dropped without a word.
            None if text.encrypted => Err(Outcome::Refused(Refusal::Unsupported)),
            None => Ok(None),
            Some(words) if words.size() > most => match words.parts(most) {
                Some(parts) => Ok(Some(parts)),
                None => Err(parts::too_large(most, most)),
            },
            Some(words) => Ok(Some(vec![words])),
        }
    }

    /// The sender of an earlier message is told that it failed: by the answer, if that is still open; else by a message from the person it was for.
    fn build_notice(&mut self, now: Now, number: u64, envelope: &Envelope, failure: &Failure) -> Option<Outgoing> {
        if let Some(message) = failure.of
            && self.answer_failure(now, number, message, failure.why)
        {
            return None;
        }
        if !notices::takes_notices(&envelope.to) {
            return None;
        }
        let link = self.links.get_mut(&number)?;
        let more = match link.way() {
            Some(_) => link.notices.allow(now.instant, &(envelope.from.clone(), envelope.to.clone()))?,
            // It will not be sent now, and is counted when it is.
            None => 0,
        };
        Some(Outgoing::plain(&notices::sentence(failure, more)))
    }

    /// Sends what may go: one message for each pair at a time, as fast as the edge takes them.
    pub(crate) fn send_waiting(&mut self, now: Now, number: u64) {
        loop {
            let Some(link) = self.links.get_mut(&number) else { return };
            if link.way().is_none() {
                return;
            }
            let Some((place, delivery)) = link.outbox.open_next() else { return };
            let pair = delivery.pair.clone();
            let state = self.sessions.state(number, &pair);
            let cost = match state {
                Some((session, false)) => {
                    // It goes when the session stands, and keeps no other conversation waiting until then.
                    link.outbox.park(place);
                    self.sessions.wait(session, place);
                    continue;
                }
                Some((_, true)) => 1,
                None => SESSION_COST,
            };
            let Some(link) = self.links.get_mut(&number) else { return };
            if !link.pace.address(&pair.1) {
                self.too_many_addresses(number);
                self.finish(number, place, Outcome::Refused(Refusal::RateLimited));
                continue;
            }
            if let Err(at) = link.pace.take(now.instant, cost) {
                link.outbox.again(place);
                return self.timers.set(&mut link.pace_alarm, Sleeper::Pace(number), Some(at));
            }
            match state {
                Some((session, _)) => self.send_words(now, session, place),
                None => self.invite(now, number, place),
            }
        }
    }

    pub(crate) fn wake_pace(&mut self, now: Now, number: u64) {
        if let Some(link) = self.links.get_mut(&number) {
            link.pace_alarm.rang();
        }
        self.send_waiting(now, number);
    }

    /// The hub keeps below the number of people after which an edge stops a partner that it has merely discovered.
    pub(crate) fn too_many_addresses(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if std::mem::replace(&mut link.said_full, true) {
            return;
        }
        let text = format!(
            "link {}: {} people have been addressed, and an Edge that does not list the hub stops it at 1,000: put it on the Allow list and set `listed`",
            link.id,
            crate::pace::MOST_ADDRESSES
        );
        let about = Some(About { link: link.id.clone(), sign: Err(Fault::Throttled) });
        if let Some(way) = link.way() {
            self.out.push(Output::Note { conn: way.conn, about, text });
        }
    }

    /// An answer to one of our requests.
    pub(crate) fn responded(&mut self, now: Now, client: ClientId, response: &Response) {
        // Of an INVITE more than one 2xx may come (RFC 6026 §7.2).
        let is_last =
            response.is_final() && !matches!(self.clients.get(&client), Some(Asked::Invite { .. }) if response.status() < 300);
        let asked = if is_last { self.clients.remove(&client) } else { self.clients.get(&client).copied() };
        let Some(asked) = asked else { return };
        if let Asked::Options { link } | Asked::Invite { link, .. } | Asked::Message { link, .. } | Asked::Refresh { link, .. } =
            asked
            && let Some(link) = self.links.get_mut(&link)
        {
            link.heard = Some(now.instant);
        }
        if !response.is_final() {
            return;
        }
        match asked {
            Asked::Options { link } => self.probed(now, link, client, response),
            Asked::Invite { session, link, .. } => self.invite_answered(now, session, link, response),
            Asked::Message { session, link, place, .. } => self.message_answered(now, session, link, place, response),
            Asked::Typing { session } => {
                // RFC 3261 §12.2.1.2: the other side has no such session any more.
                if matches!(response.status(), 408 | 481) {
                    self.end_session(now, session, response.status() != 481);
                }
            }
            Asked::Refresh { session, link } => self.refreshed(now, session, link, response),
            Asked::Bye => {}
            Asked::Presence(asked) => self.presence_answered(now, asked, Some(response)),
        }
    }

    /// The final answer to a message in a session.
    fn message_answered(&mut self, now: Now, session: u64, number: u64, place: Place, response: &Response) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let Some(delivery) = link.outbox.get_mut(place) else { return };
        let code = response.status();
        // A client that does not want it as a report is told by a message.
        if code >= 300 && delivery.report.take().is_some() {
            link.outbox.again(place);
            return self.send_waiting(now, number);
        }
        if matches!(code, 406 | 415 | 488) && delivery.parts.current_mut().without_html() {
            link.outbox.again(place);
            return self.send_waiting(now, number);
        }
        if code == 503
            && let Some(seconds) = retry_after(response)
        {
            return self.pause(now, number, seconds);
        }
        if matches!(code, 408 | 480 | 481) {
            let again = code == 481 && !std::mem::replace(&mut delivery.is_second, true);
            if again {
                link.outbox.again(place);
            }
            self.end_session(now, session, code != 481);
            if again {
                return self.send_waiting(now, number);
            }
        }
        if code < 300 && self.next_part(number, place) {
            return self.send_waiting(now, number);
        }
        let outcome = match code {
            200..=299 => Outcome::Delivered,
            // A person's device did not answer; it will not sooner for being asked again.
            408 => Outcome::Refused(Refusal::Unavailable),
            _ => Outcome::Refused(from_status(code)),
        };
        let envelope = self.links.get(&number).and_then(|link| link.outbox.get(place)).map(|delivery| delivery.envelope.clone());
        let reported = code == 200 && envelope.is_some_and(|envelope| self.await_report(now, number, &envelope, response));
        self.settle(now, number, place, outcome, code == 200 && !reported);
        self.send_waiting(now, number);
    }

    /// Settles an open entry, and tells its sender that it has arrived, where they want to know.
    pub(crate) fn settle(&mut self, now: Now, number: u64, place: Place, outcome: Outcome, arrived: bool) {
        let Some(link) = self.links.get(&number) else { return };
        let envelope = link.outbox.get(place).map(|delivery| delivery.envelope.clone()).filter(|_| arrived);
        self.finish(number, place, outcome);
        if let Some(envelope) = envelope {
            self.receipt(now, number, &envelope);
        }
    }

    /// No answer came: in time, or before the connection went.
    pub(crate) fn unanswered(&mut self, now: Now, client: ClientId, timed_out: bool) {
        match self.clients.remove(&client) {
            Some(Asked::Options { link }) if timed_out => self.probe_failed(now, link, client),
            Some(Asked::Invite { session, link, sent })
                if timed_out && !self.says_nothing(now, link, sent, "the edge did not answer an INVITE within 32 s") =>
            {
                self.invite_failed(now, session, link, Outcome::Refused(Refusal::Unavailable));
            }
            Some(Asked::Message { session, link, place, sent })
                if timed_out && !self.says_nothing(now, link, sent, "the edge did not answer a message within 32 s") =>
            {
                // The other side may have it. Whoever is asked again would perhaps see it twice; whoever is told does it himself.
                self.end_session(now, session, true);
                self.settle(now, link, place, Outcome::Refused(Refusal::Unavailable), false);
                self.send_waiting(now, link);
            }
            Some(Asked::Refresh { session, .. }) => self.not_refreshed(now, session, timed_out),
            Some(Asked::Presence(asked)) => self.presence_answered(now, asked, None),
            _ => {}
        }
    }

    /// Whether the edge has said nothing at all since then: then it is the link that does not work.
    fn says_nothing(&mut self, now: Now, number: u64, since: Instant, why: &str) -> bool {
        let Some(link) = self.links.get(&number) else { return true };
        if link.heard.is_some_and(|heard| heard > since) {
            return false;
        }
        self.silent(now, number, why);
        true
    }

    pub(crate) fn finish(&mut self, number: u64, place: Place, outcome: Outcome) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if let Some(delivery) = link.outbox.close(place) {
            let name = link.id.clone();
            let outcome = match outcome {
                Outcome::Refused(_) if delivery.is_notice => Outcome::Delivered,
                Outcome::Refused(why) => delivery.parts.outcome(why),
                other => other,
            };
            self.forget_parts(&name, delivery.message);
            self.settle_at(&name, delivery.id, outcome);
        }
    }

    fn settle_at(&mut self, link: &LinkId, delivery: DeliveryId, outcome: Outcome) {
        self.out.push(Output::Broker(Up::Settle { link: link.clone(), delivery, outcome }));
    }

    /// The broker tells what is not stored.
    pub(crate) fn told(&mut self, now: Now, link: &LinkId, envelope: &Arc<Envelope>) {
        match &envelope.body {
            Body::Presence(presence) => self.watched_state(now, envelope, presence),
            Body::Watch(Watch::Fetch) => self.fetch(now, link, envelope),
            Body::Typing(typing) => self.typing(now, link, envelope, typing),
            // Nothing else is told.
            _ => {}
        }
    }
}
