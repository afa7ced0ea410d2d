//! One session: chunks put together and cut, answers given and awaited (RFC 4975 §5, §7).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::message::{ByteRange, Content, Continuation, FailureReport, Method, Request, Response, TransactionId, holds_end_line};
use crate::uri::{MsrpUri, Path};

/// Bytes of a chunk of ours: more would have to be interruptible (RFC 4975 §5.1).
const CHUNK: usize = 2_048;
/// Chunks of ours that may wait for their answers.
const WINDOW: usize = 32;
/// How long an answer may take (RFC 4975 §7.1.1), and the next chunk of a message.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pieces of one message that came before their turn.
const MOST_PIECES: usize = 64;
/// Messages that may be half received at one time.
const MOST_PARTIAL: usize = 4;
/// Messages that wait for the answer of who takes them.
const MOST_UNANSWERED: usize = 64;

/// What a session takes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of the largest message.
    pub max_message: u64,
    /// Whether content of a type is taken.
    pub accepts: fn(&str) -> bool,
}

/// One message that goes out, by the name that its owner gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// How [`Event::Sent`] and [`Event::Failed`] call it.
    pub token: Token,
    /// Its Message-ID: 4 to 32 letters, digits and `.-+%=` (RFC 4975 §9).
    pub message_id: String,
    /// Content-Type.
    pub media: String,
    /// Its bytes.
    pub body: Bytes,
    /// Whether a report is wanted when it has arrived.
    pub success_report: bool,
}

/// A message that came whole. It must be answered by [`Session::answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    /// What to call it in [`Session::answer`].
    pub key: u64,
    /// Its Message-ID.
    pub message_id: String,
    /// Content-Type.
    pub media: String,
    /// Its bytes.
    pub body: Bytes,
    /// Whether the sender wants a report when it has arrived.
    pub success_report: bool,
    /// Which failures the sender wants to hear of.
    pub failure_report: FailureReport,
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes to the peer.
    Transmit(Bytes),
    /// A message came whole.
    Received(Complete),
    /// All of a message of ours was answered 200.
    Sent(Token),
    /// A message of ours was refused, with the status code; 408: nobody answered.
    Failed(Token, u16),
    /// What became of a message of ours, in the end: Message-ID and status code.
    Reported(String, u16),
}

/// One session.
#[derive(Debug)]
pub struct Session {
    local: MsrpUri,
    remote: Path,
    settings: Settings,
    next_transaction: u64,
    next_key: u64,
    partial: HashMap<String, Partial>,
    unanswered: BTreeMap<u64, Request>,
    queue: VecDeque<Sending>,
    waiting: HashMap<TransactionId, Waiting>,
}

/// A message of which not all has come.
#[derive(Debug)]
struct Partial {
    media: String,
    /// From its beginning, without holes.
    whole: BytesMut,
    /// What came before its turn, by offset.
    later: BTreeMap<u64, Bytes>,
    /// Bytes in `later`.
    later_size: u64,
    /// Known from the last chunk.
    total: Option<u64>,
    success_report: bool,
    heard: Instant,
}

#[derive(Debug)]
struct Sending {
    message: Outgoing,
    /// Bytes that have gone out.
    sent: usize,
    /// Whether the last chunk has gone out.
    is_out: bool,
    /// Chunks that are not answered.
    open: usize,
}

#[derive(Debug)]
struct Waiting {
    token: Token,
    until: Instant,
}

impl Session {
    /// A session between `local` and whoever is at the end of `remote`. `seed`: a number that no other session of this process has.
    #[must_use]
    pub fn new(local: MsrpUri, remote: Path, settings: Settings, seed: u64) -> Self {
        Self {
            local,
            remote,
            settings,
            next_transaction: seed,
            next_key: 0,
            partial: HashMap::new(),
            unanswered: BTreeMap::new(),
            queue: VecDeque::new(),
            waiting: HashMap::new(),
        }
    }

    /// Our end.
    #[must_use]
    pub fn local(&self) -> &MsrpUri {
        &self.local
    }

    /// The peer's.
    #[must_use]
    pub fn remote(&self) -> &Path {
        &self.remote
    }

