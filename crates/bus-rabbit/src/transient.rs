//! Words between hubs that may be lost: a fanout exchange, and a queue in memory for each hub that dies with its connection.
//!
//! They have a connection of their own and a bounded line, so that they never delay a message. Of two words with the same link and key
//! that wait here, the newer takes the place of the older.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use interchange_bus::{BusError, Transient};
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, Consumer};
use tokio::sync::mpsc;

use crate::names::TRANSIENT;
use crate::{Shared, unavailable};

/// Words that may wait, each way; more are dropped.
pub(crate) const WORDS: usize = 1024;

/// The pause between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(2);

const LINK_HEADER: &str = "interchange-link";
const FROM_HEADER: &str = "interchange-from";

/// Carries words both ways, for as long as anybody speaks.
pub(crate) async fn run(shared: Arc<Shared>, mut outgoing: mpsc::Receiver<Transient>, incoming: mpsc::Sender<Transient>) {
    // A hub hears its own words too, and tells them by this.
    let own = format!("{:032x}", rand::random::<u128>());
    loop {
        match connect(&shared).await {
            Ok((connection, channel, consumer)) => {
                carry(&channel, consumer, &own, &mut outgoing, &incoming).await;
                drop(connection);
            }
            Err(error) => tracing::debug!(%error, "words between hubs cannot be carried; it is tried again"),
        }
        if outgoing.is_closed() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
        // What has waited so long is of no use.
        while outgoing.try_recv().is_ok() {}
    }
}

async fn connect(shared: &Shared) -> Result<(Connection, Channel, Consumer), BusError> {
    let connection = shared.connections.connect().await?;
    let channel = connection.create_channel().await.map_err(unavailable)?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(10_000));
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(30_000));
    let name = format!("{TRANSIENT}.{:032x}", rand::random::<u128>());
    let own = QueueDeclareOptions::exclusive().auto_delete();
    channel.queue_declare(name.as_str().into(), own, arguments).await.map_err(unavailable)?;
    let (bind, nothing) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(name.as_str().into(), TRANSIENT.into(), "".into(), bind, nothing.clone()).await.map_err(unavailable)?;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let consumer = channel.basic_consume(name.into(), "".into(), options, nothing).await.map_err(unavailable)?;
    Ok((connection, channel, consumer))
}

/// Until the connection breaks or nobody speaks any more.
async fn carry(
    channel: &Channel,
    mut consumer: Consumer,
    own: &str,
    outgoing: &mut mpsc::Receiver<Transient>,
    incoming: &mpsc::Sender<Transient>,
) {
    let mut waiting: VecDeque<Transient> = VecDeque::new();
    loop {
        tokio::select! {
            biased;
            delivery = consumer.next() => {
                let Some(Ok(delivery)) = delivery else { return };
                if let Some(word) = heard(&delivery, own) && incoming.try_send(word).is_err() {
                    tracing::debug!("a word of another hub is dropped: too many wait already");
                }
            }
            word = outgoing.recv() => {
                let Some(word) = word else { return };
                line_up(&mut waiting, word);
                while let Ok(word) = outgoing.try_recv() {
                    line_up(&mut waiting, word);
                }
                for word in waiting.drain(..) {
                    let mut headers = FieldTable::default();
                    headers.insert(LINK_HEADER.into(), AMQPValue::LongString(word.link.to_string().into()));
                    headers.insert(FROM_HEADER.into(), AMQPValue::LongString(own.into()));
                    let properties = BasicProperties::default().with_headers(headers);
                    let options = BasicPublishOptions::default();
                    if channel.basic_publish(TRANSIENT.into(), "".into(), options, &word.payload, properties).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Puts a word in the line, in the place of an older one about the same.
fn line_up(waiting: &mut VecDeque<Transient>, word: Transient) {
    let older = waiting.iter_mut().find(|older| word.key.is_some() && older.link == word.link && older.key == word.key);
    match older {
        Some(older) => *older = word,
        None => waiting.push_back(word),
    }
}

fn heard(delivery: &lapin::message::Delivery, own: &str) -> Option<Transient> {
    let headers = delivery.properties.headers().as_ref()?.inner();
    let text = |name: &str| match headers.get(name) {
        Some(AMQPValue::LongString(text)) => std::str::from_utf8(text.as_bytes()).ok(),
        _ => None,
    };
    if text(FROM_HEADER)? == own || delivery.data.len() > Transient::LONGEST {
        return None;
    }
    Some(Transient { link: text(LINK_HEADER)?.into(), key: None, payload: delivery.data.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_word_about_the_same_takes_the_place_of_the_older() {
        let word = |link: &str, key: Option<&str>, payload: u8| Transient {
            link: link.into(),
            key: key.map(Into::into),
            payload: vec![payload],
        };
        let mut waiting = VecDeque::new();
        for (link, key, payload) in
            [("a", Some("x"), 1), ("b", Some("x"), 2), ("a", Some("y"), 3), ("a", Some("x"), 4), ("a", None, 5), ("a", None, 6)]
        {
            line_up(&mut waiting, word(link, key, payload));
        }
        assert_eq!(waiting.iter().map(|word| word.payload[0]).collect::<Vec<_>>(), [4, 2, 3, 5, 6]);
    }
}
