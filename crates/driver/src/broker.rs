//! The driver's end of the two channels to the broker.

use std::collections::{HashSet, VecDeque};

use interchange_model::{Down, LinkId, Token, Up};
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
    pub(crate) unanswered: HashSet<Token>,
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
            Down::Submitted { token, .. } => {
                self.unanswered.remove(token);
            }
            Down::Deliver { .. }
            | Down::Told { .. }
            | Down::Remembered { .. }
            | Down::Delivered { .. }
            | Down::Check { .. }
            | Down::Notice { .. }
            | Down::Relayed { .. } => {}
        }
    }

    /// Gives the broker what it takes without waiting.
    pub(crate) fn forward(&mut self) {
        while !self.pending.is_empty() {
            match self.up.try_reserve() {
                Ok(permit) => say(permit, &mut self.pending, &mut self.unanswered),
                // The loop notices one that has hung up.
                Err(mpsc::error::TrySendError::Full(()) | mpsc::error::TrySendError::Closed(())) => return,
            }
        }
    }

    /// What is said to a broker that has hung up: nothing is kept but the submissions in it, and those that it has left without an answer. It took
    /// none of them, for it answers what it has taken before it hangs up.
    pub(crate) fn orphans(&mut self) -> Vec<Token> {
        let said = self.pending.drain(..).filter_map(|word| match word {
            Up::Submit { token, .. } => Some(token),
            _ => None,
        });
        self.unanswered.drain().chain(said).collect()
    }
}

/// Gives the broker the first word of `pending`.
pub(crate) fn say(permit: mpsc::Permit<'_, Up>, pending: &mut VecDeque<Up>, unanswered: &mut HashSet<Token>) {
    let Some(word) = pending.pop_front() else { return };
    if let Up::Submit { token, .. } = &word {
        unanswered.insert(*token);
    }
    permit.send(word);
}
