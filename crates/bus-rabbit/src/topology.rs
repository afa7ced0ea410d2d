//! What must be in RabbitMQ: declared once, by a user who may; looked at by the hub.

use std::collections::HashSet;

use interchange_bus::BusError;
use interchange_model::QueueId;
use lapin::options::{BasicGetOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use crate::names::TRANSIENT;
use crate::{OpenError, Options, QUARANTINE, Shared, connections, queue_name, unavailable};

/// How much one link's queue may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Bytes of waiting messages; beyond them RabbitMQ refuses, and so does the hub.
    pub bytes: u64,
}

impl Default for QueueLimits {
    /// 256 MiB, some 300,000 messages.
    fn default() -> Self {
        Self { bytes: 256 * 1024 * 1024 }
    }
}

/// What a set-up has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Queues that are there now, whether they were before or not.
    pub queues: usize,
}

/// Declares everything that a hub with these queues needs. What is there already stays as it is, so it may be repeated at any time.
/// Some hundreds of declarations are under way at once; `progress` hears how many queues are done.
///
/// # Errors
/// [`OpenError`]: RabbitMQ cannot be reached, or refuses.
pub async fn setup(
    options: &Options,
    limits: QueueLimits,
    queues: &[QueueId],
    progress: impl Fn(usize),
) -> Result<Setup, OpenError> {
    let servers = connections::servers(options)?;
    let server = &servers[0];
    let unreachable = |error: lapin::Error| OpenError::Unreachable { server: server.name.clone(), why: error.to_string() };
    let connection = server.connect("setting up").await.map_err(unreachable)?;
    let channel = connection.create_channel().await.map_err(unreachable)?;
    let refused = |what: &str| {
        let what = what.to_owned();
        move |error: lapin::Error| OpenError::Refused { what, why: error.to_string() }
    };
    let exchange = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(TRANSIENT.into(), ExchangeKind::Fanout, exchange, FieldTable::default())
        .await
        .map_err(refused(TRANSIENT))?;
    declare_queue(&connection, QUARANTINE, |_| {}).await.map_err(refused(QUARANTINE))?;
    let mut done = 0;
    for some in queues.chunks(16) {
        let declaring = some.iter().map(|queue| {
            let (connection, name) = (&connection, queue_name(queue));
            async move { declare_queue(connection, &name, |table| link_arguments(table, limits)).await.map_err(refused(&name)) }
        });
        for result in futures_util::future::join_all(declaring).await {
            result?;
        }
        done += some.len();
        progress(done);
    }
    let _ = connection.close(200, "OK".into()).await;
    Ok(Setup { queues: queues.len() + 1 })
}

/// The arguments of a link's queue.
fn link_arguments(table: &mut FieldTable, limits: QueueLimits) {
    let text = |text: &str| AMQPValue::LongString(text.into());
    // One reader at a time, the others wait: two hubs never deliver for one link at once.
    table.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    table.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(i64::try_from(limits.bytes).unwrap_or(i64::MAX)));
    // Full means refused, never an older message dropped.
    table.insert("x-overflow".into(), text("reject-publish"));
}

/// Deliveries after which RabbitMQ would give a message up: never. What a hub gives back because a link is down is no failed delivery.
/// It must be a number: without one RabbitMQ 4 gives up after 20, and earlier ones put what is given back at the end of the queue; and a
/// negative one, which RabbitMQ 4 knows, makes RabbitMQ 3.10 drop a message when it is first given back.
const DELIVERY_LIMIT: i64 = 1_000_000_000;

/// Declares one quorum queue.
async fn declare_queue(connection: &Connection, name: &str, arguments: impl Fn(&mut FieldTable)) -> Result<(), lapin::Error> {
    let mut table = FieldTable::default();
    arguments(&mut table);
    table.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    table.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
    let channel = connection.create_channel().await?;
    channel.queue_declare(name.into(), QueueDeclareOptions::durable(), table).await?;
    channel.close(200, "OK".into()).await
}

/// Declares the queue of a link and what every queue needs, for a hub that may.
pub(crate) async fn declare(shared: &Shared, queue: &QueueId, limits: QueueLimits) -> Result<(), BusError> {
    let connection = shared.connections.connect().await?;
    let name = queue_name(queue);
    declare_queue(&connection, &name, |table| link_arguments(table, limits)).await.map_err(unavailable)?;
    declare_queue(&connection, QUARANTINE, |_| {}).await.map_err(unavailable)?;
    Ok(())
}

/// Which of these are not there.
pub(crate) async fn missing(shared: &Shared, queues: &[QueueId]) -> Result<Vec<QueueId>, BusError> {
    let mut missing = Vec::new();
    let mut channel = None;
    for queue in queues {
        if count(shared, &mut channel, queue).await?.is_none() {
            missing.push(queue.clone());
        }
    }
    Ok(missing)
}

/// Records that wait in a queue and are not with a reader; `None`: there is no such queue.
pub(crate) async fn ready(shared: &Shared, queue: &QueueId) -> Result<Option<u64>, BusError> {
    count(shared, &mut None, queue).await
}

async fn count(
    shared: &Shared,
    channel: &mut Option<connections::ReadingChannel>,
    queue: &QueueId,
) -> Result<Option<u64>, BusError> {
    let open = match channel.take() {
        Some(open) => open,
        None => shared.connections.channel().await?,
    };
    let passive = QueueDeclareOptions::durable().passive();
    match open.channel.queue_declare(queue_name(queue).into(), passive, FieldTable::default()).await {
        Ok(state) => {
            *channel = Some(open);
            Ok(Some(u64::from(state.message_count())))
        }
        // RabbitMQ closes the channel with this answer.
        Err(error) if is_soft(&error, &AMQPSoftError::NOTFOUND) => Ok(None),
        Err(error) => Err(unavailable(error)),
    }
}

/// Envelopes of a queue in quarantine: it looks through all of them, and puts them back.
pub(crate) async fn quarantined(shared: &Shared, queue: &QueueId) -> Result<u64, BusError> {
    let name = queue_name(queue);
    let open = shared.connections.channel().await?;
    let channel: &Channel = &open.channel;
    let mut found = HashSet::new();
    loop {
        let message = match channel.basic_get(QUARANTINE.into(), BasicGetOptions { no_ack: false }).await {
            Ok(message) => message,
            Err(error) if is_soft(&error, &AMQPSoftError::NOTFOUND) => return Ok(0),
            Err(error) => return Err(unavailable(error)),
        };
        let Some(message) = message else { break };
        let headers = message.delivery.properties.headers();
        let of = headers.as_ref().and_then(|headers| headers.inner().get(crate::queue::QUEUE_HEADER));
        if matches!(of, Some(AMQPValue::LongString(text)) if text.as_bytes() == name.as_bytes()) {
            // The same envelope may have come here twice, if a hub died between the two steps.
            found.insert(message.delivery.data.clone());
        }
    }
    // Closing the channel puts them back.
    let _ = channel.close(200, "OK".into()).await;
    Ok(found.len() as u64)
}

pub(crate) fn is_soft(error: &lapin::Error, wanted: &AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if matches!(error.kind(), AMQPErrorKind::Soft(soft) if soft == wanted))
}
