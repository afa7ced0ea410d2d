use std::time::UNIX_EPOCH;

use interchange_model::{
    Device, DevicePresence, Link, MemberId, Pace as LinkPace, Plain, PlatformName, PresenceState, Settings, Text, Typing,
    TypingState,
};
use interchange_registry::{Community, Parts};
use proptest::prelude::*;

use super::*;

const WATCHER: &str = "alice@a.example";
const PRESENTITY: &str = "bob@b.example";

/// Links `a` and `b` with a domain each, in virtual time.
struct World {
    registry: Registry,
    watches: Watches,
    now: Moment,
}

fn community(community: Community, partnerships: Vec<(MemberId, MemberId)>) -> Registry {
    let link = |id: &str| Link {
        id: id.into(),
        member: id.into(),
        platform: PlatformName("any".into()),
        domains: vec![Domain::parse(&format!("{id}.example")).unwrap()],
        pace: LinkPace::default(),
        settings: Settings::default(),
    };
    let (members, links) = (vec!["a".into(), "b".into()], vec![link("a"), link("b")]);
    Registry::new(Parts {
        hub: Domain::parse("hub.example").unwrap(),
        members,
        links,
        partnerships,
        community,
        barriers: Vec::new(),
        accounts: Default::default(),
        directories: Default::default(),
    })
    .unwrap()
}

impl World {
    fn with(stored: Vec<WatchRow>) -> Self {
        let now = Moment { instant: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_700_000_000) };
        let mut world = Self { registry: community(Community::Open, vec![]), watches: Watches::new(stored), now };
        world.watches.links(now, &world.registry);
        world
    }

    /// Both links are up, and one watch is granted and nothing said yet.
    fn granted() -> Self {
        let mut world = Self::with(vec![]);
        world.up("a");
        world.up("b");
        world.submit(WATCHER, PRESENTITY, Watch::Ask);
        world.submit(PRESENTITY, WATCHER, Watch::Allow);
        world.later(1.0);
        world
    }

    fn up(&mut self, link: &str) -> Vec<String> {
        self.watches.health(self.now, &self.registry, &link.into(), true);
        self.said()
    }

    fn down(&mut self, link: &str) -> Vec<String> {
        self.watches.health(self.now, &self.registry, &link.into(), false);
        self.said()
    }

    fn envelope(&self, from: &str, to: &str, body: Body) -> Envelope {
        let from = Address::parse(from).unwrap();
        let origin = self.registry.link_of(from.domain()).unwrap().id.clone();
        made(self.now, &origin, from, Address::parse(to).unwrap(), body)
    }

    fn submit(&mut self, from: &str, to: &str, watch: Watch) -> (Decision, Vec<String>) {
        let envelope = self.envelope(from, to, Body::Watch(watch));
        let decision = self.watches.submit(self.now, &self.registry, &envelope, watch);
        (decision, self.said())
    }

    fn tell(&mut self, device: Option<&str>, from: &str, to: &str, body: Body) -> Vec<String> {
        let envelope = Envelope { from_device: device.and_then(Device::new), ..self.envelope(from, to, body) };
        let out = self.registry.link_of(envelope.to.domain()).unwrap().id.clone();
        self.watches.tell(self.now, &self.registry, &out, &envelope);
        self.said()
    }

    /// Bob's device is in a state; `Offline`: it has gone.
    fn device(&mut self, name: &str, state: PresenceState) -> Vec<String> {
        let devices = if state == PresenceState::Offline { vec![] } else { vec![DevicePresence::new(None, state)] };
        self.tell(Some(name), PRESENTITY, WATCHER, Body::Presence(Presence { devices, ..Presence::default() }))
    }

    /// All that is said until so many seconds have passed.
    fn later(&mut self, seconds: f64) -> Vec<String> {
        let end = self.now.instant + Duration::from_secs_f64(seconds);
        let mut said = Vec::new();
        while let Some(at) = self.watches.deadline().filter(|at| *at <= end) {
            self.pass(at);
            self.watches.wake(self.now, &self.registry);
            said.extend(self.said());
        }
        self.pass(end);
        said
    }

    fn pass(&mut self, to: Instant) {
        let passed = to.saturating_duration_since(self.now.instant);
        self.now = Moment { instant: self.now.instant + passed, wall: self.now.wall + passed };
    }

    fn said(&mut self) -> Vec<String> {
        self.watches.actions.drain(..).map(|action| words(&action)).collect()
    }

    /// The table as it would be after a restart.
    fn stored(&mut self, mut rows: Vec<WatchRow>) -> Vec<WatchRow> {
        for change in self.watches.changes.drain(..) {
            let (watcher, presentity) = match &change {
                Note::Watch(row) => (row.watcher.clone(), row.presentity.clone()),
                Note::NoWatch { watcher, presentity } => (watcher.clone(), presentity.clone()),
                Note::Remembered { .. } => unreachable!("only adapters remember"),
            };
            rows.retain(|row| (&row.watcher, &row.presentity) != (&watcher, &presentity));
            if let Note::Watch(row) = change {
                rows.push(row);
            }
        }
        rows
    }
}

