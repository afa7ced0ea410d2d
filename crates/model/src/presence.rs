//! Presence: how somebody can be reached, and who may see it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::millis::optional as optional_millis;
use crate::{Device, Native, Plain};

/// Who may see whose presence. The *watcher* sees, the *presentity* is seen (RFC 2778). What is allowed one way says nothing of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watch {
    /// The watcher asks to see. From the watcher to the presentity (XMPP `subscribe`, the first SIP SUBSCRIBE).
    Ask,
    /// The presentity allows it. From the presentity to the watcher (`subscribed`, NOTIFY `active`).
    Allow,
    /// The presentity refuses it, or takes it back (`unsubscribed`, NOTIFY `terminated;reason=rejected`).
    Refuse,
    /// The watcher wants to see no more. From the watcher to the presentity (`unsubscribe`).
    Stop,
    /// The watcher asks for the present state. From the watcher to the presentity; not stored (`probe`).
    Fetch,
}

impl Watch {
    /// Whether it is stored until it is delivered.
    #[must_use]
    pub const fn is_durable(self) -> bool {
        !matches!(self, Watch::Fetch)
    }

    /// Whether it goes from the watcher to the presentity.
    #[must_use]
    pub const fn is_from_watcher(self) -> bool {
        matches!(self, Watch::Ask | Watch::Stop | Watch::Fetch)
    }
}

/// How somebody can be reached, told to one who may see it.
///
/// From an adapter to the broker: with the envelope's `from_device`, what that one device says, and nothing of the others (`devices` holds at
/// most that one; none: it has gone offline); without it, all there is to say. From the broker to an adapter always all there is to say, and
/// never a `from_device`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Presence {
    /// Every device that is not offline, at most [`Presence::MOST_DEVICES`]. None, of somebody whose state is known: offline.
    pub devices: Vec<DevicePresence>,
    /// Nothing is known of the person's state: their server cannot be reached. Then there are no devices.
    #[serde(default)]
    pub is_unknown: bool,
    /// From the broker: devices that this watcher was shown before, and that are offline or unknown now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Device>,
}

/// What one device says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePresence {
    /// Its name, where the platform told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Its state; never [`PresenceState::Offline`] or [`PresenceState::Unknown`].
    pub state: PresenceState,
    /// What the person has said about it, at most [`DevicePresence::LONGEST_NOTE`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Plain>,
    /// Which of several devices is preferred (RFC 6121 §4.7.2.3); a negative one is for no messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i8>,
    /// Since when nobody has touched it (XEP-0319).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_millis")]
    pub idle_since: Option<SystemTime>,
    /// The same in the words of its platform. From an adapter to the broker it may stand in the envelope instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
}

/// How one can be reached, in the order in which the state of one device stands for the person: the first wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresenceState {
    /// Shows something to others; not to be disturbed.
    Presenting,
    /// Not to be disturbed.
    DoNotDisturb,
    /// Speaks on the telephone.
    InCall,
    /// Here, and would like to talk.
    Free,
    /// Here.
    Available,
    /// Has other things to do.
    Busy,
    /// In a meeting.
    InMeeting,
    /// Here a moment ago.
    Idle,
    /// Back soon.
    BeRightBack,
    /// Not here.
    Away,
    /// Not here for long.
    LongAway,
    /// Nothing is known.
    Unknown,
    /// Not signed in.
    Offline,
}

impl PresenceState {
    /// Every state, for tables and tests that must be complete.
    pub const ALL: [PresenceState; 13] = [
        PresenceState::Presenting,
        PresenceState::DoNotDisturb,
        PresenceState::InCall,
        PresenceState::Free,
        PresenceState::Available,
        PresenceState::Busy,
        PresenceState::InMeeting,
        PresenceState::Idle,
        PresenceState::BeRightBack,
        PresenceState::Away,
        PresenceState::LongAway,
        PresenceState::Unknown,
        PresenceState::Offline,
    ];

    /// The stable label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            PresenceState::Presenting => "presenting",
            PresenceState::DoNotDisturb => "do-not-disturb",
            PresenceState::InCall => "in-call",
            PresenceState::Free => "free",
            PresenceState::Available => "available",
            PresenceState::Busy => "busy",
            PresenceState::InMeeting => "in-meeting",
            PresenceState::Idle => "idle",
            PresenceState::BeRightBack => "be-right-back",
            PresenceState::Away => "away",
            PresenceState::LongAway => "long-away",
            PresenceState::Unknown => "unknown",
            PresenceState::Offline => "offline",
        }
    }
}

impl DevicePresence {
    /// The longest note, in bytes (shared by SIP and OCS clients).
    pub const LONGEST_NOTE: usize = 512;

    /// A device of which only the state is known.
    #[must_use]
    pub const fn new(device: Option<Device>, state: PresenceState) -> Self {
        Self { device, state, note: None, priority: None, idle_since: None, native: None }
    }
}

impl Presence {
    /// The most devices of one person; of more the best are kept.
    pub const MOST_DEVICES: usize = 32;

    /// Nothing is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self { is_unknown: true, ..Self::default() }
    }

    /// Somebody with one device, or with a platform that does not tell devices apart.
    #[must_use]
    pub fn of(device: DevicePresence) -> Self {
        Self { devices: vec![device], ..Self::default() }
    }

    /// The device whose state stands for the person's: the first state in the order of [`PresenceState`], then the highest priority, then
    /// the one that is named first. Devices with a negative priority count, since they are here. `None`: offline or unknown.
    #[must_use]
    pub fn best(&self) -> Option<&DevicePresence> {
        let rank = |device: &&DevicePresence| (device.state, std::cmp::Reverse(device.priority.unwrap_or(0)));
        self.devices.iter().min_by_key(rank)
    }

    /// The person's state.
    #[must_use]
    pub fn state(&self) -> PresenceState {
        match self.best() {
            _ if self.is_unknown => PresenceState::Unknown,
            Some(device) => device.state,
            None => PresenceState::Offline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, state: PresenceState, priority: i8) -> DevicePresence {
        DevicePresence { priority: Some(priority), ..DevicePresence::new(Device::new(name), state) }
    }

    #[test]
    fn case_58_the_state_of_several_devices() {
        let both = Presence {
            devices: vec![device("a", PresenceState::Away, 5), device("b", PresenceState::DoNotDisturb, 0)],
            ..Presence::default()
        };
        assert_eq!(both.state(), PresenceState::DoNotDisturb);
        assert_eq!(Presence::of(both.devices[0].clone()).state(), PresenceState::Away);
        assert_eq!(Presence::default().state(), PresenceState::Offline);
        assert_eq!(Presence::unknown().state(), PresenceState::Unknown);
        let equal = Presence {
            devices: vec![device("a", PresenceState::Available, -1), device("b", PresenceState::Available, 7)],
            ..Presence::default()
        };
        assert_eq!(equal.best().and_then(|best| best.device.clone()), Device::new("b"));
    }

    #[test]
    fn states_have_distinct_labels_that_are_stored() {
        for state in PresenceState::ALL {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.label()));
        }
    }
}
