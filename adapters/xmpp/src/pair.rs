//! Deliveries between one of our domains and one of a peer's: what waits, what is under way, and when it has arrived.
//!
//! A server-to-server stream acknowledges nothing. So after a batch of stanzas comes a ping (XEP-0199) from our domain to
//! the peer's, and when its answer is there, with whatever result, everything sent before it is delivered. The reasoning:
//! the peer handles what comes on one stream in order (RFC 6120 §10.1), and the answer returns by the same way as a
//! bounce does, the stream from the peer's domain to ours. So every error that the peer gives at once, an unknown
//! user above all, is here before the answer to a ping that was sent after the message.
//!
//! Where the peer offers stream management (XEP-0198), it is asked with each ping how many stanzas it has handled. That settles nothing while the
//! stream stands, for it says less than the answer to a ping: an error may be on its way. But when the stream breaks, what was handled is known to
//! be there, and is not sent again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use interchange_adapter::ConnId;
use interchange_model::{Address, Body, DeliveryId, Device, Domain, Envelope, LinkId, Presence, Refusal};

use crate::timers::Alarm;

/// Answers and errors that may wait for a stream of one pair; more are dropped, the peer's question is then lost as on any network.
const MAX_REPLIES: usize = 256;

/// Presences and the like that may wait for a stream of one pair; of more the oldest are dropped.
const MAX_TOLD: usize = 2_048;

/// Between two pings that settle deliveries, so long at least: some messages a second make a ping each, hundreds share them. What is delivered is settled
/// that much later, and after a crash of the hub that much more may come twice, within what may be in flight.
const PING_PACE: Duration = Duration::from_millis(20);

/// As many deliveries under way do not wait for more.
const PING_COMPANY: usize = 32;

/// One of our domains and one of a peer's: the unit of an outgoing stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PairKey {
    /// The domain that the hub stands for.
    pub(crate) own: Domain,
    /// The peer's domain.
    pub(crate) partner: Domain,
}

/// The outgoing stream of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// None: dialled on demand.
    None,
    /// Being dialled or negotiated.
    Opening(ConnId),
    /// Takes stanzas.
    Ready {
        /// The connection.
        conn: ConnId,
        /// Bytes of the largest stanza that the peer takes.
        max_stanza: usize,
    },
}

/// A delivery and its place among all of its link.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// For the answer to the broker.
    pub(crate) id: DeliveryId,
    /// Rises with every delivery of the link.
    pub(crate) order: u64,
    /// What.
    pub(crate) envelope: Arc<Envelope>,
}

/// What waits for the stream.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// To be settled.
    Delivery(Delivery),
    /// An answer or an error, as bytes; nobody asks what became of it.
    Reply(Bytes),
    /// Presence or typing; nobody asks what became of it, and the newest takes the place of what was before it.
    Told(Arc<Envelope>),
}

#[derive(Debug)]
struct UnderWay {
    delivery: Delivery,
    id: Option<Arc<str>>,
    /// Its number among the stanzas of a managed stream, from 1; 0 on any other.
    number: u64,
}

/// The counts of a managed stream (XEP-0198 §4).
#[derive(Debug, Clone, Copy, Default)]
struct Managed {
    /// Stanzas sent since `<enable/>`.
    counted: u64,
    /// Of these, so many the peer has handled.
    handled: u64,
}

#[derive(Debug)]
struct Ping {
    id: String,
    /// Everything before this place was sent before the ping.
    covers: u64,
    deadline: Instant,
}

/// The state of one pair.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The link of the peer's domain.
    pub(crate) link: LinkId,
    /// Its stream.
    pub(crate) stream: Stream,
    /// What waits for it, in order.
    pub(crate) waiting: VecDeque<Waiting>,
    /// The peer has refused our domain: until then, all is refused at once, for this reason.
    pub(crate) refused: Option<(Instant, Refusal)>,
    /// A ping is due as soon as the stream is ready: the link is down and this pair finds out whether it is up again.
    pub(crate) probing: bool,
    /// A ping came to nothing: no message goes out before one is answered.
    pub(crate) doubtful: bool,
    /// When a ping was last answered.
    pub(crate) answered_at: Option<Instant>,
    /// When a stanza was last sent.
    pub(crate) used: Instant,
    /// When anything was last sent.
    pub(crate) sent: Instant,
    /// For the timers.
    pub(crate) alarm: Alarm,
    /// Sent, and neither delivered nor refused. `None`: settled out of turn.
    under_way: VecDeque<Option<UnderWay>>,
    /// The place of the first of `under_way`.
    first: u64,
    ids: HashMap<Arc<str>, u64>,
    ping: Option<Ping>,
    pinged_at: Option<Instant>,
    /// `None`: the stream is not managed.
    managed: Option<Managed>,
    replies: usize,
    told: usize,
    /// Until then the peer's people are believed to be what it said of them.
    attended: Option<Instant>,
}

