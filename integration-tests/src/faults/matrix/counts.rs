//! The three ledgers, added up and compared.

use std::fmt;

use super::ledger::{Answer, Book, Conversation, Message, message_id};

/// What is the matter with a run, by message: conversation and number, and never a text.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Messages that the peers sent.
    pub sent: usize,
    /// Those that the hub said yes to.
    pub accepted: usize,
    /// Those that it said no to.
    pub refused: usize,
    /// Those that never got an answer.
    pub unanswered: usize,
    /// Different accepted messages that arrived.
    pub delivered: usize,
    /// Accepted messages whose failure their senders were told.
    pub bounced: usize,
    /// Accepted, and neither arrived nor came back.
    pub lost: Vec<String>,
    /// Arrivals beyond the first of each message.
    pub duplicates: usize,
    /// The messages that arrived more than once, and how often.
    pub repeated: Vec<String>,
    /// First arrivals of accepted messages after an arrival of one that was accepted later.
    pub disordered: Vec<String>,
    /// What came to somebody, and was not sent so by anybody.
    pub garbage: usize,
    /// Arrived, though the hub had said no.
    pub refused_and_delivered: usize,
    /// Arrived, though their senders were told of their failure.
    pub bounced_and_delivered: usize,
}

impl Counts {
    pub(super) fn of(book: &Book) -> Self {
        let mut counts = Self { garbage: book.garbage, ..Self::default() };
        for (place, page) in book.conversations.iter().enumerate() {
            for (number, message) in page.messages.iter().enumerate() {
                counts.add(place, number, message);
            }
            counts.bounced += page.notices;
            let name = |number: usize| format!("{} ({} to {})", message_id(place, number), page.sender, page.recipient);
            counts.lost.extend(page.missing().into_iter().map(name));
            counts.disordered.extend(disorder(page).into_iter().map(name));
        }
        counts
    }

    fn add(&mut self, place: usize, number: usize, message: &Message) {
        self.sent += 1;
        let came = message.delivered.is_some();
        match message.answer {
            Answer::Open => self.unanswered += 1,
            Answer::Accepted => {
                self.accepted += 1;
                self.delivered += usize::from(came);
            }
            Answer::Refused => {
                self.refused += 1;
                self.refused_and_delivered += usize::from(came);
            }
        }
        self.bounced += usize::from(message.bounced);
        self.bounced_and_delivered += usize::from(message.bounced && came);
        self.duplicates += message.deliveries.saturating_sub(1);
        if message.deliveries > 1 {
            self.repeated.push(format!("{} x{}", message_id(place, number), message.deliveries));
        }
    }
}

/// The numbers that arrived for the first time after a higher one. Accept order is the order of the numbers: a conversation waits for each
/// answer before it goes on. What was not accepted has no place in it.
fn disorder(page: &Conversation) -> Vec<usize> {
    let mut highest = 0;
    let accepted = |number: &usize| page.messages[*number].answer == Answer::Accepted;
    let late = |number: &usize| {
        let late = *number < highest;
        highest = highest.max(*number);
        late
    };
    page.arrivals.iter().copied().filter(accepted).filter(late).collect()
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} sent, {} accepted, {} refused, {} unanswered, {} delivered, {} bounced",
            self.sent, self.accepted, self.refused, self.unanswered, self.delivered, self.bounced
        )?;
        let more = [
            (self.garbage, "garbled"),
            (self.refused_and_delivered, "refused and yet delivered"),
            (self.bounced_and_delivered, "bounced and yet delivered"),
        ];
        more.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, what)| write!(formatter, ", {count} {what}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::faults::matrix::ledger::{Conversation, Ledger, message_id};
    use crate::faults::matrix::load::text;
    use crate::faults::peer::PeerEvent;

    const SENDER: &str = "alice@acme.example";
    const RECIPIENT: &str = "bob@globex.example";

    /// A book with one conversation, from the first company to the second, in which so many messages were accepted.
    fn book(accepted: usize) -> Ledger {
        let ledger = Ledger::new(vec![Conversation::new(0, 1, SENDER.to_owned(), RECIPIENT.to_owned())]);
        for number in 0..accepted {
            assert_eq!(ledger.next_message(0), Some(number));
            assert_eq!(ledger.next_message(0), None, "one at a time");
            ledger.listener(0)(PeerEvent::Accepted { id: message_id(0, number) });
        }
        ledger
    }

    fn came(ledger: &Ledger, number: usize) {
        let (from, to) = (SENDER.to_owned(), RECIPIENT.to_owned());
        ledger.listener(1)(PeerEvent::Received { from, to, body: text(0, number) });
    }

    fn came_back(ledger: &Ledger, number: usize, why: &str) {
        ledger.listener(0)(PeerEvent::Bounced { id: message_id(0, number), why: why.to_owned() });
    }

    #[test]
    fn what_neither_came_nor_came_back_is_lost() {
        let ledger = book(4);
        came(&ledger, 0);
        came_back(&ledger, 2, "item-not-found");
        let counts = ledger.counts();
        assert_eq!(
            counts.lost,
            ["c0n1 (alice@acme.example to bob@globex.example)", "c0n3 (alice@acme.example to bob@globex.example)"]
        );
        assert!(!ledger.is_settled());
        // A notice does not say which, but how many.
        ledger.listener(0)(PeerEvent::Notice { from: RECIPIENT.to_owned(), to: SENDER.to_owned(), failures: 2 });
        assert_eq!(ledger.counts().lost.len(), 0);
        assert_eq!(ledger.counts().bounced, 3);
        assert!(ledger.is_settled());
    }

    #[test]
    fn repeats_and_overtaking_are_seen() {
        let ledger = book(4);
        for number in [0, 2, 1, 2, 3, 0] {
            came(&ledger, number);
        }
        let counts = ledger.counts();
        assert_eq!((counts.duplicates, counts.lost.len()), (2, 0));
        assert_eq!(counts.repeated, ["c0n0 x2", "c0n2 x2"]);
        assert_eq!(counts.disordered, ["c0n1 (alice@acme.example to bob@globex.example)"]);
    }

    #[test]
    fn what_is_changed_on_its_way_or_comes_to_the_wrong_company_is_garbage() {
        let ledger = book(1);
        let (from, to) = (SENDER.to_owned(), RECIPIENT.to_owned());
        ledger.listener(1)(PeerEvent::Received { from: from.clone(), to: to.clone(), body: text(0, 0).replace('5', "4") });
        ledger.listener(0)(PeerEvent::Received { from, to, body: text(0, 0) });
        assert_eq!((ledger.counts().garbage, ledger.counts().delivered), (2, 0));
    }

    #[test]
    fn a_refusal_counts_on_whichever_side_of_the_acknowledgement_it_comes() {
        let ledger = book(1);
        came_back(&ledger, 0, "resource-constraint");
        assert_eq!(ledger.next_message(0), Some(1));
        came_back(&ledger, 1, "resource-constraint");
        ledger.listener(0)(PeerEvent::Accepted { id: message_id(0, 1) });
        let counts = ledger.counts();
        assert_eq!((counts.accepted, counts.refused, counts.bounced, counts.lost.len()), (0, 2, 0, 0));
    }
}
