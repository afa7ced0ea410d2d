//! One channel of instant messages: its ciphers, what waits for it, what is being put together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use interchange_model::{Address, Envelope, Plain};

use crate::cipher::{Decryptor, Encryptor, KeyPair};
use crate::codec::{Body, ClientType, Malformed, Message, SEND_SAID, Said, data};
use crate::limits;

/// What is to be said to a client, and the delivery that it settles, if it is one.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) delivery: Option<u64>,
    /// On how many channels it was said that the client closed before it showed that it has it.
    pub(crate) tries: u8,
}

impl Pending {
    /// Not said yet.
    pub(crate) const fn new(envelope: Arc<Envelope>, delivery: Option<u64>) -> Self {
        Self { envelope, delivery, tries: 0 }
    }
}

/// One conversation of one login.
pub(crate) struct Conversation {
    /// With whom.
    pub(crate) with: Address,
    /// The client has taken it, or has opened it itself.
    pub(crate) is_open: bool,
    /// What the two can say to each other.
    pub(crate) client: ClientType,
    /// What waits until it is open.
    pub(crate) waiting: VecDeque<Pending>,
    /// Of a channel of ours that is not open: what it offers, our login id on it.
    pub(crate) offered: Option<(KeyPair, [u8; 5])>,
    cipher: Option<(Encryptor, Decryptor)>,
    /// Parts of a text, of one kind.
    parts: Option<(u32, Vec<u8>)>,
    /// Above the next text.
    pub(crate) subject: Option<Plain>,
    /// When something was last said; of one that is not open, when it was opened.
    pub(crate) used: Instant,
}

impl Conversation {
    pub(crate) fn new(with: Address, client: ClientType, now: Instant) -> Self {
        Self {
            with,
            is_open: false,
            client,
            waiting: VecDeque::new(),
            offered: None,
            cipher: None,
            parts: None,
            subject: None,
            used: now,
        }
    }

    /// From here on both sides encrypt, under these keys.
    pub(crate) fn encrypt(&mut self, to_client: &[u8], from_client: &[u8]) {
        self.cipher = Some((Encryptor::new(to_client), Decryptor::new(from_client)));
    }

    /// The message that says something on this channel.
    pub(crate) fn say(&mut self, channel: u32, said: &Said) -> Message {
        let plain = said.write();
        let (options, payload) = match &mut self.cipher {
            Some((to_client, _)) => (Message::ENCRYPTED, to_client.encrypt(&plain)),
            None => (0, plain),
        };
        Message { options, ..Message::new(channel, Body::Send { kind: SEND_SAID, payload }) }
    }

    /// What the client has said; `None`: it is part of something that is not complete.
    ///
    /// # Errors
    /// [`Malformed`], also for what cannot be decrypted, and for more parts than a text may have.
    pub(crate) fn hear(&mut self, is_encrypted: bool, payload: &[u8]) -> Result<Option<Said>, Malformed> {
        let said = match (&mut self.cipher, is_encrypted) {
            (Some((_, from_client)), true) => Said::read(&from_client.decrypt(payload)?)?,
            (None, true) => return Err(Malformed { expected: "no encryption" }),
            // A client may leave it out, and does so towards external people.
            (_, false) => Said::read(payload)?,
        };
        match (said, &mut self.parts) {
            (Said::Data { kind: data::PARTS, .. }, _) => {
                self.parts = Some((0, Vec::new()));
                Ok(None)
            }
            (Said::Data { kind: data::PARTS_END, .. }, parts) => {
                Ok(parts.take().filter(|(kind, _)| *kind != 0).map(|(kind, whole)| Said::data(kind, 0, whole)))
            }
            (Said::Data { kind: kind @ (data::HTML | data::MIME), data, .. }, Some((of, whole))) => {
                *of = kind;
                if whole.len() + data.len() > limits::TEXT {
                    self.parts = None;
                    return Err(Malformed { expected: "a shorter text" });
                }
                whole.extend_from_slice(&data);
                Ok(None)
            }
            (said, _) => Ok(Some(said)),
        }
    }
}
