//! A scripted SIP proxy of one company, with all its users, over TLS.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::peer::{Listener, Peer, PeerEvent};
use super::wire::{Acceptor, Credentials, DIAL_PAUSE, OPENING, Sockets, Tls, lock};
use crate::certificates::Identity;
use crate::ports::ReservedPort;
use crate::tls_sip_peer::{Framer, SipFrame};

/// How long an answer is waited for before the request is sent again: timer F of RFC 3261 §17.1.2.2.
const ANSWER_WITHIN: Duration = Duration::from_secs(32);
/// Requests that are written at once, at most.
const BATCH: usize = 50;
/// How many answers are remembered, to be given again.
const REMEMBERED: usize = 200_000;

/// How a user's messages are answered: the status to refuse them by, or `None` to take them.
pub type Refuse = Arc<dyn Fn(&str) -> Option<u16> + Send + Sync>;

/// How to start a SIP peer.
pub struct SipPeerSettings<'a> {
    /// Its domain.
    pub domain: String,
    /// Where it listens for the hub, TLS.
    pub port: ReservedPort,
    /// Where it dials: the hub, or a proxy before it.
    pub hub: SocketAddr,
    /// The name that the hub's certificate must hold.
    pub hub_name: &'a str,
    /// What it shows in both directions.
    pub identity: &'a Identity,
    /// Whom it believes: the certificate of an authority, PEM.
    pub authority: &'a str,
    /// By the user part of the Request-URI. A repeated request gets the answer of the first.
    pub refuse: Refuse,
    /// A proxy that chokes: a message whose body contains this is answered by the end of the connection.
    pub poison: Option<String>,
}

/// A running SIP peer. Dropping it ends its connections without a word.
pub struct SipPeer {
    shared: Arc<Shared>,
    /// There until it is stopped.
    acceptor: Option<Acceptor>,
}

struct Shared {
    domain: String,
    /// When it was started: no branch and no tag is that of an earlier peer on the same port.
    life: u128,
    local: SocketAddr,
    hub: SocketAddr,
    hub_name: String,
    credentials: Credentials,
    refuse: Refuse,
    poison: Option<String>,
    listener: Listener,
    sockets: Arc<Sockets>,
    desk: Mutex<Desk>,
    changed: Condvar,
    answers: Mutex<Answers>,
}

/// A message to be sent, or one whose answer is waited for.
struct Message {
    id: String,
    from: String,
    to: String,
    body: String,
    /// Of the order of the calls.
    number: u64,
    /// How often it was written.
    attempts: u32,
    /// When it was last written, on a connection that lives; `None`: it waits for being written.
    written: Option<Instant>,
}

type Pair = (String, String);

/// What goes out: of each pair one message at a time, RFC 3428 §8.
#[derive(Default)]
struct Desk {
    next_number: u64,
    /// What waits behind the open message of its pair. A pair is here as long as it has an open one.
    behind: HashMap<Pair, VecDeque<Message>>,
    /// By Call-ID: the open message of each pair.
    open: HashMap<String, Message>,
    /// Call-IDs of open messages to be written; some may be answered meanwhile.
    ready: VecDeque<String>,
    /// When each was written, in order; some may be answered or written again meanwhile.
    written: VecDeque<(Instant, String)>,
    /// The connection has ended.
    broken: bool,
}

/// What was answered, by Call-ID, CSeq and From tag, and in which order.
#[derive(Default)]
struct Answers {
    statuses: HashMap<String, u16>,
    order: VecDeque<String>,
}

impl SipPeer {
    /// Listens and dials; `listener` is told what happens.
    pub fn start(settings: SipPeerSettings<'_>, listener: Listener) -> Self {
        let shared = Arc::new(Shared {
            domain: settings.domain,
            life: SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_nanos(),
            local: settings.port.address(),
            hub: settings.hub,
            hub_name: settings.hub_name.to_owned(),
            credentials: Credentials::new(settings.identity, settings.authority),
            refuse: settings.refuse,
            poison: settings.poison,
            listener,
            sockets: Arc::default(),
            desk: Mutex::default(),
            changed: Condvar::new(),
            answers: Mutex::default(),
        });
        let (serving, keeping) = (shared.clone(), shared.clone());
        let acceptor = Acceptor::start(settings.port, shared.sockets.clone(), move |socket| serving.serve(socket));
        thread::spawn(move || keeping.keep());
        Self { shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.local
    }

    /// Ends it, as a crash does, and gives back its port for another.
    pub fn stop(mut self) -> ReservedPort {
        self.end();
        self.acceptor.take().expect("the acceptor is taken out only here").into_port()
    }

    fn end(&mut self) {
        self.shared.sockets.end();
        // With the lock, or the thread could look before and wait after.
        drop(lock(&self.shared.desk));
        self.shared.changed.notify_all();
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.end();
        }
    }
}

