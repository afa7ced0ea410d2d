//! What a restart of the hub must not lose of a dialog: it goes on under its old Call-ID and rising CSeq.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use interchange_adapter::{Now, Output};
use interchange_model::{Address, LinkId, Up};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use sip_stack::{Dialog, Parts};

use super::dialect::KeptManner;
use super::notifier::Notifier;
use super::subscriber::{self, Subscription};
use super::{Dialect, EXPIRES, Key, Plan};

/// CSeq numbers that may be used before a dialog is kept anew: a restart leaves out as many at most, which RFC 3261 §12.2.1.1 allows.
const RESERVE: u32 = 50;
/// Within this time after a restart all subscriptions are refreshed.
const REFRESHED_WITHIN: Duration = Duration::from_secs(20);
/// What an entry of the store is called that holds a [`Kept`]: this, and the dialog's key.
const PREFIX: &str = "presence ";

/// One dialog. The form is a contract with what an older version has written.
#[derive(Serialize, Deserialize)]
struct Kept {
    watcher: Address,
    presentity: Address,
    /// Of a notifier.
    #[serde(flatten)]
    manner: Option<KeptManner>,
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

/// Keeps a subscription as it is now.
pub(super) fn keep_subscription<D: Dialect>(host: &mut D, now: Now, key: Key) {
    let Some(subscription) = host.presences().subscriptions.get_mut(&key) else { return };
    subscription.reserved = subscription.used() + RESERVE;
    let kept = Kept {
        watcher: subscription.pair.0.clone(),
        presentity: subscription.pair.1.clone(),
        manner: None,
        allowed: subscription.is_allowed,
        expires: seconds(now.wall) + u64::from(EXPIRES),
        call_id: subscription.call_id.clone(),
        tag: subscription.tag.clone(),
        sequence: subscription.reserved,
        dialog: subscription.dialog.as_ref().map(of_dialog),
    };
    let link = subscription.link.clone();
    remember(host, link, key, Some(&kept));
}

/// Keeps a notifier as it is now.
pub(super) fn keep_notifier<D: Dialect>(host: &mut D, now: Now, key: Key) {
    let Some(notifier) = host.presences().notifiers.get_mut(&key) else { return };
    notifier.reserved = notifier.dialog.local_sequence() + RESERVE;
    let left = notifier.expires.saturating_duration_since(now.instant);
    let kept = Kept {
        watcher: notifier.pair.0.clone(),
        presentity: notifier.pair.1.clone(),
        manner: Some(D::keep(&notifier.manner)),
        allowed: notifier.is_active,
        expires: seconds(now.wall + left),
        call_id: notifier.dialog.parts().call_id,
        tag: String::new(),
        sequence: notifier.reserved,
        dialog: Some(of_dialog(&notifier.dialog)),
    };
    let link = notifier.link.clone();
    remember(host, link, key, Some(&kept));
}

/// A dialog is over.
pub(super) fn forget<D: Dialect>(host: &mut D, link: LinkId, key: Key) {
    remember(host, link, key, None);
}

fn remember<D: Dialect>(host: &mut D, link: LinkId, key: Key, kept: Option<&Kept>) {
    let value = kept.and_then(|kept| serde_json::to_vec(kept).ok());
    host.tools().out.push(Output::Broker(Up::Remember { link, key: format!("{PREFIX}{key}").into(), value }));
}

/// One entry of what was kept for a link. `None`: it is of no use.
pub(super) fn restore<D: Dialect>(host: &mut D, now: Now, link: &LinkId, entry: &Arc<str>, value: &[u8]) -> Option<()> {
    let key = entry.strip_prefix(PREFIX).and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(Key)?;
    let mut kept: Kept = serde_json::from_slice(value).ok()?;
    match kept.manner.take() {
        None => restore_subscription(host, now, link, key, kept),
        Some(manner) => {
            let manner = D::of_kept(manner)?;
            restore_notifier(host, now, link, key, kept, manner)
        }
    }
}

fn restore_subscription<D: Dialect>(host: &mut D, now: Now, link: &LinkId, key: Key, kept: Kept) -> Option<()> {
    let dialog = kept.dialog();
    let pair = (kept.watcher, kept.presentity);
    if host.presences().by_pair.contains_key(&pair) {
        return None;
    }
    let mut subscription = Subscription::new(link.clone(), pair, kept.call_id, kept.tag);
    subscription.is_allowed = kept.allowed;
    subscription.sequence = kept.sequence;
    subscription.reserved = kept.sequence;
    subscription.dialog = dialog;
    host.presences().add_subscription(key, subscription);
    host.attend(now, link);
    let spread = host.tools().random.random_range(0.0..1.0);
    subscriber::plan(host, now, key, now.instant + REFRESHED_WITHIN.mul_f64(spread));
    Some(())
}

fn restore_notifier<D: Dialect>(host: &mut D, now: Now, link: &LinkId, key: Key, kept: Kept, manner: D::Manner) -> Option<()> {
    let left = (UNIX_EPOCH + Duration::from_secs(kept.expires)).duration_since(now.wall).unwrap_or_default();
    let dialog = kept.dialog()?;
    let expires = now.instant + left.min(Duration::from_secs(EXPIRES.into()));
    let mut notifier = Notifier::new(link.clone(), (kept.watcher, kept.presentity), dialog, manner, expires);
    notifier.is_active = kept.allowed;
    notifier.reserved = kept.sequence;
    host.presences().plan(expires, Plan::Expire(key));
    host.presences().add_notifier(key, notifier);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_version_has_written_is_read_and_written_the_same() {
        let dialog = r#""dialog":{"local":"<sip:a@a.example>;tag=x","remote":"<sip:b@b.example>;tag=y","remote_sequence":7,"target":"sip:b@192.0.2.1","routes":[]}"#;
        let common = r#""allowed":true,"expires":1800003600,"call_id":"c","tag":"x","sequence":53"#;
        for (manner, want) in [
            ("", None),
            (r#""event":"presence;id=7","#, Some(KeptManner::Event("presence;id=7".into()))),
            (r#""form":"application/pidf+xml","#, Some(KeptManner::Form("application/pidf+xml".into()))),
        ] {
            for dialog in [String::new(), format!(",{dialog}")] {
                let people = r#""watcher":"alice@a.example","presentity":"bob@b.example","#;
                let text = format!("{{{people}{manner}{common}{dialog}}}");
                let kept: Kept = serde_json::from_str(&text).unwrap();
                assert_eq!(kept.manner, want, "{text}");
                assert_eq!(kept.dialog().is_some(), !dialog.is_empty(), "{text}");
                assert_eq!(serde_json::to_string(&kept).unwrap(), text);
            }
        }
    }
}
