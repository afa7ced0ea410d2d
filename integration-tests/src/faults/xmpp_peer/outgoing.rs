//! The stream that a peer opens for one remote domain, and opens again whenever it breaks.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::xml::{Element, Frame, Reader};
use super::{Shared, broken, expect_element, expect_open, header};
use crate::faults::peer::PeerEvent;
use crate::faults::wire::{DIAL_PAUSE, OPENING, Tls, lock};

/// Stanzas after which an acknowledgement is asked for.
const BATCH: usize = 20;
/// What is not acknowledged is asked about again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A stream on which nothing at all comes for so long after a question is given up, as a real server does.
const SILENCE: Duration = Duration::from_secs(10);

struct Stanza {
    /// Of a message of which something is still to be told; `None`: an answer, or one of which all is told.
    id: Option<String>,
    bytes: Arc<[u8]>,
    /// It is not written again on another stream: it was refused, or forgotten.
    settled: bool,
}

#[derive(Default)]
struct Queue {
    /// Not written on the present stream.
    waiting: VecDeque<Stanza>,
    /// Written and not acknowledged.
    written: VecDeque<Stanza>,
    /// How many stanzas the other side has acknowledged on the present stream, modulo 2^32.
    acknowledged: u32,
    /// When an unanswered question was asked.
    asked: Option<Instant>,
    /// The reading side has ended.
    broken: bool,
}

