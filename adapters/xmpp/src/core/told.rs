//! What is told and not delivered: presence and typing. It waits for a stream, and is let be where there is none.

use std::sync::Arc;
use std::time::Duration;

use interchange_adapter::Now;
use interchange_model::{Address, Body, Envelope, LinkId, Watch};

use super::Core;
use crate::pair::{PairKey, Waiting};
use crate::sink::Sink;

/// How long after somebody's presence was asked for, or spoken of, the stream between the two domains is kept, and looked after.
pub(super) const ATTENTION: Duration = Duration::from_secs(24 * 60 * 60);

impl Core {
    /// The broker tells something.
    pub(crate) fn told(&mut self, now: Now, sink: &mut Sink<'_>, link: &LinkId, envelope: Arc<Envelope>) {
        let Some(state) = self.links.get(link) else { return };
        let key = PairKey { own: envelope.from.domain().clone(), partner: envelope.to.domain().clone() };
        let fits = state.health.is_up() && state.info.domains.contains(&key.partner) && self.directory.hosts(&key.own);
        if !fits {
            return;
        }
        let pair = self.pair(now, link, &key);
        if pair.refused.is_some_and(|(until, _)| now.instant < until) {
            return;
        }
        if is_of_a_watcher(&envelope.body) {
            pair.attend(now.instant + ATTENTION);
        }
        pair.wait(Waiting::Told(envelope));
        self.pump(now, sink, &key);
    }

    /// A partner's server speaks of its people's presence: whoever was asked about is believed a while longer to be here.
    pub(crate) fn still_attend(&mut self, now: Now, key: &PairKey) {
        if let Some(pair) = self.pairs.get_mut(key)
            && pair.is_attended(now.instant)
        {
            pair.attend(now.instant + ATTENTION);
        }
    }

    /// The language in which somebody of another platform was last seen to write.
    pub(crate) fn language(&self, person: &Address) -> Option<&str> {
        self.languages.get(person).map(|language| &**language)
    }
}

/// Whether it asks about somebody's presence: from then on it matters whether that person's server is there.
pub(super) fn is_of_a_watcher(body: &Body) -> bool {
    matches!(body, Body::Watch(Watch::Ask | Watch::Fetch))
}
