//! What the peers of a run have sent, got and been told: the three ledgers, as one book with a page for each conversation.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::counts::Counts;
use crate::faults::peer::{Listener, PeerEvent};
use crate::faults::wire::lock;

/// The condition by which an XMPP message is refused, and no accepted one comes back (XMPP "resource-constraint" of type "wait"). The error comes on
/// one stream, and the acknowledgement of the stanza, which says that it was looked at, on another: either may be first.
const NOT_NOW: &str = "resource-constraint";

/// What has happened to a message for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The hub said yes.
    Accepted,
    /// The hub said no.
    Refused,
    /// It came to the recipient's peer.
    Delivered,
    /// The sender's peer was told that it failed.
    Bounced,
}

/// One line of the journal.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// When.
    pub at: Instant,
    /// What.
    pub happening: Happening,
    /// Which conversation's.
    pub conversation: usize,
    /// Which message of it; a notice does not say.
    pub number: Option<usize>,
    /// The company of the sender.
    pub from: usize,
    /// The company of the recipient.
    pub to: usize,
}

/// The answer of the hub to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// None yet. When it stays so, the message is neither lost nor promised.
    Open,
    Accepted,
    Refused,
}

/// One message, known by its conversation and its place there.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) sent: Instant,
    pub(super) answer: Answer,
    pub(super) delivered: Option<Instant>,
    pub(super) deliveries: usize,
    pub(super) bounced: bool,
}

/// Who writes to whom.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The company of the sender.
    pub from: usize,
    /// The company of the recipient.
    pub to: usize,
    /// The sender's address.
    pub sender: String,
    /// The recipient's address.
    pub recipient: String,
    pub(super) messages: Vec<Message>,
    /// Which messages came, in the order of their first arrivals.
    pub(super) arrivals: Vec<usize>,
    /// Failures that notices told of, without saying which: SIP has no other way.
    pub(super) notices: usize,
}

impl Conversation {
    /// A conversation in which nothing has been said.
    pub fn new(from: usize, to: usize, sender: String, recipient: String) -> Self {
        Self { from, to, sender, recipient, messages: Vec::new(), arrivals: Vec::new(), notices: 0 }
    }

    /// The accepted messages of which nothing was heard since; so many of them as notices told of have come back.
    pub(super) fn missing(&self) -> Vec<usize> {
        let silent = |message: &Message| message.answer == Answer::Accepted && message.delivered.is_none() && !message.bounced;
        let missing = self.messages.iter().enumerate().filter(|(_, message)| silent(message)).map(|(number, _)| number);
        missing.skip(self.notices).collect()
    }

    /// Whether a message waits for its answer: a conversation says one thing at a time.
    fn is_open(&self) -> bool {
        self.messages.last().is_some_and(|message| message.answer == Answer::Open)
    }
}

/// The book. Its clones are the same book.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Mutex<Book>>);

#[derive(Debug)]
pub(super) struct Book {
    pub(super) conversations: Vec<Conversation>,
    by_addresses: HashMap<(String, String), usize>,
    pub(super) journal: Vec<Entry>,
    /// Messages that nobody sent so.
    pub(super) garbage: usize,
    /// Why messages came back, by the condition, and how often; a notice has none.
    reasons: BTreeMap<String, usize>,
}

/// The id under which a message is sent.
pub fn message_id(conversation: usize, number: usize) -> String {
    format!("c{conversation}n{number}")
}

/// The message of an id, or of the first word of a text.
fn message_of(id: &str) -> Option<(usize, usize)> {
    let (conversation, number) = id.strip_prefix('c')?.split_once('n')?;
    Some((conversation.parse().ok()?, number.parse().ok()?))
}

