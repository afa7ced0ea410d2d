//! Load for the benches: numbered and timed messages from one sender to one receiver, whatever lies between.
//!
//! A [`LoadSender`] writes messages, a receiver reports every one that arrives to a [`Tally`], and [`run`] keeps them
//! saturated with a window or paced at a rate. Each body carries its number and the time it was written, so the
//! report knows what was lost, repeated or overtaken, and how long the way took.

mod measurement;
mod sip;
mod stamp;
pub mod table;
pub mod ways;
mod xmpp;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use measurement::{Faults, Measurement, Systems, measure};
pub use sip::{SipReceiver, SipSender};
pub use xmpp::{XmppReceiver, XmppSender};

use stamp::{Scanner, Stamp, Template};

/// The longest run of messages in one write, and so with one time.
const LARGEST_BATCH: u64 = 64;
const NOTHING_ARRIVED_FOR: Duration = Duration::from_secs(10);
const PACE_STEP: Duration = Duration::from_millis(1);
/// How long after the last message a repeated one is still waited for.
const STRAYS_WITHIN: Duration = Duration::from_millis(300);

/// Something that puts load messages on a wire.
pub trait LoadSender {
    /// Writes messages with the numbers from `first` on.
    fn send(&mut self, first: u64, count: u64);

    /// How many messages the other side has said, up to now, that it did not deliver.
    fn refused(&self) -> u64;
}

/// How fast messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As fast as they arrive, with at most so many on the way.
    Saturated {
        /// How many.
        window: u64,
    },
    /// At an even rate.
    Paced {
        /// How many a second.
        per_second: u64,
    },
}

/// What a run of load has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Messages written.
    pub sent: u64,
    /// Different messages that arrived.
    pub received: u64,
    /// Messages that arrived a second time, or of an earlier run.
    pub repeated: u64,
    /// Messages that arrived after one with a higher number.
    pub overtaken: u64,
    /// From the first write to the last arrival.
    pub seconds: f64,
    /// Half of the messages took no longer.
    pub p50: Duration,
    /// 99 of 100 messages took no longer.
    pub p99: Duration,
}

impl Report {
    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.received as f64 / self.seconds
    }

    /// Whether every message arrived once and in order.
    pub fn is_complete_and_in_order(&self) -> bool {
        self.received == self.sent && self.repeated == 0 && self.overtaken == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} sent, {} received, {} repeated, {} overtaken, {:.0} a second, p50 {:.2} ms, p99 {:.2} ms",
            self.sent,
            self.received,
            self.repeated,
            self.overtaken,
            self.rate(),
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3
        )
    }
}

/// Sends `messages` in this shape and waits until all have arrived, or none for ten seconds; then a moment longer, for what comes
/// twice and for the work that a system under test has after an arrival.
pub fn run(sender: &mut dyn LoadSender, tally: &Tally, shape: Shape, messages: u64) -> Report {
    tally.reset();
    let began = Instant::now();
    match shape {
        Shape::Saturated { window } => send_saturated(sender, tally, window, messages),
        Shape::Paced { per_second } => send_paced(sender, per_second, messages),
    }
    tally.wait_for(messages);
    thread::sleep(STRAYS_WITHIN);
    tally.report(messages, began)
}

fn send_saturated(sender: &mut dyn LoadSender, tally: &Tally, window: u64, messages: u64) {
    let mut sent = 0;
    while sent < messages {
        let Some(received) = tally.wait_for((sent + 1).saturating_sub(window)) else { return };
        let count = (received + window - sent).min(messages - sent).min(LARGEST_BATCH);
        sender.send(sent, count);
        sent += count;
    }
}

fn send_paced(sender: &mut dyn LoadSender, per_second: u64, messages: u64) {
    let began = Instant::now();
    let mut sent = 0;
    while sent < messages {
        let due = (began.elapsed().as_secs_f64() * per_second as f64) as u64;
        let count = (due + 1).min(messages).saturating_sub(sent).min(LARGEST_BATCH);
        if count == 0 {
            thread::sleep(PACE_STEP);
        } else {
            sender.send(sent, count);
            sent += count;
        }
    }
}

/// What has arrived so far; shared by the receiver's threads and [`run`].
#[derive(Clone, Debug)]
pub struct Tally {
    shared: Arc<(Mutex<Arrivals>, Condvar)>,
    conversations: usize,
}

