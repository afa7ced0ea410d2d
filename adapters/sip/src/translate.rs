//! MESSAGE and envelope, both directions side by side, pure functions (RFC 3428).

use std::time::{Duration, SystemTime};

use interchange_adapter::References;
use interchange_model::{Body, DisplayName, Envelope, Failure, LinkId, MessageId, Plain, Receipt, ReceiptKind, Refusal, Text};
use interchange_rich_text::to_html;
use simple_codec::cpim::{self, Cpim, Header};
use simple_codec::imdn::{self, Imdn, Status};
use sip_codec::{ContentType, Method, Name, NameAddr, Request, RequestBuilder, Transport, Unencodable, Value, Via};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

pub(crate) use sip_model::notices::takes_notices;
pub(crate) use sip_model::words::words_of;

use crate::address::{self, Party};
use crate::body::Words;
use crate::native_id;
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
    /// By which receipts name our messages.
    pub(crate) references: References,
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
    let body = Body::Text(Text {
        plain: words.plain,
        rich: words.rich,
        subject: subject.map(|subject| cut(&subject)).filter(|subject| !subject.is_empty()),
        language: headers.tokens(Name::ContentLanguage).next().filter(|tag| is_language(tag)).map(|tag| tag.as_ref().into()),
        display_name: request.from().display().and_then(DisplayName::new),
        written: headers.first(Name::Date).and_then(|date| written(&date.text(), now)),
        wants: words.wants,
        ..Text::default()
    });
    Envelope {
        from_device: from.device,
        to_device: to.device,
        native_id: words.message_id.map(|id| native_id::write(&id, words.wants_failure)),
        // RFC 3261 §16.6 step 3; none is 70 (§16.3 step 3).
        hops: request.max_forwards().map_or(Envelope::FULL_HOPS, |hops| hops.min(Envelope::FULL_HOPS)).saturating_sub(1),
        ..Envelope::new(id, link, (from.address, to.address), now, body)
    }
}

/// When a message was written, if that was clearly before it came. Less than two minutes is two clocks that differ.
fn written(date: &str, now: SystemTime) -> Option<SystemTime> {
    let date: SystemTime = PrimitiveDateTime::parse(date, DATE).ok()?.assume_utc().into();
    let age = now.duration_since(date).ok()?;
    (age > Duration::from_secs(120)).then_some(date)
}

/// At most [`MAX_SUBJECT`] bytes, whole characters.
pub(crate) fn cut(subject: &Plain) -> Plain {
    let text = subject.as_str();
    Plain::new(text.get(..text.floor_char_boundary(MAX_SUBJECT)).unwrap_or(text))
}

/// The form of a BCP 47 tag.
fn is_language(tag: &str) -> bool {
    (1..=35).contains(&tag.len())
        && tag.split('-').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// How messages go to a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Bytes of text in one request.
    pub(crate) max_text: usize,
    /// The link's people are asked for receipts (RFC 5438) where a sender wants one.
    pub(crate) imdn: bool,
    /// As HTML beside the plain text; what cannot go so has no request.
    pub(crate) html: bool,
}

