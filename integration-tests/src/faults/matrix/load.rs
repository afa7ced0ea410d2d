//! The load of a run: many conversations, each of which says one thing after the other and waits for the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::ledger::{Ledger, message_id};
use crate::faults::peer::Peer;

/// What a peer with a weak stomach chokes on.
pub const POISON: &str = " POISON";

const STEP: Duration = Duration::from_millis(5);

/// What a message says: its own name first, then enough that it is not the smallest that there is, with what has to be escaped somewhere.
pub fn text(conversation: usize, number: usize) -> String {
    format!(
        "{} 5 < 6 && \"quotes\" 'single' </body>\nGrüße aus 東京\n\nMESSAGE sip:mallory@evil.example SIP/2.0",
        message_id(conversation, number)
    )
}

/// How much, and what is special about it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of conversations.
    pub conversations: usize,
    /// Messages a second, of all conversations together.
    pub per_second: f64,
    /// The message that a peer chokes on in each of some conversations, which have one: conversation and number.
    pub poison: Vec<(usize, usize)>,
    /// Conversations that say no more than so much.
    pub limits: Vec<(usize, usize)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { conversations: 100, per_second: 200.0, poison: Vec::new(), limits: Vec::new() }
    }
}

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts to send; `senders` has the peer of each company.
    pub fn start(plan: Plan, ledger: Ledger, senders: Vec<Arc<dyn Peer>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let period = Duration::from_secs_f64(plan.conversations as f64 / plan.per_second);
            let began = Instant::now();
            let mut due: Vec<Instant> =
                (0..plan.conversations).map(|place| began + period * place as u32 / plan.conversations as u32).collect();
            while !stopped.load(Ordering::Acquire) {
                let now = Instant::now();
                for (conversation, due) in due.iter_mut().enumerate().filter(|(_, due)| **due <= now) {
                    if say_next(&plan, &ledger, &senders, conversation) {
                        // A conversation that was held up does not catch up: its partner has waited as well.
                        *due = (*due + period).max(now);
                    }
                }
                thread::sleep(STEP);
            }
        });
        Self { stop, thread: Some(thread) }
    }

    /// Says no more.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the load does not panic");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // The run is over, and has perhaps failed already.
            let _ = thread.join();
        }
    }
}

/// Sends the next message of a conversation, unless the last one has no answer yet.
fn say_next(plan: &Plan, ledger: &Ledger, senders: &[Arc<dyn Peer>], conversation: usize) -> bool {
    let limit = plan.limits.iter().find(|(place, _)| *place == conversation).map(|(_, limit)| *limit);
    let (from, sender, recipient, said) = {
        let book = ledger.book();
        let page = &book.conversations[conversation];
        (page.from, page.sender.clone(), page.recipient.clone(), page.messages.len())
    };
    if limit.is_some_and(|limit| said >= limit) {
        return true;
    }
    let Some(number) = ledger.next_message(conversation) else { return false };
    let mut body = text(conversation, number);
    if plan.poison.contains(&(conversation, number)) {
        body.push_str(POISON);
    }
    senders[from].send(&message_id(conversation, number), &sender, &recipient, &body);
    true
}