#[derive(Debug, Default)]
struct Arrivals {
    /// When the run began: what was written earlier belongs to another run.
    since: u64,
    /// One mark for each number.
    seen: Vec<bool>,
    /// Microseconds, in the order of arrival.
    latencies: Vec<u32>,
    received: u64,
    repeated: u64,
    overtaken: u64,
    /// The number after the highest that has come, for each conversation.
    next: Vec<u64>,
    last: Option<Instant>,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// An empty tally of one conversation.
    pub fn new() -> Self {
        Self::of_conversations(1)
    }

    /// An empty tally of messages that take so many conversations in turn: order holds within each.
    pub fn of_conversations(conversations: usize) -> Self {
        Self { shared: Arc::default(), conversations }
    }

    /// Forgets everything, before the next run.
    fn reset(&self) {
        *self.lock() = Arrivals { since: nanoseconds_now(), ..Arrivals::default() };
    }

    /// Enters what one read has brought.
    fn record(&self, stamps: &[Stamp]) {
        if stamps.is_empty() {
            return;
        }
        let now = nanoseconds_now();
        self.lock().record(stamps, now, self.conversations);
        self.shared.1.notify_all();
    }

    /// Enters what a whole body of a receiver outside this module carries; whether it is a load message at all.
    pub fn arrived(&self, body: &[u8]) -> bool {
        let stamps = Scanner::default().feed(body);
        self.record(&stamps);
        !stamps.is_empty()
    }

    /// Waits until so many have arrived and says how many have; none when nothing has come for long.
    fn wait_for(&self, count: u64) -> Option<u64> {
        let mut arrivals = self.lock();
        while arrivals.received < count {
            let before = arrivals.received;
            let (guard, wait) =
                self.shared.1.wait_timeout(arrivals, NOTHING_ARRIVED_FOR).expect("no thread panics with the lock");
            arrivals = guard;
            if wait.timed_out() && arrivals.received == before {
                return None;
            }
        }
        Some(arrivals.received)
    }

    fn report(&self, sent: u64, began: Instant) -> Report {
        let mut arrivals = self.lock();
        arrivals.latencies.sort_unstable();
        let percentile = |share: f64| {
            let index = (arrivals.latencies.len() as f64 * share) as usize;
            let index = index.min(arrivals.latencies.len().saturating_sub(1));
            Duration::from_micros(arrivals.latencies.get(index).copied().unwrap_or_default().into())
        };
        Report {
            sent,
            received: arrivals.received,
            repeated: arrivals.repeated,
            overtaken: arrivals.overtaken,
            seconds: arrivals.last.unwrap_or(began).duration_since(began).as_secs_f64(),
            p50: percentile(0.5),
            p99: percentile(0.99),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arrivals> {
        self.shared.0.lock().expect("no thread panics with the lock")
    }
}

impl Arrivals {
    fn record(&mut self, stamps: &[Stamp], now: u64, conversations: usize) {
        self.next.resize(conversations, 0);
        for stamp in stamps {
            if stamp.nanoseconds < self.since {
                self.repeated += 1;
                continue;
            }
            let index = usize::try_from(stamp.number).expect("a number fits the address space");
            if self.seen.len() <= index {
                self.seen.resize(index + 1, false);
            }
            if std::mem::replace(&mut self.seen[index], true) {
                self.repeated += 1;
                continue;
            }
            self.received += 1;
            self.last = Some(Instant::now());
            let next = &mut self.next[index % conversations];
            if stamp.number < *next {
                self.overtaken += 1;
            }
            *next = (*next).max(stamp.number + 1);
            let microseconds = now.saturating_sub(stamp.nanoseconds) / 1_000;
            self.latencies.push(u32::try_from(microseconds).unwrap_or(u32::MAX));
        }
    }
}

/// The body of a load message, of this many bytes, with the present time: for a [`LoadSender`] outside this module.
pub fn stamped_body(number: u64, bytes: usize) -> String {
    let mut body = Vec::new();
    Template::new(stamp::body(bytes)).render(number, 1, nanoseconds_now(), &mut body);
    String::from_utf8(body).expect("only digits are put into a text")
}

/// The wall clock: sender and receiver are processes of one machine.
fn nanoseconds_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_nanos()).expect("nanoseconds fit for some centuries")
}