    /// The peer has moved (a new offer in the same session).
    pub fn set_remote(&mut self, remote: Path) {
        self.remote = remote;
    }

    /// Bytes held of messages that have not come whole.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.partial.values().map(|partial| partial.whole.len() as u64 + partial.later_size).sum()
    }

    /// Whether something is under way, either way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !(self.queue.is_empty() && self.waiting.is_empty() && self.partial.is_empty() && self.unanswered.is_empty())
    }

    /// The empty SEND by which the side that connected says which session the connection is for (RFC 4975 §5.4).
    pub fn bind(&mut self, now: Instant, message_id: &str, out: &mut Vec<Event>) {
        let message = Outgoing {
            // Of no message: its answer concerns nobody.
            token: Token(u64::MAX),
            message_id: message_id.to_owned(),
            media: String::new(),
            body: Bytes::new(),
            success_report: false,
        };
        let request = self.request(Method::Send, &message.message_id, Continuation::Last);
        let _ = self.waiting.insert(request.transaction.clone(), Waiting { token: message.token, until: now + PATIENCE });
        out.push(Event::Transmit(request.encode()));
    }

    /// Takes a request whose To-Path is ours.
    pub fn request_received(&mut self, now: Instant, request: Request, out: &mut Vec<Event>) {
        match &request.method {
            Method::Send => self.take_chunk(now, request, out),
            // Never answered (RFC 4975 §7.1.2).
            Method::Report => {
                if let (Some(id), Some(status)) = (request.message_id, request.status) {
                    out.push(Event::Reported(id, status));
                }
            }
            Method::Other(_) => respond(&request, 501, "Not Implemented", out),
        }
    }

    fn take_chunk(&mut self, now: Instant, request: Request, out: &mut Vec<Event>) {
        if request.from_path.last() != self.remote.last() {
            return respond(&request, 481, "No Such Session", out);
        }
        let Some(id) = request.message_id.clone() else { return respond(&request, 400, "Bad Request", out) };
        match self.store(now, &id, &request) {
            Err((status, comment)) => {
                self.partial.remove(&id);
                respond(&request, status, comment, out);
            }
            Ok(false) => respond(&request, 200, "OK", out),
            Ok(true) => {
                let Some(partial) = self.partial.remove(&id) else { return };
                if partial.whole.is_empty() {
                    return respond(&request, 200, "OK", out);
                }
                if self.unanswered.len() >= MOST_UNANSWERED {
                    return respond(&request, 408, "Too Many Messages", out);
                }
                self.next_key += 1;
                out.push(Event::Received(Complete {
                    key: self.next_key,
                    message_id: id,
                    media: partial.media,
                    body: partial.whole.freeze(),
                    success_report: partial.success_report || request.success_report,
                    failure_report: request.failure_report,
                }));
                // The body is told; only who asked is kept.
                self.unanswered.insert(self.next_key, Request { content: None, ..request });
            }
        }
    }

    /// Puts a chunk into its place; whether the message is whole now.
    fn store(&mut self, now: Instant, id: &str, request: &Request) -> Result<bool, (u16, &'static str)> {
        if request.continuation == Continuation::Aborted {
            self.partial.remove(id);
            return Ok(false);
        }
        let range = request.byte_range.unwrap_or(ByteRange { start: 1, end: None, total: None });
        let body = request.content.as_ref().map(|content| content.body.clone()).unwrap_or_default();
        let offset = range.start.checked_sub(1).or_else(|| body.is_empty().then_some(0)).ok_or((400, "Bad Byte-Range"))?;
        let end = offset.checked_add(body.len() as u64).ok_or((413, "Message Too Large"))?;
        if end > self.settings.max_message || range.total.is_some_and(|total| total > self.settings.max_message) {
            return Err((413, "Message Too Large"));
        }
        if let Some(content) = &request.content
            && !body.is_empty()
            && !(self.settings.accepts)(&content.media)
        {
            return Err((415, "Unsupported Media Type"));
        }
        if !self.partial.contains_key(id) && self.partial.len() >= MOST_PARTIAL {
            return Err((413, "Too Many Messages At Once"));
        }
        let partial = self.partial.entry(id.to_owned()).or_insert_with(|| Partial {
            media: String::new(),
            whole: BytesMut::new(),
            later: BTreeMap::new(),
            later_size: 0,
            total: None,
            success_report: false,
            heard: now,
        });
        partial.heard = now;
        partial.success_report |= request.success_report;
        if let Some(content) = request.content.as_ref().filter(|content| !content.media.is_empty()) {
            partial.media.clone_from(&content.media);
        }
        if request.continuation == Continuation::Last {
            // RFC 4975 §5.1: the last chunk tells how long the message is.
            partial.total = Some(end);
        }
        partial.put(offset, body)?;
        let have = partial.whole.len() as u64;
        match partial.total {
            Some(total) if have > total => Err((400, "Bad Byte-Range")),
            Some(total) => Ok(have == total),
            None => Ok(false),
        }
    }

    /// Answers a message that came whole: 200, or why not.
    pub fn answer(&mut self, key: u64, status: u16, comment: &'static str, out: &mut Vec<Event>) {
        if let Some(request) = self.unanswered.remove(&key) {
            respond(&request, status, comment, out);
        }
    }

    /// Tells the sender of a message of `size` bytes, which was answered 200, what became of it (RFC 4975 §7.1.2).
    pub fn report(&mut self, message_id: &str, size: u64, status: u16, out: &mut Vec<Event>) {
        let mut request = self.request(Method::Report, message_id, Continuation::Last);
        request.byte_range = Some(ByteRange { start: 1, end: Some(size), total: Some(size) });
        request.status = Some(status);
        out.push(Event::Transmit(request.encode()));
    }

    /// Puts a message behind the others that go out.
    pub fn send(&mut self, now: Instant, message: Outgoing, out: &mut Vec<Event>) {
        self.queue.push_back(Sending { message, sent: 0, is_out: false, open: 0 });
        self.pump(now, out);
    }

    /// Sends as many chunks as may wait for answers.
    fn pump(&mut self, now: Instant, out: &mut Vec<Event>) {
        while self.waiting.len() < WINDOW {
            let Some(place) = self.queue.iter().position(|sending| !sending.is_out) else { return };
            let Some(sending) = self.queue.get(place) else { return };
            let message = &sending.message;
            let end = message.body.len().min(sending.sent + CHUNK);
            let body = message.body.slice(sending.sent..end);
            let total = message.body.len() as u64;
            let range = ByteRange { start: sending.sent as u64 + 1, end: Some(end as u64), total: Some(total) };
            let (id, media, token) = (message.message_id.clone(), message.media.clone(), message.token);
            let (success_report, is_last) = (message.success_report, end == message.body.len());
            let continuation = if is_last { Continuation::Last } else { Continuation::More };
            let mut request = self.request(Method::Send, &id, continuation);
            while holds_end_line(&body, &request.transaction) {
                request.transaction = self.transaction();
            }
            request.byte_range = Some(range);
            request.success_report = success_report;
            request.content = Some(Content { media, body });
            self.waiting.insert(request.transaction.clone(), Waiting { token, until: now + PATIENCE });
            if let Some(sending) = self.queue.get_mut(place) {
                sending.sent = end;
                sending.is_out = is_last;
                sending.open += 1;
            }
            out.push(Event::Transmit(request.encode()));
        }
    }

    /// Takes the answer to a request of ours.
    pub fn response_received(&mut self, now: Instant, response: &Response, out: &mut Vec<Event>) {
        let Some(Waiting { token, .. }) = self.waiting.remove(&response.transaction) else { return };
        if response.status == 200 {
            if let Some(place) = self.queue.iter().position(|sending| sending.message.token == token)
                && let Some(sending) = self.queue.get_mut(place)
            {
                sending.open = sending.open.saturating_sub(1);
                if sending.is_out && sending.open == 0 {
                    self.queue.remove(place);
                    out.push(Event::Sent(token));
                }
            }
        } else {
            self.fail(token, response.status, out);
        }
        self.pump(now, out);
    }

    /// Gives a message of ours up.
    fn fail(&mut self, token: Token, status: u16, out: &mut Vec<Event>) {
        self.waiting.retain(|_, waiting| waiting.token != token);
        let Some(place) = self.queue.iter().position(|sending| sending.message.token == token) else { return };
        let Some(sending) = self.queue.remove(place) else { return };
        if !sending.is_out && sending.sent > 0 {
            // RFC 4975 §7.1: whoever holds the beginning may forget it.
            let mut request = self.request(Method::Send, &sending.message.message_id, Continuation::Aborted);
            let at = sending.sent as u64;
            request.byte_range = Some(ByteRange { start: at + 1, end: Some(at), total: Some(sending.message.body.len() as u64) });
            request.failure_report = FailureReport::No;
            request.content = Some(Content { media: sending.message.media, body: Bytes::new() });
            out.push(Event::Transmit(request.encode()));
        }
        out.push(Event::Failed(token, status));
    }

    /// The connection is gone: everything that went out and was not answered may or may not have arrived.
    pub fn disconnected(&mut self, out: &mut Vec<Event>) {
        self.waiting.clear();
        self.partial.clear();
        self.unanswered.clear();
        for sending in std::mem::take(&mut self.queue) {
            out.push(Event::Failed(sending.message.token, 408));
        }
    }

    /// When [`Session::tick`] is wanted.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let answers = self.waiting.values().map(|waiting| waiting.until);
        let chunks = self.partial.values().map(|partial| partial.heard + PATIENCE);
        answers.chain(chunks).min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Event>) {
        let mut late: Vec<Token> =
            self.waiting.values().filter(|waiting| now >= waiting.until).map(|waiting| waiting.token).collect();
        late.sort_unstable();
        late.dedup();
        for token in late {
            self.fail(token, 408, out);
        }
        self.partial.retain(|_, partial| now < partial.heard + PATIENCE);
        self.pump(now, out);
    }

    fn transaction(&mut self) -> TransactionId {
        self.next_transaction = self.next_transaction.wrapping_add(1);
        TransactionId::of(self.next_transaction)
    }

    fn request(&mut self, method: Method, message_id: &str, continuation: Continuation) -> Request {
        Request {
            transaction: self.transaction(),
            method,
            to_path: self.remote.clone(),
            from_path: Path::direct(self.local.clone()),
            message_id: Some(message_id.to_owned()),
            byte_range: None,
            success_report: false,
            failure_report: FailureReport::Yes,
            status: None,
            content: None,
            continuation,
        }
    }
}

