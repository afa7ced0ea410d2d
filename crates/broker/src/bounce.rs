//! Telling the sender: a refused envelope becomes a failure, durable before the refused one is settled.

use std::sync::Arc;
use std::time::SystemTime;

use interchange_bus::{Bus, Unpublished};
use interchange_model::{DeliveryId, Envelope, LinkId, MessageId, QueueId, Refusal};
use interchange_registry::Registry;
use sha2::{Digest, Sha256};

use crate::trace::{Stage, Trace};

/// An envelope that its recipient's side has refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) delivery: DeliveryId,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) why: Refusal,
}

/// Publishes the failures of all these, which `link` has refused, in one batch; then, and only then, they may be settled.
/// So a crash between the two repeats a failure, under the same id, and never swallows one.
///
/// # Errors
/// That of the bus: nothing was published, none may be settled.
pub(crate) async fn bounce<B: Bus>(
    refused: &[Refused],
    link: &LinkId,
    bus: &B,
    registry: &Registry,
    trace: &Trace,
) -> Result<(), Unpublished> {
    let mut failures = Vec::new();
    for Refused { envelope, why, .. } in refused {
        let _span = tracing::debug_span!("bounce", id = %envelope.id).entered();
        // No bounce of a bounce, and none to a link that is no more.
        let failure = envelope.failure(failure_id(envelope), *why, SystemTime::now());
        failures.push(failure.filter(|failure| registry.link(&failure.origin).is_some()).map(Arc::new));
    }
    let batch: Vec<_> =
        failures.iter().flatten().map(|failure| (QueueId::Link(failure.origin.clone()), failure.clone())).collect();
    if !batch.is_empty() {
        bus.publish(batch).await?;
    }
    for (Refused { envelope, why, .. }, failure) in refused.iter().zip(failures) {
        match failure {
            Some(failure) => {
                trace.record(Stage::Failed(*why), envelope, Some(link));
                trace.record(Stage::Accepted, &failure, Some(&failure.origin));
            }
            None => trace.record(Stage::Dropped(*why), envelope, Some(link)),
        }
    }
    Ok(())
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
