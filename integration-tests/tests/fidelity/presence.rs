//! Who is seen as what. Each way says whose state is shown: the first person's, by the second's client.

mod states;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fidelity::kinds::{Row, Seen, Who, ways};
use crate::fidelity::person::{Client, Person, has, is_of, words_of};
use crate::fidelity::presence::states::STATES;
use crate::fidelity::world::World;

const SOON: Duration = Duration::from_secs(20);
/// After a restart servers and hub find each other again, and the hub asks for all states.
const AGAIN: Duration = Duration::from_secs(60);
const LOOKS_AGAIN: Duration = Duration::from_millis(100);
/// The hub has gone down and come up, and clients know.
const RESTARTED: Duration = Duration::from_secs(4);

/// Somebody's state as it is shown: the client's own word for it, and their own words.
#[derive(Debug)]
struct ShownState {
    state: String,
    note: String,
}

fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn escaped(note: &str) -> String {
    note.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Whether the words of a state are there.
fn says(event: &Value, field: &str, words: &str) -> bool {
    words.is_empty() || has(event, field, words)
}

impl Person {
    /// Asks to see somebody, and goes on asking to.
    fn watch(&mut self, who: &str) {
        match &mut self.client {
            Client::Xmpp(client) => client.send_raw(&format!("<presence to='{who}' type='subscribe'/>")),
            Client::Sip(client) => client.watch(&format!("sip:{who}")),
            Client::Microsoft(client) => client.add_contact(&format!("sip:{who}")),
            Client::Sametime(client) => client.watch(&[who]),
        }
    }

    /// Lets somebody see them who has asked, where the client asks them. Others let everybody.
    fn allow(&mut self, who: &str) {
        if let Client::Xmpp(client) = &mut self.client {
            let asks = |event: &Value| is_of(event, "from", who) && event["type"] == "subscribe";
            if client.saw("presence", SOON, asks).is_some() {
                client.send_raw(&format!("<presence to='{who}' type='subscribed'/>"));
            }
        }
    }

    /// Lets somebody see them no longer; `false`: the client cannot.
    fn forbid(&mut self, who: &[&str]) -> bool {
        match &mut self.client {
            Client::Xmpp(client) => {
                who.iter().for_each(|who| client.send_raw(&format!("<presence to='{who}' type='unsubscribed'/>")));
            }
            Client::Sametime(client) => client.command(&json!({ "op": "privacy", "deny": true, "users": who })),
            Client::Sip(_) | Client::Microsoft(_) => return false,
        }
        true
    }

    /// Chooses a state with these words.
    fn publish(&mut self, state: &str, note: &str) {
        match &mut self.client {
            Client::Xmpp(client) => {
                let note = escaped(note);
                let show = match state {
                    "available" => String::new(),
                    "idle" => "<show>away</show><idle xmlns='urn:xmpp:idle:1' since='2026-01-01T00:00:00Z'/>".to_owned(),
                    show => format!("<show>{show}</show>"),
                };
                client.send_raw(&format!("<presence>{show}<status>{note}</status><priority>5</priority></presence>"));
            }
            Client::Sip(client) => client.publish(if state == "open" { "" } else { state }, note),
            // What is typed is mark-up to libpurple.
            Client::Microsoft(client) => client.set_status(state, Some(&escaped(note))),
            Client::Sametime(client) => client.set_status(states::number(state), note),
        }
    }

    /// Goes, or seems to; `false`: only with the program.
    fn leave(&mut self) -> bool {
        match &mut self.client {
            Client::Xmpp(client) => client.send_raw("<presence type='unavailable'/>"),
            Client::Microsoft(client) => client.set_status("invisible", Some("gone")),
            Client::Sametime(client) => client.set_status(states::number("offline"), ""),
            Client::Sip(_) => return false,
        }
        true
    }

    /// Forgets what was shown until now.
    fn forget(&mut self) {
        match &mut self.client {
            Client::Xmpp(client) => while client.saw("presence", Duration::ZERO, |_| true).is_some() {},
            Client::Sip(client) => while client.saw("presence", Duration::ZERO, |_| true).is_some() {},
            Client::Sametime(client) => while client.saw("presence", Duration::ZERO, |_| true).is_some() {},
            // Its list is looked at as it is.
            Client::Microsoft(_) => {}
        }
    }

    /// Waits until somebody is shown with these words, or in any way if there are none.
    fn sees(&mut self, who: &str, words: &str, deadline: Instant) -> Option<ShownState> {
        let within = until(deadline);
        let read = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        match &mut self.client {
            Client::Xmpp(client) => {
                let is_state = |event: &Value| event["type"] != "subscribe" && event["type"] != "subscribed";
                let fits = |event: &Value| {
                    is_of(event, "from", who) && is_state(event) && says(event, "status", words) && event["type"] != "unavailable"
                };
                let event = client.saw("presence", within, fits)?;
                let show = if event["idle"] == true { "idle".to_owned() } else { read(&event, "show") };
                Some(ShownState { state: states::or(show, "available"), note: read(&event, "status") })
            }
            Client::Sip(client) => {
                let fits = |event: &Value| is_of(event, "from", who) && event["open"] == true && says(event, "note", words);
                let event = client.saw("presence", within, fits)?;
                let activity = read(&event, "activity").to_lowercase();
                Some(ShownState { state: states::or(activity, "open"), note: read(&event, "note") })
            }
            Client::Microsoft(client) => loop {
                let contacts = client.contacts();
                let shown = contacts.into_iter().find(|contact| contact.who == format!("sip:{who}") && contact.online);
                if let Some(shown) = shown {
                    let note = words_of(&if shown.line.contains(words) { shown.line } else { shown.note });
                    if note.contains(words) {
                        return Some(ShownState { state: shown.state, note });
                    }
                }
                if Instant::now() >= deadline {
                    return None;
                }
                thread::sleep(LOOKS_AGAIN);
            },
            Client::Sametime(client) => {
                let fits = |event: &Value| event["who"] == who && event["online"] == true && says(event, "note", words);
                let event = client.saw("presence", within, fits)?;
                Some(ShownState { state: states::name(event["status"].as_u64()), note: read(&event, "note") })
            }
        }
    }

    /// Whether somebody is shown as not here.
    fn sees_gone(&mut self, who: &str, deadline: Instant) -> bool {
        let within = until(deadline);
        match &mut self.client {
            Client::Xmpp(client) => {
                let gone = |event: &Value| event["type"] == "unavailable" || event["type"] == "unsubscribed";
                client.saw("presence", within, |event| is_of(event, "from", who) && gone(event)).is_some()
            }
            Client::Sip(client) => {
                client.saw("presence", within, |event| is_of(event, "from", who) && event["open"] != true).is_some()
            }
            Client::Microsoft(client) => loop {
                let is_there = client.contacts().iter().any(|one| one.who == format!("sip:{who}") && one.online);
                if !is_there || Instant::now() >= deadline {
                    return !is_there;
                }
                thread::sleep(LOOKS_AGAIN);
            },
            Client::Sametime(client) => {
                client.saw("presence", within, |event| event["who"] == who && event["online"] != true).is_some()
            }
        }
    }
}

/// Everybody asks to see everybody.
fn permission(world: &mut World) -> Row {
    for (shown, watcher) in ways() {
        world.person(watcher).watch(shown.address());
    }
    for (shown, watcher) in ways() {
        world.person(shown).allow(watcher.address());
    }
    let deadline = Instant::now() + SOON;
    ways().into_iter().fold(Row::new("Asked for and allowed"), |row, (shown, watcher)| {
        let seen = world.person(watcher).sees(shown.address(), "", deadline).is_some();
        row.with((shown, watcher), Seen::kept(seen))
    })
}

/// Everybody goes through the states that they have a word for, all at the same time; what is shown is compared with the reader's own word.
fn states(world: &mut World) -> Vec<Row> {
    let own = |who: Who| STATES.iter().enumerate().filter_map(move |(row, state)| state.choice(who).map(|word| (row, word)));
    let mut rows: Vec<Row> = STATES.iter().map(|state| Row::new(state.name)).collect();
    let rounds = Who::ALL.into_iter().map(|who| own(who).count()).max().unwrap_or_default();
    for round in 0..rounds {
        let words = format!("words {round} of mine");
        world.says(&words);
        for who in Who::ALL {
            if let Some((_, word)) = own(who).nth(round) {
                world.person(who).publish(word, &words);
            }
        }
        let deadline = Instant::now() + SOON;
        for (shown, watcher) in ways() {
            let Some((row, _)) = own(shown).nth(round) else { continue };
            let seen = world.person(watcher).sees(shown.address(), &words, deadline);
            let seen = Seen::of(seen.map(|seen| seen.state), STATES[row].word(watcher).unwrap_or_default());
            rows[row].cells.push(((shown, watcher), seen));
        }
    }
    rows
}

/// Everybody says the same words of themselves; they are compared.
fn note(world: &mut World, feature: &str, words: &str, deadline: Duration) -> Row {
    world.says(words);
    for who in Who::ALL {
        world.person(who).publish(available(who), words);
    }
    let find = words.split('&').next().expect("there is always a first part");
    let deadline = Instant::now() + deadline;
    ways().into_iter().fold(Row::new(feature), |row, (shown, watcher)| {
        let seen = world.person(watcher).sees(shown.address(), find, deadline);
        row.with((shown, watcher), Seen::of(seen.map(|seen| seen.note), words))
    })
}

/// One after the other goes and comes back.
fn gone(world: &mut World) -> [Row; 2] {
    let [mut gone, mut back] = [Row::new("gone, or invisible"), Row::new("here again")];
    world.says("here again");
    for who in Who::ALL {
        let watchers = || ways().into_iter().filter(move |(shown, _)| *shown == who);
        watchers().for_each(|(_, watcher)| world.person(watcher).forget());
        if watchers().count() == 0 || !world.person(who).leave() {
            continue;
        }
        for (_, watcher) in watchers() {
            let is_gone = world.person(watcher).sees_gone(who.address(), Instant::now() + SOON);
            gone.cells.push(((who, watcher), Seen::kept(is_gone)));
        }
        world.person(who).publish(available(who), "here again");
        for (_, watcher) in watchers() {
            let seen = world.person(watcher).sees(who.address(), "here again", Instant::now() + SOON);
            back.cells.push(((who, watcher), Seen::of(seen.map(|seen| seen.state), available(watcher))));
        }
    }
    [gone, back]
}

/// Whoever can lets nobody see them any longer.
fn taken_back(world: &mut World) -> Row {
    for who in Who::ALL {
        world.person(who).forget();
    }
    let watchers = |who: Who| ways().into_iter().filter(move |(shown, _)| *shown == who).map(|(_, watcher)| watcher.address());
    let can = Who::ALL.map(|who| world.person(who).forbid(&watchers(who).collect::<Vec<_>>()));
    let deadline = Instant::now() + SOON;
    ways().into_iter().fold(Row::new("Permission taken back: no longer shown as there"), |row, (shown, watcher)| {
        let can = Who::ALL.iter().position(|who| *who == shown).is_some_and(|number| can[number]);
        let seen = if can { Seen::kept(world.person(watcher).sees_gone(shown.address(), deadline)) } else { Seen::Nothing };
        row.with((shown, watcher), seen)
    })
}

fn available(who: Who) -> &'static str {
    STATES[0].word(who).expect("everybody can be available")
}

pub(crate) fn rows(world: &mut World) -> Vec<Row> {
    let mut rows = vec![permission(world)];
    rows.extend(states(world));
    rows.push(note(world, "Words beside the state", "Out to lunch & back <soon>", SOON));
    world.restart_the_hub();
    thread::sleep(RESTARTED);
    for (shown, _) in ways().into_iter().filter(|(_, watcher)| *watcher == Who::Frank) {
        // A Sametime client that signs in says again whom it watches.
        world.person(Who::Frank).watch(shown.address());
    }
    rows.push(note(world, "Seen again after a SIGKILL of the hub", "since the restart", AGAIN));
    rows.extend(gone(world));
    rows.push(taken_back(world));
    rows
}