/// An action in a line: `b < fetch alice`, `a < bob available[phone] gone[laptop]`.
fn words(action: &Action) -> String {
    let (link, envelope, how) = match action {
        Action::Tell(link, envelope) => (link, envelope, "<"),
        Action::Publish(link, envelope) => (link, envelope, "<<"),
    };
    let what = match &envelope.body {
        Body::Watch(watch) => format!("{watch:?}").to_lowercase(),
        Body::Presence(presence) => {
            let name = |device: &Device| device.as_str().to_owned();
            let devices: Vec<_> = presence.devices.iter().filter_map(|device| device.device.as_ref().map(name)).collect();
            let gone: Vec<_> = presence.gone.iter().map(name).collect();
            let list = |label: &str, names: Vec<String>| {
                if names.is_empty() { String::new() } else { format!("{label}[{}]", names.join(" ")) }
            };
            format!("{}{}{}", presence.state().label(), list("", devices), list(" gone", gone))
        }
        Body::Typing(typing) => format!("{:?}", typing.state).to_lowercase(),
        other => format!("{other:?}"),
    };
    format!("{link} {how} {} {what}", envelope.from.user())
}

#[test]
fn a_watch_is_asked_granted_and_seen() {
    let mut world = World::with(vec![]);
    world.up("a");
    world.up("b");
    assert_eq!(world.submit(WATCHER, PRESENTITY, Watch::Ask), (Decision::Forward, vec![]));
    // RFC 6121 §3.1.2: a server asks anew at each login; it is not passed on each time.
    assert_eq!(world.submit(WATCHER, PRESENTITY, Watch::Ask), (Decision::Done, vec![]));
    // Nothing is seen before it is allowed.
    assert!(world.device("phone", PresenceState::Available).is_empty());
    assert_eq!(world.submit(PRESENTITY, WATCHER, Watch::Allow), (Decision::Forward, vec![]));
    assert_eq!(world.later(1.0), ["b < alice fetch"]);
    assert_eq!(world.device("phone", PresenceState::Available), ["a < bob available[phone]"]);
    // The other way nothing is allowed.
    let back = Body::Presence(Presence::of(DevicePresence::new(None, PresenceState::Away)));
    assert!(world.tell(Some("desk"), WATCHER, PRESENTITY, back).is_empty());
}

#[test]
fn case_54_an_answer_may_come_days_later() {
    let mut world = World::with(vec![]);
    world.up("a");
    world.up("b");
    world.submit(WATCHER, PRESENTITY, Watch::Ask);
    world.later(25.0 * 3600.0);
    assert_eq!(world.submit(WATCHER, PRESENTITY, Watch::Ask).0, Decision::Forward);
    world.later(48.0 * 3600.0);
    assert_eq!(world.submit(PRESENTITY, WATCHER, Watch::Allow).0, Decision::Forward);
}