impl Partial {
    fn put(&mut self, offset: u64, body: Bytes) -> Result<(), (u16, &'static str)> {
        let have = self.whole.len() as u64;
        if offset > have {
            let fresh = body.len() as u64;
            if self.later.len() >= MOST_PIECES {
                return Err((413, "Too Many Pieces"));
            }
            if let Some(old) = self.later.insert(offset, body) {
                self.later_size -= old.len() as u64;
            }
            self.later_size += fresh;
            return Ok(());
        }
        self.append(offset, &body);
        while let Some((at, _)) = self.later.first_key_value()
            && *at <= self.whole.len() as u64
            && let Some((at, piece)) = self.later.pop_first()
        {
            self.later_size -= piece.len() as u64;
            self.append(at, &piece);
        }
        Ok(())
    }

    /// What is new of a piece that begins at the end of what there is, or before it.
    fn append(&mut self, offset: u64, piece: &[u8]) {
        let skip = usize::try_from(self.whole.len() as u64 - offset).unwrap_or(usize::MAX);
        if let Some(fresh) = piece.get(skip..) {
            self.whole.extend_from_slice(fresh);
        }
    }
}

/// Answers a request as its sender wants to be answered (RFC 4975 §7.2).
fn respond(request: &Request, status: u16, comment: &'static str, out: &mut Vec<Event>) {
    let wanted = match request.failure_report {
        FailureReport::Yes => true,
        FailureReport::No => false,
        FailureReport::Partial => status != 200,
    };
    if wanted {
        out.push(Event::Transmit(request.answer(status, Some(comment)).encode()));
    }
}
