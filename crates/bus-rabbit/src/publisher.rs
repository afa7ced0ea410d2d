//! The one task that publishes: one connection, many records under way, each answered when RabbitMQ has confirmed it.
//!
//! Records leave in the order in which they were given, and after a break are published again in that order. A record that was
//! answered as not stored is never published again; one that was sent and not confirmed may have been stored all the same.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use interchange_bus::{BusError, Unpublished};
use interchange_model::{Envelope, QueueId};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, Event};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::record::Writer;
use crate::{Condition, Shared, queue_name, unavailable};

/// How long a record waits for a connection, when it was not sent yet.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How long a record that was sent waits for its confirmation, over breaks too. Then its envelopes are said not to be stored,
/// though they may be.
pub const PATIENCE_UNDER_WAY: Duration = Duration::from_secs(10);

/// How long a record that was sent waits for another connection when its own has broken: time enough for another node of a
/// cluster, and for a queue to find its leader.
pub const PATIENCE_AFTER_BREAK: Duration = Duration::from_secs(5);

/// How long nothing at all is confirmed, while something is under way, before the connection is given up and what is under way is published
/// again on another. RabbitMQ 3.10 that has just started forgets what it is given for a queue that has no leader yet, and says nothing.
const STALLED_AFTER: Duration = Duration::from_millis(1_500);

/// Records that may be under way at once; then publishers wait.
pub const RECORDS_UNDER_WAY: usize = 512;

/// Commands that may wait for the task.
pub(crate) const COMMANDS: usize = 512;

/// The pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The header that numbers a record, so that a reader notices one that it has been given before.
pub(crate) const RECORD_HEADER: &str = "interchange-record";
/// The header of a record that may have been published before.
pub(crate) const AGAIN_HEADER: &str = "interchange-again";

/// What the task is told.
#[derive(Debug)]
pub(crate) enum Command {
    Publish { queue: String, payload: Vec<u8>, done: oneshot::Sender<Result<(), BusError>> },
    Close(oneshot::Sender<()>),
}

/// Publishes a batch as records, and waits until each is confirmed or given up.
pub(crate) async fn publish(commands: &mpsc::Sender<Command>, batch: Vec<(QueueId, Arc<Envelope>)>) -> Result<(), Unpublished> {
    // What goes to one queue travels together; between queues there is no order to keep.
    let mut parts: Vec<(QueueId, Vec<usize>)> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for (place, (queue, _)) in batch.iter().enumerate() {
        let part = *index.entry(queue).or_insert_with(|| {
            parts.push((queue.clone(), Vec::new()));
            parts.len() - 1
        });
        parts[part].1.push(place);
    }
    let mut under_way = Vec::new();
    for (queue, places) in &parts {
        let name = queue_name(queue);
        let mut writer = Writer::default();
        let mut inside = Vec::new();
        for place in places {
            let json = serde_json::to_vec(&*batch[*place].1)
                .map_err(|error| BusError::Unavailable(format!("an envelope has no JSON form: {error}")))?;
            if writer.is_full_for(json.len()) {
                let payload = std::mem::take(&mut writer).finish();
                under_way.push((std::mem::take(&mut inside), send(commands, &name, payload).await?));
            }
            writer.push(&json);
            inside.push(*place);
        }
        under_way.push((inside, send(commands, &name, writer.finish()).await?));
    }
    let mut failed: Option<Unpublished> = None;
    let mut lost = Vec::new();
    for (places, answer) in under_way {
        if let Err(error) = answer.await.unwrap_or_else(|_| Err(closed())) {
            lost.extend(places);
            failed.get_or_insert(error.into());
        }
    }
    lost.sort_unstable();
    match failed {
        None => Ok(()),
        Some(failed) if lost.len() == batch.len() => Err(failed),
        Some(failed) => Err(Unpublished { places: Some(lost), ..failed }),
    }
}

async fn send(
    commands: &mpsc::Sender<Command>,
    queue: &str,
    payload: Vec<u8>,
) -> Result<oneshot::Receiver<Result<(), BusError>>, BusError> {
    let (done, answer) = oneshot::channel();
    commands.send(Command::Publish { queue: queue.to_owned(), payload, done }).await.map_err(|_| closed())?;
    Ok(answer)
}

