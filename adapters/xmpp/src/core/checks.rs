//! Finding out whether a link works, when somebody asks: a ping from one of our domains to one of the peer's, whose answer comes back the way that
//! every answer takes, the peer's own stream to us. So it shows both directions, and no person sees it.

use interchange_adapter::{Now, Output};
use interchange_model::{Domain, Fault, LinkId, Trouble};

use super::Core;
use crate::pair::PairKey;
use crate::sink::Sink;

/// Pairs of all links that are asked about at one time; of more, the next is answered at once.
const MOST_CHECKS: usize = 4_096;

impl Core {
    /// Asks the server of `to` for an answer to `from`, now: a pause after a failure, or after a refusal, is not waited for.
    pub(crate) fn check(&mut self, now: Now, sink: &mut Sink<'_>, link: LinkId, from: Domain, to: Domain) {
        let Some(state) = self.links.get(&link) else {
            let why = Trouble::new(Fault::Settings, "the hub does not use the link: its settings cannot be used, or it is new");
            return sink.push(Output::Checked { link, from, to, result: Err(why) });
        };
        let served = state.info.domains.contains(&to) && !state.info.domains.contains(&from) && self.directory.hosts(&from);
        if !served || self.checks.len() >= MOST_CHECKS {
            let why = if served { "too much is asked at once" } else { "the hub does not stand for this pair of domains" };
            return sink.push(Output::Checked { link, from, to, result: Err(Trouble::new(Fault::Settings, why)) });
        }
        let key = PairKey { own: from, partner: to };
        self.checks.insert(key.clone(), link.clone());
        let pair = self.pair(now, &link, &key);
        pair.refused = None;
        pair.probing = true;
        self.pump(now, sink, &key);
    }

    /// What came of a pair is known: whoever has asked is told.
    pub(super) fn checked(&mut self, sink: &mut Sink<'_>, key: &PairKey, result: Result<(), Trouble>) {
        if let Some(link) = self.checks.remove(key) {
            let PairKey { own, partner } = key.clone();
            sink.push(Output::Checked { link, from: own, to: partner, result });
        }
    }
}
