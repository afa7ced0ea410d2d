//! Messages that cannot be delivered.

use std::time::{Duration, Instant};

use super::{BOTH, IN_FLIGHT, row};
use crate::faults::matrix::Row;
use crate::faults::matrix::ledger::Happening;
use crate::faults::matrix::load::Plan;
use crate::faults::matrix::scene::Scene;
use crate::faults::matrix::setting::{COMPANIES, Setting};
use crate::faults::matrix::verdict::Outcome;
use crate::faults::proxy::Mode;

const PATIENCE: Duration = Duration::from_secs(30);
/// Conversations by the pairs of [`COMPANIES`], which take turns: from XMPP to SIP, and from SIP to XMPP. The seventh message of each is poison.
const POISON: [(usize, usize); 2] = [(1, 6), (6, 6)];
/// The link whose messages expire: the last, to which the end of the configuration belongs.
const SHORT: usize = 3;
const TIME_TO_LIVE: Duration = Duration::from_secs(3);
/// A sender on SIP is told of three failures a minute in each conversation; of more later.
const NOTICES: usize = 3;
/// The condition under which an XMPP message comes back that was not delivered in time.
const TOO_LATE: &str = "remote-server-timeout";

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("poison", "two companies close the connection whenever they are given a certain message", BOTH, with_poison, poison),
        row("ttl", "a link is down for longer than its messages live", BOTH, short_lived, time_to_live),
    ]
}

fn with_poison() -> Setting {
    Setting { poison: true, plan: Plan { poison: POISON.to_vec(), ..Plan::default() }, ..Setting::default() }
}

fn poison(scene: &mut Scene) -> Outcome {
    scene.begin();
    let bounded = Duration::from_secs(10);
    let mut slowest = Some(Duration::ZERO);
    for (conversation, number) in POISON {
        scene.progress.say(&format!("waiting until the poison of conversation {conversation} comes back"));
        let came = || scene.ledger.first_bounce(conversation);
        let deadline = Instant::now() + PATIENCE;
        while came().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let took = came().and_then(|came| Some(came.duration_since(scene.ledger.sent(conversation, number)?)));
        slowest = slowest.and_then(|slowest| Some(slowest.max(took?)));
    }
    scene.finish();
    // Each attempt closes a connection, on which other messages are under way.
    let attempts = 3;
    Outcome { bounces: Some(POISON.len()), ..Outcome::allowing(IN_FLIGHT * attempts * POISON.len()) }.recovered(slowest, bounded)
}

fn short_lived() -> Setting {
    let setting = Setting::default();
    let pairs = COMPANIES.len() * (COMPANIES.len() - 1);
    // The conversations follow the pairs in turn: from globex, the third company, to umbrella, the fourth.
    let from_sip_to_short = (0..setting.plan.conversations).filter(|conversation| conversation % pairs == 8);
    Setting {
        configuration: format!("\n[link.pace]\ntime_to_live = {}\n", TIME_TO_LIVE.as_secs()),
        plan: Plan { limits: from_sip_to_short.map(|conversation| (conversation, NOTICES)).collect(), ..setting.plan },
        ..setting
    }
}

/// The link is down from the start, so that no message is under way when it goes: each comes back, and never arrives.
fn time_to_live(scene: &mut Scene) -> Outcome {
    scene.companies[SHORT].from_hub.set(Mode::Cut);
    scene.begin_cold();
    let began = Instant::now();
    scene.during("a link is down", scene.time);
    scene.stop_load();
    let stopped = Instant::now();
    let first = scene.wait_for(Happening::Bounced, began, PATIENCE, |entry| entry.to == SHORT);
    // Each failure is due 30 s after its time at the latest, and only then is the link healed.
    let deadline = stopped + TIME_TO_LIVE + Duration::from_secs(30);
    while !scene.ledger.is_settled() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let waiting = scene.ledger.counts().lost.len();
    let settled = stopped.elapsed();
    scene.companies[SHORT].from_hub.set(Mode::Through);
    scene.finish();
    let reasons = scene.ledger.reasons();
    let delivered = scene.ledger.first(Happening::Delivered, began, |entry| entry.to == SHORT).is_some();
    Outcome { bounces: Some(scene.ledger.accepted_for(SHORT)), ..Outcome::clean() }
        .recovered(first.map(|first| first.saturating_sub(TIME_TO_LIVE)), Duration::from_secs(30))
        .asking(waiting == 0, format!("{waiting} waited for longer than 30 s after their time"))
        .asking(!delivered, "something arrived after its time")
        .asking(reasons == [TOO_LATE], format!("came back as {reasons:?}"))
        .noting(format!("all settled {settled:.1?} after the last message"))
}
