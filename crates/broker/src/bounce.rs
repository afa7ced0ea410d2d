//! Telling the sender: a refused envelope becomes a failure, durable before the refused one is settled.

use std::sync::Arc;

use interchange_bus::Bus;
use interchange_model::{Body, DeliveryId, Detail, Envelope, LinkId, MessageId, QueueId, Refusal};
use interchange_registry::Registry;
use sha2::{Digest, Sha256};

use crate::trace::{Stage, Trace};

/// An envelope that its recipient's side has refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) delivery: DeliveryId,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) why: Refusal,
    /// What else its sender is told.
    pub(crate) detail: Option<Detail>,
    /// It goes to quarantine, for this reason.
    pub(crate) dead: Option<String>,
}

/// Publishes the failures of all these, which `link` has refused, in one batch; those that were told may be settled then, and not before.
/// So a crash between the two repeats a failure, under the same id, and never swallows one. Answers which were told, and which were not, since
/// the bus did not take them.
pub(crate) async fn bounce<B: Bus>(
    refused: Vec<Refused>,
    link: &LinkId,
    bus: &B,
    registry: &Registry,
    trace: &Trace,
) -> (Vec<Refused>, Vec<Refused>) {
    let now = trace.clock().now();
    let mut batch = Vec::new();
    let mut places = Vec::new();
    for Refused { envelope, why, detail, .. } in &refused {
        let _span = tracing::debug_span!("bounce", id = %envelope.id).entered();
        // No bounce of a bounce, and none to a link that is no more.
        let mut failure = envelope.failure(failure_id(envelope), *why, now);
        if let Some(Envelope { body: Body::Failure(failure), .. }) = &mut failure {
            failure.detail = *detail;
        }
        let failure = failure.filter(|failure| registry.link(&failure.origin).is_some());
        places.push(failure.is_some().then_some(batch.len()));
        batch.extend(failure.map(|failure| (QueueId::Link(failure.origin.clone()), Arc::new(failure))));
    }
    let failures: Vec<_> = batch.iter().map(|(_, failure)| failure.clone()).collect();
    let result = if batch.is_empty() { Ok(()) } else { bus.publish(batch).await };
    let (mut told, mut untold) = (Vec::new(), Vec::new());
    for (refused, place) in refused.into_iter().zip(places) {
        match place {
            Some(place) if result.as_ref().is_err_and(|unpublished| unpublished.concerns(place)) => {
                untold.push(refused);
                continue;
            }
            Some(place) => {
                trace.record(Stage::Failed(refused.why), &refused.envelope, Some(link));
                trace.record(Stage::Accepted, &failures[place], Some(&failures[place].origin));
            }
            None => trace.record(Stage::Dropped(refused.why), &refused.envelope, Some(link)),
        }
        told.push(refused);
    }
    if let Err(error) = result {
        tracing::warn!(%link, %error, waiting = untold.len(), "failures cannot be stored; they are tried again");
    }
    (told, untold)
}

/// The id of an envelope's failure: always the same for the same envelope, so that whoever is told twice can notice.
fn failure_id(envelope: &Envelope) -> MessageId {
    let mut hash = Sha256::new();
    hash.update(b"failure");
    hash.update(envelope.id.0.to_be_bytes());
    let mut random = [0; 16];
    random.copy_from_slice(&hash.finalize()[..16]);
    MessageId::new(envelope.accepted, u128::from_be_bytes(random))
}
