//! Dialogs (RFC 3261 §12): what two user agents keep in common beyond one transaction. Without the usages in them: subscriptions, sessions.

use sip_codec::{Malformed, Method, Name, NameAddr, Request, RequestBuilder, Response, Unencodable, Uri, Value};

/// Routes of a dialog that are kept; a request with more makes none.
const MAX_ROUTES: usize = 32;

/// One dialog, from this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    call_id: String,
    /// With our tag.
    local: NameAddr,
    /// With the peer's.
    remote: NameAddr,
    local_sequence: u32,
    remote_sequence: Option<u32>,
    target: Uri,
    routes: Vec<NameAddr>,
}

/// A dialog as plain values, to be kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Call-ID.
    pub call_id: String,
    /// From of our requests.
    pub local: String,
    /// To of our requests.
    pub remote: String,
    /// The last CSeq number that we have used.
    pub local_sequence: u32,
    /// The last that the peer has used.
    pub remote_sequence: Option<u32>,
    /// Where our requests go in the end.
    pub target: String,
    /// By which way, first hop first.
    pub routes: Vec<String>,
}

/// Why a message makes no dialog, or is none of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialogFault {
    /// Without a tag on either side nobody can tell whose it is (RFC 3261 §12.1).
    #[error("expected tags in From and To")]
    Tag,
    /// A Contact or a Record-Route that cannot be read, or too many of them.
    #[error("expected a Contact and routes that can be read")]
    Address,
    /// Its CSeq is not above that of the peer's last request (RFC 3261 §12.2.2): it came late, and is answered 500.
    #[error("expected a higher CSeq")]
    OutOfOrder,
}

impl Dialog {
    /// The dialog that a request of the peer makes when it is answered under `local_tag`; of a NOTIFY that came before the answer to our
    /// SUBSCRIBE (RFC 6665 §4.4.1), whose To has our tag, that tag.
    ///
    /// # Errors
    /// [`DialogFault::Tag`], [`DialogFault::Address`].
    pub fn of_request(request: &Request, local_tag: &str) -> Result<Self, DialogFault> {
        let local = request.to().clone().without_tag().with_tag(local_tag).map_err(|_| DialogFault::Tag)?;
        request.from().tag().ok_or(DialogFault::Tag)?;
        let contact = contact(request.headers().addresses(Name::Contact).next())?;
        Ok(Self {
            call_id: request.call_id().to_owned(),
            local,
            remote: request.from().clone(),
            local_sequence: 0,
            remote_sequence: Some(request.cseq().number),
            target: contact.unwrap_or_else(|| request.from().uri().clone()),
            routes: routes(request.headers().addresses(Name::RecordRoute))?,
        })
    }

    /// The dialog that a 2xx to a request of ours makes.
    ///
    /// # Errors
    /// [`DialogFault::Tag`], [`DialogFault::Address`].
    pub fn of_response(response: &Response) -> Result<Self, DialogFault> {
        response.from().tag().and(response.to().tag()).ok_or(DialogFault::Tag)?;
        let contact = contact(response.headers().addresses(Name::Contact).next())?;
        let mut routes = routes(response.headers().addresses(Name::RecordRoute))?;
        // RFC 3261 §12.1.2: in reverse.
        routes.reverse();
        Ok(Self {
            call_id: response.call_id().to_owned(),
            local: response.from().clone(),
            remote: response.to().clone(),
            local_sequence: response.cseq().number,
            remote_sequence: None,
            target: contact.unwrap_or_else(|| response.to().uri().clone()),
            routes,
        })
    }

    /// A dialog that was kept.
    ///
    /// # Errors
    /// [`Malformed`], when the parts are not those of a dialog.
    pub fn of_parts(parts: &Parts) -> Result<Self, Malformed> {
        Ok(Self {
            call_id: parts.call_id.clone(),
            local: NameAddr::parse(parts.local.as_bytes())?,
            remote: NameAddr::parse(parts.remote.as_bytes())?,
            local_sequence: parts.local_sequence,
            remote_sequence: parts.remote_sequence,
            target: Uri::parse(parts.target.as_bytes())?,
            routes: parts.routes.iter().map(|route| NameAddr::parse(route.as_bytes())).collect::<Result<_, _>>()?,
        })
    }

