//! What a restart of the hub must not lose of a dialog of presence: it goes on under its old Call-ID and rising CSeq.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use interchange_adapter::{Now, Output};
use interchange_model::{Address, LinkId, Up};
use ocs_codec::presence::Form;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use sip_stack::{Dialog, Parts};

use super::watched::Notifier;
use super::watching::Subscription;
use super::{EXPIRES, Key, Plan};
use crate::Ocs;

/// CSeq numbers that may be used before a dialog is kept anew.
const RESERVE: u32 = 50;
/// Within this time after a restart all subscriptions are refreshed.
const REFRESHED_WITHIN: Duration = Duration::from_secs(20);
const PREFIX: &str = "presence ";

/// One dialog. The form is a contract with what an older version has written.
#[derive(Serialize, Deserialize)]
struct Kept {
    watcher: Address,
    presentity: Address,
    /// Of a notifier: the media type of its documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    form: Option<String>,
    /// Granted.
    allowed: bool,
    /// Seconds since 1970.
    expires: u64,
    call_id: String,
    tag: String,
    sequence: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dialog: Option<KeptDialog>,
}

#[derive(Serialize, Deserialize)]
struct KeptDialog {
    local: String,
    remote: String,
    remote_sequence: Option<u32>,
    target: String,
    routes: Vec<String>,
}

impl Kept {
    fn dialog(&self) -> Option<Dialog> {
        let dialog = self.dialog.as_ref()?;
        let parts = Parts {
            call_id: self.call_id.clone(),
            local: dialog.local.clone(),
            remote: dialog.remote.clone(),
            local_sequence: self.sequence,
            remote_sequence: dialog.remote_sequence,
            target: dialog.target.clone(),
            routes: dialog.routes.clone(),
        };
        Dialog::of_parts(&parts).ok()
    }
}

fn of_dialog(dialog: &Dialog) -> KeptDialog {
    let Parts { local, remote, remote_sequence, target, routes, .. } = dialog.parts();
    KeptDialog { local, remote, remote_sequence, target, routes }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Ocs {
    /// Keeps a subscription as it is now.
    pub(super) fn keep_subscription(&mut self, now: Now, key: Key) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&key) else { return };
        let used = subscription.dialog.as_ref().map_or(subscription.sequence, Dialog::local_sequence);
        subscription.reserved = used + RESERVE;
        let kept = Kept {
            watcher: subscription.pair.0.clone(),
            presentity: subscription.pair.1.clone(),
            form: None,
            allowed: subscription.is_allowed,
            expires: seconds(now.wall) + u64::from(EXPIRES),
            call_id: subscription.call_id.clone(),
            tag: subscription.tag.clone(),
            sequence: subscription.reserved,
            dialog: subscription.dialog.as_ref().map(of_dialog),
        };
        let link = subscription.link.clone();
        self.remember_dialog(link, key, Some(&kept));
    }

    /// Keeps a notifier as it is now.
    pub(super) fn keep_notifier(&mut self, now: Now, key: Key) {
        let Some(notifier) = self.presence.notifiers.get_mut(&key) else { return };
        notifier.reserved = notifier.dialog.local_sequence() + RESERVE;
        let left = notifier.expires.saturating_duration_since(now.instant);
        let (kind, subtype) = notifier.form.media_type();
        let kept = Kept {
            watcher: notifier.pair.0.clone(),
            presentity: notifier.pair.1.clone(),
            form: Some(format!("{kind}/{subtype}")),
            allowed: notifier.is_active,
            expires: seconds(now.wall + left),
            call_id: notifier.dialog.parts().call_id,
            tag: String::new(),
            sequence: notifier.reserved,
            dialog: Some(of_dialog(&notifier.dialog)),
        };
        let link = notifier.link.clone();
        self.remember_dialog(link, key, Some(&kept));
    }

    /// A dialog is over.
    pub(super) fn forget_dialog(&mut self, link: LinkId, key: Key) {
        self.remember_dialog(link, key, None);
    }

    fn remember_dialog(&mut self, link: LinkId, key: Key, kept: Option<&Kept>) {
        let value = kept.and_then(|kept| serde_json::to_vec(kept).ok());
        self.out.push(Output::Broker(Up::Remember { link, key: format!("{PREFIX}{:016x}", key.0).into(), value }));
    }

    /// One entry of what was kept for a link. `None`: it is of no use.
    pub(crate) fn restore_presence(&mut self, now: Now, link: &LinkId, entry: &Arc<str>, value: &[u8]) -> Option<()> {
        let key = entry.strip_prefix(PREFIX).and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(Key)?;
        let kept: Kept = serde_json::from_slice(value).ok()?;
        match kept.form.as_deref().map(Form::of_media) {
            None => self.restore_subscription(now, link, key, kept),
            Some(form) => self.restore_notifier(now, link, key, kept, form?),
        }
    }

    fn restore_subscription(&mut self, now: Now, link: &LinkId, key: Key, kept: Kept) -> Option<()> {
        let dialog = kept.dialog();
        let pair = (kept.watcher, kept.presentity);
        if self.presence.by_pair.contains_key(&pair) {
            return None;
        }
        let mut subscription = Subscription::new(link.clone(), pair, kept.call_id, kept.tag);
        subscription.is_allowed = kept.allowed;
        subscription.sequence = kept.sequence;
        subscription.reserved = kept.sequence;
        subscription.dialog = dialog;
        self.add_subscription(key, subscription);
        let spread = self.random.random_range(0.0..1.0);
        self.plan_subscribe(now, key, now.instant + REFRESHED_WITHIN.mul_f64(spread));
        Some(())
    }

    fn restore_notifier(&mut self, now: Now, link: &LinkId, key: Key, kept: Kept, form: Form) -> Option<()> {
        let left = (UNIX_EPOCH + Duration::from_secs(kept.expires)).duration_since(now.wall).unwrap_or_default();
        let dialog = kept.dialog()?;
        let expires = now.instant + left.min(Duration::from_secs(EXPIRES.into()));
        let mut notifier = Notifier::new(link.clone(), (kept.watcher, kept.presentity), dialog, form, expires);
        notifier.is_active = kept.allowed;
        notifier.reserved = kept.sequence;
        self.presence.plan(expires, Plan::Expire(key));
        self.add_notifier(key, notifier);
        Some(())
    }
}
