//! MESSAGE and envelope, both directions side by side, pure functions (RFC 3428).

use std::time::{Duration, SystemTime};

use interchange_model::{Address, Body, Envelope, Failure, LinkId, MessageId, Plain, Refusal, Text};
use sip_codec::{ContentType, Method, Name, NameAddr, Request, RequestBuilder, Transport, Unencodable, Value, Via};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::address::{self, Party};
use crate::body::Words;
use crate::settings::SentBy;

/// Marks every request of this hub; whoever sends one back to us has closed a circle.
pub(crate) const TRACE: &str = "X-Hub-Trace";

/// Bytes of a subject (`interchange_model::Text::subject`).
const MAX_SUBJECT: usize = 1_024;

/// Who we are in our own requests.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    pub(crate) sent_by: SentBy,
    /// This installation's name in [`TRACE`]: says nothing to others, and stays the same after a restart.
    pub(crate) mark: String,
}

impl Hub {
    /// Whether a request has been here before: by our name in a Via, or by our mark.
    pub(crate) fn has_seen(&self, request: &Request) -> bool {
        // RFC 3261 §16.3 step 4; a hub with several ports is one hub, but two programs on one host are two.
        let by_via = request.headers().vias().flatten().any(|via| {
            let ours = via.host() == &self.sent_by.host;
            ours && via.port() == self.sent_by.port
        });
        let by_mark = |value: &Value| value.text().split(';').any(|part| part.trim().strip_prefix("hub=") == Some(&self.mark));
        by_via || request.headers().named(TRACE).any(by_mark)
    }

    /// Our Via on a connection of this transport.
    pub(crate) fn via(&self, transport: interchange_adapter::Transport) -> Result<Via, Unencodable> {
        use interchange_adapter::Transport as Wire;
        let (name, parameter) = match transport {
            // RFC 3581 §3
            Wire::Udp => (Transport::Udp, Some("rport")),
            Wire::Tcp => (Transport::Tcp, None),
            // RFC 5923 §4: only where certificates were checked.
            Wire::Tls => (Transport::Tls, Some("alias")),
        };
        let via = Via::new(name, self.sent_by.host.clone(), self.sent_by.port);
        match parameter {
            Some(parameter) => via.with_param(parameter, None),
            None => Ok(via),
        }
    }
}

/// The envelope of an incoming MESSAGE, whose sender the link has proved.
pub(crate) fn to_envelope(
    request: &Request,
    from: Party,
    to: Party,
    words: Words,
    id: MessageId,
    link: LinkId,
    now: SystemTime,
) -> Envelope {
    let headers = request.headers();
    let subject = words.subject.or_else(|| headers.first(Name::Subject).map(|value| Plain::new(&value.text())));
    Envelope {
        id,
        origin: link,
        from: from.address,
        from_device: from.device,
        to: to.address,
        to_device: to.device,
        native_id: None,
        accepted: now,
        // RFC 3261 §16.6 step 3; none is 70 (§16.3 step 3).
        hops: request.max_forwards().map_or(Envelope::FULL_HOPS, |hops| hops.min(Envelope::FULL_HOPS)).saturating_sub(1),
        native: None,
        body: Body::Text(Text {
            plain: words.plain,
            subject: subject.map(|subject| cut(&subject)).filter(|subject| !subject.is_empty()),
            language: headers.tokens(Name::ContentLanguage).next().filter(|tag| is_language(tag)).map(|tag| tag.as_ref().into()),
            written: headers.first(Name::Date).and_then(|date| written(&date.text(), now)),
            ..Text::default()
        }),
    }
}

/// When a message was written, if that was clearly before it came. Less than two minutes is two clocks that differ.
fn written(date: &str, now: SystemTime) -> Option<SystemTime> {
    let date: SystemTime = PrimitiveDateTime::parse(date, DATE).ok()?.assume_utc().into();
    let age = now.duration_since(date).ok()?;
    (age > Duration::from_secs(120)).then_some(date)
}

/// At most [`MAX_SUBJECT`] bytes, whole characters.
fn cut(subject: &Plain) -> Plain {
    let text = subject.as_str();
    Plain::new(text.get(..text.floor_char_boundary(MAX_SUBJECT)).unwrap_or(text))
}