impl Ledger {
    /// A book with a page for each of these.
    pub fn new(conversations: Vec<Conversation>) -> Self {
        let address = |(number, page): (usize, &Conversation)| ((page.sender.clone(), page.recipient.clone()), number);
        let by_addresses = conversations.iter().enumerate().map(address).collect();
        Self(Arc::new(Mutex::new(Book {
            conversations,
            by_addresses,
            journal: Vec::new(),
            garbage: 0,
            reasons: BTreeMap::new(),
        })))
    }

    /// What a peer of this company is to tell its events to.
    pub fn listener(&self, company: usize) -> Listener {
        let ledger = self.clone();
        Arc::new(move |event| ledger.book().enter(company, event))
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.0)
    }

    /// Notes that the next message of a conversation is sent now; `None` while the last one has no answer. Says its number.
    pub fn next_message(&self, conversation: usize) -> Option<usize> {
        let mut book = self.book();
        let page = &mut book.conversations[conversation];
        if page.is_open() {
            return None;
        }
        page.messages.push(Message {
            sent: Instant::now(),
            answer: Answer::Open,
            delivered: None,
            deliveries: 0,
            bounced: false,
        });
        Some(page.messages.len() - 1)
    }

    /// How many there are.
    pub fn conversations(&self) -> usize {
        self.book().conversations.len()
    }

    /// Whether every message has its answer, and every accepted one has arrived or come back.
    pub fn is_settled(&self) -> bool {
        self.book().conversations.iter().all(|page| !page.is_open() && page.missing().is_empty())
    }

    /// When something happened for the first time after a moment, to a message for which it matters.
    pub fn first(&self, happening: Happening, after: Instant, matters: impl Fn(&Entry) -> bool) -> Option<Instant> {
        self.nth(1, happening, after, matters)
    }

    /// As [`Ledger::first`], for another count than one.
    pub fn nth(&self, count: usize, happening: Happening, after: Instant, matters: impl Fn(&Entry) -> bool) -> Option<Instant> {
        let book = self.book();
        // Entries are made under the lock, so their times never go back.
        let from = book.journal.partition_point(|entry| entry.at <= after);
        let mut entries = book.journal[from..].iter().filter(|entry| entry.happening == happening && matters(entry));
        entries.nth(count.checked_sub(1)?).map(|entry| entry.at)
    }

    /// How often something happened between two moments.
    pub fn count(&self, happening: Happening, from: Instant, to: Instant) -> usize {
        let is = |entry: &&Entry| entry.happening == happening && entry.at > from && entry.at < to;
        self.book().journal.iter().filter(is).count()
    }

    /// How many messages for this company the hub said yes to.
    pub fn accepted_for(&self, company: usize) -> usize {
        let book = self.book();
        let messages = book.conversations.iter().filter(|page| page.to == company).flat_map(|page| &page.messages);
        messages.filter(|message| message.answer == Answer::Accepted).count()
    }

    /// When a sender was told of a failure for the first time in this conversation, if he was.
    pub fn first_bounce(&self, conversation: usize) -> Option<Instant> {
        let book = self.book();
        let is = |entry: &&Entry| entry.happening == Happening::Bounced && entry.conversation == conversation;
        book.journal.iter().find(is).map(|entry| entry.at)
    }

    /// When a message was sent.
    pub fn sent(&self, conversation: usize, number: usize) -> Option<Instant> {
        self.book().conversations[conversation].messages.get(number).map(|message| message.sent)
    }

    /// The time from sending to delivery that 99 of 100 messages did not exceed, of those sent between two moments in conversations that matter.
    pub fn p99(&self, from: Instant, to: Instant, matters: impl Fn(&Conversation) -> bool) -> Option<Duration> {
        let book = self.book();
        let messages = book.conversations.iter().filter(|page| matters(page)).flat_map(|page| &page.messages);
        let mut times: Vec<Duration> = messages
            .filter(|message| message.sent > from && message.sent < to)
            .filter_map(|message| Some(message.delivered?.duration_since(message.sent)))
            .collect();
        times.sort_unstable();
        times.get((times.len() * 99 / 100).min(times.len().checked_sub(1)?)).copied()
    }

    /// The conditions under which messages came back.
    pub fn reasons(&self) -> Vec<String> {
        self.book().reasons.keys().cloned().collect()
    }

    /// Adds it up.
    pub fn counts(&self) -> Counts {
        Counts::of(&self.book())
    }
}

