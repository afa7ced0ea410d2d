//! One firm of the demonstration: its server, and its people.
//!
//! The server is the platform's own adapter in the other role: for it the hub is the partner that serves everybody
//! else. Above it, instead of a broker, stands a script: people who answer what they are told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use interchange_model::{Address, Body, DeliveryId, Domain, Down, Envelope, Link, LinkId, MessageId, Outcome, Refusal, Text, Up};
use rand::Rng;
use tokio::sync::mpsc;

use super::script::{CONVERSATIONS, Firm};

/// The name a firm gives its only link.
const HUB_LINK: &str = "hub";

/// What the people of a firm need to talk.
pub(super) struct Company {
    firm: &'static Firm,
    domain: Domain,
    /// To the firm's adapter.
    down: mpsc::Sender<Down>,
    /// Sends on the way, with what is wanted next of them.
    sent: HashMap<DeliveryId, Address>,
    deliveries: u64,
}

/// The link that leads from a firm to the hub, and what the firm stands for.
pub(super) fn link(
    firm: &Firm,
    platform: interchange_model::PlatformName,
    reached: &[Domain],
    settings: interchange_model::Settings,
) -> Down {
    let own = Domain::parse(firm.domain).expect("domains of the script are valid");
    let link = Link {
        id: LinkId::from(HUB_LINK),
        member: "hub".into(),
        platform,
        domains: reached.iter().filter(|domain| **domain != own).cloned().collect(),
        pace: interchange_model::Pace::default(),
        settings,
    };
    Down::Links { links: Arc::from([link]), hosted: Arc::new(HashSet::from([own])) }
}

impl Company {
    pub(super) fn new(firm: &'static Firm, down: mpsc::Sender<Down>) -> Self {
        let domain = Domain::parse(firm.domain).expect("domains of the script are valid");
        Self { firm, domain, down, sent: HashMap::new(), deliveries: 0 }
    }

    /// Runs until the adapter is gone: says what `openings` names, and answers what arrives.
    pub(super) async fn run(mut self, mut up: mpsc::Receiver<Up>, mut openings: mpsc::Receiver<usize>) {
        loop {
            tokio::select! {
                word = up.recv() => match word {
                    Some(word) => self.hear(word).await,
                    None => return,
                },
                Some(conversation) = openings.recv() => {
                    let conversation = &CONVERSATIONS[conversation];
                    self.say(conversation.first, conversation.second, conversation.lines[0]).await;
                }
            }
        }
    }

    async fn hear(&mut self, word: Up) {
        match word {
            Up::Submit { token, link, envelope } => {
                let known = self.firm.people.iter().any(|person| *person == envelope.to.user_key());
                let result = if known { Ok(()) } else { Err(Refusal::NoSuchUser) };
                let _ = self.down.send(Down::Submitted { token, result }).await;
                if known {
                    // The person has read it at once: a SIP server then says 200 and not 202.
                    let _ = self.down.send(Down::Delivered { link, id: envelope.id }).await;
                    self.answer(&envelope).await;
                }
            }
            Up::Settle { delivery, outcome, .. } => {
                // A person whose server is away tries again at the next opening; the hub's own view tells the rest.
                if self.sent.remove(&delivery).is_some() && outcome == Outcome::LinkDown {
                    tracing::debug!(firm = self.firm.id, "the hub is away");
                }
            }
            Up::Health { .. }
            | Up::Refused { .. }
            | Up::Relay { .. }
            | Up::Here { .. }
            | Up::Tell { .. }
            | Up::Recall { .. }
            | Up::Remember { .. } => {}
        }
    }

    /// The next line of the conversation that this message belongs to, if there is one.
    async fn answer(&mut self, envelope: &Envelope) {
        let Body::Text(text) = &envelope.body else { return };
        let (from, to) = (envelope.to.to_string(), envelope.from.to_string());
        let pair = |first: &str, second: &str| (first == from && second == to) || (first == to && second == from);
        let Some(conversation) = CONVERSATIONS.iter().find(|talk| pair(talk.first, talk.second)) else { return };
        let said = conversation.lines.iter().position(|line| *line == text.plain.as_str());
        if let Some(line) = said.and_then(|at| conversation.lines.get(at + 1)) {
            self.say(&from, &to, line).await;
        }
    }

    async fn say(&mut self, from: &str, to: &str, line: &str) {
        let (Ok(from), Ok(to)) = (Address::parse(from), Address::parse(to)) else { return };
        debug_assert_eq!(from.domain(), &self.domain);
        self.deliveries += 1;
        let delivery = DeliveryId(self.deliveries);
        let envelope = Envelope {
            id: MessageId::new(SystemTime::now(), rand::rng().next_u64().into()),
            origin: LinkId::from(self.firm.id),
            from,
            from_device: None,
            to: to.clone(),
            to_device: None,
            native_id: None,
            accepted: SystemTime::now(),
            hops: Envelope::FULL_HOPS,
            native: None,
            body: Body::Text(Text { plain: line.into(), ..Text::default() }),
        };
        self.sent.insert(delivery, to);
        let _ = self.down.send(Down::Deliver { link: HUB_LINK.into(), delivery, envelope: Arc::new(envelope) }).await;
    }
}
