//! What became of the last messages, in memory, for whoever asks where one is. The log has all of them, and for longer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use interchange_admin::{Asked, TraceRow};
use interchange_broker::TraceEvent;
use interchange_model::{Kind, Refusal, to_millis};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// The most stages that are kept, some 300 bytes each; the oldest go first.
const MOST: usize = 50_000;
/// The most in one answer.
const MOST_SHOWN: usize = 500;

/// The stages of the last messages. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    events: Arc<Mutex<VecDeque<TraceEvent>>>,
}

impl History {
    /// Notes all stages from now on, until the trace ends.
    pub(crate) async fn follow(self, mut events: broadcast::Receiver<TraceEvent>) {
        loop {
            match events.recv().await {
                Ok(event) => self.note(event),
                // Under a load that it cannot follow it has gaps, and the log has none.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn note(&self, event: TraceEvent) {
        if event.kind == Some(Kind::Typing) {
            return;
        }
        let mut events = self.lock();
        if events.len() == MOST {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// The stages that are asked for, the oldest first; of very many the newest.
    pub(crate) fn find(&self, asked: &Asked) -> Vec<TraceRow> {
        let fits = |event: &&TraceEvent| match asked {
            Asked::Id(id) => event.id == Some(*id) || event.of == Some(*id),
            // What comes back belongs to the story.
            Asked::Pair(one, other) => (&event.from, &event.to) == (one, other) || (&event.from, &event.to) == (other, one),
        };
        let mut rows: Vec<TraceRow> = self.lock().iter().rev().filter(fits).take(MOST_SHOWN).map(row).collect();
        rows.reverse();
        rows
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<TraceEvent>> {
        // Whoever panicked with it in hand left whole events.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn row(event: &TraceEvent) -> TraceRow {
    TraceRow {
        at: to_millis(event.at),
        id: event.id,
        of: event.of,
        stage: event.stage.label(),
        why: event.stage.refusal().map(Refusal::label),
        because: event.stage.refusal().map(Refusal::sentence),
        kind: event.kind.map(Kind::label),
        from: event.from.to_string(),
        to: event.to.to_string(),
        link_in: event.link_in.clone(),
        link_out: event.link_out.clone(),
        size: event.size,
        elapsed_ms: u64::try_from(event.elapsed.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use interchange_broker::Stage;
    use interchange_model::{Address, MessageId};

    use super::*;

    fn event(id: u128, of: Option<u128>, from: &str, to: &str, stage: Stage) -> TraceEvent {
        TraceEvent {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(id as u64),
            stage,
            id: Some(MessageId(id)),
            of: of.map(MessageId),
            link_in: "acme".into(),
            link_out: None,
            from: Address::parse(from).unwrap(),
            to: Address::parse(to).unwrap(),
            kind: Some(Kind::Text),
            size: 3,
            elapsed: Duration::ZERO,
        }
    }

    #[test]
    fn a_message_is_found_by_id_and_by_pair_with_what_came_back() {
        let history = History::default();
        let (alice, bob, carol) = ("alice@a.example", "bob@b.example", "carol@a.example");
        history.note(event(1, None, alice, bob, Stage::Accepted));
        history.note(event(1, None, alice, bob, Stage::Failed(Refusal::NoSuchUser)));
        history.note(event(2, Some(1), bob, alice, Stage::Accepted));
        history.note(event(3, None, carol, bob, Stage::Accepted));
        let stages = |asked| history.find(&asked).iter().map(|row| (row.id.unwrap().0, row.stage)).collect::<Vec<_>>();
        let story = [(1, "accepted"), (1, "failed"), (2, "accepted")];
        assert_eq!(stages(Asked::Id(MessageId(1))), story);
        let address = |text| Address::parse(text).unwrap();
        assert_eq!(stages(Asked::Pair(address(alice), address("BOB@b.example"))), story);
        assert_eq!(stages(Asked::Pair(address(bob), address(carol))), [(3, "accepted")]);
        assert_eq!(history.find(&Asked::Id(MessageId(1)))[1].why, Some("no-such-user"));
    }

    #[test]
    fn it_holds_so_many_and_shows_the_newest() {
        let history = History::default();
        for number in 0..MOST as u128 + 10 {
            history.note(event(number, None, "a@a.example", "b@b.example", Stage::Accepted));
        }
        assert_eq!(history.lock().len(), MOST);
        assert!(history.find(&Asked::Id(MessageId(9))).is_empty());
        let shown = history.find(&Asked::Pair(Address::parse("a@a.example").unwrap(), Address::parse("b@b.example").unwrap()));
        assert_eq!((shown.len(), shown[MOST_SHOWN - 1].id), (MOST_SHOWN, Some(MessageId(MOST as u128 + 9))));
    }
}
