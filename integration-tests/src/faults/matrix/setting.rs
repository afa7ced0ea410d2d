//! How a stage is set: what is under the hub, who is linked, and what they say.

use super::hub_process::Launch;
use super::ledger::Conversation;
use super::load::Plan;

/// What keeps the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// The hub's own.
    Embedded,
    /// One RabbitMQ.
    RabbitMq,
    /// Three nodes of RabbitMQ.
    Cluster,
}

/// The companies of a run, platform and domain: two of each platform.
pub const COMPANIES: &[(&str, &str)] =
    &[("xmpp", "acme.example"), ("xmpp", "initech.example"), ("sip", "globex.example"), ("sip", "umbrella.example")];

/// Those of [`COMPANIES`] whose links are broken: one of each platform.
pub const BROKEN: [usize; 2] = [1, 2];

/// How a stage is set.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How many hubs; the second is there to take over.
    pub hubs: usize,
    /// What is added to the end of the configuration: settings of the last link, or tables of their own.
    pub configuration: String,
    /// How the hubs are started the first time.
    pub launch: Launch,
    /// The peers choke on poison.
    pub poison: bool,
    /// The load.
    pub plan: Plan,
}

impl Default for Setting {
    fn default() -> Self {
        Self { hubs: 1, configuration: String::new(), launch: Launch::default(), poison: false, plan: Plan::default() }
    }
}

impl Setting {
    /// Conversations of each company with each other, in turn.
    pub(super) fn conversations(&self) -> Vec<Conversation> {
        let companies = COMPANIES.len();
        let pairs: Vec<(usize, usize)> =
            (0..companies).flat_map(|from| (0..companies).map(move |to| (from, to))).filter(|(from, to)| from != to).collect();
        let page = |(number, &(from, to)): (usize, &(usize, usize))| {
            let address = |company: usize, name: &str| format!("{name}{number}@{}", COMPANIES[company].1);
            Conversation::new(from, to, address(from, "alice"), address(to, "bob"))
        };
        (0..self.plan.conversations).zip(pairs.iter().cycle()).map(page).collect()
    }
}