#[test]
fn case_55_who_was_refused_may_ask_again_a_day_later() {
    let mut world = World::granted();
    assert_eq!(world.device("phone", PresenceState::Available).len(), 1);
    // What was seen is hidden.
    assert_eq!(
        world.submit(PRESENTITY, WATCHER, Watch::Refuse),
        (Decision::Forward, vec!["a < bob unknown gone[phone]".to_owned()])
    );
    assert!(world.device("phone", PresenceState::Busy).is_empty());
    assert_eq!(world.submit(WATCHER, PRESENTITY, Watch::Ask).0, Decision::Refuse(Refusal::PeerRefused));
    assert_eq!(world.tell(None, WATCHER, PRESENTITY, Body::Watch(Watch::Fetch)), ["a << bob refuse"]);
    world.later(24.0 * 3600.0);
    assert_eq!(world.submit(WATCHER, PRESENTITY, Watch::Ask).0, Decision::Forward);
}

#[test]
fn who_may_see_already_is_told_at_once() {
    let mut world = World::granted();
    world.device("phone", PresenceState::Away);
    world.later(5.0);
    assert_eq!(
        world.submit(WATCHER, PRESENTITY, Watch::Ask),
        (Decision::Done, vec!["a << bob allow".to_owned(), "a < bob away[phone]".to_owned()])
    );
    assert_eq!(world.tell(None, WATCHER, PRESENTITY, Body::Watch(Watch::Fetch)), ["a < bob away[phone]"]);
}

#[test]
fn case_58_devices_come_and_go_one_by_one() {
    let mut world = World::granted();
    assert_eq!(world.device("phone", PresenceState::Away), ["a < bob away[phone]"]);
    world.later(2.0);
    assert_eq!(world.device("desk", PresenceState::DoNotDisturb), ["a < bob do-not-disturb[desk phone]"]);
    world.later(2.0);
    assert_eq!(world.device("desk", PresenceState::Offline), ["a < bob away[phone] gone[desk]"]);
    world.later(2.0);
    // The same again is no news.
    assert!(world.device("phone", PresenceState::Away).is_empty());
    assert_eq!(world.device("phone", PresenceState::Offline), ["a < bob offline gone[phone]"]);
}

#[test]
fn abuse_36_a_storm_is_one_word_a_second_and_ends_with_the_truth() {
    let mut world = World::granted();
    let mut said = Vec::new();
    for change in 0..1000 {
        let state = if change % 2 == 0 { PresenceState::Away } else { PresenceState::Available };
        said.extend(world.device("phone", state));
        said.extend(world.later(0.01));
    }
    said.extend(world.later(2.0));
    assert!(said.len() <= 12, "{}", said.len());
    assert_eq!(said.last().unwrap(), "a < bob available[phone]");
}

#[test]
fn case_63_probes_are_answered_from_what_is_known() {
    let mut world = World::granted();
    // Nothing is known: one question for all of them.
    let mut said = Vec::new();
    for _ in 0..500 {
        said.extend(world.tell(None, WATCHER, PRESENTITY, Body::Watch(Watch::Fetch)));
    }
    // It was fetched when it was granted, a second ago.
    assert!(said.is_empty(), "{said:?}");
    world.device("phone", PresenceState::Available);
    for _ in 0..500 {
        assert_eq!(world.tell(None, WATCHER, PRESENTITY, Body::Watch(Watch::Fetch)), ["a < bob available[phone]"]);
    }
    world.submit(WATCHER, PRESENTITY, Watch::Stop);
    assert_eq!(world.tell(None, WATCHER, PRESENTITY, Body::Watch(Watch::Fetch)), ["a << bob refuse"]);
}

#[test]
fn case_65_a_link_that_is_lost_turns_its_people_unknown_and_one_that_returns_is_asked() {
    let mut world = World::granted();
    world.device("phone", PresenceState::Available);
    world.later(10.0);
    world.down("b");
    assert!(world.later(2.0).is_empty());
    assert_eq!(world.later(2.0), ["a < bob unknown gone[phone]"]);
    assert!(world.tell(None, WATCHER, PRESENTITY, Body::Watch(Watch::Fetch)).is_empty());
    world.later(100.0);
    world.up("b");
    assert_eq!(world.later(1.0), ["b < alice fetch"]);
    assert_eq!(world.device("phone", PresenceState::Busy), ["a < bob busy[phone]"]);
}

