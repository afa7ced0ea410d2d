//! Vectors 12 and 15: who sees whom.

use std::time::{Duration, UNIX_EPOCH};

use interchange_model::{Body, DevicePresence, Envelope, Presence, PresenceState, Watch};
use ocs_codec::presence::{Availability, Form};

use crate::common::*;
use crate::recorded::play::Play;

const ALICE: &str = "alice@contoso.example";

/// The client asks to see somebody, and sees that nothing is known yet.
pub(crate) fn subscribes(play: &mut Play, request: u32, answer: u32) {
    play.asks(request);
    let (token, envelope) = play.hub.one_submitted();
    assert!(matches!(envelope.body, Body::Watch(Watch::Ask)));
    play.hub.store(token, Ok(()));
    let ours = play.answers(request, answer);
    assert_eq!((ours.header("Expires"), ours.header("subscription-state")), ("3600", "active;expires=3600"));
    let first = play.hub.one(play.own);
    assert!(!first.body.contains("<availability>"), "{}", first.body);
    play.hub.receive(play.own, first.answer(200, ""));
    let _ = play.hub.live(play.own, 5);
}

fn availability(media: &str, body: &str) -> Availability {
    Form::of_media(media).unwrap().read(body.as_bytes()).unwrap().state.unwrap().availability
}

/// The client is shown a state, in a NOTIFY that says the same as the recorded document.
pub(crate) fn shows(play: &mut Play, number: u32, person: &str, state: PresenceState, idle: bool) {
    let idle_since = idle.then(|| UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let presence = match state {
        PresenceState::Offline => Presence::default(),
        state => Presence::of(DevicePresence { idle_since, ..DevicePresence::new(None, state) }),
    };
    play.hub.tell(Envelope { body: Body::Presence(presence), ..text(1, person, ALICE, "") });
    let sent = play.hub.live(play.own, 6);
    let [notify] = &sent[..] else { panic!("{number}: {sent:#?}") };
    play.says_this(notify, number);
    // The client takes all three forms: the one that says most is chosen, whichever was recorded.
    assert_eq!(notify.header("Content-Type"), "application/msrtc-event-categories+xml");
    let recorded = play.recorded(number);
    let want = availability(recorded.header("Content-Type"), &recorded.body);
    assert_eq!(availability(notify.header("Content-Type"), &notify.body), want, "{number}");
    play.hub.receive(play.own, notify.answer(200, ""));
}

/// The client wants to see no more: one last document, which it may not know any more.
pub(crate) fn unsubscribes(play: &mut Play, request: u32, answer: u32, last: u32, refused: u32) {
    play.asks_and_answers(request, answer);
    let notify = play.says(last);
    assert_eq!(notify.header("subscription-state"), "terminated;reason=timeout");
    play.hears(&notify, refused);
    assert!(play.hub.live(play.own, 30).is_empty(), "nothing more is said of it");
}

#[test]
fn vector_12_our_user_is_seen_in_every_state_and_theirs_in_every_form() {
    use PresenceState::*;
    let mut play = Play::new("12-presence-2007.sip", EDGE);
    subscribes(&mut play, 1, 2);
    for (number, state, idle) in [
        // PIDF knows four states.
        (3, Available, false),
        (4, Busy, false),
        (5, Away, false),
        (6, Offline, false),
        // The form of 2005.
        (7, Available, false),
        (8, BeRightBack, false),
        (9, Busy, false),
        (10, Offline, false),
        // That of 2007.
        (11, Available, false),
        (12, Idle, false),
        (13, InMeeting, false),
        (14, Busy, true),
        (15, DoNotDisturb, false),
        (16, BeRightBack, false),
        (17, LongAway, false),
        (18, Offline, false),
    ] {
        shows(&mut play, number, "bob@fabrikam.example", state, idle);
    }
    unsubscribes(&mut play, 31, 32, 33, 40);
    for [subscribe, answer, first, taken, second, taken_too] in
        [[19, 20, 21, 22, 34, 35], [23, 24, 25, 26, 36, 37], [27, 28, 29, 30, 38, 39]]
    {
        play.other_hub(EDGE);
        play.hub.deliver(1, Envelope { body: Body::Watch(Watch::Ask), ..text(1, "bob@fabrikam.example", ALICE, "") });
        play.hub.seconds(0);
        // All three forms are asked for, the one that says most first.
        let wire = play.says(subscribe);
        assert_eq!(wire.header("Accept"), "application/msrtc-event-categories+xml, text/xml+msrtc.pidf, application/pidf+xml");
        assert_eq!(wire.header("Expires"), play.recorded(subscribe).header("Expires"));
        play.hears(&wire, answer);
        for (notify, taken, want) in [(first, taken, Available), (second, taken_too, Offline)] {
            play.asks_and_answers(notify, taken);
            let told: Vec<PresenceState> = play
                .hub
                .telling()
                .iter()
                .filter_map(|envelope| match &envelope.body {
                    Body::Presence(presence) => Some(presence.state()),
                    _ => None,
                })
                .collect();
            assert_eq!(told, [want], "{notify}");
        }
    }
    play.account(40);
}

#[test]
fn vector_15_our_user_is_seen_by_notify_until_the_client_is_gone() {
    let mut play = Play::new("15-presence-notify-2007.sip", EDGE);
    play.asks(1);
    let (token, _) = play.hub.one_submitted();
    play.hub.store(token, Ok(()));
    play.answers(1, 2);
    let first = play.hub.one(play.own);
    play.hub.receive(play.own, first.answer(200, ""));
    for (number, answer, state) in [(3, 4, PresenceState::Available), (5, 6, PresenceState::Busy), (7, 8, PresenceState::Away)] {
        let presence = Presence::of(DevicePresence::new(None, state));
        let _ = play.hub.live(play.own, 5);
        play.hub.tell(Envelope { body: Body::Presence(presence), ..text(1, "bob@fabrikam.example", ALICE, "") });
        let notify = play.says(number);
        let recorded = play.recorded(number);
        let want = availability(recorded.header("Content-Type"), &recorded.body);
        assert_eq!(availability(notify.header("Content-Type"), &notify.body), want, "{number}");
        play.hears(&notify, answer);
    }
    let _ = play.hub.live(play.own, 5);
    unsubscribes(&mut play, 9, 10, 11, 12);
    play.account(12);
}
