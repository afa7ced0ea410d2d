//! Between the loop and one connection's task: what the adapter wants of the connection, and how much it has not yet taken.
//!
//! A mutex around a few words, never held across an await: the loop hands over whole batches under one lock and one
//! wake-up, so that `Send` and the `StartTls` behind it can never be seen apart.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;
use interchange_adapter::{CloseReason, TlsRole};

/// What the adapter wants of a connection.
#[derive(Debug)]
pub(crate) enum Command {
    Send(Bytes),
    StartTls(Box<TlsRole>),
    Close(CloseReason),
}

/// Bytes that may lie in the outbox itself, before the connection's task has been run at all. Above the 1 MiB that may wait
/// for the peer, since a task that has not run yet says nothing about its peer.
const UNHEARD_BYTES: usize = 4 * 1024 * 1024;

/// Chunks that a connection may have in the loop's queue: so that a flood from one peer waits behind itself and not before all
/// others.
const UNDELIVERED_CHUNKS: u8 = 2;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    commands: Vec<Command>,
    bytes: usize,
    undelivered: u8,
    /// The task has a chunk in hand and waits until the loop has taken an earlier one.
    starved: bool,
    abort: Option<CloseReason>,
    waker: Option<Waker>,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the task: moves what has gathered to the end of `queue`; the reason when the connection must end at once.
    /// Whatever comes later wakes the task.
    pub(crate) fn take(&self, cx: &Context<'_>, queue: &mut VecDeque<Command>) -> Option<CloseReason> {
        let mut state = self.lock();
        queue.extend(state.commands.drain(..));
        state.bytes = 0;
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        state.abort
    }

    /// For the task: whether one more chunk may go to the loop. If not, the task is woken when it may. To be called after
    /// [`Self::take`] in the same poll.
    pub(crate) fn may_deliver(&self) -> bool {
        let mut state = self.lock();
        let may = state.undelivered < UNDELIVERED_CHUNKS;
        if may {
            state.undelivered += 1;
        } else {
            state.starved = true;
        }
        may
    }
}

/// The loop's end of an [`Outbox`]. Dropping it ends the connection at once.
#[derive(Debug)]
pub(crate) struct Handle(Arc<Outbox>);

impl Handle {
    pub(crate) fn new() -> (Self, Arc<Outbox>) {
        let outbox = Arc::new(Outbox::default());
        (Self(outbox.clone()), outbox)
    }

    /// Hands over `commands` and leaves them empty.
    pub(crate) fn push(&self, commands: &mut Vec<Command>) {
        let mut state = self.0.lock();
        for command in commands.iter() {
            if let Command::Send(bytes) = command {
                state.bytes += bytes.len();
            }
        }
        if state.bytes > UNHEARD_BYTES {
            state.abort = state.abort.or(Some(CloseReason::Slow));
            state.commands.clear();
            commands.clear();
        } else if state.commands.is_empty() {
            // The emptied vector comes back: after a few rounds neither side allocates.
            mem::swap(&mut state.commands, commands);
        } else {
            state.commands.append(commands);
        }
        wake(state);
    }

    /// The loop has taken a chunk of this connection.
    pub(crate) fn taken(&self) {
        let mut state = self.0.lock();
        state.undelivered = state.undelivered.saturating_sub(1);
        if mem::take(&mut state.starved) {
            wake(state);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.abort = state.abort.or(Some(CloseReason::Shutdown));
        wake(state);
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_seen_whole_and_a_dropped_handle_ends_the_connection() {
        let (handle, outbox) = Handle::new();
        let cx = Context::from_waker(Waker::noop());
        let mut queue = VecDeque::new();
        let mut staged = vec![Command::Send(Bytes::from_static(b"a")), Command::Close(CloseReason::Finished)];
        handle.push(&mut staged);
        assert!(staged.is_empty());
        assert_eq!(outbox.take(&cx, &mut queue), None);
        assert!(matches!(queue.make_contiguous(), [Command::Send(_), Command::Close(CloseReason::Finished)]));
        drop(handle);
        assert_eq!(outbox.take(&cx, &mut queue), Some(CloseReason::Shutdown));
    }

    #[test]
    fn a_task_that_never_runs_holds_a_bounded_number_of_bytes() {
        let (handle, outbox) = Handle::new();
        let megabyte = Bytes::from(vec![0; 1024 * 1024]);
        for _ in 0..5 {
            handle.push(&mut vec![Command::Send(megabyte.clone())]);
        }
        let mut queue = VecDeque::new();
        assert_eq!(outbox.take(&Context::from_waker(Waker::noop()), &mut queue), Some(CloseReason::Slow));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_connection_has_two_chunks_before_the_loop() {
        let (handle, outbox) = Handle::new();
        assert!(outbox.may_deliver() && outbox.may_deliver() && !outbox.may_deliver());
        handle.taken();
        assert!(outbox.may_deliver() && !outbox.may_deliver());
    }
}
