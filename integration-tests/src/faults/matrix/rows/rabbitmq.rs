//! Faults of RabbitMQ.

use std::time::{Duration, Instant};

use super::{BROKEN, IN_FLIGHT, accepting, row};
use crate::faults::matrix::Row;
use crate::faults::matrix::ledger::Happening;
use crate::faults::matrix::scene::Scene;
use crate::faults::matrix::setting::{Bus, COMPANIES, Setting};
use crate::faults::matrix::verdict::Outcome;

const KILLS: usize = 3;
const AWAY: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_secs(2);
const ALARM: Duration = Duration::from_secs(8);
const MINORITY: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a company's proxy takes to see that a hub is gone.
const MOVED_AFTER: Duration = Duration::from_millis(500);

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("rabbitmq-kill", "RabbitMQ is killed three times", &[Bus::RabbitMq], Setting::default, killed),
        row("rabbitmq-leader-killed", "of three nodes the leader is killed", &[Bus::Cluster], Setting::default, leader_killed),
        row("rabbitmq-minority", "of three nodes the leader is cut off for 30 s", &[Bus::Cluster], Setting::default, minority),
        row("rabbitmq-alarm", "RabbitMQ has no memory for 8 s", &[Bus::RabbitMq], Setting::default, alarm),
        row("two-hubs", "of two hubs one is killed", &[Bus::RabbitMq], two, one_of_two_killed),
        row("rolling-restart", "two hubs are restarted, one after the other", &[Bus::RabbitMq], two, rolling_restart),
    ]
}

fn killed(scene: &mut Scene) -> Outcome {
    scene.wait_until_names_are_written();
    scene.begin();
    let mut slowest = Some(Duration::ZERO);
    let mut late = 0;
    for kill in 1..=KILLS {
        scene.rabbitmq().kill();
        let gone = Instant::now();
        scene.during(&format!("RabbitMQ is away, {kill} of {KILLS}"), AWAY);
        scene.rabbitmq().start_again();
        let up = Instant::now();
        late += scene.ledger.count(Happening::Accepted, gone + Duration::from_secs(1), up);
        let took = accepting(scene, up, PATIENCE);
        slowest = slowest.and_then(|slowest| Some(slowest.max(took?)));
        scene.during(&format!("RabbitMQ is back, {kill} of {KILLS}"), BETWEEN);
    }
    scene.finish();
    Outcome::allowing(IN_FLIGHT * COMPANIES.len() * KILLS)
        .recovered(slowest, Duration::from_secs(5))
        .asking(late == 0, format!("{late} accepted while RabbitMQ was away"))
}

/// Starts the load, and says which node leads.
fn begin_with_leader(scene: &mut Scene) -> usize {
    scene.wait_until_names_are_written();
    scene.begin();
    scene.progress.say("who leads?");
    scene.cluster().leader()
}

/// The node is started again when the others have taken over, so that what it missed is caught up under load.
fn leader_killed(scene: &mut Scene) -> Outcome {
    let leader = begin_with_leader(scene);
    scene.cluster().node(leader).kill();
    let killed = Instant::now();
    scene.progress.say("the leader is dead");
    let recovery = accepted_by_majority(scene, killed, PATIENCE);
    scene.during("two nodes serve", BETWEEN);
    scene.progress.say("the node comes back");
    scene.cluster().node(leader).start_again();
    scene.finish();
    Outcome::allowing(IN_FLIGHT * COMPANIES.len())
        .recovered(recovery, Duration::from_secs(10))
        .noting(format!("node {} led", leader + 1))
}

/// Stopped, the node answers nobody and its connections stay open: what a partition without a reset is to the other nodes, and to the hub
/// when it is on the side of the minority. When it goes on it finds itself deposed.
fn minority(scene: &mut Scene) -> Outcome {
    let leader = begin_with_leader(scene);
    scene.cluster().node(leader).pause();
    let cut = Instant::now();
    scene.progress.say("the leader is cut off");
    let recovery = accepted_by_majority(scene, cut, MINORITY);
    scene.during("two nodes serve", MINORITY.saturating_sub(cut.elapsed()));
    scene.cluster().node(leader).go_on();
    scene.finish();
    Outcome::allowing(IN_FLIGHT * COMPANIES.len())
        .recovered(recovery, Duration::from_secs(10))
        .noting(format!("node {} led", leader + 1))
}

/// The time until the hub has said yes so often that it cannot have been by what was confirmed before the fault, nor by chance.
fn accepted_by_majority(scene: &Scene, fault: Instant, within: Duration) -> Option<Duration> {
    let many = scene.ledger.conversations();
    while fault.elapsed() < within {
        if let Some(many) = scene.ledger.nth(many, Happening::Accepted, fault, |_| true) {
            return Some(many - fault);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

fn alarm(scene: &mut Scene) -> Outcome {
    scene.begin();
    scene.progress.say("raising the alarm");
    scene.rabbitmq().raise_memory_alarm();
    let raised = Instant::now();
    scene.during("RabbitMQ has no memory", ALARM);
    let asked = Instant::now();
    scene.rabbitmq().clear_memory_alarm();
    // The tool takes a second, and the alarm ends somewhere in it.
    let tool = asked.elapsed();
    let recovery = accepting(scene, asked, PATIENCE).map(|took| took.saturating_sub(tool));
    scene.finish();
    let late = scene.ledger.count(Happening::Accepted, raised + Duration::from_secs(1), asked);
    Outcome::clean()
        .recovered(recovery, Duration::from_secs(2))
        .asking(late == 0, format!("{late} accepted while RabbitMQ was blocked"))
}

fn two() -> Setting {
    Setting { hubs: 2, ..Setting::default() }
}

/// One company of each platform dials the second hub from the start, so answers to the pings of the one come to the other; the others are led there when the first is dead. Each link has to have something
/// delivered by the hub that is left.
fn one_of_two_killed(scene: &mut Scene) -> Outcome {
    BROKEN.iter().for_each(|company| scene.lead_to(*company, 1));
    scene.begin();
    scene.kill_hub(0);
    let killed = Instant::now();
    scene.during("the first hub is dead", MOVED_AFTER);
    scene.lead_all_to(1);
    let delivered =
        |link: usize| scene.wait_for(Happening::Delivered, killed + MOVED_AFTER, PATIENCE, move |entry| entry.to == link);
    let links: Option<Vec<Duration>> = (0..COMPANIES.len()).map(delivered).collect();
    let recovery = links.and_then(|links| links.into_iter().max()).map(|took| took + MOVED_AFTER);
    scene.finish();
    Outcome::allowing(IN_FLIGHT * COMPANIES.len()).recovered(recovery, Duration::from_secs(15))
}

/// Before a hub is asked to end, as whoever restarts hubs would do it, new connections are led to the other.
fn rolling_restart(scene: &mut Scene) -> Outcome {
    BROKEN.iter().for_each(|company| scene.lead_to(*company, 1));
    scene.begin();
    let (mut slowest, mut ended_well) = (Some(Duration::ZERO), true);
    for hub in [0, 1] {
        scene.lead_all_to(1 - hub);
        scene.progress.say(&format!("hub {} ends", hub + 1));
        ended_well &= scene.hubs[hub].take().expect("it runs").terminate() == Some(true);
        let took = accepting(scene, Instant::now(), PATIENCE);
        slowest = slowest.and_then(|slowest| Some(slowest.max(took?)));
        scene.start_hub(hub);
        scene.during("both run", 2 * BETWEEN);
    }
    scene.finish();
    Outcome::clean().recovered(slowest, Duration::from_secs(15)).asking(ended_well, "a hub did not end well when it was asked to")
}