fn closed() -> BusError {
    BusError::Unavailable("the bus is closed".to_owned())
}

/// A record that is not answered yet.
struct Record {
    number: u64,
    queue: String,
    payload: Arc<[u8]>,
    done: Option<oneshot::Sender<Result<(), BusError>>>,
    /// How often it was sent.
    sent: u32,
    until: Instant,
}

type Confirmed = (u64, u32, Result<Confirmation, lapin::Error>);
type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// A connection that can publish.
struct Link {
    connection: Connection,
    channel: Channel,
    events: Events,
    server: String,
}

/// What is known of a node. The greatest is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    /// It could not be connected to, then; the longest ago is tried first.
    Failed(Reverse<Instant>),
    /// It last answered then.
    Alive(Instant),
    Untried,
}

struct Publisher {
    shared: Arc<Shared>,
    condition: watch::Sender<Condition>,
    link: Option<Link>,
    records: VecDeque<Record>,
    confirms: FuturesUnordered<Pin<Box<dyn Future<Output = Confirmed> + Send>>>,
    /// The number of the next record. It begins at random: another run's records are never mistaken for this one's.
    next: u64,
    /// The node that is connected, or tried next. Never the one that a connection has just broken with, if there are others: it may be there
    /// and mute, as one is that was cut off from its cluster, and each attempt with it costs seconds.
    node: usize,
    /// What is known of each node.
    signs: Vec<Sign>,
    /// Attempts to connect since the last success.
    attempts: u32,
    /// When something was confirmed last, or the first record was sent.
    progress: Instant,
}

/// Runs until it is told to close, or nobody can tell it anything.
pub(crate) async fn run(shared: Arc<Shared>, mut inbox: mpsc::Receiver<Command>, condition: watch::Sender<Condition>) {
    let next = u64::from(rand::random::<u32>()) << 31;
    let signs = vec![Sign::Untried; shared.servers.len()];
    let mut publisher = Publisher {
        shared,
        condition,
        link: None,
        records: VecDeque::new(),
        confirms: FuturesUnordered::new(),
        next,
        node: 0,
        signs,
        attempts: 0,
        progress: Instant::now(),
    };
    let mut connecting = Some(publisher.connecting(Duration::ZERO));
    loop {
        let until = publisher.earliest();
        tokio::select! {
            biased;
            Some(confirmed) = publisher.confirms.next(), if !publisher.confirms.is_empty() => publisher.confirmed(confirmed),
            event = event(&mut publisher.link), if publisher.link.is_some() => publisher.hear(event),
            result = attempt(&mut connecting), if connecting.is_some() => {
                connecting = None;
                publisher.connected(result).await;
            }
            command = inbox.recv(), if publisher.records.len() < RECORDS_UNDER_WAY => match command {
                Some(Command::Publish { queue, payload, done }) => publisher.take(queue, payload, done).await,
                Some(Command::Close(done)) => {
                    publisher.close().await;
                    let _ = done.send(());
                    return;
                }
                None => return,
            },
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => publisher.give_up(),
        }
        if publisher.link.as_ref().is_some_and(|link| !link.channel.status().connected() || !link.connection.status().connected())
        {
            publisher.disconnected("the connection broke");
        }
        if publisher.link.is_none() && connecting.is_none() {
            connecting = Some(publisher.connecting(publisher.pause()));
        }
    }
}

type Connecting = Pin<Box<dyn Future<Output = Result<Link, String>> + Send>>;

async fn attempt(connecting: &mut Option<Connecting>) -> Result<Link, String> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}

async fn event(link: &mut Option<Link>) -> Option<Event> {
    match link {
        Some(link) => link.events.next().await,
        None => std::future::pending().await,
    }
}