impl Book {
    fn enter(&mut self, company: usize, event: PeerEvent) {
        match event {
            PeerEvent::Accepted { id } => self.answered(&id, Answer::Accepted),
            PeerEvent::Refused { id, .. } => self.answered(&id, Answer::Refused),
            // Without a known id it is told by a notice.
            PeerEvent::Bounced { id, why } => {
                if let Some((conversation, number)) = self.known(&id) {
                    self.came_back(conversation, number, &why);
                }
            }
            PeerEvent::Notice { from, to, failures } => match self.by_addresses.get(&(to, from)) {
                Some(&conversation) => {
                    self.conversations[conversation].notices += failures;
                    self.note(Happening::Bounced, conversation, None);
                }
                None => self.garbage += 1,
            },
            PeerEvent::Received { from, to, body } => match self.known(body.split(' ').next().unwrap_or_default()) {
                Some((conversation, number)) if self.belongs(company, conversation, number, &from, &to, &body) => {
                    self.arrived(conversation, number);
                }
                _ => self.garbage += 1,
            },
        }
    }

    /// The message of an id, if it was sent.
    fn known(&self, id: &str) -> Option<(usize, usize)> {
        message_of(id).filter(|&(conversation, number)| {
            self.conversations.get(conversation).is_some_and(|page| number < page.messages.len())
        })
    }

    /// Whether what came is what was sent, to whom it was sent.
    fn belongs(&self, company: usize, conversation: usize, number: usize, from: &str, to: &str, body: &str) -> bool {
        let page = &self.conversations[conversation];
        let text = body.strip_suffix(super::load::POISON).unwrap_or(body);
        page.to == company && page.sender == from && page.recipient == to && text == super::load::text(conversation, number)
    }

    fn answered(&mut self, id: &str, answer: Answer) {
        let Some((conversation, number)) = self.known(id) else {
            self.garbage += 1;
            return;
        };
        let message = &mut self.conversations[conversation].messages[number];
        if message.answer == Answer::Open {
            message.answer = answer;
            let happening = if answer == Answer::Accepted { Happening::Accepted } else { Happening::Refused };
            self.note(happening, conversation, Some(number));
        }
    }

    fn came_back(&mut self, conversation: usize, number: usize, why: &str) {
        let message = &mut self.conversations[conversation].messages[number];
        if why == NOT_NOW {
            match std::mem::replace(&mut message.answer, Answer::Refused) {
                Answer::Open => self.note(Happening::Refused, conversation, Some(number)),
                Answer::Accepted => {
                    let is = |entry: &&mut Entry| (entry.conversation, entry.number) == (conversation, Some(number));
                    if let Some(entry) = self.journal.iter_mut().rev().find(is) {
                        entry.happening = Happening::Refused;
                    }
                }
                Answer::Refused => {}
            }
        } else if !std::mem::replace(&mut message.bounced, true) {
            *self.reasons.entry(why.to_owned()).or_default() += 1;
            self.note(Happening::Bounced, conversation, Some(number));
        }
    }

    fn arrived(&mut self, conversation: usize, number: usize) {
        let page = &mut self.conversations[conversation];
        let message = &mut page.messages[number];
        message.deliveries += 1;
        if message.delivered.is_none() {
            message.delivered = Some(Instant::now());
            page.arrivals.push(number);
            self.note(Happening::Delivered, conversation, Some(number));
        }
    }

    fn note(&mut self, happening: Happening, conversation: usize, number: Option<usize>) {
        let Conversation { from, to, .. } = self.conversations[conversation];
        self.journal.push(Entry { at: Instant::now(), happening, conversation, number, from, to });
    }
}
