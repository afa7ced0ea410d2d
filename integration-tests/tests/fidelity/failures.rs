//! What somebody reads when nobody gets the message.

use std::time::{Duration, Instant};

use crate::fidelity::kinds::{Row, Seen, ways};
use crate::fidelity::world::{ABSENT, World};

const SOON: Duration = Duration::from_secs(20);

pub(crate) fn rows(world: &mut World) -> Vec<Row> {
    let cases =
        [("To an unknown address: the sender reads", "nobody"), ("To somebody who is not there: the sender reads", ABSENT)];
    world.says("is anybody there?");
    let mut rows = Vec::new();
    for (feature, user) in cases {
        let mut row = Row::new(feature);
        for (from, to) in ways() {
            let to_whom = to.colleague(user);
            world.person(from).send(&to_whom, &to_whom, "is anybody there?");
            let told = world.person(from).told(&to_whom, &to_whom, Instant::now() + SOON);
            row = row.with((from, to), told.map_or(Seen::Lost, Seen::Told));
        }
        rows.push(row);
    }
    rows
}
