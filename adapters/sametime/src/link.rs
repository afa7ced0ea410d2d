//! Links: whose people sign in, and what is kept for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use interchange_adapter::Output;
use interchange_model::{Address, Domain, LinkId, Up};
use sha2::{Digest, Sha256};

use crate::codec::Privacy;
use crate::limits;
use crate::settings::LinkSettings;

/// One link.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) domains: Vec<Domain>,
    pub(crate) settings: LinkSettings,
    pub(crate) memory: Memory,
}

impl Link {
    pub(crate) fn first_domain(&self) -> Option<&Domain> {
        self.domains.first()
    }
}

/// What is kept for the people of a link, also over a restart of the hub.
#[derive(Default)]
pub(crate) struct Memory {
    /// What was kept before is known.
    pub(crate) is_known: bool,
    people: HashMap<String, Kept>,
    bytes: usize,
}

#[derive(Default)]
struct Kept {
    values: BTreeMap<u32, Vec<u8>>,
    privacy: Option<Privacy>,
    bytes: usize,
    /// Their client has been here before the start, and not since.
    is_away_since_start: bool,
}

impl Memory {
    /// Takes up what was kept before. Entries of another version are left alone.
    pub(crate) fn recalled(&mut self, entries: Vec<(Arc<str>, Vec<u8>)>) {
        self.is_known = true;
        for (name, value) in entries {
            let mut words = name.split(':');
            match (words.next(), words.next(), words.next()) {
                (Some("value"), Some(person), Some(key)) => {
                    if let Ok(key) = u32::from_str_radix(key, 16) {
                        let kept = self.people.entry(person.to_owned()).or_default();
                        kept.is_away_since_start = true;
                        kept.bytes += value.len();
                        self.bytes += value.len();
                        kept.values.insert(key, value);
                    }
                }
                (Some("privacy"), Some(person), None) => {
                    if let Ok(privacy) = Privacy::from_bytes(&value) {
                        let kept = self.people.entry(person.to_owned()).or_default();
                        kept.is_away_since_start = true;
                        kept.privacy = Some(privacy);
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether something is kept for somebody: then they have been here.
    pub(crate) fn knows(&self, person: &Address) -> bool {
        self.people.contains_key(&name(person))
    }

    /// Whether somebody was here before the hub started and may be about to come back.
    pub(crate) fn may_return(&self, person: &Address) -> bool {
        self.people.get(&name(person)).is_some_and(|kept| kept.is_away_since_start)
    }

    /// Somebody has come back.
    pub(crate) fn is_back(&mut self, person: &Address) {
        if let Some(kept) = self.people.get_mut(&name(person)) {
            kept.is_away_since_start = false;
        }
    }

    pub(crate) fn value(&self, person: &Address, key: u32) -> Option<&Vec<u8>> {
        self.people.get(&name(person))?.values.get(&key)
    }

    pub(crate) fn privacy(&self, person: &Address) -> Privacy {
        self.people.get(&name(person)).and_then(|kept| kept.privacy.clone()).unwrap_or_default()
    }

    /// Keeps a value. Whether there was room.
    pub(crate) fn keep(&mut self, link: &LinkId, person: &Address, key: u32, value: Vec<u8>, out: &mut Vec<Output>) -> bool {
        let name = name(person);
        let kept = self.people.entry(name.clone()).or_default();
        let before = kept.values.get(&key).map_or(0, Vec::len);
        let more = value.len().saturating_sub(before);
        let is_new = !kept.values.contains_key(&key);
        if value.len() > limits::KEPT_VALUE
            || kept.bytes + more > limits::KEPT_OF_ONE
            || is_new && kept.values.len() >= limits::KEPT_KEYS
            || self.bytes + more > limits::KEPT_OF_LINK
        {
            return false;
        }
        kept.bytes = kept.bytes + value.len() - before;
        self.bytes = self.bytes + value.len() - before;
        if kept.values.get(&key) != Some(&value) {
            remember(link, format!("value:{name}:{key:x}"), value.clone(), out);
            kept.values.insert(key, value);
        }
        true
    }

    /// Keeps who may see somebody.
    pub(crate) fn keep_privacy(&mut self, link: &LinkId, person: &Address, privacy: Privacy, out: &mut Vec<Output>) {
        let name = name(person);
        let kept = self.people.entry(name.clone()).or_default();
        if kept.privacy.as_ref() != Some(&privacy) {
            let bytes = privacy.to_bytes();
            if bytes.len() <= limits::KEPT_VALUE {
                remember(link, format!("privacy:{name}"), bytes, out);
            }
            kept.privacy = Some(privacy);
        }
    }
}

fn remember(link: &LinkId, key: String, value: Vec<u8>, out: &mut Vec<Output>) {
    out.push(Output::Broker(Up::Remember { link: link.clone(), key: key.into(), value: Some(value) }));
}

/// A name for somebody that is short, whatever theirs is, and always the same.
fn name(person: &Address) -> String {
    let mut hash = Sha256::new();
    hash.update(person.user_key().as_bytes());
    hash.update([0]);
    hash.update(person.domain().as_str().as_bytes());
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