impl Peer for SipPeer {
    fn send(&self, id: &str, from: &str, to: &str, body: &str) {
        let mut desk = lock(&self.shared.desk);
        desk.next_number += 1;
        let [id, from, to, body] = [id, from, to, body].map(str::to_owned);
        let message = Message { id, from, to, body, number: desk.next_number, attempts: 0, written: None };
        match desk.behind.get_mut(&message.pair()) {
            Some(behind) => behind.push_back(message),
            None => {
                desk.behind.insert(message.pair(), VecDeque::new());
                desk.offer(&self.shared.domain, message);
                self.shared.changed.notify_all();
            }
        }
    }

    fn unanswered(&self) -> usize {
        let desk = lock(&self.shared.desk);
        desk.open.len() + desk.behind.values().map(VecDeque::len).sum::<usize>()
    }

    fn forget_unanswered(&self) {
        let mut desk = lock(&self.shared.desk);
        let Desk { behind, open, ready, written, .. } = &mut *desk;
        behind.clear();
        open.clear();
        ready.clear();
        written.clear();
    }
}

impl Drop for SipPeer {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for SipPeer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SipPeer")
            .field("domain", &self.shared.domain)
            .field("acceptor", &self.acceptor)
            .finish_non_exhaustive()
    }
}

impl Message {
    fn pair(&self) -> Pair {
        (self.from.clone(), self.to.clone())
    }

    /// The same request each time but for the branch: a transaction of its own.
    fn write(&self, shared: &Shared, out: &mut Vec<u8>) {
        let (number, life, local) = (self.number, shared.life, shared.local);
        let (from, to) = (uri(&self.from), uri(&self.to));
        let call = call_id(&shared.domain, &self.id);
        // RFC 3428 §7, RFC 2046 §4.1.1: lines end by CR LF.
        let body = self.body.replace("\r\n", "\n").replace('\n', "\r\n");
        let request = format!(
            "MESSAGE {to} SIP/2.0\r\nVia: SIP/2.0/TLS {local};branch=z9hG4bK{life}-{number}-{}\r\nMax-Forwards: 70\r\n\
             From: <{from}>;tag=peer{life}-{number}\r\nTo: <{to}>\r\nCall-ID: {call}\r\nCSeq: 1 MESSAGE\r\n\
             Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
            self.attempts,
            body.len()
        );
        out.extend_from_slice(request.as_bytes());
    }
}

impl Desk {
    /// This is the open message of its pair from now on.
    fn offer(&mut self, domain: &str, message: Message) {
        let call = call_id(domain, &message.id);
        self.ready.push_back(call.clone());
        self.open.insert(call, message);
    }

    /// A new connection: what is open goes out again, in the order in which it first did.
    fn begin_again(&mut self) {
        self.broken = false;
        let mut calls: Vec<(u64, String)> = self
            .open
            .iter_mut()
            .map(|(call, message)| {
                message.written = None;
                (message.number, call.clone())
            })
            .collect();
        calls.sort_unstable();
        self.ready = calls.into_iter().map(|(_, call)| call).collect();
        self.written.clear();
    }

    /// Puts back what has no answer for too long, and says when to look again.
    fn expire(&mut self, now: Instant) -> Duration {
        while let Some((written, call)) = self.written.front() {
            let message = self.open.get_mut(call).filter(|message| message.written == Some(*written));
            if message.is_some() && now < *written + ANSWER_WITHIN {
                return *written + ANSWER_WITHIN - now;
            }
            if let Some(message) = message {
                message.written = None;
                self.ready.push_back(call.clone());
            }
            self.written.pop_front();
        }
        ANSWER_WITHIN
    }

    /// A final answer came: the message, if it was open. The next of its pair takes its place.
    fn close(&mut self, domain: &str, call: &str) -> Option<Message> {
        let message = self.open.remove(call)?;
        let pair = message.pair();
        match self.behind.get_mut(&pair).and_then(VecDeque::pop_front) {
            Some(next) => self.offer(domain, next),
            None => {
                self.behind.remove(&pair);
            }
        }
        Some(message)
    }
}

impl Shared {
    fn tell(&self, event: PeerEvent) {
        if !self.sockets.ended() {
            (self.listener)(event);
        }
    }

    /// Keeps the connection to the hub until the peer ends.
    fn keep(self: &Arc<Self>) {
        while !self.sockets.ended() {
            // Why it ended is no matter: it is dialled again.
            let _ = self.run();
            thread::sleep(DIAL_PAUSE);
        }
    }

