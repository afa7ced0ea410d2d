//! What is known of a connection, and of somebody who has signed in on it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use interchange_adapter::{Alarm, Transport};
use interchange_model::{Address, DevicePresence, Domain, LinkId};

use crate::cipher::KeyPair;
use crate::codec::{AwareId, HandshakeAck, Stream, UserStatus, WireString};
use crate::conversation::{Conversation, Pending};
use crate::ids;
use crate::limits::{self, Bucket};

/// One connection.
pub(crate) struct Conn {
    pub(crate) peer: SocketAddr,
    pub(crate) local_port: u16,
    pub(crate) transport: Transport,
    pub(crate) stream: Stream,
    pub(crate) state: State,
    pub(crate) alarm: Alarm,
    pub(crate) opened: Instant,
    /// When the last bytes came.
    pub(crate) heard: Instant,
    /// Since when a frame is not whole.
    pub(crate) partial: Option<Instant>,
    /// All that it says.
    pub(crate) messages: Bucket,
}

/// What a connection may do next.
pub(crate) enum State {
    /// Its TLS handshake is under way.
    Securing,
    /// A handshake is awaited.
    Greeting,
    /// It has our key; a login is awaited.
    Proving(Box<Proving>),
    /// It has said who it is, and was sent elsewhere; that it goes, or would rather stay, is awaited.
    Redirected(Box<Redirected>),
    /// It has said who it is; what is kept for its link, or the judgement, is awaited. Nothing may come meanwhile.
    Judging(Box<Attempt>),
    /// Somebody has signed in.
    In(Box<Session>),
    /// It ends.
    Over,
}

/// What opens the login.
pub(crate) struct Proving {
    pub(crate) pair: KeyPair,
    pub(crate) magic: u32,
    /// What it was answered.
    pub(crate) ack: HandshakeAck,
}

/// Somebody who was sent elsewhere.
pub(crate) struct Redirected {
    pub(crate) attempt: Attempt,
    /// To be said again before it is let in: the library takes no login otherwise.
    pub(crate) ack: HandshakeAck,
}

/// Somebody wants to sign in.
pub(crate) struct Attempt {
    pub(crate) link: LinkId,
    /// Theirs: the one they typed, or the link's first.
    pub(crate) domain: Domain,
    pub(crate) login_type: u16,
    /// How the password was wrapped: 2 or 4.
    pub(crate) auth_type: u16,
    /// Name and password, until they can be judged.
    pub(crate) proof: Option<(String, interchange_adapter::Password)>,
}

/// What a channel leads to.
pub(crate) enum Channel {
    Awareness,
    Resolve,
    Storage,
    Conversation(Box<Conversation>),
}

/// Something that was said to the client, of which it is not known whether it has it.
pub(crate) struct Sent {
    pub(crate) number: u64,
    pub(crate) channel: u32,
    pub(crate) pending: Pending,
}

/// A question that the client must answer when it has all that was said before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) channel: u32,
    /// What was said up to here.
    pub(crate) upto: u64,
    pub(crate) since: Instant,
}

/// Somebody who has signed in, on one connection.
pub(crate) struct Session {
    pub(crate) link: LinkId,
    pub(crate) person: Address,
    pub(crate) login_id: WireString,
    pub(crate) login_type: u16,
    /// As the client has said it.
    pub(crate) status: UserStatus,
    /// The same in the hub's words; `None`: shown as not here.
    pub(crate) presence: Option<DevicePresence>,
    pub(crate) channels: HashMap<u32, Channel>,
    /// The channel to speak to somebody on.
    pub(crate) conversations: HashMap<Address, u32>,
    pub(crate) last_channel: u32,
    /// Whom the client wants to see, in its own spellings.
    pub(crate) contacts: HashMap<Address, Vec<AwareId>>,
    pub(crate) contact_count: usize,
    /// How the client has spelled those it wrote to.
    pub(crate) spellings: HashMap<Address, WireString>,
    pub(crate) sent: VecDeque<Sent>,
    pub(crate) last_sent: u64,
    pub(crate) probe: Option<Probe>,
    pub(crate) submissions: usize,
    pub(crate) questions: HashSet<u64>,
    /// People to whom nothing can be sent now, until when and why.
    pub(crate) refused: HashMap<Address, (Instant, u32)>,
    /// New channels, and questions whether a service is there.
    pub(crate) creates: Bucket,
    /// Since when an answer to the oldest channel of ours is awaited.
    pub(crate) opening: Option<Instant>,
}

impl Session {
    /// The number of the next channel of ours: its top bit must be set.
    pub(crate) fn next_channel(&mut self) -> u32 {
        loop {
            self.last_channel = self.last_channel.wrapping_add(1) & 0x7fff_ffff;
            let channel = self.last_channel | 0x8000_0000;
            if !self.channels.contains_key(&channel) {
                return channel;
            }
        }
    }

    /// How the client spells somebody: as in its contact list, else as it wrote to them.
    pub(crate) fn spelling(&self, of: &Address, own: &[Domain]) -> WireString {
        if let Some(id) = self.contacts.get(of).and_then(|ids| ids.first()) {
            return id.user.clone();
        }
        match self.spellings.get(of) {
            Some(spelling) => spelling.clone(),
            None if own.contains(of.domain()) => ids::of_own(of, own),
            None => ids::of_external(of),
        }
    }

    /// Remembers how the client has spelled somebody.
    pub(crate) fn note_spelling(&mut self, of: &Address, spelling: &WireString) {
        if self.spellings.len() >= limits::CONVERSATIONS {
            let used = &self.conversations;
            self.spellings.retain(|known, _| used.contains_key(known));
        }
        if self.spellings.len() < limits::CONVERSATIONS {
            self.spellings.insert(of.clone(), spelling.clone());
        }
    }

    pub(crate) fn conversation(&mut self, channel: u32) -> Option<&mut Conversation> {
        match self.channels.get_mut(&channel) {
            Some(Channel::Conversation(conversation)) => Some(conversation),
            _ => None,
        }
    }

    pub(crate) fn services(&self) -> usize {
        self.channels.values().filter(|channel| !matches!(channel, Channel::Conversation(_))).count()
    }

    pub(crate) fn awareness(&self) -> Option<u32> {
        // The youngest: a client that has opened another reads that one.
        self.channels.iter().filter(|(_, channel)| matches!(channel, Channel::Awareness)).map(|(id, _)| *id).max()
    }
}

impl Conn {
    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::In(session) => Some(session),
            _ => None,
        }
    }

    /// When it must be looked at again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let partial = self.partial.map(|since| since + limits::PATIENCE);
        match &self.state {
            // The driver and the directory answer in less.
            State::Securing | State::Greeting | State::Proving(_) | State::Redirected(_) | State::Judging(_) => {
                partial.into_iter().chain([self.opened + limits::PATIENCE]).min()
            }
            State::In(session) => {
                let asked = session.probe.map(|probe| probe.since + limits::PATIENCE);
                let opening = session.opening.map(|since| since + limits::PATIENCE);
                [partial, asked, opening, Some(self.heard + limits::SILENCE)].into_iter().flatten().min()
            }
            State::Over => None,
        }
    }
}