impl Publisher {
    /// Connects to the next node, after a pause.
    fn connecting(&self, pause: Duration) -> Connecting {
        let server = self.shared.servers[self.node].clone();
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            let said = |error: lapin::Error| format!("{}: {error}", server.name);
            let connection = server.connect("publishing").await.map_err(said)?;
            let events: Events = Box::pin(connection.events_listener());
            let channel = connection.create_channel().await.map_err(said)?;
            channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(said)?;
            Ok(Link { connection, channel, events, server: server.name.clone() })
        })
    }

    /// 0.2 s, doubled up to 1 s once every node was tried, each time between half of it and all of it.
    fn pause(&self) -> Duration {
        let rounds = self.attempts / u32::try_from(self.shared.servers.len()).unwrap_or(1);
        let pause = FIRST_PAUSE.saturating_mul(1 << rounds.min(5)).min(LONGEST_PAUSE);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }

    async fn connected(&mut self, result: Result<Link, String>) {
        match result {
            Ok(link) => {
                tracing::info!(server = %link.server, unconfirmed = self.records.len(), "RabbitMQ is there");
                self.attempts = 0;
                self.link = Some(link);
                self.condition.send_replace(Condition::Connected);
                // Confirmations of the old connection will never come.
                self.confirms.clear();
                self.progress = Instant::now();
                self.signs[self.node] = Sign::Alive(self.progress);
                for index in 0..self.records.len() {
                    self.send(index).await;
                }
            }
            Err(why) => {
                self.signs[self.node] = Sign::Failed(Reverse(Instant::now()));
                self.choose_another();
                self.attempts += 1;
                if self.attempts == 1 || self.attempts.is_multiple_of(20) {
                    tracing::warn!(why, attempts = self.attempts, "RabbitMQ cannot be reached");
                }
                self.condition.send_replace(Condition::Away { why });
            }
        }
    }

    /// The node that has last shown that it lives, of all others.
    fn choose_another(&mut self) {
        let others = (0..self.signs.len()).map(|step| (self.node + step) % self.signs.len()).skip(1);
        self.node = others.rev().max_by_key(|node| self.signs[*node]).unwrap_or(self.node);
    }

    fn disconnected(&mut self, why: &str) {
        if self.link.take().is_some() {
            self.choose_another();
        }
        self.confirms.clear();
        let until = Instant::now() + PATIENCE_AFTER_BREAK;
        for record in &mut self.records {
            record.until = record.until.min(until);
        }
        tracing::warn!(why, unconfirmed = self.records.len(), "RabbitMQ is away; nothing is accepted until it is back");
        self.condition.send_replace(Condition::Away { why: why.to_owned() });
    }

    fn hear(&mut self, event: Option<Event>) {
        match event {
            Some(Event::ConnectionBlocked(why)) => {
                tracing::error!(why, "RabbitMQ takes no messages; nothing is accepted until it does");
                self.condition.send_replace(Condition::Blocked { why });
            }
            Some(Event::ConnectionUnblocked) => {
                tracing::info!("RabbitMQ takes messages again");
                self.condition.send_replace(Condition::Connected);
            }
            Some(Event::Error(error)) => self.disconnected(&error.to_string()),
            Some(_) => {}
            None => self.disconnected("the connection has ended"),
        }
    }

    async fn take(&mut self, queue: String, payload: Vec<u8>, done: oneshot::Sender<Result<(), BusError>>) {
        if matches!(&*self.condition.borrow(), Condition::Blocked { .. }) {
            let _ = done.send(Err(self.unavailable()));
            return;
        }
        self.next += 1;
        let until = Instant::now() + PATIENCE;
        self.records.push_back(Record { number: self.next, queue, payload: payload.into(), done: Some(done), sent: 0, until });
        if self.link.is_some() {
            self.send(self.records.len() - 1).await;
        }
    }

    /// Puts a record on its way. It is in lapin's hands, in its place, when this returns.
    async fn send(&mut self, index: usize) {
        let Some(link) = &self.link else { return };
        if self.confirms.is_empty() {
            self.progress = Instant::now();
        }
        let record = &mut self.records[index];
        if record.done.is_none() {
            return;
        }
        // Once only: what is published again and again is given up in the end.
        if record.sent == 0 {
            record.until = Instant::now() + PATIENCE_UNDER_WAY;
        }
        record.sent += 1;
        let mut headers = FieldTable::default();
        headers.insert(RECORD_HEADER.into(), AMQPValue::LongLongInt(record.number.cast_signed()));
        if record.sent > 1 {
            headers.insert(AGAIN_HEADER.into(), AMQPValue::Boolean(true));
        }
        let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        let (number, sent, channel) = (record.number, record.sent, link.channel.clone());
        let (queue, payload) = (record.queue.clone(), record.payload.clone());
        let mut publishing: Pin<Box<dyn Future<Output = Confirmed> + Send>> = Box::pin(async move {
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            let result = match channel.basic_publish("".into(), queue.into(), options, &payload, properties).await {
                Ok(confirmation) => confirmation.await,
                Err(error) => Err(error),
            };
            (number, sent, result)
        });
        // The first poll hands the frames over; only then may the next record follow.
        match std::future::poll_fn(|context| Poll::Ready(publishing.as_mut().poll(context))).await {
            Poll::Ready(confirmed) => self.confirmed(confirmed),
            Poll::Pending => self.confirms.push(publishing),
        }
    }

    fn confirmed(&mut self, (number, sent, result): Confirmed) {
        let Ok(index) = self.records.binary_search_by_key(&number, |record| record.number) else { return };
        if self.records[index].sent != sent {
            return;
        }
        self.progress = Instant::now();
        self.signs[self.node] = Sign::Alive(self.progress);
        let answer = match result {
            Ok(Confirmation::Ack(None) | Confirmation::NotRequested) => Ok(()),
            Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => {
                let queue = &self.records[index].queue;
                Err(BusError::Unavailable(format!("RabbitMQ has no queue {queue}: run `interchange bus setup`")))
            }
            Ok(Confirmation::Nack(None)) => Err(BusError::Full(format!("the limit of {}", self.records[index].queue))),
            // The connection or the channel is broken; what was sent is published again on the next.
            Err(error) => return self.disconnected(&error.to_string()),
        };
        self.answer(index, answer);
    }

    fn answer(&mut self, index: usize, answer: Result<(), BusError>) {
        if let Some(done) = self.records[index].done.take() {
            // An error: nobody waits any more.
            let _ = done.send(answer);
        }
        while self.records.front().is_some_and(|record| record.done.is_none()) {
            self.records.pop_front();
        }
    }

    fn earliest(&self) -> Option<Instant> {
        let given_up = if self.link.is_some() {
            // All are sent, and what was sent earlier is given up earlier.
            self.records.front().map(|record| record.until)
        } else {
            self.records.iter().filter(|record| record.done.is_some()).map(|record| record.until).min()
        };
        given_up.into_iter().chain(self.stalled_at()).min()
    }

    /// When the connection is given up, if nothing is confirmed until then.
    fn stalled_at(&self) -> Option<Instant> {
        let waiting = self.link.is_some() && !self.confirms.is_empty() && *self.condition.borrow() == Condition::Connected;
        waiting.then(|| self.progress + STALLED_AFTER)
    }

    /// Why a record is not taken now.
    fn unavailable(&self) -> BusError {
        BusError::Unavailable(match &*self.condition.borrow() {
            Condition::Away { why } => format!("RabbitMQ is away: {why}"),
            Condition::Blocked { why } => format!("RabbitMQ takes no messages: {why}"),
            Condition::Connected => "RabbitMQ does not confirm".to_owned(),
        })
    }

    fn give_up(&mut self) {
        let now = Instant::now();
        if self.stalled_at().is_some_and(|at| at <= now) {
            self.disconnected("it confirms nothing");
        }
        let unavailable = self.unavailable();
        for record in self.records.iter_mut().filter(|record| record.until <= now) {
            if let Some(done) = record.done.take() {
                let _ = done.send(Err(unavailable.clone()));
            }
        }
        self.records.retain(|record| record.done.is_some());
    }

    async fn close(&mut self) {
        for record in &mut self.records {
            if let Some(done) = record.done.take() {
                let _ = done.send(Err(closed()));
            }
        }
        if let Some(link) = self.link.take() {
            let _ = link.connection.close(200, "OK".into()).await.map_err(unavailable);
        }
    }
}
