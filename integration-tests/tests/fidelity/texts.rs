//! Words, as they are typed.

use std::time::{Duration, Instant};

use crate::fidelity::kinds::{Row, Seen, Way, Who, ways};
use crate::fidelity::world::World;

const SOON: Duration = Duration::from_secs(20);
const LONG: [(&str, usize); 2] =
    [("Text of 8,000 letters", 8_000), ("Text of 60,000 letters (on SIP in sessions alone, see there)", 60_000)];
/// More than that ends a connection with Kamailio as it is usually set, whoever sends it.
const LONGEST_MESSAGE_ON_SIP: usize = 16_000;

/// A feature, and words that show it. They begin with letters that no mark-up changes.
const WORDS: [(&str, &str, &str); 5] = [
    ("Letters of any script", "letters:", "letters: Grüße aus Tōkyō 東京, Ελλάδα, عربى"),
    ("Emoji, put together of several too", "emoji:", "emoji: 👋 👩‍👩‍👧‍👦 🇨🇿 ❤️"),
    ("Signs that are mark-up elsewhere", "signs:", "signs: 5 < 6 && \"x\" 'y' </body> &amp; <b>z</b>"),
    ("Lines, blank lines, tabs and blanks", "lines:", "lines: first\nsecond\n\n\tfourth   end"),
    ("Address of a page", "page:", "page: https://www.acme.example/a?b=c&d=%20#e"),
];

/// Everybody says this to everybody, and it is read.
fn row(world: &mut World, feature: &str, find: &str, words: &str) -> Row {
    world.says(words);
    let is_sent = |way: &Way| words.len() <= LONGEST_MESSAGE_ON_SIP || (way.0 != Who::Bob && way.1 != Who::Bob);
    let ways = || ways().into_iter().filter(is_sent).enumerate();
    for (number, (from, to)) in ways() {
        world.person(from).send(to.address(), &format!("{find}{number}"), words);
    }
    let deadline = Instant::now() + SOON;
    let mut row = Row::new(feature);
    for (number, (from, to)) in ways() {
        let shown = world.person(to).shown(from.address(), find, deadline);
        let seen = match Seen::of(shown.map(|shown| shown.words), words) {
            Seen::Lost => {
                let told = world.person(from).told(&format!("{find}{number}"), to.address(), deadline);
                told.map_or(Seen::Lost, Seen::Told)
            }
            seen => seen,
        };
        row = row.with((from, to), seen);
    }
    row
}

/// Who is shown as the sender.
fn addresses(world: &mut World) -> Row {
    for (from, to) in ways() {
        world.person(from).send(to.address(), &format!("first-{}", to.address()), "first words");
    }
    let deadline = Instant::now() + SOON;
    let mut row = Row::new("The sender's own address");
    for (from, to) in ways() {
        let shown = world.person(to).shown(from.address(), "first words", deadline).map(|shown| {
            // The device is behind the address, and the scheme of a URI before it.
            let address = shown.from.split('/').next().unwrap_or_default();
            address.strip_prefix("sip:").unwrap_or(address).to_owned()
        });
        row = row.with((from, to), Seen::of(shown, from.address()));
    }
    row
}

fn order(world: &mut World) -> Row {
    const MANY: usize = 20;
    world.says("order 1");
    for number in 0..MANY {
        for (from, to) in ways() {
            let words = format!("order {number}.");
            world.person(from).send(to.address(), &format!("{}-{number}", to.address()), &words);
        }
    }
    let deadline = Instant::now() + SOON;
    let mut row = Row::new("Order of 20 messages");
    for (from, to) in ways() {
        let in_order = (0..MANY).all(|number| {
            let next = world.person(to).shown(from.address(), "order ", deadline);
            next.is_some_and(|next| next.words == format!("order {number}."))
        });
        row = row.with((from, to), Seen::kept(in_order));
    }
    row
}

pub(crate) fn rows(world: &mut World) -> Vec<Row> {
    let mut rows = vec![addresses(world)];
    rows.extend(WORDS.map(|(feature, find, words)| row(world, feature, find, words)));
    for (feature, letters) in LONG {
        let find = format!("long {letters}:");
        let alphabet = ('a'..='z').cycle();
        let words: String = find.chars().chain(alphabet).take(letters).collect();
        rows.push(row(world, feature, &find, &words));
    }
    rows.push(order(world));
    rows
}
