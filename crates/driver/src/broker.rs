//! The driver's end of the two channels to the broker.

use std::collections::{HashSet, VecDeque};

use interchange_model::{Down, LinkId, Up};
use tokio::sync::mpsc;

/// The way to the broker and back; it outlives the adapter.
pub(crate) struct Broker {
    pub(crate) up: mpsc::Sender<Up>,
    pub(crate) down: mpsc::Receiver<Down>,
    /// Words for the broker that it has not taken yet.
    pub(crate) pending: VecDeque<Up>,
    /// The last `Down::Links`.
    pub(crate) links: Option<Down>,
    /// Submissions that the broker has and has not answered.
    pub(crate) unanswered: u64,
    /// Links that a former adapter had up, and this one has not yet: a `Deliver` for them was meant for the former one.
    pub(crate) hushed: HashSet<LinkId>,
    /// The broker has hung up.
    pub(crate) gone: bool,
}

impl Broker {
    /// Keeps account of a word from the broker, at once when it comes, whatever then becomes of the adapter.
    pub(crate) fn note(&mut self, word: &Down) {
        match word {
            Down::Links { .. } => self.links = Some(word.clone()),
            Down::Submitted { .. } => self.unanswered = self.unanswered.saturating_sub(1),
            Down::Deliver { .. }
            | Down::Told { .. }
            | Down::Remembered { .. }
            | Down::Delivered { .. }
            | Down::Check { .. }
            | Down::Relayed { .. } => {}
        }
    }

    /// Gives the broker what it takes without waiting.
    pub(crate) fn forward(&mut self) {
        while !self.pending.is_empty() {
            match self.up.try_reserve() {
                Ok(permit) => say(permit, &mut self.pending, &mut self.unanswered),
                Err(mpsc::error::TrySendError::Full(())) => return,
                Err(mpsc::error::TrySendError::Closed(())) => {
                    self.gone = true;
                    return;
                }
            }
        }
    }
}

/// Gives the broker the first word of `pending`.
pub(crate) fn say(permit: mpsc::Permit<'_, Up>, pending: &mut VecDeque<Up>, unanswered: &mut u64) {
    let Some(word) = pending.pop_front() else { return };
    *unanswered += u64::from(matches!(word, Up::Submit { .. }));
    permit.send(word);
}
