//! Presence (docs/presence.md): what SIMPLE does its own way in the subscriptions of `sip_adapter::presence` (RFC 6665, RFC 3856). `document` turns PIDF
//! and canonical presence into one another.

mod document;

use std::sync::Arc;
use std::time::Instant;

use interchange_adapter::{Now, Output};
use interchange_model::{Address, Body, Envelope, LinkId, Presence, Up, Watch};
use simple_codec::pidf::Pidf;
use sip_adapter::presence::{Asked, Dialect, Engine as _, KeptManner, Key, Presences, Terms};
use sip_adapter::{Open, Refusing};
use sip_codec::{ContentType, Name, NameAddr, Request, RequestBuilder, Response, Unencodable, Uri, Value};
use sip_stack::{ClientId, Refused};

use self::document::{of_presence, to_presence};
use crate::timers::Sleeper;
use crate::translate::TRACE;
use crate::{Sip, address};

/// What a document said last. Each says all there is, and where there is none nothing is.
#[derive(Default)]
pub(crate) struct Seen(Presence);

impl sip_adapter::presence::Seen for Seen {
    type Document = Presence;

    fn update(&mut self, document: Option<Presence>, _is_whole: bool) {
        self.0 = document.unwrap_or_default();
    }

    fn presence(&self) -> Presence {
        self.0.clone()
    }
}

impl Dialect for Sip {
    /// The value of Event as the watcher wrote it, with its `id`.
    type Manner = String;
    type Seen = Seen;

    const TERMS: Terms = Terms {
        accept: "application/pidf+xml",
        // RFC 8048 §5.2.2
        refused_by: &[403, 405, 489, 501, 603, 607],
        spread: 0.8..1.2,
        least_expires: 300,
        refuses_brief: true,
        has_pending: true,
        hides_at_end: false,
        is_ordered: true,
    };

    fn presences(&mut self) -> &mut Presences<Self> {
        &mut self.presence
    }

    fn arm(&mut self, at: Option<Instant>) {
        self.timers.set(&mut self.presence_alarm, Sleeper::Presence, at);
    }

    fn send(&mut self, now: Now, link: &LinkId, request: RequestBuilder, asked: Asked) -> Option<ClientId> {
        self.send_told(now, link, request, crate::Asked::Presence(asked))
    }

    fn sign(&self, request: RequestBuilder, link: &LinkId, key: Key, begins: bool) -> Result<RequestBuilder, Unencodable> {
        let request = match begins {
            true => request.named_header(TRACE, Value::new(&format!("{key};hub={}", self.hub.mark))?)?,
            false => request,
        };
        request.header(Name::Contact, self.contact_of(link, &user(key))?)
    }

    fn granted(&self, open: &Open, link: &LinkId, key: Key, tag: Option<&str>, expires: u32) -> Result<Response, Unencodable> {
        Response::to_request(&open.request, 200, tag, open.source)?
            .with_header(Name::Expires, Value::from(expires))?
            .with_header(Name::Contact, self.contact_of(link, &user(key))?)?
            .with_header(Name::Server, Value::new("Interchange")?)
            .map(|response| response.with_record_route_of(&open.request))
    }

    fn read_manner(request: &Request, before: Option<&String>) -> Result<String, Refusing> {
        // RFC 3856 §6.7: PIDF, where nothing is said.
        let mut accepted = request.headers().tokens(Name::Accept).peekable();
        let fits = |media: &str| {
            let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            matches!(media.as_str(), "application/pidf+xml" | "application/*" | "*/*")
        };
        if accepted.peek().is_some() && !accepted.any(|media| fits(&media)) {
            return Err(Refusing::Rules(Refused::of(406).with(Name::Accept, Self::TERMS.accept)));
        }
        let event = || request.headers().first(Name::Event).map(|event| event.text().into_owned()).unwrap_or_default();
        Ok(before.cloned().unwrap_or_else(event))
    }

    fn event(event: &String) -> &str {
        event
    }

    fn keep(event: &String) -> KeptManner {
        KeptManner::Event(event.clone())
    }

    fn of_kept(kept: KeptManner) -> Option<String> {
        match kept {
            KeptManner::Event(event) => Some(event),
            KeptManner::Form(_) => None,
        }
    }

    fn read(media: &ContentType, body: &[u8], of: &Address) -> Result<Presence, u16> {
        if !media.is("application", "pidf+xml") {
            return Err(415);
        }
        let document = Pidf::read(body).map_err(|_| 400_u16)?;
        let entity = Uri::parse(document.entity.as_bytes()).ok().and_then(|uri| address::from_sender_uri(&uri).ok());
        if entity.is_none_or(|party| party.address != *of) {
            return Err(403);
        }
        Ok(to_presence(&document))
    }

    fn write(_: &String, of: &Address, state: Option<&Presence>, _: Now) -> Result<Option<(ContentType, String)>, Unencodable> {
        // Nothing may be seen, or nothing is known.
        let Some(state) = state.filter(|state| !state.is_unknown) else { return Ok(None) };
        let document = of_presence(of, &address::to_uri(of)?.to_string(), state);
        Ok(Some((ContentType::new("application", "pidf+xml")?, document.write())))
    }

    /// Every request in a dialog is for our Contact in it.
    fn is_for(request: &Request, key: Key, _: Option<&Address>) -> bool {
        request.uri().user() == Some(&user(key))
    }

    fn attend(&mut self, now: Now, link: &LinkId) {
        self.ask_in_time(now, link);
    }
}

/// The user part of our Contact in a dialog.
fn user(key: Key) -> String {
    format!("s-{key}")
}

impl Sip {
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

    /// What was kept for a link, when the hub, or the adapter, has begun anew. Entries that cannot be understood are forgotten.
    pub(crate) fn remembered(&mut self, now: Now, link: &LinkId, entries: &[(Arc<str>, Vec<u8>)]) {
        for (entry, value) in entries {
            if self.restore_presence(now, link, entry, value).is_none() {
                self.out.push(Output::Broker(Up::Remember { link: link.clone(), key: entry.clone(), value: None }));
            }
        }
    }

    /// Sends a request on a link; `None`: the link is not up.
    pub(crate) fn send_told(
        &mut self,
        now: Now,
        link: &LinkId,
        request: RequestBuilder,
        asked: crate::Asked,
    ) -> Option<ClientId> {
        let way = self.links.get(self.names.get(link)?)?.way()?;
        let via = self.hub.via(self.conns.get(&way.conn)?.via.transport()).ok()?;
        let client = self.layer.send_request(now.instant, request, via, way.flow, &mut self.actions).ok()?;
        self.clients.insert(client, asked);
        Some(client)
    }

    /// Where we are in a dialog whose requests come back to this user part.
    pub(crate) fn contact_of(&self, link: &LinkId, user: &str) -> Result<Value, Unencodable> {
        let mut uri = Uri::sip_user(user, self.hub.sent_by.host.clone())?;
        if let Some(port) = self.hub.sent_by.port {
            uri = uri.with_port(port);
        }
        let link = self.names.get(link).and_then(|number| self.links.get(number));
        let transport = link.map_or("tls", |link| link.settings.transport.name());
        Ok(Value::from(&NameAddr::new(uri.with_param("transport", Some(transport))?)))
    }
}
