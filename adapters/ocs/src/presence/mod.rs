//! Presence (docs/presence.md): what Microsoft's dialect does its own way in the subscriptions of `sip_adapter::presence`.
//!
//! `state` turns documents and canonical presence into one another. Neither BENOTIFY nor a document in the answer is offered to servers; both are
//! taken. People are told by NOTIFY alone, so that a watcher who is gone is noticed.

mod state;

use std::time::{Duration, Instant};

use interchange_adapter::Now;
use interchange_model::{Address, LinkId, Presence};
use ocs_codec::presence::{Document, Form};
use simple_codec::mime::{Parts, header, header_block};
use sip_adapter::presence::{Asked, Dialect, KeptManner, Key, Presences, Terms};
use sip_adapter::{Open, Refusing};
use sip_codec::{ContentType, Name, Request, RequestBuilder, Response, Unencodable, Uri, Value};
use sip_model::address;
use sip_stack::{ClientId, Refused};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::state::{Seen, to_document};
use crate::Ocs;
use crate::timers::Sleeper;

/// Between two SUBSCRIBEs on one link; an edge that does not list the hub gets no more than its pace allows.
const STEP: Duration = Duration::from_millis(20);
const UNLISTED_STEP: Duration = Duration::from_millis(200);
/// Parts of a document that are looked at.
const MOST_PARTS: usize = 16;

impl Dialect for Ocs {
    type Manner = Form;
    type Seen = Seen;

    const TERMS: Terms = Terms {
        accept: "application/msrtc-event-categories+xml, text/xml+msrtc.pidf, application/pidf+xml",
        // 403 may be the domain's as well as the person's, and be mended by an administrator: asked again, seldom.
        refused_by: &[405, 489, 501, 603],
        // An edge notes who asks too often.
        spread: 1.0..1.2,
        least_expires: 60,
        refuses_brief: false,
        has_pending: false,
        hides_at_end: true,
        is_ordered: false,
    };

    fn presences(&mut self) -> &mut Presences<Self> {
        &mut self.presence
    }

    fn arm(&mut self, at: Option<Instant>) {
        self.timers.set(&mut self.presence_alarm, Sleeper::Presence, at);
    }

    fn send(&mut self, now: Now, link: &LinkId, request: RequestBuilder, asked: Asked) -> Option<ClientId> {
        let way = self.links.get(self.names.get(link)?)?.way()?;
        let client = self.layer.send_request(now.instant, request, self.hub.via(), way.flow, &mut self.actions).ok()?;
        self.clients.insert(client, crate::Asked::Presence(asked));
        Some(client)
    }

    fn sign(&self, request: RequestBuilder, _: &LinkId, key: Key, _: bool) -> Result<RequestBuilder, Unencodable> {
        self.hub.signed(request, &key.to_string())
    }

    fn granted(&self, open: &Open, _: &LinkId, _: Key, tag: Option<&str>, expires: u32) -> Result<Response, Unencodable> {
        let state = format!("active;expires={expires}");
        Response::to_request(&open.request, 200, tag, None)?
            .with_header(Name::Contact, self.hub.contact()?)?
            .with_header(Name::Event, Value::new("presence")?)?
            .with_header(Name::Expires, Value::from(expires))?
            .with_header(Name::SubscriptionState, Value::new(&state)?)?
            .with_header(Name::Server, Value::new("Interchange")?)
            .map(|response| response.with_record_route_of(&open.request))
    }

    /// The best form that is accepted. A list of categories in the body says nothing that matters.
    fn read_manner(request: &Request, before: Option<&Form>) -> Result<Form, Refusing> {
        let accepted: Vec<_> = request.headers().tokens(Name::Accept).collect();
        let known = || Form::ALL.map(media_type).join(", ");
        match Form::choose(accepted.iter().map(AsRef::as_ref)) {
            Some(form) => Ok(form),
            None if accepted.is_empty() => Ok(before.copied().unwrap_or(Form::Pidf)),
            None => Err(Refusing::Rules(Refused::of(406).with(Name::Accept, &known()))),
        }
    }

    fn keep(form: &Form) -> KeptManner {
        KeptManner::Form(media_type(*form))
    }

    fn of_kept(kept: KeptManner) -> Option<Form> {
        match kept {
            KeptManner::Form(media) => Form::of_media(&media),
            KeptManner::Event(_) => None,
        }
    }

    fn read(media: &ContentType, body: &[u8], of: &Address) -> Result<Document, u16> {
        let document = read_document(media, body).ok_or(415_u16)?;
        if is_of(&document, of) { Ok(document) } else { Err(403) }
    }

    fn read_answer(response: &Response, of: &Address) -> Option<Document> {
        let media = response.headers().content_type().ok()??;
        Self::read(&media, response.body(), of).ok()
    }

    fn write(
        form: &Form,
        of: &Address,
        state: Option<&Presence>,
        now: Now,
    ) -> Result<Option<(ContentType, String)>, Unencodable> {
        let document = to_document(address::to_uri(of)?.to_string(), state);
        let published = OffsetDateTime::from(now.wall).format(&Rfc3339).unwrap_or_default();
        let (kind, subtype) = form.media_type();
        Ok(Some((ContentType::new(kind, subtype)?, form.write(&document, &published))))
    }

    /// Whose dialog it is, and nobody else of their company, goes on with it or ends it.
    fn is_for(request: &Request, _: Key, watcher: Option<&Address>) -> bool {
        let is_from =
            |person: &Address| address::from_sender_uri(request.from().uri()).is_ok_and(|party| party.address == *person);
        watcher.is_none_or(is_from)
    }

    fn may_address(&mut self, link: &LinkId, person: &Address) -> bool {
        let Some(number) = self.names.get(link).copied() else { return true };
        let may = self.links.get_mut(&number).is_none_or(|link| link.pace.address(person));
        if !may {
            self.too_many_addresses(number);
        }
        may
    }

    fn pace(&mut self, now: Now, link: &LinkId) -> Result<(), Instant> {
        let known = self.names.get(link).and_then(|number| self.links.get_mut(number));
        known.map_or(Ok(()), |link| link.pace.take(now.instant, 1))
    }

    fn step(&self, link: &LinkId) -> Duration {
        let known = self.names.get(link).and_then(|number| self.links.get(number));
        if known.is_some_and(|link| link.settings.listed) { STEP } else { UNLISTED_STEP }
    }
}

fn media_type(form: Form) -> String {
    let (kind, subtype) = form.media_type();
    format!("{kind}/{subtype}")
}

/// The document in a body: itself, or the first that can be read of several parts, as servers send it with a list before it.
fn read_document(media: &ContentType, body: &[u8]) -> Option<Document> {
    if media.kind() != "multipart" {
        return Form::of_media(&format!("{}/{}", media.kind(), media.subtype()))?.read(body).ok();
    }
    let boundary = media.param("boundary").filter(|text| (1..=70).contains(&text.len()))?;
    Parts::new(body, boundary.as_bytes()).take(MOST_PARTS).find_map(|part| {
        let (headers, content) = header_block(part)?;
        Form::of_media(header(&headers, "Content-Type")?)?.read(content).ok()
    })
}

/// Whether a document is of a person.
fn is_of(document: &Document, person: &Address) -> bool {
    let uri = Uri::parse(document.uri.as_bytes()).ok();
    uri.and_then(|uri| address::from_sender_uri(&uri).ok()).is_some_and(|party| party.address == *person)
}