    /// What is to be kept of it.
    pub fn parts(&self) -> Parts {
        Parts {
            call_id: self.call_id.clone(),
            local: self.local.to_string(),
            remote: self.remote.to_string(),
            local_sequence: self.local_sequence,
            remote_sequence: self.remote_sequence,
            target: self.target.to_string(),
            routes: self.routes.iter().map(NameAddr::to_string).collect(),
        }
    }

    /// Whether a request of the peer belongs to it (RFC 3261 §12.2.2).
    pub fn has(&self, request: &Request) -> bool {
        self.call_id == request.call_id()
            && self.remote.tag() == request.from().tag()
            && self.local.tag().is_some()
            && self.local.tag() == request.to().tag()
    }

    /// Takes note of a request of the peer that belongs to it: its place in their order, and where the peer is now.
    ///
    /// # Errors
    /// [`DialogFault::OutOfOrder`].
    pub fn take(&mut self, request: &Request) -> Result<(), DialogFault> {
        let number = request.cseq().number;
        if self.remote_sequence.is_some_and(|last| number <= last) {
            return Err(DialogFault::OutOfOrder);
        }
        self.remote_sequence = Some(number);
        self.refresh(request.headers().addresses(Name::Contact).next());
        Ok(())
    }

    /// Takes note of a 2xx to a request of ours that refreshes the target (RFC 6665 §4.4.1).
    pub fn answered(&mut self, response: &Response) {
        self.refresh(response.headers().addresses(Name::Contact).next());
    }

    /// Takes note of the 2xx to the very SUBSCRIBE that asked for it, where a NOTIFY was here first, as one that came by another connection: its
    /// Record-Route is the way of our requests (RFC 3261 §12.1.2), which a NOTIFY need not tell.
    pub fn confirmed(&mut self, response: &Response) {
        if let Ok(made) = Self::of_response(response)
            && made.remote.tag() == self.remote.tag()
            && !made.routes.is_empty()
        {
            self.routes = made.routes;
        }
        self.answered(response);
    }

    fn refresh(&mut self, found: Option<Result<NameAddr, Malformed>>) {
        if let Ok(Some(target)) = contact(found) {
            self.target = target;
        }
    }

    /// The same, when requests of ours up to this CSeq number have gone before it was made.
    #[must_use]
    pub fn after(self, local_sequence: u32) -> Self {
        Self { local_sequence, ..self }
    }

    /// The last CSeq number of ours.
    pub fn local_sequence(&self) -> u32 {
        self.local_sequence
    }

    /// The next request of ours, with all that the dialog says of it (RFC 3261 §12.2.1.1).
    ///
    /// # Errors
    /// [`Unencodable`], which no dialog that was read is, until its CSeq numbers are used up.
    pub fn request(&mut self, method: Method) -> Result<RequestBuilder, Unencodable> {
        self.local_sequence = self.local_sequence.saturating_add(1);
        let is_loose = |route: &NameAddr| route.uri().has_param("lr");
        let (uri, routes) = match self.routes.split_first() {
            // A strict router takes its own name off the front, and the target comes last.
            Some((first, rest)) if !is_loose(first) => {
                let last = NameAddr::new(self.target.clone());
                (first.uri().clone(), rest.iter().cloned().chain([last]).collect())
            }
            _ => (self.target.clone(), self.routes.clone()),
        };
        let mut request = Request::builder(method, uri)
            .from(self.local.clone())
            .to(self.remote.clone())
            .call_id(&self.call_id)?
            .cseq(self.local_sequence);
        for route in &routes {
            request = request.header(Name::Route, Value::from(route))?;
        }
        Ok(request)
    }
}

/// The URI of a Contact, without which none is known.
fn contact(found: Option<Result<NameAddr, Malformed>>) -> Result<Option<Uri>, DialogFault> {
    let contact = found.transpose().map_err(|_| DialogFault::Address)?;
    match contact {
        // Headers may not go into a Request-URI (RFC 3261 §19.1.1).
        Some(contact) if contact.uri().headers().is_some() => Err(DialogFault::Address),
        Some(contact) => Ok(Some(contact.uri().clone())),
        None => Ok(None),
    }
}

fn routes(found: impl Iterator<Item = Result<NameAddr, Malformed>>) -> Result<Vec<NameAddr>, DialogFault> {
    let routes: Vec<NameAddr> = found.take(MAX_ROUTES + 1).collect::<Result<_, _>>().map_err(|_| DialogFault::Address)?;
    if routes.len() > MAX_ROUTES { Err(DialogFault::Address) } else { Ok(routes) }
}
