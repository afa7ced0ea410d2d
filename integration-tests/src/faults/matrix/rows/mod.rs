//! The rows.

mod hubs;
mod links;
mod messages;
mod rabbitmq;

use std::time::{Duration, Instant};

pub use hubs::with_kills;

use super::Row;
use super::ledger::Happening;
use super::scene::Scene;
use super::setting::{BROKEN, Bus, Setting};
use super::verdict::Outcome;

/// What a hub has handed over to a link and not yet settled, at most: so much may come twice for each fault and link.
const IN_FLIGHT: usize = 64;
/// Both of the hub's own kinds.
const BOTH: &[Bus] = &[Bus::Embedded, Bus::RabbitMq];

/// Every row, in the order of the table.
pub fn all() -> Vec<Row> {
    let mut rows = vec![row("none", "nothing happens", BOTH, Setting::default, |scene| {
        scene.begin();
        scene.finish();
        Outcome::clean()
    })];
    rows.extend(links::rows());
    rows.extend(hubs::rows());
    rows.extend(rabbitmq::rows());
    rows.extend(messages::rows());
    rows
}

fn row(
    name: &str,
    about: &'static str,
    buses: &'static [Bus],
    setting: impl Fn() -> Setting + 'static,
    play: impl Fn(&mut Scene) -> Outcome + 'static,
) -> Row {
    Row { name: name.to_owned(), about, hindrance: || None, buses, setting: Box::new(setting), play: Box::new(play) }
}

/// The time from a moment until something has come to each broken link, and the same for each link in words.
fn delivered_to_broken(scene: &Scene, healed: Instant, within: Duration) -> (Option<Duration>, String) {
    let delivered = |link: usize| scene.wait_for(Happening::Delivered, healed, within, move |entry| entry.to == link);
    let times = BROKEN.map(delivered);
    let words = |(link, time): (&usize, &Option<Duration>)| {
        let platform = scene.companies[*link].platform;
        time.map_or(format!("{platform} never"), |time| format!("{platform} {:.2}s", time.as_secs_f64()))
    };
    let told: Vec<String> = std::iter::zip(&BROKEN, &times).map(words).collect();
    (times.into_iter().collect::<Option<Vec<_>>>().and_then(|times| times.into_iter().max()), told.join(", "))
}

/// The time from a moment until the hub says yes again, to anybody.
fn accepting(scene: &Scene, healed: Instant, within: Duration) -> Option<Duration> {
    scene.wait_for(Happening::Accepted, healed, within, |_| true)
}
