//! One connection's task: bytes from the socket to the loop, bytes from the loop to the socket, TLS when it is asked for.
//!
//! Reading and writing go on side by side in one task, so TLS needs no lock, and neither waits for the other: a peer that does
//! not read is still read from, and a loop that takes nothing in does not stop the writing.
//!
//! **STARTTLS.** From the moment the task hears of `StartTls` it reads nothing in the clear any more. Clear bytes that the
//! adapter has not been handed by then are discarded wherever they are: in the loop's queue (the loop drops every `Received`
//! between `StartTls` and `Secured`), in this task's hand, and in the kernel as far as they can be told from the handshake: as
//! a client always (a server never speaks first), as a server while our own clear bytes, to which the peer's handshake is the
//! answer, have not been written. What arrives in the clear later than that breaks the handshake. So nothing sent in the clear
//! is ever taken for something sent under TLS (RFC 6120 §5.4.3.3). An adapter sends `<proceed/>` and `StartTls` from the same
//! call of `handle`; they reach the task together.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use interchange_adapter::{CloseReason, ConnId, TlsPeer, TlsRole};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::PollSender;

use crate::listen::Seat;
use crate::outbox::{Command, Outbox};
use crate::shared::{Event, Shared};
use crate::stream::{Stream, forget_unsent};
use crate::text;
use crate::tls::failure_of;

/// What may wait for a peer that does not read; above it the connection is closed as [`CloseReason::Slow`], alone.
const WAITING_BYTES: usize = 1024 * 1024;

/// Largest chunk handed to the loop, and the smallest buffer kept. The buffer grows with what comes and shrinks again, so an
/// idle connection holds 2 KiB. With two chunks before the loop and one in hand a peer fills at most 48 KiB.
const LARGEST_CHUNK: usize = 16 * 1024;
const SMALLEST_BUFFER: usize = 2 * 1024;

/// Chunks of the write queue gathered into one system call.
const GATHERED: usize = 128;

/// How long a closing connection may take to get rid of what waits for the peer.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// How long a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);

/// How long a closed socket is still read, and the bytes thrown away: closing one with unread bytes makes the kernel send a
/// reset, which can overtake our last words (RFC 1122 §4.2.2.13).
const LINGER_LIMIT: Duration = Duration::from_secs(2);

/// Clear bytes discarded before a handshake, at most; whoever sends more gets a broken handshake.
const DISCARD_LIMIT: usize = 256 * 1024;

pub(crate) struct Conn {
    id: ConnId,
    peer: SocketAddr,
    stream: Stream,
    outbox: Arc<Outbox>,
    events: PollSender<Event>,
    shared: Arc<Shared>,
    /// What the adapter wants, in order; the first `Send` may be partly written.
    queue: VecDeque<Command>,
    /// Bytes in `queue`.
    queued: usize,
    /// Bytes may still lie in TLS's own buffer.
    unflushed: bool,
    /// Read, and not yet taken by the loop's queue.
    hand: Option<Event>,
    buffer: BytesMut,
    /// What the next buffer's size will be.
    chunk: usize,
    /// Whether bytes may be read now.
    reading: bool,
    /// The stream has ended; to be said after what is in hand.
    ended: Option<End>,
    /// The adapter has asked to close: until when the rest may be written.
    closing: Option<Pin<Box<Sleep>>>,
    /// Its place under the limits on the number of connections, when it was accepted.
    _seat: Option<Seat>,
}

/// How a connection ends.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) why: CloseReason,
    pub(crate) detail: String,
    manner: Manner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Everything was written: say goodbye.
    Flushed,
    /// The peer has ended its side and may still read: write the rest.
    PeerFirst,
    /// Now, as far as that goes without waiting.
    AtOnce,
    /// Now, and what the kernel holds for the peer is forgotten.
    Reset,
}

impl End {
    fn new(why: CloseReason, manner: Manner, detail: impl Into<String>) -> Self {
        Self { why, manner, detail: detail.into() }
    }
}

enum Step {
    StartTls(Box<TlsRole>),
    End(End),
}