/// The form of a BCP 47 tag.
fn is_language(tag: &str) -> bool {
    (1..=35).contains(&tag.len())
        && tag.split('-').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The MESSAGE of a text. `None`: it says nothing, so there is nothing to send.
///
/// # Errors
/// [`Refusal::Loop`] without a hop left; [`Refusal::TooLarge`] for more than `max_text` bytes of text;
/// [`Refusal::Unsupported`] for what SIP cannot say.
pub(crate) fn to_request(
    envelope: &Envelope,
    text: &Text,
    hub: &Hub,
    max_text: usize,
) -> Result<Option<RequestBuilder>, Refusal> {
    let subject = text.subject.as_ref().filter(|subject| !subject.is_empty());
    let words = match subject {
        Some(subject) if text.plain.is_empty() => subject,
        _ => &text.plain,
    };
    if words.is_empty() {
        return Ok(None);
    }
    if words.as_str().len() > max_text {
        return Err(Refusal::TooLarge);
    }
    if envelope.hops == 0 {
        return Err(Refusal::Loop);
    }
    let build = || {
        let mut request = message(envelope, hub, text.written.unwrap_or(envelope.accepted), words.as_str())?;
        if let Some(subject) = subject {
            request = request.header(Name::Subject, Value::new(&one_line(&cut(subject)))?)?;
        }
        if let Some(language) = text.language.as_deref().filter(|tag| is_language(tag)) {
            request = request.header(Name::ContentLanguage, Value::new(language)?)?;
        }
        Ok(request)
    };
    build().map(Some).map_err(|_: Unencodable| Refusal::Unsupported)
}

/// The MESSAGE that tells a sender, in their own client, that an accepted message was not delivered after all; it comes
/// from the person it was for. `more`: so many others of the pair were not told about. Never any of the text itself.
///
/// # Errors
/// [`Unencodable`], which no address of the model is.
pub(crate) fn to_notice(envelope: &Envelope, failure: &Failure, more: u32, hub: &Hub) -> Result<RequestBuilder, Unencodable> {
    // The time of entry is in the id itself (RFC 9562 §5.7).
    let accepted = failure.of.and_then(|id| u64::try_from(id.0 >> 80).ok()).map(Duration::from_millis);
    let accepted = accepted.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    let of = match accepted.map(|time| OffsetDateTime::from(time).format(MOMENT)) {
        Some(Ok(moment)) => format!("Your message of {moment} UTC"),
        _ => "Your message".to_owned(),
    };
    let others = match more {
        0 => String::new(),
        1 => " One more message was not delivered either.".to_owned(),
        more => format!(" {more} more messages were not delivered either."),
    };
    let line = format!("{of} was not delivered. {}{others}", failure.why.sentence());
    message(envelope, hub, envelope.accepted, &line)
}

/// What every MESSAGE of ours has. Call-ID and From tag follow from the envelope's id, so that a repeat is known as one.
fn message(envelope: &Envelope, hub: &Hub, date: SystemTime, words: &str) -> Result<RequestBuilder, Unencodable> {
    let id = envelope.id;
    let to = address::to_uri(&envelope.to)?;
    // RFC 3261 §19.3: at least 32 random bits; the lower half of an id has 62.
    let tag = format!("{:016x}", u64::try_from(id.0 & u128::from(u64::MAX)).unwrap_or_default());
    let request = Request::builder(Method::Message, to.clone())
        .from(NameAddr::new(address::to_uri(&envelope.from)?).with_tag(&tag)?)
        .to(NameAddr::new(to))
        .call_id(&format!("{id}@{}", hub.sent_by.host))?
        .cseq(1)
        .max_forwards(envelope.hops.min(Envelope::FULL_HOPS))
        .header(Name::Date, Value::new(&format_date(date))?)?
        .named_header(TRACE, Value::new(&format!("{id};hub={}", hub.mark))?)?;
    let media = ContentType::new("text", "plain")?.with_param("charset", "UTF-8")?;
    // RFC 3428 §7, RFC 2046 §4.1.1: lines end by CR LF.
    Ok(request.body(media, words.replace('\n', "\r\n")))
}

/// The OPTIONS by which a link is asked whether it lives.
///
/// # Errors
/// [`Unencodable`], which no domain of the model is.
pub(crate) fn to_options(hub: &Hub, domain: &str, call: &str, tag: &str) -> Result<RequestBuilder, Unencodable> {
    let to = sip_codec::Uri::sip(sip_codec::Host::new(domain)?);
    Request::builder(Method::Options, to.clone())
        .from(NameAddr::new(sip_codec::Uri::sip(hub.sent_by.host.clone())).with_tag(tag)?)
        .to(NameAddr::new(to))
        .cseq(1)
        .header(Name::Accept, Value::new("text/plain")?)?
        .call_id(&format!("{call}@{}", hub.sent_by.host))
}

/// A text as a header value: line ends and what else breaks a line become blanks.
fn one_line(text: &Plain) -> String {
    text.as_str().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether automatic answers may go to a person: never to what looks like a machine that would answer in turn.
pub(crate) fn takes_notices(person: &Address) -> bool {
    !["msilo", "noreply", "no-reply", "mailer-daemon"].iter().any(|prefix| person.user_key().starts_with(prefix))
}

/// RFC 3261 §20.17: RFC 1123 dates, always GMT.
const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
const MOMENT: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

fn format_date(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(DATE).unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 GMT".to_owned())
}

#[cfg(test)]
mod tests;