#[test]
fn a_device_that_went_while_the_link_was_away_is_gone() {
    let mut world = World::granted();
    world.device("phone", PresenceState::Available);
    world.later(2.0);
    world.device("desk", PresenceState::Away);
    world.later(2.0);
    world.down("b");
    world.later(1.0);
    world.up("b");
    assert_eq!(world.later(1.0), ["b < alice fetch"]);
    assert!(world.device("phone", PresenceState::Available).is_empty());
    assert_eq!(world.later(20.0), ["a < bob available[phone] gone[desk]"]);
}

#[test]
fn a_link_that_flaps_turns_nobody() {
    let mut world = World::granted();
    world.device("phone", PresenceState::Available);
    let mut said = Vec::new();
    for _ in 0..20 {
        said.extend(world.down("b"));
        said.extend(world.later(2.0));
        said.extend(world.up("b"));
        said.extend(world.later(1.0));
        said.extend(world.device("phone", PresenceState::Available));
        said.extend(world.later(1.0));
    }
    assert!(said.iter().all(|said| said == "b < alice fetch"), "{said:?}");
}

#[test]
fn what_a_watcher_has_missed_is_told_when_the_watchers_link_returns() {
    let mut world = World::granted();
    world.device("phone", PresenceState::Available);
    world.later(5.0);
    world.down("a");
    assert!(world.device("phone", PresenceState::Away).is_empty());
    world.later(2.0);
    assert!(world.device("phone", PresenceState::Busy).is_empty());
    world.later(60.0);
    world.up("a");
    assert_eq!(world.later(1.0), ["a < bob busy[phone]"]);
}

/// A thousand watches: the figures that docs/presence.md names.
#[test]
fn a_thousand_watchers_are_told_in_time() {
    let mut world = World::with(vec![]);
    world.up("a");
    world.up("b");
    for number in 0..1000 {
        let watcher = format!("w{number}@a.example");
        world.submit(&watcher, PRESENTITY, Watch::Ask);
        world.submit(PRESENTITY, &watcher, Watch::Allow);
        let here = Presence::of(DevicePresence::new(None, PresenceState::Available));
        world.tell(Some("phone"), PRESENTITY, &watcher, Body::Presence(here));
    }
    world.later(60.0);
    world.down("b");
    let told = world.later(5.5);
    assert_eq!(told.iter().filter(|said| *said == "a < bob unknown gone[phone]").count(), 1000);
    world.up("b");
    let asked = world.later(20.5);
    assert_eq!(asked.iter().filter(|said| said.ends_with("fetch")).count(), 1000);
}

#[test]
fn after_a_restart_every_watch_is_there_and_nobody_is_shown_on_old_news() {
    let mut world = World::granted();
    world.device("phone", PresenceState::Available);
    let stored = world.stored(vec![]);
    assert_eq!(stored.len(), 1);
    let mut world = World::with(stored.clone());
    world.up("a");
    world.up("b");
    assert_eq!(world.later(1.0), ["b < alice fetch"]);
    assert_eq!(world.device("phone", PresenceState::Away), ["a < bob away[phone]"]);
    // The presentity's server does not come back: what the watcher was shown before the restart is taken back.
    let mut world = World::with(stored);
    world.up("a");
    assert_eq!(world.later(10.0), ["a < bob unknown"]);
}

#[test]
fn one_watcher_has_ten_thousand_watches_at_most() {
    let mut world = World::with(vec![]);
    for number in 0..MOST_OF_ONE {
        assert_eq!(world.submit(WATCHER, &format!("u{number}@b.example"), Watch::Ask).0, Decision::Forward);
    }
    assert_eq!(world.submit(WATCHER, PRESENTITY, Watch::Ask).0, Decision::Refuse(Refusal::Overloaded));
    assert_eq!(world.submit("carol@a.example", PRESENTITY, Watch::Ask).0, Decision::Forward);
    world.submit(WATCHER, "u7@b.example", Watch::Stop);
    assert_eq!(world.submit(WATCHER, PRESENTITY, Watch::Ask).0, Decision::Forward);
}

