use sip_stack::PeerId;

use super::*;

const INTERVAL: Option<Duration> = Some(Duration::from_secs(60));

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

fn way() -> Way {
    let flow = Flow { id: FlowId(OWN_FLOWS | 1), peer: PeerId(1), reliable: true, source: None };
    Way { conn: ConnId::dialled(1), flow }
}

fn up(start: Instant) -> LinkState {
    let mut link = LinkState::default();
    link.up(start, way(), INTERVAL, after(start, 100));
    link
}

#[test]
fn a_link_that_works_sends_what_is_due_and_no_answer_to_a_keep_alive_ends_it_where_there_were_answers() {
    let start = Instant::now();
    let mut link = up(start);
    assert_eq!(link.deadline(), Some(after(start, 60)));
    let beat = link.beat(after(start, 60), false, after(start, 200)).unwrap().unwrap();
    assert!(beat.options && !beat.ping);
    link.asked(after(start, 60), None, INTERVAL);
    let beat = link.beat(after(start, 100), false, after(start, 200)).unwrap().unwrap();
    assert!(beat.ping && !beat.options);
    assert!(link.beat(after(start, 115), false, after(start, 300)).is_ok());
    link.asked(after(start, 120), None, None);
    assert!(link.beat(after(start, 200), true, after(start, 300)).unwrap().unwrap().ping);
    assert_eq!(link.beat(after(start, 210), true, after(start, 300)).err(), Some("a keep-alive"));
    assert!(link.ponged(way().conn));
    assert!(link.beat(after(start, 210), true, after(start, 300)).is_ok());
}

#[test]
fn a_pause_that_was_asked_for_outlives_the_connection() {
    let start = Instant::now();
    let mut link = up(start);
    assert_eq!(link.pause(start, 1_000), LONGEST_PAUSE);
    assert!(matches!(link.lost(ConnId::dialled(2)), Lost::Nothing));
    assert!(matches!(link.lost(way().conn), Lost::Paused));
    assert!(link.is_waiting() && link.deadline() == Some(start + LONGEST_PAUSE));
    assert!(matches!(link.wake(after(start, 299)), Wake::Sleep) && matches!(link.wake(after(start, 300)), Wake::Retry));
}

#[test]
fn servers_that_are_avoided_are_bounded_and_forgotten() {
    let start = Instant::now();
    let mut link = LinkState::default();
    let server = |number: u16| SocketAddr::from(([192, 0, 2, 1], number));
    for number in 0..100 {
        link.avoid(server(number), start + AVOIDED, number == 99);
    }
    assert_eq!(link.avoided(start).len(), MOST_AVOIDED);
    assert_eq!((link.asked_until(start, server(99)), link.asked_until(start, server(98))), (Some(start + AVOIDED), None));
    assert!(link.avoided(start + AVOIDED).is_empty());
}

#[test]
fn who_asks_is_answered_once_and_too_many_at_once() {
    let start = Instant::now();
    let domain = |text: &str| Domain::parse(text).unwrap();
    let pair = || (domain("a.example"), domain("b.example"));
    let mut link = LinkState::default();
    for _ in 0..MOST_CHECKS {
        assert!(matches!(link.check(start, pair(), "server"), Ok(Check::Retry)));
    }
    assert!(link.check(start, pair(), "server").is_err());
    assert_eq!(link.checked(&"lb".into(), &Ok(())).len(), MOST_CHECKS);
    assert!(link.checked(&"lb".into(), &Ok(())).is_empty());
    let mut never_asked = LinkState::default();
    never_asked.up(start, way(), None, start);
    assert!(matches!(never_asked.check(start, pair(), "server"), Ok(Check::Known(Ok(())))));
    link.up(start, way(), INTERVAL, after(start, 100));
    assert!(matches!(link.check(start, pair(), "server"), Ok(Check::Beat)) && link.deadline() == Some(start));
}