    fn run(self: &Arc<Self>) -> io::Result<()> {
        let socket = TcpStream::connect(self.hub)?;
        let Some(_entered) = self.sockets.enter(&socket) else { return Ok(()) };
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(OPENING))?;
        let tls = Arc::new(self.credentials.dialled(socket, &self.hub_name)?);
        tls.set_patience(None)?;
        lock(&self.desk).begin_again();
        let (shared, reading) = (self.clone(), tls.clone());
        let reading = thread::spawn(move || {
            // Why it ended is no matter: it is dialled again.
            let _ = shared.read(&reading);
            lock(&shared.desk).broken = true;
            shared.changed.notify_all();
        });
        let result = self.write(&tls);
        tls.shut();
        // A listener that panics ends its connection, and says why itself.
        let _ = reading.join();
        result
    }

    /// Writes what may go until the connection breaks.
    fn write(&self, tls: &Tls) -> io::Result<()> {
        let mut buffer = Vec::new();
        while self.next_batch(&mut buffer) {
            tls.write(&buffer)?;
            buffer.clear();
        }
        Ok(())
    }

    /// Waits for requests and takes some. Whether the connection goes on.
    fn next_batch(&self, buffer: &mut Vec<u8>) -> bool {
        let mut desk = lock(&self.desk);
        loop {
            if desk.broken || self.sockets.ended() {
                return false;
            }
            let now = Instant::now();
            let patience = desk.expire(now);
            let Desk { open, ready, written, .. } = &mut *desk;
            for _ in 0..ready.len().min(BATCH) {
                let Some(call) = ready.pop_front() else { break };
                let Some(message) = open.get_mut(&call) else { continue };
                message.attempts += 1;
                message.written = Some(now);
                message.write(self, buffer);
                written.push_back((now, call));
            }
            if !buffer.is_empty() {
                return true;
            }
            if desk.ready.is_empty() {
                desk = self.changed.wait_timeout(desk, patience).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    fn serve(&self, socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(OPENING))?;
        let tls = self.credentials.accepted(socket)?;
        tls.set_patience(None)?;
        self.read(&tls)
    }

    /// Reads requests and answers, on a connection of either direction, until it ends.
    fn read(&self, tls: &Tls) -> io::Result<()> {
        let mut framer = Framer::default();
        let mut bytes = Vec::new();
        while tls.read(&mut bytes)? > 0 {
            framer.feed(&bytes);
            bytes.clear();
            let mut answers = Vec::new();
            while let Some(frame) = framer.take() {
                match (frame.status(), frame.method()) {
                    (Some(status @ 200..), _) => self.answered(&frame, status),
                    (Some(_), _) | (None, Some("ACK") | None) => {}
                    (None, Some(method)) => {
                        let Some(status) = self.request(&frame, method) else {
                            // What was answered before it was said before it.
                            return tls.write(&answers);
                        };
                        answer(&frame, status, &mut answers);
                    }
                }
            }
            if !answers.is_empty() {
                tls.write(&answers)?;
            }
        }
        Ok(())
    }

    /// A final answer to a request of ours, or to one that was forgotten or answered before.
    fn answered(&self, frame: &SipFrame, status: u16) {
        let closed = lock(&self.desk).close(&self.domain, frame.header("Call-ID").unwrap_or_default());
        let Some(Message { id, .. }) = closed else { return };
        self.changed.notify_all();
        self.tell(match status {
            200..300 => PeerEvent::Accepted { id },
            _ => PeerEvent::Refused { id, why: status.to_string(), temporary: status == 503 },
        });
    }

    /// The status for a request; `None`: the proxy chokes on it.
    fn request(&self, frame: &SipFrame, method: &str) -> Option<u16> {
        match method {
            "MESSAGE" => {}
            "OPTIONS" => return Some(200),
            _ => return Some(405),
        }
        // Written with CR LF and meant as lines, in both directions.
        let body = frame.text().replace("\r\n", "\n");
        if self.poison.as_ref().is_some_and(|poison| body.contains(poison.as_str())) {
            return None;
        }
        let to = address_in(frame.start.split(' ').nth(1).unwrap_or_default());
        let user = to.split('@').next().unwrap_or_default();
        let header = |name| frame.header(name).unwrap_or_default();
        let tag = header("From").split_once(";tag=").map_or("", |(_, tag)| tag);
        let key = format!("{}\n{}\n{tag}", header("Call-ID"), header("CSeq"));
        let status = lock(&self.answers).status(key, || (self.refuse)(user).unwrap_or(200));
        if status == 200 {
            let from = address_in(header("From"));
            if is_notice(&body) {
                self.tell(PeerEvent::Notice { from, to, failures: failures(&body) });
                self.tell(PeerEvent::Bounced { id: body, why: String::new() });
            } else {
                self.tell(PeerEvent::Received { from, to, body });
            }
        }
        Some(status)
    }
}

impl Answers {
    /// The answer that was given before, or a new one.
    fn status(&mut self, key: String, new: impl FnOnce() -> u16) -> u16 {
        if let Some(status) = self.statuses.get(&key) {
            return *status;
        }
        let status = new();
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.statuses.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.statuses.insert(key, status);
        status
    }
}

/// Whether this is how the hub reports a late failure: "Your message of ... was not delivered."
fn is_notice(body: &str) -> bool {
    body.strip_prefix("Your message")
        .and_then(|rest| rest.split_once(" was not delivered."))
        .is_some_and(|(moment, _)| moment.is_empty() || moment.starts_with(" of ") && moment.ends_with(" UTC"))
}

/// Of how many failures a notice tells: "... 7 more messages were not delivered either."
fn failures(notice: &str) -> usize {
    let more = [" more messages were not delivered either.", " more message was not delivered either."]
        .iter()
        .find_map(|end| notice.strip_suffix(end)?.rsplit(' ').next());
    match more {
        Some("One") => 2,
        Some(number) => 1 + number.parse::<usize>().unwrap_or(0),
        None => 1,
    }
}

/// Writes the response to a request: what RFC 3261 §8.2.6.2 has copied, and a tag.
fn answer(request: &SipFrame, status: u16, out: &mut Vec<u8>) {
    let reason = match status {
        200..300 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        _ => "Refused",
    };
    out.extend_from_slice(format!("SIP/2.0 {status} {reason}\r\n").as_bytes());
    for (field, value) in &request.headers {
        // In the long or the compact form, RFC 3261 §7.3.3.
        let is = |names: &[&str]| names.iter().any(|name| field.eq_ignore_ascii_case(name));
        let is_to = is(&["To", "t"]);
        if is_to || is(&["Via", "v", "From", "f", "Call-ID", "i", "CSeq"]) {
            let tag = if is_to && !value.contains(";tag=") { ";tag=peer" } else { "" };
            out.extend_from_slice(format!("{field}: {value}{tag}\r\n").as_bytes());
        }
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// The id is the message's for ever, and so is this.
fn call_id(domain: &str, id: &str) -> String {
    let word: String = id
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-.".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    format!("{word}@{domain}")
}

/// The URI of a bare address.
fn uri(address: &str) -> String {
    let Some((user, domain)) = address.rsplit_once('@') else { return format!("sip:{address}") };
    let mut uri = "sip:".to_owned();
    for byte in user.bytes() {
        // What RFC 3261 §25.1 lets stand in a user part.
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri + "@" + domain
}

/// The bare address in a URI, or in a header field with one.
fn address_in(text: &str) -> String {
    let text = text.split_once('<').map_or(text, |(_, rest)| rest.split('>').next().unwrap_or(rest));
    let text = text.split_once(':').map_or(text, |(_, rest)| rest);
    let Some((user, host)) = text.split_once('@') else {
        return text.split([';', '?', ':']).next().unwrap_or_default().to_owned();
    };
    let host = host.split([';', '?', ':', '>']).next().unwrap_or_default();
    let mut plain = Vec::new();
    let mut left = user.as_bytes();
    while let [first, rest @ ..] = left {
        let escaped = (*first == b'%').then(|| user_byte(rest)).flatten();
        plain.push(escaped.unwrap_or(*first));
        left = if escaped.is_some() { &rest[2..] } else { rest };
    }
    format!("{}@{host}", String::from_utf8_lossy(&plain))
}

fn user_byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits.get(..2)?).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{address_in, call_id, failures, is_notice, uri};

    #[test]
    fn addresses_survive_a_uri() {
        for address in ["bob@globex.example", "o'neil é%@b.example", "a+b?c@b.example"] {
            assert_eq!(address_in(&uri(address)), address);
            assert_eq!(address_in(&format!("\"B\" <{};transport=tls>;tag=1", uri(address))), address);
        }
        assert_eq!(uri("ä b@b.example"), "sip:%C3%A4%20b@b.example");
        assert_eq!(address_in("sip:bob@globex.example:5061;user=phone"), "bob@globex.example");
        assert_eq!(address_in("sip:hub.example"), "hub.example");
        assert_eq!(call_id("b.example", "m 1-2"), "m%201-2@b.example");
    }

    #[test]
    fn a_notice_is_known() {
        assert!(is_notice("Your message of 2026-01-02 03:04:05 UTC was not delivered. There is no such user."));
        assert!(is_notice(
            "Your message was not delivered. The other side did not answer. One more message was not delivered either."
        ));
        assert!(!is_notice("Your message of hope was not delivered. Sorry."));
        assert!(!is_notice("Hello"));
        let notice = "Your message was not delivered. The other side did not answer.";
        assert_eq!(failures(notice), 1);
        assert_eq!(failures(&format!("{notice} One more message was not delivered either.")), 2);
        assert_eq!(failures(&format!("{notice} 7 more messages were not delivered either.")), 8);
    }
}
