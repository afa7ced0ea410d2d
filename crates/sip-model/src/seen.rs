//! Messages that came in lately, so that a request repeated as a new transaction is delivered once.
//!
//! A proxy that fails over, or a sender that lost the answer, repeats a MESSAGE with another branch, which the transaction
//! layer cannot know. Real clients also use one CSeq for ever, or one Call-ID for several messages: so the body counts too.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use interchange_model::{LinkId, Token};
use sha2::{Digest, Sha256};
use sip_codec::Request;

/// How long a message is remembered.
const WINDOW: Duration = Duration::from_secs(600);
/// How many are remembered; more push out the oldest.
const MOST: usize = 100_000;

/// What makes a message the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The same with what else must be the same.
    #[must_use]
    pub fn with(self, more: &[u8]) -> Self {
        let mut short = [0; 16];
        let digest = Sha256::new().chain_update(self.0).chain_update(more).finalize();
        short.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(short)
    }

    /// Of link, From, Request-URI, From tag, Call-ID, CSeq number and body.
    pub fn of(link: &LinkId, request: &Request) -> Self {
        let mut digest = Sha256::new();
        let from = request.from();
        for part in [
            link.as_str().as_bytes(),
            from.uri().to_string().as_bytes(),
            request.uri().to_string().as_bytes(),
            from.tag().unwrap_or_default().as_bytes(),
            request.call_id().as_bytes(),
            &request.cseq().number.to_be_bytes(),
            request.body(),
        ] {
            // The length before each part: no two lists of parts run together to the same bytes.
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        let mut short = [0; 16];
        short.iter_mut().zip(digest.finalize()).for_each(|(to, from)| *to = from);
        Self(short)
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate<A> {
    /// Its answer is still to come.
    Open(Token),
    /// This is its answer.
    Answered(A),
}

/// The messages of the last ten minutes; `A`: their answers.
pub struct Seen<A> {
    fates: HashMap<Fingerprint, (Instant, Fate<A>)>,
    order: VecDeque<(Instant, Fingerprint)>,
}

impl<A> Default for Seen<A> {
    fn default() -> Self {
        Self { fates: HashMap::new(), order: VecDeque::new() }
    }
}

impl<A: Copy> Seen<A> {
    /// What became of a message, if it came before.
    pub fn get(&self, now: Instant, fingerprint: &Fingerprint) -> Option<Fate<A>> {
        self.fates.get(fingerprint).filter(|(at, _)| now < *at + WINDOW).map(|(_, fate)| *fate)
    }

    /// Remembers a message that is new.
    pub fn open(&mut self, now: Instant, fingerprint: Fingerprint, token: Token) {
        while self.order.len() >= MOST || self.order.front().is_some_and(|(at, _)| now >= *at + WINDOW) {
            let Some((at, oldest)) = self.order.pop_front() else { break };
            // Forgotten and remembered anew since: the younger entry stays.
            if self.fates.get(&oldest).is_some_and(|(since, _)| *since == at) {
                self.fates.remove(&oldest);
            }
        }
        self.fates.insert(fingerprint, (now, Fate::Open(token)));
        self.order.push_back((now, fingerprint));
    }

    /// Remembers its answer.
    pub fn answered(&mut self, fingerprint: &Fingerprint, answer: A) {
        if let Some((_, fate)) = self.fates.get_mut(fingerprint) {
            *fate = Fate::Answered(answer);
        }
    }

    /// Forgets it: it was not taken, and may come again.
    pub fn forget(&mut self, fingerprint: &Fingerprint) {
        self.fates.remove(fingerprint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(number: u32) -> Fingerprint {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Fingerprint(bytes)
    }

    #[test]
    fn ten_minutes_and_a_bounded_number_are_remembered() {
        let mut seen = Seen::<u16>::default();
        let start = Instant::now();
        seen.open(start, print(0), Token(0));
        let answer = 202;
        seen.answered(&print(0), answer);
        assert_eq!(seen.get(start + Duration::from_secs(599), &print(0)), Some(Fate::Answered(answer)));
        assert_eq!(seen.get(start + Duration::from_secs(600), &print(0)), None);
        for number in 1..=200_000 {
            seen.open(start, print(number), Token(0));
        }
        assert_eq!((seen.fates.len(), seen.order.len()), (MOST, MOST));
        assert_eq!(seen.get(start, &print(1)), None);
        assert!(seen.get(start, &print(200_000)).is_some());
        seen.open(start + WINDOW, print(1), Token(1));
        assert_eq!((seen.fates.len(), seen.order.len()), (1, 1));
    }

    #[test]
    fn what_was_not_taken_may_come_again() {
        let mut seen = Seen::<u16>::default();
        let start = Instant::now();
        seen.open(start, print(1), Token(1));
        seen.forget(&print(1));
        assert_eq!(seen.get(start, &print(1)), None);
        let later = start + Duration::from_secs(300);
        seen.open(later, print(1), Token(2));
        // The first entry's time comes; the second stays.
        seen.open(start + WINDOW, print(2), Token(3));
        assert_eq!(seen.get(start + WINDOW, &print(1)), Some(Fate::Open(Token(2))));
    }
}