/// The MESSAGE of a text. `None`: it says nothing, so there is nothing to send, or nothing in this manner.
///
/// # Errors
/// [`Refusal::Loop`] without a hop left; [`Refusal::TooLarge`] for more text than the link takes;
/// [`Refusal::Unsupported`] for what SIP cannot say.
pub(crate) fn to_request(envelope: &Envelope, text: &Text, hub: &Hub, manner: Manner) -> Result<Option<RequestBuilder>, Refusal> {
    let subject = text.subject.as_ref().filter(|subject| !subject.is_empty());
    let words = words_of(text);
    if words.is_empty() {
        // Case 27: words that nobody here can read are never dropped without a word.
        return if text.encrypted { Err(Refusal::Unsupported) } else { Ok(None) };
    }
    if words.len() > manner.max_text {
        return Err(Refusal::TooLarge);
    }
    if envelope.hops == 0 {
        return Err(Refusal::Loop);
    }
    let formatted = formatted(envelope, text, &words, manner);
    if manner.html && formatted.is_none() {
        return Ok(None);
    }
    let (media, content) = match &formatted {
        Some((boundary, content)) => (multipart(boundary), content.as_str()),
        None => (plain_text(), &*words),
    };
    let build = || {
        let media = media?;
        let date = text.written.unwrap_or(envelope.accepted);
        let mut request = if manner.imdn && !text.wants.is_nothing() {
            let asked = if text.wants.displayed {
                "positive-delivery, negative-delivery, display"
            } else {
                "positive-delivery, negative-delivery"
            };
            let id = hub.references.write(envelope);
            let headers = [("Message-ID", id.as_str()), ("Disposition-Notification", asked)];
            let content = wrapped(envelope, date, &headers, &[("Content-Type", &media.to_string())], content)?;
            message(envelope, hub, date)?.body(ContentType::new("message", "cpim")?, content)
        } else {
            message(envelope, hub, date)?.body(media, lines(content))
        };
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

/// Boundary and content of a multipart/alternative: the words plain, and as they look. `None`: there is nothing to show but the words, or they say more
/// than the formatted text does, or both are more than may be sent.
pub(crate) fn formatted(envelope: &Envelope, text: &Text, words: &str, manner: Manner) -> Option<(String, String)> {
    let rich = text.rich.as_ref().filter(|_| manner.html && words == text.plain.as_str())?;
    let html = to_html(rich);
    // Not known to the sender when the words were written.
    let boundary = format!("part-{}", envelope.id);
    let content = format!(
        "--{boundary}\nContent-Type: text/plain;charset=UTF-8\n\n{words}\n--{boundary}\nContent-Type: text/html;charset=UTF-8\n\n{html}\n--{boundary}--\n"
    );
    let fits = content.len() <= manner.max_text && !words.contains(&boundary) && !html.contains(&boundary);
    fits.then_some((boundary, content))
}

fn multipart(boundary: &str) -> Result<ContentType, Unencodable> {
    ContentType::new("multipart", "alternative")?.with_param("boundary", boundary)
}

fn plain_text() -> Result<ContentType, Unencodable> {
    ContentType::new("text", "plain")?.with_param("charset", "UTF-8")
}

/// RFC 3428 §7, RFC 2046 §4.1.1: lines end by CR LF.
fn lines(content: &str) -> String {
    content.replace('\n', "\r\n")
}

/// The MESSAGE that tells a sender, in their own client, that an accepted message was not delivered after all; it comes
/// from the person it was for. `more`: so many others of the pair were not told about. Never any of the text itself.
///
/// # Errors
/// [`Unencodable`], which no address of the model is.
pub(crate) fn to_notice(envelope: &Envelope, failure: &Failure, more: u32, hub: &Hub) -> Result<RequestBuilder, Unencodable> {
    let line = sip_model::notices::sentence(failure, more);
    plain_body(message(envelope, hub, envelope.accepted)?, &line)
}

/// The MESSAGE that tells a sender what became of a message that asked for it (RFC 5438 §7.2). `None`: it did not ask in a way that could be
/// answered.
///
/// # Errors
/// [`Unencodable`], which no address of the model is.
pub(crate) fn to_receipt(envelope: &Envelope, receipt: &Receipt, hub: &Hub) -> Result<Option<RequestBuilder>, Unencodable> {
    // Case 39: of a message that never was, nobody is told.
    let (Some(_), Some(id)) = (receipt.of, &receipt.native_id) else { return Ok(None) };
    let status = match receipt.what {
        ReceiptKind::Delivered => Status::Delivered,
        ReceiptKind::Displayed => Status::Displayed,
    };
    to_imdn(envelope, native_id::read(id).0, status, hub).map(Some)
}

/// The MESSAGE that tells a sender's client that a message of its failed, where the client has asked for that (RFC 5438 §7.2.1.1). `None`: it has not.
pub(crate) fn to_failed(envelope: &Envelope, failure: &Failure, hub: &Hub) -> Option<RequestBuilder> {
    let (id, wanted) = native_id::read(failure.native_id.as_deref()?);
    if wanted { to_imdn(envelope, id, Status::Failed, hub).ok() } else { None }
}

fn to_imdn(envelope: &Envelope, id: &str, status: Status, hub: &Hub) -> Result<RequestBuilder, Unencodable> {
    let recipient = address::to_uri(&envelope.from)?.to_string();
    let document = Imdn {
        message_id: id.to_owned(),
        date_time: date_time(envelope.accepted),
        recipient: Some(recipient.clone()),
        original_recipient: Some(recipient),
        status,
    };
    let own = envelope.id.to_string();
    let content = [("Content-Type", "message/imdn+xml"), ("Content-Disposition", "notification")];
    let content = wrapped(envelope, envelope.accepted, &[("Message-ID", &own)], &content, &document.write())?;
    let request = message(envelope, hub, envelope.accepted)?;
    Ok(request.body(ContentType::new("message", "cpim")?, content))
}

/// A message/cpim between two people; `headers`: those of IMDN.
fn wrapped(
    envelope: &Envelope,
    date: SystemTime,
    headers: &[(&str, &str)],
    content_headers: &[(&str, &str)],
    words: &str,
) -> Result<Vec<u8>, Unencodable> {
    wrapped_with(envelope, date, None, headers, content_headers, words)
}

/// The same with a subject of its own.
pub(crate) fn wrapped_with(
    envelope: &Envelope,
    date: SystemTime,
    subject: Option<&str>,
    headers: &[(&str, &str)],
    content_headers: &[(&str, &str)],
    words: &str,
) -> Result<Vec<u8>, Unencodable> {
    let header =
        |namespace: &str, name: &str, value: String| Header { namespace: namespace.to_owned(), name: name.to_owned(), value };
    let mut all = vec![
        header("", "From", format!("<{}>", address::to_uri(&envelope.from)?)),
        header("", "To", format!("<{}>", address::to_uri(&envelope.to)?)),
        header("", "DateTime", date_time(date)),
    ];
    all.extend(subject.map(|subject| header("", "Subject", cpim::escape(subject))));
    all.extend(headers.iter().map(|(name, value)| header(imdn::CPIM_NAMESPACE, name, cpim::escape(value))));
    let content_headers = content_headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Ok(Cpim { headers: all, content_headers, content: lines(words).into_bytes() }.write())
}

/// RFC 3862 §4.4: as RFC 3339 writes it.
fn date_time(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

/// Words as the body of a request.
fn plain_body(request: RequestBuilder, words: &str) -> Result<RequestBuilder, Unencodable> {
    Ok(request.body(plain_text()?, lines(words)))
}

/// What every MESSAGE of ours has. Call-ID and From tag follow from the envelope's id, so that a repeat is known as one.
fn message(envelope: &Envelope, hub: &Hub, date: SystemTime) -> Result<RequestBuilder, Unencodable> {
    let id = envelope.id;
    let to = address::to_uri(&envelope.to)?;
    // RFC 3261 §19.3: at least 32 random bits; the lower half of an id has 62.
    let tag = format!("{:016x}", u64::try_from(id.0 & u128::from(u64::MAX)).unwrap_or_default());
    let mut from = NameAddr::new(address::to_uri(&envelope.from)?);
    if let Body::Text(Text { display_name: Some(name), .. }) = &envelope.body {
        from = from.with_display(name.as_str())?;
    }
    Request::builder(Method::Message, to.clone())
        .from(from.with_tag(&tag)?)
        .to(NameAddr::new(to))
        .call_id(&format!("{id}@{}", hub.sent_by.host))?
        .cseq(1)
        .max_forwards(envelope.hops.min(Envelope::FULL_HOPS))
        .header(Name::Date, Value::new(&format_date(date))?)?
        .named_header(TRACE, Value::new(&format!("{id};hub={}", hub.mark))?)
}

/// The OPTIONS by which a link is asked whether it lives, from the hub's own domain: that is what servers know it by, whatever its host is called.
///
/// # Errors
/// [`Unencodable`], which no domain of the model is.
pub(crate) fn to_options(hub: &Hub, own: &str, domain: &str, call: &str, tag: &str) -> Result<RequestBuilder, Unencodable> {
    let to = sip_codec::Uri::sip(sip_codec::Host::new(domain)?);
    Request::builder(Method::Options, to.clone())
        .from(NameAddr::new(sip_codec::Uri::sip(sip_codec::Host::new(own)?)).with_tag(tag)?)
        .to(NameAddr::new(to))
        .cseq(1)
        .header(Name::Accept, Value::new("text/plain")?)?
        .call_id(&format!("{call}@{}", hub.sent_by.host))
}

/// A text as a header value: line ends and what else breaks a line become blanks.
fn one_line(text: &Plain) -> String {
    text.as_str().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// RFC 3261 §20.17: RFC 1123 dates, always GMT.
const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

fn format_date(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(DATE).unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 GMT".to_owned())
}

#[cfg(test)]
mod tests;