impl Pair {
    /// A pair without a stream.
    pub(crate) fn new(link: LinkId, now: Instant) -> Self {
        Self {
            link,
            stream: Stream::None,
            waiting: VecDeque::new(),
            refused: None,
            probing: false,
            doubtful: false,
            answered_at: None,
            used: now,
            sent: now,
            alarm: Alarm::default(),
            under_way: VecDeque::new(),
            first: 0,
            ids: HashMap::new(),
            ping: None,
            pinged_at: None,
            managed: None,
            replies: 0,
            told: 0,
            attended: None,
        }
    }

    /// The peer is looked after until then.
    pub(crate) fn attend(&mut self, until: Instant) {
        self.attended = Some(until);
    }

    /// Whether it is, or was until not long ago.
    pub(crate) fn has_attention(&self) -> bool {
        self.attended.is_some()
    }

    /// Whether the peer is looked after.
    pub(crate) fn is_attended(&mut self, now: Instant) -> bool {
        self.attended = self.attended.filter(|until| *until > now);
        self.attended.is_some()
    }

    /// Adds to what waits; a reply too many is dropped.
    pub(crate) fn wait(&mut self, waiting: Waiting) {
        match &waiting {
            Waiting::Reply(_) => {
                if self.replies >= MAX_REPLIES {
                    return;
                }
                self.replies += 1;
            }
            Waiting::Told(envelope) => {
                let same = |other: &&mut Waiting| matches!(other, Waiting::Told(other) if supersedes(envelope, other));
                if let Some(Waiting::Told(older)) = self.waiting.iter_mut().find(same) {
                    *older = Arc::new(merged(older, envelope));
                    return;
                }
                if self.told >= MAX_TOLD {
                    let oldest = self.waiting.iter().position(|waiting| matches!(waiting, Waiting::Told(_)));
                    self.waiting.remove(oldest.unwrap_or_default());
                    self.told -= 1;
                }
                self.told += 1;
            }
            Waiting::Delivery(_) => {}
        }
        self.waiting.push_back(waiting);
    }

    /// Takes the next of what waits and may go, if there is any.
    pub(crate) fn take_waiting(&mut self) -> Option<Waiting> {
        let may_go = |waiting: &Waiting| !self.doubtful || !matches!(waiting, Waiting::Delivery(_));
        let waiting = self.waiting.remove(self.waiting.iter().position(may_go)?)?;
        match waiting {
            Waiting::Reply(_) => self.replies -= 1,
            Waiting::Told(_) => self.told -= 1,
            Waiting::Delivery(_) => {}
        }
        Some(waiting)
    }

    /// Whether another delivery under way has this stanza id.
    pub(crate) fn has_id(&self, id: &str) -> bool {
        self.ids.contains_key(id)
    }

    /// A delivery was sent, with this stanza id.
    pub(crate) fn sent(&mut self, delivery: Delivery, id: Option<Arc<str>>) {
        if let Some(id) = &id {
            self.ids.insert(id.clone(), self.first + self.under_way.len() as u64);
        }
        let number = self.managed.map_or(0, |managed| managed.counted);
        self.under_way.push_back(Some(UnderWay { delivery, id, number }));
    }

    /// A new stream begins; `managed`: with stream management, for which the peer has been asked.
    pub(crate) fn begin(&mut self, managed: bool) {
        self.managed = managed.then(Managed::default);
    }

    /// Whether the peer can be asked how many stanzas it has handled.
    pub(crate) fn is_managed(&self) -> bool {
        self.managed.is_some()
    }

    /// So many stanzas of whatever kind were written.
    pub(crate) fn count(&mut self, stanzas: usize) {
        if let Some(managed) = &mut self.managed {
            managed.counted += stanzas as u64;
        }
    }

    /// The peer says how many stanzas it has handled, modulo 2^32 (XEP-0198 §4). What was never sent is not believed.
    pub(crate) fn handled(&mut self, count: u32) {
        if let Some(managed) = &mut self.managed {
            let behind = u64::from((managed.counted as u32).wrapping_sub(count));
            if let Some(handled) = managed.counted.checked_sub(behind) {
                managed.handled = managed.handled.max(handled);
            }
        }
    }

    /// The stream is gone: deliveries that the peer is known to have handled, oldest first, which are under way no longer.
    pub(crate) fn take_handled(&mut self) -> Vec<Delivery> {
        let Some(managed) = self.managed.take() else { return Vec::new() };
        let is_handled = |sent: &mut UnderWay| (1..=managed.handled).contains(&sent.number);
        let handled: Vec<UnderWay> = self.under_way.iter_mut().filter_map(|slot| slot.take_if(is_handled)).collect();
        handled
            .into_iter()
            .map(|sent| {
                self.forget(&sent);
                sent.delivery
            })
            .collect()
    }

