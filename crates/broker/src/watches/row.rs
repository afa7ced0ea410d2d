//! One watch, and what is known of its presentity.

use std::time::SystemTime;

use interchange_model::{Address, Device, DevicePresence, Envelope, Presence};
use interchange_registry::WatchState;
use tokio::time::Instant;

use super::Pair;

/// One watch.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) watcher: Address,
    pub(super) presentity: Address,
    pub(super) state: WatchState,
    /// When it became so, or was last asked.
    pub(super) since: SystemTime,
    /// Every device that is not offline; `None`: nothing is known.
    devices: Option<Vec<DevicePresence>>,
    /// Devices of before a link was away, of which nothing was heard since.
    doubtful: Vec<Device>,
    /// When they are gone.
    settles: Option<Instant>,
    /// Devices by name that the watcher was shown and not told to be gone.
    shown: Vec<Device>,
    /// The two have no leave to meet now; the watch stands for when they have.
    pub(super) barred: bool,
    /// There is something that the watcher was not told.
    pub(super) changed: bool,
    /// A word to the watcher is planned.
    pub(super) planned: bool,
    /// When the watcher was last told anything; `None`: not since the hub has started.
    pub(super) told_at: Option<Instant>,
    /// When the state was last asked for.
    pub(super) fetched: Option<Instant>,
}

impl Row {
    pub(super) fn new((watcher, presentity): Pair, state: WatchState, since: SystemTime) -> Self {
        Self {
            watcher,
            presentity,
            state,
            since,
            devices: None,
            doubtful: Vec::new(),
            settles: None,
            shown: Vec::new(),
            barred: false,
            changed: false,
            planned: false,
            told_at: None,
            fetched: None,
        }
    }

    /// It stands so from now on.
    pub(super) fn stands(&mut self, state: WatchState, since: SystemTime) {
        if state != WatchState::Granted {
            self.devices = None;
            self.shown.clear();
            self.changed = false;
            self.told_at = None;
        }
        self.fetched = None;
        self.state = state;
        self.since = since;
    }

    /// Whether the presentity's state is known.
    pub(super) fn is_known(&self) -> bool {
        self.devices.is_some()
    }

    /// Takes up what a presentity says. Whether that is news.
    pub(super) fn note(&mut self, envelope: &Envelope, presence: &Presence) -> bool {
        if presence.is_unknown {
            return self.forget();
        }
        let mut devices = match &envelope.from_device {
            // All there is to say.
            None => {
                self.doubtful.clear();
                presence.devices.clone()
            }
            Some(name) => {
                let mut devices = self.devices.clone().unwrap_or_default();
                self.doubtful.retain(|device| device != name);
                devices.retain(|device| device.device.as_ref() != Some(name));
                let native = envelope.native.clone();
                let said = presence.devices.first().cloned();
                devices.extend(said.map(|device| DevicePresence { device: Some(name.clone()), native, ..device }));
                devices
            }
        };
        // The best are kept.
        devices.sort_by_key(|device| (device.state, std::cmp::Reverse(device.priority.unwrap_or(0))));
        devices.truncate(Presence::MOST_DEVICES);
        if self.devices.as_ref() == Some(&devices) {
            return false;
        }
        self.devices = Some(devices);
        self.changed = true;
        true
    }

    /// What is known may not be true any more; until then it is asked for.
    pub(super) fn doubt(&mut self, until: Instant) {
        self.settles = Some(until);
        self.doubtful = self.devices.iter().flatten().filter_map(|device| device.device.clone()).collect();
    }

    /// What nobody has said again is not true any more. Whether that is news.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        // The link was away again since.
        if self.settles.is_none_or(|at| at > now) {
            return false;
        }
        let doubtful = std::mem::take(&mut self.doubtful);
        let Some(devices) = &mut self.devices else { return false };
        let before = devices.len();
        devices.retain(|device| device.device.as_ref().is_none_or(|name| !doubtful.contains(name)));
        let news = devices.len() < before;
        self.changed |= news;
        news
    }

    /// Nothing is known from now on. Whether the watcher has to hear of it: not if that was the last that the watcher was told.
    pub(super) fn forget(&mut self) -> bool {
        if self.devices.take().is_some() || self.told_at.is_none() {
            self.changed = true;
        }
        self.changed
    }

    /// All that the watcher is to be told, which counts as told from here on.
    pub(super) fn tell(&mut self, now: Instant) -> Presence {
        self.changed = false;
        self.told_at = Some(now);
        let devices = self.devices.clone().unwrap_or_default();
        let named: Vec<Device> = devices.iter().filter_map(|device| device.device.clone()).collect();
        let before = std::mem::replace(&mut self.shown, named);
        let gone = before.into_iter().filter(|device| !self.shown.contains(device)).collect();
        Presence { devices, is_unknown: self.devices.is_none(), gone }
    }
}