/// All that goes to one remote domain.
pub(super) struct Outgoing {
    remote: String,
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Outgoing {
    pub(super) fn new(remote: &str) -> Self {
        Self { remote: remote.to_owned(), queue: Mutex::default(), changed: Condvar::new() }
    }

    /// Sends a stanza, now or when the stream is open again.
    pub(super) fn push(&self, id: Option<&str>, stanza: String) {
        let stanza = Stanza { id: id.map(str::to_owned), bytes: stanza.into_bytes().into(), settled: false };
        lock(&self.queue).waiting.push_back(stanza);
        self.changed.notify_all();
    }

    /// Wakes its thread, to see that the peer has ended.
    pub(super) fn wake(&self) {
        // With the lock, or the thread could look before and wait after.
        let _queue = lock(&self.queue);
        self.changed.notify_all();
    }

    pub(super) fn unanswered(&self) -> usize {
        let queue = lock(&self.queue);
        queue.waiting.iter().chain(&queue.written).filter(|stanza| stanza.id.is_some()).count()
    }

    pub(super) fn forget(&self) {
        let mut queue = lock(&self.queue);
        queue.waiting.retain(|stanza| stanza.id.is_none());
        for stanza in &mut queue.written {
            stanza.settled |= stanza.id.take().is_some();
        }
    }

    /// An error came for this message. Whether it had not been acknowledged.
    pub(super) fn refuse(&self, id: &str) -> bool {
        let mut queue = lock(&self.queue);
        let is = |stanza: &Stanza| stanza.id.as_deref() == Some(id);
        if let Some(stanza) = queue.written.iter_mut().find(|stanza| is(stanza)) {
            // It stays in the count of what was written.
            (stanza.id, stanza.settled) = (None, true);
            return true;
        }
        let place = queue.waiting.iter().position(is);
        place.and_then(|place| queue.waiting.remove(place)).is_some()
    }

    /// Opens the stream and keeps it open until the peer ends.
    pub(super) fn keep(self: &Arc<Self>, shared: &Arc<Shared>) {
        while !shared.sockets.ended() {
            // Why it ended is no matter: it is opened again.
            let _ = self.run(shared);
            let mut queue = lock(&self.queue);
            let mut written = std::mem::take(&mut queue.written);
            written.retain(|stanza| !stanza.settled);
            written.append(&mut queue.waiting);
            queue.waiting = written;
            drop(queue);
            thread::sleep(DIAL_PAUSE);
        }
    }

    fn run(self: &Arc<Self>, shared: &Arc<Shared>) -> io::Result<()> {
        let socket = TcpStream::connect(shared.hub)?;
        let Some(_entered) = shared.sockets.enter(&socket) else { return Ok(()) };
        let (tls, reader) = self.open(shared, socket)?;
        tls.set_patience(None)?;
        {
            let mut queue = lock(&self.queue);
            *queue = Queue { waiting: std::mem::take(&mut queue.waiting), ..Queue::default() };
        }
        let (tls, outgoing, telling) = (Arc::new(tls), self.clone(), shared.clone());
        let reading = tls.clone();
        let reading = thread::spawn(move || {
            // Why it ended is no matter: it is opened again.
            let _ = outgoing.read(&telling, &reading, reader);
            lock(&outgoing.queue).broken = true;
            outgoing.changed.notify_all();
        });
        let result = self.write(shared, &tls);
        tls.shut();
        // A listener that panics ends its stream, and says why itself.
        let _ = reading.join();
        result
    }

    /// TLS, SASL EXTERNAL and stream management.
    fn open(&self, shared: &Shared, mut socket: TcpStream) -> io::Result<(Tls, Reader)> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(OPENING))?;
        let header = header(&shared.domain, &self.remote, None);
        let mut reader = Reader::default();
        let ask = |socket: &mut TcpStream, text: &str| io::Write::write_all(socket, text.as_bytes());
        ask(&mut socket, &header)?;
        expect_open(&mut socket, &mut reader)?;
        let features = expect_element(&mut socket, &mut reader)?;
        features.child("starttls").ok_or_else(broken)?;
        ask(&mut socket, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")?;
        expect_element(&mut socket, &mut reader)?.is("proceed")?;
        let mut tls = shared.credentials.dialled(socket, &self.remote)?;
        let mut reader = Reader::default();
        tls.write(header.as_bytes())?;
        expect_open(&mut tls, &mut reader)?;
        let features = expect_element(&mut tls, &mut reader)?;
        let mechanisms = features.child("mechanisms").ok_or_else(broken)?;
        if !mechanisms.children.iter().any(|mechanism| mechanism.text == "EXTERNAL") {
            return Err(broken());
        }
        tls.write(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")?;
        expect_element(&mut tls, &mut reader)?.is("success")?;
        let mut reader = Reader::default();
        tls.write(header.as_bytes())?;
        expect_open(&mut tls, &mut reader)?;
        expect_element(&mut tls, &mut reader)?.child("sm").ok_or_else(broken)?;
        tls.write(b"<enable xmlns='urn:xmpp:sm:3'/>")?;
        expect_element(&mut tls, &mut reader)?.is("enabled")?;
        Ok((tls, reader))
    }

    /// Writes what waits until the stream breaks.
    fn write(&self, shared: &Shared, tls: &Tls) -> io::Result<()> {
        let mut buffer = Vec::new();
        while self.next_batch(shared, &mut buffer) {
            buffer.extend_from_slice(b"<r xmlns='urn:xmpp:sm:3'/>");
            tls.write(&buffer)?;
            buffer.clear();
        }
        Ok(())
    }

    /// Waits for stanzas and takes some, or none when it is time to ask about those before. Whether the stream goes on.
    fn next_batch(&self, shared: &Shared, buffer: &mut Vec<u8>) -> bool {
        let mut queue = lock(&self.queue);
        let mut last_asked = Instant::now();
        loop {
            let now = Instant::now();
            let silent = queue.asked.is_some_and(|asked| now >= asked + SILENCE);
            if queue.broken || silent || shared.sockets.ended() {
                return false;
            }
            let open = !queue.written.is_empty();
            if !queue.waiting.is_empty() || open && now >= last_asked + ASK_AGAIN {
                queue.asked.get_or_insert(now);
                let some = queue.waiting.len().min(BATCH);
                let Queue { waiting, written, .. } = &mut *queue;
                for stanza in waiting.drain(..some) {
                    buffer.extend_from_slice(&stanza.bytes);
                    written.push_back(stanza);
                }
                return true;
            }
            if !open {
                last_asked = now;
            }
            queue = self.wait(queue, if open { last_asked + ASK_AGAIN - now } else { SILENCE });
        }
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>, most: Duration) -> MutexGuard<'a, Queue> {
        self.changed.wait_timeout(queue, most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Reads acknowledgements until the stream ends.
    fn read(&self, shared: &Shared, tls: &Tls, mut reader: Reader) -> io::Result<()> {
        loop {
            while let Some(frame) = reader.next().map_err(|_| broken())? {
                match frame {
                    Frame::Element(element) => self.element(shared, tls, &element)?,
                    Frame::Open(_) => return Err(broken()),
                    Frame::Close => return tls.write(b"</stream:stream>"),
                }
            }
            if tls.read(reader.input())? == 0 {
                return Ok(());
            }
            lock(&self.queue).asked = None;
        }
    }

    fn element(&self, shared: &Shared, tls: &Tls, element: &Element) -> io::Result<()> {
        match element.name() {
            "a" => {
                let handled = element.attribute("h").and_then(|handled| handled.parse::<u32>().ok()).ok_or_else(broken)?;
                for id in self.acknowledged(handled)? {
                    shared.tell(PeerEvent::Accepted { id });
                }
                Ok(())
            }
            // The hub sends no stanzas on the peer's stream.
            "r" => tls.write(b"<a xmlns='urn:xmpp:sm:3' h='0'/>"),
            "error" => Err(broken()),
            _ => Ok(()),
        }
    }

    /// The messages that this count acknowledges anew.
    fn acknowledged(&self, handled: u32) -> io::Result<Vec<String>> {
        let mut queue = lock(&self.queue);
        let count = handled.wrapping_sub(queue.acknowledged) as usize;
        if count > queue.written.len() {
            // It acknowledges what was never written, or takes back what it has acknowledged.
            return Err(broken());
        }
        queue.acknowledged = handled;
        Ok(queue.written.drain(..count).filter_map(|stanza| stanza.id).collect())
    }
}
