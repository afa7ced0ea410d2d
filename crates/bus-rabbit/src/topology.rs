//! What must be in RabbitMQ: declared once, by a user who may; looked at by the hub.

use std::collections::HashSet;

use interchange_bus::BusError;
use interchange_model::QueueId;
use lapin::options::{BasicGetOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ErrorKind, ExchangeKind};

use crate::connections::ReadingChannel;
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

/// Channels that declare at once: each waits for its answer, and RabbitMQ works for all of them meanwhile.
const DECLARING: usize = 16;

/// Declares everything that a hub with these queues needs: those, one for quarantine, and an exchange. What is there already stays as it is, so
/// it may be repeated at any time. `progress` hears how many of the queues are done.
///
/// # Errors
/// [`OpenError`]: RabbitMQ cannot be reached, or refuses.
pub async fn setup(
    options: &Options,
    limits: QueueLimits,
    queues: &[QueueId],
    progress: impl Fn(usize),
) -> Result<(), OpenError> {
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
    declare_queue(&channel, QUARANTINE, FieldTable::default()).await.map_err(refused(QUARANTINE))?;
    let mut channels = vec![channel];
    while channels.len() < DECLARING.min(queues.len()) {
        channels.push(connection.create_channel().await.map_err(unreachable)?);
    }
    let mut done = 0;
    for some in queues.chunks(DECLARING) {
        let declaring = some.iter().zip(&channels).map(|(queue, channel)| async move {
            let name = queue_name(queue);
            declare_queue(channel, &name, link_arguments(limits)).await.map_err(refused(&name))
        });
        for result in futures_util::future::join_all(declaring).await {
            result?;
        }
        done += some.len();
        progress(done);
    }
    let _ = connection.close(200, "OK".into()).await;
    Ok(())
}

/// The arguments of a link's queue.
fn link_arguments(limits: QueueLimits) -> FieldTable {
    let mut table = FieldTable::default();
    // One reader at a time, the others wait: two hubs never deliver for one link at once.
    table.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    table.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(i64::try_from(limits.bytes).unwrap_or(i64::MAX)));
    // Full means refused, never an older message dropped.
    table.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    table
}

/// Deliveries after which RabbitMQ would give a message up: never. What a hub gives back because a link is down is no failed delivery.
/// It must be a number: without one RabbitMQ 4 gives up after 20, and earlier ones put what is given back at the end of the queue; and a
/// negative one, which RabbitMQ 4 knows, makes RabbitMQ 3.10 drop a message when it is first given back.
const DELIVERY_LIMIT: i64 = 1_000_000_000;

/// Declares one quorum queue.
async fn declare_queue(channel: &Channel, name: &str, mut table: FieldTable) -> Result<(), lapin::Error> {
    table.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    table.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
    channel.queue_declare(name.into(), QueueDeclareOptions::durable(), table).await.map(drop)
}

/// Declares the queue of a link and what every queue needs, for a hub that may.
pub(crate) async fn declare(shared: &Shared, queue: &QueueId, limits: QueueLimits) -> Result<(), BusError> {
    let open = shared.connections.channel().await?;
    declare_queue(&open.channel, &queue_name(queue), link_arguments(limits)).await.map_err(unavailable)?;
    declare_queue(&open.channel, QUARANTINE, FieldTable::default()).await.map_err(unavailable)
}

/// Which of these are not there.
pub(crate) async fn missing(shared: &Shared, queues: &[QueueId]) -> Result<Vec<QueueId>, BusError> {
    let mut missing = Vec::new();
    let mut channel = None;
    for queue in queues {
        if ready(shared, &mut channel, queue).await?.is_none() {
            missing.push(queue.clone());
        }
    }
    Ok(missing)
}

/// Records that wait in a queue and are not with a reader; `None`: there is no such queue. A channel that is still good afterwards is left in
/// `channel`, for who asks about many.
pub(crate) async fn ready(
    shared: &Shared,
    channel: &mut Option<ReadingChannel>,
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

fn is_soft(error: &lapin::Error, wanted: &AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if matches!(error.kind(), AMQPErrorKind::Soft(soft) if soft == wanted))
}
