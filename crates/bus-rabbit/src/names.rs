//! What things are called in RabbitMQ. Nothing in a name comes from outside: link ids are the operator's.

use interchange_model::QueueId;

/// The queue of what nobody could deal with.
pub const QUARANTINE: &str = "interchange.quarantine";

/// The exchange of words between hubs that may be lost.
pub(crate) const TRANSIENT: &str = "interchange.transient";

/// The queue of a link: `interchange.link.NAME`.
#[must_use]
pub fn queue_name(queue: &QueueId) -> String {
    match queue {
        QueueId::Link(link) => format!("interchange.link.{link}"),
    }
}