    /// Whether a ping should be sent now: something is under way that no ping follows, and no more company is waited for.
    pub(crate) fn needs_ping(&self, now: Instant) -> bool {
        self.ping_at().is_some_and(|at| at <= now)
    }

    /// When a ping should be sent for what is under way: at once when the last was a while ago, or when there is company enough.
    pub(crate) fn ping_at(&self) -> Option<Instant> {
        let waits = self.ping.is_none() && !self.under_way.is_empty();
        let last = self.pinged_at.filter(|_| self.under_way.len() < PING_COMPANY);
        waits.then(|| last.map_or(self.used, |at| at + PING_PACE))
    }

    /// A ping was sent, after all that is under way.
    pub(crate) fn pinged(&mut self, now: Instant, id: String, deadline: Instant) {
        self.pinged_at = Some(now);
        self.ping = Some(Ping { id, covers: self.first + self.under_way.len() as u64, deadline });
    }

    /// When the answer to a ping must be here.
    pub(crate) fn ping_deadline(&self) -> Option<Instant> {
        self.ping.as_ref().map(|ping| ping.deadline)
    }

    /// When the last ping was sent.
    pub(crate) fn pinged_at(&self) -> Option<Instant> {
        self.pinged_at
    }

    /// An answer came: what it shows to be delivered, in order; `None` when it answers no ping of ours.
    pub(crate) fn answered(&mut self, id: &str) -> Option<Vec<Delivery>> {
        let ping = self.ping.take_if(|ping| ping.id == id)?;
        let mut delivered = Vec::new();
        while self.first < ping.covers {
            let Some(sent) = self.under_way.pop_front() else { break };
            self.first += 1;
            if let Some(sent) = sent {
                self.forget(&sent);
                delivered.push(sent.delivery);
            }
        }
        Some(delivered)
    }

    /// An error came with this id, from `from` (`None`: from the domain itself) to `to`: the delivery that it refuses.
    pub(crate) fn bounced(&mut self, id: &str, from: Option<&Address>, to: &Address) -> Option<Delivery> {
        let at = usize::try_from(*self.ids.get(id)? - self.first).ok()?;
        let slot = self.under_way.get_mut(at)?;
        let matches =
            |sent: &UnderWay| sent.delivery.envelope.from == *to && from.is_none_or(|from| sent.delivery.envelope.to == *from);
        let sent = slot.take_if(|sent| matches(sent))?;
        self.forget(&sent);
        Some(sent.delivery)
    }

    /// The stream is gone, or the link is down: all deliveries that are not settled, oldest first. What waits beside them is dropped; so is a ping, unless
    /// its answer is still wanted.
    pub(crate) fn take_all(&mut self, keep_ping: bool) -> Vec<Delivery> {
        if !keep_ping {
            self.ping = None;
        }
        self.replies = 0;
        self.told = 0;
        self.ids.clear();
        self.first += self.under_way.len() as u64;
        let under_way = std::mem::take(&mut self.under_way).into_iter().flatten().map(|sent| sent.delivery);
        let waiting = std::mem::take(&mut self.waiting).into_iter().filter_map(|waiting| match waiting {
            Waiting::Delivery(delivery) => Some(delivery),
            Waiting::Reply(_) | Waiting::Told(_) => None,
        });
        under_way.chain(waiting).collect()
    }

    /// Whether people's words wait or are under way.
    pub(crate) fn carries(&self) -> bool {
        !self.under_way.is_empty() || self.waiting.iter().any(|waiting| matches!(waiting, Waiting::Delivery(_)))
    }

    /// Whether it is to be found out if the peer answers.
    pub(crate) fn is_asked(&self) -> bool {
        self.probing || (self.doubtful && self.carries())
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty() && self.ping.is_none()
    }

    fn forget(&mut self, sent: &UnderWay) {
        if let Some(id) = &sent.id {
            self.ids.remove(id);
        }
    }
}

/// Whether one word takes the place of another that has not left.
fn supersedes(new: &Envelope, old: &Envelope) -> bool {
    new.body.kind() == old.body.kind() && new.from == old.from && new.to == old.to
}

/// The newer of two words; devices that the older would have said to be gone are gone still.
fn merged(old: &Envelope, new: &Arc<Envelope>) -> Envelope {
    let (Body::Presence(before), Body::Presence(after)) = (&old.body, &new.body) else { return (**new).clone() };
    let here = |name: &Device| after.devices.iter().any(|device| device.device.as_ref() == Some(name));
    let mut gone = after.gone.clone();
    gone.extend(before.gone.iter().filter(|name| !here(name) && !after.gone.contains(name)).cloned());
    Envelope { body: Body::Presence(Presence { gone, ..after.clone() }), ..(**new).clone() }
}