impl Conn {
    /// A connection that stands, with what the adapter has asked of it meanwhile. `reading`: whether bytes are read at once,
    /// or only once TLS is on.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        id: ConnId,
        tcp: TcpStream,
        peer: SocketAddr,
        reading: bool,
        outbox: Arc<Outbox>,
        early: VecDeque<Command>,
        events: mpsc::Sender<Event>,
        shared: Arc<Shared>,
        seat: Option<Seat>,
    ) -> Self {
        shared.stats.count_opened(id.is_dialled());
        let mut conn = Self {
            id,
            peer,
            stream: Stream::Clear(tcp),
            outbox,
            events: PollSender::new(events),
            shared,
            queue: early,
            queued: 0,
            unflushed: false,
            hand: None,
            buffer: BytesMut::new(),
            chunk: SMALLEST_BUFFER,
            reading,
            ended: None,
            closing: None,
            _seat: seat,
        };
        conn.understand(0);
        conn
    }

    /// Runs the connection to its end. `opened` is the first thing that the loop hears of it.
    pub(crate) async fn serve(mut self, opened: Event) {
        self.hand = Some(opened);
        let end = loop {
            match std::future::poll_fn(|cx| self.step(cx)).await {
                Step::End(end) => break end,
                Step::StartTls(role) => match self.secure(*role).await {
                    Ok(peer) => {
                        self.hand = Some(Event::Secured { conn: self.id, peer: Box::new(peer) });
                        self.reading = true;
                    }
                    Err(end) => break end,
                },
            }
        };
        self.finish(end).await;
    }

    /// Does what can be done without waiting, until something ends this phase.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if let Some(end) = self.hear(cx) {
            return Poll::Ready(Step::End(end));
        }
        if let Poll::Ready(Err(end)) = self.deliver(cx) {
            return Poll::Ready(Step::End(end));
        }
        match self.write(cx) {
            Poll::Ready(Ok(())) => match self.queue.front() {
                // What is in hand was read before, and has its place before what comes next.
                Some(Command::StartTls(_)) if self.hand.is_none() => {
                    let Some(Command::StartTls(role)) = self.queue.pop_front() else { unreachable!("just seen") };
                    return Poll::Ready(Step::StartTls(role));
                }
                Some(Command::Close(why)) => {
                    return Poll::Ready(Step::End(End::new(*why, Manner::Flushed, self.closed_by_us())));
                }
                _ => {}
            },
            Poll::Ready(Err(error)) => return Poll::Ready(Step::End(self.broken(&error))),
            // Tokio also says `Pending` to a task that has run for long: then nothing is known about the peer.
            Poll::Pending if self.queued > WAITING_BYTES && coop::has_budget_remaining() => {
                return Poll::Ready(Step::End(self.slow()));
            }
            Poll::Pending => {}
        }
        if let Some(limit) = &mut self.closing
            && limit.as_mut().poll(cx).is_ready()
        {
            let why = self.asked_reason();
            let detail = format!("{} did not take our last {} bytes within 5 s", self.peer, self.queued);
            return Poll::Ready(Step::End(End::new(why, Manner::Reset, detail)));
        }
        self.read(cx).map(Step::End)
    }

    /// Takes what the adapter wants from the outbox.
    fn hear(&mut self, cx: &Context<'_>) -> Option<End> {
        let known = self.queue.len();
        if let Some(why) = self.outbox.take(cx, &mut self.queue) {
            return Some(match why {
                CloseReason::Slow => self.slow(),
                why => End::new(why, Manner::AtOnce, format!("the hub ended the connection with {}", self.peer)),
            });
        }
        self.understand(known);
        None
    }

    /// What new commands, from index `known` on, change at once.
    fn understand(&mut self, known: usize) {
        if self.closing.is_some() {
            self.queue.truncate(known);
            return;
        }
        for index in known..self.queue.len() {
            match &self.queue[index] {
                Command::Send(bytes) => self.queued += bytes.len(),
                Command::StartTls(role) => {
                    let client = matches!(**role, TlsRole::Client { .. });
                    self.deafen();
                    if client || self.queued > 0 {
                        self.discard_unread();
                    }
                }
                Command::Close(_) => {
                    self.deafen();
                    self.closing = Some(Box::pin(sleep_until(Instant::now() + FLUSH_LIMIT)));
                    self.queue.truncate(index + 1);
                    return;
                }
            }
        }
    }

    /// Reads no more, and forgets what was read and not handed over. RFC 6120 §5.4.3.3.
    fn deafen(&mut self) {
        self.reading = false;
        self.buffer.clear();
        if matches!(self.hand, Some(Event::Received { .. })) {
            self.hand = None;
        }
    }

    /// Empties the kernel's buffer of what was sent in the clear.
    fn discard_unread(&mut self) {
        let Stream::Clear(tcp) = &self.stream else { return };
        let mut scratch = [0; 4096];
        let mut discarded = 0;
        while discarded < DISCARD_LIMIT {
            match tcp.try_read(&mut scratch) {
                Ok(0) | Err(_) => break,
                Ok(n) => discarded += n,
            }
        }
        if discarded > 0 {
            tracing::debug!(conn = %self.id, peer = %self.peer, bytes = discarded, "discarded clear bytes sent before TLS");
        }
    }

    /// Writes the `Send`s at the front of the queue. Ready when all are with the kernel.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(Command::Send(_)) = self.queue.front() {
            let mut slices = [IoSlice::new(&[]); GATHERED];
            let mut count = 0;
            for command in self.queue.iter().take(GATHERED) {
                let Command::Send(bytes) = command else { break };
                slices[count] = IoSlice::new(bytes);
                count += 1;
            }
            let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count])? else {
                return Poll::Pending;
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let _span = tracing::debug_span!("write", conn = %self.id, bytes = written).entered();
            self.shared.stats.count_written(written);
            self.unflushed = true;
            self.advance(written);
        }
        if self.unflushed {
            std::task::ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes `written` bytes off the front of the queue.
    fn advance(&mut self, mut written: usize) {
        self.queued -= written;
        while written > 0 {
            let Some(Command::Send(bytes)) = self.queue.front_mut() else { return };
            if bytes.len() > written {
                bytes.advance(written);
                return;
            }
            written -= bytes.len();
            self.queue.pop_front();
        }
    }

    /// Reads, and hands to the loop what was read. Ready when the stream has ended and all of it was handed over.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if let Err(end) = std::task::ready!(self.deliver(cx)) {
                return Poll::Ready(end);
            }
            if let Some(end) = self.ended.take() {
                return Poll::Ready(end);
            }
            if !self.reading {
                return Poll::Pending;
            }
            let read = self.fill(cx);
            if read == 0 && self.ended.is_none() {
                return Poll::Pending;
            }
            if read > 0 {
                let _span = tracing::debug_span!("read", conn = %self.id, bytes = read).entered();
                self.shared.stats.count_read(read);
                self.hand = Some(Event::Received { conn: self.id, bytes: self.buffer.split().freeze() });
            }
        }
    }

    /// Reads until nothing more is there, or the chunk is full; how many bytes. A stream that has ended sets `ended`.
    fn fill(&mut self, cx: &mut Context<'_>) -> usize {
        // The rest of the last buffer serves while it is worth a system call; else a new one, or the old one again when
        // nobody holds a part of it any more.
        if self.buffer.capacity() < SMALLEST_BUFFER / 2 {
            self.buffer.reserve(self.chunk);
        }
        let room = self.buffer.capacity().min(LARGEST_CHUNK);
        while self.buffer.len() < room {
            let left = room - self.buffer.len();
            let mut limited = (&mut self.buffer).limit(left);
            let polled = pin!(self.stream.read_buf(&mut limited)).poll(cx);
            match polled {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => {
                    self.reading = false;
                    let detail = format!("{} closed the connection", self.peer);
                    self.ended = Some(End::new(CloseReason::PeerClosed, Manner::PeerFirst, detail));
                    break;
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    self.reading = false;
                    self.ended = Some(self.broken(&error));
                    break;
                }
            }
        }
        let read = self.buffer.len();
        if read == room {
            self.chunk = (self.chunk * 2).min(LARGEST_CHUNK);
        } else if read < self.chunk / 4 {
            self.chunk = (self.chunk / 2).max(SMALLEST_BUFFER);
        }
        read
    }

    /// Hands the event in hand, if there is one, to the loop. `Ready(Err)` when the loop is gone.
    fn deliver(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.hand.is_none() {
            return Poll::Ready(Ok(()));
        }
        let gone = |_| End::new(CloseReason::Shutdown, Manner::AtOnce, "the hub ended the connection");
        std::task::ready!(self.events.poll_reserve(cx)).map_err(gone)?;
        // Asked last: a credit taken is a chunk sent.
        if matches!(self.hand, Some(Event::Received { .. })) && !self.outbox.may_deliver() {
            self.events.abort_send();
            return Poll::Pending;
        }
        match self.hand.take() {
            Some(event) => Poll::Ready(self.events.send_item(event).map_err(gone)),
            None => Poll::Ready(Ok(())),
        }
    }

    /// The TLS handshake, within 15 s. What the adapter wants meanwhile waits, except `Close`.
    async fn secure(&mut self, role: TlsRole) -> Result<TlsPeer, End> {
        let tcp = match mem::replace(&mut self.stream, Stream::Gone) {
            Stream::Clear(tcp) => tcp,
            other => {
                self.stream = other;
                let detail = format!("TLS is already on with {}", self.peer);
                return Err(End::new(CloseReason::TlsFailed, Manner::AtOnce, detail));
            }
        };
        let peer = self.peer;
        let shared = self.shared.clone();
        let mut handshake = pin!(timeout(HANDSHAKE_LIMIT, shared.tls.handshake(tcp, &role)));
        let done = std::future::poll_fn(|cx| {
            if let Some(end) = self.hear(cx) {
                return Poll::Ready(Err(end));
            }
            if self.closing.is_some() {
                let detail = format!("closed during the TLS handshake with {peer}");
                return Poll::Ready(Err(End::new(self.asked_reason(), Manner::AtOnce, detail)));
            }
            if self.queued > WAITING_BYTES {
                return Poll::Ready(Err(self.slow()));
            }
            handshake.as_mut().poll(cx).map(Ok)
        })
        .await?;
        match done {
            Ok(Ok((stream, peer))) => {
                self.stream = Stream::Secure(Box::new(stream));
                Ok(peer)
            }
            Ok(Err(why)) => {
                let detail = format!("no TLS with {peer}: {}", text::escaped(&why.text, 200));
                if why.is_incompatible && !self.id.is_dialled() {
                    // Whoever dials the hub has proved to be nobody yet, so no link tells of it.
                    tracing::info!(platform = %self.shared.name, conn = %self.id, "{detail}");
                }
                Err(End::new(why.why, Manner::AtOnce, detail))
            }
            Err(_) => {
                let detail = format!("{peer} did not finish the TLS handshake within 15 s");
                Err(End::new(CloseReason::TimedOut, Manner::AtOnce, detail))
            }
        }
    }

    /// Closes the socket as its end asks for, and tells the loop.
    async fn finish(mut self, end: End) {
        tracing::debug!(conn = %self.id, peer = %self.peer, why = %end.why, detail = %end.detail, "connection closed");
        self.shared.stats.count_closed(end.why);
        self.events.abort_send();
        let events = self.events.get_ref().cloned();
        // Read in good order before the end came: an answer that we waited for, perhaps.
        if let Some(event) = self.hand.take() {
            tell(events.clone(), event).await;
        }
        let closed = Event::Closed { conn: self.id, why: end.why, detail: text::escaped(&end.detail, 300) };
        let limit = self.closing.as_ref().map_or(Instant::now() + FLUSH_LIMIT, |limit| limit.deadline());
        match end.manner {
            Manner::Flushed => {
                let _ = timeout_at(limit, self.stream.shutdown()).await;
                tell(events, closed).await;
                self.linger().await;
            }
            Manner::PeerFirst => {
                tell(events, closed).await;
                // What the adapter said before it learned of the end; the loop drops its handle when it has told it.
                let rest = std::future::poll_fn(|cx| {
                    let known = self.queue.len();
                    let told = self.outbox.take(cx, &mut self.queue).is_some();
                    self.understand(known);
                    match self.write(cx) {
                        Poll::Ready(Ok(())) if !told => Poll::Pending,
                        other => other,
                    }
                });
                let limit = Instant::now() + FLUSH_LIMIT;
                let _ = timeout_at(limit, rest).await;
                let _ = timeout_at(limit, self.stream.shutdown()).await;
                drop(self);
            }
            Manner::AtOnce => {
                // One try: TLS's close_notify leaves if there is room for it.
                std::future::poll_fn(|cx| {
                    let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
                    Poll::Ready(())
                })
                .await;
                drop(self);
                tell(events, closed).await;
            }
            Manner::Reset => {
                if let Some(tcp) = self.stream.tcp() {
                    forget_unsent(tcp);
                }
                drop(self);
                tell(events, closed).await;
            }
        }
    }

    /// Throws away what the peer still sends, until it closes as well.
    async fn linger(mut self) {
        let Some(tcp) = self.stream.tcp() else { return };
        let mut scratch = [0; 1024];
        let _ = timeout(LINGER_LIMIT, async { while let Ok(1..) = tcp.read(&mut scratch).await {} }).await;
    }

    /// The reason given with `Close`.
    fn asked_reason(&self) -> CloseReason {
        match self.queue.back() {
            Some(Command::Close(why)) => *why,
            _ => CloseReason::Finished,
        }
    }

    fn closed_by_us(&self) -> String {
        format!("closed by the hub; the peer was {}", self.peer)
    }

    fn slow(&self) -> End {
        let detail = format!("{} does not read: more than 1 MiB waited for it", self.peer);
        End::new(CloseReason::Slow, Manner::Reset, detail)
    }

    fn broken(&self, error: &io::Error) -> End {
        if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            let detail = format!("TLS with {} failed: {}", self.peer, text::escaped(&error.to_string(), 200));
            return End::new(failure_of(inner), Manner::AtOnce, detail);
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let detail = format!("{} cut the connection without TLS's close_notify", self.peer);
            return End::new(CloseReason::Broken, Manner::PeerFirst, detail);
        }
        let why = if error.kind() == io::ErrorKind::TimedOut { CloseReason::TimedOut } else { CloseReason::Broken };
        End::new(why, Manner::AtOnce, format!("the connection with {} broke: {error}", self.peer))
    }
}

async fn tell(events: Option<mpsc::Sender<Event>>, event: Event) {
    if let Some(events) = events {
        // An error: the loop has ended, and knows.
        let _ = events.send(event).await;
    }
}