#[test]
fn who_may_meet_no_more_sees_no_more_and_sees_again_with_a_new_partnership() {
    let mut world = World::granted();
    world.device("phone", PresenceState::Available);
    world.registry = community(Community::Invitation, vec![]);
    world.watches.links(world.now, &world.registry);
    assert_eq!(world.later(2.0), ["a < bob unknown gone[phone]"]);
    // Nobody is asked for either, though the link comes back meanwhile.
    world.down("b");
    world.later(1.0);
    world.up("b");
    assert_eq!(world.later(120.0), Vec::<String>::new());
    // The same once more changes nothing.
    world.watches.links(world.now, &world.registry);
    assert_eq!(world.later(2.0), Vec::<String>::new());
    world.registry = community(Community::Invitation, vec![("a".into(), "b".into())]);
    world.watches.links(world.now, &world.registry);
    assert_eq!(world.later(1.0), ["b < alice fetch"]);
    assert_eq!(world.device("phone", PresenceState::Away), ["a < bob away[phone]"]);
}

#[test]
fn a_note_alone_is_news() {
    let mut world = World::granted();
    let with_note = |note: &str| {
        let device = DevicePresence { note: Some(Plain::new(note)), ..DevicePresence::new(None, PresenceState::Available) };
        Body::Presence(Presence::of(device))
    };
    assert_eq!(world.tell(Some("phone"), PRESENTITY, WATCHER, with_note("one")).len(), 1);
    world.later(2.0);
    assert_eq!(world.tell(Some("phone"), PRESENTITY, WATCHER, with_note("two")).len(), 1);
    world.later(2.0);
    assert!(world.tell(Some("phone"), PRESENTITY, WATCHER, with_note("two")).is_empty());
}

