//! People of the links: who is signed in, who sees them, whom they see.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use interchange_adapter::ConnId;
use interchange_model::{Address, DisplayName, Domain, LinkId, Presence};

use crate::codec::Privacy;
use crate::ids;

/// Somebody of a link: signed in, or seen by somebody.
pub(crate) struct Person {
    pub(crate) link: LinkId,
    pub(crate) name: Option<DisplayName>,
    /// Oldest first.
    pub(crate) logins: Vec<ConnId>,
    /// Who sees them: people of other links with a watch that was granted, and colleagues.
    pub(crate) watchers: HashSet<Address>,
    pub(crate) hidden: Hidden,
    /// Whom they see, while they are signed in.
    pub(crate) contacts: HashMap<Address, Contact>,
    /// When their state was last told.
    pub(crate) told: Option<Instant>,
    /// It is to be told again.
    pub(crate) is_planned: bool,
}

impl Person {
    pub(crate) fn new(link: LinkId) -> Self {
        Self {
            link,
            name: None,
            logins: Vec::new(),
            watchers: HashSet::new(),
            hidden: Hidden::default(),
            contacts: HashMap::new(),
            told: None,
            is_planned: false,
        }
    }

    /// Nothing of them needs to be known.
    pub(crate) fn is_idle(&self) -> bool {
        self.logins.is_empty() && self.watchers.is_empty()
    }
}

/// Who may not see somebody.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    /// Everybody but those listed.
    all_but: bool,
    listed: HashSet<Address>,
}

impl Hidden {
    /// From a privacy list; ids that nobody can have are of no meaning.
    pub(crate) fn new(privacy: &Privacy, own: &Domain) -> Self {
        let listed = privacy.users.iter().filter_map(|user| ids::to_address(&user.user, own)).collect();
        Self { all_but: !privacy.deny, listed }
    }

    pub(crate) fn from(&self, viewer: &Address) -> bool {
        self.listed.contains(viewer) != self.all_but
    }
}

/// Somebody whom a person sees.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    pub(crate) stage: Stage,
    /// What is known of them.
    pub(crate) known: Option<Presence>,
    /// In how many entries of all logins.
    pub(crate) entries: usize,
}

/// How far it is with a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    /// Nobody is asked: a colleague, or somebody whom the hub does not know how to reach.
    #[default]
    Idle,
    /// It is to be asked for, in its turn.
    Planned,
    /// The state is asked for, as if the watch were there.
    Fetching,
    /// There was none: the contact is asked.
    Asked,
    /// The contact allows it.
    Granted,
    /// The contact does not.
    Refused,
}