#[test]
fn typing_is_told_every_two_seconds_at_most_and_not_after_the_words() {
    let mut world = World::with(vec![]);
    world.up("a");
    world.up("b");
    let typing = |state| Body::Typing(Typing { state, conversation: None });
    assert_eq!(world.tell(None, WATCHER, PRESENTITY, typing(TypingState::Composing)), ["b < alice composing"]);
    assert!(world.tell(None, WATCHER, PRESENTITY, typing(TypingState::Paused)).is_empty());
    assert!(world.tell(None, WATCHER, PRESENTITY, typing(TypingState::Composing)).is_empty());
    assert!(world.tell(None, WATCHER, PRESENTITY, typing(TypingState::Active)).is_empty());
    assert_eq!(world.later(2.0), ["b < alice active"]);
    assert!(world.tell(None, WATCHER, PRESENTITY, typing(TypingState::Composing)).is_empty());
    world.watches.said(&Address::parse(WATCHER).unwrap(), &Address::parse(PRESENTITY).unwrap());
    assert!(world.later(10.0).is_empty());
    assert_eq!(world.tell(None, WATCHER, PRESENTITY, typing(TypingState::Composing)), ["b < alice composing"]);
    assert!(!world.envelope(WATCHER, PRESENTITY, Body::Text(Text::default())).body.kind().label().is_empty());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Submit(bool, Watch),
    Device(u8, PresenceState),
    Fetch,
    Link(bool, bool),
    Pass(u16),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let watch = prop_oneof![Just(Watch::Ask), Just(Watch::Allow), Just(Watch::Refuse), Just(Watch::Stop)];
    let state = prop_oneof![Just(PresenceState::Available), Just(PresenceState::Away), Just(PresenceState::Offline)];
    prop_oneof![
        2 => (any::<bool>(), watch).prop_map(|(right, watch)| Step::Submit(right, watch)),
        4 => (0u8..3, state).prop_map(|(device, state)| Step::Device(device, state)),
        1 => Just(Step::Fetch),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(seen, up)| Step::Link(seen, up)),
        3 => (0u16..20).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    /// Whatever happens: who may not see is shown nothing, what is shown last is the truth, and nobody is shown as available whose link is
    /// down for long.
    #[test]
    fn what_a_watcher_sees_is_true(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::with(vec![]);
        world.up("a");
        world.up("b");
        let (mut stored, mut truth, mut up, mut granted) = (vec![], std::collections::BTreeMap::new(), [true, true], false);
        let mut seen = String::new();
        for step in steps {
            let said = match step {
                Step::Submit(right, watch) => {
                    // Either end says only what is its own to say.
                    let (from, to) = if watch.is_from_watcher() == right { (WATCHER, PRESENTITY) } else { (PRESENTITY, WATCHER) };
                    let said = world.submit(from, to, watch).1;
                    if right {
                        granted = match watch {
                            Watch::Allow => true,
                            Watch::Refuse | Watch::Stop => false,
                            _ => granted,
                        };
                    }
                    said
                }
                Step::Device(device, state) => {
                    // While the link is down the truth goes on.
                    let name = format!("d{device}");
                    if state == PresenceState::Offline { truth.remove(&name); } else { truth.insert(name.clone(), state); }
                    if up[1] { world.device(&name, state) } else { vec![] }
                }
                Step::Fetch => world.tell(None, WATCHER, PRESENTITY, Body::Watch(Watch::Fetch)),
                Step::Link(seen, is_up) => {
                    let link = usize::from(seen);
                    up[link] = is_up;
                    if is_up { world.up(["a", "b"][link]) } else { world.down(["a", "b"][link]) }
                }
                Step::Pass(seconds) => world.later(f64::from(seconds)),
                Step::Restart => {
                    stored = world.stored(stored);
                    let now = world.now;
                    world = World::with(stored.clone());
                    world.now = now;
                    for (link, up) in ["a", "b"].iter().zip(up) {
                        if up { world.up(link); }
                    }
                    vec![]
                }
            };
            let mut said = said;
            // Whoever is asked answers with the truth, one device after the other.
            while said.iter().any(|said| said == "b < alice fetch") {
                said.retain(|said| said != "b < alice fetch");
                let devices: Vec<_> = truth.iter().map(|(name, state)| (name.clone(), *state)).collect();
                if devices.is_empty() {
                    let nothing = Body::Presence(Presence::default());
                    said.extend(world.tell(None, PRESENTITY, WATCHER, nothing));
                }
                for (name, state) in devices {
                    said.extend(world.device(&name, state));
                }
            }
            for said in said {
                if let Some(state) = said.strip_prefix("a < bob ").filter(|state| *state != "fetch") {
                    seen = state.to_owned();
                    // Hidden things are told as unknown; anything else only to who may see.
                    prop_assert!(granted || state.starts_with("unknown"), "{state} is told to one who may not see");
                }
            }
        }
        // All is well at last, and time passes.
        let mut said = Vec::new();
        for link in ["a", "b"] { said.extend(world.up(link)); }
        for _ in 0..3 {
            said.extend(world.later(40.0));
            if said.iter().any(|said| said == "b < alice fetch") {
                let devices: Vec<_> = truth.iter().map(|(name, state)| (name.clone(), *state)).collect();
                if devices.is_empty() {
                    said.extend(world.tell(None, PRESENTITY, WATCHER, Body::Presence(Presence::default())));
                }
                for (name, state) in devices { said.extend(world.device(&name, state)); }
                said.retain(|said| said != "b < alice fetch");
            }
        }
        for said in said {
            if let Some(state) = said.strip_prefix("a < bob ").filter(|state| *state != "fetch") { seen = state.to_owned(); }
        }
        if granted && !seen.is_empty() && !seen.starts_with("unknown") {
            let here = truth.keys().cloned().collect::<std::collections::BTreeSet<_>>();
            let shown = seen.split('[').nth(1).filter(|_| !seen.starts_with("offline")).map(|list| {
                list.split(']').next().unwrap_or_default().split(' ').map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
            });
            prop_assert_eq!(shown.unwrap_or_default(), here, "{}", seen);
        }
    }
}
